//! The host's network: its interfaces, its addresses, and which way a packet goes.

use crate::{
    device::NetDevice,
    flights::Flights,
    loopback::Loopback,
    names::Names,
    ports::Ports,
    signal::Signal,
    stack::{Stack, rank},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::net::Ipv4Addr;
use core::task::Waker;
use hal::sync::SpinLock;
use smoltcp::socket::dhcpv4;

/// An interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The host's address.
    pub address: Ipv4Addr,
    /// Bits of the address that name the network.
    pub prefix: u8,
    /// The router to everywhere else.
    pub gateway: Option<Ipv4Addr>,
}

impl Configuration {
    /// What QEMU's user network gives its first guest.
    pub const QEMU_USER: Self =
        Self { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24, gateway: Some(Ipv4Addr::new(10, 0, 2, 2)) };
}

/// All of the host's networking.
pub struct Net {
    loopback: Arc<Stack>,
    ethernet: Option<Arc<Stack>>,
    ports: Arc<Ports>,
    names: Arc<Names>,
    flights: Arc<Flights>,
    configuration: SpinLock<Option<Configuration>>,
}

/// Which interface a packet leaves by, and from which address.
pub(crate) struct Route {
    pub stack: Arc<Stack>,
    pub source: Ipv4Addr,
}

impl Net {
    /// Loopback and, if there is one, a network card that has no address yet. `seed` must be unpredictable.
    /// Spawn [`Stack::run`] for each of [`Net::stacks`].
    #[must_use]
    pub fn new(device: Option<Box<dyn NetDevice>>, seed: u64) -> Arc<Self> {
        let now = hal::time::now();
        let loopback = Stack::new(Box::new(Loopback::new()), seed, now);
        loopback.configure(&[(Ipv4Addr::LOCALHOST, 8)], None);
        let ethernet = device.map(|device| Stack::new(device, seed.rotate_left(32), now));
        Arc::new(Self {
            loopback,
            ethernet,
            ports: Ports::new(seed.rotate_left(16)),
            names: Names::new(),
            flights: Flights::new(),
            configuration: SpinLock::new(rank::PORTS, None),
        })
    }

    /// The interfaces: each wants its coroutine.
    pub fn stacks(&self) -> impl Iterator<Item = &Arc<Stack>> {
        core::iter::once(&self.loopback).chain(self.ethernet.as_ref())
    }

    /// The card's address, if it has one yet.
    #[must_use]
    pub fn configuration(&self) -> Option<Configuration> {
        *self.configuration.lock()
    }

    /// Gives the card an address. The host itself reaches that address by loopback.
    pub fn configure(&self, new: Configuration) {
        if let Some(ethernet) = &self.ethernet {
            ethernet.configure(&[(new.address, new.prefix)], new.gateway);
            self.loopback.configure(&[(Ipv4Addr::LOCALHOST, 8), (new.address, 32)], None);
            *self.configuration.lock() = Some(new);
        }
    }

    /// Asks the network for an address (DHCP) and keeps the lease; after `patience` nanoseconds without
    /// an answer the card gets `fallback`, and the asking goes on. Never returns if there is a card.
    pub async fn run_dhcp(&self, patience: u64, fallback: Configuration) {
        let Some(ethernet) = &self.ethernet else { return };
        let signal = Signal::new();
        {
            let mut socket = dhcpv4::Socket::new();
            let mut retry = socket.get_retry_config();
            retry.discover_timeout = smoltcp::time::Duration::from_secs(1);
            socket.set_retry_config(retry);
            let mut core = ethernet.lock();
            let handle = core.sockets.add(socket);
            core.dhcp = Some(handle);
        }
        ethernet.kick();
        let deadline = hal::time::now().saturating_add(patience);
        let first = exec::timeout_at(deadline, lease(ethernet, &signal)).await;
        self.configure(first.unwrap_or(fallback));
        loop {
            let next = lease(ethernet, &signal).await;
            if self.configuration() != Some(next) {
                self.configure(next);
            }
        }
    }

    /// Closes, for ever, descriptors of local sockets that only unreachable messages hold.
    pub async fn run_collector(&self) {
        self.flights.run().await;
    }

    /// Ports held by sockets.
    #[must_use]
    pub fn ports_held(&self) -> usize {
        self.ports.held()
    }

    pub(crate) fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Whether a socket may be bound to `ip`.
    pub(crate) fn check_local(&self, ip: Ipv4Addr) -> Result<(), Errno> {
        let known = ip.is_unspecified() || ip.is_loopback() || self.loopback.has_address(ip);
        if known { Ok(()) } else { Err(Errno::EADDRNOTAVAIL) }
    }

    /// The interfaces that packets to the local address `ip` can come in by.
    pub(crate) fn stacks_for(&self, ip: Ipv4Addr) -> Vec<Arc<Stack>> {
        if ip.is_loopback() { vec![self.loopback.clone()] } else { self.stacks().cloned().collect() }
    }

    /// The way to `ip`.
    pub(crate) fn route(&self, ip: Ipv4Addr) -> Result<Route, Errno> {
        if ip.is_loopback() {
            return Ok(Route { stack: self.loopback.clone(), source: Ipv4Addr::LOCALHOST });
        }
        if self.loopback.has_address(ip) {
            return Ok(Route { stack: self.loopback.clone(), source: ip });
        }
        let stack = self.ethernet.as_ref().ok_or(Errno::ENETUNREACH)?;
        let source = stack.local_address().ok_or(Errno::ENETUNREACH)?;
        Ok(Route { stack: stack.clone(), source })
    }
}

/// Resolves with the next lease.
async fn lease(stack: &Stack, signal: &Arc<Signal>) -> Configuration {
    let next = || {
        let mut core = stack.lock();
        if let Some(handle) = core.dhcp {
            let socket = core.sockets.get_mut::<dhcpv4::Socket>(handle);
            socket.register_waker(&Waker::from(signal.clone()));
        }
        core.lease()
    };
    signal.until(next).await
}
