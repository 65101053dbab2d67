//! Threads that were preempted in a poll and go on with it without a slot: what they poll at.

use super::MAX_PLACES;

/// They.
#[derive(Debug)]
pub(super) struct Preempted {
    /// Of each place: the priority that its thread polls at, from 1; 0 if it is none of them.
    at: [u8; MAX_PLACES],
    /// How many of these there are at each priority.
    polling: [u8; 32],
}

impl Preempted {
    /// There are none.
    pub(super) const fn new() -> Self {
        Self { at: [0; MAX_PLACES], polling: [0; 32] }
    }

    /// The least urgent priority that one polls at, from 1; 0 if there are none.
    pub(super) fn least(&self) -> u32 {
        self.polling.iter().rposition(|count| *count > 0).map_or(0, |priority| priority as u32 + 1)
    }

    /// The thread in a place is one of them from now on.
    pub(super) fn note(&mut self, place: u8, priority: u8) {
        self.forget(place);
        let Some(noted) = self.at.get_mut(usize::from(place)) else { return };
        *noted = priority.min(31) + 1;
        let count = &mut self.polling[usize::from(priority.min(31))];
        *count = count.saturating_add(1);
    }

    /// It is not any more.
    pub(super) fn forget(&mut self, place: u8) {
        let noted = self.at.get_mut(usize::from(place)).map_or(0, core::mem::take);
        if noted != 0 {
            let count = &mut self.polling[usize::from(noted - 1) % 32];
            *count = count.saturating_sub(1);
        }
    }
}
