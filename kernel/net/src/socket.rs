//! What a socket descriptor refers to: one of three kinds behind `io::File`.
//!
//! The forms with `_now` never wait. A blocking call is `*_now`, and while that answers `None`,
//! [`File::wait`] and `*_now` again; the system-call layer does that, with the time limits that
//! [`SocketOption::ReceiveTimeout`] and [`SocketOption::SendTimeout`] give.

use crate::{
    Address, Net,
    channel::Framing,
    flights::Place,
    letters::Sender,
    local::LocalSocket,
    local_datagrams::LocalDatagrams,
    options::{SocketOption, SocketValue},
    rights::Rights,
    tcp::TcpSocket,
    udp::UdpSocket,
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc};
use core::any::Any;
use exec::sync::WaitQueue;
use io::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want},
};
use mem::{AddressSpace, Sink, Source};

/// A socket as a file.
pub struct SocketFile {
    kind: Kind,
}

enum Kind {
    Tcp(TcpSocket),
    Udp(UdpSocket),
    Local(LocalSocket, Framing),
    LocalDatagrams(LocalDatagrams),
}

/// Which half `shutdown` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// What was received.
#[derive(Debug)]
pub struct Received {
    /// Bytes stored.
    pub len: usize,
    /// Bytes of the whole datagram; more than `len` if it was cut.
    pub full: usize,
    /// Who sent it; `None` for streams.
    pub from: Option<Address>,
    /// Descriptors that came with it, and who sent it if the socket asks for that (`SO_PASSCRED`).
    pub rights: Option<Box<Rights>>,
    /// Then, of a stream: bytes of the same message that are left. A call goes no further than these.
    pub left: u32,
    /// Nothing was received, nor will be.
    pub is_end: bool,
}

impl Received {
    /// No more comes.
    pub(crate) fn end() -> Self {
        Self { is_end: true, ..Self::bytes(0, 0, None) }
    }

    /// Without anything else.
    pub(crate) fn bytes(len: usize, full: usize, from: Option<Address>) -> Self {
        Self { len, full, from, rights: None, left: 0, is_end: false }
    }

    fn stream(len: usize) -> Self {
        Self::bytes(len, len, None)
    }
}

/// An accepted connection.
pub struct Accepted {
    /// The new socket.
    pub socket: Arc<SocketFile>,
    /// Who connected.
    pub peer: Address,
}

impl SocketFile {
    /// A TCP socket over IPv4.
    #[must_use]
    pub fn tcp(net: &Arc<Net>) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Tcp(TcpSocket::new(net.clone())) })
    }

    /// A UDP socket over IPv4.
    #[must_use]
    pub fn udp(net: &Arc<Net>) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Udp(UdpSocket::new(net.clone())) })
    }

    /// A local socket.
    #[must_use]
    pub fn local(net: &Arc<Net>, framing: Framing) -> Arc<Self> {
        match framing {
            Framing::Datagrams => Arc::new(Self { kind: Kind::LocalDatagrams(LocalDatagrams::new(net)) }),
            _ => Self::wrap_local(LocalSocket::new(net, framing), framing),
        }
    }

    /// Two local sockets that are connected to each other.
    ///
    /// # Errors
    /// `ENOMEM` if the account has no room for their buffers.
    pub fn pair(net: &Arc<Net>, caller: &Caller, framing: Framing) -> Result<(Arc<Self>, Arc<Self>), Errno> {
        if framing == Framing::Datagrams {
            let (a, b) = LocalDatagrams::pair(net, caller);
            return Ok([a, b].map(|socket| Arc::new(Self { kind: Kind::LocalDatagrams(socket) })).into());
        }
        let (a, b) = LocalSocket::pair(net, caller, framing)?;
        Ok((Self::wrap_local(a, framing), Self::wrap_local(b, framing)))
    }

    fn wrap_local(socket: LocalSocket, framing: Framing) -> Arc<Self> {
        Arc::new(Self { kind: Kind::Local(socket, framing) })
    }

    /// Whether the socket carries a byte stream: a blocking send then goes on until all is sent.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Tcp(_) | Kind::Local(_, Framing::Stream))
    }

    /// What stands for a local socket among those in flight.
    pub(crate) fn place(&self) -> Option<Place> {
        match &self.kind {
            Kind::Local(socket, _) => Some(socket.place()),
            Kind::LocalDatagrams(socket) => Some(socket.place()),
            Kind::Tcp(_) | Kind::Udp(_) => None,
        }
    }

    /// Takes out the descriptors that wait to be received, as it is about to end. No more come.
    pub(crate) fn strip(&self, into: &mut Option<Box<Rights>>) {
        match &self.kind {
            Kind::Local(socket, _) => socket.strip(into),
            Kind::LocalDatagrams(socket) => socket.strip(into),
            Kind::Tcp(_) | Kind::Udp(_) => {}
        }
    }

    /// Whether the socket is `AF_UNIX`.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.kind, Kind::Local(..) | Kind::LocalDatagrams(_))
    }

    /// How it keeps message boundaries.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match self.kind {
            Kind::Tcp(_) => Framing::Stream,
            Kind::Local(_, framing) => framing,
            Kind::Udp(_) | Kind::LocalDatagrams(_) => Framing::Datagrams,
        }
    }

    /// The ids of the peer of a local socket when it connected or began to listen, or of who made the pair (`SO_PEERCRED`).
    #[must_use]
    pub fn peer_identity(&self) -> Sender {
        match &self.kind {
            Kind::Local(socket, _) => socket.peer_identity(),
            Kind::LocalDatagrams(socket) => socket.peer_identity(),
            Kind::Tcp(_) | Kind::Udp(_) => Sender::NOBODY,
        }
    }

    /// Gives the socket a local address.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EINVAL` (bound already), `EADDRINUSE`, `EADDRNOTAVAIL`, `ENOMEM`.
    pub fn bind(&self, caller: &Caller, address: &Address) -> Result<(), Errno> {
        match (&self.kind, address) {
            (Kind::Tcp(socket), Address::V4(address)) => socket.bind(*address),
            (Kind::Udp(socket), Address::V4(address)) => socket.bind(caller, *address),
            (Kind::Local(socket, _), Address::Local(name)) => socket.bind(caller, name),
            (Kind::LocalDatagrams(socket), Address::Local(name)) => socket.bind(caller, name),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// Starts taking connections; up to `backlog` wait to be accepted. The caller's account pays for them.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`, `EADDRINUSE`.
    pub fn listen(&self, caller: &Caller, backlog: usize) -> Result<(), Errno> {
        match &self.kind {
            Kind::Tcp(socket) => socket.listen(caller, backlog),
            Kind::Local(socket, _) => socket.listen(caller, backlog),
            Kind::Udp(_) | Kind::LocalDatagrams(_) => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL` if the socket does not listen.
    pub fn accept_now(&self) -> Attempt<Accepted> {
        match &self.kind {
            Kind::Tcp(socket) => Ok(socket.accept_now()?.map(|(socket, peer)| Accepted {
                socket: Arc::new(Self { kind: Kind::Tcp(socket) }),
                peer: Address::V4(peer),
            })),
            Kind::Local(socket, framing) => Ok(socket.accept_now()?.map(|socket| Accepted {
                peer: Address::Local(socket.peer_name().unwrap_or_default().into()),
                socket: Self::wrap_local(socket, *framing),
            })),
            Kind::Udp(_) | Kind::LocalDatagrams(_) => Err(Errno::EOPNOTSUPP.into()),
        }
    }

    /// Begins to connect, or sets a datagram socket's peer. `Ok(None)`: under way; wait for writability,
    /// then ask [`SocketFile::connect_result`].
    ///
    /// # Errors
    /// `EALREADY`, `EISCONN`, `ECONNREFUSED`, `ENETUNREACH`, `EADDRINUSE` (no port left), `EAGAIN`, `ENOMEM`.
    pub fn connect_now(&self, caller: &Caller, address: &Address) -> Attempt<()> {
        match (&self.kind, address) {
            (Kind::Tcp(socket), Address::V4(address)) => socket.connect_now(caller, *address),
            (Kind::Udp(socket), Address::V4(address)) => Ok(Some(socket.connect(caller, Some(*address))?)),
            (Kind::Local(socket, _), Address::Local(name)) => socket.connect_now(caller, name),
            (Kind::LocalDatagrams(socket), Address::Local(name)) => Ok(Some(socket.connect(caller, Some(name))?)),
            _ => Err(Errno::EAFNOSUPPORT.into()),
        }
    }

    /// Resolves when a connection that was refused with `EAGAIN`, for its listener's queue was full, is worth another attempt.
    pub async fn vacancy(&self, address: &Address) {
        if let (Kind::Local(socket, _), Address::Local(name)) = (&self.kind, address) {
            socket.vacancy(name).await;
        }
    }

    /// Forgets a datagram socket's peer (`connect` to `AF_UNSPEC`).
    ///
    /// # Errors
    /// `EAFNOSUPPORT` for other sockets.
    pub fn disconnect(&self, caller: &Caller) -> Result<(), Errno> {
        match &self.kind {
            Kind::Udp(socket) => socket.connect(caller, None),
            Kind::LocalDatagrams(socket) => socket.connect(caller, None),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// How connecting ended; `Ok(None)`: still under way.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ECONNABORTED`, `ENOTCONN`.
    pub fn connect_result(&self) -> Attempt<()> {
        match &self.kind {
            Kind::Tcp(socket) => socket.connect_result(),
            _ => Ok(Some(())),
        }
    }

    /// To whom a message goes that names `to`. Over a local stream none may, over local packets the name is not looked at, as on Linux.
    ///
    /// # Errors
    /// `EISCONN`, `EOPNOTSUPP` (not connected).
    pub fn receiver<'a>(&self, to: Option<&'a Address>) -> Result<Option<&'a Address>, Errno> {
        match &self.kind {
            Kind::Local(socket, Framing::Stream) if to.is_some() => {
                Err(socket.peer_name().map_or(Errno::EOPNOTSUPP, |_| Errno::EISCONN))
            }
            Kind::Local(_, Framing::Packets) => Ok(None),
            _ => Ok(to),
        }
    }

    /// Sends what fits now. Streams ignore `to`. After `None` of a datagram socket, make a new `src`.
    ///
    /// # Errors
    /// `EPIPE`, `ECONNRESET`, `ENOTCONN`, `EDESTADDRREQ`, `EMSGSIZE`, `ENETUNREACH`, `EACCES`, `ENOBUFS`.
    pub fn send_now(&self, caller: &Caller, src: &mut Source<'_>, to: Option<&Address>) -> Attempt<usize> {
        match (&self.kind, to) {
            (Kind::Tcp(socket), _) => socket.send_now(src),
            (Kind::Udp(socket), None) => socket.send_now(caller, src, None),
            (Kind::Udp(socket), Some(Address::V4(to))) => socket.send_now(caller, src, Some(*to)),
            (Kind::Udp(_), Some(_)) => Err(Errno::EAFNOSUPPORT.into()),
            (Kind::Local(..) | Kind::LocalDatagrams(_), _) => self.send_with_now(caller, src, to, &mut None),
        }
    }

    /// Sends over a local socket, to its peer or, in a datagram, to who is named: with the first bytes, or the message, go the `rights`, which are left where nothing is sent.
    ///
    /// # Errors
    /// As [`SocketFile::send_now`]; `EINVAL` for other sockets.
    pub fn send_with_now(
        &self,
        caller: &Caller,
        src: &mut Source<'_>,
        to: Option<&Address>,
        rights: &mut Option<Box<Rights>>,
    ) -> Attempt<usize> {
        match (&self.kind, to) {
            (Kind::Local(socket, _), None) => socket.send_now(src, rights),
            (Kind::Local(..), Some(_)) => Err(Errno::EISCONN.into()),
            (Kind::LocalDatagrams(socket), None) => socket.send_now(caller, src, None, rights),
            (Kind::LocalDatagrams(socket), Some(Address::Local(to))) => socket.send_now(caller, src, Some(to), rights),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Resolves when a datagram for which there was no room is worth another attempt.
    pub async fn room(&self, caller: &Caller, to: Option<&Address>, len: usize) -> Result<(), Errno> {
        match (&self.kind, to) {
            (Kind::LocalDatagrams(socket), Some(Address::Local(to))) => socket.room(Some(to)).await,
            (Kind::LocalDatagrams(socket), _) => socket.room(None).await,
            _ => return self.wait(caller, Want::Write { offset: 0, len }).await,
        }
        Ok(())
    }

    /// Receives what is there; `peek` leaves it there.
    ///
    /// # Errors
    /// `ECONNRESET` (once), `ENOTCONN`.
    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Received> {
        match &self.kind {
            Kind::Tcp(socket) => Ok(socket.receive_now(dst, peek)?.map(Received::stream)),
            Kind::Udp(socket) => socket.receive_now(dst, peek),
            Kind::Local(socket, _) => socket.receive_now(dst, peek),
            Kind::LocalDatagrams(socket) => socket.receive_now(dst, peek),
        }
    }

    /// Ends one half of a connection, or both.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, direction: Direction) -> Result<(), Errno> {
        match &self.kind {
            Kind::Tcp(socket) => socket.shutdown(direction),
            Kind::Udp(socket) => socket.shutdown(direction),
            Kind::Local(socket, _) => socket.shutdown(direction),
            Kind::LocalDatagrams(socket) => {
                socket.shutdown(direction);
                Ok(())
            }
        }
    }

    /// The socket's own address.
    #[must_use]
    pub fn local_address(&self) -> Address {
        match &self.kind {
            Kind::Tcp(socket) => Address::V4(socket.local_address()),
            Kind::Udp(socket) => Address::V4(socket.local_address()),
            Kind::Local(socket, _) => Address::Local(socket.local_name().into()),
            Kind::LocalDatagrams(socket) => Address::Local(socket.local_name().into()),
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_address(&self) -> Result<Address, Errno> {
        match &self.kind {
            Kind::Tcp(socket) => socket.peer_address().map(Address::V4),
            Kind::Udp(socket) => socket.peer_address().map(Address::V4),
            Kind::Local(socket, _) => socket.peer_name().map(|name| Address::Local(name.into())),
            Kind::LocalDatagrams(socket) => socket.peer_name().map(|name| Address::Local(name.into())),
        }
    }

    /// Sets an option.
    ///
    /// # Errors
    /// `EINVAL`, `ENOPROTOOPT`.
    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        match &self.kind {
            Kind::Tcp(socket) => socket.set_option(option, value),
            Kind::Udp(socket) => socket.set_option(option, value),
            Kind::Local(socket, _) => socket.set_option(option, value),
            Kind::LocalDatagrams(socket) => socket.set_option(option, value),
        }
    }

    /// Reads an option.
    #[must_use]
    pub fn option(&self, option: SocketOption) -> SocketValue {
        match &self.kind {
            Kind::Tcp(socket) => socket.option(option),
            Kind::Udp(socket) => socket.option(option),
            Kind::Local(socket, _) => socket.option(option),
            Kind::LocalDatagrams(socket) => socket.option(option),
        }
    }

    /// Whether there is more where something was received or accepted. Of TCP only, as in Linux: others say nothing of it.
    #[must_use]
    pub fn has_more(&self) -> bool {
        matches!(&self.kind, Kind::Tcp(socket) if socket.has_more())
    }

    /// Bytes that can be read now, or of the next message.
    pub fn readable_bytes(&self) -> usize {
        match &self.kind {
            Kind::Tcp(socket) => socket.readable_bytes(),
            Kind::Udp(socket) => socket.readable_bytes(),
            Kind::Local(socket, _) => socket.readable_bytes(),
            Kind::LocalDatagrams(socket) => socket.readable_bytes(),
        }
    }

    /// The same for who asks for the number (`SIOCINQ`).
    ///
    /// # Errors
    /// `EINVAL` of one that listens.
    pub fn tell_readable(&self) -> Result<usize, Errno> {
        match &self.kind {
            Kind::Tcp(socket) if socket.listens() => Err(Errno::EINVAL),
            Kind::Local(socket, _) if socket.listens() => Err(Errno::EINVAL),
            _ => Ok(self.readable_bytes()),
        }
    }

    /// Bytes that were sent and are not with the other side yet (`SIOCOUTQ`). Of local datagrams nobody counts them.
    ///
    /// # Errors
    /// `EINVAL` of a TCP socket that listens, as on Linux, where a local one that does has sent nothing.
    pub fn tell_unsent(&self) -> Option<Result<usize, Errno>> {
        Some(match &self.kind {
            Kind::Tcp(socket) if socket.listens() => Err(Errno::EINVAL),
            Kind::Tcp(socket) => Ok(socket.unsent_bytes()),
            Kind::Udp(socket) => Ok(socket.unsent_bytes()),
            Kind::Local(socket, _) => Ok(socket.unsent_bytes()),
            Kind::LocalDatagrams(_) => return None,
        })
    }
}

impl File for SocketFile {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        match &self.kind {
            // What else there is to know of what was received is put together for who wants to know.
            Kind::Tcp(socket) => socket.receive_now(dst, false),
            Kind::Local(socket, _) => socket.read_now(dst),
            Kind::Udp(_) | Kind::LocalDatagrams(_) => Ok(self.receive_now(dst, false)?.map(|received| received.len)),
        }
    }

    fn write_now(&self, caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        self.send_now(caller, src, None)
    }

    /// The protocol library has to be told of each wait for a datagram.
    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        match &self.kind {
            Kind::Tcp(socket) => Some(socket.signal().queue()),
            Kind::Udp(_) => None,
            Kind::Local(socket, _) => Some(socket.queue()),
            Kind::LocalDatagrams(socket) => Some(socket.signal().queue()),
        }
    }

    fn deadline(&self, want: Want) -> Option<u64> {
        let option = match want {
            Want::Write { .. } => SocketOption::SendTimeout,
            _ => SocketOption::ReceiveTimeout,
        };
        match self.option(option) {
            SocketValue::Number(nanos) if nanos > 0 => Some(hal::time::now().saturating_add(nanos)),
            _ => None,
        }
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            match &self.kind {
                Kind::Tcp(socket) => socket.wait(want).await,
                Kind::Udp(socket) => socket.wait(want).await,
                Kind::Local(socket, _) => socket.wait(want).await,
                Kind::LocalDatagrams(socket) => socket.wait(want).await,
            }
            Ok(())
        })
    }

    fn events(&self) -> u32 {
        match &self.kind {
            Kind::Tcp(socket) => socket.events(),
            Kind::Udp(socket) => socket.events(),
            Kind::Local(socket, _) => socket.events(),
            Kind::LocalDatagrams(socket) => socket.events(),
        }
    }

    fn edges(&self) -> u64 {
        match &self.kind {
            Kind::Tcp(socket) => socket.look().0,
            Kind::Udp(socket) => socket.look().0,
            Kind::Local(socket, _) => socket.edges(),
            Kind::LocalDatagrams(socket) => socket.signal().changes(),
        }
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn read_queue(&self) -> Option<&WaitQueue> {
        // The same queue for all that it is asked for, or none.
        self.queue(Want::Events(0))
    }

    fn read_waits(&self) -> bool {
        match &self.kind {
            Kind::Tcp(socket) => socket.receive_waits(),
            Kind::Local(socket, _) => socket.receive_waits(),
            Kind::Udp(_) | Kind::LocalDatagrams(_) => false,
        }
    }

    fn watched(&self, _events: u32) -> Option<&WaitQueue> {
        Some(match &self.kind {
            Kind::Tcp(socket) => socket.signal().queue(),
            Kind::Udp(socket) => socket.signal().queue(),
            Kind::Local(socket, _) => socket.queue(),
            Kind::LocalDatagrams(socket) => socket.signal().queue(),
        })
    }

    fn look(&self, _caller: &Caller) -> (u64, u32) {
        match &self.kind {
            Kind::Tcp(socket) => socket.look(),
            Kind::Udp(socket) => socket.look(),
            Kind::Local(socket, _) => (socket.edges(), socket.events()),
            Kind::LocalDatagrams(socket) => (socket.signal().changes(), socket.events()),
        }
    }

    fn ioctl<'a>(
        &'a self,
        _caller: &'a Caller,
        space: &'a AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        Box::pin(async move {
            let bytes = match command {
                abi::ioctl::FIONREAD => Some(self.tell_readable()),
                abi::ioctl::SIOCOUTQ => self.tell_unsent(),
                _ => None,
            };
            let bytes = i32::try_from(bytes.ok_or(Errno::ENOTTY)??).unwrap_or(i32::MAX);
            space.put(argument, &bytes).await?;
            Ok(0)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
