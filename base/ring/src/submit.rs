//! The submission queue, both sides.

use crate::{Kernel, Layout, Program, Words, at};
use abi::io_uring::{IORING_SQ_NEED_WAKEUP, Sqe};
use sync::atomic::{Ordering, fence};

/// What [`Submissions::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A copy of an entry.
    Entry(Sqe),
    /// The array has a number that no entry has; it was counted.
    Dropped,
}

/// The kernel's side. One party at a time.
#[derive(Clone, Copy, Debug)]
pub struct Submissions {
    /// The true head; the shared word shows it.
    head: u32,
    entries: u32,
    has_array: bool,
    dropped: u32,
}

impl Submissions {
    /// Of a fresh ring.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { head: 0, entries: layout.entries(), has_array: layout.array().is_some(), dropped: 0 }
    }

    /// How many entries there are to take, by one load of the program's tail: never more than the ring has, whatever that says.
    #[must_use]
    pub fn ready(&self, memory: &impl Words) -> u32 {
        // Acquire pairs with the Release in `Submitter::publish`: entries and array are the program's as of then.
        memory.word(at::SQ_TAIL).load(Ordering::Acquire).wrapping_sub(self.head).min(self.entries)
    }

    /// A copy of the entry so many places behind the next, which stays where it is: if it is wanted, it is this copy that was taken
    /// ([`advance`](Self::advance)). `None`: a number that no entry has. Only below what [`ready`](Self::ready) has said.
    #[inline(always)]
    #[must_use]
    pub fn peek(&self, memory: &impl Kernel, ahead: u32) -> Option<Sqe> {
        let place = self.head.wrapping_add(ahead) & (self.entries - 1);
        // Relaxed: ordered by the tail.
        let index = if self.has_array { memory.number(place).load(Ordering::Relaxed) } else { place };
        (index < self.entries).then(|| memory.entry(index))
    }

    /// So many, of which there are copies, are taken.
    #[inline]
    pub fn advance(&mut self, count: u32) {
        self.head = self.head.wrapping_add(count);
    }

    /// Takes the next entry. Only as often as [`ready`](Self::ready) has said.
    #[inline]
    pub fn take(&mut self, memory: &impl Kernel) -> Taken {
        let place = self.head & (self.entries - 1);
        self.head = self.head.wrapping_add(1);
        if !self.has_array {
            return Taken::Entry(memory.entry(place));
        }
        // Relaxed: ordered by the tail.
        let index = memory.number(place).load(Ordering::Relaxed);
        if index < self.entries {
            return Taken::Entry(memory.entry(index));
        }
        self.dropped = self.dropped.wrapping_add(1);
        // Relaxed: a figure.
        memory.word(at::SQ_DROPPED).store(self.dropped, Ordering::Relaxed);
        Taken::Dropped
    }

    /// The last `count` that were taken are to be taken again; only before their [`commit`](Self::commit).
    pub fn put_back(&mut self, count: u32) {
        self.head = self.head.wrapping_sub(count);
    }

    /// Gives the places of what was taken back to the program.
    pub fn commit(&self, memory: &impl Words) {
        // Release pairs with the Acquire in `Submitter::push`: the copies were made before.
        memory.word(at::SQ_HEAD).store(self.head, Ordering::Release);
    }

    /// The server is about to park: says so, and looks once more. `false`: there is something after all, and the flag is gone.
    #[must_use]
    pub fn park(&self, memory: &impl Words) -> bool {
        // Relaxed, here and in `unpark`: ordered by the fence; a flag that stays too long costs a call for nothing.
        memory.word(at::SQ_FLAGS).fetch_or(IORING_SQ_NEED_WAKEUP, Ordering::Relaxed);
        // Pairs with the fence in `Submitter::publish`.
        fence(Ordering::SeqCst);
        let parks = self.ready(memory) == 0;
        if !parks {
            self.unpark(memory);
        }
        parks
    }

    /// The server has gone for good: who calls is told.
    pub fn leave(&self, memory: &impl Words) {
        // Relaxed: what is submitted at the same time is taken by nobody, whether the program sees the flag or not.
        memory.word(at::SQ_FLAGS).fetch_or(IORING_SQ_NEED_WAKEUP, Ordering::Relaxed);
    }

    /// The server looks by itself again.
    pub fn unpark(&self, memory: &impl Words) {
        memory.word(at::SQ_FLAGS).fetch_and(!IORING_SQ_NEED_WAKEUP, Ordering::Relaxed);
    }
}

/// The program's side. One party at a time.
#[derive(Debug)]
pub struct Submitter {
    tail: u32,
    /// As of the last look: there may be more room than it says.
    head: u32,
    entries: u32,
    has_array: bool,
}

impl Submitter {
    /// Of a fresh ring.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { tail: 0, head: 0, entries: layout.entries(), has_array: layout.array().is_some() }
    }

    /// Adds an entry; `false` when there is no room. The kernel does not see it before [`publish`](Self::publish).
    #[inline]
    #[must_use]
    pub fn push(&mut self, memory: &impl Program, entry: &Sqe) -> bool {
        if self.tail.wrapping_sub(self.head) >= self.entries {
            // Acquire pairs with the Release in `Submissions::commit`: the kernel has its copies of what was in these places.
            self.head = memory.word(at::SQ_HEAD).load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) >= self.entries {
                return false;
            }
        }
        let place = self.tail & (self.entries - 1);
        memory.put(place, entry);
        if self.has_array {
            // Relaxed: ordered by the tail.
            memory.number(place).store(place, Ordering::Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// How many were added in all; it wraps.
    #[inline]
    #[must_use]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Shows the kernel what was added. `true`: its server is parked and has to be woken by a call.
    #[must_use]
    pub fn publish(&self, memory: &impl Words) -> bool {
        // Release pairs with the Acquire in `Submissions::ready`.
        memory.word(at::SQ_TAIL).store(self.tail, Ordering::Release);
        // Pairs with the fence in `Submissions::park`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        memory.word(at::SQ_FLAGS).load(Ordering::Relaxed) & IORING_SQ_NEED_WAKEUP != 0
    }
}
