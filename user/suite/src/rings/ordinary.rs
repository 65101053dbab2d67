//! System calls that nobody waits for (`abi::asyncos::ASYNC`).

use super::reap;
use crate::case::{Case, Outcome, Trouble};
use crate::process::{await_blocked, child, dies, exits, kill, sleep_ms};
use alloc::vec::Vec;
use rt::abi::asyncos::{ASYNC, NAME_RING};
use rt::abi::errno::Errno;
use rt::abi::fs::AT_FDCWD;
use rt::abi::io_uring::*;
use rt::abi::nr;
use rt::abi::signal::SIGKILL;
use rt::abi::time::Timespec;
use rt::fs::File;
use rt::io::{Read, Write};
use rt::ring::Ring;
use rt::{pipe, raw, thread};

pub const CASES: &[Case] = &[
    case!("ring/async-calls", "C6 D4", calls),
    case!("ring/async-calls-wait", "C6 D4", calls_wait),
    case!("ring/async-calls-are-cancelled", "C6 D14", cancelled),
    case!("ring/async-calls-that-are-none", "C6 E1", none),
    case!("ring/async-calls-without-a-ring", "C6 E1", without_a_ring),
    case!("ring/async-calls-without-a-place", "C6 D13 E1", without_a_place),
    case!("ring/async-calls-and-who-does-not-wait", "C6 I1", who_does_not_wait),
    case!("ring/async-calls-of-who-ends", "C6 D14", who_ends),
    case!("ring/a-token-without-the-bit", "C6 D4", token_without_bit),
];

const CANCELLED: i32 = -125;
/// No call has this number.
const UNKNOWN: usize = 0xfff;

/// A ring that the process has named; skips where no ring can be.
pub(super) fn named(entries: u32, flags: u32) -> Result<Ring, Trouble> {
    let ring = Ring::new(entries, flags)?;
    match name(ring.fd().raw()) {
        0 => Ok(ring),
        answer if answer == Errno::ENOSYS.to_return() => Err(Trouble::skipped("no asynchronous calls")),
        answer => Err(Trouble::failed(alloc::format!("naming it: {answer}"))),
    }
}

fn name(fd: i32) -> isize {
    raw::syscall6(NAME_RING, [fd as usize, 0, 0, 0, 0, 0])
}

/// Registers a call.
pub(super) fn register(number: usize, args: &[usize], token: u64) -> isize {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    raw::syscall_with_token(number | ASYNC, all, token)
}

/// Waits for so many completions.
fn take(ring: &mut Ring, count: usize) -> Result<Vec<(u64, i32)>, Trouble> {
    let mut taken = reap(ring);
    while taken.len() < count {
        ring.submit(1)?;
        taken.extend(reap(ring));
    }
    Ok(taken)
}

/// Those that need not wait have completed when they return.
fn calls() -> Outcome {
    let mut ring = named(8, 0)?;
    let path = c"/proc/self/stat";
    let mut stat = [0u64; 16];
    equal!(register(nr::OPENAT, &[AT_FDCWD as usize, path.as_ptr() as usize, 0], 1), 0);
    let [(1, fd)] = take(&mut ring, 1)?[..] else { return Err(Trouble::failed("not opened")) };
    ensure!(fd > 2);
    equal!(register(nr::FSTAT, &[fd as usize, stat.as_mut_ptr() as usize], u64::MAX), 0);
    equal!(register(nr::FSTAT, &[fd as usize, 1], 3), 0);
    let mut bytes = [0u8; 4];
    equal!(register(nr::READ, &[fd as usize, bytes.as_mut_ptr() as usize, 4], 4), 0);
    equal!(register(nr::CLOSE, &[fd as usize], 5), 0);
    equal!(register(nr::CLOSE, &[fd as usize], 6), 0);
    equal!(register(nr::GETPID, &[], 7), 0);
    equal!(register(nr::GETUID, &[], 8), 0);
    let pid = rt::process::id() as i32;
    let expected = [(u64::MAX, 0), (3, -14), (4, 4), (5, 0), (6, -9), (7, pid), (8, 0)];
    equal!(take(&mut ring, 7)?, expected);
    ensure!(bytes[0].is_ascii_digit());
    // One that the kernel does not know is a call like others: it is answered, and counted.
    let before = rt::fs::read("/proc/asyncos/syscalls")?;
    equal!(register(UNKNOWN, &[], 9), 0);
    equal!(take(&mut ring, 1)?, [(9, -38)]);
    ensure!(rt::fs::read("/proc/asyncos/syscalls")? != before);
    Ok(())
}

fn calls_wait() -> Outcome {
    let mut ring = named(8, 0)?;
    let (mut read, mut write) = pipe::pipe()?;
    let mut bytes = [[0u8; 4]; 2];
    for (number, bytes) in bytes.iter_mut().enumerate() {
        let args = [read.fd().raw() as usize, bytes.as_mut_ptr() as usize, 4];
        equal!(register(nr::READ, &args, number as u64), 0);
    }
    let time = Timespec { sec: 0, nsec: 5_000_000 };
    equal!(register(nr::NANOSLEEP, &[&raw const time as usize, 0], 2), 0);
    let pid = child(|| {
        sleep_ms(20);
        7
    })?;
    let mut status = 0u32;
    equal!(register(nr::WAIT4, &[pid as usize, &raw mut status as usize, 0, 0], 3), 0);
    // The reads have nothing yet; the others may have come.
    let mut taken = reap(&mut ring);
    ensure!(taken.iter().all(|(token, _)| *token >= 2));
    write.write_all(b"onetwo!!")?;
    let missing = 4 - taken.len();
    taken.extend(take(&mut ring, missing)?);
    taken.sort_unstable();
    equal!(taken, [(0, 4), (1, 4), (2, 0), (3, pid)]);
    equal!(status, 7 << 8);
    ensure!(bytes == [*b"onet", *b"wo!!"] || bytes == [*b"wo!!", *b"onet"], "bytes were lost");
    // It is the call, and not an entry: another thread's write ends a read of this one.
    equal!(register(nr::READ, &[read.fd().raw() as usize, bytes.as_mut_ptr() as usize, 4], 5), 0);
    let writer = thread::spawn(move || write.write_all(b"x").is_ok())?;
    equal!(take(&mut ring, 1)?, [(5, 1)]);
    ensure!(writer.join() == Some(true));
    equal!(read.read(&mut [0])?, 0);
    Ok(())
}

fn cancelled() -> Outcome {
    let mut ring = named(8, 0)?;
    let (read, mut write) = pipe::pipe()?;
    let mut byte = 0u8;
    let read_args = [read.fd().raw() as usize, &raw mut byte as usize, 1];
    let time = Timespec { sec: 1_000, nsec: 0 };
    equal!(register(nr::READ, &read_args, 1), 0);
    equal!(register(nr::CLOCK_NANOSLEEP, &[1, 0, &raw const time as usize, 0], 2), 0);
    equal!(register(nr::PPOLL, &[0, 0, 0, 0], 3), 0);
    for user_data in 1..=3 {
        let entry = Sqe { opcode: IORING_OP_ASYNC_CANCEL, fd: -1, addr: user_data, user_data: 9, ..Sqe::default() };
        ensure!(ring.push_raw(&entry));
        ring.submit(0)?;
        let mut taken = take(&mut ring, 2)?;
        taken.sort_unstable();
        equal!(taken, [(user_data, CANCELLED), (9, 0)]);
    }
    write.write_all(b"x")?;
    equal!(register(nr::READ, &read_args, 4), 0);
    equal!(take(&mut ring, 1)?, [(4, 1)]);
    equal!(byte, b'x');
    Ok(())
}

/// Those with a mask of signals for their time are the thread's; so are those of which each is (`each_call`).
fn none() -> Outcome {
    let mut ring = named(8, 0)?;
    let mask = 0u64;
    let mask = &raw const mask as usize;
    let refused: &[(usize, &[usize])] = &[
        (nr::PPOLL, &[0, 0, 0, mask, 8]),
        (nr::PPOLL, &[mask, 65, 0, 0, 0]),
        (nr::PSELECT6, &[0, 0, 0, 0, 0, mask]),
        (nr::PSELECT6, &[65, 0, 0, 0, 0, 0]),
        (nr::EPOLL_PWAIT, &[0, 0, 0, 0, mask, 8]),
        (nr::EPOLL_PWAIT2, &[0, 0, 0, 0, mask, 8]),
        (nr::IO_URING_ENTER, &[ring.fd().raw() as usize, 0, 1, 1]),
    ];
    for (number, args) in refused {
        equal!(register(*number, args, 1), Errno::EINVAL.to_return());
    }
    ensure!(reap(&mut ring).is_empty());
    Ok(())
}

fn without_a_ring() -> Outcome {
    let ring = named(8, 0)?;
    equal!(name(-1), 0);
    equal!(register(nr::GETUID, &[], 1), Errno::ENOSYS.to_return());
    equal!((name(1_000), name(0)), (Errno::EBADF.to_return(), Errno::EOPNOTSUPP.to_return()));
    equal!(name(ring.fd().raw()), 0);
    // A child has none; and closing the last descriptor leaves none.
    let pid = child(|| i32::from(register(nr::GETUID, &[], 1) != Errno::ENOSYS.to_return()))?;
    exits(pid, 0)?;
    drop(ring);
    equal!(register(nr::GETUID, &[], 1), Errno::ENOSYS.to_return());
    // Another thread than the one that may submit.
    let mut single = named(8, IORING_SETUP_SINGLE_ISSUER)?;
    let other = thread::spawn(|| register(nr::GETUID, &[], 1))?;
    equal!(other.join(), Some(Errno::EEXIST.to_return()));
    equal!(register(nr::GETUID, &[], 2), 0);
    equal!(take(&mut single, 1)?, [(2, 0)]);
    Ok(())
}

/// Completions that nobody takes are kept up to a bound; then nothing is registered, and nothing lost.
fn without_a_place() -> Outcome {
    let mut ring = named(1, 0)?;
    let mut registered = 0u64;
    while register(nr::GETUID, &[], registered) == 0 {
        registered += 1;
        ensure!(registered < 1 << 20, "without a bound");
    }
    equal!(register(nr::GETUID, &[], 0), Errno::EAGAIN.to_return());
    let mut next = 0;
    while next < registered {
        ring.submit(1)?;
        for (token, result) in reap(&mut ring) {
            equal!((token, result), (next, 0));
            next += 1;
        }
    }
    equal!(register(nr::GETUID, &[], 5), 0);
    equal!(take(&mut ring, 1)?, [(5, 0)]);
    Ok(())
}

/// A descriptor that does not wait means it for a call, unlike for an entry.
fn who_does_not_wait() -> Outcome {
    use rt::abi::fs::{F_SETFL, O_NONBLOCK};
    let mut ring = named(8, 0)?;
    let (read, _write) = pipe::pipe()?;
    call!(FCNTL, read.fd().raw(), F_SETFL, O_NONBLOCK)?;
    let mut byte = 0u8;
    equal!(register(nr::READ, &[read.fd().raw() as usize, &raw mut byte as usize, 1], 1), 0);
    equal!(take(&mut ring, 1)?, [(1, -11)]);
    let mut pair = [0i32; 2];
    let nonblocking = rt::abi::net::SOCK_STREAM | rt::abi::net::SOCK_NONBLOCK;
    call!(SOCKETPAIR, rt::abi::net::AF_UNIX, nonblocking, 0, pair.as_mut_ptr())?;
    let _ends: Vec<File> = pair.iter().map(|fd| raw::file(*fd as usize)).collect();
    equal!(register(nr::RECVFROM, &[pair[0] as usize, &raw mut byte as usize, 1, 0, 0, 0], 2), 0);
    equal!(take(&mut ring, 1)?, [(2, -11)]);
    Ok(())
}

fn who_ends() -> Outcome {
    drop(named(8, 0)?);
    let (mut read, mut write) = pipe::pipe()?;
    let pid = child(|| {
        let Ok(_ring) = named(8, 0) else { return 1 };
        let mut byte = 0u8;
        let args = [read.fd().raw() as usize, &raw mut byte as usize, 1];
        if register(nr::READ, &args, 1) != 0 {
            return 2;
        }
        sleep_ms(1_000_000);
        0
    })?;
    await_blocked(pid)?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    // Its read takes nothing from who comes after it.
    write.write_all(b"mine")?;
    let mut bytes = [0; 4];
    read.read_exact(&mut bytes)?;
    equal!(&bytes, b"mine");
    Ok(())
}

/// Calls that are served at once, by a look at the thread, after a turn of others, and not at all: none makes anything of `a6`, or changes a
/// register beside `a0`. Nor does one with the bit.
fn token_without_bit() -> Outcome {
    let mut ring = named(8, 0)?;
    equal!(raw::syscall_with_token(nr::GETUID, [0; 6], u64::MAX), 0);
    for number in [nr::GETUID, nr::GETPID, nr::SCHED_YIELD, UNKNOWN] {
        equal!((number, raw::hold_integers_over_call(number, 1 << 40)), (number, 0));
    }
    ensure!(reap(&mut ring).is_empty());
    equal!(raw::hold_integers_over_call(nr::GETUID | ASYNC, 1 << 40), 0);
    let taken = take(&mut ring, 1)?;
    ensure!(matches!(taken[..], [(token, 0)] if token > 1 << 40));
    Ok(())
}
