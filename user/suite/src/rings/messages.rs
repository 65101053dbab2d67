//! Messages by ring: into and from buffers that are chosen, again and again, and sent "without a copy".

use super::buffers::{piece, register, unregister};
use super::calls::{call_of, one};
use super::provided::{ENOBUFS, ask, buffer, next, pair, provides, removes, selects};
use super::*;
use crate::process::{RW, map};
use rt::abi::fs::Iovec;
use rt::abi::net::{AF_INET, MSG_DONTWAIT, MSG_TRUNC, MSG_WAITALL, Msghdr, SHUT_WR, SOCK_DGRAM, SockaddrIn};
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("ring/chosen-for-lists", "C4 D3", lists),
    case!("ring/chosen-for-messages", "C4 D3", chosen_once),
    case!("ring/receives-messages-again-and-again", "C4 D3", again_and_again),
    case!("ring/sends-chosen-buffers", "C4 D14", sends),
    case!("ring/sends-without-copy", "C4 D3", without_copy),
    case!("ring/wrong-chosen-messages", "C4 E1", wrong),
];

const EAGAIN: i32 = -11;
const EFAULT: i32 = -14;
const EPIPE: i32 = -32;
const ENOTSOCK: i32 = -88;
const EOPNOTSUPP: i32 = -95;
const ADDRESS: usize = size_of::<SockaddrIn>();
/// What is said of a message, and room for its sender's address.
const BEFORE: usize = size_of::<RecvmsgOut>() + ADDRESS;

fn message(pieces: &[Iovec], namelen: i32) -> Msghdr {
    let (iov, iovlen) = (pieces.as_ptr() as u64, pieces.len() as u64);
    Msghdr { name: 0, namelen, pad: 0, iov, iovlen, control: 0, controllen: 0, flags: 0, pad2: 0 }
}

/// With a message in its place.
fn about(message: &mut Msghdr, entry: Sqe) -> Sqe {
    Sqe { addr: core::ptr::from_mut(message) as u64, len: 1, ..entry }
}

/// A datagram socket and its address.
fn datagrams() -> Result<(File, SockaddrIn), Trouble> {
    let file = raw::file(call!(SOCKET, AF_INET, SOCK_DGRAM, 0)?);
    let mut address = SockaddrIn { family: AF_INET as u16, port: [0; 2], addr: [127, 0, 0, 1], zero: [0; 8] };
    call!(BIND, file.fd().raw(), &raw const address, ADDRESS)?;
    let mut len = ADDRESS as u32;
    call!(GETSOCKNAME, file.fd().raw(), &raw mut address, &raw mut len)?;
    Ok((file, address))
}

fn send_to(from: &File, to: &SockaddrIn, bytes: &[u8]) -> Result<usize, Errno> {
    call!(SENDTO, from.fd().raw(), bytes.as_ptr(), bytes.len(), 0, core::ptr::from_ref(to), ADDRESS)
}

fn lists() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut memory = [0u8; 64];
    equal!(one(&mut ring, provides(memory.as_mut_ptr() as usize, 10, 4, 0))?, 0);
    // Of the piece only the length counts.
    let list = [piece(8, 4)];
    let reads = Sqe { addr: list.as_ptr() as u64, len: 1, ..selects(IORING_OP_READV, read.fd().raw()) };
    io::Write::write_all(&mut write, b"abcdefgh")?;
    equal!(ask(&mut ring, reads)?, (7, 4, buffer(0)));
    equal!(memory[..5], *b"abcd\0");
    push(&mut ring, &[reads, reads]);
    equal!(ring.submit(0)?, 2);
    equal!(next(&mut ring)?, (7, 4, buffer(1)));
    ensure!(ring.pop().is_none(), "there is nothing yet");
    io::Write::write_all(&mut write, b"xy")?;
    equal!(next(&mut ring)?, (7, 2, buffer(2)));
    equal!(memory[10..22], *b"efgh\0\0\0\0\0\0xy");
    for wrong in [Sqe { len: 2, ..reads }, Sqe { len: 0, ..reads }, Sqe { ioprio: 1, ..reads }] {
        equal!(ask(&mut ring, wrong)?, (7, EINVAL, 0));
    }
    equal!(ask(&mut ring, Sqe { addr: 8, ..reads })?, (7, EFAULT, 0));
    equal!(one(&mut ring, removes(9))?, 1);
    Ok(())
}

fn chosen_once() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (near, here) = datagrams()?;
    let (far, there) = datagrams()?;
    let mut memory = [0u8; 64];
    equal!(one(&mut ring, provides(memory.as_mut_ptr() as usize, 8, 4, 0))?, 0);
    let mut from = SockaddrIn { family: 0, port: [0; 2], addr: [0; 4], zero: [9; 8] };
    let list = [piece(8, 5)];
    let mut into = Msghdr { name: &raw mut from as u64, flags: 77, ..message(&list, ADDRESS as i32) };
    let fd = near.fd().raw();
    // What is said of it comes where `recvmsg` puts it.
    push(&mut ring, &[about(&mut into, selects(IORING_OP_RECVMSG, fd))]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "there is nothing yet");
    equal!(send_to(&far, &here, b"1234567")?, 7);
    equal!(next(&mut ring)?, (7, 5, buffer(0)));
    equal!(memory[..8], *b"12345\0\0\0");
    equal!((into.flags, into.namelen as usize), (MSG_TRUNC, ADDRESS));
    equal!((from.family, from.port, from.addr), (there.family, there.port, there.addr));
    // Without a piece: as much as fits.
    let mut any = message(&[], 0);
    equal!(send_to(&far, &here, b"123456789")?, 9);
    equal!(ask(&mut ring, about(&mut any, selects(IORING_OP_RECVMSG, fd)))?, (7, 8, buffer(1)));
    // Nothing is there, and it is not to wait: no buffer is used.
    let at_once = Sqe { op_flags: MSG_DONTWAIT, ..about(&mut any, selects(IORING_OP_RECVMSG, fd)) };
    equal!(ask(&mut ring, at_once)?, (7, EAGAIN, 0));
    equal!(ask(&mut ring, Sqe { op_flags: MSG_DONTWAIT, ..selects(IORING_OP_RECV, fd) })?, (7, EAGAIN, 0));
    let two = [piece(8, 5), piece(8, 5)];
    let mut wrong = message(&two, 0);
    equal!(ask(&mut ring, about(&mut wrong, selects(IORING_OP_RECVMSG, fd)))?, (7, EINVAL, 0));
    equal!(one(&mut ring, removes(9))?, 2);
    Ok(())
}

/// What lies in a buffer: what is said, and whose address.
fn said(memory: &[u8]) -> (RecvmsgOut, &[u8]) {
    let word = |at: usize| u32::from_le_bytes(memory[at..at + 4].try_into().unwrap_or_default());
    let out = RecvmsgOut { namelen: word(0), controllen: word(4), payloadlen: word(8), flags: word(12) };
    (out, &memory[size_of::<RecvmsgOut>()..])
}

fn again_and_again() -> Outcome {
    const LONG: usize = BEFORE + 8;
    let mut ring = Ring::new(8, 0)?;
    let (near, here) = datagrams()?;
    let (far, there) = datagrams()?;
    let mut memory = [0u8; 4 * LONG];
    let base = memory.as_mut_ptr() as usize;
    let mut into = message(&[], ADDRESS as i32);
    let receives = Sqe { ioprio: IORING_RECV_MULTISHOT, ..selects(IORING_OP_RECVMSG, near.fd().raw()) };
    push(&mut ring, &[provides(base, LONG, 4, 0), about(&mut into, receives)]);
    equal!(ring.submit(0)?, 2);
    equal!(next(&mut ring)?, (7, 0, 0));
    for (bid, bytes) in [b"one".as_slice(), b"and two", b"and three, which is cut"].into_iter().enumerate() {
        equal!(send_to(&far, &here, bytes)?, bytes.len());
        let len = bytes.len().min(8);
        let flags = IORING_CQE_F_MORE | buffer(bid as u32);
        equal!(next(&mut ring)?, (7, (BEFORE + len) as i32, flags));
        let (out, rest) = said(raw::bytes(base + bid * LONG, LONG));
        let cut = if bytes.len() > len { MSG_TRUNC } else { 0 };
        equal!(out, RecvmsgOut { namelen: ADDRESS as u32, controllen: 0, payloadlen: len as u32, flags: cut });
        equal!((&rest[2..4], &rest[4..8]), (&there.port[..], &there.addr[..]));
        equal!(rest[ADDRESS..][..len], bytes[..len]);
    }
    // One that is empty ends it, with its buffer.
    equal!(send_to(&far, &here, b"")?, 0);
    equal!(next(&mut ring)?, (7, BEFORE as i32, buffer(3)));
    equal!(send_to(&far, &here, b"nobody waits")?, 12);
    equal!(ask(&mut ring, about(&mut into, receives))?, (7, ENOBUFS, 0));
    // One in which there is no room for what is said goes back.
    equal!(one(&mut ring, provides(base, BEFORE - 1, 1, 0))?, 0);
    equal!(ask(&mut ring, about(&mut into, receives))?, (7, EFAULT, 0));
    equal!(one(&mut ring, removes(9))?, 1);
    // The length in the list is for the first only; a stream's end has a buffer, too.
    let (mut a, b) = pair()?;
    let (list, mut short) = ([piece(8, 16 + 2)], message(&[], 0));
    (short.iov, short.iovlen) = (list.as_ptr() as u64, 1);
    equal!(one(&mut ring, provides(base, LONG, 4, 0))?, 0);
    io::Write::write_all(&mut a, b"abcdef")?;
    push(&mut ring, &[about(&mut short, Sqe { fd: b.fd().raw(), ..receives })]);
    equal!(ring.submit(0)?, 1);
    equal!(next(&mut ring)?, (7, 16 + 2, IORING_CQE_F_MORE | buffer(0)));
    equal!(next(&mut ring)?, (7, 16 + 4, IORING_CQE_F_MORE | buffer(1)));
    call!(SHUTDOWN, a.fd().raw(), SHUT_WR)?;
    equal!(next(&mut ring)?, (7, 16, buffer(2)));
    // It is cancelled while it waits.
    push(&mut ring, &[about(&mut into, receives), about(&mut into, receives)]);
    equal!(ring.submit(0)?, 2);
    push(&mut ring, &[cancel_of(0, IORING_ASYNC_CANCEL_ANY)]);
    equal!(ring.submit(0)?, 1);
    let mut ended = 0;
    while ended < 2 {
        match next(&mut ring)? {
            (7, CANCELLED | ENOBUFS, 0) => ended += 1,
            // The one that nobody waited for.
            (7, _, flags) if flags & IORING_CQE_F_MORE != 0 => {}
            (99, 0.., 0) => {}
            other => return Err(Trouble::failed(format_args!("{other:?}"))),
        }
    }
    Ok(())
}

fn sends() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (a, mut b) = pair()?;
    let mut memory = *b"first...second..third...";
    let base = memory.as_mut_ptr() as usize;
    let of = |fd| selects(IORING_OP_SEND, fd);
    let fd = a.fd().raw();
    equal!(ask(&mut ring, of(fd))?, (7, ENOBUFS, 0));
    equal!(one(&mut ring, provides(base, 8, 3, 5))?, 0);
    equal!(ask(&mut ring, Sqe { len: 5, ..of(fd) })?, (7, 5, buffer(5)));
    equal!(ask(&mut ring, Sqe { len: 100, ..of(fd) })?, (7, 8, buffer(6)));
    let mut found = [0u8; 13];
    io::Read::read_exact(&mut b, &mut found)?;
    equal!(found, *b"firstsecond..");
    // One that waits for room has none until there is some.
    let full = [1u8; 4_096];
    let flags = MSG_DONTWAIT;
    let mut filled = 0;
    while let Ok(len) = call!(SENDTO, fd, full.as_ptr(), full.len(), flags, 0, 0) {
        filled += len;
    }
    equal!(ask(&mut ring, Sqe { op_flags: MSG_DONTWAIT, ..of(fd) })?, (7, EAGAIN, 0));
    push(&mut ring, &[of(fd)]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "there is no room");
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    push(&mut ring, &[Sqe { op_flags: MSG_WAITALL, ..of(fd) }]);
    equal!(ring.submit(0)?, 1);
    let mut left = filled + 8;
    let mut all = alloc::vec![0u8; 1 << 16];
    while left > 0 {
        let len = io::Read::read(&mut b, &mut all)?;
        ensure!(len > 0 && len <= left, "{len} of {left}");
        left -= len;
        if left == 0 {
            equal!(all[len - 8..len], *b"third...");
        }
    }
    equal!(next(&mut ring)?, (7, 8, buffer(7)));
    // Nobody reads: no signal, and the buffer stays in its group.
    drop(b);
    equal!(one(&mut ring, provides(base, 8, 1, 1))?, 0);
    push(&mut ring, &[of(fd)]);
    equal!(ring.submit(0)?, 1);
    let (_, result, _) = next(&mut ring)?;
    equal!(result, EPIPE);
    // To an address.
    let (near, here) = datagrams()?;
    let (far, _) = datagrams()?;
    equal!(one(&mut ring, provides(base, 8, 1, 2))?, 0);
    let to = Sqe { off: &raw const here as u64, file_index: ADDRESS as u32, ..of(far.fd().raw()) };
    let (_, result, flags) = ask(&mut ring, to)?;
    equal!((result, flags & IORING_CQE_F_BUFFER), (8, IORING_CQE_F_BUFFER));
    equal!(call!(RECVFROM, near.fd().raw(), all.as_mut_ptr(), 100, 0, 0, 0)?, 8);
    Ok(())
}

/// A result and what tells that the memory is free.
fn both(ring: &mut Ring, entry: Sqe, result: i32, usage: u32) -> Outcome {
    equal!(ask(ring, entry)?, (7, result, IORING_CQE_F_MORE));
    equal!(next(ring)?, (7, usage.cast_signed(), IORING_CQE_F_NOTIF));
    Ok(())
}

fn without_copy() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (a, mut b) = crate::sockets::pair()?;
    let base = map(PAGE, RW)?;
    raw::bytes(base, 16).copy_from_slice(b"0123456789abcdef");
    let fd = a.fd().raw();
    let zero = |addr: usize, len: u32| Sqe { addr: addr as u64, len, ..call_of(IORING_OP_SEND_ZC, fd) };
    both(&mut ring, zero(base, 4), 4, 0)?;
    let report = Sqe { ioprio: IORING_SEND_ZC_REPORT_USAGE, ..zero(base + 4, 4) };
    both(&mut ring, report, 4, IORING_NOTIF_USAGE_ZC_COPIED)?;
    // Of a registered buffer, which goes when it is no longer mapped.
    equal!(register(&ring, &[piece(base, 16)])?, 0);
    let fixed = Sqe { ioprio: IORING_RECVSEND_FIXED_BUF, ..zero(base + 8, 4) };
    both(&mut ring, fixed, 4, 0)?;
    let list = [piece(base + 12, 1), piece(base + 13, 3)];
    let mut out = message(&list, 0);
    both(&mut ring, about(&mut out, call_of(IORING_OP_SENDMSG_ZC, fd)), 4, 0)?;
    let mut found = [0u8; 16];
    io::Read::read_exact(&mut b, &mut found)?;
    equal!(found, *b"0123456789abcdef");
    // Datagrams, from what is pinned even if something else is mapped there.
    let (near, here) = datagrams()?;
    let (far, _) = datagrams()?;
    raw::bytes(base, 4).copy_from_slice(b"kept");
    call!(MMAP, base, PAGE, RW, m::MAP_PRIVATE | m::MAP_ANONYMOUS | m::MAP_FIXED, -1i32, 0)?;
    let to = Sqe {
        fd: far.fd().raw(),
        off: &raw const here as u64,
        file_index: ADDRESS as u32,
        ioprio: IORING_RECVSEND_FIXED_BUF,
        ..zero(base, 4)
    };
    both(&mut ring, to, 4, 0)?;
    equal!(call!(RECVFROM, near.fd().raw(), found.as_mut_ptr(), 16, 0, 0, 0)?, 4);
    equal!(found[..4], *b"kept");
    // What is linked behind it runs when it has ended; a ring that is full keeps both.
    push(&mut ring, &[Sqe { flags: IOSQE_IO_LINK, ..zero(base, 4) }, nop(8, 0, 8)]);
    equal!(ring.submit(0)?, 2);
    let mut found: Vec<_> = (0..3).map(|_| next(&mut ring)).collect::<Result<_, _>>()?;
    found.sort_unstable();
    equal!(found, [(7, 0, IORING_CQE_F_NOTIF), (7, 4, IORING_CQE_F_MORE), (8, 8, 0)]);
    for _ in 0..5 {
        push(&mut ring, &[zero(base, 4); 4]);
        equal!(ring.submit(0)?, 4);
    }
    let mut kinds = [0; 2];
    for _ in 0..40 {
        match next(&mut ring)? {
            (7, 4, IORING_CQE_F_MORE) => kinds[0] += 1,
            (7, 0, IORING_CQE_F_NOTIF) => kinds[1] += 1,
            other => return Err(Trouble::failed(format_args!("{other:?}"))),
        }
        ensure!(kinds[1] <= kinds[0], "told before it was sent");
    }
    ensure!(ring.pop().is_none(), "too many");
    equal!((kinds, unregister(&ring)?), ([20, 20], 0));
    call!(MUNMAP, base, PAGE)?;
    Ok(())
}

fn wrong() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (a, _b) = crate::sockets::pair()?;
    let (local, _other) = pair()?;
    let (read, _write) = rt::pipe::pipe()?;
    let mut memory = [0u8; 64];
    equal!(one(&mut ring, provides(memory.as_mut_ptr() as usize, 8, 8, 0))?, 0);
    let fd = a.fd().raw();
    let zero = Sqe { addr: memory.as_ptr() as u64, len: 4, ..call_of(IORING_OP_SEND_ZC, fd) };
    let sends = selects(IORING_OP_SEND, fd);
    let mut into = message(&[], -1);
    let mut named = Msghdr { name: memory.as_ptr() as u64, ..message(&[], -1) };
    let mut wide = Msghdr { controllen: i32::MAX as u64, ..message(&[], 1) };
    let mut many = Msghdr { iovlen: 1_025, ..message(&[], 0) };
    let receives = selects(IORING_OP_RECVMSG, local.fd().raw());
    let again = Sqe { ioprio: IORING_RECV_MULTISHOT, ..receives };
    let entries = [
        (Sqe { flags: IOSQE_CQE_SKIP_SUCCESS, ..zero }, EINVAL),
        (Sqe { addr3: 1, ..zero }, EINVAL),
        (Sqe { pad: 1, ..zero }, EINVAL),
        (Sqe { ioprio: IORING_RECV_MULTISHOT, ..zero }, EINVAL),
        (Sqe { file_index: 1 << 16, ..zero }, EINVAL),
        (Sqe { ioprio: IORING_RECVSEND_FIXED_BUF, ..zero }, EFAULT),
        (Sqe { opcode: IORING_OP_SENDMSG_ZC, ioprio: IORING_RECVSEND_FIXED_BUF, ..zero }, EINVAL),
        (Sqe { opcode: IORING_OP_SENDMSG_ZC, off: 1, ..zero }, EINVAL),
        (Sqe { addr: 8, ..zero }, EFAULT),
        (Sqe { fd: local.fd().raw(), ..zero }, EOPNOTSUPP),
        (Sqe { fd: read.fd().raw(), ..zero }, ENOTSOCK),
        (Sqe { fd: 200, ..zero }, -9),
        (selects(IORING_OP_SEND_ZC, fd), EOPNOTSUPP),
        (selects(IORING_OP_SENDMSG, fd), EOPNOTSUPP),
        (Sqe { ioprio: IORING_RECV_MULTISHOT, ..sends }, EINVAL),
        (Sqe { file_index: 1 << 16, ..sends }, EINVAL),
        (Sqe { fd: read.fd().raw(), ..sends }, ENOTSOCK),
        (about(&mut into, again), -75),
        (about(&mut named, receives), EINVAL),
        (about(&mut wide, again), -75),
        (about(&mut many, receives), -90),
        (Sqe { addr: 8, ..receives }, EFAULT),
        (Sqe { op_flags: MSG_WAITALL, ..about(&mut into, again) }, EINVAL),
        (Sqe { flags: 0, buf_index: 0, ..about(&mut into, again) }, EINVAL),
        (Sqe { off: 1, ..about(&mut into, receives) }, EINVAL),
    ];
    for (entry, errno) in entries {
        let found = ask(&mut ring, entry)?;
        ensure!(found == (7, errno, 0), "{found:?} of {entry:?}");
    }
    equal!(one(&mut ring, removes(9))?, 8);
    Ok(())
}
