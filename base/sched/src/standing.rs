//! How a task stands: its priority, what it inherits, its policy; and what follows when that changes.
//!
//! A task runs at its own priority or at the one that it has *inherited*, whichever is more urgent. What waits for the task
//! and is more urgent raises it with [`Pool::inherit`]; what it has inherited is taken back with [`Pool::restore`], to the
//! most urgent that still waits. Between two who wait, the more urgent prevails in any order. Between one who raises and one
//! who restores, the latter looks for who waits *after* it has restored, and raises again: both are read-modify-writes
//! of one word, so what was raised before is seen, and what is raised later stands.
//!
//! A change acts at once. A queued task moves in its queue. What a worker runs is published anew, so that it is
//! preempted by what is more urgent now, or no longer by what is less.
//!
//! A task may be *kept* among some of the workers ([`Pool::set_workers`]). That is in the same word, so that whoever queues the
//! task reads one thing; and it has a column of those that may not be stolen, so that it concerns nobody else.

use core::ptr::NonNull;

use sync::atomic::{AtomicU32, Ordering, fence};

use crate::Priority;
use crate::columns::{PINNED, RANKED_SLOT, is_pinned, priority_of};
use crate::interface::{Birth, Header};
use crate::pool::Pool;

/// One word: the slot that the next enqueue goes by, the workers that the task may choose from, its own priority, the inherited
/// one, the policy, and its [`Mark`]s.
#[repr(transparent)]
pub(crate) struct Standing(AtomicU32);

/// Workers among which a task can be kept: the first so many of a pool.
pub const CHOICES: usize = u8::BITS as usize;
/// Policies that can be told apart in a standing.
pub(crate) const POLICIES: usize = 16;

/// What is noted of a task for good, by whoever knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mark {
    /// Somebody may look for it who has no reference: whoever ends it has to tell them.
    Known = 1 << 31,
    /// It has a name, which is there for who looks from outside (`census::NAME`).
    Named = 1 << 30,
}
/// All of them.
const MARKS: u32 = 3 << 30;

/// The parts of that word.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) slot: u8,
    /// One bit for each worker that it may run on; 0: it has no choice, but goes anywhere, or if it is pinned stays at home.
    pub(crate) choice: u8,
    pub(crate) own: u8,
    pub(crate) inherited: u8,
    pub(crate) policy: u8,
    /// In their places.
    marks: u32,
}

impl Parts {
    pub(crate) const fn of(word: u32) -> Self {
        let [slot, choice, ..] = word.to_le_bytes();
        let [own, inherited] = [(word >> 16) as u8 & 31, (word >> 21) as u8 & 31];
        Self { slot, choice, own, inherited, policy: (word >> 26) as u8 % POLICIES as u8, marks: word & MARKS }
    }

    const fn word(self) -> u32 {
        let Self { slot, choice, own, inherited, policy, marks } = self;
        let priorities = own as u32 & 31 | (inherited as u32 & 31) << 5;
        slot as u32 | (choice as u32) << 8 | priorities << 16 | (policy as u32 % POLICIES as u32) << 26 | marks
    }

    pub(crate) const fn has(self, mark: Mark) -> bool {
        self.marks & mark as u32 != 0
    }
}

/// Where a task may be queued, as it stands at a moment.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

impl Place {
    /// Of what may be anywhere.
    pub(crate) const ANYWHERE: Self = Self(0);

    /// Whether it belongs to its home, or is kept among some workers.
    #[inline(always)]
    pub(crate) fn is_pinned(self) -> bool {
        is_pinned(self.slot())
    }

    /// The slot (see `lists`).
    #[inline(always)]
    pub(crate) fn slot(self) -> u8 {
        self.0 as u8
    }

    /// The workers to choose from; 0: there is no choice.
    #[inline(always)]
    pub(crate) fn choice(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// A number that is the same for all tasks of a slot that have no choice, and no other's.
    #[inline(always)]
    pub(crate) fn key(self) -> u32 {
        self.0 << 16
    }
}

impl Standing {
    pub(crate) fn new(priority: Priority, is_pinned: bool, is_ranked: bool, policy: u8) -> Self {
        let flags = if is_pinned { PINNED } else { 0 } | if is_ranked { RANKED_SLOT } else { 0 };
        let (own, inherited) = (priority.number(), Priority::LOWEST.number());
        let parts = Parts { slot: own | flags, choice: 0, own, inherited, policy, marks: 0 };
        Self(AtomicU32::new(parts.word()))
    }

    #[inline]
    fn load(&self) -> u32 {
        // Relaxed: numbers on their own.
        self.0.load(Ordering::Relaxed)
    }

    /// Where the next enqueue goes.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place(self.load())
    }

    /// The slot that the next enqueue goes by.
    #[inline]
    pub(crate) fn slot(&self) -> u8 {
        self.place().slot()
    }

    #[inline]
    pub(crate) fn priority(&self) -> Priority {
        priority_of(self.slot())
    }

    pub(crate) fn own_priority(&self) -> Priority {
        Priority::from_number(Parts::of(self.load()).own)
    }

    #[inline]
    pub(crate) fn has(&self, mark: Mark) -> bool {
        Parts::of(self.load()).has(mark)
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.change(|parts| parts.marks |= mark as u32);
    }

    #[inline]
    pub(crate) fn policy(&self) -> u32 {
        u32::from(Parts::of(self.load()).policy)
    }

    /// Changes the parts and what follows from them; the priority before, if the slot or the choice is another now.
    fn change(&self, change: impl Fn(&mut Parts)) -> Option<Priority> {
        let mut before = self.load();
        loop {
            let old = Parts::of(before);
            let mut parts = old;
            change(&mut parts);
            parts.slot = parts.slot & (PINNED | RANKED_SLOT) | parts.own.min(parts.inherited);
            // AcqRel pairs with itself: who restores sees whom those wait for that raised before.
            match self.0.compare_exchange(before, parts.word(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if (parts.slot, parts.choice) == (old.slot, old.choice) => return None,
                Ok(_) => return Some(priority_of(old.slot)),
                Err(now) => before = now,
            }
        }
    }
}

impl Pool {
    /// Changes a task's own priority.
    ///
    /// # Safety
    ///
    /// The task is one of this pool's, and the caller holds a reference. Not in a context that may have interrupted one that
    /// is in a function of this pool, since it waits for the lock of a queue.
    pub unsafe fn set_priority(&self, task: NonNull<Header>, priority: Priority) {
        // SAFETY: alive, by contract.
        let standing = unsafe { &task.as_ref().standing };
        if let Some(before) = standing.change(|parts| parts.own = priority.number()) {
            // SAFETY: by contract.
            unsafe { self.follow(task, before) };
        }
    }

    /// Changes a task's own priority, its policy, and the key that it goes by under that.
    ///
    /// # Safety
    ///
    /// As [`set_priority`](Self::set_priority).
    pub unsafe fn set_class(&self, task: NonNull<Header>, birth: &Birth) {
        // SAFETY: alive, by contract.
        let header = unsafe { task.as_ref() };
        let (policy, is_ranked) = self.group_of(birth.policy);
        header.set_key(birth.key);
        let before = header.standing.change(|parts| {
            (parts.own, parts.policy) = (birth.priority.number(), policy);
            parts.slot = parts.slot & !RANKED_SLOT | if is_ranked { RANKED_SLOT } else { 0 };
        });
        // SAFETY: by contract. In any case: its rank may be another.
        unsafe { self.follow(task, before.unwrap_or_else(|| header.priority())) };
    }

    /// Makes a task at least as urgent as `priority`, which waits for it.
    ///
    /// # Safety
    ///
    /// As [`set_priority`](Self::set_priority).
    pub unsafe fn inherit(&self, task: NonNull<Header>, priority: Priority) {
        // SAFETY: alive, by contract.
        let standing = unsafe { &task.as_ref().standing };
        if let Some(before) = standing.change(|parts| parts.inherited = parts.inherited.min(priority.number())) {
            // SAFETY: by contract.
            unsafe { self.follow(task, before) };
        }
    }

    /// Takes back what a task has inherited, down to `priority`: that of the most urgent that still waits for it, or
    /// [`Priority::LOWEST`].
    ///
    /// # Safety
    ///
    /// As [`set_priority`](Self::set_priority).
    pub unsafe fn restore(&self, task: NonNull<Header>, priority: Priority) {
        // SAFETY: alive, by contract.
        let standing = unsafe { &task.as_ref().standing };
        if let Some(before) = standing.change(|parts| parts.inherited = priority.number()) {
            // SAFETY: by contract.
            unsafe { self.follow(task, before) };
        }
    }

    /// Keeps a task among the workers of this set, one bit for each of the first [`CHOICES`]; with none of the pool's in it, or all of
    /// them, it may run anywhere. What has a worker for ever stays there.
    ///
    /// A queued task moves at once. What runs elsewhere goes on until its poll ends: it is placed anew each time that it is
    /// queued. And who queues it at this moment may have looked before: whoever must not run elsewhere looks where it is, after it
    /// has been called, and yields. Two who choose at the same time: the later change of the word holds.
    ///
    /// # Safety
    ///
    /// As [`set_priority`](Self::set_priority).
    pub unsafe fn set_workers(&self, task: NonNull<Header>, workers: u8) {
        let choice = self.choice_of(workers);
        // SAFETY: alive, by contract.
        let header = unsafe { task.as_ref() };
        let changed = header.standing.change(|parts| {
            if !is_pinned(parts.slot) || parts.choice != 0 {
                parts.choice = choice;
                parts.slot = parts.slot & !PINNED | if choice != 0 { PINNED } else { 0 };
            }
        });
        let home = header.home();
        // SAFETY: alive, by contract.
        if changed.is_some() && unsafe { home.queue.withdraw(task) } {
            self.left_behind(home);
            // SAFETY: taken out of its queue, so scheduled and this context's.
            unsafe { self.enqueue(task) };
        }
    }

    /// A task's priority is another now than `before`: brings its place, or what its worker has published, in line.
    ///
    /// If it is being queued or preempted at this moment, it may have been announced at the old priority; its place is the right one
    /// when the worker next looks, at the latest at the next tick.
    ///
    /// # Safety
    /// As [`set_priority`](Self::set_priority).
    unsafe fn follow(&self, task: NonNull<Header>, before: Priority) {
        // SAFETY: alive, by contract.
        let header = unsafe { task.as_ref() };
        let home = header.home();
        let priority = header.priority();
        // SAFETY: alive, by contract.
        if unsafe { home.queue.relocate(task) } {
            self.left_behind(home);
        } else if home.publish_anew(task, before, priority) {
            // Pairs with that of the kernel, which shows what the worker's thread stands at and looks at what is published then: the
            // thread may wait for a hart at what this task had before.
            fence(Ordering::SeqCst);
            if home.queue.has_ready(priority.bits_above()) || self.stands_below(home, priority) {
                self.pend(home.number(), priority);
            }
        } else if home.may_be_above(task) && home.runs_below(priority) {
            // It was preempted there, or is just now: that looks closer.
            self.pend(home.number(), priority);
        }
    }
}
