//! The mutex: one word, three states.
//!
//! ```text
//!   0 free ── lock ──> 1 held ── another lock ──> 2 held, somebody waits
//!   2 ── unlock ──> 0, wake one;   who was woken takes it as 2, for there may be more
//! ```
//!
//! Orderings: taking is `Acquire` and pairs with the `Release` of the unlock before it, so the holder sees what the
//! last holder wrote.

use crate::{futex, slots, thread};
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// The lock word alone, for [`Mutex`] and the allocator.
#[derive(Debug)]
pub struct RawMutex(AtomicU32);

impl RawMutex {
    /// A free lock.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    fn take(&self) {
        self.take_with(|| self.wait());
    }

    fn take_with(&self, mut wait: impl FnMut()) {
        if !self.try_take() {
            while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
                wait();
            }
        }
    }

    fn wait(&self) {
        futex::wait(&self.0, CONTENDED, None);
    }

    /// Whether somebody has it.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    fn try_take(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn release(&self) {
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake(&self.0, 1);
        }
    }
}

impl RawMutex {
    /// Runs `f`, which is short, with the lock held. The thread keeps its slot until it has given it back: whoever got that might
    /// wait for this lock, and for all that is more urgent than who holds it. It waits for the lock as any other.
    pub(crate) fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut kept = Some(slots::keep());
        self.take_with(|| {
            kept = None;
            self.wait();
            kept = Some(slots::keep());
        });
        let result = f();
        self.release();
        drop(kept);
        result
    }
}

impl Default for RawMutex {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the states above: `take` and a successful `try_take` return only after moving the word away from FREE, which
// one thread at a time can do until `release`.
unsafe impl talc::lock_api::RawMutex for RawMutex {
    const INIT: Self = Self::new();
    type GuardMarker = talc::lock_api::GuardSend;

    fn lock(&self) {
        self.take();
    }

    fn try_lock(&self) -> bool {
        self.try_take()
    }

    unsafe fn unlock(&self) {
        self.release();
    }
}

/// A value that one thread at a time can use.
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, so moving it between threads is all that sharing does.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: owning the mutex is owning the value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// Puts `value` under a lock.
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the value is free and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // A task that panics with a guard cannot be ended alone, nor left. Said before there is one, until there is none.
        thread::begin_guard();
        self.raw.take();
        MutexGuard { mutex: self }
    }

    /// Takes the value if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        thread::begin_guard();
        if self.raw.try_take() {
            return Some(MutexGuard { mutex: self });
        }
        thread::end_guard();
        None
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("Mutex").field(&&*guard).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

/// The value while it is held.
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard exists only between taking and releasing the lock, so no other reference is alive.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.raw.release();
        thread::end_guard();
    }
}
