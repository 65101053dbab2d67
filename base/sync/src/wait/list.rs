//! The list under a queue's lock: nodes that lie in futures, oldest first.

use core::marker::PhantomPinned;
use core::ptr;
use core::task::Waker;

use crate::atomic::{AtomicBool, Ordering};
use crate::cell::UnsafeCell;

/// Those who wait, oldest first. `C` is what is called.
pub(super) struct List<C = Waker> {
    pub head: *const Node<C>,
    tail: *const Node<C>,
    /// How many have entered so far.
    pub entered: u64,
}

/// A waiter's place in the list, and what is called for it while it is there.
pub(super) struct Links<C> {
    next: *const Node<C>,
    previous: *const Node<C>,
    /// The count at its entry: tells those who were there when a wake-up began.
    turn: u64,
    pub call: Option<C>,
}

pub(super) struct Node<C = Waker> {
    pub linked: AtomicBool,
    /// As made by [`Node::staying`].
    pub stays: bool,
    pub links: UnsafeCell<Links<C>>,
    /// The list points here.
    _pinned: PhantomPinned,
}

impl<C> Node<C> {
    pub fn new() -> Self {
        let links = Links { next: ptr::null(), previous: ptr::null(), turn: 0, call: None };
        let links = UnsafeCell::new(links);
        Self { linked: AtomicBool::new(false), stays: false, links, _pinned: PhantomPinned }
    }

    /// One that a wake-up does not take out.
    pub fn staying() -> Self {
        Self { stays: true, ..Self::new() }
    }

    /// Whether it is in the list.
    #[inline]
    pub fn is_linked(&self) -> bool {
        // Acquire pairs with the Release in `take_first`: the waker's accesses to the node are over.
        self.linked.load(Ordering::Acquire)
    }
}

impl<C> List<C> {
    pub const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null(), entered: 0 }
    }

    /// The first node, unless it came after turn `last`, and whether another follows it.
    ///
    /// # Safety
    /// Under the queue's lock (W1, W2).
    #[inline]
    pub unsafe fn first<'n>(&self, last: u64) -> Option<(&'n Node<C>, bool)> {
        // SAFETY: W2, what the list points to is alive.
        let node = unsafe { self.head.as_ref() }?;
        let (turn, next) = node.links.with(|links| {
            // SAFETY: W1.
            unsafe { ((*links).turn, (*links).next) }
        });
        (turn <= last).then_some((node, !next.is_null()))
    }

    /// Takes a node out; the caller clears `linked` then.
    ///
    /// # Safety
    /// The node is in this list; under the queue's lock.
    pub unsafe fn unlink(&mut self, node: &Node<C>) -> Option<C> {
        let (next, previous, call) = node.links.with_mut(|links| {
            // SAFETY: W1.
            let links = unsafe { &mut *links };
            (links.next, links.previous, links.call.take())
        });
        // SAFETY: W2, neighbours are alive.
        match unsafe { previous.as_ref() } {
            // SAFETY: W1.
            Some(previous) => previous.links.with_mut(|links| unsafe { (*links).next = next }),
            None => self.head = next,
        }
        // SAFETY: W2, as above.
        match unsafe { next.as_ref() } {
            // SAFETY: W1.
            Some(next) => next.links.with_mut(|links| unsafe { (*links).previous = previous }),
            None => self.tail = previous,
        }
        call
    }

    /// Puts a node at the end.
    ///
    /// # Safety
    /// Under the queue's lock. The node is in no list, does not move, and leaves this one before it goes (W2).
    #[inline]
    pub unsafe fn link(&mut self, node: &Node<C>, call: C) {
        self.entered += 1;
        let links = Links { next: ptr::null(), previous: self.tail, turn: self.entered, call: Some(call) };
        // SAFETY: not linked, so the caller's. The old content has nothing to drop: `unlink` took it.
        node.links.with_mut(|old| unsafe { ptr::write(old, links) });
        // SAFETY: W2, the last node is alive.
        match unsafe { self.tail.as_ref() } {
            // SAFETY: W1.
            Some(tail) => tail.links.with_mut(|links| unsafe { (*links).next = node }),
            None => self.head = node,
        }
        self.tail = node;
        // Relaxed: read without the lock by this node's future only.
        node.linked.store(true, Ordering::Relaxed);
    }
}

impl<C: Clone> List<C> {
    /// Moves the first node behind all others; what is to be called for it. The list never looks empty meanwhile: who changes the
    /// state now must not find that nobody waits.
    ///
    /// # Safety
    /// The node is the first in this list; under the queue's lock.
    pub unsafe fn pass(&mut self, node: &Node<C>) -> Option<C> {
        self.entered += 1;
        let last = self.tail;
        let (next, call) = node.links.with_mut(|links| {
            // SAFETY: W1.
            let links = unsafe { &mut *links };
            links.turn = self.entered;
            let next = links.next;
            if !next.is_null() {
                (links.next, links.previous) = (ptr::null(), last);
            }
            (next, links.call.clone())
        });
        // SAFETY: W2, neighbours are alive; the last is another if there is a next.
        if let (Some(second), Some(last)) = unsafe { (next.as_ref(), last.as_ref()) } {
            // SAFETY: W1.
            second.links.with_mut(|links| unsafe { (*links).previous = ptr::null() });
            // SAFETY: W1.
            last.links.with_mut(|links| unsafe { (*links).next = node });
            (self.head, self.tail) = (next, node);
        }
        call
    }
}
