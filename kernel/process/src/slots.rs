//! A process's slots: the rights to run the workers of its pool, and which thread has which (note 0003, section 5).
//!
//! The protocol, and who may take a slot from whom when, is in `sched::slots`. This is where the kernel takes part: when a
//! thread waits for something ([`blocks`]), when it has been interrupted ([`interrupted`], [`examine`]), when it waits for a slot
//! ([`wait`]) or calls for somebody else ([`kick`]), and when it ends ([`leave`]). What a thread stands at that goes on without one: `away`.
//!
//! **Hints.** What a process says of its coroutines is read at these points only, copied once, clamped to what its thread may
//! have, and decides about nothing but its own threads (`pages`).

mod away;
mod pages;

pub use away::follow;

use crate::{
    process::Process,
    thread::{Interrupted, Thread},
};
use abi::{asyncos::SCHED_WAIT, errno::Errno, window};
use alloc::{string::String, sync::Arc};
use away::Away;
use core::{
    fmt::Write,
    future::poll_fn,
    sync::atomic::{
        Ordering::{Relaxed, SeqCst},
        fence,
    },
    task::Poll,
};
use hal::sync::{SpinLock, rank};
use mem::{AddressSpace, Charge};
use pages::{Hints, Pages};
use sched::slots::{Book, Do, Lasting, MAX_PLACES, MAX_SLOTS, Wait, polls};

/// How long a poll may last while others as urgent wait for the same worker, in nanoseconds.
const SLICE: u64 = 5_000_000;
/// How long what coroutines do is measured after somebody has looked, in nanoseconds.
const WATCHED: u64 = 30_000_000_000;
/// So many nanoseconds, less than a tick, have one look at a thread that was interrupted. Interrupts that are not for it may come much
/// faster.
const LOOK: u64 = 1_000_000;
/// Of a worker: it runs nothing.
const NOTHING: u8 = 32;
/// What the kernel's part costs beside the two pages.
const BYTES: usize = 2 << 10;

struct State {
    book: Book,
    threads: [Option<Arc<Thread>>; MAX_PLACES],
    away: Away,
    /// Until when somebody wants to know what the coroutines do (ns since boot); 0: nobody does.
    watched: u64,
    /// Of each slot: how long the poll has lasted that its thread is in.
    lasting: [Lasting; MAX_SLOTS],
}

impl State {
    /// A thread whose slot another was given polls on, at what its worker ran at.
    fn note(&mut self, place: u8, action: Do, hints: &Hints) {
        if self.book.slot_of(place).is_none() && action != Do::Nothing {
            self.book.note_preempted(place, hints.running);
        }
    }
}

/// The slots of a process.
pub struct Slots {
    state: SpinLock<State>,
    pages: Pages,
    _charge: Charge,
}

const _: () = assert!(size_of::<Slots>() <= BYTES);

impl Slots {
    /// An operation on the book; what it shows to the process is in the status page before anybody acts on it.
    fn with<T>(&self, operation: impl FnOnce(&mut State) -> (T, Do)) -> (T, Do) {
        let mut state = self.state.lock();
        let done = operation(&mut state);
        self.pages.show(&state.book);
        done
    }

    /// Somebody wants to know what the coroutines do: from now on, for a while, their polls are measured.
    pub(crate) fn watch(&self) {
        let mut state = self.state.lock();
        state.watched = hal::time::now().saturating_add(WATCHED);
        self.pages.show_watched(true);
    }

    /// Where a list of chunks begins, as the process says (see [`crate::census`]).
    pub(crate) fn list(&self, space: &AddressSpace, list: usize) -> Option<u64> {
        self.pages.list(space, list)
    }

    /// The thread in a place.
    fn thread(&self, place: u8) -> Option<Arc<Thread>> {
        self.state.lock().threads.get(usize::from(place))?.clone()
    }

    /// Does for others what an operation asked for. `priority` is what is to run, as the process says.
    fn carry_out(&self, action: Do, priority: u8) {
        let (place, given) = match action {
            Do::Nothing => return,
            Do::Give(place, slot) => (place, Some(slot)),
            Do::Interrupt(place) => (place, None),
        };
        let (thread, spares) = {
            let state = self.state.lock();
            (state.threads.get(usize::from(place)).cloned().flatten(), state.book.spares())
        };
        let Some(thread) = thread else { return };
        if let Some(slot) = given {
            // The last spare stands as high as it may until it takes something: first it starts another, which what is urgent may need
            // meanwhile.
            self.stand_at(&thread, &thread.space(), slot, if spares == 0 { NOTHING } else { priority });
            thread.wake();
        } else {
            // So that it comes to look, however little urgent what it runs is.
            raise(&thread, priority);
            thread.notify();
        }
    }

    /// The thread that has a slot stands at what the process says of its worker. Who has something more urgent for the worker
    /// while that runs nothing, and who raises what it runs, sees what its thread stands at, and calls; or was faster, and it is seen here.
    fn stand_at(&self, thread: &Thread, space: &AddressSpace, slot: u8, priority: u8) {
        let most = thread.priority();
        let stand = |priority: u8| {
            let priority = if priority < 32 { priority.max(most) } else { most };
            thread.run_at(exec::Priority::new(priority));
            self.pages.show_standing(slot, priority, priority > most);
            priority
        };
        let low = stand(priority);
        if low <= most {
            return;
        }
        // Pairs with the fences in `sched`'s `call_for` and `follow`: the word before the look at what is ready, and runs. A call that has
        // raised the thread just before this made it less urgent is made good here, too.
        fence(SeqCst);
        let now = self.pages.hints(space, slot).most();
        if now < low {
            stand(now);
        }
    }

    /// A line for each slot: the place that has it (0: none), whether it is kicked, and what the process says of its worker: the
    /// priorities that are ready, in hexadecimal, and the one that it runs at (32: none).
    pub(crate) fn lines(&self, space: &AddressSpace) -> String {
        let mut text = String::new();
        let count = self.state.lock().book.slots();
        for slot in 0..count {
            let (owner, kicked) = self.state.lock().book.shown(slot);
            let Hints { ready, running, .. } = self.pages.hints(space, slot as u8);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "slot {slot} {owner} {} {ready:x} {running}", u8::from(kicked));
        }
        text
    }

    /// This thread may be what others stood in for that have their slots and something to run.
    fn relieve(&self, thread: &Thread) {
        for _ in 0..MAX_SLOTS {
            let ((), action) = self.with(|state| ((), state.book.relieve()));
            if action == Do::Nothing {
                return;
            }
            self.carry_out(action, thread.priority());
        }
    }

    /// How often a slot was given to a thread that had none, and polls that its threads have begun, as the process says.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let begun = (0..MAX_PLACES as u8).map(|place| u64::from(self.pages.count(place).div_ceil(2))).sum();
        (self.state.lock().book.moves(), begun)
    }
}

/// The thread's coroutine runs at what the process says, but never more urgently than the thread may. 32: it says nothing.
fn run_at(thread: &Thread, priority: u8) {
    let ceiling = thread.priority();
    thread.run_at(exec::Priority::new(if priority < 32 { priority.max(ceiling) } else { ceiling }));
}

/// The same, but not less urgently than now.
fn raise(thread: &Thread, priority: u8) {
    if priority < stands_at(thread) {
        run_at(thread, priority);
    }
}

/// What the thread's coroutine runs at.
fn stands_at(thread: &Thread) -> u8 {
    thread.task().map_or(0, |task| task.own_priority().number())
}

/// The slots that a thread takes part in, and its place.
fn of(thread: &Thread) -> Option<(Arc<Slots>, u8)> {
    Some((thread.process().slots()?, thread.place()?))
}

/// `sched_setup(slots)`: gives the process slots, at most as many as harts that the caller may run on; answers how many. Nobody has
/// them yet.
///
/// # Errors
/// `EINVAL`, `EBUSY` (it has some, or its pages are another process's), `ENOMEM`.
pub async fn setup(thread: &Thread, slots: usize) -> Result<usize, Errno> {
    if slots == 0 {
        return Err(Errno::EINVAL);
    }
    let (process, space) = (thread.process(), thread.space());
    // The pages of a space are those of the process that it was made for.
    if process.slots().is_some() || process.is_guest.load(Relaxed) {
        return Err(Errno::EBUSY);
    }
    let charge = process.account().charge(BYTES)?;
    let status = space.window_page(window::STATUS).await?;
    let hint = space.window_page(window::HINT).await?;
    let count = slots.min(thread.harts().count()).min(MAX_SLOTS);
    let threads = [const { None }; MAX_PLACES];
    let (book, away) = (Book::new(count as u8), Away::new());
    let state = State { book, threads, away, watched: 0, lasting: [Lasting::default(); MAX_SLOTS] };
    let made = Slots { state: SpinLock::new(rank::THREAD, state), pages: Pages { status, hint }, _charge: charge };
    // The status page says nobody already. It is not written before these are the process's slots: another thread may have
    // been faster, and has one of its own by now.
    process.set_slots(Arc::new(made)).map(|()| count)
}

/// `sched_wait(place, stands_in)`: waits until the thread has a slot and there is something to run; answers its number. With
/// `stands_in` what there is to run is not worth a thread while few are left.
///
/// # Errors
/// `EINVAL` (the process has no slots, or the place is another thread's); `EINTR`.
pub async fn wait(thread: &Arc<Thread>, place: usize, stands_in: bool) -> Result<usize, Errno> {
    let slots = thread.process().slots().ok_or(Errno::EINVAL)?;
    let place = enter(thread, &slots, place)?;
    slots.is_back(place);
    let (begun, action) =
        slots.with(|state| match if stands_in { state.book.stand_in(place) } else { state.book.wait(place) } {
            Wait::Waits(action) => (None, action),
            Wait::Slot(slot) => (Some(slot), Do::Nothing),
        });
    slots.carry_out(action, thread.priority());
    slots.relieve(thread);
    if let Some(slot) = begun {
        // Not at what it has polled last: it looks for what is to run now.
        slots.stand_at(thread, &thread.space(), slot, NOTHING);
        return Ok(usize::from(slot));
    }
    let waited = poll_fn(|_| slots.state.lock().book.waited(place).map_or(Poll::Pending, Poll::Ready));
    match thread.interruptible(waited).await {
        Ok(slot) => Ok(usize::from(slot)),
        Err(Interrupted) => {
            // It may have been given a slot at the same time.
            let given = slots.with(|state| (state.book.give_up(place), Do::Nothing)).0;
            given.map(usize::from).ok_or(Errno::EINTR)
        }
    }
}

/// The thread's place, which it takes with its first wait.
fn enter(thread: &Arc<Thread>, slots: &Slots, place: usize) -> Result<u8, Errno> {
    let place = u8::try_from(place).map_err(|_| Errno::EINVAL)?;
    if let Some(own) = thread.place() {
        return if own == place { Ok(place) } else { Err(Errno::EINVAL) };
    }
    let (entered, _) = slots.with(|state| {
        let entered = state.book.enter(place);
        if entered {
            state.threads[usize::from(place)] = Some(thread.clone());
        }
        (entered, Do::Nothing)
    });
    if !entered {
        return Err(Errno::EINVAL);
    }
    thread.set_place(Some(place));
    Ok(place)
}

/// `sched_kick(slot, priority)`: there is something of this priority for the worker of a slot, and it is idle or runs something
/// less urgent.
///
/// # Errors
/// `EINVAL` (the process has no slots).
pub fn kick(thread: &Arc<Thread>, slot: usize, priority: usize) -> Result<usize, Errno> {
    let slots = thread.process().slots().ok_or(Errno::EINVAL)?;
    let slot = u8::try_from(slot).unwrap_or(u8::MAX);
    let own = thread.place().filter(|place| !slots.pages.polls(*place));
    if own.is_some_and(|place| slots.state.lock().book.slot_of(place) == Some(slot)) {
        // It asks for itself, in the scheduler.
        let space = thread.space();
        let running = slots.pages.hints(&space, slot).running;
        slots.stand_at(thread, &space, slot, running);
        if running < 32 {
            // What it runs next is less urgent than it stood at, and that is all.
            return Ok(0);
        }
    }
    let ((), action) = slots.with(|state| ((), state.book.kick(slot)));
    if matches!(action, Do::Interrupt(place) if thread.place() == Some(place)) {
        // It is in the kernel already, and looks on its way out.
        thread.attention.raise();
    } else {
        slots.carry_out(action, priority.min(31) as u8);
    }
    Ok(0)
}

/// The thread waits for something: its slot goes to another. Not if it waits for a slot: one that it has just been given by another hart
/// would be lost, whatever its count says.
pub(crate) fn blocks(thread: &Thread) {
    if thread.doing.is_call(SCHED_WAIT) {
        return;
    }
    let Some((slots, place)) = of(thread) else { return };
    let polls = slots.pages.polls(place);
    let Some(slot) = slots.state.lock().book.slot_of(place).filter(|_| polls) else { return };
    let space = thread.space();
    let hints = slots.pages.hints(&space, slot);
    let ((), action) = slots.with(|state| ((), state.book.blocks(place, polls)));
    slots.carry_out(action, hints.most());
    slots.goes_on(thread, &space, place, hints.polled, hints.running);
}

/// The look that belongs to a moment. Of those of a minute before one is the same: then it is left out, once.
fn look_of(now: u64) -> u16 {
    (now / LOOK) as u16
}

/// The thread has left user mode because of an interrupt, which need not be for it: as [`examine`], if that was not a moment ago. A kick
/// is not missed here: who kicks wants the thread's attention.
pub(crate) fn interrupted(thread: &Thread) -> bool {
    let now = hal::time::now();
    thread.examined() != look_of(now) && examine(thread)
}

/// The thread has left user mode because it was interrupted or asked to: says whether it is to give way to one that has got its
/// slot.
pub(crate) fn examine(thread: &Thread) -> bool {
    let Some((slots, place)) = of(thread) else { return false };
    let (space, count, now) = (thread.space(), slots.pages.count(place), hal::time::now());
    thread.set_examined(look_of(now));
    let slot = slots.state.lock().book.slot_of(place);
    let Some(slot) = slot else {
        slots.looks_away(thread, &space, place, polls(count));
        return false;
    };
    let preemption = slots.pages.preemption(place);
    // Who wants to be preempted for nothing is left alone as if it were in the scheduler: what it is kicked for stays, and it looks at
    // that before its next poll.
    let is_open = polls(count) && preemption <= 1;
    let (hints, action) = slots.with(|state| {
        // Under the lock: who sees a kick sees what it was for.
        let hints = slots.pages.hints(&space, slot);
        let action = state.book.examine(place, is_open, hints.urgent());
        if state.watched != 0 && state.watched < now {
            state.watched = 0;
            slots.pages.show_watched(false);
        }
        let lasted = state.lasting[usize::from(slot) % MAX_SLOTS].look(place, count, now);
        if action == Do::Nothing && preemption == 0 && hints.equal() && lasted >= SLICE {
            let action = state.book.preempt(place, polls(count));
            state.note(place, action, &hints);
            return (hints, action);
        }
        state.note(place, action, &hints);
        (hints, action)
    });
    let gives_way = matches!(action, Do::Give(..));
    if gives_way {
        slots.goes_on(thread, &space, place, hints.polled, hints.running);
    } else {
        // In the scheduler, and where it keeps its slot in a poll, it may hold a lock that others of the process wait for: it is not put
        // behind them there.
        let least = if polls(count) || hints.running == NOTHING { NOTHING } else { stands_at(thread) };
        slots.stand_at(thread, &space, slot, hints.running.min(least));
    }
    // Another owner looks at hints of its own.
    let priority = if gives_way { hints.ready.trailing_zeros() as u8 } else { thread.priority() };
    slots.carry_out(action, priority);
    gives_way
}

/// The thread ends, or the program.
pub(crate) fn leave(thread: &Thread) {
    let Some((slots, place)) = of(thread) else { return };
    thread.set_place(None);
    slots.is_back(place);
    let (gone, action) = slots.with(|state| {
        let gone = state.threads.get_mut(usize::from(place)).and_then(Option::take);
        (gone, state.book.leave(place))
    });
    drop(gone); // not under the lock
    slots.carry_out(action, thread.priority());
}

/// The process has no slots any more; its only thread calls.
pub(crate) fn end(thread: &Thread, process: &Process) {
    leave(thread);
    drop(process.take_slots());
}
