//! The kernel's own coroutines by their names, and what their polls take, for who looks: those of drivers, file systems, the network.
//! The coroutine of a user thread is not among them: it is shown as the thread.
//!
//! They are few, so each poll is timed, whether somebody looks or not. The time goes on while a poll is preempted.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use hal::{
    sync::{SpinLock, rank},
    time,
};
use task::{Seen, TaskRef};

/// A coroutine of the kernel's. Relaxed, but for the longest: figures, written by its own polls.
pub struct Service {
    name: String,
    task: TaskRef,
    polls: AtomicU64,
    time: AtomicU64,
    longest: AtomicU64,
}

/// How often it was polled, and the nanoseconds of all and of the longest poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polls {
    /// How often.
    pub count: u64,
    /// All together.
    pub time: u64,
    /// The longest.
    pub longest: u64,
}

impl Service {
    /// What it was started as.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its task does.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.task.seen()
    }

    /// What its polls took.
    #[must_use]
    pub fn polls(&self) -> Polls {
        // Before the time, which it is part of. Acquire: pairs with `count`.
        let longest = self.longest.load(Acquire);
        let [count, time] = [&self.polls, &self.time].map(|figure| figure.load(Relaxed));
        Polls { count, time, longest }
    }

    fn count(&self, took: u64) {
        self.polls.fetch_add(1, Relaxed);
        self.time.fetch_add(took, Relaxed);
        // Release: whoever sees it sees it in the time.
        self.longest.fetch_max(took, Release);
    }
}

static SERVICES: SpinLock<BTreeMap<u64, Arc<Service>>> = SpinLock::new(rank::WAIT, BTreeMap::new());

/// Those that have begun and not ended, by number.
#[must_use]
pub fn services() -> Vec<Arc<Service>> {
    SERVICES.lock().values().cloned().collect()
}

/// In the list as long as this is there.
struct Listed(Arc<Service>);

impl Listed {
    fn new(name: String, task: TaskRef) -> Self {
        let (id, zero) = (task.id(), AtomicU64::default);
        let service = Arc::new(Service { name, task, polls: zero(), time: zero(), longest: zero() });
        SERVICES.lock().insert(id, service.clone());
        Self(service)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Dropped after the lock: it has a reference to a task.
        let service = SERVICES.lock().remove(&self.0.task.id());
        drop(service);
    }
}

/// `future`, in the list and with its polls timed.
pub(crate) fn listed<F: Future>(name: &str, future: F) -> impl Future<Output = F::Output> + use<F> {
    let name = name.to_string();
    async move {
        let mut future = pin!(future);
        let listed = task::current().await.map(|task| Listed::new(name, task));
        poll_fn(|context| {
            let began = time::now();
            let answer = future.as_mut().poll(context);
            if let Some(listed) = &listed {
                listed.0.count(time::now().saturating_sub(began));
            }
            answer
        })
        .await
    }
}
