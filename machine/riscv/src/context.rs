//! The register state of a user thread, as trap entry and exit lay it out.
//!
//! The assembly in `resident.rs` uses the offsets below; the assertions at the end tie them to the types.

/// Register state of one user thread. A parked thread is exactly this and its coroutine.
#[repr(C)]
#[derive(Clone)]
pub struct Registers {
    /// `x0..x31`; element 0 is unused and stays 0.
    pub x: [usize; 32],
    /// Program counter at the next entry.
    pub pc: usize,
    /// `sstatus` as it was at the last trap; its FS field says whether floating point is on (and dirty).
    pub status: usize,
}

/// Floating-point state (D extension).
#[repr(C)]
#[derive(Clone)]
pub struct FloatingPoint {
    /// `f0..f31`.
    pub f: [u64; 32],
    /// `fcsr`: rounding mode and accrued exceptions.
    pub fcsr: u32,
    /// How often all these have been restored since they were changed.
    pub restores: u32,
}

impl FloatingPoint {
    /// All registers zero, round to nearest.
    pub const ZERO: Self = Self { f: [0; 32], fcsr: 0, restores: 0 };
}

/// What trap entry can reach before it knows the kernel's page table: one page per hart, resident in
/// every address space of the `table` world and never accessible from user mode.
#[repr(C)]
pub struct SaveArea {
    /// Room for one register while nothing else is free.
    pub spill: usize,
    /// The [`Registers`] of the thread that runs, a kernel address.
    pub registers: usize,
    /// Kernel stack pointer to return to.
    pub kernel_sp: usize,
    /// `satp` of the kernel if the running world has one of its own, else 0.
    pub kernel_satp: usize,
    /// The kernel's `tp`: this hart's local data.
    pub kernel_tp: usize,
    /// `satp` of the process if its world has one of its own, else 0.
    pub user_satp: usize,
    /// The user's `sp` on the way out.
    pub user_sp: usize,
    /// Where `enter` returns to in the kernel.
    pub kernel_ra: usize,
    /// The kernel's `s0` and `s1`, which `enter` cannot leave to the compiler.
    pub kernel_s: [usize; 2],
}

/// Offset of [`Registers::pc`].
pub const PC: usize = 256;
/// Offset of [`Registers::status`].
pub const STATUS: usize = 264;
/// Offset of [`SaveArea::spill`].
pub const SPILL: usize = 0;
/// Offset of [`SaveArea::registers`].
pub const REGISTERS: usize = 8;
/// Offset of [`SaveArea::kernel_sp`].
pub const KERNEL_SP: usize = 16;
/// Offset of [`SaveArea::kernel_satp`].
pub const KERNEL_SATP: usize = 24;
/// Offset of [`SaveArea::kernel_tp`].
pub const KERNEL_TP: usize = 32;
/// Offset of [`SaveArea::user_satp`].
pub const USER_SATP: usize = 40;
/// Offset of [`SaveArea::user_sp`].
pub const USER_SP: usize = 48;
/// Offset of [`SaveArea::kernel_ra`].
pub const KERNEL_RA: usize = 56;
/// Offset of [`SaveArea::kernel_s`].
pub const KERNEL_S: usize = 64;

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Registers, pc) == PC && offset_of!(Registers, status) == STATUS);
    assert!(offset_of!(SaveArea, spill) == SPILL && offset_of!(SaveArea, registers) == REGISTERS);
    assert!(offset_of!(SaveArea, kernel_sp) == KERNEL_SP);
    assert!(offset_of!(SaveArea, kernel_satp) == KERNEL_SATP);
    assert!(offset_of!(SaveArea, kernel_tp) == KERNEL_TP);
    assert!(offset_of!(SaveArea, user_satp) == USER_SATP);
    assert!(offset_of!(SaveArea, user_sp) == USER_SP && offset_of!(SaveArea, kernel_ra) == KERNEL_RA);
    assert!(offset_of!(SaveArea, kernel_s) == KERNEL_S);
};

/// Bits of `sie`, also as a program in VS-mode sees it.
pub mod sie {
    /// Software interrupts.
    pub const SOFTWARE: usize = 1 << 1;
    /// The timer's.
    pub const TIMER: usize = 1 << 5;
    /// External interrupts.
    pub const EXTERNAL: usize = 1 << 9;
}

/// `sstatus` bits (privileged specification, "Supervisor Status Register").
pub mod sstatus {
    /// Supervisor interrupts are enabled.
    pub const SIE: usize = 1 << 1;
    /// Value of SIE after `sret`.
    pub const SPIE: usize = 1 << 5;
    /// `sret` goes to S (or VS) instead of U.
    pub const SPP: usize = 1 << 8;
    /// Floating-point state: 0 off, 1 initial, 2 clean, 3 dirty.
    pub const FS: usize = 3 << 13;
    /// FS = clean.
    pub const FS_CLEAN: usize = 2 << 13;
    /// User mode runs 64-bit code.
    pub const UXL_64: usize = 2 << 32;
}
