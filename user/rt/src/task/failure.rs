//! A panic in a task ends that task (D10). Panics do not unwind, so its frames and its future stay where they are, with all that
//! they own: the task is marked as failed, whoever joins it gets `JoinError::Panicked`, locks of [`super::sync`] that it held are
//! poisoned, and the executor goes on with another stack.
//!
//! The whole process ends, as before, if the panic is not in a task's poll, if a lock of [`crate::sync`] is held there, which
//! nobody would ever get again, or if the program asked for it ([`abort_on_panic`]).

use crate::stack::{self, Stack};
use crate::thread;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

static ABORT: AtomicBool = AtomicBool::new(false);
static PANICKED: AtomicU64 = AtomicU64::new(0);
static LEAKED: AtomicUsize = AtomicUsize::new(0);
static PREEMPTED: AtomicU64 = AtomicU64::new(0);

/// What the runtime counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Tasks that panicked.
    pub panicked: u64,
    /// Bytes of stacks that panics, and green threads that were dropped, left behind for ever.
    pub leaked_stack_bytes: usize,
    /// How often green threads were left by ticks ([`Builder::ticked`](super::Builder::ticked)).
    pub preempted: u64,
}

/// What the runtime has counted so far.
#[must_use]
pub fn metrics() -> Metrics {
    // Relaxed, as all in this file: numbers by themselves.
    Metrics {
        panicked: PANICKED.load(Ordering::Relaxed),
        leaked_stack_bytes: LEAKED.load(Ordering::Relaxed),
        preempted: PREEMPTED.load(Ordering::Relaxed),
    }
}

/// Whether a panic in a task ends the whole process. It does not unless this is called.
pub fn abort_on_panic(abort: bool) {
    ABORT.store(abort, Ordering::Relaxed);
}

/// The stack of a worker in bytes; pages are backed when touched.
pub(crate) const STACK: usize = 1024 * 1024;

/// The stack that a worker polls tasks on. A task that panics keeps it, and the worker goes on with another.
#[derive(Debug)]
pub(super) struct PollStack(Option<Stack>);

impl PollStack {
    /// It is made when it is first needed.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Makes it now, and has its first page backed.
    pub(super) fn prepare(&mut self) {
        let _ = self.run(|| ());
    }

    /// Calls `polls` there; on the thread's own stack, where a panic ends the process, if there is no memory for one. `None`: a
    /// task has panicked.
    pub(super) fn run<R>(&mut self, polls: impl FnOnce() -> R) -> Option<R> {
        if self.0.is_none() {
            self.0 = Stack::new(STACK).ok();
        }
        let Some(there) = &self.0 else { return Some(polls()) };
        let result = stack::run_on(there, polls);
        if result.is_none()
            && let Some(left) = self.0.take()
        {
            leak(left);
        }
        result
    }
}

/// A green thread was left where it did not wait.
pub(super) fn count_preempted() {
    PREEMPTED.fetch_add(1, Ordering::Relaxed);
}

/// Never gives a stack back, since what lies on it may still be reached.
pub(super) fn leak(stack: Stack) {
    LEAKED.fetch_add(stack.size(), Ordering::Relaxed);
    core::mem::forget(stack);
}

/// Ends the task whose poll panics here, if it can be ended alone; comes back if not.
pub(crate) fn end_task() {
    if ABORT.load(Ordering::Relaxed) || thread::has_guards() || !thread::can_leave_stack() {
        return;
    }
    let Some(task) = thread::task() else { return };
    if let Some(switch) = thread::green() {
        // SAFETY: there as long as the green thread.
        if unsafe { switch.as_ref() }.is_ticked() {
            // SAFETY: it has a block of its own.
            if unsafe { thread::Own::current() }.stays() {
                // It was aborted, and its future is being dropped: nobody polls it who could go on.
                return;
            }
            // What follows is for the thread itself.
            thread::Own::abandon();
        }
        // Its own stack, beside the executor's.
        LEAKED.fetch_add(super::green::STACK, Ordering::Relaxed);
    }
    // A panic from here on ends the process.
    thread::set_task(None);
    PANICKED.fetch_add(1, Ordering::Relaxed);
    eprintln!("task {} has ended by this panic; the program goes on", task.id());
    // SAFETY: called from within the task's poll, which never goes on: the stack is left for good below.
    unsafe { task.fail() };
    task::sync::failed::<super::sync::Futex>();
    drop(task);
    // SAFETY: nothing up to the executor's frame is ever used again: the task has failed, and its executor leaks the stack.
    unsafe { stack::abandon() };
}
