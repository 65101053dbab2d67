//! What the columns of a queue are called, and their groups (see `lists`): columns, slots, and what says where a task is.

use crate::Priority;

/// How many columns there are.
pub(crate) const COLUMNS: usize = 2 * Priority::COUNT;
/// What tells the column of a pinned task from that of another of the same priority.
pub(crate) const PINNED: u8 = Priority::COUNT as u8;
/// The slot of a column's heap, not of its list.
pub(crate) const RANKED_SLOT: u8 = COLUMNS as u8;
/// `place` of a task that is in lists. Below it the number of the lists' worker, and the slot.
const IN_LISTS: u16 = 1 << 15;
/// Where the worker's number begins in `place`.
pub(crate) const NUMBER: u32 = 7;

/// What `place` of a task in the lists of this worker begins with.
pub(crate) const fn mark_of(number: u8) -> u16 {
    IN_LISTS | (number as u16) << NUMBER
}

/// The bit of a slot's column.
#[inline]
pub(crate) const fn bit_of(slot: u8) -> u64 {
    1 << (slot & (COLUMNS as u8 - 1))
}

/// A slot whose tasks run in turn, one after the other, and what tells that it may go on so.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) slot: u8,
    /// What tells its tasks from those that are kept among some workers ([`Place::key`](crate::standing::Place::key)).
    pub(crate) key: u32,
    /// Of a task that is there.
    pub(crate) place: u16,
    pub(crate) bit: u64,
    /// The columns whose priority is that of the slot, or more urgent.
    pub(crate) up_to: u64,
}

impl Turn {
    /// Of the worker with this number.
    pub(crate) const fn of(slot: u8, number: usize) -> Self {
        let priority = priority_of(slot);
        let up_to = (priority.bits_above() | priority.bit()) as u64;
        let (key, place) = ((slot as u32) << 16, mark_of(number as u8) | slot as u16);
        Self { slot, key, place, bit: bit_of(slot), up_to: up_to | up_to << PINNED }
    }
}

/// Both halves of a set of columns.
#[inline]
pub(crate) const fn fold(columns: u64) -> u32 {
    (columns | columns >> 32) as u32
}

/// The priority of a slot.
#[inline]
pub(crate) const fn priority_of(slot: u8) -> Priority {
    Priority::from_number(slot)
}

/// Whether a slot is for tasks that never leave their worker.
#[inline]
pub(crate) const fn is_pinned(slot: u8) -> bool {
    slot & PINNED != 0
}

/// Whether a slot is for tasks that are ranked.
#[inline]
pub(crate) const fn is_ranked(slot: u8) -> bool {
    slot & RANKED_SLOT != 0
}
