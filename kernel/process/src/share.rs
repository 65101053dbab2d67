//! What a process has used of the CPU, and its threads' turns by that: policy `fair`, by process.
//!
//! A process's account is in *weighted* nanoseconds: what a thread runs counts the more, the nicer it is. A thread is *busy* when
//! its process has had a slice more than what the others on its hart have, those that wait for it: the hart's floor. Who is not
//! busy runs at the usual priority, in turn, and pays nothing for all this. Busy threads are a priority below, ranked by the
//! accounts of their processes, and behind their siblings that wait already, a slice for each; so a process with many threads gets
//! no more than one with few, and who sleeps most of the time need not wait for those who never do.
//!
//! ```text
//!   in turn ── has run for QUANTUM, or its process has used more than its bound ──► account: busy? ──► ranked
//!      ▲                                                                                                 │ each time
//!      └──────────────────────────────── no: others have had as much ◄───────────────────────────────────┘
//! ```
//!
//! What a thread gets by ageing, since it has waited for too long beneath others, counts as well: if its process has had its share, it
//! waits for its turn there among the ranked, once (`begin_ahead`). So nothing starves, and nothing is gained by many priorities.
//!
//! What a process is forgiven that has slept, and how far it may be behind if it has had much of an idle hart, is `sched`'s to
//! say, by what each hart has served (`policy::fair`). A thread that a process has run at a lower priority is always ranked.

use crate::{class::Class, reservation::Due, thread::Thread};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use exec::{Birth, Priority, TaskRef, policy::fair};

/// Priority of what is busy.
pub const BUSY: Priority = Priority::new(17);
/// Nanoseconds that a thread runs before it is looked at again.
const QUANTUM: u64 = 1_000_000;
/// Nanoseconds that a thread may run while others wait: `exec`'s slice.
const SLICE: u64 = 10_000_000;
/// Of a key's unit, in nanoseconds: a power of two.
const UNIT: u32 = 6;
/// The slice in steps of a key.
const SLICE_STEPS: u64 = SLICE / (fair::STEP << UNIT);

/// The account of a process. Relaxed: each number is on its own, and a little old will do.
#[derive(Default)]
pub(crate) struct Share {
    used: AtomicU64,
    /// What a new thread may find there before it is looked at: what the last was given that was.
    bound: AtomicU64,
    /// Steps of the threads that wait for a hart.
    ahead: AtomicU32,
    /// What coroutines that end before they have run for long have taken, and is not in the account yet: nanoseconds.
    served: AtomicU64,
}

impl Share {
    /// The account of a child, which begins with what its parent has used: a process gets no more by having many.
    pub(crate) fn begin_as(&self, parent: &Self) {
        self.used.store(parent.used(), Relaxed);
        self.bound.store(parent.bound.load(Relaxed), Relaxed);
    }

    fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The key of a thread that begins.
    pub(crate) fn key(&self) -> u64 {
        fair::key(self.used() >> UNIT, 0)
    }

    /// What it has used less than this, in units of a key, is forgotten.
    fn catch_up(&self, used: u64) {
        self.used.fetch_max(used << UNIT, Relaxed);
    }

    /// A thread has run for so long; what the process has used by now.
    fn charge(&self, ns: u64, class: Class) -> u64 {
        let weighted = class.weighted(ns);
        self.used.fetch_add(weighted, Relaxed).wrapping_add(weighted)
    }
}

impl Thread {
    /// Charges what a coroutine took that is one of many, each of which runs for a moment: they are put in the account together, by whoever makes it enough. How that one goes on then.
    pub fn charge_moment(&self, ns: u64) -> Option<Birth> {
        let served = &self.process().share.served;
        if served.fetch_add(ns, Relaxed).wrapping_add(ns) < QUANTUM {
            return None;
        }
        // Another may have taken it meanwhile.
        let taken = served.swap(0, Relaxed);
        (taken >= QUANTUM).then(|| self.charge_service(taken))
    }

    /// A coroutine of the kernel's that serves this thread has run for so long: its process has used that. How it goes on; it is as busy as the
    /// process.
    #[must_use]
    pub fn charge_service(&self, ns: u64) -> Birth {
        let class = if self.class().is_reserved() { Class::DEFAULT } else { self.class() };
        let share = &self.process().share;
        let used = share.charge(ns, class) >> UNIT;
        if !class.is_fair() {
            return self.birth_of_request();
        }
        let floor = exec::raise_floor(BUSY, true, used);
        share.catch_up(floor);
        let (usual, is_busy) = (class.birth(0).priority, used > floor + SLICE_STEPS * fair::STEP);
        class.at(if is_busy { usual.max(BUSY) } else { usual }, fair::key(used, 0))
    }
}

/// A thread's turn, in its own coroutine.
pub(crate) struct Turn {
    /// The coroutine, once it has begun.
    pub(crate) task: Option<TaskRef>,
    /// What of its time is in the account.
    accounted: u64,
    /// User time after which it is looked at; 0 while it is ranked.
    limit: u64,
    /// What its process may have used before it is looked at; 0 while it is ranked.
    bound: u64,
    /// The key that it was given last.
    key: u64,
    /// Its part of [`Share::ahead`].
    reserved: u32,
    again: bool,
    /// It has inherited what it was put ahead of, for a turn.
    lifted: bool,
    reserve: Reserve,
}

/// What is left of what is reserved for a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserve {
    /// Nothing is reserved for it.
    None,
    Left,
    /// It is not to go on.
    Spent,
}

/// Whether a thread may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Now,
    /// It is to wait for a hart once more.
    Later,
    /// Not before this (ns since boot).
    At(u64),
}

impl Turn {
    /// Of a new thread, which is looked at when it has run for a while, or at once if its process is busy: a process gets no more by
    /// making new ones.
    pub(crate) fn new(share: &Share) -> Self {
        let bound = share.bound.load(Relaxed);
        let (limit, task, reserve) = (QUANTUM, None, Reserve::None);
        Self { task, accounted: 0, limit, bound, key: 0, reserved: 0, again: false, lifted: false, reserve }
    }

    /// The thread begins to run, unless its siblings have used much since it was queued, or it itself what is reserved for it.
    #[inline]
    pub(crate) fn begin(&mut self, thread: &Thread) -> Begin {
        if thread.process().share.used() <= self.bound { Begin::Now } else { self.begin_late(thread) }
    }

    #[cold]
    #[inline(never)]
    fn begin_late(&mut self, thread: &Thread) -> Begin {
        if thread.class().is_reserved()
            && let Some(due) = thread.due(hal::time::now())
        {
            return self.begin_reserved(due);
        }
        let share = &thread.process().share;
        let was_ranked = self.bound == 0;
        self.give_up(share);
        let key = self.task.as_ref().map_or(self.key, TaskRef::key);
        if was_ranked && key != self.key {
            // The others have had more meanwhile. However many threads come with such a key, it is forgotten once.
            share.catch_up(fair::used(key));
        }
        if was_ranked && let Some(begin) = self.begin_ahead(share) {
            self.again = false;
            return begin;
        }
        let allowed = fair::used(key) + (fair::steps(key) + SLICE_STEPS) * fair::STEP;
        let is_late = if was_ranked {
            share.used() >> UNIT > allowed
        } else {
            self.account(thread, Wait::Nothing);
            self.bound == 0
        };
        self.begin_unless(is_late)
    }

    /// It has been ranked too far ahead, perhaps: then others as urgent come first, once.
    fn begin_unless(&mut self, is_late: bool) -> Begin {
        self.again = is_late && !self.again && exec::equals_wait();
        if self.again { Begin::Later } else { Begin::Now }
    }

    /// By its reservation.
    fn begin_reserved(&mut self, due: Due) -> Begin {
        let (Due::Until(deadline) | Due::Rests(_, deadline)) = due;
        let is_late = core::mem::replace(&mut self.key, deadline) < deadline;
        if let Some(task) = self.task.as_ref() {
            task.set_key(deadline);
        }
        self.reserve = Reserve::Left;
        match due {
            Due::Until(_) => self.begin_unless(is_late),
            Due::Rests(until, _) => Begin::At(until),
        }
    }

    /// Whether it is to stop, since what was reserved for it is used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.reserve == Reserve::Spent
    }

    /// What the thread, which is ranked, was put ahead of, if it was: it has waited for too long. If its process has had more than
    /// its share all the same, it waits once more, there and ranked as the others: else a process would have the more
    /// of a hart, the more priorities its threads are spread over.
    fn begin_ahead(&mut self, share: &Share) -> Option<Begin> {
        let task = self.task.as_ref()?;
        let own = task.priority();
        let level = exec::put_ahead(own)?.max(BUSY);
        let used = share.used() >> UNIT;
        let is_owed = own <= level || used <= exec::raise_floor(level, true, used) + SLICE_STEPS * fair::STEP;
        if is_owed {
            return Some(Begin::Now);
        }
        self.lifted = true;
        exec::inherit(task, level);
        Some(Begin::Later)
    }

    /// The thread has run, `user` nanoseconds in all, and waits for a hart as `waits` says, if it does.
    #[inline]
    pub(crate) fn end(&mut self, thread: &Thread, user: u64, waits: impl FnOnce() -> Wait) {
        if user >= self.limit {
            self.end_late(thread, waits());
        }
    }

    #[cold]
    #[inline(never)]
    fn end_late(&mut self, thread: &Thread, waits: Wait) {
        if let Some(task) = self.task.as_ref().filter(|_| core::mem::take(&mut self.lifted)) {
            exec::restore(task);
        }
        self.account(thread, waits);
    }

    /// Puts what the thread has used in the account, and says how it is to wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn account(&mut self, thread: &Thread, waits: Wait) {
        let (class, share, (user, system)) = (thread.class(), &thread.process().share, thread.usage.ran());
        let ran = user + system;
        let ran = ran.saturating_sub(core::mem::replace(&mut self.accounted, ran));
        let used = share.charge(ran, class) >> UNIT;
        (self.limit, self.bound) = (user + QUANTUM, u64::MAX);
        self.give_up(share);
        self.reserve = Reserve::None;
        if !class.is_fair() {
            if class.is_reserved() {
                (self.limit, self.bound) = (0, 0);
                self.reserve = if thread.spend(ran, waits == Wait::Yields) { Reserve::Spent } else { Reserve::Left };
            }
            return;
        }
        // Who gives way to others by itself hurts only those that are busy.
        let above = matches!(waits, Wait::Preempted | Wait::Runs);
        let floor = exec::raise_floor(BUSY, above, used);
        // What it has had less than the others until now is forgotten: it would not be busy before it has caught up, and of two such
        // processes none would be, whatever their threads and nice values.
        share.catch_up(floor);
        let bound = floor + SLICE_STEPS * fair::STEP;
        share.bound.store(bound << UNIT, Relaxed);
        thread.set_busy(used > bound);
        let Some(task) = self.task.as_ref() else { return };
        if task.own_priority() <= Priority::NORMAL {
            self.bound = bound << UNIT;
            return;
        }
        (self.limit, self.bound) = (0, 0);
        let (steps, behind) = match waits {
            Wait::Nothing | Wait::Runs => (0, 0),
            Wait::Preempted | Wait::Yields => {
                self.reserved = class.weighted(SLICE_STEPS) as u32;
                let ahead = share.ahead.fetch_add(self.reserved, Relaxed);
                (u64::from(ahead), if waits == Wait::Yields { fair::BEHIND } else { 0 })
            }
        };
        self.key = fair::key(used, steps) | behind;
        task.set_key(self.key);
    }

    /// It does not wait any more, or the thread ends.
    fn give_up(&mut self, share: &Share) {
        if self.reserved != 0 {
            share.ahead.fetch_sub(self.reserved, Relaxed);
            self.reserved = 0;
        }
    }

    /// The thread ends.
    pub(crate) fn finish(&mut self, thread: &Thread) {
        let (share, (user, system)) = (&thread.process().share, thread.usage.ran());
        share.charge((user + system).saturating_sub(self.accounted), thread.class());
        self.give_up(share);
        if self.reserve != Reserve::None {
            thread.give_back();
        }
    }
}

/// How a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may wait for something else than a hart.
    Nothing,
    /// At once.
    Runs,
    /// Its slice is over, or something more urgent has come.
    Preempted,
    /// It gives way.
    Yields,
}
