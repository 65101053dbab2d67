//! Atomics and fences: `core`'s, or loom's under `--cfg loom`.
//!
//! Only the types in use are named, so that both sides are sure to have them.

pub use core::sync::atomic::compiler_fence;

/// For figures that nothing depends on: loom need not look at them.
pub mod figure {
    pub use core::sync::atomic::{AtomicU8, AtomicU32};
}

#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
