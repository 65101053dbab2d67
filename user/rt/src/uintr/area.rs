//! The part of a word page that is the sender's and the receiver's own (`abi::uintr::AREA`), as the receiver has it.

use super::{PAGE, Receiver};
use abi::uintr as at;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

impl Receiver {
    /// That of a slot. It stays mapped, and empty while the slot is nobody's.
    pub(crate) fn area(&self, slot: usize) -> *const AtomicU64 {
        // SAFETY: each slot has a word page, mapped as long as the thread is there, whose value this is.
        unsafe { (*self.block).pages.add(slot % at::SLOTS * PAGE + at::AREA).cast() }
    }

    /// Looks at the control page, which a child made by `fork` does not have: that is the end of it.
    #[inline(always)]
    pub(crate) fn ends_a_child(&self) {
        // SAFETY: the control page is mapped as long as the thread is there. Volatile: it is the access that matters.
        unsafe { (*self.block).pages.read_volatile() };
    }

    /// What is granted to a slot, and the change of that.
    pub(crate) fn granted(&self, slot: usize) -> (u64, u32) {
        // SAFETY: the control page holds so many entries.
        let entry = unsafe { (*self.block).pages.add(at::GRANTED + slot % at::SLOTS * at::ENTRY) };
        // SAFETY: within the entry, aligned.
        let (granted, change) = unsafe { (&*entry.cast::<AtomicU64>(), &*entry.add(at::CHANGE).cast::<AtomicU32>()) };
        // Relaxed: this thread's own calls change them.
        (granted.load(Ordering::Relaxed), change.load(Ordering::Relaxed))
    }

    /// Sets vectors in a slot's word, so that what its sender has left in the area is not gone with the slot; those that were not set.
    pub(crate) fn keep(&self, slot: usize, vectors: u64) -> u64 {
        vectors & !self.word(slot).fetch_or(vectors, Ordering::Relaxed)
    }

    /// Clears what [`Receiver::keep`] has set: nobody rings for it. A sender that has found it set may not have rung either: its area is to be looked at behind this.
    pub(crate) fn release(&self, slot: usize, vectors: u64) {
        // Acquire pairs with the sender's Release: what it has written to the area before is visible.
        self.word(slot).fetch_and(!vectors, Ordering::Acquire);
    }

    fn word(&self, slot: usize) -> &AtomicU64 {
        // SAFETY: as in `area`.
        unsafe { &*(*self.block).pages.add(slot % at::SLOTS * PAGE + at::WORD).cast() }
    }
}
