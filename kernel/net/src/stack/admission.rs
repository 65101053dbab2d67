//! Requests for connections from elsewhere: which are admitted, and what becomes of them until they are established.

use super::{BUFFER, Core};
use crate::{
    address,
    connections::Route,
    listener::{Embryo, Listener},
    signal::Signal,
    wire::Segment,
};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::net::SocketAddrV4;
use smoltcp::socket::tcp;

pub(super) enum Admission {
    /// A socket waits for the frame.
    Embryo,
    /// The frame is not processed at all.
    Drop,
    /// Not for a listener: the library answers.
    Pass,
}

impl Core {
    /// Decides on a request and prepares the socket for it.
    pub(super) fn admit(&mut self, request: Segment) -> Admission {
        if !self.iface.has_ip_addr(*request.local.ip()) {
            return Admission::Pass;
        }
        let route = (request.local, request.peer);
        match self.connections.find(route).map(|handle| (handle, self.connections.socket(handle).state())) {
            // The peer starts over with the same ports: the old connection is done with (RFC 9293, 3.10.7.4).
            Some((handle, tcp::State::TimeWait)) if self.orphans.remove(handle) => self.connections.remove(handle),
            Some(_) => return Admission::Pass,
            None => {}
        }
        let Some(listener) = self.listener(request.local) else {
            return Admission::Pass;
        };
        let waiting = self.embryos.iter().filter(|embryo| Arc::ptr_eq(&embryo.listener, &listener)).count();
        if waiting + listener.queued() >= listener.backlog() {
            return Admission::Drop;
        }
        match self.embryo(listener, route) {
            Ok(()) => Admission::Embryo,
            // No memory: as if the request had been lost; the peer asks again.
            Err(_) => Admission::Drop,
        }
    }

    pub(super) fn listener(&self, local: SocketAddrV4) -> Option<Arc<Listener>> {
        let candidates = self.listeners.get(&local.port())?;
        let exact = candidates.iter().find(|listener| listener.local().ip() == local.ip());
        exact.or_else(|| candidates.iter().find(|listener| listener.local().ip().is_unspecified())).cloned()
    }

    fn embryo(&mut self, listener: Arc<Listener>, route: Route) -> Result<(), Errno> {
        let charge = listener.account().charge(2 * BUFFER)?;
        let mut socket = self.new_tcp()?;
        socket.listen(address::listen_endpoint(route.0)).map_err(|_| Errno::EINVAL)?;
        let signal = Signal::new();
        let handle = self.connections.add(socket, route, signal.clone());
        self.embryos.push(Embryo { handle, charge, listener, signal });
        Ok(())
    }

    /// The frame turned out not to be a valid request: the socket prepared for it goes.
    pub(super) fn drop_unused_embryo(&mut self) {
        let Some(embryo) = self.embryos.last() else { return };
        if self.connections.socket(embryo.handle).state() == tcp::State::Listen {
            self.connections.remove(embryo.handle);
            self.embryos.pop();
        }
    }

    /// After a round: connections that were established go to their listeners, finished ones are freed.
    pub(super) fn settle(&mut self) {
        let mut index = 0;
        while index < self.embryos.len() {
            let handle = self.embryos[index].handle;
            match self.connections.socket(handle).state() {
                tcp::State::SynReceived => index += 1,
                // Reset or timed out before it was established.
                tcp::State::Listen | tcp::State::Closed => {
                    self.connections.remove(handle);
                    self.embryos.swap_remove(index);
                }
                _ => {
                    let embryo = self.embryos.swap_remove(index);
                    embryo.listener.clone().deliver(embryo);
                }
            }
        }
        self.orphans.reap(&mut self.connections, self.now);
    }
}
