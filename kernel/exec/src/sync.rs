//! What coroutines wait on: queues and locks that may be held across an `.await`.
//!
//! They are `maitake-sync`'s, with `hal`'s interrupt-safe lock inside, so that interrupt handlers may wake:
//! fair, without allocation, and cancel-safe (a waiter that is dropped with a wake-up in its hands passes
//! it on).
//!
//! **Waiting for a condition.** State lies under its own lock (or in atomics); who changes it wakes the
//! queue afterwards. Who waits must be in the queue *before* it looks for the last time, or the change and its
//! wake-up can fall between the look and the wait. [`wait_until`] does just that:
//!
//! ```text
//!   waiter                       changer
//!   ──────                       ───────
//!   look: not yet                change the state (under its lock)
//!   enter the queue              wake the queue
//!   look again: ready? done
//!   else wait, and start over
//! ```

use core::future::Future;
use core::pin::pin;

use hal::sync::RawIrqLock;
pub use maitake_sync::WaitCell;

/// The wait of one coroutine on a [`WaitQueue`].
pub type Wait<'a> = maitake_sync::wait_queue::Wait<'a, RawIrqLock>;
/// Access to the value of a [`Mutex`]; dropping it lets the next in line have it.
pub type MutexGuard<'a, T> = maitake_sync::mutex::MutexGuard<'a, T, RawIrqLock>;

/// Coroutines that wait for something, in order of arrival. Waking is allowed in any context.
pub struct WaitQueue(maitake_sync::WaitQueue<RawIrqLock>);

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self(maitake_sync::WaitQueue::new_with_raw_mutex(RawIrqLock::new()))
    }

    /// Wakes the first in line. If nobody waits, the next to come does not wait.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Wakes all that wait now.
    pub fn wake_all(&self) {
        self.0.wake_all();
    }

    /// Resolves at the next wake-up. To wait for a condition use [`wait_until`].
    pub fn wait(&self) -> Wait<'_> {
        self.0.wait()
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until `ready` answers. It is called before each wait, while already in the queue, and after each
/// wake-up; it must be cheap and must not wait. Whoever makes it answer wakes `queue` *afterwards*.
pub async fn wait_until<T>(queue: &WaitQueue, mut ready: impl FnMut() -> Option<T>) -> T {
    if let Some(value) = ready() {
        return value;
    }
    loop {
        let mut wait = pin!(queue.wait());
        // Enter the queue. A wake-up that was left for the next to come is taken here: it means to look.
        let woken = wait.as_mut().subscribe().is_ready();
        if let Some(value) = ready() {
            return value;
        }
        if !woken {
            // The queue is never closed, so the result says nothing.
            let _ = wait.await;
        }
    }
}

/// A lock that may be held across an `.await`. Who waits is served in order.
pub struct Mutex<T>(maitake_sync::Mutex<T, RawIrqLock>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(maitake_sync::Mutex::new_with_raw_mutex(value, RawIrqLock::new()))
    }

    /// Takes the value out of a lock that nobody else has.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }

    /// The value of a lock that nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// Waits for the lock. Dropping the future gives up the place in line.
    pub fn lock(&self) -> impl Future<Output = MutexGuard<'_, T>> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
