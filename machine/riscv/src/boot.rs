//! From the firmware to Rust: the first instructions of each hart.
//!
//! OpenSBI enters `_start` at the physical load address with translation off, `a0` = hart id, `a1` = device
//! tree. The boot page table maps, with 1-GiB leaves, physical memory at its own address (for the one
//! instruction after `satp` is written), at the direct map, and at the address the kernel is linked at. `hal`
//! replaces it by the final table before anything else runs.

use crate::sv39::bits;

/// Start of the direct map of physical memory.
pub const DIRECT_MAP: usize = 0xffff_ffc0_0000_0000;
/// Physical addresses that the direct map covers: the first 128 GiB.
pub const DIRECT_MAP_SIZE: usize = 128 << 30;
/// Distance between the address the kernel is linked at and the one it is loaded at.
pub const IMAGE_OFFSET: usize = 0xffff_ffff_0000_0000;
/// Where the kernel stacks lie.
pub const STACKS: usize = 0xffff_ffe0_0000_0000;

const LEAF: u64 = bits::V | bits::R | bits::W | bits::X | bits::A | bits::D | bits::G;

/// The boot page table: leaves of 1 GiB, used only until `hal` has built the real one.
#[repr(C, align(4096))]
struct BootTable([u64; 512]);

const fn boot_table() -> BootTable {
    let mut table = [0; 512];
    let mut gib = 0;
    while gib < 16 {
        let leaf = (gib as u64) << 28 | LEAF;
        table[256 + gib] = leaf;
        if gib < 4 {
            table[gib] = leaf;
            table[508 + gib] = leaf;
        }
        gib += 1;
    }
    BootTable(table)
}

#[unsafe(no_mangle)]
#[used]
static BOOT_TABLE: BootTable = boot_table();

/// `satp` for harts other than the first; set before they start.
#[unsafe(no_mangle)]
pub static SECONDARY_SATP: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

core::arch::global_asm!(
    r#"
    .pushsection .text.entry, "ax"
    .globl _start
_start:                                 # a0 = hart id, a1 = device tree
    la   sp, boot_stack_top
    lla  t1, boot_hart_main
    j    2f
    .globl secondary_start
secondary_start:                        # a0 = hart id, a1 = stack top (virtual)
    mv   sp, a1
    lla  t1, secondary_translated
2:  # Addresses so far are physical: add the offset to what is used after translation is on.
    li   t0, {OFFSET}
    add  t1, t1, t0
    lla  t2, BOOT_TABLE
    srli t2, t2, 12
    li   t3, 8 << 60
    or   t2, t2, t3
    bltz sp, 3f                         # a secondary hart's stack is virtual already
    add  sp, sp, t0
3:  csrw sie, zero
    csrw sscratch, zero
    lla  t3, early_vector               # until the stacks are mapped
    add  t3, t3, t0
    csrw stvec, t3
    sfence.vma
    csrw satp, t2
    jr   t1
    .popsection

    .pushsection .text.secondary, "ax"
secondary_translated:                   # the stack is mapped by the kernel's final table only
    lla  t0, SECONDARY_SATP
    ld   t0, 0(t0)
    csrw satp, t0
    sfence.vma
    tail secondary_hart_main
    .popsection

    .pushsection .text.early_vector, "ax"
    .balign 4
early_vector:                           # a fault before the stacks are mapped: report on the running stack
    csrr a0, scause
    csrr a1, sepc
    csrr a2, stval
    call early_trap
4:  wfi
    j    4b
    .popsection

    .pushsection .bss.boot_stack, "aw", @nobits
    .balign 16
    .space 131072                       # the device tree is read on it: copies of its contents are large
boot_stack_top:
    .popsection
"#,
    OFFSET = const IMAGE_OFFSET as i64,
);

unsafe extern "C" {
    /// Physical entry point of harts other than the first, once translated by [`IMAGE_OFFSET`].
    pub fn secondary_start();
}
