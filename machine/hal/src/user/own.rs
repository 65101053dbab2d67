//! What a thread outside `vm` has that takes interrupts itself: the CSRs of N, and its slot at the controller (note 0008, section 8).

use crate::frame::Frame;
use crate::uintc::ReceiverSlot;
use alloc::sync::Arc;
#[cfg(target_os = "none")]
use core::sync::atomic::Ordering::Relaxed;

/// Where a thread is told that it has used floating point, which user mode cannot see: these bits are set in the word at the offset of the page.
pub struct FloatsWord {
    /// The page.
    pub page: Frame,
    /// Offset of the word.
    pub offset: usize,
    /// The bits.
    pub bits: u32,
}

/// See the module.
pub struct UserTraps {
    #[cfg(target_os = "none")]
    registers: riscv::user_csr::Own,
    /// Names what a hart has loaded of them; new whenever another hart loads them, or they have changed. Not 0.
    #[cfg(target_os = "none")]
    id: u64,
    slot: Arc<ReceiverSlot>,
    /// Until it was told.
    floats: Option<FloatsWord>,
}

impl UserTraps {
    /// A handler at `vector`, four bytes aligned, that finds `scratch` in `uscratch`. Its interrupts are off at first, as `uie` and `ustatus` say.
    pub fn new(vector: usize, scratch: usize, slot: Arc<ReceiverSlot>, floats: FloatsWord) -> Self {
        let _ = (vector, scratch);
        Self {
            #[cfg(target_os = "none")]
            registers: riscv::user_csr::Own::new(vector & !3, scratch),
            #[cfg(target_os = "none")]
            id: super::NEXT_ID.fetch_add(1, Relaxed),
            slot,
            floats: Some(floats),
        }
    }

    /// Has it take a software interrupt, which tells it to look at everything.
    pub fn look_at_all(&mut self) {
        #[cfg(target_os = "none")]
        self.registers.inject();
    }

    /// Whether it has still to look at everything.
    pub fn has_to_look(&self) -> bool {
        #[cfg(target_os = "none")]
        return self.registers.is_injected();
        #[cfg(not(target_os = "none"))]
        return false;
    }

    /// Whether it would take an interrupt now.
    pub fn is_open(&self) -> bool {
        let _ = &self.slot;
        #[cfg(target_os = "none")]
        return self.registers.is_open();
        #[cfg(not(target_os = "none"))]
        return true;
    }

    /// Has it enter its handler for an exception at `pc`, as the hardware would; where it goes on. `None`: it may be in a handler already.
    pub fn trap(&mut self, pc: usize, cause: usize, value: usize) -> Option<usize> {
        #[cfg(target_os = "none")]
        {
            let vector = self.registers.trap(pc, cause, value)?;
            self.id = super::NEXT_ID.fetch_add(1, Relaxed);
            Some(vector)
        }
        #[cfg(not(target_os = "none"))]
        {
            let _ = (pc, cause, value, self.floats.is_some());
            None
        }
    }
}

#[cfg(target_os = "none")]
impl UserTraps {
    /// Loads them if this hart has others, and lets the hardware enter the handler. `floats`: the thread has used floating point.
    pub(super) fn prepare_entry(&mut self, local: &crate::hart::Local, floats: bool) {
        if local.user_traps_owner.load(Relaxed) != self.id {
            self.registers.load();
            self.id = super::NEXT_ID.fetch_add(1, Relaxed);
            local.user_traps_owner.store(self.id, Relaxed);
            self.slot.listen();
        }
        if floats && let Some(word) = self.floats.take() {
            // Relaxed: the thread itself reads it.
            word.page.word(word.offset).fetch_or(word.bits, Relaxed);
        }
        self.registers.prepare_entry();
    }

    /// Behind a trap, before interrupts are on again.
    #[inline]
    pub(super) fn save(&mut self) {
        self.registers.save();
    }
}

/// This hart's registers are nobody's, and it listens to nobody.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn disown(local: &crate::hart::Local) {
    if local.user_traps_owner.load(Relaxed) != 0 {
        reset(local);
    }
}

/// Apart, as few threads have any.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
fn reset(local: &crate::hart::Local) {
    riscv::user_csr::reset();
    crate::uintc::listen(0);
    local.user_traps_owner.store(0, Relaxed);
}
