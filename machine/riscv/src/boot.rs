//! From the firmware to Rust: the first instructions of each hart.
//!
//! OpenSBI enters `_start` at the physical load address with translation off, `a0` = hart id, `a1` = device
//! tree. The boot page table maps, with 1-GiB leaves, physical memory at its own address (for the one
//! instruction after `satp` is written), at the direct map, and at the address the kernel is linked at. `hal`
//! replaces it by the final table before anything else runs.
//!
//! **Who may come in.** The first hart at `_start`, once; then each hart that is called ([`call_hart`]), once. A called hart
//! may come by either door: OpenSBI before 1.3 marks it as started before it stores the new address, and a hart that happens
//! to look in between goes to the old one, `_start` (`sbi_hsm_hart_start`; its `a1` is not reliable then either). Anybody else is
//! refused: a second boot over a running system would be noticed by nothing for a long time.

use crate::{sbi, sv39::bits};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
pub static SECONDARY_SATP: AtomicUsize = AtomicUsize::new(0);

/// The hart that is called, and may come in; it puts back `usize::MAX`, which is no hart's id.
#[unsafe(no_mangle)]
static CALLED_HART: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The top of its stack (virtual).
#[unsafe(no_mangle)]
static CALLED_STACK: AtomicUsize = AtomicUsize::new(0);

/// What lies at the bottom of the boot stack.
const STACK_END: u64 = 0x6b63_6174_7320_6f6e;

core::arch::global_asm!(
    r#"
    .option push
    .option arch, +a                    # the assembler does not take it from the target
    .pushsection .text.entry, "ax"
    .globl _start
_start:                                 # a0 = hart id, a1 = device tree
    lla  t0, entered
    li   t1, 1
    amoswap.w.aq t1, t1, (t0)
    bnez t1, secondary_start
    lla  t0, __bss_start                # the boot stack is not in it
    lla  t1, __bss_end
1:  sd   zero, 0(t0)
    addi t0, t0, 8
    bltu t0, t1, 1b
    lla  t0, boot_stack
    li   t1, {STACK_END}
    sd   t1, 0(t0)
    lla  sp, boot_stack_top
    lla  t1, boot_hart_main
    j    2f
    .globl secondary_start
secondary_start:                        # a0 = hart id
    lla  t0, CALLED_HART
    li   t1, -1
    amoswap.d.aq t1, t1, (t0)           # pairs with the Release in `call_hart`
    bne  t1, a0, refuse
    lla  t0, CALLED_STACK
    ld   sp, 0(t0)
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

refuse:                                 # by the firmware's console: nothing here is this hart's
    lla  s0, refusal
4:  lbu  a0, 0(s0)
    beqz a0, 5f
    li   a7, 1
    ecall
    addi s0, s0, 1
    j    4b
5:  li   a0, 0                          # power off, with a failing status
    li   a1, 1
    li   a6, 0
    li   a7, 0x53525354
    ecall
6:  wfi
    j    6b
    .popsection
    .option pop

    .pushsection .rodata.refusal, "a"
refusal: .asciz "\nkernel panic: the firmware lets in a hart that was not called\nthe machine stops\n"
    .popsection

    .pushsection .data.entered, "aw"    # not in .bss: it has to hold before that is cleared
    .balign 4
entered: .word 0
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
7:  wfi
    j    7b
    .popsection

    .pushsection .boot_stack, "aw", @nobits
    .balign 16
boot_stack:
    .space 131072                       # the device tree is read on it: copies of its contents are large
boot_stack_top:
    .popsection
"#,
    OFFSET = const IMAGE_OFFSET as i64,
    STACK_END = const STACK_END as i64,
);

unsafe extern "C" {
    /// Physical entry point of harts other than the first, once translated by [`IMAGE_OFFSET`].
    fn secondary_start();
    static boot_stack: AtomicU64;
}

/// Starts a stopped hart on a stack of its own, by its top. One at a time: the hart before has come in.
///
/// # Errors
/// The firmware's.
pub fn call_hart(hart_id: usize, stack_top: usize) -> Result<(), sbi::Error> {
    CALLED_STACK.store(stack_top, Ordering::Relaxed);
    CALLED_HART.store(hart_id, Ordering::Release);
    let entry = secondary_start as *const () as usize - IMAGE_OFFSET;
    sbi::start_hart(hart_id, entry, 0).inspect_err(|_| CALLED_HART.store(usize::MAX, Ordering::Relaxed))
}

/// Whether the boot stack's last word is what it was: there is no unmapped page below to stop an overflow.
pub fn boot_stack_held() -> bool {
    // SAFETY: an aligned word of the image, written by `_start` and by nobody since, unless the stack has run over.
    unsafe { boot_stack.load(Ordering::Relaxed) == STACK_END }
}
