//! Guest interrupt files: what of an IMSIC a hart can give to a program in virtual mode (RISC-V Advanced Interrupt
//! Architecture 1.0, section 3.1 and chapter 6).
//!
//! A hart has [`count`] of them, numbered from 1. What arrives in one while no program has it (`hstatus.VGEIN`) stays pending there; if
//! the file is [armed](arm), the hart then takes an SGEI interrupt.
//!
//! All functions act on the calling hart, with interrupts off, and need the H and Ssaia extensions.
//!
//! *A fault of QEMU 7.2.* It changes `hgeip` without a lock: where a message comes from another hart to one file while this hart claims from another, one of the changes
//! is lost. A file in which nothing is pending then interrupts its program for ever, since a claim of nothing does not have the bit worked out. A read of a register of the file
//! does ([`work_out`]), so there is one where the bit is set and a program is about to go on with the file.

use crate::imsic::selected::{EIDELIVERY, EIE, EIP, EITHRESHOLD};
use crate::virtual_csr::{OUTSIDE, VGEIN};
use crate::{csr_clear, csr_read, csr_set, csr_write};

/// `scause` of an SGEI interrupt, and its bit in `hie`.
pub const SGEI: usize = 12;

/// How many guest files the hart has (`GEILEN`), and lets them interrupt it when they are armed.
pub fn initialise() -> usize {
    csr_write!(hgeie, usize::MAX);
    let files = csr_read!(hgeie);
    csr_write!(hgeie, 0);
    csr_set!(hie, 1 << SGEI);
    // Bit 0 is none; the others are one after another.
    files.count_ones() as usize
}

/// Makes a file empty: nothing is pending in it, `enabled` of the identities 0 to 63 can interrupt, others not.
pub fn clear(file: usize, ids: u32, enabled: usize) {
    // The thread whose registers are loaded may go on with them.
    let select = csr_read!(vsiselect);
    // The kernel is in HS-mode; VGEIN matters to it for `vsireg` only.
    csr_write!(hstatus, OUTSIDE | file << VGEIN);
    write(EIDELIVERY, 0);
    for word in 0..=ids as usize / 64 {
        write(EIE + 2 * word, if word == 0 { enabled } else { 0 });
        write(EIP + 2 * word, 0);
    }
    write(EITHRESHOLD, 0);
    write(EIDELIVERY, 1);
    csr_write!(hstatus, OUTSIDE);
    csr_write!(vsiselect, select);
}

/// Has the hart interrupted when something deliverable is pending in the file, unless that is so already: `false`.
///
/// The look comes behind the bit. QEMU works out from a copy of `hgeip` what the write of `hgeie` means, and can overwrite what a message that
/// comes just then has meant.
#[must_use]
pub fn arm(file: usize) -> bool {
    csr_set!(hgeie, 1 << file);
    if csr_read!(hgeip) & 1 << file == 0 {
        return true;
    }
    disarm(file);
    false
}

/// Ends what [`arm`] began, for a program that is about to run with the file. A bit that stands for nothing goes; one that was lost is not looked for, since working it out can itself lose
/// one that comes meanwhile. So it is worked out twice: the second time it is there again.
pub fn hand_over(file: usize) {
    disarm(file);
    if csr_read!(hgeip) & 1 << file != 0 {
        work_out(file);
        work_out(file);
    }
}

/// Has the hart work out whether something deliverable is pending in the file. It leaves the file in `hstatus`.
fn work_out(file: usize) {
    // The thread whose registers are loaded may go on with them.
    let select = csr_read!(vsiselect);
    csr_write!(hstatus, OUTSIDE | file << VGEIN);
    csr_write!(vsiselect, EIDELIVERY);
    let _ = csr_read!(vsireg);
    csr_write!(vsiselect, select);
}

/// Ends what [`arm`] began.
pub fn disarm(file: usize) {
    csr_clear!(hgeie, 1 << file);
}

/// Disarms the files that interrupt now; a bit for each.
pub fn take() -> usize {
    let files = csr_read!(hgeip) & csr_read!(hgeie);
    csr_clear!(hgeie, files);
    files
}

fn write(register: usize, value: usize) {
    // Reached through the file that VGEIN names; the caller has chosen one that is there.
    csr_write!(vsiselect, register);
    csr_write!(vsireg, value);
}
