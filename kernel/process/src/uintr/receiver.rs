//! A thread that takes user interrupts, as others see it.

use super::{Sender, injected::Injected};
use crate::thread::Thread;
use abi::{errno::Errno, uintr};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{any::Any, sync::atomic::Ordering::Relaxed};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    guest_file::{Owner, Place, take_place},
    space::DevicePage,
    sync::{IrqLock, SpinLock, rank},
};
use io::file::File;
use mem::{Account, Backing, Charge, Lent, Loan, Loans, Room, new_object_id};
use zerocopy::IntoBytes;

/// What a receiver or a sender costs beside its page.
const BYTES: usize = 1 << 10;

/// A slot that was granted.
struct Slot {
    sender: Weak<Sender>,
    /// The sender's [`Backing::id`].
    id: u64,
    vectors: u64,
    word: Frame,
    /// The granting is done, and the program was told.
    granted: bool,
}

impl Slot {
    /// Whether its sender is gone, with its mappings, and what it sent was taken.
    fn is_over(&self) -> bool {
        // Relaxed: nobody writes it any more but the receiver, whose swap has the last word.
        let word = |half| self.word.word(uintr::WORD + half).load(Relaxed);
        self.granted && self.sender.strong_count() == 0 && word(0) | word(4) == 0
    }
}

struct State {
    slots: Vec<Option<Slot>>,
    /// Slots whose word pages may still be mapped from an earlier use, a bit each.
    used: u64,
    place: Option<Place>,
    /// The thread takes no interrupts any more.
    ended: bool,
}

/// Whom to wake.
struct Whom {
    thread: Arc<Thread>,
    task: exec::TaskRef,
}

/// See the module.
pub struct Receiver {
    id: u64,
    account: Arc<Account>,
    control: Frame,
    /// Its interrupts are injected: it has no place.
    injected: bool,
    state: SpinLock<State>,
    /// None when the thread has ended.
    whom: IrqLock<Option<Whom>>,
    /// Mappings of the word pages.
    loans: Loans,
    _charge: Charge,
}

impl Receiver {
    /// For a thread that runs in `task`.
    pub(super) fn new(thread: &Arc<Thread>, task: exec::TaskRef, injected: bool) -> Result<Arc<Self>, Errno> {
        let account = thread.process().account().clone();
        let charge = account.charge(PAGE_SIZE + BYTES)?;
        let control = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        let mut slots = Vec::new();
        slots.make_exact_room(uintr::SLOTS)?;
        slots.resize_with(uintr::SLOTS, || None);
        let id = new_object_id();
        let state = State { slots, used: 0, place: None, ended: false };
        Ok(Arc::new(Self {
            id,
            account,
            control,
            injected,
            state: SpinLock::new(rank::PIPE, state),
            whom: IrqLock::new(rank::WAIT, Some(Whom { thread: thread.clone(), task })),
            loans: Loans::new(id),
            _charge: charge,
        }))
    }

    /// Its control page.
    pub(super) fn control(&self) -> &Frame {
        &self.control
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
        let (slot, used) = self.reserve(id, &word, vectors)?;
        // From here on the slot goes back when nobody has the sender any more, and what it sent was taken.
        let sender = Arc::new(Sender::new(id, self.clone(), slot, vectors, word, charge));
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
            entry.granted = true;
        }
        self.publish(&state);
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
        let before =
            state.slots[slot].replace(Slot { sender: Weak::new(), id, vectors, word: word.clone(), granted: false });
        self.publish(&state);
        drop(state);
        drop(before); // frees a frame: not under the lock
        Ok((slot, used))
    }

    /// Shows the program which slots are granted: those that have a sender.
    fn publish(&self, state: &State) {
        let granted = |slot: &Option<Slot>| slot.as_ref().filter(|slot| slot.granted).map_or(0, |slot| slot.vectors);
        for (index, slot) in state.slots.iter().enumerate() {
            self.control.write(uintr::GRANTED + 8 * index, granted(slot).as_bytes());
        }
    }

    /// Ends a sender's right.
    ///
    /// # Errors
    /// `ESRCH`: it had ended.
    pub async fn revoke(&self, sender: &Sender) -> Result<(), Errno> {
        self.remove(sender.slot(), |slot| slot.id == sender.id()).ok_or(Errno::ESRCH)?;
        sender.close();
        sender.loans.take_back(None).await;
        Ok(())
    }

    /// Frees a slot that was reserved for a sender and never granted.
    pub(super) fn abandon(&self, slot: usize, id: u64) {
        let _ = self.remove(slot, |slot| slot.id == id && !slot.granted);
    }

    fn remove(&self, slot: usize, is_it: impl Fn(&Slot) -> bool) -> Option<()> {
        let mut state = self.state.lock();
        let entry = state.slots.get_mut(slot)?;
        if !entry.as_ref().is_some_and(is_it) {
            return None;
        }
        let removed = entry.take();
        self.publish(&state);
        drop(state);
        drop(removed); // frees a frame: not under the lock
        Some(())
    }

    /// The page that rings at the receiver's place, if it has one now, for a sender that has its right.
    pub(super) fn doorbell(&self, sender: &Sender) -> Option<DevicePage> {
        let state = self.state.lock();
        state.has(sender).then(|| state.place.as_ref().map(Place::doorbell))?
    }

    /// Tells the thread of what a sender has set in its word.
    ///
    /// # Errors
    /// `ESRCH`: the right has ended.
    pub(super) fn ring(&self, sender: &Sender) -> Result<(), Errno> {
        let state = self.state.lock();
        if !state.has(sender) {
            return Err(Errno::ESRCH);
        }
        match &state.place {
            Some(place) => place.ring(sender.slot() as u32),
            None => {
                drop(state);
                if self.injected {
                    Injected::raise(&self.control, sender.slot());
                }
                self.summon();
            }
        }
        Ok(())
    }

    /// Has the thread look at everything, wherever it is.
    fn summon(&self) {
        let thread = self.whom.lock().as_ref().map(|whom| whom.thread.clone());
        if let Some(thread) = thread {
            thread.note_interrupt(true);
            thread.notify();
        }
    }

    /// Gets a place on the hart that this runs on, in place of the one that it has. By the thread itself.
    pub(super) async fn settle(self: &Arc<Self>) -> Option<hal::guest_file::Place> {
        let old = self.state.lock().place.take();
        if let Some(old) = old {
            self.take_doorbells_back().await;
            drop(old);
        }
        let owner: Arc<dyn Owner> = self.clone();
        loop {
            if let Some(place) = take_place(&owner) {
                return Some(place);
            }
            HERE[hal::hart::id()].evict_one().await?;
        }
    }

    /// What arrives, arrives at `place` from now on.
    pub(super) fn take(self: &Arc<Self>, place: Place) {
        HERE[place.hart()].enter(self);
        self.state.lock().place = Some(place);
    }

    async fn take_doorbells_back(&self) {
        let senders: Vec<_> = {
            let state = self.state.lock();
            state.slots.iter().flatten().filter_map(|slot| slot.sender.upgrade()).collect()
        };
        for sender in senders {
            sender.loans.take_back(None).await;
        }
    }

    /// The thread takes no interrupts any more. What was mapped stays: it leads nowhere.
    pub(super) fn end(&self) {
        let (slots, place) = {
            let mut state = self.state.lock();
            state.ended = true;
            (core::mem::take(&mut state.slots), state.place.take())
        };
        for sender in slots.iter().flatten().filter_map(|slot| slot.sender.upgrade()) {
            sender.close();
        }
        drop(place);
        let whom = self.whom.lock().take();
        drop(whom);
    }
}

impl State {
    fn has(&self, sender: &Sender) -> bool {
        !self.ended
            && self
                .slots
                .get(sender.slot())
                .is_some_and(|slot| slot.as_ref().is_some_and(|slot| slot.id == sender.id()))
    }
}

impl Owner for Receiver {
    fn arrived(&self) {
        if let Some(whom) = &*self.whom.lock() {
            whom.thread.note_interrupt(false);
            whom.task.wake();
        }
    }
}

impl Backing for Receiver {
    fn frame_now(&self, _index: u64) -> Result<Option<Frame>, Errno> {
        Err(Errno::EFAULT)
    }

    fn frame(&self, _index: u64) -> mem::BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(core::future::ready(Err(Errno::EFAULT)))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        if index == 0 {
            return Ok(Lent::Frame(self.control.clone()));
        }
        self.loans.note(loan)?;
        let state = self.state.lock();
        let slot = state.slots.get(index as usize).and_then(Option::as_ref).ok_or(Errno::EFAULT)?;
        Ok(Lent::Frame(slot.word.clone()))
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

/// The receivers that got places of a hart, the latest last. Some may have none any more.
struct Here(SpinLock<Vec<Weak<Receiver>>>);

static HERE: [Here; hal::hart::MAX] = [const { Here(SpinLock::new(rank::PIPE, Vec::new())) }; hal::hart::MAX];

impl Here {
    fn enter(&self, receiver: &Arc<Receiver>) {
        let mut here = self.0.lock();
        here.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&Arc::downgrade(receiver)));
        here.push(Arc::downgrade(receiver));
    }

    /// Has the first give its place up. `None`: nobody has one.
    async fn evict_one(&self) -> Option<()> {
        loop {
            let first = {
                let mut here = self.0.lock();
                if here.is_empty() {
                    return None;
                }
                here.remove(0)
            };
            let Some(receiver) = first.upgrade() else { continue };
            let place = receiver.state.lock().place.take();
            if let Some(place) = place {
                receiver.take_doorbells_back().await;
                // What has arrived there is gone: it looks for itself when it gets another. If it waits, it was told.
                drop(place);
                return Some(());
            }
        }
    }
}
