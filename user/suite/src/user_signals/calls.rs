//! Calls that wait when a signal comes: they end, or go on, as the handler's flags say.

use super::{Log, handle, receiving};
use crate::case::{Outcome, Trouble};
use crate::place::Place;
use crate::process::{Shared, await_blocked, checked_child, exits};
use crate::sockets::rights;
use alloc::vec;
use core::cell::RefCell;
use rt::abi::futex::{FUTEX_WAIT, FUTEX_WAKE};
use rt::abi::net::SOCK_STREAM;
use rt::abi::nr;
use rt::abi::poll::{EPOLL_CTL_ADD, POLLIN, PollFd};
use rt::abi::signal::SIGUSR2;
use rt::abi::time::Timespec;
use rt::fs::File;
use rt::io::{self, Read, Write};
use rt::raw;
use rt::signal::user::{Flags, Right, Sender, Signals};

const LOCK_EX: usize = 2;
const LOCK_UN: usize = 8;

/// A thread that receives, and the right to send to it.
struct Waiter {
    signals: Signals,
    log: &'static Log,
    right: Right,
}

impl Waiter {
    fn new() -> Result<Self, Trouble> {
        let signals = receiving()?;
        let right = signals.grant(0)?;
        Ok(Self { signals, log: Log::new(), right })
    }

    /// Makes a call that waits. A child sends a signal then, and when that has been handled does what ends the wait.
    fn during<T>(
        &self,
        flags: Flags,
        release: impl FnOnce() -> Outcome,
        call: impl FnOnce() -> io::Result<T>,
    ) -> Result<io::Result<T>, Trouble> {
        let (handled, log, before) = (Shared::new()?, self.log, self.log.count());
        handle(&self.signals, SIGUSR2, (flags, 0), move |_, info| {
            log.note(info);
            handled.set(0, 1);
        })?;
        let right = Right::from_fd(self.right.fd().try_clone()?);
        let waiter = rt::process::id();
        let pid = checked_child(|| {
            let sender = Sender::open(right)?;
            await_blocked(waiter)?;
            sender.kill(SIGUSR2)?;
            handled.await_least(0, 1);
            release()
        })?;
        let answer = call();
        exits(pid, 0)?;
        equal!(self.log.count(), before + 1);
        Ok(answer)
    }
}

/// The call ends with `EINTR` behind a handler without `SA_RESTART`, and goes on behind one with it.
fn as_the_flags_say<T: PartialEq + core::fmt::Debug>(
    expected: T,
    release: impl Fn() -> Outcome,
    call: impl Fn() -> io::Result<T>,
) -> Outcome {
    let waiter = Waiter::new()?;
    for _ in 0..3 {
        equal!(waiter.during(Flags::RESTART, &release, &call)??, expected);
        fails!(waiter.during(Flags::default(), &release, &call)?, EINTR);
        // What the child has done for nothing.
        equal!(call()?, expected);
    }
    Ok(())
}

fn pipe() -> Result<(RefCell<File>, RefCell<File>), Trouble> {
    let (from, to) = rights::pipe()?;
    Ok((RefCell::new(from), RefCell::new(to)))
}

fn waiting(number: usize, arguments: [usize; 6]) -> io::Result<usize> {
    raw::waiting_call(number, arguments)
}

pub fn read() -> Outcome {
    let (from, to) = pipe()?;
    as_the_flags_say(1, || Ok(to.borrow_mut().write_all(b"x")?), || from.borrow_mut().read(&mut [0; 4]))
}

pub fn write() -> Outcome {
    const ROOM: usize = 65_536;
    let (from, to) = pipe()?;
    to.borrow_mut().write_all(&vec![1; ROOM])?;
    let release = || Ok(from.borrow_mut().read_exact(&mut [0; 4096])?);
    as_the_flags_say(4096, release, || to.borrow_mut().write(&[2; 4096]))
}

pub fn receive() -> Outcome {
    let (here, there) = rights::pair(SOCK_STREAM)?;
    let (mine, others) = (here.fd().raw() as usize, there.fd().raw());
    let release = || {
        call!(WRITE, others, b"ab".as_ptr(), 2)?;
        Ok(())
    };
    as_the_flags_say(2, release, || waiting(nr::RECVFROM, [mine, [0_u8; 4].as_mut_ptr() as usize, 4, 0, 0, 0]))
}

pub fn accept() -> Outcome {
    let listener = rt::net::TcpListener::bind(core::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = listener.local_addr()?;
    let release = || {
        drop(rt::net::TcpStream::connect(addr)?);
        Ok(())
    };
    as_the_flags_say((), release, || listener.accept().map(drop))
}

pub fn wait_for_a_child() -> Outcome {
    let (waiter, end) = (Waiter::new()?, Shared::new()?);
    for (round, flags) in [(1, Flags::RESTART), (2, Flags::default())] {
        let child = checked_child(|| {
            end.await_least(0, round);
            Ok(())
        })?;
        let release = || {
            end.set(0, round);
            Ok(())
        };
        let waited = waiter.during(flags, release, || rt::process::wait(child).map(|(pid, _)| pid))?;
        if flags == Flags::RESTART {
            equal!(waited?, child);
        } else {
            fails!(waited, EINTR);
            exits(child, 0)?;
        }
    }
    Ok(())
}

pub fn lock() -> Outcome {
    let place = Place::any()?;
    let path = place.join("locked");
    let file = File::create(&path)?;
    let waiter = Waiter::new()?;
    for flags in [Flags::RESTART, Flags::default()] {
        let (held, end) = (Shared::new()?, Shared::new()?);
        let holder = checked_child(|| {
            let file = File::open(&path)?;
            call!(FLOCK, file.fd().raw(), LOCK_EX)?;
            held.set(0, 1);
            end.await_least(0, 1);
            Ok(())
        })?;
        held.await_least(0, 1);
        let release = || {
            end.set(0, 1);
            Ok(())
        };
        let lock = |how| waiting(nr::FLOCK, [file.fd().raw() as usize, how, 0, 0, 0, 0]);
        let locked = waiter.during(flags, release, || lock(LOCK_EX))?;
        if flags == Flags::RESTART {
            equal!(locked?, 0);
        } else {
            fails!(locked, EINTR);
        }
        exits(holder, 0)?;
        lock(LOCK_UN)?;
    }
    Ok(())
}

pub fn futex() -> Outcome {
    let (waiter, word) = (Waiter::new()?, Shared::new()?);
    let address = word.word(0).as_ptr() as usize;
    let release = || {
        call!(FUTEX, address, FUTEX_WAKE, 1)?;
        Ok(())
    };
    for flags in [Flags::RESTART, Flags::default()] {
        let call = || waiting(nr::FUTEX, [address, FUTEX_WAIT as usize, 0, 0, 0, 0]);
        // Woken between two turns of the kernel's, it may wait for the next one: so the word changes, too.
        let release = || {
            word.set(0, u32::from(flags == Flags::RESTART));
            release()
        };
        let waited = waiter.during(flags, release, call)?;
        match flags == Flags::RESTART {
            true => ensure!(waited.is_ok() || waited.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)),
            false => fails!(waited, EINTR),
        }
        word.set(0, 0);
    }
    Ok(())
}

/// Those that Linux never makes again, whatever the flags.
pub fn never_made_again() -> Outcome {
    let waiter = Waiter::new()?;
    let (from, _to) = rights::pipe()?;
    let mut poll = [PollFd { fd: from.fd().raw(), events: POLLIN, revents: 0 }];
    let epoll = raw::file(call!(EPOLL_CREATE1, 0)?);
    let event = [u64::from(POLLIN), 0];
    call!(EPOLL_CTL, epoll.fd().raw(), EPOLL_CTL_ADD, from.fd().raw(), event.as_ptr())?;
    let (day, set) = (Timespec { sec: 86_400, nsec: 0 }, 1_u64 << 30);
    let [day, set] = [&raw const day as usize, &raw const set as usize];
    let mut events = [0_u64; 2];
    let (poll, epoll, events) = (poll.as_mut_ptr() as usize, epoll.fd().raw() as usize, events.as_mut_ptr() as usize);
    let futex = Shared::new()?.word(0).as_ptr() as usize;
    for (number, arguments) in [
        (nr::PPOLL, [poll, 1, 0, 0, 8, 0]),
        (nr::PPOLL, [poll, 1, day, 0, 8, 0]),
        (nr::PSELECT6, [0, 0, 0, 0, day, 0]),
        (nr::EPOLL_PWAIT, [epoll, events, 1, usize::MAX, 0, 8]),
        (nr::NANOSLEEP, [day, 0, 0, 0, 0, 0]),
        (nr::CLOCK_NANOSLEEP, [1, 0, day, 0, 0, 0]),
        (nr::RT_SIGTIMEDWAIT, [set, 0, 0, 8, 0, 0]),
        (nr::FUTEX, [futex, FUTEX_WAIT as usize, 0, day, 0, 0]),
    ] {
        for flags in [Flags::RESTART, Flags::default()] {
            let waited = waiter.during(flags, || Ok(()), || waiting(number, arguments))?;
            fails!(waited, EINTR);
        }
    }
    Ok(())
}

/// What promises all of a buffer goes on, behind whatever handler.
pub fn all_of_a_buffer() -> Outcome {
    let waiter = Waiter::new()?;
    let (from, to) = pipe()?;
    to.borrow_mut().write_all(b"a")?;
    let mut bytes = [0; 2];
    waiter.during(
        Flags::default(),
        || Ok(to.borrow_mut().write_all(b"b")?),
        || from.borrow_mut().read_exact(&mut bytes),
    )??;
    equal!(bytes, *b"ab");
    Ok(())
}
