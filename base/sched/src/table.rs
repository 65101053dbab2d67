//! The scheduler as a table of C functions: the head of the image that processes share (note 0003).
//!
//! Each function is the method of [`Pool`] with the same name. Pointers are trusted as references are: the pool, its tasks
//! and this code belong to the same process. Numbers are clamped, so that the code has no path that ends in a panic.
//!
//! A change of a function, of its place here, or of a structure of [`interface`](crate::interface) is a new [`VERSION`].

use core::ptr::NonNull;

use sync::atomic::AtomicBool;

use crate::interface::{Birth, Header, Ops, Port, crossing_types};
use crate::measure::Clock;
use crate::pool::Pool;
use crate::run::Outcome;
use crate::slots::Seat;
use crate::{Priority, crossing};

/// The first word of the image: "ASYSCHED".
pub const MAGIC: u64 = u64::from_le_bytes(*b"ASYSCHED");
/// What this source implements.
pub const VERSION: u32 = 8;
/// What stands for "none" where a priority is answered.
pub const NO_PRIORITY: u32 = u32::MAX;

crossing_types! {
    /// Bytes of a pool with this many workers.
    PoolBytes = fn(usize) -> usize;
    /// Memory, workers, port: makes a pool.
    PoolInit = fn(NonNull<u8>, usize, NonNull<Port>) -> NonNull<Pool>;
    /// Of a pool.
    OfPool = fn(NonNull<Pool>);
    /// Of a pool, a number.
    NumberOfPool = fn(NonNull<Pool>) -> u64;
    /// Pool, memory of the header, functions, birth.
    TaskInit = fn(NonNull<Pool>, NonNull<Header>, NonNull<Ops>, NonNull<Birth>);
    /// Of a task.
    OfTask = fn(NonNull<Header>);
    /// Of a worker.
    OfWorker = fn(NonNull<Pool>, usize);
    /// Of a worker, a number.
    NumberOfWorker = fn(NonNull<Pool>, usize) -> u32;
    /// Of a worker, yes or no.
    AnswerOfWorker = fn(NonNull<Pool>, usize) -> bool;
    /// Of a worker and a priority, a number.
    RunAbove = fn(NonNull<Pool>, usize, u32) -> u32;
    /// Of a worker, a number, what ends it; a number.
    RunMany = fn(NonNull<Pool>, usize, u32, NonNull<AtomicBool>) -> u32;
    /// Of a worker, a number, the thread's seat; a number.
    RunSeated = fn(NonNull<Pool>, usize, u32, NonNull<Seat<'static>>) -> u32;
    /// As [`RunSeated`], with a clock.
    RunSeatedMeasured = fn(NonNull<Pool>, usize, u32, NonNull<Seat<'static>>, Clock) -> u32;
    /// Of a task and a priority.
    PriorityOfTask = fn(NonNull<Header>, u32);
}

/// The head of the image. The first three fields never change their place.
#[repr(C)]
pub struct Table {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// How many functions follow.
    pub count: u32,
    /// [`Pool::bytes_for`].
    pub pool_bytes: PoolBytes,
    /// [`Pool::init`].
    pub pool_init: PoolInit,
    /// [`Pool::close`].
    pub pool_close: OfPool,
    /// [`Pool::new_task`], written to its place.
    pub task_init: TaskInit,
    /// [`Pool::enqueue`].
    pub enqueue: OfTask,
    /// [`Pool::run_next`]: the outcome's number, or 0.
    pub run_next: NumberOfWorker,
    /// [`Pool::run_above`]: as `run_next`.
    pub run_above: RunAbove,
    /// [`Pool::run_many`].
    pub run_many: RunMany,
    /// [`Pool::run_seated`].
    pub run_seated: RunSeated,
    /// [`Pool::set_priority`] of the task's pool.
    pub set_priority: PriorityOfTask,
    /// [`Pool::inherit`] of the task's pool.
    pub inherit: PriorityOfTask,
    /// [`Pool::restore`] of the task's pool.
    pub restore: PriorityOfTask,
    /// [`Pool::tick`].
    pub tick: AnswerOfWorker,
    /// [`Pool::set_idle`].
    pub set_idle: AnswerOfWorker,
    /// [`Pool::clear_idle`].
    pub clear_idle: OfWorker,
    /// [`Pool::idle_workers`].
    pub idle_workers: NumberOfPool,
    /// [`Pool::highest_ready`]: a priority, or [`NO_PRIORITY`].
    pub highest_ready: NumberOfWorker,
    /// [`Pool::run_seated_measured`].
    pub run_seated_measured: RunSeatedMeasured,
}

/// How many functions the table has.
const COUNT: usize = (size_of::<Table>() - 16) / size_of::<PoolBytes>();

/// The table of this build.
pub const TABLE: Table = Table {
    magic: MAGIC,
    version: VERSION,
    count: COUNT as u32,
    pool_bytes,
    pool_init,
    pool_close,
    task_init,
    enqueue,
    run_next,
    run_above,
    run_many,
    run_seated,
    set_priority,
    inherit,
    restore,
    tick,
    set_idle,
    clear_idle,
    idle_workers,
    highest_ready,
    run_seated_measured,
};

/// What goes over the interface for the outcome of a run, if there was one.
#[inline]
fn number_of(outcome: Option<Outcome>) -> u32 {
    outcome.map_or(0, |outcome| outcome as u32)
}

/// The priority that came over the interface.
#[inline]
fn priority_from(number: u32) -> Priority {
    Priority::new(number.min(31) as u8)
}

crossing! {
    /// # Safety
    /// None is needed.
    unsafe fn pool_bytes(workers: usize) -> usize {
        Pool::bytes_for(workers)
    }

    /// # Safety
    /// As [`Pool::init`]; `port` can be read.
    unsafe fn pool_init(memory: NonNull<u8>, workers: usize, port: NonNull<Port>) -> NonNull<Pool> {
        // SAFETY: by contract.
        unsafe { Pool::init(memory, workers, *port.as_ref()) }
    }

    /// # Safety
    /// The pool lives; so too in all that follow.
    unsafe fn pool_close(pool: NonNull<Pool>) {
        // SAFETY: by contract.
        unsafe { pool.as_ref() }.close();
    }

    /// # Safety
    /// As [`Pool::new_task`]; there is room for a header at `task`, and `birth` can be read.
    unsafe fn task_init(pool: NonNull<Pool>, task: NonNull<Header>, ops: NonNull<Ops>, birth: NonNull<Birth>) {
        // SAFETY: by contract.
        unsafe { task.write(pool.as_ref().new_task(ops, birth.as_ref())) };
    }

    /// # Safety
    /// As [`Pool::enqueue`], of the task's pool.
    unsafe fn enqueue(task: NonNull<Header>) {
        // SAFETY: by contract; the pool is not part of the task, and outlives the call.
        unsafe { (*core::ptr::from_ref(task.as_ref().pool())).enqueue(task) };
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn run_next(pool: NonNull<Pool>, worker: usize) -> u32 {
        // SAFETY: by contract.
        number_of(unsafe { pool.as_ref() }.run_next(worker))
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn run_above(pool: NonNull<Pool>, worker: usize, priority: u32) -> u32 {
        // SAFETY: by contract.
        number_of(unsafe { pool.as_ref() }.run_above(worker, priority_from(priority)))
    }

    /// # Safety
    /// As [`pool_close`]; `stop` lives during the call.
    unsafe fn run_many(pool: NonNull<Pool>, worker: usize, polls: u32, stop: NonNull<AtomicBool>) -> u32 {
        // SAFETY: by contract.
        unsafe { pool.as_ref().run_many(worker, polls, stop.as_ref()) }
    }

    /// # Safety
    /// As [`pool_close`]; `seat` can be read.
    unsafe fn run_seated(pool: NonNull<Pool>, worker: usize, polls: u32, seat: NonNull<Seat<'static>>) -> u32 {
        // SAFETY: by contract.
        unsafe { pool.as_ref().run_seated(worker, polls, *seat.as_ref()) }
    }

    /// # Safety
    /// As [`run_seated`]; `clock` can be called from any context.
    unsafe fn run_seated_measured(
        pool: NonNull<Pool>,
        worker: usize,
        polls: u32,
        seat: NonNull<Seat<'static>>,
        clock: Clock,
    ) -> u32 {
        // SAFETY: by contract.
        unsafe { pool.as_ref().run_seated_measured(worker, polls, *seat.as_ref(), clock) }
    }

    /// # Safety
    /// As [`Pool::set_priority`], of the task's pool.
    unsafe fn set_priority(task: NonNull<Header>, priority: u32) {
        // SAFETY: by contract; the caller's reference keeps the task, and that the pool.
        unsafe { task.as_ref().pool().set_priority(task, priority_from(priority)) };
    }

    /// # Safety
    /// As [`Pool::inherit`], of the task's pool.
    unsafe fn inherit(task: NonNull<Header>, priority: u32) {
        // SAFETY: as above.
        unsafe { task.as_ref().pool().inherit(task, priority_from(priority)) };
    }

    /// # Safety
    /// As [`Pool::restore`], of the task's pool.
    unsafe fn restore(task: NonNull<Header>, priority: u32) {
        // SAFETY: as above.
        unsafe { task.as_ref().pool().restore(task, priority_from(priority)) };
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn tick(pool: NonNull<Pool>, worker: usize) -> bool {
        // SAFETY: by contract.
        unsafe { pool.as_ref() }.tick(worker)
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn set_idle(pool: NonNull<Pool>, worker: usize) -> bool {
        // SAFETY: by contract.
        unsafe { pool.as_ref() }.set_idle(worker)
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn clear_idle(pool: NonNull<Pool>, worker: usize) {
        // SAFETY: by contract.
        unsafe { pool.as_ref() }.clear_idle(worker);
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn idle_workers(pool: NonNull<Pool>) -> u64 {
        // SAFETY: by contract.
        unsafe { pool.as_ref() }.idle_workers()
    }

    /// # Safety
    /// As [`pool_close`].
    unsafe fn highest_ready(pool: NonNull<Pool>, worker: usize) -> u32 {
        // SAFETY: by contract.
        let highest = unsafe { pool.as_ref() }.highest_ready(worker);
        highest.map_or(NO_PRIORITY, |priority| u32::from(priority.number()))
    }
}
