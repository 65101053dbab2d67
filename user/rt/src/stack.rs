//! Stacks for what runs inside a thread, and the ways on and off them.
//!
//! ```text
//!   guard page | stack, grows down
//! ```
//!
//! * The executor polls tasks on a stack that it can leave for good ([`run_on`], [`abandon`]): where a task panics its
//!   frames stay as they are, and the executor goes on with another stack.
//! * A green thread has a stack of its own; whoever polls it goes there and comes back ([`switch`]).
//!
//! A *frame* is what a function must leave as it was: `ra`, `s0` to `s11`, `fs0` to `fs11`, saved on the stack that is left; its
//! address stands for the whole. Whoever holds the address goes back there, once.

use crate::sys::syscall;
use crate::thread;
use crate::{heap, io, sys};
use core::arch::global_asm;

/// The page below a stack that must not be touched, in bytes.
pub(crate) const GUARD: usize = 4096;

/// A stack with a page below that must not be touched.
#[derive(Debug)]
pub(crate) struct Stack {
    base: usize,
    size: usize,
}

impl Stack {
    /// A fresh stack of `size` bytes, a multiple of the page's; pages are backed when touched.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let stack = Self { base: heap::map(GUARD + size)?, size };
        syscall!(MPROTECT, stack.base, GUARD, abi::mm::PROT_NONE)?;
        Ok(stack)
    }

    /// The stack of this size that has its guard page there, and was forgotten.
    ///
    /// # Safety
    /// There is one, and nobody has frames on it that are still used.
    pub(crate) unsafe fn again(guard: usize, size: usize) -> Self {
        Self { base: guard, size }
    }

    /// Where it begins: the address above it.
    pub(crate) fn top(&self) -> usize {
        self.base + GUARD + self.size
    }

    /// The page that must not be touched.
    pub(crate) fn guard(&self) -> usize {
        self.base
    }

    /// How long it is.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let args = [self.base, GUARD + self.size, 0, 0, 0, 0];
        // SAFETY: the mapping is this value's; who has frames on it that are still used does not drop it.
        let _ = unsafe { sys::call6(abi::nr::MUNMAP, args) };
    }
}

// rt_stack_switch(from: *mut usize, to: usize): leaves a frame, stores its address, goes on at another.
// rt_stack_call(from, top, f, argument) -> 0: leaves a frame, stores its address, calls `f` on the stack that begins at `top`.
// rt_stack_leave(to): goes on at a frame that `rt_stack_call` left, which returns 1 there.
global_asm!(
    ".option push",
    ".option arch, +d",
    ".macro rt_stack_save",
    "addi sp, sp, -208",
    "sd ra, 0(sp)",
    "sd s0, 8(sp)",
    "sd s1, 16(sp)",
    "sd s2, 24(sp)",
    "sd s3, 32(sp)",
    "sd s4, 40(sp)",
    "sd s5, 48(sp)",
    "sd s6, 56(sp)",
    "sd s7, 64(sp)",
    "sd s8, 72(sp)",
    "sd s9, 80(sp)",
    "sd s10, 88(sp)",
    "sd s11, 96(sp)",
    "fsd fs0, 104(sp)",
    "fsd fs1, 112(sp)",
    "fsd fs2, 120(sp)",
    "fsd fs3, 128(sp)",
    "fsd fs4, 136(sp)",
    "fsd fs5, 144(sp)",
    "fsd fs6, 152(sp)",
    "fsd fs7, 160(sp)",
    "fsd fs8, 168(sp)",
    "fsd fs9, 176(sp)",
    "fsd fs10, 184(sp)",
    "fsd fs11, 192(sp)",
    "sd sp, 0(a0)",
    ".endm",
    ".macro rt_stack_load",
    "ld ra, 0(sp)",
    "ld s0, 8(sp)",
    "ld s1, 16(sp)",
    "ld s2, 24(sp)",
    "ld s3, 32(sp)",
    "ld s4, 40(sp)",
    "ld s5, 48(sp)",
    "ld s6, 56(sp)",
    "ld s7, 64(sp)",
    "ld s8, 72(sp)",
    "ld s9, 80(sp)",
    "ld s10, 88(sp)",
    "ld s11, 96(sp)",
    "fld fs0, 104(sp)",
    "fld fs1, 112(sp)",
    "fld fs2, 120(sp)",
    "fld fs3, 128(sp)",
    "fld fs4, 136(sp)",
    "fld fs5, 144(sp)",
    "fld fs6, 152(sp)",
    "fld fs7, 160(sp)",
    "fld fs8, 168(sp)",
    "fld fs9, 176(sp)",
    "fld fs10, 184(sp)",
    "fld fs11, 192(sp)",
    "addi sp, sp, 208",
    ".endm",
    ".globl rt_stack_switch",
    "rt_stack_switch:",
    "rt_stack_save",
    "mv sp, a1",
    "rt_stack_load",
    "ret",
    ".globl rt_stack_call",
    "rt_stack_call:",
    "rt_stack_save",
    "mv s0, sp",
    "mv sp, a1",
    "mv a0, a3",
    "jalr a2",
    "mv sp, s0",
    "ld ra, 0(sp)",
    "ld s0, 8(sp)",
    "addi sp, sp, 208",
    "li a0, 0",
    "ret",
    ".globl rt_stack_leave",
    "rt_stack_leave:",
    "mv sp, a0",
    "rt_stack_load",
    "li a0, 1",
    "ret",
    // Where the first switch to a green thread's stack goes on: `s0` is what `s1` is called with, and does not return from.
    ".globl rt_stack_begin",
    "rt_stack_begin:",
    "mv ra, zero",
    "mv a0, s0",
    "mv t0, s1",
    "mv s0, zero",
    "jr t0",
    ".purgem rt_stack_save",
    ".purgem rt_stack_load",
    ".option pop",
);

unsafe extern "C" {
    fn rt_stack_switch(from: *mut usize, to: usize);
    fn rt_stack_call(from: *mut usize, top: usize, f: extern "C" fn(*mut ()), argument: *mut ()) -> usize;
    fn rt_stack_leave(to: usize) -> !;
    fn rt_stack_begin();
}

/// What [`run_on`] calls, and what comes of it.
struct Call<F, R> {
    f: Option<F>,
    result: Option<R>,
}

extern "C" fn call<F: FnOnce() -> R, R>(argument: *mut ()) {
    // SAFETY: `run_on` gives its own, which nobody else touches until this returns.
    let call = unsafe { &mut *argument.cast::<Call<F, R>>() };
    call.result = call.f.take().map(|f| f());
}

/// Runs `f` on a stack where nothing else is. `None`: [`abandon`] was called there, and the stack is to be left as it is.
pub(crate) fn run_on<F: FnOnce() -> R, R>(stack: &Stack, f: F) -> Option<R> {
    let mut body = Call { f: Some(f), result: None };
    let before = thread::enter_stack(stack.guard());
    // SAFETY: the stack is empty, and `body` lives until the call is over. If it is abandoned, what ran there never goes on,
    // so its frames' hold on `body` and on what `f` borrows is never used again.
    let left = unsafe { rt_stack_call(thread::way_back(), stack.top(), call::<F, R>, (&raw mut body).cast()) };
    thread::leave_stack(before);
    if left == 0 { body.result } else { None }
}

/// Leaves the stack that [`run_on`] runs on in this thread, for good. Comes back if there is none.
///
/// # Safety
/// The frames from here up to `run_on`'s are never used again, nor is what lies in them.
pub(crate) unsafe fn abandon() {
    // SAFETY: asked of the running thread.
    let to = unsafe { *thread::way_back() };
    if to != 0 {
        // SAFETY: the frame that `run_on` left on this thread, which has not come back: it clears the word when it does.
        unsafe { rt_stack_leave(to) }
    }
}

/// Puts a frame on an empty stack from which a switch goes on in `f(argument)`, which never returns.
pub(crate) fn prepare(stack: &Stack, f: extern "C" fn(*mut ()) -> !, argument: *mut ()) -> usize {
    let frame = stack.top() - 208;
    let words = [rt_stack_begin as *const () as usize, argument as usize, f as *const () as usize];
    // SAFETY: within the stack, which is empty and this caller's; ra, s0 and s1 come first in a frame.
    unsafe { (frame as *mut [usize; 3]).write(words) };
    frame
}

/// Leaves a frame here, its address in `from`, and goes on at the frame `to`. Comes back when somebody goes on at this one.
///
/// # Safety
/// `to` is a frame that nobody has gone on at, on a stack that is not in use otherwise, and what is there may run on this
/// thread.
pub(crate) unsafe fn switch(from: *mut usize, to: usize) {
    // SAFETY: by contract.
    unsafe { rt_stack_switch(from, to) }
}
