//! The mutex: a value that one task at a time can use, also across its waits.
//!
//! As long as nobody waits, who holds it is named in a word of the mutex's, and taking and giving back are an exchange each. Whoever finds it
//! held locks the state, and moves the name there; the word says so, and from then on the state says who holds it, until nobody does and nobody
//! waits:
//!
//! ```text
//!           take                     absorb, with the state locked
//!   FREE ──────────► a task, NOBODY ──────────────────────────────► STATE
//!     ▲ ▲  give back       │                                          │
//!     │ └──────────────────┘     reopen, with the state locked        │
//!     └───────────────────────────────────────────────────────────────┘
//! ```

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use sched::interface::Header;
use sync::atomic::{AtomicPtr, Ordering};
use sync::cell::UnsafeCell;

use super::inherit::release;
use super::urgency::{Urge, Urgency};
use super::*;

/// Who holds a mutex that nobody waits for. A task that is named here is one reference to it.
struct Word(AtomicPtr<Header>);

/// Nobody does, or waits.
const FREE: *mut Header = ptr::null_mut();
/// Somebody does who is no task.
const NOBODY: *mut Header = ptr::without_provenance_mut(1);
/// The state says who.
const STATE: *mut Header = ptr::without_provenance_mut(2);

impl Word {
    sync::const_fn! {
        const fn new() -> Self {
            Self(AtomicPtr::new(FREE))
        }
    }

    fn name_of(holder: Holder) -> *mut Header {
        holder.0.map_or(NOBODY, |task| task.into_pointer().as_ptr())
    }

    /// Who was named by this.
    ///
    /// # Safety
    /// It came from [`name_of`](Self::name_of), or is `FREE` or `STATE`, and is not used again.
    unsafe fn named(name: *mut Header) -> Option<Holder> {
        match name {
            FREE | STATE => None,
            NOBODY => Some(Holder(None)),
            // SAFETY: by contract the reference is the caller's; a header is never null.
            task => Some(Holder(Some(unsafe { TaskRef::from_pointer(NonNull::new_unchecked(task)) }))),
        }
    }

    /// Takes the mutex if nobody holds it or waits for it.
    #[inline]
    fn take(&self, me: Holder) -> Result<(), Holder> {
        let name = Self::name_of(me);
        // Acquire pairs with the Release in `give_back` and `reopen`: what the last holder wrote is seen. Release with the Acquire in
        // `absorb`: so is the task.
        match self.0.compare_exchange(FREE, name, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: made above.
            Err(_) => Err(unsafe { Self::named(name) }.unwrap_or(Holder(None))),
        }
    }

    /// The holder gives it back; `false` if the state says who holds it.
    #[inline]
    fn give_back(&self) -> bool {
        // Relaxed: what the holder put there itself, or was given with; else the exchange fails.
        let name = self.0.load(Ordering::Relaxed);
        // Release pairs with the Acquire in `take` and `absorb`.
        if name == STATE || self.0.compare_exchange(name, FREE, Ordering::Release, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: taken out of the word.
        drop(unsafe { Self::named(name) });
        true
    }

    /// The state says from now on who holds it. With that locked.
    fn absorb(&self, state: &mut State) {
        // Acquire pairs with the Release in `give_back` and `take`.
        let name = self.0.swap(STATE, Ordering::Acquire);
        // SAFETY: taken out of the word.
        if let Some(holder) = unsafe { Self::named(name) } {
            state.holder = Some(holder);
        }
    }

    /// The word says it again, if nobody holds it, or waits. With the state locked, which it said.
    fn reopen(&self, state: &State) {
        if state.holder.is_none() && state.urgency.is_empty() && !state.poisoned {
            // Release pairs with the Acquire in `take` and `absorb`.
            self.0.store(FREE, Ordering::Release);
        }
    }

    /// Where the lock lies: what a debt is noted by.
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: nobody uses the word again.
        drop(unsafe { Self::named(self.0.load(Ordering::Relaxed)) });
    }
}

/// Who holds the mutex, and waits for it, where the word says no more.
struct State {
    holder: Option<Holder>,
    /// The holder has inherited.
    raised: bool,
    urgency: Urgency,
    /// Never cleared.
    poisoned: bool,
}

impl State {
    /// Who holds it, or who waits, may be another than before: the holder is as urgent as they are.
    #[inline]
    fn owes<L: Lock>(&mut self, lock: usize) {
        if let Some(holder) = &self.holder
            && (self.raised || !self.urgency.is_empty())
        {
            self.raised = holder.owes::<L>(lock, self.urgency.most(), self.raised);
        }
    }
}

impl Gate for State {
    fn is_open(&self) -> bool {
        self.holder.is_none() || self.poisoned
    }
}

/// What a waiter wants; it becomes the holder.
struct Take<'m, L> {
    me: Option<Holder>,
    /// What it is one of those who wait with.
    noted: Option<Urge>,
    word: &'m Word,
    /// It goes away if it looks in vain: it lends nothing.
    tries: bool,
    kind: PhantomData<fn() -> L>,
}

impl<L: Lock> Take<'_, L> {
    fn look(&mut self, state: &mut State, first: bool) -> Option<Result<(), Poisoned>> {
        state.poisoned |= state.holder.as_ref().is_some_and(Holder::has_failed);
        if state.poisoned {
            self.leave(state);
            return Some(Err(Poisoned));
        }
        if !first || state.holder.is_some() {
            if self.tries {
                return None;
            }
            let urge = self.me.as_ref().and_then(Holder::urge::<L>);
            state.urgency.waits(&mut self.noted, urge.unwrap_or(Urge::NONE));
            state.owes::<L>(self.word.address());
            return None;
        }
        state.urgency.leaves(self.noted.take());
        state.holder = Some(self.me.take()?);
        state.owes::<L>(self.word.address());
        Some(Ok(()))
    }

    fn leave(&mut self, state: &mut State) {
        if self.tries {
            return;
        }
        state.urgency.leaves(self.noted.take());
        state.owes::<L>(self.word.address());
    }
}

impl<L: Lock> Claim<State> for Take<'_, L> {
    type Output = Result<(), Poisoned>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        self.word.absorb(state);
        self.look(state, first)
    }

    fn withdraw(&mut self, state: &mut State) {
        self.word.absorb(state);
        self.leave(state);
        self.word.reopen(state);
    }
}

/// A value that one task at a time can use.
///
/// * **M1** The value is reached through the guard only, of which there is one at most: a holder is named, by the word or the state, when it is
///   made, until it is dropped.
pub struct Mutex<T, L: Lock> {
    word: Word,
    turns: Turns<L, State>,
    value: UnsafeCell<T>,
}

// SAFETY: M1, sharing the mutex is no more than sending the value about.
unsafe impl<T: Send, L: Lock> Sync for Mutex<T, L> {}
// SAFETY: the value goes along; the rest may be sent.
unsafe impl<T: Send, L: Lock> Send for Mutex<T, L> {}

impl<T, L: Lock> Mutex<T, L> {
    sync::const_fn! {
        /// Puts `value` under a lock.
        pub const fn new(value: T) -> Self {
            let state = State { holder: None, raised: false, urgency: Urgency::new(), poisoned: false };
            Self { word: Word::new(), turns: Turns::new(free(), state), value: UnsafeCell::new(value) }
        }
    }

    /// Waits until the value is free and takes it.
    ///
    /// # Errors
    /// [`Poisoned`] if a task failed while it held it.
    pub async fn lock(&self) -> Result<MutexGuard<'_, T, L>, Poisoned> {
        if let Err(me) = self.word.take(Holder::current::<L>()) {
            claim_held(&self.turns, self.want(me)).await?;
        }
        Ok(MutexGuard { mutex: self })
    }

    /// The same with a guard that keeps the mutex.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    pub async fn lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T, L>, Poisoned> {
        if let Err(me) = self.word.take(Holder::current::<L>()) {
            claim_held(&self.turns, self.want(me)).await?;
        }
        Ok(OwnedMutexGuard { mutex: self })
    }

    /// The same for the task that is named here, if it is one, where no task fails: nobody hears of a failure before the lock is given
    /// back, or asked for again.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    pub async fn lock_as(&self, me: Option<TaskRef>) -> Result<MutexGuard<'_, T, L>, Poisoned> {
        if let Err(me) = self.word.take(Holder(me)) {
            self.turns.wait(self.want(me)).await?;
        }
        Ok(MutexGuard { mutex: self })
    }

    /// Takes the value if it is free and nobody waits for it.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T, L>, TryLockError> {
        let Err(me) = self.word.take(Holder::current::<L>()) else { return Ok(MutexGuard { mutex: self }) };
        match self.turns.try_now(&mut Take { tries: true, ..self.want(me) }) {
            Some(Ok(())) => Ok(MutexGuard { mutex: self }),
            Some(Err(Poisoned)) => Err(TryLockError::Poisoned),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Whether a task failed while it held the value.
    pub fn is_poisoned(&self) -> bool {
        self.turns.look(|state| {
            self.word.absorb(state);
            state.poisoned |= state.holder.as_ref().is_some_and(Holder::has_failed);
            self.word.reopen(state);
            state.poisoned
        })
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

    /// What the caller wants of it.
    fn want(&self, me: Holder) -> Take<'_, L> {
        Take { me: Some(me), noted: None, word: &self.word, tries: false, kind: PhantomData }
    }

    #[inline]
    fn release(&self) {
        if !self.word.give_back() {
            self.release_watched();
        }
    }

    /// The state says who holds it.
    #[cold]
    fn release_watched(&self) {
        release(&self.turns, |state| {
            let holder = state.holder.take()?;
            let repaid = core::mem::take(&mut state.raised) && holder.repay::<L>(self.word.address());
            self.word.reopen(state);
            Some((holder, repaid))
        });
    }
}

impl<T: Default, L: Lock> Default for Mutex<T, L> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: core::fmt::Debug, L: Lock> core::fmt::Debug for Mutex<T, L> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.try_lock() {
            Ok(guard) => f.debug_tuple("Mutex").field(&*guard).finish(),
            Err(error) => write!(f, "Mutex(<{error}>)"),
        }
    }
}

/// The value while it is held.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct MutexGuard<'m, T, L: Lock> {
    mutex: &'m Mutex<T, L>,
}

/// The value while it is held, with the mutex.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct OwnedMutexGuard<T, L: Lock> {
    mutex: Arc<Mutex<T, L>>,
}

// SAFETY: sharing a guard is sharing the value.
unsafe impl<T: Send + Sync, L: Lock> Sync for MutexGuard<'_, T, L> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync, L: Lock> Sync for OwnedMutexGuard<T, L> {}

/// What both guards do.
macro_rules! guards {
    ($(($($generics:tt)*) $name:ty;)*) => {$(
        impl<$($generics)* T, L: Lock> Deref for $name {
            type Target = T;
            fn deref(&self) -> &T {
                // SAFETY: M1, this is the guard.
                self.mutex.value.with(|value| unsafe { &*value })
            }
        }
        impl<$($generics)* T, L: Lock> DerefMut for $name {
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: M1, this is the guard, and it is borrowed mutably.
                self.mutex.value.with_mut(|value| unsafe { &mut *value })
            }
        }
        impl<$($generics)* T, L: Lock> Drop for $name {
            fn drop(&mut self) {
                self.mutex.release();
            }
        }
        impl<$($generics)* T: core::fmt::Debug, L: Lock> core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                (**self).fmt(f)
            }
        }
    )*};
}

guards! {
    ('m,) MutexGuard<'m, T, L>;
    () OwnedMutexGuard<T, L>;
}
