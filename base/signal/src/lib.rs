//! Signals in user mode (note 0012), without the memory and the interrupts that carry them.
//!
//! * [`area`]: the words that a sender and the receiver share, and the order in which they touch them.
//! * [`group`]: which of several threads is told of what is sent to all of them.
//! * [`state`]: what a receiver has pending, masks, and does with each signal.
#![no_std]
#![forbid(unsafe_code)]

pub mod area;
pub mod group;
pub mod state;

/// The least and the greatest signal that queues; those below are coalesced.
pub const REAL_TIME: core::ops::RangeInclusive<u32> = 32..=64;

/// The bit of a signal in a set; 0 for a number that is no signal.
#[must_use]
pub const fn bit(signal: u32) -> u64 {
    match signal {
        1..=64 => 1 << (signal - 1),
        _ => 0,
    }
}
