//! Sockets over loopback.

use crate::measure::{Outcome, measure};
use crate::processes::{end, fork};
use rt::io::{Read, Write};
use rt::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

/// Bytes of a message.
const MESSAGE: usize = 64;

/// A message there and back between two processes over TCP, the same over UDP within one, a connection.
pub fn round_trips() -> Outcome {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(local)?;
    let addr = listener.local_addr()?;
    let pid = fork(|| {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
        }
    })?;
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    measure("tcp_pp", 2_000, |count| {
        for _ in 0..count {
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
        }
        Ok(())
    })?;
    drop(stream);
    measure("tcp_connect_echo_close", 200, |count| {
        for _ in 0..count {
            let mut stream = TcpStream::connect(addr)?;
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
        }
        Ok(())
    })?;
    end(pid)?;
    let (from, to) = (UdpSocket::bind(local)?, UdpSocket::bind(local)?);
    let there = to.local_addr()?;
    measure("udp_send_receive", 2_000, |count| {
        for _ in 0..count {
            from.send_to(&message, there)?;
            to.recv_from(&mut message)?;
        }
        Ok(())
    })
}
