//! Running a task: one poll, and what follows from its answer.

use core::ptr::NonNull;

use crate::Priority;
use crate::columns::{Turn, is_ranked, priority_of};
use crate::hold::{Hold, Owned};
use crate::interface::{DROP_OUTPUT, Header, WAKE_JOINER};
use crate::queue::Taken;
use crate::word::{Ending, Pause, Release, Start};
use crate::worker::{Outer, Worker};

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The task waits to be woken.
    Waiting = 1,
    /// The task was woken while it ran, or yielded: it is queued again.
    Requeued = 2,
    /// The task has ended with its output.
    Complete = 3,
    /// The task's future was dropped: it was aborted, or nobody could have woken it again.
    Cancelled = 4,
}

impl Outcome {
    /// The outcome with this number; none for 0 and for what is no outcome.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Waiting),
            2 => Some(Self::Requeued),
            3 => Some(Self::Complete),
            4 => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// A task taken from a queue, to be run by the worker that took it. Dropped without being run, it goes back
/// to the end of its queue.
#[must_use = "the task waits until it is run"]
pub struct Runnable<'p> {
    /// Keeps the pool borrowed, too.
    worker: &'p Worker,
    task: NonNull<Header>,
    priority: Priority,
    /// What the worker was doing before this task.
    outer: Outer,
}

/// What whoever runs tasks in turn does around each poll.
pub trait Around {
    /// While it lives, the worker's thread of control is not preempted by one that needs the same worker's queue.
    type Alone;

    /// The task with this number is polled next.
    fn begin(&self, task: u64);

    /// It was polled.
    fn end(&self, task: u64, outcome: Outcome);

    /// See [`Alone`](Self::Alone).
    fn alone(&self) -> Self::Alone;
}

impl<'p> Runnable<'p> {
    /// # Safety
    ///
    /// The task was just taken from a queue of this pool; it is `SCHEDULED`.
    #[inline]
    pub(crate) unsafe fn new(worker: &'p Worker, (task, priority): Taken, outer: Outer) -> Self {
        Self { worker, task, priority, outer }
    }

    fn header(&self) -> &Header {
        // SAFETY: scheduled tasks are alive, and this one is in no queue (S2).
        unsafe { self.task.as_ref() }
    }

    /// The task's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.header().id()
    }

    /// The priority it runs at: the task's, or a more urgent one if it has waited too long.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Polls the task once (or drops its future, if it was aborted). What this does besides the poll may be interrupted
    /// and preempted anywhere.
    #[inline(always)]
    pub fn run(self) -> Outcome {
        let (worker, task, outer) = (self.worker, self.task, self.outer);
        core::mem::forget(self);
        let (outcome, outer) = {
            let mut above = worker.above(outer);
            above.count();
            // SAFETY: scheduled, taken from its queue, and this context's.
            let (outcome, _) = unsafe { poll(worker, task, outer, Owned) };
            (outcome, above.outer())
        };
        worker.go_back(outer);
        if outcome == Outcome::Requeued {
            // SAFETY: the word said to queue it, so it is alive and this context's.
            unsafe { requeue(worker, task) };
        }
        outcome
    }

    /// As [`run`](Self::run); but as long as a task goes on, and what is next are its equals in turn, the first of these is taken
    /// with putting it back, under one lock, and polled next.
    ///
    /// Whoever calls meanwhile may not be heard, so the queue is looked at once more before each further poll: what was taken
    /// goes back if something more urgent has come.
    #[inline(always)]
    pub fn run_in_turn(self, around: &impl Around) {
        let (worker, mut task, priority, outer) = (self.worker, self.task, self.priority, self.outer);
        core::mem::forget(self);
        // SAFETY: scheduled, taken from its queue, and this context's.
        let mut outcome = unsafe { poll_within(worker, task, outer, around) };
        if outcome == Outcome::Requeued {
            // SAFETY: the word said to queue it, so it is alive and this context's. So too in all that follow.
            let turn = unsafe { turn_of(worker, task, priority) };
            while let Some(turn) = turn.filter(|_| outcome == Outcome::Requeued) {
                let next = {
                    let _alone = around.alone();
                    // SAFETY: as above; the worker runs at this priority, which the turn is of.
                    unsafe { worker.queue.rotate(task, turn) }
                };
                let Some(next) = next else { break };
                task = next;
                // A slice of its own.
                worker.set_running(priority);
                if worker.queue.has_before(turn) {
                    break;
                }
                // SAFETY: just taken from its queue.
                outcome = unsafe { poll_within(worker, task, outer, around) };
            }
        }
        worker.go_back(outer);
        if outcome == Outcome::Requeued {
            // SAFETY: as above.
            unsafe { requeue(worker, task) };
        }
    }
}

/// One poll by a worker's own thread of control, and what is done around it.
///
/// # Safety
/// As [`poll`].
#[inline(always)]
unsafe fn poll_within(worker: &Worker, task: NonNull<Header>, outer: Outer, around: &impl Around) -> Outcome {
    // SAFETY: by contract; gone, perhaps, behind the poll.
    let number = unsafe { task.as_ref() }.id();
    around.begin(number);
    // SAFETY: by contract.
    let (outcome, _) = unsafe { poll(worker, task, outer, Owned) };
    around.end(number, outcome);
    outcome
}

/// Whose turn it is while a task runs, which is the worker's; `None` if it was put ahead or runs at another priority by now, so
/// that it has no equals in its slot.
///
/// # Safety
/// The task is alive.
#[inline(always)]
unsafe fn turn_of(worker: &Worker, task: NonNull<Header>, priority: Priority) -> Option<Turn> {
    // SAFETY: by contract.
    let slot = unsafe { task.as_ref() }.standing.slot();
    (priority_of(slot) == priority && !is_ranked(slot)).then(|| Turn::of(slot, worker.number()))
}

impl Drop for Runnable<'_> {
    fn drop(&mut self) {
        self.worker.go_back(self.outer);
        // SAFETY: scheduled and in no queue; the pool is borrowed.
        unsafe { requeue(self.worker, self.task) };
    }
}

/// Puts a task that this worker had taken back at the end of its queue.
///
/// # Safety
/// The task is `SCHEDULED` and in no queue, the caller's; its pool outlives the call.
#[inline]
pub(crate) unsafe fn requeue(worker: &Worker, task: NonNull<Header>) {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    // SAFETY: by contract.
    unsafe {
        let place = header.standing.place();
        if worker.running().is_some() || place.choice() != 0 && !worker.keeps(place) {
            // The worker goes back to what it was preempted in and may not look for tasks again soon; or the task may have to
            // leave it.
            worker.pool().enqueue(task);
        } else if !worker.queue.push(task, place.slot()) {
            // No call to anyone if that succeeds: this worker looks at its queue next, so there is one more task,
            // and one more worker that looks for one.
            cancel(task);
        }
    }
}

/// One poll, and what follows from its answer, except for [`Outcome::Requeued`]: then the task is the caller's
/// to queue. The second answer: whether the calling thread has the worker still.
///
/// Where the worker is lent, `polled` is left as it is, and may name a task that is gone: see [`Hold::LENT`].
///
/// All that is not the scheduler's own code runs where the worker can be taken from the thread: a drop or a waker may wait, as a
/// poll may.
///
/// # Safety
/// The task is `SCHEDULED` and in no queue, the caller's.
#[inline(always)]
pub(crate) unsafe fn poll<H: Hold>(worker: &Worker, task: NonNull<Header>, outer: Outer, hold: H) -> (Outcome, bool) {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    if header.word().start() == Start::Cancel {
        // SAFETY: `start` gave us RUNNING.
        return (Outcome::Cancelled, unsafe { cancel_started(worker, task, hold) });
    }
    let guard = FailOnUnwind { worker, task, outer };
    worker.set_polled(task.as_ptr());
    if hold.begin_poll() {
        worker.call_again();
    }
    // SAFETY: RUNNING is ours, and the future is in place: the task is not complete.
    let ready = unsafe { hold.poll(task) };
    core::mem::forget(guard);
    if !H::LENT {
        worker.set_polled(outer.polled);
    }
    // SAFETY: RUNNING is ours, and an output in place if it is ready.
    let outcome = unsafe { ended_poll(task, ready) };
    (outcome, hold.end_poll())
}

/// Drops the future of a task that was aborted; whether the calling thread has the worker still.
///
/// # Safety
/// The caller holds `RUNNING`, with the future in place, and does not touch the task afterwards.
#[cold]
#[inline(never)]
unsafe fn cancel_started<H: Hold>(worker: &Worker, task: NonNull<Header>, hold: H) -> bool {
    if H::LENT {
        // The drop may wait: what the thread stands at then is this task's.
        worker.set_polled(task.as_ptr());
    }
    if hold.begin_poll() {
        worker.call_again();
    }
    // SAFETY: by contract.
    unsafe { drop_and_complete(task) };
    hold.end_poll()
}

/// What follows from the answer of a poll.
///
/// # Safety
/// The caller holds `RUNNING`; `ready` says that the output is in place.
#[inline(always)]
unsafe fn ended_poll(task: NonNull<Header>, ready: bool) -> Outcome {
    if ready {
        // SAFETY: by contract.
        unsafe { complete(task, Ending::Output) };
        return Outcome::Complete;
    }
    // SAFETY: RUNNING keeps it alive.
    match unsafe { task.as_ref() }.word().pause() {
        Pause::Idle => Outcome::Waiting,
        Pause::Requeue => Outcome::Requeued,
        Pause::Orphan => {
            // SAFETY: nobody else can reach the task (S3), so its future is ours to drop, and it to free.
            unsafe { drop_orphan(task) };
            Outcome::Cancelled
        }
    }
}

/// # Safety
/// Nobody else can reach the task, whose future is in place; it is not touched afterwards.
#[cold]
unsafe fn drop_orphan(task: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe {
        let ops = task.as_ref().calls();
        (ops.drop_future)(task);
        (ops.free)(task);
    }
}

/// Cancels a task that was taken from a queue, or could not be put into one.
///
/// Of a pool that is being closed: foreign code runs here, wherever that is.
///
/// # Safety
///
/// The task is `SCHEDULED` and in no queue; it is not touched afterwards.
#[cold]
pub(crate) unsafe fn cancel(task: NonNull<Header>) {
    // SAFETY: alive, by contract. Either answer gives us RUNNING.
    let (Start::Poll | Start::Cancel) = unsafe { task.as_ref() }.word().start();
    // SAFETY: RUNNING is ours.
    unsafe { drop_and_complete(task) };
}

/// # Safety
/// The caller holds `RUNNING`, with the future in place, and does not touch the task afterwards.
#[cold]
unsafe fn drop_and_complete(task: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe {
        (task.as_ref().calls().drop_future)(task);
        complete(task, Ending::NoOutput);
    }
}

/// Completes a task whose future is gone and gives up `RUNNING`.
///
/// # Safety
///
/// The caller holds `RUNNING` and does not touch the task afterwards; with [`Ending::Output`] the output
/// is in place, else the future has been dropped.
#[inline]
unsafe fn complete(task: NonNull<Header>, ending: Ending) {
    // SAFETY: RUNNING keeps it alive.
    let header = unsafe { task.as_ref() };
    if header.word().is_alone() && !header.calls().output_drops {
        // SAFETY: S3, nobody else can reach it; there is no output, or nothing to drop in it.
        return unsafe { (header.calls().free)(task) };
    }
    // SAFETY: by contract.
    unsafe { publish_end(task, ending) };
    match header.word().release() {
        Release::Nothing | Release::Enqueue => {}
        // SAFETY: S3; the future is gone, and there is no join handle, so the output is too.
        Release::Free => unsafe { (header.calls().free)(task) },
    }
}

/// Completes a task without giving up `RUNNING`.
///
/// # Safety
///
/// As [`complete`], but the task stays the caller's.
#[inline]
unsafe fn publish_end(task: NonNull<Header>, ending: Ending) {
    // SAFETY: RUNNING keeps it alive.
    let header = unsafe { task.as_ref() };
    let found = header.word().complete(ending);
    let drop_output = found.drop_output && header.calls().output_drops;
    if drop_output || found.wake_joiner {
        let duty = if drop_output { DROP_OUTPUT } else { 0 } | if found.wake_joiner { WAKE_JOINER } else { 0 };
        // SAFETY: S1 and S4, RUNNING is the caller's.
        unsafe { (header.calls().ended)(task, duty) };
    }
}

/// Marks the running task as failed: it has ended without output, its future stays where it is for ever (leaked),
/// whatever it has lent out with it.
///
/// # Safety
///
/// Called from within this task's poll, which never returns and whose stack is never reused.
pub unsafe fn fail(task: NonNull<Header>) {
    // SAFETY: RUNNING is this context's by contract and is never given up, so nobody will touch the
    // future or free the task.
    unsafe { publish_end(task, Ending::Failed) };
}

/// Marks the task as failed if its poll unwinds, as it can on the host. Where panics abort, this is
/// nothing.
struct FailOnUnwind<'w> {
    worker: &'w Worker,
    task: NonNull<Header>,
    outer: Outer,
}

impl Drop for FailOnUnwind<'_> {
    fn drop(&mut self) {
        self.worker.set_polled(self.outer.polled);
        self.worker.go_back(self.outer);
        // SAFETY: RUNNING is this context's and never given up, so the future is never touched again.
        unsafe { fail(self.task) };
    }
}
