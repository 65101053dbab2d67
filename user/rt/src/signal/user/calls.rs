//! Calls that a handler ends (`EINTR`), and handlers on a stack of their own.

use crate::io::Result;
use crate::sys::OwnedFd;
use abi::{Errno, nr};
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

/// Reads from a descriptor, until a handler runs: behind one with [`Flags::RESTART`](super::Flags::RESTART) it goes on.
///
/// # Errors
/// `EINTR`; as for reading.
pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is borrowed.
    let answer =
        unsafe { rt_signal_call(fd.raw() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, nr::READ) };
    Ok(Errno::from_return(answer)?)
}
