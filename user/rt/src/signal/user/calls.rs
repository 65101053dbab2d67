//! Calls that a handler ends (`EINTR`), and handlers on a stack of their own.
//!
//! All calls of the runtime that may wait are made by one instruction. A call that the kernel is to make again behind the handlers has the thread stand at it when they run, and what delivers them may have it go on behind it. So there is no moment
//! between the end of a wait and the answer in which a handler would not be noticed; one that runs before the thread has come so far has run before the call.

use abi::Errno;
use abi::errno::Result;
use core::arch::global_asm;

// rt_signal_call(a0 ... a5, number) -> what the kernel answers. A thread that is interrupted at its `ecall` has not made the call, or is to make it again.
// rt_signal_on_stack(data, argument, code, end of a stack): calls code(data, argument) there.
global_asm!(
    ".pushsection .text.rt_signal, \"ax\"",
    ".balign 4",
    ".globl rt_signal_call",
    "rt_signal_call:",
    "mv   a7, a6",
    ".option push",
    ".option norvc",
    ".globl rt_signal_ecall",
    "rt_signal_ecall:",
    "ecall",
    ".option pop",
    "ret",
    ".globl rt_signal_on_stack",
    "rt_signal_on_stack:",
    "addi sp, sp, -16",
    "sd   ra, 8(sp)",
    "sd   s0, 0(sp)",
    "mv   s0, sp",
    "mv   sp, a3",
    "jalr a2",
    "mv   sp, s0",
    "ld   s0, 0(sp)",
    "ld   ra, 8(sp)",
    "addi sp, sp, 16",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn rt_signal_call(a0: usize, a1: usize, a2: usize, a3: usize, a4: usize, a5: usize, number: usize) -> isize;
    safe fn rt_signal_ecall();
    pub(super) fn rt_signal_on_stack(
        data: *const (),
        argument: *const (),
        code: unsafe extern "C" fn(*const (), *const ()),
        end: usize,
    );
}

/// Where such a call is interrupted.
pub(super) fn interruptible() -> usize {
    rt_signal_ecall as *const () as usize
}

/// Makes a call that a handler without [`Flags::RESTART`](super::Flags::RESTART) ends with `EINTR`, if it waits and has done nothing yet, and any handler if it is one of those that are never made again: with a time of its own, `ppoll`,
/// `pselect6`, `epoll_pwait`, `rt_sigtimedwait`, `rt_sigsuspend`, `io_uring_enter`. All calls of the runtime that may wait are made so.
///
/// # Errors
/// `EINTR`; those of the call.
///
/// # Safety
/// The call must be sound with these arguments: every address that the kernel writes through is valid for that, and it takes away no memory that is in use.
#[inline]
pub unsafe fn call(number: usize, [a0, a1, a2, a3, a4, a5]: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise.
    Errno::from_return(unsafe { rt_signal_call(a0, a1, a2, a3, a4, a5, number) })
}
