//! Threads of a process that take signals for each other: what is sent to all of them is taken by one that does not mask it.
//!
//! Who sends to all rings the thread that has granted the right, its *home*. That takes the signal, or has another look for it by a right that each member has given to the group. What is pending for all stays where its senders
//! have put it; whoever looks has the lock, with its own interrupts off: so no handler of its own can want the lock meanwhile. Under it nothing is allocated or freed, for who waits for it may have interrupted an allocation.
//!
//! **Whose memory.** The group reaches what a right's senders share by a mapping that is its own, as a sender has one, and not by the pages of the right's receiver: those go with their thread, which may
//! have forgotten its [`Signals`](super::Signals).

use super::inner::Words;
use super::{Info, Inner};
use crate::io::{Error, Result};
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::{process, uintr};
use abi::Errno;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use signal::area::{self, at};
use signal::group;
use signal::state::{AREAS, Areas, State};

/// Words of an area that is nobody's page.
type Heir = [AtomicU64; at::WORDS];

/// Those threads, and what is pending for all of them.
pub struct Group {
    /// Of these threads: a child made by `fork` has none of them.
    process: i32,
    told: group::Group,
    shared: Mutex<Shared>,
    /// What they send to each other.
    own: Heir,
}

/// What the lock guards.
struct Shared {
    state: State<()>,
    places: [Option<Place>; AREAS],
    rings: [Option<Ring>; group::MEMBERS],
}

/// Has a member look.
pub(super) struct Ring {
    pub(super) sender: uintr::Sender,
    pub(super) vector: u32,
}

/// What comes by a right to send to all.
pub(super) struct Place {
    /// As long as the right lasts: with it the receiver's slot is no one else's, whoever else has the right.
    right: Option<uintr::Sender>,
    member: usize,
    slot: usize,
    /// Where what is pending goes when its home leaves. Made before, as that may not allocate.
    heir: Box<Heir>,
    /// It is there: senders are not heard any more.
    is_inherited: bool,
}

impl Place {
    fn words(&self) -> Words {
        let right = self.right.as_ref().filter(|_| !self.is_inherited);
        Words(right.map_or(self.heir.as_ptr(), uintr::Sender::area))
    }

    /// Whether its home has ended and left nobody to say so.
    fn is_orphan(&self) -> bool {
        !self.is_inherited && self.right.as_ref().is_some_and(uintr::Sender::is_closed)
    }

    /// Whether it can be another's.
    fn is_over(&self) -> bool {
        (self.is_inherited || self.right.is_none()) && area::queued(&self.words()) == 0
    }

    fn is_of(&self, member: usize, slot: usize) -> bool {
        self.right.is_some() && self.member == member && self.slot == slot
    }

    /// The right has ended: nothing that its senders write from now on is seen. What they have queued stays pending, as much as there are places for, whatever they do meanwhile.
    fn bequeath(&mut self) {
        let (words, heir) = (self.words(), Words(self.heir.as_ptr()));
        for signal in signal::REAL_TIME {
            while let Some(value) = area::take(&words, signal) {
                if area::send(&heir, signal, value).is_err() {
                    break;
                }
            }
        }
        self.is_inherited = true;
    }
}

fn no_words() -> Heir {
    [const { AtomicU64::new(0) }; at::WORDS]
}

struct Places<'a>(&'a Heir, &'a [Option<Place>; AREAS]);

impl Areas for Places<'_> {
    type Area = Words;

    fn area(&self, number: usize) -> Words {
        self.1[number].as_ref().map_or(Words(self.0.as_ptr()), Place::words)
    }

    fn may_signal(&self, number: usize) -> bool {
        number == 0 || self.1[number].is_some()
    }
}

/// A thread's being one of them.
pub(super) struct Member {
    group: Arc<Group>,
    number: usize,
}

impl Group {
    /// Of nobody yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            process: process::id(),
            told: group::Group::new(),
            shared: Mutex::new(Shared {
                state: State::new(),
                places: [const { None }; AREAS],
                rings: [const { None }; group::MEMBERS],
            }),
            own: no_words(),
        })
    }

    /// One more, which is told by `ring`.
    pub(super) fn join(self: &Arc<Self>, ring: Ring) -> Result<Member> {
        if process::id() != self.process {
            return Err(Error::from(Errno::EINVAL));
        }
        let number = self.told.join().ok_or(Error::from(Errno::ENOSPC))?;
        self.shared.lock().rings[number] = Some(ring);
        Ok(Member { group: self.clone(), number })
    }
}

impl Shared {
    /// Makes known what is pending, which it answers, and has others look for what the member does not take itself.
    fn hand_over(&self, told: &group::Group, member: usize) -> u64 {
        told.publish(self.state.pending());
        told.hand_over(member, |other| match &self.rings[other] {
            Some(Ring { sender, vector }) => sender.send(*vector).is_ok(),
            None => false,
        });
        self.state.pending()
    }

    fn count_used(&mut self) {
        let used = |number: &usize| self.places[*number].is_some();
        let used = (1..AREAS).filter(used).fold(0, |used, number| used | 1 << number);
        self.state.set_used(used);
    }
}

// All that follow with the thread's interrupts off.
impl Member {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.group.shared.lock()
    }

    /// Looks at what was sent to all, and has others look for what this one does not take; all that is pending.
    pub(super) fn look(&self) -> u64 {
        let mut shared = self.lock();
        let Shared { state, places, .. } = &mut *shared;
        state.collect(&Places(&self.group.own, places));
        // What was sent before is theirs who are left; the right itself goes when the place is another's, which no handler may see to.
        places.iter_mut().flatten().filter(|place| place.is_orphan()).for_each(Place::bequeath);
        shared.hand_over(&self.group.told, self.number)
    }

    /// Has this thread look when it lets interrupts in.
    pub(super) fn ring_itself(&self) {
        if let Some(Ring { sender, vector }) = &self.lock().rings[self.number] {
            // To itself: there as long as this is.
            let _ = sender.send(*vector);
        }
    }

    /// It takes these from now on; all that is pending.
    pub(super) fn want(&self, signals: u64) -> u64 {
        let pending = self.group.told.want(self.number, signals);
        if pending & !signals == 0 { pending } else { self.look() }
    }

    /// Takes the most urgent of a set, and says what is pending then.
    pub(super) fn take(&self, set: u64) -> (Option<Info>, u64) {
        let mut shared = self.lock();
        let Shared { state, places, .. } = &mut *shared;
        let info = state.take_for_another(&Places(&self.group.own, places), set);
        self.group.told.publish(state.pending());
        (info, state.pending())
    }

    /// Throws away all of a signal; what is pending then.
    pub(super) fn discard(&self, signal: u32) -> u64 {
        let mut shared = self.lock();
        let Shared { state, places, .. } = &mut *shared;
        state.discard(&Places(&self.group.own, places), signal);
        self.group.told.publish(state.pending());
        state.pending()
    }

    /// Sends to all; what is pending then.
    pub(super) fn queue(&self, signal: u32, value: u64) -> (core::result::Result<(), area::Full>, u64) {
        (area::send(&Words(self.group.own.as_ptr()), signal, value), self.look())
    }

    /// What comes by this right, which has this slot of the thread's receiver, is sent to all, with this tag. `None`: no more rights can be; what those that have ended have left queued takes
    /// a place until it is taken. Allocates and frees, but not under the lock.
    pub(super) fn add(&self, right: uintr::Sender, slot: usize, tag: u64) -> Option<()> {
        let place =
            Place { right: Some(right), member: self.number, slot, heir: Box::new(no_words()), is_inherited: false };
        // What was sent by those that are over is found.
        let _ = self.look();
        let mut shared = self.lock();
        let is_free = |number: &usize| shared.places[*number].as_ref().is_none_or(Place::is_over);
        let Some(number) = (1..AREAS).find(is_free) else {
            drop(shared);
            return None;
        };
        let before = shared.places[number].replace(place);
        shared.state.set_tag(number, tag);
        shared.count_used();
        drop(shared);
        drop(before);
        Some(())
    }

    /// The right in this slot has ended, if it was one to send to all: what is queued by it is gone, and the slot may be another's.
    pub(super) fn forget(&self, slot: usize) {
        let mut shared = self.lock();
        let place = shared.places.iter_mut().flatten().find(|place| place.is_of(self.number, slot));
        let right = place.and_then(|place| place.right.take());
        drop(shared);
        drop(right); // calls: not under the lock
    }

    /// It is none of them any more: its rights end, and what came by them is the others'.
    pub(super) fn leave(&self, receiver: &uintr::Receiver) {
        let _ = self.group.told.want(self.number, 0);
        for number in 1..AREAS {
            drop(self.end_right(number, receiver)); // calls: not under the lock
        }
        let _ = self.look();
        let ring = self.lock().rings[self.number].take();
        drop(ring);
        self.group.told.leave(self.number);
    }

    /// Ends the right of a place, if it is this member's; what is left of it.
    fn end_right(&self, number: usize, receiver: &uintr::Receiver) -> Option<uintr::Sender> {
        let mut shared = self.lock();
        let Shared { state, places, .. } = &mut *shared;
        let own = places[number].as_ref().filter(|place| place.member == self.number)?;
        let _ = receiver.revoke(own.right.as_ref()?.right());
        // Who was told that its signal is sent has not found the right ended, so that it is there: pairs with the fence between a sender's stores and that look.
        fence(Ordering::SeqCst);
        state.collect(&Places(&self.group.own, places));
        let own = places[number].as_mut()?;
        own.bequeath();
        own.right.take()
    }
}

impl Inner {
    /// Tells the group what this thread takes, and itself what is pending for all. Whenever the mask has changed, with interrupts off.
    #[inline]
    pub(super) fn tell_group(&self) {
        if let Some(member) = self.member() {
            self.tell_group_of(member);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_group_of(&self, member: &Member) {
        // SAFETY: interrupts are off, and nothing that is called comes here.
        let state = unsafe { &mut *self.state.get() };
        let waited = self.waited.load(Ordering::Relaxed) | self.awaited.load(Ordering::Relaxed);
        state.set_shared(member.want(!state.mask() | waited));
        self.tell(state);
    }

    /// Looks at what was sent to all.
    #[inline]
    pub(super) fn look_around(&self, state: &mut super::State) {
        if let Some(member) = self.member() {
            state.set_shared(member.look());
        }
    }
}

/// A second descriptor of a right.
pub(super) fn again(right: &uintr::Right) -> Result<uintr::Right> {
    Ok(uintr::Right::from_fd(right.fd().try_clone()?))
}
