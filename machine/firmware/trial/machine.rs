//! What the trial needs of the machine: calls, a console, translation, a second hart.

use crate::user::ALIAS;
use core::arch::{asm, global_asm};
use core::fmt;
use nuintc::registers::BASE;

/// Where programs find the pages of [`Page`].
const PAGES: usize = 0x1_0000_0000;

/// Pages that programs have, by their place; and one more that nothing answers.
#[derive(Clone, Copy)]
pub enum Page {
    /// A sender's.
    Send(usize),
    /// A receiver's.
    Claim(usize),
    /// Mapped to where no device is.
    Nothing,
    /// Not mapped.
    Unmapped,
}

impl Page {
    /// Where a program finds it.
    pub fn address(self) -> usize {
        PAGES
            + 0x1000
                * match self {
                    Page::Send(slot) => slot,
                    Page::Claim(slot) => 64 + slot,
                    Page::Nothing => 128,
                    Page::Unmapped => 129,
                }
    }
}

/// A page table.
#[repr(C, align(4096))]
struct Table([u64; 512]);

static mut ROOT: Table = Table([0; 512]);
static mut MIDDLE: Table = Table([0; 512]);
static mut LAST: Table = Table([0; 512]);

/// Kernel: everything where it is. Programs: memory at its alias, and the first pages of the slots.
pub fn translate() {
    const V: u64 = 1;
    const USER: u64 = 1 << 4;
    const RW: u64 = 0b1100_0111;
    const RWX: u64 = RW | 1 << 3;
    let leaf = |address: usize, bits: u64| (address as u64 >> 12) << 10 | bits;
    let (root, middle, last) = (&raw mut ROOT, &raw mut MIDDLE, &raw mut LAST);
    // SAFETY: the first hart alone runs, and translation is off or these entries are not in use.
    unsafe {
        (*root).0[0] = leaf(0, RW);
        (*root).0[2] = leaf(0x8000_0000, RWX);
        (*root).0[(0x8000_0000 + ALIAS) >> 30] = leaf(0x8000_0000, RWX | USER);
        (*root).0[PAGES >> 30] = leaf(middle as usize, V);
        (*middle).0[0] = leaf(last as usize, V);
        for slot in 1..64 {
            (*last).0[slot] = leaf(BASE + nuintc::registers::sender(slot), RW | USER);
            (*last).0[64 + slot] = leaf(BASE + nuintc::registers::receiver(slot), RW | USER);
        }
        (*last).0[128] = leaf(0x0900_0000, RW | USER);
    }
    switch_on();
}

/// Translation for the running hart; programs may read the counters.
pub fn switch_on() {
    let satp = 8_usize << 60 | &raw const ROOT as usize >> 12;
    // SAFETY: the kernel is mapped where it is.
    unsafe { asm!("csrw scounteren, {0}", "csrw satp, {1}", "sfence.vma", in(reg) 7, in(reg) satp, options(nostack)) };
}

/// Writes a register of the controller.
pub fn write(offset: usize, value: u32) {
    // SAFETY: in the window, which is mapped for the kernel.
    unsafe { ((BASE + offset) as *mut u32).write_volatile(value) };
}

/// Reads a register of the controller.
pub fn read(offset: usize) -> u32 {
    // SAFETY: as above.
    unsafe { ((BASE + offset) as *const u32).read_volatile() }
}

/// Calls the firmware; the error, and the value.
pub fn call(extension: usize, function: usize, arguments: [usize; 3]) -> (isize, usize) {
    let (error, value): (isize, usize);
    // SAFETY: the calls that the trial makes change no memory of it.
    unsafe {
        asm!("ecall", inlateout("a0") arguments[0] as isize => error, inlateout("a1") arguments[1] => value,
            in("a2") arguments[2], in("a6") function, in("a7") extension);
    }
    (error, value)
}

/// Turns the machine off.
pub fn power_off(failed: bool) -> ! {
    call(0x5352_5354, 0, [0, usize::from(failed), 0]);
    loop {
        core::hint::spin_loop();
    }
}

/// Starts another hart at `second_hart`.
pub fn start(hart: usize) -> bool {
    unsafe extern "C" {
        fn _start();
    }
    call(0x48_534d, 0, [hart, _start as *const () as usize, 0]).0 == 0
}

/// The firmware's console.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            call(1, 0, [usize::from(byte), 0, 0]);
        }
        Ok(())
    }
}

global_asm!(
    r#"
    .pushsection .text.entry, "ax"
    .globl _start
_start:                                 # a0 = hart id
    lla  sp, stacks
    addi t0, a0, 1
    slli t0, t0, 14
    add  sp, sp, t0
    beqz a0, 1f
    call second_hart
1:  call first_hart
    .popsection
    .pushsection .stacks, "aw", @nobits
    .balign 16
stacks:
    .space 2 << 14
    .popsection
"#
);
