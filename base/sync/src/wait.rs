//! A queue of those who wait for a change, in order of arrival. For a state of which one waiter after the other takes
//! something, see [`Turns`]; for who watches it for as long as it likes, [`stay`], and [`contend`] if it is enough that one of these sees to a change; for who waits without
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
//! * **W1** The lists, and the links and wakers of nodes in them, are touched under the lock only.
//! * **W2** A node is in its list exactly while `linked` is set; its future leaves the list before it goes, and does not
//!   move before.

use core::convert::Infallible;
use core::future::Future;
use core::pin::Pin;
use core::ptr;
use core::task::{Context, Poll, Waker};

use crate::atomic::{AtomicBool, Ordering, fence};
use crate::cell::UnsafeCell;
use crate::raw::RawSpin;

mod contend;
mod list;
mod seat;
mod stay;
mod turn;

use list::{List, Node};

pub use contend::{Contend, Contender, Crowd, contend};
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

/// Coroutines that wait for something. `C`: who may contend for changes ([`contend`]).
pub struct WaitQueue<L, C = Infallible> {
    /// Whether either list has anybody; written under the lock.
    occupied: AtomicBool,
    /// Whether the second list has; written under the lock.
    contested: AtomicBool,
    lock: L,
    list: UnsafeCell<List>,
    contenders: UnsafeCell<List<contend::Entry<C>>>,
}

// SAFETY: the lists, the only parts that are not atomic, are touched under the lock (W1); what hangs in them is wakers and contenders, which
// may be sent.
unsafe impl<L: Send, C: Send> Send for WaitQueue<L, C> {}
// SAFETY: as above.
unsafe impl<L: Sync, C: Send> Sync for WaitQueue<L, C> {}

impl<L, C> WaitQueue<L, C> {
    crate::const_fn! {
        /// A queue where nobody waits, with its lock.
        #[must_use]
        pub const fn new(lock: L) -> Self {
            let (list, contenders) = (UnsafeCell::new(List::new()), UnsafeCell::new(List::new()));
            Self { occupied: AtomicBool::new(false), contested: AtomicBool::new(false), lock, list, contenders }
        }
    }
}

impl<L: WaitLock, C: Contender> WaitQueue<L, C> {
    /// Wakes all that wait now. Any context that the lock allows.
    #[inline]
    pub fn wake_all(&self) {
        // Pairs with the fence in `enter`: change the state before looking for waiters.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if self.occupied.load(Ordering::Relaxed) {
            self.wake_them(None);
        }
    }

    /// The same for a change that one contender of this kind can see to: of those only one that takes it is to be told.
    #[inline]
    pub fn wake(&self, kind: u32) {
        // As in `wake_all`.
        fence(Ordering::SeqCst);
        if self.occupied.load(Ordering::Relaxed) {
            self.wake_them(Some(kind));
        }
    }

    #[inline]
    fn wake_them(&self, kind: Option<u32>) {
        // Relaxed: ordered by the fence of who calls this.
        if self.contested.load(Ordering::Relaxed) {
            self.wake_and_tell(kind);
        } else {
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
        // SAFETY: by contract.
        let Some((node, more)) = (unsafe { list.first(last) }) else { return (None, false) };
        if node.stays {
            // SAFETY: W1, W2: the first in the list, under the lock.
            return (unsafe { list.pass(node) }, more);
        }
        // SAFETY: W1, W2: in the list, under the lock.
        let waker = unsafe { self.unlink(list, node) };
        // Release pairs with the Acquire in `is_linked`: the node may be gone from here on.
        node.linked.store(false, Ordering::Release);
        (waker, more)
    }

    /// Takes a node out of the list; the caller clears `linked` then.
    ///
    /// # Safety
    /// The node is in this queue's list, `list`; under the lock.
    unsafe fn unlink(&self, list: &mut List, node: &Node) -> Option<Waker> {
        // SAFETY: by contract.
        let waker = unsafe { list.unlink(node) };
        if list.head.is_null() {
            // Relaxed, both: who reads an old value finds the list empty under the lock, under which the second is written.
            self.occupied.store(self.contested.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        waker
    }

    /// Nobody contends any more: notes whether anybody waits. Under the lock.
    fn settle(&self) {
        // SAFETY: W1, under the lock.
        let waits = self.list.with(|list| unsafe { !(*list).head.is_null() });
        // Relaxed: as in `unlink`.
        self.occupied.store(waits, Ordering::Relaxed);
    }

    /// Puts a node at the end of the list.
    ///
    /// # Safety
    /// The list is this queue's, under the lock. The node is in no list, does not move, and leaves this queue before it
    /// goes (W2).
    #[inline]
    unsafe fn link(&self, list: &mut List, node: &Node, waker: Waker) {
        // SAFETY: by contract.
        unsafe { list.link(node, waker) };
        // Relaxed: read behind a fence.
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
                    if let Some(old) = unsafe { &mut (*links).call } {
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
pub fn wait_until<L: WaitLock, C: Contender, T, F: FnMut() -> Option<T>>(
    queue: &WaitQueue<L, C>,
    ready: F,
) -> WaitUntil<'_, L, F, C> {
    WaitUntil { queue, node: Node::new(), looked: false, ready }
}

/// [`wait_until`] for a caller that has just looked in vain: `ready` is first called in the queue.
#[inline]
pub fn wait_until_next<L: WaitLock, C: Contender, T, F: FnMut() -> Option<T>>(
    queue: &WaitQueue<L, C>,
    ready: F,
) -> WaitUntil<'_, L, F, C> {
    WaitUntil { queue, node: Node::new(), looked: true, ready }
}

/// The future of [`wait_until`] and [`wait_until_next`].
#[must_use = "futures do nothing unless awaited"]
pub struct WaitUntil<'q, L: WaitLock, F, C: Contender = Infallible> {
    queue: &'q WaitQueue<L, C>,
    node: Node,
    /// Enter the queue without a look before.
    looked: bool,
    ready: F,
}

// SAFETY: the node is reached through the queue under its lock, from whatever thread (W1), and holds a waker at most,
// which may be sent.
unsafe impl<L: WaitLock + Sync, F: Send, C: Contender> Send for WaitUntil<'_, L, F, C> {}

impl<L: WaitLock, T, F: FnMut() -> Option<T>, C: Contender> Future for WaitUntil<'_, L, F, C> {
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

impl<L: WaitLock, F, C: Contender> Drop for WaitUntil<'_, L, F, C> {
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
