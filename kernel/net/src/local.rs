//! Local sockets (`AF_UNIX`): a pair of bounded channels between two sockets of this host.
//!
//! Streams carry bytes; packets keep message boundaries. Datagrams have no connections: `local_datagrams.rs`.

use crate::{
    address::LocalName,
    channel::{Ends, Framing, Taken, place_of},
    flights::{Hold, Place},
    letters::Sender,
    names::{Name, Names, Target},
    network::Net,
    options::{Options, SocketOption, SocketValue},
    rights::Rights,
    signal::Signal,
    socket::{Direction, Received},
    stack::{BUFFER, rank},
};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use exec::sync::WaitQueue;
use hal::sync::{SpinGuard, SpinLock};
use io::{
    caller::Caller,
    file::{Attempt, Want},
};
use mem::{Account, Sink, Source};

/// Most connections that wait for `accept`.
const PLACES_MOST: usize = 256;

/// A bound name, and the queue behind it once its socket listens.
pub(crate) struct Bound {
    name: SpinLock<Option<Name>>,
    bytes: Arc<[u8]>,
    framing: Framing,
    signal: Arc<Signal>,
    arrivals: Arc<Arrivals>,
}

/// The connections that wait to be accepted. Who waits for a place among them holds this, and nothing of the listener.
struct Arrivals {
    queue: SpinLock<Queue>,
    vacancy: WaitQueue,
}

struct Queue {
    /// Connections that may wait; 0: not listening, or not any more.
    places: usize,
    account: Option<Arc<Account>>,
    /// Who listens.
    listener: Sender,
    arrivals: VecDeque<Arrival>,
}

/// A connection that was not accepted yet.
struct Arrival {
    ends: Ends,
    signal: Arc<Signal>,
    /// The name of who connected, which may be none, and its ids.
    from: Vec<u8>,
    sender: Sender,
}

impl Bound {
    /// It has begun to; one whose reading side is shut down lets nobody in any more, and stays what it is.
    fn listens(&self) -> bool {
        self.arrivals.queue.lock().account.is_some()
    }

    /// The queue, if it takes one more connection: from who is `unfit` for that otherwise, which is the last that Linux looks at.
    fn admit(&self, unfit: Option<Errno>) -> Result<SpinGuard<'_, Queue>, Errno> {
        let queue = self.arrivals.queue.lock();
        if queue.account.is_none() || queue.places == 0 {
            return Err(Errno::ECONNREFUSED);
        }
        if queue.arrivals.len() >= queue.places {
            return Err(Errno::EAGAIN);
        }
        unfit.map_or(Ok(queue), Err)
    }

    /// Listens no more; answers who was to be accepted, and hears of it.
    fn end(&self) -> VecDeque<Arrival> {
        let gone = {
            let mut queue = self.arrivals.queue.lock();
            queue.places = 0;
            core::mem::take(&mut queue.arrivals)
        };
        self.arrivals.vacancy.wake_all();
        gone.iter().for_each(|arrival| arrival.ends.reset());
        gone
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // First: who hears of the end may bind it.
        self.name.get_mut().take();
        self.end();
    }
}

enum State {
    Idle,
    Bound(Arc<Bound>),
    Connected(Ends, Option<Arc<Bound>>),
}

/// A local socket.
pub(crate) struct LocalSocket {
    names: Arc<Names>,
    framing: Framing,
    signal: Arc<Signal>,
    inner: SpinLock<Inner>,
}

struct Inner {
    state: State,
    options: Options,
    /// The name of an accepted connection: its listener's, which keeps nothing alive.
    accepted: Vec<u8>,
    /// The peer's name, if it has one, and its ids.
    peer: Vec<u8>,
    sender: Sender,
    /// What was shut down before it was connected.
    read_shut: bool,
    write_shut: bool,
}

impl Inner {
    /// What who binds it is told at once: that it asks for any name and has one, or cannot have one.
    fn bound_already(&self, any: bool) -> Option<Result<(), Errno>> {
        match self.state {
            State::Idle => None,
            State::Bound(_) | State::Connected(_, Some(_)) if any => Some(Ok(())),
            _ => Some(Err(Errno::EINVAL)),
        }
    }
}

impl LocalSocket {
    pub fn new(net: &Arc<Net>, framing: Framing) -> Self {
        Self::with(net.names().clone(), framing, Signal::new(), State::Idle)
    }

    fn with(names: Arc<Names>, framing: Framing, signal: Arc<Signal>, state: State) -> Self {
        let (accepted, peer) = (Vec::new(), Vec::new());
        let (options, sender) = (Options::DEFAULT, Sender::NOBODY);
        let inner = Inner { state, options, accepted, peer, sender, read_shut: false, write_shut: false };
        Self { names, framing, signal, inner: SpinLock::new(rank::SOCKET, inner) }
    }

    /// Two sockets that are connected to each other.
    pub fn pair(net: &Arc<Net>, caller: &Caller, framing: Framing) -> Result<(Self, Self), Errno> {
        let (near, far) = (Signal::new(), Signal::new());
        let (a, b) = Ends::pair(framing, BUFFER, true, (&caller.account, &near), (&caller.account, &far), &far)?;
        let names = net.names();
        let socket = |signal, ends| {
            let mut socket = Self::with(names.clone(), framing, signal, State::Connected(ends, None));
            socket.inner.get_mut().sender = Sender::of(caller);
            socket
        };
        Ok((socket(near, a), socket(far, b)))
    }

    /// `name` empty: any that is free.
    pub fn bind(&self, caller: &Caller, name: &LocalName) -> Result<(), Errno> {
        let any = name.bytes().is_empty();
        if let Some(answer) = self.inner.lock().bound_already(any) {
            return answer;
        }
        let name = match any {
            true => self.names.bind_any(&caller.account, self.framing)?,
            false => self.names.bind(&caller.account, self.framing, name)?,
        };
        let queue = Queue { places: 0, account: None, listener: Sender::NOBODY, arrivals: VecDeque::new() };
        let bound = Arc::new(Bound {
            bytes: name.bytes().clone(),
            name: SpinLock::new(rank::LISTENER, None),
            framing: self.framing,
            signal: self.signal.clone(),
            arrivals: Arc::new(Arrivals { queue: SpinLock::new(rank::LISTENER, queue), vacancy: WaitQueue::new() }),
        });
        name.lead_to(Target::Listener(Arc::downgrade(&bound)));
        *bound.name.lock() = Some(name);
        let mut inner = self.inner.lock();
        if let Some(answer) = inner.bound_already(any) {
            // Another was faster. The name is given back without the lock.
            drop(inner);
            return answer;
        }
        inner.state = State::Bound(bound);
        Ok(())
    }

    fn find(&self, name: &LocalName) -> Result<Arc<Bound>, Errno> {
        match self.names.find(self.framing, name) {
            Target::Listener(bound) => bound.upgrade().ok_or(Errno::ECONNREFUSED),
            Target::Inbox(inbox) if inbox.strong_count() > 0 => Err(Errno::EPROTOTYPE),
            Target::Inbox(_) | Target::Nobody => Err(Errno::ECONNREFUSED),
        }
    }

    pub fn listen(&self, caller: &Caller, backlog: usize) -> Result<(), Errno> {
        let inner = self.inner.lock();
        match &inner.state {
            State::Bound(bound) => {
                let mut queue = bound.arrivals.queue.lock();
                // One more than asked for, as in Linux.
                queue.places = if inner.read_shut { 0 } else { backlog.saturating_add(1).min(PLACES_MOST) };
                queue.account = Some(caller.account.clone());
                queue.listener = Sender::of(caller);
                drop(queue);
                bound.arrivals.vacancy.wake_all();
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    pub fn accept_now(&self) -> Attempt<LocalSocket> {
        let inner = self.inner.lock();
        let State::Bound(bound) = &inner.state else {
            return Err(Errno::EINVAL.into());
        };
        let mut queue = bound.arrivals.queue.lock();
        // Those who came before it was shut down are still there.
        let Some(Arrival { ends, signal, from, sender }) = queue.arrivals.pop_front() else {
            return if queue.places == 0 { Err(Errno::EINVAL.into()) } else { Ok(None) };
        };
        drop(queue);
        bound.arrivals.vacancy.wake_all();
        ends.receive.hand_over(&signal);
        let mut socket = Self::with(self.names.clone(), self.framing, signal, State::Connected(ends, None));
        let fresh = socket.inner.get_mut();
        (fresh.accepted, fresh.peer, fresh.sender) = (bound.bytes.to_vec(), from, sender);
        // As in Linux, alone of all options.
        fresh.options.pass_credentials = inner.options.pass_credentials;
        Ok(Some(socket))
    }

    /// Connects to the socket that listens under `name`; `EAGAIN`: its queue is full ([`LocalSocket::vacancy`]).
    pub fn connect_now(&self, caller: &Caller, name: &LocalName) -> Attempt<()> {
        // Before the lock, and so dropped behind it: it may be the last who has it, and closes what lies in its queue.
        let target = self.find(name)?;
        let mut inner = self.inner.lock();
        let (own, unfit) = match &inner.state {
            State::Idle => (None, None),
            State::Bound(bound) => (Some(bound.clone()), bound.listens().then_some(Errno::EINVAL)),
            State::Connected(..) => (None, Some(Errno::EISCONN)),
        };
        if target.framing != self.framing {
            return Err(Errno::EPROTOTYPE.into());
        }
        let account = target.admit(unfit)?.account.clone();
        let account = account.ok_or(Errno::ECONNREFUSED)?;
        let far = Signal::new();
        let (near, far_side) = ((&caller.account, &self.signal), (&account, &far));
        let (a, b) = Ends::pair(self.framing, BUFFER, true, near, far_side, &target.signal)?;
        // Before anybody can accept it.
        if inner.read_shut {
            a.receive.refuse();
        }
        if inner.write_shut {
            a.send.end();
        }
        let from = own.as_ref().map_or(Vec::new(), |own| own.bytes.to_vec());
        // Others may have come meanwhile.
        let mut queue = target.admit(unfit)?;
        queue.arrivals.push_back(Arrival { ends: b, signal: far, from, sender: Sender::of(caller) });
        inner.sender = queue.listener;
        drop(queue);
        inner.state = State::Connected(a, own);
        inner.peer = target.bytes.to_vec();
        drop(inner);
        target.signal.notify_of(abi::poll::EPOLLIN);
        Ok(Some(()))
    }

    /// Resolves when the queue of the socket that listens under `name` may have a place, or it is gone.
    pub async fn vacancy(&self, name: &LocalName) {
        let Ok(arrivals) = self.find(name).map(|bound| bound.arrivals.clone()) else { return };
        let ready = || {
            let queue = arrivals.queue.lock();
            (queue.places == 0 || queue.arrivals.len() < queue.places).then_some(())
        };
        exec::sync::wait_until(&arrivals.vacancy, ready).await;
    }

    pub fn send_now(&self, src: &mut Source<'_>, rights: &mut Option<Box<Rights>>) -> Attempt<usize> {
        match &self.inner.lock().state {
            State::Connected(ends, _) => {
                if self.framing == Framing::Packets && ends.receive.lock().take_reset() {
                    return Err(Errno::ECONNRESET.into());
                }
                ends.send.write(src, rights)
            }
            _ => Err(Errno::ENOTCONN.into()),
        }
    }

    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Received> {
        let inner = self.inner.lock();
        let sender = inner.options.pass_credentials.then_some(inner.sender);
        Ok(self.take(&inner.state, dst, peek)?.map(|taken| {
            let full = if self.framing.keeps_messages() { taken.full } else { taken.len };
            // Where there is no more than that, it ends nothing.
            let left = if taken.rights.is_some() { taken.left as u32 } else { u32::MAX };
            let rights = Rights::told(taken.rights, sender);
            Received { rights, left, ..Received::bytes(taken.len, full, None) }
        }))
    }

    /// The same for who wants the bytes alone, how many: descriptors that came with them are closed.
    pub fn read_now(&self, dst: &mut Sink<'_>) -> Attempt<usize> {
        // Not under the lock, which is given back here.
        let taken = self.take(&self.inner.lock().state, dst, false)?;
        Ok(taken.map(|taken| taken.len))
    }

    fn take(&self, state: &State, dst: &mut Sink<'_>, peek: bool) -> Attempt<Taken> {
        match state {
            State::Connected(ends, _) => ends.receive.read(dst, peek),
            _ if self.framing == Framing::Packets => Err(Errno::ENOTCONN.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Whether a read would certainly have to wait.
    pub fn receive_waits(&self) -> bool {
        matches!(&self.inner.lock().state, State::Connected(ends, _) if ends.receive.lock().read_waits())
    }

    /// Also of a socket that is not connected, as in Linux; one that listens takes no more connections then.
    pub fn shutdown(&self, direction: Direction) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let (receive, send) = match &inner.state {
            State::Connected(ends, _) => (ends.receive.clone(), ends.send.clone()),
            State::Idle | State::Bound(_) => {
                inner.read_shut |= direction != Direction::Write;
                inner.write_shut |= direction != Direction::Read;
                let refused = match &inner.state {
                    State::Bound(bound) if inner.read_shut => {
                        bound.arrivals.queue.lock().places = 0;
                        Some(bound.arrivals.clone())
                    }
                    _ => None,
                };
                drop(inner);
                if let Some(arrivals) = refused {
                    arrivals.vacancy.wake_all();
                }
                self.signal.notify();
                return Ok(());
            }
        };
        drop(inner);
        if direction != Direction::Write {
            receive.refuse();
        }
        if direction != Direction::Read {
            send.end();
        }
        Ok(())
    }

    pub fn events(&self) -> u32 {
        use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM};
        let inner = self.inner.lock();
        let over = if inner.read_shut { EPOLLIN | EPOLLRDNORM | EPOLLRDHUP } else { 0 };
        match &inner.state {
            State::Idle => EPOLLOUT | EPOLLWRNORM | EPOLLHUP | over,
            State::Bound(bound) if !bound.listens() => EPOLLOUT | EPOLLWRNORM | EPOLLHUP | over,
            State::Bound(bound) => {
                let arrived = !bound.arrivals.queue.lock().arrivals.is_empty();
                let both = if inner.read_shut && inner.write_shut { EPOLLHUP } else { 0 };
                if arrived { EPOLLIN | EPOLLRDNORM | over | both } else { over | both }
            }
            State::Connected(ends, _) => {
                let (empty, read_over, reset) = {
                    let pipe = ends.receive.lock();
                    (pipe.is_empty(), pipe.read_over(), pipe.has_news_of_reset())
                };
                let (has_room, write_over) = {
                    let pipe = ends.send.lock();
                    (pipe.has_room(), pipe.write_over())
                };
                let mut events = if !empty || read_over { EPOLLIN | EPOLLRDNORM } else { 0 };
                events |= if read_over { EPOLLRDHUP } else { 0 } | if reset { EPOLLERR } else { 0 };
                events |= if write_over || has_room { EPOLLOUT | EPOLLWRNORM } else { 0 };
                events | if read_over && write_over { EPOLLHUP } else { 0 }
            }
        }
    }

    /// What stands for it among those in flight.
    pub fn place(&self) -> Place {
        place_of(&self.signal)
    }

    /// Takes out the descriptors that wait to be received, as it is about to end. No more come.
    pub fn strip(&self, into: &mut Option<Box<Rights>>) {
        let bound = match &self.inner.lock().state {
            State::Connected(ends, _) => return ends.receive.strip(into),
            State::Bound(bound) => bound.clone(),
            State::Idle => return,
        };
        bound.end().iter().for_each(|arrival| arrival.ends.receive.strip(into));
    }

    /// The queue that is woken at each change.
    pub fn queue(&self) -> &WaitQueue {
        self.signal.queue()
    }

    /// Changes so far.
    pub fn edges(&self) -> u64 {
        self.signal.changes()
    }

    /// Resolves when what `want` names may have become possible.
    pub async fn wait(&self, want: Want) {
        let room = |len: usize| match &self.inner.lock().state {
            State::Connected(ends, _) => {
                let pipe = ends.send.lock();
                pipe.write_over() || pipe.room().is_some_and(|room| room >= len)
            }
            _ => true,
        };
        let len = match want {
            Want::Write { len, .. } if self.framing.keeps_messages() => len,
            _ => 0,
        };
        let asked = io::file::mask_of(want);
        self.signal.until(|| (self.events() & asked != 0 && room(len)).then_some(())).await;
    }

    pub fn local_name(&self) -> Vec<u8> {
        let inner = self.inner.lock();
        match &inner.state {
            State::Bound(bound) | State::Connected(_, Some(bound)) => bound.bytes.to_vec(),
            _ => inner.accepted.clone(),
        }
    }

    pub fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let inner = self.inner.lock();
        match inner.state {
            State::Connected(..) => Ok(inner.peer.clone()),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// The ids of the peer, or of who made the pair.
    pub fn peer_identity(&self) -> Sender {
        self.inner.lock().sender
    }

    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        self.inner.lock().options.set(option, value)
    }

    pub fn option(&self, option: SocketOption) -> SocketValue {
        let inner = self.inner.lock();
        let listening = matches!(&inner.state, State::Bound(bound) if bound.listens());
        let other = SocketValue::Number(u64::from(option == SocketOption::Listening && listening));
        inner.options.get(option).unwrap_or(other)
    }

    pub fn listens(&self) -> bool {
        matches!(&self.inner.lock().state, State::Bound(bound) if bound.listens())
    }

    /// Bytes that can be read now (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        match &self.inner.lock().state {
            State::Connected(ends, _) => ends.receive.lock().len(),
            _ => 0,
        }
    }

    /// Bytes that the peer has not received (`SIOCOUTQ`).
    pub fn unsent_bytes(&self) -> usize {
        match &self.inner.lock().state {
            State::Connected(ends, _) => ends.send.lock().len(),
            _ => 0,
        }
    }
}
