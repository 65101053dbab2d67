//! A poll after which the next of its equals is taken at once: the same order as if it were looked for.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{Calls, drain, pool};
use crate::{Birth, Outcome, Pool, Priority, yield_now};

/// Polls what there is, in turn where there are turns; how many of the tasks were taken in turn.
fn drain_in_turn(pool: &Pool<Calls>, worker: usize) -> usize {
    let mut turns = 0;
    while let Some(first) = pool.next(worker) {
        let mut next = first.run_in_turn(|| ()).1;
        while let Some(runnable) = next {
            turns += 1;
            assert_eq!(pool.running(worker), Some(runnable.priority()), "it counts as running");
            next = runnable.run_in_turn(|| ()).1;
        }
        assert_eq!(pool.running(worker), None);
    }
    turns
}

#[test]
fn equals_take_turns_without_a_call_to_anyone() {
    let (pool, calls) = pool(2);
    for _ in 0..2 {
        pool.spawn_on(0, Priority::NORMAL, async {
            for _ in 0..3 {
                yield_now().await;
            }
        })
        .detach();
    }
    calls.take();
    // Of eight polls, the first is looked for, and the one after a task has ended.
    assert_eq!(drain_in_turn(&pool, 0), 6);
    assert_eq!(calls.take(), []);
}

#[test]
fn a_yield_to_something_more_urgent_takes_no_turn() {
    let (pool, _) = pool(1);
    let pool = Arc::new(pool);
    let inside = Arc::clone(&pool);
    pool.spawn(Priority::NORMAL, async move {
        inside.spawn(Priority::HIGHEST, async {}).detach();
        yield_now().await;
    })
    .detach();
    pool.spawn(Priority::NORMAL, async {}).detach();
    let (outcome, next) = pool.next(0).unwrap().run_in_turn(|| ());
    assert_eq!((outcome, next.is_none()), (Outcome::Requeued, true));
    assert_eq!(pool.next(0).unwrap().priority(), Priority::HIGHEST);
    drain(&pool, 0);
}

#[test]
fn a_turn_that_is_given_back_is_not_lost() {
    let (pool, _) = pool(1);
    let tasks: Vec<_> = (0..2).map(|_| pool.spawn(Priority::NORMAL, yield_now())).collect();
    let (_, next) = pool.next(0).unwrap().run_in_turn(|| ());
    assert_eq!(next.as_ref().map(crate::Runnable::id), Some(tasks[1].id()));
    drop(next);
    assert_eq!(pool.running(0), None);
    drain(&pool, 0);
    assert!(tasks.iter().all(crate::JoinHandle::is_finished));
}

/// A task: its priority, its policy, whether it is pinned, and what it starts before each yield: nothing, or a task of a
/// priority.
type Plan = (u8, u32, bool, Vec<Option<u8>>);

fn plan() -> impl Strategy<Value = Plan> {
    let priority = || prop_oneof![Just(3u8), Just(20)];
    (
        priority(),
        prop_oneof![3 => Just(0), 1 => 1..4u32],
        any::<bool>(),
        prop::collection::vec(prop::option::of(priority()), 0..6),
    )
}

/// The order of all polls of such tasks.
fn order(plans: &[Plan], run: impl Fn(&Pool<Calls>)) -> Vec<(usize, usize)> {
    let pool = Arc::new(pool(2).0);
    let log = Arc::new(Mutex::new(Vec::new()));
    for (number, (priority, policy, is_pinned, starts)) in plans.iter().cloned().enumerate() {
        let (inside, log) = (Arc::clone(&pool), Arc::clone(&log));
        let birth = Birth::new(Priority::new(priority)).under(policy, number as u64 / 2);
        let task = async move {
            for (poll, start) in starts.into_iter().enumerate() {
                log.lock().unwrap().push((number, poll));
                if let Some(priority) = start {
                    let log = Arc::clone(&log);
                    let started = async move { log.lock().unwrap().push((number, 100 + poll)) };
                    inside.spawn(Priority::new(priority), started).detach();
                }
                yield_now().await;
            }
        };
        pool.spawn_with(&if is_pinned { birth.on(0) } else { birth }, task).detach();
    }
    run(&pool);
    Arc::into_inner(log).expect("all have ended").into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..Default::default() })]
    #[test]
    fn turns_keep_the_order(plans in prop::collection::vec(plan(), 1..8)) {
        let looked_for = order(&plans, |pool| drain(pool, 0));
        let in_turn = order(&plans, |pool| { drain_in_turn(pool, 0); });
        prop_assert_eq!(looked_for, in_turn);
    }
}
