//! The kernel's side: who has which slot of a process, and who waits for one.

use super::preempted::Preempted;
use super::{KEPT, MAX_PLACES, MAX_SLOTS, NOBODY};

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
    preempted: Preempted,
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
            preempted: Preempted::new(),
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
        self.preempted.least()
    }

    /// The thread has just lost its slot because it was preempted, and goes on with what it polls at this priority.
    pub fn note_preempted(&mut self, place: u8, priority: u8) {
        self.preempted.note(place, priority);
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
        self.preempted.forget(number);
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
