//! What the workers of a pool share: placement, stealing, and the two sides of the parking protocol.
//!
//! The protocol and its fences are described at the head of `pool`.

use alloc::boxed::Box;
use core::ptr::NonNull;

use sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use crate::Priority;
use crate::pool::Pender;
use crate::queue::RunQueue;
use crate::run::{self, Runnable};
use crate::task::Header;

/// `running` of a worker that runs nothing: it is idle, or will look at its queue before it runs anything.
pub(crate) const NOTHING: u8 = u8::MAX;

/// What belongs to one worker, on cache lines of its own.
#[repr(align(64))]
pub(crate) struct Worker {
    pub(crate) queue: RunQueue,
    /// The priority of what it runs, or `NOTHING`.
    running: AtomicU8,
}

/// The pool proper; tasks hold it alive.
pub(crate) struct Shared<P> {
    pub(crate) workers: Box<[Worker]>,
    /// Workers that park, or are about to.
    pub(crate) idle: AtomicU64,
    pub(crate) next_id: AtomicU64,
    /// Where the next new task goes.
    pub(crate) next_home: AtomicU64,
    pub(crate) pender: P,
}

impl<P: Pender> Shared<P> {
    /// The shared part of a pool of this many workers.
    pub(crate) fn new(workers: usize, pender: P) -> Self {
        let worker = || Worker { queue: RunQueue::new(), running: AtomicU8::new(NOTHING) };
        Self {
            workers: (0..workers).map(|_| worker()).collect(),
            idle: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            next_home: AtomicU64::new(0),
            pender,
        }
    }

    /// The worker with this number. Numbers are wrapped: they come from this crate or the owner's loop.
    #[inline]
    pub(crate) fn worker(&self, number: usize) -> Option<&Worker> {
        self.workers.get(number)
    }

    pub(crate) fn running(&self, number: usize) -> u8 {
        // Relaxed: where it decides, a fence stands before.
        self.worker(number).map_or(NOTHING, |w| w.running.load(Ordering::Relaxed))
    }

    pub(crate) fn set_running(&self, number: usize, priority: u8) {
        if let Some(worker) = self.worker(number) {
            // Relaxed: ordered by the fence in `pop`'s callback.
            worker.running.store(priority, Ordering::Relaxed);
        }
    }

    /// Queues a task where it fits best and calls the worker if need be.
    ///
    /// # Safety
    ///
    /// The task is `SCHEDULED` and in no queue; the pool outlives the call.
    pub(crate) unsafe fn enqueue(&self, task: NonNull<Header>) {
        // SAFETY: scheduled and in no queue, so alive and this context's.
        let header = unsafe { task.as_ref() };
        let (priority, home) = (header.priority(), header.worker());
        let target = if header.pinned || self.workers.len() == 1 { home } else { self.place(home, priority) };
        // SAFETY: by contract.
        if !unsafe { self.push(target, task, priority) } {
            return;
        }
        // Pairs with the fences in `set_idle` and `take`: push before looking.
        fence(Ordering::SeqCst);
        let bit = 1 << target;
        if self.idle.load(Ordering::Relaxed) & bit != 0 {
            // Relaxed: only one context may take the bit away; nothing is handed over with it.
            if self.idle.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                self.pender.pend(target, priority);
            }
            return;
        }
        let running = self.running(target);
        if running != NOTHING && running > priority.number() {
            self.pender.pend(target, priority);
        }
    }

    /// Queues a task at a worker, without calling it. `false`: the pool is gone and so is the task.
    ///
    /// # Safety
    ///
    /// As [`enqueue`](Self::enqueue).
    pub(crate) unsafe fn push(&self, worker: usize, task: NonNull<Header>, priority: Priority) -> bool {
        let queue = self.worker(worker).or(self.workers.first()).map(|w| &w.queue);
        // SAFETY: by contract.
        let queued = queue.is_some_and(|queue| unsafe { queue.push(task, priority) });
        if !queued {
            // SAFETY: the task is still this context's, scheduled.
            unsafe { run::cancel(task) };
        }
        queued
    }

    /// Where a task of this priority that last ran on `home` goes.
    #[inline]
    fn place(&self, home: usize, priority: Priority) -> usize {
        // Relaxed: a choice, not a promise; `enqueue` looks again after its fence.
        let idle = self.idle.load(Ordering::Relaxed);
        if idle & (1 << home) != 0 || !self.busy(home, priority) {
            return home;
        }
        self.place_elsewhere(home, priority, idle)
    }

    #[inline(never)]
    fn place_elsewhere(&self, home: usize, priority: Priority, idle: u64) -> usize {
        if idle != 0 {
            return idle.trailing_zeros() as usize;
        }
        let mut best = (priority.number(), home);
        for number in 0..self.workers.len() {
            let running = self.running(number);
            if running != NOTHING && running > best.0 && !self.busy(number, priority) {
                best = (running, number);
            }
        }
        best.1
    }

    /// Whether a worker runs, or will run next, something as urgent as `priority` or more.
    #[inline]
    fn busy(&self, number: usize, priority: Priority) -> bool {
        let wanted = priority.bits_above() | priority.bit();
        self.running(number) <= priority.number() || self.worker(number).is_some_and(|w| w.queue.has_ready(wanted))
    }

    /// Takes the most urgent task below `limit` from a worker's own queue and publishes it as running.
    #[inline]
    pub(crate) fn take(&self, number: usize, limit: usize) -> Option<Runnable<'_, P>> {
        let worker = self.worker(number)?;
        let outer = worker.running.load(Ordering::Relaxed);
        let publish = |next: Option<Priority>| {
            worker.running.store(next.map_or(outer, Priority::number), Ordering::Relaxed);
            // Pairs with the fence in `enqueue`: publish before looking at the inbox again.
            fence(Ordering::SeqCst);
        };
        let (task, _) = worker.queue.pop(limit, publish)?;
        // SAFETY: just taken from its queue.
        Some(unsafe { Runnable::new(self, task, number, outer) })
    }

    /// Takes a task from another worker's queue.
    #[cold]
    #[inline(never)]
    pub(crate) fn steal(&self, thief: usize) -> Option<Runnable<'_, P>> {
        let worker = self.worker(thief)?;
        let outer = worker.running.load(Ordering::Relaxed);
        for victim in (thief + 1..self.workers.len()).chain(0..thief) {
            let Some(queue) = self.worker(victim).map(|w| &w.queue).filter(|q| q.stealable() != 0) else {
                continue;
            };
            let Some((task, priority)) = queue.steal() else { continue };
            worker.running.store(priority.number(), Ordering::Relaxed);
            // Pairs with the fence in `enqueue`, as in `take`.
            fence(Ordering::SeqCst);
            let own = &worker.queue;
            if !own.has_post() && !own.has_ready(priority.bits_above()) {
                // SAFETY: just taken from its queue.
                return Some(unsafe { Runnable::new(self, task, thief, outer) });
            }
            // Something came to the own queue meanwhile: let `take` choose between the two.
            worker.running.store(outer, Ordering::Relaxed);
            // SAFETY: just taken from its queue, still scheduled.
            if unsafe { self.push(thief, task, priority) } {
                return self.take(thief, Priority::COUNT);
            }
        }
        None
    }

    /// Whether there is something that this worker would find.
    pub(crate) fn has_work_for(&self, number: usize) -> bool {
        self.workers.iter().enumerate().any(|(other, worker)| {
            if other == number {
                worker.queue.has_post() || worker.queue.has_ready(u32::MAX)
            } else {
                worker.queue.stealable() != 0
            }
        })
    }
}
