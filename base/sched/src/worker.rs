//! A worker: its queue, and what it publishes about itself.

use core::ptr::{self, NonNull};

use sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use crate::Priority;
use crate::interface::Header;
use crate::lists::AGE;
use crate::pool::Pool;
use crate::queue::RunQueue;
use crate::standing::Place;

/// How far the address of what a worker polls is before what it runs at.
pub(crate) const POLLED: usize = core::mem::offset_of!(Worker, running) - core::mem::offset_of!(Worker, polled);

/// `running` of a worker that runs nothing: it is idle, or will look at its queue before it runs anything.
pub(crate) const NOTHING: u32 = u32::MAX;
/// In `running`: the task has used up its slice.
const SPENT: u32 = 1 << 8;
/// In `running`: a tick that the task has waited beneath others since it last saw one itself. In this word, so that it is not forgotten when one of those
/// others ends its poll and is polled again at once.
const WAITED: u32 = 1 << 9;
/// All of these.
const ALL_WAITED: u32 = (1 << TICKS) - WAITED;
const _: () = assert!(AGE as u32 <= ALL_WAITED / WAITED);
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
    /// What it was preempted in, if it was. Dereferenced by the worker's own thread of control only.
    beneath: AtomicPtr<Beneath>,
}

/// What a worker was doing before it took a task.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    running: u32,
    pub(crate) polled: *mut Header,
}

impl Outer {
    /// What a worker has been preempted in goes on at this priority: it may have inherited meanwhile.
    ///
    /// # Safety
    /// That is so, and has not gone on: the task is alive, since its poll is not over.
    unsafe fn priority(&self) -> Priority {
        let published = Priority::from_number(self.running as u8);
        // SAFETY: by contract.
        unsafe { self.polled.as_ref() }.map_or(published, |task| task.priority().min(published))
    }
}

/// What a worker was preempted in, and what that was preempted in.
struct Beneath {
    outer: Outer,
    next: *mut Beneath,
}

/// While it lives, what it was made of waits beneath what the worker runs.
pub(crate) struct Above<'w> {
    worker: &'w Worker,
    beneath: Beneath,
}

impl Above<'_> {
    /// Has it counted, unless the worker was preempted in nothing. It does not move from now on.
    #[inline(always)]
    pub(crate) fn count(&mut self) {
        if self.beneath.outer.running != NOTHING {
            self.worker.beneath.store(&raw mut self.beneath, Ordering::Relaxed);
        }
    }

    /// What the worker goes back to.
    #[inline(always)]
    pub(crate) fn outer(&self) -> Outer {
        self.beneath.outer
    }
}

impl Drop for Above<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.worker.beneath.store(self.beneath.next, Ordering::Relaxed);
    }
}

/// The priority that is published now and has been since a fence, if one has. One word: each turn compares it twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held(u32);

impl Held {
    /// None has.
    pub(crate) const NOTHING: Self = Self(NOTHING);

    /// This.
    #[inline(always)]
    pub(crate) fn of(priority: Priority) -> Self {
        Self(u32::from(priority.number()))
    }

    #[inline(always)]
    pub(crate) fn priority(self) -> Option<Priority> {
        (self != Self::NOTHING).then(|| Priority::from_number(self.0 as u8))
    }
}

/// What a worker that takes a task tells the others.
#[derive(Clone, Copy)]
pub(crate) struct Publisher<'w> {
    pub(crate) worker: &'w Worker,
    pub(crate) outer: Outer,
    pub(crate) held: Held,
}

impl Publisher<'_> {
    /// Publishes that it runs at this priority from now on, or if there is none, what it was doing before.
    #[inline(always)]
    pub(crate) fn publish(self, next: Option<Priority>) {
        match next {
            Some(priority) => self.worker.set_running(priority),
            None => self.worker.go_back(self.outer),
        }
        if next.is_none_or(|priority| Held::of(priority) != self.held) {
            // Pairs with the fence in `call_for`: publish before looking at the inbox again.
            fence(Ordering::SeqCst);
        }
    }
}

impl Worker {
    /// A worker that runs nothing, of a pool that is being made at this address.
    pub(crate) fn new(pool: NonNull<Pool>, number: u8) -> Self {
        let (running, polled) = (AtomicU32::new(NOTHING), AtomicPtr::new(ptr::null_mut()));
        let beneath = AtomicPtr::new(ptr::null_mut());
        Self { polled, running, number, pool, queue: RunQueue::new(number), beneath }
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

    /// It runs something else now than what it was doing, if that was a task.
    #[inline(always)]
    pub(crate) fn above(&self, outer: Outer) -> Above<'_> {
        Above { worker: self, beneath: Beneath { outer, next: self.beneath.load(Ordering::Relaxed) } }
    }

    /// Whether it may have been preempted in this task, or be so at this moment. Any context; old at once.
    pub(crate) fn may_be_above(&self, task: NonNull<Header>) -> bool {
        self.polled() == task.as_ptr() || !self.beneath.load(Ordering::Relaxed).is_null()
    }

    /// What it was preempted in, and what that was preempted in. By its own thread of control.
    #[inline]
    fn all_beneath(&self) -> impl Iterator<Item = Outer> {
        let mut next = self.beneath.load(Ordering::Relaxed);
        core::iter::from_fn(move || {
            // SAFETY: they lie on the stack of this thread of control, further up (`Above`).
            let beneath = unsafe { next.as_ref() }?;
            next = beneath.next;
            Some(beneath.outer)
        })
    }

    /// Whether it was preempted in something that has one of these priorities now. By its own thread of control.
    #[inline]
    pub(crate) fn has_beneath(&self, wanted: u32) -> bool {
        // SAFETY: it has not gone on.
        self.all_beneath().any(|outer| unsafe { outer.priority() }.bit() & wanted != 0)
    }

    /// What is of this priority goes on as urgent as what it stands above. By its own thread of control.
    fn lifted(&self, own: Priority) -> Priority {
        // SAFETY: as above.
        self.all_beneath().map(|outer| unsafe { outer.priority() }).fold(own, Priority::min)
    }

    /// A tick has passed for what it was preempted in. `true`: some of that has waited for so long that it is ahead for a slice, as
    /// in the queue.
    pub(crate) fn age_beneath(&self) -> bool {
        let Some(running) = self.running() else { return false };
        let (mut next, mut has_aged) = (self.beneath.load(Ordering::Relaxed), false);
        // SAFETY: as in `has_beneath`; nobody else changes them.
        while let Some(beneath) = unsafe { next.as_mut() } {
            let waited = (beneath.outer.running & ALL_WAITED) + WAITED;
            if waited / WAITED < u32::from(AGE) {
                beneath.outer.running = beneath.outer.running & !ALL_WAITED | waited;
            } else {
                // SAFETY: it has not gone on.
                let ahead = unsafe { beneath.outer.priority() }.min(running);
                beneath.outer.running = u32::from(ahead.number());
                has_aged = true;
            }
            next = beneath.next;
        }
        has_aged
    }

    /// Whether what it runs should give way: to something more urgent, or something as urgent if its slice is used up; that is
    /// ready in the queue, or was preempted for what it runs, which has become less urgent since. By its own thread of control.
    #[inline]
    pub(crate) fn gives_way(&self) -> bool {
        self.running().is_some_and(|running| {
            let equals = if self.is_spent() { running.bit() } else { 0 };
            let wanted = running.bits_above() | equals;
            self.queue.has_ready(wanted) || self.has_beneath(wanted)
        })
    }

    /// Publishes what the worker was doing before, as long as it has nothing else.
    #[inline]
    pub(crate) fn go_back(&self, outer: Outer) {
        self.store(outer.running);
        if !outer.polled.is_null() {
            self.go_back_to(outer);
        }
    }

    /// What was preempted may have inherited meanwhile. And what that was preempted in itself, further down, goes on only behind it: it is
    /// as urgent as that, to give way to it when it can. Else what comes in between would be taken again and again, to give way at once.
    #[inline(never)]
    fn go_back_to(&self, outer: Outer) {
        // SAFETY: its poll has been interrupted for what has ended here.
        let own = unsafe { outer.priority() };
        let lifted = self.lifted(own);
        let (now, spent) = (u32::from(lifted.number()), if lifted < own { SPENT } else { 0 });
        if now < outer.running & 0xff {
            self.store(outer.running & !0xff | spent | now);
        }
    }

    /// Whether what it has polled, and is kept among some workers, goes on here if it is to go on: nothing else waits.
    #[cold]
    #[inline(never)]
    pub(crate) fn keeps(&self, place: Place) -> bool {
        u64::from(place.choice()) & self.bit() != 0 && self.queue.is_empty()
    }

    /// Whether something waits for it: in its queue, or since it was preempted. By its own thread of control.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.queue.is_empty() || !self.beneath.load(Ordering::Relaxed).is_null()
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

    /// Publishes another priority of what it runs, if that is this task, published at `before`; `false` if it is not. Any context.
    ///
    /// A worker that is preempted for something else publishes that before it notes that it polls it: the priority tells. What is of the
    /// same priority as the task was runs at the wrong one then, until the end of its poll or of its slice.
    pub(crate) fn publish_anew(&self, task: NonNull<Header>, before: Priority, priority: Priority) -> bool {
        let running = self.load();
        let after = running & !0xff | u32::from(priority.number());
        running != NOTHING
            && Priority::from_number(running as u8) == before
            && self.polled() == task.as_ptr()
            && self.running.compare_exchange(running, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What it runs has seen another tick. By the worker's own thread of control.
    pub(crate) fn count_tick(&self) {
        let running = self.load();
        if running == NOTHING {
            return;
        }
        let ticks = (running >> TICKS).saturating_add(1).min(0x7fff);
        // SAFETY: this thread of control is in its poll, or between, and then it is null.
        let task = unsafe { self.polled().as_ref() };
        let slice = task.map_or(0, |task| self.pool().slice_of(task));
        let (priority, spent) = match task {
            // What was put ahead was so for a slice; what stands above something urgent is so until it gives way to that.
            Some(task) if slice != 0 && ticks >= slice => (u32::from(self.lifted(task.priority()).number()), SPENT),
            _ => (running & 0xff, running & SPENT),
        };
        self.store(priority | spent | ticks << TICKS);
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

    /// Whether it runs something less urgent than `priority`, or nothing, or something else is noted of it: one comparison, for who looks closer then.
    #[inline]
    pub(crate) fn may_run_below(&self, priority: Priority) -> bool {
        self.load() > u32::from(priority.number())
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
