//! The H registers around a process in the `vm` world.
//!
//! The VS copies of supervisor CSRs mean nothing to a process that has registered no handlers of its own: every
//! trap goes to the kernel. So they are not kept for a thread, only reset when another process's turn
//! comes, so that none can read what another left.
//!
//! All accesses need the H extension; `hal` asks the device tree before it uses this module.

use crate::csr_write;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// `hstatus` for entering a process: previous virtualisation mode V=1 (SPV), privilege S (SPVP), and trapping of
/// address-translation changes (VTVM), `wfi` (VTW) and `sret` (VTSR: without handlers of its own a process
/// has nothing to return from, and must not get to VU-mode); VSXL = 64 bits.
pub const ENTER: usize = 1 << 7 | 1 << 8 | 1 << 20 | 1 << 21 | 1 << 22 | 2 << 32;

/// `hstatus` for entering a process outside virtual mode: SPV = 0; VSXL = 64 bits.
const OUTSIDE: usize = 2 << 32;

/// The hart has `vsiselect` (Ssaia).
static HAS_AIA: AtomicBool = AtomicBool::new(false);

/// Gives this hart's VS CSRs the values that every process starts with; nothing of the last one remains.
fn reset() {
    // FS = initial: whether floating point really is on is the kernel's `sstatus.FS`. The others act only
    // with delegation, which is off.
    csr_write!(vsstatus, 1 << 13 | 2 << 32);
    csr_write!(vstvec, 0);
    csr_write!(vsscratch, 0);
    csr_write!(vsepc, 0);
    csr_write!(vscause, 0);
    csr_write!(vstval, 0);
    csr_write!(vsie, 0);
    // VTVM keeps it Bare; some emulators do not check, so it is reset here.
    csr_write!(vsatp, 0);
    if HAS_AIA.load(Relaxed) {
        csr_write!(vsiselect, 0);
    }
}

/// Sets up the H registers of this hart once: nothing delegated, `time`, `cycle` and `instret` readable.
pub fn initialise(has_aia: bool) {
    HAS_AIA.store(has_aia, Relaxed);
    // Zero delegation until a process registers handlers (D5): every trap of a process reaches the kernel.
    csr_write!(hedeleg, 0);
    csr_write!(hideleg, 0);
    csr_write!(hvip, 0);
    csr_write!(hcounteren, 7);
    csr_write!(henvcfg, 0);
    csr_write!(htimedelta, 0);
    csr_write!(vsatp, 0);
    csr_write!(hgatp, 0);
}

/// Selects the G-stage table of the process that runs next, and resets the VS CSRs.
pub fn select_table(root: usize) {
    // The root is owned by the caller's space handle until another one is selected.
    csr_write!(hgatp, crate::sv39::MODE | root >> 12);
    crate::csr::flush_guest_translations();
    reset();
}

/// Forgets the G-stage table: the process that owned it is gone from this hart.
pub fn deselect_table() {
    csr_write!(hgatp, 0);
    crate::csr::flush_guest_translations();
}

/// Prepares `sret` to stay outside virtual mode: the last trap, from a process in it, has left SPV set, and the G-stage table
/// was that process's.
pub fn leave() {
    csr_write!(hstatus, OUTSIDE);
    csr_write!(hgatp, 0);
}

/// Prepares `sret` to go back to what the kernel was interrupted in, after processes ran on top of that: the last trap may have
/// come from virtual mode.
pub fn stay_outside() {
    csr_write!(hstatus, OUTSIDE);
}

/// Prepares `sret` to enter virtual mode.
#[inline(always)]
pub fn prepare_entry() {
    // Interrupts are off, so no trap can change SPV between here and `sret`.
    csr_write!(hstatus, ENTER);
}
