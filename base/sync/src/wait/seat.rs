//! A place in the queue of something that is kept with it: for who waits without a future that would borrow the queue.
//!
//! The protocol is that of [`wait_until`](super::wait_until), by hand: enter, look again, wait; the waker is called once, for the first
//! wake-up behind that, after which who still waits enters again.

use core::convert::Infallible;
use core::ops::Deref;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::Waker;

use super::list::Node;
use super::{Contender, WaitLock, WaitQueue};

/// A place in a queue of what `O` points to.
pub struct Seat<O: Deref, L: WaitLock, C: Contender = Infallible> {
    node: Node,
    queue: NonNull<WaitQueue<L, C>>,
    /// The queue is part of what it points to, or kept by that: it goes after the node has left.
    owner: O,
}

// SAFETY: as of `WaitUntil`; the queue is reached as through the owner.
unsafe impl<O: Deref<Target: Sync> + Send, L: WaitLock + Sync, C: Contender> Send for Seat<O, L, C> {}

impl<O: Deref, L: WaitLock, C: Contender> Seat<O, L, C> {
    /// A place in the queue that `find` finds, outside it for now. `None` if it finds none.
    ///
    /// # Safety
    /// What `owner` points to stays where it is, and nobody has it for himself, as long as `owner` is there, wherever that is moved: as of an `Arc`.
    pub unsafe fn new(
        owner: O,
        find: impl for<'a> FnOnce(&'a O::Target) -> Option<&'a WaitQueue<L, C>>,
    ) -> Option<Self> {
        let queue = NonNull::from(find(&owner)?);
        Some(Self { node: Node::new(), queue, owner })
    }

    /// What it keeps.
    pub fn owner(&self) -> &O {
        &self.owner
    }

    fn queue(&self) -> &WaitQueue<L, C> {
        // SAFETY: `find` got it for any lifetime for which what the owner points to is borrowed; that can be borrowed as long as this is
        // there, by the contract of `new`, and never is but shared.
        unsafe { self.queue.as_ref() }
    }

    /// Enters the queue, if it is not in it. Look again then.
    #[inline]
    pub fn enter(self: Pin<&mut Self>, waker: impl FnOnce() -> Waker) {
        if !self.node.is_linked() {
            // SAFETY: not linked; pinned, and `drop` takes it out (W2).
            unsafe { self.queue().enter(&self.node, waker()) };
        }
    }

    /// Leaves the queue, if it is in it: a wake-up that comes now is none for this one.
    #[inline]
    pub fn leave(&self) {
        if self.node.is_linked() {
            self.queue().leave(&self.node);
        } else if cfg!(loom) {
            // As of `WaitUntil`.
            self.node.links.with_mut(|_| ());
        }
    }
}

impl<O: Deref, L: WaitLock, C: Contender> Drop for Seat<O, L, C> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}
