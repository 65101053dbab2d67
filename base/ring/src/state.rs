//! What is to become of a request that waits, and what became of it: between who serves it, and who cancels.
//!
//! ```text
//!   who serves                                 who cancels
//!   poll: is it cancelled? run; again?         cancel, then wake who serves
//!   decide: it can be found no more            wait until the outcome is there
//!   post the completion
//!   tell the outcome, then wake who waits for it
//! ```
//!
//! **One decides.** Only who serves finds out whether a request completed or was cancelled, in [`RequestState::poll`]: what is ready wins; and what had
//! its last look at the mark before that was set is run once more, so that it ends by itself where it may be ended, and what it has done is not lost.
//!
//! **No cancellation is slept through.** The mark is set before the wake; who serves looks behind each run, and a wake during a poll has it polled again. No
//! answer is: the outcome is stored before the wake, and looked at behind the registration.
//!
//! Loom runs on this (`tests/loom.rs`); the protocol around it, with limits, links and the end of a process, is `tests/model/cancel.pml`.

use core::task::{Context, Poll};
use sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Runs,
    /// Nothing yet, though it was told to end.
    GoesOn,
    /// It has ended with its own result.
    Completed,
    /// It has ended because it was cancelled.
    Cancelled,
}

const RUNS: u8 = 0;
const GOES_ON: u8 = 1;
const COMPLETED: u8 = 2;
const CANCELLED: u8 = 3;

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Polled<T> {
    /// It waits.
    Pending,
    /// It waits, though it was told to end: [`RequestState::tell`] who cancels.
    GoesOn,
    /// It has ended with this.
    Done(T),
    /// It is not to be polled again.
    Cancelled,
}

/// See the module's head.
#[derive(Debug)]
pub struct RequestState {
    cancelled: AtomicBool,
    abandoned: AtomicBool,
    decided: AtomicBool,
    outcome: AtomicU8,
}

impl Default for RequestState {
    fn default() -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            decided: AtomicBool::new(false),
            outcome: AtomicU8::new(RUNS),
        }
    }
}

impl RequestState {
    /// It is to end. Who serves is to be woken behind this.
    pub fn cancel(&self) {
        // Release pairs with the Acquire in `is_cancelled`.
        self.cancelled.store(true, Release);
    }

    /// The same: nobody is left who wants it.
    pub fn abandon(&self) {
        // Relaxed: ordered by the Release in `cancel`.
        self.abandoned.store(true, Relaxed);
        self.cancel();
    }

    /// Whether it is to end.
    pub fn is_cancelled(&self) -> bool {
        // Acquire pairs with the Release in `cancel`.
        self.cancelled.load(Acquire)
    }

    /// Whether nobody wants it.
    pub fn is_abandoned(&self) -> bool {
        self.is_cancelled() && self.abandoned.load(Relaxed)
    }

    /// One poll by who serves. `run` goes on with what it does, and asks [`is_cancelled`](Self::is_cancelled) wherever it may be ended; what
    /// `may_be_dropped` has done nothing before its end. `is_over` cancels it, as a limit of its time does.
    pub fn poll<T>(
        &self,
        context: &mut Context<'_>,
        may_be_dropped: bool,
        mut run: impl FnMut(&mut Context<'_>) -> Poll<T>,
        is_over: impl FnOnce(&mut Context<'_>) -> bool,
    ) -> Polled<T> {
        let was_told = self.is_cancelled();
        // Nobody would get what it takes.
        if was_told && self.is_abandoned() {
            return Polled::Cancelled;
        }
        if let Poll::Ready(done) = run(context) {
            return Polled::Done(done);
        }
        if is_over(context) {
            self.cancel();
        }
        if !self.is_cancelled() {
            return Polled::Pending;
        }
        // Told after it was run: it has not had its say.
        if !was_told && let Poll::Ready(done) = run(context) {
            return Polled::Done(done);
        }
        if may_be_dropped { Polled::Cancelled } else { Polled::GoesOn }
    }

    /// Its end is known, and about to be told: nobody finds it any more. Before its completion, so that who sees that, and uses what comes back with
    /// it again, means another.
    pub fn decide(&self) {
        // Relaxed: who is to see it has seen the completion, or looks under the lock that this is under.
        self.decided.store(true, Relaxed);
    }

    /// Whether it can be found.
    pub fn runs(&self) -> bool {
        !self.decided.load(Relaxed)
    }

    /// Says what becomes of it, by who serves: an end behind its completion, and once. `true`: who waits for that is to be woken.
    #[must_use]
    pub fn tell(&self, outcome: Outcome) -> bool {
        let outcome = match outcome {
            Outcome::Runs => RUNS,
            Outcome::GoesOn => GOES_ON,
            Outcome::Completed => COMPLETED,
            Outcome::Cancelled => CANCELLED,
        };
        // Relaxed: nobody else stores it.
        let is_new = self.outcome.load(Relaxed) < outcome.min(COMPLETED);
        if is_new {
            // Release pairs with the Acquire in `outcome`: the completion is posted.
            self.outcome.store(outcome, Release);
        }
        is_new
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        // Acquire pairs with the Release in `tell`.
        match self.outcome.load(Acquire) {
            RUNS => Outcome::Runs,
            GOES_ON => Outcome::GoesOn,
            COMPLETED => Outcome::Completed,
            _ => Outcome::Cancelled,
        }
    }
}
