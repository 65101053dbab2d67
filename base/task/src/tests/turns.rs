//! A poll after which the next of its equals is taken at once: the same order as if it were looked for.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{Calls, drain, pool};
use crate::{Around, Birth, Outcome, Pool, Priority, yield_now};

/// Counts polls, and looks whether what is polled counts as running. `comes` is called at the end of each pick, once it is over.
struct Counted<'p, F: Fn()> {
    pool: &'p Pool<Calls>,
    worker: usize,
    priority: Priority,
    polls: Cell<usize>,
    last: Cell<Option<Outcome>>,
    comes: F,
}

/// The end of a pick.
struct Picked<F: Fn()>(F);

impl<F: Fn()> Drop for Picked<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl<F: Fn() + Clone> Around for Counted<'_, F> {
    type Alone = Picked<F>;

    fn begin(&self, _: u64) {
        self.polls.set(self.polls.get() + 1);
        assert_eq!(self.pool.running(self.worker), Some(self.priority), "it counts as running");
    }

    fn end(&self, _: u64, outcome: Outcome) {
        self.last.set(Some(outcome));
    }

    fn alone(&self) -> Picked<F> {
        Picked(self.comes.clone())
    }
}

/// Polls what is next, and its equals in turn: how many polls, and what came of the last.
fn run_turns(pool: &Pool<Calls>, worker: usize, comes: impl Fn() + Clone) -> Option<(usize, Outcome)> {
    let first = pool.next(worker)?;
    let (polls, last) = (Cell::new(0), Cell::new(None));
    let counted = Counted { pool, worker, priority: first.priority(), polls, last, comes };
    first.run_in_turn(&counted);
    assert_eq!(pool.running(worker), None);
    Some((counted.polls.get(), counted.last.get()?))
}

/// Polls what there is, in turn where there are turns; how many of the tasks were taken in turn.
fn drain_in_turn(pool: &Pool<Calls>, worker: usize) -> usize {
    let mut turns = 0;
    while let Some((polls, _)) = run_turns(pool, worker, || ()) {
        turns += polls - 1;
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
    assert_eq!(run_turns(&pool, 0, || ()), Some((1, Outcome::Requeued)));
    assert_eq!(pool.next(0).unwrap().priority(), Priority::HIGHEST);
    drain(&pool, 0);
}

/// Something urgent comes when the next has been taken already.
#[test]
fn a_turn_that_is_given_back_is_not_lost() {
    let (pool, _) = pool(1);
    let tasks: Vec<_> = (0..2).map(|_| pool.spawn(Priority::NORMAL, yield_now())).collect();
    let comes = || pool.spawn(Priority::HIGHEST, async {}).detach();
    assert_eq!(run_turns(&pool, 0, comes), Some((1, Outcome::Requeued)));
    assert_eq!(pool.highest_ready(0), Some(Priority::HIGHEST));
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
