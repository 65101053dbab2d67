//! Who listens, and the places in a listener's queue that connections of this host wait for: not for ever.

use super::{PEER_TIMEOUT, Stack};
use crate::listener::{Arrival, Fusion, Joined, Listener, Ticket};
use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddrV4;

impl Stack {
    /// Who listens at `local`.
    pub(crate) fn listener(&self, local: SocketAddrV4) -> Option<Arc<Listener>> {
        self.lock().listener(local)
    }

    /// Gives a connection of this host to its listener; if it has to wait for a place there, not for ever.
    pub(crate) fn join(&self, listener: &Arc<Listener>, fusion: Fusion) -> Joined {
        let ticket = {
            let mut core = self.lock();
            core.tickets += 1;
            (hal::time::now() + PEER_TIMEOUT.total_micros() * 1000, core.tickets)
        };
        // Before it can get a place, which takes it out.
        self.lock().waiting.insert(ticket, Arc::downgrade(listener));
        let joined = listener.join(fusion, ticket);
        match joined {
            Joined::Waits(_) => self.kick(),
            Joined::Queued | Joined::Refused => self.forget(ticket),
        }
        joined
    }

    /// Who waits under `ticket` has given up.
    pub(crate) fn withdraw(&self, listener: &Listener, ticket: Ticket) {
        self.forget(ticket);
        listener.refuse(ticket);
    }

    /// Nobody waits under `ticket` any more.
    pub(crate) fn forget(&self, ticket: Ticket) {
        self.lock().waiting.remove(&ticket);
    }

    /// The connection that `listener` has had longest.
    pub(crate) fn accept(&self, listener: &Listener) -> Option<Arrival> {
        let (arrival, placed) = listener.take()?;
        placed.into_iter().for_each(|ticket| self.forget(ticket));
        Some(arrival)
    }

    /// Changes how many connections may wait to be accepted.
    pub(crate) fn set_backlog(&self, listener: &Listener, backlog: usize) {
        listener.set_backlog(backlog).into_iter().for_each(|ticket| self.forget(ticket));
    }

    /// One who has waited long enough.
    pub(super) fn impatient(&self, now: u64) -> Option<(Arc<Listener>, Ticket)> {
        let mut core = self.lock();
        while let Some(first) = core.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let (ticket, listener) = first.remove_entry();
            if let Some(listener) = listener.upgrade() {
                return Some((listener, ticket));
            }
        }
        None
    }

    /// Starts taking connections for `listener`.
    pub(crate) fn listen(&self, listener: &Arc<Listener>) {
        let port = listener.local().port();
        self.lock().listeners.entry(port).or_default().push(listener.clone());
    }

    /// Stops taking connections for `listener` and resets those that nobody accepted.
    pub(crate) fn unlisten(&self, listener: &Arc<Listener>) {
        let port = listener.local().port();
        let mut core = self.lock();
        if let Some(same_port) = core.listeners.get_mut(&port) {
            same_port.retain(|other| !Arc::ptr_eq(other, listener));
            if same_port.is_empty() {
                core.listeners.remove(&port);
            }
        }
        let core = &mut *core;
        let mut kept = Vec::new();
        for embryo in core.embryos.drain(..) {
            if Arc::ptr_eq(&embryo.listener, listener) {
                core.connections.socket(embryo.handle).abort();
                core.connections.touch(embryo.handle);
                core.orphans.add(embryo.handle, embryo.charge, core.now);
            } else {
                kept.push(embryo);
            }
        }
        core.embryos = kept;
    }
}
