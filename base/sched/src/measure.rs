//! What a task waits for, and what its polls take: for who looks from outside (see `census`), in ten bytes of its header.
//!
//! What it waits for is noted by the futures that answer pending, a bit for each kind, and forgotten when one of them is ready. (Not at
//! each poll: that would cost each switch an instruction. So what waited beside another, which is no such future and was
//! ready first, is forgotten late.) Polls are
//! counted and timed by [`Pool::run_seated_measured`] only, which whoever drives a pool calls while somebody watches: so who is
//! not watched pays nothing.
//!
//! All of it is written by who polls the task, so a load and a store are as good as one operation.

use core::ptr::NonNull;

use sync::atomic::Ordering::Relaxed;

use crate::Priority;
use crate::hold::Hold;
use crate::interface::{Header, crossing_types};
use crate::pool::Pool;
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

/// As the hold within, with a clock that times each poll.
#[derive(Clone, Copy)]
struct Timed<H>(H, Clock);

impl<H: Hold> Hold for Timed<H> {
    const LENT: bool = H::LENT;

    #[inline(always)]
    fn begin_poll(self) -> bool {
        self.0.begin_poll()
    }

    #[inline(always)]
    unsafe fn poll(self, task: NonNull<Header>) -> bool {
        // SAFETY: by contract of who made this.
        let now = || unsafe { (self.1)() };
        let began = now();
        // SAFETY: by contract.
        let ready = unsafe { self.0.poll(task) };
        // SAFETY: `RUNNING` keeps it alive.
        unsafe { task.as_ref() }.count_poll(now().wrapping_sub(began));
        ready
    }

    #[inline(always)]
    fn end_poll(self) -> bool {
        self.0.end_poll()
    }

    #[inline(always)]
    fn stands_above(self, priority: Priority) -> bool {
        self.0.stands_above(priority)
    }

    #[inline(always)]
    fn is_over(self) -> bool {
        self.0.is_over()
    }
}

impl Pool {
    /// As [`run_seated`](Self::run_seated), and takes the time of each poll.
    ///
    /// # Safety
    ///
    /// The clock can be called, from any context.
    pub unsafe fn run_seated_measured(&self, worker: usize, polls: u32, seat: Seat<'_>, clock: Clock) -> u32 {
        self.run_held(worker, polls, Timed(seat, clock))
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
