//! Futures as tasks of the scheduler (note 0003): the allocation, wakers, join handles, spawning.
//!
//! `sched` decides who runs; here is what a task is to it. A [`Pool`] owns a pool of `sched` and the memory that lies in.
//! Which code of `sched` it calls is the [`Scheduler`]'s to say: [`Direct`] calls what is linked beside it, inlined; a process
//! may call the image that all share.
//!
//! Who owns what:
//! * `cell` – the allocation, and the functions that know the future's type.
//! * `waker`, `join` – the handles to it.
//! * `seat` – a place in a queue, for who waits without a future.
//! * `sync` – locks and channels; they know who holds them.
//! * `pool` – spawning, and the life of the pool's memory: the pool and each of its tasks keep it.
//!
//! The invariants S1 to S6 are those of `sched`.
#![cfg_attr(not(any(loom, test)), no_std)]
#![expect(unsafe_code, reason = "type-erased tasks and hand-made wakers")]

extern crate alloc;

mod cell;
mod join;
mod pool;
mod scheduler;
mod seat;
pub mod sync;
mod waker;

pub use join::{JoinError, JoinHandle};
pub use pool::{Heap, Memory, Pender, Pool};
pub use sched::census::{NAME_LEN, Seen};
pub use sched::word::Doing;
pub use sched::{
    AGE, Around, Birth, CHOICES, MAX_WORKERS, Measured, Outcome, Policy, Priority, Runnable, Wait, policy,
};
pub use scheduler::{ByTable, Direct, Linked, Scheduler};
pub use seat::seat;
pub use waker::{Running, TaskRef, YieldNow, current, is_looking, looking, waits_for, waits_no_more, yield_now};

#[cfg(all(test, not(loom)))]
mod tests;
