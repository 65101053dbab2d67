//! What a green thread that is left between any two instructions has in the place of its thread's.
//!
//! Code that reads `tp` may have been interrupted behind that, and go on on another thread: it would then write to what is that of a thread that it
//! is not on. So `tp` points at a block of the green thread's own while that is polled, which goes along with it. What is the thread's in it (its slot,
//! the way off its stack) is written anew at each poll, and read only where the green thread is not left: with a guard.

use super::{Local, local};
use crate::task::{Ticker, green};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Guards of a green thread whose code does not run, so that it is not left there: between a poll and that code there is one.
const OUTSIDE: i32 = 2;
/// It has none, and is to be left.
const WANTED: i32 = -1;

/// See the module.
#[repr(C)]
pub(crate) struct Own {
    /// First: `tp` points at it.
    local: Local,
    /// `tp` of the thread that polls it.
    outer: AtomicUsize,
    /// What ticks for it in that thread.
    ticker: AtomicPtr<Ticker>,
    /// It was left where it did not wait.
    is_left: AtomicBool,
    /// How often.
    times_left: AtomicU32,
    /// It is not left any more.
    stays: AtomicBool,
}

impl Own {
    pub(crate) fn new() -> Self {
        let local = Local::new(0);
        local.guards.store(OUTSIDE, Ordering::Relaxed);
        Self {
            local,
            outer: AtomicUsize::new(0),
            ticker: AtomicPtr::new(core::ptr::null_mut()),
            is_left: AtomicBool::new(false),
            times_left: AtomicU32::new(0),
            stays: AtomicBool::new(false),
        }
    }

    /// The calling thread has this block until [`leave`](Self::leave).
    pub(crate) fn enter(&self, ticker: *const Ticker) {
        // Relaxed, as in all of this file: one thread at a time has it, and its handlers; the scheduler orders one poll before the next.
        let (from, to) = (local(), &self.local);
        to.tid.store(from.tid.load(Ordering::Relaxed), Ordering::Relaxed);
        to.own.store(from.own.load(Ordering::Relaxed), Ordering::Relaxed);
        to.back.store(from.back.load(Ordering::Relaxed), Ordering::Relaxed);
        to.polls.store(from.polls.load(Ordering::Relaxed), Ordering::Relaxed);
        to.handlers.store(from.handlers.load(Ordering::Relaxed), Ordering::Relaxed);
        to.held.store(from.held.load(Ordering::Relaxed), Ordering::Relaxed);
        let task = from.task.load(Ordering::Relaxed);
        if !task.is_null() {
            // Where its future is dropped, none is polled.
            to.task.store(task, Ordering::Relaxed);
        }
        self.ticker.store(ticker.cast_mut(), Ordering::Relaxed);
        self.outer.store(core::ptr::from_ref(from) as usize, Ordering::Relaxed);
        // SAFETY: it begins with a `Local`, which lives until `leave`.
        unsafe { asm!("mv tp, {}", in(reg) to) };
    }

    /// The calling thread has its own block again.
    pub(crate) fn leave(&self) {
        let outer = self.outer.load(Ordering::Relaxed);
        // SAFETY: that of this thread, as `enter` found it.
        unsafe { asm!("mv tp, {}", in(reg) outer) };
        self.local.held.store(core::ptr::null_mut(), Ordering::Relaxed);
    }

    /// The block of the green thread whose code calls, or whose poll does.
    ///
    /// # Safety
    /// It is one that has a block of its own.
    pub(crate) unsafe fn current<'o>() -> &'o Self {
        // SAFETY: `tp` points at one, by the caller's promise, for as long as the green thread is there.
        unsafe { &*core::ptr::from_ref(local()).cast() }
    }

    /// What ticks for it.
    pub(crate) fn ticker(&self) -> Option<&'static Ticker> {
        // SAFETY: they are never gone.
        unsafe { self.ticker.load(Ordering::Relaxed).as_ref() }
    }

    /// Whether it is in the middle of something.
    pub(crate) fn has_guards(&self) -> bool {
        self.local.guards.load(Ordering::Relaxed) > 0
    }

    /// It is to be left when it has no guards. From a handler, which may have come between the two halves of a change of their number, and is
    /// forgotten then: the next tick says so again.
    pub(crate) fn want(&self) {
        let guards = &self.local.guards;
        guards.store((guards.load(Ordering::Relaxed) - 1) | 1, Ordering::Relaxed);
    }

    /// Its guard page.
    pub(crate) fn guard_page(&self) -> usize {
        let switch = self.local.green.load(Ordering::Relaxed);
        // SAFETY: there as long as the green thread.
        unsafe { switch.as_ref() }.map_or(0, green::Switch::guard)
    }

    /// The slot of the thread that polls it.
    pub(crate) fn held(&self) -> Option<&crate::slots::Held> {
        // SAFETY: set by a poll that is under way: asked by a handler, in the thread of that poll.
        unsafe { self.local.held.load(Ordering::Relaxed).as_ref() }
    }

    /// Its code is left here.
    pub(crate) fn begin_leaving(&self) {
        self.local.guards.store(OUTSIDE, Ordering::Relaxed);
        self.is_left.store(true, Ordering::Relaxed);
        self.times_left.store(self.times_left().wrapping_add(1), Ordering::Relaxed);
    }

    /// How often it was left where it did not wait. Who wakes it meanwhile has it polled once, behind that place: what it has looked at before, it looks at
    /// again before it waits.
    pub(crate) fn times_left(&self) -> u32 {
        self.times_left.load(Ordering::Relaxed)
    }

    /// Its code goes on.
    pub(crate) fn arrive(&self) {
        self.is_left.store(false, Ordering::Relaxed);
        self.local.guards.store(0, Ordering::Relaxed);
    }

    /// Whether it was left where it did not wait.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// From now on it is left where it waits, and nowhere else.
    pub(crate) fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// Whether that was said. Not by a guard: of those it has as many as its code takes.
    pub(crate) fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// The calling thread's code is never gone back to: it has its own block again.
    pub(crate) fn abandon() {
        // It is not left, and its thread is this one to the end.
        super::begin_guard();
        // SAFETY: asked only in a green thread that has one.
        let own = unsafe { Self::current() };
        if let Some(ticker) = own.ticker() {
            ticker.end();
        }
        own.leave();
    }
}

/// The calling thread has fewer guards than none: a green thread that was to be left is left here. Else a guard was dropped by another thread than made it.
#[cold]
#[inline(never)]
pub(super) fn give_way() {
    if local().guards.load(Ordering::Relaxed) != WANTED || !green::is_here() {
        return;
    }
    // SAFETY: only in such a block it is wanted.
    let own = unsafe { Own::current() };
    own.begin_leaving();
    // SAFETY: it is its code that calls, with no guard.
    unsafe { green::leave() };
    own.arrive();
}
