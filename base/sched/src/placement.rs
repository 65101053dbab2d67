//! Placement, stealing, and the two sides of the parking protocol.
//!
//! The protocol and its fences are described at the head of `pool`.

use core::ptr::NonNull;

use sync::atomic::{Ordering, fence};

use crate::Priority;
use crate::columns::{is_pinned, priority_of};
use crate::interface::Header;
use crate::pool::Pool;
use crate::queue::Taken;
use crate::run;
use crate::standing::Place;
use crate::worker::{Held, Outer, Publisher, Worker};

impl Pool {
    /// Queues a task where it fits best and calls whom that concerns.
    ///
    /// Here and in what it calls, everything uncommon is out of line and last, so that the common case needs no
    /// stack frame.
    ///
    /// # Safety
    ///
    /// The task is `SCHEDULED` and in no queue; the pool outlives the call.
    #[inline]
    pub unsafe fn enqueue(&self, task: NonNull<Header>) {
        // SAFETY: scheduled and in no queue, so alive and this context's.
        let header = unsafe { task.as_ref() };
        let home = header.home();
        let place = header.standing.place();
        let slot = place.slot();
        let goes_home = if is_pinned(slot) { place.choice() == 0 } else { self.suits(home, priority_of(slot)) };
        // SAFETY: by contract.
        unsafe {
            if goes_home {
                self.hand_to(home, task, place);
            } else {
                self.enqueue_elsewhere(home, task, place);
            }
        }
    }

    /// # Safety
    /// As [`enqueue`](Self::enqueue).
    #[inline(never)]
    unsafe fn enqueue_elsewhere(&self, home: &Worker, task: NonNull<Header>, place: Place) {
        let worker = self.place(home, priority_of(place.slot()), place.choice());
        // SAFETY: by contract.
        unsafe {
            task.as_ref().set_home(worker);
            self.hand_to(worker, task, place);
        }
    }

    /// Queues a task at this worker, its home, and calls whom that concerns.
    ///
    /// # Safety
    ///
    /// As [`enqueue`](Self::enqueue).
    #[inline]
    pub(crate) unsafe fn hand_to(&self, worker: &Worker, task: NonNull<Header>, place: Place) {
        // SAFETY: by contract.
        if unsafe { worker.queue.push(task, place.slot()) } {
            self.call_for(worker, priority_of(place.slot()), place);
        } else {
            // SAFETY: the task is still this context's, scheduled.
            unsafe { run::cancel(task) };
        }
    }

    /// A task of this priority has become visible in a worker's queue: calls that worker if it is idle or runs
    /// something less urgent, and unless it was idle, an idle one that may find the task sooner.
    #[inline]
    fn call_for(&self, worker: &Worker, priority: Priority, place: Place) {
        // Pairs with the fences in `park` and `take`: push before looking.
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed) != 0 {
            self.call_idle(worker, priority, place);
        } else if worker.may_run_below(priority) {
            self.call_running(worker, priority);
        }
    }

    /// [`call_for`](Self::call_for) when nobody is idle.
    #[inline(never)]
    fn call_running(&self, worker: &Worker, priority: Priority) {
        if self.concerns(worker, priority) {
            self.pend(worker.number(), priority);
        }
    }

    /// Whether a worker is to be called for something of this priority unless it is idle: it runs something less urgent; or nothing,
    /// and would look at its queue next, but has a thread that stands lower than that and may have to wait for a hart.
    #[inline]
    fn concerns(&self, worker: &Worker, priority: Priority) -> bool {
        match worker.running() {
            Some(running) => running > priority,
            None => self.idle.load(Ordering::Relaxed) & worker.bit() == 0 && self.stands_below(worker, priority),
        }
    }

    /// [`call_for`](Self::call_for) when somebody is idle.
    #[cold]
    #[inline(never)]
    fn call_idle(&self, worker: &Worker, priority: Priority, place: Place) {
        if self.concerns(worker, priority) {
            self.pend(worker.number(), priority);
        }
        let others = if place.is_pinned() { u64::from(place.choice()) } else { u64::MAX };
        let mut idle = self.idle.load(Ordering::Relaxed) & (others | worker.bit());
        while idle != 0 {
            let bit = if idle & worker.bit() != 0 { worker.bit() } else { idle & idle.wrapping_neg() };
            // Relaxed: only one context can take the bit away; nothing is handed over with it.
            let before = self.idle.fetch_and(!bit, Ordering::Relaxed);
            if before & bit != 0 {
                return self.pend(bit.trailing_zeros() as usize, priority);
            }
            idle &= before;
        }
    }

    /// Whether a task goes home without a further look: home is free, or can be preempted and nobody is idle.
    #[inline]
    fn suits(&self, home: &Worker, priority: Priority) -> bool {
        // Relaxed: a choice, not a promise; `call_for` looks again after its fence.
        let preempts = |running| running > priority && self.idle.load(Ordering::Relaxed) == 0;
        home.running().is_none_or(preempts) && home.queue.is_empty()
    }

    /// Where a task of this priority that last ran on `home` goes, if there is a choice to one of that.
    fn place<'s>(&'s self, home: &'s Worker, priority: Priority, choice: u8) -> &'s Worker {
        let among = if choice == 0 { u64::MAX } else { u64::from(choice) };
        // Relaxed: as in `suits`.
        let idle = self.idle.load(Ordering::Relaxed) & among;
        if idle & home.bit() != 0 {
            return home;
        }
        if let Some(worker) = self.worker(idle.trailing_zeros() as usize) {
            return worker;
        }
        let stays = home.bit() & among != 0;
        if stays && !home.is_busy(priority) {
            return home;
        }
        let others = self.all_workers().iter().filter(|other| other.bit() & among != 0 && !other.is_busy(priority));
        let below = others.clone().filter(|other| other.runs_below(priority)).max_by_key(|other| other.running());
        if let Some(worker) = below {
            return worker;
        }
        if stays {
            return home;
        }
        // It has to leave: to one that looks for something at this moment, or to any.
        others.last().or_else(|| self.any_of(choice)).unwrap_or(home)
    }

    /// Takes the most urgent task below `limit` from a worker's own queue and publishes it as running; if there is none,
    /// publishes again what it was doing. `held`: what is published now and has been since a fence.
    #[inline(always)]
    pub(crate) fn take(&self, worker: &Worker, limit: usize, outer: Outer, held: Held) -> Option<Taken> {
        let taken = worker.queue.pop(limit, Publisher { worker, outer, held });
        if worker.queue.stealable() != 0 {
            self.left_behind(worker);
        }
        // Relaxed: who was called has found its bit gone (`unpark`), and had the fence of `pop` since; so it sees who else was idle
        // then, and the task that it was called for, which was pushed before the fence of `call_for`.
        if self.idle.load(Ordering::Relaxed) != 0
            && let Some((task, _)) = taken
            // SAFETY: just taken from its queue, so alive.
            && unsafe { task.as_ref() }.standing.place().is_pinned()
        {
            self.pass_on(worker);
        }
        taken
    }

    /// Somebody is idle while a worker has taken a task of its own. It may have been called for another one, which it leaves: who
    /// pushes what is pinned calls nobody else.
    #[cold]
    #[inline(never)]
    fn pass_on(&self, worker: &Worker) {
        let left = self.victims(worker).find(|other| other.queue.stealable() != 0);
        if let Some((other, priority)) = left.and_then(|other| Some((other, other.queue.highest_ready()?))) {
            self.call_idle(other, priority, Place::ANYWHERE);
        }
    }

    /// [`take`](Self::take), for where it is not worth being inlined.
    #[inline(never)]
    pub(crate) fn take_own(&self, worker: &Worker, limit: usize, outer: Outer) -> Option<Taken> {
        self.take(worker, limit, outer, Held::NOTHING)
    }

    /// Who has let go of a queue's lock and left tasks there calls for them as their pusher did: whoever looked
    /// while it had them in hand may have seen nothing.
    #[inline(never)]
    pub(crate) fn left_behind(&self, worker: &Worker) {
        if let Some(priority) = worker.queue.highest_ready() {
            self.call_for(worker, priority, Place::ANYWHERE);
        }
    }

    /// Takes a task from another worker's queue.
    #[cold]
    #[inline(never)]
    pub(crate) fn steal(&self, thief: &Worker, outer: Outer) -> Option<Taken> {
        for victim in self.victims(thief) {
            if victim.queue.stealable() == 0 {
                continue;
            }
            let stolen = self.take_ahead(thief, victim).or_else(|| victim.queue.steal());
            self.left_behind(victim);
            if let Some(stolen) = stolen {
                // SAFETY: just taken from its queue.
                return unsafe { self.bring(thief, stolen, outer) };
            }
        }
        for victim in self.victims(thief).filter(|victim| self.may_keep(victim)) {
            let stolen = victim.queue.take_kept(thief.bit() as u8, !0);
            if victim.queue.stealable() != 0 {
                self.left_behind(victim);
            }
            if let Some(stolen) = stolen {
                // SAFETY: as above.
                return unsafe { self.bring(thief, stolen, outer) };
            }
        }
        None
    }

    /// Takes a task that is kept among some workers, the thief among them, from a queue where it comes before what all may take.
    fn take_ahead(&self, thief: &Worker, victim: &Worker) -> Option<Taken> {
        let free = Priority::highest_in(victim.queue.stealable())?;
        let ahead = free.bits_above();
        let is_there = self.has_kept() && victim.queue.pinned() & ahead != 0;
        is_there.then(|| victim.queue.take_kept(thief.bit() as u8, ahead))?
    }

    /// The other workers, from the next one on.
    fn victims(&self, thief: &Worker) -> impl Iterator<Item = &Worker> {
        let (all, own) = (self.all_workers().iter(), thief.number());
        all.clone().skip(own + 1).chain(all.take(own))
    }

    /// Whether there may be something in a worker's queue that is kept among some.
    fn may_keep(&self, worker: &Worker) -> bool {
        self.has_kept() && worker.queue.has_pinned()
    }

    /// A task that was taken from another worker's queue is the thief's.
    ///
    /// # Safety
    /// It is `SCHEDULED` and in no queue, the caller's.
    unsafe fn bring(&self, thief: &Worker, (task, priority): Taken, outer: Outer) -> Option<Taken> {
        // SAFETY: by contract it is alive and this context's.
        let header = unsafe { task.as_ref() };
        header.set_home(thief);
        thief.set_running(priority);
        // Pairs with the fence in `call_for`, as in `take`.
        fence(Ordering::SeqCst);
        let own = &thief.queue;
        if !own.has_post() && !own.has_ready(priority.bits_above()) {
            return Some((task, priority));
        }
        // Something came to the own queue meanwhile: let `take` choose between the two.
        thief.go_back(outer);
        // SAFETY: as above, still scheduled.
        unsafe { self.hand_to(thief, task, header.standing.place()) };
        self.take_own(thief, Priority::COUNT, outer)
    }

    /// A worker announces that it parks. `false`: there is something that it would find, and it is not idle.
    pub(crate) fn park(&self, worker: &Worker) -> bool {
        // Relaxed: the fence orders it.
        self.idle.fetch_or(worker.bit(), Ordering::Relaxed);
        // Pairs with the fence in `call_for`: publish before looking at the queues again.
        fence(Ordering::SeqCst);
        let found = self.all_workers().iter().any(|other| {
            if other.number() == worker.number() { !other.queue.is_bare() } else { other.queue.stealable() != 0 }
        });
        let is_kept = |other: &Worker| self.may_keep(other) && other.queue.may_have_kept(worker.bit() as u8);
        let found = found || self.victims(worker).any(is_kept);
        if found {
            self.unpark(worker);
        }
        !found
    }

    /// A worker that had announced to park is awake.
    pub(crate) fn unpark(&self, worker: &Worker) {
        // Relaxed: a waker that reads the old value pends once too often.
        if self.idle.load(Ordering::Relaxed) & worker.bit() != 0 {
            self.idle.fetch_and(!worker.bit(), Ordering::Relaxed);
        }
    }
}
