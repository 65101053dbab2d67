//! One worker's run queue: an inbox that any context can push to, and the lists that the worker takes from.
//!
//! * **Inbox.** A stack of tasks linked through their headers; pushing is one compare-and-exchange, from
//!   any context, interrupt handlers included. Whoever holds the lock takes the whole stack at once,
//!   reverses it and appends it to the lists: order of arrival is kept. Pushers never remove, so the
//!   exchange cannot be fooled by a reused address.
//! * **Lists.** See `lists`. They are touched under a try-lock. The owner waits for a thief only for a bounded time and then
//!   answers as if the queue were empty, with the ready bits still set: a worker that looks at them
//!   before it parks comes back. So nothing here can deadlock, whoever interrupts whom.
//! * **Ready bits.** One atomic that anybody may read: which columns have tasks. A pusher sets its bit *after* the
//!   push; the lock holder clears a bit when the column is empty and then looks at the inbox again. Either its
//!   clearing comes after the pusher's setting, then it sees the push; or before, then the bit stays set.
//!   - A bit can be set without a task (the task was taken before its pusher came to set the bit): the next
//!     holder clears it.
//!   - A bit can be clear for a moment while its task is in the inbox, so who looks at the bits alone before parking may miss that.
//!     So who let go of the lock and sees bits set calls whom they concern (see `pool`); but not if it has
//!     cleared none, as [`RunQueue::rotate`].
//!   - But both are never empty beside such a task: who clears a bit and finds post puts the bit back before it takes that. So who
//!     looks at the inbox, and then at the bits, misses nothing ([`RunQueue::is_bare`], [`RunQueue::has_pinned`]).
//! * **A task's priority can change while it is queued.** It goes into the lists by what it is when it leaves the inbox, and
//!   [`relocate`](RunQueue::relocate) moves it within the lists.

use core::ptr::{self, NonNull};

use sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use sync::cell::UnsafeCell;
use sync::raw::RawSpin;

use crate::Priority;
use crate::columns::{PINNED, Turn, bit_of, fold};
use crate::interface::Header;
use crate::lists::Lists;

#[cfg(all(test, loom))]
mod loom_tests;
mod take;

/// How often the lock is looked at before giving up.
const PATIENCE: usize = if cfg!(loom) { 1 } else { 200 };

/// One worker's queue. `repr(C)`: as `Worker`; and the kernel reads the ready bits as a hint (see `slots`).
#[repr(C)]
pub(crate) struct RunQueue {
    inbox: AtomicPtr<Header>,
    pub(crate) ready: AtomicU64,
    lock: RawSpin,
    /// Ticks that the lists have not been told of yet.
    ticks: AtomicU16,
    lists: UnsafeCell<Lists>,
    /// What fair tasks of each priority are not ranked below (see `policy::fair`).
    floors: [AtomicU64; Priority::COUNT],
}

/// A queue's lists, under its lock.
struct Locked<'q> {
    lock: &'q RawSpin,
    lists: &'q mut Lists,
}

impl Drop for Locked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: taken by who made this; the lists are no longer touched.
        unsafe { self.lock.unlock() };
    }
}

/// A task taken from a queue, and the priority that it runs at.
pub(crate) type Taken = (NonNull<Header>, Priority);

// SAFETY: the lists, the only part that is not atomic, are touched under the lock (S5), and the tasks in
// them may be sent between threads.
unsafe impl Send for RunQueue {}
// SAFETY: as above.
unsafe impl Sync for RunQueue {}

impl RunQueue {
    /// The empty queue of the worker with this number.
    pub(crate) fn new(number: u8) -> Self {
        Self {
            inbox: AtomicPtr::new(ptr::null_mut()),
            ready: AtomicU64::new(0),
            lock: RawSpin::new(),
            ticks: AtomicU16::new(0),
            floors: core::array::from_fn(|_| AtomicU64::new(0)),
            lists: UnsafeCell::new(Lists::new(number)),
        }
    }

    /// What marks the inbox of a pool that is gone: an address no task has.
    fn closed() -> *mut Header {
        ptr::dangling_mut::<u8>().cast()
    }

    /// Hands a task to this queue's worker, which is its home; from any context. `false`: the queue is closed and the
    /// task still the caller's.
    ///
    /// # Safety
    ///
    /// The task is `SCHEDULED` and in no queue; it is the queue's from here on (S2).
    #[inline]
    pub(crate) unsafe fn push(&self, task: NonNull<Header>, slot: u8) -> bool {
        // SAFETY: alive while it is in no queue and scheduled.
        let header = unsafe { task.as_ref() };
        let mut head = self.inbox.load(Ordering::Relaxed);
        loop {
            if head == Self::closed() {
                return false;
            }
            header.link.with_mut(|link| {
                // SAFETY: S2, the link is the pusher's until the exchange succeeds.
                unsafe { (*link).next = head };
            });
            // Release pairs with the Acquire of the swap in `drain`: the link is written.
            match self.inbox.compare_exchange_weak(head, task.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // Release pairs with the Acquire of `settle`'s clearing: who clears this bit sees the push.
        self.ready.fetch_or(bit_of(slot), Ordering::Release);
        true
    }

    /// The most urgent priority that has a task, for any context, without a lock.
    #[inline]
    pub(crate) fn highest_ready(&self) -> Option<Priority> {
        // Relaxed: a hint; where it decides about parking, a fence stands before (see `pool`).
        Priority::highest_in(fold(self.ready.load(Ordering::Relaxed)))
    }

    /// Whether a priority from the bitmap `wanted` has a task. As above, and cheaper.
    #[inline]
    pub(crate) fn has_ready(&self, wanted: u32) -> bool {
        // Relaxed: as above.
        fold(self.ready.load(Ordering::Relaxed)) & wanted != 0
    }

    /// Whether there is something that comes before a turn, or beside it. As above.
    #[inline]
    pub(crate) fn has_before(&self, turn: Turn) -> bool {
        // Relaxed: as above.
        self.ready.load(Ordering::Relaxed) & turn.up_to & !turn.bit != 0
    }

    /// The priorities that have a task another worker may take.
    #[inline]
    pub(crate) fn stealable(&self) -> u32 {
        // Relaxed: as above.
        self.ready.load(Ordering::Relaxed) as u32
    }

    /// The priorities that have a task which is this worker's, or kept among some.
    #[inline]
    pub(crate) fn pinned(&self) -> u32 {
        // Relaxed: as above.
        (self.ready.load(Ordering::Relaxed) >> PINNED) as u32
    }

    /// Whether there is something that belongs to this worker, or is kept among some.
    #[inline]
    pub(crate) fn has_pinned(&self) -> bool {
        self.shows(!0 << PINNED)
    }

    /// Whether nothing waits here at all, for its worker, which parks.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        !self.shows(!0)
    }

    /// Whether the inbox or one of these bits shows something. Whoever has pushed before a fence that is before the caller's is seen.
    #[inline]
    fn shows(&self, bits: u64) -> bool {
        // Acquire pairs with the Release of the swap in `drain`: who finds the inbox emptied sees the bits that were put back before.
        !self.inbox.load(Ordering::Acquire).is_null() || self.ready.load(Ordering::Relaxed) & bits != 0
    }

    /// Whether nothing waits here at all, at a glance.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: as above.
        !self.has_post() && self.ready.load(Ordering::Relaxed) == 0
    }

    /// Whether something waits that its pusher may not have announced in the ready bits yet.
    #[inline]
    pub(crate) fn has_post(&self) -> bool {
        // Relaxed: as above.
        !self.inbox.load(Ordering::Relaxed).is_null()
    }

    /// The lists, for who has the lock. It is given up when they are dropped.
    ///
    /// # Safety
    ///
    /// The caller has just taken the lock.
    #[inline(always)]
    unsafe fn locked(&self) -> Locked<'_> {
        // SAFETY: S5, under the lock; there is no other reference.
        let lists = self.lists.with_mut(|lists| unsafe { &mut *lists });
        Locked { lock: &self.lock, lists }
    }

    /// Puts a task that goes on at the end of its list, and takes the first of that list, under one lock: for a worker that
    /// has published that it runs at the priority of the turn, and does so again. `None`: it is some other case, and nothing
    /// was changed. Does not wait for the lock.
    ///
    /// Neither a fence nor a call to anyone is needed. What is published stays, so who has pushed something more urgent
    /// meanwhile has called. The column's bit stays set from before to after, so nobody has missed the tasks in it. A bit without
    /// a task stays as well, for the next holder.
    ///
    /// # Safety
    ///
    /// `again` is `SCHEDULED`, in no queue, the caller's, and its home is this worker; it is the queue's if the answer is
    /// something. Who is interrupted here does not depend on it that the lock is free.
    #[inline(always)]
    pub(crate) unsafe fn rotate(&self, again: NonNull<Header>, turn: Turn) -> Option<NonNull<Header>> {
        // SAFETY: alive, by contract.
        if unsafe { again.as_ref() }.standing.place().key() != turn.key || !self.lock.try_lock() {
            return None;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if self.has_post() || !lists.is_turn_of(turn) {
            return self.has_nothing(lists.bits).then_some(again);
        }
        // SAFETY: the task is the queue's from here on.
        Some(unsafe { lists.rotate(again, turn) })
    }

    /// See `policy::fair`.
    #[inline]
    pub(crate) fn floor(&self, priority: Priority) -> u64 {
        // Relaxed, here and below: a number on its own, which the holder of the lock or the worker raises.
        self.floors[priority.index()].load(Ordering::Relaxed)
    }

    /// Raises that to what somebody has used who is served.
    #[inline]
    pub(crate) fn raise_floor(&self, priority: Priority, used: u64) {
        if used > self.floor(priority) {
            self.floors[priority.index()].store(used, Ordering::Relaxed);
        }
    }

    /// Whether there is nothing else at all than a task that goes on, which then need not go in only to come out again. The caller
    /// holds the lock; these are the lists' bits.
    #[cold]
    fn has_nothing(&self, bits: u64) -> bool {
        bits == 0 && self.is_empty()
    }

    /// Takes the first task of a list, for a worker as in [`rotate`](Self::rotate), if others are left there. `None`: as there.
    #[inline(always)]
    pub(crate) fn take_turn(&self, turn: Turn) -> Option<NonNull<Header>> {
        if !self.lock.try_lock() {
            return None;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if !lists.is_turn_of(turn) || !self.is_settled(lists) {
            return None;
        }
        // SAFETY: it is its turn.
        unsafe { lists.take_turn(turn.slot) }
    }

    /// Puts a task at the end of its list without the inbox, if nothing has come there before it. `false`: the task is
    /// still the caller's, to be pushed. Does not wait for the lock.
    ///
    /// # Safety
    ///
    /// As [`rotate`](Self::rotate), but the task is the queue's if the answer is `true`.
    #[inline]
    pub(crate) unsafe fn append(&self, task: NonNull<Header>) -> bool {
        if self.has_post() || !self.lock.try_lock() {
            return false;
        }
        // SAFETY: alive while it is in no queue and scheduled.
        let slot = unsafe { task.as_ref() }.standing.slot();
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        let before = lists.bits;
        // SAFETY: the task is the queue's from here on.
        unsafe { lists.append(task, slot) };
        if lists.bits != before {
            // Relaxed: a hint for who looks; the task itself is under the lock.
            self.ready.fetch_or(bit_of(slot), Ordering::Relaxed);
        }
        true
    }

    /// Moves a task whose priority has changed to where it belongs, if it is here; `false` if it is not.
    ///
    /// # Safety
    ///
    /// The caller holds a reference, and this is the queue of the task's home. It has not interrupted who has the lock.
    pub(crate) unsafe fn relocate(&self, task: NonNull<Header>) -> bool {
        // SAFETY: by contract; what was taken out goes in again.
        unsafe { self.take_out(task, |lists| lists.append(task, task.as_ref().standing.slot())) }
    }

    /// Takes a task out, wherever it is, if it is here: then it is the caller's, in no queue.
    ///
    /// # Safety
    ///
    /// As [`relocate`](Self::relocate).
    pub(crate) unsafe fn withdraw(&self, task: NonNull<Header>) -> bool {
        // SAFETY: by contract.
        unsafe { self.take_out(task, |_| ()) }
    }

    /// Takes a task out, if it is here, and does this to the lists then.
    ///
    /// # Safety
    ///
    /// As [`relocate`](Self::relocate).
    unsafe fn take_out(&self, task: NonNull<Header>, then: impl FnOnce(&mut Lists)) -> bool {
        self.lock.lock();
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if self.is_closed() {
            return false;
        }
        self.drain(lists);
        // SAFETY: alive, by contract.
        let slot = lists.slot_of(unsafe { task.as_ref() });
        if let Some(slot) = slot {
            // SAFETY: S2, it is in these lists.
            unsafe { lists.remove(task, slot) };
            then(lists);
        }
        self.settle(lists);
        slot.is_some()
    }

    /// A tick has passed, while something of the priority `running` ran, if anything did; whether something was aged. Does not
    /// wait for the lock: the lists are told the next time then.
    pub(crate) fn tick(&self, running: Option<Priority>) -> bool {
        // Relaxed, here and below: a number on its own.
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if !self.lock.try_lock() {
            return false;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if self.is_closed() {
            return false;
        }
        let ticks = self.ticks.swap(0, Ordering::Relaxed);
        self.drain(lists);
        let has_aged = lists.age(ticks, running);
        self.settle(lists);
        has_aged
    }

    /// Moves what is in the inbox to the lists. The caller holds the lock.
    fn drain(&self, lists: &mut Lists) {
        if !self.has_post() {
            return;
        }
        // Acquire pairs with the Release of the exchange in `push`, Release with the Acquire in `shows`.
        let stack = self.inbox.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: S2, what was in the inbox belongs to the queue.
        unsafe { lists.append_stack(stack) };
    }

    /// Brings the ready bits in line with the lists. The caller holds the lock.
    fn settle(&self, lists: &mut Lists) {
        loop {
            let ready = self.ready.load(Ordering::Relaxed);
            let missing = lists.bits & !ready;
            if missing != 0 {
                // Relaxed: a hint for who looks; the tasks themselves are under the lock.
                self.ready.fetch_or(missing, Ordering::Relaxed);
            }
            let stale = ready & !lists.bits;
            if stale == 0 {
                return;
            }
            // Acquire pairs with the Release in `push`: if a bit cleared here had been set, its push is
            // visible to the look at the inbox below.
            self.ready.fetch_and(!stale, Ordering::Acquire);
            if !self.has_post() {
                return;
            }
            // Until what came is in the lists. Relaxed: `drain` releases it.
            self.ready.fetch_or(stale, Ordering::Relaxed);
            self.drain(lists);
        }
    }

    /// Takes a task out of the queue, whatever it is, and closes the queue when there is none. For the drop
    /// of the pool; not to be called on a closed queue.
    pub(crate) fn close(&self) -> Option<NonNull<Header>> {
        self.lock.lock();
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        self.drain(lists);
        let taken = Priority::highest_in(fold(lists.bits)).and_then(|priority| lists.take(priority));
        if taken.is_none() {
            // Relaxed: fails only if something was pushed; then the caller's next turn takes it.
            let _ = self.inbox.compare_exchange(ptr::null_mut(), Self::closed(), Ordering::Relaxed, Ordering::Relaxed);
        }
        taken
    }

    /// Whether [`close`](Self::close) has come to its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.load(Ordering::Relaxed) == Self::closed()
    }
}
