//! The slots of this process: the right to run a worker of the task pool, as this kernel gives it to threads (note 0003, section 5).
//! On a kernel without them, as Linux, there are none.
//!
//! Each thread that takes part has a place, which it keeps. What it writes into the hint page is its own count; the owner's word
//! and the kicks it reads in the status page. The protocol is in `sched::slots`.

use crate::task::Ticker;
use crate::{task, thread};
use abi::asyncos::{SCHED_FOLLOW, SCHED_KICK, SCHED_SETUP, SCHED_WAIT};
use abi::errno::{Errno, Result};
use abi::slots::{AWAY, AWAYS, CENSUS, FEW, HINTS, KICKED, LOW, OWNER, PREEMPTION, SPARES, STANDS, STRIDE, WATCHED};
use abi::window::{HINT, STATUS};
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use sched::slots::{MAX_PLACES, MAX_SLOTS, Seat, Shown};

/// How many there are; 0 before [`set_up`], and for ever where the kernel has none.
static SLOTS: AtomicU32 = AtomicU32::new(0);
/// Places given out, one bit each.
static PLACES: AtomicU64 = AtomicU64::new(0);
const _: () = assert!(MAX_PLACES == 64);

/// A word of one of the two pages.
fn word(page: usize, offset: usize) -> &'static AtomicU32 {
    // SAFETY: called once the kernel has given this process slots: then both pages are mapped and stay so, and the words,
    // aligned and within their page, are used atomically by all.
    unsafe { AtomicU32::from_ptr(with_exposed_provenance_mut(page + offset)) }
}

/// A call of the scheduler's.
fn ask(number: usize, first: usize, second: usize) -> Result<usize> {
    // SAFETY: the kernel stores nothing but words of the status page, which are atomics.
    unsafe { crate::sys::call6(number, [first, second, 0, 0, 0, 0]) }
}

/// Asks for so many slots, and starts the first thread that takes part; how many there are, 0 without any, or without that
/// thread. Once.
pub(crate) fn set_up(wanted: usize, start: fn() -> bool) -> usize {
    let slots = ask(SCHED_SETUP, wanted, 0).unwrap_or(0);
    if slots == 0 || !start() {
        return 0;
    }
    SLOTS.store(slots as u32, Ordering::Release);
    slots
}

/// Whether the process has slots.
pub(crate) fn active() -> bool {
    // Acquire pairs with the Release in `set_up`.
    SLOTS.load(Ordering::Acquire) > 0
}

/// Tells the kernel where a worker's ready bits are, and what it runs at.
pub(crate) fn describe(slot: usize, hints: [usize; 2]) {
    let words = hints.iter().flat_map(|address| [*address as u32, (*address >> 32) as u32]);
    for (index, value) in words.enumerate() {
        word(HINT, HINTS + STRIDE * slot + 4 * index).store(value, Ordering::Relaxed);
    }
}

/// What the kernel shows of the slots; `None` without any.
pub(crate) fn shown() -> Option<&'static [Shown; MAX_SLOTS]> {
    // SAFETY: as in `word`; so many lie there, and so, says the assertion.
    active().then(|| unsafe { &*with_exposed_provenance(STATUS) })
}

/// Tells the kernel where the lists of the tasks' chunks are.
pub(crate) fn publish(lists: usize) {
    for (half, value) in [lists as u32, (lists as u64 >> 32) as u32].into_iter().enumerate() {
        word(HINT, CENSUS + 4 * half).store(value, Ordering::Relaxed);
    }
}

/// Whether somebody wants to know what polls take.
pub(crate) fn watched() -> bool {
    word(STATUS, WATCHED).load(Ordering::Relaxed) != 0
}

/// A place that nobody has; `None` if there is none left.
pub(crate) fn new_place() -> Option<u32> {
    let next = |given: u64| (given != u64::MAX).then(|| given | (given + 1));
    // Relaxed, as below: a number on its own.
    PLACES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().map(u64::trailing_ones)
}

/// Gives back a place that no thread has been in.
pub(crate) fn give_back(place: u32) {
    PLACES.fetch_and(!(1 << place), Ordering::Relaxed);
}

const _: () = assert!(offset_of!(Shown, owner) == OWNER && offset_of!(Shown, kicked) == KICKED);
const _: () = assert!(offset_of!(Shown, standing) == STANDS && offset_of!(Shown, low) == LOW);
const _: () = assert!(size_of::<Shown>() == STRIDE);

/// What the thread in a place looks at while it runs a worker.
pub(crate) fn seat(place: u32, slot: usize) -> Seat<'static> {
    // SAFETY: as in `word`; the two words lie so, says the assertion.
    let shown = unsafe { &*with_exposed_provenance::<Shown>(STATUS + STRIDE * slot) };
    Seat::new(word(HINT, 4 * place as usize), shown, place)
}

/// The slot that a thread has or had, in the poll that it is in.
pub(crate) struct Held {
    pub(crate) slot: usize,
    pub(crate) seat: Seat<'static>,
    /// What interrupts the thread for others, once it has polled what it is to interrupt.
    pub(crate) ticker: Cell<Option<&'static Ticker>>,
    /// Whether it is in [`keep`], and was to be called meanwhile. Relaxed: of this thread alone, since handlers wake no tasks.
    kept: AtomicU32,
}

/// In `Held::kept`: it is not.
const FREE: u32 = 0;
/// It is.
const KEPT: u32 = 1;
/// And something came for the worker.
const CALLED: u32 = 2;

impl Held {
    /// The thread in a place has been given a slot.
    pub(crate) fn new(place: u32, slot: usize, ticker: Option<&'static Ticker>) -> Self {
        Self { slot, seat: seat(place, slot), ticker: Cell::new(ticker), kept: AtomicU32::new(FREE) }
    }
}

/// A word of the hint page that says something until this is dropped.
pub(crate) struct Limit(&'static AtomicU32);

impl Drop for Limit {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What the poll that the calling thread is in is preempted for (`abi::slots::PREEMPTION`), until this is dropped; none where no
/// poll ever is.
pub(crate) fn limit(preemption: u32) -> Option<Limit> {
    let word = limits(thread::held()?);
    word.store(preemption, Ordering::Relaxed);
    Some(Limit(word))
}

/// A poll will not come back: what it was preempted for is not said any more.
pub(crate) fn forget_limit(held: &Held) {
    limits(held).store(0, Ordering::Relaxed);
}

/// What the poll that a thread is in is preempted for.
pub(crate) fn preempted_for(held: &Held) -> u32 {
    limits(held).load(Ordering::Relaxed)
}

fn limits(held: &Held) -> &'static AtomicU32 {
    let place = held.seat.owner.wrapping_sub(1) as usize % MAX_PLACES;
    word(HINT, PREEMPTION + 4 * place)
}

/// Until this is dropped the kernel takes no slot from the calling thread, and does not put it behind others: it holds a lock for a
/// moment that whoever got the slot would wait for, and then for all those.
#[must_use = "the slot is kept until this is dropped"]
pub(crate) struct Kept(Option<&'static Held>);

/// Begins that.
#[inline]
pub(crate) fn keep() -> Kept {
    // Else it polls nothing, or is in the scheduler.
    let held = thread::held().filter(|held| held.seat.interrupt_poll());
    if let Some(held) = held {
        held.kept.store(KEPT, Ordering::Relaxed);
    }
    Kept(held)
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.0 {
            let is_called = held.kept.load(Ordering::Relaxed) == CALLED;
            held.kept.store(FREE, Ordering::Relaxed);
            if (held.seat.begin_poll() || is_called) && held.seat.is_owner() {
                // For what came for the worker meanwhile.
                task::call_again(held.slot);
            }
        }
    }
}

/// There is something of this priority for a worker. If it is the caller's, which keeps its slot for the moment: it is called behind that.
/// What comes may have become more urgent than what it polls only because that gives back what it has inherited; the kernel would put the
/// thread where that belongs now, with the locks that it holds.
pub(crate) fn call(slot: usize, priority: u8) {
    match thread::held() {
        Some(held) if held.slot == slot && held.kept.load(Ordering::Relaxed) != FREE && held.seat.is_owner() => {
            held.kept.store(CALLED, Ordering::Relaxed);
        }
        _ => kick(slot, priority),
    }
}

/// Waits until the thread in this place, the caller, has a slot and something to run. `None`: the process has no slots. It is a child
/// that was forked in a poll.
pub(crate) fn wait(place: u32) -> Option<usize> {
    wait_with(place, false)
}

/// The same, by who has a slot and runs what it has only if more threads are left, or something more urgent comes.
pub(crate) fn stand_in(place: u32) -> Option<usize> {
    wait_with(place, true)
}

fn wait_with(place: u32, stands_in: bool) -> Option<usize> {
    loop {
        match ask(SCHED_WAIT, place as usize, usize::from(stands_in)) {
            Err(Errno::EINTR) => {}
            waited => return waited.ok(),
        }
    }
}

/// Tells the kernel that there is something of this priority for a worker.
fn kick(slot: usize, priority: u8) {
    let _ = ask(SCHED_KICK, slot, usize::from(priority));
}

/// The task with this number may have another priority now: if a thread polls it without a slot, that is to stand at it.
pub(crate) fn follow(task: u64) {
    if !active() {
        return;
    }
    // Pairs with the kernel's as a thread loses its slot: the change of the priority before the look at who polls it.
    fence(Ordering::SeqCst);
    // Relaxed, both: ordered by the fence.
    if word(STATUS, AWAYS).load(Ordering::Relaxed) == 0 {
        return;
    }
    let task = (task as u32).max(1);
    // Each of them: one that has ended its poll, and was interrupted before it said so, stands there still.
    for place in (0..MAX_PLACES).filter(|place| word(STATUS, AWAY + 4 * place).load(Ordering::Relaxed) == task) {
        let _ = ask(SCHED_FOLLOW, place, 0);
    }
}

/// If few threads are left: the least urgent priority that a thread polls at which was preempted.
pub(crate) fn few() -> Option<u8> {
    (word(STATUS, FEW).load(Ordering::Relaxed) as u8).checked_sub(1)
}

/// How many threads wait for a slot.
pub(crate) fn spares() -> u32 {
    word(STATUS, SPARES).load(Ordering::Relaxed)
}
