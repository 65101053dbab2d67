//! The kernel's executor: one pool of coroutines for all harts, on the scheduler `sched`, as tasks of `task`.
//!
//! `sched` decides who runs; this crate supplies what it leaves open: the thread of control of each hart
//! ([`run_hart`]), how a hart's attention is got (`hal`'s IPIs), preemption on the way out of interrupts,
//! the clock ([`timer`]), and the locks that may be held across an `.await` ([`sync`]).
//!
//! * **Running.** A hart runs the most urgent coroutine it has, one poll at a time; equals take turns where they
//!   await. A coroutine that has much to do calls [`yield_now`] now and then.
//! * **Preemption.** A poll is interrupted only for something strictly more urgent: at the end of an interrupt
//!   `hal` asks whether there is any, and if so runs it on the hart's next stack; the interrupted poll
//!   goes on afterwards, on the same hart (D2, P6). No preemption while a spin lock or a
//!   `hal::hart::no_preempt` guard is held.
//! * **User threads** are coroutines whose poll is long. Right before each entry to user mode they ask
//!   [`should_yield`]: something more urgent waits (it may have come while a lock was held), or something
//!   as urgent does and the time slice is used up.
//! * **Nothing starves.** The timer tells the pool of each tick; `sched` puts ahead what has waited for too long.
//! * **No spin lock across `.await`**: checked after each poll in checked builds.
//!
//! The pool is made by [`init`], or on first use for as many harts as `hal` counts (host tests).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod harts;
mod pool;
mod service;
pub mod sync;
pub mod timer;

pub use harts::{
    block_on, equals_wait, others_wait, others_wait_anywhere, preempt, put_ahead, raise_floor, run_hart, should_yield,
};
pub use pool::{
    inherit, init, restore, set_class, set_harts, set_priority, spawn, spawn_on, task_size, try_spawn, try_spawn_with,
};
pub use service::{Polls, Service, services};
pub use task::{Birth, JoinError, JoinHandle, Priority, TaskRef, current, looking, policy, yield_now};
pub use timer::{Elapsed, Sleep, sleep, sleep_until, timeout, timeout_at};

#[cfg(test)]
mod tests;
