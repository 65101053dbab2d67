//! UDP sockets.
//!
//! A socket has one *leg* in each interface that its local address covers, made when it is bound. A
//! connected socket drops datagrams of others when it reads.

use crate::{
    address::{self, ANY},
    network::{Net, Route},
    options::{Options, SocketOption, SocketValue},
    ports::{Port, Protocol},
    signal::Signal,
    socket::{Direction, Received},
    stack::{BUFFER, Core, Stack, buffer, rank},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::Waker;
use hal::sync::SpinLock;
use io::{
    caller::Caller,
    file::{Attempt, Want},
};
use mem::{Charge, Sink, Source};
use smoltcp::{
    iface::SocketHandle,
    socket::udp::{PacketBuffer, PacketMetadata, SendError, Socket, UdpMetadata},
    wire::IpAddress,
};

/// Datagrams that wait in each direction of a leg.
const PACKETS: usize = 64;
/// Bytes of an IPv4 and a UDP header.
const HEADERS: usize = 28;

/// A UDP socket.
pub(crate) struct UdpSocket {
    net: Arc<Net>,
    signal: Arc<Signal>,
    inner: SpinLock<Inner>,
}

struct Inner {
    options: Options,
    port: Option<Port>,
    legs: Vec<Leg>,
    peer: Option<SocketAddrV4>,
    read_shut: bool,
    write_shut: bool,
}

/// The socket's presence in one interface.
struct Leg {
    stack: Arc<Stack>,
    handle: SocketHandle,
    /// Bytes that were queued when a datagram found no room: writing is worth while when there are fewer.
    refused: Option<usize>,
    _charge: Charge,
}

impl Drop for Leg {
    fn drop(&mut self) {
        if self.with(|core| core.udp(self.handle).send_queue()) > 0 {
            // What was sent before the close leaves first, as far as the device has room.
            self.stack.poll(hal::time::now());
        }
        self.stack.lock().sockets.remove(self.handle);
    }
}

impl UdpSocket {
    pub fn new(net: Arc<Net>) -> Self {
        let inner = Inner {
            options: Options::DEFAULT,
            port: None,
            legs: Vec::new(),
            peer: None,
            read_shut: false,
            write_shut: false,
        };
        Self { net, signal: Signal::new(), inner: SpinLock::new(rank::SOCKET, inner) }
    }

    pub fn bind(&self, caller: &Caller, address: SocketAddrV4) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if inner.port.is_some() {
            return Err(Errno::EINVAL);
        }
        self.net.check_local(*address.ip())?;
        self.bind_locked(&mut inner, caller, address)
    }

    fn bind_locked(&self, inner: &mut Inner, caller: &Caller, address: SocketAddrV4) -> Result<(), Errno> {
        let share = inner.options.reuse_address || inner.options.reuse_port;
        let port = self.net.ports().bind(Protocol::Udp, address, share)?;
        let mut legs = Vec::new();
        for stack in self.net.stacks_for(*address.ip()) {
            legs.push(Leg::new(stack, caller, port.address(), &self.signal)?);
        }
        inner.legs = legs;
        inner.port = Some(port);
        Ok(())
    }

    /// Sets the peer, or forgets it.
    pub fn connect(&self, caller: &Caller, peer: Option<SocketAddrV4>) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let Some(peer) = peer else {
            inner.peer = None;
            return Ok(());
        };
        let ip = if peer.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *peer.ip() };
        let route = self.net.route(ip)?;
        if inner.port.is_none() {
            self.bind_locked(&mut inner, caller, SocketAddrV4::new(route.source, 0))?;
        }
        inner.peer = Some(SocketAddrV4::new(ip, peer.port()));
        Ok(())
    }

    /// Sends one datagram. `src` is used up even when the answer is `None` (no room): make a new one.
    pub fn send_now(&self, caller: &Caller, src: &mut Source<'_>, to: Option<SocketAddrV4>) -> Attempt<usize> {
        let mut inner = self.inner.lock();
        if inner.write_shut {
            return Err(Errno::EPIPE.into());
        }
        let to = to.or(inner.peer).ok_or(Errno::EDESTADDRREQ)?;
        if to.port() == 0 {
            return Err(Errno::EINVAL.into());
        }
        if to.ip().is_broadcast() && !inner.options.broadcast {
            return Err(Errno::EACCES.into());
        }
        let ip = if to.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *to.ip() };
        let Route { stack, source } = self.net.route(ip)?;
        if src.remaining() > stack.mtu() - HEADERS {
            return Err(Errno::EMSGSIZE.into());
        }
        if inner.port.is_none() {
            self.bind_locked(&mut inner, caller, ANY)?;
        }
        let bound = inner.port.as_ref().map_or(ANY, Port::address);
        let leg = inner.legs.iter_mut().find(|leg| Arc::ptr_eq(&leg.stack, &stack)).ok_or(Errno::EINVAL)?;
        let from = if bound.ip().is_unspecified() { source } else { *bound.ip() };
        leg.send(src, SocketAddrV4::new(ip, to.port()), from)
    }

    /// Takes the datagram that waited longest; what does not fit into `dst` is lost.
    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Received> {
        let inner = self.inner.lock();
        for leg in &inner.legs {
            if let Some(received) = leg.receive(dst, peek, inner.peer)? {
                return Ok(Some(received));
            }
        }
        Ok(inner.read_shut.then(Received::end))
    }

    /// Without a peer it is an error, and done all the same, as in Linux: programs end those who wait in `recv` by it.
    pub fn shutdown(&self, direction: Direction) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        inner.read_shut |= direction != Direction::Write;
        inner.write_shut |= direction != Direction::Read;
        let answer = if inner.peer.is_some() { Ok(()) } else { Err(Errno::ENOTCONN) };
        drop(inner);
        self.signal.notify();
        answer
    }

    /// What tells of changes.
    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    pub fn events(&self) -> u32 {
        self.inner.lock().events(None)
    }

    /// Changes so far, and the events that hold; the next change counts.
    pub fn look(&self) -> (u64, u32) {
        // As of a TCP socket.
        let changes = self.signal.changes();
        (changes, self.inner.lock().events(Some(&self.signal)))
    }

    /// Resolves when what `want` names may have become possible.
    pub async fn wait(&self, want: Want) {
        self.signal.until_events(want, || self.inner.lock().events(Some(&self.signal))).await;
    }

    pub fn local_address(&self) -> SocketAddrV4 {
        self.inner.lock().port.as_ref().map_or(ANY, Port::address)
    }

    pub fn peer_address(&self) -> Result<SocketAddrV4, Errno> {
        self.inner.lock().peer.ok_or(Errno::ENOTCONN)
    }

    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        self.inner.lock().options.set(option, value)
    }

    pub fn option(&self, option: SocketOption) -> SocketValue {
        self.inner.lock().options.get(option).unwrap_or(SocketValue::Number(0))
    }

    /// Bytes of the next datagram (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        let inner = self.inner.lock();
        let next = inner.legs.iter().find_map(|leg| {
            let mut core = leg.stack.lock();
            core.udp(leg.handle).peek().ok().map(|(bytes, _)| bytes.len())
        });
        next.unwrap_or(0)
    }

    /// Bytes that have not left (`SIOCOUTQ`).
    pub fn unsent_bytes(&self) -> usize {
        let inner = self.inner.lock();
        inner.legs.iter().map(|leg| leg.stack.lock().udp(leg.handle).send_queue()).sum()
    }
}

impl Inner {
    fn events(&self, armed: Option<&Arc<Signal>>) -> u32 {
        use abi::poll::{EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM};
        let mut readable = self.read_shut;
        let mut writable = true;
        for leg in &self.legs {
            let mut core = leg.stack.lock();
            let socket = core.udp(leg.handle);
            if let Some(signal) = armed {
                arm(socket, signal);
            }
            drop_strangers(socket, self.peer);
            readable |= socket.can_recv();
            writable &= socket.can_send() && leg.refused.is_none_or(|queued| socket.send_queue() < queued);
        }
        let mut events = if readable { EPOLLIN | EPOLLRDNORM } else { 0 };
        if writable {
            events |= EPOLLOUT | EPOLLWRNORM;
        }
        if self.read_shut {
            events |= EPOLLRDHUP;
        }
        events
    }
}

/// Has the library tell `signal` of the next change.
fn arm(socket: &mut Socket<'_>, signal: &Arc<Signal>) {
    let waker = Waker::from(signal.clone());
    socket.register_recv_waker(&waker);
    socket.register_send_waker(&waker);
}

/// Removes datagrams of others from the front of a connected socket's queue.
fn drop_strangers(socket: &mut Socket<'_>, peer: Option<SocketAddrV4>) {
    let Some(peer) = peer else { return };
    while let Ok((_, metadata)) = socket.peek() {
        if address::socket_address(metadata.endpoint) == peer {
            return;
        }
        if socket.recv().is_err() {
            return;
        }
    }
}

impl Leg {
    /// It tells `signal` from the beginning: who looked before there was a leg waits without having armed one.
    fn new(stack: Arc<Stack>, caller: &Caller, local: SocketAddrV4, signal: &Arc<Signal>) -> Result<Self, Errno> {
        let charge = caller.account.charge(2 * BUFFER)?;
        let receive = PacketBuffer::new(alloc::vec![PacketMetadata::EMPTY; PACKETS], buffer(BUFFER)?);
        let send = PacketBuffer::new(alloc::vec![PacketMetadata::EMPTY; PACKETS], buffer(BUFFER)?);
        let mut socket = Socket::new(receive, send);
        socket.bind(address::listen_endpoint(local)).map_err(|_| Errno::EADDRNOTAVAIL)?;
        arm(&mut socket, signal);
        let handle = stack.lock().sockets.add(socket);
        Ok(Self { stack, handle, refused: None, _charge: charge })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        f(&mut self.stack.lock())
    }

    fn send(&mut self, src: &mut Source<'_>, to: SocketAddrV4, from: Ipv4Addr) -> Attempt<usize> {
        if !self.with(|core| core.udp(self.handle).can_send()) {
            return Ok(None);
        }
        let mut bytes = buffer(src.remaining())?;
        src.take(&mut bytes)?;
        let mut metadata = UdpMetadata::from(address::endpoint(to));
        metadata.local_address = Some(IpAddress::Ipv4(from));
        let (sent, queued) = self.with(|core| {
            let socket = core.udp(self.handle);
            (socket.send_slice(&bytes, metadata), socket.send_queue())
        });
        match sent {
            Ok(()) => {
                self.refused = None;
                self.stack.kick();
                Ok(Some(bytes.len()))
            }
            Err(SendError::BufferFull) => {
                self.refused = Some(queued);
                Ok(None)
            }
            Err(_) => Err(Errno::EINVAL.into()),
        }
    }

    fn receive(&self, dst: &mut Sink<'_>, peek: bool, peer: Option<SocketAddrV4>) -> Attempt<Received> {
        let mut core = self.stack.lock();
        let socket = core.udp(self.handle);
        drop_strangers(socket, peer);
        let Ok((bytes, metadata)) = socket.peek() else {
            return Ok(None);
        };
        let len = bytes.len().min(dst.remaining());
        let full = bytes.len();
        let from = address::socket_address(metadata.endpoint);
        // On a fault the datagram stays.
        dst.put(&bytes[..len])?;
        if !peek {
            // It was just there.
            let _ = socket.recv();
        }
        Ok(Some(Received::bytes(len, full, Some(crate::Address::V4(from)))))
    }
}
