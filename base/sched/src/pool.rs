//! The pool: placement of woken tasks, idle workers, running priorities, stealing.
//!
//! Each worker publishes what it runs at (`running`) and whether it is about to park (`idle`). No wake is
//! lost, and no urgent task waits behind a less urgent one, by two store/load pairs with a sequentially
//! consistent fence on either side:
//!
//! ```text
//!   waker                                worker
//!   ─────                                ──────
//!   push the task                        publish: idle bit (set_idle), or the priority about to
//!   fence(SeqCst)                          run (next, next_above)
//!   read idle bits and running           fence(SeqCst)
//!   idle, or runs less urgent: pend      look at the queues again; park or run only if nothing is there
//! ```
//!
//! Whichever fence comes first, one side sees the other's store. A waker that finds the idle bit takes it away,
//! so that a parked worker is called once however many tasks it gets.
//!
//! **Placement.** A woken task goes to the worker it last ran on. If that one is busy with something as urgent
//! or more, it goes to an idle worker; if none is idle, to the worker that runs the least urgent thing,
//! provided it is less urgent than the task. A pinned task always goes to its worker.
//!
//! **Stealing.** A worker whose own queue is empty takes a task from another before it goes idle, and the look
//! before parking covers what can be stolen everywhere.
//!
//! **Calling context.** Wakers, `spawn`, `highest_ready` may be used in any context. `next`, `next_above`,
//! `set_idle` are the worker's; a caller that can be preempted calls them with preemption off: an
//! interrupted `next` makes a nested `next_above` find nothing (nothing breaks, but an urgent task waits).

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::alloc::Layout;
use core::future::Future;
use core::ptr::NonNull;

use sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use crate::join::JoinHandle;
use crate::queue::RunQueue;
use crate::run::{self, Runnable};
use crate::task::{self, Birth, Header};
use crate::{Outcome, Priority};

/// The most workers a pool can have.
pub const MAX_WORKERS: usize = 64;

/// `running` of a worker that runs nothing: it is idle, or will look at its queue before it runs anything.
const NOTHING: u8 = u8::MAX;

/// How a pool gets a worker's attention. Called from any context, interrupt handlers included; must not wait.
pub trait Pender: Send + Sync + 'static {
    /// `worker` is idle, or runs something less urgent than `priority`, and has a task of that priority:
    /// it should come back to `next` (from its sleep), or call `next_above` (preempt what it runs).
    fn pend(&self, worker: usize, priority: Priority);

    /// For tracing: the task with this id was idle and has been woken by the calling context.
    fn woken(&self, id: u64) {
        let _ = id;
    }
}

/// What belongs to one worker, on cache lines of its own.
#[repr(align(64))]
struct Worker {
    queue: RunQueue,
    /// The priority of what it runs, or `NOTHING`.
    running: AtomicU8,
}

/// The pool proper; tasks hold it alive.
pub(crate) struct Shared<P> {
    workers: Box<[Worker]>,
    /// Workers that park, or are about to.
    idle: AtomicU64,
    next_id: AtomicU64,
    /// Where the next new task goes.
    next_home: AtomicU64,
    pub(crate) pender: P,
}

impl<P: Pender> Shared<P> {
    /// The worker with this number. Numbers are wrapped: they come from this crate or the owner's loop.
    #[inline]
    fn worker(&self, number: usize) -> Option<&Worker> {
        self.workers.get(number)
    }

    fn running(&self, number: usize) -> u8 {
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
    fn take(&self, number: usize, limit: usize) -> Option<Runnable<'_, P>> {
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
    fn steal(&self, thief: usize) -> Option<Runnable<'_, P>> {
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
    fn has_work_for(&self, number: usize) -> bool {
        self.workers.iter().enumerate().any(|(other, worker)| {
            if other == number {
                worker.queue.has_post() || worker.queue.has_ready(u32::MAX)
            } else {
                worker.queue.stealable() != 0
            }
        })
    }
}

/// A set of workers and their tasks. Meant to live as long as the program; dropping it cancels what is
/// queued, and what is woken later is cancelled by its waker.
pub struct Pool<P: Pender> {
    shared: Arc<Shared<P>>,
}

impl<P: Pender> Pool<P> {
    /// A pool with this many workers (1 to [`MAX_WORKERS`], others are brought into that range), none of them
    /// idle.
    #[must_use]
    pub fn new(workers: usize, pender: P) -> Self {
        let worker = || Worker { queue: RunQueue::new(), running: AtomicU8::new(NOTHING) };
        let workers = (0..workers.clamp(1, MAX_WORKERS)).map(|_| worker()).collect();
        Self {
            shared: Arc::new(Shared {
                workers,
                idle: AtomicU64::new(0),
                next_id: AtomicU64::new(1),
                next_home: AtomicU64::new(0),
                pender,
            }),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.workers.len()
    }

    /// What was given to `new`.
    #[must_use]
    pub fn pender(&self) -> &P {
        &self.shared.pender
    }

    /// The bytes a task with this future takes.
    #[must_use]
    pub const fn task_size<F: Future>() -> usize {
        task::size_of_task::<F, P>()
    }

    /// Starts a task. Without memory this ends in `handle_alloc_error`.
    pub fn spawn<F>(&self, priority: Priority, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.try_spawn(priority, future).unwrap_or_else(|_| Self::out_of_memory::<F>())
    }

    /// Starts a task, or gives the future back when there is no memory for it.
    pub fn try_spawn<F>(&self, priority: Priority, future: F) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Relaxed: any spread will do.
        let turn = self.shared.next_home.fetch_add(1, Ordering::Relaxed);
        self.start((turn % self.workers() as u64) as usize, false, priority, future)
    }

    /// Starts a task that runs on this worker (wrapped to their number) and never leaves it. Without memory
    /// this ends in `handle_alloc_error`.
    pub fn spawn_on<F>(&self, worker: usize, priority: Priority, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = self.start(worker % self.workers(), true, priority, future);
        spawned.unwrap_or_else(|_| Self::out_of_memory::<F>())
    }

    fn start<F>(&self, worker: usize, pinned: bool, priority: Priority, future: F) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Relaxed: only uniqueness matters.
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let task = task::create(&self.shared, &Birth { id, priority, worker, pinned }, future)?;
        // SAFETY: new; its first reference goes to the handle.
        let handle = unsafe { JoinHandle::new(task) };
        // SAFETY: new tasks are scheduled and in no queue; `self` keeps the pool.
        unsafe { self.shared.enqueue(task) };
        Ok(handle)
    }

    #[cold]
    fn out_of_memory<F: Future>() -> ! {
        handle_alloc_error(Layout::from_size_align(Self::task_size::<F>(), 8).unwrap_or(Layout::new::<Header>()))
    }

    /// The next task for a worker: the most urgent of its own queue, the oldest of these; if there is none,
    /// one from another worker. It counts as running from here on.
    pub fn next(&self, worker: usize) -> Option<Runnable<'_, P>> {
        self.shared.take(worker, Priority::COUNT).or_else(|| self.shared.steal(worker))
    }

    /// The next task of a worker's own queue that is strictly more urgent than `priority`, for nested
    /// execution upon preemption. The caller repeats until there is none.
    pub fn next_above(&self, worker: usize, priority: Priority) -> Option<Runnable<'_, P>> {
        self.shared.take(worker, priority.index())
    }

    /// Polls once the task that `next` finds; `None` if there is none. A loop over this is an executor.
    pub fn run_next(&self, worker: usize) -> Option<Outcome> {
        self.next(worker).map(Runnable::run)
    }

    /// Announces that a worker is about to park. `true`: it may, and the next task for it will pend it.
    /// `false`: there is something to run; the worker is not idle.
    #[must_use]
    pub fn set_idle(&self, worker: usize) -> bool {
        let bit = 1 << (worker % MAX_WORKERS);
        // Relaxed: the fence orders it.
        self.shared.idle.fetch_or(bit, Ordering::Relaxed);
        // Pairs with the fence in `enqueue`: publish before looking at the queues again.
        fence(Ordering::SeqCst);
        if self.shared.has_work_for(worker) {
            self.clear_idle(worker);
            return false;
        }
        true
    }

    /// A worker that had announced to park is awake, for whatever reason.
    pub fn clear_idle(&self, worker: usize) {
        let bit = 1 << (worker % MAX_WORKERS);
        // Relaxed: a waker that reads the old value pends once too often.
        if self.shared.idle.load(Ordering::Relaxed) & bit != 0 {
            self.shared.idle.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The workers that are parked or about to park, one bit each.
    #[must_use]
    pub fn idle_workers(&self) -> u64 {
        self.shared.idle.load(Ordering::Relaxed)
    }

    /// The most urgent priority with a task in a worker's queue. Any context, no lock; stale at once.
    #[must_use]
    #[inline]
    pub fn highest_ready(&self, worker: usize) -> Option<Priority> {
        self.shared.worker(worker)?.queue.highest_ready()
    }

    /// Whether a worker's queue has something strictly more urgent than `priority`. Any context, no lock; stale
    /// at once.
    #[must_use]
    #[inline]
    pub fn ready_above(&self, worker: usize, priority: Priority) -> bool {
        self.shared.worker(worker).is_some_and(|w| w.queue.has_ready(priority.bits_above()))
    }

    /// Whether a worker's queue has something exactly as urgent as `priority`; else as
    /// [`ready_above`](Self::ready_above).
    #[must_use]
    #[inline]
    pub fn ready_at(&self, worker: usize, priority: Priority) -> bool {
        self.shared.worker(worker).is_some_and(|w| w.queue.has_ready(priority.bit()))
    }

    /// The most urgent priority with a task in any queue. Any context, no lock; stale at once.
    #[must_use]
    pub fn highest_ready_anywhere(&self) -> Option<Priority> {
        self.shared.workers.iter().filter_map(|w| w.queue.highest_ready()).min()
    }

    /// What a worker runs at; `None` when it runs nothing.
    #[must_use]
    #[inline]
    pub fn running(&self, worker: usize) -> Option<Priority> {
        let running = self.shared.running(worker);
        (running != NOTHING).then_some(Priority::new(running))
    }
}

impl<P: Pender> Drop for Pool<P> {
    fn drop(&mut self) {
        for worker in &self.shared.workers {
            while !worker.queue.is_closed() {
                if let Some(task) = worker.queue.close() {
                    // SAFETY: just taken from its queue, scheduled.
                    unsafe { run::cancel(task) };
                }
            }
        }
    }
}
