//! Copying and clearing memory in long steps: what dominates page faults and cached reads.

/// Bytes that one turn of [`copy_words`] moves.
pub const STEP: usize = 64;

/// Copies `len` bytes, a multiple of [`STEP`], between addresses that are multiples of 8.
///
/// # Safety
/// `from` is valid for reading and `to` for writing `len` bytes; the ranges do not overlap.
#[inline]
pub unsafe fn copy_words(to: *mut u8, from: *const u8, len: usize) {
    #[cfg(target_arch = "riscv64")]
    if len > 0 {
        // SAFETY: the contract; the loop ends when `to` has advanced by `len`.
        unsafe {
            core::arch::asm!(
                "2:",
                "ld {a}, 0({from})", "ld {b}, 8({from})", "ld {c}, 16({from})", "ld {d}, 24({from})",
                "sd {a}, 0({to})", "sd {b}, 8({to})", "sd {c}, 16({to})", "sd {d}, 24({to})",
                "ld {a}, 32({from})", "ld {b}, 40({from})", "ld {c}, 48({from})", "ld {d}, 56({from})",
                "sd {a}, 32({to})", "sd {b}, 40({to})", "sd {c}, 48({to})", "sd {d}, 56({to})",
                "addi {from}, {from}, 64", "addi {to}, {to}, 64",
                "bne {to}, {end}, 2b",
                from = inout(reg) from => _, to = inout(reg) to => _, end = in(reg) to.wrapping_add(len),
                a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                options(nostack),
            );
        }
    }
    #[cfg(not(target_arch = "riscv64"))]
    // SAFETY: the contract.
    unsafe {
        core::ptr::copy_nonoverlapping(from, to, len);
    }
}

/// Clears a page with the cache-block operation of Zicboz, 64 bytes a block.
///
/// # Safety
/// `page` is the start of a page that nothing else uses; the hart has Zicboz with blocks of 64 bytes, and the
/// firmware lets S-mode use it.
#[cfg(target_arch = "riscv64")]
pub unsafe fn zero_page_by_blocks(page: *mut u8) {
    // SAFETY: 64 blocks of 64 bytes are the page.
    unsafe {
        core::arch::asm!(
            ".option push", ".option arch, +zicboz",
            "2:",
            "cbo.zero ({at})", "addi {at}, {at}, 64", "cbo.zero ({at})", "addi {at}, {at}, 64",
            "cbo.zero ({at})", "addi {at}, {at}, 64", "cbo.zero ({at})", "addi {at}, {at}, 64",
            "bne {at}, {end}, 2b",
            ".option pop",
            at = inout(reg) page => _, end = in(reg) page.wrapping_add(crate::sv39::PAGE_SIZE),
            options(nostack),
        );
    }
}

/// Clears a page word by word.
///
/// # Safety
/// `page` is the start of a page that nothing else uses.
pub unsafe fn zero_page_by_words(page: *mut u8) {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: 64 turns of 64 bytes are the page.
    unsafe {
        core::arch::asm!(
            "2:",
            "sd zero, 0({at})", "sd zero, 8({at})", "sd zero, 16({at})", "sd zero, 24({at})",
            "sd zero, 32({at})", "sd zero, 40({at})", "sd zero, 48({at})", "sd zero, 56({at})",
            "addi {at}, {at}, 64",
            "bne {at}, {end}, 2b",
            at = inout(reg) page => _, end = in(reg) page.wrapping_add(crate::sv39::PAGE_SIZE),
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "riscv64"))]
    // SAFETY: the contract.
    unsafe {
        core::ptr::write_bytes(page, 0, crate::sv39::PAGE_SIZE);
    }
}
