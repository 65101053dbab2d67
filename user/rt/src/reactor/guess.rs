//! A read that is tried before the set is asked.
//!
//! Tasks that talk with each other over a descriptor wait by turns: when nothing is left to run, what the one waits for that has waited longer is
//! there, most likely, since the other has only just begun to wait. If so, an attempt saves the call that would say so, and what the set does for
//! it; if not, it costs one in vain. So a wrong guess makes the next ones rarer, and right ones keep nobody from the set for long.
//!
//! All of it is a guess about when to wake a task, which may be done at any time: so relaxed, and without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No source.
const NONE: u64 = u64::MAX;
/// Right guesses in a row before the set is asked again: for others, whose descriptors are in it too.
const IN_A_ROW: u32 = 16;
/// Looks without a guess after wrong ones, at most.
const LONGEST: u32 = 1023;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Guess {
    /// The sources that began to wait last, and before that.
    waits: [AtomicU64; 2],
    /// Looks without a guess from now on.
    pause: AtomicU32,
    /// How many there were after the last wrong one.
    last_pause: AtomicU32,
    /// Right ones since the set was asked.
    in_a_row: AtomicU32,
}

impl Guess {
    pub(super) const fn new() -> Self {
        let waits = [const { AtomicU64::new(NONE) }; 2];
        Self { waits, pause: AtomicU32::new(0), last_pause: AtomicU32::new(0), in_a_row: AtomicU32::new(0) }
    }

    /// A task begins to wait for something to read.
    pub(super) fn note_wait(&self, source: u64) {
        let last = self.waits[0].load(Ordering::Relaxed);
        if last != source {
            self.waits[1].store(last, Ordering::Relaxed);
            self.waits[0].store(source, Ordering::Relaxed);
        }
    }

    /// The source whose reader is to be woken in place of a look at the set.
    pub(super) fn make(&self) -> Option<u64> {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
            return None;
        }
        Some(self.waits[1].load(Ordering::Relaxed)).filter(|source| *source != NONE)
    }

    /// What was guessed was there.
    pub(super) fn was_right(&self) {
        self.last_pause.store(0, Ordering::Relaxed);
        let in_a_row = self.in_a_row.load(Ordering::Relaxed) + 1;
        self.in_a_row.store(in_a_row % IN_A_ROW, Ordering::Relaxed);
        self.pause.store(u32::from(in_a_row >= IN_A_ROW), Ordering::Relaxed);
    }

    /// It was not.
    pub(super) fn was_wrong(&self) {
        let pause = (2 * self.last_pause.load(Ordering::Relaxed) + 1).min(LONGEST);
        self.last_pause.store(pause, Ordering::Relaxed);
        self.pause.store(pause, Ordering::Relaxed);
    }
}
