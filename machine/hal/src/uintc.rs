//! The controller of user interrupts (`docs/nuintc.md`, section 3): slots of receivers and senders, and who listens.
//!
//! A slot is its owner's until it is dropped. Its page must be out of all page tables by then, and the shootdown over; what a hart remembers nevertheless
//! rings for the slot's next owner, and who is rung finds that nothing was sent.
//!
//! A user has as many slots of a kind as are free, and not one more: so each that comes later still finds some.

use crate::hart;
use crate::space::DevicePage;
use crate::sync::{IrqLock, rank};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use nuintc::registers::{self, ENABLE, UIID};

/// Slots of either kind that are used at most.
const MOST: usize = registers::SLOTS;

/// Slots of the controller, 0 included, which is nobody's; 0: there is none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What is in use. Slot 0 of either kind always is.
struct Uses {
    receivers: Slots,
    senders: Slots,
    /// The receiver that each hart listens to; 0: none.
    listening: [usize; hart::MAX],
}

static USES: IrqLock<Uses> =
    IrqLock::new(rank::DEVICE, Uses { receivers: Slots::NONE, senders: Slots::NONE, listening: [0; hart::MAX] });

/// Slots that are taken, a bit each, and by which users.
struct Slots {
    taken: u64,
    users: [u32; MOST],
}

impl Slots {
    const NONE: Self = Self { taken: 1, users: [0; MOST] };

    /// One for this user, of `count`.
    fn take(&mut self, count: usize, user: u32) -> Option<usize> {
        let count = count.min(MOST);
        let slot = self.taken.trailing_ones() as usize;
        let had = (1..count).filter(|slot| self.taken & 1 << *slot != 0 && self.users[*slot] == user).count();
        let free = count.saturating_sub(self.taken.count_ones() as usize);
        (had < free).then(|| {
            self.taken |= 1 << slot;
            self.users[slot] = user;
            slot
        })
    }

    fn give_back(&mut self, slot: usize) {
        self.taken &= !(1 << slot);
    }
}

/// Whether the machine has a controller that can be used, and N on every hart.
pub fn exists() -> bool {
    COUNT.load(Relaxed) != 0
}

/// Has there be a controller with so many slots, which nobody hears.
#[cfg(not(target_os = "none"))]
pub fn pretend(slots: usize) {
    COUNT.store(slots, Relaxed);
}

/// A receiver. Who claims there is told the numbers of the senders that rang.
#[derive(Debug)]
pub struct ReceiverSlot {
    slot: usize,
    user: u32,
}

impl ReceiverSlot {
    /// One that nobody has, for this user. `None`: there is none for it.
    pub fn take(user: u32) -> Option<Self> {
        let slot = USES.lock().receivers.take(COUNT.load(Relaxed), user)?;
        // Senders know it by its slot.
        machine::write(registers::receiver(slot) + UIID, slot as u32);
        Some(Self { slot, user })
    }

    /// What a sender stores to its doorbell to ring here.
    pub fn uiid(&self) -> u32 {
        self.slot as u32
    }

    /// The page that claims.
    pub fn claim_page(&self) -> DevicePage {
        machine::page(registers::receiver(self.slot))
    }

    /// A sender that may ring here, and nowhere else; it is claimed as `number`, which is not 0. `None`: there is none for its user.
    pub fn grant(&self, number: u32) -> Option<SenderSlot> {
        let slot = USES.lock().senders.take(COUNT.load(Relaxed), self.user)?;
        let at = registers::sender(slot);
        machine::write(at + UIID, number);
        machine::write(at + ENABLE + self.slot / 32 * 4, 1 << (self.slot % 32));
        Some(SenderSlot(slot))
    }

    /// This hart listens here, and no other does. The thread that claims here is about to run on it.
    #[cfg(target_os = "none")]
    pub(crate) fn listen(&self) {
        listen(self.slot);
    }
}

impl Drop for ReceiverSlot {
    fn drop(&mut self) {
        let mut uses = USES.lock();
        for hart in 0..hart::MAX {
            if uses.listening[hart] == self.slot {
                uses.listening[hart] = 0;
                machine::listen(hart, 0);
            }
        }
        // The register gives the slot a new owner: no sender is enabled for it any more.
        machine::write(registers::receiver(self.slot) + UIID, 0);
        uses.receivers.give_back(self.slot);
    }
}

/// A sender.
#[derive(Debug)]
pub struct SenderSlot(usize);

impl SenderSlot {
    /// The page that rings.
    pub fn doorbell(&self) -> DevicePage {
        machine::page(registers::sender(self.0))
    }

    /// Nothing that is rung from now on is claimed.
    pub fn silence(&self) {
        machine::write(registers::sender(self.0) + ENABLE, 0);
        machine::write(registers::sender(self.0) + ENABLE + 4, 0);
    }
}

impl Drop for SenderSlot {
    fn drop(&mut self) {
        let mut uses = USES.lock();
        machine::write(registers::sender(self.0) + UIID, 0);
        uses.senders.give_back(self.0);
    }
}

/// This hart listens to a receiver, 0 for none, and no other hart does. Written under the lock alone, so that a slot that is freed takes nobody's ear.
#[cfg(target_os = "none")]
pub(crate) fn listen(slot: usize) {
    let mut uses = USES.lock();
    let this = hart::id();
    for hart in 0..hart::MAX {
        if hart != this && slot != 0 && uses.listening[hart] == slot {
            uses.listening[hart] = 0;
            machine::listen(hart, 0);
        }
    }
    if uses.listening[this] != slot {
        uses.listening[this] = slot;
        machine::listen(this, slot as u32);
    }
}

#[cfg(not(target_os = "none"))]
mod machine {
    use super::DevicePage;

    pub(super) fn write(_: usize, _: u32) {}

    pub(super) fn listen(_: usize, _: u32) {}

    pub(super) fn page(_: usize) -> DevicePage {
        DevicePage { physical: 0 }
    }
}

#[cfg(target_os = "none")]
pub(crate) use machine::initialise;

#[cfg(target_os = "none")]
mod machine {
    use super::*;
    use crate::PAGE_SIZE;

    /// The window's first byte, in physical memory.
    static START: AtomicUsize = AtomicUsize::new(0);

    /// Finds the controller, unless its pages cannot be mapped one by one or a hart has no context there. Before harts enter user mode.
    pub(crate) fn initialise(platform: &platform::Platform) {
        let Some(uintc) = platform.uintc else { return };
        let slots = uintc.slots.min(MOST);
        let start = uintc.registers.start as usize;
        let fits = uintc.registers.size as usize >= registers::SIZE && start.is_multiple_of(PAGE_SIZE);
        if !fits || platform.harts.iter().any(|hart| hart.id >= uintc.contexts) {
            return;
        }
        START.store(start, Relaxed);
        COUNT.store(slots, Relaxed);
    }

    pub(super) fn write(offset: usize, value: u32) {
        let window = platform::Range { start: START.load(Relaxed) as u64, size: registers::SIZE as u64 };
        if let Some(registers) = crate::irq::registers(window) {
            registers.write(offset, value);
        }
    }

    pub(super) fn listen(hart: usize, slot: u32) {
        // Contexts are hart ids.
        write(registers::listen(hart::local_of(hart).hart_id.load(Relaxed)), slot);
    }

    pub(super) fn page(offset: usize) -> DevicePage {
        DevicePage { physical: START.load(Relaxed) + offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_once_and_come_back() {
        let mut slots = Slots::NONE;
        let mut user = 0;
        let mut next = |slots: &mut Slots| {
            user += 1;
            slots.take(64, user)
        };
        let taken: std::vec::Vec<_> = core::iter::from_fn(|| next(&mut slots)).collect();
        assert!(taken.iter().copied().eq(1..64));
        slots.give_back(7);
        assert_eq!((next(&mut slots), next(&mut slots)), (Some(7), None));
    }

    #[test]
    fn a_user_has_no_more_than_are_left_for_others() {
        let mut slots = Slots::NONE;
        let had: std::vec::Vec<usize> =
            (0..7).map(|user| core::iter::from_fn(|| slots.take(64, user)).count()).collect();
        assert_eq!(had, [32, 16, 8, 4, 2, 1, 0]);
        // What one gives back another gets.
        slots.give_back(1);
        assert_eq!((slots.take(64, 0), slots.take(64, 6), slots.take(64, 6)), (None, Some(1), None));
    }

    #[test]
    fn no_more_are_taken_than_there_are() {
        let mut slots = Slots::NONE;
        assert_eq!((slots.take(3, 1), slots.take(3, 2), slots.take(3, 3)), (Some(1), Some(2), None));
        let mut slots = Slots::NONE;
        assert_eq!(slots.take(0, 1), None);
    }
}
