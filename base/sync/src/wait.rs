//! A queue of those who wait for a change, in order of arrival. For a state of which one waiter after the other takes
//! something, see [`Turns`]; for who watches it for as long as it likes, [`stay`]; for who waits without
//! a future, [`Seat`].
//!
//! The state that is waited for lies elsewhere, under a lock of its own or in atomics. Who changes it calls
//! [`WaitQueue::wake_all`] *afterwards*; who waits looks once more after it has entered the queue:
//!
//! ```text
//!   waiter (WaitUntil::poll)              changer
//!   ────────────────────────              ───────
//!   look: not yet                         change the state
//!   enter: occupied = true                fence(SeqCst)
//!   fence(SeqCst)                         occupied? no: done
//!   look again: there? leave, done        yes: take out who is in the queue, call the wakers
//!   else wait; woken: start over
//! ```
//!
//! Whichever fence comes first, the waiter sees the change or the changer sees the waiter. So a change that nobody waits
//! for costs a fence and a load, a wait one pass through the lock, a wake-up another, and one that comes after
//! its wake-up none.
//!
//! A waiter's node lies in its future. While `linked` is set it belongs to the queue and is touched under the queue's lock
//! only; else it is the future's. Only `wake_all` clears `linked` for another, as its last access to
//! the node, so a future that finds it clear may go away without the lock. Wakers are made, called and dropped
//! outside the lock, except for the copy of one that stays. All is done in bounded steps with the lock held, so that interrupt handlers may wake if the lock
//! keeps them out.
//!
//! * **W1** The list and the links and wakers of nodes in it are touched under the lock only.
//! * **W2** A node is in the list exactly while `linked` is set; its future leaves the list before it goes, and does not
//!   move before.

use core::future::Future;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr;
use core::task::{Context, Poll, Waker};

use crate::atomic::{AtomicBool, Ordering, fence};
use crate::cell::UnsafeCell;
use crate::raw::RawSpin;

mod seat;
mod stay;
mod turn;

pub use seat::Seat;
pub use stay::{Stay, stay};
pub use turn::{Claim, Gate, Turn, Turns};

/// A lock around a queue's list.
///
/// # Safety
/// Calls of `with` on one lock exclude each other, from all contexts that use the queue, and what one did is visible to
/// the next.
pub unsafe trait WaitLock {
    /// Runs `f` with the lock held.
    fn with<R>(&self, f: impl FnOnce() -> R) -> R;
}

// SAFETY: the raw lock excludes, and orders by acquire and release. Contexts that interrupt each other need another.
unsafe impl WaitLock for RawSpin {
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        self.lock();
        let result = f();
        // SAFETY: taken above.
        unsafe { self.unlock() };
        result
    }
}

/// Those who wait, oldest first.
struct List {
    head: *const Node,
    tail: *const Node,
    /// How many have entered so far.
    entered: u64,
}

/// A waiter's place in the list, and its waker while it is there.
struct Links {
    next: *const Node,
    previous: *const Node,
    /// The count at its entry: tells those who were there when `wake_all` began.
    turn: u64,
    waker: Option<Waker>,
}

struct Node {
    linked: AtomicBool,
    /// It is not taken out by a wake-up.
    stays: bool,
    links: UnsafeCell<Links>,
    /// The list points here.
    _pinned: PhantomPinned,
}

impl Node {
    fn new() -> Self {
        let links = Links { next: ptr::null(), previous: ptr::null(), turn: 0, waker: None };
        let links = UnsafeCell::new(links);
        Self { linked: AtomicBool::new(false), stays: false, links, _pinned: PhantomPinned }
    }

    /// Whether it is in the list.
    #[inline]
    fn is_linked(&self) -> bool {
        // Acquire pairs with the Release in `take_first`: the waker's accesses to the node are over.
        self.linked.load(Ordering::Acquire)
    }
}

/// Coroutines that wait for something.
pub struct WaitQueue<L> {
    /// Whether the list has anybody; written under the lock.
    occupied: AtomicBool,
    lock: L,
    list: UnsafeCell<List>,
}

// SAFETY: the list, the only part that is not atomic, is touched under the lock (W1); what hangs in it is wakers, which
// may be sent.
unsafe impl<L: Send> Send for WaitQueue<L> {}
// SAFETY: as above.
unsafe impl<L: Sync> Sync for WaitQueue<L> {}

impl<L> WaitQueue<L> {
    crate::const_fn! {
        /// A queue where nobody waits, with its lock.
        #[must_use]
        pub const fn new(lock: L) -> Self {
            let list = UnsafeCell::new(List { head: ptr::null(), tail: ptr::null(), entered: 0 });
            Self { occupied: AtomicBool::new(false), lock, list }
        }
    }
}

impl<L: WaitLock> WaitQueue<L> {
    /// Wakes all that wait now. Any context that the lock allows.
    #[inline]
    pub fn wake_all(&self) {
        // Pairs with the fence in `enter`: change the state before looking for waiters.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if self.occupied.load(Ordering::Relaxed) {
            self.wake_present();
        }
    }

    /// One at a time, so that the lock is held for a bounded time and no waker is called under it. Ends: those that come
    /// meanwhile have a later turn.
    #[inline(never)]
    fn wake_present(&self) {
        let mut last = None;
        loop {
            let (waker, more) = self.lock.with(|| {
                self.list.with_mut(|list| {
                    // SAFETY: W1, under the lock.
                    let list = unsafe { &mut *list };
                    let last = *last.get_or_insert(list.entered);
                    // SAFETY: as above.
                    unsafe { self.take_first(list, last) }
                })
            });
            if let Some(waker) = waker {
                waker.wake();
            }
            if !more {
                return;
            }
        }
    }

    /// Takes out the oldest waiter, unless it came after turn `last`; also whether another is to follow. One that stays goes
    /// behind all others instead.
    ///
    /// # Safety
    /// `list` is this queue's; under the lock.
    unsafe fn take_first(&self, list: &mut List, last: u64) -> (Option<Waker>, bool) {
        // SAFETY: W2, what the list points to is alive.
        let Some(node) = (unsafe { list.head.as_ref() }) else { return (None, false) };
        let (turn, next) = node.links.with(|links| {
            // SAFETY: W1.
            unsafe { ((*links).turn, (*links).next) }
        });
        if turn > last {
            return (None, false);
        }
        if node.stays {
            // SAFETY: W1, W2: the first in the list, under the lock.
            return (unsafe { self.pass(list, node) }, !next.is_null());
        }
        // SAFETY: W1, W2: in the list, under the lock.
        let waker = unsafe { self.unlink(list, node) };
        // Release pairs with the Acquire in `is_linked`: the node may be gone from here on.
        node.linked.store(false, Ordering::Release);
        (waker, !next.is_null())
    }

    /// Moves the first node behind all others; its waker, to be called. The list never looks empty meanwhile: who changes the
    /// state now must not find that nobody waits.
    ///
    /// # Safety
    /// The node is the first in this queue's list, `list`; under the lock.
    unsafe fn pass(&self, list: &mut List, node: &Node) -> Option<Waker> {
        list.entered += 1;
        let last = list.tail;
        let (next, waker) = node.links.with_mut(|links| {
            // SAFETY: W1.
            let links = unsafe { &mut *links };
            links.turn = list.entered;
            let next = links.next;
            if !next.is_null() {
                (links.next, links.previous) = (ptr::null(), last);
            }
            (next, links.waker.clone())
        });
        // SAFETY: W2, neighbours are alive; the last is another if there is a next.
        if let (Some(second), Some(last)) = unsafe { (next.as_ref(), last.as_ref()) } {
            // SAFETY: W1.
            second.links.with_mut(|links| unsafe { (*links).previous = ptr::null() });
            // SAFETY: W1.
            last.links.with_mut(|links| unsafe { (*links).next = node });
            (list.head, list.tail) = (next, node);
        }
        waker
    }

    /// Takes a node out of the list; the caller clears `linked` then.
    ///
    /// # Safety
    /// The node is in this queue's list, `list`; under the lock.
    unsafe fn unlink(&self, list: &mut List, node: &Node) -> Option<Waker> {
        let (next, previous, waker) = node.links.with_mut(|links| {
            // SAFETY: W1.
            let links = unsafe { &mut *links };
            (links.next, links.previous, links.waker.take())
        });
        // SAFETY: W2, neighbours are alive.
        match unsafe { previous.as_ref() } {
            // SAFETY: W1.
            Some(previous) => previous.links.with_mut(|links| unsafe { (*links).next = next }),
            None => list.head = next,
        }
        // SAFETY: W2, as above.
        match unsafe { next.as_ref() } {
            // SAFETY: W1.
            Some(next) => next.links.with_mut(|links| unsafe { (*links).previous = previous }),
            None => list.tail = previous,
        }
        if list.head.is_null() {
            // Relaxed: who reads an old value finds the list empty under the lock.
            self.occupied.store(false, Ordering::Relaxed);
        }
        waker
    }

    /// Puts a node at the end of the list.
    ///
    /// # Safety
    /// The list is this queue's, under the lock. The node is in no list, does not move, and leaves this queue before it
    /// goes (W2).
    #[inline]
    unsafe fn link(&self, list: &mut List, node: &Node, waker: Waker) {
        list.entered += 1;
        let links = Links { next: ptr::null(), previous: list.tail, turn: list.entered, waker: Some(waker) };
        // SAFETY: not linked, so the caller's. The old content has no waker to drop: `unlink` took it.
        node.links.with_mut(|old| unsafe { ptr::write(old, links) });
        // SAFETY: W2, the last node is alive.
        match unsafe { list.tail.as_ref() } {
            // SAFETY: W1.
            Some(tail) => tail.links.with_mut(|links| unsafe { (*links).next = node }),
            None => list.head = node,
        }
        list.tail = node;
        // Relaxed, both: the first is read without the lock by this node's future only, the second behind a fence.
        node.linked.store(true, Ordering::Relaxed);
        self.occupied.store(true, Ordering::Relaxed);
    }

    /// Puts a node at the end of the list, to look again afterwards.
    ///
    /// # Safety
    /// As [`link`](Self::link), without the lock.
    #[inline]
    unsafe fn enter(&self, node: &Node, waker: Waker) {
        // SAFETY: W1, under the lock; the rest by contract.
        self.lock.with(|| self.list.with_mut(|list| unsafe { self.link(&mut *list, node, waker) }));
        // Pairs with the fence in `wake_all`: enter before looking again.
        fence(Ordering::SeqCst);
    }

    /// Takes a node out of the list for the future that owns it.
    ///
    /// # Safety
    /// As [`unlink`](Self::unlink).
    unsafe fn unlink_own(&self, list: &mut List, node: &Node) -> Option<Waker> {
        // SAFETY: by contract.
        let waker = unsafe { self.unlink(list, node) };
        // Relaxed: the future's own.
        node.linked.store(false, Ordering::Relaxed);
        waker
    }

    /// Has `waker` called for a node that waits; `false` if it waits no more.
    #[cold]
    fn refresh(&self, node: &Node, waker: &Waker) -> bool {
        let mut waker = waker.clone();
        self.lock.with(|| {
            let linked = node.is_linked();
            if linked {
                node.links.with_mut(|links| {
                    // SAFETY: W1, linked and under the lock.
                    if let Some(old) = unsafe { &mut (*links).waker } {
                        core::mem::swap(old, &mut waker);
                    }
                });
            }
            linked
        })
        // What was replaced is dropped here, outside the lock.
    }

    /// Takes a node out of the list if it is still there.
    #[inline(never)]
    fn leave(&self, node: &Node) {
        let waker = self.lock.with(|| {
            if !node.is_linked() {
                return None;
            }
            // SAFETY: W1; linked nodes of this future are in this queue's list.
            self.list.with_mut(|list| unsafe { self.unlink_own(&mut *list, node) })
        });
        drop(waker);
    }
}

/// Waits until `ready` answers. It is called before each wait, in the queue and out of it, and after each wake-up; it
/// must be cheap and must not wait. Whoever makes it answer wakes `queue` *afterwards*.
#[inline]
pub fn wait_until<L: WaitLock, T, F: FnMut() -> Option<T>>(queue: &WaitQueue<L>, ready: F) -> WaitUntil<'_, L, F> {
    WaitUntil { queue, node: Node::new(), looked: false, ready }
}

/// [`wait_until`] for a caller that has just looked in vain: `ready` is first called in the queue.
#[inline]
pub fn wait_until_next<L: WaitLock, T, F: FnMut() -> Option<T>>(queue: &WaitQueue<L>, ready: F) -> WaitUntil<'_, L, F> {
    WaitUntil { queue, node: Node::new(), looked: true, ready }
}

/// The future of [`wait_until`] and [`wait_until_next`].
#[must_use = "futures do nothing unless awaited"]
pub struct WaitUntil<'q, L: WaitLock, F> {
    queue: &'q WaitQueue<L>,
    node: Node,
    /// Enter the queue without a look before.
    looked: bool,
    ready: F,
}

// SAFETY: the node is reached through the queue under its lock, from whatever thread (W1), and holds a waker at most,
// which may be sent.
unsafe impl<L: WaitLock + Sync, F: Send> Send for WaitUntil<'_, L, F> {}

impl<L: WaitLock, T, F: FnMut() -> Option<T>> Future for WaitUntil<'_, L, F> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // SAFETY: nothing is moved out; the node stays where it is, and `ready` is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        if this.node.is_linked() && this.queue.refresh(&this.node, context.waker()) {
            return Poll::Pending;
        }
        if !core::mem::take(&mut this.looked)
            && let Some(value) = (this.ready)()
        {
            return Poll::Ready(value);
        }
        // SAFETY: not linked; pinned, and `drop` takes it out (W2).
        unsafe { this.queue.enter(&this.node, context.waker().clone()) };
        let Some(value) = (this.ready)() else { return Poll::Pending };
        this.queue.leave(&this.node);
        Poll::Ready(value)
    }
}

impl<L: WaitLock, F> Drop for WaitUntil<'_, L, F> {
    #[inline]
    fn drop(&mut self) {
        if self.node.is_linked() {
            self.queue.leave(&self.node);
        } else if cfg!(loom) {
            // Loom does not see that memory goes: this shows that all accesses to the node come before.
            self.node.links.with_mut(|_| ());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
