//! Sockets for tasks, in the shape of `tokio::net`: the calls wait in the task, not in the thread.

use crate::io;
use crate::net::Shutdown;
use crate::reactor::{AsyncFd, Direction};
use crate::socket;
use crate::stream::{Stream, reads, writes};
use abi::Errno;
use abi::net::{IPPROTO_TCP, SOCK_NONBLOCK, SOCK_STREAM, TCP_NODELAY};
use core::net::SocketAddr;

/// A socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener(AsyncFd);

impl TcpListener {
    /// Listens at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self(AsyncFd::new(socket::listen(&addr, SOCK_STREAM | SOCK_NONBLOCK)?)))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `ECONNABORTED`, `EMFILE`.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, addr) = self.0.io(Direction::Read, |fd| socket::accept(fd, SOCK_NONBLOCK)).await?;
        Ok((TcpStream(Stream::socket(fd)), addr))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(self.0.fd())
    }
}

/// A connection. One task may read while another writes.
#[derive(Debug)]
pub struct TcpStream(Stream);

impl TcpStream {
    /// Connects to `addr`.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = Self(Stream::socket(socket::socket(&addr, SOCK_STREAM | SOCK_NONBLOCK)?));
        match socket::connect(stream.0.fd(), &addr) {
            Err(error) if error == Errno::EINPROGRESS.into() => {
                stream.0.readiness().ready(Direction::Write).await?;
                socket::take_error(stream.0.fd())?;
            }
            result => result?,
        }
        Ok(stream)
    }

    reads!();
    writes!();

    /// Sends small pieces at once.
    ///
    /// # Errors
    /// None for a TCP socket.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        socket::set_option(self.0.fd(), IPPROTO_TCP, TCP_NODELAY, i32::from(on))
    }

    /// Closes one or both directions.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.0.fd(), how.number())
    }

    /// The other end.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer(self.0.fd())
    }
}
