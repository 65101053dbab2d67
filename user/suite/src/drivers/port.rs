//! The kernel's driver of a serial port, `/dev/ttyS1`: it has the port while that is open, and a program while it is not.

use super::VECTOR;
use crate::case::{Outcome, Trouble};
use crate::machine::needs_root;
use crate::process::{Shared, await_blocked, checked_child, dies, exits, kill, sleep_ms};
use alloc::vec;
use alloc::vec::Vec;
use rt::abi::device::SERIAL;
use rt::abi::fs::{F_SETFL, O_NONBLOCK};
use rt::abi::ioctl::{
    self, ICANON, ISIG, NCCS, TCIFLUSH, TCIOFLUSH, TCOFLUSH, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_LOOP, TIOCM_OUT1,
    TIOCM_RTS, Termios, VMIN, VTIME,
};
use rt::abi::poll::{EPOLLIN, EPOLLOUT, PollFd};
use rt::abi::signal::{SIGINT, SIGKILL};
use rt::device::{Device, all};
use rt::fs::{File, OpenOptions};
use rt::io::{Read, Write};
use rt::tty;
use rt::uintr::{Handlers, receive};

const PATH: &str = "/dev/ttyS1";
/// Bytes that a terminal keeps at most.
const LIMIT: usize = 4096;

/// The number of the port's device.
fn index() -> Result<usize, Trouble> {
    needs_root()?;
    let found = all().find(|(_, info)| info.class == SERIAL);
    found.map(|(index, _)| index).ok_or_else(|| Trouble::skipped("the machine has no such device"))
}

fn open() -> Result<File, Trouble> {
    index()?;
    Ok(OpenOptions::new().read(true).write(true).open(PATH)?)
}

/// The port open, with what is sent received, and modes of its own; both end with it.
struct Looped {
    file: File,
    before: Termios,
}

impl Looped {
    /// With modes that `change` is made to, which are raw: bytes as they come.
    fn with(change: impl FnOnce(&mut Termios)) -> Result<Self, Trouble> {
        let file = open()?;
        let fd = file.fd().raw();
        let before = tty::attributes(fd)?;
        let mut modes = Termios { iflag: 0, oflag: 0, lflag: 0, ..before };
        (modes.cc[VMIN], modes.cc[VTIME]) = (1, 0);
        change(&mut modes);
        tty::set_attributes(fd, &modes)?;
        tty::switch_lines(fd, TIOCM_LOOP, true)?;
        tty::flush(fd, TCIOFLUSH)?;
        Ok(Self { file, before })
    }

    fn fd(&self) -> i32 {
        self.file.fd().raw()
    }

    /// Reads so many bytes.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, Trouble> {
        let mut bytes = vec![0; count];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Forgets what was received, and what is on its way: all that comes before a mark which is sent behind it. The hardware loses marks where nobody takes what it has
    /// received; then another one is sent, and the last one counts.
    fn settle(&mut self) -> Outcome {
        /// Each is waited for so many milliseconds.
        const PATIENCE: u32 = 100;
        const MARKS: u32 = 600;
        let (mut seen, mut part) = (Vec::new(), [0; 64]);
        for number in 0..MARKS {
            let mark = alloc::format!("<mark {number}>");
            call!(IOCTL, self.fd(), ioctl::TCSBRK, 1)?;
            self.file.write_all(mark.as_bytes())?;
            for _ in 0..PATIENCE {
                while tty::available(self.fd())? > 0 {
                    let len = self.file.read(&mut part)?;
                    seen.extend_from_slice(&part[..len]);
                }
                if seen.ends_with(mark.as_bytes()) {
                    return Ok(());
                }
                sleep_ms(1);
            }
        }
        Err(Trouble::failed(format_args!("none of {MARKS} marks came back, behind {} bytes", seen.len())))
    }

    /// Waits until so many bytes can be read.
    fn await_available(&self, count: usize) -> Outcome {
        super::until(|| tty::available(self.fd()).is_ok_and(|found| found >= count))
    }
}

impl Drop for Looped {
    fn drop(&mut self) {
        let _ = tty::switch_lines(self.fd(), TIOCM_LOOP, false);
        let _ = tty::set_attributes(self.fd(), &self.before);
    }
}

/// All values come back in order, in more than all queues hold.
pub fn returns_bytes() -> Outcome {
    const PART: usize = 1500;
    let mut port = Looped::with(|_| {})?;
    for round in 0..20 {
        let bytes: Vec<u8> = (0..PART).map(|value| (value * 7 + value / 251 + round) as u8).collect();
        port.file.write_all(&bytes)?;
        ensure!(port.take(PART)? == bytes, "what came back is not what was sent, in round {round}");
    }
    equal!(tty::available(port.fd())?, 0);
    Ok(())
}

/// Who must not wait is told so, and what comes is told to who watches.
pub fn without_waiting() -> Outcome {
    let mut port = Looped::with(|_| {})?;
    call!(FCNTL, port.fd(), F_SETFL, O_NONBLOCK)?;
    let mut byte = [0];
    fails!(port.file.read(&mut byte), EAGAIN);
    let events = |port: &Looped, patience: i32| -> Result<u16, Trouble> {
        let mut watched = [PollFd { fd: port.fd(), events: (EPOLLIN | EPOLLOUT) as u16, revents: 0 }];
        let time = rt::abi::time::Timespec::from_nanos(patience.unsigned_abs().into());
        call!(PPOLL, watched.as_mut_ptr(), 1, &raw const time, 0, 0)?;
        Ok(watched[0].revents)
    };
    equal!(u32::from(events(&port, 0)?), EPOLLOUT);
    port.file.write_all(b"!")?;
    port.await_available(1)?;
    equal!(u32::from(events(&port, 0)?), EPOLLIN | EPOLLOUT);
    equal!(port.file.read(&mut byte)?, 1);
    equal!(byte, *b"!");
    fails!(port.file.read(&mut byte), EAGAIN);
    Ok(())
}

/// Line by line, with echo asked for: none is given, or it would go round for ever.
pub fn by_lines() -> Outcome {
    let mut port = Looped::with(|modes| modes.lflag = ICANON | ioctl::ECHO)?;
    port.file.write_all(b"unfinished")?;
    sleep_ms(2);
    equal!(tty::available(port.fd())?, 0);
    port.file.write_all(b" line\nnext")?;
    equal!(port.take(16)?, b"unfinished line\n");
    sleep_ms(5);
    equal!(tty::available(port.fd())?, 0);
    port.file.write_all(b"\n")?;
    equal!(port.take(5)?, b"next\n");
    Ok(())
}

/// The lines to the modem are as Linux has them, and those from it are what the loop makes of them.
pub fn lines() -> Outcome {
    let port = open()?;
    let fd = port.fd().raw();
    tty::switch_lines(fd, TIOCM_LOOP | TIOCM_OUT1, false)?;
    let first = tty::lines(fd)?;
    equal!(first & (TIOCM_DTR | TIOCM_RTS | TIOCM_LOOP | TIOCM_OUT1), TIOCM_DTR | TIOCM_RTS);
    tty::switch_lines(fd, TIOCM_LOOP, true)?;
    let seen = TIOCM_LOOP | TIOCM_CTS | TIOCM_DSR;
    equal!(tty::lines(fd)? & seen, seen);
    tty::switch_lines(fd, TIOCM_RTS, false)?;
    equal!(tty::lines(fd)? & (TIOCM_RTS | TIOCM_CTS | TIOCM_DTR), TIOCM_DTR);
    // What a program does not set stays, and so does what it may not cut.
    let all = u32::MAX;
    call!(IOCTL, fd, ioctl::TIOCMSET, &raw const all)?;
    let none = 0_u32;
    call!(IOCTL, fd, ioctl::TIOCMSET, &raw const none)?;
    equal!(tty::lines(fd)? & (TIOCM_DTR | TIOCM_RTS | TIOCM_LOOP | TIOCM_OUT1), 0);
    // Closed and opened, it is ready.
    drop(port);
    let port = open()?;
    equal!(tty::lines(port.fd().raw())? & (TIOCM_DTR | TIOCM_RTS), TIOCM_DTR | TIOCM_RTS);
    let console = OpenOptions::new().read(true).write(true).open("/dev/console")?;
    fails!(tty::lines(console.fd().raw()), ENOTTY);
    Ok(())
}

/// What nobody reads takes no more than a terminal keeps, and holds up nobody who sends.
pub fn nobody_reads() -> Outcome {
    let mut port = Looped::with(|_| {})?;
    let part = [b'x'; 4000];
    for _ in 0..20 {
        port.file.write_all(&part)?;
    }
    call!(IOCTL, port.fd(), ioctl::TCSBRK, 1)?;
    port.await_available(LIMIT / 2)?;
    let kept = tty::available(port.fd())?;
    ensure!(kept <= LIMIT, "{kept} bytes are kept");
    port.settle()?;
    port.file.write_all(b"behind it")?;
    equal!(port.take(9)?, b"behind it");
    // What was not read is not for the next one.
    port.file.write_all(b"forgotten")?;
    port.await_available(9)?;
    drop(port);
    let port = Looped::with(|_| {})?;
    equal!(tty::available(port.fd())?, 0);
    Ok(())
}

/// It says when it has sent everything, and forgets it when it is told to.
pub fn sends_all() -> Outcome {
    let mut port = Looped::with(|_| {})?;
    for which in [TCOFLUSH, TCIFLUSH, TCIOFLUSH] {
        port.file.write_all(&[b'y'; 3000])?;
        call!(IOCTL, port.fd(), ioctl::TCSBRK, 1)?;
        let mut unsent = 1_u32;
        call!(IOCTL, port.fd(), ioctl::TIOCOUTQ, &raw mut unsent)?;
        equal!(unsent, 0);
        equal!(port.take(3000)?, [b'y'; 3000]);
        tty::flush(port.fd(), which)?;
    }
    port.file.write_all(b"on")?;
    equal!(port.take(2)?, b"on");
    Ok(())
}

/// Arguments that mean nothing are refused, or do no harm.
pub fn hostile() -> Outcome {
    let mut port = Looped::with(|_| {})?;
    let fd = port.fd();
    for command in [
        ioctl::TIOCMGET,
        ioctl::TIOCMBIS,
        ioctl::TIOCMBIC,
        ioctl::TIOCMSET,
        ioctl::TCGETS,
        ioctl::TCSETSW,
        ioctl::FIONREAD,
        ioctl::TIOCOUTQ,
    ] {
        for address in [0, 1, usize::MAX, 1 << 39, usize::MAX << 38] {
            fails!(call!(IOCTL, fd, command, address), EFAULT);
        }
    }
    for which in [3, usize::MAX, 1 << 32] {
        fails!(call!(IOCTL, fd, ioctl::TCFLSH, which), EINVAL);
    }
    fails!(call!(IOCTL, fd, 0x5499, 0), ENOTTY);
    call!(FCNTL, fd, F_SETFL, O_NONBLOCK)?;
    let raw = tty::attributes(fd)?;
    for seed in 0..200_u32 {
        let word = |n: u32| (seed * 31 + n).wrapping_mul(0x9e37_79b9).rotate_left(seed);
        // Signals would be this process's own, if the terminal were.
        let lflag = word(3) & !ISIG;
        let cc = core::array::from_fn::<u8, NCCS, _>(|n| word(n as u32 + 5) as u8);
        let modes = Termios { iflag: word(0), oflag: word(1), cflag: word(2), lflag, line: word(4) as u8, cc };
        tty::set_attributes(fd, &modes)?;
        let bytes = word(6).to_le_bytes();
        let _ = port.file.write(&bytes);
        let _ = port.file.read(&mut [0; 7]);
    }
    tty::set_attributes(fd, &raw)?;
    tty::flush(fd, TCIOFLUSH)?;
    port.settle()?;
    port.file.write_all(b"whole")?;
    port.await_available(5)?;
    equal!(port.take(5)?, b"whole");
    Ok(())
}

/// A program has the device, or the kernel has it, for as long as it is open.
pub fn one_owner() -> Outcome {
    let index = index()?;
    let (first, second) = (open()?, open()?);
    fails!(Device::open(index), EBUSY);
    drop(first);
    fails!(Device::open(index), EBUSY);
    drop(second);
    let device = Device::open(index)?;
    fails!(OpenOptions::new().read(true).open(PATH), EBUSY);
    drop(device);
    let mut port = Looped::with(|_| {})?;
    port.file.write_all(b"again")?;
    equal!(port.take(5)?, b"again");
    Ok(())
}

/// It is given back by who ends, in whatever way, before that is known.
pub fn ends() -> Outcome {
    let index = index()?;
    let shared = Shared::new()?;
    for round in 0..6 {
        let pid = checked_child(|| {
            let mut port = open()?;
            shared.set(0, round + 1);
            port.read_exact(&mut [0])?;
            Ok(())
        })?;
        shared.await_least(0, round + 1);
        fails!(Device::open(index), EBUSY);
        if round % 2 == 0 {
            await_blocked(pid)?;
        }
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
        drop(Device::open(index)?);
        // What is written before the end is on its way, or was sent.
        exits(
            checked_child(|| {
                open()?.write_all(&[b'z'; 1000])?;
                core::mem::forget(open()?);
                Ok(())
            })?,
            0,
        )?;
        super::until(|| Device::open(index).is_ok())?;
    }
    Ok(())
}

/// What a driver in user mode leaves behind - received bytes, a raised line, a divisor - is not the kernel's, and the other way round.
pub fn in_turns() -> Outcome {
    let index = index()?;
    for round in 0..20 {
        let pid = checked_child(|| {
            let device = Device::open(index)?;
            let receiver = receive(Handlers::new())?;
            let sender = rt::uintr::Sender::open(receiver.grant(1 << VECTOR)?)?;
            // Loop, interrupts for all, no FIFO; and bytes that nobody serves.
            [(3, 0x83), (0, 1), (1, 7), (3, 0x1b), (4, 0x1b), (1, 0x0f), (0, b'L')]
                .into_iter()
                .for_each(|(register, value)| device.write8(register, value));
            if round % 2 == 0 {
                core::mem::forget(device.bind(sender, VECTOR)?);
            }
            Ok(())
        })?;
        exits(pid, 0)?;
        let mut port = Looped::with(|_| {})?;
        port.file.write_all(&[round])?;
        equal!(port.take(1)?, [round]);
        equal!(tty::available(port.fd())?, 0);
    }
    Ok(())
}

/// Two write and one reads: nothing of any is lost while it is read fast enough.
pub fn two_write() -> Outcome {
    const ROUNDS: usize = 100;
    let mut port = Looped::with(|_| {})?;
    let shared = Shared::new()?;
    let writers: Vec<_> = [b'a', b'b']
        .into_iter()
        .map(|letter| {
            checked_child(|| {
                let mut port = open()?;
                for round in 0..ROUNDS {
                    shared.await_least(0, (round.saturating_sub(4) * 2 * 100) as u32);
                    port.write_all(&[letter; 100])?;
                }
                Ok(())
            })
        })
        .collect();
    let mut count = [0; 2];
    while count[0] + count[1] < 2 * ROUNDS * 100 {
        let mut part = [0; 512];
        let len = port.file.read(&mut part)?;
        count[0] += part[..len].iter().filter(|byte| **byte == b'a').count();
        count[1] += part[..len].iter().filter(|byte| **byte == b'b').count();
        shared.set(0, (count[0] + count[1]) as u32);
    }
    for pid in writers {
        exits(pid?, 0)?;
    }
    equal!(count, [ROUNDS * 100; 2]);
    Ok(())
}

/// It controls a session: its keys interrupt who is in the foreground, and the session's end leaves it to the next one.
pub fn controls() -> Outcome {
    for _ in 0..3 {
        let pid = checked_child(|| {
            call!(SETSID)?;
            let mut port = Looped::with(|modes| modes.lflag = ISIG)?;
            fails!(OpenOptions::new().read(true).open("/dev/tty"), ENXIO);
            tty::set_controlling(port.fd())?;
            let own = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
            equal!(tty::foreground(own.fd().raw())?, rt::process::group());
            tty::switch_lines(own.fd().raw(), TIOCM_LOOP, true)?;
            port.file.write_all(&[3])?;
            sleep_ms(10_000);
            Ok(())
        })?;
        dies(pid, SIGINT)?;
        // Its modes and its loop are left.
        let port = open()?;
        tty::switch_lines(port.fd().raw(), TIOCM_LOOP, false)?;
        tty::set_attributes(port.fd().raw(), &Termios::DEFAULT)?;
    }
    Ok(())
}
