//! The backend `NUINTC`: the CSRs of N (`docs/nuintc.md`), which assemblers know by their numbers alone.

use super::Block;
use core::arch::asm;

/// `ustatus.UIE`.
const ON: usize = 1;
/// The software interrupt, in `uie` and `uip`.
const SOFTWARE: usize = 1;

/// Lets the controller's interrupt in, as soon as interrupts are on.
pub(super) fn enable() {
    // SAFETY: the entry is there and saves what it changes.
    unsafe { asm!("csrs 0x004, {}", in(reg) SOFTWARE) };
}

/// Keeps it off for good.
pub(super) fn disable() {
    // SAFETY: only keeps interrupts off.
    unsafe { asm!("csrc 0x004, {}", in(reg) SOFTWARE) };
}

/// Keeps interrupts off; whether they were on.
pub(super) fn mask() -> bool {
    let old: usize;
    // SAFETY: only delays interrupts. No `nomem`: what is done behind it stays there.
    unsafe { asm!("csrrc {}, 0x000, {}", out(reg) old, in(reg) ON) };
    old & ON != 0
}

/// Lets them in.
pub(super) fn unmask() {
    // SAFETY: the entry saves what it changes.
    unsafe { asm!("csrs 0x000, {}", in(reg) ON) };
}

/// Asks for a look at everything.
pub(super) fn ask() {
    // SAFETY: only asks for an interrupt. No `nomem`: what is to be found is there before.
    unsafe { asm!("csrs 0x044, {}", in(reg) SOFTWARE) };
}

/// Looks at all that was raised, if the kernel asks for that; else the interrupt told of nothing.
///
/// # Safety
/// Called by the entry alone, with its thread's block and interrupts off.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_look_nuintc(block: *mut Block) {
    // SAFETY: the caller's promise: nobody else has it.
    let block = unsafe { &mut *block };
    let pending: usize;
    // SAFETY: clears the kernel's request before the look, so that one that comes during it is not lost.
    unsafe { asm!("csrrc {}, 0x044, {}", "fence io, rw", out(reg) pending, in(reg) SOFTWARE) };
    if pending & SOFTWARE != 0 {
        // SAFETY: as above; the pages are mapped.
        unsafe { block.collect_all() };
    } else {
        block.count_idle();
    }
}
