//! Getting the attention of somebody who moves from hart to hart, and looks for calls only when it comes by.
//!
//! ```text
//!   who is called, at a hart            who calls
//!   enter: the hart                     make visible what it is about
//!     fence                             raise: wanted
//!   wanted?  look                         fence
//!   go on, interrupts only              whereabouts: the hart, to be interrupted
//! ```
//!
//! **Why no call is lost.** Whichever fence comes first, one side sees the other's store: who is called sees that it is wanted, or
//! who calls sees the hart at which it goes on.

use crate::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// A flag, and where it is looked at.
#[derive(Debug)]
pub struct Attention {
    wanted: AtomicBool,
    hart: AtomicUsize,
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}

impl Attention {
    /// Not wanted; at hart 0.
    #[must_use]
    pub fn new() -> Self {
        Self { wanted: AtomicBool::new(false), hart: AtomicUsize::new(0) }
    }

    /// Wants it: whoever is called looks the next time that it comes by.
    #[inline]
    pub fn raise(&self) {
        // Release pairs with the Acquire in `take`: what it is about is visible.
        self.wanted.store(true, Ordering::Release);
    }

    /// After [`raise`](Self::raise): the hart to be interrupted, if it is not at this one.
    #[inline]
    #[must_use]
    pub fn whereabouts(&self) -> usize {
        // Pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        self.hart.load(Ordering::Relaxed)
    }

    /// Who is called goes on at a hart, and asks from now on whether it [`is_wanted`](Self::is_wanted).
    #[inline]
    pub fn enter(&self, hart: usize) {
        self.hart.store(hart, Ordering::Relaxed);
        // Pairs with the fence in `whereabouts`.
        fence(Ordering::SeqCst);
    }

    /// Whether it is wanted.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        // Relaxed: `take` acquires.
        self.wanted.load(Ordering::Relaxed)
    }

    /// Whether it was wanted; it is not any more.
    #[inline]
    pub fn take(&self) -> bool {
        self.wanted.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::cell::UnsafeCell;
    use loom::{sync::Arc, thread};

    struct Shared {
        attention: Attention,
        /// Of hart 1, where who is called goes on.
        interrupted: AtomicBool,
        /// What it is about.
        data: UnsafeCell<u32>,
    }

    /// Who is called comes to another hart meanwhile: it looks, or is interrupted there, and sees what it is about.
    #[test]
    fn no_call_is_lost() {
        loom::model(|| {
            let attention = Attention::new();
            let (interrupted, data) = (AtomicBool::new(false), UnsafeCell::new(0));
            let shared = Arc::new(Shared { attention, interrupted, data });
            let caller = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // SAFETY: read only once it has been taken.
                    shared.data.with_mut(|data| unsafe { *data = 1 });
                    shared.attention.raise();
                    if shared.attention.whereabouts() == 1 {
                        shared.interrupted.store(true, Ordering::Relaxed);
                    }
                })
            };
            shared.attention.enter(1);
            let looked = shared.attention.is_wanted() && shared.attention.take();
            if looked {
                // SAFETY: taken.
                assert_eq!(shared.data.with(|data| unsafe { *data }), 1);
            }
            caller.join().unwrap();
            assert!(looked || shared.interrupted.load(Ordering::Relaxed));
        });
    }
}
