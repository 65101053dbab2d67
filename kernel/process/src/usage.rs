//! CPU time.
//!
//! A thread's coroutine knows when it is polled and when it leaves user mode: time in a poll is CPU time; of it, the part
//! spent in calls that wait (they are polled apart) is system time, the rest user time. What runs now counts up to
//! the moment of the question.

use abi::{process::Rusage, time::Timeval};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A stopwatch, one word, so that it is never read half-way: stopped, the nanoseconds so far; running ([`Self::RUNNING`]), the
/// time at which it would have been started to show what it shows. Only its thread starts and stops it.
#[derive(Default)]
struct Stopwatch(AtomicU64);

impl Stopwatch {
    const RUNNING: u64 = 1 << 63;

    fn start(&self, now: u64) {
        self.0.store(now.wrapping_sub(self.0.load(Relaxed)) | Self::RUNNING, Relaxed);
    }

    /// What it shows then.
    fn stop(&self, now: u64) -> u64 {
        let shown = self.read(now);
        self.0.store(shown, Relaxed);
        shown
    }

    /// For a stopwatch that nobody starts: a sum.
    fn add(&self, ns: u64) {
        self.0.fetch_add(ns, Relaxed);
    }

    fn read(&self, now: u64) -> u64 {
        let word = self.0.load(Relaxed);
        if word & Self::RUNNING == 0 {
            return word;
        }
        // A difference of 63 bits with a sign: the clock of another hart may be a little behind.
        (now.wrapping_sub(word) << 1).cast_signed().max(0).cast_unsigned() >> 1
    }
}

/// CPU time and events of a thread or a process. Relaxed: statistics.
#[derive(Default)]
pub struct Usage {
    user: Stopwatch,
    system: Stopwatch,
    minor_faults: AtomicU64,
    major_faults: AtomicU64,
    yields: AtomicU64,
    preemptions: AtomicU64,
}

/// A point of [`Usage`]; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// In user mode and in calls that do not wait.
    pub user: u64,
    /// In calls that wait, and in page faults that do.
    pub system: u64,
    /// Page faults served at once.
    pub minor_faults: u64,
    /// Page faults that waited.
    pub major_faults: u64,
    /// Times the CPU was given up.
    pub yields: u64,
    /// Times the CPU was taken.
    pub preemptions: u64,
}

impl Times {
    /// As `getrusage` reports it; `resident` in bytes.
    #[must_use]
    pub fn rusage(&self, resident: usize) -> Rusage {
        let time = |ns: u64| Timeval { sec: (ns / 1_000_000_000) as i64, usec: (ns % 1_000_000_000 / 1000) as i64 };
        Rusage {
            utime: time(self.user),
            stime: time(self.system),
            maxrss: (resident >> 10) as i64,
            ixrss: 0,
            idrss: 0,
            isrss: 0,
            minflt: self.minor_faults as i64,
            majflt: self.major_faults as i64,
            nswap: 0,
            inblock: 0,
            oublock: 0,
            msgsnd: 0,
            msgrcv: 0,
            nsignals: 0,
            nvcsw: self.yields as i64,
            nivcsw: self.preemptions as i64,
        }
    }
}

impl Usage {
    /// From `now` (ns since boot) on the thread uses user time.
    pub(crate) fn enter_user(&self, now: u64) {
        self.user.start(now);
    }

    /// Up to `now`; how much that is in all.
    pub(crate) fn leave_user(&self, now: u64) -> u64 {
        self.user.stop(now)
    }

    /// How long it has run in user mode, and in the system.
    pub(crate) fn ran(&self) -> (u64, u64) {
        let now = hal::time::now();
        (self.user.read(now), self.system.read(now))
    }

    /// From `now` (ns since boot) on the thread uses system time.
    pub(crate) fn enter_system(&self, now: u64) {
        self.system.start(now);
    }

    /// Up to `now`.
    pub(crate) fn leave_system(&self, now: u64) {
        self.system.stop(now);
    }

    /// Counts a page fault.
    #[inline]
    pub fn fault(&self, waited: bool) {
        let counter = if waited { &self.major_faults } else { &self.minor_faults };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a switch.
    pub fn switch(&self, preempted: bool) {
        let counter = if preempted { &self.preemptions } else { &self.yields };
        counter.fetch_add(1, Relaxed);
    }

    /// How often it has waited, or given way.
    pub(crate) fn waits(&self) -> u64 {
        self.yields.load(Relaxed)
    }

    /// The counts now.
    #[must_use]
    pub fn times(&self) -> Times {
        let now = hal::time::now();
        Times {
            user: self.user.read(now),
            system: self.system.read(now),
            minor_faults: self.minor_faults.load(Relaxed),
            major_faults: self.major_faults.load(Relaxed),
            yields: self.yields.load(Relaxed),
            preemptions: self.preemptions.load(Relaxed),
        }
    }

    /// Adds the counts of an ended thread or child.
    pub fn absorb(&self, times: &Times) {
        self.user.add(times.user);
        self.system.add(times.system);
        self.minor_faults.fetch_add(times.minor_faults, Relaxed);
        self.major_faults.fetch_add(times.major_faults, Relaxed);
        self.yields.fetch_add(times.yields, Relaxed);
        self.preemptions.fetch_add(times.preemptions, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_shows_what_ran_and_what_runs() {
        let watch = Stopwatch::default();
        watch.start(100);
        assert_eq!((watch.read(100), watch.read(130), watch.read(99)), (0, 30, 0));
        watch.stop(150);
        assert_eq!(watch.read(1000), 50);
        watch.start(20);
        assert_eq!(watch.read(30), 60);
        watch.stop(25);
        watch.add(5);
        assert_eq!(watch.read(0), 60);
    }
}
