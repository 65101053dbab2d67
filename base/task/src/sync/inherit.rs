//! Inheritance: who holds what somebody more urgent waits for is as urgent as that one.
//!
//! A waiter that looks in vain raises the holder, with the lock's state locked. The holder may wait for another lock itself: it is
//! woken, looks in vain once more, and raises the next. So a chain is gone along from task to task, each of them as
//! urgent as the first by then. A waiter that goes away takes back what it lent, and who has become less urgent by that is woken, too: it
//! looks once more, and lends less. Along a chain both end, since a task is woken only if its priority is another than it was; in a ring of tasks that wait for each other, which
//! none of them leaves by itself, two such changes may follow each other round.
//!
//! Who waits for a task's end lends it its priority in the same way ([`lend`]), until the handle is ready or gone.
//!
//! Who receives from a channel inherits from those who send: see `server`.
//!
//! What a task has inherited is noted by lock or channel, in one table for all ([`Lock::debts`]): when it gives one back it keeps
//! what it has inherited through the others. What follows from the table for the task is done in the section that looks it up, so that
//! nothing older overwrites what is newer. A lock is struck from it with the lock's state locked, and the holder made less urgent after
//! it has woken the waiter ([`release`]): put behind others before that, it would keep the waiter waiting for all of them.

use alloc::collections::BTreeMap;

use crate::waker::Known;

use super::urgency::Urge;
use super::*;

/// Who has inherited what: (task, lock) or (task, channel) and how urgent that is; through its join handle: (task, task). Tasks that are named here live: they
/// hold the lock, the handle keeps them, or they are known as receivers and struck from here at their end.
#[derive(Default)]
pub struct Debts(BTreeMap<(usize, usize), Urge>);

impl Debts {
    /// Nobody has inherited anything.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether that is so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most urgent that a task has inherited.
    pub(super) fn most(&self, task: usize) -> Urge {
        let all = self.0.range((task, 0)..=(task, usize::MAX));
        all.map(|(_, urge)| *urge).min().unwrap_or(Urge::NONE)
    }

    /// A task has inherited nothing any more through this; whether it had.
    fn clear(&mut self, task: &TaskRef, through: usize) -> bool {
        self.0.remove(&(task.address(), through)).is_some()
    }

    /// A task is as urgent as it is by what is left here.
    fn settle(&self, task: &TaskRef) {
        task.restore(self.most(task.address()).priority());
    }

    /// A task receives from a channel, and has inherited nothing through it.
    pub(super) fn know(&mut self, task: &TaskRef, channel: usize) {
        task.mark_known();
        self.0.insert((task.address(), channel), Urge::NONE);
    }

    /// What a task has inherited through a lock is this from now on; whether its priority is another than it was.
    fn set(&mut self, task: &TaskRef, lock: usize, most: Option<Urge>) -> bool {
        let key = (task.address(), lock);
        let before = match most {
            Some(urge) => self.0.insert(key, urge),
            None => self.0.remove(&key),
        };
        if before == most {
            return false;
        }
        let priority = task.priority();
        match most {
            Some(urge) if before.is_none_or(|before| urge < before) => task.inherit(urge.priority()),
            _ => self.settle(task),
        }
        task.priority() != priority
    }

    /// What a task has inherited through a channel is this from now on. If its priority is another by that: the task.
    pub(super) fn owe(&mut self, known: Known, channel: usize, urge: Urge) -> Option<TaskRef> {
        let debt = self.0.get_mut(&(known.address(), channel))?;
        let before = core::mem::replace(debt, urge);
        // SAFETY: named here, and so not freed before this table's lock is given back.
        let task = unsafe { known.task() };
        let priority = task.priority();
        if urge.priority() >= before.priority() {
            self.settle(&task);
        } else {
            task.inherit(urge.priority());
        }
        if task.priority() == priority { None } else { task.try_clone() }
    }

    /// A task does not receive from a channel any more. If it is less urgent by that: the task.
    pub(super) fn strike(&mut self, known: Known, channel: usize) -> Option<TaskRef> {
        self.0.remove(&(known.address(), channel)).filter(|debt| *debt != Urge::NONE)?;
        // SAFETY: named here until now, and so not freed before this table's lock is given back.
        let task = unsafe { known.task() };
        let priority = task.priority();
        self.settle(&task);
        if task.priority() == priority { None } else { task.try_clone() }
    }

    /// A task has ended.
    pub(super) fn forget(&mut self, task: &TaskRef) {
        let all = (task.address(), 0)..=(task.address(), usize::MAX);
        while let Some((key, _)) = self.0.range(all.clone()).next() {
            let key = *key;
            self.0.remove(&key);
        }
    }
}

impl Gate for Debts {
    fn is_open(&self) -> bool {
        false
    }
}

impl Holder {
    /// How urgent it is; of a stranger to the scheduler nothing is known.
    pub(super) fn urge<L: Lock>(&self) -> Option<Urge> {
        self.0.as_ref().map(Urge::of::<L>)
    }

    /// It holds the lock at this address, and this is the most urgent that waits there; `true` if that is more urgent than the
    /// holder is by itself, so that there is something to [`repay`](Self::repay). `raised`: there may have been before.
    pub(super) fn owes<L: Lock>(&self, lock: usize, most: Option<Urge>, raised: bool) -> bool {
        let Some(task) = self.0.as_ref() else { return false };
        let most = most.filter(|most| most.priority() < task.own_priority());
        if (raised || most.is_some()) && L::debts().look(|debts| debts.set(task, lock, most)) {
            task.wake();
        }
        most.is_some()
    }

    /// It gives the lock at this address back; whether it had inherited through it, and is to be [`release`]d so.
    pub(super) fn repay<L: Lock>(&self, lock: usize) -> bool {
        self.0.as_ref().is_some_and(|task| L::debts().look(|debts| debts.clear(task, lock)))
    }
}

/// A holder leaves a lock, out of whose state `leave` takes it, and says whether it has [repaid](Holder::repay). Who waits is woken
/// first.
pub(super) fn release<L: Lock, S: Gate>(turns: &Turns<L, S>, leave: impl FnOnce(&mut S) -> Option<(Holder, bool)>) {
    // Dropped here, outside the lock: it may be the last reference to a task.
    if let Some((Holder(Some(task)), true)) = turns.change(leave) {
        L::debts().look(|debts| debts.settle(&task));
    }
}

/// `joiner` waits for the end of `task`, which is as urgent as that from now on; `false` if it is by itself, or more. A handle is
/// one task's at a time: what another lent through it before is replaced.
pub fn lend<L: Lock>(task: &TaskRef, joiner: &TaskRef) -> bool {
    let urge = Urge::of::<L>(joiner);
    let priority = urge.priority();
    if priority >= task.own_priority() {
        return false;
    }
    if L::debts().look(|debts| debts.set(task, task.address(), Some(urge))) {
        // It may wait for another, to which it lends another priority when it looks in vain once more.
        task.wake();
    }
    true
}

/// Nobody waits for the end of `task` any more.
pub fn repay<L: Lock>(task: &TaskRef) {
    if L::debts().look(|debts| debts.set(task, task.address(), None)) {
        task.wake();
    }
}

/// Takes back what a task has inherited in other ways than these ([`TaskRef::inherit`]).
pub fn restore<L: Lock>(task: &TaskRef) {
    L::debts().look(|debts| debts.settle(task));
}
