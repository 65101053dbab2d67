//! The real machine: RISC-V in HS- or S-mode.

use crate::hart::Local;
use riscv::boot::DIRECT_MAP;
use riscv::csr;

pub use riscv::csr::{interrupts_off, interrupts_on, wait_for_interrupt};

/// Pointer to physical memory, through the direct map.
#[inline(always)]
pub fn physical_pointer(physical: usize) -> *mut u8 {
    (DIRECT_MAP + physical) as *mut u8
}

/// This hart's local data.
#[inline(always)]
pub fn local() -> &'static Local {
    // SAFETY: boot points `tp` at a static `Local` before any code of this crate runs, trap entry
    // restores it, and nothing in the kernel writes it.
    unsafe { &*(csr::thread_pointer() as *const Local) }
}

/// Whether this hart's trace points record: one load.
#[inline(always)]
pub fn recording() -> bool {
    // SAFETY: `tp` points at a `Local` (A13), and the offset is that of a field of one byte in it.
    unsafe { csr::thread_byte::<{ core::mem::offset_of!(Local, recording) }>() != 0 }
}

/// The `time` CSR.
pub fn ticks() -> u64 {
    csr::time()
}
