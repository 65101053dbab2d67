//! Running a task: one poll, and what follows from its answer.

use core::ptr::NonNull;

use sync::atomic::{AtomicBool, Ordering};

use crate::Priority;
use crate::interface::{DROP_OUTPUT, Header, WAKE_JOINER};
use crate::lists::{Turn, is_ranked, priority_of};
use crate::pool::Pool;
use crate::queue::Taken;
use crate::slots::Seat;
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
        // SAFETY: scheduled, taken from its queue, and this context's.
        let (outcome, _) = unsafe { poll(worker, task, outer, None) };
        worker.go_back(outer);
        if outcome == Outcome::Requeued {
            // SAFETY: the word said to queue it, so it is alive and this context's.
            unsafe { requeue(worker, task) };
        }
        outcome
    }

    /// As [`run`](Self::run), by a thread that may lose the worker in it, which is `None`; `with` polls the future ([`call`]).
    #[inline(always)]
    pub(crate) fn run_with(
        self,
        seat: Option<&Seat<'_>>,
        with: impl FnOnce(NonNull<Header>) -> bool,
    ) -> Option<Outcome> {
        let (worker, task, outer) = (self.worker, self.task, self.outer);
        core::mem::forget(self);
        // SAFETY: scheduled, taken from its queue, and this context's.
        let (outcome, keeps) = unsafe { poll_with(worker, task, outer, seat, with) };
        if keeps {
            worker.go_back(outer);
        }
        if outcome == Outcome::Requeued {
            // SAFETY: the word said to queue it, so it is alive and this context's; any context may, of whom the worker is.
            unsafe { if keeps { requeue(worker, task) } else { worker.pool().enqueue(task) } };
        }
        keeps.then_some(outcome)
    }

    /// As [`run`](Self::run); but if it goes on, and what is next are its equals in turn, the first of these is taken with
    /// putting it back, under one lock, and counts as running. The caller polls that next, unless something more urgent has
    /// come.
    ///
    /// While what `alone` answers lives, the worker's thread of control is not preempted by one that needs the same worker's
    /// queue; whoever calls meanwhile may not be heard.
    #[inline(always)]
    pub fn run_in_turn<G>(self, alone: impl FnOnce() -> G) -> (Outcome, Option<Self>) {
        let (worker, task, priority, outer) = (self.worker, self.task, self.priority, self.outer);
        core::mem::forget(self);
        // SAFETY: scheduled, taken from its queue, and this context's.
        let (outcome, _) = unsafe { poll(worker, task, outer, None) };
        if outcome != Outcome::Requeued {
            worker.go_back(outer);
            return (outcome, None);
        }
        // SAFETY: the word said to queue it, so it is alive and this context's; so too where it is requeued.
        let next = unsafe { next_equal(worker, task, priority, alone) };
        match next {
            // A slice of its own.
            Some(_) => worker.set_running(priority),
            None => {
                worker.go_back(outer);
                // SAFETY: as above.
                unsafe { requeue(worker, task) };
            }
        }
        (outcome, next.map(|task| Self { worker, task, priority, outer }))
    }
}

/// Puts back a task that goes on and takes the next of its slot; nothing is changed if it is not the turn of that.
///
/// # Safety
/// As [`RunQueue::rotate`](crate::queue::RunQueue::rotate), while `alone`'s answer lives; the worker runs at this priority.
#[inline(always)]
unsafe fn next_equal<G>(
    worker: &Worker,
    task: NonNull<Header>,
    priority: Priority,
    alone: impl FnOnce() -> G,
) -> Option<NonNull<Header>> {
    // SAFETY: alive, by contract.
    let slot = unsafe { task.as_ref() }.standing.slot();
    // What was put ahead, or runs at another priority by now, has no equals in its slot.
    if priority_of(slot) != priority || is_ranked(slot) {
        return None;
    }
    let _alone = alone();
    // SAFETY: by contract.
    unsafe { worker.queue.rotate(task, Turn::of(slot, worker.number())) }
}

impl Pool {
    /// Polls as many tasks as `polls` says, one after the other, each the most urgent that there is for a worker, until there
    /// is none, or `stop` is set; says how many it has polled. The worker's thread of control is not preempted by one that
    /// needs the same worker's queue.
    ///
    /// With a seat the worker may be taken from the calling thread during a poll; then this ends with that poll.
    pub fn run_many(&self, worker: usize, polls: u32, stop: &AtomicBool, seat: Option<&Seat<'_>>) -> u32 {
        let Some(worker) = self.worker(worker) else { return 0 };
        let outer = worker.outer();
        let (mut left, mut held) = (polls, None);
        while left > 0
            && let Some((task, priority)) =
                self.take(worker, Priority::COUNT, outer, held).or_else(|| self.steal(worker, outer))
        {
            left -= 1;
            // SAFETY: just taken from a queue, so alive.
            let slot = unsafe { task.as_ref() }.standing.slot();
            // SAFETY: as above.
            let Some(goes_on) = (unsafe { poll_seated(worker, task, outer, seat) }) else { return polls - left };
            let mut stays = true;
            if goes_on || !worker.queue.has_post() {
                let turns = Turns { turn: Turn::of(slot, worker.number()), priority, stop, seat };
                // SAFETY: it has just been polled.
                let turned = unsafe { take_turns(worker, outer, &turns, (task, goes_on), left) };
                left = turned.0;
                match turned.1 {
                    Some(stayed) => stays = stayed,
                    None => return polls - left,
                }
            }
            held = stays.then_some(priority);
            // Relaxed: what it is about is looked at by the caller, and whoever sets it calls the worker.
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        worker.go_back(outer);
        polls - left
    }
}

/// One poll by a thread that may lose the worker in it; whether the task is to be queued again. `None`: it has lost it, and the
/// task is queued if it has to be.
///
/// # Safety
/// As [`poll`].
#[inline(always)]
unsafe fn poll_seated(worker: &Worker, task: NonNull<Header>, outer: Outer, seat: Option<&Seat<'_>>) -> Option<bool> {
    // SAFETY: by contract.
    let (outcome, keeps) = unsafe { poll(worker, task, outer, seat) };
    let goes_on = outcome == Outcome::Requeued;
    if keeps {
        return Some(goes_on);
    }
    if goes_on {
        // SAFETY: the word said to queue it, so it is alive and this context's; any context may.
        unsafe { worker.pool().enqueue(task) };
    }
    None
}

/// Whose turn it is, and what ends that.
struct Turns<'a> {
    turn: Turn,
    priority: Priority,
    stop: &'a AtomicBool,
    seat: Option<&'a Seat<'a>>,
}

impl Turns<'_> {
    /// Polls a task, just taken from the worker's queue, as the next of its priority; else as [`poll_seated`].
    ///
    /// # Safety
    /// As [`poll`].
    #[inline(always)]
    unsafe fn poll(&self, worker: &Worker, task: NonNull<Header>, outer: Outer) -> Option<bool> {
        // A slice of its own.
        worker.set_running(self.priority);
        // SAFETY: by contract.
        unsafe { poll_seated(worker, task, outer, self.seat) }
    }

    /// Whether no more may be polled. Relaxed: as in `run_many`.
    #[inline(always)]
    fn are_over(&self, more: u32) -> bool {
        more == 0 || self.stop.load(Ordering::Relaxed)
    }
}

/// Goes on with the tasks of one slot, as long as it is their turn: `last` has been polled as what was published at this
/// priority, and is to be queued again or not. Says how many polls of `left` are left, and whether what is published has
/// stayed; `None`: the thread has lost the worker.
///
/// # Safety
/// As [`Pool::run_many`]; `last` was polled by this worker just now, and is the caller's if it was to be queued.
#[inline(never)]
unsafe fn take_turns(
    worker: &Worker,
    outer: Outer,
    turns: &Turns<'_>,
    last: (NonNull<Header>, bool),
    left: u32,
) -> (u32, Option<bool>) {
    let (mut task, goes_on) = last;
    let mut goes_on = Some(goes_on);
    let slot = turns.turn.slot;
    // What was put ahead runs at another priority than its slot's, and not for the others of that.
    let most = if priority_of(slot) == turns.priority && !is_ranked(slot) { left } else { 0 };
    let mut more = most;
    loop {
        if goes_on == Some(true) {
            // SAFETY: the word said to queue it, so it is alive and this context's.
            (task, more, goes_on) = unsafe { give_way(worker, outer, turns, task, more) };
        }
        if goes_on != Some(false) || turns.are_over(more) {
            break;
        }
        let Some(next) = worker.queue.take_turn(turns.turn) else { break };
        (task, more) = (next, more - 1);
        // SAFETY: just taken from the queue.
        goes_on = unsafe { turns.poll(worker, task, outer) };
    }
    if goes_on == Some(true) {
        // SAFETY: as above.
        unsafe { put_back(worker, task, outer) };
    }
    (left - (most - more), goes_on.map(|goes_on| !goes_on))
}

/// Queues a task that goes on and polls the next, as long as that goes on, too: the shortest way from one coroutine to another.
/// Says what was polled last, how many polls are left, and whether it is to be queued; `None` as in [`poll_seated`].
///
/// # Safety
/// As [`take_turns`]; `task` is to be queued.
#[inline(never)]
unsafe fn give_way(
    worker: &Worker,
    outer: Outer,
    turns: &Turns<'_>,
    mut task: NonNull<Header>,
    mut more: u32,
) -> (NonNull<Header>, u32, Option<bool>) {
    let turn = turns.turn;
    while !turns.are_over(more) {
        // SAFETY: by contract.
        let Some(next) = (unsafe { worker.queue.rotate(task, turn) }) else { break };
        (task, more) = (next, more - 1);
        // SAFETY: just taken from the queue.
        let goes_on = unsafe { turns.poll(worker, task, outer) };
        if goes_on != Some(true) {
            return (task, more, goes_on);
        }
    }
    (task, more, Some(true))
}

/// Queues a task that goes on; directly, under the lock, if the worker will look for another now.
///
/// # Safety
/// As [`requeue`]; and the worker's thread of control is not preempted by one that needs the same worker's queue.
#[inline(never)]
unsafe fn put_back(worker: &Worker, task: NonNull<Header>, outer: Outer) {
    worker.go_back(outer);
    // SAFETY: by contract.
    unsafe {
        if !(worker.running().is_none() && worker.queue.append(task)) {
            requeue(worker, task);
        }
    }
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
unsafe fn requeue(worker: &Worker, task: NonNull<Header>) {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    // SAFETY: by contract.
    unsafe {
        if worker.running().is_some() {
            // The worker goes back to what it was preempted in and may not look for tasks again soon.
            worker.pool().enqueue(task);
        } else if !worker.queue.push(task, header.standing.slot()) {
            // No call to anyone if that succeeds: this worker looks at its queue next, so there is one more task,
            // and one more worker that looks for one.
            cancel(task);
        }
    }
}

/// One poll, and what follows from its answer, except for [`Outcome::Requeued`]: then the task is the caller's
/// to queue. The second answer: whether the calling thread has the worker still.
///
/// # Safety
/// The task is `SCHEDULED` and in no queue, the caller's.
#[inline(always)]
unsafe fn poll(worker: &Worker, task: NonNull<Header>, outer: Outer, seat: Option<&Seat<'_>>) -> (Outcome, bool) {
    // SAFETY: by contract.
    unsafe { poll_with(worker, task, outer, seat, |task| call(task)) }
}

/// The same; `with` polls the future ([`call`]).
///
/// # Safety
/// As [`poll`].
#[inline(always)]
unsafe fn poll_with(
    worker: &Worker,
    task: NonNull<Header>,
    outer: Outer,
    seat: Option<&Seat<'_>>,
    with: impl FnOnce(NonNull<Header>) -> bool,
) -> (Outcome, bool) {
    // SAFETY: alive, by contract.
    let header = unsafe { task.as_ref() };
    if header.word().start() == Start::Cancel {
        // SAFETY: `start` gave us RUNNING.
        unsafe { drop_and_complete(task) };
        return (Outcome::Cancelled, true);
    }
    let guard = FailOnUnwind { worker, task, outer };
    worker.set_polled(task.as_ptr());
    if seat.is_some_and(Seat::begin_poll) {
        worker.call_again();
    }
    // RUNNING is ours, and the future is in place: the task is not complete.
    let ready = with(task);
    let keeps = seat.is_none_or(Seat::end_poll);
    if keeps {
        worker.set_polled(outer.polled);
    }
    core::mem::forget(guard);
    // SAFETY: RUNNING is ours, and an output in place if it is ready.
    (unsafe { ended_poll(task, ready) }, keeps)
}

/// Polls the future of a task.
///
/// # Safety
/// The caller holds `RUNNING`, and the future is in place.
#[inline(always)]
pub(crate) unsafe fn call(task: NonNull<Header>) -> bool {
    // SAFETY: alive, by contract.
    let poll = unsafe { task.as_ref() }.calls().poll;
    // SAFETY: by contract.
    unsafe { poll(task) }
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
