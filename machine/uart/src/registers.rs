//! The registers of a 16550 (National Semiconductor PC16550D), and where they lie.

use core::ptr::NonNull;

/// Received byte (read), byte to send (write).
pub(crate) const DATA: usize = 0;
/// Which interrupts are wanted.
pub(crate) const INTERRUPTS: usize = 1;
/// FIFO control (write).
pub(crate) const FIFO: usize = 2;
/// Format of a character.
pub(crate) const LINE_CONTROL: usize = 3;
/// Lines to the modem.
pub(crate) const MODEM_CONTROL: usize = 4;
/// What there is to do.
pub(crate) const LINE_STATUS: usize = 5;
/// Lines from the modem.
pub(crate) const MODEM_STATUS: usize = 6;

/// `INTERRUPTS`: a byte was received.
pub(crate) const WANT_RECEIVED: u8 = 1 << 0;
/// `INTERRUPTS`: the transmitter is empty.
pub(crate) const WANT_EMPTY: u8 = 1 << 1;
/// `FIFO`: use them. Written without the bits that clear them: what was typed early is not lost.
pub(crate) const FIFO_ON: u8 = 1 << 0;
/// `FIFO`: interrupt at eight received bytes, or when fewer have waited for four characters' time.
pub(crate) const FIFO_EIGHT: u8 = 2 << 6;
/// `FIFO`: forget what is in them.
pub(crate) const FIFO_CLEAR: u8 = 3 << 1;
/// `LINE_CONTROL`: eight bits, no parity, one stop bit.
pub(crate) const EIGHT_BITS: u8 = 3;
/// `LINE_CONTROL`: the first two registers are the divisor of the clock, low half first.
pub(crate) const DIVISOR: u8 = 1 << 7;
/// The divisor for 9,600 bits a second, from the usual clock.
pub(crate) const SPEED_9600: u8 = 12;
/// `MODEM_CONTROL`: ready, and the gate for interrupts open.
pub(crate) const READY: u8 = TERMINAL_READY | REQUEST | GATE;
/// `MODEM_CONTROL`: the terminal is ready (DTR).
pub const TERMINAL_READY: u8 = 1 << 0;
/// `MODEM_CONTROL`: it asks to send (RTS).
pub const REQUEST: u8 = 1 << 1;
/// `MODEM_CONTROL`: the first output that the user names.
pub const OUT1: u8 = 1 << 2;
/// `MODEM_CONTROL`: the second, which is the gate for interrupts.
pub const GATE: u8 = 1 << 3;
/// `MODEM_CONTROL`: what is sent is received, and the line sees nothing of it.
pub const LOOP: u8 = 1 << 4;
/// `MODEM_STATUS`: the modem lets send (CTS).
pub const CLEAR: u8 = 1 << 4;
/// `MODEM_STATUS`: the modem is ready (DSR).
pub const SET_READY: u8 = 1 << 5;
/// `MODEM_STATUS`: it rings.
pub const RING: u8 = 1 << 6;
/// `MODEM_STATUS`: it has a carrier (DCD).
pub const CARRIER: u8 = 1 << 7;
/// `LINE_STATUS`: a received byte is there.
pub(crate) const RECEIVED: u8 = 1 << 0;
/// `LINE_STATUS`: a received byte was lost.
pub(crate) const OVERRUN: u8 = 1 << 1;
/// `LINE_STATUS`: the transmitter takes bytes, as many as its FIFO holds.
pub(crate) const EMPTY: u8 = 1 << 5;
/// `LINE_STATUS`: it has none left, the last bit is on the line.
pub(crate) const IDLE: u8 = 1 << 6;
/// Bytes in each FIFO.
pub(crate) const FIFO_BYTES: usize = 16;

/// Access to the eight registers.
pub trait Registers: Send + Sync {
    /// Reads register `number`, below 8.
    fn read(&self, number: usize) -> u8;
    /// Writes register `number`, below 8.
    fn write(&self, number: usize, value: u8);
}

/// Registers in memory.
#[derive(Debug)]
pub struct Mapped {
    base: NonNull<u8>,
    shift: u32,
    words: bool,
}

// SAFETY: device registers (contract of `new`), accessed by single volatile accesses only, from any hart.
unsafe impl Send for Mapped {}
// SAFETY: as for `Send`; what accesses mean together is ordered by the driver's lock.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Registers that are `1 << shift` bytes apart, accessed as bytes, or as 32-bit words if `access_bytes` is 4.
    ///
    /// # Safety
    ///
    /// `base` is the virtual address of the registers of a 16550, all eight mapped for ever, aligned to 4 if
    /// accessed as words; `shift` is below 8, and at least 2 for words.
    pub const unsafe fn new(base: NonNull<u8>, shift: u32, access_bytes: u32) -> Mapped {
        Mapped { base, shift, words: access_bytes == 4 }
    }

    /// Registers of a device that is a 16550, one byte each.
    #[cfg(target_os = "none")]
    pub fn of(registers: &hal::registers::Registers) -> Option<Mapped> {
        let base = registers.mapped()?;
        // SAFETY: a page at least, mapped for ever, which nobody relies on (contract of `hal::registers::Registers`).
        Some(unsafe { Mapped::new(base, 0, 1) })
    }

    fn register(&self, number: usize) -> NonNull<u8> {
        // SAFETY: one of the eight registers, all mapped (contract of `new`).
        unsafe { self.base.add((number & 7) << self.shift) }
    }
}

impl Registers for Mapped {
    fn read(&self, number: usize) -> u8 {
        let register = self.register(number);
        if self.words {
            // SAFETY: mapped and aligned (contract of `new`).
            return unsafe { register.cast::<u32>().read_volatile() } as u8;
        }
        // SAFETY: mapped (contract of `new`).
        unsafe { register.read_volatile() }
    }

    fn write(&self, number: usize, value: u8) {
        let register = self.register(number);
        if self.words {
            // SAFETY: mapped and aligned (contract of `new`).
            return unsafe { register.cast::<u32>().write_volatile(value.into()) };
        }
        // SAFETY: mapped (contract of `new`).
        unsafe { register.write_volatile(value) }
    }
}
