//! Streams over a channel: items one way, as fast as they are taken, to an end that the sender says.

use super::{Channel, End, Message, Received, pair};
use crate::io::{Error, Result};
use abi::Errno;
use channel::{Broken, MESSAGE, ROOM};
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_util::{Sink, Stream};

/// A stream with `places` items at most on the way: the first end is a [`Sender`]'s, the second a [`Receiver`]'s.
///
/// # Errors
/// As [`pair`].
pub fn stream<T: Message>(places: u32) -> Result<(End, End)> {
    pair::<T, ()>(places)
}

/// Sends the items of a stream, for tasks also as a [`Sink`]. Dropped before it has [finished](Sender::finish), the receiver's next wait behind the last of them is
/// `EPIPE`, as if its process had ended.
pub struct Sender<T> {
    channel: Channel<T, ()>,
    is_closed: bool,
}

impl<T: Message> Sender<T> {
    /// Over the first end that [`stream`] has made.
    ///
    /// # Errors
    /// As [`End::open`]; `EINVAL`: it is the second.
    pub fn open(end: End) -> Result<Self> {
        Ok(Self { channel: end.open_as(0)?, is_closed: false })
    }

    /// Sends an item, when there is room.
    ///
    /// # Errors
    /// `EPIPE`: the receiver is gone; `EPROTO`.
    #[inline]
    pub fn send(&mut self, item: &T) -> Result<()> {
        self.still_open()?;
        self.channel.send(item)
    }

    /// Sends an item when there is room, as a task.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn put(&mut self, item: &T) -> Result<()> {
        self.still_open()?;
        self.channel.put(item).await
    }

    /// These items were all.
    pub fn finish(mut self) {
        self.channel.finish();
    }

    fn still_open(&self) -> Result<()> {
        if self.is_closed { Err(Error::from(Errno::EPIPE)) } else { Ok(()) }
    }
}

// It is nowhere pinned by itself.
impl<T> Unpin for Sender<T> {}

/// What is sent waits at most for a flush; closed, the stream has [finished](Sender::finish).
impl<T: Message> Sink<T> for Sender<T> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        this.still_open()?;
        this.channel.still_somebodys()?;
        let room = |channel: &mut Channel<T, ()>| Ok(channel.outbox.has_room(&channel.memory)?.then_some(()));
        this.channel.poll_until(context, ROOM, room)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<()> {
        self.still_open()?;
        self.get_mut().channel.post(&item)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().channel.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        this.channel.finish();
        this.is_closed = true;
        Poll::Ready(Ok(()))
    }
}

/// Receives the items of a stream, for tasks also as a [`Stream`], whose last is an error if there is one.
pub struct Receiver<T> {
    channel: Channel<(), T>,
    /// As a [`Stream`].
    has_failed: bool,
}

impl<T: Message> Receiver<T> {
    /// Over the second end that [`stream`] has made.
    ///
    /// # Errors
    /// As [`End::open`]; `EINVAL`: it is the first.
    pub fn open(end: End) -> Result<Self> {
        Ok(Self { channel: end.open_as(1)?, has_failed: false })
    }

    /// Waits for an item; `None`: the sender has finished.
    ///
    /// # Errors
    /// `EPIPE`: the sender is gone, and has not; `EPROTO`.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<T>> {
        let item = self.channel.receive_by(None, pop, |channel| channel.inbox.is_settled(&channel.memory));
        item.inspect(|_| self.channel.made_room())
    }

    /// Waits for an item, as a task.
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub async fn next(&mut self) -> Result<Option<T>> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        self.channel.poll_until(context, MESSAGE, pop).map(|item| item.inspect(|_| self.channel.made_room()))
    }
}

/// An item, or the end.
#[inline]
fn pop<T: Message>(channel: &mut Channel<(), T>) -> core::result::Result<Option<Option<T>>, Broken> {
    match channel.inbox.pop(&Received(&channel.memory))? {
        None => Ok(channel.inbox.is_finished(&channel.memory)?.then_some(None)),
        item => Ok(Some(item)),
    }
}

// It is nowhere pinned by itself.
impl<T> Unpin for Receiver<T> {}

impl<T: Message> Stream for Receiver<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        // Else who collects a stream that was cut off would do it for ever.
        if this.has_failed {
            return Poll::Ready(None);
        }
        this.poll(context).map(|item| {
            this.has_failed = item.is_err();
            item.transpose()
        })
    }
}

impl<S: Message, R: Message> Channel<S, R> {
    /// Tells the other side that nothing follows.
    pub(super) fn finish(&mut self) {
        self.outbox.finish(&self.memory);
        self.is_posted = true;
        self.flush();
    }

    /// `EPIPE`: the other side is gone, as the kernel has told.
    #[inline]
    pub(super) fn still_somebodys(&self) -> Result<()> {
        if self.is_over() { Err(Error::from(Errno::EPIPE)) } else { Ok(()) }
    }
}

impl End {
    /// [Opens](End::open) the end of this side, 0 or 1.
    pub(super) fn open_as<S: Message, R: Message>(self, side: usize) -> Result<Channel<S, R>> {
        if self.side == side { self.open() } else { Err(Error::from(Errno::EINVAL)) }
    }
}
