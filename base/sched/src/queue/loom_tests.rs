//! What a look at a queue misses, if anything, while somebody has its tasks in hand.

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use sync::atomic::fence;

use super::*;
use crate::interface::Ops;
use crate::policy::ROUND_ROBIN;
use crate::standing::Standing;
use crate::worker::{Held, Publisher, Worker};

const PRIORITY: Priority = Priority::NORMAL;
const SLOT: u8 = PRIORITY.number() | PINNED;

/// A worker, and pinned tasks that come to its queue.
struct Busy {
    worker: Worker,
    tasks: [Header; 2],
}

// SAFETY: a task is handed to the queue once, and then touched as the queue's only; nobody asks for the pool.
unsafe impl Send for Busy {}
// SAFETY: as above.
unsafe impl Sync for Busy {}

impl Busy {
    fn new() -> Arc<Self> {
        let task = |id| {
            let standing = Standing::new(PRIORITY, true, false, ROUND_ROBIN as u8);
            Header::new(NonNull::<Ops>::dangling(), NonNull::<Worker>::dangling(), id, standing, 0)
        };
        Arc::new(Self { worker: Worker::new(NonNull::dangling(), 0), tasks: [task(1), task(2)] })
    }

    fn push(&self, task: usize) {
        // SAFETY: new, so `SCHEDULED` and in no queue.
        assert!(unsafe { self.worker.queue.push(NonNull::from(&self.tasks[task]), SLOT) });
    }
}

/// Pushes the second task, and says whether somebody is idle then, to be called.
fn push(busy: &Arc<Busy>, idle: &Arc<AtomicU64>) -> JoinHandle<bool> {
    let (busy, idle) = (busy.clone(), idle.clone());
    thread::spawn(move || {
        busy.push(1);
        fence(Ordering::SeqCst);
        idle.load(Ordering::Relaxed) != 0
    })
}

fn parks(idle: &AtomicU64) {
    idle.fetch_or(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// While a thief looks for what it may run, a task comes, and the queue's worker parks: it sees that, or its pusher that it parks.
#[test]
fn a_look_hides_no_task_from_who_parks() {
    model(|| {
        let (busy, idle) = (Busy::new(), Arc::new(AtomicU64::new(0)));
        // Of a task that was taken before its pusher came to set it.
        busy.worker.queue.ready.fetch_or(bit_of(SLOT), Ordering::Relaxed);
        let pusher = push(&busy, &idle);
        let looks = busy.clone();
        let looker = thread::spawn(move || looks.worker.queue.may_have_kept(1 << 1));
        parks(&idle);
        let is_bare = busy.worker.queue.is_bare();
        let called = pusher.join().unwrap();
        looker.join().unwrap();
        assert!(called || !is_bare, "nobody knows of the task");
    });
}

/// A task comes while the worker takes another, and a thief parks: likewise.
#[test]
fn a_worker_hides_no_task_from_a_thief_that_parks() {
    model(|| {
        let (busy, idle) = (Busy::new(), Arc::new(AtomicU64::new(0)));
        busy.push(0);
        let pusher = push(&busy, &idle);
        let (thief, seen) = (busy.clone(), idle.clone());
        let thief = thread::spawn(move || {
            parks(&seen);
            thief.worker.queue.has_pinned()
        });
        let (worker, outer) = (&busy.worker, busy.worker.outer());
        let taken = worker.queue.pop(Priority::COUNT, Publisher { worker, outer, held: Held::NOTHING });
        assert!(taken.is_some());
        assert!(pusher.join().unwrap() | thief.join().unwrap(), "nobody knows of the other");
    });
}
