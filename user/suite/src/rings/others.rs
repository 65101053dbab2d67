//! Registered files, counters that are told, messages between rings, connections one after the other.

use super::calls::{call_of, one};
use super::*;
use crate::sockets;
use rt::abi::poll::POLLERR;
use rt::fs::File;
use rt::net::TcpStream;
use rt::time::Duration;

pub const CASES: &[Case] = &[
    case!("ring/registered-files", "C4 D3", registered_files),
    case!("ring/registered-files-change", "C4 D3", registered_files_change),
    case!("ring/wrong-files", "C4 E1", wrong_files),
    case!("ring/counter-is-told", "C4 I1", counter_is_told),
    case!("ring/messages-between-rings", "C4 D3 D4", messages_between_rings),
    case!("ring/wrong-messages", "C4 E1", wrong_messages),
    case!("ring/accepts-again-and-again", "C4 D17", accepts_again_and_again),
];

pub fn register(ring: &Ring, what: u32, fds: &[i32]) -> Result<usize, Errno> {
    let addr = if fds.is_empty() { 0 } else { fds.as_ptr() as usize };
    call!(IO_URING_REGISTER, ring.fd().raw(), what, addr, fds.len())
}

pub fn change(ring: &Ring, offset: u32, fds: &[i32]) -> Result<usize, Errno> {
    let update = FilesUpdate { offset, resv: 0, fds: fds.as_ptr() as u64 };
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_FILES_UPDATE, &raw const update, fds.len())
}

pub fn fixed(entry: Sqe) -> Sqe {
    Sqe { flags: entry.flags | IOSQE_FIXED_FILE, ..entry }
}

fn registered_files() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    equal!(register(&ring, IORING_REGISTER_FILES, &[-1, read.fd().raw(), write.fd().raw()])?, 0);
    let mut moves = |opcode, place| fixed(transfer(opcode, place, &mut byte, 0));
    let (reads, writes, none, beyond) =
        (moves(IORING_OP_READ, 1), moves(IORING_OP_WRITE, 2), moves(IORING_OP_READ, 0), moves(IORING_OP_READ, 3));
    equal!(one(&mut ring, writes)?, 1);
    equal!(one(&mut ring, reads)?, 1);
    for entry in [none, beyond, Sqe { fd: -1, ..none }, Sqe { fd: i32::MAX, ..none }] {
        equal!(one(&mut ring, entry)?, -9);
    }
    // One that waits is found by its place, not by the number of a descriptor.
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    let by = |flags| Sqe { fd: 1, ..cancel_of(0, IORING_ASYNC_CANCEL_FD | flags) };
    equal!(run(&mut ring, &[by(0)])?, [(99, -2)]);
    push(&mut ring, &[by(IORING_ASYNC_CANCEL_FD_FIXED)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    // They stay when their numbers go, and go when the table does.
    push(&mut ring, &[reads, fixed(Sqe { op_flags: POLLIN.into(), user_data: 8, ..call_of(IORING_OP_POLL_ADD, 1) })]);
    equal!(ring.submit(0)?, 2);
    drop(read);
    io::Write::write_all(&mut write, b"xy")?;
    equal!(wait_sorted(&mut ring, 2)?, [(7, 1), (8, POLLIN.into())]);
    equal!(register(&ring, IORING_UNREGISTER_FILES, &[])?, 0);
    equal!(one(&mut ring, reads)?, -9);
    nobody_reads(&mut ring, &write)
}

/// No file that reads this pipe is left, once those go that let go of theirs behind their completion.
pub fn nobody_reads(ring: &mut Ring, write: &File) -> Outcome {
    let polls = Sqe { op_flags: POLLOUT.into(), ..call_of(IORING_OP_POLL_ADD, write.fd().raw()) };
    while one(ring, polls)? as u16 != POLLOUT | POLLERR {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn registered_files_change() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let fd = read.fd().raw();
    equal!(register(&ring, IORING_REGISTER_FILES, &[-1; 200])?, 0);
    equal!(change(&ring, 100, &[fd, -2, fd])?, 3);
    equal!(change(&ring, 199, &[fd])?, 1);
    fails!(change(&ring, 199, &[fd, fd]), EINVAL);
    fails!(change(&ring, u32::MAX, &[fd]), EINVAL);
    fails!(change(&ring, 0, &[200]), EBADF);
    // As far as it goes.
    equal!(change(&ring, 0, &[fd, 200, fd])?, 1);
    let mut byte = [0u8];
    for (place, expected) in [(0, 1), (1, -9), (2, -9), (100, 1), (101, -9), (102, 1), (199, 1)] {
        io::Write::write_all(&mut write, b"x")?;
        equal!(one(&mut ring, fixed(transfer(IORING_OP_READ, place, &mut byte, 0)))?, expected);
    }
    let close = |index| Sqe { file_index: index, ..call_of(IORING_OP_CLOSE, 0) };
    for (index, expected) in [(1, 0), (1, -9), (201, EINVAL), (101, 0)] {
        equal!(one(&mut ring, close(index))?, expected);
    }
    equal!(one(&mut ring, fixed(transfer(IORING_OP_READ, 100, &mut byte, 0)))?, -9);
    Ok(())
}

fn wrong_files() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, write) = rt::pipe::pipe()?;
    let fd = read.fd().raw();
    fails!(register(&ring, IORING_UNREGISTER_FILES, &[]), ENXIO);
    fails!(change(&ring, 0, &[fd]), ENXIO);
    fails!(register(&ring, IORING_REGISTER_FILES, &[fd, 200]), EBADF);
    fails!(register(&ring, IORING_REGISTER_FILES, &[fd, -2]), EBADF);
    fails!(register(&ring, IORING_REGISTER_FILES, &[ring.fd().raw()]), EBADF);
    let of = |addr: usize, count: usize| call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_FILES, addr, count);
    fails!(of(8, 1), EFAULT);
    fails!(of(8, 0), EINVAL);
    fails!(of(8, 1 << 30), EMFILE);
    equal!(register(&ring, IORING_REGISTER_FILES, &[fd])?, 0);
    fails!(register(&ring, IORING_REGISTER_FILES, &[fd]), EBUSY);
    // None of those that failed holds what it had found.
    equal!(register(&ring, IORING_UNREGISTER_FILES, &[])?, 0);
    equal!(one(&mut ring, Sqe { file_index: 1, ..call_of(IORING_OP_CLOSE, 0) })?, -6);
    drop(read);
    nobody_reads(&mut ring, &write)
}

fn counter() -> Result<File, Errno> {
    Ok(raw::file(call!(EVENTFD2, 0, 0x800)?))
}

fn count(event: &File) -> u64 {
    let mut value = 0u64;
    call!(READ, event.fd().raw(), &raw mut value, 8).map_or(0, |_| value)
}

fn counter_is_told() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (event, (read, mut write)) = (counter()?, rt::pipe::pipe()?);
    let fd = event.fd().raw();
    fails!(register(&ring, IORING_UNREGISTER_EVENTFD, &[]), ENXIO);
    fails!(register(&ring, IORING_REGISTER_EVENTFD, &[200]), EBADF);
    fails!(register(&ring, IORING_REGISTER_EVENTFD, &[read.fd().raw()]), EINVAL);
    fails!(register(&ring, IORING_REGISTER_EVENTFD, &[fd, fd]), EINVAL);
    equal!(register(&ring, IORING_REGISTER_EVENTFD, &[fd])?, 0);
    fails!(register(&ring, IORING_REGISTER_EVENTFD_ASYNC, &[fd]), EBUSY);
    let mut byte = [0u8];
    let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    equal!(count(&event), 0);
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    ensure!(count(&event) > 0, "not told");
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    equal!(count(&event), 0);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 1)?, [(7, 1)]);
    await_count(&event)?;
    // Not as long as the program does not want it.
    let flags = raw::atomic(ring.address(at::CQ_FLAGS));
    flags.store(IORING_CQ_EVENTFD_DISABLED, Relaxed);
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    equal!(count(&event), 0);
    flags.store(0, Relaxed);
    equal!(register(&ring, IORING_UNREGISTER_EVENTFD, &[])?, 0);
    // Of what comes later only.
    equal!(register(&ring, IORING_REGISTER_EVENTFD_ASYNC, &[fd])?, 0);
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    equal!(count(&event), 0);
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 1)?, [(7, 1)]);
    await_count(&event)
}

/// It is told after the completion is there.
fn await_count(event: &File) -> Outcome {
    for _ in 0..20_000 {
        if count(event) > 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(Trouble::failed("not told"))
}

pub fn message(to: &Ring, user_data: u64, len: u32) -> Sqe {
    Sqe { off: user_data, len, ..call_of(IORING_OP_MSG_RING, to.fd().raw()) }
}

fn messages_between_rings() -> Outcome {
    let (mut here, mut there) = (Ring::new(8, 0)?, Ring::new(8, 0)?);
    equal!(run(&mut here, &[message(&there, 5, 55)])?, [(7, 0)]);
    let cqe = there.pop().ok_or(Trouble::failed("nothing has come"))?;
    equal!((cqe.user_data, cqe.res, cqe.flags), (5, 55, 0));
    let passes = Sqe { op_flags: IORING_MSG_RING_FLAGS_PASS, file_index: 77, ..message(&there, 6, 66) };
    equal!(run(&mut here, &[passes])?, [(7, 0)]);
    let cqe = there.pop().ok_or(Trouble::failed("nothing has come"))?;
    equal!((cqe.user_data, cqe.res, cqe.flags), (6, 66, 77));
    // To itself; to who waits; to who does not take them, of which none is lost.
    let own = message(&here, 9, 99);
    let mut found = run(&mut here, &[own])?;
    found.sort_unstable();
    equal!(found, [(7, 0), (9, 99)]);
    let fd = there.fd().raw();
    let pid = checked_child(|| {
        equal!(call!(IO_URING_ENTER, fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?, 0);
        Ok(())
    })?;
    await_blocked(pid)?;
    equal!(run(&mut here, &[message(&there, 0, 0)])?, [(7, 0)]);
    exits(pid, 0)?;
    for number in 1..200 {
        equal!(run(&mut here, &[message(&there, number, 0)])?, [(7, 0)]);
    }
    let mut next = 0;
    while next < 200 {
        let some = reap(&mut there);
        ensure!(!some.is_empty(), "{next} of 200");
        for (user_data, _) in some {
            equal!(user_data, next);
            next += 1;
        }
        there.flush()?;
    }
    Ok(())
}

fn wrong_messages() -> Outcome {
    let (mut ring, other) = (Ring::new(8, 0)?, Ring::new(8, IORING_SETUP_R_DISABLED)?);
    let (read, _write) = rt::pipe::pipe()?;
    let there = Ring::new(8, 0)?;
    let plain = message(&there, 1, 1);
    let wrong = [
        (Sqe { buf_index: 1, ..plain }, EINVAL),
        (Sqe { op_flags: 1 << 5, ..plain }, EINVAL),
        (Sqe { addr: IORING_MSG_SEND_FD, ..plain }, EINVAL),
        (Sqe { addr: 9, ..plain }, EINVAL),
        (Sqe { addr3: 1, ..plain }, EINVAL),
        (Sqe { file_index: 1, ..plain }, EINVAL),
        (Sqe { op_flags: IORING_MSG_RING_CQE_SKIP, ..plain }, EINVAL),
        (Sqe { fd: 200, ..plain }, -9),
        (Sqe { fd: read.fd().raw(), ..plain }, -77),
        (message(&other, 1, 1), -77),
        (fixed(plain), -9),
    ];
    for (entry, errno) in wrong {
        let found = run(&mut ring, &[entry])?;
        ensure!(found == [(7, errno)], "{found:?} of {entry:?}");
    }
    Ok(())
}

fn accepts_again_and_again() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let (listener, address) = sockets::listen()?;
    let connect = || TcpStream::connect(address);
    let accepts = Sqe { ioprio: IORING_ACCEPT_MULTISHOT, ..call_of(IORING_OP_ACCEPT, listener.fd().raw()) };
    // Some are there before it; each is another; the last says that it is.
    let mut clients = alloc::vec![connect()?, connect()?];
    push(&mut ring, &[accepts]);
    equal!(ring.submit(0)?, 1);
    let mut servers = Vec::new();
    for number in 0..10 {
        if number >= 2 {
            clients.push(connect()?);
        }
        let cqe = next(&mut ring)?;
        ensure!(cqe.res > 2 && cqe.flags & !IORING_CQE_F_SOCK_NONEMPTY == IORING_CQE_F_MORE, "{cqe:?}");
        servers.push(raw::file(cqe.res as usize));
    }
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    // There is no more room to tell of them: the last is kept, and the others are for the next.
    push(&mut ring, &[accepts]);
    equal!(ring.submit(0)?, 1);
    for _ in 0..10 {
        clients.push(connect()?);
    }
    while raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_CQ_OVERFLOW == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let mut flags = Vec::new();
    while flags.last() != Some(&0) {
        let cqe = next(&mut ring)?;
        ensure!(cqe.res > 2, "{cqe:?}");
        servers.push(raw::file(cqe.res as usize));
        // Whether more wait is another matter.
        flags.push(cqe.flags & !IORING_CQE_F_SOCK_NONEMPTY);
    }
    equal!(flags.len(), 8 + 1);
    Ok(())
}

fn next(ring: &mut Ring) -> Result<Cqe, Trouble> {
    loop {
        match ring.pop() {
            Some(cqe) => return Ok(cqe),
            None => drop(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?),
        }
    }
}
