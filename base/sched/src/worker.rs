//! A worker: its queue, and what it publishes about itself.

use core::ptr::NonNull;

use sync::atomic::{AtomicU8, Ordering};

use crate::Priority;
use crate::pool::Pool;
use crate::queue::RunQueue;

/// `running` of a worker that runs nothing: it is idle, or will look at its queue before it runs anything.
pub(crate) const NOTHING: u8 = u8::MAX;

/// What belongs to one worker, on cache lines of its own.
#[repr(C, align(64))]
pub(crate) struct Worker {
    pub(crate) queue: RunQueue,
    pool: NonNull<Pool>,
    /// The priority of what it runs, or `NOTHING`.
    running: AtomicU8,
    number: u8,
}

impl Worker {
    /// A worker that runs nothing, of a pool that is being made at this address.
    pub(crate) fn new(pool: NonNull<Pool>, number: u8) -> Self {
        Self { queue: RunQueue::new(), pool, running: AtomicU8::new(NOTHING), number }
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        usize::from(self.number)
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        // SAFETY: S6, workers are part of their pool, which does not move.
        unsafe { self.pool.as_ref() }
    }

    /// The bit that stands for this worker in `idle`.
    #[inline]
    pub(crate) fn bit(&self) -> u64 {
        1 << (self.number & 63)
    }

    #[inline]
    pub(crate) fn running(&self) -> u8 {
        // Relaxed: where it decides, a fence stands before.
        self.running.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_running(&self, priority: u8) {
        // Relaxed: where somebody must see it, a fence stands behind.
        self.running.store(priority, Ordering::Relaxed);
    }

    /// Whether it runs something less urgent than `priority`.
    #[inline]
    pub(crate) fn runs_below(&self, priority: Priority) -> bool {
        let running = self.running();
        running > priority.number() && running != NOTHING
    }

    /// Whether it runs, or will run next, something as urgent as `priority` or more.
    pub(crate) fn is_busy(&self, priority: Priority) -> bool {
        self.running() <= priority.number() || self.queue.has_ready(priority.bits_above() | priority.bit())
    }
}
