//! The raw spin lock that all spin locks of the system are built on.
//!
//! Test-and-test-and-set on one word: waiters read until the lock looks free and only then try to take
//! it, so that they do not fight over the cache line. It is not fair, on purpose: where there are
//! more harts than processors underneath (an emulator, a hypervisor), a queueing lock waits for waiters that
//! do not run. Critical sections are short enough that fairness does not matter.
//!
//! The lock knows nothing of interrupts, preemption or lock order. Whoever wraps it keeps a holder from
//! being interrupted by a context that wants the same lock.

use crate::atomic::{AtomicU32, Ordering};
use crate::hint;

/// A lock without data.
#[derive(Debug)]
pub struct RawSpin {
    /// 1 while held. A word, since the machine's exchange works on words.
    held: AtomicU32,
}

impl RawSpin {
    /// A free lock.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0) }
    }

    /// A free lock.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { held: AtomicU32::new(0) }
    }

    /// Takes the lock if it is free, without waiting.
    #[inline]
    #[must_use]
    pub fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `unlock`: what the last holder wrote is visible.
        // Loom lets an exchange read an old value, and takes what it writes for the newest all the same: a free lock would stay taken.
        if cfg!(loom) {
            return self.try_again();
        }
        // One instruction of the machine's. Where the lock is held this writes what is there.
        self.held.swap(1, Ordering::Acquire) == 0
    }

    /// [`try_lock`](Self::try_lock) for who waits: where the lock is held this writes nothing, and does not disturb the holder's store.
    #[inline]
    fn try_again(&self) -> bool {
        // Acquire: as above.
        self.held.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock, spinning until it is free.
    #[inline]
    pub fn lock(&self) {
        if self.try_lock() {
            return;
        }
        while !self.try_again() {
            hint::spin_loop();
            // The inner loop only reads. Loom may answer a relaxed load with an old value for ever, so
            // a model goes straight back to the exchange.
            while cfg!(not(loom)) && self.is_locked() {
                hint::spin_loop();
            }
        }
    }

    /// Takes the lock, looking at most `turns` times while it is held by someone else.
    #[inline]
    #[must_use]
    pub fn lock_within(&self, turns: usize) -> bool {
        if self.try_lock() {
            return true;
        }
        for _ in 0..turns {
            if !self.is_locked() && self.try_again() {
                return true;
            }
            hint::spin_loop();
        }
        false
    }

    /// Whether somebody holds the lock at this moment; stale as soon as it is returned.
    #[inline]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        // Relaxed: a hint, ordered by the `try_lock` that follows.
        self.held.load(Ordering::Relaxed) != 0
    }

    /// Releases the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the lock (took it with [`lock`](Self::lock), [`lock_within`](Self::lock_within)
    /// or [`try_lock`](Self::try_lock)) and no longer touches what it protects.
    #[inline]
    pub unsafe fn unlock(&self) {
        // Release pairs with the Acquire in `try_lock`.
        self.held.store(0, Ordering::Release);
    }
}

impl Default for RawSpin {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn excludes_and_frees() {
        let lock = RawSpin::new();
        assert!(lock.try_lock());
        assert!(!lock.try_lock());
        assert!(!lock.lock_within(3));
        // SAFETY: taken by `try_lock` above.
        unsafe { lock.unlock() };
        lock.lock();
        assert!(lock.is_locked());
    }

    #[test]
    fn threads_never_lose_an_increment() {
        use std::sync::Arc;
        struct Shared(RawSpin, crate::cell::UnsafeCell<u64>);
        // SAFETY: the cell is only touched under the lock.
        unsafe impl Sync for Shared {}
        let shared = Arc::new(Shared(RawSpin::new(), crate::cell::UnsafeCell::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        shared.0.lock();
                        // SAFETY: under the lock; released only afterwards.
                        shared.1.with_mut(|p| unsafe { *p += 1 });
                        // SAFETY: taken above.
                        unsafe { shared.0.unlock() };
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        // SAFETY: all threads have ended.
        assert_eq!(shared.1.with(|p| unsafe { *p }), 4000);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::cell::UnsafeCell;
    use loom::{sync::Arc, thread};

    #[test]
    fn excludes() {
        loom::model(|| {
            let shared = Arc::new((RawSpin::new(), UnsafeCell::new(0)));
            let other = Arc::clone(&shared);
            let add = |s: &(RawSpin, UnsafeCell<i32>)| {
                s.0.lock();
                // SAFETY: under the lock.
                s.1.with_mut(|p| unsafe { *p += 1 });
                // SAFETY: taken above.
                unsafe { s.0.unlock() };
            };
            let thread = thread::spawn(move || add(&other));
            add(&shared);
            thread.join().unwrap();
            // SAFETY: the other thread has ended.
            assert_eq!(shared.1.with(|p| unsafe { *p }), 2);
        });
    }
}
