//! A worker: its queue, and what it publishes about itself.

use core::ptr::{self, NonNull};

use sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use crate::Priority;
use crate::interface::Header;
use crate::pool::Pool;
use crate::queue::RunQueue;

/// `running` of a worker that runs nothing: it is idle, or will look at its queue before it runs anything.
pub(crate) const NOTHING: u32 = u32::MAX;
/// In `running`: the task has used up its slice.
const SPENT: u32 = 1 << 8;
/// In `running`: the ticks that the task has seen begin here.
const TICKS: u32 = 16;

/// What belongs to one worker, on cache lines of its own; what a switch touches comes first, where one instruction reaches it.
#[repr(C, align(64))]
pub(crate) struct Worker {
    /// What it polls; null between polls. Dereferenced by the worker's own thread of control only.
    polled: AtomicPtr<Header>,
    /// The priority of what it runs, and how long that has run; or `NOTHING`.
    pub(crate) running: AtomicU32,
    number: u8,
    pool: NonNull<Pool>,
    pub(crate) queue: RunQueue,
}

/// What a worker was doing before it took a task.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    running: u32,
    pub(crate) polled: *mut Header,
}

/// What a worker that takes a task tells the others.
#[derive(Clone, Copy)]
pub(crate) struct Publisher<'w> {
    pub(crate) worker: &'w Worker,
    pub(crate) outer: Outer,
    /// What is published now and has been since a fence.
    pub(crate) held: Option<Priority>,
}

impl Publisher<'_> {
    /// Publishes that it runs at this priority from now on, or if there is none, what it was doing before.
    #[inline(always)]
    pub(crate) fn publish(self, next: Option<Priority>) {
        match next {
            Some(priority) => self.worker.set_running(priority),
            None => self.worker.go_back(self.outer),
        }
        if next.is_none() || next != self.held {
            // Pairs with the fence in `call_for`: publish before looking at the inbox again.
            fence(Ordering::SeqCst);
        }
    }
}

impl Worker {
    /// A worker that runs nothing, of a pool that is being made at this address.
    pub(crate) fn new(pool: NonNull<Pool>, number: u8) -> Self {
        let (running, polled) = (AtomicU32::new(NOTHING), AtomicPtr::new(ptr::null_mut()));
        Self { polled, running, number, pool, queue: RunQueue::new(number) }
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        usize::from(self.number)
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        // SAFETY: S6, workers are part of their pool, which does not move.
        unsafe { self.pool.as_ref() }
    }

    /// The bit that stands for this worker in `idle`.
    #[inline]
    pub(crate) fn bit(&self) -> u64 {
        1 << (self.number & 63)
    }

    #[inline]
    fn load(&self) -> u32 {
        // Relaxed: where it decides, a fence stands before.
        self.running.load(Ordering::Relaxed)
    }

    #[inline]
    fn store(&self, running: u32) {
        // Relaxed: where somebody must see it, a fence stands behind.
        self.running.store(running, Ordering::Relaxed);
    }

    /// The priority of what it runs.
    #[inline]
    pub(crate) fn running(&self) -> Option<Priority> {
        let running = self.load();
        (running != NOTHING).then_some(Priority::from_number(running as u8))
    }

    /// Publishes that it runs something of this priority from now on.
    #[inline]
    pub(crate) fn set_running(&self, priority: Priority) {
        self.store(u32::from(priority.number()));
    }

    /// What it polled will not come back, or another thread of control has it from now on: it runs nothing.
    pub(crate) fn abandon(&self) {
        self.store(NOTHING);
        self.set_polled(ptr::null_mut());
    }

    /// Something more urgent came for it while its thread was in the scheduler: calls for that once more.
    #[cold]
    #[inline(never)]
    pub(crate) fn call_again(&self) {
        if let Some(priority) = self.queue.highest_ready() {
            self.pool().pend(self.number(), priority);
        }
    }

    /// What it is doing, to go back to.
    #[inline]
    pub(crate) fn outer(&self) -> Outer {
        Outer { running: self.load(), polled: self.polled.load(Ordering::Relaxed) }
    }

    /// Publishes what the worker was doing before, as long as it has nothing else.
    #[inline]
    pub(crate) fn go_back(&self, outer: Outer) {
        self.store(outer.running);
        if let Some(polled) = NonNull::new(outer.polled) {
            self.go_back_to(polled, outer.running);
        }
    }

    /// What was preempted may have inherited meanwhile.
    #[inline(never)]
    fn go_back_to(&self, polled: NonNull<Header>, running: u32) {
        // SAFETY: its poll has been interrupted for what has ended here, so it is alive.
        let now = unsafe { polled.as_ref() }.priority();
        if now.number() < running as u8 {
            self.store(running & !0xff | u32::from(now.number()));
        }
    }

    /// Notes what it polls, if anything.
    #[inline]
    pub(crate) fn set_polled(&self, task: *mut Header) {
        // Relaxed: read by this very thread of control, or compared only.
        self.polled.store(task, Ordering::Relaxed);
    }

    /// See [`set_polled`](Self::set_polled).
    #[inline]
    pub(crate) fn polled(&self) -> *mut Header {
        self.polled.load(Ordering::Relaxed)
    }

    /// Publishes another priority of what it runs, if that is this task; `false` if it is not. Any context.
    ///
    /// The worker may take something else between the two looks, of the same priority; then that runs at the wrong
    /// priority until the end of its poll.
    pub(crate) fn publish_anew(&self, task: NonNull<Header>, priority: Priority) -> bool {
        let before = self.load();
        let after = before & !0xff | u32::from(priority.number());
        before != NOTHING
            && self.polled() == task.as_ptr()
            && self.running.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What it runs has seen another tick. By the worker's own thread of control.
    pub(crate) fn count_tick(&self) {
        let running = self.load();
        if running == NOTHING {
            return;
        }
        let ticks = (running >> TICKS).saturating_add(1).min(0x7fff);
        // SAFETY: this thread of control is in its poll, or between, and then it is null.
        let slice = unsafe { self.polled().as_ref() }.map_or(0, |task| self.pool().slice_of(task));
        let spent = if slice != 0 && ticks >= slice { SPENT } else { running & SPENT };
        self.store(running & 0xff | spent | ticks << TICKS);
    }

    /// What it runs has used up its slice. By the worker's own thread of control.
    pub(crate) fn spend(&self) {
        let running = self.load();
        if running != NOTHING {
            self.store(running | SPENT);
        }
    }

    /// Whether what it runs has used up its slice.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        let running = self.load();
        running != NOTHING && running & SPENT != 0
    }

    /// Whether it runs something less urgent than `priority`.
    #[inline]
    pub(crate) fn runs_below(&self, priority: Priority) -> bool {
        self.running().is_some_and(|running| running > priority)
    }

    /// Whether it runs, or will run next, something as urgent as `priority` or more.
    pub(crate) fn is_busy(&self, priority: Priority) -> bool {
        self.running().is_some_and(|running| running <= priority)
            || self.queue.has_ready(priority.bits_above() | priority.bit())
    }
}
