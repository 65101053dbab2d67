//! What the entries work with, and how they find out what was raised.

use super::handlers::Served;
use super::nesting::Level;
use super::{Handlers, PAGE, SOFTWARE, timer, traps};
use abi::uintr as at;
use core::arch::asm;
use core::mem::take;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What the entry finds in `sscratch`: the end of the handlers' stack, at which this lies. The entry knows where its fields are.
#[repr(C, align(16))]
pub(super) struct Block {
    /// The receiver's pages.
    pub(super) pages: *const u8,
    /// Vectors that were taken and not served.
    pub(super) pending: u64,
    /// Interrupts that told of nothing.
    pub(super) idle: AtomicU64,
    /// Makes the number of the lowest bit of a word of that bit: the upper six bits of the product say where in `numbers`.
    sequence: u64,
    numbers: [u8; 64],
    pub(super) handlers: Handlers,
    pub(super) traps: traps::Handler,
    /// The vector that the timer raises, as a bit.
    pub(super) timer: u64,
    /// What serves vectors that are not masked; `handlers` has it for those that are not.
    pub(super) own: [Served; at::VECTORS],
    /// Vectors that are masked one by one; those of them that were taken meanwhile; and those that were, and are masked no more.
    pub(super) masked: u64,
    pub(super) held: u64,
    pub(super) due: u64,
    /// Vectors that a handler keeps off which lets more urgent ones interrupt it.
    pub(super) nesting: u64,
    /// The innermost of those that do.
    pub(super) level: *mut Level,
    /// The guard page of the stack on which they run; 0: there are none.
    pub(super) nested: usize,
    pub(super) backend: usize,
}

/// Any sequence of 64 bits in which each six neighbours differ will do (de Bruijn).
const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;

const NUMBERS: [u8; 64] = {
    let mut numbers = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        numbers[(SEQUENCE.wrapping_mul(1 << bit) >> 58) as usize] = bit;
        bit += 1;
    }
    numbers
};

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Block, pages) == 0 && offset_of!(Block, pending) == 8 && offset_of!(Block, sequence) == 24);
    assert!(offset_of!(Block, numbers) == 32 && offset_of!(Block, handlers) == 96);
    assert!(
        at::GRANTED == 0 && at::ENTRY == 16 && at::CHANGE == 8 && at::WORD == 0 && at::SLOTS == 64 && PAGE == 1 << 12
    );
};

impl Block {
    /// With no pages yet, and no backend. `nested` is the guard page of the stack for handlers that others interrupt.
    pub(super) fn new(handlers: Handlers, nested: usize) -> Self {
        Self {
            pages: core::ptr::null(),
            pending: 0,
            idle: AtomicU64::new(0),
            sequence: SEQUENCE,
            numbers: NUMBERS,
            own: handlers.served(),
            handlers,
            traps: traps::Handler::NONE,
            timer: 0,
            masked: 0,
            held: 0,
            due: 0,
            nesting: 0,
            level: core::ptr::null_mut(),
            nested,
            backend: 0,
        }
    }

    /// Takes what all have raised.
    ///
    /// # Safety
    /// The pages are mapped; only the entry has the block.
    #[cold]
    pub(super) unsafe fn collect_all(&mut self) {
        // SAFETY: the caller's promise. Of these backends the timer's bit alone is used. Acquire as for `uintr_look_soft`.
        if unsafe { self.pending_slots() }.load(Ordering::Relaxed) != 0 {
            // SAFETY: as above.
            unsafe { self.pending_slots() }.swap(0, Ordering::Acquire);
            self.pending |= self.timer;
        }
        self.pending |= take(&mut self.due);
        for slot in 1..at::SLOTS {
            // SAFETY: the caller's promise.
            unsafe { self.collect(slot) };
        }
    }

    /// Takes what the sender of a slot has raised, in the order of `abi::uintr`.
    ///
    /// # Safety
    /// As [`Block::collect_all`].
    unsafe fn collect(&mut self, slot: usize) {
        // SAFETY: the control page holds so many entries.
        let entry = unsafe { self.pages.add(at::GRANTED + slot * at::ENTRY) };
        // SAFETY: within the entry, aligned.
        let (granted, change) = unsafe { (&*entry.cast::<AtomicU64>(), &*entry.add(at::CHANGE).cast::<AtomicU32>()) };
        // SAFETY: each slot has a word page, whose ever it is.
        let word = unsafe { &*self.pages.add(slot * PAGE + at::WORD).cast::<AtomicU64>() };
        let sent = loop {
            // Acquire pairs with the kernel's fence between the change and the vectors, which come behind the taking back of the last sender's page.
            let before = change.load(Ordering::Acquire);
            let sent = granted.load(Ordering::Relaxed) & word.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if change.load(Ordering::Relaxed) == before {
                break sent;
            }
        };
        if sent != 0 {
            // Acquire pairs with the sender's Release.
            word.fetch_and(!sent, Ordering::Acquire);
            self.pending |= sent;
        }
    }

    /// `PENDING` of the backend `SOFT`.
    ///
    /// # Safety
    /// The pages are mapped.
    pub(super) unsafe fn pending_slots(&self) -> &AtomicU64 {
        // SAFETY: within the control page, aligned.
        unsafe { &*self.pages.add(at::PENDING).cast() }
    }

    /// `STATUS` of the control page.
    ///
    /// # Safety
    /// The pages are mapped.
    pub(super) unsafe fn status(&self) -> &AtomicU32 {
        // SAFETY: within the control page, aligned.
        unsafe { &*self.pages.add(at::STATUS).cast() }
    }

    pub(super) fn count_idle(&self) {
        self.idle.store(self.idle.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Looks at all that was raised, if that is what the interrupt asks for; else it told of nothing.
///
/// # Safety
/// Called by the entry alone, with its thread's block and interrupts off.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_look(block: *mut Block) {
    // SAFETY: the caller's promise: nobody else has it.
    let block = unsafe { &mut *block };
    let pending: usize;
    // SAFETY: reads the register.
    unsafe { asm!("csrr {}, sip", out(reg) pending, options(nomem, nostack)) };
    if pending & SOFTWARE != 0 {
        // SAFETY: clears the interrupt before the look, so that one that comes during it is not lost.
        unsafe { asm!("csrc sip, {}", "fence io, rw", in(reg) SOFTWARE) };
        // SAFETY: as above.
        unsafe { block.collect_all() };
    } else if timer::is_due() {
        timer::stop();
        block.pending |= block.timer;
    } else {
        block.count_idle();
    }
}

/// Takes what the senders have raised that the kernel tells of.
///
/// # Safety
/// As [`uintr_look`].
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_look_soft(block: *mut Block) {
    // SAFETY: the caller's promise: nobody else has it.
    let block = unsafe { &mut *block };
    // SAFETY: mapped before interrupts were let in. Before the words are looked at, so that what comes meanwhile is pending behind it. Acquire pairs
    // with the kernel's Release: the word that a bit tells of is visible.
    let mut slots = unsafe { block.pending_slots() }.swap(0, Ordering::Acquire);
    if slots & 1 << at::TIMER_SLOT != 0 {
        slots &= !(1 << at::TIMER_SLOT);
        block.pending |= block.timer;
    }
    block.pending |= take(&mut block.due);
    while slots != 0 {
        // SAFETY: as above.
        unsafe { block.collect(slots.trailing_zeros() as usize) };
        slots &= slots - 1;
    }
    if block.pending == 0 {
        block.count_idle();
    }
}
