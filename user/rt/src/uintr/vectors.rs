//! Vectors that are kept off one by one.
//!
//! The entries know nothing of them: in the place of a masked vector's handler is one that notes the vector, so that masking costs no other vector an instruction.
//! So it is with the vectors that a handler does not let in which lets others interrupt it (`nesting`).
//! What was noted is due when the vector is unmasked: the thread asks itself for a look at everything, where it is found (`Block::collect_all`, `uintr_look_soft`).

use super::block::Block;
use super::handlers::Served;
use super::{Receiver, SOFTWARE, nuintc};
use abi::uintr as at;
use core::arch::asm;
use core::sync::atomic::Ordering;

impl Receiver {
    /// Keeps these vectors off, too, a bit each; those that were. What is raised of them is handled behind their [unmasking](Receiver::unmask_vectors), once.
    pub fn mask_vectors(&self, vectors: u64) -> u64 {
        self.closed(|block| {
            // SAFETY: interrupts are off: only this thread is at the block. More are kept off, thus none is due.
            unsafe { keep_off(block, (*block).masked | vectors, (*block).nesting) };
        })
    }

    /// Lets them in; those that were kept off. What was raised of them is handled before this returns, the lowest first, unless all interrupts are [off](super::masked), or
    /// this is in a handler that such vectors do not interrupt.
    pub fn unmask_vectors(&self, vectors: u64) -> u64 {
        self.closed(|block| {
            // SAFETY: as above.
            let due = unsafe { keep_off(block, (*block).masked & !vectors, (*block).nesting) };
            if due != 0 {
                // SAFETY: as above.
                unsafe { (*block).due |= due };
                self.ask();
            }
        })
    }

    /// Runs `body` with interrupts off; what was masked before.
    fn closed(&self, body: impl FnOnce(*mut Block)) -> u64 {
        let was_on = self.mask();
        let block = self.block.cast_mut();
        // SAFETY: interrupts are off; it is there as long as the thread.
        let before = unsafe { (*block).masked };
        body(block);
        if was_on {
            self.unmask();
        }
        before
    }

    /// Has this thread look at everything when interrupts are on.
    fn ask(&self) {
        match self.backend {
            // SAFETY: only asks for an interrupt. No `nomem`: what is due is noted before.
            at::AIA => unsafe { asm!("csrs sip, {}", in(reg) SOFTWARE) },
            at::NUINTC => nuintc::ask(),
            // Any slot: there is nothing in its word, or it is taken.
            // SAFETY: the pages are mapped.
            _ => drop(unsafe { (*self.block).pending_slots() }.fetch_or(1 << 1, Ordering::Relaxed)),
        }
    }
}

/// From now on those vectors are kept off that are `masked` one by one, or not let in by a handler that others interrupt (`nesting`). Those that are not any more, and were raised
/// meanwhile.
///
/// # Safety
/// The block is the calling thread's, and its interrupts are off.
pub(super) unsafe fn keep_off(block: *mut Block, masked: u64, nesting: u64) -> u64 {
    let hold = Served::raw(block.cast_const().cast(), hold);
    // SAFETY: the caller's promise.
    let block = unsafe { &mut *block };
    let (before, now) = (block.masked | block.nesting, masked | nesting);
    each(now & !before, |vector| block.handlers.serve(vector, hold));
    each(before & !now, |vector| block.handlers.serve(vector, block.own[vector]));
    (block.masked, block.nesting) = (masked, nesting);
    let free = block.held & !now;
    block.held &= now;
    free
}

/// In the place of a masked vector's handler.
///
/// # Safety
/// Called by the entry alone, with its thread's block and interrupts off.
unsafe extern "C" fn hold(block: *const (), vector: u32) {
    // SAFETY: the caller's promise: nobody else is at the block.
    unsafe { (*block.cast_mut().cast::<Block>()).held |= 1 << vector };
}

fn each(mut vectors: u64, mut act: impl FnMut(usize)) {
    while vectors != 0 {
        act(vectors.trailing_zeros() as usize);
        vectors &= vectors - 1;
    }
}
