//! Nothing starves, and nothing less urgent holds up what is more urgent: ageing, inheritance, coroutines that behave badly.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use proptest::prelude::*;

use super::{drain, join_now, pool, stuck};
use crate::{AGE, Birth, JoinHandle, Outcome, Priority, TaskRef, current, policy, yield_now};

/// A task that is always ready: counts its polls, and is ranked by their number if its policy ranks.
fn always_ready(pool: &super::Pool<super::Calls>, birth: &Birth) -> Arc<AtomicU64> {
    let polls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&polls);
    pool.spawn_with(birth, async move {
        let own = current().await.unwrap();
        loop {
            own.set_key(count.fetch_add(1, Ordering::Relaxed));
            yield_now().await;
        }
    })
    .detach();
    polls
}

fn births() -> impl Strategy<Value = Vec<Birth>> {
    let birth = (0..32u8, 0..4u32, any::<bool>()).prop_map(|(priority, policy, is_pinned)| {
        let birth = Birth::new(Priority::new(priority)).under(policy, 0);
        if is_pinned { birth.on(0) } else { birth }
    });
    prop::collection::vec(birth, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 1 } else { 64 }, ..Default::default() })]

    /// However many are always ready, and whatever their priorities, each is served within AGE ticks and one poll of each
    /// other, once for each that is in its list.
    #[test]
    fn bypass_is_bounded(births in births()) {
        let (pool, _) = pool(1);
        let tasks = births.len() as u64;
        let bound = tasks * (u64::from(AGE) + tasks);
        let polls: Vec<_> = births.iter().map(|birth| always_ready(&pool, birth)).collect();
        let mut served = vec![(0, 0); births.len()];
        for now in 0..4 * bound {
            prop_assert_eq!(pool.run_next(0), Some(Outcome::Requeued));
            pool.tick(0);
            for (polls, (seen, at)) in polls.iter().zip(&mut served) {
                let polls = polls.load(Ordering::Relaxed);
                if polls != *seen {
                    (*seen, *at) = (polls, now);
                }
                prop_assert!(now - *at <= bound, "not served for {} ticks", now - *at);
            }
        }
    }
}

#[test]
fn what_is_aged_runs_as_what_it_was_put_before() {
    let (pool, _) = pool(1);
    let busy = always_ready(&pool, &Birth::new(Priority::new(4)));
    let low = pool.spawn(Priority::LOWEST, async {});
    let mut ticks = 0;
    let aged = Some((low.id(), Priority::new(4)));
    while pool.next(0).map(|next| (next.id(), next.priority())) != aged {
        pool.tick(0);
        ticks += 1;
        assert!(ticks <= u32::from(AGE));
    }
    assert!(!low.is_finished(), "it was given back each time");
    assert_eq!(busy.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_aged_is_ahead_for_a_slice() {
    let pool = Arc::new(pool(1).0);
    let inside = Arc::clone(&pool);
    always_ready(&pool, &Birth::new(Priority::new(4)));
    let low = pool.spawn(Priority::LOWEST, async move {
        let ran_at = inside.running(0);
        let ticks = (1..=AGE).find(|_| inside.tick(0));
        (ran_at, ticks, inside.running(0))
    });
    for _ in 0..=AGE {
        pool.run_many(0, 1, &false.into());
        pool.tick(0);
    }
    // Round robin's slice is two ticks.
    assert_eq!(join_now(low), Some(Ok((Some(Priority::new(4)), Some(2), Some(Priority::LOWEST)))));
}

#[test]
fn what_is_preempted_for_ever_is_put_ahead_for_a_slice() {
    let pool = Arc::new(pool(1).0);
    let (outside, inside) = (Arc::clone(&pool), Arc::clone(&pool));
    let low = pool.spawn(Priority::LOWEST, async move {
        let birth = Birth::new(Priority::new(4)).under(policy::FIFO, 0);
        let urgent = outside.spawn_with(&birth, async move { (1..=2 * AGE).find(|_| inside.tick(0)) });
        assert_eq!(outside.run_above(0, Priority::LOWEST), Some(Outcome::Complete));
        let ran_at = outside.running(0);
        let ticks = (1..=AGE).find(|_| {
            outside.tick(0);
            outside.running(0) == Some(Priority::LOWEST)
        });
        (urgent.await, ran_at, ticks)
    });
    drain(&pool, 0);
    assert_eq!(join_now(low), Some(Ok((Ok(Some(AGE)), Some(Priority::new(4)), Some(2)))));
}

/// What interrupts a worker does this on its way back.
fn preempt(pool: &super::Pool<super::Calls>) {
    while let Some(limit) = pool.running(0) {
        if pool.run_above(0, limit).is_none() {
            return;
        }
    }
}

#[test]
fn what_is_preempted_goes_on_though_what_is_above_it_only_yields() {
    let pool = Arc::new(pool(1).0);
    let (outside, inside) = (Arc::clone(&pool), Arc::clone(&pool));
    let low = pool.spawn(Priority::LOWEST, async move {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let _urgent = outside.spawn_with(&Birth::new(Priority::new(4)).under(policy::FIFO, 0), async move {
            while counted.fetch_add(1, Ordering::Relaxed) < 3 * usize::from(AGE) {
                inside.tick(0);
                yield_now().await;
            }
        });
        preempt(&outside);
        let before = polls.load(Ordering::Relaxed);
        // One tick of its own, and it has to wait as long again.
        outside.tick(0);
        (before, outside.running(0))
    });
    drain(&pool, 0);
    assert_eq!(join_now(low), Some(Ok((usize::from(AGE), Some(Priority::new(4))))));
}

#[test]
fn what_is_preempted_waits_as_what_is_queued() {
    let pool = Arc::new(pool(1).0);
    let (outside, inside) = (Arc::clone(&pool), Arc::clone(&pool));
    let low = pool.spawn(Priority::new(17), async move {
        let urgent = outside.spawn(Priority::new(16), async move {
            [(17, false), (18, true), (18, false)]
                .map(|(priority, above)| inside.raise_floor(0, Priority::new(priority), above, 5))
        });
        preempt(&outside);
        urgent.await
    });
    drain(&pool, 0);
    assert_eq!(join_now(low), Some(Ok(Ok([0, 0, 5]))));
}

#[test]
fn what_never_ends_its_poll_is_told_to_give_way_to_what_is_aged() {
    let pool = Arc::new(pool(1).0);
    let inside = Arc::clone(&pool);
    let urgent = pool.spawn_with(&Birth::new(Priority::HIGHEST).under(policy::FIFO, 0), async move {
        let low = inside.spawn(Priority::LOWEST, async {});
        let ticks = (1..=2 * AGE).find(|_| inside.tick(0));
        yield_now().await;
        (ticks, low.is_finished())
    });
    drain(&pool, 0);
    assert_eq!(join_now(urgent), Some(Ok((Some(AGE), true))));
}

#[test]
fn a_task_that_wakes_itself_for_ever_keeps_nobody_from_running() {
    let (pool, _) = pool(1);
    let selfish = always_ready(&pool, &Birth::new(Priority::NORMAL));
    let equal = pool.spawn(Priority::NORMAL, async {});
    let lower = pool.spawn(Priority::LOWEST, async {});
    for _ in 0..AGE + 3 {
        pool.run_many(0, 1, &false.into());
        pool.tick(0);
    }
    assert!(equal.is_finished() && lower.is_finished());
    assert!(selfish.load(Ordering::Relaxed) > u64::from(AGE / 2));
}

#[test]
fn a_task_wakes_very_many_others() {
    let count = if cfg!(miri) { 50 } else { 100_000 };
    let (pool, _) = pool(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<TaskRef> = (0..count)
        .map(|_| {
            let ran = Arc::clone(&ran);
            let mut first = true;
            let future = poll_fn(move |_| {
                if std::mem::take(&mut first) {
                    return Poll::Pending;
                }
                ran.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(())
            });
            pool.spawn(Priority::NORMAL, future).task()
        })
        .collect();
    drain(&pool, 0);
    pool.spawn(Priority::HIGHEST, async move { waiting.iter().for_each(TaskRef::wake) }).detach();
    let mut polls = 0;
    loop {
        let more = pool.run_many(0, 1000, &false.into());
        polls += more as usize;
        if more == 0 {
            break;
        }
    }
    assert_eq!((ran.load(Ordering::Relaxed), polls), (count, count + 1));
}

#[test]
fn a_task_that_is_dropped_while_it_runs_elsewhere_ends_once() {
    let (pool, _) = pool(2);
    let slot = Arc::default();
    let task = pool.spawn(Priority::NORMAL, stuck(&slot));
    let running = pool.next(1).unwrap();
    let reference = task.task();
    task.abort();
    drop(task);
    reference.set_priority(Priority::HIGHEST);
    assert_eq!(running.run(), Outcome::Cancelled);
    assert!(reference.is_finished());
    reference.wake();
    assert_eq!(pool.run_next(0), None);
}

/// Each of a chain waits for the next, which is less urgent, and something in between would run for ever.
#[test]
fn a_chain_of_eight_is_not_held_up_by_what_lies_between() {
    const LINKS: u8 = 8;
    let (pool, _) = pool(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waits_for_it: Option<TaskRef> = None;
    let chain: Vec<JoinHandle<()>> = (0..LINKS)
        .map(|number| {
            let (order, before, mut is_first) = (Arc::clone(&order), waits_for_it.take(), true);
            let task = pool.spawn(
                Priority::new(20 + number),
                poll_fn(move |cx| {
                    if std::mem::take(&mut is_first) {
                        return Poll::Pending;
                    }
                    order.lock().unwrap().push(number);
                    // What the one before waits for is done.
                    TaskRef::from_waker(cx.waker()).unwrap().restore(Priority::LOWEST);
                    before.iter().for_each(TaskRef::wake);
                    Poll::Ready(())
                }),
            );
            assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
            waits_for_it = Some(task.task());
            task
        })
        .collect();
    let hog = always_ready(&pool, &Birth::new(Priority::NORMAL));
    let last = chain[usize::from(LINKS) - 1].task();
    // The last is ready, and behind the hog; then somebody urgent comes to wait for the first.
    last.wake();
    assert_eq!(pool.run_next(0), Some(Outcome::Requeued));
    chain.iter().for_each(|link| link.task().inherit(Priority::new(1)));
    for _ in 0..LINKS {
        assert_eq!(pool.run_next(0), Some(Outcome::Complete));
    }
    assert_eq!(*order.lock().unwrap(), [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(hog.load(Ordering::Relaxed), 1);
    assert_eq!(last.priority(), Priority::new(27));
}
