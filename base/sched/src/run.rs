//! Running a task: one poll, and what follows from its answer.

use core::ptr::NonNull;
use core::task::{Context, Poll};

use crate::Priority;
use crate::shared::{NOTHING, Worker};
use crate::state::{Ending, Pause, Start};
use crate::task::{self, Header};
use crate::waker::{self, TaskRef};

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The task waits to be woken.
    Waiting,
    /// The task was woken while it ran, or yielded: it is queued again.
    Requeued,
    /// The task has ended with its output.
    Complete,
    /// The task's future was dropped: it was aborted, or nobody could have woken it again.
    Cancelled,
}

/// A task taken from a queue, to be run by the worker that took it. Dropped without being run, it goes back
/// to the end of its queue.
#[must_use = "the task waits until it is run"]
pub struct Runnable<'p> {
    /// Keeps the pool borrowed, too.
    worker: &'p Worker,
    task: NonNull<Header>,
    /// What the worker's published priority was before this task.
    outer: u8,
}

impl<'p> Runnable<'p> {
    /// # Safety
    ///
    /// The task was just taken from a queue of this pool; it is `SCHEDULED`.
    #[inline]
    pub(crate) unsafe fn new(worker: &'p Worker, task: NonNull<Header>, outer: u8) -> Self {
        Self { worker, task, outer }
    }

    fn header(&self) -> &Header {
        // SAFETY: scheduled tasks are alive, and this one is in no queue (S2).
        unsafe { self.task.as_ref() }
    }

    /// The task's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.header().id
    }

    /// The task's priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.header().priority()
    }

    /// A reference to the task.
    #[must_use]
    pub fn task(&self) -> TaskRef {
        // SAFETY: a scheduled task is alive, and cannot be freed while it is in this context's hands.
        unsafe { TaskRef::of(self.task) }
    }

    /// Polls the task once (or drops its future, if it was aborted).
    #[inline(always)]
    pub fn run(self) -> Outcome {
        let (worker, task, outer) = (self.worker, self.task, self.outer);
        core::mem::forget(self);
        // SAFETY: scheduled, taken from its queue, and this context's.
        let outcome = unsafe { poll(worker, task) };
        worker.set_running(outer);
        if outcome == Outcome::Requeued {
            // SAFETY: the word said to queue it, so it is alive and this context's.
            unsafe { requeue(worker, task) };
        }
        outcome
    }
}

impl Drop for Runnable<'_> {
    fn drop(&mut self) {
        self.worker.set_running(self.outer);
        // SAFETY: scheduled and in no queue; the pool is borrowed.
        unsafe { requeue(self.worker, self.task) };
    }
}

/// Puts a task that this worker had taken back at the end of its queue.
///
/// # Safety
/// The task is `SCHEDULED` and in no queue, the caller's; its pool outlives the call.
#[inline]
unsafe fn requeue(worker: &Worker, task: NonNull<Header>) {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    // SAFETY: by contract.
    unsafe {
        if worker.running() != NOTHING {
            // The worker goes back to what it was preempted in and may not look for tasks again soon.
            (header.vtable.enqueue)(task);
        } else if !worker.queue.push(task, header.priority()) {
            // No call to anyone if that succeeds: this worker looks at its queue next, so there is one more task,
            // and one more worker that looks for one.
            cancel(task);
        }
    }
}

/// One poll, and what follows from its answer, except for [`Outcome::Requeued`]: then the task is the caller's
/// to queue.
///
/// # Safety
/// The task is `SCHEDULED` and in no queue, the caller's.
#[inline(always)]
unsafe fn poll(worker: &Worker, task: NonNull<Header>) -> Outcome {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    header.set_home(worker);
    if header.word.start() == Start::Cancel {
        // SAFETY: `start` gave us RUNNING.
        unsafe { drop_and_complete(task) };
        return Outcome::Cancelled;
    }
    // SAFETY: RUNNING is ours until `pause` or `complete`, and the waker is not used afterwards.
    let waker = unsafe { waker::borrowed(task) };
    let guard = FailOnUnwind(task);
    // SAFETY: RUNNING is ours, and the future is in place: the task is not complete.
    let answer = unsafe { (header.vtable.poll)(task, &mut Context::from_waker(&waker)) };
    core::mem::forget(guard);
    if answer == Poll::Ready(()) {
        // SAFETY: RUNNING is ours, the output in place.
        unsafe { task::complete(task, Ending::Output) };
        return Outcome::Complete;
    }
    match header.word.pause() {
        Pause::Idle => Outcome::Waiting,
        Pause::Requeue => Outcome::Requeued,
        Pause::Orphan => {
            // SAFETY: nobody else can reach the task (S3), so its future is ours to drop, and it to free.
            unsafe {
                (header.vtable.drop_future)(task);
                (header.vtable.free)(task);
            }
            Outcome::Cancelled
        }
    }
}

/// Cancels a task that was taken from a queue, or could not be put into one.
///
/// # Safety
///
/// The task is `SCHEDULED` and in no queue; it is not touched afterwards.
#[cold]
pub(crate) unsafe fn cancel(task: NonNull<Header>) {
    // SAFETY: alive, by contract. Either answer gives us RUNNING.
    let (Start::Poll | Start::Cancel) = unsafe { task.as_ref() }.word.start();
    // SAFETY: RUNNING is ours.
    unsafe { drop_and_complete(task) };
}

/// # Safety
/// The caller holds `RUNNING`, with the future in place, and does not touch the task afterwards.
#[cold]
unsafe fn drop_and_complete(task: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe {
        (task.as_ref().vtable.drop_future)(task);
        task::complete(task, Ending::NoOutput);
    }
}

/// Marks the task as failed if its poll unwinds, as it can on the host. Where panics abort, this is
/// nothing.
struct FailOnUnwind(NonNull<Header>);

impl Drop for FailOnUnwind {
    fn drop(&mut self) {
        // SAFETY: RUNNING is this context's and never given up, so the future is never touched again.
        unsafe { task::publish_end(self.0, Ending::Failed) };
    }
}
