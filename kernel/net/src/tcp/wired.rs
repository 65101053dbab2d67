//! A connection to another host: the protocol library's. What it does is the library's state machine; this file reads it and
//! never stores a copy.

use super::connection::{Connection, Look};
use crate::{
    address::socket_address,
    connections::{Handle, has_room, is_connecting},
    options::Options,
    signal::Signal,
    stack::{BUFFER, PEER_TIMEOUT, Stack},
};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::net::SocketAddrV4;
use io::file::{Attempt, IoError};
use mem::{Charge, Sink, Source};
use smoltcp::{
    socket::tcp::{RecvError, Socket, State as Phase},
    time::Duration,
};

/// A connection of the library's; dropped, it closes in order.
pub(super) struct Wired {
    stack: Arc<Stack>,
    handle: Handle,
    /// `None` only while it is being dropped.
    charge: Option<Charge>,
    /// Was seen established.
    established: bool,
    /// When connecting began (ns since boot).
    started: u64,
    /// The error that ended it was reported.
    reported: bool,
    /// No more is sent.
    ended: bool,
    /// The receive buffer was half full: tell the peer when there is room again.
    throttled: bool,
    /// Reset instead of finishing (`SO_LINGER` with 0 seconds).
    reset: bool,
}

impl Drop for Wired {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.stack.release(self.handle, charge, self.reset);
        }
    }
}

impl Wired {
    /// Begins to connect.
    ///
    /// # Errors
    /// `ENETUNREACH`, `ENOBUFS`.
    pub fn connect(
        stack: &Arc<Stack>,
        charge: Charge,
        signal: &Arc<Signal>,
        local: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Result<Self, Errno> {
        let handle = stack.lock().connect(local, remote, signal)?;
        stack.kick();
        Ok(Self::new(stack.clone(), handle, charge, false))
    }

    /// One that a listener's queue held.
    pub fn accepted(stack: Arc<Stack>, handle: Handle, charge: Charge) -> Self {
        Self::new(stack, handle, charge, true)
    }

    fn new(stack: Arc<Stack>, handle: Handle, charge: Charge, established: bool) -> Self {
        Self {
            stack,
            handle,
            charge: Some(charge),
            established,
            started: hal::time::now(),
            reported: false,
            ended: false,
            throttled: false,
            reset: false,
        }
    }

    fn socket<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        f(self.stack.lock().connections.socket(self.handle))
    }

    /// The same, where it may have something to send afterwards.
    fn change(&self, f: impl FnOnce(&mut Socket<'static>)) {
        let mut core = self.stack.lock();
        f(core.connections.socket(self.handle));
        self.stack.push(core, self.handle);
    }
}

impl Connection for Wired {
    fn apply(&mut self, options: &Options) {
        self.reset = options.linger == Some(0);
        self.change(|socket| {
            socket.set_nagle_enabled(!options.no_delay);
            let idle = options.keep_alive.then(|| Duration::from_secs(options.keep_idle));
            socket.set_keep_alive(idle);
        });
    }

    fn outcome(&mut self) -> Result<Option<()>, Errno> {
        match self.socket(|socket| socket.state()) {
            phase if is_connecting(phase) => Ok(None),
            Phase::Closed => Err(self.take_error().unwrap_or(Errno::ECONNABORTED)),
            _ => {
                self.established = true;
                Ok(Some(()))
            }
        }
    }

    fn is_established(&mut self) -> bool {
        let phase = self.socket(|socket| socket.state());
        self.established |= !is_connecting(phase) && phase != Phase::Closed;
        self.established
    }

    fn take_error(&mut self) -> Option<Errno> {
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

    fn receive(&mut self, dst: &mut Sink<'_>, peek: bool) -> Attempt<usize> {
        let mut core = self.stack.lock();
        let socket = core.connections.socket(self.handle);
        let before = socket.recv_queue();
        if before == 0 {
            if socket.may_recv() || is_connecting(socket.state()) {
                return Ok(None);
            }
            drop(core);
            return self.take_error().map_or(Ok(Some(0)), |errno| Err(errno.into()));
        }
        self.throttled |= before >= BUFFER / 2;
        let done = if peek { peek_into(socket, dst)? } else { drain_into(socket, dst)? };
        if self.throttled && socket.recv_queue() < BUFFER / 4 {
            self.throttled = false;
            self.stack.push(core, self.handle);
        }
        Ok(Some(done))
    }

    fn send(&mut self, src: &mut Source<'_>) -> Attempt<usize> {
        let mut core = self.stack.lock();
        let socket = core.connections.socket(self.handle);
        if !socket.may_send() {
            if is_connecting(socket.state()) {
                return Ok(None);
            }
            drop(core);
            return Err(self.take_error().unwrap_or(Errno::EPIPE).into());
        }
        let done = fill_from(socket, src)?;
        if done.is_some_and(|done| done > 0) {
            self.stack.push(core, self.handle);
        }
        Ok(done)
    }

    fn end(&mut self) {
        self.ended = true;
        self.change(Socket::close);
    }

    fn look(&self) -> Look {
        self.socket(|socket| {
            let phase = socket.state();
            let is_closed = phase == Phase::Closed;
            Look {
                is_connecting: is_connecting(phase),
                is_readable: socket.can_recv(),
                peer_is_done: !socket.may_recv() || matches!(phase, Phase::CloseWait | Phase::LastAck | Phase::Closing),
                is_writable: !socket.may_send() || has_room(socket),
                is_closed,
                // Who has ended it gets to the same state in order.
                has_error: is_closed && !self.reported && !self.ended,
            }
        })
    }

    fn receive_waits(&self) -> bool {
        self.socket(|socket| socket.recv_queue() == 0 && socket.may_recv())
    }

    fn readable_bytes(&self) -> usize {
        self.socket(|socket| socket.recv_queue())
    }

    fn unsent_bytes(&self) -> usize {
        self.socket(|socket| socket.send_queue())
    }

    fn local(&self) -> Option<SocketAddrV4> {
        self.socket(|socket| socket.local_endpoint()).map(socket_address)
    }

    fn peer(&self) -> Option<SocketAddrV4> {
        self.socket(|socket| socket.remote_endpoint()).map(socket_address)
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
