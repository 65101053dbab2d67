//! A switch that turns something on or off for the whole program.
//!
//! It is not part of any protocol, nothing is handed over with it, and it lives in a `static`: so it is one
//! of `core`'s atomics even under loom, whose atomics cannot.

use core::sync::atomic::{AtomicBool, Ordering};

/// On or off.
#[derive(Debug)]
pub struct Switch(AtomicBool);

impl Switch {
    /// A switch that is off.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Whether it is on: one load. May be stale.
    #[inline(always)]
    #[must_use]
    pub fn is_on(&self) -> bool {
        // Relaxed: see the head of the module.
        self.0.load(Ordering::Relaxed)
    }

    /// Turns it on or off.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self::new()
    }
}
