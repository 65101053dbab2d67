//! Local datagram sockets with names: who finds whom, who hears whom, what a full queue does, and who is told to have sent.

use super::flights::socket;
use super::rights::{Control, HEADER, message, pair, send};
use crate::case::{Case, Outcome, Trouble};
use crate::events::{Epoll, entry, poll};
use crate::process::{await_blocked, checked_child, exits};
use alloc::vec::Vec;
use rt::abi::errno::Result as Call;
use rt::abi::fs::Iovec;
use rt::abi::net::{
    AF_UNIX, MSG_CTRUNC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITFORONE, Mmsghdr, Msghdr, SCM_CREDENTIALS, SHUT_RD,
    SHUT_WR, SO_ERROR, SO_PASSCRED, SO_PEERCRED, SO_TYPE, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
    SockaddrUn,
};
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLET, EPOLLOUT, POLLERR, POLLIN, POLLOUT};
use rt::abi::time::Timespec;
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("local/named-datagrams", "D17 E1", named),
    case!("local/datagrams-of-a-peer-alone", "D17 E1", of_a_peer_alone),
    case!("local/datagrams-to-who-is-gone", "D17 E1", to_who_is_gone),
    case!("local/full-queue", "D17 I1", full_queue),
    case!("local/full-queue-wakes", "D17 D2", full_queue_wakes),
    case!("local/any-name", "D17 E1", any_name),
    case!("local/datagrams-shut-down", "D17 E1", shut_down),
    case!("local/who-sent", "D17", who_sent),
    case!("local/rights-to-a-name", "D17 C4", rights_to_a_name),
    case!("local/several-messages", "D17 E1", several_messages),
];

/// A name outside the file system, and its length as an address.
fn address(name: &[u8]) -> (SockaddrUn, usize) {
    let mut path = [0; 108];
    path[1..=name.len()].copy_from_slice(name);
    (SockaddrUn { family: AF_UNIX as u16, path }, 3 + name.len())
}

/// A socket with such a name.
fn bound(name: &[u8]) -> Call<File> {
    let file = socket(SOCK_DGRAM)?;
    let (address, len) = address(name);
    call!(BIND, file.fd().raw(), &raw const address, len)?;
    Ok(file)
}

fn connect(file: &File, name: &[u8]) -> Call<usize> {
    let (address, len) = address(name);
    call!(CONNECT, file.fd().raw(), &raw const address, len)
}

fn send_to(file: &File, bytes: &[u8], name: &[u8]) -> Call<usize> {
    let (address, len) = address(name);
    call!(SENDTO, file.fd().raw(), bytes.as_ptr(), bytes.len(), MSG_DONTWAIT, &raw const address, len)
}

fn send_on(file: &File, bytes: &[u8]) -> Call<usize> {
    call!(SENDTO, file.fd().raw(), bytes.as_ptr(), bytes.len(), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0)
}

/// A message, and the address of who sent it, without its family.
fn receive(file: &File) -> Call<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut from) = (alloc::vec![0u8; 16], SockaddrUn { family: 77, path: [0; 108] });
    let mut len = size_of::<SockaddrUn>() as u32;
    let at = &raw mut from;
    let got = call!(RECVFROM, file.fd().raw(), bytes.as_mut_ptr(), 16, MSG_DONTWAIT, at, &raw mut len)?;
    bytes.truncate(got);
    Ok((bytes, from.path[..(len as usize).saturating_sub(2)].to_vec()))
}

fn got(bytes: &[u8], from: &[u8]) -> Call<(Vec<u8>, Vec<u8>)> {
    let from = if from.is_empty() { Vec::new() } else { [&[0], from].concat() };
    Ok((bytes.to_vec(), from))
}

fn events(file: &File) -> Call<u16> {
    let mut fds = [entry(file, POLLIN | POLLOUT)];
    poll(&mut fds, Some(0))?;
    Ok(fds[0].revents)
}

fn number(file: &File, option: u32) -> Call<i32> {
    let (mut value, mut len) = (-1i32, 4u32);
    call!(GETSOCKOPT, file.fd().raw(), SOL_SOCKET, option, &raw mut value, &raw mut len)?;
    Ok(value)
}

fn named() -> Outcome {
    let (server, client) = (bound(b"suite-server")?, bound(b"suite-client")?);
    equal!(number(&server, SO_TYPE), Ok(SOCK_DGRAM as i32));
    equal!(number(&socket(SOCK_SEQPACKET)?, SO_TYPE), Ok(SOCK_SEQPACKET as i32));
    equal!(send_to(&client, b"one", b"suite-server"), Ok(3));
    equal!(send_to(&client, b"", b"suite-server"), Ok(0));
    equal!(send_to(&socket(SOCK_DGRAM)?, b"nameless", b"suite-server"), Ok(8));
    equal!(receive(&server), got(b"one", b"suite-client"));
    equal!(receive(&server), got(b"", b"suite-client"));
    equal!(receive(&server), got(b"nameless", b""));
    fails!(receive(&server), EAGAIN);
    equal!(send_to(&server, b"back", b"suite-client"), Ok(4));
    equal!(receive(&client), got(b"back", b"suite-server"));
    fails!(send_on(&client, b"x"), ENOTCONN);
    fails!(send_to(&client, b"x", b"suite-nobody"), ECONNREFUSED);
    fails!(bound(b"suite-server"), EADDRINUSE);
    let (again, len) = address(b"suite-other");
    fails!(call!(BIND, server.fd().raw(), &raw const again, len), EINVAL);
    fails!(call!(LISTEN, server.fd().raw(), 1), EOPNOTSUPP);
    fails!(call!(ACCEPT4, server.fd().raw(), 0, 0, 0), EOPNOTSUPP);
    let long = alloc::vec![0u8; 300_000];
    fails!(send_to(&client, &long, b"suite-server"), EMSGSIZE);
    // A name outside the file system is each kind's own.
    fails!(connect(&socket(SOCK_STREAM)?, b"suite-server"), ECONNREFUSED);
    drop(server);
    fails!(send_to(&client, b"x", b"suite-server"), ECONNREFUSED);
    bound(b"suite-server")?;
    Ok(())
}

/// Who has a peer takes messages from that alone, and loses what others sent when it takes another.
fn of_a_peer_alone() -> Outcome {
    let (server, first, second) = (bound(b"suite-a")?, bound(b"suite-b")?, bound(b"suite-c")?);
    fails!(call!(GETPEERNAME, first.fd().raw(), 0, 0), ENOTCONN);
    equal!(connect(&first, b"suite-a"), Ok(0));
    equal!(send_on(&first, b"ab"), Ok(2));
    equal!(connect(&server, b"suite-b"), Ok(0));
    // What had come stays.
    equal!(receive(&server), got(b"ab", b"suite-b"));
    fails!(send_to(&second, b"x", b"suite-a"), EPERM);
    fails!(connect(&second, b"suite-a"), EPERM);
    equal!(send_to(&server, b"c", b"suite-c"), Ok(1));
    equal!(receive(&second), got(b"c", b"suite-a"));
    // The server turns to another: what its peer sent is lost, and that hears of it, once.
    equal!(send_on(&first, b"lost"), Ok(4));
    equal!(connect(&server, b"suite-c"), Ok(0));
    fails!(receive(&server), EAGAIN);
    equal!(events(&first)? & POLLERR, POLLERR);
    equal!(number(&first, SO_ERROR), Ok(rt::abi::Errno::ECONNRESET.number()));
    fails!(send_on(&first, b"x"), EPERM);
    // And to nobody.
    equal!(call!(CONNECT, server.fd().raw(), [0u8; 16].as_ptr(), 16), Ok(0));
    fails!(send_on(&server, b"x"), ENOTCONN);
    equal!(send_on(&first, b"x"), Ok(1));
    Ok(())
}

fn to_who_is_gone() -> Outcome {
    let (server, client) = (bound(b"suite-d")?, bound(b"suite-e")?);
    connect(&client, b"suite-d")?;
    drop(server);
    equal!(events(&client)?, POLLOUT);
    fails!(send_on(&client, b"x"), ECONNREFUSED);
    fails!(send_on(&client, b"x"), ENOTCONN);
    // Also if it had another peer.
    let (server, other) = (bound(b"suite-d")?, bound(b"suite-j")?);
    connect(&client, b"suite-d")?;
    connect(&server, b"suite-j")?;
    fails!(send_on(&client, b"x"), EPERM);
    drop((server, other));
    fails!(send_on(&client, b"x"), ECONNREFUSED);
    let (near, far) = pair(SOCK_DGRAM)?;
    drop(far);
    fails!(receive(&near), EAGAIN);
    fails!(send_on(&near, b"x"), ECONNREFUSED);
    Ok(())
}

/// Fills a queue; how many went.
fn fill(from: &File) -> Result<usize, Trouble> {
    for count in 0..10_000 {
        match send_on(from, b"x") {
            Ok(_) => {}
            Err(errno) => {
                equal!(errno, rt::abi::Errno::EAGAIN);
                return Ok(count);
            }
        }
    }
    Err(Trouble::failed("there is no limit"))
}

/// Who is not the reader's peer may send few messages; who watches for room is told when there is some.
fn full_queue() -> Outcome {
    let (server, client, other) = (bound(b"suite-f")?, socket(SOCK_DGRAM)?, socket(SOCK_DGRAM)?);
    connect(&client, b"suite-f")?;
    connect(&other, b"suite-f")?;
    let set = Epoll::new()?;
    for (file, data) in [(&client, 1), (&other, 2)] {
        set.control(EPOLL_CTL_ADD, file.fd().raw(), EPOLLOUT | EPOLLET, data)?;
    }
    equal!(set.wait(0)?.len(), 2);
    let count = fill(&client)?;
    ensure!((2..100).contains(&count), "{count}");
    equal!((events(&client)?, events(&other)?, events(&server)?), (0, 0, POLLIN | POLLOUT));
    fails!(send_to(&socket(SOCK_DGRAM)?, b"x", b"suite-f"), EAGAIN);
    equal!(receive(&server)?.0, b"x");
    let mut told: Vec<_> = set.wait(-1)?.iter().map(|event| event.1).collect();
    told.sort_unstable();
    equal!(told, [1, 2]);
    equal!((events(&client)?, events(&other)?), (POLLOUT, POLLOUT));
    equal!(fill(&other)?, 1);
    equal!(events(&client)?, 0);
    // That the reader goes is an answer as well.
    drop(server);
    equal!(events(&client)?, POLLOUT);
    fails!(send_on(&client, b"x"), ECONNREFUSED);
    Ok(())
}

/// Senders wait: by name, to a peer, in `poll`.
fn full_queue_wakes() -> Outcome {
    let server = bound(b"suite-g")?;
    let client = socket(SOCK_DGRAM)?;
    connect(&client, b"suite-g")?;
    let count = fill(&client)?;
    let by_name = checked_child(|| {
        let (address, len) = address(b"suite-g");
        let file = socket(SOCK_DGRAM)?;
        equal!(call!(SENDTO, file.fd().raw(), b"n".as_ptr(), 1, 0, &raw const address, len), Ok(1));
        Ok(())
    })?;
    let by_write = checked_child(|| {
        equal!(call!(WRITE, client.fd().raw(), b"w".as_ptr(), 1), Ok(1));
        Ok(())
    })?;
    let by_poll = checked_child(|| {
        equal!(poll(&mut [entry(&client, POLLOUT)], None), Ok(1));
        Ok(())
    })?;
    for pid in [by_name, by_write, by_poll] {
        await_blocked(pid)?;
    }
    // Each may take the room of another, but there is enough.
    for _ in 0..count {
        receive(&server)?;
    }
    for pid in [by_name, by_write, by_poll] {
        exits(pid, 0)?;
    }
    let mut last = [receive(&server)?.0, receive(&server)?.0].concat();
    last.sort_unstable();
    equal!(last, b"nw");
    Ok(())
}

/// Who asks for no name in particular gets one, and keeps it.
fn any_name() -> Outcome {
    for kind in [SOCK_DGRAM, SOCK_STREAM] {
        let file = socket(kind)?;
        let family = AF_UNIX as u16;
        let mut names = Vec::new();
        for _ in 0..2 {
            equal!(call!(BIND, file.fd().raw(), &raw const family, 2), Ok(0));
            let (mut name, mut len) = (SockaddrUn { family: 0, path: [9; 108] }, 110u32);
            call!(GETSOCKNAME, file.fd().raw(), &raw mut name, &raw mut len)?;
            equal!((len, name.path[0]), (8, 0));
            ensure!(name.path[1..6].iter().all(u8::is_ascii_hexdigit));
            names.push(name.path[1..6].to_vec());
        }
        equal!(names[0], names[1]);
        if kind == SOCK_DGRAM {
            equal!(send_to(&socket(kind)?, b"x", &names[0]), Ok(1));
            equal!(receive(&file)?.0, b"x");
        }
        fails!(call!(CONNECT, file.fd().raw(), &raw const family, 2), EINVAL);
    }
    Ok(())
}

/// Of a datagram socket only its own half is ended.
fn shut_down() -> Outcome {
    let (near, far) = pair(SOCK_DGRAM)?;
    call!(SHUTDOWN, near.fd().raw(), SHUT_WR)?;
    fails!(send_on(&near, b"x"), EPIPE);
    equal!(send_on(&far, b"y"), Ok(1));
    equal!(receive(&near)?.0, b"y");
    fails!(receive(&far), EAGAIN);
    call!(SHUTDOWN, near.fd().raw(), SHUT_RD)?;
    fails!(send_on(&far, b"x"), EPIPE);
    fails!(receive(&near), EAGAIN);
    // Who would wait is through.
    let mut byte = [0u8];
    equal!(call!(RECVFROM, near.fd().raw(), byte.as_mut_ptr(), 1, 0, 0, 0), Ok(0));
    Ok(())
}

fn word_at(control: &[u8], at: usize) -> u32 {
    control.get(at..at + 4).map_or(u32::MAX, |word| u32::from_ne_bytes(word.try_into().unwrap_or_default()))
}

/// A message with its control messages: type and ids of the first, flags.
pub fn receive_ids(file: &File, room: usize) -> Call<(u32, [u32; 3], u32)> {
    let (mut byte, control) = ([0u8], [0u64; 8]);
    let piece = Iovec { base: byte.as_mut_ptr() as u64, len: 1 };
    let mut said = Msghdr { control: control.as_ptr() as u64, ..message(&piece, &Control::room(0), room) };
    call!(RECVMSG, file.fd().raw(), &raw mut said, MSG_DONTWAIT)?;
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ids = [0, 4, 8].map(|at| word_at(&bytes, HEADER + at));
    Ok((if said.controllen == 0 { 0 } else { word_at(&bytes, 12) }, ids, said.flags & !rt::abi::net::MSG_CMSG_CLOEXEC))
}

/// Whoever asks for it is told who sent; and who has the other end of a pair.
fn who_sent() -> Outcome {
    let own = [call!(GETPID)? as u32, call!(GETUID)? as u32, call!(GETGID)? as u32];
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        equal!(send_on(&near, b"x"), Ok(1));
        equal!(receive_ids(&far, 64)?.0, 0);
        let on = 1i32;
        call!(SETSOCKOPT, far.fd().raw(), SOL_SOCKET, SO_PASSCRED, &raw const on, 4)?;
        equal!(number(&far, SO_PASSCRED), Ok(1));
        equal!(send_on(&near, b"x"), Ok(1));
        equal!(receive_ids(&far, 64), Ok((SCM_CREDENTIALS, own, 0)));
        equal!(send_on(&near, b"x"), Ok(1));
        equal!(receive_ids(&far, 0)?.2, MSG_CTRUNC);
        let (mut ids, mut len) = ([0u32; 3], 12u32);
        call!(GETSOCKOPT, near.fd().raw(), SOL_SOCKET, SO_PEERCRED, &raw mut ids, &raw mut len)?;
        equal!((ids, len), (own, 12));
    }
    let (mut ids, mut len) = ([0u32; 3], 12u32);
    call!(GETSOCKOPT, socket(SOCK_DGRAM)?.fd().raw(), SOL_SOCKET, SO_PEERCRED, &raw mut ids, &raw mut len)?;
    equal!(ids, [0, u32::MAX, u32::MAX]);
    Ok(())
}

/// Descriptors and ids go to who is named, as to a peer.
fn rights_to_a_name() -> Outcome {
    let (server, client) = (bound(b"suite-h")?, bound(b"suite-i")?);
    let (read, _write) = super::rights::pipe()?;
    let (address, len) = address(b"suite-h");
    let control = Control::of(&[read.fd().raw()]);
    let piece = Iovec { base: b"r".as_ptr() as u64, len: 1 };
    let said = Msghdr { name: &raw const address as u64, namelen: len as i32, ..message(&piece, &control, HEADER + 4) };
    equal!(call!(SENDMSG, client.fd().raw(), &raw const said, 0), Ok(1));
    super::rights::receive_one(&server)?;
    // A socket in its own queue, which nobody has any more, is the collector's.
    connect(&server, b"suite-h")?;
    equal!(send(&server, b"s", &[server.fd().raw()]), Ok(1));
    Ok(())
}

/// Several messages in one call: an error counts only before the first, and one may be enough.
fn several_messages() -> Outcome {
    let (near, far) = pair(SOCK_DGRAM)?;
    let (mut bytes, no_control) = ([*b"ab", *b"cd", *b"ef"], Control::room(0));
    let pieces = bytes.each_mut().map(|bytes| Iovec { base: bytes.as_mut_ptr() as u64, len: 2 });
    let mut all = pieces.each_ref().map(|piece| Mmsghdr { message: message(piece, &no_control, 0), len: 9, pad: 0 });
    all[1].message.iovlen = 1 << 20;
    equal!(call!(SENDMMSG, near.fd().raw(), all.as_mut_ptr(), 3, 0), Ok(1));
    equal!(all.map(|one| one.len), [2, 9, 9]);
    fails!(call!(SENDMMSG, near.fd().raw(), &raw mut all[1], 1, 0), EMSGSIZE);
    all[1].message.iovlen = 1;
    equal!(call!(SENDMMSG, near.fd().raw(), &raw mut all[1], 2, 0), Ok(2));
    equal!(call!(SENDMMSG, near.fd().raw(), all.as_mut_ptr(), 0, 0), Ok(0));
    let mut into = [[0u8; 2]; 4];
    let pieces = into.each_mut().map(|bytes| Iovec { base: bytes.as_mut_ptr() as u64, len: 2 });
    let mut all = pieces.each_ref().map(|piece| Mmsghdr { message: message(piece, &no_control, 0), len: 9, pad: 0 });
    let wrong = Timespec { sec: 0, nsec: 1_000_000_000 };
    fails!(call!(RECVMMSG, far.fd().raw(), all.as_mut_ptr(), 4, 0, &raw const wrong), EINVAL);
    equal!(call!(RECVMMSG, far.fd().raw(), all.as_mut_ptr(), 1, MSG_DONTWAIT, 0), Ok(1));
    equal!(call!(RECVMMSG, far.fd().raw(), &raw mut all[1], 3, MSG_WAITFORONE, 0), Ok(2));
    equal!((all.map(|one| one.len), into), ([2, 2, 2, 9], [*b"ab", *b"cd", *b"ef", [0; 2]]));
    fails!(call!(RECVMMSG, far.fd().raw(), all.as_mut_ptr(), 4, MSG_DONTWAIT, 0), EAGAIN);
    fails!(call!(RECVMMSG, -1isize, all.as_mut_ptr(), 4, 0, 0), EBADF);
    Ok(())
}
