//! What a wait for completions is for, and the wait of a thread that asks for nothing else: no time limit, no mask, and nothing that it has yet to submit.
//!
//! That is almost every wait, so it is one small future by hand ([`Plain`]), which keeps nothing between two polls but its place in the queue. All others are
//! [`enter`](super::enter)'s.
//!
//! **Wake-up.** Enter the ring's queue, and be noted as who serves; look whether something is ready and where the tail is; sleep. Who posts moves the tail, then wakes the
//! queue; who makes a request ready puts it into the list, then wakes who is noted. Each wake-up is followed by both looks.

use super::{Ring, request::polled};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::{
    future::Future,
    pin::{Pin, pin},
    sync::atomic::Ordering::Acquire,
    task::{Context, Poll},
};
use exec::sync::{Seat, seat};
use io::open::OpenFile;
use pin_project_lite::pin_project;
use process::{Outcome, Restart, Thread};
use ring::Completions;

/// What ends a wait: the tail is there, or a time has been told since.
#[derive(Clone, Copy)]
pub(super) struct Goal {
    target: u32,
    told_times: u32,
    /// Completions at the start: who is told of a time finds one more.
    posted: u32,
}

impl Goal {
    /// So many completions wait for the program.
    pub(super) fn of(ring: &Ring, wanted: u32) -> Self {
        Self::then(ring, wanted, &ring.posting.lock().completions)
    }

    /// The same, unless some are kept: those are moved first.
    fn in_order(ring: &Ring, wanted: u32) -> Option<Self> {
        let completions = &ring.posting.lock().completions;
        (!completions.overflows()).then(|| Self::then(ring, wanted, completions))
    }

    /// Under the lock, as times are told: one whose completion the caller may have taken is not to end this wait.
    fn then(ring: &Ring, wanted: u32, completions: &Completions) -> Self {
        let told_times = ring.told_times.load(Acquire);
        Self { target: completions.target(&*ring.pages, wanted), told_times, posted: completions.posted() }
    }

    /// The same wait for another number.
    pub(super) fn with(self, ring: &Ring, wanted: u32) -> Self {
        Self { target: ring.target(wanted), ..self }
    }

    /// How far it is.
    pub(super) fn look(self, ring: &Ring) -> Look {
        let completions = &ring.posting.lock().completions;
        if self.is_reached(ring, completions) {
            Look::Reached
        } else if completions.can_flush(&*ring.pages) {
            Look::Moves
        } else {
            Look::Waits
        }
    }

    /// As on Linux a time ends a wait that had begun, whoever takes its completion.
    fn is_reached(self, ring: &Ring, completions: &Completions) -> bool {
        // Acquire pairs with the Release in `Ring::tell_time`.
        let is_told = || ring.told_times.load(Acquire) != self.told_times && completions.posted() != self.posted;
        completions.reached(self.target) || is_told()
    }
}

/// What a look at the completions says to who waits for some.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Some that are kept have room now.
    Moves,
    Reached,
    Waits,
}

pin_project! {
    /// A call that waits for completions, and answers how many entries it has taken.
    pub(super) struct Plain<'a> {
        thread: &'a Thread,
        submitted: u32,
        goal: Goal,
        // It was polled, and is in the queue or has been.
        has_begun: bool,
        // It is noted as who serves.
        helps: bool,
        #[pin]
        seat: Seat<Ring>,
        // What it does not want any more ends with the last of these.
        open: Arc<OpenFile>,
    }

    impl PinnedDrop for Plain<'_> {
        fn drop(this: Pin<&mut Self>) {
            this.serves_no_more();
        }
    }
}

impl<'a> Plain<'a> {
    /// Of a call about a ring, `open`, that has taken so many entries, and all that it was to take. `None`: it needs the long way.
    pub(super) fn new(
        thread: &'a Thread,
        (open, ring): (&Arc<OpenFile>, &Arc<Ring>),
        submitted: u32,
        wanted: u32,
    ) -> Option<Self> {
        let goal = Goal::in_order(ring, wanted)?;
        let open = open.clone();
        let seat = seat(ring.clone(), |ring| Some(ring.changed()))?;
        Some(Self { thread, submitted, goal, has_begun: false, helps: false, seat, open })
    }

    /// What becomes ready now is for somebody else.
    fn serves_no_more(self: Pin<&mut Self>) {
        let this = self.project();
        if core::mem::take(this.helps) {
            this.seat.owner().retries.help_no_more();
        }
    }

    /// Waits on, unless the wait has ended: then how.
    fn look(self: Pin<&mut Self>, context: &mut Context<'_>) -> Option<Result<(), Errno>> {
        let mut this = self.project();
        let mut is_in_queue = !core::mem::replace(this.has_begun, true);
        if is_in_queue {
            this.seat.as_mut().enter(|| context.waker().clone());
            *this.helps = this.seat.owner().retries.help(this.thread, context);
        }
        loop {
            let ring = this.seat.owner();
            let is_wanted = *this.helps && ring.retries.has_ready();
            if is_wanted {
                // What it serves is not to wake it.
                this.seat.leave();
                is_in_queue = false;
            }
            let more = is_wanted && ring.retries.serve_ready();
            polled(this.thread);
            let look = this.goal.look(ring);
            match look {
                Look::Reached => return Some(Ok(())),
                Look::Moves => drop(ring.flush()),
                Look::Waits => {}
            }
            if more || look == Look::Moves || exec::should_yield() {
                // Others get their turn, and what ends a wait is looked at.
                let _ = pin!(exec::yield_now()).poll(context);
                break;
            }
            if is_in_queue && !(*this.helps && ring.retries.has_ready()) {
                break;
            }
            // One that was woken looks first: mostly that is the end.
            this.seat.as_mut().enter(|| context.waker().clone());
            is_in_queue = true;
        }
        this.thread.interrupted().then_some(Err(Errno::EINTR))
    }
}

impl Future for Plain<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(waited) = self.as_mut().look(context) else { return Poll::Pending };
        self.as_mut().serves_no_more();
        let ring = self.seat.owner();
        // Fewer than wanted, and entries that were taken, are better than an error.
        let is_cut = waited.is_err() && self.submitted == 0 && ring.waiting() == 0;
        ring.show_deferred();
        // As of all waits for completions (`dispatch::outcome`).
        Poll::Ready(if is_cut { Outcome::Restart(Restart::Never) } else { Outcome::Value(self.submitted as isize) })
    }
}
