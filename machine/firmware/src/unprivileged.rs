//! Instruction memory as the interrupted mode sees it.

use crate::csr::{MPRV, MXR, csr_write};

/// The instruction at the address in `mepc`, read with the rights of the mode in `mstatus.MPP`; the upper half of a
/// compressed one is zero. `None` if that faults, which is rare: the mapping went since the hart fetched it. Then `mepc` is as
/// before and the hart is to try again.
#[inline(always)]
pub fn fetch(pc: usize) -> Option<u32> {
    let (low, high, done): (usize, usize, usize);
    // SAFETY: loads with another mode's rights read no memory of M-mode (PMP). A fault goes on at label 3 with the registers as they are;
    // it changes `mepc`, `mcause`, `mtval` and `mstatus`, of which `mstatus` is put back there and `mepc` below; the others
    // were read before.
    unsafe {
        core::arch::asm!(
            ".option push", ".option norvc",
            "li {done}, 0",
            "li {high}, 0",
            "lla {vector}, 3f",
            "csrrw {vector}, mtvec, {vector}",
            "csrrs {status}, mstatus, {rights}",
            "lhu {low}, 0({pc})",
            "andi {done}, {low}, 3",
            "addi {done}, {done}, -3",
            "bnez {done}, 2f",
            "lhu {high}, 2({pc})",
            "2: li {done}, 1",
            "j 4f",
            ".balign 4",
            "3: li {done}, 0",
            "4: csrw mstatus, {status}",
            "csrw mtvec, {vector}",
            ".option pop",
            done = out(reg) done, low = out(reg) low, high = out(reg) high,
            vector = out(reg) _, status = out(reg) _,
            rights = in(reg) MPRV | MXR, pc = in(reg) pc, options(nostack));
    }
    if done == 0 {
        csr_write!("mepc", pc);
        // The hart is not to use again what it remembers of the mapping, or it would come back here for ever.
        // SAFETY: a flush can only cost time.
        unsafe { core::arch::asm!("sfence.vma", options(nostack)) };
        return None;
    }
    Some((high << 16 | low & 0xffff) as u32)
}
