//! Least served first. The key of a task is what its owner has used of the CPU; the owner keeps it up to date.

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
    unsafe fn rank(task: NonNull<Header>, _arrival: u64) -> u64 {
        // SAFETY: by contract.
        unsafe { task.as_ref() }.key()
    }

    /// As round robin.
    ///
    /// # Safety
    /// None is needed.
    unsafe fn slice() -> u32 {
        2
    }
}
