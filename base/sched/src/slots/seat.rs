//! A thread's side of a slot: what it writes, and what it looks at.

use sync::atomic::{AtomicU32, Ordering, compiler_fence};

use crate::Priority;

/// Whether a thread with this count polls a coroutine; else it is in the scheduler.
#[must_use]
pub const fn polls(count: u32) -> bool {
    count.is_multiple_of(2)
}

/// What the status page says of a slot that nobody has; others are places, counted from 1.
pub const NOBODY: u32 = 0;

/// What the kernel shows of a slot. `repr(C)`: it lies so in the status page (`abi::slots`).
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Shown {
    /// The place that has it, from 1; or [`NOBODY`].
    pub owner: AtomicU32,
    /// Whether something more urgent has come for its worker.
    pub kicked: AtomicU32,
    /// The priority that its thread stands at with the kernel.
    pub standing: AtomicU32,
    /// The same if that is less urgent than it may; else 0.
    pub low: AtomicU32,
}

impl Shown {
    /// Whether its thread stands lower than this, and would stand higher if it were called.
    #[inline]
    pub(crate) fn stands_below(&self, priority: Priority) -> bool {
        // Relaxed: see `Pool::stands_below`.
        self.low.load(Ordering::Relaxed) > u32::from(priority.number())
    }

    /// Whether its thread stands higher than this. By the thread itself.
    #[inline]
    fn stands_above(&self, priority: Priority) -> bool {
        self.standing.load(Ordering::Relaxed) < u32::from(priority.number())
    }
}

/// A thread's side of the slot that it has.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Of this thread, written by it alone.
    pub count: &'a AtomicU32,
    /// Of the slot, written by the kernel.
    pub slot: &'a Shown,
    /// How the slot's owner's word names this thread.
    pub owner: u32,
}

impl<'a> Seat<'a> {
    /// Of the thread in a place.
    #[must_use]
    pub fn new(count: &'a AtomicU32, slot: &'a Shown, place: u32) -> Self {
        Self { count, slot, owner: place + 1 }
    }

    /// Leaves the scheduler. `true`: something more urgent has come for this worker, and the kernel has to be asked to move
    /// the slot.
    #[inline(always)]
    #[must_use]
    pub fn begin_poll(&self) -> bool {
        // Odd until here.
        self.set(self.count().wrapping_add(1));
        // Relaxed, here and below: the kernel's part runs in this very thread, between two of these lines.
        self.slot.kicked.load(Ordering::Relaxed) != 0
    }

    /// Enters the scheduler. `false`: this thread has lost the slot, and does not touch its worker any more.
    #[inline(always)]
    #[must_use]
    pub fn end_poll(&self) -> bool {
        self.set(self.count() | 1);
        self.is_owner()
    }

    /// Whether the thread stands higher than at this priority.
    #[inline(always)]
    #[must_use]
    pub fn stands_above(&self, priority: Priority) -> bool {
        self.slot.stands_above(priority)
    }

    /// Whether the slot is this thread's.
    #[inline(always)]
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.slot.owner.load(Ordering::Relaxed) == self.owner
    }

    /// Enters the scheduler for a moment, from within a poll; [`begin_poll`](Self::begin_poll) ends that. `false`: the thread is
    /// there already. If it has lost the slot ([`is_owner`](Self::is_owner)) it says by this only that it is not to be put behind
    /// others now.
    #[must_use]
    pub fn interrupt_poll(&self) -> bool {
        let entered = polls(self.count());
        if entered {
            let _ = self.end_poll();
        }
        entered
    }

    #[inline(always)]
    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&self, count: u32) {
        self.count.store(count, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }
}
