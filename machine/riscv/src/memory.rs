//! Clearing pages in long steps: what dominates page faults.

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
    // SAFETY: 4 turns of 1,024 bytes are the page.
    unsafe {
        core::arch::asm!(
            "2:",
            ".set offset, 0", ".rept 128", "sd zero, offset({at})", ".set offset, offset + 8", ".endr",
            "addi {at}, {at}, 1024",
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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_page_is_cleared_to_its_end_and_no_further() {
        #[repr(align(4096))]
        struct Pages([u8; 3 * crate::sv39::PAGE_SIZE]);
        let mut pages = Pages([0xff; 3 * crate::sv39::PAGE_SIZE]);
        // SAFETY: the middle one of three.
        unsafe { zero_page_by_words(pages.0.as_mut_ptr().add(crate::sv39::PAGE_SIZE)) };
        let zeroes: Vec<usize> = pages.0.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at).collect();
        assert_eq!(zeroes, (crate::sv39::PAGE_SIZE..2 * crate::sv39::PAGE_SIZE).collect::<Vec<_>>());
    }
}
