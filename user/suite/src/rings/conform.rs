//! What programs that were written for Linux's rings count on.

use super::calls::{call_of, one};
use super::*;
use crate::files::direct;
use crate::process::{RW, map};
use crate::sockets;
use alloc::vec;
use core::hint::black_box;
use rt::abi::fs::{Iovec, O_CREAT, O_RDWR, SYNC_FILE_RANGE_ALL, SYNC_FILE_RANGE_WRITE};
use rt::abi::net::{
    IPPROTO_TCP, MSG_DONTWAIT, MSG_WAITALL, SO_KEEPALIVE, SO_TYPE, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY,
};
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLIN, EpollEvent};
use rt::abi::process::{P_PID, WEXITED};
use rt::net::TcpStream;

const EOPNOTSUPP: i32 = -95;

pub const CASES: &[Case] = &[
    case!("ring/lists-are-read-at-once", "C4 D3", lists_are_read_at_once),
    case!("ring/for-devices", "C4 D3", for_devices),
    case!("ring/ranges-of-files-are-written", "C4 D3", ranges_are_written),
    case!("ring/cancelled-before-a-limit-that-is-over", "C4 D3", cancelled_at_once),
    case!("ring/limit-of-a-wait-for-a-child", "C4 D3", limit_of_a_child),
    case!("ring/polls-the-counter-that-tells-of-it", "C4 I1", polls_its_counter),
    case!("ring/polls-the-set-that-it-is-in", "C4 I1", polls_its_set),
    case!("ring/options-of-sockets", "C4 D3", options_of_sockets),
    case!("ring/times-end-waits", "C4 D3", times_end_waits),
    case!("ring/deferred-until-asked", "C4 D3", deferred_until_asked),
    case!("ring/sends-what-there-is-room-for", "C4 D3", sends_what_there_is_room_for),
];

/// The list of pieces is the program's again when its entry is taken, also where there is yet to be something to read.
fn lists_are_read_at_once() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let base = map(PAGE, RW)?;
    let (to, unmeant, from) = (raw::bytes(base, 6), raw::bytes(base + 10, 6), *b"abcdef");
    let piece = |bytes: &[u8]| Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 };
    let listed = |opcode, fd, list: &[Iovec]| {
        let (addr, len) = (list.as_ptr() as u64, list.len() as u32);
        Sqe { addr, len, off: u64::MAX, ..call_of(opcode, fd) }
    };
    let mut list = [piece(&to[..2]), piece(&to[2..])];
    push(&mut ring, &[listed(IORING_OP_READV, read.fd().raw(), &list)]);
    equal!(ring.submit(0)?, 1);
    list = [piece(unmeant), piece(unmeant)];
    black_box(&mut list);
    io::Write::write_all(&mut write, &from)?;
    equal!(wait(&mut ring, 1)?, [(7, 6)]);
    ensure!(*to == from && *unmeant == [0; 6], "{to:?} and {unmeant:?}");
    let mut list = [piece(&from[..4]), piece(&from[4..])];
    push(&mut ring, &[listed(IORING_OP_WRITEV, write.fd().raw(), &list)]);
    equal!(ring.submit(0)?, 1);
    list = [piece(unmeant), piece(&[])];
    black_box(&mut list);
    equal!(wait(&mut ring, 1)?, [(7, 6)]);
    equal!(call!(READ, read.fd().raw(), base + 20, 6)?, 6);
    equal!(*raw::bytes(base + 20, 6), from);
    call!(MUNMAP, base, PAGE)?;
    Ok(())
}

/// A ring whose completions are to be looked for at the device takes what that carries out, and what never waits.
fn for_devices() -> Outcome {
    const PATH: &str = "/root/ring-for-devices";
    for mode in [0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN] {
        let mut ring = Ring::new(8, IORING_SETUP_IOPOLL | mode)?;
        let base = map(PAGE, RW)?;
        raw::bytes(base, PAGE).fill(7);
        let file = direct::open(PATH, O_CREAT | O_RDWR)?;
        let cached = rt::fs::File::open(PATH)?;
        rt::fs::remove_file(PATH)?;
        let moves = |opcode, fd| Sqe { addr: base as u64, len: PAGE as u32, ..call_of(opcode, fd) };
        let fd = file.fd().raw();
        equal!(one(&mut ring, moves(IORING_OP_WRITE, fd))?, PAGE as i32);
        raw::bytes(base, PAGE).fill(0);
        equal!(one(&mut ring, moves(IORING_OP_READ, fd))?, PAGE as i32);
        ensure!(raw::bytes(base, PAGE).iter().all(|byte| *byte == 7), "other bytes");
        equal!(one(&mut ring, moves(IORING_OP_READ, cached.fd().raw()))?, EOPNOTSUPP);
        equal!(one(&mut ring, moves(IORING_OP_READ, 200))?, -9);
        equal!(one(&mut ring, call_of(IORING_OP_NOP, -1))?, 0);
        for opcode in [IORING_OP_TIMEOUT, IORING_OP_FSYNC, IORING_OP_RECV, IORING_OP_POLL_ADD, IORING_OP_CLOSE] {
            equal!(one(&mut ring, call_of(opcode, fd))?, EINVAL);
        }
        // It fails as what was taken, so what is linked behind it does, too.
        let linked = Sqe { flags: IOSQE_IO_LINK, ..moves(IORING_OP_READ, cached.fd().raw()) };
        push(&mut ring, &[linked, nop(8, 0, 0)]);
        equal!(wait_sorted(&mut ring, 2)?, [(7, EOPNOTSUPP), (8, CANCELLED)]);
        call!(MUNMAP, base, PAGE)?;
    }
    Ok(())
}

/// `sync_file_range`, as an entry and as a call.
fn ranges_are_written() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut file = rt::fs::OpenOptions::new().write(true).create(true).open("/root/ring-ranges")?;
    rt::fs::remove_file("/root/ring-ranges")?;
    io::Write::write_all(&mut file, &[1; 100])?;
    let (read, _write) = rt::pipe::pipe()?;
    let syncs = |off: u64, len: u32, op_flags: u32| Sqe { off, len, op_flags, ..call_of(IORING_OP_SYNC_FILE_RANGE, 0) };
    let (fd, pipe) = (file.fd().raw(), read.fd().raw());
    for (entry, fd, expected) in [
        (syncs(0, 100, SYNC_FILE_RANGE_WRITE), fd, 0),
        (syncs(1 << 40, 0, SYNC_FILE_RANGE_ALL), fd, 0),
        (syncs(0, 0, 0), fd, 0),
        (syncs(0, 0, 8), fd, EINVAL),
        (syncs(u64::MAX, 1, 0), fd, EINVAL),
        (syncs(i64::MAX as u64, 1, 0), fd, EINVAL),
        (Sqe { addr: 1, ..syncs(0, 0, 0) }, fd, EINVAL),
        (syncs(0, 1, SYNC_FILE_RANGE_WRITE), pipe, -29),
        (syncs(0, 1, SYNC_FILE_RANGE_WRITE), 200, -9),
    ] {
        let found = one(&mut ring, Sqe { fd, ..entry })?;
        ensure!(found == expected, "{found} of {entry:?}");
    }
    equal!(call!(SYNC_FILE_RANGE, fd, 0, 100, SYNC_FILE_RANGE_WRITE)?, 0);
    fails!(call!(SYNC_FILE_RANGE, fd, 0, usize::MAX, 0), EINVAL);
    fails!(call!(SYNC_FILE_RANGE, pipe, 0, 1, 0), ESPIPE);
    Ok(())
}

/// What can be ended at once is, however short the limit of that is.
fn cancelled_at_once() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, _write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    for _ in 0..20 {
        push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0)]);
        equal!(ring.submit(0)?, 1);
        let timeout = Timespec { sec: 0, nsec: 1 };
        let asked = SyncCancel { addr: 7, fd: -1, flags: 0, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] };
        equal!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1)?, 0);
        equal!(wait(&mut ring, 1)?, [(7, CANCELLED)]);
    }
    Ok(())
}

/// As on Linux it says how many it ended.
fn limit_of_a_child() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let go = Shared::new()?;
    let pid = child(|| {
        go.await_least(0, 1);
        0
    })?;
    let span = millis(5);
    let waits = Sqe { len: P_PID, file_index: WEXITED, flags: IOSQE_IO_LINK, ..call_of(IORING_OP_WAITID, pid) };
    let limit = Sqe { addr: &raw const span as u64, len: 1, user_data: 8, ..call_of(IORING_OP_LINK_TIMEOUT, -1) };
    push(&mut ring, &[waits, limit]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (8, 1)]);
    go.set(0, 1);
    exits(pid, 0)
}

/// A counter that is raised for each completion, one of which tells of it: once, also if it became that counter later.
fn polls_its_counter() -> Outcome {
    for is_polled_first in [false, true] {
        let mut ring = Ring::new(8, 0)?;
        let event = raw::file(call!(EVENTFD2, 0, 0)?);
        let fd = event.fd().raw();
        let ring_fd = ring.fd().raw();
        let register = || call!(IO_URING_REGISTER, ring_fd, IORING_REGISTER_EVENTFD, &raw const fd, 1);
        if !is_polled_first {
            equal!(register()?, 0);
        }
        let polls = Sqe { op_flags: POLLIN.into(), len: IORING_POLL_ADD_MULTI, ..call_of(IORING_OP_POLL_ADD, fd) };
        push(&mut ring, &[polls]);
        equal!(ring.submit(0)?, 1);
        if is_polled_first {
            equal!(register()?, 0);
        }
        tells_once(&mut ring)?;
    }
    Ok(())
}

/// A poll of what a completion changes tells of that completion, and not of its own.
fn tells_once(ring: &mut Ring) -> Outcome {
    push(ring, &[nop(8, 0, 0)]);
    equal!(wait_sorted(ring, 2)?, [(7, 1), (8, 0)]);
    thread::sleep(core::time::Duration::from_millis(5));
    equal!(reap(ring), []);
    Ok(())
}

/// The same, of a set of events that the ring is in.
fn polls_its_set() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let set = raw::file(call!(EPOLL_CREATE1, 0)?);
    let event = EpollEvent { events: EPOLLIN, pad: 0, data: 0 };
    call!(EPOLL_CTL, set.fd().raw(), EPOLL_CTL_ADD, ring.fd().raw(), &raw const event)?;
    let multi = IORING_POLL_ADD_MULTI;
    let polls = Sqe { op_flags: POLLIN.into(), len: multi, ..call_of(IORING_OP_POLL_ADD, set.fd().raw()) };
    push(&mut ring, &[polls]);
    equal!(ring.submit(0)?, 1);
    tells_once(&mut ring)
}

/// `IORING_OP_URING_CMD`, which is about sockets here.
fn options_of_sockets() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (listener, address) = sockets::listen()?;
    let mut client = TcpStream::connect(address)?;
    let server = raw::file(call!(ACCEPT4, listener.fd().raw(), 0, 0, 0)?);
    let fd = server.fd().raw();
    let command = |fd: i32, number: u32| Sqe { off: number.into(), ..call_of(IORING_OP_URING_CMD, fd) };
    let option = |fd: i32, number: u32, level: u32, name: u32, value: &mut i32| Sqe {
        addr: u64::from(level) | u64::from(name) << 32,
        addr3: core::ptr::from_mut(value) as u64,
        file_index: size_of::<i32>() as u32,
        ..command(fd, number)
    };
    let (get, set) = (SOCKET_URING_OP_GETSOCKOPT, SOCKET_URING_OP_SETSOCKOPT);
    let mut value = 0;
    equal!(one(&mut ring, option(fd, get, SOL_SOCKET, SO_TYPE, &mut value))?, 4);
    equal!(black_box(value), SOCK_STREAM as i32);
    let mut on = 1;
    equal!(one(&mut ring, option(fd, set, SOL_SOCKET, SO_KEEPALIVE, &mut on))?, 0);
    equal!(one(&mut ring, option(fd, set, IPPROTO_TCP, TCP_NODELAY, &mut on))?, 0);
    equal!(one(&mut ring, option(fd, get, SOL_SOCKET, SO_KEEPALIVE, &mut value))?, 4);
    ensure!(black_box(value) != 0, "it was not set");
    // As much as there is room for, as the result says.
    equal!(one(&mut ring, Sqe { file_index: 2, ..option(fd, get, SOL_SOCKET, SO_TYPE, &mut value) })?, 2);
    io::Write::write_all(&mut client, b"12345")?;
    let polls = Sqe { op_flags: POLLIN.into(), ..call_of(IORING_OP_POLL_ADD, fd) };
    equal!(one(&mut ring, polls)? as u32 & u32::from(POLLIN), 1);
    equal!(one(&mut ring, command(fd, SOCKET_URING_OP_SIOCINQ))?, 5);
    // What was sent is with one side or the other.
    equal!(one(&mut ring, command(client.fd().raw(), SOCKET_URING_OP_SIOCOUTQ))?, 0);
    let (read, _write) = rt::pipe::pipe()?;
    let wrong = [
        (command(read.fd().raw(), SOCKET_URING_OP_SIOCINQ), EOPNOTSUPP),
        (command(fd, 99), EOPNOTSUPP),
        (command(200, 0), -9),
        (option(fd, get, IPPROTO_TCP, TCP_NODELAY, &mut value), EOPNOTSUPP),
        (Sqe { addr3: 8, ..option(fd, get, SOL_SOCKET, SO_TYPE, &mut value) }, -14),
        (Sqe { file_index: u32::MAX, ..option(fd, get, SOL_SOCKET, SO_TYPE, &mut value) }, EINVAL),
        (Sqe { file_index: 2, ..option(fd, set, SOL_SOCKET, SO_KEEPALIVE, &mut on) }, EINVAL),
        (Sqe { off: 1 << 32, ..command(fd, 0) }, EINVAL),
        (Sqe { op_flags: 2, ..command(fd, 0) }, EINVAL),
    ];
    for (entry, expected) in wrong {
        let found = one(&mut ring, entry)?;
        ensure!(found == expected, "{found} of {entry:?}");
    }
    Ok(())
}

/// Whoever waits for many goes back to the program with few when a time is told, by one that comes once, and by one that comes again and again: who begins to wait behind it hears of the next.
fn times_end_waits() -> Outcome {
    // Room for all that come while this thread is away: without room they end.
    let mut ring = Ring::new(256, 0)?;
    let (span, elapsed) = (millis(5), -Errno::ETIME.number());
    let time = |user_data, op_flags| Sqe {
        addr: &raw const span as u64,
        len: 1,
        user_data,
        op_flags,
        ..call_of(IORING_OP_TIMEOUT, -1)
    };
    push(&mut ring, &[time(4, 0)]);
    ring.submit(8)?;
    equal!(reap(&mut ring), [(4, elapsed)]);
    push(&mut ring, &[time(5, IORING_TIMEOUT_MULTISHOT)]);
    for _ in 0..3 {
        ring.submit(8)?;
        let found = reap(&mut ring);
        ensure!(!found.is_empty() && found.iter().all(|one| *one == (5, elapsed)), "{found:?}");
    }
    Ok(())
}

/// With `DEFER_TASKRUN` what completes behind its submitter's back is told to who is registered for it and to who polls the ring, and shown when the submitter asks.
fn deferred_until_asked() -> Outcome {
    for flag in [0, IORING_SETUP_TASKRUN_FLAG] {
        let mut ring = Ring::new(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | flag)?;
        let (counter, (read, mut write)) = (raw::file(call!(EVENTFD2, 0, 0)?), rt::pipe::pipe()?);
        let event = counter.fd().raw();
        equal!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_EVENTFD, &raw const event, 1)?, 0);
        let (mut bytes, mut told) = ([0u8; 2], 0u64);
        let (fd, addr) = (read.fd().raw(), &raw mut bytes as u64);
        for multishot in [false, true] {
            let reads = Sqe { addr, len: 1, off: u64::MAX, ..call_of(IORING_OP_READ, fd) };
            let polls =
                Sqe { len: IORING_POLL_ADD_MULTI, op_flags: u32::from(POLLIN), ..call_of(IORING_OP_POLL_ADD, fd) };
            push(&mut ring, &[if multishot { polls } else { reads }]);
            equal!(ring.submit(0)?, 1);
            io::Write::write_all(&mut write, b"x")?;
            // It waits until that is told.
            equal!(call!(READ, event, &raw mut told, 8)?, 8);
            let mut poll = PollFd { fd: ring.fd().raw(), events: POLLIN, revents: 0 };
            equal!(call!(PPOLL, &raw mut poll, 1, 0, 0, 0)?, 1);
            equal!((reap(&mut ring), ring.asks_for_a_call()), (Vec::new(), flag != 0));
            // Not by a call that asks for nothing.
            equal!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 0, 0, 0, 0)?, 0);
            equal!(reap(&mut ring), []);
            equal!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 0, IORING_ENTER_GETEVENTS, 0, 0)?, 0);
            equal!(reap(&mut ring), [(7, 1)]);
            ensure!(!ring.asks_for_a_call(), "there is no more");
        }
    }
    Ok(())
}

/// A send that does not wait is done when its call is: all of it, some, or nothing; with `MSG_WAITALL` some is a failure, so it has a completion also where only failures have one.
fn sends_what_there_is_room_for() -> Outcome {
    const MANY: u32 = 1 << 20;
    let mut ring = Ring::new(8, 0)?;
    let bytes = vec![1u8; MANY as usize];
    let sends = |fd, len, flags, op_flags| Sqe {
        addr: bytes.as_ptr() as u64,
        len,
        flags,
        op_flags: MSG_DONTWAIT | op_flags,
        ..call_of(IORING_OP_SEND, fd)
    };
    for op_flags in [0, MSG_WAITALL] {
        let (near, _far) = sockets::pair()?;
        let fd = near.fd().raw();
        equal!(run(&mut ring, &[sends(fd, 8, IOSQE_CQE_SKIP_SUCCESS, op_flags)])?, []);
        equal!(run(&mut ring, &[sends(fd, 8, 0, op_flags)])?, [(7, 8)]);
        // Two, so that neither is alone; the first is cut short, and breaks the chain if it was to send all.
        let cut = run(&mut ring, &[sends(fd, MANY, IOSQE_IO_LINK, op_flags), nop(8, 0, 8)])?;
        let [(7, some), (8, behind)] = cut[..] else { return Err(Trouble::failed(format_args!("{cut:?}"))) };
        ensure!((1..MANY as i32).contains(&some), "{some} bytes");
        equal!(behind, if op_flags == 0 { 8 } else { CANCELLED });
        // Where only failures are told of, some of it is none unless all was wanted; alone, and not.
        for nops in [0, 1] {
            let (near, _far) = sockets::pair()?;
            let mut entries = vec![sends(near.fd().raw(), MANY, IOSQE_CQE_SKIP_SUCCESS, op_flags)];
            entries.extend((0..nops).map(|number| nop(number, 0, 0)));
            let told = run(&mut ring, &entries)?.len() - nops as usize;
            equal!(told, usize::from(op_flags != 0));
        }
        // Memory that is yet to be made is no want of room.
        let (near, mut far) = sockets::pair()?;
        let base = map(2 * PAGE, RW)?;
        raw::bytes(base, PAGE).fill(1);
        let halves = Sqe { addr: base as u64, ..sends(near.fd().raw(), 2 * PAGE as u32, 0, op_flags) };
        push(&mut ring, &[halves]);
        equal!(wait(&mut ring, 1)?, [(7, 2 * PAGE as i32)]);
        let mut came = vec![0; 2 * PAGE];
        io::Read::read_exact(&mut far, &mut came)?;
        ensure!(
            came[..PAGE].iter().all(|byte| *byte == 1) && came[PAGE..].iter().all(|byte| *byte == 0),
            "other bytes"
        );
        call!(MUNMAP, base, 2 * PAGE)?;
        let fills = |ring: &mut Ring| -> Result<i32, Trouble> {
            loop {
                match run(ring, &[sends(fd, MANY, 0, op_flags)])?[..] {
                    [(7, -11)] => return Ok(-11),
                    [(7, 1..)] => {}
                    ref found => return Err(Trouble::failed(format_args!("{found:?}"))),
                }
            }
        };
        equal!(fills(&mut ring)?, -11);
        equal!(run(&mut ring, &[sends(fd, 8, IOSQE_CQE_SKIP_SUCCESS, op_flags), nop(8, 0, 8)])?, [(7, -11), (8, 8)]);
    }
    Ok(())
}
