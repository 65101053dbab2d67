//! A policy of one's own: this file is all of it (G1).

use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use sched::crossing;
use sched::interface::Header;

use super::{Calls, drain, join_now};
use crate::{Birth, Policy, Pool, Priority, policy, yield_now};

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
    unsafe fn rank(_task: NonNull<Header>, arrival: u64) -> u64 {
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
