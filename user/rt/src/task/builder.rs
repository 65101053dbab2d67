//! What a task is to be, chosen at its start.

use super::preemption::{Preemption, limited};
use super::{JoinHandle, Priority, green, policy, pool};
use crate::sync::Mutex;
use crate::{io, thread};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::fmt;
use core::future::Future;
use task::Birth;

/// Names of tasks that run.
static NAMES: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// The name of a task, if it was given one and has begun.
#[must_use]
pub fn name(id: u64) -> Option<String> {
    NAMES.lock().get(&id).cloned()
}

/// The name of the task with this number, where it can be had without waiting.
pub(crate) struct NameOf(pub(crate) u64);

impl fmt::Display for NameOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.try_lock().as_ref().and_then(|names| names.get(&self.0)) {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

/// A name in the table as long as this is there.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        let name = NAMES.lock().remove(&self.0);
        drop(name);
    }
}

/// What a task is to be: a coroutine ([`spawn`](Self::spawn)), a green thread on a stack of its own
/// ([`spawn_green`](Self::spawn_green)), or a thread of the kernel ([`spawn_thread`](Self::spawn_thread)).
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started yet"]
pub struct Builder {
    priority: Option<Priority>,
    policy: Option<(u32, u64)>,
    name: Option<String>,
    preemption: Option<Preemption>,
}

impl Builder {
    /// Normal priority, in turn, preempted for its equals, no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The priority; of a coroutine or a green thread.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The number of a policy of [`super::policy`], and the key that the task goes by under it, for instance its deadline; of a
    /// coroutine or a green thread.
    pub fn policy(mut self, policy: u32, key: u64) -> Self {
        self.policy = Some((policy, key));
        self
    }

    /// What it is preempted for in the middle of a poll; of a coroutine or a green thread. Without this, of one under
    /// [`policy::FIFO`], what is more urgent only, since under that nobody's turn ends but by itself.
    pub fn preemption(mut self, preemption: Preemption) -> Self {
        self.preemption = Some(preemption);
        self
    }

    /// A name; of a coroutine or a green thread.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Starts a coroutine.
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let birth = Birth::new(self.priority.unwrap_or(Priority::NORMAL));
        let birth = self.policy.map_or(birth, |(policy, key)| birth.under(policy, key));
        let is_fifo = self.policy.is_some_and(|(policy, _)| policy == policy::FIFO);
        match self.preemption.unwrap_or(if is_fifo { Preemption::Urgent } else { Preemption::Equal }) {
            Preemption::Equal => start(&birth, self.name, future),
            fewer => start(&birth, self.name, limited(fewer, future)),
        }
    }

    /// Starts a green thread.
    ///
    /// # Errors
    /// `ENOMEM` when there is no stack.
    pub fn spawn_green<T, F>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Ok(self.spawn(green::future(f)?))
    }

    /// Starts a thread of the kernel.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOMEM` when there can be no more.
    pub fn spawn_thread<T, F>(self, f: F) -> io::Result<thread::JoinHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        thread::spawn(f)
    }
}

/// Starts a coroutine, whose name is in the table while it runs.
fn start<F>(birth: &Birth, name: Option<String>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(name) = name else { return pool().spawn_with(birth, future) };
    pool().spawn_with(birth, async move {
        let _named = task::current().await.map(|task| {
            NAMES.lock().insert(task.id(), name);
            Named(task.id())
        });
        future.await
    })
}
