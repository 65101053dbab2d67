//! Tests of the pool as a whole, on host threads or without any.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

mod fairness;
mod kept;
mod policy;
mod reference;
mod seated;
mod table;
mod turns;

use crate::{JoinError, JoinHandle, Outcome, Pender, Pool, Priority, TaskRef, current, yield_now};

/// Notes the calls it gets.
#[derive(Default, Clone)]
struct Calls(Arc<Mutex<Vec<(usize, u8)>>>);

impl Pender for Calls {
    type Memory = crate::Heap;

    fn pend(&self, worker: usize, priority: Priority) {
        self.0.lock().unwrap().push((worker, priority.number()));
    }
}

impl Calls {
    fn take(&self) -> Vec<(usize, u8)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn pool(workers: usize) -> (Pool<Calls>, Calls) {
    let calls = Calls::default();
    (Pool::new(workers, calls.clone()), calls)
}

fn drain(pool: &Pool<Calls>, worker: usize) {
    while pool.run_next(worker).is_some() {}
}

fn join_now<T>(handle: JoinHandle<T>) -> Option<Result<T, JoinError>> {
    match pin!(handle).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// A future that hands out its waker and waits for ever.
fn stuck(slot: &Arc<Mutex<Option<Waker>>>) -> impl Future<Output = ()> + Send + use<> {
    let slot = Arc::clone(slot);
    poll_fn(move |cx| {
        *slot.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
}

struct CountDrops(Arc<AtomicUsize>);

impl Drop for CountDrops {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn runs_by_priority_and_in_order_of_arrival() {
    let (pool, _) = pool(1);
    let log = Arc::new(Mutex::new(Vec::new()));
    for (name, priority) in [("c", 20), ("a", 3), ("d", 20), ("b", 3)] {
        let log = Arc::clone(&log);
        pool.spawn(Priority::new(priority), async move {
            log.lock().unwrap().push(name);
            yield_now().await;
            log.lock().unwrap().push(name);
        });
    }
    assert_eq!(pool.highest_ready(0), Some(Priority::new(3)));
    drain(&pool, 0);
    assert_eq!(*log.lock().unwrap(), ["a", "b", "a", "b", "c", "d", "c", "d"]);
    assert_eq!(pool.highest_ready(0), None);
}

#[test]
fn pinned_and_free_tasks_share_one_order() {
    let (pool, _) = pool(1);
    let log = Arc::new(Mutex::new(Vec::new()));
    for name in 0..4 {
        let log = Arc::clone(&log);
        let future = async move { log.lock().unwrap().push(name) };
        if name % 2 == 0 {
            pool.spawn_on(0, Priority::NORMAL, future);
        } else {
            pool.spawn(Priority::NORMAL, future);
        }
    }
    drain(&pool, 0);
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn outputs_cancellation_and_failure_reach_the_joiner() {
    let (pool, _) = pool(1);
    let done = pool.spawn(Priority::NORMAL, async { 42 });
    let aborted = pool.spawn(Priority::NORMAL, pending::<()>());
    let failed = pool.spawn(Priority::NORMAL, async {
        // SAFETY: the poll stays pending for ever, and nobody touches the stack frame afterwards.
        unsafe { current().await.unwrap().fail() };
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(!done.is_finished());
    aborted.abort();
    while let Some(runnable) = pool.next(0) {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runnable.run()));
    }
    assert_eq!(join_now(done), Some(Ok(42)));
    assert_eq!(join_now(aborted), Some(Err(JoinError::Cancelled)));
    assert_eq!(join_now(failed).map(|r: Result<(), _>| r), Some(Err(JoinError::Panicked)));
}

#[test]
fn everything_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let thing = || CountDrops(Arc::clone(&drops));
    let (pool, _) = pool(1);
    // Output never asked for, output taken, detached, aborted, unreachable, left in the queue.
    let unread = pool.spawn(Priority::NORMAL, std::future::ready(thing()));
    let taken = pool.spawn(Priority::NORMAL, std::future::ready(thing()));
    let kept = thing();
    pool.spawn(Priority::NORMAL, async move { kept }).detach();
    let kept = thing();
    let aborted = pool.spawn(Priority::NORMAL, async move { (pending::<()>().await, kept) });
    drain(&pool, 0);
    aborted.abort();
    drain(&pool, 0);
    drop((unread, aborted));
    assert!(join_now(taken).is_some());
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    let kept = thing();
    pool.spawn(Priority::NORMAL, async move { (pending::<()>().await, kept) }).detach();
    assert_eq!(pool.run_next(0), Some(Outcome::Cancelled));
    let kept = thing();
    let waiting = pool.spawn(Priority::NORMAL, async move { (pending::<()>().await, kept) });
    assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
    drop(waiting);
    assert_eq!(pool.run_next(0), Some(Outcome::Cancelled));
    pool.spawn(Priority::NORMAL, std::future::ready(thing())).detach();
    drop(pool);
    assert_eq!(drops.load(Ordering::Relaxed), 7);
}

#[test]
fn a_wake_after_the_pool_is_gone_cancels() {
    let (pool, _) = pool(1);
    let slot = Arc::default();
    let handle = pool.spawn(Priority::NORMAL, stuck(&slot));
    drain(&pool, 0);
    drop(pool);
    let waker = slot.lock().unwrap().take().unwrap();
    waker.wake();
    assert_eq!(join_now(handle), Some(Err(JoinError::Cancelled)));
}

#[test]
fn only_an_idle_or_less_urgent_worker_is_called() {
    let (pool, calls) = pool(1);
    let slot = Arc::default();
    pool.spawn(Priority::new(8), stuck(&slot)).detach();
    drain(&pool, 0);
    let waker = slot.lock().unwrap().clone().unwrap();
    assert!(calls.take().is_empty());
    // Idle: once.
    assert!(pool.set_idle(0));
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(calls.take(), [(0, 8)]);
    assert!(!pool.set_idle(0), "there is work");
    assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
    // Running something less urgent: preempted, nested, back.
    let inner = waker.clone();
    pool.spawn(Priority::new(9), async move { inner.wake_by_ref() }).detach();
    let outer = pool.next(0).unwrap();
    assert_eq!(pool.running(0), Some(Priority::new(9)));
    waker.wake_by_ref();
    assert_eq!(calls.take(), [(0, 8)]);
    assert!(pool.next_above(0, Priority::new(8)).is_none());
    let nested = pool.next_above(0, Priority::new(9)).unwrap();
    assert_eq!(pool.running(0), Some(Priority::new(8)));
    waker.wake_by_ref();
    assert!(calls.take().is_empty(), "the worker already runs something as urgent");
    assert_eq!(nested.run(), Outcome::Waiting);
    assert_eq!(pool.running(0), Some(Priority::new(9)));
    assert_eq!(outer.run(), Outcome::Complete);
    assert_eq!(calls.take(), [(0, 8)]);
    assert_eq!(pool.running(0), None);
}

#[test]
fn a_task_prefers_an_idle_worker_to_its_busy_home() {
    let (pool, calls) = pool(3);
    let slot = Arc::default();
    let task = pool.spawn(Priority::NORMAL, stuck(&slot));
    drain(&pool, 0);
    let waker = slot.lock().unwrap().clone().unwrap();
    pool.spawn(Priority::NORMAL, pending::<()>()).detach();
    let busy = pool.next(0).unwrap();
    assert!(pool.set_idle(2));
    waker.wake_by_ref();
    assert_eq!(calls.take(), [(2, 16)]);
    assert_eq!(pool.run_next(2), Some(Outcome::Waiting));
    assert_eq!(task.task().worker(), 2);
    drop(busy);
}

#[test]
fn an_idle_worker_is_preferred_to_preempting_home() {
    let (pool, calls) = pool(2);
    let slot = Arc::default();
    pool.spawn(Priority::new(4), stuck(&slot)).detach();
    drain(&pool, 0);
    pool.spawn_on(0, Priority::NORMAL, pending::<()>()).detach();
    let running = pool.next(0).unwrap();
    assert!(pool.set_idle(1));
    slot.lock().unwrap().clone().unwrap().wake();
    assert_eq!(calls.take(), [(1, 4)]);
    assert_eq!(pool.run_next(1), Some(Outcome::Waiting));
    // Nobody is idle: preempted, and no better place elsewhere.
    let other = pool.spawn_on(1, Priority::new(2), async {});
    let busy = pool.next(1).unwrap();
    slot.lock().unwrap().clone().unwrap().wake();
    assert_eq!(calls.take(), [(0, 4)]);
    drop((running, other, busy));
}

#[test]
fn a_nested_task_that_is_queued_again_at_a_lower_priority_calls_an_idle_worker() {
    let (pool, calls) = pool(2);
    pool.spawn_on(0, Priority::NORMAL, pending::<()>()).detach();
    let outer = pool.next(0).unwrap();
    let task = pool.spawn(Priority::HIGHEST, async { yield_now().await });
    assert_eq!(calls.take(), [(0, 0)]);
    let nested = pool.next_above(0, Priority::NORMAL).unwrap();
    assert!(pool.set_idle(1));
    task.task().set_priority(Priority::LOWEST);
    assert_eq!(nested.run(), Outcome::Requeued);
    assert_eq!(calls.take(), [(1, 31)]);
    assert_eq!(pool.run_next(1), Some(Outcome::Complete));
    drop(outer);
}

#[test]
fn an_idle_worker_steals_what_is_not_pinned() {
    let (pool, _) = pool(2);
    let pinned = pool.spawn_on(0, Priority::HIGHEST, async {});
    assert!(pool.next(1).is_none());
    assert!(pool.set_idle(1));
    pool.clear_idle(1);
    let free = pool.spawn(Priority::LOWEST, async {});
    assert_eq!(pool.run_next(1), Some(Outcome::Complete));
    assert!(free.is_finished() && !pinned.is_finished());
    drain(&pool, 0);
    assert!(pinned.is_finished());
}

#[test]
fn a_changed_priority_counts_at_once() {
    let (pool, calls) = pool(1);
    let task = pool.spawn(Priority::NORMAL, async { yield_now().await });
    task.task().set_priority(Priority::HIGHEST);
    assert_eq!(pool.highest_ready(0), Some(Priority::HIGHEST), "it moves while it is queued");
    let running = pool.next(0).unwrap();
    assert_eq!(running.run(), Outcome::Requeued);
    assert_eq!(pool.highest_ready(0), Some(Priority::HIGHEST));
    drain(&pool, 0);
    calls.take();
    // What runs is preempted once it is less urgent than what waits, by whoever changes it.
    let slot = Arc::<Mutex<Option<TaskRef>>>::default();
    let (own, waits) = (Arc::clone(&slot), pool.spawn(Priority::new(9), async {}).task());
    let low = pool.spawn(Priority::new(8), async move {
        let task = own.lock().unwrap().take().unwrap();
        task.set_priority(Priority::new(10));
    });
    *slot.lock().unwrap() = Some(low.task());
    assert_eq!(pool.run_next(0), Some(Outcome::Complete));
    assert_eq!(calls.take(), [(0, 10)]);
    assert!(!waits.is_finished());
    assert!(TaskRef::from_waker(Waker::noop()).is_none());
    assert!(TaskRef::from_waker(task.task().waker()).is_some());
}

#[test]
fn what_was_preempted_goes_on_at_what_it_has_inherited() {
    let (pool, calls) = pool(1);
    let (pool, calls) = (Arc::new(pool), Arc::new(calls));
    let (inside, called) = (Arc::clone(&pool), Arc::clone(&calls));
    let holder = pool.spawn(Priority::LOWEST, async move {
        let own = current().await.unwrap();
        let urgent = inside.spawn(Priority::HIGHEST, async move { own.inherit(Priority::HIGHEST) });
        assert_eq!(called.take(), [(0, 0)]);
        // The interrupt at which it is preempted.
        assert_eq!(inside.run_above(0, Priority::LOWEST), Some(Outcome::Complete));
        assert!(urgent.is_finished());
        assert_eq!(inside.running(0), Some(Priority::HIGHEST), "for the urgent one that waits");
        inside.spawn(Priority::NORMAL, async {}).detach();
        assert!(called.take().is_empty(), "what lies in between does not preempt it");
        current().await.unwrap().restore(Priority::LOWEST);
        assert_eq!(inside.running(0), Some(Priority::LOWEST));
        assert_eq!(called.take(), [(0, 31)], "and now it does");
    });
    drain(&pool, 0);
    assert_eq!(holder.task().own_priority(), Priority::LOWEST);
    assert_eq!(join_now(holder), Some(Ok(())));
}

#[test]
fn who_raises_what_was_preempted_calls_for_it() {
    let (pool, calls) = pool(1);
    let (pool, calls) = (Arc::new(pool), Arc::new(calls));
    let (inside, called) = (Arc::clone(&pool), Arc::clone(&calls));
    let holder = pool.spawn(Priority::LOWEST, async move {
        let (own, worker, calls) = (current().await.unwrap(), Arc::clone(&inside), Arc::clone(&called));
        let between = inside.spawn(Priority::NORMAL, async move {
            calls.take();
            // As by another worker.
            own.inherit(Priority::NORMAL);
            assert!(calls.take().is_empty() && !worker.should_yield(0), "as urgent as what runs");
            own.inherit(Priority::HIGHEST);
            assert_eq!(calls.take(), [(0, 0)]);
            assert!(worker.should_yield(0));
        });
        // The interrupt at which it is preempted.
        assert_eq!(inside.run_above(0, Priority::LOWEST), Some(Outcome::Complete));
        assert!(between.is_finished());
    });
    drain(&pool, 0);
    assert_eq!(join_now(holder), Some(Ok(())));
}

#[test]
fn what_stands_above_something_urgent_goes_on_for_it() {
    let (pool, _) = pool(1);
    let pool = Arc::new(pool);
    let (lowest, middle, polls) = (Arc::clone(&pool), Arc::clone(&pool), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&polls);
    let first = pool.spawn(Priority::LOWEST, async move {
        let own = current().await.unwrap();
        lowest
            .spawn(Priority::new(20), async move {
                current().await.unwrap().set_priority(Priority::LOWEST);
                // As by another worker.
                own.inherit(Priority::new(10));
                for _ in 0..3 {
                    let (polls, worker) = (Arc::clone(&polls), Arc::clone(&middle));
                    let between = poll_fn(move |context| {
                        polls.fetch_add(1, Ordering::Relaxed);
                        assert!(worker.should_yield(0));
                        context.waker().wake_by_ref();
                        Poll::<()>::Pending
                    });
                    middle.spawn(Priority::new(25), between).detach();
                }
                // An interrupt at which it is preempted: those give way at once, and it is not for them to go on.
                while let Some(limit) = middle.running(0)
                    && middle.run_above(0, limit).is_some()
                {
                    assert!(polls.load(Ordering::Relaxed) < 10);
                }
                assert_eq!(middle.running(0), Some(Priority::new(10)));
                assert!(middle.should_yield(0), "to what it stands above");
            })
            .detach();
        assert_eq!(lowest.run_above(0, Priority::LOWEST), Some(Outcome::Complete));
        assert_eq!(lowest.running(0), Some(Priority::new(10)));
    });
    assert_eq!(pool.run_next(0), Some(Outcome::Complete));
    assert_eq!(counted.load(Ordering::Relaxed), 1);
    assert_eq!(join_now(first), Some(Ok(())));
}

#[test]
fn what_was_preempted_is_given_way_to_as_what_is_ready() {
    let (pool, _) = pool(1);
    let pool = Arc::new(pool);
    let (outside, inside) = (Arc::clone(&pool), Arc::clone(&pool));
    let outer = pool.spawn(Priority::new(20), async move {
        outside
            .spawn(Priority::new(10), async move {
                let own = current().await.unwrap();
                assert!(!inside.tick(0) && !inside.should_yield(0), "it is more urgent");
                own.set_priority(Priority::new(20));
                assert!(!inside.should_yield(0), "as urgent, with a slice");
                assert!((0..3).any(|_| inside.tick(0)), "which ends");
                own.set_priority(Priority::new(30));
                assert!(inside.should_yield(0), "less urgent");
            })
            .detach();
        // The interrupt at which it is preempted.
        assert_eq!(outside.run_above(0, Priority::new(20)), Some(Outcome::Complete));
        assert!(!outside.should_yield(0) && !(0..5).any(|_| outside.tick(0)), "there is nothing else");
    });
    drain(&pool, 0);
    assert_eq!(join_now(outer), Some(Ok(())));
}

#[test]
fn many_polls_in_one_call_are_as_many_calls() {
    let (pool, _) = pool(2);
    let log = Arc::new(Mutex::new(Vec::new()));
    for (name, priority) in [("c", 20), ("a", 3), ("d", 20), ("b", 3)] {
        let log = Arc::clone(&log);
        pool.spawn_on(0, Priority::new(priority), async move {
            log.lock().unwrap().push(name);
            yield_now().await;
            log.lock().unwrap().push(name);
        });
    }
    let stop = AtomicBool::new(false);
    assert_eq!(pool.run_many(0, 3, &stop), 3);
    assert_eq!(pool.running(0), None);
    assert_eq!(pool.run_many(0, 100, &stop), 5);
    assert_eq!(*log.lock().unwrap(), ["a", "b", "a", "b", "c", "d", "c", "d"]);
    assert_eq!(pool.run_many(0, 100, &stop), 0);
    // What is set during a poll ends it after that poll.
    let stop = Arc::new(stop);
    for _ in 0..3 {
        let stop = Arc::clone(&stop);
        pool.spawn(Priority::NORMAL, async move { stop.store(true, Ordering::Relaxed) });
    }
    assert_eq!(pool.run_many(0, 100, &stop), 1);
    assert_eq!(pool.run_many(7, 100, &stop), 0, "no such worker");
}

#[test]
fn joining_wakes_the_joiner() {
    let (pool, _) = pool(1);
    let slow = pool.spawn(Priority::LOWEST, async {
        yield_now().await;
        7
    });
    let joiner = pool.spawn(Priority::HIGHEST, async move { slow.await.map(|n| n + 1) });
    drain(&pool, 0);
    assert_eq!(join_now(joiner), Some(Ok(Ok(8))));
}

#[test]
fn threads_share_the_work() {
    let pool = Arc::new(pool(4).0);
    let count = Arc::new(AtomicUsize::new(0));
    let tasks = if cfg!(miri) { 20 } else { 2000 };
    for _ in 0..tasks {
        let count = Arc::clone(&count);
        pool.spawn(Priority::NORMAL, async move {
            for _ in 0..5 {
                yield_now().await;
            }
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (pool, count) = (&pool, &count);
            scope.spawn(move || {
                while count.load(Ordering::Relaxed) < tasks {
                    if pool.run_next(worker).is_none() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), tasks);
}
