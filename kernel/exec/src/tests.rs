//! Tests of the executor over `hal`'s host fakes.
//!
//! All tests share the pool, hart 0 and the fake clock, so they take turns.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex as HostMutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::sync::{Mutex, WaitQueue, wait_until};
use crate::{Elapsed, JoinError, Priority, block_on, sleep, sleep_until, spawn, timeout, yield_now};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: HostMutex<()> = HostMutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_spawned_coroutine_is_joined() {
    let _turn = turn();
    let inner = spawn(Priority::LOWEST, "inner", async {
        yield_now().await;
        20
    });
    let outer = spawn(Priority::NORMAL, "outer", async move { inner.await.map(|n| n + 1) });
    assert_eq!(block_on(outer), Ok(Ok(21)));
    let aborted = spawn(Priority::NORMAL, "aborted", core::future::pending::<()>());
    aborted.abort();
    assert_eq!(block_on(aborted), Err(JoinError::Cancelled));
}

#[test]
fn sleepers_wake_in_order_of_their_deadlines() {
    let _turn = turn();
    let start = hal::time::now();
    let log = Arc::new(HostMutex::new(Vec::new()));
    let sleepers: Vec<_> = [30, 10, 20]
        .into_iter()
        .map(|after| {
            let log = log.clone();
            spawn(Priority::NORMAL, "sleeper", async move {
                sleep_until(start + after).await;
                log.lock().unwrap().push(after);
            })
        })
        .collect();
    block_on(async {
        for _ in 0..3 {
            yield_once().await;
            hal::fake::advance(10);
        }
        for sleeper in sleepers {
            sleeper.await.unwrap();
        }
    });
    assert_eq!(*log.lock().unwrap(), [10, 20, 30]);
}

/// Lets `block_on` go round once.
async fn yield_once() {
    let mut polled = false;
    core::future::poll_fn(|_| {
        if core::mem::replace(&mut polled, true) { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
    })
    .await;
}

#[test]
fn a_time_limit_drops_the_future_and_leaves_nothing_behind() {
    let _turn = turn();
    let task = spawn(Priority::NORMAL, "limited", async { timeout(50, sleep(1_000)).await });
    let quick = spawn(Priority::NORMAL, "quick", async { timeout(50, async { 3 }).await });
    let answer = block_on(async {
        yield_once().await;
        hal::fake::advance(60);
        (task.await.unwrap(), quick.await.unwrap())
    });
    assert_eq!(answer, (Err(Elapsed), Ok(3)));
    assert_eq!(crate::timer::sleeping(hal::hart::id()), 0);
}

#[test]
fn waiting_for_a_condition_sees_every_change() {
    let _turn = turn();
    static QUEUE: WaitQueue = WaitQueue::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let waiters: Vec<_> = (1..=3)
        .map(|goal| {
            spawn(Priority::NORMAL, "waiter", async move {
                wait_until(&QUEUE, || Some(COUNT.load(Ordering::Relaxed)).filter(|&n| n >= goal)).await
            })
        })
        .collect();
    let changer = spawn(Priority::LOWEST, "changer", async {
        for _ in 0..3 {
            COUNT.fetch_add(1, Ordering::Relaxed);
            QUEUE.wake_all();
            yield_now().await;
        }
    });
    block_on(async {
        changer.await.unwrap();
        for (number, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.await, Ok(number as u32 + 1));
        }
    });
}

#[test]
fn a_mutex_is_held_across_awaits() {
    let _turn = turn();
    let value = Arc::new(Mutex::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let value = value.clone();
            spawn(Priority::NORMAL, "adder", async move {
                let mut guard = value.lock().await;
                let before = *guard;
                yield_now().await;
                *guard = before + 1;
            })
        })
        .collect();
    block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(block_on(async { *value.lock().await }), 4);
}

#[test]
fn what_is_more_urgent_asks_the_running_to_yield() {
    let _turn = turn();
    let log = Arc::new(HostMutex::new(Vec::new()));
    let seen = log.clone();
    let task = spawn(Priority::NORMAL, "long", async move {
        assert!(!crate::should_yield());
        let peer = spawn(Priority::NORMAL, "peer", async {});
        assert!(!crate::should_yield(), "as urgent, and the slice is not used up");
        hal::fake::advance(20_000_000);
        crate::timer::on_timer_interrupt();
        hal::fake::advance(20_000_000);
        crate::timer::on_timer_interrupt();
        assert!(crate::should_yield());
        peer.await.unwrap();
        let inner = seen.clone();
        let urgent = spawn(Priority::HIGHEST, "urgent", async move { inner.lock().unwrap().push("urgent") });
        assert!(crate::should_yield());
        crate::preempt();
        seen.lock().unwrap().push("long");
        assert!(!crate::should_yield());
        assert!(urgent.is_finished());
    });
    block_on(task).unwrap();
    assert_eq!(*log.lock().unwrap(), ["urgent", "long"]);
}

#[test]
fn who_has_waited_for_long_is_put_ahead_and_can_tell_of_what() {
    const LOW: Priority = Priority::new(20);
    let _turn = turn();
    let ended = Arc::new(AtomicU32::new(0));
    let seen = ended.clone();
    let urgent = spawn(Priority::NORMAL, "urgent", async move {
        while seen.load(Ordering::Relaxed) == 0 {
            assert_eq!(crate::put_ahead(Priority::NORMAL), None);
            assert!(crate::harts::tick(0));
            yield_now().await;
        }
    });
    let low = spawn(LOW, "low", async move {
        assert_eq!(crate::put_ahead(LOW), Some(Priority::NORMAL));
        let this = crate::current().await.unwrap();
        // As urgent as that now, it is no longer ahead.
        crate::inherit(&this, Priority::NORMAL);
        assert_eq!((this.priority(), crate::put_ahead(this.priority())), (Priority::NORMAL, None));
        assert!(crate::equals_wait(), "the other");
        crate::restore(&this);
        assert_eq!((this.priority(), crate::put_ahead(LOW)), (LOW, None));
        ended.store(1, Ordering::Relaxed);
        yield_now().await;
        assert_eq!(crate::put_ahead(LOW), None);
    });
    block_on(async { (urgent.await.unwrap(), low.await.unwrap()) });
}

/// A mutex that somebody of the lowest priority holds, beside somebody in between who never waits.
#[test]
fn who_holds_a_mutex_is_as_urgent_as_who_waits_for_it() {
    let _turn = turn();
    let (value, turns) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU32::new(0)));
    let (theirs, seen) = (value.clone(), turns.clone());
    let holder = spawn(Priority::LOWEST, "holder", async move {
        let mut guard = theirs.lock().await;
        while seen.load(Ordering::Relaxed) == 0 {
            let (theirs, seen) = (theirs.clone(), seen.clone());
            spawn(Priority::NORMAL, "between", between(theirs, seen)).detach();
            yield_now().await;
        }
        for _ in 0..10 {
            yield_now().await;
        }
        *guard = 1;
        drop(guard);
        crate::current().await.map(|task| task.priority())
    });
    assert_eq!(block_on(holder), Ok(Some(Priority::LOWEST)));
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns < 200, "who is in between had {turns} turns");
}

/// Has turns until somebody urgent, who comes in the middle, has the value.
async fn between(value: Arc<Mutex<u32>>, turns: Arc<AtomicU32>) {
    let mut urgent = None;
    while turns.fetch_add(1, Ordering::Relaxed) < 1000 {
        if turns.load(Ordering::Relaxed) == 100 {
            let value = value.clone();
            urgent = Some(spawn(Priority::HIGHEST, "urgent", async move { *value.lock().await }));
        }
        if urgent.as_ref().is_some_and(crate::JoinHandle::is_finished) {
            break;
        }
        yield_now().await;
    }
    if let Some(urgent) = urgent {
        assert_eq!(urgent.await, Ok(1));
    }
}

/// Who only looks whether it has to wait is not given the lock, whoever goes on with the future is.
#[test]
fn who_only_looks_takes_no_mutex() {
    let _turn = turn();
    let value = Mutex::new(5);
    let mut lock = core::pin::pin!(value.lock());
    let mut looks = core::task::Context::from_waker(crate::looking());
    assert!(lock.as_mut().poll(&mut looks).is_pending());
    assert_eq!(block_on(async { *value.lock().await }), 5);
    assert_eq!(*block_on(lock), 5);
}

#[test]
fn the_trace_tells_a_coroutines_life() {
    let _turn = turn();
    hal::record::set_recording(true);
    let task = spawn(Priority::NORMAL, "traced", async {});
    let id = task.id();
    block_on(task).unwrap();
    hal::record::set_recording(false);
    let events: Vec<_> = hal::record::reader(0).unwrap().filter_map(|r| r.event()).collect();
    for event in [
        trace::Event::Spawn { task: id, parent: 0 },
        trace::Event::Name { task: id, part: 0, text: *b"traced\0\0" },
        trace::Event::PollBegin { task: id },
        trace::Event::PollEnd { task: id, finished: true },
    ] {
        assert!(events.contains(&event), "{event:?}");
    }
}
