//! A serial port (16550) that this program drives.
//!
//! Two rings of bytes lie between the hardware and the program. The handler moves bytes between rings and hardware; who reads or writes touches the rings, and
//! the hardware too when that may stand still. All of it happens in the handler or with the thread's user interrupts off: on one thread, one at a time.

use super::{Device, Interrupt, all};
use crate::io::{Error, Result};
use crate::sync::OnceLock;
use crate::uintr::{Receiver, Sender, masked};
use abi::Errno;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Class and subclass (PCI).
const CLASS: u32 = 0x0700;
const DATA: usize = 0;
const INTERRUPTS: usize = 1;
/// Read: why it interrupts. Written: the FIFOs.
const REASON: usize = 2;
const LINE_CONTROL: usize = 3;
const MODEM_CONTROL: usize = 4;
const LINE_STATUS: usize = 5;
const WANT_RECEIVED: u8 = 1;
const WANT_EMPTY: u8 = 2;
/// `REASON`: for none.
const NONE: u8 = 1;
/// `REASON`, written: FIFOs on, empty, interrupt at eight bytes.
const FIFOS: u8 = 0x87;
const FIFO_BYTES: usize = 16;
/// Eight bits, no parity.
const EIGHT_BITS: u8 = 3;
/// Ready, and the gate for interrupts open.
const READY: u8 = 0x0b;
/// What is sent is received.
const LOOP: u8 = 0x10;
const RECEIVED: u8 = 1;
const EMPTY: u8 = 0x20;
/// Bytes of a ring.
const RING: usize = 1024;

/// Bytes on their way; of one thread, see the module.
struct Ring {
    bytes: [AtomicU8; RING],
    taken: AtomicUsize,
    given: AtomicUsize,
}

impl Ring {
    const fn new() -> Self {
        Self { bytes: [const { AtomicU8::new(0) }; RING], taken: AtomicUsize::new(0), given: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.given.load(Relaxed).wrapping_sub(self.taken.load(Relaxed))
    }

    fn push(&self, byte: u8) -> bool {
        let given = self.given.load(Relaxed);
        let has_room = self.len() < RING;
        if has_room {
            self.bytes[given % RING].store(byte, Relaxed);
            self.given.store(given.wrapping_add(1), Relaxed);
        }
        has_room
    }

    fn pop(&self) -> Option<u8> {
        if self.len() == 0 {
            return None;
        }
        let taken = self.taken.load(Relaxed);
        self.taken.store(taken.wrapping_add(1), Relaxed);
        Some(self.bytes[taken % RING].load(Relaxed))
    }
}

/// How the port is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// What is sent comes back.
    pub to_itself: bool,
    /// Each byte interrupts: no FIFOs.
    pub by_byte: bool,
}

/// A port, of the thread that has opened it.
pub struct Serial {
    device: Device,
    interrupt: OnceLock<Interrupt>,
    input: Ring,
    output: Ring,
    wanted: AtomicU8,
    interrupts: AtomicU64,
    by_byte: bool,
    _thread: PhantomData<*mut ()>,
}

/// The part of a port that its handler has.
#[derive(Clone, Copy)]
pub struct Handler(&'static Serial);

// SAFETY: all that a handler looks at is atomic, or written once behind an `OnceLock`, or never written after `open`.
unsafe impl Sync for Handler {}
// SAFETY: as above.
unsafe impl Send for Handler {}

impl Handler {
    /// Serves the port; to be called by the handler of its vector, and nowhere else.
    #[inline]
    pub fn run(&self) {
        let port = self.0;
        port.interrupts.store(port.interrupts.load(Relaxed) + 1, Relaxed);
        if let Some(interrupt) = port.interrupt.get() {
            interrupt.serve(|| port.transfer());
        }
    }
}

impl Serial {
    /// The first port that there is.
    ///
    /// # Errors
    /// `ENODEV`: there is none; as for [`Device::open`].
    pub fn open(how: How) -> Result<Self> {
        let (index, _) = all().find(|(_, info)| info.class >> 8 == CLASS).ok_or(Error::from(Errno::ENODEV))?;
        let device = Device::open(index)?;
        device.write8(INTERRUPTS, 0);
        device.write8(LINE_CONTROL, EIGHT_BITS);
        device.write8(REASON, if how.by_byte { 0 } else { FIFOS });
        device.write8(MODEM_CONTROL, if how.to_itself { READY | LOOP } else { READY });
        // What is there is an earlier owner's.
        for _ in 0..FIFO_BYTES {
            let _ = device.read8(DATA);
        }
        Ok(Self {
            device,
            interrupt: OnceLock::new(),
            input: Ring::new(),
            output: Ring::new(),
            wanted: AtomicU8::new(0),
            interrupts: AtomicU64::new(0),
            by_byte: how.by_byte,
            _thread: PhantomData,
        })
    }

    /// What the handler of its vector is to call.
    pub fn handler(&'static self) -> Handler {
        Handler(self)
    }

    /// Has its interrupts raise a vector of this thread, whose handler is [`Serial::handler`].
    ///
    /// # Errors
    /// As for [`Receiver::grant`] and [`Device::bind`]; `EBUSY`: it was started before.
    pub fn start(&'static self, receiver: &Receiver, vector: u32) -> Result<()> {
        masked(receiver, || {
            if self.interrupt.get().is_some() {
                return Err(Errno::EBUSY.into());
            }
            let interrupt = self.device.bind(Sender::open(receiver.grant(1 << vector)?)?, vector)?;
            self.interrupt.get_or_init(|| interrupt);
            self.transfer();
            Ok(())
        })
    }

    /// Sends as much as there is room for.
    pub fn write(&self, receiver: &Receiver, bytes: &[u8]) -> usize {
        masked(receiver, || {
            let given = bytes.iter().take_while(|byte| self.output.push(**byte)).count();
            self.transfer();
            given
        })
    }

    /// Takes what was received.
    pub fn read(&self, receiver: &Receiver, bytes: &mut [u8]) -> usize {
        masked(receiver, || {
            let mut count = 0;
            while count < bytes.len()
                && let Some(byte) = self.input.pop()
            {
                bytes[count] = byte;
                count += 1;
            }
            if self.wanted.load(Relaxed) & WANT_RECEIVED == 0 {
                self.transfer(); // the ring was full
            }
            count
        })
    }

    /// Bytes that were received and not taken.
    #[must_use]
    pub fn received(&self) -> usize {
        self.input.len()
    }

    /// Bytes that were written and that the port has not taken.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// How often its handler ran.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.interrupts.load(Relaxed)
    }

    /// Calls that its handler has made: one each time, where the kernel takes the interrupts.
    #[must_use]
    pub fn calls(&self) -> u64 {
        if self.interrupt.get().is_some_and(Interrupt::is_mediated) { self.interrupts() } else { 0 }
    }

    /// The device below.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sends a byte and waits for one, with neither interrupts nor rings: for who compares. The port is not [started](Self::start).
    #[inline]
    pub fn exchange_polled(&self, byte: u8) -> u8 {
        while self.device.read8(LINE_STATUS) & EMPTY == 0 {}
        self.device.write8(DATA, byte);
        while self.device.read8(LINE_STATUS) & RECEIVED == 0 {}
        self.device.read8(DATA)
    }

    /// Sends bytes, as many at once as the port takes when it is empty, likewise.
    pub fn send_polled(&self, bytes: &[u8]) {
        for some in bytes.chunks(if self.by_byte { 1 } else { FIFO_BYTES }) {
            while self.device.read8(LINE_STATUS) & EMPTY == 0 {}
            some.iter().for_each(|byte| self.device.write8(DATA, *byte));
        }
    }

    /// Takes what the port has received, likewise.
    pub fn receive_polled(&self, bytes: &mut [u8]) -> usize {
        let mut count = 0;
        while count < bytes.len() && self.device.read8(LINE_STATUS) & RECEIVED != 0 {
            bytes[count] = self.device.read8(DATA);
            count += 1;
        }
        count
    }

    /// Moves bytes both ways until the port says that it raises its line no more.
    fn transfer(&self) {
        loop {
            let mut status = self.device.read8(LINE_STATUS);
            while status & RECEIVED != 0 && self.input.len() < RING {
                self.input.push(self.device.read8(DATA));
                status = self.device.read8(LINE_STATUS);
            }
            if status & EMPTY != 0 {
                let room = if self.by_byte { 1 } else { FIFO_BYTES };
                (0..room).map_while(|_| self.output.pop()).for_each(|byte| self.device.write8(DATA, byte));
            }
            let received = if self.input.len() == RING { 0 } else { WANT_RECEIVED };
            let wanted = received | if self.output.len() == 0 { 0 } else { WANT_EMPTY };
            if self.wanted.swap(wanted, Relaxed) != wanted {
                self.device.write8(INTERRUPTS, wanted);
            }
            // Reading it ends what is told of an empty transmitter, for which there is nothing, or which this comes back to.
            if self.device.read8(REASON) & NONE != 0 {
                return;
            }
        }
    }
}
