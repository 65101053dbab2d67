//! What is done once: [`Once`] runs a function, [`OnceLock`] keeps its result.
//!
//! States: 0 not yet, 1 running, 2 running and somebody waits, 3 done. `Release` on reaching 3 pairs with the
//! `Acquire` of whoever reads it, who then sees what the function wrote.

use crate::futex;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const AWAITED: u32 = 2;
const DONE: u32 = 3;

/// Runs a function once, whoever comes first.
#[derive(Debug)]
pub struct Once(AtomicU32);

impl Once {
    /// Not yet run.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(NEW))
    }

    /// Whether it has run.
    pub fn is_completed(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    /// Runs `f`, or waits until the thread that runs it has finished.
    pub fn call_once(&self, f: impl FnOnce()) {
        if self.is_completed() {
            return;
        }
        if self.0.compare_exchange(NEW, RUNNING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            f();
            if self.0.swap(DONE, Ordering::Release) == AWAITED {
                futex::wake(&self.0, i32::MAX as u32);
            }
            return;
        }
        while !self.is_completed() {
            // Fails when the state moved on, which the next look shows.
            let _ = self.0.compare_exchange(RUNNING, AWAITED, Ordering::Relaxed, Ordering::Relaxed);
            futex::wait(&self.0, AWAITED, None);
        }
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

/// A value made at its first use.
#[derive(Debug)]
pub struct OnceLock<T> {
    once: Once,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, by one thread, before DONE is published; after that it is only read.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(None) }
    }

    /// The value, if it was made.
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: DONE was seen with Acquire, so the only write is over and visible.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value, made by `f` if it is the first use.
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        self.once.call_once(|| {
            // SAFETY: `call_once` runs this once, and nobody reads before DONE.
            unsafe { *self.value.get() = Some(f()) };
        });
        self.get().expect("call_once returns after the value was stored")
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
