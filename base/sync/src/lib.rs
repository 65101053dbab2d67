//! The seam between the concurrent code of `base` and the machine it runs on.
//!
//! Code that is to be model-checked takes its atomics, cells and spin hint from here and nowhere else.
//! In a normal build the names are those of `core` (or a wrapper of no size and no cost); under
//! `--cfg loom` they are loom's, and every interleaving of a test can be explored. The differences
//! that remain visible: loom's constructors are not `const`, and loom treats `SeqCst` loads and stores
//! as acquire and release, so store/load patterns (Dekker) must be written with
//! [`atomic::fence`]`(SeqCst)`.
//!
//! Beside the seam there are the things built on it that every layer needs: the raw spin lock ([`raw`]), the queue of
//! those who wait ([`wait`]), and the way to get somebody's [`attention`]. The crate owns no state.
#![cfg_attr(not(any(loom, test)), no_std)]
#![expect(unsafe_code, reason = "wraps the cell that all lock-free structures are built on")]

pub mod atomic;
pub mod attention;
pub mod cell;
pub mod raw;
pub mod wait;

/// Defines functions that are `const`, except under loom, whose constructors are not.
#[macro_export]
macro_rules! const_fn {
    ($(#[$note:meta])* $vis:vis const fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$note])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$note])* $vis fn $($rest)*
    };
}

/// What a busy-waiting loop calls in each turn.
pub mod hint {
    #[cfg(not(loom))]
    pub use core::hint::spin_loop;
    #[cfg(loom)]
    pub use loom::hint::spin_loop;
}
