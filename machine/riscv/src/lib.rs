//! All that knows RISC-V: CSRs, page-table entries, trap entry and exit, SBI calls, interrupt controllers.
//!
//! Mechanism only. Nothing here allocates, locks or decides; `machine/hal` builds the safe interface on
//! it. Modules that are pure data (page-table entries, the layout of a context) also build on the host.
#![no_std]
#![expect(unsafe_code, reason = "CSR access, trap entry and device registers")]

pub mod context;
pub mod store;
pub mod sv39;

// What the compiler calls, and the tests.
#[cfg(any(test, target_os = "none"))]
mod bytes;

pub mod aplic;
pub mod imsic;
pub mod memory;
pub mod mmio;
pub mod plic;

#[cfg(target_arch = "riscv64")]
pub mod boot;
#[cfg(target_arch = "riscv64")]
pub mod csr;
#[cfg(target_arch = "riscv64")]
pub mod floating;
#[cfg(target_arch = "riscv64")]
pub mod guest_file;
#[cfg(target_arch = "riscv64")]
pub mod resident;
#[cfg(target_arch = "riscv64")]
pub mod sbi;
#[cfg(target_arch = "riscv64")]
pub mod user_csr;
#[cfg(target_arch = "riscv64")]
pub mod virtual_csr;
