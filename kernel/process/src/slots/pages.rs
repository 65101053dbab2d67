//! The two pages of a process's slots: what the kernel shows there, and what the process says. That is copied once where it is
//! needed; an address in it that leads nowhere says nothing.

use crate::census;
use abi::slots as at;
use core::sync::atomic::Ordering::Relaxed;
use hal::frame::Frame;
use mem::AddressSpace;
use sched::{
    census::{HEADER, POLLED, Seen},
    slots::{Book, MAX_SLOTS, polls},
};

/// The pages.
pub(super) struct Pages {
    /// Written by the kernel alone.
    pub(super) status: Frame,
    /// Written by the process.
    pub(super) hint: Frame,
}

/// What a process says of a worker.
pub(super) struct Hints {
    /// Priorities that something is ready at.
    pub(super) ready: u32,
    /// What it runs at, 0 to 31; 32 if nothing.
    pub(super) running: u8,
    /// Where the header is of what it polls.
    pub(super) polled: u64,
}

impl Hints {
    /// The most urgent that is ready or runs; 32 if nothing.
    pub(super) fn most(&self) -> u8 {
        self.running.min(self.ready.trailing_zeros() as u8)
    }

    /// Whether something is ready that is more urgent than what runs.
    pub(super) fn urgent(&self) -> bool {
        self.ready.trailing_zeros() < u32::from(self.running)
    }

    /// Whether something is ready that is as urgent as what runs, or more.
    pub(super) fn equal(&self) -> bool {
        self.ready != 0 && self.ready.trailing_zeros() <= u32::from(self.running)
    }
}

impl Pages {
    /// Shows who has which slot, and who waits for one.
    pub(super) fn show(&self, book: &Book) {
        for slot in 0..book.slots() {
            let (owner, kicked) = book.shown(slot);
            self.status.word(slot * at::STRIDE + at::OWNER).store(owner, Relaxed);
            self.status.word(slot * at::STRIDE + at::KICKED).store(u32::from(kicked), Relaxed);
        }
        self.status.word(at::SPARES).store(book.spares(), Relaxed);
        self.status.word(at::FEW).store(book.few(), Relaxed);
    }

    /// Shows the priority that a slot's thread stands at, and whether that is lower than it may.
    pub(super) fn show_standing(&self, slot: u8, priority: u8, is_low: bool) {
        let shown = at::STRIDE * (usize::from(slot) % MAX_SLOTS);
        self.status.word(shown + at::STANDS).store(u32::from(priority), Relaxed);
        self.status.word(shown + at::LOW).store(if is_low { u32::from(priority) } else { 0 }, Relaxed);
    }

    /// Shows whether somebody wants to know what polls take.
    pub(super) fn show_watched(&self, watched: bool) {
        self.status.word(at::WATCHED).store(u32::from(watched), Relaxed);
    }

    /// The count of a thread, as it stands in the hint page.
    pub(super) fn count(&self, place: u8) -> u32 {
        self.hint.word(4 * usize::from(place)).load(Relaxed)
    }

    /// Whether it polls a coroutine.
    pub(super) fn polls(&self, place: u8) -> bool {
        polls(self.count(place))
    }

    /// What the poll that a thread is in is preempted for, as the process says.
    pub(super) fn preemption(&self, place: u8) -> u32 {
        self.hint.word(at::PREEMPTION + 4 * usize::from(place)).load(Relaxed)
    }

    /// Where a list of chunks begins, as the process says (see [`crate::census`]).
    pub(super) fn list(&self, space: &AddressSpace, list: usize) -> Option<u64> {
        let mut address = [0; 8];
        self.hint.read(at::CENSUS, &mut address);
        let lists = u64::from_le_bytes(address);
        census::read(space, lists.wrapping_add(8 * list as u64), &mut address)?;
        Some(u64::from_le_bytes(address))
    }

    /// Where the ready bits of a slot's worker are (0), and what it runs at (1), as the process says.
    fn address(&self, slot: u8, half: usize) -> usize {
        let mut bytes = [0; 8];
        self.hint.read(at::HINTS + at::STRIDE * (usize::from(slot) % MAX_SLOTS) + 8 * half, &mut bytes);
        u64::from_le_bytes(bytes) as usize
    }

    /// Priorities that something is ready at for the worker of a slot, if it says so.
    fn ready(&self, space: &AddressSpace, slot: u8) -> Option<u32> {
        let mut ready = [0; 8];
        space.copy_in_now(self.address(slot, 0), &mut ready).ok()?;
        let ready = u64::from_le_bytes(ready);
        Some((ready | ready >> 32) as u32)
    }

    /// What the process says of the worker of a slot: nothing, if its addresses lead nowhere.
    pub(super) fn hints(&self, space: &AddressSpace, slot: u8) -> Hints {
        let ready = self.ready(space, slot);
        let mut worker = [0; POLLED + 4];
        // What is not in memory says nothing: the bytes stay zeros.
        let known =
            ready.is_some() && space.copy_in_now(self.address(slot, 1).wrapping_sub(POLLED), &mut worker).is_ok();
        let (polled, running) = worker.split_at(POLLED);
        let polled = polled.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let running = if known { running[0].min(32) } else { 32 };
        Hints { ready: ready.unwrap_or(0), running, polled }
    }

    /// Shows which coroutine the thread in a place polls without a slot, 0 for none, and how many do.
    pub(super) fn show_away(&self, place: u8, task: u32, all: u32) {
        self.status.word(at::AWAY + 4 * usize::from(place)).store(task, Relaxed);
        self.status.word(at::AWAYS).store(all, Relaxed);
    }
}

/// What the header at an address says, if one is there.
pub(super) fn task(space: &AddressSpace, address: u64) -> Option<Seen> {
    let mut bytes = [0; HEADER];
    census::read(space, address, &mut bytes)?;
    Seen::of(&bytes)
}
