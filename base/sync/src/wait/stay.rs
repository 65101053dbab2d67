//! A place in a queue that is kept: its waker is called at each wake-up, from the first poll on until it is dropped.
//!
//! Who watches a state so marks in its waker that there is something to look at, takes the mark away *before* it looks, and
//! looks once after the first poll. So a change is seen by that look, or marked behind it.

use core::convert::Infallible;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::{Node, WaitLock, WaitQueue};

/// Stays in a queue.
#[inline]
pub fn stay<L: WaitLock>(queue: &WaitQueue<L>) -> Stay<'_, L> {
    Stay { queue, node: Node { stays: true, ..Node::new() } }
}

/// The future of [`stay`]; it never resolves.
#[must_use = "futures do nothing unless awaited"]
pub struct Stay<'q, L: WaitLock> {
    queue: &'q WaitQueue<L>,
    node: Node,
}

// SAFETY: as of `WaitUntil`.
unsafe impl<L: WaitLock + Sync> Send for Stay<'_, L> {}

impl<L: WaitLock> Future for Stay<'_, L> {
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

impl<L: WaitLock> Drop for Stay<'_, L> {
    fn drop(&mut self) {
        if self.node.is_linked() {
            self.queue.leave(&self.node);
        }
    }
}
