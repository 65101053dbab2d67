//! Earliest deadline first. The key of a task is its deadline, in whatever unit its user likes.

use core::ptr::NonNull;

use super::{Policy, RANKED};
use crate::crossing;
use crate::interface::Header;

pub(super) const POLICY: Policy = Policy { group, rank, slice };

crossing! {
    /// # Safety
    /// None is needed.
    unsafe fn group() -> u32 {
        RANKED
    }

    /// # Safety
    /// The task is alive.
    unsafe fn rank(task: NonNull<Header>, _arrival: u64, _first: u64) -> u64 {
        // SAFETY: by contract.
        unsafe { task.as_ref() }.key()
    }

    /// One tick: an earlier deadline that has come meanwhile does not wait longer than that.
    ///
    /// # Safety
    /// None is needed.
    unsafe fn slice() -> u32 {
        1
    }
}
