//! Rings that are shared with the kernel, as correct programs use them and as others do.

pub mod buffers;
pub mod bundles;
pub mod calls;
pub mod conform;
pub mod devices;
pub mod drain;
pub mod each_call;
pub mod every;
pub mod fuzz;
pub mod given;
pub mod hostile;
pub mod hostile_ends;
pub mod hostile_inputs;
pub mod in_place;
pub mod messages;
pub mod opening;
pub mod ordinary;
pub mod others;
pub mod personalities;
pub mod places;
pub mod polled;
pub mod priorities;
pub mod provided;
pub mod quotas;
pub mod readiness;
pub mod registering;
pub mod rights;
pub mod sockets;
pub mod splices;
pub mod time;
pub mod traced;
pub mod waiting;
pub mod wide;
pub mod words;

use crate::case::{Case, Outcome, Trouble};
use crate::process::{PAGE, Shared, await_blocked, checked_child, child, exits, millis};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use rt::abi::io_uring::*;
use rt::abi::poll::{POLLERR, POLLIN, POLLOUT, PollFd};
use rt::abi::time::Timespec;
use rt::abi::{Errno, mm as m};
use rt::io;
use rt::ring::{Ring, at};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("ring/nothing", "C4 D3 D4", nothing),
    case!("ring/links", "C4 D3", links),
    case!("ring/wrong-entries", "C4 E1 D3", wrong_entries),
    case!("ring/setup-is-checked", "C4 E1 D3", setup_is_checked),
    case!("ring/probe", "C4 D3", probe),
    case!("ring/wait-has-a-limit", "C4 D16", wait_has_a_limit),
    case!("ring/all-who-wait-are-woken", "C4 D2", all_who_wait_are_woken),
    case!("ring/is-polled", "C4 I1", is_polled),
    case!("ring/nothing-is-lost-that-is-not-taken", "C4 D4 D13", nothing_is_lost),
];

const EINVAL: i32 = -22;
const CANCELLED: i32 = -125;

fn nop(user_data: u64, flags: u8, result: i32) -> Sqe {
    let op_flags = IORING_NOP_INJECT_RESULT;
    Sqe { flags, user_data, len: result.cast_unsigned(), op_flags, ..Sqe::default() }
}

fn push(ring: &mut Ring, entries: &[Sqe]) {
    for entry in entries {
        ring.push_raw(entry);
    }
}

/// Submits all of these and takes their completions, which come at once.
fn run(ring: &mut Ring, entries: &[Sqe]) -> io::Result<Vec<(u64, i32)>> {
    push(ring, entries);
    ring.submit(0)?;
    Ok(reap(ring))
}

fn reap(ring: &mut Ring) -> Vec<(u64, i32)> {
    core::iter::from_fn(|| ring.pop()).map(|cqe| (cqe.user_data, cqe.res)).collect()
}

/// Takes the completions of the entries 0 to `count`, which are all there, some of them kept.
fn reap_in_order(ring: &mut Ring, count: u64) -> Outcome {
    let mut next = 0;
    while next < count {
        let found = reap(ring);
        ensure!(!found.is_empty(), "{next} of {count}");
        for (user_data, _) in found {
            equal!(user_data, next);
            next += 1;
        }
        ring.flush()?;
    }
    Ok(())
}

fn nothing() -> Outcome {
    for flags in [0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN] {
        let mut ring = Ring::new(8, flags)?;
        for round in 0..100u64 {
            let count = 1 + round % 8;
            let entries: Vec<Sqe> = (0..count).map(|number| nop(8 * round + number, 0, number as i32)).collect();
            push(&mut ring, &entries);
            equal!(ring.submit(count as u32)?, count as usize);
            let expected: Vec<_> = (0..count).map(|number| (8 * round + number, number as i32)).collect();
            equal!(reap(&mut ring), expected);
        }
        ensure!(
            (0..8).all(|_| ring.push_raw(&nop(0, 0, 0))) && !ring.push_raw(&nop(0, 0, 0)),
            "more than there is room for"
        );
        equal!(ring.submit(0)?, 8);
    }
    Ok(())
}

fn links() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (link, hard, skip) = (IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_CQE_SKIP_SUCCESS);
    let chain = [nop(1, link, 0), nop(2, link, -5), nop(3, link, 0), nop(4, 0, 0), nop(5, 0, 5)];
    equal!(run(&mut ring, &chain)?, [(1, 0), (2, -5), (3, CANCELLED), (4, CANCELLED), (5, 5)]);
    equal!(run(&mut ring, &[nop(1, hard, -7), nop(2, 0, 2)])?, [(1, -7), (2, 2)]);
    equal!(run(&mut ring, &[nop(1, link, 1)])?, [(1, 1)]);
    equal!(run(&mut ring, &[nop(1, skip, 1), nop(2, skip, -1)])?, [(2, -1)]);
    let wrong = Sqe { ioprio: 1, ..nop(2, link, 0) };
    equal!(run(&mut ring, &[nop(1, link, 1), wrong, nop(3, 0, 3)])?, [(1, CANCELLED), (2, EINVAL), (3, CANCELLED)]);
    Ok(())
}

fn wrong_entries() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let plain = nop(9, 0, 0);
    let wrong = [
        Sqe { opcode: 255, ..plain },
        Sqe { flags: 1 << 7, ..plain },
        Sqe { ioprio: 1, ..plain },
        Sqe { op_flags: 1 << 31, ..plain },
        Sqe { personality: 1, ..plain },
    ];
    for entry in wrong {
        // The first that is wrong ends the submission, and is one of it.
        ensure!(ring.push_raw(&entry) && ring.push_raw(&nop(2, 0, 2)));
        equal!(ring.submit(0)?, 1);
        equal!(reap(&mut ring), [(9, EINVAL)]);
        equal!(ring.submit(0)?, 1);
        equal!(reap(&mut ring), [(2, 2)]);
    }
    // A number that no entry has is counted and ends the submission.
    let place = raw::atomic(ring.address(at::SQ_TAIL)).load(Relaxed) & 3;
    ensure!(ring.push_raw(&plain) && ring.push_raw(&nop(2, 0, 2)));
    raw::atomic(ring.number(place)).store(u32::MAX, Relaxed);
    equal!(ring.submit(0)?, 0);
    equal!(raw::atomic(ring.address(at::SQ_DROPPED)).load(Relaxed), 1);
    equal!(ring.submit(0)?, 1);
    equal!(reap(&mut ring), [(2, 2)]);
    Ok(())
}

fn setup(entries: u32, params: &mut Params) -> Result<usize, Errno> {
    call!(IO_URING_SETUP, entries, core::ptr::from_mut(params))
}

fn setup_is_checked() -> Outcome {
    let wrong = [
        (0, Params::default()),
        (32_769, Params::default()),
        (4, Params { resv: [0, 1, 0], ..Params::default() }),
        (4, Params { flags: 1 << 30, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_CQSIZE, cq_entries: 2, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_DEFER_TASKRUN, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_REGISTERED_FD_ONLY, ..Params::default() }),
    ];
    for (entries, mut params) in wrong {
        fails!(setup(entries, &mut params), EINVAL);
    }
    fails!(call!(IO_URING_SETUP, 4, 8), EFAULT);
    let mut params = Params { flags: IORING_SETUP_CLAMP, ..Params::default() };
    let fd = setup(100_000, &mut params)?;
    equal!((params.sq_entries, params.cq_entries), (32_768, 65_536));
    equal!(call!(FCNTL, fd, rt::abi::fs::F_GETFD)?, 1);
    let mut byte = 0u8;
    fails!(call!(READ, fd, &raw mut byte, 1), EINVAL);
    drop(raw::file(fd));
    let (read, _write) = rt::pipe::pipe()?;
    fails!(call!(IO_URING_ENTER, read.fd().raw(), 1, 0, 0, 0, 0), EOPNOTSUPP);
    fails!(call!(IO_URING_ENTER, 200, 1, 0, 0, 0, 0), EBADF);
    fails!(call!(IO_URING_ENTER, 200, 1, 0, 1 << 20, 0, 0), EINVAL);
    Ok(())
}

fn probe() -> Outcome {
    let ring = Ring::new(1, 0)?;
    let mut found = [0u64; 2 + 64];
    let fd = ring.fd().raw();
    call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 64)?;
    ensure!(found[0] & 0xff >= 57, "the last operation");
    // Each that it claims to have is not refused as unknown, and the others are.
    ensure!(found[2] >> 16 & 1 == 1, "nothing is not there");
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 64), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, 8, 64), EFAULT);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 257), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, 12345, 0, 0), EINVAL);
    Ok(())
}

fn wait_has_a_limit() -> Outcome {
    let ring = Ring::new(1, 0)?;
    let span = millis(20);
    let argument = GetEvents { ts: core::ptr::from_ref(&span) as u64, ..GetEvents::default() };
    let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    let start = rt::time::Instant::now();
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 24), ETIME);
    ensure!(start.elapsed() >= core::time::Duration::from_millis(20), "too early");
    // No time is wrong: one that is over ends the wait at once.
    for (sec, nsec) in [(-1, 0), (0, -1), (i64::MIN, i64::MIN), (-3, 2_000_000_000)] {
        let span = Timespec { sec, nsec };
        let argument = GetEvents { ts: core::ptr::from_ref(&span) as u64, ..GetEvents::default() };
        fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 24), ETIME);
    }
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 23), EINVAL);
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, 8, 24), EFAULT);
    Ok(())
}

fn all_who_wait_are_woken() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let fd = ring.fd().raw();
    for count in 1..=3u32 {
        let children: Vec<i32> = (0..20)
            .map(|_| {
                checked_child(|| {
                    equal!(call!(IO_URING_ENTER, fd, 0, count, IORING_ENTER_GETEVENTS, 0, 0)?, 0);
                    Ok(())
                })
            })
            .collect::<Result<_, _>>()?;
        children.iter().try_for_each(|&pid| await_blocked(pid))?;
        let entries: Vec<Sqe> = (0..u64::from(count)).map(|number| nop(number, 0, 0)).collect();
        push(&mut ring, &entries);
        equal!(ring.submit(0)?, count as usize);
        children.into_iter().try_for_each(|pid| exits(pid, 0))?;
        equal!(reap(&mut ring).len(), count as usize);
    }
    Ok(())
}

fn is_polled() -> Outcome {
    let mut ring = Ring::new(2, 0)?;
    let poll = |ring: &Ring| {
        let mut fds = [PollFd { fd: ring.fd().raw(), events: POLLIN | POLLOUT, revents: 0 }];
        let zero = millis(0);
        call!(PPOLL, fds.as_mut_ptr(), 1, &raw const zero, 0, 0).map(|_| fds[0].revents)
    };
    equal!(poll(&ring)?, POLLOUT);
    ensure!(ring.push_raw(&nop(1, 0, 0)) && ring.push_raw(&nop(2, 0, 0)));
    equal!(ring.submit(0)?, 2);
    equal!(poll(&ring)?, POLLIN | POLLOUT);
    equal!(reap(&mut ring).len(), 2);
    equal!(poll(&ring)?, POLLOUT);
    Ok(())
}

fn nothing_is_lost() -> Outcome {
    const COUNT: u64 = 60_000;
    let mut ring = Ring::new(256, 0)?;
    for first in (0..COUNT).step_by(250) {
        let entries: Vec<Sqe> = (0..250).map(|number| nop(first + number, 0, 0)).collect();
        push(&mut ring, &entries);
        equal!(ring.submit(0)?, 250);
    }
    reap_in_order(&mut ring, COUNT)?;
    equal!(raw::atomic(ring.address(at::CQ_OVERFLOW)).load(Relaxed), 0);
    Ok(())
}

pub(crate) fn transfer(opcode: u8, fd: i32, bytes: &mut [u8], off: u64) -> Sqe {
    let (addr, len) = (bytes.as_mut_ptr() as u64, bytes.len() as u32);
    Sqe { opcode, fd, addr, len, off, user_data: 7, ..Sqe::default() }
}

/// Submits, and waits for so many completions: again, where a time that is told ends the wait for more.
fn wait(ring: &mut Ring, count: u32) -> Result<Vec<(u64, i32)>, Trouble> {
    let mut found = Vec::new();
    loop {
        ring.submit(count - found.len() as u32)?;
        found.append(&mut reap(ring));
        if found.len() >= count as usize {
            return Ok(found);
        }
    }
}

/// The same, of completions in any order.
fn wait_sorted(ring: &mut Ring, count: u32) -> Result<Vec<(u64, i32)>, Trouble> {
    let mut found = wait(ring, count)?;
    found.sort_unstable();
    Ok(found)
}

fn cancel_of(user_data: u64, flags: u32) -> Sqe {
    Sqe { opcode: IORING_OP_ASYNC_CANCEL, addr: user_data, op_flags: flags, user_data: 99, ..Sqe::default() }
}
