//! Workers with slots: threads that run the pool's tasks while the kernel lets them.
//!
//! ```text
//!   has a slot:  run tasks   ── the slot was taken during a poll ──┐
//!                none: idle in `sched_wait`, with the slot,        ▼
//!                until there is                           no slot: `sched_wait` as a spare, until it gets one
//! ```
//!
//! The reactor has a thread of its own: a worker that runs something that never yields could not look at it. A worker that finds
//! nothing to run looks before it idles: with what it finds it goes on, and the reactor's thread need not run.

use super::Unpark;
use super::failure::PollStack;
use crate::scheduler::Way;
use crate::slots::Held;
use crate::{reactor, requests, slots, thread, time};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use sched::slots::MAX_SLOTS;
use task::{Pool, Priority};

/// Whether the reactor has a thread.
static REACTOR: AtomicU32 = AtomicU32::new(UNUSED);
/// It needs none.
const UNUSED: u32 = 0;
/// It needs one, and there could be none.
const MISSING: u32 = 1;
/// It has one, or somebody is starting it.
const STARTED: u32 = 2;

/// How long a thread waits at most before it tries again to start that.
pub(super) const AGAIN: Duration = Duration::from_millis(10);

/// Starts the reactor's thread, unless it has one. If there cannot be one, who found out tries again when it has nothing to do.
pub(super) fn start_reactor() {
    // Relaxed, as below: a number on its own.
    if REACTOR.load(Ordering::Relaxed) == STARTED || REACTOR.swap(STARTED, Ordering::Relaxed) == STARTED {
        return;
    }
    let _ = reactor::set_up();
    let started = thread::spawn(|| {
        loop {
            reactor::prepare();
            reactor::wait();
        }
    });
    if started.is_err() {
        REACTOR.store(MISSING, Ordering::Relaxed);
    }
}

/// Tries again if the reactor's thread is missing; whether it still is.
pub(super) fn lacks_reactor() -> bool {
    if REACTOR.load(Ordering::Relaxed) == MISSING {
        start_reactor();
    }
    REACTOR.load(Ordering::Relaxed) == MISSING
}

/// Starts a thread that waits for a slot; whether there could be one.
pub(super) fn start() -> bool {
    let Some(place) = slots::new_place() else { return false };
    let started = thread::spawn(move || run(place)).is_ok();
    if !started {
        slots::give_back(place);
    }
    started
}

/// How many threads without a slot there should be. One, lest a worker whose thread blocks wait for that; two, and with their stacks
/// made, in a process that has needed its last: so what is urgent runs before another is started.
static SPARES: AtomicU32 = AtomicU32::new(1);

/// The process has needed its last spare thread, or not yet.
fn keeps_two() -> bool {
    // Relaxed, as where it is stored: a number on its own.
    SPARES.load(Ordering::Relaxed) > 1
}

/// The life of such a thread. It ends in a child only that was forked in one of its polls, which has no slots: and with it the child.
fn run(place: u32) {
    let (pool, mut stack) = (super::pool(), PollStack::new());
    thread::watch_overflow();
    // Odd from the start: the thread is in the scheduler until it polls.
    let _ = slots::seat(place, 0).end_poll();
    if keeps_two() {
        stack.prepare();
    }
    let mut ticker = None;
    while let Some(slot) = slots::wait(place) {
        // Another thread may have had it before, in a poll that goes on.
        pool.clear_idle(slot);
        if slots::spares() == 0 {
            // The first thread has none yet.
            if place > 0 {
                SPARES.store(2, Ordering::Relaxed);
            }
            let _ = start();
        }
        let held = Held::new(place, slot, ticker);
        thread::hold(&held, || work(pool, place, &held, &mut stack));
        ticker = held.ticker.get();
    }
}

/// So many polls are a tick: with fewer it can be seen in what a switch costs.
const TICK: u32 = 256;

/// Polls of each worker since its last tick: kept for whoever has the slot next, since a poll that loses it may be the only one of
/// its thread.
static POLLS: [AtomicU32; MAX_SLOTS] = [const { AtomicU32::new(0) }; MAX_SLOTS];

/// Time passes for a worker by polls, so that what waits ages. By the thread that has the slot.
fn tick(pool: &Pool<Unpark, Way>, slot: usize, polls: &AtomicU32) {
    // Relaxed, as where it is added to: a number, of which nothing depends on a few.
    if polls.load(Ordering::Relaxed) >= TICK {
        polls.store(0, Ordering::Relaxed);
        // Whether what it runs should give way: it runs nothing here.
        let _ = pool.tick(slot);
    }
}

/// So often in a row a worker finds a queue that is not empty, and no task in it, before it waits.
const IN_VAIN: u32 = 16;
/// How long, then: who has the lock of the queue has been interrupted there, perhaps by this very thread, and could not go on.
const PAUSE: Duration = Duration::from_micros(100);

/// Few threads are left, and some that were preempted go on in their polls, the least urgent at priority `least`. What is no more
/// urgent than that is not begun: it would take the thread, and there would be none left for what is. Waits until there is
/// something more urgent, or nothing, or more threads; the slot that the thread has then.
fn stand_aside(pool: &Pool<Unpark, Way>, slot: usize, place: u32, least: u8) -> Option<usize> {
    let is_worth_it = || pool.highest_ready(slot).is_none_or(|ready| ready.number() < least);
    let mut owned = Some(slot);
    // It may be called for what another worker has taken meanwhile.
    while owned == Some(slot) && slots::few().is_some() && !is_worth_it() {
        if pool.stand_in(slot, Priority::new(least)) {
            owned = slots::stand_in(place);
            pool.clear_idle(slot);
        }
    }
    owned
}

/// Runs tasks until the slot is gone.
fn work(pool: &Pool<Unpark, Way>, place: u32, held: &Held, stack: &mut PollStack) {
    let Held { slot, seat, .. } = held;
    let (slot, mut in_vain, mut lacks_spare) = (*slot, 0, keeps_two() && slots::spares() < 2);
    let polls = &POLLS[slot % MAX_SLOTS];
    loop {
        let few = slots::few();
        match few {
            None => tick(pool, slot, polls),
            Some(least) => match stand_aside(pool, slot, place, least) {
                Some(owner) if owner == slot => {}
                _ => return,
            },
        }
        let turn = if few.is_some() || lacks_spare { 1 } else { TICK };
        let run = || match slots::watched() {
            false => pool.run_seated(slot, turn, seat),
            // SAFETY: it reads a register.
            true => unsafe { pool.run_seated_measured(slot, turn, seat, time::ticks) },
        };
        let polled = stack.run(run).unwrap_or_else(|| {
            // A task has panicked, so its poll has not come back.
            slots::forget_limit(held);
            if seat.end_poll() {
                pool.abandon(slot);
            }
            1
        });
        polls.fetch_add(polled, Ordering::Relaxed);
        // Before the slot may be gone: for what these polls have asked, nobody else would call.
        requests::submit();
        if !seat.is_owner() {
            return;
        }
        if polled != 0 {
            in_vain = 0;
        }
        if core::mem::take(&mut lacks_spare) {
            // What the slot was given for has had its poll.
            let _ = start();
        }
        // After fewer polls than asked for there was nothing more to run: what is asked for next is the reactor, not the queue.
        if polled >= turn || reactor::look() {
            in_vain = 0;
        } else if lacks_reactor() {
            // What waits there is found by the next look.
            thread::sleep(AGAIN);
        } else if pool.set_idle(slot) {
            // Nobody takes it now: the thread is in the scheduler.
            if slots::wait(place).is_none() {
                return;
            }
            pool.clear_idle(slot);
        } else if in_vain < IN_VAIN {
            in_vain += 1;
        } else {
            thread::sleep(PAUSE);
        }
    }
}
