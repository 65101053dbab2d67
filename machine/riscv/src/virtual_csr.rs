//! State of a process in the `vm` world: the VS copies of supervisor CSRs, and the H registers around it.
//!
//! All accesses need the H extension; `hal` asks the device tree before it uses this module.

use crate::{csr_read, csr_write};

/// The VS CSRs that belong to a thread. They are its own to change; the kernel only keeps them apart.
#[derive(Clone, Default)]
pub struct VirtualCsrs {
    status: usize,
    vector: usize,
    scratch: usize,
    epc: usize,
    cause: usize,
    value: usize,
}

/// `hstatus` for entering a process: previous virtualisation mode V=1 (SPV), privilege S (SPVP), and
/// trapping of address-translation changes (VTVM) and `wfi` (VTW); VSXL = 64 bits.
pub const ENTER: usize = 1 << 7 | 1 << 8 | 1 << 20 | 1 << 21 | 2 << 32;

impl VirtualCsrs {
    /// Registers as a new thread finds them: floating point usable, no handler.
    pub const fn new() -> Self {
        // FS = initial: whether floating point really is on is the kernel's `sstatus.FS`.
        Self { status: 1 << 13 | 2 << 32, vector: 0, scratch: 0, epc: 0, cause: 0, value: 0 }
    }

    /// Reads this hart's VS CSRs.
    pub fn save(&mut self) {
        self.status = csr_read!(vsstatus);
        self.vector = csr_read!(vstvec);
        self.scratch = csr_read!(vsscratch);
        self.epc = csr_read!(vsepc);
        self.cause = csr_read!(vscause);
        self.value = csr_read!(vstval);
    }

    /// Loads this hart's VS CSRs; nothing of the thread that ran before remains.
    pub fn restore(&self) {
        // These registers act only while V=1, and this thread is what runs next with V=1.
        csr_write!(vsstatus, self.status);
        csr_write!(vstvec, self.vector);
        csr_write!(vsscratch, self.scratch);
        csr_write!(vsepc, self.epc);
        csr_write!(vscause, self.cause);
        csr_write!(vstval, self.value);
        csr_write!(vsie, 0);
        // VTVM keeps it Bare; the emulator of some versions does not check, so it is reset here.
        csr_write!(vsatp, 0);
    }
}

/// Sets up the H registers of this hart once: nothing delegated, `time`, `cycle` and `instret` readable.
pub fn initialise() {
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

/// Selects the G-stage table of the process that runs next.
pub fn select_table(root: usize) {
    // The root is owned by the caller's space handle until another one is selected.
    csr_write!(hgatp, crate::sv39::MODE | root >> 12);
    crate::csr::flush_guest_translations();
}

/// Prepares `sret` to enter virtual mode.
#[inline(always)]
pub fn prepare_entry() {
    // Interrupts are off, so no trap can change SPV between here and `sret`.
    csr_write!(hstatus, ENTER);
}
