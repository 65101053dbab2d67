//! The first instructions of each hart, the way into and out of traps, and the way to S-mode.
//!
//! Each hart has a stack with a [`Frame`] at its top. `mscratch` holds the frame's address whenever the hart is below
//! M-mode; a trap saves the registers of the mode it came from there, and runs on the stack below.

use crate::board::HARTS;

/// Bytes of a hart's stack. The device tree is read on the first one's.
const STACK: usize = 1 << 16;
/// Bytes of a frame, a multiple of 16.
const FRAME: usize = size_of::<Frame>();

/// The registers of the mode that a trap came from.
#[repr(C, align(16))]
pub struct Frame {
    /// By their numbers; the first is zero.
    registers: [usize; 32],
    /// The hart's id.
    pub hart: usize,
}

impl Frame {
    /// A register.
    pub fn get(&self, register: usize) -> usize {
        self.registers[register % 32]
    }

    /// Changes a register; `x0` stays zero.
    pub fn set(&mut self, register: usize, value: usize) {
        if register != 0 {
            self.registers[register % 32] = value;
        }
    }
}

core::arch::global_asm!(
    r#"
    .option push
    .option arch, +a
    .pushsection .text.entry, "ax"
    .globl _start
_start:                                 # a0 = hart id, a1 = device tree, a2 = what to start
    csrw mie, zero
    li   t0, {HARTS}
    bgeu a0, t0, 3f
    bnez a0, 2f
    lla  t0, __bss_start                # the stacks are not in it
    lla  t1, __bss_end
1:  bgeu t0, t1, 2f
    sd   zero, 0(t0)
    addi t0, t0, 8
    j    1b
2:  lla  sp, stacks
    addi t0, a0, 1
    li   t1, {STACK}
    mul  t0, t0, t1
    add  sp, sp, t0
    addi sp, sp, -{FRAME}
    sd   zero, 0(sp)
    sd   a0, 256(sp)
    lla  t0, vector
    csrw mtvec, t0
    mv   a3, sp
    bnez a0, 4f
    call first_hart
3:  wfi                                 # more harts than there is room for
    j    3b
4:  lla  t0, READY                      # pairs with the Release of `boot::first_hart`
5:  lw   t1, 0(t0)
    beqz t1, 5b
    fence r, rw
    mv   a1, a3
    call other_hart
    j    3b
    .popsection

    .pushsection .text.vector, "ax"
    .balign 4
vector:
    csrrw sp, mscratch, sp
    sd   ra, 8(sp)
    .irp n,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd   x\n, 8*\n(sp)
    .endr
    csrrw t0, mscratch, sp
    sd   t0, 16(sp)
    mv   a0, sp
    call trap
    ld   ra, 8(sp)
    .irp n,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld   x\n, 8*\n(sp)
    .endr
    ld   sp, 16(sp)
    mret
    .popsection

    .pushsection .stacks, "aw", @nobits
    .balign 16
stacks:
    .space {HARTS} * {STACK}
    .popsection
    .option pop
"#,
    HARTS = const HARTS,
    STACK = const STACK,
    FRAME = const FRAME,
);

/// Begins S-mode at an address, with nothing of what ran before: `a0` = hart id, `a1` = `opaque`. `mstatus` says S-mode.
///
/// # Safety
///
/// `frame` is the running hart's, and what is on its stack is not needed any more.
pub unsafe fn supervisor(frame: *mut Frame, address: usize, hart: usize, opaque: usize) -> ! {
    // SAFETY: the contract; `mret` leaves M-mode for good.
    unsafe {
        core::arch::asm!(
            "csrw mscratch, {frame}", "csrw mepc, {address}", "mret",
            frame = in(reg) frame, address = in(reg) address, in("a0") hart, in("a1") opaque,
            options(noreturn))
    }
}
