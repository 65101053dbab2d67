//! The condition variable: a sequence number that each notification moves. A waiter reads it before it releases the
//! mutex, so a notification after that is never missed. It may wake without a notification.

use super::{Mutex, MutexGuard};
use crate::futex;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

/// Waits for another thread to say that something changed.
#[derive(Debug, Default)]
pub struct Condvar(AtomicU32);

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Releases the guard's mutex, waits, takes it again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_for(guard, None).0
    }

    /// The same for at most `timeout`; `true` if it passed.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> (MutexGuard<'a, T>, bool) {
        self.wait_for(guard, Some(timeout))
    }

    fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> (MutexGuard<'a, T>, bool) {
        let mutex: &Mutex<T> = guard.mutex();
        // Relaxed: the mutex orders this with the notifier, who changes the data under it.
        let sequence = self.0.load(Ordering::Relaxed);
        drop(guard);
        let woken = futex::wait(&self.0, sequence, timeout);
        (mutex.lock(), !woken)
    }

    fn notify(&self, count: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
        futex::wake(&self.0, count);
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notify(i32::MAX as u32);
    }
}
