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
//! The other party is not trusted: it may store anything anywhere in the memory. A message is any value of its type, as its bytes are; what
//! makes no sense ends the channel with `EPROTO`. When nobody has the other end any more, what it has sent is still received; then, and
//! for each wait, there is `EPIPE`: that the kernel says, whatever is in the memory.

use crate::io::{Error, Result};
use crate::reactor::{AsyncFd, Direction};
use crate::sys::{self, OwnedFd, syscall};
use crate::time::Instant;
use crate::uintr::{Receiver, Right, Sender};
use abi::{Errno, channel as at};
use channel::{Broken, Inbox, MESSAGE, Outbox, ROOM, RUNS, Side};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const PAGE: usize = 4096;

/// What can be a message: plain bytes, any of which are a value. Its size is a multiple of 8, and it is aligned to 8 at most: each place is copied by
/// words, and no byte goes to the other side that is none of the message.
pub trait Message: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<M: FromBytes + IntoBytes + Immutable + Copy + 'static> Message for M {}

/// A message in the memory.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Place<M>(M);

impl<M> Place<M> {
    /// Bytes of one.
    const SIZE: usize = {
        assert!(size_of::<M>() == size_of::<Self>() && align_of::<Self>() == 8, "a message is some words of 8 bytes");
        size_of::<Self>()
    };
}

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
    let ends = unsafe { sys::call6(at::PAIR, sys::pad([pages::<A, B>(places)?])) }?;
    let end = |fd, side| End { fd: OwnedFd::new(fd), side, places };
    Ok((end(ends & 0xffff_ffff, 0), end(ends >> 32, 1)))
}

/// Where the places of the second side's messages begin.
fn second<A>(places: u32) -> usize {
    channel::at::PLACES + places as usize * Place::<A>::SIZE
}

fn pages<A, B>(places: u32) -> Result<usize> {
    let pages = (second::<A>(places) + places as usize * Place::<B>::SIZE).div_ceil(PAGE);
    if places.is_power_of_two() && pages <= at::MOST_PAGES { Ok(pages) } else { Err(Error::from(Errno::EINVAL)) }
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
        Ok(Channel { fd: AsyncFd::new(self.fd), memory, side, outbox, inbox, is_posted: false, peer: None })
    }
}

/// The mapping, of a side that sends `S` and receives `R`.
struct Memory<S, R> {
    base: *mut u8,
    pages: usize,
    sent: *mut Place<S>,
    received: *mut Place<R>,
}

// SAFETY: the mapping is this value's, and goes with it.
unsafe impl<S, R> Send for Memory<S, R> {}
// SAFETY: words are atomic. Places are touched by who has the channel for itself, and by the other party, which any access allows for.
unsafe impl<S, R> Sync for Memory<S, R> {}

impl<S, R> Memory<S, R> {
    fn map(end: &End) -> Result<Self> {
        let (pages, offset_of) = if end.side == 0 {
            (pages::<S, R>(end.places)?, [channel::at::PLACES, second::<S>(end.places)])
        } else {
            (pages::<R, S>(end.places)?, [second::<R>(end.places), channel::at::PLACES])
        };
        let rights = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
        let base = syscall!(MMAP, 0, pages * PAGE, rights, abi::mm::MAP_SHARED, end.fd.raw(), 0)? as *mut u8;
        let [sent, received] = offset_of.map(|offset| base.wrapping_add(offset));
        Ok(Self { base, pages, sent: sent.cast(), received: received.cast() })
    }

    fn word_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the words are within the first page, aligned, mapped as long as `self` is there, and atomic for this side.
        unsafe { &*self.base.add(offset).cast() }
    }
}

impl<S, R> Drop for Memory<S, R> {
    fn drop(&mut self) {
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.base, self.pages * PAGE);
    }
}

impl<S: Message, R: Message> channel::Memory<S> for Memory<S, R> {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.word_at(offset)
    }

    #[inline(always)]
    fn put(&self, _side: usize, place: u32, message: &S) {
        // SAFETY: `place` is below their number, all are mapped. Volatile: the other party may look at any time, and sees bytes of this message.
        unsafe { self.sent.add(place as usize).write_volatile(Place(*message)) };
    }

    fn get(&self, _side: usize, place: u32) -> S {
        // SAFETY: as above, and any bytes are a value.
        unsafe { self.sent.add(place as usize).read_volatile() }.0
    }
}

/// The other direction of a [`Memory`].
struct Received<'a, S, R>(&'a Memory<S, R>);

impl<S: Message, R: Message> channel::Memory<R> for Received<'_, S, R> {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word_at(offset)
    }

    fn put(&self, _side: usize, place: u32, message: &R) {
        // SAFETY: as in `get`.
        unsafe { self.0.received.add(place as usize).write_volatile(Place(*message)) };
    }

    #[inline(always)]
    fn get(&self, _side: usize, place: u32) -> R {
        // SAFETY: `place` is below their number, all are mapped, and any bytes are a value. Volatile: one copy, though the other party may be writing.
        unsafe { self.0.received.add(place as usize).read_volatile() }.0
    }
}

/// An open end.
pub struct Channel<S, R> {
    fd: AsyncFd,
    memory: Memory<S, R>,
    side: Side,
    outbox: Outbox,
    inbox: Inbox,
    /// Something was posted since the last look at whether the other side sleeps.
    is_posted: bool,
    /// What raises the vector that the other side is bound to.
    peer: Option<(Sender, u32)>,
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
                said if said & RUNS != 0 => self.interrupt(),
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
        if self.is_over() {
            return Err(Error::from(Errno::EPIPE));
        }
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
        let received = Received(&self.memory);
        let message = self.inbox.pop(&received).map_err(broken)?;
        if message.is_some() && self.side.must_ring(&received, ROOM) != 0 {
            self.wake();
        }
        Ok(message)
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
        // One for all waits: the other side may ring as often as it likes.
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let slept = self.sleep(MESSAGE, end, |this| Ok(!this.inbox.is_empty(&Received(&this.memory))?));
            if let Err(error) = slept {
                // What was sent before the end, or just now.
                return self.take()?.ok_or(error);
            }
        }
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
        let Self { fd, memory, side, inbox, is_posted, .. } = self;
        let received = Received(memory);
        fd.io(Direction::Read, |fd| {
            let mut message = inbox.pop(&received).map_err(broken)?;
            if message.is_none() {
                side.waits(&received, MESSAGE);
                let rings = core::mem::take(is_posted) && side.must_ring_fenced(&received, MESSAGE) != 0;
                let ring = if rings { at::RING } else { 0 };
                // Whether the other end is somebody's says the kernel. Asked before the look: what was sent before the end is received.
                let is_over = call(fd, ring | at::WAIT, 0) == Err(Errno::EPIPE);
                message = inbox.pop(&received).map_err(broken)?;
                if message.is_none() {
                    return Err(Error::from(if is_over { Errno::EPIPE } else { Errno::EAGAIN }));
                }
                side.waits_no_more(&received);
            }
            if side.must_ring(&received, ROOM) != 0 {
                // Whoever is gone needs no room.
                let _ = call(fd, at::RING, 0);
            }
            message.ok_or(Error::from(Errno::EAGAIN))
        })
        .await
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
        let rings = core::mem::take(&mut self.is_posted) && self.side.must_ring_fenced(&self.memory, MESSAGE) != 0;
        let ring = if rings { at::RING } else { 0 };
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

    /// Has what rings this side raise a vector of the receiver as well, while it [listens](Channel::listen).
    ///
    /// # Errors
    /// As [`Receiver::grant`]; `EINVAL`: there is no such vector.
    pub fn bind(&self, receiver: &Receiver, vector: u32) -> Result<()> {
        let right = receiver.grant(1_u64.checked_shl(vector).unwrap_or(0))?;
        let arguments = [self.fd.fd().raw() as usize, right.fd().raw() as usize, vector as usize];
        // SAFETY: no pointers. The kernel keeps the right; its descriptor may go.
        unsafe { sys::call6(at::BIND, sys::pad(arguments)) }?;
        Ok(())
    }

    /// Goes on without waiting: the next message raises the vector that this side is [bound](Channel::bind) to. `false`: one is there already.
    ///
    /// # Errors
    /// `EPROTO`.
    pub fn listen(&mut self) -> Result<bool> {
        self.side.waits(&self.memory, MESSAGE | RUNS);
        self.inbox.is_empty(&Received(&self.memory)).map_err(broken)
    }

    /// Raises the other side's vector: by its doorbell, of which the kernel is asked once. If that cannot be, the kernel does, and wakes it if it sleeps by now.
    fn interrupt(&mut self) {
        if self.peer.is_none() {
            self.peer = self.find_peer().ok();
        }
        match &self.peer {
            Some((sender, vector)) if sender.send(*vector).is_ok() => {}
            _ => self.wake(),
        }
    }

    fn find_peer(&self) -> Result<(Sender, u32)> {
        // SAFETY: no pointers.
        let found = unsafe { sys::call6(at::PEER, sys::pad([self.fd.fd().raw() as usize])) }?;
        let right = Right::from_fd(OwnedFd::new(found & 0xffff_ffff));
        Ok((Sender::open(right)?, (found >> 32) as u32))
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
        (self.memory.base as usize, self.memory.pages * PAGE)
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
