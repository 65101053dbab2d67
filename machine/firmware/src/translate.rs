//! From virtual to physical addresses, as the hart's own walk goes.
//!
//! The hart has walked this table a moment ago and found the address that then nobody answered; this walk finds out which.
//! The table lives meanwhile: the kernel frees it after a shootdown, which this hart answers when it is back. What the
//! table says may have changed, and then it is this walk that counts.

use crate::board;
use crate::csr::{SUM, csr_read};
use nuintc::hart::Mode;

/// What a virtual address leads to.
pub enum Translation {
    /// This physical address.
    At(usize),
    /// Nothing, or the access is not allowed: a page fault.
    Fault,
    /// The table is not where memory is, or not of a known form.
    Unknown,
}

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
/// Contiguous pages (Svnapot), of which the kernel makes none for devices.
const N: u64 = 1 << 63;
const PPN: u64 = (1 << 44) - 1;

/// Translates the address of a load or store that came from this mode.
#[inline(always)]
pub fn physical(address: usize, mode: Mode, status: usize, is_store: bool) -> Translation {
    let satp = csr_read!("satp");
    let levels = match satp >> 60 {
        0 => return Translation::At(address),
        8 => 3,
        9 => 4,
        10 => 5,
        _ => return Translation::Unknown,
    };
    let mut table = (satp as u64 & PPN) << 12;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = table as usize + 8 * (address >> shift & 0x1ff);
        if !board::is_memory(entry, 8) {
            return Translation::Unknown;
        }
        // SAFETY: an aligned word of memory outside of the firmware, which others may write.
        let entry = unsafe { (entry as *const u64).read_volatile() };
        if entry & V == 0 {
            return Translation::Fault;
        }
        if entry & N != 0 {
            return Translation::Unknown;
        }
        let page = (entry >> 10 & PPN) << 12;
        if entry & (R | W | X) == 0 {
            table = page;
            continue;
        }
        let wanted = if is_store { W } else { R };
        let allowed = match mode {
            Mode::User => entry & U != 0,
            Mode::Supervisor => entry & U == 0 || status & SUM != 0,
        };
        if entry & wanted == 0 || !allowed {
            return Translation::Fault;
        }
        let within = (1 << shift) - 1;
        return Translation::At(page as usize & !within | address & within);
    }
    Translation::Fault
}
