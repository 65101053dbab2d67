//! How urgent those are who wait, and the messages that wait: what whoever they wait for inherits.
//!
//! Who works for somebody urgent sends on at that priority, and who takes that does so in turn. Where messages go round (work and
//! acknowledgement, credits, a stage's next step) nobody could tell any more when the work for the urgent one is over, and it would go round at
//! its priority for ever. So what is urgent says over how many messages it has come, and behind [`HOPS`] of them who sends does
//! so at its own priority. Locks, room in a channel and the end of a task pass it on as it is: such a wait ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::{Priority, TaskRef};

use super::{Debts, Lock};

/// Over how many messages a priority is passed on.
const HOPS: u8 = 16;

/// How urgent something is: a priority, and over how many messages that has come. More urgent is less; so is what has come over fewer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Urge(u16);

impl Urge {
    /// What does not make anybody more urgent.
    pub(super) const NONE: Self = Self::own(Priority::LOWEST);

    /// Of who is that urgent by itself.
    #[inline]
    pub(super) const fn own(priority: Priority) -> Self {
        Self((priority.number() as u16) << 8)
    }

    #[inline]
    pub(super) fn priority(self) -> Priority {
        Priority::new((self.0 >> 8) as u8)
    }

    /// Of a task, which may inherit.
    #[inline]
    pub(super) fn of<L: Lock>(task: &TaskRef) -> Self {
        let (own, priority) = (task.own_priority(), task.priority());
        if priority == own { Self::own(own) } else { L::debts().look(|debts| Self::inherited(debts, task)) }
    }

    /// Of a task by what has been lent to it.
    #[cold]
    fn inherited(debts: &Debts, task: &TaskRef) -> Self {
        let (most, priority) = (debts.most(task.address()), task.priority());
        if most.priority() == priority { most } else { Self::own(priority) }
    }

    /// Of the task that runs here, which waits; who is none lends nothing.
    #[inline]
    pub(super) fn waiting<L: Lock>() -> Self {
        L::with_current(|current| current.map_or(Self::NONE, Self::of::<L>))
    }

    /// Of a message that the task that runs here sends.
    #[inline]
    pub(super) fn sending<L: Lock>() -> Self {
        L::with_current(|current| {
            current.map_or(Self::NONE, |task| {
                let urge = Self::of::<L>(task);
                if urge.priority() == task.own_priority() { urge } else { urge.sent_by(task) }
            })
        })
    }

    /// Sent on by a task that has inherited it.
    #[cold]
    fn sent_by(self, task: &TaskRef) -> Self {
        if self.0 as u8 >= HOPS { Self::own(task.own_priority()) } else { Self(self.0 + 1) }
    }
}

/// Those who wait for one thing: how many there are of each urge. There are few at a time, often one.
pub(super) struct Urgency(Vec<(Urge, usize)>);

impl Urgency {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A waiter looks in vain, as urgent as this by now; `noted` is its own, and none at first.
    pub(super) fn waits(&mut self, noted: &mut Option<Urge>, urge: Urge) {
        if *noted == Some(urge) {
            return;
        }
        self.leaves(noted.replace(urge));
        match self.0.iter_mut().find(|(known, _)| *known == urge) {
            Some((_, count)) => *count += 1,
            None => self.0.push((urge, 1)),
        }
    }

    /// It does not wait any more.
    pub(super) fn leaves(&mut self, noted: Option<Urge>) {
        let Some(at) = self.0.iter().position(|(known, _)| Some(*known) == noted) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
    }

    /// Whether nobody waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most urgent of them.
    #[inline]
    pub(super) fn most(&self) -> Option<Urge> {
        self.0.iter().map(|(urge, _)| *urge).min()
    }
}

/// What the messages in a buffer carry, each the urge of who sent it. Only the most urgent matters of all that are there still: so
/// what is asked of a message is whether a more urgent one came after it, and one after the other that is the same is
/// noted once.
pub(super) struct Carried {
    /// That of the newest message; the most urgent of all that are behind what `older` tells of.
    newest: Urge,
    /// More and more urgent to the front: how many messages there are up to the last one of that urge, without those that what is before
    /// tells of.
    older: VecDeque<(usize, Urge)>,
}

impl Carried {
    pub(super) const fn new() -> Self {
        Self { newest: Urge::NONE, older: VecDeque::new() }
    }

    /// A message is put behind so many.
    #[inline]
    pub(super) fn push(&mut self, urge: Urge, before: usize) {
        if urge != self.newest {
            self.note(urge, before);
        }
    }

    #[cold]
    fn note(&mut self, urge: Urge, before: usize) {
        let told: usize = self.older.iter().map(|(count, _)| count).sum();
        if urge > self.newest && before > told {
            self.older.push_back((before - told, self.newest));
        }
        while self.older.back().is_some_and(|(_, older)| *older >= urge) {
            self.older.pop_back();
        }
        self.newest = urge;
    }

    /// The most urgent that the messages carry, of which there are some.
    #[inline]
    pub(super) fn most(&self) -> Urge {
        self.older.front().map_or(self.newest, |(_, urge)| *urge)
    }

    /// The first message is taken.
    #[inline]
    pub(super) fn pop(&mut self) {
        if !self.older.is_empty() {
            self.count();
        }
    }

    #[cold]
    fn count(&mut self) {
        if let Some((count, _)) = self.older.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.older.pop_front();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A source of numbers.
    fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        }
    }

    /// Beside a list of all of them.
    #[test]
    fn the_most_urgent_message_is_known_whatever_comes_and_goes() {
        for seed in 0..200 {
            let mut next = numbers(seed);
            let (mut carried, mut all) = (Carried::new(), VecDeque::new());
            for _ in 0..300 {
                if next(5) < 2 {
                    if all.pop_front().is_some() {
                        carried.pop();
                    }
                } else {
                    let urge = Urge::own(Priority::new(next(4) as u8));
                    carried.push(urge, all.len());
                    all.push_back(urge);
                }
                if let Some(most) = all.iter().min() {
                    assert_eq!(carried.most(), *most, "seed {seed}: {all:?}");
                }
                assert!(carried.older.len() < 4);
            }
        }
    }

    #[test]
    fn the_most_urgent_waiter_is_known_whoever_comes_and_goes() {
        let mut next = numbers(7);
        let (mut urgency, mut waiters) = (Urgency::new(), [None; 6]);
        for _ in 0..2000 {
            let waiter = &mut waiters[next(6) as usize];
            match next(3) {
                0 => urgency.leaves(waiter.take()),
                _ => urgency.waits(waiter, Urge::own(Priority::new(next(4) as u8))),
            }
            assert_eq!(urgency.most(), waiters.iter().flatten().min().copied());
        }
        waiters.iter_mut().for_each(|waiter| urgency.leaves(waiter.take()));
        assert!(urgency.is_empty());
    }
}
