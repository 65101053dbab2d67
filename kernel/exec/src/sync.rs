//! What coroutines wait on: queues and locks that may be held across an `.await`.
//!
//! The queues are `base/sync`'s, the locks `base/task`'s, both with `hal`'s interrupt-safe locks inside, so that interrupt
//! handlers may wake: in order of arrival, and cancel-safe. A queue allocates nothing. Who waits for a lock notes how urgent it is, a few words out of the
//! kernel's reserve (note 0014), at most one for each urgency and each holder.
//!
//! **Waiting for a condition.** State lies under its own lock (or in atomics); who changes it wakes the
//! queue afterwards. Who waits must be in the queue *before* it looks for the last time, or the change and its
//! wake-up can fall between the look and the wait. [`wait_until`] does just that; the protocol is at the head of
//! `sync::wait`.
//!
//! **Who holds a lock** is as urgent as who waits for it (`task::sync`, section 4 of note 0003), so it has to be known: it is the coroutine whose waker the lock is
//! asked for with. Who is only [`looking`](task::looking) whether there is a need to wait leaves the future to somebody else, who would hold the lock
//! unknown: so that one is given none. Behind a waker of another kind (a set of futures that one service polls) no coroutine is known: nothing is lent
//! to it, nor by it. Services are more urgent than all that waits for them.

use alloc::sync::Arc;
use core::future::{pending, poll_fn};
use core::task::{Context, Poll};

use hal::sync::{RawIrqLock, RawLendingLock};
use task::TaskRef;
use task::sync::Poisoned;

/// Access to the value of a [`Mutex`]; dropping it lets the next in line have it.
pub type MutexGuard<'a, T> = task::sync::MutexGuard<'a, T, RawLendingLock>;
/// The future of [`wait_until`] and [`wait_until_next`].
pub type WaitUntil<'q, F> = sync::wait::WaitUntil<'q, RawIrqLock, F, Contestant>;
/// The future of [`stay`].
pub type Stay<'q> = sync::wait::Stay<'q, RawIrqLock, Contestant>;

/// The future of [`contend`].
pub type Contend<'q> = sync::wait::Contend<'q, RawIrqLock, Contestant>;
pub use sync::wait::Crowd;

/// A place in the queue of something that is kept with it, for who waits without a future.
pub type Seat<T> = sync::wait::Seat<Arc<T>, RawIrqLock, Contestant>;

/// Who is told of a change unless another has taken it.
pub trait Contender: Send + Sync {
    /// As of `sync::wait::Contender`.
    fn tell(self: Arc<Self>) -> bool;
}

/// One of them.
#[derive(Clone)]
pub struct Contestant(Arc<dyn Contender>);

impl sync::wait::Contender for Contestant {
    fn tell(self) -> bool {
        self.0.tell()
    }
}

/// Coroutines that wait for something, in order of arrival. Waking is allowed in any context.
pub struct WaitQueue(sync::wait::WaitQueue<RawIrqLock, Contestant>);

impl WaitQueue {
    /// A queue where nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::wait::WaitQueue::new(RawIrqLock::new()))
    }

    /// Wakes all that wait now. Without waiters this is a fence and a load.
    #[inline]
    pub fn wake_all(&self) {
        self.0.wake_all();
    }

    /// The same for a change that one contender of this kind can see to: of those only one that takes it is told.
    #[inline]
    pub fn wake(&self, kind: u32) {
        self.0.wake(kind);
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until `ready` answers. It is called before each wait, while already in the queue, and after each
/// wake-up; it must be cheap and must not wait. Whoever makes it answer wakes `queue` *afterwards*.
#[inline]
pub fn wait_until<T, F: FnMut() -> Option<T>>(queue: &WaitQueue, ready: F) -> WaitUntil<'_, F> {
    sync::wait::wait_until(&queue.0, ready)
}

/// [`wait_until`] for a caller that has just looked in vain: `ready` is first called in the queue.
#[inline]
pub fn wait_until_next<T, F: FnMut() -> Option<T>>(queue: &WaitQueue, ready: F) -> WaitUntil<'_, F> {
    sync::wait::wait_until_next(&queue.0, ready)
}

/// Stays in a queue: the waker is called at each wake-up, until this is dropped. It never resolves. See `sync::wait::stay`.
#[inline]
pub fn stay(queue: &WaitQueue) -> Stay<'_> {
    sync::wait::stay(&queue.0)
}

/// Stays in a queue, and is told of changes of these kinds (bits) unless another contender took them. See `sync::wait::contend`.
pub fn contend(queue: &WaitQueue, contender: Arc<dyn Contender>, kinds: u32) -> Contend<'_> {
    sync::wait::contend(&queue.0, Contestant(contender), kinds)
}

/// A place in the queue that `find` finds in `owner`; `None` if it finds none.
pub fn seat<T: ?Sized>(owner: Arc<T>, find: impl for<'a> FnOnce(&'a T) -> Option<&'a WaitQueue>) -> Option<Seat<T>> {
    task::seat(owner, |owner| find(owner).map(|queue| &queue.0))
}

/// A lock that may be held across an `.await`. Who waits is served in order, and lends its priority to who holds it.
pub struct Mutex<T>(task::sync::Mutex<T, RawLendingLock>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(task::sync::Mutex::new(value))
    }

    /// Waits for the lock. Dropping the future gives up the place in line.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let me = poll_fn(asker).await;
        match self.0.lock_as(me).await {
            Ok(guard) => guard,
            // No task of the kernel's fails and leaves a lock behind.
            Err(Poisoned) => pending().await,
        }
    }
}

/// The coroutine that polls here, if it is to be found; pending for who is only looking.
fn asker(context: &mut Context<'_>) -> Poll<Option<TaskRef>> {
    if task::is_looking(context) { Poll::Pending } else { Poll::Ready(TaskRef::from_waker(context.waker())) }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
