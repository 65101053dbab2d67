//! Calls to the firmware (SBI specification 1.0 and later).

use core::arch::asm;

/// Error code of a failed call, as the specification numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub isize);

fn call(extension: usize, function: usize, arguments: [usize; 3]) -> Result<usize, Error> {
    let (error, value): (isize, usize);
    // SAFETY: an SBI call preserves all registers but a0 and a1 (SBI, "Binary Encoding"); what the
    // firmware does to memory is described at the callers.
    unsafe {
        asm!("ecall", inlateout("a0") arguments[0] as isize => error, inlateout("a1") arguments[1] => value,
            in("a2") arguments[2], in("a6") function, in("a7") extension);
    }
    if error == 0 { Ok(value) } else { Err(Error(error)) }
}

/// Whether the firmware has an extension (Base extension, `probe_extension`).
pub fn has_extension(extension: usize) -> bool {
    call(0x10, 3, [extension, 0, 0]).is_ok_and(|value| value != 0)
}

/// Programs the timer of this hart for an absolute `time` value (TIME extension).
pub fn set_timer(deadline: u64) -> Result<(), Error> {
    call(0x5449_4d45, 0, [deadline as usize, 0, 0]).map(drop)
}

/// Raises a supervisor software interrupt on one hart (IPI extension).
pub fn send_ipi(hart_id: usize) -> Result<(), Error> {
    call(0x73_5049, 0, [1, hart_id, 0]).map(drop)
}

/// Starts a stopped hart at a physical address with `a0` = hart id and `a1` = `opaque` (HSM extension).
pub fn start_hart(hart_id: usize, address: usize, opaque: usize) -> Result<(), Error> {
    call(0x48_534d, 0, [hart_id, address, opaque]).map(drop)
}

/// Turns the machine off, or restarts it; returns only if the firmware cannot (SRST extension).
pub fn reset(reboot: bool, failed: bool) -> Error {
    let kind = usize::from(reboot);
    match call(0x5352_5354, 0, [kind, usize::from(failed), 0]) {
        Ok(_) => Error(-1),
        Err(error) => error,
    }
}

/// Writes a byte to the firmware's console (legacy extension 1, there on every QEMU): for the time
/// before the UART is known.
pub fn put_byte(byte: u8) {
    // Legacy calls return no value in a1; the result is of no use here.
    let _ = call(1, 0, [usize::from(byte), 0, 0]);
}
