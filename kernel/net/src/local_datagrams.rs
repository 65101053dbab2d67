//! Local datagram sockets (`AF_UNIX`, `SOCK_DGRAM`): each has an [`Inbox`], which others find by its name or are connected to.
//!
//! A socket that has a peer takes messages from that alone. Two that have each other are what `socketpair` makes.

use crate::{
    address::LocalName,
    channel::Framing,
    flights::{Hold, Place},
    letters::{Inbox, Letter, Refusal, Sender},
    names::{Names, Target},
    network::Net,
    options::{Options, SocketOption, SocketValue},
    rights::Rights,
    signal::Signal,
    socket::{Direction, Received},
    stack::{BUFFER, rank},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use hal::sync::{SpinGuard, SpinLock};
use io::{
    caller::Caller,
    file::{Attempt, Want, mask_of},
};
use mem::{Sink, Source};

/// A local datagram socket.
pub(crate) struct LocalDatagrams {
    names: Arc<Names>,
    inbox: Arc<Inbox>,
    inner: SpinLock<Inner>,
}

struct Inner {
    options: Options,
    peer: Option<Peer>,
    write_shut: bool,
    /// Who made the pair, if it is one of two.
    maker: Sender,
}

struct Peer {
    inbox: Arc<Inbox>,
    /// When the own signal was left there, as [`State::leave_signal`](crate::letters::State::leave_signal) counts.
    expects: Option<u64>,
}

impl LocalDatagrams {
    pub fn new(net: &Arc<Net>) -> Self {
        let inner = Inner { options: Options::DEFAULT, peer: None, write_shut: false, maker: Sender::NOBODY };
        Self { names: net.names().clone(), inbox: Inbox::new(), inner: SpinLock::new(rank::SOCKET, inner) }
    }

    /// Two that have each other as peers.
    pub fn pair(net: &Arc<Net>, caller: &Caller) -> (Self, Self) {
        let (mut a, mut b) = (Self::new(net), Self::new(net));
        let inboxes = [b.inbox.clone(), a.inbox.clone()];
        for (near, far) in [&mut a, &mut b].into_iter().zip(inboxes) {
            near.inbox.lock().peer = Some(far.place());
            let inner = near.inner.get_mut();
            (inner.peer, inner.maker) = (Some(Peer { inbox: far, expects: None }), Sender::of(caller));
        }
        (a, b)
    }

    /// `name` empty: any that is free.
    pub fn bind(&self, caller: &Caller, name: &LocalName) -> Result<(), Errno> {
        let any = name.bytes().is_empty();
        if any && self.inbox.lock().name.is_some() {
            return Ok(());
        }
        let name = match any {
            true => self.names.bind_any(&caller.account, Framing::Datagrams)?,
            false if self.inbox.lock().name.is_some() => return Err(Errno::EINVAL),
            false => self.names.bind(&caller.account, Framing::Datagrams, name)?,
        };
        name.lead_to(Target::Inbox(Arc::downgrade(&self.inbox)));
        let mut state = self.inbox.lock();
        if state.name.is_none() {
            state.name = Some(name);
            return Ok(());
        }
        // Another was faster.
        drop(state);
        drop(name);
        Err(Errno::EINVAL)
    }

    /// Who passes its ids on has a name, as in Linux.
    fn name_if_passing(&self, caller: &Caller) -> Result<(), Errno> {
        if self.inner.lock().options.pass_credentials { self.bind(caller, &LocalName::default()) } else { Ok(()) }
    }

    fn find(&self, name: &LocalName) -> Result<Arc<Inbox>, Errno> {
        match self.names.find(Framing::Datagrams, name) {
            Target::Inbox(inbox) => inbox.upgrade().ok_or(Errno::ECONNREFUSED),
            Target::Listener(bound) if bound.strong_count() > 0 => Err(Errno::EPROTOTYPE),
            Target::Listener(_) | Target::Nobody => Err(Errno::ECONNREFUSED),
        }
    }

    /// Sets the peer, or forgets it. What came from another before is lost, and that hears of it.
    pub fn connect(&self, caller: &Caller, name: Option<&LocalName>) -> Result<(), Errno> {
        if name.is_some() {
            self.name_if_passing(caller)?;
        }
        let inner = self.inner.lock();
        let peer = match name {
            Some(name) => {
                let inbox = self.find(name)?;
                let state = inbox.lock();
                if state.gone {
                    return Err(Errno::ECONNREFUSED);
                }
                if !state.takes_from(self.place()) {
                    return Err(Errno::EPERM);
                }
                drop(state);
                Some(Peer { inbox, expects: None })
            }
            None => None,
        };
        let is_same = |old: &Peer| peer.as_ref().is_some_and(|peer| Arc::ptr_eq(&peer.inbox, &old.inbox));
        if inner.peer.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        self.change_peer(inner, peer);
        self.signal().notify();
        Ok(())
    }

    /// Another peer, or none; the old one hears of it if something of it is lost.
    fn change_peer(&self, mut inner: SpinGuard<'_, Inner>, peer: Option<Peer>) {
        self.inbox.set_peer(peer.as_ref().map(|peer| peer.inbox.place()));
        let Some(old) = core::mem::replace(&mut inner.peer, peer) else { return };
        // In the same step, or it would take back a signal that was left there later.
        old.inbox.lock().expect_no_more(self.signal());
        drop(inner);
        if self.inbox.clear() {
            let mut state = old.inbox.lock();
            let hears = state.peer == Some(self.place()) && !state.gone;
            state.reset |= hears;
            drop(state);
            if hears {
                old.inbox.signal.notify();
            }
        }
    }

    /// Sends one message, to the peer unless somebody is named. `src` is used up even if there is no room.
    ///
    /// # Errors
    /// `ENOTCONN`, `EMSGSIZE`, `ECONNRESET`, `EPIPE`, `ECONNREFUSED`, `EPROTOTYPE`, `EPERM`, `ENOBUFS`.
    pub fn send_now(
        &self,
        caller: &Caller,
        src: &mut Source<'_>,
        to: Option<&LocalName>,
        rights: &mut Option<Box<Rights>>,
    ) -> Attempt<usize> {
        self.name_if_passing(caller)?;
        let mut inner = self.inner.lock();
        if to.is_none() && inner.peer.is_none() {
            return Err(Errno::ENOTCONN.into());
        }
        let len = src.remaining();
        if len > BUFFER {
            return Err(Errno::EMSGSIZE.into());
        }
        let from = {
            let mut own = self.inbox.lock();
            if core::mem::take(&mut own.reset) {
                return Err(Errno::ECONNRESET.into());
            }
            own.name.as_ref().map(|name| name.bytes().clone())
        };
        if inner.write_shut {
            return Err(Errno::EPIPE.into());
        }
        let target = match (to, &inner.peer) {
            (Some(name), _) => self.find(name)?,
            (None, Some(peer)) => peer.inbox.clone(),
            (None, None) => return Err(Errno::ENOTCONN.into()),
        };
        let letter = Letter::new(caller, src, from)?;
        let (refusal, mut state) = match target.put(self.place(), letter, rights) {
            Ok(()) => return Ok(Some(len)),
            Err(refused) => refused,
        };
        match refusal {
            Refusal::Error(errno) => Err(errno.into()),
            Refusal::Gone => {
                drop(state);
                if to.is_none() {
                    self.change_peer(inner, None);
                }
                Err(Errno::ECONNREFUSED.into())
            }
            Refusal::Full => {
                if let (None, Some(peer)) = (to, &mut inner.peer) {
                    state.leave_signal(self.signal(), &mut peer.expects).map_err(|_| Errno::ENOBUFS)?;
                }
                Ok(None)
            }
        }
    }

    /// Takes the message that waited longest; what does not fit into `dst` is lost.
    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Received> {
        if let Some(opened) = self.inbox.take(dst, peek)? {
            let passes = self.inner.lock().options.pass_credentials;
            let from = opened.from.map(|name| crate::Address::Local(name.to_vec().into()));
            return Ok(Some(Received {
                rights: Rights::told(opened.rights, passes.then_some(opened.sender)),
                ..Received::bytes(opened.len, opened.full, from)
            }));
        }
        Ok(self.inbox.lock().read_shut.then(Received::end))
    }

    pub fn shutdown(&self, direction: Direction) {
        if direction != Direction::Read {
            self.inner.lock().write_shut = true;
        }
        if direction != Direction::Write {
            self.inbox.refuse();
        } else {
            self.signal().notify();
        }
    }

    /// The events that hold; if there is no room at the peer, the next there is will be told.
    pub fn events(&self) -> u32 {
        use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM};
        let mut inner = self.inner.lock();
        let write_shut = inner.write_shut;
        let mut events = {
            let own = self.inbox.lock();
            let over = if own.read_shut { EPOLLIN | EPOLLRDNORM | EPOLLRDHUP } else { 0 };
            let both = if own.read_shut && write_shut { EPOLLHUP } else { 0 };
            let there = if own.is_empty() { 0 } else { EPOLLIN | EPOLLRDNORM };
            over | both | there | if own.reset { EPOLLERR } else { 0 }
        };
        let writable = inner.peer.as_mut().is_none_or(|peer| {
            let place = peer.inbox.place();
            let mut state = peer.inbox.lock();
            let is_full = matches!(state.admit(self.place(), place, false), Err(Refusal::Full));
            // Without memory for that: who tries will be told.
            !(is_full && state.leave_signal(self.signal(), &mut peer.expects).is_ok())
        });
        if writable {
            events |= EPOLLOUT | EPOLLWRNORM;
        }
        events
    }

    /// Resolves when what `want` names may have become possible.
    pub async fn wait(&self, want: Want) {
        self.signal().until(|| (self.events() & mask_of(want) != 0).then_some(())).await;
    }

    /// Resolves when another attempt to send there may go otherwise than for want of room.
    pub async fn room(&self, to: Option<&LocalName>) {
        let target = match to {
            Some(name) => self.find(name).ok(),
            None => self.inner.lock().peer.as_ref().map(|peer| peer.inbox.clone()),
        };
        if let Some(target) = target {
            target.room(self.place()).await;
        }
    }

    pub fn local_name(&self) -> Vec<u8> {
        self.inbox.lock().name.as_ref().map_or(Vec::new(), |name| name.bytes().to_vec())
    }

    pub fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let inner = self.inner.lock();
        let peer = inner.peer.as_ref().ok_or(Errno::ENOTCONN)?;
        let state = peer.inbox.lock();
        Ok(state.name.as_ref().map_or(Vec::new(), |name| name.bytes().to_vec()))
    }

    pub fn peer_identity(&self) -> Sender {
        self.inner.lock().maker
    }

    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        self.inner.lock().options.set(option, value)
    }

    pub fn option(&self, option: SocketOption) -> SocketValue {
        if option == SocketOption::Error {
            let was_reset = core::mem::take(&mut self.inbox.lock().reset);
            return SocketValue::Number(if was_reset { Errno::ECONNRESET.number() as u64 } else { 0 });
        }
        self.inner.lock().options.get(option).unwrap_or(SocketValue::Number(0))
    }

    /// Bytes of the next message (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        self.inbox.lock().next_len()
    }

    /// What tells of changes.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.inbox.signal
    }

    /// What stands for it among those in flight, and as a peer.
    pub fn place(&self) -> Place {
        self.inbox.place()
    }

    /// Takes out the descriptors that wait to be received, as it is about to end. No more come.
    pub fn strip(&self, into: &mut Option<Box<Rights>>) {
        self.inbox.strip(into);
    }
}

impl Drop for LocalDatagrams {
    fn drop(&mut self) {
        self.inbox.desert();
        if let Some(peer) = &self.inner.get_mut().peer {
            peer.inbox.lock().expect_no_more(&self.inbox.signal);
        }
    }
}
