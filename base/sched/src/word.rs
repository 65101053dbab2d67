//! The task word: one atomic that says what a task is doing, and who may touch it.
//!
//! Every change is one atomic operation with a name and a typed, `#[must_use]` answer that tells the caller
//! what has become its duty. The operations are inlined on both sides of the interface: they touch nothing but the word.
//!
//! ```text
//!            new                    wake, abort, drop_ref (Requeue)
//!             │   ┌──────────────────────────────────────────────┐
//!             ▼   ▼                                              │
//!        ┌───────────┐   start (Poll)    ┌─────────┐  pause    ┌─┴────┐
//!   ┌───►│ SCHEDULED ├──────────────────►│ RUNNING ├──────────►│ idle │
//!   │    └─────┬─────┘                   └─┬──┬──┬─┘  (Idle)   └──────┘
//!   │          │ start (Cancel)            │  │  │
//!   │          ▼                           │  │  │ wake, abort      ┌─────────────────────┐
//!   │    RUNNING, the future is dropped    │  │  └─────────────────►│ RUNNING + SCHEDULED │
//!   │          │ complete(NoOutput)        │  │ complete(Output)    └──┬────────────┬─────┘
//!   │          ▼                           │  ▼                        │ pause      │ complete
//!   │    ┌────────────────────┐◄───────────┼──────────────────────────────────────-─┘
//!   │    │ COMPLETE + RUNNING │            │ fail: COMPLETE + FAILED, │
//!   │    └─────────┬──────────┘            │ RUNNING for ever: leaked │ (Requeue)
//!   │              │ release               ▼                          │
//!   │              ▼                                                  │
//!   │          COMPLETE ── drop_ref / release with no reference ──► freed
//!   └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! References are counted in the upper bits: one for each waker, task reference and join handle.
//! `SCHEDULED` (in a queue) and `RUNNING` keep the task alive without being counted, so that waking,
//! polling and going idle cost one atomic operation each. A waiting task whose last reference goes can never be
//! woken: `drop_ref` then has it queued once more to be cancelled, so that its future is dropped by a
//! worker and not in whatever context dropped the waker.
//!
//! All operations are read-modify-writes with acquire and release: they form one chain per task, and
//! whatever a context did to the task before its operation is visible to every context whose operation
//! comes later. In particular a wake that finds the task `SCHEDULED` already is ordered before the
//! `start` of the coming poll.

use sync::atomic::{AtomicUsize, Ordering};

/// In a run queue, or (with `RUNNING`) to be put there when the poll ends. Means nothing once complete.
const SCHEDULED: usize = 1 << 0;
/// A worker owns the future: it polls it, drops it or completes the task.
const RUNNING: usize = 1 << 1;
/// The future is gone; the output, if any, is in place.
const COMPLETE: usize = 1 << 2;
/// The next run drops the future instead of polling it.
const CANCEL: usize = 1 << 3;
/// With `COMPLETE`: cancelled, there is no output.
const NO_OUTPUT: usize = 1 << 4;
/// With `COMPLETE`: the poll did not come back, there is no output.
const FAILED: usize = 1 << 5;
/// There is a join handle; the output is its to take or to drop.
const JOIN_INTEREST: usize = 1 << 6;
/// The join waker's cell is filled (invariant S4).
const JOIN_WAKER: usize = 1 << 7;
/// One reference.
const REF: usize = 1 << 8;

/// What a wake or an abort leaves to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// The task was idle; the caller puts it in a queue.
    Enqueue,
    /// Nothing: it is queued already, will be when its poll ends, or is complete.
    Nothing,
}

/// What the worker that took a task from a queue does with it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Start {
    /// Poll the future.
    Poll,
    /// Drop the future and complete the task without output.
    Cancel,
}

/// What a worker does after a poll that returned pending.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pause {
    /// Nothing; the task may already be running elsewhere or be freed.
    Idle,
    /// Put the task in a queue: it was woken while it ran.
    Requeue,
    /// Drop the future and free the task: nobody refers to it any more.
    Orphan,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The output is in place.
    Output,
    /// It was cancelled.
    NoOutput,
    /// Its poll did not come back.
    Failed,
}

/// What a completer finds.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Completed {
    /// The join handle is gone: the completer drops the output.
    pub drop_output: bool,
    /// The join waker's cell is the completer's: it takes the waker and wakes.
    pub wake_joiner: bool,
}

/// What giving up a reference leaves to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Release {
    /// Nothing.
    Nothing,
    /// Free the task.
    Free,
    /// The reference is the caller's again: it puts the task in a queue, where it will be cancelled, and
    /// then gives the reference up once more.
    Enqueue,
}

/// What a join handle finds when it gives up.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Leave {
    /// The task goes on; the waker's cell is the handle's to clear.
    Running,
    /// The task has ended.
    Ended(Ending),
}

/// What a task does, for who looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It is polled.
    Runs,
    /// It is in a queue.
    Ready,
    /// It waits.
    Waits,
    /// It has ended.
    Ended,
    /// Its poll did not come back.
    Failed,
}

/// What a word says that was copied.
#[must_use]
pub fn doing(word: usize) -> Doing {
    match () {
        () if word & COMPLETE != 0 && word & FAILED != 0 => Doing::Failed,
        () if word & COMPLETE != 0 => Doing::Ended,
        () if word & RUNNING != 0 => Doing::Runs,
        () if word & SCHEDULED != 0 => Doing::Ready,
        () => Doing::Waits,
    }
}

/// The word of one task.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicUsize);

impl Word {
    /// A new task: scheduled, with one reference, the join handle's.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(SCHEDULED | JOIN_INTEREST | REF))
    }

    /// Makes the task run (again). The caller holds a reference.
    #[inline]
    pub fn wake(&self) -> Wake {
        Self::woken(self.0.fetch_or(SCHEDULED, Ordering::AcqRel))
    }

    /// Makes the next run drop the future. The caller holds a reference.
    pub fn abort(&self) -> Wake {
        Self::woken(self.0.fetch_or(SCHEDULED | CANCEL, Ordering::AcqRel))
    }

    #[inline]
    fn woken(before: usize) -> Wake {
        if before & (SCHEDULED | RUNNING | COMPLETE) == 0 { Wake::Enqueue } else { Wake::Nothing }
    }

    /// Takes the future for a run. The caller took the task from a queue.
    #[inline]
    pub(crate) fn start(&self) -> Start {
        let before = self.0.fetch_xor(SCHEDULED | RUNNING, Ordering::AcqRel);
        debug_assert_eq!(before & (SCHEDULED | RUNNING | COMPLETE), SCHEDULED);
        if before & CANCEL == 0 { Start::Poll } else { Start::Cancel }
    }

    /// Gives the future back after a poll that returned pending. The caller holds `RUNNING`.
    #[inline]
    pub(crate) fn pause(&self) -> Pause {
        let before = self.0.fetch_and(!RUNNING, Ordering::AcqRel);
        if before & SCHEDULED != 0 {
            Pause::Requeue
        } else if before < REF {
            Pause::Orphan
        } else {
            Pause::Idle
        }
    }

    /// Publishes the end of the task. The caller holds `RUNNING`, and has put the output in place or
    /// dropped the future, as `ending` says. It keeps `RUNNING` until [`release`](Self::release).
    #[inline]
    pub(crate) fn complete(&self, ending: Ending) -> Completed {
        let bits = match ending {
            Ending::Output => COMPLETE,
            Ending::NoOutput => COMPLETE | NO_OUTPUT,
            Ending::Failed => COMPLETE | FAILED,
        };
        let before = self.0.fetch_or(bits, Ordering::AcqRel);
        Completed {
            drop_output: before & JOIN_INTEREST == 0 && ending == Ending::Output,
            wake_joiner: before & JOIN_WAKER != 0,
        }
    }

    /// Gives up `RUNNING` after completion; the caller does not touch the task afterwards unless it is
    /// told to free it.
    #[inline]
    pub(crate) fn release(&self) -> Release {
        let before = self.0.fetch_and(!RUNNING, Ordering::AcqRel);
        if before < REF { Release::Free } else { Release::Nothing }
    }

    /// Adds a reference. The caller holds one, or `RUNNING`.
    #[inline]
    pub fn add_ref(&self) {
        // Relaxed: a new reference is made from one that exists, and hands nothing over.
        self.0.fetch_add(REF, Ordering::Relaxed);
    }

    /// Adds a reference for who has none, but keeps the task from being freed meanwhile: `false` if it has ended, or if nobody refers
    /// to it any more while it waits, so that it is about to be cancelled. A task that is queued or polled may be referred to: who gives up the
    /// last reference, and who pauses it, finds this one or comes before it.
    #[must_use]
    pub fn try_add_ref(&self) -> bool {
        let add = |word: usize| {
            let alive = word & COMPLETE == 0 && (word >= REF || word & (SCHEDULED | RUNNING) != 0);
            alive.then(|| word + REF)
        };
        // Relaxed: as in `add_ref`; what this may follow is a question of the word alone.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Gives up a reference; the caller does not touch the task afterwards unless it is told to.
    #[inline]
    pub fn drop_ref(&self) -> Release {
        let before = self.0.fetch_sub(REF, Ordering::AcqRel);
        if before >= 2 * REF { Release::Nothing } else { self.last_ref(before) }
    }

    #[cold]
    fn last_ref(&self, before: usize) -> Release {
        if before & RUNNING != 0 {
            return Release::Nothing;
        }
        if before & COMPLETE != 0 {
            return Release::Free;
        }
        if before & SCHEDULED != 0 {
            return Release::Nothing;
        }
        // Idle and unreferenced: nobody else changes the word before it is scheduled, since `try_add_ref` refuses, and what that adds behind it
        // is not the last one. So two steps are as good as one, and relaxed; the push hands the task over.
        self.0.fetch_or(SCHEDULED | CANCEL, Ordering::Relaxed);
        self.add_ref();
        Release::Enqueue
    }

    /// What the task does at this moment.
    #[must_use]
    pub fn doing(&self) -> Doing {
        // Relaxed: for who looks from outside, stale at once.
        doing(self.0.load(Ordering::Relaxed))
    }

    /// How the task ended, if it has. Acquire pairs with `complete`.
    pub fn ending(&self) -> Option<Ending> {
        Self::ending_of(self.0.load(Ordering::Acquire))
    }

    fn ending_of(word: usize) -> Option<Ending> {
        if word & COMPLETE == 0 {
            None
        } else if word & FAILED != 0 {
            Some(Ending::Failed)
        } else if word & NO_OUTPUT != 0 {
            Some(Ending::NoOutput)
        } else {
            Some(Ending::Output)
        }
    }

    /// The join handle takes the waker's cell back; fails when the task has ended.
    ///
    /// # Errors
    ///
    /// How the task ended.
    pub fn take_join_cell(&self) -> Result<(), Ending> {
        self.update_unless_complete(|word| word & !JOIN_WAKER)
    }

    /// The join handle, having filled the cell, hands it over; fails when the task has ended, and the
    /// cell is still the handle's.
    ///
    /// # Errors
    ///
    /// How the task ended.
    pub fn give_join_cell(&self) -> Result<(), Ending> {
        self.update_unless_complete(|word| word | JOIN_WAKER)
    }

    /// The join handle of a task that has not run yet and that nobody else refers to goes, with its reference: all in one
    /// step. `false`: it is some other case, and nothing was changed.
    #[inline]
    #[must_use]
    pub fn detach_new(&self) -> bool {
        let new = SCHEDULED | JOIN_INTEREST | REF;
        // Release pairs with the Acquire of `start`: what this context did to the task comes before its poll.
        self.0.compare_exchange(new, SCHEDULED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Whether who holds `RUNNING` is the only one that can reach the task, and so may free it without another word.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        // Acquire pairs with whoever gave up a reference.
        self.0.load(Ordering::Acquire) == RUNNING
    }

    /// The join handle goes.
    pub fn leave(&self) -> Leave {
        match self.update_unless_complete(|word| word & !(JOIN_INTEREST | JOIN_WAKER)) {
            Ok(()) => Leave::Running,
            Err(ending) => Leave::Ended(ending),
        }
    }

    fn update_unless_complete(&self, change: impl Fn(usize) -> usize) -> Result<(), Ending> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if let Some(ending) = Self::ending_of(word) {
                return Err(ending);
            }
            match self.0.compare_exchange_weak(word, change(word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
