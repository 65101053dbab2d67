//! A policy of one's own: this file is all of it (G1).

use std::future::poll_fn;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use sched::crossing;
use sched::interface::Header;

use super::{Calls, drain, join_now, pool};
use crate::{Birth, JoinHandle, Outcome, Policy, Pool, Priority, policy, yield_now};

/// The task that has come last is first.
static LAST_IN_FIRST_OUT: [Policy; 1] = [Policy { group, rank, slice }];
/// Its number: the first behind the pool's own.
const NUMBER: u32 = policy::BUILT_IN_COUNT;

crossing! {
    /// # Safety
    /// None is needed.
    unsafe fn group() -> u32 {
        policy::RANKED
    }

    /// # Safety
    /// None is needed.
    unsafe fn rank(_task: NonNull<Header>, arrival: u64, _first: u64) -> u64 {
        u64::MAX - arrival
    }

    /// # Safety
    /// None is needed.
    unsafe fn slice() -> u32 {
        3
    }
}

#[test]
fn a_policy_is_added_in_one_file_and_picked_by_number() {
    // SAFETY: the functions touch nothing.
    let pool: Pool<Calls> = unsafe { Pool::with_policies(1, Calls::default(), &LAST_IN_FIRST_OUT) };
    let log = Arc::new(Mutex::new(Vec::new()));
    let births = [(0, 0), (NUMBER, 0), (NUMBER, 0), (NUMBER + 1, 0), (policy::DEADLINE, 7), (policy::DEADLINE, 5)];
    for (name, (number, key)) in births.into_iter().enumerate() {
        let log = Arc::clone(&log);
        let birth = Birth::new(Priority::NORMAL).under(number, key);
        pool.spawn_with(&birth, async move { log.lock().unwrap().push(name) }).detach();
    }
    drain(&pool, 0);
    // Ranked ones by rank: the deadlines are the smaller numbers. Then in turn; an unknown number is round robin.
    assert_eq!(*log.lock().unwrap(), [5, 4, 2, 1, 0, 3]);
}

#[test]
fn the_slice_of_a_task_is_that_of_its_policy() {
    // SAFETY: as above.
    let pool: Arc<Pool<Calls>> = Arc::new(unsafe { Pool::with_policies(1, Calls::default(), &LAST_IN_FIRST_OUT) });
    let slices = [(policy::FIFO, None), (policy::ROUND_ROBIN, Some(2)), (policy::DEADLINE, Some(1)), (NUMBER, Some(3))];
    for (number, slice) in slices {
        let inside = Arc::clone(&pool);
        let ticks = pool.spawn_with(&Birth::new(Priority::NORMAL).under(number, 1), async move {
            assert!(!inside.tick(0), "nobody waits");
            assert!(!inside.tick(0) && !inside.tick(0));
            yield_now().await;
            inside.spawn(Priority::NORMAL, async {}).detach();
            (1..6).find(|_| inside.tick(0))
        });
        drain(&pool, 0);
        assert_eq!(join_now(ticks), Some(Ok(slice)), "policy {number}");
    }
}

/// A fair task that waits to be woken, and has been polled once.
fn fair(pool: &Pool<Calls>, key: u64) -> JoinHandle<()> {
    let birth = Birth::new(Priority::NORMAL).under(policy::FAIR, key);
    let handle = pool.spawn_with(&birth, poll_fn(|_| Poll::<()>::Pending));
    assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
    handle
}

#[test]
fn who_has_slept_comes_first_and_keeps_nobody_from_it_for_long() {
    let (pool, _) = pool(1);
    let (sleeper, [busy, other]) = (fair(&pool, 2), [1_000, 1_020].map(|used| fair(&pool, used)));
    // The worker's floor is 1,020 by now, what was served last: that is what the sleeper counts as, behind nobody but who was there before.
    for task in [&busy, &sleeper, &other] {
        task.task().wake();
    }
    let next = || pool.next(0).map(|found| (found.id(), found.run()).0);
    assert_eq!([next(), next(), next()], [&busy, &sleeper, &other].map(|task| Some(task.id())));
    // And by what they have used since then.
    for (task, used) in [(&busy, 1_060), (&sleeper, 1_040), (&other, 1_050)] {
        task.task().set_key(used);
        task.task().wake();
    }
    assert_eq!([next(), next(), next()], [&sleeper, &other, &busy].map(|task| Some(task.id())));
}

#[test]
fn who_yields_goes_behind_the_first_that_waits() {
    let (pool, _) = pool(1);
    let tasks = [100, 200, 300].map(|used| fair(&pool, used));
    tasks[2].task().set_key(1_000);
    tasks[1].task().set_key(2_000);
    tasks[0].task().set_key(500 | policy::fair::BEHIND);
    [2, 1, 0].into_iter().for_each(|index: usize| tasks[index].task().wake());
    let order: Vec<_> = (0..3).map(|_| pool.next(0).map(|found| (found.id(), found.run()).0)).collect();
    assert_eq!(order, [&tasks[2], &tasks[0], &tasks[1]].map(|task| Some(task.id())));
}

#[test]
fn who_has_used_much_elsewhere_waits_for_a_bounded_time() {
    let (pool, _) = pool(1);
    let [here, elsewhere] = [100, 200].map(|used| fair(&pool, used));
    let floor = 200;
    elsewhere.task().set_key(policy::fair::key(1 << 40, 3));
    let bound = floor + policy::fair::LAG + 3 * policy::fair::STEP;
    here.task().set_key(bound + 1);
    [&here, &elsewhere].into_iter().for_each(|task| task.task().wake());
    // Without the bound it would be the last by far; `here` itself is not more than that above the floor.
    let next = || pool.next(0).map(|found| (found.id(), found.run()).0);
    assert_eq!([next(), next()], [&here, &elsewhere].map(|task| Some(task.id())));
    // Ranked at the bound, it was not above what comes next at `bound + 1`, which is not so far from the floor now.
    here.task().set_key(bound + 1);
    elsewhere.task().set_key(bound);
    [&here, &elsewhere].into_iter().for_each(|task| task.task().wake());
    assert_eq!([next(), next()], [&elsewhere, &here].map(|task| Some(task.id())));
}

/// Each has used more than [`LAG`](policy::fair::LAG) between two turns, so all are ranked at the bound, by their steps alone.
#[test]
fn who_is_served_by_ageing_alone_has_its_turn_however_many_steps_it_goes_behind() {
    const LOW: Priority = Priority::new(20);
    let (pool, _) = pool(1);
    let key = |round: u64, steps| policy::fair::key((round + 2) * policy::fair::LAG, steps);
    let tasks = [0, 0, 5].map(|steps| fair(&pool, key(0, steps)));
    for task in &tasks {
        pool.set_class(&task.task(), &Birth::new(LOW).under(policy::FAIR, task.task().key()));
        task.task().wake();
    }
    // Something more urgent goes on all the time.
    let urgent =
        pool.spawn(Priority::NORMAL, poll_fn(|context| (context.waker().wake_by_ref(), Poll::<()>::Pending).1));
    let mut order = Vec::new();
    for _ in 0..7 * sched::AGE {
        let _ = pool.tick(0);
        let found = pool.next(0).map(|found| (found.id(), found.run()).0);
        if let Some(index) = tasks.iter().position(|task| Some(task.id()) == found) {
            order.push(index);
            tasks[index].task().set_key(key(order.len() as u64, 0));
            tasks[index].task().wake();
        }
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    urgent.detach();
}

#[test]
fn what_is_forgotten_is_in_the_key() {
    let (pool, _) = pool(1);
    let [slept, busy] = [10, 500].map(|used| fair(&pool, used));
    [&slept, &busy].into_iter().for_each(|task| task.task().wake());
    drain(&pool, 0);
    assert_eq!([&slept, &busy].map(|task| policy::fair::used(task.task().key())), [500, 500]);
}

#[test]
fn a_class_can_be_changed_while_the_task_is_queued() {
    let (pool, _) = pool(1);
    let [one, two, three] = [1, 2, 3].map(|used| fair(&pool, used));
    [&one, &two, &three].into_iter().for_each(|task| task.task().wake());
    // Behind those that are ranked, and behind all of a more urgent priority.
    pool.set_class(&one.task(), &Birth::new(Priority::NORMAL).under(policy::FIFO, 0));
    pool.set_class(&three.task(), &Birth::new(Priority::HIGHEST));
    let order: Vec<_> = (0..3).map(|_| pool.next(0).map(|found| (found.id(), found.run()).0)).collect();
    assert_eq!(order, [&three, &two, &one].map(|task| Some(task.id())));
}
