//! Tasks that are kept among some workers of a pool.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{Calls, drain, pool, stuck};
use crate::{Birth, JoinHandle, Outcome, Pool, Priority, policy, yield_now};

#[test]
fn a_queued_task_moves_at_once_and_calls_its_new_worker() {
    let (pool, calls) = pool(3);
    let task = pool.spawn(Priority::NORMAL, async {});
    pool.set_workers(&task.task(), 0b001);
    assert!(pool.set_idle(2));
    calls.take();
    pool.set_workers(&task.task(), 0b100);
    assert_eq!((task.task().worker(), calls.take()), (2, vec![(2, 16)]));
    pool.clear_idle(2);
    assert_eq!((pool.run_next(0), pool.run_next(1)), (None, None), "nobody else may take it");
    assert_eq!(pool.run_next(2), Some(Outcome::Complete));
}

#[test]
fn who_runs_elsewhere_goes_on_where_it_may_when_it_gives_way() {
    let (pool, _) = pool(2);
    let task = pool.spawn(Priority::NORMAL, async {
        yield_now().await;
        yield_now().await;
    });
    let other = pool.spawn_on(0, Priority::NORMAL, async {
        for _ in 0..4 {
            yield_now().await;
        }
    });
    let running = pool.next(0).unwrap();
    pool.set_workers(&task.task(), 0b10);
    assert_eq!(running.run(), Outcome::Requeued);
    assert_eq!(task.task().worker(), 1);
    drain(&pool, 0);
    assert!(!task.is_finished() && other.is_finished());
    // It is alone there, and stays.
    assert_eq!(pool.run_next(1), Some(Outcome::Requeued));
    assert_eq!(pool.run_next(1), Some(Outcome::Complete));
}

#[test]
fn who_takes_turns_with_others_leaves_all_the_same() {
    struct Nothing;
    impl crate::Around for Nothing {
        type Alone = ();
        fn begin(&self, _: u64) {}
        fn end(&self, _: u64, _: Outcome) {}
        fn alone(&self) {}
    }
    let (pool, _) = pool(2);
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let task = pool.spawn(Priority::NORMAL, async {
            for _ in 0..3 {
                yield_now().await;
            }
        });
        pool.set_workers(&task.task(), 0b01);
        tasks.push(task);
    }
    let first = pool.next(0).unwrap();
    pool.set_workers(&tasks[0].task(), 0b10);
    pool.set_workers(&tasks[1].task(), 0b10);
    first.run_in_turn(&Nothing);
    assert!(pool.run_next(0).is_none(), "both have left");
    drain(&pool, 1);
    assert!(tasks.iter().all(crate::JoinHandle::is_finished));
}

#[test]
fn what_waits_for_a_busy_worker_is_taken_by_another_that_it_may_run_on() {
    for policy in [policy::ROUND_ROBIN, policy::FAIR, policy::DEADLINE] {
        let (pool, _) = pool(3);
        let birth = Birth::new(Priority::new(17)).under(policy, 5);
        let of = |workers| {
            let task = pool.spawn_with(&birth, async {});
            pool.set_workers(&task.task(), workers);
            task
        };
        let _first = of(0b001);
        let busy = pool.next(0).unwrap();
        let tasks = [of(0b001), of(0b001), of(0b011)];
        let third = tasks[2].task();
        // As if worker 1 had been busy when it came.
        pool.set_workers(&third, 0b001);
        pool.set_workers(&third, 0b011);
        assert_eq!(third.worker(), 0);
        assert!(!pool.set_idle(1), "there is something for it");
        assert_eq!(pool.run_next(2), None, "not for this one");
        assert!(pool.set_idle(2));
        assert_eq!(pool.run_next(1), Some(Outcome::Complete));
        assert!(tasks[2].is_finished());
        assert!(pool.set_idle(1));
        drop(busy);
    }
}

/// As if worker 1 had been busy when it came: it waits for worker 0, and may run on the other, too.
fn let_go(pool: &Pool<Calls>, task: &JoinHandle<()>) {
    pool.set_workers(&task.task(), 0b001);
    pool.set_workers(&task.task(), 0b011);
    assert_eq!(task.task().worker(), 0);
}

#[test]
fn a_thief_takes_the_most_urgent_whether_kept_or_not() {
    let (pool, _) = pool(3);
    let _first = pool.spawn_on(0, Priority::HIGHEST, async {});
    let busy = pool.next(0).unwrap();
    let _pinned = pool.spawn_on(0, Priority::new(8), async {});
    let [free, urgent, low] = [16, 12, 20].map(|priority| pool.spawn(Priority::new(priority), async {}));
    let_go(&pool, &urgent);
    let_go(&pool, &low);
    pool.set_workers(&free.task(), 0b001);
    pool.set_workers(&free.task(), 0);
    assert_eq!(free.task().worker(), 0);
    let finished = || [&free, &urgent, &low].map(JoinHandle::is_finished);
    let mut found = Vec::new();
    while pool.run_next(1).is_some() {
        found.push(finished());
    }
    assert_eq!(found, [[false, true, false], [true, true, false], [true, true, true]]);
    drop(busy);
}

/// Whatever the shape of what is ranked.
#[test]
fn a_kept_one_is_found_below_others() {
    for (kept, taken) in (0..8).flat_map(|kept| (0..4).map(move |taken| (kept, taken))) {
        let (pool, _) = pool(3);
        let ranked = |key| {
            let task = pool.spawn_with(&Birth::new(Priority::new(17)).under(policy::DEADLINE, key), async {});
            pool.set_workers(&task.task(), 0b001);
            task
        };
        let _busy = ranked(0);
        let running = pool.next(0).unwrap();
        // Each that is taken brings those below it in pairs.
        let _first: Vec<_> = (1..=taken).map(ranked).collect();
        let tasks: Vec<_> = (0..8).map(|key| ranked(10 + key)).collect();
        let_go(&pool, &tasks[kept]);
        (0..taken).for_each(|_| assert!(pool.run_next(0).is_some()));
        assert!(!pool.set_idle(1), "number {kept} is for it, behind {taken}");
        assert_eq!(pool.run_next(1), Some(Outcome::Complete));
        assert!(tasks[kept].is_finished() && pool.set_idle(1));
        drop(running);
    }
}

#[test]
fn those_that_take_turns_where_they_are_kept_call_nobody_else() {
    let (pool, calls) = pool(2);
    let tasks = [0, 1].map(|_| {
        let task = pool.spawn(Priority::NORMAL, async {
            loop {
                yield_now().await;
            }
        });
        pool.set_workers(&task.task(), 0b01);
        task
    });
    assert!(pool.set_idle(1));
    calls.take();
    for _ in 0..10 {
        assert_eq!(pool.run_next(0), Some(Outcome::Requeued));
    }
    assert_eq!(calls.take(), vec![]);
    assert_eq!(pool.idle_workers(), 0b10);
    tasks.iter().for_each(JoinHandle::abort);
    drain(&pool, 0);
}

#[test]
fn a_kept_task_goes_to_an_idle_worker_of_its_own_and_calls_no_other() {
    let (pool, calls) = pool(4);
    let slot = Arc::new(Mutex::new(None));
    let task = pool.spawn(Priority::NORMAL, stuck(&slot));
    pool.set_workers(&task.task(), 0b1100);
    (0..4).for_each(|worker| drain(&pool, worker));
    (0..4).for_each(|worker| assert!(pool.set_idle(worker)));
    let home = task.task().worker();
    pool.clear_idle(home);
    let _busy = pool.spawn_on(home, Priority::NORMAL, async {});
    let running = pool.next(home).unwrap();
    calls.take();
    slot.lock().unwrap().take().unwrap().wake();
    let other = 5 - home;
    assert_eq!((task.task().worker(), calls.take()), (other, vec![(other, 16)]));
    drop(running);
}

#[test]
fn what_belongs_to_a_worker_calls_no_other_however_many_are_idle() {
    let (pool, calls) = pool(3);
    assert!(pool.set_idle(1) && pool.set_idle(2));
    let _low = pool.spawn_on(0, Priority::new(20), async {});
    assert_eq!(calls.take(), vec![], "its worker looks by itself");
    let running = pool.next(0).unwrap();
    let _normal = pool.spawn_on(0, Priority::NORMAL, async {});
    let _lowest = pool.spawn_on(0, Priority::LOWEST, async {});
    assert_eq!(calls.take(), vec![(0, 16)], "one call, to who runs something less urgent");
    let _other = pool.spawn_on(2, Priority::NORMAL, async {});
    assert_eq!(calls.take(), vec![(2, 16)]);
    assert_eq!(pool.idle_workers(), 0b010);
    drop(running);
    assert_eq!(calls.take(), vec![]);
}

#[test]
fn none_and_all_are_no_choice_and_a_worker_for_ever_stays() {
    let (pool, _) = pool(2);
    let free = pool.spawn(Priority::NORMAL, async {});
    for workers in [0b01, 0b10, 0, 0b01, 0b11, 0b1111_1100] {
        pool.set_workers(&free.task(), workers);
    }
    let pinned = pool.spawn_on(0, Priority::NORMAL, async {});
    pool.set_workers(&pinned.task(), 0b10);
    assert_eq!(pinned.task().worker(), 0);
    drain(&pool, 0);
    drain(&pool, 1);
    assert!(free.is_finished() && pinned.is_finished());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 1 } else { 128 }, ..Default::default() })]

    /// Whatever is kept where and when, a poll that begins after the last change is at a worker that it may be at, no worker
    /// idles beside what it could run, and all comes to its end.
    #[test]
    fn polls_are_where_they_may_be(
        births in prop::collection::vec((0..32u8, 0..4u32), 1..10),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0..16u8, 0..3usize), 0..60),
    ) {
        const WORKERS: usize = 3;
        let (pool, _) = pool(WORKERS);
        let at = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for (priority, policy) in births {
            let (at, allowed) = (Arc::clone(&at), Arc::new(AtomicU8::new(0b111)));
            let seen = Arc::clone(&allowed);
            let birth = Birth::new(Priority::new(priority)).under(policy, 3);
            let task = pool.spawn_with(&birth, async move {
                for _ in 0..4 {
                    assert!(seen.load(Ordering::Relaxed) >> at.load(Ordering::Relaxed) & 1 != 0);
                    yield_now().await;
                }
            });
            tasks.push((task, allowed));
        }
        let run = |worker: usize| {
            at.store(worker, Ordering::Relaxed);
            pool.run_next(worker)
        };
        for (task, workers, worker) in steps {
            let (task, allowed) = task.get(&tasks);
            let workers = workers & 0b111;
            allowed.store(if workers == 0 { 0b111 } else { workers }, Ordering::Relaxed);
            pool.set_workers(&task.task(), workers);
            let _ = run(worker);
        }
        let mut runs = BTreeMap::new();
        while (0..WORKERS).any(|worker| {
            let found = run(worker).is_some();
            *runs.entry(worker).or_insert(0) += u32::from(found);
            found
        }) {}
        prop_assert!((0..WORKERS).all(|worker| pool.set_idle(worker)), "{runs:?}");
        prop_assert!(tasks.iter().all(|(task, _)| task.is_finished()));
    }
}
