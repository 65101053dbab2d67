//! The queue between those who connect and the socket that accepts.

use crate::{
    channel::{Channel, Ends},
    connections::Handle,
    signal::Signal,
    stack::{Stack, rank},
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::net::SocketAddrV4;
use hal::sync::SpinLock;
use mem::{Account, Charge};

/// Longest queue that `listen` grants (Linux's `net.core.somaxconn`).
const MOST: usize = 4096;

/// A connection from elsewhere that is being established, owned by the stack.
pub(crate) struct Embryo {
    pub handle: Handle,
    pub charge: Charge,
    pub listener: Arc<Listener>,
    pub signal: Arc<Signal>,
}

/// An established connection that nobody accepted yet.
pub(crate) enum Arrival {
    /// From another host.
    Wired { handle: Handle, charge: Charge, signal: Arc<Signal> },
    /// From this host.
    Fused(Fusion),
}

/// The listener's side of a connection from this host.
pub(crate) struct Fusion {
    pub ends: Ends,
    pub signal: Arc<Signal>,
    pub local: SocketAddrV4,
    pub peer: SocketAddrV4,
}

/// When who waits for a place gives up (ns since boot), and a number of its own.
pub(crate) type Ticket = (u64, u64);

/// What became of a connection from this host.
pub(crate) enum Joined {
    /// It is made.
    Queued,
    /// The queue is full: it is made when it has a place.
    Waits(Ticket),
    /// Nobody listens any more.
    Refused,
}

/// A listening socket as its stack sees it.
pub(crate) struct Listener {
    local: SocketAddrV4,
    account: Arc<Account>,
    signal: Arc<Signal>,
    inner: SpinLock<Inner>,
}

struct Inner {
    backlog: usize,
    queue: VecDeque<Arrival>,
    /// Those from this host for whom the queue has no place, in the order in which they came.
    waiting: BTreeMap<Ticket, Fusion>,
    closed: bool,
}

impl Listener {
    pub fn new(local: SocketAddrV4, backlog: usize, account: Arc<Account>, signal: Arc<Signal>) -> Arc<Self> {
        let inner = Inner { backlog: clamp(backlog), queue: VecDeque::new(), waiting: BTreeMap::new(), closed: false };
        Arc::new(Self { local, account, signal, inner: SpinLock::new(rank::LISTENER, inner) })
    }

    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub fn backlog(&self) -> usize {
        self.inner.lock().backlog
    }

    /// Those that got a place by it, by their tickets.
    #[must_use]
    pub fn set_backlog(&self, backlog: usize) -> Vec<Ticket> {
        let mut inner = self.inner.lock();
        inner.backlog = clamp(backlog);
        let placed = inner.fill();
        drop(inner);
        self.establish(placed)
    }

    pub fn queued(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// The connection that waited longest; and the tickets of those that got a place.
    pub fn take(&self) -> Option<(Arrival, Vec<Ticket>)> {
        let mut inner = self.inner.lock();
        let arrival = inner.queue.pop_front()?;
        let placed = inner.fill();
        drop(inner);
        Some((arrival, self.establish(placed)))
    }

    /// These are made: both sides may hear of it.
    fn establish(&self, placed: Placed) -> Vec<Ticket> {
        if !placed.is_empty() {
            placed.iter().for_each(|(_, channel)| channel.establish());
            self.signal.notify();
        }
        placed.into_iter().map(|(ticket, _)| ticket).collect()
    }

    /// Hands over an established connection from elsewhere.
    pub fn deliver(&self, embryo: Embryo) {
        let Embryo { handle, charge, signal, .. } = embryo;
        self.inner.lock().queue.push_back(Arrival::Wired { handle, charge, signal });
        self.signal.notify_of(abi::poll::EPOLLIN);
    }

    /// Takes a connection from this host, which waits under `ticket` if there is no place.
    pub fn join(&self, fusion: Fusion, ticket: Ticket) -> Joined {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Joined::Refused;
        }
        if inner.queue.len() >= inner.backlog || !inner.waiting.is_empty() {
            inner.waiting.insert(ticket, fusion);
            return Joined::Waits(ticket);
        }
        inner.queue.push_back(Arrival::Fused(fusion));
        drop(inner);
        self.signal.notify_of(abi::poll::EPOLLIN);
        Joined::Queued
    }

    /// Who waits under `ticket` waits no more, and hears of that.
    pub fn refuse(&self, ticket: Ticket) {
        let refused = self.inner.lock().waiting.remove(&ticket);
        if let Some(fusion) = refused {
            let mut pipe = fusion.ends.send.lock();
            (pipe.reset, pipe.timed_out) = (true, true);
        }
    }

    /// Stops listening: no more arrivals, and those that nobody accepted are reset.
    pub fn close(self: &Arc<Self>, stack: &Stack) {
        stack.unlisten(self);
        let (queue, waiting) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            (core::mem::take(&mut inner.queue), core::mem::take(&mut inner.waiting))
        };
        for arrival in queue {
            match arrival {
                Arrival::Wired { handle, charge, .. } => stack.release(handle, charge, true),
                Arrival::Fused(fusion) => fusion.ends.reset(),
            }
        }
        for (ticket, fusion) in waiting {
            stack.forget(ticket);
            fusion.ends.reset();
        }
    }
}

/// Those that got a place, and where to say so.
type Placed = Vec<(Ticket, Arc<Channel>)>;

impl Inner {
    /// Gives the places that there are to those who wait for one, in their order.
    fn fill(&mut self) -> Placed {
        let mut placed = Vec::new();
        while self.queue.len() < self.backlog
            && let Some((ticket, fusion)) = self.waiting.pop_first()
        {
            placed.push((ticket, fusion.ends.send.clone()));
            self.queue.push_back(Arrival::Fused(fusion));
        }
        placed
    }
}

fn clamp(backlog: usize) -> usize {
    // One more than asked for waits, as in Linux.
    backlog.saturating_add(1).min(MOST)
}
