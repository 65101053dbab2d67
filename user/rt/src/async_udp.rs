//! Datagrams for tasks: buffers belong to the operation until it has ended.

use crate::datagrams::Datagrams;
use crate::io;
use crate::net::SocketAddr;
use crate::owned::{IoBuf, IoBufMut};
use crate::socket::{self, Address};
use abi::net::SOCK_DGRAM;

/// A datagram socket. Any number of tasks may send and receive.
#[derive(Debug)]
pub struct UdpSocket(Datagrams);

impl UdpSocket {
    /// A socket at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let fd = socket::socket(&addr, SOCK_DGRAM)?;
        socket::bind(&fd, &addr)?;
        Ok(Self(Datagrams::new(fd)))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(self.0.fd())
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// `EMSGSIZE`, `ENETUNREACH`; the buffer comes back.
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: SocketAddr) -> (io::Result<usize>, B) {
        self.0.send(buf, Some(to.to_raw())).await
    }

    /// Waits for a datagram; what there is no room for is lost. So is one that comes before a future that was dropped is cancelled.
    ///
    /// # Errors
    /// `ECONNREFUSED` for an earlier datagram that found nobody; the buffer comes back.
    pub async fn recv_from<B: IoBufMut>(&self, buf: B) -> (io::Result<(usize, SocketAddr)>, B) {
        self.0.receive_from(buf).await
    }
}
