//! The registers of what a handler has interrupted, by backend.

use super::Block;
use abi::uintr as at;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The bits of `sstatus`: interrupts on behind the return; its mode; floating point used.
pub(super) const SPIE: usize = 1 << 5;
pub(super) const SPP: usize = 1 << 8;
const FS_USED: usize = 1 << 14;
/// `ustatus.UPIE`.
pub(super) const UPIE: usize = 1 << 4;

/// See the module.
pub(super) struct Interrupted {
    backend: usize,
    block: *const Block,
}

/// What another interrupt would write over.
pub(super) struct Kept {
    pc: usize,
    sp: usize,
    status: usize,
    /// For the backend `SOFT`.
    a7: usize,
}

/// A register, by backend: of VS-mode, of the N extension, of the control page.
macro_rules! read {
    ($interrupted:expr, $supervisor:literal, $user:literal, $page:expr) => {{
        let value: usize;
        match $interrupted.backend {
            // SAFETY: reads the thread's own register.
            at::AIA => unsafe { asm!(concat!("csrr {}, ", $supervisor), out(reg) value, options(nostack)) },
            // SAFETY: as above.
            at::NUINTC => unsafe { asm!(concat!("csrr {}, ", $user), out(reg) value, options(nostack)) },
            _ => value = $page,
        }
        value
    }};
}

impl Interrupted {
    /// # Safety
    /// The caller is a handler, in which interrupts are off, of the receiver with this backend and block.
    pub(super) unsafe fn of(backend: usize, block: *const Block) -> Self {
        Self { backend, block }
    }

    fn word(&self, offset: usize) -> &AtomicUsize {
        // SAFETY: within the control page, which stays mapped; aligned.
        unsafe { &*(*self.block).pages.add(offset).cast() }
    }

    /// `STATUS` of the control page.
    fn shown(&self) -> &AtomicU32 {
        // SAFETY: the pages stay mapped.
        unsafe { (*self.block).status() }
    }

    pub(super) fn pc(&self) -> usize {
        read!(self, "sepc", "0x041", self.word(at::EPC).load(Ordering::Relaxed))
    }

    pub(super) fn sp(&self) -> usize {
        read!(self, "sscratch", "0x040", self.word(at::SCRATCH).load(Ordering::Relaxed))
    }

    /// The state behind the return.
    fn status(&self) -> usize {
        read!(self, "sstatus", "0x000", self.shown().load(Ordering::Relaxed) as usize)
    }

    /// Keeps interrupts off behind the return; whether the thread has used floating point. `None`: it is in VU-mode, where it has no such registers.
    pub(super) fn close(&self) -> Option<bool> {
        if self.backend == at::AIA {
            let status = self.status();
            if status & SPP == 0 {
                return None;
            }
            // SAFETY: only keeps interrupts off.
            unsafe { asm!("csrc sstatus, {}", in(reg) SPIE, options(nostack)) };
            return Some(status & FS_USED != 0);
        }
        if self.backend == at::NUINTC {
            // SAFETY: only keeps interrupts off.
            unsafe { asm!("csrc 0x000, {}", in(reg) UPIE, options(nostack)) };
        } else {
            self.shown().fetch_and(!at::BEFORE, Ordering::Relaxed);
        }
        Some(self.shown().load(Ordering::Relaxed) & at::FLOATS != 0)
    }

    /// Has the return go on there, with this stack pointer.
    pub(super) fn go_on(&self, pc: usize, sp: usize) {
        match self.backend {
            // SAFETY: where the thread goes on.
            at::AIA => unsafe { asm!("csrw sepc, {}", "csrw sscratch, {}", in(reg) pc, in(reg) sp) },
            // SAFETY: as above.
            at::NUINTC => unsafe { asm!("csrw 0x041, {}", "csrw 0x040, {}", in(reg) pc, in(reg) sp) },
            _ => {
                self.word(at::EPC).store(pc, Ordering::Relaxed);
                self.word(at::SCRATCH).store(sp, Ordering::Relaxed);
            }
        }
    }

    /// Keeps them; the next interrupt finds the block as this one did.
    pub(super) fn keep(&self) -> Kept {
        let soft = self.backend == at::SOFT;
        let a7 = if soft { self.word(at::SAVED_A7).load(Ordering::Relaxed) } else { 0 };
        let kept = Kept { pc: self.pc(), sp: self.sp(), status: self.status(), a7 };
        self.go_on(kept.pc, self.block as usize);
        kept
    }

    /// Has the return go on with what was kept. Interrupts are off.
    pub(super) fn give_back(&self, kept: &Kept) {
        self.go_on(kept.pc, kept.sp);
        // What is left of the state is of the thread as it is now: its use of floating point.
        let (mask, status) = (SPP | SPIE, kept.status);
        match self.backend {
            // SAFETY: the state in which the interrupted goes on, as it was.
            at::AIA => unsafe {
                asm!("csrc sstatus, {}", "csrs sstatus, {}", in(reg) mask, in(reg) status & mask, options(nostack));
            },
            // SAFETY: as above.
            at::NUINTC => unsafe {
                asm!("csrc 0x000, {}", "csrs 0x000, {}", in(reg) UPIE, in(reg) status & UPIE, options(nostack));
            },
            _ => {
                self.shown().store(status as u32, Ordering::Relaxed);
                self.word(at::SAVED_A7).store(kept.a7, Ordering::Relaxed);
            }
        }
    }
}
