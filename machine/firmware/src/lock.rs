//! A ticket lock: harts take turns, so that none waits longer than the others need once.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// A value that one hart at a time may use. Interrupts are off in M-mode: nobody is taken off while holding it.
pub struct Lock<T> {
    next: AtomicU32,
    serving: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one hart at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Free.
    pub const fn new(value: T) -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for its turn, and uses the value. Not to be nested.
    #[inline]
    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        // Acquire pairs with the Release of who had it before.
        while self.serving.load(Ordering::Acquire) != ticket {
            core::hint::spin_loop();
        }
        // SAFETY: tickets are given out once, and it is this one's turn until the store below.
        let result = use_it(unsafe { &mut *self.value.get() });
        self.serving.store(ticket.wrapping_add(1), Ordering::Release);
        result
    }
}
