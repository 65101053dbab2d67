//! Many polls in one call: the loop of an executor, and its short way from one coroutine to the next of its equals.

use core::ptr::NonNull;

use sync::atomic::AtomicBool;

use crate::Priority;
use crate::columns::{Turn, is_ranked, priority_of};
use crate::hold::{Hold, Until};
use crate::interface::Header;
use crate::pool::Pool;
use crate::run::{Outcome, poll, requeue};
use crate::slots::Seat;
use crate::worker::{Held, Outer, Worker};

impl Pool {
    /// Polls as many tasks as `polls` says, one after the other, each the most urgent that there is for a worker, until there
    /// is none, or `stop` is set; says how many it has polled. The worker's thread of control is not preempted by one that
    /// needs the same worker's queue.
    pub fn run_many(&self, worker: usize, polls: u32, stop: &AtomicBool) -> u32 {
        self.run_held(worker, polls, Until(stop))
    }

    /// The same without a flag, for a thread that the worker may be taken from during a poll; then this ends with that poll.
    pub fn run_seated(&self, worker: usize, polls: u32, seat: Seat<'_>) -> u32 {
        self.run_held(worker, polls, seat)
    }

    #[inline(always)]
    pub(crate) fn run_held<H: Hold>(&self, worker: usize, polls: u32, hold: H) -> u32 {
        let Some(worker) = self.worker(worker) else { return 0 };
        let outer = worker.outer();
        let (mut left, mut held) = (polls, Held::NOTHING);
        while left > 0
            && let Some((task, priority)) =
                self.take(worker, Priority::COUNT, outer, held).or_else(|| self.steal(worker, outer))
        {
            left -= 1;
            // At the same priority as before it stands as before: what raises it in a poll moves the worker, or has it called.
            if held != Held::of(priority) && hold.stands_above(priority) {
                // Others, to whom it was put ahead, may be more urgent than this. What comes for it meanwhile finds it
                // published.
                self.pend(worker.number(), priority);
            }
            // SAFETY: just taken from a queue, so alive.
            let slot = unsafe { task.as_ref() }.standing.slot();
            // SAFETY: as above.
            let Some(goes_on) = (unsafe { poll_held(worker, task, outer, hold) }) else { return polls - left };
            let mut stays = true;
            if goes_on || !worker.queue.has_post() {
                let turns = Turns { turn: Turn::of(slot, worker.number()), priority, hold };
                // SAFETY: it has just been polled.
                let turned = unsafe { take_turns(worker, outer, &turns, (task, goes_on), left) };
                left = turned.0;
                match turned.1 {
                    Some(stayed) => stays = stayed,
                    None => return polls - left,
                }
            }
            held = if stays { Held::of(priority) } else { Held::NOTHING };
            if hold.is_over() {
                break;
            }
        }
        if H::LENT {
            worker.set_polled(outer.polled);
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
unsafe fn poll_held<H: Hold>(worker: &Worker, task: NonNull<Header>, outer: Outer, hold: H) -> Option<bool> {
    // SAFETY: by contract.
    let (outcome, keeps) = unsafe { poll(worker, task, outer, hold) };
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
struct Turns<H> {
    turn: Turn,
    priority: Priority,
    hold: H,
}

impl<H: Hold> Turns<H> {
    /// Polls a task, just taken from the worker's queue, as the next of its priority; else as [`poll_held`].
    ///
    /// # Safety
    /// As [`poll`].
    #[inline(always)]
    unsafe fn poll(&self, worker: &Worker, task: NonNull<Header>, outer: Outer) -> Option<bool> {
        // A slice of its own.
        worker.set_running(self.priority);
        // SAFETY: by contract.
        unsafe { poll_held(worker, task, outer, self.hold) }
    }

    /// Whether no more may be polled.
    #[inline(always)]
    fn are_over(&self, more: u32) -> bool {
        more == 0 || self.hold.is_over()
    }
}

/// Goes on with the tasks of one slot, as long as it is their turn: `last` has been polled as what was published at this
/// priority, and is to be queued again or not. Says how many polls of `left` are left, and whether what is published has
/// stayed; `None`: the thread has lost the worker.
///
/// # Safety
/// As [`Pool::run_many`]; `last` was polled by this worker just now, and is the caller's if it was to be queued.
#[inline(never)]
unsafe fn take_turns<H: Hold>(
    worker: &Worker,
    outer: Outer,
    turns: &Turns<H>,
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
/// Says what was polled last, how many polls are left, and whether it is to be queued; `None` as in [`poll_held`].
///
/// # Safety
/// As [`take_turns`]; `task` is to be queued.
#[inline(never)]
unsafe fn give_way<H: Hold>(
    worker: &Worker,
    outer: Outer,
    turns: &Turns<H>,
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
        let has_choice = task.as_ref().standing.place().choice() != 0;
        if has_choice || !(worker.running().is_none() && worker.queue.append(task)) {
            requeue(worker, task);
        }
    }
}
