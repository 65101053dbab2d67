//! Locks and channels between threads, on the futex. Names follow `std::sync`, without poisoning: a panic with a
//! guard ends the process, also in a task.
//!
//! These wait by blocking the thread. Tasks of one executor share data with `RefCell`, or hold a lock only between
//! two `.await`s.

mod condvar;
pub mod mpsc;
mod mutex;
mod once;

pub use alloc::sync::Arc;
pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard, RawMutex};
pub use once::{Once, OnceLock};
