//! The H registers around a process in the `vm` world.
//!
//! The VS copies of supervisor CSRs mean nothing to a thread that has registered no handler of its own: every
//! trap goes to the kernel. So they are not kept for it, only reset when another process's turn
//! comes, or after a thread that has one, so that none can read what another left. For those that have one they
//! are [`Own`] (note 0008, section 4).
//!
//! All accesses need the H extension; `hal` asks the device tree before it uses this module.

use crate::{csr_read, csr_write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// `hstatus` for entering a process: previous virtualisation mode V=1 (SPV), privilege S (SPVP), and trapping of
/// address-translation changes (VTVM), `wfi` (VTW) and `sret` (VTSR: without handlers of its own a process
/// has nothing to return from, and must not get to VU-mode); VSXL = 64 bits.
pub const ENTER: usize = 1 << 7 | 1 << 8 | 1 << 20 | 1 << 21 | 1 << 22 | 2 << 32;

/// The same for a thread with a handler of its own, which returns from it by `sret`; what it reaches that way is its own
/// memory, in VS-mode or VU-mode.
const ENTER_OWN: usize = ENTER & !(1 << 22);
/// Shift of `hstatus.VGEIN`, the guest file that `stopei` and the VS external interrupt are about.
pub(crate) const VGEIN: u32 = 12;
/// VS-level interrupts in `hideleg`, `hvip` and `hie`: software, timer, external.
const VS_INTERRUPTS: usize = 1 << 2 | 1 << 6 | 1 << 10;
/// `hvip.VSSIP`: a software interrupt for VS-mode.
const VSSIP: usize = 1 << 2;

/// `hstatus` for entering a process outside virtual mode: SPV = 0; VSXL = 64 bits.
pub(crate) const OUTSIDE: usize = 2 << 32;

/// `vsstatus` at first: FS = initial, UXL = 64 bits.
const FIRST_STATUS: usize = 1 << 13 | 2 << 32;

/// `vsstatus.SIE`.
const SIE: usize = 1 << 1;
/// `vsstatus.SPIE`: what `SIE` was before a trap.
const SPIE: usize = 1 << 5;
/// `vsstatus.SPP`: the trap came from VS-mode.
const SPP: usize = 1 << 8;

/// Exceptions that go to a program directly, by cause: illegal instruction, breakpoint, misaligned load, misaligned store.
pub const DIRECT: usize = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6;

/// The hart has `vsiselect` (Ssaia).
static HAS_AIA: AtomicBool = AtomicBool::new(false);
/// The hart has `vstimecmp` (Sstc).
static HAS_SSTC: AtomicBool = AtomicBool::new(false);
/// In `vstimecmp`: as late as can be. Not all ones, which emulators that count in nanoseconds take for a time that is over; and one that is over would make them
/// look for interrupts again and again.
static NEVER: AtomicUsize = AtomicUsize::new(0);

/// `henvcfg.STCE`: VS-mode has `stimecmp`, and its timer interrupt.
const STCE: usize = 1 << 63;

/// Gives this hart's VS CSRs the values that every process starts with; nothing of the last one remains.
fn reset() {
    // FS = initial: whether floating point really is on is the kernel's `sstatus.FS`. The others act only
    // with delegation, which is off.
    csr_write!(vsstatus, FIRST_STATUS);
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

/// The VS copies of a thread that has a handler of its own. It writes them as it likes; nobody else reads them.
#[derive(Clone, Debug, Default)]
pub struct Own {
    status: usize,
    enabled: usize,
    vector: usize,
    scratch: usize,
    pc: usize,
    cause: usize,
    value: usize,
    select: usize,
    /// What of `hvip` it has not served yet.
    injected: usize,
    /// `hedeleg`: exceptions that it takes itself.
    exceptions: usize,
    timer: usize,
}

impl Own {
    /// A handler at `vector` that finds `scratch` in `sscratch`; nothing is enabled. `floats`: the thread has used floating point, which
    /// `sstatus.FS` tells it.
    pub fn new(vector: usize, scratch: usize, floats: bool) -> Self {
        let dirty = if floats { crate::context::sstatus::FS } else { 0 };
        Self { vector, scratch, status: FIRST_STATUS | dirty, timer: NEVER.load(Relaxed), ..Self::default() }
    }

    /// The interrupts that would be taken, as the thread last ran, by their bits in `sie`. `supervisor`: it was in VS-mode; in VU-mode `SIE` does not count.
    pub fn open(&self, supervisor: bool) -> usize {
        if supervisor && self.status & SIE == 0 { 0 } else { self.enabled }
    }

    /// Asks for a software interrupt.
    pub fn inject(&mut self) {
        self.injected |= VSSIP;
    }

    /// Whether it was asked for, and not served yet.
    pub fn is_injected(&self) -> bool {
        self.injected != 0
    }

    /// When its timer interrupts, in ticks of `time`, if it does.
    pub fn timer(&self) -> Option<usize> {
        (self.enabled & crate::context::sie::TIMER != 0).then_some(self.timer)
    }

    /// It takes these exceptions itself, of [`DIRECT`], from the next [`Own::load`] on.
    pub fn take_exceptions(&mut self, causes: usize) {
        self.exceptions = causes & DIRECT;
    }

    /// Does what the hart does at a trap to VS-mode (privileged specification, 22.6.3), for the thread while it does not run: the new pc. `None`: its
    /// interrupts are off, so it may be in a handler, whose registers this would overwrite. `supervisor`: it was in VS-mode. They are to be loaded again.
    pub fn trap(&mut self, supervisor: bool, pc: usize, cause: usize, value: usize) -> Option<usize> {
        if supervisor && self.status & SIE == 0 {
            return None;
        }
        let before = if self.status & SIE == 0 { 0 } else { SPIE } | if supervisor { SPP } else { 0 };
        self.status = self.status & !(SIE | SPIE | SPP) | before;
        (self.pc, self.cause, self.value) = (pc, cause, value);
        Some(self.vector & !3)
    }

    /// Gives them to this hart, with the interrupts of VS-mode.
    pub fn load(&self) {
        // Whatever they hold acts on the thread alone: the G stage bounds what it reaches, and HS interrupts
        // are on whenever V = 1.
        // First: bits of `vsie` that are not delegated are read-only zero.
        csr_write!(hideleg, VS_INTERRUPTS);
        csr_write!(hedeleg, self.exceptions);
        csr_write!(vsstatus, self.status);
        csr_write!(vsie, self.enabled);
        csr_write!(vstvec, self.vector);
        csr_write!(vsscratch, self.scratch);
        csr_write!(vsepc, self.pc);
        csr_write!(vscause, self.cause);
        csr_write!(vstval, self.value);
        if HAS_AIA.load(Relaxed) {
            csr_write!(vsiselect, self.select);
        }
        if HAS_SSTC.load(Relaxed) {
            csr_write!(vstimecmp, self.timer);
            csr_write!(henvcfg, STCE);
        }
    }

    /// Enters with these, which are loaded, and what was asked for; `file` is the thread's guest file on this hart, or 0.
    #[inline]
    pub fn prepare_entry(&self, file: usize) {
        // Pending for VS-mode, whose interrupt is delegated: it is taken when the thread allows it.
        csr_write!(hvip, self.injected);
        // As `ENTER`; a file above `GEILEN` is never passed.
        csr_write!(hstatus, ENTER_OWN | file << VGEIN);
    }

    /// Keeps what the thread left in them. They stay loaded.
    #[inline]
    pub fn save(&mut self) {
        self.status = csr_read!(vsstatus);
        self.enabled = csr_read!(vsie);
        self.vector = csr_read!(vstvec);
        self.scratch = csr_read!(vsscratch);
        self.pc = csr_read!(vsepc);
        self.cause = csr_read!(vscause);
        self.value = csr_read!(vstval);
        if HAS_AIA.load(Relaxed) {
            self.select = csr_read!(vsiselect);
        }
        if HAS_SSTC.load(Relaxed) {
            self.timer = csr_read!(vstimecmp);
        }
        self.injected = csr_read!(hvip) & VSSIP;
    }
}

/// Ends what [`Own::load`] began: nothing is delegated, and nothing remains.
pub fn disown() {
    csr_write!(hvip, 0);
    csr_write!(hedeleg, 0);
    csr_write!(henvcfg, 0);
    if HAS_SSTC.load(Relaxed) {
        csr_write!(vstimecmp, NEVER.load(Relaxed));
    }
    reset();
    // Last: `vsie` could not be reset without.
    csr_write!(hideleg, 0);
}

/// Sets up the H registers of this hart once: nothing delegated, `time`, `cycle` and `instret` readable.
/// `never`: where the hart has Sstc, a time in ticks that does not come.
pub fn initialise(has_aia: bool, never: Option<usize>) {
    HAS_AIA.store(has_aia, Relaxed);
    HAS_SSTC.store(never.is_some(), Relaxed);
    NEVER.store(never.unwrap_or(0), Relaxed);
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

/// Selects the G-stage table of the process that runs next, and ends what a thread had of its own ([`disown`]).
pub fn select_table(root: usize) {
    // The root is owned by the caller's space handle until another one is selected.
    csr_write!(hgatp, crate::sv39::MODE | root >> 12);
    crate::csr::flush_guest_translations();
    disown();
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
