//! What each hart spends its time with, for `/proc/stat`.
//!
//! Statistics, hence relaxed: a coroutine that is preempted by another user thread on its hart may be counted too little.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one hart, on a cache line of their own.
#[repr(align(64))]
struct Hart {
    user: AtomicU64,
    system: AtomicU64,
    /// When the stay in user mode began that is not counted yet; 0 outside.
    since: AtomicU64,
    switches: AtomicU64,
}

static HARTS: [Hart; hal::hart::MAX] = [const {
    Hart { user: AtomicU64::new(0), system: AtomicU64::new(0), since: AtomicU64::new(0), switches: AtomicU64::new(0) }
}; hal::hart::MAX];

/// Nanoseconds that a hart spent for user threads since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HartTimes {
    /// In user mode and in calls that do not wait.
    pub user: u64,
    /// In calls that wait.
    pub system: u64,
}

/// This hart runs a user thread from `now` (ns since boot) on.
pub(crate) fn enter_user(hart: usize, now: u64) {
    HARTS[hart].since.store(now, Relaxed);
}

/// Up to `now`; whether the hart goes over to something else.
#[inline]
pub(crate) fn leave_user(hart: usize, now: u64, switches: bool) {
    let counters = &HARTS[hart];
    let since = counters.since.swap(0, Relaxed);
    if since != 0 {
        counters.user.fetch_add(now.saturating_sub(since), Relaxed);
    }
    if switches {
        counters.switches.fetch_add(1, Relaxed);
    }
}

/// This hart has worked for a user thread's call.
pub(crate) fn add_system(ns: u64) {
    HARTS[hal::hart::id()].system.fetch_add(ns, Relaxed);
}

/// This hart goes over to something else.
pub(crate) fn count_switch() {
    HARTS[hal::hart::id()].switches.fetch_add(1, Relaxed);
}

/// What `hart` did until `now` (ns since boot).
pub(crate) fn times(hart: usize, now: u64) -> HartTimes {
    let counters = &HARTS[hart];
    let since = counters.since.load(Relaxed);
    let running = if since == 0 { 0 } else { now.saturating_sub(since) };
    HartTimes { user: counters.user.load(Relaxed) + running, system: counters.system.load(Relaxed) }
}

/// Times that any hart went over to something else.
pub(crate) fn switches() -> u64 {
    HARTS.iter().map(|counters| counters.switches.load(Relaxed)).sum()
}
