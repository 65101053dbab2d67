//! M-mode of QEMU's `virt` machine, for a kernel that expects an SBI and the user-interrupt hardware of `docs/nuintc.md`.
//!
//! Two parts. One is what any firmware does: [`boot`] prepares harts and interrupt controllers, [`sbi`] answers calls,
//! [`start`] starts and stops harts. The other plays the hardware that is not there: [`illegal`] executes the CSR accesses and
//! returns of the N extension, [`window`] the registers of the controller, [`deliver`] takes the interrupts; the state and
//! its rules are the crate `nuintc`. Design note 0009 says why and what a program can do with it.
//!
//! M-mode runs with interrupts off and never traps, except where [`unprivileged`] and `csr_try_write!` expect it to. What a hart
//! owns is in its [`local::Local`]; what harts share is atomic there, or the controller behind its lock.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "CSR access, trap entry, device registers and page tables")]

mod board;
mod boot;
mod csr;
mod deliver;
mod entry;
mod forward;
mod illegal;
mod local;
mod lock;
mod sbi;
mod start;
mod translate;
mod trap;
mod unprivileged;
mod window;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write;
    let _ = writeln!(board::Console, "\nfirmware panic: {info}");
    board::power_off(true)
}
