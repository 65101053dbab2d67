//! The scheduler: tasks, wakers and run queues, the same source in the kernel, in user programs and
//! in host tests.
//!
//! It has no clock, no parking and no globals. A [`Pool`] is a set of workers; whoever owns the pool
//! gives each worker a thread of control (a hart, a host thread) that loops over [`Pool::next`] and
//! [`Runnable::run`], and supplies a [`Pender`] that gets a worker's attention.
//!
//! ```text
//!  spawn ──► task (one allocation: header + future) ──► inbox of a worker (any context pushes)
//!                                                            │ drained by who holds the queue's lock
//!  wake ───► task word: idle -> SCHEDULED ──► placement ──►  32 FIFO lists + bitmap ──► next ──► run
//! ```
//!
//! Who owns what:
//! * `state` – the task word; it alone decides who may touch a task's future and when it is freed.
//! * `task`, `waker`, `join` – the allocation and the three kinds of handle to it.
//! * `queue` – one worker's run queue.
//! * `pool`, `shared` – placement, stealing, idle workers, running priorities.
//!
//! Invariants, cited by number in `SAFETY` comments:
//! * **S1** A task's future and its unread output are touched only by who holds `RUNNING`, or, once
//!   `COMPLETE`, the output only by the join handle.
//! * **S2** A task is in at most one queue, and only while `SCHEDULED` is set and `RUNNING` and
//!   `COMPLETE` are not; its link belongs to that queue.
//! * **S3** A task is freed only by who saw no reference, `COMPLETE` and no `RUNNING` at once, or who
//!   held `RUNNING` and saw the last reference gone.
//! * **S4** The join waker's cell belongs to the join handle while `JOIN_WAKER` and `COMPLETE` are clear,
//!   to the completer from the moment it sets `COMPLETE` with `JOIN_WAKER` set.
//! * **S5** The lists of a queue are touched only under its lock.
//! * **S6** A task's home is a worker of its pool. The workers do not move, and live as long as any task of
//!   the pool.
#![cfg_attr(not(any(loom, test)), no_std)]
#![expect(unsafe_code, reason = "type-erased tasks, intrusive lists and hand-made wakers")]

extern crate alloc;

mod join;
mod pool;
mod priority;
mod queue;
mod run;
mod shared;
mod state;
mod task;
mod waker;

pub use join::{JoinError, JoinHandle};
pub use pool::{MAX_WORKERS, Pender, Pool};
pub use priority::Priority;
pub use run::{Outcome, Runnable};
pub use waker::{TaskRef, YieldNow, current, yield_now};

#[cfg(all(test, not(loom)))]
mod tests;
