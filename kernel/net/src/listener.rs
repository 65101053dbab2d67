//! The queue between the stack, which establishes connections, and the socket that accepts them.

use crate::{
    signal::Signal,
    stack::{Stack, rank},
};
use alloc::{collections::VecDeque, sync::Arc};
use core::net::SocketAddrV4;
use hal::sync::SpinLock;
use mem::{Account, Charge};
use smoltcp::iface::SocketHandle;

/// Longest queue that `listen` grants.
const MOST: usize = 256;

/// A connection that is being established, owned by the stack.
pub(crate) struct Embryo {
    pub handle: SocketHandle,
    pub charge: Charge,
    pub listener: Arc<Listener>,
    pub signal: Arc<Signal>,
}

/// An established connection that nobody accepted yet.
pub(crate) struct Arrival {
    pub handle: SocketHandle,
    pub charge: Charge,
    pub signal: Arc<Signal>,
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
}

impl Listener {
    pub fn new(local: SocketAddrV4, backlog: usize, account: Arc<Account>, signal: Arc<Signal>) -> Arc<Self> {
        let inner = Inner { backlog: clamp(backlog), queue: VecDeque::new() };
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

    pub fn set_backlog(&self, backlog: usize) {
        self.inner.lock().backlog = clamp(backlog);
    }

    pub fn queued(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// The connection that waited longest.
    pub fn take(&self) -> Option<Arrival> {
        self.inner.lock().queue.pop_front()
    }

    /// Hands over an established connection.
    pub fn deliver(&self, embryo: Embryo) {
        let Embryo { handle, charge, signal, .. } = embryo;
        self.inner.lock().queue.push_back(Arrival { handle, charge, signal });
        self.signal.notify();
    }

    /// Stops listening: no more arrivals, and those in the queue are reset.
    pub fn close(self: &Arc<Self>, stack: &Stack) {
        stack.unlisten(self);
        while let Some(arrival) = self.take() {
            stack.release(arrival.handle, arrival.charge, true);
        }
    }
}

fn clamp(backlog: usize) -> usize {
    backlog.clamp(1, MOST)
}
