//! Sockets for tasks, in the shape of `tokio::net`: the calls wait in the task, not in the thread.

use crate::connections::{self, Listener};
use crate::io;
use crate::net::Shutdown;
use crate::socket;
use crate::stream::{Stream, reads, writes};
use abi::net::{IPPROTO_TCP, SOCK_NONBLOCK, SOCK_STREAM, TCP_NODELAY};
use core::net::SocketAddr;
use futures_util::stream;

/// A socket that accepts connections. Any number of tasks may do so at a time.
///
/// ```ignore
/// let listener = TcpListener::bind(([127, 0, 0, 1], 8080).into())?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     rt::task::spawn(serve(stream));
/// }
/// ```
#[derive(Debug)]
pub struct TcpListener(Listener);

impl TcpListener {
    /// Listens at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self(Listener::new(socket::listen(&addr, SOCK_STREAM | SOCK_NONBLOCK)?)))
    }

    /// Waits for a connection. One that comes while a future that was dropped is being cancelled is closed.
    ///
    /// # Errors
    /// `ECONNABORTED`, `EMFILE`.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((TcpStream(stream), peer))
    }

    /// The connections, as they come; without an end. Who stops waiting for one loses none.
    pub fn incoming(&self) -> impl futures_util::Stream<Item = io::Result<TcpStream>> + '_ {
        stream::unfold(self, async |listener| Some((listener.accept().await.map(|(stream, _)| stream), listener)))
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
    /// Connects to `addr`. The attempt ends when the future is dropped.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = Stream::socket(socket::socket(&addr, SOCK_STREAM | SOCK_NONBLOCK)?);
        connections::connect(&stream, &addr).await?;
        Ok(Self(stream))
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
