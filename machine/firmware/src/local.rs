//! What the firmware keeps for each hart.

use crate::board::HARTS;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize};
use nuintc::hart::Hart;

/// A request of another hart: raise S-mode's software interrupt.
pub const IPI: u32 = 1 << 0;

/// One hart's.
pub struct Local {
    /// N's CSRs; only the hart itself looks.
    n: UnsafeCell<Hart>,
    /// The controller's line. Written under the controller's lock; who raises it interrupts the hart afterwards.
    pub line: AtomicBool,
    /// What others ask of the hart ([`IPI`]). They store, then interrupt; the hart acknowledges, then takes.
    pub requests: AtomicU32,
    /// See `start`.
    pub state: AtomicU8,
    /// Where the hart starts in S-mode.
    pub address: AtomicUsize,
    /// What it finds in `a1` there.
    pub opaque: AtomicUsize,
}

// SAFETY: `n` is reached only through `Local::n`, on its own hart; the rest is atomic.
unsafe impl Sync for Local {}

static LOCALS: [Local; HARTS] = [const {
    Local {
        n: UnsafeCell::new(Hart::new()),
        line: AtomicBool::new(false),
        requests: AtomicU32::new(0),
        state: AtomicU8::new(0),
        address: AtomicUsize::new(0),
        opaque: AtomicUsize::new(0),
    }
}; HARTS];

impl Local {
    /// A hart's, if there is such a hart.
    pub fn of(hart: usize) -> Option<&'static Local> {
        LOCALS.get(hart)
    }

    /// N's CSRs of the running hart.
    ///
    /// # Safety
    ///
    /// This is the running hart's, and no other borrow of it is alive.
    #[expect(clippy::mut_from_ref, reason = "one hart uses it, and one borrow at a time: the contract")]
    pub unsafe fn n(&self) -> &mut Hart {
        // SAFETY: the contract. M-mode is not interrupted, so nothing else runs on this hart meanwhile.
        unsafe { &mut *self.n.get() }
    }
}
