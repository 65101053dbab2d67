//! Sockets that travel over sockets: chains, circles that nobody can reach any more, and how many may be under way.

use super::rights::{is_over, pair, pipe, receive, receive_one, send};
use crate::case::{Case, Outcome, Trouble};
use crate::process::{checked_child, exits, sleep_ms};
use alloc::vec::Vec;
use rt::abi::fs::{AT_FDCWD, O_CLOEXEC, O_PATH};
use rt::abi::net::{AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SockaddrUn};
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::abi::{Errno, errno::Result as Call};
use rt::fs::File;
use rt::raw;

pub const CASES: &[Case] = &[
    case!("rights/chain", "D17 D13", chain),
    case!("rights/chain-by-path", "D17 D13", chain_by_path),
    case!("rights/circle", "D17 D13", circle),
    case!("rights/circle-of-a-listener", "D17 D13", circle_of_a_listener),
    case!("rights/circle-that-is-reached", "D17 D13", circle_that_is_reached),
    case!("rights/as-many-as-files", "D13 E1", as_many_as_files),
];

/// Has the process own this many descriptors at most.
fn limit_files(count: u64) -> Call<usize> {
    let limit = Rlimit { current: count, max: count };
    call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const limit, 0)
}

/// A socket in the queue of a socket in the queue of a socket: closing the last closes all, one after the other.
fn chain() -> Outcome {
    const LONG: usize = 4_000;
    let pid = checked_child(|| {
        limit_files(2 * LONG as u64)?;
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            let (mut read, write) = pipe()?;
            let mut last = write;
            for _ in 0..LONG {
                let (near, far) = pair(kind)?;
                equal!(send(&near, b"x", &[last.fd().raw()])?, 1);
                last = far;
            }
            // It can be unwound from its end, too.
            for _ in 0..100 {
                last = receive_one(&last)?;
            }
            drop(last);
            is_over(&mut read)?;
        }
        Ok(())
    })?;
    exits(pid, 0)
}

/// Sockets in their own queues, and in each other's.
fn circle() -> Outcome {
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let mut reads = Vec::new();
        for _ in 0..20 {
            let (near, far) = pair(kind)?;
            let (other_near, other_far) = pair(kind)?;
            let (read, write) = pipe()?;
            let write = write.fd().raw();
            // In its own queue; in the other's, and the other way round.
            send(&near, b"x", &[far.fd().raw(), near.fd().raw()])?;
            send(&near, b"y", &[other_far.fd().raw(), write])?;
            send(&other_near, b"z", &[far.fd().raw(), write, other_near.fd().raw()])?;
            reads.push(read);
        }
        reads.iter_mut().try_for_each(is_over)?;
    }
    Ok(())
}

/// A name that is no file's and nobody else's.
pub fn name(word: &str) -> Result<SockaddrUn, Trouble> {
    let mut path = [0; 108];
    let text = alloc::format!("{word}-{}", call!(GETPID)?);
    path[1..=text.len()].copy_from_slice(text.as_bytes());
    Ok(SockaddrUn { family: AF_UNIX as u16, path })
}

pub fn socket(kind: u32) -> Call<File> {
    call!(SOCKET, AF_UNIX, kind | SOCK_CLOEXEC, 0).map(raw::file)
}

/// What is open as a path alone keeps no socket: it is no way to build a chain that does not look like one.
fn chain_by_path() -> Outcome {
    let (mut first, far) = pair(SOCK_STREAM)?;
    let path_of = |file: &File| -> Call<File> {
        let path = alloc::format!("/proc/self/fd/{}\0", file.fd().raw());
        call!(OPENAT, AT_FDCWD, path.as_ptr(), O_PATH | O_CLOEXEC).map(raw::file)
    };
    let mut last = path_of(&far)?;
    drop(far);
    is_over(&mut first)?;
    for _ in 0..300 {
        let (near, far) = pair(SOCK_STREAM)?;
        send(&near, b"x", &[last.fd().raw()])?;
        last = path_of(&far)?;
    }
    Ok(())
}

/// A connection that nobody accepts carries its listener.
fn circle_of_a_listener() -> Outcome {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        let (listener, address) = (socket(kind)?, name("circle")?);
        call!(BIND, listener.fd().raw(), &raw const address, size_of::<SockaddrUn>())?;
        call!(LISTEN, listener.fd().raw(), 4)?;
        let connect = || -> Call<File> {
            let near = socket(kind)?;
            call!(CONNECT, near.fd().raw(), &raw const address, size_of::<SockaddrUn>())?;
            Ok(near)
        };
        let (mut read, write) = pipe()?;
        let (first, second) = (connect()?, connect()?);
        send(&first, b"x", &[listener.fd().raw(), write.fd().raw()])?;
        send(&second, b"y", &[listener.fd().raw(), write.fd().raw()])?;
        drop(write);
        // One is accepted: what came by it can be received.
        let accepted = raw::file(call!(ACCEPT4, listener.fd().raw(), 0, 0, SOCK_CLOEXEC)?);
        drop(listener);
        let mut got = receive(&accepted, &mut [0; 4], 4, 0)?;
        equal!((got.len, got.files.len()), (1, 2));
        let listener = got.files.swap_remove(0);
        drop(got);
        let other = raw::file(call!(ACCEPT4, listener.fd().raw(), 0, 0, SOCK_CLOEXEC)?);
        send(&first, b"z", &[other.fd().raw(), accepted.fd().raw()])?;
        drop((accepted, other, listener, first, second));
        is_over(&mut read)?;
    }
    Ok(())
}

/// What somebody can still receive stays, whatever is collected beside it.
fn circle_that_is_reached() -> Outcome {
    let (near, far) = pair(SOCK_STREAM)?;
    let (inner_near, inner_far) = pair(SOCK_DGRAM)?;
    let (mut read, write) = pipe()?;
    // `far` holds `inner_far`, which holds `far` and an end of the pipe.
    send(&inner_near, b"i", &[far.fd().raw(), write.fd().raw(), inner_near.fd().raw()])?;
    send(&near, b"o", &[inner_far.fd().raw()])?;
    drop((inner_near, inner_far, write, near));
    for _ in 0..5 {
        let (a, b) = pair(SOCK_STREAM)?;
        let (mut other, write) = pipe()?;
        send(&a, b"x", &[b.fd().raw(), write.fd().raw()])?;
        drop((a, b, write));
        is_over(&mut other)?;
    }
    let inner = receive_one(&far)?;
    let got = receive(&inner, &mut [0; 4], 4, 0)?;
    equal!((got.len, got.files.len()), (1, 3));
    rt::io::Write::write_all(&mut { got }.files[1], b"there")?;
    equal!(rt::io::Read::read(&mut read, &mut [0; 8])?, 5);
    is_over(&mut read)
}

/// So many descriptors are under way as the process may have open, or a few more; what is received or lost does not count.
fn as_many_as_files() -> Outcome {
    let pid = checked_child(|| {
        let (near, far) = pair(SOCK_DGRAM)?;
        limit_files(40)?;
        // The superuser is free to, on Linux.
        call!(SETUID, 1000)?;
        let fill = || -> Result<usize, Trouble> {
            for sent in 0..100 {
                match send(&near, b"x", &[0]) {
                    Err(Errno::ETOOMANYREFS) => return Ok(sent),
                    done => equal!(done?, 1),
                }
            }
            Err(Trouble::failed("no limit"))
        };
        let most = fill()?;
        ensure!((40..=41).contains(&most), "{most} are under way");
        drop(receive_one(&far)?);
        equal!(fill()?, 1);
        // Another process has its own, or they share the user's.
        let pid = checked_child(|| {
            match send(&near, b"x", &[0]) {
                Ok(1) | Err(Errno::ETOOMANYREFS) => {}
                other => return Err(Trouble::failed(format_args!("{other:?}"))),
            }
            Ok(())
        })?;
        exits(pid, 0)?;
        while receive(&far, &mut [0; 4], 0, MSG_DONTWAIT).is_ok() {}
        // What only lost sockets hold comes back soon.
        for _ in 0..20 {
            let (a, b) = pair(SOCK_STREAM)?;
            comes_back(|| send(&a, b"x", &[a.fd().raw(), b.fd().raw()]))?;
        }
        for _ in 0..most {
            comes_back(|| send(&near, b"x", &[0]))?;
        }
        Ok(())
    })?;
    exits(pid, 0)
}

/// Tries again while too many are under way.
fn comes_back(attempt: impl Fn() -> Call<usize>) -> Outcome {
    for _ in 0..20_000 {
        match attempt() {
            Err(Errno::ETOOMANYREFS) => sleep_ms(1),
            done => {
                equal!(done?, 1);
                return Ok(());
            }
        }
    }
    Err(Trouble::failed("they are never collected"))
}
