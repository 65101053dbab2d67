//! The way to a scheduler's functions: plain calls, or a table's.

use core::marker::PhantomData;
use core::ptr::NonNull;

use sched::interface::{Birth, Header, Ops, Port};
use sched::slots::Seat;
use sched::table::Table;
use sched::{Clock, Outcome, Pool, Priority};
use sync::atomic::AtomicBool;

/// The functions of a scheduler that touch a pool's queues. What only changes a task's word is inlined in any case.
///
/// # Safety
///
/// The functions do what those of [`sched::Pool`] with the same names do, to the same structures, and ask the same of
/// their callers.
pub unsafe trait Scheduler: 'static {
    /// [`Pool::init`].
    ///
    /// # Safety
    /// As there.
    unsafe fn init(memory: NonNull<u8>, workers: usize, port: Port) -> NonNull<Pool>;
    /// Writes what [`Pool::new_task`] makes.
    ///
    /// # Safety
    /// As there; there is room for a header at `task`.
    unsafe fn new_task(pool: &Pool, task: NonNull<Header>, ops: NonNull<Ops>, birth: &Birth);
    /// [`Pool::enqueue`] of the task's pool.
    ///
    /// # Safety
    /// As there.
    unsafe fn enqueue(task: NonNull<Header>);
    /// [`Pool::run_next`].
    fn run_next(pool: &Pool, worker: usize) -> Option<Outcome>;
    /// [`Pool::run_above`].
    fn run_above(pool: &Pool, worker: usize, priority: Priority) -> Option<Outcome>;
    /// [`Pool::run_many`].
    fn run_many(pool: &Pool, worker: usize, polls: u32, stop: &AtomicBool) -> u32;
    /// [`Pool::run_seated`].
    fn run_seated(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>) -> u32;
    /// [`Pool::run_seated_measured`].
    ///
    /// # Safety
    /// As there.
    unsafe fn run_seated_measured(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>, clock: Clock) -> u32;
    /// [`Pool::set_priority`] of the task's pool.
    ///
    /// # Safety
    /// As there.
    unsafe fn set_priority(task: NonNull<Header>, priority: Priority);
    /// [`Pool::inherit`] of the task's pool.
    ///
    /// # Safety
    /// As there.
    unsafe fn inherit(task: NonNull<Header>, priority: Priority);
    /// [`Pool::restore`] of the task's pool.
    ///
    /// # Safety
    /// As there.
    unsafe fn restore(task: NonNull<Header>, priority: Priority);
    /// [`Pool::tick`].
    fn tick(pool: &Pool, worker: usize) -> bool;
    /// [`Pool::set_idle`].
    fn set_idle(pool: &Pool, worker: usize) -> bool;
    /// [`Pool::clear_idle`].
    fn clear_idle(pool: &Pool, worker: usize);
    /// [`Pool::idle_workers`].
    fn idle_workers(pool: &Pool) -> u64;
    /// [`Pool::highest_ready`].
    fn highest_ready(pool: &Pool, worker: usize) -> Option<Priority>;
    /// [`Pool::close`].
    fn close(pool: &Pool);
}

/// The scheduler that is linked beside this crate.
#[derive(Debug)]
pub struct Direct;

// SAFETY: it is those functions.
unsafe impl Scheduler for Direct {
    unsafe fn init(memory: NonNull<u8>, workers: usize, port: Port) -> NonNull<Pool> {
        // SAFETY: by contract.
        unsafe { Pool::init(memory, workers, port) }
    }

    #[inline]
    unsafe fn new_task(pool: &Pool, task: NonNull<Header>, ops: NonNull<Ops>, birth: &Birth) {
        // SAFETY: by contract.
        unsafe { task.write(pool.new_task(ops, birth)) };
    }

    #[inline]
    unsafe fn enqueue(task: NonNull<Header>) {
        // SAFETY: by contract; a scheduled task is alive until it is queued, and its pool outlives the call.
        unsafe { (*core::ptr::from_ref(task.as_ref().pool())).enqueue(task) };
    }

    #[inline(always)]
    fn run_next(pool: &Pool, worker: usize) -> Option<Outcome> {
        pool.run_next(worker)
    }

    fn run_above(pool: &Pool, worker: usize, priority: Priority) -> Option<Outcome> {
        pool.run_above(worker, priority)
    }

    #[inline]
    fn run_many(pool: &Pool, worker: usize, polls: u32, stop: &AtomicBool) -> u32 {
        pool.run_many(worker, polls, stop)
    }

    #[inline]
    fn run_seated(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>) -> u32 {
        pool.run_seated(worker, polls, *seat)
    }

    unsafe fn run_seated_measured(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>, clock: Clock) -> u32 {
        // SAFETY: by contract.
        unsafe { pool.run_seated_measured(worker, polls, *seat, clock) }
    }

    unsafe fn set_priority(task: NonNull<Header>, priority: Priority) {
        // SAFETY: by contract; the caller's reference keeps the task, and that the pool.
        unsafe { task.as_ref().pool().set_priority(task, priority) };
    }

    unsafe fn inherit(task: NonNull<Header>, priority: Priority) {
        // SAFETY: as above.
        unsafe { task.as_ref().pool().inherit(task, priority) };
    }

    unsafe fn restore(task: NonNull<Header>, priority: Priority) {
        // SAFETY: as above.
        unsafe { task.as_ref().pool().restore(task, priority) };
    }

    fn tick(pool: &Pool, worker: usize) -> bool {
        pool.tick(worker)
    }

    fn set_idle(pool: &Pool, worker: usize) -> bool {
        pool.set_idle(worker)
    }

    fn clear_idle(pool: &Pool, worker: usize) {
        pool.clear_idle(worker);
    }

    fn idle_workers(pool: &Pool) -> u64 {
        pool.idle_workers()
    }

    #[inline]
    fn highest_ready(pool: &Pool, worker: usize) -> Option<Priority> {
        pool.highest_ready(worker)
    }

    fn close(pool: &Pool) {
        pool.close();
    }
}

/// Where a table of functions is.
///
/// # Safety
///
/// The table is one of the version that this crate is built with, and its functions are those of `sched`.
pub unsafe trait Linked: 'static {
    /// The table.
    fn table() -> &'static Table;

    /// Makes a call that takes the lock of a queue, from within a poll perhaps: a worker that is lent to the calling thread is
    /// not taken from it meanwhile. Whoever got it would wait for that lock.
    #[inline]
    fn keep_worker(call: impl FnOnce()) {
        call();
    }

    /// The task with this number may be more urgent now. If it is polled by a thread that has lost its worker, nothing else tells
    /// who schedules that. Not called for what a task gives back: it may hold locks, and not have woken yet who waits for it.
    #[inline]
    fn priority_changed(task: u64) {
        let _ = task;
    }
}

/// The scheduler behind a table.
#[derive(Debug)]
pub struct ByTable<L>(PhantomData<L>);

// SAFETY: the functions of the table are those of `sched`, by contract of `Linked`. In each, the pool is alive as long as it
// is borrowed, and what else they ask for is asked of the caller here, too.
unsafe impl<L: Linked> Scheduler for ByTable<L> {
    unsafe fn init(memory: NonNull<u8>, workers: usize, port: Port) -> NonNull<Pool> {
        // SAFETY: as above.
        unsafe { (L::table().pool_init)(memory, workers, NonNull::from_ref(&port)) }
    }

    #[inline]
    unsafe fn new_task(pool: &Pool, task: NonNull<Header>, ops: NonNull<Ops>, birth: &Birth) {
        // SAFETY: as above.
        unsafe { (L::table().task_init)(NonNull::from_ref(pool), task, ops, NonNull::from_ref(birth)) };
    }

    #[inline]
    unsafe fn enqueue(task: NonNull<Header>) {
        // SAFETY: as above.
        unsafe { (L::table().enqueue)(task) };
    }

    #[inline]
    fn run_next(pool: &Pool, worker: usize) -> Option<Outcome> {
        // SAFETY: as above.
        Outcome::from_number(unsafe { (L::table().run_next)(NonNull::from_ref(pool), worker) })
    }

    fn run_above(pool: &Pool, worker: usize, priority: Priority) -> Option<Outcome> {
        let priority = u32::from(priority.number());
        // SAFETY: as above.
        Outcome::from_number(unsafe { (L::table().run_above)(NonNull::from_ref(pool), worker, priority) })
    }

    #[inline]
    fn run_many(pool: &Pool, worker: usize, polls: u32, stop: &AtomicBool) -> u32 {
        // SAFETY: as above.
        unsafe { (L::table().run_many)(NonNull::from_ref(pool), worker, polls, NonNull::from_ref(stop)) }
    }

    #[inline]
    fn run_seated(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>) -> u32 {
        // SAFETY: as above.
        unsafe { (L::table().run_seated)(NonNull::from_ref(pool), worker, polls, NonNull::from_ref(seat)) }
    }

    unsafe fn run_seated_measured(pool: &Pool, worker: usize, polls: u32, seat: &Seat<'static>, clock: Clock) -> u32 {
        let (pool, seat) = (NonNull::from_ref(pool), NonNull::from_ref(seat));
        // SAFETY: as above.
        unsafe { (L::table().run_seated_measured)(pool, worker, polls, seat, clock) }
    }

    unsafe fn set_priority(task: NonNull<Header>, priority: Priority) {
        // SAFETY: as above.
        L::keep_worker(|| unsafe { (L::table().set_priority)(task, u32::from(priority.number())) });
        // SAFETY: as above.
        L::priority_changed(unsafe { task.as_ref() }.id());
    }

    unsafe fn inherit(task: NonNull<Header>, priority: Priority) {
        // SAFETY: as above.
        L::keep_worker(|| unsafe { (L::table().inherit)(task, u32::from(priority.number())) });
        // SAFETY: as above.
        L::priority_changed(unsafe { task.as_ref() }.id());
    }

    unsafe fn restore(task: NonNull<Header>, priority: Priority) {
        // SAFETY: as above.
        L::keep_worker(|| unsafe { (L::table().restore)(task, u32::from(priority.number())) });
    }

    fn tick(pool: &Pool, worker: usize) -> bool {
        // SAFETY: as above.
        unsafe { (L::table().tick)(NonNull::from_ref(pool), worker) }
    }

    fn set_idle(pool: &Pool, worker: usize) -> bool {
        // SAFETY: as above.
        unsafe { (L::table().set_idle)(NonNull::from_ref(pool), worker) }
    }

    fn clear_idle(pool: &Pool, worker: usize) {
        // SAFETY: as above.
        unsafe { (L::table().clear_idle)(NonNull::from_ref(pool), worker) };
    }

    fn idle_workers(pool: &Pool) -> u64 {
        // SAFETY: as above.
        unsafe { (L::table().idle_workers)(NonNull::from_ref(pool)) }
    }

    fn highest_ready(pool: &Pool, worker: usize) -> Option<Priority> {
        // SAFETY: as above.
        let number = unsafe { (L::table().highest_ready)(NonNull::from_ref(pool), worker) };
        u8::try_from(number).ok().map(Priority::new)
    }

    fn close(pool: &Pool) {
        // SAFETY: as above.
        unsafe { (L::table().pool_close)(NonNull::from_ref(pool)) };
    }
}
