//! The semaphore: a number of permits, given out in order of arrival.

use super::*;

struct State {
    permits: usize,
    closed: bool,
}

impl Gate for State {
    fn is_open(&self) -> bool {
        self.permits > 0 || self.closed
    }
}

/// So many permits.
struct Permits(usize);

impl Claim<State> for Permits {
    type Output = Result<(), AcquireError>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        if state.closed {
            return Some(Err(AcquireError));
        }
        if !first {
            return None;
        }
        state.permits = state.permits.checked_sub(self.0)?;
        Some(Ok(()))
    }
}

/// The semaphore is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquireError;

/// Why there was no permit at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAcquireError {
    /// The semaphore is closed.
    Closed,
    /// There are too few, or others have waited longer.
    NoPermits,
}

says! {
    AcquireError: _ => "the semaphore is closed";
    TryAcquireError: Self::Closed => "the semaphore is closed", Self::NoPermits => "no permits";
}

/// A number of permits. They belong to nobody: a task that fails with one keeps it for ever.
pub struct Semaphore<L: Lock> {
    turns: Turns<L, State>,
}

impl<L: Lock> Semaphore<L> {
    sync::const_fn! {
        /// A semaphore with so many permits.
        #[must_use]
        pub const fn new(permits: usize) -> Self {
            Self { turns: Turns::new(free(), State { permits, closed: false }) }
        }
    }

    /// How many permits are there now.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.turns.look(|state| state.permits)
    }

    /// Adds permits.
    pub fn add_permits(&self, count: usize) {
        self.turns.change(|state| state.permits = state.permits.saturating_add(count));
    }

    /// Takes permits away for ever, as far as they are there; how many.
    pub fn forget_permits(&self, count: usize) -> usize {
        self.turns.look(|state| {
            let taken = count.min(state.permits);
            state.permits -= taken;
            taken
        })
    }

    /// Nobody gets a permit any more, and who waits learns of it.
    pub fn close(&self) {
        self.turns.change_for_all(|state| state.closed = true);
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.turns.look(|state| state.closed)
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`AcquireError`] once the semaphore is closed.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_, L>, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for so many permits, which it takes all at once.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, count: usize) -> Result<SemaphorePermit<'_, L>, AcquireError> {
        claim(&self.turns, Permits(count), Wait::Lock).await?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    /// As [`acquire`](Self::acquire), with a permit that keeps the semaphore.
    ///
    /// # Errors
    /// As there.
    pub async fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit<L>, AcquireError> {
        claim(&self.turns, Permits(1), Wait::Lock).await?;
        Ok(OwnedSemaphorePermit { semaphore: self, count: 1 })
    }

    /// Takes a permit if there is one that nobody waits for.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_, L>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// The same for so many.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_acquire_many(&self, count: usize) -> Result<SemaphorePermit<'_, L>, TryAcquireError> {
        match self.turns.now(&mut Permits(count)) {
            Some(Ok(())) => Ok(SemaphorePermit { semaphore: self, count }),
            Some(Err(AcquireError)) => Err(TryAcquireError::Closed),
            None => Err(TryAcquireError::NoPermits),
        }
    }
}

/// Permits, given back when dropped.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct SemaphorePermit<'s, L: Lock> {
    semaphore: &'s Semaphore<L>,
    count: usize,
}

/// Permits, with the semaphore.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct OwnedSemaphorePermit<L: Lock> {
    semaphore: Arc<Semaphore<L>>,
    count: usize,
}

impl<L: Lock> SemaphorePermit<'_, L> {
    /// Does not give them back.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl<L: Lock> OwnedSemaphorePermit<L> {
    /// Does not give them back.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl<L: Lock> Drop for SemaphorePermit<'_, L> {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.count);
    }
}

impl<L: Lock> Drop for OwnedSemaphorePermit<L> {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.count);
    }
}
