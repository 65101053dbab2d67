//! What holds of receivers and senders whatever the backend, on the host: each contract is tried with each of the three. Of the hardware there are slots and places, and nothing else:
//! what rings there is not heard.

use super::{Receiver, Sender};
use crate::{
    table,
    tests::{new_process, turn},
    thread::Thread,
};
use abi::{errno::Errno, uintr};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use hal::frame::Frame;

const BACKENDS: [usize; 3] = [uintr::AIA, uintr::NUINTC, uintr::SOFT];
/// Slots of the controller, and places of the hart.
const HARDWARE: usize = 4;

struct Machine {
    thread: Arc<Thread>,
    receiver: Arc<Receiver>,
}

impl Machine {
    fn new(backend: usize) -> Self {
        hal::uintc::pretend(HARDWARE);
        hal::guest_file::pretend(HARDWARE);
        let thread = exec::block_on(new_process(0));
        let task = exec::spawn(exec::Priority::NORMAL, "receiver", async {}).task();
        let receiver = Receiver::new(&thread, task, backend).unwrap();
        Self { thread, receiver }
    }

    fn grant(&self, vectors: u64) -> Result<Arc<Sender>, Errno> {
        exec::block_on(self.receiver.grant(vectors))
    }

    fn revoke(&self, sender: &Sender) -> Result<(), Errno> {
        exec::block_on(self.receiver.revoke(sender))
    }

    /// What the program reads of a slot: what is granted, and its change.
    fn shown(&self, slot: usize) -> (u64, u32) {
        let word =
            |offset| self.receiver.bell().control().word(uintr::GRANTED + slot * uintr::ENTRY + offset).load(Relaxed);
        (u64::from(word(0)) | u64::from(word(4)) << 32, word(uintr::CHANGE))
    }

    fn word(&self, slot: usize) -> Frame {
        self.receiver.state.lock().slots[slot].as_ref().unwrap().word.clone()
    }

    /// The thread's program takes all.
    fn take(&self, slot: usize) -> u64 {
        let word = self.word(slot);
        let half = |offset| u64::from(word.word(uintr::WORD + offset).swap(0, Relaxed));
        half(0) | half(4) << 32
    }

    /// Whether the thread has been told to look at everything.
    fn is_told(&self) -> bool {
        self.thread.take_interrupts()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        exec::block_on(self.receiver.end());
        table::remove_thread(self.thread.tid());
        table::forget(self.thread.process().pid());
        hal::uintc::pretend(0);
        hal::guest_file::pretend(0);
    }
}

fn with_each(contract: impl Fn(&Machine)) {
    let _turn = turn();
    for backend in BACKENDS {
        contract(&Machine::new(backend));
    }
}

#[test]
fn what_is_granted_is_shown_and_no_more_can_be_raised() {
    with_each(|machine| {
        assert_eq!(machine.grant(0).err(), Some(Errno::EINVAL));
        let before = machine.shown(1).1;
        let sender = machine.grant(1 << 63 | 1 << 3).unwrap();
        let (granted, change) = machine.shown(sender.slot());
        assert_eq!((sender.slot(), granted), (1, 1 << 63 | 1 << 3));
        assert_ne!(change, before);
        assert_eq!(sender.raise(4), Err(Errno::EPERM));
        assert_eq!(sender.raise(64), Err(Errno::EINVAL));
        assert_eq!(machine.take(1), 0);
        sender.raise(63).unwrap();
        sender.raise(3).unwrap();
        assert!(machine.is_told());
        assert_eq!(machine.take(1), 1 << 63 | 1 << 3);
        // It tells, and raises nothing.
        sender.raise(uintr::RING).unwrap();
        assert!(machine.is_told());
        assert_eq!(machine.take(1), 0);
    });
}

/// What a vector tells of already needs no ring, until the handler has taken it, and while the right goes on.
#[test]
fn one_more_needs_no_ring_while_the_vector_is_set() {
    with_each(|machine| {
        let sender = machine.grant(1 << 40 | 2).unwrap();
        for vector in [1, 40] {
            assert!(!sender.tells_more(vector));
            sender.raise(vector).unwrap();
            assert!(machine.is_told());
            assert!(sender.tells_more(vector) && !machine.is_told());
            assert_eq!(machine.take(1), 1 << vector);
            assert!(!sender.tells_more(vector));
            assert_eq!(machine.take(1), 1 << vector);
        }
        sender.raise(1).unwrap();
        machine.revoke(&sender).unwrap();
        assert!(!sender.tells_more(1));
        // What a device's handler sets is no message.
        let of_device = machine.grant(2).unwrap();
        of_device.set_for_device(1);
        assert!(!of_device.tells_more(1));
    });
}

#[test]
fn there_are_as_many_senders_as_slots() {
    with_each(|machine| {
        let senders: alloc::vec::Vec<_> = (1..uintr::SLOTS).map(|_| machine.grant(1).unwrap()).collect();
        assert_eq!(machine.grant(1).err(), Some(Errno::ENOSPC));
        assert!(senders.iter().map(|sender| sender.slot()).eq(1..uintr::SLOTS));
        // Those for whom the controller has nothing are rung for by the kernel.
        senders[uintr::SLOTS - 2].raise(0).unwrap();
        assert!(machine.is_told());
    });
}

#[test]
fn a_right_that_is_revoked_has_ended_and_its_slot_is_anothers() {
    with_each(|machine| {
        let (old, other) = (machine.grant(2).unwrap(), machine.grant(4).unwrap());
        old.raise(1).unwrap();
        let (word, change) = (machine.word(1), machine.shown(1).1);
        machine.revoke(&old).unwrap();
        assert_eq!(machine.shown(1).0, 0);
        assert_ne!(machine.shown(1).1, change);
        assert_eq!(word.word(uintr::CLOSED).load(Relaxed), 1);
        assert_eq!((old.raise(1), machine.revoke(&old)), (Err(Errno::ESRCH), Err(Errno::ESRCH)));
        let new = machine.grant(2).unwrap();
        // What was sent to the slot, and what is set in its old page, is not the new one's.
        word.word(uintr::WORD).fetch_or(2, Relaxed);
        assert_eq!((new.slot(), machine.take(1)), (1, 0));
        machine.is_told();
        assert_eq!(old.raise(1), Err(Errno::ESRCH));
        drop(old);
        assert!(!machine.is_told());
        other.raise(2).unwrap();
        assert_eq!(machine.take(2), 4);
    });
}

#[test]
fn a_slot_is_free_when_what_was_sent_by_who_is_gone_was_taken() {
    with_each(|machine| {
        let gone = machine.grant(2).unwrap();
        gone.raise(1).unwrap();
        machine.is_told();
        drop(gone);
        // It is told of once more: there may have been no ring.
        assert!(machine.is_told());
        let next = machine.grant(2).unwrap();
        assert_eq!((next.slot(), machine.take(1)), (2, 2));
        assert_eq!(machine.grant(2).unwrap().slot(), 1);
    });
}

#[test]
fn rights_end_with_their_receiver() {
    with_each(|machine| {
        let sender = machine.grant(1).unwrap();
        let word = machine.word(1);
        exec::block_on(machine.receiver.end());
        assert_eq!(word.word(uintr::CLOSED).load(Relaxed), 1);
        assert_eq!((sender.raise(0), sender.raise(uintr::RING)), (Err(Errno::ESRCH), Err(Errno::ESRCH)));
        assert!(machine.receiver.doorbell(&sender, false).is_none());
        assert_eq!((machine.grant(1).err(), machine.revoke(&sender)), (Some(Errno::ESRCH), Err(Errno::ESRCH)));
        assert!(!machine.is_told());
    });
}

/// AIA: a doorbell is a page where there is a place, and the kernel rings where there is none.
#[test]
fn a_place_that_is_given_up_takes_its_doorbells_with_it() {
    let _turn = turn();
    let machine = Machine::new(uintr::AIA);
    let sender = machine.grant(1).unwrap();
    assert!(machine.receiver.doorbell(&sender, true).is_none());
    let place = exec::block_on(machine.receiver.settle(&machine.thread)).unwrap();
    let hart = place.hart();
    machine.receiver.keep(place);
    assert!(machine.receiver.doorbell(&sender, true).is_some());
    // Rung at the place, not by waking.
    sender.raise(0).unwrap();
    assert!(!machine.is_told());
    assert!(machine.receiver.part_with(hart + 1).is_none());
    let place = machine.receiver.part_with(hart).unwrap();
    assert!(machine.receiver.doorbell(&sender, true).is_none());
    // What was rung at the place is gone with it, and was set in the word.
    exec::block_on(machine.receiver.depart(place));
    assert!(machine.is_told());
    assert_eq!(machine.take(1), 1);
    sender.raise(0).unwrap();
    assert!(machine.is_told());
    // All of the hart's are there again.
    let places: alloc::vec::Vec<_> =
        (0..HARDWARE).map(|_| exec::block_on(machine.receiver.settle(&machine.thread)).unwrap()).collect();
    assert!(places.iter().map(hal::guest_file::Place::number).eq(1..=HARDWARE));
}

/// NUINTC: the controller's slots are given back with the right and the receiver; who sleeps is told by the kernel.
#[test]
fn the_controller_has_its_slots_again() {
    let _turn = turn();
    for _ in 0..10 {
        let machine = Machine::new(uintr::NUINTC);
        let (first, second) = (machine.grant(1).unwrap(), machine.grant(1).unwrap());
        let bells = |virtually| [&first, &second].map(|sender| machine.receiver.doorbell(sender, virtually).is_some());
        // In world `vm` there is no controller.
        assert_eq!((bells(false), bells(true)), ([true, true], [false, false]));
        let asleep = |slot: usize| machine.word(slot).word(uintr::ASLEEP).load(Relaxed);
        assert!(!machine.receiver.fall_asleep());
        assert_eq!((asleep(1), asleep(2)), (1, 1));
        // A right that is granted meanwhile is told so, too.
        let third = machine.grant(1).unwrap();
        assert_eq!(asleep(third.slot()), 1);
        // A user has no more than are left for others.
        assert!(machine.receiver.doorbell(&third, false).is_none());
        machine.receiver.wake_up();
        // Who has no place there calls always.
        assert_eq!((asleep(1), asleep(3)), (0, 1));
        first.set(0);
        assert!(machine.receiver.fall_asleep());
    }
}

/// SOFT: a slot that is rung is pending, and there is never a doorbell.
#[test]
fn what_the_kernel_injects_is_pending() {
    let _turn = turn();
    let machine = Machine::new(uintr::SOFT);
    let senders = [1, 2].map(|vectors| machine.grant(vectors).unwrap());
    assert!(senders.iter().all(|sender| machine.receiver.doorbell(sender, false).is_none()));
    // So they are told to call.
    assert!([1, 2].iter().all(|slot| machine.word(*slot).word(uintr::ASLEEP).load(Relaxed) == 1));
    senders[1].raise(1).unwrap();
    assert_eq!(machine.receiver.bell().control().word(uintr::PENDING).load(Relaxed), 1 << 2);
    assert!(machine.is_told());
}
