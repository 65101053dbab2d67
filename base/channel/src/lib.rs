//! The protocol of a channel (note 0010): memory that two parties share, with messages each way, and how the one that waits is woken.
//!
//! ```text
//!   sender (Outbox)                                receiver (Inbox)
//!   put the message
//!   tail    --- Release / Acquire --->             get: the message is copied once
//!   may reuse the place  <--- Release / Acquire    head
//! ```
//!
//! **Who owns what.** Each direction has a tail, which its sender writes, and a head, which its receiver does; each side has a word that says what it waits
//! for. But all of it lies in memory that the other party, which may be hostile, writes as it likes. So a side's own index is private and only shown;
//! each use of the other's loads it once, and one that says more than there are places ends the channel ([`Broken`]). A
//! message is copied before it is looked at. So a hostile party garbles its own messages, or ends its own channel.
//!
//! **Waiting.** A party that finds nothing says what it waits for, fences, looks again, and only then sleeps ([`Side::waits`]); one that has
//! changed something fences and looks whether the other waits for it ([`Side::must_ring`]): whichever fence comes first, the one sees the change or
//! the other sees that it waits. Who finds that clears the word, so that the next change rings no more, and *then* rings. It may clear what
//! the other has set again meanwhile: the ring, which comes after it, ends that wait as well. Rings are remembered by whoever delivers them until the next wait.
//!
//! The words come from [`sync`], so loom explores this source; the memory itself is whatever implements [`Memory`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod calls;
pub mod stream;

use sync::atomic::{AtomicU32, Ordering, fence};

/// Byte offsets of the words. What a side and a direction (named by the side that sends) have is [`SIDE`](at::SIDE) apart. Each is alone in a line.
pub mod at {
    /// From the words of one side to those of the other.
    pub const SIDE: usize = 256;
    /// What a side waits for ([`MESSAGE`](super::MESSAGE), [`ROOM`](super::ROOM)). Behind the words of `abi::channel`.
    pub const WAITS: usize = 128;
    /// Messages sent so far.
    pub const TAIL: usize = WAITS + 64;
    /// Messages taken so far.
    pub const HEAD: usize = WAITS + 128;
    /// Nothing follows what was sent: by the sender, of a [stream](super::stream).
    pub const DONE: usize = WAITS + 192;
    /// Behind all of them.
    pub const PLACES: usize = WAITS + 2 * SIDE;
}

/// A side waits for a message.
pub const MESSAGE: u32 = 1;
/// It waits for room.
pub const ROOM: u32 = 2;
/// It does not sleep: it is to be rung by a user interrupt. Then the bits from [`BINDING`] on say by which, in any way that changes when that does.
pub const RUNS: u32 = 4;
/// Where these bits begin.
pub const BINDING: u32 = 3;

/// The shared words.
pub trait Words {
    /// One of [`at`].
    fn word(&self, offset: usize) -> &AtomicU32;
}

/// The shared memory of messages.
pub trait Memory<M>: Words {
    /// Stores a message of a side's direction.
    fn put(&self, side: usize, place: u32, message: &M);
    /// Copies one, then looks whether it is a message. Its sender may be writing it: then the copy is a mix, of values that this sender chose.
    fn get(&self, side: usize, place: u32) -> Option<M>;
}

/// The other party has stored what it may not: nothing of this channel means anything any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

fn word(memory: &impl Words, side: usize, offset: usize) -> &AtomicU32 {
    memory.word(offset + side * at::SIDE)
}

/// A party, 0 or 1.
#[derive(Clone, Copy, Debug)]
pub struct Side(pub usize);

impl Side {
    /// Says what this side waits for. Behind it the side looks again, and sleeps if there is still nothing.
    #[inline]
    pub fn waits(self, memory: &impl Words, what: u32) {
        // Relaxed: the fence orders it before the look. It pairs with that of `must_ring`. A swap, as there: each comes before or behind the other, and whichever is
        // second sees what the first has left.
        word(memory, self.0, at::WAITS).swap(what, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes that back.
    #[inline]
    pub fn waits_no_more(self, memory: &impl Words) {
        // Relaxed: seen late it costs a ring.
        word(memory, self.0, at::WAITS).store(0, Ordering::Relaxed);
    }

    /// What the other side has said if it waits for `what`, of which this one has just made some. Then, if that is not 0, it has to be rung.
    #[inline]
    pub fn must_ring(self, memory: &impl Words, what: u32) -> u32 {
        fence(Ordering::SeqCst); // pairs with that of `waits`
        self.must_ring_fenced(memory, what)
    }

    /// The same behind [`Side::waits`], whose fence serves.
    #[inline]
    pub fn must_ring_fenced(self, memory: &impl Words, what: u32) -> u32 {
        let waits = word(memory, 1 - self.0, at::WAITS);
        // Relaxed, as is the swap: ordered by the fence before, and by the call that rings.
        if waits.load(Ordering::Relaxed) & what == 0 {
            return 0;
        }
        // What is cleared decides how to ring, not what was seen: one that was to be interrupted may sleep by now.
        waits.swap(0, Ordering::Relaxed)
    }
}

/// What a side sends by.
#[derive(Debug)]
pub struct Outbox {
    side: usize,
    places: u32,
    /// The true tail; the shared word shows it.
    tail: u32,
    /// The receiver's head as of the last look.
    head: u32,
}

impl Outbox {
    /// Of a fresh channel with so many places, a power of two.
    #[must_use]
    pub fn new(side: Side, places: u32) -> Self {
        Self { side: side.0, places, tail: 0, head: 0 }
    }

    /// Whether there is room for a message.
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn has_room(&mut self, memory: &impl Words) -> Result<bool, Broken> {
        Ok(self.room_for(memory, 1)? > 0)
    }

    /// How many places are free; looks anew if fewer than `wanted` were.
    #[inline]
    fn room_for(&mut self, memory: &impl Words, wanted: usize) -> Result<usize, Broken> {
        let room = self.places - self.tail.wrapping_sub(self.head);
        if room as usize >= wanted {
            return Ok(room as usize);
        }
        // Acquire pairs with the Release in `Inbox::show_head`: the receiver has copied what was in the places.
        let head = word(memory, self.side, at::HEAD).load(Ordering::Acquire);
        let room = self.places.checked_sub(self.tail.wrapping_sub(head)).ok_or(Broken)?;
        self.head = head;
        Ok(room as usize)
    }

    #[inline]
    fn show_tail(&mut self, memory: &impl Words, sent: u32) {
        self.tail = self.tail.wrapping_add(sent);
        // Release pairs with the Acquire in `Inbox::there`: what was sent is there.
        word(memory, self.side, at::TAIL).store(self.tail, Ordering::Release);
    }

    /// Sends a message; `false`: there is no room. Behind it the other side is to be rung if it [waits](Side::must_ring) for a [`MESSAGE`].
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn push<M>(&mut self, memory: &impl Memory<M>, message: &M) -> Result<bool, Broken> {
        if !self.has_room(memory)? {
            return Ok(false);
        }
        memory.put(self.side, self.tail & (self.places - 1), message);
        self.show_tail(memory, 1);
        Ok(true)
    }
}

/// What a side receives by.
#[derive(Debug)]
pub struct Inbox {
    /// The side that sends.
    side: usize,
    places: u32,
    /// The true head; the shared word shows it.
    head: u32,
    /// The sender's tail as of the last look.
    tail: u32,
    /// The end of a [stream] was seen.
    finished: bool,
}

impl Inbox {
    /// Of a fresh channel, for the side that receives.
    #[must_use]
    pub fn new(side: Side, places: u32) -> Self {
        Self { side: 1 - side.0, places, head: 0, tail: 0, finished: false }
    }

    /// Whether no message is there.
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn is_empty(&mut self, memory: &impl Words) -> Result<bool, Broken> {
        Ok(self.there(memory, 1)? == 0)
    }

    /// How many places are filled; looks anew if fewer than `wanted` were.
    #[inline]
    fn there(&mut self, memory: &impl Words, wanted: usize) -> Result<usize, Broken> {
        let there = self.tail.wrapping_sub(self.head);
        if there as usize >= wanted {
            return Ok(there as usize);
        }
        // Behind the end nothing comes, whatever the sender stores.
        if self.finished {
            return Ok(0);
        }
        // Acquire pairs with the Release in `Outbox::show_tail`.
        let tail = word(memory, self.side, at::TAIL).load(Ordering::Acquire);
        let there = tail.wrapping_sub(self.head);
        if there > self.places {
            return Err(Broken);
        }
        self.tail = tail;
        Ok(there as usize)
    }

    #[inline]
    fn show_head(&mut self, memory: &impl Words, taken: u32) {
        self.head = self.head.wrapping_add(taken);
        // Release pairs with the Acquire in `Outbox::room_for`: the copy is made before the places are used again.
        word(memory, self.side, at::HEAD).store(self.head, Ordering::Release);
    }

    /// Takes a message. Behind it the other side is to be rung if it [waits](Side::must_ring) for [`ROOM`].
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn pop<M>(&mut self, memory: &impl Memory<M>) -> Result<Option<M>, Broken> {
        if self.is_empty(memory)? {
            return Ok(None);
        }
        let message = memory.get(self.side, self.head & (self.places - 1)).ok_or(Broken)?;
        self.show_head(memory, 1);
        Ok(Some(message))
    }
}
