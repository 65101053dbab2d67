//! Workers with slots: threads that run the pool's tasks while the kernel lets them.
//!
//! ```text
//!   has a slot:  main future woken? poll it   ── lost ──┐
//!                run tasks                    ── lost ──┤
//!                nothing: idle in `sched_wait`, with    ▼
//!                the slot, until there is      no slot: `sched_wait` as a spare, until it gets one
//! ```
//!
//! The reactor has a thread of its own: a worker that runs something that never yields could not look at it.

use super::{MainFuture, TURN, Unpark};
use crate::scheduler::Way;
use crate::sync::Arc;
use crate::{reactor, slots, thread};
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use task::Pool;

/// Who runs a worker, and whether it still does.
struct Worker<'p> {
    pool: &'p Pool<Unpark, Way>,
    place: u32,
    slot: Option<usize>,
}

/// Starts the reactor's thread.
pub(super) fn start_reactor() {
    // Without it nothing that waits for descriptors or time goes on; there is no memory for a thread then.
    let _ = thread::spawn(|| {
        loop {
            let _ = reactor::prepare();
            reactor::wait(true);
        }
    });
}

/// Starts a thread that waits for a slot.
pub(super) fn start_spare() {
    // Without one, a worker whose thread blocks waits for that.
    let _ = thread::spawn(|| {
        let Some(place) = slots::place() else { return };
        let mut worker = Worker { pool: super::pool(), place, slot: None };
        worker.come();
        let never = AtomicBool::new(false);
        loop {
            worker.turn(&never, None);
        }
    });
}

/// Runs a worker as long as the kernel lets the calling thread, and `future` whenever it is woken.
pub(super) fn block_on<F: Future>(
    pool: &Pool<Unpark, Way>,
    mut future: Pin<&mut F>,
    main: &Arc<MainFuture>,
) -> F::Output {
    let mut worker = Worker { pool, place: main.place.unwrap_or(0), slot: None };
    worker.come();
    loop {
        if main.take() {
            worker.claim();
            worker.leave();
            let polled = super::poll(future.as_mut(), main);
            if let Poll::Ready(output) = polled {
                return output;
            }
            worker.come();
        }
        worker.turn(&main.woken, Some(main));
    }
}

impl Worker<'_> {
    /// Enters the scheduler; the slot that the thread has had is its own still, or not.
    fn come(&mut self) {
        let slot = self.slot.or_else(|| slots::slot_of(self.place));
        // Whichever slot it is, the count is the thread's.
        let keeps = slots::seat(self.place, slot.unwrap_or(0)).end_poll();
        self.slot = slot.filter(|_| keeps);
    }

    /// Gets a slot if one can be had at once.
    fn claim(&mut self) {
        if self.slot.is_none()
            && let Some(slot) = slots::claim(self.place)
        {
            self.pool.clear_idle(slot);
            self.slot = Some(slot);
        }
    }

    /// Leaves the scheduler: what follows may block, and be preempted.
    fn leave(&mut self) {
        let slot = self.slot.unwrap_or(0);
        if slots::seat(self.place, slot).begin_poll() && self.slot.is_some() {
            slots::kick(slot, 0);
        }
    }

    /// Runs tasks, or waits for some; until `stop` is set at the latest.
    fn turn(&mut self, stop: &AtomicBool, main: Option<&MainFuture>) {
        let Some(slot) = self.slot else {
            return self.park(main);
        };
        let seat = slots::seat(self.place, slot);
        let polled = self.pool.run_seated(slot, TURN, stop, &seat);
        // Relaxed: the kernel wrote it in this thread.
        if seat.owner.load(Ordering::Relaxed) != self.place + 1 {
            self.slot = None;
        } else if polled == 0 && !stop.load(Ordering::Relaxed) && self.pool.set_idle(slot) {
            self.park(main);
        }
    }

    /// Waits for a slot, or with one for something to run.
    fn park(&mut self, main: Option<&MainFuture>) {
        let woken = main.is_some_and(|main| {
            main.parked.store(true, Ordering::SeqCst);
            // Looked at after `parked` was set: see `MainFuture`.
            main.woken.load(Ordering::SeqCst)
        });
        let had = self.slot;
        if !woken {
            // Called for another reason it may have lost it: to who claimed it.
            self.slot = slots::wait(self.place).or_else(|| slots::slot_of(self.place));
        }
        if let Some(main) = main {
            main.parked.store(false, Ordering::SeqCst);
        }
        if let Some(slot) = self.slot {
            // It was idle, or ran something whose thread has it no more.
            self.pool.clear_idle(slot);
        }
        if self.slot.is_some() && self.slot != had && !slots::has_spare() && slots::has_place() {
            start_spare();
        }
    }
}
