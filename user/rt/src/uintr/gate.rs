//! Lets a thread's interrupts in and keeps them off, by backend.

use super::entry::uintr_enter_soft;
use super::{Block, SIE, nuintc};
use crate::sys;
use abi::uintr as at;
use core::arch::asm;
use core::sync::atomic::{Ordering, compiler_fence};

/// Keeps them off; whether they were on.
///
/// # Safety
/// The calling thread is the receiver with this backend and block.
#[inline]
pub(super) unsafe fn close(backend: usize, block: *const Block) -> bool {
    if backend == at::AIA {
        let old: usize;
        // SAFETY: only delays interrupts; a receiver may write its `sstatus`. No `nomem`: what is done behind it stays there.
        unsafe { asm!("csrrc {}, sstatus, {}", out(reg) old, in(reg) SIE) };
        return old & SIE != 0;
    }
    if backend == at::NUINTC {
        return nuintc::mask();
    }
    // SAFETY: the caller's promise.
    let was_on = unsafe { (*block).status() }.fetch_and(!at::ON, Ordering::Relaxed) & at::ON != 0; // in a handler the rest is what its return goes by
    compiler_fence(Ordering::SeqCst); // the kernel reads it on this thread's way to user mode
    was_on
}

/// Lets them in.
///
/// # Safety
/// As for [`close`].
#[inline]
pub(super) unsafe fn open(backend: usize, block: *const Block) {
    if backend == at::AIA {
        // SAFETY: the entry saves what it changes.
        unsafe { asm!("csrs sstatus, {}", in(reg) SIE) };
        return;
    }
    if backend == at::NUINTC {
        return nuintc::unmask();
    }
    // SAFETY: the caller's promise.
    unsafe { open_soft(block) };
}

/// # Safety
/// As for [`close`].
#[inline]
unsafe fn open_soft(block: *const Block) {
    // SAFETY: the pages stay mapped as long as the thread is there.
    let is_pending = || unsafe { (*block).pending_slots() }.load(Ordering::Relaxed) != 0;
    // What is pending already is handled without the kernel. Once: who rings for ever is as with the others.
    if is_pending() {
        let (kept, is_open): (usize, bool);
        // Of floating point a call keeps this; nobody knows here whether the thread has used it, so a handler's is not to be found in it behind that, nor that of the thread which a green thread comes from.
        // SAFETY: reads the thread's own register.
        unsafe { asm!("frcsr {}", out(reg) kept, options(nostack)) };
        // SAFETY: interrupts are off, by the caller's promise.
        is_open = unsafe { uintr_enter_soft(block.cast()) };
        // SAFETY: as it was.
        unsafe { asm!("fscsr {}", in(reg) kept, options(nostack)) };
        if is_open {
            return;
        }
    }
    compiler_fence(Ordering::SeqCst); // as in `close`
    // SAFETY: the caller's promise.
    unsafe { (*block).status() }.store(at::ON, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    // Behind the store: what comes after this look finds interrupts on.
    if is_pending() {
        // SAFETY: no pointers.
        let _ = unsafe { sys::call6(at::WAIT, sys::pad([0])) }; // entered on the way back
    }
}
