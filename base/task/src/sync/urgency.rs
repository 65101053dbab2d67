//! How urgent those are who wait, and the messages that wait: what whoever they wait for inherits.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::Priority;

/// Those who wait for one thing: how many there are of each priority. There are few priorities at a time, often one.
pub(super) struct Urgency(Vec<(Priority, usize)>);

impl Urgency {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A waiter looks in vain, at this priority by now; `noted` is its own, and none at first.
    pub(super) fn waits(&mut self, noted: &mut Option<Priority>, priority: Priority) {
        if *noted == Some(priority) {
            return;
        }
        self.leaves(noted.replace(priority));
        match self.0.iter_mut().find(|(known, _)| *known == priority) {
            Some((_, count)) => *count += 1,
            None => self.0.push((priority, 1)),
        }
    }

    /// It does not wait any more.
    pub(super) fn leaves(&mut self, noted: Option<Priority>) {
        let Some(at) = self.0.iter().position(|(known, _)| Some(*known) == noted) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
    }

    /// The most urgent of them.
    #[inline]
    pub(super) fn most(&self) -> Option<Priority> {
        self.0.iter().map(|(priority, _)| *priority).min()
    }
}

/// What the messages in a buffer carry, each the priority of who sent it. Only the most urgent matters of all that are there still: so
/// what is asked of a message is whether a more urgent one came after it, and one after the other of the same priority is
/// noted once.
pub(super) struct Carried {
    /// That of the newest message; the most urgent of all that are behind what `older` tells of.
    newest: Priority,
    /// More and more urgent to the front: how many messages there are up to the last one of that priority, without those that what is before
    /// tells of.
    older: VecDeque<(usize, Priority)>,
}

impl Carried {
    pub(super) const fn new() -> Self {
        Self { newest: Priority::LOWEST, older: VecDeque::new() }
    }

    /// A message is put behind so many.
    #[inline]
    pub(super) fn push(&mut self, priority: Priority, before: usize) {
        if priority != self.newest {
            self.note(priority, before);
        }
    }

    #[cold]
    fn note(&mut self, priority: Priority, before: usize) {
        let told: usize = self.older.iter().map(|(count, _)| count).sum();
        if priority > self.newest && before > told {
            self.older.push_back((before - told, self.newest));
        }
        while self.older.back().is_some_and(|(_, older)| *older >= priority) {
            self.older.pop_back();
        }
        self.newest = priority;
    }

    /// The most urgent that the messages carry, of which there are some.
    #[inline]
    pub(super) fn most(&self) -> Priority {
        self.older.front().map_or(self.newest, |(_, priority)| *priority)
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
                    let priority = Priority::new(next(4) as u8);
                    carried.push(priority, all.len());
                    all.push_back(priority);
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
                _ => urgency.waits(waiter, Priority::new(next(4) as u8)),
            }
            assert_eq!(urgency.most(), waiters.iter().flatten().min().copied());
        }
        waiters.iter_mut().for_each(|waiter| urgency.leaves(waiter.take()));
        assert!(urgency.0.is_empty());
    }
}
