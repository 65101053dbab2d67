//! What the N extension adds to a hart.
//!
//! The line of the controller is not part of it: whoever asks says how it stands. `uip.USIP` reads as that level or the bit
//! that software set; setting and clearing bits of `uip` concerns the latter alone.

use crate::csr;
use crate::instruction::{Change, Csr};

/// Who executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A program.
    User,
    /// The kernel.
    Supervisor,
}

/// The CSRs of N of one hart.
#[derive(Clone, Debug, Default)]
pub struct Hart {
    status: usize,
    enabled: usize,
    /// What software has made pending.
    pending: usize,
    vector: usize,
    scratch: usize,
    epc: usize,
    cause: usize,
    value: usize,
    exceptions: usize,
    interrupts: usize,
}

impl Hart {
    /// As after a reset: everything off.
    pub const fn new() -> Hart {
        Hart {
            status: 0,
            enabled: 0,
            pending: 0,
            vector: 0,
            scratch: 0,
            epc: 0,
            cause: 0,
            value: 0,
            exceptions: 0,
            interrupts: 0,
        }
    }

    /// Executes an access to a CSR, with the value of its source register; returns what was read. `None` if N has no such
    /// CSR for that mode. User mode has some only while something is delegated to it: so what a program leaves in them reaches no other.
    pub fn access(&mut self, csr: Csr, source: usize, mode: Mode, line: bool) -> Option<usize> {
        let writable = match csr.number {
            csr::USTATUS => csr::UIE | csr::UPIE,
            csr::UIE_CSR => csr::INTERRUPTS,
            // Programs raise the software interrupt alone.
            csr::UIP if mode == Mode::User => csr::SOFTWARE,
            csr::UIP => csr::INTERRUPTS,
            csr::UTVEC => !0b10,
            csr::UEPC => !1,
            csr::SEDELEG => csr::EXCEPTIONS,
            csr::SIDELEG => csr::INTERRUPTS,
            _ => !0,
        };
        if mode == Mode::User && !self.is_delegating() {
            return None;
        }
        let register = self.register(csr.number, mode)?;
        let old = *register;
        if let Some(change) = csr.change {
            let new = match change {
                Change::Write => source,
                Change::Set => old | source,
                Change::Clear => old & !source,
            };
            *register = old & !writable | new & writable;
        }
        Some(if csr.number == csr::UIP { old | usize::from(line) } else { old })
    }

    fn register(&mut self, number: usize, mode: Mode) -> Option<&mut usize> {
        Some(match number {
            csr::USTATUS => &mut self.status,
            csr::UIE_CSR => &mut self.enabled,
            csr::UTVEC => &mut self.vector,
            csr::USCRATCH => &mut self.scratch,
            csr::UEPC => &mut self.epc,
            csr::UCAUSE => &mut self.cause,
            csr::UTVAL => &mut self.value,
            csr::UIP => &mut self.pending,
            csr::SEDELEG if mode == Mode::Supervisor => &mut self.exceptions,
            csr::SIDELEG if mode == Mode::Supervisor => &mut self.interrupts,
            _ => return None,
        })
    }

    /// Whether a program of this hart takes anything itself.
    fn is_delegating(&self) -> bool {
        self.interrupts | self.exceptions != 0
    }

    /// Exceptions that go to the program, as in `sedeleg`.
    pub fn delegated(&self) -> usize {
        self.exceptions
    }

    /// Whether an interrupt is to be taken as soon as the hart is in user mode.
    pub fn is_interrupted(&self, line: bool) -> bool {
        self.status & csr::UIE != 0 && self.deliverable(line) != 0
    }

    fn deliverable(&self, line: bool) -> usize {
        (self.pending | usize::from(line)) & self.enabled & self.interrupts
    }

    /// Takes an interrupt in user mode at `pc`, the external one first, then the software's; returns where the
    /// hart goes on.
    pub fn interrupt(&mut self, pc: usize, line: bool) -> usize {
        let deliverable = self.deliverable(line);
        let cause = [8, 0, 4].into_iter().find(|cause| deliverable >> cause & 1 != 0).unwrap_or(0);
        self.enter(csr::INTERRUPT | cause, pc, 0);
        let vectored = self.vector & 1 != 0;
        (self.vector & !0b11).wrapping_add(if vectored { 4 * cause } else { 0 })
    }

    /// Takes an exception in user mode; returns where the hart goes on.
    pub fn exception(&mut self, cause: usize, pc: usize, value: usize) -> usize {
        self.enter(cause, pc, value);
        self.vector & !0b11
    }

    fn enter(&mut self, cause: usize, pc: usize, value: usize) {
        self.cause = cause;
        self.epc = pc;
        self.value = value;
        self.status = if self.status & csr::UIE != 0 { csr::UPIE } else { 0 };
    }

    /// Returns from a trap; returns where the hart goes on. `None`: nothing is delegated, so there is no such instruction.
    pub fn uret(&mut self) -> Option<usize> {
        self.is_delegating().then(|| {
            self.status = csr::UPIE | if self.status & csr::UPIE != 0 { csr::UIE } else { 0 };
            self.epc
        })
    }
}
