//! TCP sockets.
//!
//! ```text
//! Idle --listen--> Listening
//!  |                   accept: a new socket in Connected
//!  +-----connect--> Connected (handshake under way, established, closing, or ended)
//! ```
//! A socket never goes back. What the connection itself does is the library's state machine; this file
//! reads it and never stores a copy.

use crate::{
    address::{self, ANY},
    listener::{Arrival, Listener},
    network::{Net, Route},
    options::{Options, SocketOption, SocketValue},
    ports::{Port, Protocol},
    signal::Signal,
    socket::Direction,
    stack::{BUFFER, Stack, rank},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::Waker;
use hal::sync::SpinLock;
use io::{
    caller::Caller,
    file::{Attempt, IoError, Want},
};
use mem::{Charge, Sink, Source};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{RecvError, Socket, State as Phase},
    time::Duration,
};

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
}

enum State {
    Idle(Option<Port>),
    Listening { port: Port, listeners: Vec<(Arc<Stack>, Arc<Listener>)> },
    Connected(Connection),
}

/// A connection; dropping it closes it in order.
struct Connection {
    stack: Arc<Stack>,
    handle: SocketHandle,
    /// `None` only while it is being dropped.
    charge: Option<Charge>,
    /// The port of a connection that this host opened.
    port: Option<Port>,
    /// Begun by `connect` and not yet reported as established.
    connecting: bool,
    /// The error that ended it was reported.
    reported: bool,
    /// The receive buffer was half full: tell the peer when there is room again.
    throttled: bool,
    /// Reset instead of finishing (`SO_LINGER` with 0 seconds).
    reset: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.stack.release(self.handle, charge, self.reset);
        }
    }
}

/// Lets the library wake `signal` at the next change of `socket`.
pub(crate) fn arm(socket: &mut Socket<'static>, signal: &Arc<Signal>) {
    let waker = Waker::from(signal.clone());
    socket.register_recv_waker(&waker);
    socket.register_send_waker(&waker);
}

impl TcpSocket {
    pub fn new(net: Arc<Net>) -> Self {
        Self::with(net, Signal::new(), State::Idle(None), Options::DEFAULT)
    }

    fn with(net: Arc<Net>, signal: Arc<Signal>, state: State, options: Options) -> Self {
        let inner = Inner { state, options, read_shut: false, write_shut: false };
        Self { net, signal, inner: SpinLock::new(rank::SOCKET, inner) }
    }

    fn accepted(net: Arc<Net>, stack: Arc<Stack>, arrival: Arrival, options: Options) -> Self {
        let Arrival { handle, charge, signal } = arrival;
        let connection = Connection {
            stack,
            handle,
            charge: Some(charge),
            port: None,
            connecting: false,
            reported: false,
            throttled: false,
            reset: false,
        };
        connection.apply(&options);
        Self::with(net, signal, State::Connected(connection), options)
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
                listeners.iter().for_each(|(_, listener)| listener.set_backlog(backlog));
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
        for (stack, listener) in listeners {
            while let Some(arrival) = listener.take() {
                let peer = stack.lock().tcp(arrival.handle).remote_endpoint();
                let Some(peer) = peer else {
                    // Reset by the peer while it waited: it never existed for the program.
                    stack.release(arrival.handle, arrival.charge, true);
                    continue;
                };
                let mut options = inner.options;
                options.receive_timeout = 0;
                options.send_timeout = 0;
                let socket = Self::accepted(self.net.clone(), stack.clone(), arrival, options);
                return Ok(Some((socket, address::socket_address(peer))));
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
            State::Connected(connection) if connection.connecting => match connection.outcome()? {
                None => Err(Errno::EALREADY.into()),
                Some(()) => Ok(Some(())),
            },
            State::Connected(_) => Err(Errno::EISCONN.into()),
            State::Idle(port) => {
                let connection = open(&self.net, caller, port, remote)?;
                connection.apply(&options);
                inner.state = State::Connected(connection);
                Ok(None)
            }
        }
    }

    /// How the attempt to connect ended; `Ok(None)`: still under way.
    pub fn connect_result(&self) -> Attempt<()> {
        match &mut self.inner.lock().state {
            State::Connected(connection) => connection.outcome().map_err(IoError::Errno),
            _ => Err(Errno::ENOTCONN.into()),
        }
    }

    pub fn receive_now(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<usize> {
        let mut inner = self.inner.lock();
        let read_shut = inner.read_shut;
        let State::Connected(connection) = &mut inner.state else {
            return Err(Errno::ENOTCONN.into());
        };
        if dst.remaining() == 0 {
            return Ok(Some(0));
        }
        let (done, announce) = connection.receive(dst, peek)?;
        if announce {
            connection.stack.kick();
        }
        Ok(if read_shut && done.is_none() { Some(0) } else { done })
    }

    pub fn send_now(&self, src: &mut Source<'_>) -> Attempt<usize> {
        let mut inner = self.inner.lock();
        let write_shut = inner.write_shut;
        let State::Connected(connection) = &mut inner.state else {
            return Err(Errno::EPIPE.into());
        };
        if write_shut {
            return Err(Errno::EPIPE.into());
        }
        let done = connection.send(src)?;
        if done.is_some_and(|done| done > 0) {
            connection.stack.kick();
        }
        Ok(done)
    }

    pub fn shutdown(&self, direction: Direction) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        match &mut inner.state {
            State::Connected(connection) => {
                inner.read_shut |= direction != Direction::Write;
                if direction != Direction::Read && !inner.write_shut {
                    inner.write_shut = true;
                    connection.stack.lock().tcp(connection.handle).close();
                    connection.stack.kick();
                }
            }
            // As Linux: shutting down the reading side of a listener ends it.
            State::Listening { .. } if direction != Direction::Write => inner.stop_listening(),
            _ => return Err(Errno::ENOTCONN),
        }
        self.signal.notify();
        Ok(())
    }

    pub fn events(&self) -> u32 {
        self.inner.lock().events(None)
    }

    /// Resolves when what `want` names may have become possible.
    pub async fn wait(&self, want: Want) {
        let events = match want {
            Want::Read { .. } => abi::poll::EPOLLIN,
            Want::Write { .. } => abi::poll::EPOLLOUT,
            Want::Events(events) => events,
        };
        let asked = events | abi::poll::EPOLLERR | abi::poll::EPOLLHUP;
        self.signal.until(|| (self.inner.lock().events(Some(&self.signal)) & asked != 0).then_some(())).await;
    }

    pub fn local_address(&self) -> SocketAddrV4 {
        match &self.inner.lock().state {
            State::Idle(port) => port.as_ref().map_or(ANY, Port::address),
            State::Listening { port, .. } => port.address(),
            State::Connected(connection) => {
                let local = connection.stack.lock().tcp(connection.handle).local_endpoint();
                match (local, &connection.port) {
                    (Some(local), _) => address::socket_address(local),
                    (None, Some(port)) => port.address(),
                    (None, None) => ANY,
                }
            }
        }
    }

    pub fn peer_address(&self) -> Result<SocketAddrV4, Errno> {
        match &self.inner.lock().state {
            State::Connected(connection) if !connection.connecting => {
                let peer = connection.stack.lock().tcp(connection.handle).remote_endpoint();
                peer.map(address::socket_address).ok_or(Errno::ENOTCONN)
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    pub fn set_option(&self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        inner.options.set(option, value)?;
        let options = inner.options;
        if let State::Connected(connection) = &mut inner.state {
            connection.apply(&options);
            connection.reset = options.linger == Some(0);
        }
        Ok(())
    }

    pub fn option(&self, option: SocketOption) -> SocketValue {
        let mut inner = self.inner.lock();
        if let Some(value) = inner.options.get(option) {
            return value;
        }
        let number = match (option, &mut inner.state) {
            (SocketOption::Error, State::Connected(connection)) => {
                connection.take_error().map_or(0, |errno| errno.number().unsigned_abs())
            }
            (SocketOption::Listening, State::Listening { .. }) => 1,
            _ => 0,
        };
        SocketValue::Number(number.into())
    }

    /// Bytes that can be read now (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        match &self.inner.lock().state {
            State::Connected(connection) => connection.stack.lock().tcp(connection.handle).recv_queue(),
            _ => 0,
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.inner.get_mut().stop_listening();
    }
}

/// Opens a connection to `remote` from `bound`, or from a port of its own.
fn open(net: &Arc<Net>, caller: &Caller, bound: &mut Option<Port>, remote: SocketAddrV4) -> Result<Connection, Errno> {
    let ip = if remote.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *remote.ip() };
    let remote = SocketAddrV4::new(ip, remote.port());
    if ip.is_broadcast() || ip.is_multicast() {
        return Err(Errno::ENETUNREACH);
    }
    if remote.port() == 0 {
        return Err(Errno::ECONNREFUSED);
    }
    let Route { stack, source } = net.route(ip)?;
    let charge = caller.account.charge(2 * BUFFER)?;
    let port = match bound.take() {
        Some(port) => port,
        None => net.ports().bind(Protocol::Tcp, SocketAddrV4::new(source, 0), false)?,
    };
    let from = if port.address().ip().is_unspecified() { source } else { *port.address().ip() };
    let local = SocketAddrV4::new(from, port.address().port());
    let opened = stack.lock().connect(local, remote);
    match opened {
        Ok(handle) => {
            stack.kick();
            Ok(Connection {
                stack,
                handle,
                charge: Some(charge),
                port: Some(port),
                connecting: true,
                reported: false,
                throttled: false,
                reset: false,
            })
        }
        Err(errno) => {
            *bound = Some(port);
            Err(errno)
        }
    }
}

impl Inner {
    fn stop_listening(&mut self) {
        if let State::Listening { listeners, .. } = &mut self.state {
            for (stack, listener) in listeners.drain(..) {
                listener.close(&stack);
            }
            self.state = State::Idle(None);
        }
    }

    /// The events that hold now; with `arm`, the next change wakes the signal.
    fn events(&mut self, arm: Option<&Arc<Signal>>) -> u32 {
        use abi::poll::{EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDNORM};
        match &mut self.state {
            State::Idle(_) => EPOLLOUT | EPOLLHUP,
            State::Listening { listeners, .. } => {
                let waiting = listeners.iter().any(|(_, listener)| listener.queued() > 0);
                if waiting { EPOLLIN | EPOLLRDNORM } else { 0 }
            }
            State::Connected(connection) => {
                let mut core = connection.stack.lock();
                let socket = core.tcp(connection.handle);
                if let Some(signal) = arm {
                    self::arm(socket, signal);
                }
                connected_events(socket, self.read_shut, self.write_shut, connection.reported)
            }
        }
    }
}

/// Whether writing is worth while: a third of the buffer is free, as in Linux.
fn has_room(socket: &Socket<'_>) -> bool {
    3 * (socket.send_capacity() - socket.send_queue()) >= socket.send_capacity()
}

fn connected_events(socket: &Socket<'_>, read_shut: bool, write_shut: bool, reported: bool) -> u32 {
    use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM};
    let phase = socket.state();
    if matches!(phase, Phase::SynSent | Phase::SynReceived) {
        return 0;
    }
    let peer_done = !socket.may_recv() || matches!(phase, Phase::CloseWait | Phase::LastAck | Phase::Closing);
    let mut events = 0;
    if socket.can_recv() || peer_done || read_shut {
        events |= EPOLLIN | EPOLLRDNORM;
    }
    if peer_done || read_shut {
        events |= EPOLLRDHUP;
    }
    if write_shut || !socket.may_send() || has_room(socket) {
        events |= EPOLLOUT | EPOLLWRNORM;
    }
    if phase == Phase::Closed || (write_shut && (peer_done || read_shut)) {
        events |= EPOLLHUP;
    }
    if phase == Phase::Closed && !reported && !write_shut {
        events |= EPOLLERR;
    }
    events
}

impl Connection {
    fn socket<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        let mut core = self.stack.lock();
        f(core.tcp(self.handle))
    }

    /// Gives the library the options that it carries out.
    fn apply(&self, options: &Options) {
        self.socket(|socket| {
            socket.set_nagle_enabled(!options.no_delay);
            let idle = options.keep_alive.then(|| Duration::from_secs(options.keep_idle));
            socket.set_keep_alive(idle);
        });
    }

    /// How the handshake went; reports an error once.
    fn outcome(&mut self) -> Result<Option<()>, Errno> {
        match self.socket(|socket| socket.state()) {
            Phase::SynSent | Phase::SynReceived => Ok(None),
            Phase::Closed => match self.take_error() {
                Some(errno) => Err(errno),
                None => Err(Errno::ECONNABORTED),
            },
            _ => {
                self.connecting = false;
                Ok(Some(()))
            }
        }
    }

    /// The error that ended the connection, once.
    fn take_error(&mut self) -> Option<Errno> {
        let (phase, finished) = self.socket(|socket| {
            let finished = matches!(socket.peek(1), Err(RecvError::Finished));
            (socket.state(), finished)
        });
        if phase != Phase::Closed || finished || self.reported {
            return None;
        }
        self.reported = true;
        Some(if self.connecting { Errno::ECONNREFUSED } else { Errno::ECONNRESET })
    }

    /// Copies what has arrived; also says whether the peer should hear that there is room again.
    fn receive(&mut self, dst: &mut Sink<'_>, peek: bool) -> Result<(Option<usize>, bool), IoError> {
        let mut core = self.stack.lock();
        let socket = core.tcp(self.handle);
        let before = socket.recv_queue();
        if before == 0 {
            return if socket.may_recv() || matches!(socket.state(), Phase::SynSent | Phase::SynReceived) {
                Ok((None, false))
            } else {
                drop(core);
                self.take_error().map_or(Ok((Some(0), false)), |errno| Err(errno.into()))
            };
        }
        self.throttled |= before >= BUFFER / 2;
        let done = if peek { peek_into(socket, dst)? } else { drain_into(socket, dst)? };
        let after = socket.recv_queue();
        let announce = self.throttled && after < BUFFER / 4;
        if announce {
            self.throttled = false;
        }
        Ok((Some(done), announce))
    }

    fn send(&mut self, src: &mut Source<'_>) -> Attempt<usize> {
        let mut core = self.stack.lock();
        let socket = core.tcp(self.handle);
        if !socket.may_send() {
            if matches!(socket.state(), Phase::SynSent | Phase::SynReceived) {
                return Ok(None);
            }
            drop(core);
            return Err(self.take_error().unwrap_or(Errno::EPIPE).into());
        }
        fill_from(socket, src)
    }
}

/// Bytes copied at a time: a copy is all or nothing, and a page of user memory may have to be faulted in.
const PIECE: usize = 4096;

/// Moves received bytes into `dst`. What was copied before a fault counts; the rest is for the next call.
fn drain_into(socket: &mut Socket<'_>, dst: &mut Sink<'_>) -> Result<usize, IoError> {
    let mut done = 0;
    while dst.remaining() > 0 && socket.can_recv() {
        let wanted = dst.remaining().min(PIECE);
        let piece = socket.recv(|bytes| {
            let len = bytes.len().min(wanted);
            match dst.put(&bytes[..len]) {
                Ok(()) => (len, Ok(len)),
                Err(fault) => (0, Err(fault)),
            }
        });
        match piece {
            Ok(Ok(len)) => done += len,
            Ok(Err(fault)) if done == 0 => return Err(fault.into()),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok(done)
}

fn peek_into(socket: &mut Socket<'_>, dst: &mut Sink<'_>) -> Result<usize, IoError> {
    match socket.peek(dst.remaining()) {
        Ok(bytes) => {
            dst.put(bytes)?;
            Ok(bytes.len())
        }
        Err(_) => Ok(0),
    }
}

/// Moves bytes from `src` into the send buffer; `None` if it is full.
fn fill_from(socket: &mut Socket<'_>, src: &mut Source<'_>) -> Attempt<usize> {
    if src.remaining() == 0 {
        return Ok(Some(0));
    }
    let mut done = 0;
    while src.remaining() > 0 && socket.can_send() {
        let wanted = src.remaining().min(PIECE);
        let piece = socket.send(|room| {
            let len = room.len().min(wanted);
            match src.take(&mut room[..len]) {
                Ok(()) => (len, Ok(len)),
                Err(fault) => (0, Err(fault)),
            }
        });
        match piece {
            Ok(Ok(len)) => done += len,
            Ok(Err(fault)) if done == 0 => return Err(fault.into()),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok((done > 0).then_some(done))
}
