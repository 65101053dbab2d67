//! First in, first out: in turn, and nobody's turn ends but by itself.

use core::ptr::NonNull;

use super::{IN_TURN, Policy};
use crate::crossing;
use crate::interface::Header;

pub(super) const POLICY: Policy = Policy { group, rank, slice };

crossing! {
    /// # Safety
    /// None is needed.
    unsafe fn group() -> u32 {
        IN_TURN
    }

    /// # Safety
    /// None is needed.
    unsafe fn rank(_task: NonNull<Header>, arrival: u64, _first: u64) -> u64 {
        arrival
    }

    /// # Safety
    /// None is needed.
    unsafe fn slice() -> u32 {
        0
    }
}
