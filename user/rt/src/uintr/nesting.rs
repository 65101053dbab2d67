//! Handlers that let more urgent vectors interrupt them.
//!
//! The entries know nothing of them. They come to such a handler by way of `uintr_nest`, which leaves their stack to the next interrupt:
//!
//! ```text
//!   handlers' stack                    stack of those that others interrupt
//!   | block | entry's frame |          | level: a copy of the frame | handler, frames | level | handler ...
//!            ^ the next interrupt begins here                                          ^ the next level
//! ```
//!
//! The registers of what it has interrupted are kept in the level. While a handler lets others in, what is not more urgent than its own vector is held in the place of its handler (`vectors`). Behind that
//! what was held is what the entry finds as taken and not served, so that it is served in its order when the handler returns.
//!
//! Each level's vector is more urgent than the one below, so there are 64 at most; the page below the stack is not to be touched.

use super::entry::FRAME;
use super::interrupted::{Interrupted, Kept};
use super::vectors::keep_off;
use super::{Block, STACK, gate};
use crate::stack::GUARD;
use core::arch::{global_asm, naked_asm};
use core::cell::Cell;
use core::mem::{offset_of, take};
use core::ptr::null_mut;

/// A handler that others can interrupt, on the stack below which it runs.
#[repr(C, align(16))]
pub(super) struct Level {
    block: *mut Block,
    outer: *mut Level,
    /// Of what was interrupted. While the handler runs, the next interrupt or exception finds the block as this one did.
    registers: Kept,
    /// The entry's own: where it goes on, and `s1`.
    ra: usize,
    s1: usize,
    /// What the entry has kept.
    frame: [u8; FRAME],
}

/// What a handler of [`Handlers::nesting`](super::Handlers::nesting) lets others in by.
pub struct Nesting {
    level: *const Level,
    vector: u32,
    is_open: Cell<bool>,
}

/// What is kept while others are let in.
struct Closed {
    pending: u64,
    nesting: u64,
}

impl Nesting {
    /// Lets vectors that are more urgent than the handler's own, thus have lower numbers, interrupt it while `body` runs. Others are served behind the handler.
    /// Exceptions that the thread takes ([`traps`](super::traps)) are let in as well. In a child that `body` makes by `fork` it does not return: the child is no receiver, and ends by a signal.
    pub fn by_more_urgent<T>(&self, body: impl FnOnce() -> T) -> T {
        if self.is_open.replace(true) {
            let value = body();
            // SAFETY: the handler's thread has the value, whose block this is.
            unsafe { ends_a_child((*self.level).block) };
            return value;
        }
        // SAFETY: the handler's thread has the value, in the handler, whose level it is. It was not open, so interrupts are off.
        let closed = unsafe { open((*self.level).block, self.vector) };
        let value = body();
        // SAFETY: as above.
        unsafe { close((*self.level).block, &closed) };
        self.is_open.set(false);
        value
    }
}

/// Looks at the control page, which a child made by `fork` does not have: that is the end of it, and no handler that is held runs in it.
///
/// # Safety
/// The block is the calling thread's.
unsafe fn ends_a_child(block: *const Block) {
    // SAFETY: the page is mapped as long as the thread is there. Volatile: it is the access that matters.
    unsafe { (*block).pages.read_volatile() };
}

/// # Safety
/// In a handler of this block's thread, on the other stack, with interrupts off.
unsafe fn open(block: *mut Block, vector: u32) -> Closed {
    // SAFETY: the caller's promise: only this thread is at the block.
    unsafe {
        let nesting = (*block).nesting;
        let closed = Closed { pending: take(&mut (*block).pending), nesting };
        let less_urgent = (*block).handlers.served_at_all() & u64::MAX << vector;
        keep_off(block, (*block).masked, nesting | less_urgent); // more are kept off, thus none is due
        gate::open((*block).backend, block);
        closed
    }
}

/// # Safety
/// Behind [`open`], in the same frame.
unsafe fn close(block: *mut Block, closed: &Closed) {
    // SAFETY: the caller's promise; behind the first line interrupts are off.
    unsafe {
        gate::close((*block).backend, block);
        ends_a_child(block);
        let due = keep_off(block, (*block).masked, closed.nesting);
        (*block).pending = closed.pending | due;
    }
}

/// Serves a vector by a handler of this type.
///
/// # Safety
/// Called by an entry alone. `data` is of such a handler, which is never gone.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter<H: Fn(u32, &Nesting) + Sync>(data: *const (), vector: u32) {
    naked_asm!("la a2, {}", "tail uintr_nest", sym call::<H>)
}

/// # Safety
/// As for [`enter`], by `uintr_nest` alone; with interrupts off, on the stack below the level.
unsafe extern "C" fn call<H: Fn(u32, &Nesting) + Sync>(data: *const (), vector: u32, level: *const Level) {
    // SAFETY: the caller's promise.
    let handler = unsafe { &*data.cast::<H>() };
    handler(vector, &Nesting { level, vector, is_open: Cell::new(false) });
}

/// Makes a level, and keeps there what the entry has kept. None: a level is there, and what was interrupted is on no stack of theirs (a handler of the kernel's signals has its own); the
/// vector is held until that level lets nobody in any more.
///
/// # Safety
/// Called by `uintr_nest` alone, with its thread's block.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_nest_begin(block: *mut Block, vector: u32) -> *mut Level {
    // SAFETY: the entry's block, of whose thread this is a handler. There is a stack if there are such handlers. Below the stack pointer of what was interrupted there is nothing. Where
    // the stack has ended, this meets the page below.
    unsafe {
        let interrupted = Interrupted::of((*block).backend, block);
        let (outer, lowest) = ((*block).level, (*block).nested + GUARD);
        let top = if outer.is_null() { lowest + STACK } else { interrupted.sp() };
        if !(lowest..=lowest + STACK).contains(&top) {
            (*block).held |= 1 << vector;
            return null_mut();
        }
        let level = ((top - size_of::<Level>()) & !15) as *mut Level;
        (&raw mut (*level).block).write(block);
        (&raw mut (*level).outer).write(outer);
        (&raw mut (*level).registers).write(interrupted.keep());
        let frame = block.cast::<u8>().sub(FRAME);
        frame.copy_to_nonoverlapping((&raw mut (*level).frame).cast(), FRAME);
        (*block).level = level;
        level
    }
}

/// Gives the entry back what it has kept; its block.
///
/// # Safety
/// Called by `uintr_nest` alone, with its level.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_nest_end(level: *mut Level) -> *mut Block {
    // SAFETY: the caller's promise: interrupts are off, and nothing is on the handlers' stack.
    unsafe {
        let block = (*level).block;
        ends_a_child(block);
        let frame = block.cast::<u8>().sub(FRAME);
        frame.copy_from_nonoverlapping((&raw const (*level).frame).cast(), FRAME);
        (*block).level = (*level).outer;
        Interrupted::of((*block).backend, block).give_back(&(*level).registers);
        block
    }
}

const _: () = assert!(size_of::<Level>() < GUARD);

// In the place of a handler, with its arguments, and the code to call in a2. The entry has s0 point at the block, and its frame is all that is below that.
global_asm!(
    r#"
    .pushsection .text.uintr_nest, "ax"
    .balign 4
    .globl uintr_nest
uintr_nest:
    addi  sp, sp, -32
    sd    ra, 0(sp)
    sd    a0, 8(sp)
    sd    a1, 16(sp)
    sd    a2, 24(sp)
    mv    a0, s0
    call  uintr_nest_begin          # has the vector in a1
    beqz  a0, 1f
    ld    t0, 0(sp)
    sd    t0, {ra}(a0)
    sd    s1, {s1}(a0)
    ld    t0, 8(sp)
    ld    a1, 16(sp)
    ld    t1, 24(sp)
    mv    s0, a0
    mv    sp, a0                    # from here on the handlers' stack is the next interrupt's
    mv    a2, a0
    mv    a0, t0
    jalr  t1
    mv    a0, s0
    call  uintr_nest_end
    ld    ra, {ra}(s0)
    ld    s1, {s1}(s0)
    mv    s0, a0
    addi  sp, s0, -{frame}
    ret
1:  ld    ra, 0(sp)
    addi  sp, sp, 32
    ret
    .popsection
"#,
    ra = const offset_of!(Level, ra),
    s1 = const offset_of!(Level, s1),
    frame = const FRAME,
);
