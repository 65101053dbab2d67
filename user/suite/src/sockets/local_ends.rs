//! Local sockets: half of one is ended, a message names its receiver, a look at what has come.

use super::rights::{Control, HEADER, message, pair, send_control};
use crate::case::{Case, Outcome};
use crate::events::{entry, poll};
use crate::process::{checked_child, exits};
use rt::abi::fs::Iovec;
use rt::abi::ioctl::{FIONREAD, SIOCOUTQ};
use rt::abi::net::{
    AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, Msghdr, SCM_CREDENTIALS, SHUT_RD, SOCK_CLOEXEC, SOCK_DGRAM,
    SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
};
use rt::abi::poll::{POLLHUP, POLLIN, POLLOUT};
use rt::raw;

pub const CASES: &[Case] = &[
    case!("local/ended-keeps-what-came", "D17 E1", ended_keeps_what_came),
    case!("local/sends-to-a-name", "D17 E1", sends_to_a_name),
    case!("local/claims-to-be", "D17 E1", claims_to_be),
    case!("local/peek-over-pieces", "D17", peek_over_pieces),
    case!("local/who-does-not-listen", "D17 I1", who_does_not_listen),
    case!("local/what-nobody-has-received", "D17 E1", unreceived),
];

/// How much the other side has not received of a stream is told of this one.
fn unreceived() -> Outcome {
    let (near, far) = pair(SOCK_STREAM)?;
    let told = |fd: i32, command: u32| -> Result<i32, rt::abi::Errno> {
        let mut bytes = -1i32;
        call!(IOCTL, fd, command, &raw mut bytes)?;
        Ok(core::hint::black_box(bytes))
    };
    let mut bytes = [0u8; 8];
    equal!(call!(SENDTO, near.fd().raw(), b"abcde".as_ptr(), 5, MSG_NOSIGNAL, 0, 0), Ok(5));
    equal!((told(near.fd().raw(), SIOCOUTQ), told(far.fd().raw(), SIOCOUTQ)), (Ok(5), Ok(0)));
    equal!((told(near.fd().raw(), FIONREAD), told(far.fd().raw(), FIONREAD)), (Ok(0), Ok(5)));
    equal!(call!(RECVFROM, far.fd().raw(), bytes.as_mut_ptr(), 3, MSG_DONTWAIT, 0, 0), Ok(3));
    equal!((told(near.fd().raw(), SIOCOUTQ), told(far.fd().raw(), FIONREAD)), (Ok(2), Ok(2)));
    Ok(())
}

/// Who reads no more still gets what was there; who sends is refused.
fn ended_keeps_what_came() -> Outcome {
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        let mut bytes = [0u8; 8];
        let send = || call!(SENDTO, near.fd().raw(), b"abc".as_ptr(), 3, MSG_NOSIGNAL, 0, 0);
        let mut receive = || call!(RECVFROM, far.fd().raw(), bytes.as_mut_ptr(), 8, MSG_DONTWAIT, 0, 0);
        equal!(send(), Ok(3));
        equal!(call!(SHUTDOWN, far.fd().raw(), SHUT_RD), Ok(0));
        fails!(send(), EPIPE);
        equal!(receive(), Ok(3));
        if kind != SOCK_DGRAM {
            equal!(receive(), Ok(0));
        }
        fails!(send(), EPIPE);
        equal!(&bytes[..3], b"abc");
    }
    Ok(())
}

/// A stream is sent to nobody by name, also before it has a peer; packets go to the peer whatever the name is.
fn sends_to_a_name() -> Outcome {
    let name = [AF_UNIX as u8, 0, 0, b'x'];
    let send = |fd: i32| call!(SENDTO, fd, b"abc".as_ptr(), 3, MSG_NOSIGNAL, name.as_ptr(), name.len());
    for (kind, error) in [(SOCK_STREAM, rt::abi::Errno::EOPNOTSUPP), (SOCK_SEQPACKET, rt::abi::Errno::ENOTCONN)] {
        let alone = raw::file(call!(SOCKET, AF_UNIX, kind | SOCK_CLOEXEC, 0)?);
        equal!(send(alone.fd().raw()), Err(error));
    }
    let (near, _far) = pair(SOCK_STREAM)?;
    fails!(send(near.fd().raw()), EISCONN);
    // A name without a byte is none.
    equal!(call!(SENDTO, near.fd().raw(), b"abc".as_ptr(), 3, MSG_NOSIGNAL, name.as_ptr(), 0), Ok(3));
    let (near, far) = pair(SOCK_SEQPACKET)?;
    equal!(send(near.fd().raw()), Ok(3));
    let mut bytes = [0u8; 8];
    equal!(call!(RECVFROM, far.fd().raw(), bytes.as_mut_ptr(), 8, MSG_DONTWAIT, 0, 0), Ok(3));
    equal!(&bytes[..3], b"abc");
    Ok(())
}

/// Who sends may claim each of its three ids, and no other.
fn claims_to_be() -> Outcome {
    let pid = checked_child(|| {
        call!(SETRESGID, 11, 12, 13)?;
        call!(SETRESUID, 21, 22, 23)?;
        let (near, _far) = pair(SOCK_STREAM)?;
        let own = call!(GETPID)? as u32;
        let claim = |pid: u32, uid: u32, gid: u32| {
            let mut data = [0u8; 12];
            data[..4].copy_from_slice(&pid.to_ne_bytes());
            data[4..8].copy_from_slice(&uid.to_ne_bytes());
            data[8..].copy_from_slice(&gid.to_ne_bytes());
            send_control(&near, b"x", &Control::message(SOL_SOCKET, SCM_CREDENTIALS, &data, HEADER + 12), 0)
        };
        for (uid, gid) in [(21, 11), (22, 12), (23, 13), (21, 13)] {
            equal!(claim(own, uid, gid), Ok(1));
        }
        for (pid, uid, gid) in [(own, 24, 11), (own, 21, 14), (own, 0, 11), (1, 21, 11)] {
            fails!(claim(pid, uid, gid), EPERM);
        }
        Ok(())
    })?;
    exits(pid, 0)
}

/// All pieces are filled with what stays there.
fn peek_over_pieces() -> Outcome {
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        equal!(call!(SENDTO, near.fd().raw(), b"abcde".as_ptr(), 5, MSG_NOSIGNAL, 0, 0), Ok(5));
        for flags in [MSG_PEEK, MSG_PEEK | MSG_DONTWAIT, 0] {
            let (mut first, mut second) = ([0u8; 2], [0u8; 4]);
            let pieces =
                [Iovec { base: first.as_mut_ptr() as u64, len: 2 }, Iovec { base: second.as_mut_ptr() as u64, len: 4 }];
            let mut message =
                Msghdr { iov: pieces.as_ptr() as u64, iovlen: 2, ..message(&pieces[0], &Control::room(0), 0) };
            equal!(call!(RECVMSG, far.fd().raw(), &raw mut message, flags), Ok(5));
            equal!((&first, &second), (b"ab", b"cde\0"));
        }
        let mut byte = [0u8];
        fails!(call!(RECVFROM, far.fd().raw(), byte.as_mut_ptr(), 1, MSG_DONTWAIT, 0, 0), EAGAIN);
    }
    Ok(())
}

/// It polls as one that has no name, until it listens.
fn who_does_not_listen() -> Outcome {
    let file = raw::file(call!(SOCKET, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    let seen = || {
        let mut fds = [entry(&file, POLLIN | POLLOUT)];
        poll(&mut fds, Some(0)).map(|_| fds[0].revents)
    };
    equal!(seen(), Ok(POLLOUT | POLLHUP));
    let family = AF_UNIX as u16;
    call!(BIND, file.fd().raw(), &raw const family, 2)?;
    equal!(seen(), Ok(POLLOUT | POLLHUP));
    call!(LISTEN, file.fd().raw(), 1)?;
    equal!(seen(), Ok(0));
    Ok(())
}
