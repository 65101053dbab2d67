//! Traps that M-mode has no part in: the kernel gets them as if they had gone there at once, or a program does.

use crate::csr;
use crate::csr::{MPIE, MPP, MPP_S, MPV, csr_clear, csr_read, csr_write};
use crate::trap::{self, Trap};
use nuintc::hart::Mode;

/// Whether this hart has the hypervisor extension (`misa`).
pub fn has_hypervisor() -> bool {
    csr_read!("misa") >> 7 & 1 != 0
}

/// Hands on an exception: to the program if the kernel delegated it (`sedeleg`), else to the kernel.
pub fn exception(trap: &mut Trap<'_>, cause: usize, value: usize) {
    let status = csr_read!("mstatus");
    let user = trap::origin(status) == Some(Mode::User);
    if user && cause < 16 && trap.n.delegated() >> cause & 1 != 0 {
        csr_write!("mepc", trap.n.exception(cause, csr_read!("mepc"), value));
        return;
    }
    if status & MPV != 0 && csr_read!("hedeleg") >> cause & 1 != 0 {
        to_guest(status, cause, value);
    } else {
        to_kernel(status, cause, value);
    }
}

/// As the hart enters S-mode (privileged architecture, "Supervisor Trap Handling"; with H, "Trap Entry").
fn to_kernel(status: usize, cause: usize, value: usize) {
    csr_write!("scause", cause);
    csr_write!("sepc", csr_read!("mepc"));
    csr_write!("stval", value);
    if has_hypervisor() {
        let mut hypervisor = csr_read!("hstatus") & !(csr::SPV | 1 << 6);
        if status & MPV != 0 {
            hypervisor |= csr::SPV;
            // SPVP is changed by traps from V = 1 alone.
            hypervisor = hypervisor & !(1 << 8) | (status & MPP_S) >> 11 << 8;
        }
        if status & csr::GVA != 0 {
            hypervisor |= 1 << 6;
        }
        csr_write!("hstatus", hypervisor);
        csr_write!("htval", csr_read!("mtval2"));
        csr_write!("htinst", csr_read!("mtinst"));
        if status & MPV != 0 {
            leave_guest();
        }
    }
    csr_write!("mstatus", entered(status));
    csr_write!("mepc", csr_read!("stvec") & !0b11);
}

/// As the hart enters VS-mode, which M-mode returns to with `MPV` as it is.
fn to_guest(status: usize, cause: usize, value: usize) {
    csr_write!("vscause", cause);
    csr_write!("vsepc", csr_read!("mepc"));
    csr_write!("vstval", value);
    let guest = csr_read!("vsstatus");
    let mut new = guest & !(csr::SIE | csr::SPIE | csr::SPP) | (status & MPP_S) >> 3;
    if guest & csr::SIE != 0 {
        new |= csr::SPIE;
    }
    csr_write!("vsstatus", new);
    csr_write!("mstatus", status & !MPP | MPP_S);
    csr_write!("mepc", csr_read!("vstvec") & !0b11);
}

/// `mstatus` in S-mode's handler, after a trap from this one.
fn entered(status: usize) -> usize {
    let mut new = status & !(csr::SIE | csr::SPIE | csr::SPP | MPP | MPV) | MPP_S | (status & MPP_S) >> 3;
    if status & csr::SIE != 0 {
        new |= csr::SPIE;
    }
    new
}

/// Clears `MPV`. Some versions of the emulator do not let software write it; there a return to M-mode clears it. In version 7
/// such a return would set V, but there it can be written.
fn leave_guest() {
    csr_clear!("mstatus", MPV | MPIE);
    if csr_read!("mstatus") & MPV == 0 {
        return;
    }
    // SAFETY: `mret` with M-mode in `MPP` goes on at the next instruction, in M-mode and with interrupts off (`MPIE`).
    unsafe {
        core::arch::asm!(
            "csrs mstatus, {machine}", "lla {next}, 2f", "csrw mepc, {next}", "mret", "2:",
            machine = in(reg) MPP, next = out(reg) _, options(nostack));
    }
}
