//! CSRs by name, so that the assembler checks every number.
//!
//! H, AIA and Sstc registers need their extension named in front of the access; a hart without the
//! extension traps, so callers ask the device tree first.

/// Reads a CSR.
#[macro_export]
macro_rules! csr_read {
    ($name:ident) => {{
        let value: usize;
        // SAFETY: reading a CSR that this hart implements has no side effect on memory; the caller's
        // module says why the hart implements it.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +ssaia, +sstc",
                concat!("csrr {0}, ", stringify!($name)), ".option pop",
                out(reg) value, options(nomem, nostack));
        }
        value
    }};
}

/// Writes a CSR. The caller states in a comment what makes the new value right.
#[macro_export]
macro_rules! csr_write {
    ($name:ident, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: see the comment at the use: writing control state is only right in its context. The
        // compiler must not move memory accesses across it, hence no `nomem`.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +ssaia, +sstc",
                concat!("csrw ", stringify!($name), ", {0}"), ".option pop",
                in(reg) value, options(nostack));
        }
    }};
}

/// Sets bits of a CSR.
#[macro_export]
macro_rules! csr_set {
    ($name:ident, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: as for `csr_write`.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +ssaia, +sstc",
                concat!("csrs ", stringify!($name), ", {0}"), ".option pop",
                in(reg) value, options(nostack));
        }
    }};
}

/// Clears bits of a CSR.
#[macro_export]
macro_rules! csr_clear {
    ($name:ident, $value:expr) => {{
        let value: usize = $value;
        // SAFETY: as for `csr_write`.
        unsafe {
            core::arch::asm!(
                ".option push", ".option arch, +h, +ssaia, +sstc",
                concat!("csrc ", stringify!($name), ", {0}"), ".option pop",
                in(reg) value, options(nostack));
        }
    }};
}

/// `sie`/`sip` bit of software interrupts (IPIs through SBI).
pub const SOFTWARE: usize = 1 << 1;
/// `sie`/`sip` bit of the supervisor timer.
pub const TIMER: usize = 1 << 5;
/// `sie`/`sip` bit of external interrupts (PLIC or IMSIC).
pub const EXTERNAL: usize = 1 << 9;

/// Disables interrupts on this hart; returns whether they were enabled.
#[inline(always)]
pub fn interrupts_off() -> bool {
    let old: usize;
    // SAFETY: clearing SIE only delays interrupts. No `nomem`: accesses inside the section stay inside.
    unsafe { core::arch::asm!("csrrci {0}, sstatus, 2", out(reg) old, options(nostack)) };
    old & 2 != 0
}

/// Enables interrupts on this hart.
#[inline(always)]
pub fn interrupts_on() {
    // SAFETY: setting SIE lets pending interrupts in; the trap handler saves what it changes.
    unsafe { core::arch::asm!("csrsi sstatus, 2", options(nostack)) };
}

/// Whether interrupts are enabled on this hart.
#[inline(always)]
pub fn interrupts_enabled() -> bool {
    csr_read!(sstatus) & 2 != 0
}

/// Stops until an interrupt is pending, enabled or not.
pub fn wait_for_interrupt() {
    // SAFETY: `wfi` changes no state.
    unsafe { core::arch::asm!("wfi", options(nostack)) };
}

/// Orders page-table stores before later translations and forgets all cached translations of this hart.
pub fn flush_translations() {
    // SAFETY: a flush can only cost time.
    unsafe { core::arch::asm!("sfence.vma", options(nostack)) };
}

/// Forgets what is cached about one virtual address, "not mapped" and too few rights included.
pub fn flush_translation(address: usize) {
    // SAFETY: a flush can only cost time.
    unsafe { core::arch::asm!("sfence.vma {0}, zero", in(reg) address, options(nostack)) };
}

/// The same for the G stage of virtual mode. The hart must have the H extension.
pub fn flush_guest_translations() {
    // SAFETY: a flush can only cost time.
    unsafe { core::arch::asm!(".option push", ".option arch, +h", "hfence.gvma", ".option pop", options(nostack)) };
}

/// Makes earlier stores to code visible to instruction fetch on this hart.
pub fn flush_instructions() {
    // SAFETY: a flush can only cost time.
    unsafe { core::arch::asm!("fence.i", options(nostack)) };
}

/// The kernel's hart-local pointer.
#[inline(always)]
pub fn thread_pointer() -> usize {
    let value: usize;
    // SAFETY: reads a register. The kernel sets `tp` at boot and at every trap and never changes it
    // on a hart; not `pure`, because a coroutine may move to another hart between two reads.
    unsafe { core::arch::asm!("mv {0}, tp", out(reg) value, options(nomem, nostack)) };
    value
}

/// The byte at `tp + OFFSET`, in one instruction: `OFFSET` fits into it, or the assembler says so. As a word, because
/// a narrower type would have its upper bits cleared once more.
///
/// # Safety
/// `tp` points at an object that lives for ever and has a byte there; whoever writes it does so atomically.
#[inline(always)]
pub unsafe fn thread_byte<const OFFSET: usize>() -> usize {
    let value: usize;
    // SAFETY: the caller promises the byte. Not `pure`, as in `thread_pointer`, and because others may write it.
    unsafe {
        core::arch::asm!("lbu {0}, {1}(tp)", out(reg) value, const OFFSET, options(readonly, nostack, preserves_flags));
    }
    value
}

/// The `time` CSR, in ticks of the device tree's timebase-frequency.
#[inline(always)]
pub fn time() -> u64 {
    csr_read!(time) as u64
}
