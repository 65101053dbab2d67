//! A value made once, by a future.

use core::future::Future;

use sync::cell::UnsafeCell;

use super::*;

enum Stage {
    Empty,
    /// The maker with this number is at it.
    Making(u64, Holder),
    Set,
}

struct State {
    stage: Stage,
    /// How many have begun to make the value.
    makers: u64,
}

impl State {
    /// Whether nobody makes the value, or one that has failed.
    fn needs_maker(&self) -> bool {
        match &self.stage {
            Stage::Empty => true,
            Stage::Making(_, holder) => holder.has_failed(),
            Stage::Set => false,
        }
    }

    fn is_made_by(&self, maker: u64) -> bool {
        matches!(self.stage, Stage::Making(number, _) if number == maker)
    }

    fn replace(&mut self, stage: Stage) -> Stage {
        core::mem::replace(&mut self.stage, stage)
    }
}

impl Gate for State {
    fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Making(..))
    }
}

/// What who finds no value wants: to find it after all, or the right to make it; that is a number.
struct Find(Option<Holder>);

impl Claim<State> for Find {
    /// The number, and what is to be dropped outside the lock.
    type Output = Option<(u64, Stage)>;

    fn claim(&mut self, state: &mut State, first: bool) -> Option<Self::Output> {
        if matches!(state.stage, Stage::Set) {
            return Some(None);
        }
        if !first || !state.needs_maker() {
            return None;
        }
        state.makers += 1;
        let making = Stage::Making(state.makers, self.0.take()?);
        Some(Some((state.makers, state.replace(making))))
    }
}

/// A value made at its first use.
///
/// * **M3** The value is written under the lock, by who finds the state `Making` with its own number and leaves it `Set`, which
///   stays.
pub struct OnceCell<T, L: Lock> {
    turns: Turns<L, State>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: M3: written under the lock, once, and then shared.
unsafe impl<T: Send + Sync, L: Lock> Sync for OnceCell<T, L> {}
// SAFETY: the value goes along.
unsafe impl<T: Send, L: Lock> Send for OnceCell<T, L> {}

/// The right to make the value; given up when dropped.
struct Maker<'c, T, L: Lock>(&'c OnceCell<T, L>, u64);

impl<T, L: Lock> Drop for Maker<'_, T, L> {
    fn drop(&mut self) {
        let turns = &self.0.turns;
        let old = turns.change(|state| state.is_made_by(self.1).then(|| state.replace(Stage::Empty)));
        drop(old);
    }
}

impl<T, L: Lock> OnceCell<T, L> {
    sync::const_fn! {
        /// Empty.
        #[must_use]
        pub const fn new() -> Self {
            let state = State { stage: Stage::Empty, makers: 0 };
            Self { turns: Turns::new(free(), state), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if it was made.
    pub fn get(&self) -> Option<&T> {
        let set = self.turns.look(|state| matches!(state.stage, Stage::Set));
        // SAFETY: M3, set, which was seen under the lock.
        set.then(|| self.value.with(|value| unsafe { (*value).as_ref() })).flatten()
    }

    /// Stores the value, if `maker` has still the right to.
    fn set(&self, maker: u64, value: T) {
        let mut value = Some(value);
        let old = self.turns.change(|state| {
            state.is_made_by(maker).then(|| {
                // SAFETY: M3, under the lock, and the state becomes `Set`. There is no old value to drop.
                self.value.with_mut(|place| unsafe { place.write(value.take()) });
                state.replace(Stage::Set)
            })
        });
        drop((old, value));
    }

    /// The value, made by `make` if it is the first use. If that is dropped, or fails, or its task does, another makes it.
    ///
    /// # Errors
    /// That of `make`.
    pub async fn get_or_try_init<E, F>(&self, mut make: impl FnMut() -> F) -> Result<&T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        loop {
            if let Some(value) = self.get() {
                return Ok(value);
            }
            if let Some((maker, old)) = claim_held(&self.turns, Find(Some(Holder::current::<L>()))).await {
                drop(old);
                let maker = Maker(self, maker);
                let value = make().await?;
                self.set(maker.1, value);
            }
        }
    }

    /// The value, made by `make` if it is the first use.
    pub async fn get_or_init<F: Future<Output = T>>(&self, mut make: impl FnMut() -> F) -> &T {
        let Ok(value) = self
            .get_or_try_init(|| {
                let value = make();
                async { Ok::<T, Infallible>(value.await) }
            })
            .await;
        value
    }
}

impl<T, L: Lock> Default for OnceCell<T, L> {
    fn default() -> Self {
        Self::new()
    }
}
