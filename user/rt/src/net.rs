//! Blocking sockets, in the shape of `std::net`. For tasks there is [`crate::async_net`].

use crate::io::{self, Read, Write};
use crate::socket::{self, Address};
use crate::sys::{self, OwnedFd};
use abi::net::{IPPROTO_TCP, SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_DGRAM, SOCK_STREAM, TCP_NODELAY};

pub use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Which half of a connection to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Receiving.
    Read,
    /// Sending.
    Write,
    /// Both.
    Both,
}

impl Shutdown {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Read => SHUT_RD,
            Self::Write => SHUT_WR,
            Self::Both => SHUT_RDWR,
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener(OwnedFd);

impl TcpListener {
    /// Listens at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self(socket::listen(&addr, SOCK_STREAM)?))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `ECONNABORTED`, `EMFILE`.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, addr) = socket::accept(&self.0, 0)?;
        Ok((TcpStream(fd), addr))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(&self.0)
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream(OwnedFd);

impl TcpStream {
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let fd = socket::socket(&addr, SOCK_STREAM)?;
        socket::connect(&fd, &addr)?;
        Ok(Self(fd))
    }

    /// The other end.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer(&self.0)
    }

    /// This end.
    ///
    /// # Errors
    /// None for a connected socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(&self.0)
    }

    /// Sends small pieces at once.
    ///
    /// # Errors
    /// None for a TCP socket.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        socket::set_option(&self.0, IPPROTO_TCP, TCP_NODELAY, i32::from(on))
    }

    /// Closes one or both directions.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(&self.0, how.number())
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(sys::read(self.0.raw(), buf)?)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(socket::send(&self.0, buf, None, 0)?)
    }
}

/// A datagram socket.
#[derive(Debug)]
pub struct UdpSocket(OwnedFd);

impl UdpSocket {
    /// A socket at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let fd = socket::socket(&addr, SOCK_DGRAM)?;
        socket::bind(&fd, &addr)?;
        Ok(Self(fd))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// `EMSGSIZE`, `ENETUNREACH`.
    pub fn send_to(&self, buf: &[u8], to: SocketAddr) -> io::Result<usize> {
        Ok(socket::send(&self.0, buf, Some(&to.to_raw()), 0)?)
    }

    /// Waits for a datagram; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// `ECONNREFUSED` for an earlier datagram that found nobody.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, from) = socket::receive(&self.0, buf)?;
        Ok((count, SocketAddr::from_raw(&from)?))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(&self.0)
    }
}
