//! How connections over TCP begin and end.

use super::{listen, option, pair, raw_address};
use crate::case::{Case, Outcome, Trouble};
use rt::abi::net::{
    AF_INET, AF_UNIX, IPPROTO_TCP, MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_OOB, SHUT_RD, SO_ERROR, SO_LINGER, SOCK_CLOEXEC,
    SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM, SOL_SOCKET,
};
use rt::abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT, PollFd};
use rt::abi::time::Timespec;
use rt::io::{Read, Write};
use rt::thread;

pub const CASES: &[Case] = &[
    case!("tcp/sent-to-nobody", "D17 E1", sent_to_nobody),
    case!("tcp/cut", "D17 E1", cut),
    case!("tcp/full-queue", "D17 I1", full_queue),
    case!("tcp/refusals", "E1", refusals),
    case!("tcp/shut-before-it-is-connected", "D17 E1", shut_early),
];

/// The events of `fd` now.
fn events_of(fd: i32) -> Result<u16, Trouble> {
    let mut poll = PollFd { fd, events: POLLIN | POLLOUT, revents: 0 };
    let zero = Timespec { sec: 0, nsec: 0 };
    call!(PPOLL, &raw mut poll, 1, &raw const zero, 0, 0)?;
    Ok(poll.revents)
}

/// What is sent first to a socket that was closed in order is lost unnoticed; only then is there an error.
fn sent_to_nobody() -> Outcome {
    let (mut near, far) = pair()?;
    drop(far);
    let fd = near.fd().raw();
    let send = || call!(SENDTO, fd, [1u8].as_ptr(), 1, MSG_NOSIGNAL, 0, 0);
    equal!(await_events(near.fd().raw(), POLLIN)? & (POLLIN | POLLOUT | POLLERR | POLLHUP), POLLIN | POLLOUT);
    equal!(send(), Ok(1));
    await_events(near.fd().raw(), POLLHUP)?;
    fails!(send(), EPIPE);
    fails!(send(), EPIPE);
    equal!(near.read(&mut [0])?, 0);
    Ok(())
}

/// The events of `fd` once one of `wanted` holds.
fn await_events(fd: i32, wanted: u16) -> Result<u16, Trouble> {
    loop {
        let events = events_of(fd)?;
        if events & wanted != 0 {
            return Ok(events);
        }
        thread::yield_now();
    }
}

/// `SO_LINGER` of no time at all: closing cuts the connection, and what came before can be read.
fn cut() -> Outcome {
    let (mut near, mut far) = pair()?;
    far.write_all(b"to")?;
    await_events(near.fd().raw(), POLLIN)?;
    let linger = [1i32, 0];
    call!(SETSOCKOPT, far.fd().raw(), SOL_SOCKET, SO_LINGER, linger.as_ptr(), 8)?;
    drop(far);
    ensure!(await_events(near.fd().raw(), POLLHUP)? & POLLERR != 0);
    equal!(near.read(&mut [0; 4])?, 2);
    fails!(near.read(&mut [0; 4]), ECONNRESET);
    equal!(near.read(&mut [0; 4])?, 0);
    Ok(())
}

/// Who finds the queue full waits, and is connected when there is a place.
fn full_queue() -> Outcome {
    let (listener, addr) = listen()?;
    equal!(call!(LISTEN, listener.fd().raw(), 1), Ok(0));
    let raw = raw_address(addr);
    let begin = || -> Result<rt::fs::File, Trouble> {
        let fd = call!(SOCKET, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)?;
        let file = rt::raw::file(fd);
        fails!(call!(CONNECT, fd, &raw const raw, 16), EINPROGRESS);
        Ok(file)
    };
    let (first, second) = (begin()?, begin()?);
    await_events(first.fd().raw(), POLLOUT)?;
    await_events(second.fd().raw(), POLLOUT)?;
    let third = begin()?;
    let fd = third.fd().raw();
    equal!(events_of(fd)?, 0);
    fails!(call!(CONNECT, fd, &raw const raw, 16), EALREADY);
    let (accepted, _) = listener.accept()?;
    await_events(fd, POLLOUT)?;
    equal!(option(fd, SOL_SOCKET, SO_ERROR)?, 0);
    equal!(call!(CONNECT, fd, &raw const raw, 16), Ok(0));
    fails!(call!(CONNECT, fd, &raw const raw, 16), EISCONN);
    drop((accepted, first, second));
    Ok(())
}

/// What Linux answers to calls that make no sense.
fn refusals() -> Outcome {
    let make = |family: u32, kind: u32, protocol: u32| call!(SOCKET, family, kind, protocol);
    fails!(make(0, SOCK_STREAM, 0), EAFNOSUPPORT);
    fails!(make(AF_INET, 75, 0), EINVAL);
    fails!(make(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
    fails!(make(AF_INET, SOCK_STREAM, 17), EPROTONOSUPPORT);
    let mut fds = [0i32; 2];
    let mut couple =
        |family: u32, kind: u32, protocol: u32| call!(SOCKETPAIR, family, kind, protocol, fds.as_mut_ptr());
    fails!(couple(0, SOCK_STREAM, 0), EAFNOSUPPORT);
    fails!(couple(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
    fails!(couple(AF_INET, SOCK_DGRAM, 17), EOPNOTSUPP);
    fails!(couple(AF_INET, SOCK_STREAM, 1), EPROTONOSUPPORT);
    let tcp = rt::raw::file(make(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    let local = rt::raw::file(make(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    let (mut value, mut len) = (1i32, 4i32);
    let mut get = |fd: i32, level: u32| call!(GETSOCKOPT, fd, level, 1, &raw mut value, &raw mut len);
    fails!(get(tcp.fd().raw(), 500), EOPNOTSUPP);
    fails!(get(local.fd().raw(), IPPROTO_TCP), EOPNOTSUPP);
    let set = |fd: i32, level: u32, name: i32| call!(SETSOCKOPT, fd, level, name, [1i32].as_ptr(), 4);
    fails!(set(tcp.fd().raw(), 500, 1), ENOPROTOOPT);
    fails!(set(tcp.fd().raw(), IPPROTO_TCP, -1), ENOPROTOOPT);
    fails!(set(local.fd().raw(), IPPROTO_TCP, 1), EOPNOTSUPP);
    // A family that is not the socket's, a short address, one of no family.
    let bind = |fd: i32, family: u32, len: usize| call!(BIND, fd, [family as u16, 0, 0, 0, 0, 0, 0, 0].as_ptr(), len);
    fails!(bind(tcp.fd().raw(), AF_INET, 3), EINVAL);
    fails!(bind(tcp.fd().raw(), 47, 16), EAFNOSUPPORT);
    fails!(bind(local.fd().raw(), AF_INET, 16), EINVAL);
    equal!(bind(tcp.fd().raw(), 0, 16), Ok(0));
    let (near, _far) = pair()?;
    let mut byte = [0u8];
    let mut receive = |flags: u32| call!(RECVFROM, near.fd().raw(), byte.as_mut_ptr(), 1, flags, 0, 0);
    fails!(receive(MSG_OOB), EINVAL);
    fails!(receive(MSG_ERRQUEUE), EAGAIN);
    Ok(())
}

/// An idle socket has nothing to shut down, and what is shut down lasts.
fn shut_early() -> Outcome {
    let file = rt::raw::file(call!(SOCKET, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    let fd = file.fd().raw();
    let mut byte = [0u8];
    let mut receive = || call!(RECVFROM, fd, byte.as_mut_ptr(), 1, 0, 0, 0);
    fails!(receive(), ENOTCONN);
    fails!(call!(SHUTDOWN, fd, SHUT_RD), ENOTCONN);
    equal!(receive(), Ok(0));
    Ok(())
}
