//! Sockets for tasks, in the shape of `tokio::net`: the calls wait in the task, not in the thread.

use crate::io;
use crate::net::Shutdown;
use crate::reactor::{AsyncFd, Direction};
use crate::socket;
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
        Ok((TcpStream(AsyncFd::new(fd)), addr))
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
pub struct TcpStream(AsyncFd);

impl TcpStream {
    /// Connects to `addr`.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = Self(AsyncFd::new(socket::socket(&addr, SOCK_STREAM | SOCK_NONBLOCK)?));
        match socket::connect(stream.0.fd(), &addr) {
            Err(error) if error == Errno::EINPROGRESS.into() => {
                stream.0.ready(Direction::Write).await?;
                socket::take_error(stream.0.fd())?;
            }
            result => result?,
        }
        Ok(stream)
    }

    /// Reads up to `buf.len()` bytes; 0 is the end.
    ///
    /// # Errors
    /// `ECONNRESET`.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the peer closes before.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buf).await
    }

    /// Writes some of `buf`; returns how much.
    ///
    /// # Errors
    /// `EPIPE`, `ECONNRESET`.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.io(Direction::Write, |fd| Ok(socket::send(fd, buf, None)?)).await
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// `EPIPE`, `ECONNRESET`.
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.write(buf).await?;
            buf = &buf[n..];
        }
        Ok(())
    }

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
