//! Devices whose interrupts a receiver takes (note 0011): a line of the machine's controller that raises a vector. Or a driver of the kernel, while the device is its own.
//!
//! A line tells the receiver's place while it has one, by hardware: number and place are in the controller (*direct*). Else it tells the kernel, which
//! keeps it off, and has the thread look. Both are hints: the vector's bit is set in the slot's word beforehand, and the handler sets it again before it looks
//! at the device (`abi::device`).
//!
//! **Nothing is lost** when the receiver moves, since lines are levels: one whose device was not served is raised still, whatever became of its message. When the
//! receiver loses its place, and when it gets one, the line is sent elsewhere first and asked behind that whether it is raised; if so, it tells again. Both
//! happen under the lock of the receiver's state. `Line::interrupt` and the sending exclude each other by the line's lock, so that a line that is direct is never kept off.

use super::{Receiver, Sender, bell::Bell, injected::Injected, receiver::State, slot::Slot};
use abi::{errno::Errno, uintr};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use hal::{
    guest_file::Place,
    irq,
    sync::{IrqLock, rank},
};
use mem::Backing;

/// Whom a line tells.
struct Bound {
    /// The sender's [`mem::Backing::id`].
    sender: u64,
    bell: Arc<Bell>,
    slot: usize,
    injected: bool,
}

struct Telling {
    bound: Option<Bound>,
    /// The controller tells the receiver's place.
    direct: bool,
    /// The kernel's driver; then nobody is bound.
    driver: Option<&'static dyn irq::Handler>,
}

/// A line that programs can have, for as long as the machine runs.
pub struct Line {
    number: u32,
    state: IrqLock<Telling>,
}

impl Line {
    /// Nobody's yet.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self { number, state: IrqLock::new(rank::WAIT - 1, Telling { bound: None, direct: false, driver: None }) }
    }

    /// Its number at the controller.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// It interrupts a driver of the kernel from now on, and does so at once if it is raised.
    pub(crate) fn serve(&self, driver: &'static dyn irq::Handler) {
        let mut state = self.state.lock();
        state.driver = Some(driver);
        irq::unmask(self.number);
    }

    /// Ends that. The driver may be called once more by another hart, which was on the way to it.
    pub(crate) fn end_serving(&self) {
        let mut state = self.state.lock();
        state.driver = None;
        irq::mask(self.number);
    }

    /// The device was served: the line may interrupt again.
    pub(crate) fn again(&self) -> Result<(), Errno> {
        let state = self.state.lock();
        if state.bound.is_none() {
            return Err(Errno::ESRCH);
        }
        irq::unmask(self.number);
        Ok(())
    }

    /// Has the line tell `place`, or the kernel.
    fn send(&self, place: Option<&Place>) {
        let mut state = self.state.lock();
        match (place, &state.bound) {
            (Some(place), Some(bound)) => {
                place.attract(self.number, bound.slot as u32);
                irq::unmask(self.number);
                state.direct = true;
            }
            _ if state.direct => {
                irq::send_home(self.number);
                irq::unmask(self.number);
                state.direct = false;
            }
            _ => {}
        }
    }

    fn bind(&self, bound: Bound) {
        let before = self.state.lock().bound.replace(bound);
        drop(before); // not under the lock
    }

    fn unbind(&self, sender: u64) {
        let gone = {
            let mut state = self.state.lock();
            let gone = state.bound.take_if(|bound| bound.sender == sender);
            if gone.is_some() {
                irq::mask(self.number);
                irq::send_home(self.number);
                state.direct = false;
            }
            gone
        };
        drop(gone); // not under the lock
    }
}

impl irq::Handler for Line {
    fn interrupt(&self) {
        let state = self.state.lock();
        if let Some(driver) = state.driver {
            // Not under the lock, which is of a rank below what the driver wakes.
            drop(state);
            return driver.interrupt();
        }
        if !state.direct {
            irq::mask(self.number);
        }
        if let Some(bound) = &state.bound {
            if bound.injected {
                Injected::raise(bound.bell.control(), bound.slot);
            }
            bound.bell.summon();
        }
    }
}

impl State {
    /// Takes its place away if it is that one.
    pub(super) fn leave(&mut self, is_it: impl FnOnce(&Place) -> bool) -> Option<Place> {
        let place = self.place.take_if(|place| is_it(place))?;
        self.send_lines();
        Some(place)
    }

    /// Gives it a place.
    pub(super) fn stay(&mut self, place: Place) {
        self.place = Some(place);
        self.send_lines();
    }

    fn send_lines(&self) {
        for (line, _) in self.slots.iter().flatten().filter_map(|slot| slot.line) {
            line.send(self.place.as_ref());
        }
    }
}

impl Slot {
    /// Its device tells nobody any more.
    pub(super) fn unwire(&mut self) {
        if let Some((line, vector)) = self.line.take() {
            line.unbind(self.id);
            for half in 0..2 {
                self.word.word(uintr::WORD + 4 * half).fetch_and(!((vector >> (32 * half)) as u32), Relaxed);
            }
        }
    }
}

impl Receiver {
    /// A line raises `vector` of `sender` from now on, and does so at once if it is raised. Whether the kernel tells it, who keeps the line off until
    /// [`Line::again`].
    ///
    /// # Errors
    /// `ESRCH`: the right has ended; `EBUSY`: another line is the sender's.
    pub(crate) fn wire(&self, sender: &Sender, line: &'static Line, vector: usize) -> Result<bool, Errno> {
        let bell = self.bell().clone();
        let mut state = self.state.lock();
        let slot = state.slot_of(sender).ok_or(Errno::ESRCH)?;
        if slot.line.is_some() {
            return Err(Errno::EBUSY);
        }
        slot.line = Some((line, 1 << vector));
        sender.set_for_device(vector);
        line.bind(Bound { sender: sender.id(), bell, slot: sender.slot(), injected: self.injected });
        line.send(state.place.as_ref());
        let is_mediated = self.injected || state.controller.is_some();
        drop(state);
        line.again()?;
        Ok(is_mediated)
    }

    /// Ends that.
    pub(crate) fn unwire(&self, sender: &Sender) {
        let mut state = self.state.lock();
        if let Some(slot) = state.slots.get_mut(sender.slot()).and_then(Option::as_mut)
            && slot.id == sender.id()
        {
            slot.unwire();
        }
    }
}
