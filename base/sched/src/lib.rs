//! The scheduler: who runs next. The same source in the kernel, in user programs and in host tests (note 0003).
//!
//! It has no clock, no parking, no globals, no allocation and no panic. What a task is, it does not know: its user, the
//! crate `task`, puts a [`Header`] at the start of each and says how to call it. A [`Pool`] is a set of workers;
//! whoever owns the pool gives each worker a thread of control (a hart, a thread) that loops over [`Pool::next`] and
//! [`Runnable::run`], and supplies a [`Port`] that gets a worker's attention.
//!
//! ```text
//!  spawn ──► task: header + what its user likes ──────────► inbox of a worker (any context pushes)
//!                                                            │ drained by who holds the queue's lock
//!  wake ───► task word: idle -> SCHEDULED ──► placement ──►  32 priorities + bitmap ──► next ──► run
//! ```
//!
//! Who owns what:
//! * `word` – the task word; it alone decides who may touch a task's future and when it is freed.
//! * `interface` – what crosses between the scheduler and its user.
//! * `queue` – one worker's run queue: inbox, lock, ready bits.
//! * `lists`, `heap` – what it holds, in order; ageing.
//! * `policy` – in which order tasks of one priority run, and for how long.
//! * `standing` – a task's priority, what it inherits, the workers that it is kept among.
//! * `pool`, `worker`, `placement` – placement, stealing, idle workers, running priorities.
//! * `run` – a poll, and what follows from its answer; `turns`, many of them in one call; `hold`, who has the worker meanwhile.
//! * `measure` – what a task's polls take, while somebody watches; what it waits for.
//! * `census` – what can be told of tasks from copies of their memory.
//! * `slots` – which thread of a process has the right to run which worker, and how the kernel moves it.
//! * `table` – all that as C functions, for the image that processes share.
//!
//! Invariants, cited by number in `SAFETY` comments here and in `task`:
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
//! * **S7** A task that is in a queue is in that of its home.
#![cfg_attr(not(any(loom, test)), no_std)]
#![expect(unsafe_code, reason = "tasks of unknown type, intrusive lists, a pool in memory of its maker's")]

pub mod census;
mod columns;
mod heap;
mod hold;
pub mod interface;
mod link;
mod lists;
mod measure;
mod placement;
pub mod policy;
mod pool;
mod priority;
mod queue;
mod run;
pub mod slots;
mod standing;
pub mod table;
mod turns;
pub mod word;
mod worker;

pub use interface::{Birth, Header, Ops, Port};
pub use lists::AGE;
pub use measure::{Clock, Measured, Wait};
pub use policy::Policy;
pub use pool::{MAX_WORKERS, Pool};
pub use priority::Priority;
pub use run::{Around, Outcome, Runnable, fail};
pub use standing::{CHOICES, Mark};
