//! Sockets by ring: a connection from its beginning to its end, requests that wait, and what is wrong.

use super::calls::{call_of, one};
use super::*;
use crate::sockets::listen;
use rt::abi::fs::Iovec;
use rt::abi::net::{
    AF_INET, AF_UNIX, MSG_DONTWAIT, MSG_WAITALL, Msghdr, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SockaddrIn,
};
use rt::fs::File;
use rt::net::TcpStream;

pub const CASES: &[Case] = &[
    case!("ring/connection", "C4 C5 D17", connection),
    case!("ring/receives-what-comes-later", "C4 D2", receives_what_comes_later),
    case!("ring/socket-requests-are-cancelled", "C4 D14", socket_requests_are_cancelled),
    case!("ring/messages", "C4 C5", messages),
    case!("ring/wrong-socket-requests", "C4 E1", wrong_socket_requests),
    case!("ring/waits-first", "C4 D3", waits_first),
    case!("ring/says-that-there-is-more", "C4 D3", says_more),
];

fn pair(kind: u32) -> Result<(File, File), Errno> {
    let mut fds = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, kind, 0, fds.as_mut_ptr())?;
    Ok((raw::file(fds[0] as usize), raw::file(fds[1] as usize)))
}

fn moves(opcode: u8, fd: i32, bytes: &mut [u8]) -> Sqe {
    Sqe { addr: bytes.as_mut_ptr() as u64, len: bytes.len() as u32, ..call_of(opcode, fd) }
}

fn connection() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let ring = &mut ring;
    // Whoever does not wait by itself does so here.
    for kind in [SOCK_STREAM | SOCK_CLOEXEC, SOCK_STREAM | SOCK_NONBLOCK] {
        let socket = Sqe { off: kind.into(), ..call_of(IORING_OP_SOCKET, AF_INET as i32) };
        let listener = one(ring, socket)?;
        let mut address = SockaddrIn { family: AF_INET as u16, port: [0; 2], addr: [127, 0, 0, 1], zero: [0; 8] };
        let of = |opcode, fd, address: &mut SockaddrIn| Sqe {
            addr: core::ptr::from_mut(address) as u64,
            off: size_of::<SockaddrIn>() as u64,
            ..call_of(opcode, fd)
        };
        equal!(one(ring, of(IORING_OP_BIND, listener, &mut address))?, 0);
        equal!(one(ring, Sqe { len: 8, ..call_of(IORING_OP_LISTEN, listener) })?, 0);
        let mut len = size_of::<SockaddrIn>() as u32;
        call!(GETSOCKNAME, listener, &raw mut address, &raw mut len)?;
        let (mut peer, mut peer_len) = (address, size_of::<SockaddrIn>() as i32);
        let off = core::ptr::from_mut(&mut peer_len) as u64;
        let accept = Sqe { off, user_data: 1, op_flags: SOCK_CLOEXEC, ..of(IORING_OP_ACCEPT, listener, &mut peer) };
        push(ring, &[accept]);
        equal!(ring.submit(0)?, 1);
        ensure!(ring.pop().is_none(), "nobody has come");
        let client = one_socket(ring, socket)?;
        push(ring, &[Sqe { user_data: 2, ..of(IORING_OP_CONNECT, client, &mut address) }]);
        let found = wait_sorted(ring, 2)?;
        let [(1, server), (2, 0)] = found[..] else { return Err(Trouble::failed(format_args!("{found:?}"))) };
        equal!((peer_len as usize, peer.family, peer.addr), (16, AF_INET as u16, [127, 0, 0, 1]));
        for round in 0..20u8 {
            let (mut there, mut here) = ([round; 64], [0u8; 64]);
            push(ring, &[Sqe { user_data: 1, ..moves(IORING_OP_RECV, server, &mut here) }]);
            equal!(ring.submit(0)?, 1);
            push(ring, &[Sqe { user_data: 2, ..moves(IORING_OP_SEND, client, &mut there) }]);
            equal!(wait_sorted(ring, 2)?, [(1, 64), (2, 64)]);
            equal!(here, there);
        }
        equal!(one(ring, Sqe { len: SHUT_WR, ..call_of(IORING_OP_SHUTDOWN, client) })?, 0);
        equal!(one(ring, moves(IORING_OP_RECV, server, &mut [0; 8]))?, 0);
        // No signal: this process is still there.
        equal!(one(ring, moves(IORING_OP_SEND, client, &mut [0; 8]))?, -32);
        for fd in [client, server, listener] {
            equal!(one(ring, call_of(IORING_OP_CLOSE, fd))?, 0);
        }
    }
    Ok(())
}

/// While another request of the ring waits.
fn one_socket(ring: &mut Ring, socket: Sqe) -> Result<i32, Trouble> {
    match run(ring, &[socket])?[..] {
        [(7, fd)] => Ok(fd),
        ref found => Err(Trouble::failed(format_args!("{found:?}"))),
    }
}

fn receives_what_comes_later() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    for kind in [SOCK_STREAM, SOCK_STREAM | SOCK_NONBLOCK] {
        let (a, b) = pair(kind)?;
        let mut bytes = [0u8; 8];
        for round in 0..50 {
            push(&mut ring, &[moves(IORING_OP_RECV, a.fd().raw(), &mut bytes)]);
            equal!(ring.submit(0)?, 1);
            ensure!(ring.pop().is_none(), "nothing has come");
            equal!(call!(WRITE, b.fd().raw(), [round as u8; 8].as_ptr(), 8)?, 8);
            equal!(wait(&mut ring, 1)?, [(7, 8)]);
            equal!(bytes, [round as u8; 8]);
        }
        // All of it, in two parts; less than that ends a chain.
        let all =
            Sqe { op_flags: MSG_WAITALL, flags: IOSQE_IO_LINK, ..moves(IORING_OP_RECV, a.fd().raw(), &mut bytes) };
        for (part, expected) in [(4, [(7, 8), (2, 2)]), (3, [(7, 7), (2, CANCELLED)])] {
            push(&mut ring, &[all, nop(2, 0, 2)]);
            equal!(ring.submit(0)?, 2);
            equal!(call!(WRITE, b.fd().raw(), bytes.as_ptr(), 4)?, 4);
            thread::sleep(rt::time::Duration::from_millis(2));
            ensure!(ring.pop().is_none(), "a part will do");
            equal!(call!(WRITE, b.fd().raw(), bytes.as_ptr(), part)?, part);
            if part == 3 {
                call!(SHUTDOWN, b.fd().raw(), SHUT_WR)?;
            }
            equal!(wait(&mut ring, 2)?, expected);
        }
    }
    Ok(())
}

fn socket_requests_are_cancelled() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (listener, _) = listen()?;
    let (a, mut b) = pair(SOCK_STREAM)?;
    let accept = Sqe { user_data: 1, ..call_of(IORING_OP_ACCEPT, listener.fd().raw()) };
    let mut byte = [0u8];
    let receive = Sqe { user_data: 2, ..moves(IORING_OP_RECV, a.fd().raw(), &mut byte) };
    for _ in 0..20 {
        push(&mut ring, &[accept, receive]);
        equal!(ring.submit(0)?, 2);
        push(&mut ring, &[cancel_of(0, IORING_ASYNC_CANCEL_ANY)]);
        equal!(wait_sorted(&mut ring, 3)?, [(1, CANCELLED), (2, CANCELLED), (99, 2)]);
    }
    let limit = millis(3);
    let addr = core::ptr::from_ref(&limit) as u64;
    let limit = Sqe { opcode: IORING_OP_LINK_TIMEOUT, fd: -1, addr, len: 1, user_data: 8, ..Sqe::default() };
    push(&mut ring, &[Sqe { flags: IOSQE_IO_LINK, ..receive }, limit]);
    equal!(wait_sorted(&mut ring, 2)?, [(2, CANCELLED), (8, -62)]);
    // With the ring.
    push(&mut ring, &[accept, receive, receive]);
    equal!(ring.submit(0)?, 3);
    drop(ring);
    thread::sleep(rt::time::Duration::from_millis(10));
    io::Write::write_all(&mut b, b"x")?;
    equal!(call!(READ, a.fd().raw(), byte.as_mut_ptr(), 1)?, 1);
    Ok(())
}

fn messages() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (a, b) = pair(SOCK_STREAM)?;
    let (mut first, mut second) = (*b"abc", *b"defgh");
    let pieces = |first: &mut [u8], second: &mut [u8]| {
        [first, second].map(|bytes| Iovec { base: bytes.as_mut_ptr() as u64, len: bytes.len() as u64 })
    };
    let list = pieces(&mut first, &mut second);
    let message = |list: &[Iovec; 2]| {
        let iov = list.as_ptr() as u64;
        Msghdr { name: 0, namelen: 0, pad: 0, iov, iovlen: 2, control: 0, controllen: 0, flags: 0, pad2: 0 }
    };
    let out = message(&list);
    let (mut head, mut tail) = ([0u8; 2], [0u8; 6]);
    let room = pieces(&mut head, &mut tail);
    let mut into = message(&room);
    let of = |opcode, fd, addr: u64| Sqe { addr, len: 1, ..call_of(opcode, fd) };
    push(&mut ring, &[Sqe { op_flags: MSG_WAITALL, ..of(IORING_OP_RECVMSG, b.fd().raw(), &raw mut into as u64) }]);
    equal!(ring.submit(0)?, 1);
    push(&mut ring, &[Sqe { user_data: 8, ..of(IORING_OP_SENDMSG, a.fd().raw(), &raw const out as u64) }]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, 8), (8, 8)]);
    equal!((&head, &tail), (b"ab", b"cdefgh"));
    equal!(one(&mut ring, of(IORING_OP_SENDMSG, a.fd().raw(), 8))?, -14);
    Ok(())
}

fn wrong_socket_requests() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (a, b) = pair(SOCK_STREAM)?;
    let (read, _write) = rt::pipe::pipe()?;
    let (mut byte, fd) = ([0u8], a.fd().raw());
    let socket = |family: u32, kind: u32| Sqe { off: kind.into(), ..call_of(IORING_OP_SOCKET, family as i32) };
    let cases = [
        (Sqe { op_flags: MSG_DONTWAIT, ..moves(IORING_OP_RECV, fd, &mut byte) }, -11),
        (Sqe { addr: 8, len: 4, ..call_of(IORING_OP_SEND, fd) }, -14),
        (Sqe { addr: 1 << 63, len: 4, ..call_of(IORING_OP_SEND, fd) }, -14),
        (moves(IORING_OP_RECV, read.fd().raw(), &mut byte), -88),
        (call_of(IORING_OP_ACCEPT, fd), EINVAL),
        (call_of(IORING_OP_ACCEPT, read.fd().raw()), -88),
        (call_of(IORING_OP_LISTEN, read.fd().raw()), -88),
        (call_of(IORING_OP_SHUTDOWN, 200), -9),
        (Sqe { len: 9, ..call_of(IORING_OP_SHUTDOWN, fd) }, EINVAL),
        (Sqe { addr: 8, off: 16, ..call_of(IORING_OP_CONNECT, fd) }, -14),
        (Sqe { addr: 8, off: 1 << 20, ..call_of(IORING_OP_CONNECT, fd) }, EINVAL),
        (Sqe { addr: 8, off: 16, ..call_of(IORING_OP_BIND, fd) }, -14),
        (socket(AF_INET, 9), EINVAL),
        (socket(77, SOCK_STREAM), -97),
        (Sqe { file_index: 1, ..socket(AF_INET, SOCK_STREAM) }, -6),
        (Sqe { flags: IOSQE_FIXED_FILE, ..moves(IORING_OP_RECV, fd, &mut byte) }, -9),
    ];
    for (entry, errno) in cases {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    // The other end is gone while it waits.
    push(&mut ring, &[moves(IORING_OP_RECV, fd, &mut byte)]);
    equal!(ring.submit(0)?, 1);
    drop(b);
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    Ok(())
}

/// Those that say that there will be nothing, or no room, at first: they end the same, whether that is so or not.
fn waits_first() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (here, there) = pair(SOCK_STREAM)?;
    let (mut bytes, mut message) = ([0u8; 8], *b"01234567");
    let first = |entry| Sqe { ioprio: IORING_RECVSEND_POLL_FIRST, ..entry };
    let receive = first(moves(IORING_OP_RECV, here.fd().raw(), &mut bytes));
    let send = first(moves(IORING_OP_SEND, there.fd().raw(), &mut message));
    // It is there already; it comes later.
    equal!(one(&mut ring, send)?, 8);
    equal!(one(&mut ring, receive)?, 8);
    equal!(bytes, message);
    push(&mut ring, &[Sqe { user_data: 1, ..receive }]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "nothing is there");
    push(&mut ring, &[Sqe { user_data: 2, ..send }]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, 8), (2, 8)]);
    // No room, until it is read.
    let mut much = [1u8; 4096];
    let more = moves(IORING_OP_SEND, there.fd().raw(), &mut much);
    while one(&mut ring, Sqe { op_flags: MSG_DONTWAIT, ..more })? > 0 {}
    push(&mut ring, &[Sqe { user_data: 1, ..send }]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "there is no room");
    while call!(RECVFROM, here.fd().raw(), much.as_mut_ptr(), 4096, MSG_DONTWAIT, 0, 0).is_ok() {}
    equal!(wait(&mut ring, 1)?, [(1, 8)]);
    equal!(one(&mut ring, Sqe { ioprio: 0x100, ..receive })?, -22);
    accepts_first(&mut ring)
}

fn accepts_first(ring: &mut Ring) -> Outcome {
    let (listener, address) = listen()?;
    let accept =
        Sqe { ioprio: IORING_ACCEPT_POLL_FIRST, user_data: 1, ..call_of(IORING_OP_ACCEPT, listener.fd().raw()) };
    push(ring, &[accept]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "nobody has come");
    let _client = rt::net::TcpStream::connect(address)?;
    for round in 0..2 {
        let found = wait(ring, 1)?;
        ensure!(matches!(found[..], [(1, 3..)]), "{round}: {found:?}");
        call!(CLOSE, found[0].1)?;
        if round == 0 {
            let _another = rt::net::TcpStream::connect(address)?;
            push(ring, &[accept]);
            equal!(ring.submit(0)?, 1);
        }
    }
    Ok(())
}

/// What is received or accepted of TCP says whether there is more, whichever way it is done; of a local stream nothing does.
fn says_more() -> Outcome {
    const MORE: u32 = IORING_CQE_F_SOCK_NONEMPTY;
    let mut ring = Ring::new(16, 0)?;
    let ring = &mut ring;
    let (listener, address) = listen()?;
    let mut clients = [(); 3].map(|()| TcpStream::connect(address));
    ensure!(clients.iter().all(Result::is_ok), "connects");
    let accept = call_of(IORING_OP_ACCEPT, listener.fd().raw());
    let mut servers = Vec::new();
    for more in [MORE, MORE, 0] {
        let (_, fd, flags) = provided::ask(ring, accept)?;
        equal!(flags, more);
        servers.push(raw::file(fd as usize));
    }
    let (Ok(client), fd) = (&mut clients[0], servers[0].fd().raw()) else { return Ok(()) };
    let mut bytes = [0u8; 4];
    let receive = moves(IORING_OP_RECV, fd, &mut bytes);
    let linked = Sqe { flags: IOSQE_IO_LINK, ..receive };
    let chosen = Sqe { flags: IOSQE_BUFFER_SELECT, addr: 0, ..receive };
    let mut piece = Iovec { base: receive.addr, len: 4 };
    let iov = core::ptr::from_mut(&mut piece) as u64;
    let mut message =
        Msghdr { name: 0, namelen: 0, pad: 0, iov, iovlen: 1, control: 0, controllen: 0, flags: 0, pad2: 0 };
    let by_message = Sqe { addr: &raw mut message as u64, len: 1, ..call_of(IORING_OP_RECVMSG, fd) };
    let group = Sqe { addr: receive.addr, len: 4, ..call_of(IORING_OP_PROVIDE_BUFFERS, 1) };
    for entry in [receive, linked, by_message, chosen] {
        let number = if entry.flags == IOSQE_BUFFER_SELECT { IORING_CQE_F_BUFFER } else { 0 };
        for more in [MORE, 0] {
            if number != 0 {
                equal!(one(ring, group)?, 0);
            }
            if more != 0 {
                io::Write::write_all(client, b"12345678")?;
            }
            equal!(provided::ask(ring, entry)?, (7, 4, more | number));
        }
    }
    // One that waits; and the end, of which Linux says so too.
    push(ring, &[receive]);
    equal!(ring.submit(0)?, 1);
    io::Write::write_all(client, b"123")?;
    equal!(provided::next(ring)?, (7, 3, 0));
    drop(clients);
    equal!(provided::ask(ring, receive)?, (7, 0, MORE));
    let (mut here, there) = pair(SOCK_STREAM)?;
    io::Write::write_all(&mut here, b"12345678")?;
    equal!(provided::ask(ring, moves(IORING_OP_RECV, there.fd().raw(), &mut bytes))?, (7, 4, 0));
    Ok(())
}
