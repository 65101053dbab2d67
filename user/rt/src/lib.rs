//! Runtime library of native AsyncOS programs: what `std` and `tokio` are elsewhere, under the names that Rust
//! programmers know, over the Linux riscv64 system calls alone.
//!
//! A program is `#![no_std] #![no_main]`, has `fn main()` (returning `()`, [`process::ExitCode`] or a `Result`) and
//! says `rt::main!(main);`. It may forbid `unsafe`: all of it is here.
//!
//! ```text
//!   program ── io fs net process thread sync time env path ── sys ── ecall
//!          └── task (executor) ── reactor (epoll), requests (ring) ── sys
//! ```
//!
//! * Errors are [`io::Error`], as in `std`. Nothing here panics on what the system answers.
//! * Start: [`start`] takes the stack the kernel prepared; `heap` is the global allocator over `mmap`.
//! * `tp` points at the running thread's control block (see [`thread`]).
//! * A panic prints its message and ends the process with status 134, or the task in whose poll it is ([`task::metrics`]).
//!
//! On other architectures this crate is empty, so that the workspace still builds there.
#![no_std]
#![cfg(target_arch = "riscv64")]
#![expect(unsafe_code, reason = "system calls, the entry point, thread start and the allocator")]

extern crate alloc;

#[macro_use]
mod print;

mod ancillary;
pub mod async_fs;
pub mod async_io;
pub mod async_net;
pub mod async_pipe;
pub mod async_stdio;
pub mod async_udp;
pub mod async_unix;
pub mod channel;
mod chunks;
pub mod conditions;
mod connections;
mod datagrams;
pub mod device;
mod embedded;
pub mod env;
pub mod fs;
mod futex;
mod heap;
pub mod io;
pub mod net;
mod overflow;
pub mod owned;
mod panic;
pub mod path;
pub mod pipe;
pub mod process;
#[cfg(feature = "raw")]
pub mod raw;
mod reactor;
mod requests;
pub mod ring;
mod scheduler;
pub mod signal;
mod slots;
mod socket;
mod stack;
pub mod start;
mod stream;
pub mod sync;
mod sys;
pub mod system;
pub mod task;
pub mod thread;
pub mod time;
pub mod tty;
pub mod uintr;

pub use abi;
pub use embedded_io_async;
pub use futures_util;
pub use futures_util::{future::Either, future::join, future::join_all, future::select, join, pin_mut, select_biased};
