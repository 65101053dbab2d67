//! Least served first. The key of a task is what its owner has used of the CPU; the owner keeps it up to date.
//!
//! Each worker has a *floor* for each priority: what those that it serves have used by now, the rank that it has taken last. Who
//! comes with less, since it has slept or is new, is ranked there, and so gets no more of the worker than who has waited for it
//! all the time. Its key becomes the floor, too: if the owner does not forget the difference, it would have it again the next time.
//! Who comes with much more, since it has had a worker with less to do, is ranked at most [`LAG`] above. The floor never falls.
//!
//! A key is what has been used in its low bits, in any unit; above these, how far behind that the task goes in any case, in units of
//! [`STEP`]: for one whose owner has others that wait; and [`BEHIND`].

use core::ptr::NonNull;

use super::{Policy, RANKED};
use crate::interface::Header;
use crate::queue::RunQueue;
use crate::{Priority, crossing};

pub(super) const POLICY: Policy = Policy { group, rank, slice };

/// In the key of a task: it goes behind the first that waits, however little its owner has used.
pub const BEHIND: u64 = 1 << 63;
/// Where the steps begin in a key.
const STEPS: u32 = 49;
/// The most that can have been used.
const MOST: u64 = (1 << STEPS) - 1;
/// The most steps.
const MOST_STEPS: u64 = (BEHIND >> STEPS) - 1;
/// What a step is, in the unit of what is used.
pub const STEP: u64 = 1 << 14;
/// How far above the floor a task can be ranked, but for its steps.
pub const LAG: u64 = 100 * STEP;

/// The key of a task whose owner has used so much, and that goes so many steps behind that.
#[inline]
#[must_use]
pub const fn key(used: u64, steps: u64) -> u64 {
    let used = if used < MOST { used } else { MOST };
    let steps = if steps < MOST_STEPS { steps } else { MOST_STEPS };
    used | steps << STEPS
}

/// What has been used by that key.
#[inline]
#[must_use]
pub const fn used(key: u64) -> u64 {
    key & MOST
}

/// The steps in that key.
#[inline]
#[must_use]
pub const fn steps(key: u64) -> u64 {
    key >> STEPS & MOST_STEPS
}

/// A task is served that is in its queue alone, and need not be ranked.
#[cold]
#[inline(never)]
pub(crate) fn serve_alone(header: &Header, queue: &RunQueue, priority: Priority) {
    let (key, floor) = (header.key(), queue.floor(priority));
    if used(key) < floor {
        header.set_key(key & !MOST | floor);
    }
    queue.raise_floor(priority, used(key));
}

/// Ranks a task among those of its queue.
#[inline]
fn place(header: &Header, first: u64) -> u64 {
    let key = header.key();
    let (used, floor) = (used(key), header.home().queue.floor(header.priority()));
    if used < floor {
        header.set_key(key & !MOST | floor);
    }
    let rank = used.max(floor).min(floor.saturating_add(LAG)) + steps(key) * STEP;
    if key & BEHIND == 0 { rank } else { rank.max(first) }
}

crossing! {
    /// # Safety
    /// None is needed.
    unsafe fn group() -> u32 {
        RANKED
    }

    /// # Safety
    /// The task is alive.
    unsafe fn rank(task: NonNull<Header>, _arrival: u64, first: u64) -> u64 {
        // SAFETY: by contract.
        place(unsafe { task.as_ref() }, first)
    }

    /// As round robin.
    ///
    /// # Safety
    /// None is needed.
    unsafe fn slice() -> u32 {
        2
    }
}
