//! Streams: what is sent one way, which ends where its sender says so, as items or as bytes.
//!
//! **The end.** Behind the last that it sends, the sender says that it is [done](Outbox::finish); a receiver that finds nothing looks for that, and if it is
//! said, looks once more for what was sent before. One that has seen the end stays there, whatever the sender stores later. A sender that is gone without having
//! said it has ended in the middle: that, whoever delivers rings tells.
//!
//! **Bytes.** A place is a byte, so tail and head count bytes; what is there, or as much as there is room for, is copied in two pieces at most.

use crate::{Broken, Inbox, Outbox, Words, at, word};
use sync::atomic::Ordering;

/// The shared memory of bytes, as many as there are places.
pub trait Bytes: Words {
    /// Stores bytes of a side's direction from a place on; all are places.
    fn put(&self, side: usize, place: u32, bytes: &[u8]);
    /// Copies as many. Their sender may be writing them: then they are of its choice.
    fn get(&self, side: usize, place: u32, bytes: &mut [u8]);
}

impl Outbox {
    /// Says that nothing follows. Behind it the other side is to be rung if it [waits](crate::Side::must_ring) for a [`MESSAGE`](crate::MESSAGE).
    pub fn finish(&self, memory: &impl Words) {
        // Release pairs with the Acquire in `Inbox::is_finished`: what was sent before is there.
        word(memory, self.side, at::DONE).store(1, Ordering::Release);
    }

    /// Sends as many bytes as there is room for: none if there is no room. Behind it the other side is to be rung, as behind [`Outbox::push`].
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn write(&mut self, memory: &impl Bytes, bytes: &[u8]) -> Result<usize, Broken> {
        let room = self.room_for(memory, bytes.len())?;
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        let place = self.tail & (self.places - 1);
        let (until_end, rest) = now.split_at(now.len().min((self.places - place) as usize));
        memory.put(self.side, place, until_end);
        if !rest.is_empty() {
            memory.put(self.side, 0, rest);
        }
        self.show_tail(memory, now.len() as u32);
        Ok(now.len())
    }
}

impl Inbox {
    /// Whether nothing is there and nothing follows.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn is_finished(&mut self, memory: &impl Words) -> Result<bool, Broken> {
        if self.finished {
            return Ok(true);
        }
        // Acquire pairs with the Release in `Outbox::finish`. Before the look: what was sent before the end is there by now.
        let is_said = self.is_empty(memory)? && word(memory, self.side, at::DONE).load(Ordering::Acquire) != 0;
        self.finished = is_said && self.is_empty(memory)?;
        Ok(self.finished)
    }

    /// Whether a wait would be for nothing: something is there, or nothing follows.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn is_settled(&mut self, memory: &impl Words) -> Result<bool, Broken> {
        Ok(!self.is_empty(memory)? || self.is_finished(memory)?)
    }

    /// Copies what is there, as much as fits: nothing if there is nothing. Behind it the other side is to be rung, as behind [`Inbox::pop`].
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn read(&mut self, memory: &impl Bytes, bytes: &mut [u8]) -> Result<usize, Broken> {
        let there = self.there(memory, bytes.len())?;
        let count = there.min(bytes.len());
        let (now, _) = bytes.split_at_mut(count);
        let place = self.head & (self.places - 1);
        let (until_end, rest) = now.split_at_mut(count.min((self.places - place) as usize));
        memory.get(self.side, place, until_end);
        if !rest.is_empty() {
            memory.get(self.side, 0, rest);
        }
        self.show_head(memory, count as u32);
        Ok(count)
    }
}
