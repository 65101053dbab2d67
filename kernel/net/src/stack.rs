//! One interface: a device, the protocol library on it, and the sockets that it serves.
//!
//! One lock guards all protocol state of the interface. It is held for at most [`BATCH`] frames and
//! one copy of at most [`BUFFER`] bytes, and never across an await. Whoever gives the stack something
//! to do calls [`Stack::kick`]; the coroutine in `run.rs` then calls [`Stack::poll`].
//!
//! Who sends has the connection's segments sent at once, under the lock, and on loopback has them taken at once too ([`Stack::push`]). What one
//! bounded hold of the lock leaves, requests for connections, ends and timers are for the coroutine.
//!
//! What stays on this host needs no protocol: sockets of TCP are connected to each other directly (`tcp/fused.rs`). The stack
//! of loopback finds the listener, and ends the patience of who waits for a place in its queue.
//!
//! **Wake-up protocol** of the coroutine: who has work for it sets `pending` and takes its waker, under the kick's lock; it takes `pending`
//! or leaves its waker, under the same. Deadlines are looked at in each round, which leaves `asleep_until` under the stack's lock; who adds an earlier one kicks.

mod admission;
mod places;
mod push;

use admission::Admission;

use crate::{
    address,
    connections::{Connections, Handle},
    device::{Adapter, Link, NetDevice},
    listener::{Embryo, Listener, Ticket},
    orphan::Orphans,
    signal::Signal,
    wire::{self, Kind},
};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::{Context, Poll, Waker};
use hal::sync::{SpinGuard, SpinLock};
use mem::{Charge, list};
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    socket::{dhcpv4, tcp, udp},
    time::{Duration, Instant},
    wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr},
};

/// Bytes of each of the two buffers of a TCP connection.
pub const BUFFER: usize = 64 * 1024;
/// Frames that are processed under one hold of the lock.
pub const BATCH: usize = 16;
/// A peer that does not answer for this long is gone.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(120);
/// Acknowledgements without data wait for company this long at most.
const ACK_DELAY: Duration = Duration::from_millis(10);

/// Ranks of this crate's locks, in the order in which they may be taken.
pub(crate) mod rank {
    use hal::sync::rank::{DEVICE as DRIVER, NETWORK, SOCKET as OBJECT};

    /// State of one socket.
    pub const SOCKET: u8 = OBJECT;
    /// Who holds which port.
    pub const PORTS: u8 = OBJECT + 1;
    /// A stack's protocol state.
    pub const STACK: u8 = NETWORK;
    /// A listener's queue. Between the two, a card may lock the buffers that it lends.
    pub const LISTENER: u8 = NETWORK + 3;
    /// A stack's request for attention.
    pub const KICK: u8 = NETWORK + 2;
    /// Which sockets lie in whose queues; taken under a channel's lock.
    pub const FLIGHTS: u8 = NETWORK + 2;
    /// The loopback device.
    pub const DEVICE: u8 = DRIVER;
    /// Where a frame is built that nobody has room for.
    pub const DROPPED: u8 = DRIVER + 1;
}

/// What one round of work left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// There is more to do at once.
    pub more: bool,
    /// Nothing to do before this time (ns since boot), unless something happens; `None`: no timer runs.
    pub deadline: Option<u64>,
}

/// An interface and its sockets.
pub struct Stack {
    device: Box<dyn NetDevice>,
    core: SpinLock<Core>,
    kick: SpinLock<Kick>,
}

struct Kick {
    pending: bool,
    /// Of the coroutine while it sleeps.
    waker: Option<Waker>,
}

/// Protocol state, under the stack's lock.
pub(crate) struct Core {
    pub iface: Interface,
    /// All sockets but those of connections: few.
    pub sockets: SocketSet<'static>,
    pub connections: Connections,
    pub orphans: Orphans,
    pub dhcp: Option<SocketHandle>,
    listeners: BTreeMap<u16, Vec<Arc<Listener>>>,
    embryos: Vec<Embryo>,
    /// Connections of this host that wait for a place in a listener's queue.
    waiting: BTreeMap<Ticket, Weak<Listener>>,
    /// Tickets given out so far.
    tickets: u64,
    ethernet: bool,
    /// Time of the last round, or of the last that was sent outside one (ns since boot).
    now: u64,
    /// When the coroutine looks again by itself (ns since boot); 0: at once.
    asleep_until: u64,
}

impl Stack {
    /// A stack on `device`, without an address; `seed` makes sequence numbers unpredictable.
    #[must_use]
    pub fn new(device: Box<dyn NetDevice>, seed: u64, now: u64) -> Arc<Self> {
        let (address, ethernet) = match device.link() {
            Link::Ethernet(mac) => (HardwareAddress::Ethernet(EthernetAddress(mac)), true),
            Link::Ip => (HardwareAddress::Ip, false),
        };
        let mut config = Config::new(address);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut Adapter::sending(&*device), instant(now));
        // What was sent by loopback is for this host, whichever of its addresses it names: all of 127/8 are.
        iface.set_any_ip(!ethernet);
        let core = Core {
            iface,
            sockets: SocketSet::new(Vec::new()),
            connections: Connections::default(),
            orphans: Orphans::default(),
            dhcp: None,
            listeners: BTreeMap::new(),
            embryos: Vec::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            ethernet,
            now,
            asleep_until: 0,
        };
        Arc::new(Self {
            device,
            core: SpinLock::new(rank::STACK, core),
            kick: SpinLock::new(rank::KICK, Kick { pending: true, waker: None }),
        })
    }

    /// Sets the interface's addresses and the router for everything else.
    pub fn configure(&self, addresses: &[(Ipv4Addr, u8)], gateway: Option<Ipv4Addr>) {
        self.lock().configure(addresses, gateway);
        self.kick();
    }

    /// Whether `ip` is one of the interface's own addresses.
    pub(crate) fn has_address(&self, ip: Ipv4Addr) -> bool {
        self.lock().iface.ip_addrs().iter().any(|own| own.address() == ip.into())
    }

    /// The interface's own address, if it has one yet.
    pub(crate) fn local_address(&self) -> Option<Ipv4Addr> {
        self.lock().iface.ipv4_addr()
    }

    /// Whether all that is sent comes back to this host.
    pub(crate) fn is_loopback(&self) -> bool {
        self.device.link() == Link::Ip
    }

    /// Largest IP packet on this interface.
    pub(crate) fn mtu(&self) -> usize {
        self.device.mtu()
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, Core> {
        self.core.lock()
    }

    /// Sockets that exist, those being closed included (for tests and `/proc`).
    #[must_use]
    pub fn socket_count(&self) -> usize {
        let core = self.lock();
        core.sockets.iter().count() + core.connections.len()
    }

    /// Makes the stack's coroutine look for work.
    pub(crate) fn kick(&self) {
        let waker = {
            let mut kick = self.kick.lock();
            kick.pending = true;
            kick.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready when there was a kick since the last time, or when the device has work.
    pub(crate) fn poll_work(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut kick = self.kick.lock();
        if core::mem::take(&mut kick.pending) {
            return Poll::Ready(());
        }
        kick.waker = Some(context.waker().clone());
        drop(kick);
        self.device.poll_ready(context)
    }

    /// One bounded round: receives up to [`BATCH`] frames, sends as many, and runs the timers.
    pub fn poll(&self, now: u64) -> Progress {
        for _ in 0..BATCH {
            let Some((listener, ticket)) = self.impatient(now) else { break };
            listener.refuse(ticket);
        }
        let mut guard = self.core.lock();
        let core = &mut *guard;
        // Who sent while this waited for the lock may have come later.
        core.now = core.now.max(now);
        core.iface.poll_maintenance(instant(core.now));
        let more = self.receive(core) | self.send(core);
        core.settle();
        // It has seen to that.
        core.connections.take_changed();
        let progress = self.progress(core, more);
        core.asleep_until = if progress.more { 0 } else { progress.deadline.unwrap_or(u64::MAX) };
        let told = core.connections.take_told();
        drop(guard);
        told.tell();
        progress
    }

    /// Whether there may be more than the [`BATCH`] that was received.
    fn receive(&self, core: &mut Core) -> bool {
        let mut received = 0;
        while received < BATCH && self.device.receive(&mut |frame| core.ingest(&*self.device, frame)) {
            received += 1;
        }
        received == BATCH
    }

    /// Whether there may be more than the [`BATCH`] that was sent of each kind.
    fn send(&self, core: &mut Core) -> bool {
        let (mut sent, now) = (0, instant(core.now));
        let mut device = Adapter::sending(&*self.device);
        while sent < BATCH && core.iface.poll_egress(now, &mut device, &mut core.sockets) != PollResult::None {
            sent += 1;
        }
        core.connections.expire(now, BATCH);
        core.connections.send(&mut core.iface, &mut device, now, BATCH);
        sent == BATCH
    }

    fn progress(&self, core: &mut Core, more: bool) -> Progress {
        let now = core.now;
        let timer = match core.connections.has_due() {
            true => Some(instant(now)),
            false => core.connections.first_timer(),
        };
        let library = core.iface.poll_at(instant(now), &core.sockets).into_iter().chain(timer).min();
        let library = library.map(|time| u64::try_from(time.total_micros()).unwrap_or(0) * 1000);
        let patience = core.waiting.first_key_value().map(|(&(until, _), _)| until);
        let deadline = [library, core.orphans.deadline(), patience].into_iter().flatten().min();
        // With no room in the device the timer would fire at once, for nothing: the device wakes us.
        let stuck = !self.device.can_transmit();
        match deadline {
            Some(at) if at <= now && stuck => Progress { more: false, deadline: None },
            Some(at) if at <= now => Progress { more: true, deadline: None },
            deadline => Progress { more, deadline },
        }
    }

    /// Takes over a connection whose last descriptor closed; `reset` drops it instead of finishing it.
    pub(crate) fn release(&self, handle: Handle, charge: Charge, reset: bool) {
        let mut core = self.lock();
        core.connections.touch(handle);
        let socket = core.connections.socket(handle);
        // Data that nobody will read means that the peer must not believe it arrived (RFC 2525, 2.17).
        if reset || socket.can_recv() {
            socket.abort();
        } else {
            socket.close();
        }
        let now = core.now;
        core.connections.desert(handle);
        core.orphans.add(handle, charge, now);
        drop(core);
        self.kick();
    }
}

impl Core {
    fn configure(&mut self, addresses: &[(Ipv4Addr, u8)], gateway: Option<Ipv4Addr>) {
        self.iface.update_ip_addrs(|list| {
            list.clear();
            for &(ip, prefix) in addresses {
                // The list has two places; the callers pass at most two.
                let _ = list.push(IpCidr::Ipv4(Ipv4Cidr::new(ip, prefix)));
            }
        });
        let routes = self.iface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            let _ = routes.add_default_ipv4_route(gateway);
        }
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Opens a connection to `remote`; the handle is the caller's to release.
    pub fn connect(
        &mut self,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        signal: &Arc<Signal>,
    ) -> Result<Handle, Errno> {
        if self.connections.find((local, remote)).is_some() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut socket = self.new_tcp()?;
        let to = address::endpoint(remote);
        socket.connect(self.iface.context(), to, address::listen_endpoint(local)).map_err(|_| Errno::ENETUNREACH)?;
        Ok(self.connections.add(socket, (local, remote), signal.clone()))
    }

    fn new_tcp(&self) -> Result<tcp::Socket<'static>, Errno> {
        let receive = tcp::SocketBuffer::new(buffer(BUFFER)?);
        let mut socket = tcp::Socket::new(receive, tcp::SocketBuffer::new(buffer(BUFFER)?));
        socket.set_ack_delay(Some(ACK_DELAY));
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        Ok(socket)
    }

    /// Processes one frame. A request for a connection gets a socket only now, so that listening costs nothing.
    fn ingest(&mut self, device: &dyn NetDevice, frame: &[u8]) {
        let kind = wire::kind(frame, self.ethernet);
        let mut is_new = false;
        if let Kind::Segment(segment) = kind
            && segment.asks
        {
            match self.admit(segment) {
                Admission::Embryo => is_new = true,
                Admission::Drop => return,
                Admission::Pass => {}
            }
        }
        let connection = match kind {
            Kind::Segment(segment) => self.connections.find((segment.local, segment.peer)),
            Kind::NextHop | Kind::Other => None,
        };
        let (now, mut device) = (instant(self.now), Adapter::receiving(device, frame));
        match connection {
            Some(handle) => self.connections.receive(&mut self.iface, &mut device, now, handle),
            None => _ = self.iface.poll_ingress_single(now, &mut device, &mut self.sockets),
        }
        if is_new {
            self.drop_unused_embryo();
        }
        if kind == Kind::NextHop {
            self.connections.next_hop_known();
        }
    }

    /// The address lease that arrived since the last call.
    pub fn lease(&mut self) -> Option<crate::Configuration> {
        let handle = self.dhcp?;
        match self.sockets.get_mut::<dhcpv4::Socket>(handle).poll()? {
            dhcpv4::Event::Configured(lease) => Some(crate::Configuration {
                address: lease.address.address(),
                prefix: lease.address.prefix_len(),
                gateway: lease.router,
            }),
            // The lease ran out; the old address stays in use until there is another.
            dhcpv4::Event::Deconfigured => None,
        }
    }
}

/// A zeroed buffer, or `ENOBUFS`.
pub(crate) fn buffer(len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = list(len).map_err(|_| Errno::ENOBUFS)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// The library's form of a time in nanoseconds.
pub(crate) fn instant(now: u64) -> Instant {
    Instant::from_micros(i64::try_from(now / 1000).unwrap_or(i64::MAX))
}
