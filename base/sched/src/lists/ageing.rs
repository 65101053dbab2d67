//! Ageing: a group that has been ready for [`AGE`] ticks without being served has its first task *aged*: moved to the
//! most urgent priority that is ready or runs, with the smallest rank there is. So it goes ahead of what it was put before
//! and, since it runs at that priority, is not preempted by it. If something still more urgent has come, the group in
//! which it is now ages in turn.

use core::ptr::NonNull;

use super::{Lists, serve};
use crate::Priority;
use crate::columns::{PINNED, RANKED_SLOT, fold, is_ranked};
use crate::interface::Header;
use crate::link::with_link;

/// The rank of what is aged; all others are greater.
pub(super) const AGED: u64 = 0;

/// Ticks that a group waits before its first task is aged.
pub const AGE: u16 = if cfg!(loom) { 2 } else { 40 };

impl Lists {
    /// Lets this many ticks pass while something of the priority `running` runs, if anything does. `true`: something was
    /// put ahead.
    pub(crate) fn age(&mut self, ticks: u16, running: Option<Priority>) -> bool {
        let Some(ready) = Priority::highest_in(fold(self.bits)) else { return false };
        let ahead = running.map_or(ready, |running| running.min(ready));
        let (mut left, mut has_aged) = (self.bits, false);
        while left != 0 {
            let column = left.trailing_zeros() as u8;
            left &= left - 1;
            has_aged |= self.age_group(column | RANKED_SLOT, ticks, ahead);
            has_aged |= self.age_group(column, ticks, ahead);
        }
        has_aged
    }

    fn age_group(&mut self, slot: u8, ticks: u16, ahead: Priority) -> bool {
        let column = self.column(slot);
        let first = if is_ranked(slot) { column.ranked.first() } else { NonNull::new(column.turn.head) };
        let Some(first) = first else { return false };
        let waited = &mut column.waited[usize::from(is_ranked(slot))];
        *waited = waited.saturating_add(ticks);
        if *waited < AGE {
            return false;
        }
        *waited = 0;
        // SAFETY: S2, the first of a group is in these lists, and then the queue's and in none.
        unsafe {
            if is_ranked(slot) {
                // Its group is served by this: if nothing but ageing did that and the floor stayed, whoever comes back would be
                // ranked no further behind each time, and others could wait behind those for ever.
                serve(first);
            }
            self.remove(first, slot);
            self.put_ahead(first, slot, ahead);
        }
        true
    }

    /// Puts a task that was in `slot` before all of this priority but those that were put there earlier.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack).
    unsafe fn put_ahead(&mut self, task: NonNull<Header>, slot: u8, ahead: Priority) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let slot_ahead = ahead.number() | slot & PINNED | RANKED_SLOT;
        // SAFETY: by contract.
        unsafe {
            with_link(task, |link| {
                let was_ahead = is_ranked(slot) && link.rank == AGED;
                if !was_ahead {
                    (link.rank, link.arrival) = (AGED, arrival);
                }
            });
            self.note(task, slot_ahead);
            self.column(slot_ahead).ranked.insert(task);
        }
    }
}
