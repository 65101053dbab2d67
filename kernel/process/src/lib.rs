//! Processes and threads.
//!
//! | module | what |
//! |---|---|
//! | [`process`], [`thread`] | what a process and a thread own |
//! | [`table`]   | pids, families, groups and sessions |
//! | [`run`]     | the coroutine of a user thread: enter, serve the exit, enter again (D2) |
//! | [`prompt`]  | what is done before a hart is in user mode again |
//! | [`service`] | what the system-call layer above provides |
//! | [`descriptors`] | file descriptors |
//! | [`signal`]  | sending, dispositions, delivery |
//! | [`futex`]   | waiting on words of user memory |
//! | [`clone`], [`execve`], [`exit`], [`wait`] | the life of a process |
//! | [`image`], [`stack`] | ELF files, and what a new program finds on its stack |
//! | [`class`], [`reservation`], [`affinity`], `share` | how a thread is scheduled, and where |
//! | [`slots`]   | which thread may run which worker of the process's coroutines |
//! | [`device`]  | devices that programs drive |
//! | [`uintr`]   | user interrupts: who takes them, who may send them |
//! | `doing`, [`report`], [`census`] | what `/proc/PID` and `/proc/stat` show |
//! | [`fatal`]   | the report of a fault that kills |
//! | [`footprint`] | what a parked thread may cost |
//! | [`limits`], [`usage`], [`oom`] | limits and accounts |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod affinity;
pub mod census;
pub mod channel;
pub mod class;
pub mod clone;
pub mod descriptors;
pub mod device;
mod doing;
mod exception;
pub mod execve;
pub mod exit;
pub mod fatal;
pub mod footprint;
pub mod futex;
pub mod grant;
pub mod image;
pub mod limits;
pub mod oom;
mod pages;
pub mod process;
mod processor;
pub mod prompt;
pub mod registered_rings;
pub mod report;
pub mod reservation;
pub mod run;
pub mod service;
mod share;
pub mod signal;
pub mod slots;
pub mod stack;
pub mod table;
#[cfg(test)]
mod tests;
pub mod thread;
pub mod uintr;
pub mod usage;
pub mod wait;
mod window;

pub use descriptors::FdTable;
pub use process::{Attached, FileContext, Process};
pub use run::spawn_init;
pub use service::{Begun, Call, Outcome, Program, Restart, Service};
pub use share::BUSY;
pub use thread::{Interrupted, Thread};
