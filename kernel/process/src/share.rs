//! What a process has used of the CPU, and its threads' turns by that: policy `fair`, by process.
//!
//! A process's account is in *weighted* nanoseconds: what a thread runs counts the more, the nicer it is. A thread that waits
//! for a hart is ranked by the account of its process, and behind its siblings that wait already, a slice for each; so a process
//! with many threads gets no more than one with few.
//!
//! ```text
//!   key of a thread that waits:   used, and a slice for each sibling that waits
//!   of one that sleeps:           used, when it began to
//!   begins to run:                its key has grown meanwhile: the others were served more; that much is forgotten.
//!                                 its siblings have used much since its key was made: it waits again, once
//! ```
//!
//! What is forgotten, and how far a process may be behind that has had much of an idle hart, is `sched`'s to say, by what each
//! hart has served (`policy::fair`).

use crate::class::Class;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use exec::{TaskRef, policy::fair};

/// Nanoseconds that a thread may run while others wait: `exec`'s slice.
const SLICE: u64 = 10_000_000;
/// Of a key's unit, in nanoseconds: a power of two.
const UNIT: u32 = 6;
/// The same in steps of a key.
const SLICE_STEPS: u64 = SLICE / (fair::STEP << UNIT);

/// The account of a process. Relaxed: each number is on its own, and a little old will do.
#[derive(Default)]
pub(crate) struct Share {
    used: AtomicU64,
    /// Steps of the threads that wait for a hart.
    ahead: AtomicU32,
}

impl Share {
    /// The account of a child, which begins with what its parent has used: a process gets no more by having many.
    pub(crate) fn begin_as(&self, parent: &Self) {
        self.used.store(parent.used(), Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The key of a thread that begins, or sleeps.
    pub(crate) fn key(&self) -> u64 {
        fair::key(self.used() >> UNIT, 0)
    }

    /// A thread has run for so long; what the process has used by now.
    #[inline]
    pub(crate) fn charge(&self, ns: u64, class: Class) -> u64 {
        let weighted = class.weighted(ns);
        self.used.fetch_add(weighted, Relaxed).wrapping_add(weighted)
    }
}

/// What a hart is told that serves a process which has used so much.
pub(crate) fn served(used: u64) {
    exec::raise_floor(fair::used(used >> UNIT));
}

/// A thread's turn, in its own coroutine.
#[derive(Default)]
pub(crate) struct Turn {
    /// The coroutine, once it has begun.
    pub(crate) task: Option<TaskRef>,
    /// The key that it was given last.
    key: u64,
    /// Its part of [`Share::ahead`].
    reserved: u32,
    again: bool,
}

impl Turn {
    /// The thread begins to run. `false`: it is to wait once more, since its siblings have used much since it was ranked.
    #[inline]
    pub(crate) fn begin(&mut self, share: &Share) -> bool {
        self.give_up(share);
        let Some(task) = &self.task else { return true };
        let key = task.key();
        if key != self.key {
            return self.begin_later(share, key);
        }
        share.used() >> UNIT <= fair::used(key) + SLICE_STEPS * fair::STEP || self.begin_later(share, key)
    }

    /// The same, if it is not as it was left.
    #[cold]
    #[inline(never)]
    fn begin_later(&mut self, share: &Share, key: u64) -> bool {
        // However many threads come with such a key, it is forgotten once.
        share.used.fetch_max(fair::used(key) << UNIT, Relaxed);
        self.key = key;
        let is_late = share.used() >> UNIT > fair::used(key) + SLICE_STEPS * fair::STEP;
        self.again = is_late && !self.again && exec::equals_wait();
        !self.again
    }

    /// The thread has run, and its process used this by now: ranks it for the next time, behind its siblings if it waits for a
    /// hart, and behind another if it yields.
    #[inline]
    pub(crate) fn end(&mut self, share: &Share, used: u64, class: Class, waits: Option<Wait>) {
        let (steps, behind) = match waits {
            None => (0, 0),
            Some(wait) => {
                self.reserved = class.weighted(SLICE_STEPS) as u32;
                let ahead = share.ahead.fetch_add(self.reserved, Relaxed);
                (u64::from(ahead), if wait == Wait::Yields { fair::BEHIND } else { 0 })
            }
        };
        self.key = fair::key(used >> UNIT, steps) | behind;
        if let Some(task) = &self.task {
            task.set_key(self.key);
        }
    }

    /// It does not wait any more, or the thread ends.
    #[inline]
    pub(crate) fn give_up(&mut self, share: &Share) {
        if self.reserved != 0 {
            share.ahead.fetch_sub(self.reserved, Relaxed);
            self.reserved = 0;
        }
    }
}

/// Why a thread waits for a hart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its slice is over, or something more urgent has come.
    Preempted,
    /// It gives way.
    Yields,
}
