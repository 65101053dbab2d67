//! A serial port whose line carries bytes both ways: a program sends and receives at once, through the kernel's driver, by looking, and by
//! a driver of its own that the port's interrupts run; as it is, and with a hash of all bytes at both ends.
//!
//! The line is the port's own loop. Each way does its best: as many bytes as it can have under way without any being lost, moved as many at a time as it can.

use super::{driven, interrupts};
use crate::measure::{Outcome, instructions_since, report};
use alloc::format;
use alloc::vec::Vec;
use rt::abi::Errno;
use rt::abi::ioctl::{TCIOFLUSH, TIOCM_LOOP, Termios, VMIN, VTIME};
use rt::device::serial::{How, Serial};
use rt::fs::{File, OpenOptions};
use rt::io::{Read, Write};
use rt::uintr::Receiver;
use rt::{io, raw, tty};
use sha2::{Digest, Sha256};

/// The ways, as arguments name them: the same with `-hash` behind it hashes.
pub const WAYS: [&str; 6] = ["loop-kernel", "loop-polled", "loop", "loop-kernel-hash", "loop-polled-hash", "loop-hash"];

/// Bytes that go out and come back.
const TOTAL: usize = 64 << 10;
/// Instructions a second that rates are given for.
const SPEED: f64 = 1e9;

/// How bytes go and come.
trait Way {
    /// Bytes that may be under way.
    const WINDOW: usize;

    /// Sends some of them, at least one if there is room.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes what has come, as much as there is room for; perhaps nothing.
    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Calls that were made so far.
    fn calls(&self) -> u64;

    /// Interrupts that came so far.
    fn interrupts(&self) -> io::Result<u64>;
}

/// By calls.
struct Kernel {
    port: File,
    calls: u64,
}

impl Kernel {
    fn open() -> io::Result<Self> {
        let port = OpenOptions::new().read(true).write(true).open("/dev/ttyS1")?;
        let fd = port.fd().raw();
        let mut modes = Termios { iflag: 0, oflag: 0, lflag: 0, ..tty::attributes(fd)? };
        // A read waits for as much as it can, so that there are few.
        (modes.cc[VMIN], modes.cc[VTIME]) = (255, 0);
        tty::set_attributes(fd, &modes)?;
        tty::switch_lines(fd, TIOCM_LOOP, true)?;
        tty::flush(fd, TCIOFLUSH)?;
        Ok(Self { port, calls: 0 })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = tty::switch_lines(self.port.fd().raw(), TIOCM_LOOP, false);
    }
}

impl Way for Kernel {
    /// Half of what the terminal keeps, whose other half is for what is on its way to it.
    const WINDOW: usize = 2048;

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        self.port.write(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        self.port.read(bytes)
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn interrupts(&self) -> io::Result<u64> {
        interrupts()
    }
}

/// By looking.
struct Polled(Serial);

impl Way for Polled {
    /// What the port's queues hold.
    const WINDOW: usize = 16;

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_polled(bytes);
        Ok(bytes.len())
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.receive_polled(bytes))
    }

    fn calls(&self) -> u64 {
        0
    }

    fn interrupts(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// By interrupts.
struct Driver {
    port: &'static Serial,
    receiver: Receiver,
}

impl Driver {
    fn open() -> io::Result<Self> {
        let (port, receiver) = driven(How { to_itself: true, by_byte: false })?;
        Ok(Self { port, receiver })
    }
}

impl Way for Driver {
    /// What the driver's queues hold.
    const WINDOW: usize = 1024;

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.port.write(&self.receiver, bytes))
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.port.received() == 0 {
            core::hint::spin_loop();
            return Ok(0);
        }
        Ok(self.port.read(&self.receiver, bytes))
    }

    fn calls(&self) -> u64 {
        self.port.calls()
    }

    fn interrupts(&self) -> io::Result<u64> {
        Ok(self.port.interrupts())
    }
}

/// What an end does with its bytes: nothing, or a hash of them, some at a time.
struct End {
    hash: Option<Sha256>,
    done: usize,
}

impl End {
    /// Bytes that are hashed at once, at least.
    const PIECE: usize = 1024;

    fn new(hashes: bool) -> Self {
        Self { hash: hashes.then(Sha256::new), done: 0 }
    }

    /// The bytes before `end` have gone through it.
    fn upto(&mut self, bytes: &[u8], end: usize) {
        if let Some(hash) = &mut self.hash
            && (end - self.done >= Self::PIECE || end == bytes.len())
        {
            hash.update(&bytes[self.done..end]);
            self.done = end;
        }
    }
}

/// Sends all bytes and receives them; whether the hashes are the same, if there are any.
fn exchange<W: Way>(way: &mut W, bytes: &[u8], back: &mut [u8], hashes: bool) -> io::Result<bool> {
    let (mut here, mut there) = (End::new(hashes), End::new(hashes));
    let (mut sent, mut received) = (0, 0);
    while received < bytes.len() {
        // Half a window at a time at least: few and large moves.
        if sent < bytes.len() && sent - received <= W::WINDOW / 2 {
            let end = bytes.len().min(received + W::WINDOW);
            let count = way.send(&bytes[sent..end])?;
            sent += count;
            here.upto(bytes, sent);
        }
        let count = way.receive(&mut back[received..sent])?;
        received += count;
        there.upto(back, received);
    }
    Ok(match (here.hash, there.hash) {
        (Some(here), Some(there)) => here.finalize() == there.finalize(),
        _ => true,
    })
}

/// Instructions of all parts for a byte, entries of the kernel and interrupts of the port for a thousand, and the bytes a second that come of the first.
fn measured(id: &str, mut way: impl Way, hashes: bool) -> Outcome {
    let bytes: Vec<u8> = (0..TOTAL).map(|value| (value * 7 + value / 251) as u8).collect();
    let mut back = alloc::vec![0; TOTAL];
    exchange(&mut way, &bytes, &mut back, hashes)?;
    back.fill(0);
    let (before, told) = (interrupts()? + way.calls(), way.interrupts()?);
    let start = raw::instret();
    let is_same = exchange(&mut way, &bytes, &mut back, hashes)?;
    let each = instructions_since(start) as f64 / TOTAL as f64;
    let (entries, told) = (interrupts()? + way.calls() - before, way.interrupts()? - told);
    if !is_same || bytes != back {
        // Lost, doubled or out of order.
        return Err(Errno::EIO.into());
    }
    report(id, each, "insn");
    report(&format!("{id}_entries"), entries as f64 * 1_000.0 / TOTAL as f64, "entries");
    report(&format!("{id}_interrupts"), told as f64 * 1_000.0 / TOTAL as f64, "interrupts");
    report(&format!("{id}_rate"), SPEED / each, "bytes/s");
    Ok(())
}

/// A row of [`WAYS`].
pub fn row(how: &str) -> Outcome {
    let (way, hashes) = how.strip_suffix("-hash").map_or((how, false), |way| (way, true));
    let id = format!("driver_{}", how.replace('-', "_"));
    match way {
        "loop-kernel" => measured(&id, Kernel::open()?, hashes),
        "loop-polled" => measured(&id, Polled(Serial::open(How { to_itself: true, by_byte: false })?), hashes),
        _ => measured(&id, Driver::open()?, hashes),
    }
}
