//! Slots: how the kernel moves the right to run a worker of a process's pool between the process's threads (note 0003,
//! section 5).
//!
//! A slot is the right to run one worker; a thread has at most one. Each thread that takes part has a *place*, a number of the
//! process's choosing. [`Book`] is the kernel's side: who has which slot, who waits for one; under a lock of the kernel's.
//! [`Seat`] is a thread's side, over one word of the process's hint page and two of its status page:
//!
//! ```text
//!   thread                                    kernel, for the same thread: it has left user mode
//!   end_poll:  count += 1     (odd)
//!              owner == me ?  go on : wait    count odd, it is in the scheduler: leave the slot
//!   ... take a task ...                       else: owner = a spare thread, wake that
//!   begin_poll: count += 1    (even)
//!               kicked ? call the kernel      (a kick that found the count odd stays in `kicked`)
//!   ... poll ...
//! ```
//!
//! **Why nothing is lost, and no worker has two threads.** The kernel takes a slot from a thread only in that thread's own
//! coroutine, so never between two lines on the left; or while the thread waits in the kernel for a slot. A thread that sees
//! itself as the owner with an odd count therefore keeps the slot until the count is even. A kick stores `kicked` first and then
//! makes the thread leave user mode: if that finds the count odd, the thread sees `kicked` when it has made it even; if it finds it even, the
//! slot moves at once. A thread that waits is given a slot, or woken, under the lock that it looked under before it
//! waited.
//!
//! The count tells more than a flag: a kernel that sees the same even number twice knows that one poll has lasted so long.

use sync::atomic::{AtomicU32, Ordering, compiler_fence};

use crate::Priority;

/// The most slots a process can have.
pub const MAX_SLOTS: usize = 8;
/// The most threads that can take part.
pub const MAX_PLACES: usize = 64;
/// So many are kept for what is urgent: with no more left, nobody is preempted by time for its equals, and a worker's thread begins
/// nothing that is no more urgent than all that was preempted (see [`Book::few`]).
pub const KEPT: u32 = 16;

/// Whether a thread with this count polls a coroutine; else it is in the scheduler.
#[must_use]
pub const fn polls(count: u32) -> bool {
    count.is_multiple_of(2)
}

/// What the status page says of a slot that nobody has; others are places, counted from 1.
pub const NOBODY: u32 = 0;

/// What the kernel shows of a slot. `repr(C)`: it lies so in the status page (`abi::slots`).
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Shown {
    /// The place that has it, from 1; or [`NOBODY`].
    pub owner: AtomicU32,
    /// Whether something more urgent has come for its worker.
    pub kicked: AtomicU32,
    /// The priority that its thread stands at with the kernel.
    pub standing: AtomicU32,
    /// The same if that is less urgent than it may; else 0.
    pub low: AtomicU32,
}

impl Shown {
    /// Whether its thread stands lower than this, and would stand higher if it were called.
    #[inline]
    pub(crate) fn stands_below(&self, priority: Priority) -> bool {
        // Relaxed: see `Pool::stands_below`.
        self.low.load(Ordering::Relaxed) > u32::from(priority.number())
    }

    /// Whether its thread stands higher than this. By the thread itself.
    #[inline]
    fn stands_above(&self, priority: Priority) -> bool {
        self.standing.load(Ordering::Relaxed) < u32::from(priority.number())
    }
}

/// A thread's side of the slot that it has.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Of this thread, written by it alone.
    pub count: &'a AtomicU32,
    /// Of the slot, written by the kernel.
    pub slot: &'a Shown,
    /// How the slot's owner's word names this thread.
    pub owner: u32,
}

impl<'a> Seat<'a> {
    /// Of the thread in a place.
    #[must_use]
    pub fn new(count: &'a AtomicU32, slot: &'a Shown, place: u32) -> Self {
        Self { count, slot, owner: place + 1 }
    }

    /// Leaves the scheduler. `true`: something more urgent has come for this worker, and the kernel has to be asked to move
    /// the slot.
    #[inline(always)]
    #[must_use]
    pub fn begin_poll(&self) -> bool {
        // Odd until here.
        self.set(self.count().wrapping_add(1));
        // Relaxed, here and below: the kernel's part runs in this very thread, between two of these lines.
        self.slot.kicked.load(Ordering::Relaxed) != 0
    }

    /// Enters the scheduler. `false`: this thread has lost the slot, and does not touch its worker any more.
    #[inline(always)]
    #[must_use]
    pub fn end_poll(&self) -> bool {
        self.set(self.count() | 1);
        self.is_owner()
    }

    /// Whether the thread stands higher than at this priority.
    #[inline(always)]
    #[must_use]
    pub fn stands_above(&self, priority: Priority) -> bool {
        self.slot.stands_above(priority)
    }

    /// Whether the slot is this thread's.
    #[inline(always)]
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.slot.owner.load(Ordering::Relaxed) == self.owner
    }

    /// Enters the scheduler for a moment, from within a poll; [`begin_poll`](Self::begin_poll) ends that. `false`: the thread is
    /// there already, or has lost the slot.
    #[must_use]
    pub fn interrupt_poll(&self) -> bool {
        if !polls(self.count()) {
            return false;
        }
        // Without the slot the count means nothing to anyone; the poll goes on where it was.
        self.end_poll() || {
            let _ = self.begin_poll();
            false
        }
    }

    #[inline(always)]
    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&self, count: u32) {
        self.count.store(count, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }
}

/// What a thread is doing, as far as slots go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// There is no such thread.
    Free,
    /// It runs, or waits for something else, without a slot.
    Away,
    /// It waits for a slot.
    Spare,
    /// It has this slot.
    Holds(u8),
    /// It has this slot, found nothing to run and waits.
    Idle(u8),
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    owner: Option<u8>,
    /// The owner is to look: something more urgent than what it polls has come.
    kicked: bool,
    /// Nobody has it, and there is something to run.
    wanted: bool,
}

/// What the kernel has to do for another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Do {
    /// Nothing.
    Nothing,
    /// The thread in this place can go on: it has this slot now.
    Give(u8, u8),
    /// The thread in this place has to leave user mode and [`examine`](Book::examine).
    Interrupt(u8),
}

/// What comes of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wait {
    /// It has this slot.
    Slot(u8),
    /// It waits.
    Waits(Do),
}

/// Who has which slot of a process. Numbers that are out of range mean nothing, and nothing happens.
#[derive(Debug)]
pub struct Book {
    count: u8,
    slots: [Slot; MAX_SLOTS],
    places: [Place; MAX_PLACES],
    /// One bit a place: those that wait for a slot.
    spares: u64,
    moves: u64,
    /// How many places nobody is in.
    free: u32,
    /// Of threads that were preempted and are not back: the priority that they poll at, from 1; else 0.
    preempted: [u8; MAX_PLACES],
    /// How many of these there are at each priority.
    polling: [u8; 32],
    /// One bit a slot: those whose threads wait only because few are left.
    standing_in: u8,
}

impl Book {
    /// So many slots, which nobody has.
    #[must_use]
    pub fn new(slots: u8) -> Self {
        let slot = Slot { owner: None, kicked: false, wanted: false };
        let count = slots.clamp(1, MAX_SLOTS as u8);
        Self {
            count,
            slots: [slot; MAX_SLOTS],
            places: [Place::Free; MAX_PLACES],
            spares: 0,
            moves: 0,
            free: MAX_PLACES as u32,
            preempted: [0; MAX_PLACES],
            polling: [0; 32],
            standing_in: 0,
        }
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::from(self.count)
    }

    /// How often a slot was given to a thread that had none.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// How many threads wait for a slot.
    #[must_use]
    pub fn spares(&self) -> u32 {
        self.spares.count_ones()
    }

    /// Whether few threads are left to take over a slot, spares and such as could be made, and some that were preempted poll what
    /// they were in: then the least urgent priority of these, from 1; else 0.
    #[must_use]
    pub fn few(&self) -> u32 {
        if self.spares() + self.free > KEPT {
            return 0;
        }
        self.polling.iter().rposition(|count| *count > 0).map_or(0, |priority| priority as u32 + 1)
    }

    /// The thread has just lost its slot because it was preempted, and goes on with what it polls at this priority.
    pub fn note_preempted(&mut self, place: u8, priority: u8) {
        self.forget_preempted(place);
        let Some(noted) = self.preempted.get_mut(usize::from(place)) else { return };
        *noted = priority.min(31) + 1;
        let count = &mut self.polling[usize::from(priority.min(31))];
        *count = count.saturating_add(1);
    }

    fn forget_preempted(&mut self, place: u8) {
        let noted = self.preempted.get_mut(usize::from(place)).map_or(0, core::mem::take);
        if noted != 0 {
            let count = &mut self.polling[usize::from(noted - 1) % 32];
            *count = count.saturating_sub(1);
        }
    }

    /// The thread has nothing to run, or only what is no more urgent than all that was preempted, and few are left: as
    /// [`wait`](Self::wait), until something more urgent comes for its slot, or more are left.
    pub fn stand_in(&mut self, place: u8) -> Wait {
        let Place::Holds(slot) = self.place(place) else { return self.wait(place) };
        if self.few() == 0 {
            return Wait::Slot(slot);
        }
        let waits = self.wait(place);
        if matches!(waits, Wait::Waits(_)) {
            self.standing_in |= 1 << (slot % 8);
        }
        waits
    }

    /// A thread that stood in for others and need not any more.
    pub fn relieve(&mut self) -> Do {
        if self.standing_in == 0 || self.few() != 0 {
            return Do::Nothing;
        }
        let slot = self.standing_in.trailing_zeros() as u8;
        self.standing_in &= self.standing_in - 1;
        match self.slot(slot).owner {
            Some(place) if self.place(place) == Place::Idle(slot) => self.kick(slot),
            _ => self.relieve(),
        }
    }

    /// What the status page says of a slot: the owner's word, and whether it is kicked.
    #[must_use]
    pub fn shown(&self, slot: usize) -> (u32, bool) {
        self.slots
            .get(slot)
            .map_or((NOBODY, false), |slot| (slot.owner.map_or(NOBODY, |place| u32::from(place) + 1), slot.kicked))
    }

    /// The slot that a thread has.
    #[must_use]
    pub fn slot_of(&self, place: u8) -> Option<u8> {
        match self.place(place) {
            Place::Holds(slot) | Place::Idle(slot) => Some(slot),
            Place::Free | Place::Away | Place::Spare => None,
        }
    }

    /// A thread begins to take part. `false`: the place is taken, or there is none with this number.
    #[must_use]
    pub fn enter(&mut self, place: u8) -> bool {
        let free = usize::from(place) < MAX_PLACES && self.place(place) == Place::Free;
        if free {
            self.free -= 1;
            self.set_place(place, Place::Away);
        }
        free
    }

    /// The thread has nothing to run, or no slot.
    pub fn wait(&mut self, place: u8) -> Wait {
        match self.place(place) {
            Place::Holds(slot) => {
                // What was kicked for is looked for by who has the slot anyway.
                if self.take_kick(slot) {
                    return Wait::Slot(slot);
                }
                self.set_place(place, Place::Idle(slot));
                Wait::Waits(Do::Nothing)
            }
            Place::Away => match (0..self.count).find(|slot| self.slot(*slot).wanted) {
                Some(slot) => {
                    self.hand_over(slot, place);
                    Wait::Slot(slot)
                }
                None => {
                    self.set_place(place, Place::Spare);
                    Wait::Waits(self.overdue())
                }
            },
            Place::Free | Place::Spare | Place::Idle(_) => Wait::Waits(Do::Nothing),
        }
    }

    /// Whether what [`wait`](Self::wait) began is over: the slot that the thread has.
    #[must_use]
    pub fn waited(&self, place: u8) -> Option<u8> {
        match self.place(place) {
            Place::Holds(slot) => Some(slot),
            Place::Free | Place::Away | Place::Spare | Place::Idle(_) => None,
        }
    }

    /// A wait ends for another reason. The slot, if it was given one meanwhile.
    pub fn give_up(&mut self, place: u8) -> Option<u8> {
        match self.place(place) {
            Place::Idle(slot) => self.set_place(place, Place::Holds(slot)),
            Place::Spare => self.set_place(place, Place::Away),
            Place::Holds(slot) => return Some(slot),
            Place::Free | Place::Away => {}
        }
        None
    }

    /// There is something to run for the worker of this slot, or something more urgent than what it runs.
    pub fn kick(&mut self, slot: u8) -> Do {
        if slot >= self.count {
            return Do::Nothing;
        }
        match self.slot(slot).owner {
            None => self.find_owner(slot),
            Some(place) if self.place(place) == Place::Idle(slot) => {
                self.set_place(place, Place::Holds(slot));
                Do::Give(place, slot)
            }
            Some(place) => {
                self.slot_mut(slot).kicked = true;
                Do::Interrupt(place)
            }
        }
    }

    /// The thread waits in the kernel for something else. By its own coroutine, as what follows.
    pub fn blocks(&mut self, place: u8, polls: bool) -> Do {
        match self.place(place) {
            Place::Holds(slot) if polls => self.release(place, slot),
            _ => Do::Nothing,
        }
    }

    /// The thread has been interrupted, or asks. `urgent`: something more urgent than what it polls is ready; found out under the
    /// lock that this is called under, so that who sees the kick sees what it was for.
    pub fn examine(&mut self, place: u8, polls: bool, urgent: bool) -> Do {
        match self.place(place) {
            Place::Holds(slot) if polls && self.slot(slot).kicked => {
                if urgent {
                    return if self.spares != 0 { self.release(place, slot) } else { Do::Nothing };
                }
                self.slot_mut(slot).kicked = false;
                // A spare that came for this is not needed here; another owner may have been kicked, too.
                if self.spares != 0 { self.overdue() } else { Do::Nothing }
            }
            _ => Do::Nothing,
        }
    }

    /// The thread's poll has lasted a time slice, and something as urgent is ready.
    pub fn preempt(&mut self, place: u8, polls: bool) -> Do {
        match self.place(place) {
            Place::Holds(slot) if polls && self.spares != 0 && self.spares() + self.free > KEPT => {
                self.release(place, slot)
            }
            _ => Do::Nothing,
        }
    }

    /// The thread ends.
    pub fn leave(&mut self, place: u8) -> Do {
        let slot = self.slot_of(place);
        let released = slot.map_or(Do::Nothing, |slot| self.release(place, slot));
        if self.place(place) != Place::Free {
            self.free += 1;
            self.set_place(place, Place::Free);
        }
        released
    }

    fn release(&mut self, place: u8, slot: u8) -> Do {
        self.set_place(place, Place::Away);
        *self.slot_mut(slot) = Slot { owner: None, kicked: false, wanted: false };
        self.find_owner(slot)
    }

    /// Gives a slot without owner to a thread that waits for one; else to the first that will.
    fn find_owner(&mut self, slot: u8) -> Do {
        if self.spares == 0 {
            self.slot_mut(slot).wanted = true;
            return Do::Nothing;
        }
        let place = self.spares.trailing_zeros() as u8;
        self.hand_over(slot, place);
        Do::Give(place, slot)
    }

    fn hand_over(&mut self, slot: u8, place: u8) {
        self.moves += 1;
        *self.slot_mut(slot) = Slot { owner: Some(place), kicked: false, wanted: false };
        self.set_place(place, Place::Holds(slot));
    }

    /// An owner that was kicked when there was no spare.
    fn overdue(&self) -> Do {
        let kicked = self.slots.iter().filter(|slot| slot.kicked).find_map(|slot| slot.owner);
        kicked.map_or(Do::Nothing, Do::Interrupt)
    }

    fn take_kick(&mut self, slot: u8) -> bool {
        core::mem::take(&mut self.slot_mut(slot).kicked)
    }

    fn place(&self, place: u8) -> Place {
        self.places.get(usize::from(place)).copied().unwrap_or(Place::Free)
    }

    fn set_place(&mut self, number: u8, to: Place) {
        self.forget_preempted(number);
        if let Some(place) = self.places.get_mut(usize::from(number)) {
            *place = to;
            self.spares = self.spares & !bit(number) | if to == Place::Spare { bit(number) } else { 0 };
        }
    }

    fn slot(&self, slot: u8) -> &Slot {
        &self.slots[usize::from(slot) % MAX_SLOTS]
    }

    fn slot_mut(&mut self, slot: u8) -> &mut Slot {
        &mut self.slots[usize::from(slot) % MAX_SLOTS]
    }
}

fn bit(place: u8) -> u64 {
    1 << (place & 63)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A process of two threads and one slot, which the first has.
    fn alone() -> Book {
        let mut book = Book::new(1);
        assert!(book.enter(0) && book.enter(1));
        assert_eq!(book.kick(0), Do::Nothing, "wanted");
        assert_eq!(book.wait(0), Wait::Slot(0));
        book
    }

    /// The same, the second waiting for it.
    fn pair() -> Book {
        let mut book = alone();
        assert_eq!(book.wait(1), Wait::Waits(Do::Nothing));
        book
    }

    #[test]
    fn who_waits_for_something_else_gives_its_slot_to_a_spare() {
        let mut book = pair();
        assert_eq!(book.blocks(0, true), Do::Give(1, 0));
        assert_eq!(book.waited(1), Some(0));
        assert_eq!(book.shown(0), (2, false));
        assert_eq!(book.blocks(0, true), Do::Nothing);
        // Back from there, it is the spare.
        assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
        assert_eq!((book.spares(), book.slot_of(0)), (1, None));
    }

    #[test]
    fn nobody_is_taken_out_of_the_scheduler() {
        let mut book = pair();
        assert_eq!(book.blocks(0, false), Do::Nothing);
        assert_eq!(book.kick(0), Do::Interrupt(0));
        assert_eq!(book.examine(0, false, true), Do::Nothing);
        assert_eq!(book.shown(0), (1, true));
        assert_eq!(book.examine(0, true, true), Do::Give(1, 0));
        assert_eq!(book.shown(0), (2, false));
    }

    #[test]
    fn a_slot_that_finds_no_spare_goes_to_the_first() {
        let mut book = alone();
        assert_eq!(book.blocks(0, true), Do::Nothing);
        assert_eq!(book.shown(0), (NOBODY, false));
        assert_eq!(book.wait(1), Wait::Slot(0));
    }

    #[test]
    fn a_kick_that_finds_no_spare_waits_for_one() {
        let mut book = alone();
        assert_eq!(book.kick(0), Do::Interrupt(0));
        assert_eq!(book.examine(0, true, true), Do::Nothing);
        assert_eq!(book.wait(1), Wait::Waits(Do::Interrupt(0)));
        assert_eq!(book.examine(0, true, true), Do::Give(1, 0));
    }

    #[test]
    fn a_spare_that_one_kick_does_not_need_is_for_the_next() {
        let mut book = Book::new(2);
        assert!(book.enter(0) && book.enter(1) && book.enter(2));
        assert_eq!([book.kick(0), book.kick(1)], [Do::Nothing; 2], "wanted");
        assert_eq!([book.wait(0), book.wait(1)], [Wait::Slot(0), Wait::Slot(1)]);
        assert_eq!([book.kick(0), book.kick(1)], [Do::Interrupt(0), Do::Interrupt(1)]);
        // There is no spare yet.
        assert_eq!(book.examine(1, true, true), Do::Nothing);
        assert_eq!(book.wait(2), Wait::Waits(Do::Interrupt(0)));
        // What the first was kicked for has been run elsewhere.
        assert_eq!(book.examine(0, true, false), Do::Interrupt(1));
        assert_eq!(book.examine(1, true, true), Do::Give(2, 1));
    }

    #[test]
    fn a_kick_before_the_wait_ends_it() {
        let mut book = pair();
        assert_eq!(book.kick(0), Do::Interrupt(0));
        assert_eq!(book.wait(0), Wait::Slot(0));
        assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
        assert_eq!((book.waited(0), book.slot_of(0)), (None, Some(0)));
        assert_eq!(book.kick(0), Do::Give(0, 0));
        assert_eq!(book.waited(0), Some(0));
    }

    #[test]
    fn what_a_thread_had_at_its_end_goes_on() {
        let mut book = pair();
        assert_eq!(book.leave(0), Do::Give(1, 0));
        assert_eq!(book.leave(1), Do::Nothing);
        assert_eq!(book.shown(0), (NOBODY, false));
        assert!(book.enter(1));
        assert_eq!(book.wait(1), Wait::Slot(0));
    }

    #[test]
    fn a_wait_that_is_given_up_keeps_what_it_was_given() {
        let mut book = pair();
        assert_eq!(book.blocks(0, true), Do::Give(1, 0));
        assert_eq!(book.give_up(1), Some(0));
        assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
        assert_eq!(book.give_up(0), None);
        assert_eq!(book.spares(), 0);
    }

    /// A process of one slot and as many threads as there can be, all but `spares` of them preempted at priority 20.
    fn crowded(spares: u8) -> Book {
        let mut book = Book::new(1);
        (0..MAX_PLACES as u8).for_each(|place| assert!(book.enter(place)));
        assert_eq!((book.kick(0), book.wait(0)), (Do::Nothing, Wait::Slot(0)));
        (1..=spares).for_each(|place| assert_eq!(book.wait(place), Wait::Waits(Do::Nothing)));
        (spares + 1..MAX_PLACES as u8).for_each(|place| book.note_preempted(place, 20));
        book
    }

    #[test]
    fn some_are_kept_for_what_is_urgent() {
        let mut book = crowded(17);
        assert_eq!((book.few(), book.preempt(0, true)), (0, Do::Give(1, 0)));
        book.note_preempted(0, 24);
        assert_eq!((book.few(), book.preempt(1, true)), (25, Do::Nothing), "the least urgent of all");
        assert_eq!((book.kick(0), book.examine(1, true, true)), (Do::Interrupt(1), Do::Give(2, 0)));
        // Without any that were preempted it is no use to wait.
        let mut blocked = crowded(3);
        (4..MAX_PLACES as u8).for_each(|place| blocked.forget_preempted(place));
        assert_eq!(blocked.few(), 0);
    }

    #[test]
    fn who_stands_in_is_relieved_when_more_are_left_or_called_for_what_is_urgent() {
        let mut book = crowded(KEPT as u8);
        assert_eq!((book.stand_in(0), book.relieve()), (Wait::Waits(Do::Nothing), Do::Nothing));
        assert_eq!((book.kick(0), book.waited(0)), (Do::Give(0, 0), Some(0)));
        assert_eq!(book.stand_in(0), Wait::Waits(Do::Nothing));
        // One of those that were preempted has ended its poll.
        assert_eq!(book.wait(40), Wait::Waits(Do::Nothing));
        assert_eq!((book.relieve(), book.relieve()), (Do::Give(0, 0), Do::Nothing));
        assert_eq!(book.stand_in(0), Wait::Slot(0), "there is no need");
    }

    #[test]
    fn numbers_out_of_range_mean_nothing() {
        let mut book = Book::new(99);
        assert_eq!(book.slots(), MAX_SLOTS);
        assert!(book.enter(0) && !book.enter(64) && !book.enter(255) && !book.enter(0));
        assert_eq!([book.kick(8), book.kick(255), book.leave(99)], [Do::Nothing; 3]);
        assert_eq!([book.blocks(70, true), book.examine(70, true, true), book.preempt(70, true)], [Do::Nothing; 3]);
        assert_eq!((book.waited(70), book.give_up(200), book.shown(9)), (None, None, (NOBODY, false)));
    }
}
