//! Serial ports beside the console's: `/dev/ttyS1` and so on, driven by the kernel while they are open, and by a program that
//! owns the device while they are not (note 0011).
//!
//! Driver, queue and terminal are those of the console. The device is the kernel's from the first descriptor to the last, and for as
//! long after that as it takes to send what was written ([`PATIENCE`] at most), as Linux does. A coroutine of each port sees to that,
//! [`Port::end`], made with the port: a close finds it whatever memory there is.

use crate::console::Wire;
use crate::first_process::Jobs;
use crate::startup::PRIORITY_TERMINAL;
use abi::errno::Errno;
use abi::ioctl::{
    TIOCM_CAR, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_LOOP, TIOCM_OUT1, TIOCM_OUT2, TIOCM_RNG, TIOCM_RTS,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use exec::sync::WaitQueue;
use fs::devfs;
use hal::irq;
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use io::console::{Console, Line, Sharing};
use io::file::BoxFuture;
use io::tty::{Modem, Tty};
use process::device::{Device, Driven, Driver};
use uart::{Mapped, Uart};

/// Nanoseconds that a port may take to send what was written before its last descriptor was closed.
const PATIENCE: u64 = 30_000_000_000;
/// Nanoseconds before each look whether a port that was closed has sent everything.
const PAUSE: u64 = 1_000_000;
/// Lines as the port has them, and as programs name them: those that are set, and those that are seen.
const SET: [(u8, u32); 5] = [
    (uart::TERMINAL_READY, TIOCM_DTR),
    (uart::REQUEST, TIOCM_RTS),
    (uart::OUT1, TIOCM_OUT1),
    (uart::GATE, TIOCM_OUT2),
    (uart::LOOP, TIOCM_LOOP),
];
const SEEN: [(u8, u32); 4] =
    [(uart::CLEAR, TIOCM_CTS), (uart::SET_READY, TIOCM_DSR), (uart::RING, TIOCM_RNG), (uart::CARRIER, TIOCM_CAR)];

/// A port.
pub struct Port {
    device: &'static Device,
    driver: &'static PortDriver,
    tty: Arc<Tty>,
    console: Arc<Console>,
    held: SpinLock<Held>,
    /// Bytes were left at the last close.
    closed: WaitQueue,
}

/// Who has it open, and the device.
struct Held {
    /// Descriptors.
    opens: usize,
    driven: Option<Driven>,
    /// Nobody has it open, and the device is given back when everything was sent, or at this time.
    until: Option<u64>,
}

impl Held {
    /// Gives the device back if it is time for that; false if it is to be tried again.
    ///
    /// Under the lock: who opens it meanwhile finds it free, and not another's.
    fn end(&mut self, console: &Console) -> bool {
        let Some(until) = self.until else { return true };
        // What is not sent in time is forgotten here, or the next owner's line would carry it.
        if console.unsent() > 0 && (hal::time::now() < until || !console.discard()) {
            return false;
        }
        (self.until, self.driven) = (None, None);
        true
    }
}

struct PortDriver(Uart);

impl irq::Handler for PortDriver {
    fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Driver for PortDriver {
    fn start(&self) {
        self.0.restart();
    }

    fn stop(&self) {
        self.0.stop();
    }
}

/// A wire with the lines beside it.
struct PortLine(Wire);

impl Line for PortLine {
    fn read_now(&self, bytes: &mut [u8]) -> usize {
        self.0.read_now(bytes)
    }

    fn wait_input(&self) -> BoxFuture<'_, ()> {
        self.0.wait_input()
    }

    fn write_now(&self, bytes: &[u8]) -> usize {
        self.0.write_now(bytes)
    }

    fn wait_output(&self) -> BoxFuture<'_, ()> {
        self.0.wait_output()
    }

    fn unsent(&self) -> usize {
        self.0.0.unsent()
    }

    fn discard(&self) {
        self.0.0.discard();
    }

    fn modem(&self) -> Option<&dyn Modem> {
        Some(self)
    }
}

impl Modem for PortLine {
    fn lines(&self) -> u32 {
        let (set, seen) = self.0.0.modem();
        let named = |table: &[(u8, u32)], lines: u8| {
            table.iter().filter(|(bit, _)| lines & bit != 0).fold(0, |all, (_, name)| all | name)
        };
        named(&SET, set) | named(&SEEN, seen)
    }

    fn change(&self, on: u32, off: u32) {
        let bits = |lines: u32| SET.iter().filter(|(_, name)| lines & name != 0).fold(0, |all, (bit, _)| all | bit);
        self.0.0.set_modem(bits(on), bits(off));
    }
}

/// A descriptor's having the port open.
struct Hold(&'static Port);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Port {
    /// The port that this device is.
    pub fn new(device: &'static Device, registers: Mapped) -> &'static Port {
        let driver: &'static PortDriver = Box::leak(Box::new(PortDriver(Uart::new(registers))));
        let console = Console::new(Arc::new(PortLine(Wire(&driver.0))), Sharing::Plain);
        let tty = Tty::new(console.sole_output());
        tty.make_port();
        tty.set_jobs(&Jobs);
        exec::spawn(PRIORITY_TERMINAL, "serial-out", console.clone().drain());
        exec::spawn(PRIORITY_TERMINAL, "serial-in", console.clone().pump(tty.clone()));
        let held = SpinLock::new(rank::TTY - 1, Held { opens: 0, driven: None, until: None });
        let port: &'static Port =
            Box::leak(Box::new(Port { device, driver, tty, console, held, closed: WaitQueue::new() }));
        exec::spawn(PRIORITY_TERMINAL, "serial-end", port.end());
        port
    }

    /// Whether it is the caller's terminal.
    pub fn controls(&self, caller: &Caller) -> bool {
        self.tty.controls(caller)
    }

    /// Opens it.
    ///
    /// # Errors
    /// `EBUSY`: a program owns the device.
    pub fn open(&'static self) -> Result<devfs::Device, Errno> {
        let mut held = self.held.lock();
        if held.opens == 0 {
            self.console.change_hands();
            self.tty.begin();
        }
        if held.driven.is_none() {
            held.driven = Some(Driven::new(self.device, self.driver)?);
        }
        held.opens += 1;
        held.until = None;
        Ok(devfs::Device::held(self.tty.clone(), Hold(self)))
    }

    fn close(&'static self) {
        let mut held = self.held.lock();
        held.opens -= 1;
        if held.opens > 0 {
            return;
        }
        self.tty.finish();
        held.until = Some(hal::time::now().saturating_add(PATIENCE));
        if !held.end(&self.console) {
            drop(held);
            self.closed.wake_all();
        }
    }

    /// Lets it be another's when all was sent, or its time is over, unless it was opened again; for ever.
    async fn end(&'static self) {
        loop {
            exec::sync::wait_until(&self.closed, || self.held.lock().until).await;
            // The device tells of room only, so it is asked.
            exec::sleep(PAUSE).await;
            self.held.lock().end(&self.console);
        }
    }
}
