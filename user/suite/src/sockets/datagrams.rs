//! UDP over loopback.

use super::{local, option, raw_address};
use crate::case::{Case, Outcome};
use crate::events::Epoll;
use crate::files::pattern;
use crate::process::{await_blocked, checked_child, exits};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use rt::abi::net::{AF_INET, MSG_DONTWAIT, MSG_TRUNC, SO_ERROR, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, SockaddrIn};
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLET, EPOLLIN};
use rt::net::UdpSocket;

pub const CASES: &[Case] = &[
    case!("udp/round-trip", "D17", round_trip),
    case!("udp/boundaries", "D17", boundaries),
    case!("udp/too-long", "D17 E1", too_long),
    case!("udp/connected", "D17", connected),
    case!("udp/receiver-waits", "D17 D2", receiver_waits),
    case!("udp/empty", "D17", empty),
    case!("udp/watched-before-bound", "D17 D2", watched_before_bound),
    case!("udp/receiver-waits-unbound", "D17 D2", receiver_waits_unbound),
];

fn round_trip() -> Outcome {
    let (first, second) = (UdpSocket::bind(local())?, UdpSocket::bind(local())?);
    let mut bytes = [0; 100];
    equal!(first.send_to(b"hello", second.local_addr()?)?, 5);
    equal!(second.recv_from(&mut bytes)?, (5, first.local_addr()?));
    equal!(second.send_to(&bytes[..5], first.local_addr()?)?, 5);
    equal!(first.recv_from(&mut bytes)?, (5, second.local_addr()?));
    equal!(&bytes[..5], b"hello");
    Ok(())
}

/// One receive, one datagram, whole or cut.
fn boundaries() -> Outcome {
    let (from, to) = (UdpSocket::bind(local())?, UdpSocket::bind(local())?);
    let sizes = [1, 1472, 0, 1400, 8];
    for size in sizes {
        from.send_to(&pattern(size, size), to.local_addr()?)?;
    }
    let mut bytes = [0; 2000];
    for size in sizes {
        equal!(to.recv_from(&mut bytes)?.0, size);
        ensure!(bytes[..size] == pattern(size, size));
    }
    from.send_to(b"long", to.local_addr()?)?;
    from.send_to(b"next", to.local_addr()?)?;
    equal!(to.recv_from(&mut bytes[..2])?.0, 2);
    equal!(to.recv_from(&mut bytes)?.0, 4);
    equal!(&bytes[..4], b"next");
    Ok(())
}

fn too_long() -> Outcome {
    let socket = UdpSocket::bind(local())?;
    let bytes = alloc::vec![0; 70_000];
    fails!(socket.send_to(&bytes, socket.local_addr()?), EMSGSIZE);
    Ok(())
}

fn socket() -> Result<rt::fs::File, rt::abi::Errno> {
    call!(SOCKET, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0).map(rt::raw::file)
}

fn connected() -> Outcome {
    let peer = UdpSocket::bind(local())?;
    let stranger = UdpSocket::bind(local())?;
    let socket = socket()?;
    let fd = socket.fd().raw();
    fails!(call!(SENDTO, fd, b"x".as_ptr(), 1, 0, 0, 0), EDESTADDRREQ);
    let address = raw_address(peer.local_addr()?);
    call!(CONNECT, fd, &raw const address, 16)?;
    equal!(call!(WRITE, fd, b"abc".as_ptr(), 3), Ok(3));
    let mut bytes = [0u8; 10];
    let (len, from) = peer.recv_from(&mut bytes)?;
    equal!(len, 3);
    // What comes from elsewhere is not for a connected socket.
    stranger.send_to(b"no", from)?;
    peer.send_to(b"reply", from)?;
    equal!(call!(RECVFROM, fd, bytes.as_mut_ptr(), 2, MSG_TRUNC, 0, 0), Ok(5));
    fails!(call!(RECVFROM, fd, bytes.as_mut_ptr(), 10, MSG_DONTWAIT, 0, 0), EAGAIN);
    equal!(option(fd, SOL_SOCKET, SO_ERROR)?, 0);
    let (mut name, mut len) = (SockaddrIn { family: 0, port: [0; 2], addr: [0; 4], zero: [9; 8] }, 16u32);
    call!(GETPEERNAME, fd, &raw mut name, &raw mut len)?;
    equal!((name.port, name.addr, len), (address.port, address.addr, 16));
    Ok(())
}

fn receiver_waits() -> Outcome {
    let (from, to) = (UdpSocket::bind(local())?, UdpSocket::bind(local())?);
    let pid = checked_child(|| {
        let mut bytes = [0; 10];
        equal!(to.recv_from(&mut bytes)?.0, 4);
        Ok(())
    })?;
    await_blocked(pid)?;
    from.send_to(b"wake", to.local_addr()?)?;
    exits(pid, 0)
}

/// Who asked about a socket that has no address yet hears of what comes when it has got one, by `sendto` or `bind`.
fn watched_before_bound() -> Outcome {
    let peer = UdpSocket::bind(local())?;
    for asks_once in [0, EPOLLET] {
        let (sends, binds) = (socket()?, socket()?);
        let epoll = Epoll::new()?;
        epoll.control(EPOLL_CTL_ADD, sends.fd().raw(), EPOLLIN | asks_once, 1)?;
        epoll.control(EPOLL_CTL_ADD, binds.fd().raw(), EPOLLIN | asks_once, 2)?;
        equal!(epoll.wait(0)?, []);
        let address = raw_address(peer.local_addr()?);
        call!(SENDTO, sends.fd().raw(), b"hello".as_ptr(), 5, 0, &raw const address, 16)?;
        let (_, from) = peer.recv_from(&mut [0; 8])?;
        peer.send_to(b"reply", from)?;
        equal!(epoll.wait(-1)?, [(EPOLLIN, 1)]);
        equal!(call!(RECVFROM, sends.fd().raw(), [0u8; 8].as_mut_ptr(), 8, MSG_DONTWAIT, 0, 0), Ok(5));
        equal!(epoll.wait(0)?, []);
        peer.send_to(b"there?", bind_local(&binds)?)?;
        equal!(epoll.wait(-1)?, [(EPOLLIN, 2)]);
    }
    Ok(())
}

fn receiver_waits_unbound() -> Outcome {
    let (from, to) = (UdpSocket::bind(local())?, socket()?);
    let pid = checked_child(|| {
        equal!(call!(RECVFROM, to.fd().raw(), [0u8; 8].as_mut_ptr(), 8, 0, 0, 0), Ok(4));
        Ok(())
    })?;
    await_blocked(pid)?;
    from.send_to(b"wake", bind_local(&to)?)?;
    exits(pid, 0)
}

/// Gives a socket a free port of this host, and says which.
fn bind_local(socket: &rt::fs::File) -> Result<SocketAddr, rt::abi::Errno> {
    let fd = socket.fd().raw();
    let (mut address, mut len) = (raw_address(local()), 16u32);
    call!(BIND, fd, &raw const address, 16)?;
    call!(GETSOCKNAME, fd, &raw mut address, &raw mut len)?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_be_bytes(address.port))))
}

fn empty() -> Outcome {
    let sockets: Result<Vec<_>, _> = (0..20).map(|_| UdpSocket::bind(local())).collect();
    let sockets = sockets?;
    let mut ports: Vec<u16> = Vec::new();
    for socket in &sockets {
        ports.push(socket.local_addr()?.port());
    }
    ports.sort_unstable();
    ports.dedup();
    equal!(ports.len(), 20);
    equal!(sockets[0].send_to(&[], sockets[1].local_addr()?)?, 0);
    equal!(sockets[1].recv_from(&mut [0; 4])?.0, 0);
    Ok(())
}
