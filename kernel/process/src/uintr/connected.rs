//! Receivers and senders that are connected to each other by the controller (backend `nuintc`; note 0008, section 8).
//!
//! **A receiver that sleeps.** Nobody listens for it, so a doorbell tells nobody; what was rung is told when it runs again. Who sends looks whether it sleeps, and comes
//! to the kernel if so:
//!
//! ```text
//! sender                          kernel, before the thread rests
//! set the bit in the word         set ASLEEP in each word page
//! fence                           fence
//! ASLEEP set: call; else ring     a word has a bit: do not rest
//! ```
//!
//! One of the two sees what the other has stored, since each stores, fences and loads. The call tells the thread to look and sets no bit: the thread, which may have
//! seen the one that is set, would take it twice. A sender that does not look is not heard before the thread runs again, to its own loss.

use super::{Receiver, receiver::State, slot::Slot};
use abi::uintr;
use alloc::sync::Arc;
use core::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};
use hal::uintc::ReceiverSlot;

impl State {
    /// A right that was granted gets a place at the controller, if there is one and a place is left. It is told whether its doorbell is heard.
    pub(super) fn connect(&mut self, slot: usize) {
        let (controller, asleep) = (&self.controller, self.asleep);
        let Some(Some(entry)) = self.slots.get_mut(slot) else { return };
        if let Some(controller) = controller {
            entry.wire = controller.grant(slot as u32);
            tell_sender(entry, asleep);
        } else if asleep {
            // The kernel enters the handlers, and hears doorbells only by their traps.
            tell_sender(entry, true);
        }
    }

    fn tell_senders(&mut self, asleep: bool) {
        self.asleep = asleep;
        for slot in self.slots.iter().flatten() {
            tell_sender(slot, asleep);
        }
    }
}

/// Tells the sender in a slot whether to call: the receiver sleeps, or the doorbell is at no controller, so that a store to it is a trap, which costs more than the call.
fn tell_sender(slot: &Slot, asleep: bool) {
    slot.word.word(uintr::ASLEEP).store(u32::from(asleep || slot.wire.is_none()), Relaxed);
}

impl Receiver {
    /// What its sender in `slot` stores to ring.
    pub(super) fn ring_number(&self, slot: usize) -> u32 {
        self.state.lock().controller.as_ref().map_or(slot as u32, |controller| controller.uiid())
    }

    /// Its place at the controller.
    pub(super) fn controller(&self) -> Option<Arc<ReceiverSlot>> {
        self.state.lock().controller.clone()
    }

    /// Its thread rests, and whoever sends calls the kernel. `true`: something was sent before, or its timer is due.
    pub(super) fn fall_asleep(&self) -> bool {
        let mut state = self.state.lock();
        state.tell_senders(true);
        // See the module.
        fence(SeqCst);
        let is_due = self.bell().control().word(uintr::PENDING).load(Relaxed) != 0;
        is_due || state.slots.iter().flatten().any(Slot::has_message)
    }

    /// Its thread runs again.
    pub(super) fn wake_up(&self) {
        let mut state = self.state.lock();
        if state.asleep {
            state.tell_senders(false);
        }
    }

    /// Gives its place at the controller back, and those of its senders: nobody has the pages of them any more then.
    pub(super) async fn disconnect(&self) {
        let Some(controller) = self.state.lock().controller.take() else { return };
        self.take_doorbells_back().await;
        self.loans.take_back(Some(uintr::CLAIM as u64)).await;
        for index in 1..uintr::SLOTS {
            let wire =
                self.state.lock().slots.get_mut(index).and_then(Option::as_mut).and_then(|slot| slot.wire.take());
            drop(wire);
        }
        drop(controller);
    }
}
