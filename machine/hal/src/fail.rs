//! Failures on demand: the n-th thing that can fail of what one coroutine asks for, fails (D13).
//!
//! One coroutine at a time is chosen, and who pays for what it begins: counted are charges that it makes, or that are made to that
//! account; pages, room in lists, coroutines and device answers that it asks for itself. The point is where the error would come from, so what
//! is tested is the way back from there. Interrupt handlers are never counted; of what others do, only what the chosen account pays for (a pipe that
//! it made). What a thread does for a ring of its process on its way to user mode it does itself: beside requests that become ready meanwhile, the n-th point need not be the same each time. Where nobody is chosen a point costs a load and a branch.
//!
//! Apart from these are the polls of requests: the n-th of those that a chosen process has submitted ends it (D14).

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

/// Takes back what was chosen for `payer`, and not what was for another since.
pub fn give_up(payer: usize) {
    if PAYER.load(Relaxed) == payer {
        choose(0, 0);
    }
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

/// Of whose polls one is to be the last, and how many are yet to come, that one included, in the lower [`COUNT`] bits; 0: none is. One word, so that a poll that another hart does
/// while somebody chooses counts for the choice that it belongs to. Relaxed: it guards nothing.
static POLLS: AtomicU64 = AtomicU64::new(0);
const COUNT: u32 = 24;
/// Most polls that may be yet to come.
pub const MOST_POLLS: usize = (1 << COUNT) - 1;

/// Who pays for a process, by the address of its account: another's while that is kept. Accounts lie 16 bytes apart at least, and in the same 2^44.
fn payer_of(payer: usize) -> u64 {
    (payer as u64 >> 4) << COUNT
}

/// The `nth` poll from now on, up to [`MOST_POLLS`], of what the process has submitted whose account is at `payer` is the one that ends it; with 0 none.
pub fn choose_poll(nth: usize, payer: usize) {
    let nth = nth.min(MOST_POLLS) as u64;
    POLLS.store(if nth == 0 { 0 } else { payer_of(payer) | nth }, Relaxed);
}

/// Takes back what was chosen for `payer`, and not what was for another since.
pub fn give_up_poll(payer: usize) {
    // It fails where there is nothing to take back.
    let _ = POLLS.fetch_update(Relaxed, Relaxed, |word| (word >> COUNT == payer_of(payer) >> COUNT).then_some(0));
}

/// How many polls are yet to come; 0 once it was the one.
pub fn polls_left() -> usize {
    POLLS.load(Relaxed) as usize & MOST_POLLS
}

/// A poll is over, of what the process has submitted whose account is at `payer`: whether it is the one.
#[inline(always)]
#[must_use]
pub fn is_last_poll(payer: impl FnOnce() -> usize) -> bool {
    POLLS.load(Relaxed) != 0 && is_last_of(payer())
}

#[cold]
#[inline(never)]
fn is_last_of(payer: usize) -> bool {
    let own = payer_of(payer);
    let next = |word: u64| match word.wrapping_sub(own) {
        1 => Some(0),
        left if left <= MOST_POLLS as u64 => Some(word - 1),
        _ => None,
    };
    POLLS.fetch_update(Relaxed, Relaxed, next) == Ok(own | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_poll_is_counted_for_whom_it_was_chosen() {
        let (one, other) = (0x1230, 0x1240);
        choose_poll(2, one);
        assert!(!is_last_of(other) && !is_last_of(one));
        give_up_poll(other);
        assert_eq!(polls_left(), 1);
        assert!(is_last_of(one) && !is_last_of(one));
        assert_eq!(polls_left(), 0);
        // Of what was chosen since nothing is taken back.
        choose_poll(3, one);
        choose_poll(1, other);
        give_up_poll(one);
        assert!(!is_last_of(one) && is_last_of(other));
        choose_poll(1, one);
        give_up_poll(one);
        assert!(!is_last_of(one));
        choose_poll(usize::MAX, one);
        assert_eq!(polls_left(), MOST_POLLS);
        give_up_poll(one);
    }
}
