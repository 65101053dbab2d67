//! Those of whom one is enough: they stay in a queue and are told of a change in turn, until one takes it.
//!
//! A change that one of them can see to is told with [`WaitQueue::wake`], by its kind; one that all must know of (an end, an error) with
//! [`WaitQueue::wake_all`], which asks nobody. Other waiters hear of both.
//!
//! ```text
//!   wake(kind)                                    who waits for a contender's news
//!   ──────────                                    ────────────────────────────────
//!   the state is changed; all others are woken    crowd: join
//!   lock: the first of this kind goes behind      enter the contender's own queue, look at its news
//!         all others                              woken, or had enough: crowd: leave
//!   tell it: put the news where they are          look at the news once more
//!            looked for, wake those who wait
//!            crowd is there? took it: done        who cannot look any more passes on what is there
//!   else the next, each once at most
//! ```
//!
//! **Nobody's news gets lost.** News are put down before the crowd is counted, and who waits looks once more after it has left the crowd. Both are ordered by the lock of
//! the news: if the count still has it, its last look comes behind the news. If the count does not have it, the next contender is told as well,
//! which costs a look, and no more. So a contender that says that it took something has a waiter that looks at it, passes it on, or sleeps and was woken.
//! A contender that goes away leaves the queue first and *then* wakes it once more: what it was told, somebody else is told behind that.

use core::convert::Infallible;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::list::Node;
use super::{WaitLock, WaitQueue};
use crate::atomic::{AtomicUsize, Ordering};

/// Who is told of a change unless somebody else has taken it.
pub trait Contender: Clone + Send + Sync {
    /// Something changed; whether somebody will see to it. Any context that the queue's lock allows; that is not held.
    fn tell(self) -> bool;
}

impl Contender for Infallible {
    fn tell(self) -> bool {
        match self {}
    }
}

/// A contender, and the kinds of change that it is for.
#[derive(Clone)]
pub(super) struct Entry<C> {
    contender: C,
    kinds: u32,
}

/// Stays in a queue for the kinds of change that are bits of `kinds`. Look once after the first poll.
pub fn contend<L: WaitLock, C: Contender>(queue: &WaitQueue<L, C>, contender: C, kinds: u32) -> Contend<'_, L, C> {
    Contend { queue, node: Node::new(), entry: Some(Entry { contender, kinds }) }
}

/// The future of [`contend`]; it never resolves.
#[must_use = "futures do nothing unless awaited"]
pub struct Contend<'q, L: WaitLock, C: Contender> {
    queue: &'q WaitQueue<L, C>,
    node: Node<Entry<C>>,
    /// Until it is in the queue.
    entry: Option<Entry<C>>,
}

// SAFETY: as of `WaitUntil`; what the node holds may be sent.
unsafe impl<L: WaitLock + Sync, C: Contender> Send for Contend<'_, L, C> {}

impl<L: WaitLock, C: Contender> Future for Contend<'_, L, C> {
    type Output = Infallible;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Infallible> {
        // SAFETY: nothing is moved out but the entry; the node stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        if let Some(entry) = this.entry.take() {
            // SAFETY: the first time, so not linked; pinned, and `drop` takes it out (W2).
            unsafe { this.queue.enter_contest(&this.node, entry) };
        }
        Poll::Pending
    }
}

impl<L: WaitLock, C: Contender> Drop for Contend<'_, L, C> {
    fn drop(&mut self) {
        if self.node.is_linked() {
            self.queue.leave_contest(&self.node);
        }
    }
}

impl<L: WaitLock, C: Contender> WaitQueue<L, C> {
    /// Wakes all others, then tells one contender after the other of a change of this kind, until one takes it; without a kind, all.
    #[cold]
    pub(super) fn wake_and_tell(&self, kind: Option<u32>) {
        self.wake_present();
        self.tell(kind);
    }

    /// Ends as `wake_present` does.
    fn tell(&self, kind: Option<u32>) {
        let mut last = None;
        loop {
            let (entry, more) = self.lock.with(|| {
                self.contenders.with_mut(|list| {
                    // SAFETY: W1, under the lock.
                    let list = unsafe { &mut *list };
                    let last = *last.get_or_insert(list.entered);
                    // SAFETY: as above.
                    let Some((node, more)) = (unsafe { list.first(last) }) else { return (None, false) };
                    // SAFETY: it is the first.
                    (unsafe { list.pass(node) }, more)
                })
            });
            if let Some(Entry { contender, kinds }) = entry
                // Also of another kind: who goes behind the others is missed by who tells at the same time, and must hear of that.
                && contender.tell()
                && kind.is_some_and(|kind| kinds & kind != 0)
            {
                return;
            }
            if !more {
                return;
            }
        }
    }

    /// # Safety
    /// As of `enter`.
    unsafe fn enter_contest(&self, node: &Node<Entry<C>>, entry: Entry<C>) {
        self.lock.with(|| {
            // SAFETY: W1, under the lock; the rest by contract.
            self.contenders.with_mut(|list| unsafe { (*list).link(node, entry) });
            // Relaxed, both: read behind the fence of who changes the state.
            self.contested.store(true, Ordering::Relaxed);
            self.occupied.store(true, Ordering::Relaxed);
        });
        // Pairs with the fence in `wake_all`: enter before looking.
        crate::atomic::fence(Ordering::SeqCst);
    }

    fn leave_contest(&self, node: &Node<Entry<C>>) {
        let entry = self.lock.with(|| {
            let (entry, is_last) = self.contenders.with_mut(|list| {
                // SAFETY: W1; linked nodes of this future are in this queue's list.
                let list = unsafe { &mut *list };
                // SAFETY: as above.
                (unsafe { list.unlink(node) }, list.head.is_null())
            });
            // Relaxed, all: the future's own, and as in `enter_contest`.
            node.linked.store(false, Ordering::Relaxed);
            if is_last {
                self.contested.store(false, Ordering::Relaxed);
                self.settle();
            }
            entry
        });
        drop(entry);
    }
}

/// How many wait for the news of a contender.
pub struct Crowd(AtomicUsize);

impl Crowd {
    crate::const_fn! {
        /// Nobody.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicUsize::new(0))
        }
    }

    /// One more, before it enters the queue in which it waits.
    pub fn join(&self) {
        // Relaxed, as all here: what counts is ordered by the lock of the news (see the head of this module).
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less, before it looks for the last time.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is anybody; asked after the news were put down.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}
