//! What a task waits for, and what its polls take: for who looks from outside (see `census`), in ten bytes of its header.
//!
//! What it waits for is noted by the futures that answer pending, a bit for each kind, and forgotten when one of them is ready. (Not at
//! each poll: that would cost each switch an instruction. So what waited beside another, which is no such future and was
//! ready first, is forgotten late.) Polls are
//! counted and timed by [`Runnable::run_measured`] only, which whoever drives a pool calls while somebody watches: so who is
//! not watched pays nothing.
//!
//! All of it is written by who polls the task, so a load and a store are as good as one operation.

use sync::atomic::Ordering::Relaxed;
use sync::atomic::{AtomicBool, Ordering};

use crate::interface::{Header, crossing_types};
use crate::pool::Pool;
use crate::run::{Outcome, Runnable, call};
use crate::slots::Seat;

crossing_types! {
    /// A clock. It goes on while a poll is interrupted.
    Clock = fn() -> u64;
}

/// What a task can wait for; several at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wait {
    /// A time.
    Time = 1 << 0,
    /// To read from a descriptor.
    Read = 1 << 1,
    /// To write to one.
    Write = 1 << 2,
    /// A lock, or permits.
    Lock = 1 << 3,
    /// A message, or room for one.
    Channel = 1 << 4,
    /// The end of another task.
    Join = 1 << 5,
    /// To be notified, or others at a barrier.
    Notice = 1 << 6,
}

impl Wait {
    /// All, with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Time, "time"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Lock, "lock"),
        (Self::Channel, "channel"),
        (Self::Join, "join"),
        (Self::Notice, "notice"),
    ];

    /// The names of those in a set.
    pub fn names(set: u8) -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().filter(move |(wait, _)| set & *wait as u8 != 0).map(|(_, name)| *name)
    }
}

/// Polls of a task while it was watched; times in the clock's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How many, modulo 2^32.
    pub polls: u32,
    /// How long they took together, modulo 2^32.
    pub time: u32,
    /// How long the longest took: no less than seven eighths of it, and no more than it.
    pub longest: u64,
}

impl Measured {
    /// From a header's fields.
    pub(crate) fn of(polls: u32, time: u32, longest: u8) -> Self {
        Self { polls, time, longest: length(longest) }
    }
}

/// A time as one byte: three bits behind the highest, and where that is. Greater times have no smaller codes.
fn code(time: u64) -> u8 {
    let time = time.min(0xf << 30);
    let Some(shift) = time.checked_ilog2().and_then(|high| high.checked_sub(3)) else { return time as u8 };
    ((shift as u8 + 1) << 3) | ((time >> shift) as u8 & 7)
}

/// The least time with a code.
fn length(code: u8) -> u64 {
    match code >> 3 {
        0 => u64::from(code),
        shift => (8 | u64::from(code & 7)) << (shift - 1),
    }
}

impl Header {
    /// What it waited for has come.
    #[inline]
    pub fn waits_no_more(&self) {
        self.waits.store(0, Relaxed);
    }

    /// The poll that is under way ends with the task waiting for this, perhaps among others.
    #[inline]
    pub fn waits_for(&self, wait: Wait) {
        self.waits.store(self.waits.load(Relaxed) | wait as u8, Relaxed);
    }

    /// Counts a poll that took so long.
    pub(crate) fn count_poll(&self, took: u64) {
        let Self { polls, time, longest, .. } = self;
        polls.store(polls.load(Relaxed).wrapping_add(1), Relaxed);
        time.store(time.load(Relaxed).wrapping_add(took as u32), Relaxed);
        longest.store(longest.load(Relaxed).max(code(took)), Relaxed);
    }
}

impl Runnable<'_> {
    /// As [`run`](Self::run), and takes the time of the poll. With a seat the worker may be taken from the calling thread
    /// meanwhile: `None` then, and the task is queued if it has to be.
    pub fn run_measured(self, seat: Option<&Seat<'_>>, clock: impl Fn() -> u64) -> Option<Outcome> {
        self.run_with(seat, |task| {
            let began = clock();
            // SAFETY: `run_with` calls this with a task whose `RUNNING` it holds, and its future in place.
            let ready = unsafe { call(task) };
            // SAFETY: `RUNNING` keeps it alive.
            unsafe { task.as_ref() }.count_poll(clock().wrapping_sub(began));
            ready
        })
    }
}

impl Pool {
    /// As [`run_many`](Self::run_many), and takes the time of each poll.
    pub fn run_many_measured(
        &self,
        worker: usize,
        polls: u32,
        stop: &AtomicBool,
        seat: Option<&Seat<'_>>,
        clock: impl Fn() -> u64,
    ) -> u32 {
        let mut left = polls;
        while left > 0
            && let Some(runnable) = self.next(worker)
        {
            left -= 1;
            // Relaxed: as in `run_many`.
            if runnable.run_measured(seat, &clock).is_none() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        polls - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_no_more_than_its_time_and_nearly_that() {
        let times = (0..64u32).flat_map(|bit| [0, 1, 3].map(|part| (1u64 << bit) + ((1u64 << bit) >> 3) * part));
        let mut last = (0, 0);
        for time in (0..5000).chain(times.filter(|time| *time >= 5000)) {
            let found = length(code(time));
            let most = time.min(0xf << 30);
            assert!(found <= most && found * 9 >= most * 8, "{time} is {found}");
            assert!(last.0 > time || last.1 <= code(time), "{time}");
            last = (time, code(time));
        }
        assert_eq!(length(code(u64::MAX)), 0xf << 30);
        assert_eq!(length(u8::MAX), 0xf << 30);
    }

    #[test]
    fn kinds_of_waits_have_names() {
        assert_eq!(Wait::names(0xff).count(), Wait::ALL.len());
        let both = Wait::Lock as u8 | Wait::Time as u8;
        assert!(Wait::names(both).eq(["time", "lock"]));
        assert_eq!(Wait::names(0).count(), 0);
    }
}
