//! A place in a queue that is kept: its waker is called at each wake-up, from the first poll on until it is dropped.
//!
//! Who watches a state so marks in its waker that there is something to look at, takes the mark away *before* it looks, and
//! looks once after the first poll. So a change is seen by that look, or marked behind it.

use core::convert::Infallible;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::list::Node;
use super::{Contender, WaitLock, WaitQueue};

/// Stays in a queue.
#[inline]
pub fn stay<L: WaitLock, C: Contender>(queue: &WaitQueue<L, C>) -> Stay<'_, L, C> {
    Stay { queue, node: Node::staying() }
}

/// The future of [`stay`]; it never resolves.
#[must_use = "futures do nothing unless awaited"]
pub struct Stay<'q, L: WaitLock, C: Contender = Infallible> {
    queue: &'q WaitQueue<L, C>,
    node: Node,
}

// SAFETY: as of `WaitUntil`.
unsafe impl<L: WaitLock + Sync, C: Contender> Send for Stay<'_, L, C> {}

impl<L: WaitLock, C: Contender> Future for Stay<'_, L, C> {
    type Output = Infallible;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Infallible> {
        // SAFETY: nothing is moved out; the node stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        if !(this.node.is_linked() && this.queue.refresh(&this.node, context.waker())) {
            // SAFETY: not linked; pinned, and `drop` takes it out (W2).
            unsafe { this.queue.enter(&this.node, context.waker().clone()) };
        }
        Poll::Pending
    }
}

impl<L: WaitLock, C: Contender> Drop for Stay<'_, L, C> {
    fn drop(&mut self) {
        if self.node.is_linked() {
            self.queue.leave(&self.node);
        }
    }
}
