//! Entering and leaving user mode. The only kernel code that a process of the `table` world maps.
//!
//! ```text
//!  kernel coroutine                      resident code                           user
//!  enter(registers, area) --------> keep sp and ra, load user registers --sret--> runs
//!     returns (scause, stval) <---- save user registers, load sp and ra <--trap-- ecall, fault, interrupt
//!
//!  kernel code --trap--> save caller-saved on the running stack, kernel_trap(), restore, sret
//! ```
//!
//! One vector serves both directions. `sscratch` tells them apart: it holds the hart's [`SaveArea`]
//! while user code runs and 0 while the kernel does. Everything from the vector to the point where the
//! kernel's page table is active lies in section `.resident`; the save areas are in `.resident.data`.
//! Both are mapped at the address they are linked at, in the kernel's and in every `table` page table.
//!
//! A user thread has no kernel stack (P7): `enter` runs on the stack of the coroutine's poll and
//! returns to it. To the compiler it is a call that changes every register, so that the caller keeps what it
//! needs, and no more, in its own frame.

use crate::context::{
    KERNEL_RA, KERNEL_S, KERNEL_SATP, KERNEL_SP, KERNEL_TP, PC, REGISTERS, Registers, SPILL, STATUS, SaveArea,
    USER_SATP, USER_SP,
};

/// Bytes of a kernel trap frame: 16 caller-saved registers, `sepc`, `sstatus`.
pub const KERNEL_FRAME: usize = 144;

/// log2 of the largest kernel stack. Stacks lie in slots of twice that size and end at the slot's end; the
/// lower half of a slot is never mapped, so one bit of the stack pointer tells an overflow. A smaller
/// stack faults again at each frame below its last page until that bit clears.
pub const STACK_SHIFT: u32 = 17;

/// Bytes of address space for one kernel stack.
pub const STACK_SLOT: usize = 2 << STACK_SHIFT;

/// End of the stack for the last words after an overflow: slot 0 of the stack area.
pub const EMERGENCY_STACK_TOP: usize = crate::boot::STACKS + STACK_SLOT;

/// Why a hart left user mode.
#[repr(C)]
pub struct Trap {
    /// `scause`: the top bit set for interrupts.
    pub cause: usize,
    /// `stval`: the address of a page fault.
    pub value: usize,
}

unsafe extern "C" {
    /// The trap vector; `stvec` of every hart.
    #[link_name = "resident_vector"]
    pub fn vector();
}

/// Runs user code until the next trap.
///
/// # Safety
/// 1. Interrupts are off. 2. `area` is this hart's save area with `kernel_tp`, `kernel_satp` and `user_satp` set
///    for the world of the address space that is selected. 3. `registers.status` returns to user (or
///    virtual) mode.
#[inline(always)]
pub unsafe fn enter(registers: *mut Registers, area: *mut SaveArea) -> Trap {
    let (cause, value): (usize, usize);
    // SAFETY: the contract above; all registers but sp, tp and the two that the compiler does not let us name
    // (s0, s1, kept in the area) are declared changed.
    unsafe {
        core::arch::asm!(
            "call resident_enter",
            inout("a0") registers => cause, inout("a1") area => value,
            out("s2") _, out("s3") _, out("s4") _, out("s5") _, out("s6") _, out("s7") _,
            out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            clobber_abi("C"),
        );
    }
    Trap { cause, value }
}

core::arch::global_asm!(
    r#"
    # All but sp, t0, a0, relative to \base.
    .macro each_user operation, base
        \operation ra, 8(\base)
        \operation gp, 24(\base)
        \operation tp, 32(\base)
        \operation t1, 48(\base)
        \operation t2, 56(\base)
        \operation s0, 64(\base)
        \operation s1, 72(\base)
        \operation a1, 88(\base)
        \operation a2, 96(\base)
        \operation a3, 104(\base)
        \operation a4, 112(\base)
        \operation a5, 120(\base)
        \operation a6, 128(\base)
        \operation a7, 136(\base)
        \operation s2, 144(\base)
        \operation s3, 152(\base)
        \operation s4, 160(\base)
        \operation s5, 168(\base)
        \operation s6, 176(\base)
        \operation s7, 184(\base)
        \operation s8, 192(\base)
        \operation s9, 200(\base)
        \operation s10, 208(\base)
        \operation s11, 216(\base)
        \operation t3, 224(\base)
        \operation t4, 232(\base)
        \operation t5, 240(\base)
        \operation t6, 248(\base)
    .endm

    .macro each_scratch operation
        \operation ra, 0(sp)
        \operation t0, 8(sp)
        \operation t1, 16(sp)
        \operation t2, 24(sp)
        \operation a0, 32(sp)
        \operation a1, 40(sp)
        \operation a2, 48(sp)
        \operation a3, 56(sp)
        \operation a4, 64(sp)
        \operation a5, 72(sp)
        \operation a6, 80(sp)
        \operation a7, 88(sp)
        \operation t3, 96(sp)
        \operation t4, 104(sp)
        \operation t5, 112(sp)
        \operation t6, 120(sp)
    .endm

    .pushsection .resident, "ax"
    .globl resident_enter
    .balign 4
resident_enter:                         # a0 = registers, a1 = area
    sd   ra, {KERNEL_RA}(a1)
    sd   sp, {KERNEL_SP}(a1)
    sd   s0, {KERNEL_S}(a1)
    sd   s1, {KERNEL_S} + 8(a1)
    sd   a0, {REGISTERS}(a1)
    csrw sscratch, a1
    ld   t0, {PC}(a0)
    csrw sepc, t0
    ld   t0, {STATUS}(a0)
    csrw sstatus, t0
    ld   t0, {USER_SATP}(a1)
    bnez t0, 1f
    each_user ld, a0
    ld   sp, 16(a0)
    ld   t0, 40(a0)
    ld   a0, 80(a0)
    sret
1:  # The process has a page table of its own: the last registers go through the save area, which it maps.
    mv   sp, a1
    ld   t0, 16(a0)
    sd   t0, {USER_SP}(sp)
    ld   t0, 40(a0)
    sd   t0, {SPILL}(sp)
    each_user ld, a0
    ld   a0, 80(a0)
    ld   t0, {USER_SATP}(sp)
    csrw satp, t0
    sfence.vma
    ld   t0, {SPILL}(sp)
    ld   sp, {USER_SP}(sp)
    sret

    .globl resident_vector
    .balign 4
resident_vector:
    csrrw sp, sscratch, sp
    beqz  sp, 3f
    sd   t0, {SPILL}(sp)
    ld   t0, {KERNEL_SATP}(sp)
    beqz t0, 2f
    csrw satp, t0
    sfence.vma
2:  ld   t0, {REGISTERS}(sp)
    each_user sd, t0
    sd   a0, 80(t0)
    csrr t1, sscratch
    sd   t1, 16(t0)
    ld   t1, {SPILL}(sp)
    sd   t1, 40(t0)
    csrr t1, sepc
    sd   t1, {PC}(t0)
    csrr t1, sstatus
    sd   t1, {STATUS}(t0)
    ld   tp, {KERNEL_TP}(sp)
    ld   ra, {KERNEL_RA}(sp)
    ld   s0, {KERNEL_S}(sp)
    ld   s1, {KERNEL_S} + 8(sp)
    ld   sp, {KERNEL_SP}(sp)
    csrw sscratch, zero
    csrr a0, scause
    csrr a1, stval
    ret
3:  csrrw sp, sscratch, sp              # back: sp is the kernel's, sscratch 0
    j    kernel_vector
    .popsection

    .pushsection .trap, "ax"                # near the resident vector, which jumps here
kernel_vector:
    addi sp, sp, -{KERNEL_FRAME}
    csrw sscratch, t0                   # the only free place until the stack is known to be good
    srli t0, sp, {STACK_SHIFT}
    andi t0, t0, 1
    beqz t0, 4f
    csrr t0, sscratch
    csrw sscratch, zero
    each_scratch sd
    csrr t0, sepc
    sd   t0, 128(sp)
    csrr t0, sstatus
    sd   t0, 136(sp)
    csrr a0, scause
    csrr a1, stval
    mv   a2, sp
    call kernel_trap
    ld   t0, 128(sp)
    csrw sepc, t0
    ld   t0, 136(sp)
    csrw sstatus, t0
    each_scratch ld
    addi sp, sp, {KERNEL_FRAME}
    sret
4:  # The running stack overflowed. Go on with the emergency stack: the machine is going to stop.
    csrr a2, sepc
    mv   a1, sp
    csrr a0, scause
    csrw sscratch, zero
    li   sp, {EMERGENCY_STACK_TOP}
    call kernel_stack_overflow
5:  wfi
    j    5b
    .popsection
"#,
    KERNEL_SP = const KERNEL_SP, KERNEL_S = const KERNEL_S, KERNEL_RA = const KERNEL_RA, KERNEL_SATP = const KERNEL_SATP, KERNEL_TP = const KERNEL_TP,
    REGISTERS = const REGISTERS, SPILL = const SPILL, USER_SATP = const USER_SATP, USER_SP = const USER_SP,
    PC = const PC, STATUS = const STATUS, KERNEL_FRAME = const KERNEL_FRAME,
    STACK_SHIFT = const STACK_SHIFT, EMERGENCY_STACK_TOP = const EMERGENCY_STACK_TOP as i64,
);

/// Calls `function(argument)` on another stack and returns to this one.
///
/// # Safety
/// `top` is the 16-byte aligned end of a mapped stack that nothing else uses.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on_stack(argument: usize, function: extern "C" fn(usize), top: usize) {
    core::arch::naked_asm!(
        "addi sp, sp, -16",
        "sd ra, 8(sp)",
        "sd s0, 0(sp)",
        "mv s0, sp",
        "mv sp, a2",
        "jalr a1",
        "mv sp, s0",
        "ld ra, 8(sp)",
        "ld s0, 0(sp)",
        "addi sp, sp, 16",
        "ret",
    )
}
