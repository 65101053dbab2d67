//! Descriptors that are sent and received by ring.

use super::calls::one;
use super::provided::{ask, buffer, next, provides, selects};
use super::*;
use crate::sockets::rights::{Control, HEADER, NUMBER, connected, is_over, message, pair, pipe, receive_one, send};
use rt::abi::fs::{F_GETFD, FD_CLOEXEC, Iovec};
use rt::abi::net::{MSG_CMSG_CLOEXEC, MSG_CTRUNC, Msghdr, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};

pub const CASES: &[Case] = &[
    case!("ring/sends-rights", "C4 D17", sends),
    case!("ring/receives-rights", "C4 D17", receives),
    case!("ring/receives-rights-again-and-again", "C4 D17", again_and_again),
    case!("ring/rights-of-requests-that-end", "C4 D14 D17", cancelled),
];

fn about(opcode: u8, fd: i32, message: *const Msghdr) -> Sqe {
    Sqe { opcode, fd, addr: message as u64, len: 1, user_data: 7, ..Sqe::default() }
}

fn sends() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        let (mut read, write) = pipe()?;
        let control = Control::of(&[write.fd().raw()]);
        let piece = Iovec { base: b"x".as_ptr() as u64, len: 1 };
        let out = message(&piece, &control, HEADER + NUMBER);
        equal!(one(&mut ring, about(IORING_OP_SENDMSG, near.fd().raw(), &raw const out))?, 1);
        drop(write);
        let mut write = receive_one(&far)?;
        connected(&mut read, &mut write, b"by ring")?;
        let control = Control::of(&[write.fd().raw(), -1]);
        let out = message(&piece, &control, HEADER + 2 * NUMBER);
        equal!(one(&mut ring, about(IORING_OP_SENDMSG, near.fd().raw(), &raw const out))?, -9);
        drop(write);
        is_over(&mut read)?;
    }
    Ok(())
}

fn receives() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        for (late, flag) in [(false, 0), (true, MSG_CMSG_CLOEXEC)] {
            let (mut read, write) = pipe()?;
            let (mut bytes, control) = ([0u8; 4], Control::room(1));
            let piece = Iovec { base: bytes.as_mut_ptr() as u64, len: 4 };
            let mut into = message(&piece, &control, HEADER + NUMBER);
            let entry = Sqe { op_flags: flag, ..about(IORING_OP_RECVMSG, far.fd().raw(), &raw mut into) };
            if !late {
                send(&near, b"abc", &[write.fd().raw()])?;
            }
            push(&mut ring, &[entry]);
            equal!(ring.submit(0)?, 1);
            if late {
                ensure!(ring.pop().is_none(), "there is nothing yet");
                send(&near, b"abc", &[write.fd().raw(); 2])?;
            }
            drop(write);
            equal!(next(&mut ring)?, (7, 3, 0));
            equal!((bytes, into.flags), (*b"abc\0", flag | if late { MSG_CTRUNC } else { 0 }));
            let mut files = control.files();
            equal!((files.len(), into.controllen as usize), (1, HEADER + NUMBER));
            let marked = call!(FCNTL, files[0].fd().raw(), F_GETFD)?;
            equal!(marked, if late { FD_CLOEXEC as usize } else { 0 });
            connected(&mut read, &mut files[0], b"by ring")?;
            drop(files);
            is_over(&mut read)?;
        }
    }
    Ok(())
}

/// Into chosen buffers: the control message lies before the bytes.
fn again_and_again() -> Outcome {
    const ROOM: usize = HEADER + 8;
    const BEFORE: usize = size_of::<RecvmsgOut>() + ROOM;
    const LONG: usize = BEFORE + 8;
    let mut ring = Ring::new(8, 0)?;
    let (near, far) = pair(SOCK_DGRAM)?;
    let mut memory = [0u64; 4 * LONG / 8];
    let base = memory.as_mut_ptr() as usize;
    let none = Iovec { base: 0, len: 0 };
    let into = Msghdr { iovlen: 0, ..message(&none, &Control::room(0), ROOM) };
    let entry = Sqe { addr: &raw const into as u64, len: 1, ..selects(IORING_OP_RECVMSG, far.fd().raw()) };
    let receives = Sqe { ioprio: IORING_RECV_MULTISHOT, ..entry };
    push(&mut ring, &[provides(base, LONG, 4, 0), receives]);
    equal!(ring.submit(0)?, 2);
    equal!(next(&mut ring)?, (7, 0, 0));
    for (bid, count) in [0usize, 1, 2, 3].into_iter().enumerate() {
        let (mut read, write) = pipe()?;
        let fds = [write.fd().raw(); 3];
        send(&near, b"bytes", &fds[..count])?;
        drop(write);
        equal!(next(&mut ring)?, (7, (BEFORE + 5) as i32, IORING_CQE_F_MORE | buffer(bid as u32)));
        let found = raw::bytes(base + bid * LONG, LONG).to_vec();
        let word = |at: usize| u32::from_le_bytes(found[at..at + 4].try_into().unwrap_or_default());
        let fits = count.min(2);
        let used = if fits == 0 { 0 } else { ROOM };
        let cut = if count > fits { MSG_CTRUNC } else { 0 };
        equal!([word(0), word(4), word(8), word(12)], [0, used as u32, 5, cut]);
        equal!(found[BEFORE..BEFORE + 5], *b"bytes");
        for place in 0..fits {
            let fd = word(size_of::<RecvmsgOut>() + HEADER + place * NUMBER);
            rt::io::Write::write_all(&mut raw::file(fd as usize), b"w")?;
        }
        let mut all = [0; 4];
        equal!(rt::io::Read::read(&mut read, &mut all)?, fits);
        is_over(&mut read)?;
    }
    // No buffer is left.
    send(&near, b"more", &[0])?;
    let (user_data, result, flags) = next(&mut ring)?;
    equal!((user_data, result, flags), (7, -105, 0));
    equal!(ask(&mut ring, Sqe { addr: 8, ..entry })?.1, -14);
    Ok(())
}

/// A request that waits for room is cancelled, or its ring goes: what it was to send is closed.
fn cancelled() -> Outcome {
    for by_end in [false, true] {
        let mut ring = Ring::new(8, 0)?;
        let (near, far) = pair(SOCK_SEQPACKET)?;
        let full = [0u8; 4096];
        while call!(SENDTO, near.fd().raw(), full.as_ptr(), full.len(), rt::abi::net::MSG_DONTWAIT, 0, 0).is_ok() {}
        let (mut read, write) = pipe()?;
        let control = Control::of(&[write.fd().raw()]);
        let piece = Iovec { base: full.as_ptr() as u64, len: full.len() as u64 };
        let out = message(&piece, &control, HEADER + NUMBER);
        push(&mut ring, &[about(IORING_OP_SENDMSG, near.fd().raw(), &raw const out)]);
        equal!(ring.submit(0)?, 1);
        ensure!(ring.pop().is_none(), "there is no room");
        drop(write);
        if by_end {
            drop(ring);
        } else {
            push(&mut ring, &[cancel_of(7, 0)]);
            equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
        }
        is_over(&mut read)?;
        drop((near, far));
    }
    Ok(())
}
