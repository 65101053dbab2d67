//! Devices that a program drives (note 0011): what they raise arrives, wherever the driver is, and nothing of them stays with who has them no more.
//!
//! Most cases have the emulator's `edu`, which raises its line on request and copies memory; some a serial port. Those of `port` are about the kernel's own driver of that.

mod ends;
mod hostile;
mod port;
mod serial;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{go_to, needs_kernel, needs_root};
use crate::process::{checked_child, exits, sleep_ms};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::device::{Device, Info, Interrupt, all};
use rt::sync::OnceLock;
use rt::uintr::{Handlers, Receiver, Sender, masked, receive};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("driver/raises", "U1 D5", || apart(raises)),
    case!("driver/raises-for-who-waits", "U4 D5", || apart(raises_for_who_waits)),
    case!("driver/raises-while-kept-off", "U4 D5", || apart(raises_while_kept_off)),
    case!("driver/not-by-the-kernel", "U1 D5", || apart(not_by_the_kernel)),
    case!("driver/moves", "U4 D5", || apart(moves)),
    case!("driver/more-than-places", "U4 D5", || apart(more_than_places)),
    case!("driver/copies", "U1 D13", || apart(copies)),
    case!("driver/serial", "U1 D5", || apart(serial::with_fifos)),
    case!("driver/serial-by-byte", "U1 D5", || apart(serial::by_byte)),
    case!("driver/serial-fills-up", "U1 D5", || apart(serial::fills_up)),
    case!("driver/one-owner", "D5 S6", || apart(hostile::one_owner)),
    case!("driver/superuser-alone", "D5 S6", || apart(hostile::superuser_alone)),
    case!("driver/errors", "D5 S6", || apart(hostile::errors)),
    case!("driver/behind-the-registers", "D5 S6", || apart(hostile::behind_the_registers)),
    case!("driver/memory-is-limited", "D13 S6", || apart(hostile::memory_is_limited)),
    case!("driver/registers-as-buffer", "D5 S6", || apart(hostile::as_buffer)),
    case!("driver/storm", "D5 S6", || apart(hostile::storm)),
    case!("driver/never-served", "D5 S6", || apart(hostile::never_served)),
    case!("driver/forked", "D5 S6", || apart(ends::forked)),
    case!("driver/dropped-by-a-child", "D5 S6", || apart(ends::dropped_by_a_child)),
    case!("driver/given-back", "D5 S6", || apart(ends::given_back)),
    case!("driver/revoked", "U5 D5", || apart(ends::revoked)),
    case!("driver/bound-anew", "U5 D5", || apart(ends::bound_anew)),
    case!("driver/ends-with-its-line-raised", "D5 S6", || apart(ends::with_its_line_raised)),
    case!("driver/thread-ends", "D5 S6", || apart(ends::of_the_thread)),
    case!("driver/ends-by-exec", "D5 S6", || apart(ends::by_exec)),
    case!("driver/killed-in-a-transfer", "D13 S6", || apart(ends::in_a_transfer)),
    case!("driver/port-returns-bytes", "D3 D5", port::returns_bytes),
    case!("driver/port-without-waiting", "D3 D5", port::without_waiting),
    case!("driver/port-by-lines", "D3 D5", port::by_lines),
    case!("driver/port-lines", "D3 D5", port::lines),
    case!("driver/port-nobody-reads", "D5 S6", port::nobody_reads),
    case!("driver/port-sends-all", "D3 D5", port::sends_all),
    case!("driver/port-hostile", "D5 S6", port::hostile),
    case!("driver/port-one-owner", "D5 S6", port::one_owner),
    case!("driver/port-ends", "D5 S6", port::ends),
    case!("driver/port-in-turns", "D5 S6", port::in_turns),
    case!("driver/port-two-write", "D3 D5", port::two_write),
    case!("driver/port-controls", "D3 D5", port::controls),
];

/// Registers of `edu`: raised by writing, acknowledged by writing, what is raised; the transfer.
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;
const RAISED: usize = 0x24;
const FROM: usize = 0x80;
const TO: usize = 0x88;
const COUNT: usize = 0x90;
const COMMAND: usize = 0x98;
/// The device's own memory, for transfers.
const BUFFER: u64 = 0x4_0000;
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
const TELL: u64 = 4;
/// In `RAISED`: a transfer is done.
const DONE: u32 = 0x100;

const VECTOR: u32 = 6;
/// Raised when no more comes.
const LAST: u32 = 1 << 20;

/// Number and description of the `edu`.
fn edu() -> Result<(usize, Info), Trouble> {
    needs_kernel("devices")?;
    needs_root()?;
    let found = all().find(|(_, info)| (info.vendor, info.device) == (0x1234, 0x11e8));
    found.ok_or_else(|| Trouble::skipped("the machine has no such device"))
}

/// Runs a case in a process of its own: handlers, and what they have, are there until it ends.
fn apart(body: fn() -> Outcome) -> Outcome {
    edu()?;
    exits(checked_child(body)?, 0)
}

/// The device as it is after a start of the machine, as far as that can be reached.
fn open() -> Result<Device, Trouble> {
    let device = Device::open(edu()?.0)?;
    until(|| device.read64(COMMAND) & START == 0)?;
    device.write32(ACKNOWLEDGE, device.read32(RAISED));
    Ok(device)
}

/// Waits, as long as it takes; the limit is the runner's.
fn until(done: impl Fn() -> bool) -> Outcome {
    while !done() {
        sleep_ms(1);
    }
    Ok(())
}

/// A driver of `edu` that counts, and notes what was raised.
struct Driver {
    device: Device,
    interrupt: OnceLock<Interrupt>,
    seen: AtomicU32,
    calls: AtomicU32,
}

impl Driver {
    /// The handler: acknowledges what is raised until nothing is.
    fn handle(&self) {
        self.calls.fetch_add(1, Relaxed);
        let Some(interrupt) = self.interrupt.get() else { return };
        interrupt.serve(|| {
            loop {
                let raised = self.device.read32(RAISED);
                if raised == 0 {
                    return;
                }
                self.device.write32(ACKNOWLEDGE, raised);
                self.seen.fetch_or(raised, Relaxed);
            }
        });
    }

    fn raise(&self, value: u32) {
        self.device.write32(RAISE, value);
    }

    fn has_seen(&self, value: u32) -> bool {
        self.seen.load(Relaxed) & value == value
    }
}

/// It, and the receiver of this thread.
fn driver() -> Result<(Receiver, &'static Driver), Trouble> {
    driver_of(open()?)
}

fn driver_of(device: Device) -> Result<(Receiver, &'static Driver), Trouble> {
    let driver = Driver { device, interrupt: OnceLock::new(), seen: AtomicU32::new(0), calls: AtomicU32::new(0) };
    let driver: &'static Driver = Box::leak(Box::new(driver));
    let handler: &'static _ = Box::leak(Box::new(move |_| driver.handle()));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    let sender = Sender::open(receiver.grant(1 << VECTOR)?)?;
    // Not before the handler can find it.
    masked(&receiver, || -> rt::io::Result<()> {
        let interrupt = driver.device.bind(sender, VECTOR)?;
        driver.interrupt.get_or_init(|| interrupt);
        Ok(())
    })?;
    Ok((receiver, driver))
}

/// Raises a value and has it handled, by waiting for it.
fn one(receiver: &Receiver, driver: &Driver, value: u32) -> Outcome {
    driver.seen.store(0, Relaxed);
    driver.raise(value);
    await_seen(receiver, driver, value)
}

fn await_seen(receiver: &Receiver, driver: &Driver, value: u32) -> Outcome {
    loop {
        let over = masked(receiver, || match driver.has_seen(value) {
            true => Ok(true),
            false => receiver.wait(None).map(|()| false),
        })?;
        if over {
            return Ok(());
        }
    }
}

/// A running driver is interrupted: it makes no call meanwhile.
fn raises() -> Outcome {
    let (_receiver, driver) = driver()?;
    for round in 0..500 {
        driver.seen.store(0, Relaxed);
        driver.raise(1 << (round % 32));
        while !driver.has_seen(1 << (round % 32)) {
            core::hint::spin_loop();
        }
    }
    ensure!(driver.calls.load(Relaxed) >= 500, "{} interrupts for 500", driver.calls.load(Relaxed));
    Ok(())
}

/// What is raised while the thread keeps its interrupts off, and is on its way through the kernel, ends a wait behind that.
fn raises_while_kept_off() -> Outcome {
    let (receiver, driver) = driver()?;
    for round in 0..8 {
        let value = 1 << round;
        masked(&receiver, || -> rt::io::Result<()> {
            driver.raise(value);
            // Wherever the interrupt goes, it is there behind this.
            sleep_ms(2);
            receiver.wait(None)
        })?;
        await_seen(&receiver, driver, value)?;
    }
    Ok(())
}

/// Another thread of the process has it raised while the driver sleeps.
fn raises_for_who_waits() -> Outcome {
    let (receiver, driver) = driver()?;
    let raiser = thread::spawn(move || {
        for round in 0..50 {
            // Time to fall asleep in; whether it does or not, it is told.
            sleep_ms(1 + round % 3);
            driver.raise(1 << (round % 8));
            while !driver.has_seen(1 << (round % 8)) {
                thread::yield_now();
            }
            driver.seen.store(0, Relaxed);
        }
        driver.raise(LAST);
    })?;
    await_seen(&receiver, driver, LAST)?;
    raiser.join().ok_or_else(|| Trouble::failed("the raiser has panicked"))
}

/// What the kernel has taken of a line.
fn taken(line: u32) -> Result<u64, Trouble> {
    let text = rt::fs::read_to_string("/proc/interrupts")?;
    let mut words = text.lines().filter_map(|row| row.split_once(':'));
    let found = words.find(|(name, _)| name.trim().parse() == Ok(line));
    Ok(found.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0))
}

/// Where the hardware delivers them, the kernel has no part in an interrupt of a driver that runs.
fn not_by_the_kernel() -> Outcome {
    let (receiver, driver) = driver()?;
    let line = driver.device.info().line;
    // It has its place behind this.
    one(&receiver, driver, 1)?;
    let before = taken(line)?;
    for _ in 0..200 {
        driver.seen.store(0, Relaxed);
        driver.raise(2);
        while !driver.has_seen(2) {}
    }
    let told = taken(line)? - before;
    match driver.interrupt.get().is_some_and(Interrupt::is_mediated) {
        // A place that was lost to another was had again.
        false => ensure!(told < 20, "the kernel has taken {told} interrupts of 200"),
        true => ensure!(told >= 200, "the kernel has taken {told} interrupts of 200"),
    }
    Ok(())
}

/// The driver changes harts all the time, with the line raised or not.
fn moves() -> Outcome {
    let (receiver, driver) = driver()?;
    for round in 0..300 {
        driver.seen.store(0, Relaxed);
        if round % 2 == 0 {
            driver.raise(1);
            go_to(round)?;
        } else {
            masked(&receiver, || {
                driver.raise(1);
                go_to(round)
            })?;
        }
        await_seen(&receiver, driver, 1)?;
    }
    Ok(())
}

/// It loses its place to others, with the line raised or not.
fn more_than_places() -> Outcome {
    let device = open()?;
    let others: Vec<_> = (0..10)
        .map(|_| {
            checked_child(|| {
                go_to(0)?;
                let receiver = receive(Handlers::new())?;
                for _ in 0..60 {
                    let _ = receiver.wait(Some(core::time::Duration::from_millis(1)));
                }
                Ok(())
            })
        })
        .collect();
    go_to(0)?;
    let (receiver, driver) = driver_of(device)?;
    for round in 0..60 {
        driver.seen.store(0, Relaxed);
        masked(&receiver, || {
            driver.raise(1);
            if round % 2 == 0 {
                sleep_ms(1);
            }
        });
        await_seen(&receiver, driver, 1)?;
    }
    for pid in others {
        exits(pid?, 0)?;
    }
    Ok(())
}

/// Has the device copy bytes, and waits for its word.
fn transfer(receiver: &Receiver, driver: &Driver, from: u64, to: u64, count: u64, command: u64) -> Outcome {
    driver.seen.store(0, Relaxed);
    let device = &driver.device;
    [(FROM, from), (TO, to), (COUNT, count)].into_iter().for_each(|(register, value)| device.write64(register, value));
    device.write64(COMMAND, command | START | TELL);
    await_seen(receiver, driver, DONE)
}

/// There and back by the device, through memory that it was given.
fn copies() -> Outcome {
    let (receiver, driver) = driver()?;
    let (source, target) = (driver.device.memory(1)?, driver.device.memory(1)?);
    let mut bytes = [1; 256];
    target.read(0, &mut bytes);
    equal!(bytes, [0; 256]);
    bytes.iter_mut().enumerate().for_each(|(value, byte)| *byte = value as u8);
    source.write(100, &bytes);
    transfer(&receiver, driver, source.address + 100, BUFFER, 256, 0)?;
    transfer(&receiver, driver, BUFFER, target.address + 3000, 256, TO_MEMORY)?;
    let mut found = [0; 256];
    target.read(3000, &mut found);
    equal!(found, bytes);
    Ok(())
}
