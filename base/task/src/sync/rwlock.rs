//! The read-write lock: one writer, or many readers, in order of arrival: readers that come after a waiting writer wait
//! behind it, so nobody starves.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use sync::cell::UnsafeCell;

use super::inherit::release;
use super::urgency::{Urge, Urgency};
use super::*;

/// A place in the table of readers.
enum Reader {
    Holds(Holder),
    /// With the next free place.
    Free(Option<usize>),
}

/// Who reads: a table that grows to as many as ever read at the same time.
struct Readers {
    table: Vec<Reader>,
    free: Option<usize>,
    count: usize,
}

impl Readers {
    fn add(&mut self, holder: Holder) -> usize {
        self.count += 1;
        let free = self.free.and_then(|place| Some((place, self.table.get_mut(place)?)));
        if let Some((place, entry)) = free {
            if let Reader::Free(next) = core::mem::replace(entry, Reader::Holds(holder)) {
                self.free = next;
            }
            return place;
        }
        self.table.push(Reader::Holds(holder));
        self.table.len() - 1
    }

    fn remove(&mut self, place: usize) -> Option<Reader> {
        let entry = self.table.get_mut(place)?;
        self.count -= 1;
        Some(core::mem::replace(entry, Reader::Free(self.free.replace(place))))
    }

    fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.table.iter().filter_map(|reader| match reader {
            Reader::Holds(holder) => Some(holder),
            Reader::Free(_) => None,
        })
    }
}

struct State {
    writer: Option<Holder>,
    readers: Readers,
    /// Some that hold it may have inherited.
    raised: bool,
    urgency: Urgency,
    /// A writer failed. Never cleared.
    poisoned: bool,
}

impl State {
    fn look_for_failure(&mut self) -> bool {
        self.poisoned |= self.writer.as_ref().is_some_and(Holder::has_failed);
        self.poisoned
    }

    /// A waiter looked in vain.
    fn waits<L: Lock>(&mut self, wait: &mut Wait<L>) {
        let urge = wait.me.as_ref().and_then(Holder::urge::<L>);
        self.urgency.waits(&mut wait.noted, urge.unwrap_or(Urge::NONE));
        self.owe::<L>(wait.lock);
    }

    /// One goes away without it.
    fn leaves<L: Lock>(&mut self, wait: &mut Wait<L>) {
        self.urgency.leaves(wait.noted.take());
        self.owe::<L>(wait.lock);
    }

    /// Who waits may be another than before: all that hold it are as urgent as they are.
    fn owe<L: Lock>(&mut self, lock: usize) {
        let (most, before) = (self.urgency.most(), self.raised);
        if before || most.is_some() {
            self.raised = false;
            for holder in self.writer.iter().chain(self.readers.holders()) {
                self.raised |= holder.owes::<L>(lock, most, before);
            }
        }
    }

    /// It waits no more, and holds the lock from now on: what it then is.
    fn ready<L: Lock>(&mut self, wait: &mut Wait<L>) -> Option<Holder> {
        let me = wait.me.take()?;
        self.urgency.leaves(wait.noted.take());
        if let Some(most) = self.urgency.most() {
            self.raised |= me.owes::<L>(wait.lock, Some(most), false);
        }
        Some(me)
    }

    /// One that held it has gone; whether it has repaid.
    fn repay<L: Lock>(&mut self, holder: &Holder, lock: usize) -> bool {
        let repaid = self.raised && holder.repay::<L>(lock);
        self.raised &= self.writer.is_some() || self.readers.count > 0;
        repaid
    }
}

/// One that wants the lock.
struct Wait<L> {
    me: Option<Holder>,
    /// What it is one of those who wait with.
    noted: Option<Urge>,
    /// The address of the lock.
    lock: usize,
    kind: PhantomData<fn() -> L>,
}

impl Gate for State {
    fn is_open(&self) -> bool {
        self.writer.is_none() || self.poisoned
    }
}

/// What a reader wants: a place in the table.
struct Read<L>(Wait<L>);

impl<L: Lock> Claim<State> for Read<L> {
    type Output = Result<usize, Poisoned>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        if state.look_for_failure() {
            self.withdraw(state);
            return Some(Err(Poisoned));
        }
        if !first || state.writer.is_some() {
            state.waits(&mut self.0);
            return None;
        }
        state.ready(&mut self.0).map(|holder| Ok(state.readers.add(holder)))
    }

    fn withdraw(&mut self, state: &mut State) {
        state.leaves(&mut self.0);
    }
}

/// What a writer wants.
struct Write<L>(Wait<L>);

impl<L: Lock> Claim<State> for Write<L> {
    type Output = Result<(), Poisoned>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        // A failed reader never leaves: there is nothing to wait for, though others may still read.
        if state.look_for_failure() || state.readers.holders().any(Holder::has_failed) {
            self.withdraw(state);
            return Some(Err(Poisoned));
        }
        if !first || state.writer.is_some() || state.readers.count > 0 {
            state.waits(&mut self.0);
            return None;
        }
        state.writer = state.ready(&mut self.0);
        Some(Ok(()))
    }

    fn withdraw(&mut self, state: &mut State) {
        state.leaves(&mut self.0);
    }
}

/// A value that many tasks can read, or one can write.
///
/// * **M2** The value is reached through guards only: one for writing, for which `writer` is set, or those for reading, each with
///   a place in `readers`; never both.
pub struct RwLock<T, L: Lock> {
    turns: Turns<L, State>,
    value: UnsafeCell<T>,
}

// SAFETY: M2, sharing the lock sends the value about, or shares it among readers.
unsafe impl<T: Send + Sync, L: Lock> Sync for RwLock<T, L> {}
// SAFETY: the value goes along; the rest may be sent.
unsafe impl<T: Send, L: Lock> Send for RwLock<T, L> {}

impl<T, L: Lock> RwLock<T, L> {
    sync::const_fn! {
        /// Puts `value` under a lock.
        pub const fn new(value: T) -> Self {
            let readers = Readers { table: Vec::new(), free: None, count: 0 };
            let state = State { writer: None, readers, raised: false, urgency: Urgency::new(), poisoned: false };
            Self { turns: Turns::new(free(), state), value: UnsafeCell::new(value) }
        }
    }

    /// Waits until nobody writes, nor has waited longer to write.
    ///
    /// # Errors
    /// [`Poisoned`] if a task failed while it could write.
    pub async fn read(&self) -> Result<RwLockReadGuard<'_, T, L>, Poisoned> {
        let place = claim_held(&self.turns, Read(self.wait())).await?;
        Ok(RwLockReadGuard { lock: self, place })
    }

    /// Waits until nobody reads or writes.
    ///
    /// # Errors
    /// [`Poisoned`] if a task failed while it could write, or one that could read and never will let go.
    pub async fn write(&self) -> Result<RwLockWriteGuard<'_, T, L>, Poisoned> {
        claim_held(&self.turns, Write(self.wait())).await?;
        Ok(RwLockWriteGuard { lock: self })
    }

    /// As [`read`](Self::read), without waiting.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T, L>, TryLockError> {
        let answer = self.turns.try_now(&mut Read(self.wait()));
        now(answer).map(|place| RwLockReadGuard { lock: self, place })
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T, L>, TryLockError> {
        let answer = self.turns.try_now(&mut Write(self.wait()));
        now(answer).map(|()| RwLockWriteGuard { lock: self })
    }

    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    fn wait(&self) -> Wait<L> {
        Wait { me: Some(Holder::current::<L>()), noted: None, lock: self.address(), kind: PhantomData }
    }

    /// One that held it goes, which `leave` takes out.
    fn release(&self, leave: impl FnOnce(&mut State) -> Option<Holder>) {
        release(&self.turns, |state| {
            let holder = leave(state)?;
            let repaid = state.repay::<L>(&holder, self.address());
            Some((holder, repaid))
        });
    }

    /// The value, without a lock: nobody else can be at it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: borrowed mutably, so there is no guard that is ever used again.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

fn now<T>(answer: Option<Result<T, Poisoned>>) -> Result<T, TryLockError> {
    answer.ok_or(TryLockError::WouldBlock)?.map_err(|Poisoned| TryLockError::Poisoned)
}

impl<T: Default, L: Lock> Default for RwLock<T, L> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// The value while it can be read.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockReadGuard<'l, T, L: Lock> {
    lock: &'l RwLock<T, L>,
    place: usize,
}

/// The value while it can be written.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockWriteGuard<'l, T, L: Lock> {
    lock: &'l RwLock<T, L>,
}

impl<T, L: Lock> Deref for RwLockReadGuard<'_, T, L> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: M2, this guard has a place among the readers.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T, L: Lock> Deref for RwLockWriteGuard<'_, T, L> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: M2, this is the writer's guard.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T, L: Lock> DerefMut for RwLockWriteGuard<'_, T, L> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: M2, this is the writer's guard, and it is borrowed mutably.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T, L: Lock> Drop for RwLockReadGuard<'_, T, L> {
    fn drop(&mut self) {
        // Waiting readers are called by the one before them.
        self.lock.release(|state| match state.readers.remove(self.place)? {
            Reader::Holds(holder) => Some(holder),
            Reader::Free(_) => None,
        });
    }
}

impl<T, L: Lock> Drop for RwLockWriteGuard<'_, T, L> {
    fn drop(&mut self) {
        self.lock.release(|state| state.writer.take());
    }
}
