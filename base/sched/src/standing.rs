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

use core::ptr::NonNull;

use sync::atomic::{AtomicU32, Ordering};

use crate::Priority;
use crate::columns::{PINNED, RANKED_SLOT, priority_of};
use crate::interface::{Birth, Header};
use crate::pool::Pool;

/// Four bytes: the slot that the next enqueue goes by, the task's own priority, the inherited one, the policy.
#[repr(transparent)]
pub(crate) struct Standing(AtomicU32);

const SLOT: usize = 0;
const OWN: usize = 1;
const INHERITED: usize = 2;
const POLICY: usize = 3;

impl Standing {
    pub(crate) fn new(priority: Priority, is_pinned: bool, is_ranked: bool, policy: u8) -> Self {
        let flags = if is_pinned { PINNED } else { 0 } | if is_ranked { RANKED_SLOT } else { 0 };
        let bytes = [priority.number() | flags, priority.number(), Priority::LOWEST.number(), policy];
        Self(AtomicU32::new(u32::from_le_bytes(bytes)))
    }

    #[inline]
    fn bytes(&self) -> [u8; 4] {
        // Relaxed: numbers on their own.
        self.0.load(Ordering::Relaxed).to_le_bytes()
    }

    /// The slot that the next enqueue goes by (see `lists`).
    #[inline]
    pub(crate) fn slot(&self) -> u8 {
        self.bytes()[SLOT]
    }

    #[inline]
    pub(crate) fn priority(&self) -> Priority {
        priority_of(self.slot())
    }

    pub(crate) fn own_priority(&self) -> Priority {
        Priority::from_number(self.bytes()[OWN])
    }

    pub(crate) fn policy(&self) -> u32 {
        u32::from(self.bytes()[POLICY])
    }

    /// Changes the bytes and what follows from them; says whether the priority is another now.
    fn change(&self, change: impl Fn(&mut [u8; 4])) -> bool {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let old = before.to_le_bytes();
            let mut bytes = old;
            change(&mut bytes);
            bytes[SLOT] = bytes[SLOT] & (PINNED | RANKED_SLOT) | bytes[OWN].min(bytes[INHERITED]);
            // AcqRel pairs with itself: who restores sees whom those wait for that raised before.
            match self.0.compare_exchange(before, u32::from_le_bytes(bytes), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return bytes[SLOT] != old[SLOT],
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
        if standing.change(|bytes| bytes[OWN] = priority.number()) {
            // SAFETY: by contract.
            unsafe { self.follow(task) };
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
        header.standing.change(|bytes| {
            (bytes[OWN], bytes[POLICY]) = (birth.priority.number(), policy);
            bytes[SLOT] = bytes[SLOT] & !RANKED_SLOT | if is_ranked { RANKED_SLOT } else { 0 };
        });
        // SAFETY: by contract. In any case: its rank may be another.
        unsafe { self.follow(task) };
    }

    /// Makes a task at least as urgent as `priority`, which waits for it.
    ///
    /// # Safety
    ///
    /// As [`set_priority`](Self::set_priority).
    pub unsafe fn inherit(&self, task: NonNull<Header>, priority: Priority) {
        // SAFETY: alive, by contract.
        let standing = unsafe { &task.as_ref().standing };
        if standing.change(|bytes| bytes[INHERITED] = bytes[INHERITED].min(priority.number())) {
            // SAFETY: by contract.
            unsafe { self.follow(task) };
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
        if standing.change(|bytes| bytes[INHERITED] = priority.number()) {
            // SAFETY: by contract.
            unsafe { self.follow(task) };
        }
    }

    /// A task's priority is another now: brings its place, or what its worker has published, in line.
    ///
    /// If it is being queued at this moment, it may have been announced at the old priority; its place is the right one
    /// when the worker next looks, at the latest at the next tick.
    ///
    /// # Safety
    /// As [`set_priority`](Self::set_priority).
    unsafe fn follow(&self, task: NonNull<Header>) {
        // SAFETY: alive, by contract.
        let header = unsafe { task.as_ref() };
        let home = header.home();
        let priority = header.priority();
        // SAFETY: alive, by contract.
        if unsafe { home.queue.relocate(task) } {
            self.left_behind(home);
        } else if home.publish_anew(task, priority) && home.queue.has_ready(priority.bits_above()) {
            self.pend(home.number(), priority);
        }
    }
}
