//! Policies: in which order tasks of one priority run, and for how long while others wait.
//!
//! A policy is three functions, in a file of its own, and a number: its place in the pool's table. The table begins with
//! [`BUILT_IN`]; whoever makes a pool may append its own (see [`Port`](crate::Port)). A task names its policy by the number
//! at birth. A number that nobody has given a policy stands for round robin.
//!
//! The functions are called for each task that is born or queued, under the lock of a queue: they must not call the
//! scheduler.

mod deadline;
pub mod fair;
mod fifo;
mod round_robin;

use core::ptr::NonNull;

use crate::interface::{Header, crossing_types};

crossing_types! {
    /// See [`Policy::group`].
    Group = fn() -> u32;
    /// See [`Policy::rank`].
    Rank = fn(NonNull<Header>, u64, u64) -> u64;
    /// See [`Policy::slice`].
    Slice = fn() -> u32;
}

/// The policy's tasks run in order of arrival.
pub const IN_TURN: u32 = 0;
/// The policy's tasks run in order of their rank, before those in turn.
pub const RANKED: u32 = 1;

/// What decides among tasks of one priority.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// [`IN_TURN`] or [`RANKED`]; asked at the birth of each task.
    pub group: Group,
    /// Of a ranked task, the number of its arrival in the queue, and the rank of the first that waits there (0 if none does):
    /// its rank, the smallest is first, equals in order of arrival. 0 means the same as 1, since what is aged goes before all
    /// (see `lists`).
    pub rank: Rank,
    /// The ticks that a task may run while others of its priority wait; 0 without end.
    pub slice: Slice,
}

/// First in, first out: a task runs until it waits or yields.
pub const FIFO: u32 = 1;
/// In turn, each for a slice: the default.
pub const ROUND_ROBIN: u32 = 0;
/// The task whose deadline comes first is first.
pub const DEADLINE: u32 = 2;
/// The task whose owner has used least of the CPU is first; who has slept has no more credit than who waits longest.
pub const FAIR: u32 = 3;

/// How many policies each pool has: the number of the first of its maker's.
pub const BUILT_IN_COUNT: u32 = BUILT_IN.len() as u32;

/// The policies that each pool has, by number.
pub(crate) const BUILT_IN: [Policy; 4] = [round_robin::POLICY, fifo::POLICY, deadline::POLICY, fair::POLICY];
