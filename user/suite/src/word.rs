//! Words that several contexts of one process look at.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// One, zero at first.
pub fn flag() -> Arc<AtomicU32> {
    Arc::new(AtomicU32::new(0))
}

/// Keeps the hart until it is at least `value`.
pub fn spin_until(word: &AtomicU32, value: u32) {
    while word.load(SeqCst) < value {
        core::hint::spin_loop();
    }
}
