//! The way to a scheduler's functions.

use core::ptr::NonNull;

use sched::interface::{Birth, Header, Ops, Port};
use sched::{Outcome, Pool, Priority};

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
    /// [`Pool::set_idle`].
    fn set_idle(pool: &Pool, worker: usize) -> bool;
    /// [`Pool::clear_idle`].
    fn clear_idle(pool: &Pool, worker: usize);
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

    fn set_idle(pool: &Pool, worker: usize) -> bool {
        pool.set_idle(worker)
    }

    fn clear_idle(pool: &Pool, worker: usize) {
        pool.clear_idle(worker);
    }

    fn close(pool: &Pool) {
        pool.close();
    }
}
