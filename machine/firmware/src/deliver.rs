//! User interrupts are taken on the way out of M-mode.
//!
//! Nobody else has to be asked: what can make an interrupt deliverable is an access to N's CSRs or to the controller, which
//! came here, or another hart's, which interrupts this one after it has raised the line.

use crate::csr::{MPP_S, MPV, TSR, csr_clear, csr_read, csr_set, csr_write};
use crate::trap::Trap;
use crate::{csr, trap};
use core::sync::atomic::Ordering;
use nuintc::hart::Mode;

/// Lets a user interrupt in if there is one. If the way leads to the kernel, its return to user mode is caught.
#[inline]
pub fn deliver(trap: &mut Trap<'_>) {
    // Pairs with the Release in `window::publish`. A line raised after this look comes with an interrupt of its own.
    let line = trap.local.line.load(Ordering::Acquire);
    if !trap.n.is_interrupted(line) {
        csr_clear!("mstatus", TSR);
        return;
    }
    match trap::origin(csr_read!("mstatus")) {
        Some(Mode::User) => {
            csr_write!("mepc", trap.n.interrupt(csr_read!("mepc"), line));
            csr_clear!("mstatus", TSR);
        }
        Some(Mode::Supervisor) => csr_set!("mstatus", TSR),
        // The kernel does not enter `vm` with interrupts delegated to N; if it does, they wait.
        None => {}
    }
}

/// What `sret` does, for one that was caught. Returns whether it was done here; else the hart does it itself.
pub fn sret() -> bool {
    if crate::forward::has_hypervisor() && csr_read!("hstatus") & csr::SPV != 0 {
        // To V = 1, where M-mode cannot lead on every version of the emulator.
        csr_clear!("mstatus", TSR);
        return false;
    }
    let status = csr_read!("mstatus");
    let mut new = status & !(csr::SIE | csr::SPP | csr::MPP | MPV) | csr::SPIE;
    if status & csr::SPIE != 0 {
        new |= csr::SIE;
    }
    if status & csr::SPP != 0 {
        new |= MPP_S;
    }
    csr_write!("mstatus", new);
    csr_write!("mepc", csr_read!("sepc"));
    true
}
