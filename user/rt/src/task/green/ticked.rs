//! The future of a green thread that ticks interrupt.

use super::ticker::Ticker;
use super::{float_control, set_float_control};
use crate::requests;
use crate::thread::{self, Own};
use crate::time::Duration;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// How long a thread that cannot go on with what was left gives its slot to another.
const PAUSE: Duration = Duration::from_micros(100);

/// What is the green thread's as long as it is there.
struct Kept {
    own: Own,
    /// That of its task. What it polls may be left with a reference to it.
    waker: UnsafeCell<Option<ManuallyDrop<Waker>>>,
}

/// See the module.
pub(super) struct Ticked<G: Future + Unpin> {
    green: ManuallyDrop<G>,
    kept: ManuallyDrop<Box<Kept>>,
}

// SAFETY: one thread at a time polls it; what is a thread's in `own` is not used outside a poll.
unsafe impl<G: Future + Unpin + Send> Send for Ticked<G> {}

impl<G: Future + Unpin> Ticked<G> {
    pub(super) fn new(green: G) -> Self {
        let kept = Box::new(Kept { own: Own::new(), waker: UnsafeCell::new(None) });
        Self { green: ManuallyDrop::new(green), kept: ManuallyDrop::new(kept) }
    }

    /// Runs its code, with what ticks for it.
    fn run(&mut self, ticker: Option<&'static Ticker>) -> Poll<G::Output> {
        let own = &self.kept.own;
        // SAFETY: written before, and not again while the task is there.
        let Some(waker) = (unsafe { &*self.kept.waker.get() }) else { return Poll::Pending };
        let mut context = Context::from_waker(waker);
        own.enter(ticker.map_or(core::ptr::null(), core::ptr::from_ref));
        // Behind that: the handler asks the block for the slot of this poll.
        if let Some(ticker) = ticker {
            ticker.begin(own);
        }
        let answer = Pin::new(&mut *self.green).poll(&mut context);
        if let Some(ticker) = ticker {
            ticker.end();
        }
        own.leave();
        answer
    }

    /// It is dropped in the middle of something, which others may wait for (who was to be woken, say): goes on to where it waits or ends.
    /// `false`: it cannot.
    fn run_to_wait(&mut self) -> bool {
        self.kept.own.stay();
        let Some(ticker) = thread::held().and_then(Ticker::of) else { return false };
        drop(self.run(Some(ticker)));
        !self.kept.own.is_left()
    }
}

impl<G: Future + Unpin> Future for Ticked<G> {
    type Output = G::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<G::Output> {
        let this = self.get_mut();
        let waker = this.kept.waker.get();
        // SAFETY: nobody has a reference to it before there is one. It is used in polls of the task alone, each of which is given the same one, which is
        // there meanwhile; and never dropped.
        unsafe {
            if (*waker).is_none() {
                waker.write(Some(ManuallyDrop::new(core::ptr::read(context.waker()))));
            }
        }
        let ticker = thread::held().and_then(Ticker::of);
        if this.kept.own.is_left() && ticker.is_none() {
            context.waker().wake_by_ref();
            thread::sleep(PAUSE);
            return Poll::Pending;
        }
        if requests::gather() {
            // This poll may be a long one, and these are not its own.
            requests::submit();
        }
        let control = float_control();
        let answer = this.run(ticker);
        set_float_control(control);
        if this.kept.own.is_left() {
            super::super::failure::count_preempted();
            requests::submit();
        }
        answer
    }
}

impl<G: Future + Unpin> Drop for Ticked<G> {
    fn drop(&mut self) {
        if self.kept.own.is_left() && !self.run_to_wait() {
            // There is no memory for what interrupts this thread. Its frames stay where they are, and so does all else.
            return;
        }
        // SAFETY: dropped once, here.
        unsafe {
            ManuallyDrop::drop(&mut self.green);
            ManuallyDrop::drop(&mut self.kept);
        }
    }
}
