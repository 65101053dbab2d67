//! Who holds which local port. A [`Port`] is held by a socket until it is dropped.

use crate::stack::rank;
use abi::errno::Errno;
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use hal::sync::SpinLock;

/// Ports given to sockets that name none (Linux `ip_local_port_range`).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Transport protocol; each has its own ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// All bound ports.
pub(crate) struct Ports {
    inner: SpinLock<Table>,
}

struct Table {
    holders: BTreeMap<(Protocol, u16), Vec<Holder>>,
    /// Where the search for a free port goes on; starts at a random place.
    next: u16,
    last: u64,
}

struct Holder {
    id: u64,
    ip: Ipv4Addr,
    share: bool,
    listening: bool,
}

/// A bound local address.
pub(crate) struct Port {
    ports: Arc<Ports>,
    protocol: Protocol,
    address: SocketAddrV4,
    id: u64,
}

impl Ports {
    pub fn new(seed: u64) -> Arc<Self> {
        let span = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let next = EPHEMERAL.start() + (seed % span) as u16;
        let table = Table { holders: BTreeMap::new(), next, last: 0 };
        Arc::new(Self { inner: SpinLock::new(rank::PORTS, table) })
    }

    /// Binds `address`; port 0 asks for a free one. `share` is `SO_REUSEADDR`.
    ///
    /// # Errors
    /// `EADDRINUSE`, also when no free port is left.
    pub fn bind(self: &Arc<Self>, protocol: Protocol, address: SocketAddrV4, share: bool) -> Result<Port, Errno> {
        let mut table = self.inner.lock();
        let port = match address.port() {
            0 => table.free(protocol, *address.ip()).ok_or(Errno::EADDRINUSE)?,
            port if table.admits(protocol, port, *address.ip(), share) => port,
            _ => return Err(Errno::EADDRINUSE),
        };
        table.last += 1;
        let id = table.last;
        let holder = Holder { id, ip: *address.ip(), share, listening: false };
        table.holders.entry((protocol, port)).or_default().push(holder);
        Ok(Port { ports: self.clone(), protocol, address: SocketAddrV4::new(*address.ip(), port), id })
    }

    /// Ports held, for tests and `/proc`.
    pub fn held(&self) -> usize {
        self.inner.lock().holders.len()
    }
}

impl Table {
    fn admits(&self, protocol: Protocol, port: u16, ip: Ipv4Addr, share: bool) -> bool {
        let Some(holders) = self.holders.get(&(protocol, port)) else {
            return true;
        };
        holders.iter().all(|holder| {
            let overlap = holder.ip == ip || holder.ip.is_unspecified() || ip.is_unspecified();
            !overlap || (share && holder.share && !holder.listening)
        })
    }

    fn free(&mut self, protocol: Protocol, ip: Ipv4Addr) -> Option<u16> {
        for _ in EPHEMERAL {
            let port = self.next;
            self.next = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
            if self.admits(protocol, port, ip, false) {
                return Some(port);
            }
        }
        None
    }
}

impl Port {
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Claims the port for listening; from now on nobody else may bind or listen on it.
    ///
    /// # Errors
    /// `EADDRINUSE` if another socket that shares the port listens already.
    pub fn listen(&self) -> Result<(), Errno> {
        let mut table = self.ports.inner.lock();
        let Some(holders) = table.holders.get_mut(&(self.protocol, self.address.port())) else {
            return Ok(());
        };
        let ip = *self.address.ip();
        let taken = holders.iter().any(|holder| {
            let overlap = holder.ip == ip || holder.ip.is_unspecified() || ip.is_unspecified();
            holder.id != self.id && holder.listening && overlap
        });
        if taken {
            return Err(Errno::EADDRINUSE);
        }
        for holder in holders.iter_mut().filter(|holder| holder.id == self.id) {
            holder.listening = true;
        }
        Ok(())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut table = self.ports.inner.lock();
        let key = (self.protocol, self.address.port());
        if let Some(holders) = table.holders.get_mut(&key) {
            holders.retain(|holder| holder.id != self.id);
            if holders.is_empty() {
                table.holders.remove(&key);
            }
        }
    }
}
