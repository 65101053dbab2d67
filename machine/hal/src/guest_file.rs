//! Places at which user interrupts arrive by hardware: the harts' guest interrupt files (note 0008, section 3).
//!
//! A [`Place`] belongs to its [`Owner`] from [`take_place`] until it is dropped, also while the owner does not run: what arrives then, if the
//! place is armed, is told to it. What is pending in a place that is given up is lost, so its owner looks for itself afterwards.

use crate::hart;
use crate::space::DevicePage;
use crate::sync::{IrqLock, rank};
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

/// Files of each hart that are used at most: what QEMU offers.
const MOST: usize = 7;
/// Numbers that interrupt in a file: 1 to 63. Senders can write others; those stay pending, and nobody looks at them.
#[cfg(target_os = "none")]
const DELIVERED: usize = !1;

/// Who has a place.
pub trait Owner: Any + Send + Sync {
    /// Something arrived while it did not run. Called with interrupts off: note it and wake, no waiting.
    fn arrived(&self);
}

static FILE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// What is known of a file.
struct File {
    owner: IrqLock<Option<Arc<dyn Owner>>>,
    /// How often it was given up.
    changes: AtomicU64,
}

static FILES: [[File; MOST]; hart::MAX] =
    [const { [const { File { owner: IrqLock::new(rank::WAIT - 1, None), changes: AtomicU64::new(0) } }; MOST] };
        hart::MAX];

fn file(hart: usize, file: usize) -> &'static File {
    &FILES[hart][file - 1]
}

/// A guest file of a hart.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    seat: Seat,
}

/// Which place that is, for who runs with it; it may have been given up since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) hart: usize,
    /// From 1.
    file: usize,
    change: u64,
}

impl Seat {
    /// Whether the place has not been given up. Asked on its hart with interrupts off, where alone another can take it.
    pub(crate) fn is_taken(&self) -> bool {
        // Acquire pairs with the Release in `drop`; what follows is the hart's own.
        file(self.hart, self.file).changes.load(Ordering::Acquire) == self.change
    }
}

/// How many places each hart has; 0: none, or the machine has no such thing.
pub fn places() -> usize {
    FILE_COUNT.load(Relaxed)
}

/// Has each hart have so many places, at which nothing arrives.
#[cfg(not(target_os = "none"))]
pub fn pretend(count: usize) {
    FILE_COUNT.store(count.min(MOST), Relaxed);
}

impl Place {
    /// The hart whose it is.
    pub fn hart(&self) -> usize {
        self.seat.hart
    }

    /// Which of the hart's, from 1.
    pub fn number(&self) -> usize {
        self.seat.file
    }

    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    /// The page through which programs ring: any of them that has it can make any number pending here, and do nothing else.
    pub fn doorbell(&self) -> DevicePage {
        DevicePage { physical: machine::doorbell(self.seat.hart, self.seat.file) }
    }

    /// Has a line that was claimed make a number pending here, until [`send_home`](crate::irq::send_home): before the place is dropped.
    pub fn attract(&self, line: u32, number: u32) {
        crate::irq::send_to(line, Some((self.seat.hart, self.seat.file, number)));
    }

    /// Makes a number pending.
    pub fn ring(&self, number: u32) {
        machine::ring(self.seat.hart, self.seat.file, number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Armed as it may be: the next interrupt finds nobody and disarms it. The owner is dropped outside the lock.
        let file = file(self.seat.hart, self.seat.file);
        let mut owner = file.owner.lock();
        // Release pairs with the Acquire in `is_taken`.
        file.changes.fetch_add(1, Ordering::Release);
        let gone = owner.take();
        drop(owner);
        drop(gone);
    }
}

/// Gives `owner` a place of this hart that nobody has, empty. `None`: there is none.
pub fn take_place(owner: &Arc<dyn Owner>) -> Option<Place> {
    let _stay = hart::no_preempt();
    let hart = hart::id();
    (1..=places()).find_map(|number| {
        let known = file(hart, number);
        let mut slot = known.owner.lock();
        if slot.is_some() {
            return None;
        }
        // Under the lock, so with interrupts off: nothing comes between the steps.
        machine::clear(number);
        *slot = Some(owner.clone());
        let change = known.changes.load(Relaxed);
        Some(Place { seat: Seat { hart, file: number, change } })
    })
}

/// Who has place `number` of a hart, 1 to [`places`].
pub fn owner(hart: usize, number: usize) -> Option<Arc<dyn Owner>> {
    file(hart, number).owner.lock().clone()
}

#[cfg(not(target_os = "none"))]
mod machine {
    pub(super) fn doorbell(_: usize, _: usize) -> usize {
        0
    }

    pub(super) fn ring(_: usize, _: usize, _: u32) {}

    pub(super) fn clear(_: usize) {}
}

#[cfg(target_os = "none")]
pub(crate) use machine::{arm, disarm, initialise_hart, interrupt};

#[cfg(target_os = "none")]
mod machine {
    use super::*;
    use riscv::guest_file;

    /// Counts this hart's files. Harts with fewer than the first have none to use: all are made alike.
    pub(crate) fn initialise_hart(index: usize) {
        let files = guest_file::initialise().min(MOST).min(crate::irq::guest_files());
        if index == 0 {
            FILE_COUNT.store(files, Relaxed);
        } else {
            FILE_COUNT.fetch_min(files, Relaxed);
        }
    }

    pub(super) fn doorbell(hart: usize, file: usize) -> usize {
        crate::irq::guest_page(hart, file)
    }

    pub(super) fn ring(hart: usize, file: usize, number: u32) {
        crate::irq::ring_guest(hart, file, number);
    }

    pub(super) fn clear(file: usize) {
        guest_file::disarm(file);
        guest_file::clear(file, crate::irq::ids(), DELIVERED);
    }

    /// From now on the owner is told of what arrives; `false`: something has already. The place is this hart's.
    pub(crate) fn arm(seat: Seat) -> bool {
        guest_file::arm(seat.file)
    }

    /// The owner is about to run, on the hart of its place; answers the number of the file.
    pub(crate) fn disarm(seat: Seat) -> usize {
        guest_file::hand_over(seat.file);
        seat.file
    }

    /// An SGEI interrupt: tells the owners of the places, which are disarmed.
    pub(crate) fn interrupt(hart: usize) {
        let mut files = guest_file::take() & ((1 << MOST) - 1) << 1;
        while files != 0 {
            let number = files.trailing_zeros() as usize;
            files &= files - 1;
            if let Some(owner) = &*file(hart, number).owner.lock() {
                owner.arrived();
            }
        }
    }
}
