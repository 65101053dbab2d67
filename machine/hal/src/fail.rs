//! Failures on demand: the n-th thing that can fail of what one coroutine asks for, fails (D13).
//!
//! One coroutine at a time is chosen, and who pays for what it begins: counted are charges that it makes, or that are made to that
//! account; pages, room in lists, coroutines and device answers that it asks for itself. The point is where the error would come from, so what
//! is tested is the way back from there. Interrupt handlers are never counted; of what others do, only what the chosen account pays for (a pipe that
//! it made). Where nobody is chosen a point costs a load and a branch.

use crate::hart;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

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
