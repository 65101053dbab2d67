//! Channels between processes (note 0010): typed messages through memory that both share, and the kernel only where one of them sleeps.
//!
//! ```no_run
//! let (near, far) = channel::pair::<Request, Reply>(64)?;
//! // Here, or wherever `near` was inherited:
//! let mut client = near.open::<Request, Reply>()?;
//! let reply = client.call(&request)?;
//! // There:
//! let mut server = far.open::<Reply, Request>()?;
//! loop {
//!     let request = server.receive()?;
//!     server.post(&answer(request))?;
//! }
//! ```
//!
//! What is [posted](Channel::post) is there for the other side at once; if that sleeps, it is woken when this side next waits or [flushes](Channel::flush),
//! by the same call. [`Channel::send`] does both.
//!
//! Many requests at once, each with its own reply in whatever order these come, are a [`Client`]'s and a [`Server`]'s. What goes one way and has an end is
//! a [`stream`], or one of [`bytes`].
//!
//! The other party is not trusted: it may store anything anywhere in the memory. A message is some value of its type; what
//! makes no sense ends the channel with `EPROTO`. When nobody has the other end any more, what it has sent is still received; then, and
//! for each wait, there is `EPIPE`: that the kernel says, whatever is in the memory.

use crate::io::{Error, Result};
use crate::reactor::{AsyncFd, Direction};
use crate::sync::Arc;
use crate::sys::{self, OwnedFd};
use crate::thread;
use crate::time::Instant;
use crate::uintr;
use abi::{Errno, channel as at};
use channel::{BINDING, Broken, Inbox, MESSAGE, Outbox, ROOM, RUNS, Side};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;
use memory::{Memory, Received};

mod bytes;
mod client;
mod copy;
mod grant;
mod interrupt;
mod memory;
mod server;
mod stream;

pub use bytes::{Reader, Writer, bytes};
pub use client::{Client, calls};
pub use grant::{Grantee, Granter, Mapped, grant};
pub use memory::Message;
pub use server::{Server, Tagged, Ticket};
pub use stream::{Receiver, Sender, stream};

/// An end that is not open yet: to be inherited, or opened here.
#[derive(Debug)]
pub struct End {
    fd: OwnedFd,
    side: usize,
    places: u32,
}

/// A channel with `places` messages at most on the way in each direction: the first end sends `A`, the second `B`.
///
/// # Errors
/// `EINVAL`: `places` is no power of two, or takes more than `abi::channel::MOST_PAGES`; `ENOMEM`, `EMFILE`.
pub fn pair<A: Message, B: Message>(places: u32) -> Result<(End, End)> {
    // SAFETY: no pointers.
    let ends = unsafe { sys::call6(at::PAIR, sys::pad([memory::pages::<A, B>(places)?])) }?;
    let end = |fd, side| End { fd: OwnedFd::new(fd), side, places };
    Ok((end(ends & 0xffff_ffff, 0), end(ends >> 32, 1)))
}

impl End {
    /// Of a descriptor that was inherited: the first end (0) or the second (1) of a channel with so many places.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, side: usize, places: u32) -> Self {
        Self { fd, side: side & 1, places }
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Maps the memory. The types have to be those that the channel was made with, else each side takes the other's messages for something else.
    ///
    /// # Errors
    /// `EINVAL` as for [`pair`]; `ENOMEM`, also if the channel is smaller than these messages need; `ENODEV`: the descriptor is none of a channel.
    pub fn open<S: Message, R: Message>(self) -> Result<Channel<S, R>> {
        let memory = Memory::<S, R>::map(&self)?;
        let side = Side(self.side);
        let (outbox, inbox) = (Outbox::new(side, self.places), Inbox::new(side, self.places));
        Ok(Channel {
            fd: Arc::new(AsyncFd::new(self.fd)),
            memory,
            side,
            outbox,
            inbox,
            is_posted: false,
            impatient: 0,
            peer: None,
            binding: 0,
        })
    }
}

/// Waits behind one that giving way brought nothing for, of which none is preceded by that.
const IMPATIENT: u8 = 15;

/// An open end.
pub struct Channel<S, R> {
    fd: Arc<AsyncFd>,
    memory: Memory<S, R>,
    side: Side,
    outbox: Outbox,
    inbox: Inbox,
    /// Something was posted since the last look at whether the other side sleeps.
    is_posted: bool,
    /// Waits until one is preceded by giving way.
    impatient: u8,
    /// What raises the vector that the other side is bound to, and what that has said when this was found out.
    peer: Option<(uintr::Sender, u32, u32)>,
    /// What this side says of its own.
    binding: u32,
}

fn broken(_: Broken) -> Error {
    Error::from(Errno::EPROTO)
}

impl<S: Message, R: Message> Channel<S, R> {
    /// Sends a message, without a look at whether the other side sleeps.
    ///
    /// # Errors
    /// `EAGAIN`: there is no room; `EPROTO`.
    #[inline]
    pub fn post(&mut self, message: &S) -> Result<()> {
        if !self.outbox.push(&self.memory, message).map_err(broken)? {
            return Err(Error::from(Errno::EAGAIN));
        }
        self.is_posted = true;
        Ok(())
    }

    /// Wakes the other side if it sleeps and something was posted for it.
    #[inline]
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.is_posted) {
            match self.side.must_ring(&self.memory, MESSAGE) {
                0 => {}
                said if said & RUNS != 0 => self.interrupt(said >> BINDING),
                _ => self.wake(),
            }
        }
    }

    /// Wakes the other side. If it is gone, the next wait says so: it may have taken all that was for it before.
    fn wake(&self) {
        let _ = self.ring(at::RING, None);
    }

    /// Sends a message, when there is room.
    ///
    /// # Errors
    /// `EPROTO`; `EPIPE`: the other end was nobody's before.
    pub fn send(&mut self, message: &S) -> Result<()> {
        self.still_somebodys()?;
        while !self.outbox.has_room(&self.memory).map_err(broken)? {
            self.sleep(ROOM, None, |this| this.outbox.has_room(&this.memory))?;
        }
        self.post(message)?;
        self.flush();
        Ok(())
    }

    /// Takes a message, if there is one.
    ///
    /// # Errors
    /// `EPROTO`.
    #[inline]
    pub fn take(&mut self) -> Result<Option<R>> {
        let message = self.inbox.pop(&Received(&self.memory)).map_err(broken)?;
        if message.is_some() {
            self.made_room();
        }
        Ok(message)
    }

    /// Wakes the other side if it waits for room.
    #[inline]
    fn made_room(&mut self) {
        if self.side.must_ring(&self.memory, ROOM) != 0 {
            self.wake();
        }
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// `EPIPE`, `EPROTO`.
    #[inline]
    pub fn receive(&mut self) -> Result<R> {
        self.receive_within(None)
    }

    /// The same, no longer than that.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EPIPE`, `EPROTO`.
    #[inline]
    pub fn receive_within(&mut self, limit: Option<Duration>) -> Result<R> {
        let is_there = |this: &mut Self| Ok(!this.inbox.is_empty(&this.memory)?);
        let message = self.receive_by(limit, |this| this.inbox.pop(&Received(&this.memory)), is_there)?;
        self.made_room();
        Ok(message)
    }

    /// Waits for what `take` takes; `is_there`, whether it would take something.
    #[inline]
    fn receive_by<T>(
        &mut self,
        limit: Option<Duration>,
        mut take: impl FnMut(&mut Self) -> core::result::Result<Option<T>, Broken>,
        is_there: impl Fn(&mut Self) -> core::result::Result<bool, Broken>,
    ) -> Result<T> {
        // One for all waits: the other side may ring as often as it likes.
        let end = limit.map(|limit| Instant::now() + limit);
        if let Some(taken) = self.take_or_give_way(&mut take).map_err(broken)? {
            return Ok(taken);
        }
        loop {
            let slept = self.sleep(MESSAGE, end, &is_there);
            match (take(self).map_err(broken)?, slept) {
                // Behind an error: what was sent before the end, or just now.
                (Some(taken), _) => return Ok(taken),
                (None, slept) => slept?,
            }
        }
    }

    /// Takes what is there. If that is nothing, lets others run before this side sleeps: if the other is one of them, and does the same, neither has to wake the
    /// other. If that brings nothing it is not tried for a while: the other runs elsewhere, or takes long.
    #[inline]
    fn take_or_give_way<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> core::result::Result<Option<T>, Broken>,
    ) -> core::result::Result<Option<T>, Broken> {
        let taken = take(self)?;
        if taken.is_some() {
            return Ok(taken);
        }
        if self.impatient > 0 {
            self.impatient -= 1;
            return Ok(None);
        }
        self.flush();
        thread::yield_now();
        let taken = take(self)?;
        if taken.is_none() {
            self.impatient = IMPATIENT;
        }
        Ok(taken)
    }

    /// Sends a message and waits for one: a request and its reply.
    ///
    /// # Errors
    /// As [`Channel::post`] and [`Channel::receive`].
    #[inline]
    pub fn call(&mut self, message: &S) -> Result<R> {
        self.post(message)?;
        self.receive()
    }

    /// Waits for a message, as a task.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub async fn next(&mut self) -> Result<R> {
        self.until(MESSAGE, |this| this.inbox.pop(&Received(&this.memory))).await.inspect(|_| self.made_room())
    }

    /// Sends a message when there is room, as a task.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn put(&mut self, message: &S) -> Result<()> {
        self.still_somebodys()?;
        self.until(ROOM, |this| this.outbox.push(&this.memory, message).map(|is_sent| is_sent.then_some(()))).await?;
        self.is_posted = true;
        self.flush();
        Ok(())
    }

    /// Waits for what `look` looks for, as a task.
    async fn until<T>(
        &mut self,
        what: u32,
        mut look: impl FnMut(&mut Self) -> core::result::Result<Option<T>, Broken>,
    ) -> Result<T> {
        poll_fn(|context| self.poll_until(context, what, &mut look)).await
    }

    /// The same, polled.
    fn poll_until<T>(
        &mut self,
        context: &mut Context<'_>,
        what: u32,
        mut look: impl FnMut(&mut Self) -> core::result::Result<Option<T>, Broken>,
    ) -> Poll<Result<T>> {
        // Apart: the rest of this is the attempt's.
        let fd = self.fd.clone();
        // Without a state of its own: it can be made anew for each poll.
        let waiting = fd.io(Direction::Read, |fd| {
            if let Some(found) = look(self).map_err(broken)? {
                return Ok(found);
            }
            self.side.waits(&self.memory, what);
            let ring = if self.must_ring_fenced() { at::RING } else { 0 };
            // Whether the other end is somebody's says the kernel. Asked before the look: what was sent before the end is received. That this side was
            // rung stays as it is: it is what the reactor is told.
            let is_over = call(fd, ring, 0) == Err(Errno::EPIPE);
            let found = look(self).map_err(broken)?;
            if found.is_some() {
                self.side.waits_no_more(&self.memory);
            }
            found.ok_or(Error::from(if is_over { Errno::EPIPE } else { Errno::EAGAIN }))
        });
        pin!(waiting).poll(context)
    }

    /// Whether the other side sleeps and is to be told of what was posted; behind [`Side::waits`].
    #[inline]
    fn must_ring_fenced(&mut self) -> bool {
        core::mem::take(&mut self.is_posted) && self.side.must_ring_fenced(&self.memory, MESSAGE) != 0
    }

    /// Says that this side waits for `what`, looks again, and sleeps if there is still nothing.
    #[inline]
    fn sleep(
        &mut self,
        what: u32,
        end: Option<Instant>,
        there: impl FnOnce(&mut Self) -> core::result::Result<bool, Broken>,
    ) -> Result<()> {
        self.side.waits(&self.memory, what);
        let ring = if self.must_ring_fenced() { at::RING } else { 0 };
        let how = if there(self).map_err(broken)? { ring } else { ring | at::WAIT };
        let rung = if how == 0 { Ok(()) } else { self.ring(how, end) };
        self.side.waits_no_more(&self.memory);
        rung
    }

    fn ring(&self, how: usize, end: Option<Instant>) -> Result<()> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()).as_nanos());
        let ns = left.map_or(at::FOREVER, |left| usize::try_from(left).unwrap_or(at::FOREVER));
        match call(self.fd.fd(), how, ns) {
            // Who waits looks again.
            Err(Errno::EINTR) => Ok(()),
            rung => Ok(rung.map(drop)?),
        }
    }

    /// Whether nobody has the other end any more, as the kernel has told. What it has sent may still be there.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        is_over(&self.memory, self.side)
    }

    /// Address and length of the memory, for who tests what a hostile party can do.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        self.memory.range()
    }
}

fn is_over<S, R>(memory: &Memory<S, R>, side: Side) -> bool {
    // Acquire pairs with the kernel's Release: what was sent before is visible.
    memory.word_at(at::END[1 - side.0] + at::ENDED).load(Ordering::Acquire) != 0
}

#[inline]
fn call(fd: &OwnedFd, how: usize, ns: usize) -> core::result::Result<usize, Errno> {
    // SAFETY: no pointers.
    unsafe { sys::call6(at::RING_CALL, sys::pad([fd.raw() as usize, how, ns])) }
}
