//! The console: the 16550 below, the terminal and the log above.

use crate::command_line::Options;
use crate::startup::PRIORITY_TERMINAL;
use abi::ioctl::Winsize;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use hal::irq::Handler;
use io::console::{Console, Line, Sharing};
use io::file::BoxFuture;
use io::log::Log;
use io::tty::Tty;
use uart::Uart;

/// What the console consists of.
pub struct Parts {
    /// The multiplexer on the line.
    pub console: Arc<Console>,
    /// The terminal.
    pub tty: Arc<Tty>,
    /// The log in memory.
    pub log: Arc<Log>,
}

/// A 16550, for as long as the machine runs.
pub struct Wire(pub &'static Uart);

impl Line for Wire {
    fn read_now(&self, bytes: &mut [u8]) -> usize {
        self.0.read(bytes)
    }

    fn wait_input(&self) -> BoxFuture<'_, ()> {
        Box::pin(poll_fn(|context| self.0.poll_input(context)))
    }

    fn write_now(&self, bytes: &[u8]) -> usize {
        self.0.write(bytes)
    }

    fn wait_output(&self) -> BoxFuture<'_, ()> {
        Box::pin(poll_fn(|context| self.0.poll_output(context)))
    }
}

/// A machine without a 16550: output is lost, input never comes.
struct Nowhere;

impl Line for Nowhere {
    fn read_now(&self, _: &mut [u8]) -> usize {
        0
    }

    fn wait_input(&self) -> BoxFuture<'_, ()> {
        Box::pin(core::future::pending())
    }

    fn write_now(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn wait_output(&self) -> BoxFuture<'_, ()> {
        Box::pin(core::future::ready(()))
    }
}

static MUX: AtomicBool = AtomicBool::new(false);
static PORT: hal::sync::IrqLock<Option<&'static Uart>> = hal::sync::IrqLock::new(hal::sync::rank::CONSOLE, None);

/// Brings the console up and sends the log there.
pub fn start(options: &Options) -> Parts {
    MUX.store(options.mux, Ordering::Relaxed);
    let sharing = if options.mux { Sharing::Mux } else { Sharing::Plain };
    let line = open_uart();
    let console = Console::new(line, sharing);
    let tty = Tty::new(console.tty_output());
    if let Some((columns, rows)) = options.size {
        tty.resize(Winsize { row: rows, col: columns, xpixel: 0, ypixel: 0 });
    }
    if options.raw {
        tty.make_raw();
    }
    let log = Log::new();
    exec::spawn(PRIORITY_TERMINAL, "console-out", console.clone().drain());
    exec::spawn(PRIORITY_TERMINAL, "console-in", console.clone().pump(tty.clone()));
    crate::log_sink::attach(console.clone(), log.clone());
    hal::console::set_sink(crate::log_sink::write, emergency, flush);
    Parts { console, tty, log }
}

fn open_uart() -> Arc<dyn Line> {
    let Some((line, uart)) = uart::console() else {
        log::warn!("no 16550 in the device tree: the console is dead");
        return Arc::new(Nowhere);
    };
    let uart: &'static Uart = Box::leak(Box::new(uart));
    *PORT.lock() = Some(uart);
    if let Some(Err(error)) = line.map(|line| hal::irq::claim(line, uart as &'static dyn Handler)) {
        log::error!("the console's interrupt cannot be used: {error:?}");
    }
    uart.start();
    Arc::new(Wire(uart))
}

/// Last words: past every queue and lock. The lock of `PORT` is only ever held for this copy.
fn emergency(text: &[u8]) {
    let Some(uart) = PORT.try_lock().and_then(|port| *port) else { return };
    if MUX.load(Ordering::Relaxed) {
        let mut encoder = abi::mux::Encoder::new();
        encoder.data(abi::mux::Channel::Log, text, |part| uart.write_emergency(part));
    } else {
        uart.write_emergency(text);
    }
}

fn flush() {
    if let Some(uart) = PORT.try_lock().and_then(|port| *port) {
        uart.flush();
    }
}
