//! Vectors that were raised, for tasks and threads to take: what a handler can do whatever it has interrupted.

use crate::io::Result;
use crate::reactor::AsyncFd;
use crate::sys::{OwnedFd, syscall};
use abi::fs::{EFD_CLOEXEC, EFD_NONBLOCK};
use core::sync::atomic::{AtomicU64, Ordering};

/// Vectors that were raised and not taken, for [`Handlers::note`](super::Handlers::note).
///
/// The handler sets a bit and, if it is the first, rings a bell, which is an eventfd. Who waits takes the bits, and if there are none silences the bell before it looks again:
/// a bit that comes behind the look rings. Nothing here is more than an atomic operation and a system call.
pub struct Raised {
    vectors: AtomicU64,
    bell: AsyncFd,
    /// The bell's descriptor, which lives as long.
    number: i32,
}

impl Raised {
    /// None yet.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self> {
        let bell = OwnedFd::new(syscall!(EVENTFD2, 0, EFD_CLOEXEC | EFD_NONBLOCK)?);
        let number = bell.raw();
        Ok(Self { vectors: AtomicU64::new(0), bell: AsyncFd::new(bell), number })
    }

    /// Notes one, below 64. From a handler, too.
    pub(crate) fn note(&self, vector: u32) {
        // Release pairs with the Acquire in `take`.
        if self.vectors.fetch_or(1 << vector, Ordering::Release) == 0 {
            let one = 1_u64;
            // It fails only when it has been rung so often that it rings anyway.
            let _ = syscall!(WRITE, self.number, &raw const one, 8);
        }
    }

    /// Those that were raised since they were last taken, a bit each.
    pub fn take(&self) -> u64 {
        // Acquire pairs with the Release in `note`: what was written before the sending is visible.
        self.vectors.swap(0, Ordering::Acquire)
    }

    /// The same, when there are any. For one task at a time.
    ///
    /// # Errors
    /// As for reading.
    pub async fn next(&self) -> Result<u64> {
        loop {
            match self.take() {
                0 => drop(self.bell.read(&mut [0; 8]).await?),
                vectors => return Ok(vectors),
            }
        }
    }
}

/// # Safety
/// `raised` is a [`Raised`] that is never gone.
pub(super) unsafe extern "C" fn note(raised: *const (), vector: u32) {
    // SAFETY: the caller's promise.
    unsafe { &*raised.cast::<Raised>() }.note(vector);
}
