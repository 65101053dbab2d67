//! Who receives from a channel, and how urgent that makes it.
//!
//! A message carries the priority of who sends it, over some messages (see `urgency`). While it waits, who receives from the channel is as urgent as that, and so it is for senders that
//! wait for room; who has taken a message stays as urgent as that until it next receives from the channel, drops the receiving half,
//! or ends. So a server works for each client at that one's priority, and none of middling urgency comes in between.
//!
//! **Who that is** is found out by receiving: the task that last did. The channel has no reference to it: who waits for a message that nobody
//! can send any more would never be found. Instead it is *known*: named in the table of what is inherited ([`Debts`]), with what it has
//! inherited through this channel, or nothing. It is struck from there when another task receives, when the receiving half goes,
//! and when the task ends, whatever became of the half ([`Mark::Known`](sched::Mark), [`ended`]). The last comes before its memory goes, and
//! takes the table's lock: so who finds it named there, and keeps the lock, finds it alive.
//!
//! Who raises a task that waits itself wakes it, which needs a reference. It is taken under the table's lock, and only if the task is not
//! about to be cancelled since nobody refers to it ([`sched::word::Word::try_add_ref`]).

use crate::waker::Known;
use crate::{Priority, TaskRef};

use super::Lock;
use super::urgency::Urge;

/// It.
pub(super) struct Server {
    task: Option<Known>,
    /// Its own priority when it last received. If that is lowered, this is found out when it next does.
    own: Priority,
    /// What it has inherited through the channel; nothing is the lowest.
    lent: Urge,
    /// What is no more urgent changes nothing.
    floor: Urge,
    /// How urgent that is what it has taken; nothing is the lowest.
    serves: Urge,
}

impl Server {
    /// Nobody has received yet.
    pub(super) const fn new() -> Self {
        let (own, none) = (Priority::HIGHEST, Urge::NONE);
        Self { task: None, own, lent: none, floor: Urge::own(own), serves: none }
    }

    /// Whether it may have to be raised for something as urgent as this.
    #[inline]
    pub(super) fn is_below(&self, urge: Urge) -> bool {
        urge < self.floor
    }

    /// Whether the task that is polled here is the one that received last, and nothing is more urgent than it is by itself: then that holds
    /// for what it takes now, and there is nothing to note.
    #[inline]
    pub(super) fn stays<L: Lock>(&self) -> bool {
        self.lent == Urge::NONE
            && L::with_current(|current| match (current, self.task) {
                (Some(task), Some(known)) => known.is(task) && task.own_priority() == self.own,
                (None, None) => true,
                _ => false,
            })
    }

    /// The task that is polled here receives: it has taken a message as urgent as this, besides what it has taken before if there are `more`; or
    /// there was none. `waiting`: the most urgent that waits still.
    pub(super) fn receives<L: Lock>(&mut self, channel: usize, taken: Option<Urge>, more: bool, waiting: Urge) {
        let before = if more { self.serves } else { Urge::NONE };
        self.serves = taken.map_or(before, |taken| taken.min(before));
        if !self.stays::<L>() {
            L::with_current(|current| self.is_now::<L>(channel, current));
        }
        self.owes::<L>(channel, waiting);
    }

    /// This is the most urgent that waits in the channel now.
    #[cold]
    #[inline(never)]
    pub(super) fn owes<L: Lock>(&mut self, channel: usize, waiting: Urge) {
        let most = self.serves.min(waiting);
        let lent = if most.priority() < self.own { most } else { Urge::NONE };
        let Some(task) = self.task.filter(|_| lent != self.lent) else { return };
        (self.lent, self.floor) = (lent, Urge::own(self.own).min(lent));
        let changed = L::debts().look(|debts| debts.owe(task, channel, lent));
        if let Some(task) = changed {
            // It may wait for another, to which it lends another priority when it looks in vain once more.
            task.wake();
        }
    }

    /// It may be another task, or of another priority.
    fn is_now<L: Lock>(&mut self, channel: usize, current: Option<&TaskRef>) {
        self.own = current.map_or(Priority::HIGHEST, TaskRef::own_priority);
        if current.is_none_or(|task| self.task.is_none_or(|known| !known.is(task))) {
            self.leaves::<L>(channel);
            if let Some(task) = current {
                self.task = Some(Known::of(task));
                L::debts().look(|debts| debts.know(task, channel));
            }
        }
        self.floor = Urge::own(self.own).min(self.lent);
    }

    /// It does not receive from this channel any more.
    pub(super) fn leaves<L: Lock>(&mut self, channel: usize) {
        if let Some(task) = self.task.take() {
            let changed = L::debts().look(|debts| debts.strike(task, channel));
            if let Some(task) = changed {
                task.wake();
            }
        }
        self.lent = Urge::NONE;
    }
}

/// A task has ended that is known: nobody looks for it any more.
pub fn ended<L: Lock>(task: &TaskRef) {
    L::debts().look(|debts| debts.forget(task));
}
