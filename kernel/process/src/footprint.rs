//! What a parked user thread may cost, checked when the kernel is built.
//!
//! The parts are objects of the kernel's heap; each limit is a size class of it, so that nothing is lost by rounding. A
//! thread that waits in a call is its coroutine with all its registers, its [`Thread`], and
//! the future of the call; one that waits in a futex is a waiter there. Floating-point registers are in: a thread that uses
//! them costs no more. A call with much to remember may be larger than [`CALL`]. From outside, `cargo xtask bench --
//! thread` measures the sum in a running machine.
//!
//! [`Thread`]: crate::Thread

use core::future::Future;
use hal::sizes::share;

/// The coroutine: the executor's task, registers and all.
pub(crate) const COROUTINE: usize = 1008;
/// [`Thread`](crate::Thread) with its two reference counts.
pub(crate) const THREAD: usize = 288;
/// The future of the call that it waits in; for `futex` this is checked in `service`.
pub const CALL: usize = 496;
/// A waiter in a futex.
pub(crate) const WAITER: usize = 96;
/// Its part of the table of ids, of the process's list of threads and of the futex's bucket.
const TABLES: usize = 88;

/// A parked thread costs no more, bytes lost in the heap's pages included.
pub const LIMIT: usize = 2 << 10;

const _: () = assert!(share(COROUTINE) + share(THREAD) + share(CALL) + share(WAITER) + TABLES <= LIMIT);

/// What the account of its process pays for a thread: twice as much, for the call that it waits in may be larger.
pub(crate) const CHARGE: usize = 2 * LIMIT;

/// Does not compile if a coroutine with this future is larger than [`COROUTINE`].
pub(crate) fn check_coroutine<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= COROUTINE) }
}
