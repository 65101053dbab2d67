//! The mutex: a value that one task at a time can use, also across its waits.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use sync::cell::UnsafeCell;

use super::inherit::release;
use super::urgency::{Urge, Urgency};
use super::*;

/// Who holds the mutex.
struct State {
    holder: Option<Holder>,
    /// The holder has inherited.
    raised: bool,
    urgency: Urgency,
    /// Never cleared.
    poisoned: bool,
}

impl Gate for State {
    fn is_open(&self) -> bool {
        self.holder.is_none() || self.poisoned
    }
}

/// What a waiter wants; it becomes the holder.
struct Take<L> {
    me: Option<Holder>,
    /// What it is one of those who wait with.
    noted: Option<Urge>,
    /// The address of the lock.
    lock: usize,
    kind: PhantomData<fn() -> L>,
}

impl<L: Lock> Claim<State> for Take<L> {
    type Output = Result<(), Poisoned>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        state.poisoned |= state.holder.as_ref().is_some_and(Holder::has_failed);
        if state.poisoned {
            self.withdraw(state);
            return Some(Err(Poisoned));
        }
        let urgency = &mut state.urgency;
        if !first || state.holder.is_some() {
            let urge = self.me.as_ref().and_then(Holder::urge::<L>);
            urgency.waits(&mut self.noted, urge.unwrap_or(Urge::NONE));
            if let (Some(holder), Some(urge)) = (&state.holder, urge) {
                state.raised |= holder.inherit::<L>(self.lock, urge);
            }
            return None;
        }
        urgency.leaves(self.noted.take());
        let holder = state.holder.insert(self.me.take()?);
        state.raised = urgency.most().is_some_and(|most| holder.inherit::<L>(self.lock, most));
        Some(Ok(()))
    }

    fn withdraw(&mut self, state: &mut State) {
        state.urgency.leaves(self.noted.take());
    }
}

/// A value that one task at a time can use.
///
/// * **M1** The value is reached through the guard only, of which there is one at most: `holder` is set when it is made and
///   cleared when it is dropped.
pub struct Mutex<T, L: Lock> {
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
            Self { turns: Turns::new(free(), state), value: UnsafeCell::new(value) }
        }
    }

    /// Waits until the value is free and takes it.
    ///
    /// # Errors
    /// [`Poisoned`] if a task failed while it held it.
    pub async fn lock(&self) -> Result<MutexGuard<'_, T, L>, Poisoned> {
        claim_held(&self.turns, self.take()).await?;
        Ok(MutexGuard { mutex: self })
    }

    /// The same with a guard that keeps the mutex.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    pub async fn lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T, L>, Poisoned> {
        claim_held(&self.turns, self.take()).await?;
        Ok(OwnedMutexGuard { mutex: self })
    }

    /// Takes the value if it is free and nobody waits for it.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T, L>, TryLockError> {
        match self.turns.try_now(&mut self.take()) {
            Some(Ok(())) => Ok(MutexGuard { mutex: self }),
            Some(Err(Poisoned)) => Err(TryLockError::Poisoned),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Whether a task failed while it held the value.
    pub fn is_poisoned(&self) -> bool {
        self.turns.look(|state| {
            state.poisoned |= state.holder.as_ref().is_some_and(Holder::has_failed);
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

    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// What the caller wants of it.
    fn take(&self) -> Take<L> {
        Take { me: Some(Holder::current::<L>()), noted: None, lock: self.address(), kind: PhantomData }
    }

    fn release(&self) {
        release(&self.turns, |state| {
            let holder = state.holder.take()?;
            let repaid = core::mem::take(&mut state.raised) && holder.repay::<L>(self.address());
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
