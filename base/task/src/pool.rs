//! A pool of tasks that are futures, and the life of its memory.

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::sync::Arc;
use core::alloc::Layout;
use core::future::Future;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use sched::interface::Port;
use sched::slots::{MAX_SLOTS, Seat, Shown};
use sched::{Birth, Clock, Outcome, Policy, Priority, Runnable, crossing};
use sync::atomic::AtomicBool;

use crate::TaskRef;
use crate::cell;
use crate::join::JoinHandle;
use crate::scheduler::{Direct, Scheduler};
use crate::waker::Running;

/// Where the memory of a pool's tasks comes from.
///
/// # Safety
///
/// As for [`GlobalAlloc`](core::alloc::GlobalAlloc).
pub unsafe trait Memory: 'static {
    /// Memory with this layout, which is not of size zero; null if there is none.
    fn allocate(layout: Layout) -> *mut u8;

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// `allocate` answered this for the same layout, and it is nobody's any more.
    unsafe fn deallocate(at: *mut u8, layout: Layout);
}

/// The memory of everything.
#[derive(Debug)]
pub struct Heap;

// SAFETY: it is the global allocator.
unsafe impl Memory for Heap {
    #[inline]
    fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the layout is not of size zero, by contract.
        unsafe { alloc(layout) }
    }

    #[inline]
    unsafe fn deallocate(at: *mut u8, layout: Layout) {
        // SAFETY: by contract.
        unsafe { dealloc(at, layout) };
    }
}

/// How a pool gets a worker's attention. Called from any context, interrupt handlers included; must not wait.
pub trait Pender: Send + Sync + 'static {
    /// Where the memory of tasks comes from.
    type Memory: Memory;

    /// `worker` is idle, or runs something less urgent than `priority`, and has a task of that priority:
    /// it should come back to `next` (from its sleep), or call `next_above` (preempt what it runs).
    fn pend(&self, worker: usize, priority: Priority);

    /// What is shown of the workers, if they are lent to threads ([`Port::shown`](sched::Port)).
    fn shown(&self) -> Option<&'static [Shown; MAX_SLOTS]> {
        None
    }

    /// Whether [`woken`](Self::woken) is called.
    const HEARS_WAKES: bool = false;

    /// A task's poll, or the drop of its future, begins in the calling context, or is over: for those who must know whose it
    /// is.
    #[inline]
    fn runs(task: Option<Running>) {
        let _ = task;
    }

    /// The task that is polled in the calling context waits for the end of this one, and may lend it its priority: whether it has, so that
    /// [`joins_no_more`](Self::joins_no_more) is due.
    fn joins(task: &TaskRef) -> bool {
        let _ = task;
        false
    }

    /// Nobody waits for this task's end any more.
    fn joins_no_more(task: &TaskRef) {
        let _ = task;
    }

    /// A task has ended, or its future was dropped, that somebody knows who has no reference to it ([`sync::ended`](crate::sync::ended)). What
    /// they do with it is over when this is.
    fn ends(task: &TaskRef) {
        let _ = task;
    }

    /// For tracing: the task with this id was idle and has been woken by the calling context.
    fn woken(&self, id: u64) {
        let _ = id;
    }
}

/// What the handle and the tasks of a pool keep alive.
pub(crate) struct Shared<P> {
    pub(crate) pender: P,
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the pool in the memory may be used from any thread, as `pender` by its bounds.
unsafe impl<P: Send> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P: Sync> Sync for Shared<P> {}

impl<P> Drop for Shared<P> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Pool::new` with this layout; no handle and no task is left (S6).
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

/// A set of workers and their tasks. Meant to live as long as the program; dropping it cancels what is
/// queued, and what is woken later is cancelled by its waker.
pub struct Pool<P: Pender, S: Scheduler = Direct> {
    shared: Arc<Shared<P>>,
    pool: NonNull<sched::Pool>,
    scheduler: PhantomData<S>,
}

// SAFETY: a pool of `sched` may be used from any thread; `P` by its bounds.
unsafe impl<P: Pender, S: Scheduler> Send for Pool<P, S> {}
// SAFETY: as above.
unsafe impl<P: Pender, S: Scheduler> Sync for Pool<P, S> {}

crossing! {
    /// # Safety
    /// `context` is the `Shared<P>` of a pool that lives.
    unsafe fn pend[P: Pender](context: *const (), worker: u32, priority: u32) {
        // SAFETY: by contract.
        let shared = unsafe { &*context.cast::<Shared<P>>() };
        shared.pender.pend(worker as usize, Priority::new(priority as u8));
    }
}

impl<P: Pender, S: Scheduler> Pool<P, S> {
    /// A pool with this many workers (1 to [`MAX_WORKERS`](crate::MAX_WORKERS), others are brought into that range), none of
    /// them idle.
    #[must_use]
    pub fn new(workers: usize, pender: P) -> Self {
        // SAFETY: there are none.
        unsafe { Self::with_policies(workers, pender, &[]) }
    }

    /// The same, with policies besides those that every pool has; they have the numbers that follow theirs.
    ///
    /// # Safety
    ///
    /// Their functions do what [`Policy`] says.
    #[must_use]
    pub unsafe fn with_policies(workers: usize, pender: P, policies: &'static [Policy]) -> Self {
        let bytes = sched::Pool::bytes_for(workers);
        let layout = Layout::from_size_align(bytes, sched::Pool::ALIGN).unwrap_or(Layout::new::<sched::Pool>());
        // SAFETY: the layout is not of size zero, it has room for a pool.
        let Some(memory) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let shared = Arc::new(Shared { pender, memory, layout });
        let context = Arc::as_ptr(&shared).cast();
        // Where there are more workers, they are not lent.
        let shown =
            shared.pender.shown().filter(|shown| workers <= shown.len()).map_or(ptr::null(), |shown| shown.as_ptr());
        let (pend, policies, policy_count) = (pend::<P>, policies.as_ptr(), policies.len());
        let port = Port { context, pend, policies, policy_count, shown };
        // SAFETY: the policies do what they should, by contract; the memory has this size; it and the pender live as long as `shared`, which each task keeps.
        let pool = unsafe { S::init(memory, workers, port) };
        Self { shared, pool, scheduler: PhantomData }
    }

    /// The pool of `sched`.
    #[inline]
    pub(crate) fn inner(&self) -> &sched::Pool {
        // SAFETY: made by `init`, and kept by `shared`.
        unsafe { self.pool.as_ref() }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner().workers()
    }

    /// What was given to `new`.
    #[must_use]
    pub fn pender(&self) -> &P {
        &self.shared.pender
    }

    /// The bytes a task with this future takes.
    #[must_use]
    pub const fn task_size<F: Future>() -> usize {
        cell::size_of_task::<F>()
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
    ///
    /// # Errors
    ///
    /// The future.
    pub fn try_spawn<F>(&self, priority: Priority, future: F) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.try_spawn_with(&Birth::new(priority), future)
    }

    /// Starts a task that runs on this worker (wrapped to their number) and never leaves it. Without memory
    /// this ends in `handle_alloc_error`.
    pub fn spawn_on<F>(&self, worker: usize, priority: Priority, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_with(&Birth::new(priority).on(worker % self.workers()), future)
    }

    /// Starts a task that is born as this says: its priority, its policy, its worker. Without memory this ends in
    /// `handle_alloc_error`.
    pub fn spawn_with<F>(&self, birth: &Birth, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.try_spawn_with(birth, future).unwrap_or_else(|_| Self::out_of_memory::<F>())
    }

    /// The same, or gives the future back when there is no memory for it.
    ///
    /// # Errors
    ///
    /// The future.
    #[inline]
    pub fn try_spawn_with<F>(&self, birth: &Birth, future: F) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = cell::create::<F, P, S>(&self.shared, self.inner(), birth, future)?;
        // SAFETY: new; its first reference goes to the handle.
        let handle = unsafe { JoinHandle::new(task) };
        // SAFETY: new tasks are scheduled and in no queue; `self` keeps the pool.
        unsafe { S::enqueue(task) };
        Ok(handle)
    }

    #[cold]
    fn out_of_memory<F: Future>() -> ! {
        handle_alloc_error(Layout::from_size_align(Self::task_size::<F>(), 8).unwrap_or(Layout::new::<usize>()))
    }

    /// Polls as many tasks as `polls` says, each the most urgent there is for a worker, until there is none or `stop` is set;
    /// how many it has polled. A loop over this is an executor. See [`sched::Pool::run_many`].
    #[inline]
    pub fn run_many(&self, worker: usize, polls: u32, stop: &AtomicBool) -> u32 {
        S::run_many(self.inner(), worker, polls, stop)
    }

    /// The same for a thread that the kernel may take the worker from, during a poll (see [`sched::slots`]).
    #[inline]
    pub fn run_seated(&self, worker: usize, polls: u32, seat: &Seat<'static>) -> u32 {
        S::run_seated(self.inner(), worker, polls, seat)
    }

    /// The same, and takes the time of each poll by a clock.
    ///
    /// # Safety
    ///
    /// The clock can be called, from any context.
    pub unsafe fn run_seated_measured(&self, worker: usize, polls: u32, seat: &Seat<'static>, clock: Clock) -> u32 {
        // SAFETY: by contract.
        unsafe { S::run_seated_measured(self.inner(), worker, polls, seat, clock) }
    }

    /// [`sched::Pool::hints`].
    #[must_use]
    pub fn hints(&self, worker: usize) -> Option<[usize; 2]> {
        self.inner().hints(worker)
    }

    /// [`sched::Pool::stand_in`].
    #[must_use]
    pub fn stand_in(&self, worker: usize, priority: Priority) -> bool {
        self.inner().stand_in(worker, priority)
    }

    /// A tick has passed for a worker; `true` if what it runs should give way. See [`sched::Pool::tick`].
    pub fn tick(&self, worker: usize) -> bool {
        S::tick(self.inner(), worker)
    }

    /// Polls once the most urgent task there is for a worker; `None` if there is none.
    /// See [`sched::Pool::run_next`].
    #[inline]
    pub fn run_next(&self, worker: usize) -> Option<Outcome> {
        S::run_next(self.inner(), worker)
    }

    /// Polls once a task of a worker's own queue that is strictly more urgent than `priority`.
    pub fn run_above(&self, worker: usize, priority: Priority) -> Option<Outcome> {
        S::run_above(self.inner(), worker, priority)
    }

    /// Announces that a worker is about to park. `true`: it may, and the next task for it will pend it.
    /// `false`: there is something to run; the worker is not idle.
    #[must_use]
    pub fn set_idle(&self, worker: usize) -> bool {
        S::set_idle(self.inner(), worker)
    }

    /// A worker that had announced to park is awake, for whatever reason.
    pub fn clear_idle(&self, worker: usize) {
        S::clear_idle(self.inner(), worker);
    }

    /// The workers that are parked or about to park, one bit each.
    #[must_use]
    pub fn idle_workers(&self) -> u64 {
        S::idle_workers(self.inner())
    }

    /// The most urgent priority with a task in a worker's queue. Any context, no lock; stale at once.
    #[must_use]
    #[inline]
    pub fn highest_ready(&self, worker: usize) -> Option<Priority> {
        S::highest_ready(self.inner(), worker)
    }

    /// A worker goes on after a poll that did not come back: its task has failed ([`TaskRef::fail`](crate::TaskRef::fail)), and
    /// the stack was left.
    pub fn abandon(&self, worker: usize) {
        self.inner().abandon(worker);
    }

    /// What a worker runs at; `None` when it runs nothing.
    #[must_use]
    #[inline]
    pub fn running(&self, worker: usize) -> Option<Priority> {
        self.inner().running(worker)
    }
}

/// What needs the scheduler's own code: taking a task and running it as two steps, with something in between.
impl<P: Pender> Pool<P> {
    /// [`sched::Pool::next`].
    #[inline(always)]
    pub fn next(&self, worker: usize) -> Option<Runnable<'_>> {
        self.inner().next(worker)
    }

    /// [`sched::Pool::next_above`].
    #[inline]
    pub fn next_above(&self, worker: usize, priority: Priority) -> Option<Runnable<'_>> {
        self.inner().next_above(worker, priority)
    }

    /// [`sched::Pool::set_workers`]; of a task of this pool.
    pub fn set_workers(&self, task: &TaskRef, workers: u8) {
        // SAFETY: the reference keeps the task, and that the pool.
        unsafe { task.pointer().as_ref().pool().set_workers(task.pointer(), workers) };
    }

    /// [`sched::Pool::set_class`]; of a task of this pool.
    pub fn set_class(&self, task: &TaskRef, birth: &Birth) {
        // SAFETY: the reference keeps the task, and that its pool, which the function is told.
        unsafe { task.pointer().as_ref().pool().set_class(task.pointer(), birth) };
    }

    /// [`sched::Pool::raise_floor`].
    pub fn raise_floor(&self, worker: usize, priority: Priority, above: bool, used: u64) -> u64 {
        self.inner().raise_floor(worker, priority, above, used)
    }

    /// [`sched::Pool::ready_above`].
    #[must_use]
    #[inline]
    pub fn ready_above(&self, worker: usize, priority: Priority) -> bool {
        self.inner().ready_above(worker, priority)
    }

    /// [`sched::Pool::is_awaited`].
    #[must_use]
    pub fn is_awaited(&self, worker: usize) -> bool {
        self.inner().is_awaited(worker)
    }

    /// [`sched::Pool::highest_ready_anywhere`].
    #[must_use]
    pub fn highest_ready_anywhere(&self) -> Option<Priority> {
        self.inner().highest_ready_anywhere()
    }

    /// [`sched::Pool::should_yield`].
    #[must_use]
    #[inline]
    pub fn should_yield(&self, worker: usize) -> bool {
        self.inner().should_yield(worker)
    }
}

impl<P: Pender, S: Scheduler> Drop for Pool<P, S> {
    fn drop(&mut self) {
        S::close(self.inner());
    }
}
