//! Streams of bytes over a channel: written and read in pieces of any length, each copied once on each side.
//!
//! For threads by [`io::Read`] and [`io::Write`], for tasks by the traits of `embedded-io-async`.

use super::copy::{copy_in, copy_out};
use super::memory::{Memory, Received};
use super::{Channel, End, broken, pair};
use crate::io::{self, Error, Result};
use abi::Errno;
use channel::stream::Bytes;
use channel::{Inbox, MESSAGE, Outbox, ROOM};
use core::future::poll_fn;
use embedded_io_async::ErrorType;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// A stream of bytes, of which at most so many (a power of two, 8 at least) are on the way: the first end is a [`Writer`]'s, the second a [`Reader`]'s. An
/// [`End`] of it has a place for each eight of them.
///
/// # Errors
/// As [`pair`].
pub fn bytes(most: u32) -> Result<(End, End)> {
    if !most.is_power_of_two() {
        return Err(Error::from(Errno::EINVAL));
    }
    pair::<Eight, ()>(most / 8)
}

/// Eight bytes: what the memory is counted in.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
struct Eight(u64);

impl<R> Bytes for Memory<Eight, R> {
    #[inline]
    fn put(&self, _side: usize, place: u32, bytes: &[u8]) {
        // SAFETY: all are places, which are mapped.
        unsafe { copy_in(self.sent.cast::<u8>().add(place as usize), bytes) };
    }

    fn get(&self, _side: usize, place: u32, bytes: &mut [u8]) {
        // SAFETY: as above.
        unsafe { copy_out(self.sent.cast::<u8>().add(place as usize), bytes) };
    }
}

impl<S> Bytes for Received<'_, S, Eight> {
    fn put(&self, _side: usize, place: u32, bytes: &[u8]) {
        // SAFETY: as in `get`.
        unsafe { copy_in(self.0.received.cast::<u8>().add(place as usize), bytes) };
    }

    #[inline]
    fn get(&self, _side: usize, place: u32, bytes: &mut [u8]) {
        // SAFETY: all are places, which are mapped.
        unsafe { copy_out(self.0.received.cast::<u8>().add(place as usize), bytes) };
    }
}

/// Sends the bytes of a stream. Dropped before it has [finished](Writer::finish), the reader's next read behind the last of them is `EPIPE`, as if its process had ended.
pub struct Writer(Channel<Eight, ()>);

impl Writer {
    /// Over the first end that [`bytes`] has made.
    ///
    /// # Errors
    /// As [`End::open`]; `EINVAL`: it is the second.
    pub fn open(end: End) -> Result<Self> {
        let places = end.places;
        let mut channel = end.open_as(0)?;
        channel.outbox = Outbox::new(channel.side, places * 8);
        Ok(Self(channel))
    }

    /// These bytes were all.
    pub fn finish(mut self) {
        self.0.finish();
    }

    #[inline]
    fn push(channel: &mut Channel<Eight, ()>, bytes: &[u8]) -> core::result::Result<Option<usize>, channel::Broken> {
        let sent = channel.outbox.write(&channel.memory, bytes)?;
        channel.is_posted |= sent > 0;
        Ok((sent > 0 || bytes.is_empty()).then_some(sent))
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.still_somebodys()?;
        let sent = loop {
            match Self::push(&mut self.0, bytes).map_err(broken)? {
                Some(sent) => break sent,
                None => self.0.sleep(ROOM, None, |channel| channel.outbox.has_room(&channel.memory))?,
            }
        };
        self.0.flush();
        Ok(sent)
    }

    /// Nothing is kept back.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl ErrorType for Writer {
    type Error = Error;
}

impl embedded_io_async::Write for Writer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.still_somebodys()?;
        let push = |channel: &mut _| Self::push(channel, bytes);
        let sent = poll_fn(|context| self.0.poll_until(context, ROOM, push)).await?;
        self.0.flush();
        Ok(sent)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Receives the bytes of a stream: none are its end.
pub struct Reader(Channel<(), Eight>);

impl Reader {
    /// Over the second end that [`bytes`] has made.
    ///
    /// # Errors
    /// As [`End::open`]; `EINVAL`: it is the first.
    pub fn open(end: End) -> Result<Self> {
        let places = end.places;
        let mut channel = end.open_as(1)?;
        channel.inbox = Inbox::new(channel.side, places * 8);
        Ok(Self(channel))
    }

    /// Some bytes; none where there are no more, or no room for them.
    #[inline]
    fn pop(channel: &mut Channel<(), Eight>, bytes: &mut [u8]) -> core::result::Result<Option<usize>, channel::Broken> {
        let received = channel.inbox.read(&Received(&channel.memory), bytes)?;
        let mut is_end = || channel.inbox.is_finished(&channel.memory);
        Ok((received > 0 || bytes.is_empty() || is_end()?).then_some(received))
    }
}

impl io::Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let take = |channel: &mut _| Self::pop(channel, bytes);
        self.0
            .receive_by(None, take, |channel| channel.inbox.is_settled(&channel.memory))
            .inspect(|_| self.0.made_room())
    }
}

impl ErrorType for Reader {
    type Error = Error;
}

impl embedded_io_async::Read for Reader {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let received =
            poll_fn(|context| self.0.poll_until(context, MESSAGE, |channel| Self::pop(channel, bytes))).await;
        received.inspect(|_| self.0.made_room())
    }
}
