//! Failures on demand: the n-th thing that can fail of what one coroutine asks for, fails (D13).
//!
//! One coroutine at a time is chosen, and who pays for what it begins: counted are charges that it makes, or that are made to that
//! account; pages, room in lists, coroutines and device answers that it asks for itself. The point is where the error would come from, so what
//! is tested is the way back from there. Interrupt handlers are never counted; of what others do, only what the chosen account pays for (a pipe that
//! it made). Where nobody is chosen a point costs a load and a branch.
//!
//! Apart from these are the polls of requests: the n-th of those that a chosen process has submitted ends it (D14).

use crate::hart;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Points that are yet to come, the one that fails included; 0: none fails. All three are relaxed: they guard nothing, and who chooses is the coroutine
/// that counts, or begins what does.
static LEFT: AtomicUsize = AtomicUsize::new(0);
static COROUTINE: AtomicU64 = AtomicU64::new(0);
static PAYER: AtomicUsize = AtomicUsize::new(0);

/// The `nth` point from now on fails, of the coroutine that calls this and of what is charged to `payer` (the address of an account);
/// with 0 none.
pub fn choose(nth: usize, payer: usize) {
    LEFT.store(0, Relaxed);
    COROUTINE.store(hart::coroutine(), Relaxed);
    PAYER.store(payer, Relaxed);
    LEFT.store(nth, Relaxed);
}

/// How many points are yet to come; 0 once one has failed.
pub fn left() -> usize {
    LEFT.load(Relaxed)
}

/// A point: whether it is the one that fails.
#[inline(always)]
#[must_use]
pub fn here() -> bool {
    LEFT.load(Relaxed) != 0 && is_next(0)
}

/// A point that is charged to `payer`.
#[inline(always)]
#[must_use]
pub fn here_for(payer: usize) -> bool {
    LEFT.load(Relaxed) != 0 && is_next(payer)
}

#[cold]
#[inline(never)]
fn is_next(payer: usize) -> bool {
    let own = hart::coroutine();
    let counts = own != 0 && own == COROUTINE.load(Relaxed) || payer != 0 && payer == PAYER.load(Relaxed);
    counts && LEFT.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

/// Polls that are yet to come, the one that ends the process included; 0: none does. Both are relaxed, as those above: a poll that another hart does meanwhile is
/// counted or not.
static POLLS: AtomicUsize = AtomicUsize::new(0);
static WHOSE: AtomicU32 = AtomicU32::new(0);

/// The `nth` poll from now on of what process `pid` has submitted is the one that ends it; with 0 none.
pub fn choose_poll(nth: usize, pid: u32) {
    POLLS.store(0, Relaxed);
    WHOSE.store(pid, Relaxed);
    POLLS.store(nth, Relaxed);
}

/// How many polls are yet to come; 0 once it was the one.
pub fn polls_left() -> usize {
    POLLS.load(Relaxed)
}

/// A poll is over, of what process `pid` has submitted: whether it is the one.
#[inline(always)]
#[must_use]
pub fn is_last_poll(pid: impl FnOnce() -> u32) -> bool {
    POLLS.load(Relaxed) != 0 && is_last_of(pid())
}

#[cold]
#[inline(never)]
fn is_last_of(pid: u32) -> bool {
    pid == WHOSE.load(Relaxed) && POLLS.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) == Ok(1)
}
