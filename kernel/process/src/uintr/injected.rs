//! Interrupts that the kernel injects on a thread's way to user mode (backend `soft`; note 0008, section 5).
//!
//! The thread's supervisor registers are words of its receiver's control page. Its program can write them at any time, and nobody else, as the page is in no
//! other space: they hold nothing but what a program can set in its own registers, so none is checked.
//!
//! *Nothing is lost.* Who raises sets the slot's bit in `PENDING`, then notes an interrupt and tells the thread, which comes by here for it: its hart leaves user mode, and it looks on its way back.
//! A thread on its way to user mode forgets the note first and looks at `PENDING` then: so a bit that this look missed has a note behind it,
//! and the thread comes here again. One that keeps its interrupts off looks at `PENDING` itself when it lets them in: before that, and enters the handler itself, and behind it, and asks the kernel.

use abi::uintr;
use core::sync::atomic::Ordering;
use hal::{frame::Frame, user::UserContext};

/// Numbers of registers.
const SP: usize = 2;
const A7: usize = 17;

/// See the module.
pub(crate) struct Injected {
    entry: usize,
    control: Frame,
}

impl Injected {
    /// Interrupts are off at first, as `STATUS` says; the handler finds `stack` in its stack pointer.
    pub(super) fn new(control: Frame, entry: usize, stack: usize) -> Self {
        let this = Self { entry, control };
        this.set(uintr::SCRATCH, stack);
        this
    }

    /// Makes a slot pending. Behind it the thread is to be notified.
    pub(super) fn raise(control: &Frame, slot: usize) {
        // Release pairs with the Acquire of the program's swap: it sees what the sender's word says.
        control.word(uintr::PENDING + slot / 32 * 4).fetch_or(1 << (slot % 32), Ordering::Release);
    }

    /// Makes a slot not pending.
    pub(super) fn withdraw(control: &Frame, slot: usize) {
        control.word(uintr::PENDING + slot / 32 * 4).fetch_and(!(1 << (slot % 32)), Ordering::Relaxed);
    }

    /// Whether a slot is pending.
    pub(super) fn is_pending(&self) -> bool {
        // By halves, as whoever raises: atomics of one size.
        let half = |offset| self.control.word(uintr::PENDING + offset).load(Ordering::Relaxed);
        half(0) | half(4) != 0
    }

    /// Whether the thread lets interrupts in.
    pub(super) fn is_open(&self) -> bool {
        self.status() & uintr::ON != 0
    }

    fn status(&self) -> u32 {
        self.control.word(uintr::STATUS).load(Ordering::Relaxed)
    }

    /// The thread is about to run: enters its handler if something is pending.
    pub(super) fn enter(&self, context: &mut UserContext) {
        if !self.is_open() || !self.is_pending() {
            return;
        }
        self.handle(context, uintr::INTERRUPT, 0);
    }

    /// An exception: enters the handler, unless the thread may be in one.
    pub(super) fn trap(&self, context: &mut UserContext, cause: usize, value: usize) -> bool {
        let open = self.is_open();
        if open {
            self.handle(context, cause, value);
        }
        open
    }

    fn handle(&self, context: &mut UserContext, cause: usize, value: usize) {
        let floats = if context.has_floating() { uintr::FLOATS } else { 0 };
        self.control.word(uintr::STATUS).store(uintr::BEFORE | floats, Ordering::Relaxed);
        self.set(uintr::CAUSE, cause);
        self.set(uintr::VALUE, value);
        self.set(uintr::EPC, context.pc());
        self.set(uintr::SAVED_A7, context.x()[A7]);
        self.swap_stack(context);
        context.set_pc(self.entry);
    }

    /// `uintr_return()`: the handler is done.
    pub(crate) fn resume(&self, context: &mut UserContext) {
        let on = if self.status() & uintr::BEFORE == 0 { 0 } else { uintr::ON };
        self.control.word(uintr::STATUS).store(on | uintr::BEFORE, Ordering::Relaxed);
        self.swap_stack(context);
        context.x_mut()[A7] = self.get(uintr::SAVED_A7);
        context.set_pc(self.get(uintr::EPC));
        self.enter(context);
    }

    fn swap_stack(&self, context: &mut UserContext) {
        let other = self.get(uintr::SCRATCH);
        self.set(uintr::SCRATCH, context.x()[SP]);
        context.x_mut()[SP] = other;
    }

    fn get(&self, offset: usize) -> usize {
        self.control.long_word(offset).load(Ordering::Relaxed) as usize
    }

    fn set(&self, offset: usize, value: usize) {
        self.control.long_word(offset).store(value as u64, Ordering::Relaxed);
    }
}
