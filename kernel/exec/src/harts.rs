//! The thread of control of each hart: the main loop, preemption, time slices.
//!
//! **Going idle.** `set_idle` publishes that the hart parks, and looks at the queues once more; from then on
//! whoever wakes a task for it takes the idle bit away and sends an IPI (unless it is this hart, in an interrupt handler).
//! `idle_unless` looks at the bit with interrupts off and waits only if it still stands, so neither a wake
//! from elsewhere nor one from an interrupt that struck in between is slept through.
//!
//! **Preemption** is considered at the end of each interrupt. A wake that arrives while preemption is off (a spin lock
//! is held) is not looked at again when it comes back on, but at the next interrupt, before the next entry to
//! user mode or at the end of the poll, whichever is first. A task that is only as urgent waits for the tick.
//!
//! **Picking** is done with preemption off, after a yield too, where the next of its equals is picked with queueing what has
//! yielded: `sched`'s queues do not expect to be entered twice by one hart. An IPI that arrives in that window is not acted
//! upon, so the pick is given back when something more urgent has come: here, or by `sched` where it is the next in turn.
//!
//! **Ticks** are half a round-robin slice. They are armed when a hart begins to run something and lapse when it is idle: a
//! coroutine that has seen two has run for between half a slice and a whole one. What they mean is `sched`'s to say:
//! slices end, and what has waited for too long goes ahead.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use hal::{hart, record::record};
use task::{Around, Outcome, Priority};
use trace::Event;

use crate::{pool::pool, timer};

/// Runs coroutines on this hart for ever. Called once on each hart, with interrupts on, preemption allowed
/// and no locks held.
pub fn run_hart() -> ! {
    let hart = hart::id();
    loop {
        if !run_next(hart) {
            idle(hart);
        }
    }
}

/// Runs the next coroutine, if there is one, for one poll; and those that take turns with it.
fn run_next(hart: usize) -> bool {
    let picked = {
        let _guard = hart::no_preempt();
        pool().next(hart)
    };
    let found = picked.is_some();
    // Given back, it goes into its queue again.
    if let Some(first) = picked.filter(|_| !preemption_wanted()) {
        let outer = hart::coroutine();
        first.run_in_turn(&Books { hart });
        hart::set_coroutine(outer);
    }
    found
}

fn idle(hart: usize) {
    if pool().set_idle(hart) {
        hart::idle_unless(|| pool().idle_workers() >> hart & 1 == 0);
        pool().clear_idle(hart);
    }
}

/// Whether something more urgent than what this hart runs is ready. Any context.
pub(crate) fn preemption_wanted() -> bool {
    let hart = hart::id();
    let pool = pool();
    pool.running(hart).is_some_and(|running| pool.ready_above(hart, running))
}

/// Runs everything that is more urgent than what this hart was interrupted in. Called by `hal` on a stack of
/// its own, with interrupts on.
pub fn preempt() {
    let hart = hart::id();
    // Nothing runs: the main loop was interrupted, and will look by itself.
    while let Some(limit) = pool().running(hart) {
        let picked = {
            let _guard = hart::no_preempt();
            pool().next_above(hart, limit)
        };
        let Some(runnable) = picked else {
            // Nothing there, or a thief is at the queue for the moment: then the bits still say that there is.
            if preemption_wanted() {
                core::hint::spin_loop();
                continue;
            }
            return;
        };
        if preemption_wanted() {
            drop(runnable);
            continue;
        }
        let (outer, inner) = (hart::coroutine(), runnable.id());
        record(|| Event::Switch { from: outer, to: inner });
        let books = Books { hart };
        books.begin(inner);
        let outcome = runnable.run();
        books.end(inner, outcome);
        hart::set_coroutine(outer);
        record(|| Event::Switch { from: inner, to: outer });
    }
}

/// The book-keeping around each poll on a hart.
struct Books {
    hart: usize,
}

impl Around for Books {
    type Alone = hart::PreemptGuard;

    #[inline(always)]
    fn begin(&self, task: u64) {
        hart::set_coroutine(task);
        timer::start_ticking(self.hart);
        record(|| Event::PollBegin { task });
    }

    #[inline(always)]
    fn end(&self, task: u64, outcome: Outcome) {
        debug_assert_eq!(hal::sync::held(), 0, "coroutine {task} holds a spin lock across an await");
        record(|| Event::PollEnd { task, finished: matches!(outcome, Outcome::Complete | Outcome::Cancelled) });
    }

    #[inline(always)]
    fn alone(&self) -> Self::Alone {
        hart::no_preempt()
    }
}

/// A tick has passed on this hart; `false` if nothing runs. In the timer's interrupt.
pub(crate) fn tick(hart: usize) -> bool {
    let running = pool().running(hart).is_some();
    if running {
        // Whether it should give way is asked on the way back to user mode.
        pool().tick(hart);
    }
    running
}

/// Whether the running coroutine should give way with [`yield_now`](crate::yield_now): something more urgent is
/// ready on this hart, or something as urgent is and the time slice is used up.
#[inline]
#[must_use]
pub fn should_yield() -> bool {
    pool().should_yield(hart::id())
}

/// Whether something as urgent as what this hart runs, or more, is ready.
#[must_use]
pub fn equals_wait() -> bool {
    let (pool, hart) = (pool(), hart::id());
    pool.running(hart).is_some_and(|running| pool.highest_ready(hart).is_some_and(|ready| ready <= running))
}

/// Whether anything else waits for this hart, whatever its priority.
#[must_use]
pub fn others_wait() -> bool {
    pool().is_awaited(hart::id())
}

/// Whether anything waits in the queue of any hart.
#[must_use]
pub fn others_wait_anywhere() -> bool {
    pool().highest_ready_anywhere().is_some()
}

/// What this hart's coroutine, of priority `own`, was put ahead of since it has waited for too long; `None` if it was not.
#[must_use]
pub fn put_ahead(own: Priority) -> Option<Priority> {
    pool().running(hart::id()).filter(|running| *running < own)
}

/// Tells this hart what somebody has used that is, or could be, fair at this priority; what is not ranked below there
/// (`sched::Pool::raise_floor`).
pub fn raise_floor(priority: Priority, above: bool, used: u64) -> u64 {
    pool().raise_floor(hart::id(), priority, above, used)
}

/// Runs coroutines on this hart, and `future` between them, until that is ready; timers are looked at in
/// each turn. For tests on the host: it never sleeps.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while run_next(hart::id()) {}
        timer::on_timer_interrupt();
    }
}
