//! Local sockets (`AF_UNIX`) for tasks, in the shape of `tokio::net`: the calls wait in the task, not in the thread.

use crate::ancillary;
use crate::connections::{self, Listener};
use crate::datagrams::Datagrams;
use crate::io;
use crate::net::Shutdown;
use crate::owned::{IoBuf, IoBufMut};
use crate::socket::{self, Address, Raw};
use crate::stream::{Stream, reads, writes};
use crate::sys::{OwnedFd, retry, syscall};
use abi::Errno;
use abi::net::{AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, SockaddrUn};
use alloc::vec::Vec;
use core::str;
use futures_util::stream;

/// Bytes of the longest name.
const NAME_MAX: usize = size_of::<SockaddrUn>() - FAMILY;
/// Bytes of the family, before the name.
const FAMILY: usize = 2;

/// The name of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAddr(Vec<u8>);

impl SocketAddr {
    /// A path; behind a first byte 0 a name that is no file's.
    ///
    /// # Errors
    /// `EINVAL` for none, or one that is longer than 108 bytes.
    pub fn new(name: impl AsRef<[u8]>) -> io::Result<Self> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::EINVAL.into());
        }
        Ok(Self(name.to_vec()))
    }

    /// Whether it has no name, as the end of a connection that was made and not bound.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }

    /// The path, if it is one.
    #[must_use]
    pub fn as_pathname(&self) -> Option<&str> {
        let path = str::from_utf8(&self.0).ok()?;
        (!path.is_empty() && !path.starts_with('\0')).then_some(path)
    }
}

impl Address for SocketAddr {
    fn to_raw(&self) -> Raw {
        Raw::of(&[&(AF_UNIX as u16).to_le_bytes(), &*self.0].concat())
    }

    fn from_raw(raw: &Raw) -> io::Result<Self> {
        if raw.len as usize >= FAMILY && raw.family() != AF_UNIX {
            return Err(Errno::EAFNOSUPPORT.into());
        }
        let name = raw.bytes.get(FAMILY..raw.len as usize).unwrap_or_default();
        // A path may have its end with it.
        let len = match name.first() {
            Some(0) => name.len(),
            _ => name.iter().position(|byte| *byte == 0).unwrap_or(name.len()),
        };
        Ok(Self(name[..len].to_vec()))
    }
}

/// Two sockets that are connected to each other.
fn pair(kind: u32) -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0i32; 2];
    syscall!(SOCKETPAIR, AF_UNIX, kind | SOCK_CLOEXEC, 0, ends.as_mut_ptr())?;
    Ok(ends.map(|fd| OwnedFd::new(fd as usize)))
}

/// A socket that accepts connections. Any number of tasks may do so at a time.
///
/// ```ignore
/// let listener = UnixListener::bind(&SocketAddr::new("/tmp/service")?)?;
/// let near = UnixStream::connect(&listener.local_addr()?).await?;
/// let (far, _) = listener.accept().await?;
/// ```
#[derive(Debug)]
pub struct UnixListener(Listener);

impl UnixListener {
    /// Listens under this name.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub fn bind(addr: &SocketAddr) -> io::Result<Self> {
        Ok(Self(Listener::new(socket::listen(addr, SOCK_STREAM | SOCK_NONBLOCK)?)))
    }

    /// Waits for a connection. One that comes while a future that was dropped is being cancelled is closed.
    ///
    /// # Errors
    /// `EMFILE`.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((UnixStream(stream), peer))
    }

    /// The connections, as they come; without an end. Who stops waiting for one loses none.
    pub fn incoming(&self) -> impl futures_util::Stream<Item = io::Result<UnixStream>> + '_ {
        stream::unfold(self, async |listener| Some((listener.accept().await.map(|(stream, _)| stream), listener)))
    }

    /// Its name.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(self.0.fd())
    }
}

/// A connection. One task may read while another writes.
#[derive(Debug)]
pub struct UnixStream(Stream);

impl UnixStream {
    /// Connects to who listens under this name; waits for a place among those that wait to be accepted.
    ///
    /// # Errors
    /// `ECONNREFUSED`.
    pub async fn connect(addr: &SocketAddr) -> io::Result<Self> {
        let stream = Stream::socket(socket::socket(addr, SOCK_STREAM | SOCK_NONBLOCK)?);
        match retry(|| socket::connect(stream.fd(), addr)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => connections::connect(&stream, addr).await?,
            connected => connected?,
        }
        Ok(Self(stream))
    }

    /// Two ends that are connected to each other.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let [near, far] = pair(SOCK_STREAM | SOCK_NONBLOCK)?;
        Ok((Self(Stream::socket(near)), Self(Stream::socket(far))))
    }

    reads!();
    writes!();

    /// Sends some of the bytes, and with the first of them descriptors, which this process no longer has then, whatever comes of it. Without bytes
    /// nothing is sent.
    ///
    /// # Errors
    /// As for writing; `EINVAL`: more than 253 descriptors, or a ring's; `ETOOMANYREFS`: too many are under way. The buffer comes back.
    pub async fn send_fds<B: IoBuf>(&self, buf: B, fds: Vec<OwnedFd>) -> (io::Result<usize>, B) {
        ancillary::send(self.0.readiness().fd(), buf, fds).await
    }

    /// Receives bytes, and the descriptors that came with them: no more than `most`, the others are closed. No bytes: the end.
    ///
    /// # Errors
    /// As for reading; the buffer comes back.
    pub async fn recv_fds<B: IoBufMut>(&self, buf: B, most: usize) -> (io::Result<(usize, Vec<OwnedFd>)>, B) {
        ancillary::receive(self.0.readiness().fd(), buf, most).await
    }

    /// Closes one or both directions.
    ///
    /// # Errors
    /// None for a connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.0.fd(), how.number())
    }

    /// The name of the other end.
    ///
    /// # Errors
    /// None for a connection.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer(self.0.fd())
    }
}

/// A socket for datagrams: one of two that are connected to each other, or one with a name. Any number of tasks may send and receive.
#[derive(Debug)]
pub struct UnixDatagram(Datagrams);

impl UnixDatagram {
    /// Two of them.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let [near, far] = pair(SOCK_DGRAM)?;
        Ok((Self(Datagrams::new(near)), Self(Datagrams::new(far))))
    }

    /// One that others send to by this name. A path's file stays when the socket is gone.
    ///
    /// # Errors
    /// `EADDRINUSE`, and those of making a file.
    pub fn bind(addr: &SocketAddr) -> io::Result<Self> {
        let fd = socket::socket(addr, SOCK_DGRAM)?;
        socket::bind(&fd, addr)?;
        Ok(Self(Datagrams::new(fd)))
    }

    /// One without a name, to which nobody can reply.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn unbound() -> io::Result<Self> {
        Ok(Self(Datagrams::new(OwnedFd::new(syscall!(SOCKET, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)?))))
    }

    /// What is sent without a name goes there from now on, and only what comes from there is received.
    ///
    /// # Errors
    /// `ECONNREFUSED`: nobody has that name; `EACCES`.
    pub fn connect(&self, addr: &SocketAddr) -> io::Result<()> {
        socket::connect(self.0.fd(), addr)
    }

    /// Sends one datagram to who has this name; waits for room.
    ///
    /// # Errors
    /// `EMSGSIZE`, `ECONNREFUSED`, `EACCES`; the buffer comes back.
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: &SocketAddr) -> (io::Result<usize>, B) {
        self.0.send(buf, Some(to.to_raw())).await
    }

    /// As [`UnixDatagram::recv`], with who has sent it, who may have no name.
    ///
    /// # Errors
    /// As there.
    pub async fn recv_from<B: IoBufMut>(&self, buf: B) -> (io::Result<(usize, SocketAddr)>, B) {
        self.0.receive_from(buf).await
    }

    /// Its name; unnamed if it has none.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(self.0.fd())
    }

    /// The name of the one that it is connected to.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer(self.0.fd())
    }

    /// Sends one datagram; waits for room.
    ///
    /// # Errors
    /// `EMSGSIZE`, `EPIPE` when the other one is gone; the buffer comes back.
    pub async fn send<B: IoBuf>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.send(buf, None).await
    }

    /// Waits for a datagram; what there is no room for is lost. So is one that comes before a future that was dropped is cancelled.
    ///
    /// # Errors
    /// None for a pair; the buffer comes back.
    pub async fn recv<B: IoBufMut>(&self, buf: B) -> (io::Result<usize>, B) {
        let (received, buf) = self.0.receive(buf).await;
        (received.map(|(len, _)| len), buf)
    }

    /// Sends one datagram with descriptors; as [`UnixStream::send_fds`], but one without bytes is sent.
    ///
    /// # Errors
    /// As there.
    pub async fn send_fds<B: IoBuf>(&self, buf: B, fds: Vec<OwnedFd>) -> (io::Result<usize>, B) {
        ancillary::send(self.0.fd(), buf, fds).await
    }

    /// Waits for a datagram and takes its descriptors; as [`UnixStream::recv_fds`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv_fds<B: IoBufMut>(&self, buf: B, most: usize) -> (io::Result<(usize, Vec<OwnedFd>)>, B) {
        ancillary::receive(self.0.fd(), buf, most).await
    }
}
