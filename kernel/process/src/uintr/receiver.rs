//! A thread that takes user interrupts, as others see it.

use super::{
    Sender,
    bell::Bell,
    errands::Errands,
    injected::Injected,
    places,
    slot::{Right, Slot},
};
use crate::thread::Thread;
use abi::{errno::Errno, uintr};
use alloc::{sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{
        Ordering::{Relaxed, Release},
        fence,
    },
};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    guest_file::{Owner, Place},
    record::record,
    space::DevicePage,
    sync::{SpinLock, rank},
    uintc::ReceiverSlot,
};
use io::file::File;
use mem::{Account, Backing, Charge, Lent, Loan, Loans, list, new_object_id};
use trace::{Event, Interrupted};
use zerocopy::IntoBytes;

/// What a receiver or a sender costs beside its page and what follows: itself, and its open file.
const BYTES: usize = 1 << 10;
/// Mappings of a doorbell that the hardware serves. At others the kernel rings.
const DOORBELLS: usize = 32;

pub(super) struct State {
    pub(super) slots: Vec<Option<Slot>>,
    /// Slots whose word pages may still be mapped from an earlier use, a bit each.
    used: u64,
    pub(super) place: Option<Place>,
    /// What the program is told of slots has changed so often, and once more.
    changes: u32,
    /// Its place at the controller, if it has one.
    pub(super) controller: Option<Arc<ReceiverSlot>>,
    /// Senders were told that it sleeps: always, where the kernel enters its handlers.
    pub(super) asleep: bool,
    /// The thread takes no interrupts any more.
    ended: bool,
}

/// See the module.
pub struct Receiver {
    id: u64,
    /// The number of its thread's task, for the trace.
    task: u64,
    account: Arc<Account>,
    /// Address of its thread's space, which is there until it has ended: its pages are lent there and nowhere else.
    space: usize,
    /// Word page of the slots that nobody has: a handler may look there that was told of a sender who is gone.
    nothing: Frame,
    /// Its interrupts are injected: it has no place.
    pub(super) injected: bool,
    pub(super) state: SpinLock<State>,
    bell: Arc<Bell>,
    /// What its thread does for others.
    pub(super) errands: Errands,
    /// Mappings of the word pages.
    pub(super) loans: Loans,
    _charge: Charge,
}

impl Receiver {
    /// For a thread that runs in `task`.
    pub(super) fn new(thread: &Arc<Thread>, task: exec::TaskRef, backend: usize) -> Result<Arc<Self>, Errno> {
        let account = thread.process().account().clone();
        let charge = account.charge(2 * PAGE_SIZE + BYTES + uintr::SLOTS * size_of::<Option<Slot>>())?;
        // When all are taken, there is the next best backend.
        let controller = match backend {
            uintr::NUINTC => {
                let user = thread.process().identity().euid;
                Some(Arc::new(ReceiverSlot::take(user).ok_or(Errno::ENODEV)?))
            }
            _ => None,
        };
        let control = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        let timebase = if backend == uintr::AIA { hal::user::own_timebase() } else { 0 };
        control.write(uintr::TIMEBASE, timebase.as_bytes());
        let nothing = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        let mut slots = list(uintr::SLOTS)?;
        slots.resize_with(uintr::SLOTS, || None);
        let id = new_object_id();
        // Each word page once, and the page that claims: the receiver's program has no use for more.
        let loans = Loans::new(id, uintr::SLOTS, &account)?;
        let injected = backend == uintr::SOFT;
        let state = State { slots, used: 0, place: None, changes: 1, controller, asleep: injected, ended: false };
        Ok(Arc::new(Self {
            id,
            task: task.id(),
            account,
            space: Arc::as_ptr(&thread.space()) as usize,
            nothing,
            injected,
            state: SpinLock::new(rank::PIPE, state),
            bell: Bell::new(thread, task, control, timebase != 0),
            errands: Errands::new(),
            loans,
            _charge: charge,
        }))
    }

    /// Notes what is done with it.
    #[inline]
    fn record(&self, what: Interrupted) {
        record(|| Event::UserInterrupt { task: self.task, what });
    }

    /// How its thread is told of what arrives.
    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// A sender that may raise `vectors`.
    ///
    /// # Errors
    /// `EINVAL`, `ENOSPC`, `ENOMEM`; `ESRCH`: the thread has ended.
    pub async fn grant(self: &Arc<Self>, vectors: u64) -> Result<Arc<Sender>, Errno> {
        if vectors == 0 {
            return Err(Errno::EINVAL);
        }
        let charge = self.account.charge(PAGE_SIZE + BYTES)?;
        let word = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        let id = new_object_id();
        let loans = Loans::new(id, DOORBELLS, &self.account)?;
        let (slot, used) = self.reserve(id, &word, vectors)?;
        // From here on the slot goes back when nobody has the sender any more, and what it sent was taken.
        let sender = Arc::new(Sender::new(id, self.clone(), slot, vectors, word, loans, charge));
        if used {
            // The page that was there is not this sender's: whoever had it must not be heard through it.
            self.loans.take_back(Some(slot as u64)).await;
        }
        let mut state = self.state.lock();
        if state.ended {
            return Err(Errno::ESRCH);
        }
        if let Some(Some(entry)) = state.slots.get_mut(slot) {
            entry.sender = Arc::downgrade(&sender);
            entry.right = Right::Granted;
        }
        state.connect(slot);
        self.show(&mut state, slot);
        drop(state);
        Ok(sender)
    }

    /// Takes a free slot; whether it was used before.
    fn reserve(&self, id: u64, word: &Frame, vectors: u64) -> Result<(usize, bool), Errno> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(Errno::ESRCH);
        }
        // What a sender that is gone has left in its word is still to be taken.
        let free = |slot: &usize| state.slots[*slot].as_ref().is_none_or(Slot::is_over);
        let slot = (1..uintr::SLOTS).find(free).ok_or(Errno::ENOSPC)?;
        let used = state.used & 1 << slot != 0;
        state.used |= 1 << slot;
        let before = state.slots[slot].replace(Slot::new(id, vectors, word.clone()));
        self.show(&mut state, slot);
        drop(state);
        drop(before); // frees a frame: not under the lock
        Ok((slot, used))
    }

    /// Shows the program what is granted to a slot. A handler that goes by what it was shown before finds that it has changed (`abi::uintr`).
    fn show(&self, state: &mut State, slot: usize) {
        let granted = state.slots.get(slot).and_then(Option::as_ref).map_or(0, Slot::granted);
        let entry = uintr::GRANTED + slot * uintr::ENTRY;
        let mut count = || {
            state.changes = state.changes.wrapping_add(1);
            self.bell.control().word(entry + uintr::CHANGE).store(state.changes, Relaxed);
        };
        // The fences pair with those between the program's loads. Who sees the vectors sees the first change; who sees what was sent behind the end of
        // a right sees the second (tests/model/taking.pml).
        count();
        fence(Release);
        self.bell.control().word(entry).store(granted as u32, Relaxed);
        self.bell.control().word(entry + 4).store((granted >> 32) as u32, Relaxed);
        fence(Release);
        count();
    }

    /// Ends a sender's right.
    ///
    /// # Errors
    /// `ESRCH`: it had ended.
    pub async fn revoke(&self, sender: &Sender) -> Result<(), Errno> {
        {
            let mut state = self.state.lock();
            let slot = state.slot_of(sender).ok_or(Errno::ESRCH)?;
            slot.right = Right::Revoked;
            slot.unwire();
            if let Some(wire) = &slot.wire {
                wire.silence();
            }
            self.show(&mut state, sender.slot());
        }
        self.record(Interrupted::Revoked(sender.slot() as u16));
        sender.close();
        sender.loans.take_back(None).await;
        self.remove(sender.slot(), sender.id());
        Ok(())
    }

    /// Nobody has the sender any more.
    pub(super) fn part_from(&self, sender: &Sender) {
        let (wire, left) = {
            let mut state = self.state.lock();
            // Also of one whose revoking was given up: nobody has its page any more.
            let slot = state.slots.get_mut(sender.slot()).and_then(Option::as_mut);
            let wire = slot.filter(|slot| slot.id == sender.id()).and_then(|slot| {
                self.note_end(slot, sender.slot());
                slot.wire.take()
            });
            (wire, state.slot_of(sender).map(|slot| (slot.right, slot.has_message())))
        };
        drop(wire); // not under the lock
        match left {
            // The granting was given up.
            Some((Right::Reserved, _)) => self.remove(sender.slot(), sender.id()),
            // It is still to be taken, and there may be no ring that tells of it.
            Some((Right::Granted, true)) => drop(self.ring(sender)),
            _ => {}
        }
    }

    /// Frees the slot of a sender.
    fn remove(&self, slot: usize, id: u64) {
        let mut state = self.state.lock();
        let removed = state.slots.get_mut(slot).and_then(|slot| slot.take_if(|slot| slot.id == id));
        self.show(&mut state, slot);
        drop(state);
        drop(removed); // frees a frame: not under the lock
    }

    /// The page that rings at the receiver's place, if it has one now, for a sender that has its right. From a space that `is_virtual` there is no controller
    /// (docs/nuintc.md, section 3): there the kernel rings.
    pub(super) fn doorbell(&self, sender: &Sender, is_virtual: bool) -> Option<DevicePage> {
        let mut state = self.state.lock();
        match &state.slot_of(sender)?.wire {
            Some(_) if is_virtual => None,
            Some(wire) => Some(wire.doorbell()),
            None => state.place.as_ref().map(Place::doorbell),
        }
    }

    /// Tells the thread of what a sender has set in its word.
    ///
    /// # Errors
    /// `ESRCH`: the right has ended.
    pub(super) fn ring(&self, sender: &Sender) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.slot_of(sender).ok_or(Errno::ESRCH)?;
        self.record(Interrupted::Rung(sender.slot() as u16));
        match &state.place {
            Some(place) => place.ring(sender.slot() as u32),
            None => {
                drop(state);
                if self.injected {
                    Injected::raise(self.bell.control(), sender.slot());
                }
                self.bell.summon();
            }
        }
        Ok(())
    }

    /// Gets a place on the hart that this runs on, in place of the one that it has. By the thread itself. `None`: it was killed.
    pub(super) async fn settle(self: &Arc<Self>, thread: &Thread) -> Option<Place> {
        let old = self.leave(|_| true);
        if let Some(old) = old {
            self.depart(old).await;
        }
        places::obtain(self, thread).await
    }

    /// What arrives, arrives at `place` from now on.
    pub(super) fn keep(&self, place: Place) {
        let hart = place.hart();
        self.record(Interrupted::Placed(noted(&place)));
        self.state.lock().stay(place);
        places::kept(hart);
    }

    /// Gives its place away if that is on `hart`, which is the caller's, so that the thread does not run there now. Behind it, [`Receiver::depart`].
    pub(super) fn part_with(&self, hart: usize) -> Option<Place> {
        self.leave(|place| place.hart() == hart)
    }

    /// Has no place any more, if it has one that is so. Noted before it can have the next.
    fn leave(&self, which: impl FnOnce(&Place) -> bool) -> Option<Place> {
        let mut state = self.state.lock();
        let place = state.leave(which)?;
        self.record(Interrupted::Displaced(noted(&place)));
        Some(place)
    }

    /// Frees a place that was the receiver's until now. Not to be dropped before its end.
    pub(super) async fn depart(&self, place: Place) {
        self.take_doorbells_back().await;
        places::free(place);
        // What was rung there is gone, and its word was set before. The thread may have another place by now, and have looked before that.
        let has_message = self.state.lock().slots.iter().flatten().any(Slot::has_message);
        if has_message {
            self.bell.summon();
        }
    }

    /// Its senders, one after the other: no list of them has to be made.
    fn senders(&self) -> impl Iterator<Item = Arc<Sender>> {
        (1..uintr::SLOTS).filter_map(|index| self.state.lock().slots.get(index)?.as_ref()?.sender())
    }

    /// Nobody's page rings any more.
    pub(super) async fn take_doorbells_back(&self) {
        for sender in self.senders() {
            sender.loans.take_back(None).await;
        }
    }

    /// The thread takes no interrupts any more. Words that are mapped stay: they lead nowhere.
    pub(super) async fn end(&self) {
        self.close();
        let place = self.leave(|_| true);
        if let Some(place) = place {
            self.depart(place).await;
        }
        self.disconnect().await;
        let slots = core::mem::take(&mut self.state.lock().slots);
        drop(slots); // frees frames: not under the lock
    }

    /// Its senders have no right any more. If it has a place, that is only free when it is evicted from there, or behind [`Receiver::end`].
    pub(super) fn close(&self) {
        {
            let mut state = self.state.lock();
            state.end();
            let slots = state.slots.iter_mut().enumerate();
            slots
                .filter_map(|(number, slot)| Some((number, slot.as_mut()?)))
                .for_each(|(number, slot)| self.note_end(slot, number));
        }
        self.senders().for_each(|sender| sender.close());
        self.bell.end();
        self.errands.clear();
    }

    /// Notes the end of the right in a slot, if it ends of itself. Under the lock: the next that has the slot comes behind it.
    fn note_end(&self, slot: &mut Slot, number: usize) {
        if slot.note_end() {
            self.record(Interrupted::Ended(number as u16));
        }
    }
}

/// A place as the trace has it.
fn noted(place: &Place) -> trace::Place {
    trace::Place { hart: place.hart() as u8, file: place.number() as u8 }
}

impl State {
    fn end(&mut self) {
        self.ended = true;
        self.slots.iter_mut().flatten().for_each(Slot::unwire);
    }

    /// The slot of a sender whose right has not ended.
    pub(super) fn slot_of(&mut self, sender: &Sender) -> Option<&mut Slot> {
        let ended = self.ended;
        let slot = self.slots.get_mut(sender.slot())?.as_mut()?;
        (!ended && slot.id == sender.id() && slot.right != Right::Revoked).then_some(slot)
    }
}

impl Owner for Receiver {
    fn arrived(&self) {
        self.bell.arrived();
    }
}

impl Backing for Receiver {
    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        // Registers of the thread are in it: a child that was made by `fork` has the mapping and the descriptor, and may be another user's by now.
        if self.state.lock().ended || loan.space() as usize != self.space {
            return Err(Errno::EFAULT);
        }
        if index == 0 {
            return Ok(Lent::Frame(self.bell.control().clone()));
        }
        self.loans.note(&loan)?;
        let mut state = self.state.lock();
        if index == uintr::CLAIM as u64 {
            let controller = state.controller.as_ref().ok_or(Errno::EFAULT)?;
            return Ok(Lent::Device(controller.claim_page()));
        }
        let bit = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).ok_or(Errno::EFAULT)?;
        state.used |= bit;
        let word = state.slots.get(index as usize).and_then(Option::as_ref).map_or(&self.nothing, |slot| &slot.word);
        Ok(Lent::Frame(word.clone()))
    }

    fn len_pages(&self) -> u64 {
        uintr::RECEIVER_PAGES as u64
    }

    fn id(&self) -> u64 {
        self.id
    }
}

/// The descriptor of a receiver.
pub struct ReceiverFile(pub Arc<Receiver>);

impl File for ReceiverFile {
    fn events(&self) -> u32 {
        0
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
