//! Resource limits (`RLIMIT_*`).

use abi::{
    asyncos::{RLIMIT_RING_REQUESTS, RLIMIT_RING_WORDS, RLIMIT_RINGS},
    errno::Errno,
    process::{
        RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS,
        RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO,
        RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK, Rlimit,
    },
};
use alloc::{string::String, sync::Arc};
use core::fmt::Write;
use mem::Account;

/// Most descriptors a process may be allowed.
pub const MAX_FILES: u64 = 65_536;
/// Descriptors a process may have unless it asks for more.
pub const DEFAULT_FILES: u64 = 1024;
/// Kernel memory that one thread is assumed to take when the limit of threads is derived from the memory.
const BYTES_A_THREAD: usize = 64 << 10;

/// Bytes that a process may have pinned on the smallest machine: Linux's default.
const LEAST_PINNED: usize = 8 << 20;
/// Rings that a process may have unless it asks for more.
const DEFAULT_RINGS: u64 = DEFAULT_FILES;
/// Places for completions: two rings full.
const MOST_REQUESTS: u64 = 1 << 18;
/// Words that requests wait for: each may be in the bucket that others look through.
const MOST_WORDS: u64 = 1 << 13;

/// Most threads in the system, whatever anybody's limit says: what the kernel keeps for them is not charged.
pub(crate) fn most_threads() -> usize {
    (hal::frame::stats().total * hal::PAGE_SIZE / BYTES_A_THREAD).clamp(64, 32_768)
}

/// Linux's, and ours behind them.
const COUNT: usize = RLIM_NLIMITS as usize + 3;

/// Where a limit is; beyond all of them if there is no such.
fn place(resource: u32) -> usize {
    match resource.checked_sub(RLIMIT_RINGS) {
        Some(own) => own.saturating_add(RLIM_NLIMITS) as usize,
        None if resource < RLIM_NLIMITS => resource as usize,
        None => COUNT,
    }
}

/// How `/proc/PID/limits` calls them, with the unit.
const NAMES: [(u32, &str, &str); COUNT] = [
    (RLIMIT_CPU, "Max cpu time", "seconds"),
    (RLIMIT_FSIZE, "Max file size", "bytes"),
    (RLIMIT_DATA, "Max data size", "bytes"),
    (RLIMIT_STACK, "Max stack size", "bytes"),
    (RLIMIT_CORE, "Max core file size", "bytes"),
    (RLIMIT_RSS, "Max resident set", "bytes"),
    (RLIMIT_NPROC, "Max processes", "processes"),
    (RLIMIT_NOFILE, "Max open files", "files"),
    (RLIMIT_MEMLOCK, "Max locked memory", "bytes"),
    (RLIMIT_AS, "Max address space", "bytes"),
    (RLIMIT_LOCKS, "Max file locks", "locks"),
    (RLIMIT_SIGPENDING, "Max pending signals", "signals"),
    (RLIMIT_MSGQUEUE, "Max msgqueue size", "bytes"),
    (RLIMIT_NICE, "Max nice priority", ""),
    (RLIMIT_RTPRIO, "Max realtime priority", ""),
    (RLIMIT_RTTIME, "Max realtime timeout", "us"),
    (RLIMIT_RINGS, "Max rings", "rings"),
    (RLIMIT_RING_REQUESTS, "Max ring requests", "requests"),
    (RLIMIT_RING_WORDS, "Max ring words", "words"),
];

/// All limits of a process.
#[derive(Clone)]
pub struct Limits([Rlimit; COUNT]);

impl Default for Limits {
    /// What the first process starts with.
    fn default() -> Self {
        let mut limits = Self([Rlimit { current: RLIM_INFINITY, max: RLIM_INFINITY }; COUNT]);
        let threads = most_threads() as u64;
        limits.0[RLIMIT_NPROC as usize] = Rlimit { current: threads, max: threads };
        limits.0[RLIMIT_NOFILE as usize] = Rlimit { current: DEFAULT_FILES, max: MAX_FILES };
        limits.0[RLIMIT_STACK as usize].current = mem::space::DEFAULT_STACK as u64;
        limits.0[RLIMIT_CORE as usize].current = 0;
        // What may be taken without privilege, as on Linux: nothing.
        for resource in [RLIMIT_NICE, RLIMIT_RTPRIO] {
            limits.0[resource as usize] = Rlimit { current: 0, max: 0 };
        }
        limits.0[RLIMIT_SIGPENDING as usize] = Rlimit { current: 128, max: 1024 };
        let pinned = (hal::frame::stats().total * hal::PAGE_SIZE / 8).max(LEAST_PINNED) as u64;
        limits.0[RLIMIT_MEMLOCK as usize] = Rlimit { current: pinned, max: pinned };
        limits.0[place(RLIMIT_RINGS)] = Rlimit { current: DEFAULT_RINGS, max: MAX_FILES };
        limits.0[place(RLIMIT_RING_REQUESTS)] = Rlimit { current: MOST_REQUESTS, max: MOST_REQUESTS };
        limits.0[place(RLIMIT_RING_WORDS)] = Rlimit { current: MOST_WORDS, max: MOST_WORDS };
        limits
    }
}

impl Limits {
    /// One limit.
    ///
    /// # Errors
    /// `EINVAL` for a number that is none.
    pub fn get(&self, resource: u32) -> Result<Rlimit, Errno> {
        self.0.get(place(resource)).copied().ok_or(Errno::EINVAL)
    }

    /// The value in force of one of the `RLIMIT_*` constants.
    #[must_use]
    pub fn current(&self, resource: u32) -> u64 {
        self.0.get(place(resource)).map_or(0, |limit| limit.current)
    }

    /// Changes one limit.
    ///
    /// # Errors
    /// `EINVAL` (no such limit, current above maximum), `EPERM` (raising the maximum needs `privileged`).
    pub fn set(&mut self, resource: u32, new: Rlimit, privileged: bool) -> Result<(), Errno> {
        let slot = self.0.get_mut(place(resource)).ok_or(Errno::EINVAL)?;
        if new.current > new.max {
            return Err(Errno::EINVAL);
        }
        let ceiling = if resource == RLIMIT_NOFILE { MAX_FILES } else { RLIM_INFINITY };
        if (new.max > slot.max && !privileged) || new.max > ceiling {
            return Err(Errno::EPERM);
        }
        *slot = new;
        Ok(())
    }

    /// Those that the address space enforces.
    #[must_use]
    pub fn of_space(&self) -> mem::Limits {
        let bytes = |resource| usize::try_from(self.current(resource)).unwrap_or(usize::MAX);
        mem::Limits { address_space: bytes(RLIMIT_AS), data: bytes(RLIMIT_DATA), stack: bytes(RLIMIT_STACK) }
    }

    /// A line for each, as Linux has it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, soft: &str, hard: &str, unit: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<25} {soft:<20} {hard:<20} {unit:<10}");
        };
        let number = |value| if value == RLIM_INFINITY { String::from("unlimited") } else { alloc::format!("{value}") };
        line("Limit", "Soft Limit", "Hard Limit", "Units");
        for (resource, name, unit) in NAMES {
            let Rlimit { current, max } = self.0[place(resource)];
            line(name, &number(current), &number(max), unit);
        }
        text
    }
}

/// What a process may have at once that goes on without a thread, each an account of its own, whose limit is one of [`Limits`]. The superuser has them too: a program of his is as
/// likely to be wrong. They bind a process; how many of these a user has is `RLIMIT_NPROC`'s.
pub struct Quotas {
    /// Bytes of its memory that are pinned, which its account pays for (`RLIMIT_MEMLOCK`).
    pub pinned: Arc<Account>,
    /// Rings ([`RLIMIT_RINGS`]).
    pub rings: Arc<Account>,
    /// Places for completions ([`RLIMIT_RING_REQUESTS`]).
    pub requests: Arc<Account>,
    /// Words that requests wait for ([`RLIMIT_RING_WORDS`]).
    pub words: Arc<Account>,
    /// Descriptors that it has sent and nobody has received: as many as it may have open (`RLIMIT_NOFILE`).
    pub in_flight: Arc<Account>,
}

impl Quotas {
    pub(crate) fn new(account: &Arc<Account>, limits: &Limits) -> Self {
        let number = || Account::new(None, 0);
        let quotas = Self {
            pinned: Account::new(Some(account), 0),
            rings: number(),
            requests: number(),
            words: number(),
            in_flight: number(),
        };
        quotas.set(limits);
        quotas
    }

    /// Other limits hold from now on; what is there stays.
    pub(crate) fn set(&self, limits: &Limits) {
        let set = |quota: &Account, resource| {
            quota.set_limit(usize::try_from(limits.current(resource)).unwrap_or(usize::MAX));
        };
        set(&self.pinned, RLIMIT_MEMLOCK);
        set(&self.rings, RLIMIT_RINGS);
        set(&self.requests, RLIMIT_RING_REQUESTS);
        set(&self.words, RLIMIT_RING_WORDS);
        set(&self.in_flight, RLIMIT_NOFILE);
    }
}
