//! A worker that is lent to a thread: what is not the scheduler's own code runs where the kernel may take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

use sched::slots::{MAX_SLOTS, Seat, Shown, polls};

use super::{Calls, join_now, pool};
use crate::{Pender, Pool, Priority, current};

/// The words of a thread in place 0 that has the slot, and is in the scheduler.
#[derive(Clone, Copy)]
struct Words {
    count: &'static AtomicU32,
    shown: &'static Shown,
}

impl Words {
    fn new() -> Self {
        let [standing, low] = [AtomicU32::new(31), AtomicU32::new(0)];
        let shown = Shown { owner: AtomicU32::new(1), kicked: AtomicU32::new(0), standing, low };
        Self { count: Box::leak(Box::new(AtomicU32::new(1))), shown: Box::leak(Box::new(shown)) }
    }

    fn run(self, pool: &Pool<Calls>) -> u32 {
        let polled = pool.run_seated(0, 100, &Seat::new(self.count, self.shown, 0));
        assert!(!polls(self.count.load(Relaxed)), "back in the scheduler");
        polled
    }
}

/// Says where the thread is when it is dropped, or woken: 1 in a poll, 2 in the scheduler.
struct Witness {
    words: Words,
    says: Arc<AtomicU32>,
    /// The kernel gives the slot to somebody else meanwhile.
    loses: bool,
}

impl Witness {
    fn new(words: Words, loses: bool) -> (Self, Arc<AtomicU32>) {
        let says = Arc::new(AtomicU32::new(0));
        (Self { words, says: says.clone(), loses }, says)
    }

    fn look(&self) {
        self.says.store(if polls(self.words.count.load(Relaxed)) { 1 } else { 2 }, Relaxed);
        if self.loses {
            self.words.shown.owner.store(7, Relaxed);
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.look();
    }
}

struct Joiner(Witness);

impl Wake for Joiner {
    fn wake(self: Arc<Self>) {
        self.0.look();
    }
}

#[test]
fn a_future_that_is_dropped_may_wait() {
    let (pool, _) = pool(1);
    let words = Words::new();
    let (witness, says) = Witness::new(words, false);
    let task = pool.spawn(Priority::NORMAL, async move {
        let _witness = witness;
        core::future::pending::<()>().await;
    });
    assert_eq!(words.run(&pool), 1);
    task.task().abort();
    assert_eq!((words.run(&pool), says.load(Relaxed)), (1, 1));
}

#[test]
fn an_output_that_nobody_wants_may_wait_when_it_is_dropped() {
    let (pool, _) = pool(1);
    let words = Words::new();
    let (witness, says) = Witness::new(words, false);
    pool.spawn(Priority::NORMAL, async move { witness }).detach();
    assert_eq!((words.run(&pool), says.load(Relaxed)), (1, 1));
}

#[test]
fn the_waker_of_who_joins_may_wait() {
    let (pool, _) = pool(1);
    let words = Words::new();
    let (witness, says) = Witness::new(words, false);
    let waker = Waker::from(Arc::new(Joiner(witness)));
    let mut task = pool.spawn(Priority::NORMAL, async {});
    assert!(core::pin::Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((words.run(&pool), says.load(Relaxed)), (1, 1));
}

/// A drop waits, and the worker goes to another thread: this one polls nothing more.
#[test]
fn a_worker_that_is_lost_in_a_drop_is_left_alone() {
    let (pool, _) = pool(1);
    let words = Words::new();
    let (witness, says) = Witness::new(words, true);
    pool.spawn(Priority::NORMAL, async move { witness }).detach();
    let next = pool.spawn(Priority::NORMAL, async {});
    assert_eq!((words.run(&pool), says.load(Relaxed)), (1, 1));
    assert!(!next.is_finished());
    assert_eq!(pool.highest_ready(0), Some(Priority::NORMAL));
    // It has it again.
    words.shown.owner.store(1, Relaxed);
    pool.clear_idle(0);
    assert_eq!(words.run(&pool), 1);
    assert!(next.is_finished());
}

/// Workers that are lent.
struct Lent(Calls, &'static [Shown; MAX_SLOTS]);

impl Pender for Lent {
    type Memory = crate::Heap;

    fn pend(&self, worker: usize, priority: Priority) {
        self.0.pend(worker, priority);
    }

    fn shown(&self) -> Option<&'static [Shown; MAX_SLOTS]> {
        Some(self.1)
    }
}

/// A pool with a worker whose thread, in place 0, stands at a priority, and may at 16.
fn lent(standing: u32) -> (Pool<Lent>, Calls, Seat<'static>) {
    let shown: &[Shown; MAX_SLOTS] = Box::leak(Box::new(core::array::from_fn(|_| {
        let low = if standing > 16 { standing } else { 0 };
        let [owner, kicked, standing, low] = [1, 0, standing, low].map(AtomicU32::new);
        Shown { owner, kicked, standing, low }
    })));
    let calls = Calls::default();
    let seat = Seat::new(Box::leak(Box::new(AtomicU32::new(1))), &shown[0], 0);
    (Pool::new(1, Lent(calls.clone(), shown)), calls, seat)
}

#[test]
fn a_thread_that_stands_lower_than_what_comes_is_called_while_it_runs_nothing() {
    let (pool, calls, _) = lent(28);
    for (priority, called) in [(28, vec![]), (27, vec![(0, 27)]), (0, vec![(0, 0)])] {
        pool.spawn(Priority::new(priority), async {}).detach();
        assert_eq!(calls.take(), called, "{priority}");
    }
    // Idle it is called once, however low it stands.
    let (pool, calls, _) = lent(28);
    assert!(pool.set_idle(0));
    pool.spawn(Priority::HIGHEST, async {}).detach();
    assert_eq!(calls.take(), [(0, 0)]);
    // What it stands at is all that it may.
    let (pool, calls, _) = lent(16);
    pool.spawn(Priority::HIGHEST, async {}).detach();
    assert_eq!(calls.take(), []);
}

#[test]
fn a_thread_that_stands_higher_than_what_it_takes_says_so() {
    for (standing, called) in [(16, vec![(0, 20)]), (20, vec![]), (28, vec![])] {
        let (pool, calls, seat) = lent(standing);
        for priority in [10, 16, 20] {
            pool.spawn(Priority::new(priority), async {}).detach();
        }
        calls.take();
        assert_eq!(pool.run_seated(0, 100, &seat), 3);
        assert_eq!(calls.take(), called, "{standing}");
    }
}

#[test]
fn a_thread_that_stands_lower_than_what_it_polls_has_become_is_called() {
    for (standing, called) in [(28, vec![(0, 5)]), (16, vec![])] {
        let (pool, calls, seat) = lent(standing);
        let log = calls.clone();
        let task = pool.spawn(Priority::new(28), async move {
            log.take();
            current().await.unwrap().inherit(Priority::new(5));
            let raised = log.take();
            current().await.unwrap().restore(Priority::LOWEST);
            (raised, log.take())
        });
        assert_eq!(pool.run_seated(0, 100, &seat), 1);
        assert_eq!(join_now(task), Some(Ok((called, vec![]))), "{standing}");
    }
}
