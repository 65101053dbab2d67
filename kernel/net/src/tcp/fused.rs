//! A connection between two sockets of this host: TCP as programs see it, without segments.
//!
//! What one side sends is what the other receives, so there is nothing to number, to acknowledge or to send again: the two
//! directions are [`Channel`](crate::channel::Channel)s. What TCP promises to programs is kept: a full queue of the listener makes who connects wait, an end in
//! order and a reset differ, unread data at the close is a reset, and what is sent to a socket that was closed is lost once before it is an error. Solaris
//! calls this *TCP fusion*.

use super::connection::{Connection, Look};
use crate::{
    channel::{Ends, Framing},
    listener::{Fusion, Joined, Listener, Ticket},
    options::Options,
    signal::Signal,
    stack::{BUFFER, Stack},
};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::net::SocketAddrV4;
use io::{
    caller::Caller,
    file::{Attempt, IoError},
};
use mem::{Account, Sink, Source};

/// Bytes under way in each direction: as many as a buffer to send and one to receive hold.
const CAPACITY: usize = 2 * BUFFER;

/// A connection within this host.
pub(super) struct Fused {
    local: SocketAddrV4,
    peer: SocketAddrV4,
    /// `None`: nobody listened, or it was given up before it was made.
    ends: Option<Ends>,
    /// Was seen to be made.
    established: bool,
    /// Something was sent to a socket that had been closed: a reset came back.
    broken: bool,
    /// The error that ended it was told.
    reported: bool,
    /// Reset instead of finishing (`SO_LINGER` with 0 seconds).
    reset: bool,
    /// Where it waits for a place in the listener's queue.
    place: Option<Place>,
    /// The socket's, for what nobody else tells of.
    signal: Arc<Signal>,
}

/// A place among those who wait for one in a listener's queue; dropped, it is given up.
struct Place {
    stack: Arc<Stack>,
    listener: Arc<Listener>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stack.withdraw(&self.listener, self.ticket);
    }
}

impl Fused {
    /// Connects `local` to who listens at `remote`; what becomes of it is the [`Connection::outcome`].
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn connect(
        stack: &Arc<Stack>,
        caller: &Caller,
        signal: &Arc<Signal>,
        local: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Result<Self, Errno> {
        let mut connection = Self::new(local, remote, None, signal.clone());
        let Some(listener) = stack.listener(remote) else { return Ok(connection) };
        let there = Signal::new();
        let (near, far) = ((&caller.account, signal), (&caller.account, &there));
        let (near, far) = Ends::pair(Framing::Stream, CAPACITY, false, near, far, &there)?;
        let fusion = Fusion { ends: far, signal: there, local: remote, peer: local };
        match stack.join(&listener, fusion) {
            Joined::Refused => return Ok(connection),
            Joined::Queued => near.receive.lock().open = true,
            Joined::Waits(ticket) => {
                connection.place = Some(Place { stack: stack.clone(), listener, ticket });
            }
        }
        connection.ends = Some(near);
        Ok(connection)
    }

    /// The other side of one, which a listener's queue held. Who connects has paid for it so far; now it is the listener's.
    pub fn accepted(fusion: Fusion, account: &Arc<Account>) -> (Self, Arc<Signal>) {
        let Fusion { ends, signal, local, peer } = fusion;
        ends.receive.lock().pay(account);
        let mut connection = Self::new(local, peer, Some(ends), signal.clone());
        connection.established = true;
        (connection, signal)
    }

    fn new(local: SocketAddrV4, peer: SocketAddrV4, ends: Option<Ends>, signal: Arc<Signal>) -> Self {
        let (established, broken, reported, reset) = (false, false, false, false);
        Self { local, peer, ends, established, broken, reported, reset, place: None, signal }
    }

    /// The ends of a connection that is made. `None`: it is under way, or will not be.
    fn made(&mut self) -> Option<&Ends> {
        if !self.established {
            self.established = self.ends.as_ref()?.receive.lock().open;
            if self.established {
                self.place = None;
            }
        }
        self.ends.as_ref().filter(|_| self.established)
    }

    /// Whether it is over other than in order.
    fn is_closed(&self) -> bool {
        self.broken || self.ends.as_ref().is_none_or(|ends| ends.receive.lock().reset)
    }

    /// What there is instead of bytes where a connection was never made, or is no more.
    fn end_or_error(&mut self) -> Attempt<usize> {
        if !self.is_closed() {
            return Ok(None);
        }
        self.take_error().map_or(Ok(Some(0)), |errno| Err(errno.into()))
    }

    /// Nobody takes what is sent, or not yet. If the peer went in order, the first to be sent is lost unnoticed.
    fn send_in_vain(&mut self, src: &mut Source<'_>) -> Attempt<usize> {
        if self.is_closed() {
            return Err(self.take_error().unwrap_or(Errno::EPIPE).into());
        }
        if !self.established {
            return Ok(None);
        }
        let (mut lost, mut done) = ([0; 512], 0);
        let most = src.remaining().min(CAPACITY);
        while done < most {
            let len = lost.len().min(most - done);
            match src.take(&mut lost[..len]) {
                Ok(()) => done += len,
                Err(fault) if done == 0 => return Err(fault.into()),
                Err(_) => break,
            }
        }
        self.broken = true;
        // Nobody else changes it: who polls the socket hears of it from here.
        self.signal.notify();
        Ok(Some(done))
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.as_ref().filter(|_| self.reset) {
            ends.reset();
        }
    }
}

impl Connection for Fused {
    fn apply(&mut self, options: &Options) {
        self.reset = options.linger == Some(0);
    }

    fn outcome(&mut self) -> Result<Option<()>, Errno> {
        if self.made().is_some() {
            return Ok(Some(()));
        }
        if !self.is_closed() {
            return Ok(None);
        }
        Err(self.take_error().unwrap_or(Errno::ECONNABORTED))
    }

    fn is_established(&mut self) -> bool {
        self.made().is_some()
    }

    fn take_error(&mut self) -> Option<Errno> {
        if self.reported || !self.is_closed() {
            return None;
        }
        self.reported = true;
        let (was_reset, timed_out) = self.ends.as_ref().map_or((false, false), |ends| {
            let mut pipe = ends.receive.lock();
            (pipe.take_reset(), pipe.timed_out)
        });
        Some(match self.is_established() {
            true if self.broken && !was_reset => Errno::EPIPE,
            true => Errno::ECONNRESET,
            false if timed_out => Errno::ETIMEDOUT,
            false => Errno::ECONNREFUSED,
        })
    }

    fn receive(&mut self, dst: &mut Sink<'_>, peek: bool) -> Attempt<usize> {
        let Some(ends) = self.made() else { return self.end_or_error() };
        let received = ends.receive.read(dst, peek);
        self.reported |= matches!(received, Err(IoError::Errno(Errno::ECONNRESET)));
        Ok(received?.map(|taken| taken.len))
    }

    fn send(&mut self, src: &mut Source<'_>) -> Attempt<usize> {
        let Some(ends) = self.made() else { return self.send_in_vain(src) };
        match ends.send.write(src, &mut None) {
            Err(IoError::Errno(Errno::EPIPE)) => self.send_in_vain(src),
            sent => sent,
        }
    }

    fn end(&mut self) {
        match self.made() {
            Some(ends) => ends.send.end(),
            None => (self.ends, self.place) = (None, None),
        }
    }

    fn look(&self) -> Look {
        let Some(ends) = &self.ends else { return Look::over(!self.reported) };
        let mut look = {
            let pipe = ends.receive.lock();
            let is_closed = pipe.reset || self.broken;
            if !pipe.open && !is_closed {
                return Look { is_connecting: true, ..Look::default() };
            }
            let peer_is_done = is_closed || pipe.read_over();
            Look { is_readable: !pipe.is_empty(), peer_is_done, is_closed, ..Look::default() }
        };
        let pipe = ends.send.lock();
        look.is_writable = look.is_closed || pipe.write_over() || pipe.has_room();
        look.has_error = look.is_closed && !self.reported;
        look
    }

    fn receive_waits(&self) -> bool {
        self.ends.as_ref().is_some_and(|ends| ends.receive.lock().read_waits())
    }

    fn readable_bytes(&self) -> usize {
        self.ends.as_ref().map_or(0, |ends| ends.receive.lock().len())
    }

    /// What is sent is the peer's to receive.
    fn unsent_bytes(&self) -> usize {
        0
    }

    fn local(&self) -> Option<SocketAddrV4> {
        Some(self.local)
    }

    fn peer(&self) -> Option<SocketAddrV4> {
        Some(self.peer)
    }
}
