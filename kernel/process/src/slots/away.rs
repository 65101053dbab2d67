//! Threads that go on in a poll without a slot: they stand at what their coroutine has, though that is less urgent by itself than what has
//! the slots now, and another waits for what it holds.
//!
//! Nobody looks at such a thread between its loss of the slot and its next wait for one. So the process calls when the priority of a
//! coroutine changes that is neither in a queue nor what a worker runs, and finds in the status page which thread polls that, if one does:
//!
//! ```text
//!   whoever changes it (`rt`)            kernel, as the thread loses its slot
//!   -------------------------            ------------------------------------
//!   the header says the priority         AWAY[place] = the coroutine
//!   fence(SeqCst)                        fence(SeqCst)
//!   AWAY[place] is the coroutine ?       the thread stands at what the header says
//!   `sched_follow(place)`
//! ```
//!
//! Whichever fence comes first, the call is made or the kernel has seen the change. Of two calls at once the last to set the priority looks
//! once more afterwards, as does each.
//!
//! The call only raises. Who gives back what it has inherited, and whoever makes it less urgent, may hold locks of the process's: a thread
//! that was put behind others at that point would keep waiting for all of them who wants those. It is lowered when it is next looked at
//! ([`Slots::looks_away`]) and its count says that it holds none, in a tick as a rule.
//!
//! Where the header is, and all that it says, is the process's word: read as a copy, clamped to what the thread may have, and of no
//! effect on anything but that thread.

use super::{SeqCst, Slots, fence, pages, raise, run_at};
use crate::thread::Thread;
use abi::errno::Errno;
use alloc::sync::Arc;
use mem::AddressSpace;
use sched::slots::MAX_PLACES;

/// So often it is looked whether the priority is another by now: a process may change it for ever.
const LOOKS: usize = 4;

/// Where the headers are of what threads poll without a slot, by place; 0 for none.
pub(super) struct Away([u64; MAX_PLACES]);

impl Away {
    pub(super) const fn new() -> Self {
        Self([0; MAX_PLACES])
    }

    fn count(&self) -> u32 {
        self.0.iter().filter(|task| **task != 0).count() as u32
    }

    fn of(&self, place: u8) -> u64 {
        self.0.get(usize::from(place)).copied().unwrap_or(0)
    }
}

impl Slots {
    /// The thread, which has lost its slot, goes on in its poll of the coroutine whose header is there, at `running` as far as is known.
    pub(super) fn goes_on(&self, thread: &Thread, space: &AddressSpace, place: u8, polled: u64, running: u8) {
        let Some(task) = pages::task(space, polled) else { return run_at(thread, running) };
        {
            let mut state = self.state.lock();
            let Some(away) = state.away.0.get_mut(usize::from(place)) else { return };
            *away = polled;
            self.pages.show_away(place, (task.id as u32).max(1), state.away.count());
        }
        // Pairs with that of whoever changes a priority: shown before the look.
        fence(SeqCst);
        self.follow(thread, space, place, polled, run_at);
    }

    /// The thread is looked at: if it is in such a poll, it stands at what that has by now; but no lower than before, unless it `polls`:
    /// it may hold a lock that others of the process wait for. By its own coroutine.
    pub(super) fn looks_away(&self, thread: &Thread, space: &AddressSpace, place: u8, polls: bool) {
        let polled = self.state.lock().away.of(place);
        if polled != 0 {
            self.follow(thread, space, place, polled, if polls { run_at } else { raise });
        }
    }

    /// It stands (`stand`) at what that header says; or if it polls another by now, whoever asked, at what that one's does.
    fn follow(&self, thread: &Thread, space: &AddressSpace, place: u8, mut polled: u64, stand: fn(&Thread, u8)) {
        for _ in 0..LOOKS {
            stand_by(thread, space, polled, stand);
            let (now, slot) = {
                let state = self.state.lock();
                (state.away.of(place), state.book.slot_of(place))
            };
            if now == polled {
                return;
            }
            if now == 0 {
                // It has ended its poll, and may have a slot again.
                if let Some(slot) = slot {
                    let running = self.pages.hints(space, slot).running;
                    self.stand_at(thread, space, slot, running);
                }
                return;
            }
            polled = now;
        }
    }

    /// The thread in a place is not in such a poll any more.
    pub(super) fn is_back(&self, place: u8) {
        let mut state = self.state.lock();
        if state.away.of(place) != 0 {
            state.away.0[usize::from(place) % MAX_PLACES] = 0;
            self.pages.show_away(place, 0, state.away.count());
        }
    }
}

/// The thread stands at what that header says.
fn stand_by(thread: &Thread, space: &AddressSpace, polled: u64, stand: fn(&Thread, u8)) {
    let mut stands = None;
    for _ in 0..LOOKS {
        let Some(priority) = pages::task(space, polled).map(|task| task.priority) else { return };
        if stands == Some(priority) {
            return;
        }
        stand(thread, priority);
        stands = Some(priority);
    }
}

/// `sched_follow(place)`: the coroutine that the thread in this place polls without a slot has another priority.
///
/// # Errors
/// `EINVAL` (the process has no slots).
pub fn follow(thread: &Arc<Thread>, place: usize) -> Result<usize, Errno> {
    let slots = thread.process().slots().ok_or(Errno::EINVAL)?;
    let place = u8::try_from(place).unwrap_or(u8::MAX);
    let polled = slots.state.lock().away.of(place);
    if polled != 0
        && let Some(other) = slots.thread(place)
    {
        slots.follow(&other, &thread.space(), place, polled, raise);
    }
    Ok(0)
}
