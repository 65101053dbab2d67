//! The completion queue, both sides.

use crate::{Kernel, Layout, Program, Words, at, kept::Kept};
use abi::io_uring::{Cqe, IORING_SQ_CQ_OVERFLOW, IORING_SQ_TASKRUN};
use sync::atomic::Ordering;

/// Most completions that can be outstanding on a ring.
pub const MOST_OUTSTANDING: usize = 1 << 17;

/// The kernel's side. One party at a time.
///
/// ```text
///   reserve --- the request runs ---> post: room and nothing kept?  in the ring     publish: the program sees it
///                                     else kept in its place, flag up                flush, when there may be room
///   release: what did not need its place               or defer: it asks for it        show
/// ```
#[derive(Debug)]
pub struct Completions {
    /// The true tail; the shared word shows it at each [`publish`](Self::publish).
    tail: u32,
    /// Whether some may not be shown before the program asks.
    defers: bool,
    entries: u32,
    /// Requests that run, each of which completes once at most.
    reserved: usize,
    /// Has places for all that are reserved.
    kept: Kept,
    /// Counts what the program may want to look for.
    events: u64,
}

impl Completions {
    /// Of a fresh ring.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { tail: 0, defers: false, entries: layout.completions(), reserved: 0, kept: Kept::default(), events: 0 }
    }

    /// Completions that are outstanding: reserved, or kept.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.reserved + self.kept.len()
    }

    /// Bytes that the places take, and how many these are.
    #[must_use]
    pub fn owed(&self) -> (usize, usize) {
        self.kept.owed()
    }

    /// Reserves places for the completions of up to `wanted` requests that begin; how many there are. `admit` is asked whenever that
    /// takes so many bytes more, for so many places.
    #[must_use]
    pub fn reserve(&mut self, wanted: usize, mut admit: impl FnMut(usize, usize) -> bool) -> usize {
        let wanted = wanted.min(MOST_OUTSTANDING.saturating_sub(self.outstanding()));
        while self.kept.places() < self.reserved + wanted && self.kept.grow(&mut admit) {}
        let granted = wanted.min(self.kept.places() - self.reserved);
        self.reserved += granted;
        granted
    }

    /// Gives places back that are not needed any more.
    pub fn release(&mut self, places: usize) {
        self.reserved = self.reserved.saturating_sub(places);
        self.kept.trim(self.reserved);
    }

    /// Places in the ring that are free, by one load of the program's head. A head that cannot be is a full ring.
    #[must_use]
    pub fn room(&self, memory: &impl Words) -> u32 {
        self.entries - self.waiting(memory)
    }

    /// Completions in the ring that the program has not taken.
    #[must_use]
    pub fn waiting(&self, memory: &impl Words) -> u32 {
        // Acquire pairs with the Release in `Reaper::pop`: the program's copies were made before.
        self.tail.wrapping_sub(memory.word(at::CQ_HEAD).load(Ordering::Acquire)).min(self.entries)
    }

    /// Changes whenever a completion has been posted, kept or moved: who saw the same number has missed none.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What the tail is going to be when `count` more wait than the program has taken by now.
    #[must_use]
    pub fn target(&self, memory: &impl Words, count: u32) -> u32 {
        self.tail.wrapping_sub(self.waiting(memory)).wrapping_add(count.min(self.entries))
    }

    /// How many have been put into the ring, modulo 2^32.
    #[must_use]
    pub fn posted(&self) -> u32 {
        self.tail
    }

    /// Whether the tail has got there.
    #[must_use]
    pub fn reached(&self, target: u32) -> bool {
        self.tail.wrapping_sub(target).cast_signed() >= 0
    }

    /// Completes requests, for each of which there is a place reserved; how many places that took, for what is kept. The program sees it
    /// after [`publish`](Self::publish).
    #[inline]
    pub fn post(&mut self, memory: &impl Kernel, completions: &[Cqe]) -> usize {
        let room = if self.kept.is_empty() { self.room(memory) as usize } else { 0 };
        let (fit, rest) = completions.split_at(room.min(completions.len()));
        fit.iter().for_each(|completion| self.put(memory, completion));
        if !rest.is_empty() {
            self.keep(memory, rest);
        }
        self.events += u64::from(!completions.is_empty());
        rest.len()
    }

    /// Completes up to as many requests as there are completions in the ring, all at once, if there is room for all and `next` answers for each: they need no places. How
    /// many completions wait for the program then. `None`: none of them is completed.
    #[inline(always)]
    #[must_use]
    pub fn post_all(&mut self, memory: &impl Kernel, count: u32, next: impl Fn(u32) -> Option<Cqe>) -> Option<u32> {
        let waiting = self.waiting(memory);
        if !self.kept.is_empty() || count > self.entries - waiting {
            return None;
        }
        let tail = self.tail;
        for number in 0..count {
            let Some(completion) = next(number) else {
                // Nobody has seen them.
                self.tail = tail;
                return None;
            };
            self.put(memory, &completion);
        }
        self.events += u64::from(count > 0);
        Some(waiting + count)
    }

    /// Posts one for which no place is reserved, if there is room for it in the ring at once: by one load of the program's head, which may be
    /// another at the next.
    #[inline]
    #[must_use]
    pub fn post_if_room(&mut self, memory: &impl Kernel, completion: &Cqe) -> bool {
        let has_room = self.kept.is_empty() && self.room(memory) > 0;
        if has_room {
            self.put(memory, completion);
            self.events += 1;
        }
        has_room
    }

    /// [`post`](Self::post) of one; whether it went into the ring, so that its place is free.
    #[inline]
    pub fn post_one(&mut self, memory: &impl Kernel, completion: &Cqe) -> bool {
        let fits = self.post_if_room(memory, completion);
        if !fits {
            self.keep(memory, core::slice::from_ref(completion));
            self.events += 1;
        }
        fits
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, memory: &impl Words, completions: &[Cqe]) {
        self.reserved = self.reserved.saturating_sub(completions.len());
        completions.iter().for_each(|completion| self.kept.push(*completion));
        // Relaxed: an invitation to call, which moves the completions.
        memory.word(at::SQ_FLAGS).fetch_or(IORING_SQ_CQ_OVERFLOW, Ordering::Relaxed);
    }

    /// Moves up to `most` of what was kept into the ring, as far as there is room; `true`: something was moved.
    pub fn flush(&mut self, memory: &impl Kernel, most: usize) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        let moved = self.kept.len().min(self.room(memory) as usize).min(most);
        for _ in 0..moved {
            if let Some(completion) = self.kept.pop() {
                self.put(memory, &completion);
            }
        }
        if self.kept.is_empty() {
            memory.word(at::SQ_FLAGS).fetch_and(!IORING_SQ_CQ_OVERFLOW, Ordering::Relaxed);
            self.kept.trim(self.reserved);
        }
        self.events += u64::from(moved > 0);
        moved > 0
    }

    /// Whether [`flush`](Self::flush) would move some.
    #[must_use]
    pub fn can_flush(&self, memory: &impl Words) -> bool {
        !self.kept.is_empty() && self.room(memory) > 0
    }

    /// As [`waiting`](Self::waiting); none if there are more that are kept.
    #[must_use]
    pub fn waiting_in_order(&self, memory: &impl Words) -> Option<u32> {
        self.kept.is_empty().then(|| self.waiting(memory))
    }

    /// Whether some are kept.
    #[must_use]
    pub fn overflows(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Shows the program what has been put into the ring.
    pub fn publish(&self, memory: &impl Words) {
        // Release pairs with the Acquire in `Reaper::pop`.
        memory.word(at::CQ_TAIL).store(self.tail, Ordering::Release);
    }

    /// Instead of [`publish`](Self::publish), where the program asks for what has been completed behind its back: it is told only that there is something, if it
    /// `wants_flag`.
    pub fn defer(&mut self, memory: &impl Words, wants_flag: bool) {
        self.defers = true;
        if wants_flag {
            // Relaxed: an invitation to call, which shows the completions.
            memory.word(at::SQ_FLAGS).fetch_or(IORING_SQ_TASKRUN, Ordering::Relaxed);
        }
    }

    /// The program asks: shows it what was [deferred](Self::defer); whether there was any.
    pub fn show(&mut self, memory: &impl Words) -> bool {
        let defers = core::mem::take(&mut self.defers);
        if defers {
            self.publish(memory);
            memory.word(at::SQ_FLAGS).fetch_and(!IORING_SQ_TASKRUN, Ordering::Relaxed);
            self.events += 1;
        }
        defers
    }

    #[inline(always)]
    fn put(&mut self, memory: &impl Kernel, completion: &Cqe) {
        memory.complete(self.tail & (self.entries - 1), completion);
        self.tail = self.tail.wrapping_add(1);
    }
}

/// The program's side. One party at a time.
#[derive(Debug)]
pub struct Reaper {
    head: u32,
    /// As of the last look: there may be more than it says.
    tail: u32,
    entries: u32,
}

impl Reaper {
    /// Of a fresh ring.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { head: 0, tail: 0, entries: layout.completions() }
    }

    /// Takes the oldest completion.
    #[inline]
    pub fn pop(&mut self, memory: &impl Program) -> Option<Cqe> {
        if self.tail == self.head {
            // Acquire pairs with the Release in `Completions::publish`.
            self.tail = memory.word(at::CQ_TAIL).load(Ordering::Acquire);
            if self.tail == self.head {
                return None;
            }
        }
        let completion = memory.completion(self.head & (self.entries - 1));
        self.head = self.head.wrapping_add(1);
        // Release pairs with the Acquire in `Completions::waiting`: the place is the kernel's again, the copy made.
        memory.word(at::CQ_HEAD).store(self.head, Ordering::Release);
        Some(completion)
    }

    /// Whether the kernel has completions for which there was no room, or which it does not show unasked: a call gets them.
    #[must_use]
    pub fn asks_for_a_call(&self, memory: &impl Words) -> bool {
        // Relaxed: the call orders.
        memory.word(at::SQ_FLAGS).load(Ordering::Relaxed) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN) != 0
    }
}
