//! CSRs by name, so that the assembler checks every number.

/// Reads a CSR that every hart has, or that the caller knows this one to have.
macro_rules! csr_read {
    ($name:literal) => {{
        let value: usize;
        // SAFETY: reading a CSR has no side effect on memory.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +sstc", concat!("csrr {0}, ", $name), ".option pop",
                out(reg) value, options(nomem, nostack));
        }
        value
    }};
}

/// Writes a CSR. The comment at the use says what makes the value right.
macro_rules! csr_write {
    ($name:literal, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: control state of this hart; what it means for lower modes is the caller's matter, and memory of
        // M-mode is not translated. No `nomem`: accesses stay on their side of it.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +sstc", concat!("csrw ", $name, ", {0}"), ".option pop",
                in(reg) value, options(nostack));
        }
    }};
}

/// Sets bits of a CSR.
macro_rules! csr_set {
    ($name:literal, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: as for `csr_write`.
        unsafe { core::arch::asm!(concat!("csrs ", $name, ", {0}"), in(reg) value, options(nostack)) };
    }};
}

/// Clears bits of a CSR.
macro_rules! csr_clear {
    ($name:literal, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: as for `csr_write`.
        unsafe { core::arch::asm!(concat!("csrc ", $name, ", {0}"), in(reg) value, options(nostack)) };
    }};
}

/// Writes a CSR, by its number, that this hart may not have: then nothing happens. Only while a hart is prepared: the
/// trap that says so overwrites `mepc`, `mcause`, `mtval` and the stack of modes in `mstatus`.
macro_rules! csr_try_write {
    ($number:literal, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: as for `csr_write`; the trap goes on behind the access, with every register as it was.
        unsafe {
            core::arch::asm!(
                ".option push", ".option norvc",
                "lla {vector}, 2f",
                "csrrw {vector}, mtvec, {vector}",
                concat!("csrs ", $number, ", {value}"),
                ".balign 4",
                "2: csrw mtvec, {vector}",
                ".option pop",
                vector = out(reg) _, value = in(reg) value, options(nostack));
        }
    }};
}

pub(crate) use {csr_clear, csr_read, csr_set, csr_try_write, csr_write};

/// `mstatus`: interrupts of S-mode are on.
pub const SIE: usize = 1 << 1;
/// `mstatus`: they were before its trap.
pub const SPIE: usize = 1 << 5;
/// `mstatus`: interrupts of M-mode were on before the trap.
pub const MPIE: usize = 1 << 7;
/// `mstatus`: S-mode's trap came from S-mode.
pub const SPP: usize = 1 << 8;
/// `mstatus`: the mode that the trap came from.
pub const MPP: usize = 3 << 11;
/// [`MPP`] of S-mode.
pub const MPP_S: usize = 1 << 11;
/// `mstatus`: loads and stores are done as the mode in `MPP` would.
pub const MPRV: usize = 1 << 17;
/// `mstatus`: S-mode may reach memory of user mode.
pub const SUM: usize = 1 << 18;
/// `mstatus`: what can be executed can be loaded.
pub const MXR: usize = 1 << 19;
/// `mstatus`: `sret` of S-mode traps.
pub const TSR: usize = 1 << 22;
/// `mstatus`: a trap wrote a guest virtual address.
pub const GVA: usize = 1 << 38;
/// `mstatus`: the trap came from V = 1.
pub const MPV: usize = 1 << 39;
/// `hstatus`: HS-mode's trap came from V = 1.
pub const SPV: usize = 1 << 7;
/// `mie`, `mip`: S-mode's software interrupt.
pub const SSIP: usize = 1 << 1;
/// `mie`, `mip`: M-mode's software interrupt.
pub const MSIP: usize = 1 << 3;
/// `mie`, `mip`: S-mode's timer.
pub const STIP: usize = 1 << 5;
/// `mie`, `mip`: M-mode's timer.
pub const MTIP: usize = 1 << 7;
