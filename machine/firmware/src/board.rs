//! The devices of the `virt` machine that belong to M-mode, or are used before the kernel has them. Their addresses
//! are the same in every version of it.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Harts, by their ids from 0 on.
pub const HARTS: usize = nuintc::registers::CONTEXTS;
/// Memory of the firmware: what the linker script allows.
pub const FIRMWARE: core::ops::Range<usize> = 0x8000_0000..0x8020_0000;
/// Software interrupts and timers of M-mode.
pub const CLINT: usize = 0x0200_0000;
/// Bytes of its registers.
pub const CLINT_SIZE: usize = 0x1_0000;
/// The machine-level domain of the APLIC, where there is one.
pub const APLIC_M: usize = 0x0c00_0000;
/// Bytes of its registers.
pub const APLIC_M_SIZE: usize = 0x8000;
/// The machine-level interrupt files, a page for each hart.
pub const IMSIC_M: usize = 0x2400_0000;
/// Bytes up to the S-level files.
pub const IMSIC_M_SIZE: usize = 0x0400_0000;
const FINISHER: usize = 0x0010_0000;
const UART: usize = 0x1000_0000;

/// End of memory, as the device tree has it.
pub static MEMORY_END: AtomicUsize = AtomicUsize::new(0);

/// Whether this is memory outside of the firmware.
pub fn is_memory(address: usize, length: usize) -> bool {
    let end = address.checked_add(length);
    address >= FIRMWARE.end && end.is_some_and(|end| end <= MEMORY_END.load(Relaxed))
}

/// Writes a register of a device of this module.
pub fn write(address: usize, value: u32) {
    // SAFETY: a register that this machine has (callers use the constants above), aligned; the fence orders memory before it.
    unsafe {
        core::arch::asm!("fence w, o", options(nostack));
        (address as *mut u32).write_volatile(value);
    }
}

/// Raises M-mode's software interrupt at a hart.
pub fn interrupt(hart: usize) {
    write(CLINT + 4 * hart, 1);
}

/// Takes back M-mode's software interrupt of a hart. What its sender wrote before is visible behind this.
pub fn acknowledge(hart: usize) {
    write(CLINT + 4 * hart, 0);
    // SAFETY: a fence changes no state. A request that was stored before the interrupt was raised again is read behind it.
    unsafe { core::arch::asm!("fence o, rw", options(nostack)) };
}

/// Sets the time of a hart's M-mode timer.
pub fn set_timer(hart: usize, time: u64) {
    // SAFETY: the compare register of a hart that this machine has, aligned.
    unsafe { ((CLINT + 0x4000 + 8 * hart) as *mut u64).write_volatile(time) };
}

/// Ends the machine; `failed` makes the emulator exit with a failing status.
pub fn power_off(failed: bool) -> ! {
    const PASS: u32 = 0x5555;
    const FAIL: u32 = 0x3333;
    write(FINISHER, if failed { 1 << 16 | FAIL } else { PASS });
    stop()
}

/// Begins again from reset.
pub fn restart() -> ! {
    write(FINISHER, 0x7777);
    stop()
}

/// Does nothing more on this hart.
pub fn stop() -> ! {
    loop {
        // SAFETY: waiting changes no state.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
    }
}

/// Waits until the UART takes a byte, and gives it.
pub fn put_byte(byte: u8) {
    const STATUS: usize = UART + 5;
    const EMPTY: u8 = 1 << 5;
    // SAFETY: registers of the UART, a byte each. The transmitter of this machine becomes empty by itself.
    unsafe {
        while (STATUS as *const u8).read_volatile() & EMPTY == 0 {}
        (UART as *mut u8).write_volatile(byte);
    }
}

/// A byte that has arrived.
pub fn get_byte() -> Option<u8> {
    const STATUS: usize = UART + 5;
    // SAFETY: as above.
    unsafe { ((STATUS as *const u8).read_volatile() & 1 != 0).then(|| (UART as *const u8).read_volatile()) }
}

/// The UART, for words of the firmware's own.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put_byte);
        Ok(())
    }
}
