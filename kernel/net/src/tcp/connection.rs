//! One TCP connection, from the handshake on: moving bytes, errors, and what `poll` says about it.

use crate::{
    options::Options,
    ports::Port,
    signal::Signal,
    stack::{BUFFER, PEER_TIMEOUT, Stack},
};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::task::Waker;
use io::file::{Attempt, IoError};
use mem::{Charge, Sink, Source};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{RecvError, Socket, State as Phase},
    time::Duration,
};

/// A connection; dropping it closes it in order.
pub(super) struct Connection {
    pub stack: Arc<Stack>,
    pub handle: SocketHandle,
    /// `None` only while it is being dropped.
    pub charge: Option<Charge>,
    /// The port of a connection that this host opened.
    pub port: Option<Port>,
    /// The program chose the port.
    pub bound: bool,
    /// Begun by `connect` and not yet reported as established.
    pub connecting: bool,
    /// Was seen established.
    pub established: bool,
    /// When `connect` began (ns since boot).
    pub started: u64,
    /// The error that ended it was reported.
    pub reported: bool,
    /// The receive buffer was half full: tell the peer when there is room again.
    pub throttled: bool,
    /// Reset instead of finishing (`SO_LINGER` with 0 seconds).
    pub reset: bool,
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

/// Whether writing is worth while: a third of the buffer is free, as in Linux.
fn has_room(socket: &Socket<'_>) -> bool {
    3 * (socket.send_capacity() - socket.send_queue()) >= socket.send_capacity()
}

pub(super) fn connected_events(socket: &Socket<'_>, read_shut: bool, write_shut: bool, reported: bool) -> u32 {
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
    pub fn apply(&mut self, options: &Options) {
        self.reset = options.linger == Some(0);
        self.socket(|socket| {
            socket.set_nagle_enabled(!options.no_delay);
            let idle = options.keep_alive.then(|| Duration::from_secs(options.keep_idle));
            socket.set_keep_alive(idle);
        });
    }

    /// Whether the handshake went well, however the connection ended later. Nobody need have asked how it went.
    pub fn is_established(&mut self) -> bool {
        let phase = self.socket(|socket| socket.state());
        self.established |= !matches!(phase, Phase::SynSent | Phase::SynReceived | Phase::Closed);
        self.established
    }

    /// How the handshake went; reports an error once.
    pub fn outcome(&mut self) -> Result<Option<()>, Errno> {
        match self.socket(|socket| socket.state()) {
            Phase::SynSent | Phase::SynReceived => Ok(None),
            Phase::Closed => match self.take_error() {
                Some(errno) => Err(errno),
                None => Err(Errno::ECONNABORTED),
            },
            _ => {
                (self.connecting, self.established) = (false, true);
                Ok(Some(()))
            }
        }
    }

    /// The error that ended the connection, once.
    pub fn take_error(&mut self) -> Option<Errno> {
        let established = self.is_established();
        let (phase, finished) = self.socket(|socket| {
            let finished = matches!(socket.peek(1), Err(RecvError::Finished));
            (socket.state(), finished)
        });
        if phase != Phase::Closed || finished || self.reported {
            return None;
        }
        self.reported = true;
        let waited = Duration::from_micros(hal::time::now().saturating_sub(self.started) / 1000);
        Some(match established {
            false if waited >= PEER_TIMEOUT => Errno::ETIMEDOUT,
            false => Errno::ECONNREFUSED,
            true => Errno::ECONNRESET,
        })
    }

    /// Copies what has arrived; also says whether the peer should hear that there is room again.
    pub fn receive(&mut self, dst: &mut Sink<'_>, peek: bool) -> Result<(Option<usize>, bool), IoError> {
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

    pub fn send(&mut self, src: &mut Source<'_>) -> Attempt<usize> {
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
