//! One direction of a connection within this host: bytes between two sockets, without a protocol.
//!
//! Memory comes when bytes need it, is paid for by the reader's account, and goes when they are read, unless it is so
//! little that small messages had better neither allocate nor free. So a connection on which nothing happens costs next to nothing.
//!
//! **Wake-up protocol.** What is changed is changed under the lock, then the signal of who may wait for it is notified: the reader's for
//! bytes and the end, the writer's where there was little room and now is enough, or nobody reads any more. Who waits enters the signal's queue,
//! then looks.

use crate::{
    flights::{Hold, Place},
    rights::{Aboard, Rights},
    signal::Signal,
    stack::rank,
};
use abi::{
    errno::Errno,
    poll::{EPOLLIN, EPOLLOUT},
};
use alloc::{
    boxed::Box,
    collections::VecDeque,
    sync::{Arc, Weak},
};
use hal::sync::{SpinGuard, SpinLock};
use io::file::{Attempt, IoError};
use mem::{Account, Charge, CopyFault, Room, Sink, Source};

/// Bytes copied at a time.
const PIECE: usize = 4096;
/// Messages that wait in one direction: also empty ones take memory.
const MESSAGES_MOST: usize = 512;
/// No more bytes of memory than these stay when all is read. They are paid for as long as the channel is there.
const KEPT: usize = 512;
/// Places for messages, and for those with descriptors, that an idle channel keeps.
const FEW: usize = 8;
/// What a side takes: its channel, and what it stands in (the signal, a listener's queue).
const BYTES: usize = size_of::<Channel>() + KEPT + 256;

/// Whether message boundaries are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framing {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`: they are kept, without a connection ([`LocalDatagrams`](crate::local_datagrams::LocalDatagrams)).
    Datagrams,
    /// `SOCK_SEQPACKET`: they are kept in a connection.
    Packets,
}

impl Framing {
    pub(crate) fn keeps_messages(self) -> bool {
        self != Framing::Stream
    }
}

/// One direction of a connection.
pub(crate) struct Channel {
    inner: SpinLock<Pipe>,
    reader: Arc<Signal>,
    writer: Arc<Signal>,
}

/// What a channel holds, and how it stands.
pub(crate) struct Pipe {
    framing: Framing,
    bytes: VecDeque<u8>,
    /// Lengths of the messages in `bytes`, if boundaries are kept.
    messages: VecDeque<usize>,
    /// Those that carry descriptors.
    marks: VecDeque<Mark>,
    /// Bytes, or messages, that were here before those that are. It may wrap.
    gone: usize,
    /// The reader's place; of a connection that nobody accepted the listener's.
    owner: Place,
    /// The reader goes, and takes no descriptors any more.
    closing: bool,
    /// Most bytes at a time.
    most: usize,
    /// For the memory of `bytes`, and for the channel.
    charge: Charge,
    /// The connection is made, as far as the reader knows.
    pub open: bool,
    /// No more will be written.
    pub ended: bool,
    /// No more will be taken.
    pub refused: bool,
    /// The writer went without having read all that was sent to it, or broke the connection off.
    pub reset: bool,
    /// The reader has been told so.
    told: bool,
    /// It came to nothing, for lack of patience.
    pub timed_out: bool,
}

/// A message that carries descriptors.
struct Mark {
    /// Its place, and that behind it, counted as [`Pipe::gone`] counts.
    at: usize,
    end: usize,
    aboard: Aboard,
}

/// What a reader got.
pub(crate) struct Taken {
    /// Bytes stored, and those that there were.
    pub len: usize,
    pub full: usize,
    /// What came with them.
    pub rights: Option<Box<Rights>>,
    /// Then: bytes of the same message that are left. A read goes no further than these.
    pub left: usize,
}

/// A socket's side of a connection. Dropped, it ends both directions.
pub(crate) struct Ends {
    pub receive: Arc<Channel>,
    pub send: Arc<Channel>,
}

impl Ends {
    /// The two sides of a connection with room for `most` bytes in each direction; each side's memory is paid by its reader's account.
    /// With `open` it is made at once, else for the first side when the second one's channel is [established](Channel::establish). What is sent to the
    /// second side lies in the queue of `owner`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn pair(
        framing: Framing,
        most: usize,
        open: bool,
        near: (&Arc<Account>, &Arc<Signal>),
        far: (&Arc<Account>, &Arc<Signal>),
        owner: &Arc<Signal>,
    ) -> Result<(Self, Self), Errno> {
        let channel = |reader: (&Arc<Account>, &Arc<Signal>), writer: &Arc<Signal>, owner, open| {
            let pipe = Pipe::new(framing, most, open, reader.0, place_of(owner))?;
            let inner = SpinLock::new(rank::STACK, pipe);
            Ok::<_, Errno>(Arc::new(Channel { inner, reader: reader.1.clone(), writer: writer.clone() }))
        };
        let forth = channel(far, near.1, owner, true)?;
        let back = channel(near, far.1, near.1, open)?;
        let near = Self { receive: back.clone(), send: forth.clone() };
        Ok((near, Self { receive: forth, send: back }))
    }

    /// Nothing more is sent, and the other side hears that this is no end in order.
    pub fn reset(&self) {
        self.send.lock().reset = true;
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Before the peer can find out that nobody reads: it is to hear why.
        if !self.receive.lock().is_empty() {
            self.reset();
        }
        if self.receive.desert() {
            self.reset();
        }
        self.send.end();
    }
}

/// What stands for a socket with this signal.
pub(crate) fn place_of(signal: &Arc<Signal>) -> Place {
    Arc::as_ptr(signal).addr()
}

impl Channel {
    pub fn lock(&self) -> SpinGuard<'_, Pipe> {
        self.inner.lock()
    }

    /// The connection is made, for who reads here.
    pub fn establish(&self) {
        self.lock().open = true;
        self.reader.notify();
    }

    /// No more is written.
    pub fn end(&self) {
        self.lock().ended = true;
        self.reader.notify();
        self.writer.notify();
    }

    /// No more is taken. What is there can still be read, as on Linux.
    pub fn refuse(&self) {
        self.lock().refused = true;
        self.writer.notify();
        self.reader.notify();
    }

    /// The reader's socket goes; answers whether something was left.
    fn desert(&self) -> bool {
        let mut pipe = self.lock();
        pipe.refused = true;
        let unread = !pipe.is_empty();
        let marks = pipe.clear();
        drop(pipe);
        drop(marks);
        self.writer.notify();
        self.reader.notify();
        unread
    }

    /// The queue is `owner`'s from now on.
    pub fn hand_over(&self, owner: &Arc<Signal>) {
        let mut pipe = self.lock();
        pipe.owner = place_of(owner);
        pipe.marks.iter().for_each(|mark| mark.aboard.hand_over(pipe.owner));
    }

    /// Takes what fits of a stream, or a message whole, and what is to go with it. `None`: no room.
    ///
    /// # Errors
    /// `EPIPE`: nobody reads, or it was ended.
    pub fn write(self: &Arc<Self>, src: &mut Source<'_>, rights: &mut Option<Box<Rights>>) -> Attempt<usize> {
        let mut pipe = self.lock();
        if pipe.refused || pipe.ended || pipe.closing && rights.is_some() {
            return Err(Errno::EPIPE.into());
        }
        let wanted = src.remaining();
        if pipe.framing.keeps_messages() && wanted > pipe.most {
            return Err(Errno::EMSGSIZE.into());
        }
        let room = match pipe.room() {
            Some(room) if pipe.framing == Framing::Stream || wanted <= room => room,
            _ => return Ok(None),
        };
        if room == 0 && wanted > 0 {
            return Ok(None);
        }
        if rights.is_some() {
            pipe.marks.make_room(1)?;
        }
        let at = pipe.end();
        let done = pipe.append(src, wanted.min(room));
        if let Ok(done) = done
            && (done > 0 || pipe.framing.keeps_messages())
            && let Some(carried) = rights.take()
        {
            let holder: Weak<Self> = Arc::downgrade(self);
            let (end, aboard) = (pipe.end(), Aboard::new(carried, pipe.owner, holder));
            pipe.marks.push_back(Mark { at, end, aboard });
        }
        if pipe.bytes.is_empty() {
            // What was made room for did not come.
            pipe.trim();
        }
        drop(pipe);
        let done = done?;
        self.reader.notify_of(EPOLLIN);
        Ok(Some(done))
    }

    /// Gives what there is of a stream, or the next message. `None`: nothing yet.
    ///
    /// # Errors
    /// `ECONNRESET`, once, behind all that was sent.
    pub fn read(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Taken> {
        let mut pipe = self.lock();
        let whole = match pipe.framing {
            Framing::Stream if pipe.bytes.is_empty() => None,
            Framing::Stream => Some(pipe.bytes.len()),
            Framing::Packets | Framing::Datagrams => pipe.messages.front().copied(),
        };
        let Some(whole) = whole else {
            if pipe.take_reset() {
                return Err(Errno::ECONNRESET.into());
            }
            return Ok(pipe.read_over().then_some(Taken { len: 0, full: 0, rights: None, left: 0 }));
        };
        let most = pipe.up_to_a_mark(whole.min(dst.remaining()));
        let len = pipe.copy(dst, most)?;
        let had_room = pipe.has_room();
        let (rights, left) = if pipe.marks.is_empty() { (None, 0) } else { pipe.take_mark(len, peek)? };
        if !peek {
            let gone = if pipe.framing.keeps_messages() { whole } else { len };
            pipe.remove(gone);
        }
        // A message may wait for any room, whatever there was.
        let tells = pipe.has_room() && (!had_room || pipe.framing.keeps_messages());
        drop(pipe);
        if tells && !peek {
            self.writer.notify_of(EPOLLOUT);
        }
        Ok(Some(Taken { len, full: whole, rights, left }))
    }
}

impl Hold for Channel {
    fn strip(&self, into: &mut Option<Box<Rights>>) {
        let marks = {
            let mut pipe = self.lock();
            pipe.closing = true;
            core::mem::take(&mut pipe.marks)
        };
        marks.into_iter().filter_map(|mark| mark.aboard.land()).for_each(|rights| rights.put_before(into));
    }
}

impl Pipe {
    fn new(framing: Framing, most: usize, open: bool, account: &Arc<Account>, owner: Place) -> Result<Self, Errno> {
        Ok(Self {
            framing,
            bytes: VecDeque::new(),
            messages: VecDeque::new(),
            marks: VecDeque::new(),
            gone: 0,
            owner,
            closing: false,
            most,
            charge: account.charge(BYTES)?,
            open,
            ended: false,
            refused: false,
            reset: false,
            told: false,
            timed_out: false,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty()
    }

    /// Bytes that can be read.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing more will come than what is there.
    pub fn read_over(&self) -> bool {
        self.refused || self.ended
    }

    /// Whether a read finds neither bytes nor an end or error to tell of.
    pub fn read_waits(&self) -> bool {
        self.is_empty() && !self.read_over() && !self.reset
    }

    /// Whether nothing can be written any more.
    pub fn write_over(&self) -> bool {
        self.ended || self.refused
    }

    /// Whether the reader is to hear of a reset.
    pub fn has_news_of_reset(&self) -> bool {
        self.reset && !self.told
    }

    /// The same, and it is told with this.
    pub fn take_reset(&mut self) -> bool {
        let news = self.has_news_of_reset();
        self.told |= news;
        news
    }

    /// Bytes that fit; `None` if not even an empty message does.
    pub fn room(&self) -> Option<usize> {
        (self.messages.len() < MESSAGES_MOST).then(|| self.most - self.bytes.len())
    }

    /// Whether writing is worth while: a third is free, as in Linux.
    pub fn has_room(&self) -> bool {
        3 * self.room().unwrap_or(0) >= self.most
    }

    /// The place of what is written next.
    fn end(&self) -> usize {
        self.gone.wrapping_add(if self.framing.keeps_messages() { self.messages.len() } else { self.bytes.len() })
    }

    /// How much of `len` bytes a read may take that gets the descriptors among them, if it does: none behind their message.
    fn up_to_a_mark(&self, len: usize) -> usize {
        match self.marks.front() {
            Some(mark) if self.framing == Framing::Stream && mark.at.wrapping_sub(self.gone) < len => {
                len.min(mark.end.wrapping_sub(self.gone))
            }
            _ => len,
        }
    }

    /// What goes with the `len` bytes at the front, and how many bytes of its message are left behind these.
    fn take_mark(&mut self, len: usize, peek: bool) -> Result<(Option<Box<Rights>>, usize), Errno> {
        let Some(mark) = self.marks.front() else { return Ok((None, 0)) };
        let (before, to_end) = (mark.at.wrapping_sub(self.gone), mark.end.wrapping_sub(self.gone));
        let left = match self.framing {
            Framing::Stream if before < len => to_end.saturating_sub(len),
            Framing::Packets | Framing::Datagrams if before == 0 => 0,
            _ => return Ok((None, 0)),
        };
        if peek {
            return Ok((mark.aboard.copy()?, left));
        }
        Ok((self.marks.pop_front().and_then(|mark| mark.aboard.land()), left))
    }

    /// Appends up to `len` bytes; a message whole or not at all.
    fn append(&mut self, src: &mut Source<'_>, len: usize) -> Result<usize, IoError> {
        let len = match self.make_room(len) {
            Ok(()) => len,
            // Of a stream as much as there is memory for.
            Err(errno) => match self.bytes.capacity().max(KEPT) - self.bytes.len() {
                room if room == 0 || self.framing.keeps_messages() => return Err(errno.into()),
                room => len.min(room),
            },
        };
        let start = self.bytes.len();
        let mut done = 0;
        while done < len {
            let taken = match len - done {
                // So little that clearing more would be most of it.
                rest @ ..=64 => self.append_piece(src, &mut [0; 64][..rest]),
                rest => self.append_piece(src, &mut [0; 512][..rest.min(512)]),
            };
            match taken {
                Ok(now) => done += now,
                Err(_) if done > 0 && self.framing == Framing::Stream => break,
                Err(fault) => {
                    self.bytes.truncate(start);
                    return Err(fault.into());
                }
            }
        }
        if self.framing.keeps_messages() {
            self.messages.push_back(done);
        }
        Ok(done)
    }

    #[inline]
    fn append_piece(&mut self, src: &mut Source<'_>, piece: &mut [u8]) -> Result<usize, CopyFault> {
        src.take(piece)?;
        self.bytes.extend(&*piece);
        Ok(piece.len())
    }

    /// Another account pays from now on, if it can.
    pub fn pay(&mut self, account: &Arc<Account>) {
        if let Ok(charge) = account.charge(self.charge.bytes()) {
            self.charge = charge;
        }
    }

    /// Memory for `len` bytes more, paid for.
    fn make_room(&mut self, len: usize) -> Result<(), Errno> {
        let (needed, had) = (self.bytes.len() + len, self.bytes.capacity());
        if needed <= had {
            return Ok(());
        }
        let target = needed.next_power_of_two().max(KEPT);
        let more = target - had.max(KEPT);
        self.charge.grow(more)?;
        if self.bytes.make_exact_room(target - self.bytes.len()).is_err() {
            self.charge.shrink(more);
            return Err(Errno::ENOBUFS);
        }
        Ok(())
    }

    /// Copies `len` bytes from the front; streams may stop at a fault.
    fn copy(&self, dst: &mut Sink<'_>, len: usize) -> Result<usize, IoError> {
        let (first, second) = self.bytes.as_slices();
        let mut done = 0;
        while done < len {
            let rest = if done < first.len() { &first[done..] } else { &second[done - first.len()..] };
            let now = rest.len().min(len - done).min(PIECE);
            match dst.put(&rest[..now]) {
                Ok(()) => done += now,
                Err(_) if done > 0 && self.framing == Framing::Stream => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(done)
    }

    /// Removes `len` bytes, or the message that they are.
    fn remove(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.messages.pop_front();
        self.gone = self.gone.wrapping_add(if self.framing.keeps_messages() { 1 } else { len });
        if self.bytes.is_empty() {
            self.trim();
        }
        // What has paid for the places of descriptors went with them.
        if self.marks.is_empty() && self.marks.capacity() > FEW {
            self.marks = VecDeque::new();
        }
        if self.messages.is_empty() && self.messages.capacity() > FEW {
            self.messages = VecDeque::new();
        }
    }

    /// Gives up memory that is not needed, where there are no bytes.
    fn trim(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.free();
        }
    }

    /// Throws everything away; descriptors are closed by whoever called, without the lock.
    fn clear(&mut self) -> VecDeque<Mark> {
        self.messages = VecDeque::new();
        self.free();
        core::mem::take(&mut self.marks)
    }

    fn free(&mut self) {
        let more = self.bytes.capacity().saturating_sub(KEPT);
        self.bytes = VecDeque::new();
        self.charge.shrink(more);
    }
}
