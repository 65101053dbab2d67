//! TCP over loopback. How connections begin and end is in [`ends`], datagrams are in [`datagrams`], what is sent over local sockets beside bytes
//! in [`rights`] and [`flights`], how they are ended in [`local_ends`], those without connections in [`local_datagrams`], those that are bound to
//! paths in [`local_paths`].

pub mod datagrams;
pub mod ends;
pub mod flights;
pub mod local_datagrams;
pub mod local_ends;
pub mod local_paths;
pub mod rights;

use crate::case::{Case, Outcome, Trouble};
use crate::files::pattern;
use crate::kept::charged;
use crate::machine;
use crate::process::{await_blocked, checked_child, child, dies, exits, kill};
use crate::programs::own_path;
use alloc::string::String;
use alloc::vec::Vec;
use rt::abi::errno::Result as Call;
use rt::abi::ioctl::{FIONREAD, SIOCOUTQ};
use rt::abi::net::{
    AF_INET, AF_UNIX, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SHUT_WR, SO_ERROR, SO_RCVBUF, SO_REUSEADDR,
    SO_SNDBUF, SO_TYPE, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SockaddrIn, TCP_NODELAY,
};
use rt::abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT, PollFd};
use rt::abi::signal::SIGKILL;
use rt::async_net;
use rt::fs;
use rt::io::{Read, Write};
use rt::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use rt::process::Command;
use rt::{task, thread};

pub const CASES: &[Case] = &[
    case!("tcp/echo", "D17 I1", echo),
    case!("tcp/addresses", "D17", addresses),
    case!("tcp/big-transfer", "D17", big_transfer),
    case!("tcp/both-ways-at-once", "D17", both_ways_at_once),
    case!("tcp/parallel-connections", "D17 G1", parallel_connections),
    case!("tcp/parallel-tasks", "D17 P5 C7", parallel_tasks),
    case!("tcp/half-close", "D17", half_close),
    case!("tcp/refused", "D17 E1", refused),
    case!("tcp/listener-gone", "D17 E1", listener_gone),
    case!("tcp/reset", "D17 E1", reset),
    case!("tcp/backlog", "D17", backlog),
    case!("tcp/address-in-use", "D17 E1", address_in_use),
    case!("tcp/non-blocking", "D17 I1", non_blocking),
    case!("tcp/short-send-without-room", "D17", short_send_without_room),
    case!("tcp/peek", "D17", peek),
    case!("tcp/options", "D17 D3", options),
    case!("tcp/asked-of-a-listener", "D17 D3", asked_of_a_listener),
    case!("tcp/errors", "E1", errors),
    case!("tcp/connections-in-sequence", "D13 D17", connections_in_sequence),
    case!("tcp/killed-server", "D14 D17", killed_server),
    case!("tcp/shared-listener", "D17", shared_listener),
    case!("tcp/all-in-segments", "D17", all_in_segments, slow),
];

/// Any port of this machine itself.
pub fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// An address as the calls take it.
pub fn raw_address(addr: SocketAddr) -> SockaddrIn {
    let ip = match addr {
        SocketAddr::V4(v4) => v4.ip().octets(),
        SocketAddr::V6(_) => [0; 4],
    };
    SockaddrIn { family: AF_INET as u16, port: addr.port().to_be_bytes(), addr: ip, zero: [0; 8] }
}

/// A listener, and its address.
pub fn listen() -> Result<(TcpListener, SocketAddr), Trouble> {
    let listener = TcpListener::bind(local())?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Two ends of a connection.
pub fn pair() -> Result<(TcpStream, TcpStream), Trouble> {
    let (listener, addr) = listen()?;
    let near = TcpStream::connect(addr)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// The cases of TCP pass also by the way to other hosts.
fn all_in_segments() -> Outcome {
    const SWITCH: &str = "/proc/asyncos/loopback-segments";
    if !machine::is_asyncos() {
        return Err(Trouble::skipped("there is no other way"));
    }
    if fs::read_to_string(SWITCH)?.trim() == "1" {
        return Err(Trouble::skipped("they are being run that way"));
    }
    let mut switch = fs::OpenOptions::new().read(true).write(true).open(SWITCH)?;
    fails!(call!(WRITE, switch.fd().raw(), b"2".as_ptr(), 1), EINVAL);
    // Another that has it has it still when one that never had is closed.
    let other = fs::OpenOptions::new().read(true).write(true).open(SWITCH)?;
    fails!(call!(WRITE, other.fd().raw(), b"2".as_ptr(), 1), EINVAL);
    switch.write_all(b"1")?;
    drop(other);
    equal!(fs::read_to_string(SWITCH)?.trim(), "1");
    // A connection has its buffers then.
    let before = charged()?;
    let ends = pair()?;
    let taken = charged()? - before;
    ensure!(taken > 200 << 10, "it goes the short way: {taken} bytes");
    drop(ends);
    let (status, said) = Command::new(&own_path()).args(["tcp/"]).output()?;
    drop(switch);
    equal!(fs::read_to_string(SWITCH)?.trim(), "0");
    let said = String::from_utf8_lossy(&said);
    let failed = said.lines().filter(|line| line.starts_with("not ok")).collect::<Vec<_>>().join("; ");
    ensure!(status.success(), "{status:?} {failed}");
    Ok(())
}

fn echo() -> Outcome {
    let (listener, addr) = listen()?;
    let pid = checked_child(|| {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = [0; 4096];
        loop {
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                len => stream.write_all(&bytes[..len])?,
            }
        }
    })?;
    let mut stream = TcpStream::connect(addr)?;
    for len in [1, 5, 1000, 4096, 9000] {
        let sent = pattern(len, len);
        stream.write_all(&sent)?;
        let mut back = alloc::vec![0; len];
        stream.read_exact(&mut back)?;
        ensure!(back == sent);
    }
    drop(stream);
    exits(pid, 0)
}

fn addresses() -> Outcome {
    let (listener, addr) = listen()?;
    ensure!(addr.port() != 0 && addr.ip().is_loopback());
    let near = TcpStream::connect(addr)?;
    let (far, from) = listener.accept()?;
    equal!(near.peer_addr()?, addr);
    equal!(far.local_addr()?, addr);
    equal!((near.local_addr()?, far.peer_addr()?), (from, from));
    let (other, other_addr) = listen()?;
    ensure!(other_addr.port() != addr.port());
    drop(other);
    Ok(())
}

fn send_all(stream: &mut TcpStream, total: usize) -> Outcome {
    let mut at = 0;
    while at < total {
        let len = (at % 30_011 + 1).min(total - at);
        stream.write_all(&pattern(at, len))?;
        at += len;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn receive_all(stream: &mut impl Read, total: usize) -> Outcome {
    let (mut at, mut bytes) = (0, alloc::vec![0; 20_000]);
    loop {
        let len = stream.read(&mut bytes)?;
        if len == 0 {
            break;
        }
        ensure!(bytes[..len] == pattern(at, len), "bytes changed after {at}");
        at += len;
    }
    equal!(at, total);
    Ok(())
}

fn big_transfer() -> Outcome {
    let (mut near, mut far) = pair()?;
    let total = 4 << 20;
    let pid = checked_child(|| send_all(&mut near, total))?;
    drop(near);
    receive_all(&mut far, total)?;
    exits(pid, 0)
}

fn both_ways_at_once() -> Outcome {
    let (near, far) = pair()?;
    let total = 1 << 20;
    let mut threads = Vec::new();
    for stream in [near, far] {
        let mut twin = rt::fs::File::from(stream.fd().try_clone()?);
        let mut stream = stream;
        threads.push(thread::spawn(move || send_all(&mut stream, total))?);
        threads.push(thread::spawn(move || receive_all(&mut twin, total))?);
    }
    for handle in threads {
        handle.join().ok_or_else(|| Trouble::failed("no result"))??;
    }
    Ok(())
}

/// Sixty-four connections, four processes at each end.
fn parallel_connections() -> Outcome {
    let (listener, addr) = listen()?;
    let mut pids = Vec::new();
    for _ in 0..4 {
        pids.push(checked_child(|| {
            let mut streams = Vec::new();
            for _ in 0..16 {
                streams.push(listener.accept()?.0);
            }
            for stream in &mut streams {
                let mut bytes = [0; 1000];
                stream.read_exact(&mut bytes)?;
                stream.write_all(&bytes)?;
            }
            Ok(())
        })?);
    }
    for client in 0..4usize {
        pids.push(checked_child(move || {
            let mut streams = Vec::new();
            for _ in 0..16 {
                streams.push(TcpStream::connect(addr)?);
            }
            for (index, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&pattern(client * 100 + index, 1000))?;
            }
            for (index, stream) in streams.iter_mut().enumerate() {
                let mut bytes = [0; 1000];
                stream.read_exact(&mut bytes)?;
                ensure!(bytes[..] == pattern(client * 100 + index, 1000), "an answer for another connection");
                equal!(stream.read(&mut bytes)?, 0);
            }
            Ok(())
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

/// Sixty-four connections of one process, each a task at both ends, on one thread.
fn parallel_tasks() -> Outcome {
    let result: rt::io::Result<usize> = task::block_on(async {
        let listener = async_net::TcpListener::bind(local())?;
        let addr = listener.local_addr()?;
        let server = task::spawn(async move {
            let mut connections = Vec::new();
            for _ in 0..64 {
                let Ok((stream, _)) = listener.accept().await else { break };
                connections.push(task::spawn(async move {
                    let mut bytes = [0; 500];
                    while let Ok(()) = stream.read_exact(&mut bytes).await {
                        if stream.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                }));
            }
            for connection in connections {
                let _ = connection.await;
            }
        });
        let mut clients = Vec::new();
        for client in 0..64usize {
            clients.push(task::spawn(async move {
                let stream = async_net::TcpStream::connect(addr).await?;
                for round in 0..5 {
                    let sent = pattern(client * 31 + round, 500);
                    stream.write_all(&sent).await?;
                    let mut back = [0; 500];
                    stream.read_exact(&mut back).await?;
                    if back[..] != sent {
                        return Ok(false);
                    }
                }
                Ok::<bool, rt::io::Error>(true)
            }));
        }
        let mut good = 0;
        for client in clients {
            good += usize::from(matches!(client.await, Ok(Ok(true))));
        }
        let _ = server.await;
        Ok(good)
    });
    equal!(result?, 64);
    Ok(())
}

fn half_close() -> Outcome {
    let (mut near, mut far) = pair()?;
    near.write_all(b"question")?;
    near.shutdown(Shutdown::Write)?;
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes)?;
    equal!(bytes, b"question");
    far.write_all(b"answer")?;
    drop(far);
    bytes.clear();
    near.read_to_end(&mut bytes)?;
    equal!(bytes, b"answer");
    let sent = call!(SENDTO, near.fd().raw(), b"x".as_ptr(), 1, MSG_NOSIGNAL, 0, 0);
    fails!(sent, EPIPE);
    Ok(())
}

fn refused() -> Outcome {
    let (listener, addr) = listen()?;
    drop(listener);
    fails!(TcpStream::connect(addr), ECONNREFUSED);
    Ok(())
}

fn listener_gone() -> Outcome {
    let (listener, addr) = listen()?;
    let mut waiting = TcpStream::connect(addr)?;
    drop(listener);
    fails!(TcpStream::connect(addr), ECONNREFUSED);
    // The connection that nobody accepted is cut.
    let result = waiting.read(&mut [0]);
    ensure!(matches!(result, Ok(0)) || result.is_err_and(|e| e.kind() == rt::io::ErrorKind::ConnectionReset));
    Ok(())
}

/// Closing with unread data tells the other end that data was lost.
fn reset() -> Outcome {
    let (mut near, far) = pair()?;
    near.write_all(b"never read")?;
    let mut poll = PollFd { fd: far.fd().raw(), events: POLLIN, revents: 0 };
    equal!(call!(PPOLL, &raw mut poll, 1, 0, 0, 0), Ok(1));
    drop(far);
    fails!(near.read(&mut [0; 10]), ECONNRESET);
    Ok(())
}

fn backlog() -> Outcome {
    let (listener, addr) = listen()?;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(TcpStream::connect(addr)?);
    }
    for client in &mut clients {
        client.write_all(b"early")?;
    }
    for _ in 0..16 {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        equal!(&bytes, b"early");
    }
    Ok(())
}

fn address_in_use() -> Outcome {
    let fd = call!(SOCKET, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?;
    let file = rt::raw::file(fd);
    let (_listener, addr) = listen()?;
    let raw = raw_address(addr);
    fails!(call!(BIND, file.fd().raw(), &raw const raw, 16), EADDRINUSE);
    let elsewhere = SockaddrIn { addr: [192, 0, 2, 77], port: [0, 0], ..raw };
    fails!(call!(BIND, file.fd().raw(), &raw const elsewhere, 16), EADDRNOTAVAIL);
    let any = SockaddrIn { port: [0, 0], ..raw };
    equal!(call!(BIND, file.fd().raw(), &raw const any, 16), Ok(0));
    fails!(call!(BIND, file.fd().raw(), &raw const any, 16), EINVAL);
    Ok(())
}

fn non_blocking() -> Outcome {
    let (listener, addr) = listen()?;
    let listening = call!(SOCKET, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)?;
    let client = rt::raw::file(listening);
    let raw = raw_address(addr);
    match call!(CONNECT, client.fd().raw(), &raw const raw, 16) {
        Err(rt::abi::Errno::EINPROGRESS) | Ok(0) => {}
        other => ensure!(false, "connect: {other:?}"),
    }
    let mut poll = PollFd { fd: client.fd().raw(), events: POLLOUT, revents: 0 };
    equal!(call!(PPOLL, &raw mut poll, 1, 0, 0, 0), Ok(1));
    equal!(poll.revents & (POLLOUT | POLLERR | POLLHUP), POLLOUT);
    equal!(option(client.fd().raw(), SOL_SOCKET, SO_ERROR)?, 0);
    let (mut far, _) = listener.accept()?;
    let mut byte = 0u8;
    fails!(call!(READ, client.fd().raw(), &raw mut byte, 1), EAGAIN);
    far.write_all(b"x")?;
    poll.events = POLLIN;
    equal!(call!(PPOLL, &raw mut poll, 1, 0, 0, 0), Ok(1));
    equal!(call!(READ, client.fd().raw(), &raw mut byte, 1), Ok(1));
    // A sender that nobody reads from is stopped at some time.
    let chunk = [0u8; 16384];
    let mut sent = 0;
    while let Ok(len) = call!(WRITE, client.fd().raw(), chunk.as_ptr(), chunk.len()) {
        sent += len;
        ensure!(sent < 64 << 20, "a socket takes everything");
    }
    let mut received = 0;
    drop(client);
    let mut bytes = alloc::vec![0; 65536];
    loop {
        match far.read(&mut bytes)? {
            0 => break,
            len => received += len,
        }
    }
    equal!(received, sent);
    Ok(())
}

/// Sends what there is room for, of `bytes`; how many that were.
fn fill(stream: &TcpStream, bytes: &[u8]) -> Result<usize, Trouble> {
    let (fd, mut sent) = (stream.fd().raw(), 0);
    while sent < bytes.len() {
        let len = (bytes.len() - sent).min(1000);
        match call!(SENDTO, fd, bytes[sent..].as_ptr(), len, MSG_DONTWAIT, 0, 0) {
            Err(rt::abi::Errno::EAGAIN) => break,
            done => sent += done?,
        }
    }
    Ok(sent)
}

const LAST: usize = 4096;

/// A call that waits sends all of it, though there was room for the first bytes only.
fn short_send_without_room() -> Outcome {
    without_room(|fd, bytes| call!(SENDTO, fd, bytes.as_ptr(), LAST, 0, 0, 0))?;
    without_room(|fd, bytes| call!(WRITE, fd, bytes.as_ptr(), LAST))
}

/// `send` is to send [`LAST`] bytes, for 100 of which there is room.
fn without_room(send: impl FnOnce(i32, &[u8]) -> Call<usize>) -> Outcome {
    let (full, _far) = pair()?;
    let room = fill(&full, &alloc::vec![0; 1 << 20])?;
    ensure!(room > LAST && room < 1 << 20, "room for {room}");
    let (near, mut far) = pair()?;
    let bytes = pattern(3, room - 100 + LAST);
    let before = fill(&near, &bytes[..room - 100])?;
    let expected = bytes[..before + LAST].to_vec();
    let reader = thread::spawn(move || -> Outcome {
        thread::sleep(core::time::Duration::from_millis(20));
        let mut got = alloc::vec![0; expected.len()];
        far.read_exact(&mut got)?;
        ensure!(got == expected);
        Ok(())
    })?;
    equal!(send(near.fd().raw(), &bytes[before..]), Ok(LAST));
    reader.join().unwrap_or_else(|| Err(Trouble::failed("the reader has died")))
}

fn peek() -> Outcome {
    let (mut near, far) = pair()?;
    let mut bytes = [0u8; 8];
    let mut receive = |flags: u32, len: usize| call!(RECVFROM, far.fd().raw(), bytes.as_mut_ptr(), len, flags, 0, 0);
    fails!(receive(MSG_DONTWAIT, 8), EAGAIN);
    near.write_all(b"abc")?;
    while receive(MSG_PEEK, 8)? < 3 {}
    equal!(receive(MSG_PEEK, 2), Ok(2));
    equal!(receive(0, 8), Ok(3));
    equal!(&bytes[..3], b"abc");
    Ok(())
}

/// The value of an option that is a number.
pub fn option(fd: i32, level: u32, name: u32) -> Result<i32, rt::abi::Errno> {
    let (mut value, mut len) = (-1i32, 4u32);
    call!(GETSOCKOPT, fd, level, name, &raw mut value, &raw mut len)?;
    Ok(value)
}

fn options() -> Outcome {
    let (near, _far) = pair()?;
    let fd = near.fd().raw();
    equal!(option(fd, SOL_SOCKET, SO_TYPE)?, SOCK_STREAM as i32);
    near.set_nodelay(true)?;
    ensure!(option(fd, IPPROTO_TCP, TCP_NODELAY)? != 0);
    near.set_nodelay(false)?;
    equal!(option(fd, IPPROTO_TCP, TCP_NODELAY)?, 0);
    let one = 1i32;
    call!(SETSOCKOPT, fd, SOL_SOCKET, SO_REUSEADDR, &raw const one, 4)?;
    ensure!(option(fd, SOL_SOCKET, SO_REUSEADDR)? != 0);
    fails!(call!(SETSOCKOPT, fd, SOL_SOCKET, SO_REUSEADDR, &raw const one, 2), EINVAL);
    fails!(option(fd, SOL_SOCKET, 9999), ENOPROTOOPT);
    // Sizes are told as Linux tells them: twice what was asked for, within limits.
    for file in [near.fd().raw(), rights::pair(SOCK_STREAM)?.0.fd().raw(), datagrams()?.fd().raw()] {
        for (name, least) in [(SO_RCVBUF, 2_304), (SO_SNDBUF, 4_608)] {
            for (asked, told) in [(1, least), (10_000, 20_000), (1 << 30, 2 * 212_992), (-1, 2 * 212_992)] {
                call!(SETSOCKOPT, file, SOL_SOCKET, name, &raw const asked, 4)?;
                equal!(option(file, SOL_SOCKET, name)?, told);
            }
        }
    }
    Ok(())
}

fn datagrams() -> Result<rt::fs::File, Trouble> {
    Ok(rt::raw::file(call!(SOCKET, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)?))
}

/// How much there is to read, and how much is under way, is not asked of who listens.
fn asked_of_a_listener() -> Outcome {
    let (listener, _) = listen()?;
    let mut bytes = 0i32;
    for command in [FIONREAD, SIOCOUTQ] {
        fails!(call!(IOCTL, listener.fd().raw(), command, &raw mut bytes), EINVAL);
    }
    let local = rt::raw::file(call!(SOCKET, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    // Any name.
    let name = [AF_UNIX as u8, 0];
    call!(BIND, local.fd().raw(), name.as_ptr(), 2)?;
    equal!(call!(IOCTL, local.fd().raw(), FIONREAD, &raw mut bytes), Ok(0));
    call!(LISTEN, local.fd().raw(), 1)?;
    fails!(call!(IOCTL, local.fd().raw(), FIONREAD, &raw mut bytes), EINVAL);
    equal!(call!(IOCTL, local.fd().raw(), SIOCOUTQ, &raw mut bytes), Ok(0));
    Ok(())
}

fn errors() -> Outcome {
    let (read, _write) = rt::pipe::pipe()?;
    fails!(call!(LISTEN, read.fd().raw(), 1), ENOTSOCK);
    fails!(call!(SOCKET, 999, SOCK_STREAM, 0), EAFNOSUPPORT);
    fails!(call!(SOCKET, AF_INET, 99, 0), EINVAL);
    let socket = rt::raw::file(call!(SOCKET, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?);
    let fd = socket.fd().raw();
    fails!(call!(ACCEPT4, fd, 0, 0, 0), EINVAL);
    fails!(call!(SHUTDOWN, fd, SHUT_WR), ENOTCONN);
    fails!(call!(GETPEERNAME, fd, 0x10000, 0x10000), ENOTCONN);
    let address = raw_address(local());
    fails!(call!(CONNECT, fd, &raw const address, 3), EINVAL);
    fails!(call!(LSEEK, fd, 0, 0), ESPIPE);
    let (near, _far) = pair()?;
    let peer = raw_address(near.peer_addr()?);
    fails!(call!(CONNECT, near.fd().raw(), &raw const peer, 16), EISCONN);
    let datagram = rt::raw::file(call!(SOCKET, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)?);
    fails!(call!(LISTEN, datagram.fd().raw(), 1), EOPNOTSUPP);
    Ok(())
}

fn connections_in_sequence() -> Outcome {
    let (listener, addr) = listen()?;
    for number in 0..150u8 {
        let mut near = TcpStream::connect(addr)?;
        let (mut far, _) = listener.accept()?;
        near.write_all(&[number])?;
        let mut byte = [0];
        far.read_exact(&mut byte)?;
        equal!(byte, [number]);
    }
    Ok(())
}

fn killed_server() -> Outcome {
    let (listener, addr) = listen()?;
    let pid = child(|| {
        let accepted = listener.accept();
        crate::process::sleep_ms(100_000);
        drop(accepted);
        0
    })?;
    drop(listener);
    let mut near = TcpStream::connect(addr)?;
    await_blocked(pid)?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    // Its end is closed or reset; and its port listens no more.
    let end = near.read(&mut [0]);
    ensure!(matches!(end, Ok(0)) || end.is_err());
    fails!(TcpStream::connect(addr), ECONNREFUSED);
    Ok(())
}

/// Many wait in accept for one listener: each connection goes to one of them.
fn shared_listener() -> Outcome {
    let (listener, addr) = listen()?;
    let mut pids = Vec::new();
    for _ in 0..6 {
        pids.push(checked_child(|| {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(b"!")?;
            Ok(())
        })?);
    }
    for _ in 0..6 {
        let mut bytes = Vec::new();
        TcpStream::connect(addr)?.read_to_end(&mut bytes)?;
        equal!(bytes, b"!");
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}
