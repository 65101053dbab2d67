//! CPU time.
//!
//! A thread's coroutine knows when it is polled and when it leaves user mode: time in a poll is CPU time; of it, the part
//! spent in calls that wait (they are polled apart) is system time, the rest user time.

use abi::{process::Rusage, time::Timeval};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// CPU time and events of a thread or a process. Relaxed: statistics.
#[derive(Default)]
pub struct Usage {
    user: AtomicU64,
    system: AtomicU64,
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
    /// Adds user time in nanoseconds.
    pub fn add_user(&self, ns: u64) {
        self.user.fetch_add(ns, Relaxed);
    }

    /// Adds system time in nanoseconds.
    pub fn add_system(&self, ns: u64) {
        self.system.fetch_add(ns, Relaxed);
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

    /// The counts now.
    #[must_use]
    pub fn times(&self) -> Times {
        Times {
            user: self.user.load(Relaxed),
            system: self.system.load(Relaxed),
            minor_faults: self.minor_faults.load(Relaxed),
            major_faults: self.major_faults.load(Relaxed),
            yields: self.yields.load(Relaxed),
            preemptions: self.preemptions.load(Relaxed),
        }
    }

    /// Adds the counts of an ended thread or child.
    pub fn absorb(&self, times: &Times) {
        self.user.fetch_add(times.user, Relaxed);
        self.system.fetch_add(times.system, Relaxed);
        self.minor_faults.fetch_add(times.minor_faults, Relaxed);
        self.major_faults.fetch_add(times.major_faults, Relaxed);
        self.yields.fetch_add(times.yields, Relaxed);
        self.preemptions.fetch_add(times.preemptions, Relaxed);
    }
}
