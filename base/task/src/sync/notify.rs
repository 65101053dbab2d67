//! Notifications: one task tells another, or all, to look.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use sync::wait::Turn;

use super::*;

struct State {
    /// Notifications that nobody has taken: at most as many as wait, or one.
    pending: usize,
    /// How often all were notified.
    generation: u64,
    waiting: usize,
}

impl State {
    fn limit(&mut self) {
        self.pending = self.pending.min(self.waiting.max(1));
    }
}

impl Gate for State {
    fn is_open(&self) -> bool {
        self.pending > 0
    }
}

/// Tasks that wait to be told.
pub struct Notify<L: Lock> {
    turns: Turns<L, State>,
}

impl<L: Lock> Notify<L> {
    sync::const_fn! {
        /// Nobody waits.
        #[must_use]
        pub const fn new() -> Self {
            Self { turns: Turns::new(free(), State { pending: 0, generation: 0, waiting: 0 }) }
        }
    }

    /// Waits to be told. Counts from the call on for [`notify_waiters`](Self::notify_waiters), from the first poll on
    /// for [`notify_one`](Self::notify_one).
    pub fn notified(&self) -> Notified<'_, L> {
        let generation = self.turns.look(|state| state.generation);
        Notified { turn: self.turns.wait(Notice { generation, counted: false }) }
    }

    /// Tells the one that has waited longest; if nobody waits, the next to wait does not. If the one that is told goes
    /// away before it has noticed, the next is told.
    pub fn notify_one(&self) {
        self.turns.change(|state| {
            state.pending += 1;
            state.limit();
        });
    }

    /// Tells all that wait now.
    pub fn notify_waiters(&self) {
        self.turns.change_for_all(|state| state.generation += 1);
    }
}

impl<L: Lock> Default for Notify<L> {
    fn default() -> Self {
        Self::new()
    }
}

struct Notice {
    generation: u64,
    /// It is one of the `waiting`.
    counted: bool,
}

impl Claim<State> for Notice {
    type Output = ();

    fn claim(&mut self, state: &mut State, first: bool) -> Option<()> {
        if first && state.pending > 0 {
            state.pending -= 1;
        } else if self.generation == state.generation {
            state.waiting += usize::from(!self.counted);
            self.counted = true;
            return None;
        }
        state.waiting -= usize::from(self.counted);
        state.limit();
        Some(())
    }

    fn withdraw(&mut self, state: &mut State) {
        state.waiting -= usize::from(self.counted);
        state.limit();
    }
}

/// The future of [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'n, L: Lock> {
    turn: Turn<'n, L, State, Notice>,
}

impl<L: Lock> Future for Notified<'_, L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the turn is pinned as the whole is: it is moved out by nobody, and there is no `Drop` of the whole.
        let answer = unsafe { self.map_unchecked_mut(|this| &mut this.turn) }.poll(context);
        noted(answer, Wait::Notice, context)
    }
}
