//! TCP sockets.
//!
//! ```text
//! Idle --listen--> Listening
//!  |                   accept: a new socket in Connected
//!  +-----connect--> Connected (handshake under way, established, closing, or ended)
//! ```
//! A socket never goes back. The connection itself is one of two kinds, which this file does not tell apart.

mod connection;
mod fused;
mod wired;

use connection::Connection;
use fused::Fused;
use wired::Wired;

use crate::{
    address::ANY,
    listener::{Arrival, Listener},
    network::{Net, Route},
    options::{Options, SocketOption, SocketValue},
    ports::{Port, Protocol},
    signal::Signal,
    socket::Direction,
    stack::{BUFFER, Stack, rank},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use hal::sync::SpinLock;
use io::{
    caller::Caller,
    file::{Attempt, IoError, Want},
};
use mem::{Sink, Source};

/// A TCP socket.
pub(crate) struct TcpSocket {
    net: Arc<Net>,
    signal: Arc<Signal>,
    inner: SpinLock<Inner>,
}

struct Inner {
    state: State,
    options: Options,
    read_shut: bool,
    write_shut: bool,
    /// It was shut down while it was being connected, and nobody was told yet.
    given_up: bool,
}

enum State {
    Idle(Option<Port>),
    Listening { port: Port, listeners: Listeners },
    Connected(Connected),
}

struct Connected {
    connection: Box<dyn Connection>,
    /// The port of a connection that this host opened.
    port: Option<Port>,
    /// The program chose the port.
    bound: bool,
    /// Begun by `connect`, and nobody was told yet how that went.
    connecting: bool,
}

impl TcpSocket {
    pub fn new(net: Arc<Net>) -> Self {
        Self::with(net, Signal::new(), State::Idle(None), Options::DEFAULT)
    }

    fn with(net: Arc<Net>, signal: Arc<Signal>, state: State, options: Options) -> Self {
        let inner = Inner { state, options, read_shut: false, write_shut: false, given_up: false };
        Self { net, signal, inner: SpinLock::new(rank::SOCKET, inner) }
    }

    /// The socket of a connection that was accepted, and its peer; `None`: the peer has reset it, so it never existed for the program.
    fn accepted(
        net: &Arc<Net>,
        (stack, listener): &(Arc<Stack>, Arc<Listener>),
        arrival: Arrival,
        options: Options,
    ) -> Option<(Self, SocketAddrV4)> {
        let (mut connection, signal): (Box<dyn Connection>, _) = match arrival {
            Arrival::Wired { handle, charge, signal } => {
                (Box::new(Wired::accepted(stack.clone(), handle, charge)), signal)
            }
            Arrival::Fused(fusion) => {
                let (connection, signal) = Fused::accepted(fusion, listener.account());
                (Box::new(connection), signal)
            }
        };
        let peer = connection.peer()?;
        connection.apply(&options);
        let connected = Connected { connection, port: None, bound: false, connecting: false };
        Some((Self::with(net.clone(), signal, State::Connected(connected), options), peer))
    }

    pub fn bind(&self, address: SocketAddrV4) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let State::Idle(None) = inner.state else {
            return Err(Errno::EINVAL);
        };
        self.net.check_local(*address.ip())?;
        let share = inner.options.reuse_address || inner.options.reuse_port;
        inner.state = State::Idle(Some(self.net.ports().bind(Protocol::Tcp, address, share)?));
        Ok(())
    }

    pub fn listen(&self, caller: &Caller, backlog: usize) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        match &mut inner.state {
            State::Listening { listeners, .. } => {
                listeners.iter().for_each(|(stack, listener)| stack.set_backlog(listener, backlog));
                return Ok(());
            }
            State::Connected(_) => return Err(Errno::EINVAL),
            State::Idle(port) => {
                let port = match port.take() {
                    Some(port) => port,
                    None => self.net.ports().bind(Protocol::Tcp, ANY, false)?,
                };
                if let Err(errno) = port.listen() {
                    inner.state = State::Idle(Some(port));
                    return Err(errno);
                }
                let local = port.address();
                let listeners = self.net.stacks_for(*local.ip()).into_iter().map(|stack| {
                    let listener = Listener::new(local, backlog, caller.account.clone(), self.signal.clone());
                    stack.listen(&listener);
                    (stack, listener)
                });
                inner.state = State::Listening { port, listeners: listeners.collect() };
            }
        }
        Ok(())
    }

    /// Takes the connection that waited longest, with its peer's address.
    pub fn accept_now(&self) -> Attempt<(TcpSocket, SocketAddrV4)> {
        let inner = self.inner.lock();
        let State::Listening { listeners, .. } = &inner.state else {
            return Err(Errno::EINVAL.into());
        };
        let mut options = inner.options;
        (options.receive_timeout, options.send_timeout) = (0, 0);
        for place in listeners {
            while let Some(arrival) = place.0.accept(&place.1) {
                if let Some(accepted) = Self::accepted(&self.net, place, arrival, options) {
                    return Ok(Some(accepted));
                }
            }
        }
        Ok(None)
    }

    /// Begins to connect. `Ok(None)`: under way; see [`TcpSocket::connect_result`].
    pub fn connect_now(&self, caller: &Caller, remote: SocketAddrV4) -> Attempt<()> {
        let mut inner = self.inner.lock();
        let options = inner.options;
        match &mut inner.state {
            State::Listening { .. } => Err(Errno::EISCONN.into()),
            State::Connected(connected) if connected.connecting => match inner.outcome()? {
                None => Err(Errno::EALREADY.into()),
                Some(()) => Ok(Some(())),
            },
            State::Connected(_) => Err(Errno::EISCONN.into()),
            State::Idle(port) => {
                let mut connected = open(&self.net, caller, &self.signal, port, remote)?;
                connected.connection.apply(&options);
                inner.state = State::Connected(connected);
                inner.given_up = false;
                // Who watches the socket looks, so that it hears of the connection.
                self.signal.notify();
                Ok(None)
            }
        }
    }

    /// How the attempt to connect ended; `Ok(None)`: still under way.
    pub fn connect_result(&self) -> Attempt<()> {
        self.inner.lock().outcome().map_err(IoError::Errno)
    }

    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<usize> {
        let mut inner = self.inner.lock();
        let read_shut = inner.read_shut;
        let State::Connected(Connected { connection, .. }) = &mut inner.state else {
            return match inner.take_given_up() {
                Some(errno) => Err(errno.into()),
                None if read_shut => Ok(Some(0)),
                None => Err(Errno::ENOTCONN.into()),
            };
        };
        if dst.remaining() == 0 {
            return Ok(Some(0));
        }
        let done = connection.receive(dst, peek)?;
        Ok(if read_shut && done.is_none() { Some(0) } else { done })
    }

    pub fn send_now(&self, src: &mut Source<'_>) -> Attempt<usize> {
        let mut inner = self.inner.lock();
        let write_shut = inner.write_shut;
        match &mut inner.state {
            State::Connected(Connected { connection, .. }) if !write_shut => connection.send(src),
            _ => Err(Errno::EPIPE.into()),
        }
    }

    pub fn shutdown(&self, direction: Direction) -> Result<(), Errno> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let under_way = inner.is_under_way();
        let (mut stopped, mut given_up, mut answer) = (Listeners::new(), None, Ok(()));
        match &mut inner.state {
            // As Linux: what is being connected is so no more, and hears of that.
            State::Connected(_) if under_way => given_up = Some(inner.give_up()),
            State::Connected(Connected { connection, .. }) => {
                inner.read_shut |= direction != Direction::Write;
                if direction != Direction::Read {
                    inner.write_shut = true;
                    // Also if that was said before there was a connection; twice is once.
                    connection.end();
                }
            }
            // As Linux: shutting down the reading side of a listener ends it.
            State::Listening { .. } if direction != Direction::Write => stopped = inner.stop_listening(),
            // It has no other side to end.
            State::Listening { .. } => {}
            // It lasts: what it is connected to later hears nothing either.
            State::Idle(_) => {
                inner.read_shut |= direction != Direction::Write;
                inner.write_shut |= direction != Direction::Read;
                answer = Err(Errno::ENOTCONN);
            }
        }
        drop(guard);
        close(stopped);
        drop(given_up);
        self.signal.notify();
        answer
    }

    /// What tells of changes.
    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    pub fn events(&self) -> u32 {
        self.inner.lock().events()
    }

    /// Changes so far, and the events that hold; the next change counts.
    pub fn look(&self) -> (u64, u32) {
        // Before the look: what comes in between is counted once more than need be.
        let changes = self.signal.changes();
        (changes, self.inner.lock().events())
    }

    /// Whether there is nothing to receive, and may be later.
    pub fn receive_waits(&self) -> bool {
        let inner = self.inner.lock();
        matches!(&inner.state, State::Connected(Connected { connection, .. }) if !inner.read_shut && connection.receive_waits())
    }

    /// Whether there is more to receive, if only the peer's end, or another connection to accept.
    pub fn has_more(&self) -> bool {
        match &self.inner.lock().state {
            State::Connected(Connected { connection, .. }) => !connection.receive_waits(),
            State::Listening { listeners, .. } => listeners.iter().any(|(_, listener)| listener.queued() > 0),
            State::Idle(_) => false,
        }
    }

    /// Resolves when what `want` names may have become possible.
    pub async fn wait(&self, want: Want) {
        self.signal.until_events(want, || self.inner.lock().events()).await;
    }

    pub fn local_address(&self) -> SocketAddrV4 {
        match &self.inner.lock().state {
            State::Idle(port) => port.as_ref().map_or(ANY, Port::address),
            State::Listening { port, .. } => port.address(),
            State::Connected(Connected { connection, port, .. }) => {
                connection.local().or(port.as_ref().map(Port::address)).unwrap_or(ANY)
            }
        }
    }

    pub fn peer_address(&self) -> Result<SocketAddrV4, Errno> {
        match &mut self.inner.lock().state {
            State::Connected(Connected { connection, .. }) => {
                let peer = connection.is_established().then(|| connection.peer());
                peer.flatten().ok_or(Errno::ENOTCONN)
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        inner.options.set(option, value)?;
        let options = inner.options;
        if let State::Connected(Connected { connection, .. }) = &mut inner.state {
            connection.apply(&options);
        }
        Ok(())
    }

    pub fn option(&self, option: SocketOption) -> SocketValue {
        let mut inner = self.inner.lock();
        if let Some(value) = inner.options.get(option) {
            return value;
        }
        let number = match (option, &mut inner.state) {
            (SocketOption::Error, State::Connected(Connected { connection, .. })) => {
                connection.take_error().map_or(0, |errno| errno.number().unsigned_abs())
            }
            (SocketOption::Error, State::Idle(_)) => {
                inner.take_given_up().map_or(0, |errno| errno.number().unsigned_abs())
            }
            (SocketOption::Listening, State::Listening { .. }) => 1,
            _ => 0,
        };
        SocketValue::Number(number.into())
    }

    pub fn listens(&self) -> bool {
        matches!(self.inner.lock().state, State::Listening { .. })
    }

    /// Bytes that can be read now (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        match &self.inner.lock().state {
            State::Connected(Connected { connection, .. }) => connection.readable_bytes(),
            _ => 0,
        }
    }

    /// Bytes that the peer's side has not acknowledged (`SIOCOUTQ`).
    pub fn unsent_bytes(&self) -> usize {
        match &self.inner.lock().state {
            State::Connected(Connected { connection, .. }) => connection.unsent_bytes(),
            _ => 0,
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        close(self.inner.get_mut().stop_listening());
    }
}

/// In each interface that the address covers.
type Listeners = Vec<(Arc<Stack>, Arc<Listener>)>;

fn close(listeners: Listeners) {
    listeners.iter().for_each(|(stack, listener)| listener.close(stack));
}

/// Opens a connection to `remote` from `bound`, or from a port of its own.
fn open(
    net: &Arc<Net>,
    caller: &Caller,
    signal: &Arc<Signal>,
    bound: &mut Option<Port>,
    remote: SocketAddrV4,
) -> Result<Connected, Errno> {
    let ip = if remote.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *remote.ip() };
    let remote = SocketAddrV4::new(ip, remote.port());
    if ip.is_broadcast() || ip.is_multicast() {
        return Err(Errno::ENETUNREACH);
    }
    if remote.port() == 0 {
        return Err(Errno::ECONNREFUSED);
    }
    let Route { stack, source } = net.route(ip)?;
    let was_bound = bound.is_some();
    let port = match bound.take() {
        Some(port) => port,
        None => net.ports().bind(Protocol::Tcp, SocketAddrV4::new(source, 0), false)?,
    };
    let from = if port.address().ip().is_unspecified() { source } else { *port.address().ip() };
    let local = SocketAddrV4::new(from, port.address().port());
    match connect(&stack, caller, signal, local, remote) {
        Ok(connection) => Ok(Connected { connection, port: Some(port), bound: was_bound, connecting: true }),
        Err(errno) => {
            *bound = Some(port).filter(|_| was_bound);
            Err(errno)
        }
    }
}

/// Begins to connect, in the way that leads there.
fn connect(
    stack: &Arc<Stack>,
    caller: &Caller,
    signal: &Arc<Signal>,
    local: SocketAddrV4,
    remote: SocketAddrV4,
) -> Result<Box<dyn Connection>, Errno> {
    if stack.is_loopback() && !io::faults::loopback_segments() {
        return Ok(Box::new(Fused::connect(stack, caller, signal, local, remote)?));
    }
    let charge = caller.account.charge(2 * BUFFER)?;
    Ok(Box::new(Wired::connect(stack, charge, signal, local, remote)?))
}

impl Inner {
    /// How connecting went. After a failure the socket is as before.
    fn outcome(&mut self) -> Result<Option<()>, Errno> {
        let State::Connected(connected) = &mut self.state else {
            return Err(self.take_given_up().unwrap_or(Errno::ENOTCONN));
        };
        let outcome = connected.connection.outcome();
        match outcome {
            Ok(done) => connected.connecting &= done.is_none(),
            Err(_) => self.state = State::Idle(connected.port.take().filter(|_| connected.bound)),
        }
        outcome
    }

    fn is_under_way(&mut self) -> bool {
        let State::Connected(connected) = &mut self.state else { return false };
        connected.connecting && !connected.connection.is_established()
    }

    /// Gives up connecting. The connection, to be dropped without the lock.
    fn give_up(&mut self) -> State {
        let port = match &mut self.state {
            State::Connected(connected) => connected.port.take().filter(|_| connected.bound),
            State::Idle(_) | State::Listening { .. } => None,
        };
        self.given_up = true;
        (self.read_shut, self.write_shut) = (false, false);
        core::mem::replace(&mut self.state, State::Idle(port))
    }

    /// That it was given up, once.
    fn take_given_up(&mut self) -> Option<Errno> {
        core::mem::take(&mut self.given_up).then_some(Errno::ECONNRESET)
    }

    /// What is to be closed then, which may take a while: not under the lock.
    fn stop_listening(&mut self) -> Listeners {
        let State::Listening { listeners, .. } = &mut self.state else { return Listeners::new() };
        let listeners = core::mem::take(listeners);
        self.state = State::Idle(None);
        listeners
    }

    /// The events that hold now.
    fn events(&mut self) -> u32 {
        use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM};
        match &mut self.state {
            State::Idle(_) => {
                let over = if self.read_shut { EPOLLIN | EPOLLRDNORM | EPOLLRDHUP } else { 0 };
                EPOLLOUT | EPOLLHUP | over | if self.given_up { EPOLLERR } else { 0 }
            }
            State::Listening { listeners, .. } => {
                let waiting = listeners.iter().any(|(_, listener)| listener.queued() > 0);
                if waiting { EPOLLIN | EPOLLRDNORM } else { 0 }
            }
            State::Connected(Connected { connection, .. }) => connection.look().events(self.read_shut, self.write_shut),
        }
    }
}
