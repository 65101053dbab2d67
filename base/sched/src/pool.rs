//! The pool: placement of woken tasks, idle workers, running priorities, stealing.
//!
//! Each worker publishes what it runs at (`running`) and whether it is about to park (`idle`). Two store/load pairs with
//! a sequentially consistent fence on either side keep it true that no wake is lost, no urgent task waits behind
//! a less urgent one, and no worker stays idle beside a task that it could run:
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
//! Whichever fence comes first, one side sees the other's store. A waker that finds an idle bit takes it away,
//! so that a parked worker is called once however many tasks it gets.
//!
//! **Placement.** A woken task goes to the worker it last ran on if that one is free. Else it goes to an idle worker;
//! if none is idle, home if it is more urgent than all that home has; else to the worker that runs the
//! least urgent thing, provided it is less urgent than the task. A pinned task always goes to its worker.
//!
//! **Stealing.** A worker whose own queue is empty takes a task from another before it goes idle, and the look
//! before parking covers what can be stolen everywhere.
//!
//! **Work is conserved**: while a worker is idle there are no more tasks in queues that it could run than workers that
//! *search*, which is to run nothing and look for a task before parking. It holds when a worker parks, since it saw no
//! such task; and it goes on holding, because
//! * a push calls an idle worker, and so makes it search: the one that got the task, or else any other;
//! * a worker that takes a task, and may stop searching by that, makes both numbers smaller by one;
//! * a worker that has its task requeued at the end of a poll begins to search, so that push calls nobody (it
//!   does when the worker was preempting something and goes back to that);
//! * a searching worker that finds a pinned task stops without taking one that others could, but the push of that
//!   pinned task has called an idle worker, too;
//! * who has let go of a queue's lock and left tasks there calls for them as their pusher did.
//!
//! **Calling context.** Wakers, `spawn`, `highest_ready` may be used in any context. `next`, `next_above`,
//! `set_idle` are the worker's; a caller that can be preempted calls them with preemption off: an
//! interrupted `next` makes a nested `next_above` find nothing (nothing breaks, but an urgent task waits).

use alloc::alloc::handle_alloc_error;
use alloc::sync::Arc;
use core::alloc::Layout;
use core::future::Future;

use sync::atomic::Ordering;

use crate::join::JoinHandle;
use crate::run::{self, Runnable};
use crate::shared::{NOTHING, Shared};
use crate::task::{self, Birth, Header};
use crate::{Outcome, Priority};

/// The most workers a pool can have.
pub const MAX_WORKERS: usize = 64;

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
        Self { shared: Arc::new(Shared::new(workers.clamp(1, MAX_WORKERS), pender)) }
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
        // The only worker of a pool keeps all its tasks: there is no choice to make at each wake.
        self.start((turn % self.workers() as u64) as usize, self.workers() == 1, priority, future)
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
        // In range, the callers made sure.
        let home = self.shared.worker(worker).unwrap_or(&self.shared.workers[0]);
        let task = task::create(&self.shared, &Birth { id, priority, home, pinned }, future)?;
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
    #[inline(always)]
    pub fn next(&self, worker: usize) -> Option<Runnable<'_>> {
        let worker = self.shared.worker(worker)?;
        self.shared.take(worker, Priority::COUNT).or_else(|| self.shared.steal(worker))
    }

    /// The next task of a worker's own queue that is strictly more urgent than `priority`, for nested
    /// execution upon preemption. The caller repeats until there is none. When there is none although
    /// [`ready_above`](Self::ready_above) says so, another worker is at the queue for the moment.
    #[inline]
    pub fn next_above(&self, worker: usize, priority: Priority) -> Option<Runnable<'_>> {
        self.shared.take(self.shared.worker(worker)?, priority.index())
    }

    /// Polls once the task that `next` finds; `None` if there is none. A loop over this is an executor.
    #[inline]
    pub fn run_next(&self, worker: usize) -> Option<Outcome> {
        self.next(worker).map(Runnable::run)
    }

    /// Announces that a worker is about to park. `true`: it may, and the next task for it will pend it.
    /// `false`: there is something to run; the worker is not idle.
    #[must_use]
    pub fn set_idle(&self, worker: usize) -> bool {
        self.shared.worker(worker).is_some_and(|worker| self.shared.set_idle(worker))
    }

    /// A worker that had announced to park is awake, for whatever reason.
    pub fn clear_idle(&self, worker: usize) {
        if let Some(worker) = self.shared.worker(worker) {
            self.shared.clear_idle(worker);
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
        let running = self.shared.worker(worker)?.running();
        (running != NOTHING).then_some(Priority::from_number(running))
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
