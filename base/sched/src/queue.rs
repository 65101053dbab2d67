//! One worker's run queue: an inbox that any context can push to, and 32 priorities of FIFO lists.
//!
//! * **Inbox.** A stack of tasks linked through their headers; pushing is one compare-and-exchange, from
//!   any context, interrupt handlers included. Whoever holds the lock takes the whole stack at once,
//!   reverses it and appends it to the lists: order of arrival is kept. Pushers never remove, so the
//!   exchange cannot be fooled by a reused address.
//! * **Lists.** 64, one for each *slot*: slots 0 to 31 are the priorities of tasks that may be stolen, 32 to 63 those
//!   of tasks that may not, so that a thief finds what it may take without a search. A running number given on
//!   arrival keeps order between the two.
//!   They are touched under a try-lock. The owner waits for a thief only for a bounded time and then
//!   answers as if the queue were empty, with the ready bits still set: a worker that looks at them
//!   before it parks comes back. So nothing here can deadlock, whoever interrupts whom.
//! * **Ready bits.** One atomic that anybody may read: which slots have tasks. A pusher sets its bit *after* the
//!   push; the lock holder clears a bit when the list is empty and then looks at the inbox again. Either its
//!   clearing comes after the pusher's setting, then it sees the push; or before, then the bit stays set.
//!   - A bit can be set without a task (the task was taken before its pusher came to set the bit): the next
//!     holder clears it.
//!   - A bit can be clear for a moment while the holder has its task, and somebody who looks before parking may
//!     miss that. So who let go of the lock and sees bits set calls whom they concern (see `pool`).

use core::ptr::{self, NonNull};

use sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use sync::cell::UnsafeCell;
use sync::raw::RawSpin;

use crate::Priority;
use crate::interface::Header;

/// How often the lock is looked at before giving up.
const PATIENCE: usize = if cfg!(loom) { 1 } else { 200 };

/// A task's place in a queue.
pub(crate) struct Link {
    next: *mut Header,
    /// When it arrived in the lists.
    arrival: u64,
    /// The slot it was queued in; the header's priority may have changed since.
    slot: u8,
}

/// How many slots there are.
const SLOTS: usize = 2 * Priority::COUNT;

/// What tells the slot of a pinned task from that of another of the same priority.
const PINNED: u8 = Priority::COUNT as u8;

impl Link {
    pub(crate) fn new() -> Self {
        Self { next: ptr::null_mut(), arrival: 0, slot: 0 }
    }
}

/// The tasks of one slot, oldest first.
#[derive(Clone, Copy)]
struct List {
    head: *mut Header,
    tail: *mut Header,
}

const EMPTY: List = List { head: ptr::null_mut(), tail: ptr::null_mut() };

/// The lists of one queue and what they hold.
struct Lists {
    /// Bits as in `RunQueue::ready`.
    bits: u64,
    arrivals: u64,
    slots: [List; SLOTS],
}

/// One worker's queue.
pub(crate) struct RunQueue {
    inbox: AtomicPtr<Header>,
    ready: AtomicU64,
    lock: RawSpin,
    lists: UnsafeCell<Lists>,
}

// SAFETY: the lists, the only part that is not atomic, are touched under the lock (S5), and the tasks in
// them may be sent between threads.
unsafe impl Send for RunQueue {}
// SAFETY: as above.
unsafe impl Sync for RunQueue {}

/// Both halves of the ready bits.
const fn fold(ready: u64) -> u32 {
    (ready | ready >> 32) as u32
}

/// The bit of a slot.
const fn bit_of(slot: u8) -> u64 {
    1 << (slot & (SLOTS as u8 - 1))
}

/// The priority of a slot.
pub(crate) const fn priority_of(slot: u8) -> Priority {
    Priority::from_number(slot)
}

/// The slot for tasks of this priority.
#[inline]
pub(crate) fn slot_for(priority: Priority, pinned: bool) -> u8 {
    priority.number() | if pinned { PINNED } else { 0 }
}

/// Whether a slot is for tasks that never leave their worker.
#[inline]
pub(crate) fn is_pinned(slot: u8) -> bool {
    slot & PINNED != 0
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        Self {
            inbox: AtomicPtr::new(ptr::null_mut()),
            ready: AtomicU64::new(0),
            lock: RawSpin::new(),
            lists: UnsafeCell::new(Lists { bits: 0, arrivals: 0, slots: [EMPTY; SLOTS] }),
        }
    }

    /// What marks the inbox of a pool that is gone: an address no task has.
    fn closed() -> *mut Header {
        ptr::dangling_mut::<u8>().cast()
    }

    /// Hands a task to this queue's worker; from any context. `false`: the queue is closed and the task
    /// still the caller's.
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
                unsafe {
                    (*link).next = head;
                    (*link).slot = slot;
                }
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

    /// The priorities that have a task another worker may take.
    #[inline]
    pub(crate) fn stealable(&self) -> u32 {
        // Relaxed: as above.
        self.ready.load(Ordering::Relaxed) as u32
    }

    /// Whether nothing waits here at all.
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

    /// Takes the oldest task of the most urgent priority, if that is below `limit`.
    ///
    /// `publish(p)` is called with what is about to be taken (or none) and must publish it and fence;
    /// afterwards the inbox is looked at once more, so that a task pushed meanwhile is either seen here
    /// or its pusher sees what was published.
    #[inline]
    pub(crate) fn pop(&self, limit: usize, publish: &impl Fn(Option<Priority>)) -> Option<NonNull<Header>> {
        if !self.lock.lock_within(PATIENCE) {
            return None;
        }
        let taken = self.lists.with_mut(|lists| {
            // SAFETY: S5, under the lock.
            let lists = unsafe { &mut *lists };
            if lists.bits == 0 {
                self.take_single(lists, limit, publish).or_else(|| self.take_sorted(lists, limit, publish))
            } else {
                self.take_head(lists, limit, publish).or_else(|| self.take_sorted(lists, limit, publish))
            }
        });
        // SAFETY: taken above; the lists are no longer touched.
        unsafe { self.lock.unlock() };
        taken
    }

    /// The common case: the lists are empty and one task has come. It is handed on without entering them.
    /// `None`: it is some other case, and nothing is lost. The caller holds the lock.
    #[inline]
    fn take_single(
        &self,
        lists: &mut Lists,
        limit: usize,
        publish: &impl Fn(Option<Priority>),
    ) -> Option<NonNull<Header>> {
        // Acquire pairs with the Release of the exchange in `push`.
        let task = NonNull::new(self.inbox.swap(ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: S2, what was in the inbox belongs to the queue and is alive.
        let (next, slot) = unsafe { task.as_ref() }.link.with(|link| unsafe { ((*link).next, (*link).slot) });
        if next.is_null() && priority_of(slot).index() < limit {
            publish(Some(priority_of(slot)));
            // Acquire: as in `settle`; one look at the inbox serves both the publication and the clearing.
            self.ready.swap(0, Ordering::Acquire);
            if !self.has_post() {
                return Some(task);
            }
        }
        lists.append_stack(task.as_ptr());
        None
    }

    /// The other common case: nothing has come since the lists were last looked at. `None` as above.
    #[inline]
    fn take_head(
        &self,
        lists: &mut Lists,
        limit: usize,
        publish: &impl Fn(Option<Priority>),
    ) -> Option<NonNull<Header>> {
        // Relaxed: a bit without a task is cleared in the general case only.
        if self.has_post() || self.ready.load(Ordering::Relaxed) != lists.bits {
            return None;
        }
        let best = Priority::highest_in(fold(lists.bits)).filter(|p| p.index() < limit)?;
        publish(Some(best));
        if self.has_post() {
            return None;
        }
        let before = lists.bits;
        let taken = lists.take_either(best);
        if lists.bits != before {
            self.settle(lists);
        }
        taken
    }

    /// Puts a task at the end of its list without the inbox, if nothing has come there before it. `false`: the task is
    /// still the caller's, to be pushed. Does not wait for the lock.
    ///
    /// # Safety
    ///
    /// As [`push`](Self::push); and who is interrupted here does not depend on it that the lock is free.
    #[inline]
    pub(crate) unsafe fn append(&self, task: NonNull<Header>) -> bool {
        if self.has_post() || !self.lock.try_lock() {
            return false;
        }
        // SAFETY: alive while it is in no queue and scheduled.
        let slot = unsafe { task.as_ref() }.slot();
        let is_news = self.lists.with_mut(|lists| {
            // SAFETY: S5, under the lock.
            let lists = unsafe { &mut *lists };
            let before = lists.bits;
            lists.append(task, slot);
            lists.bits != before
        });
        if is_news {
            // Relaxed: a hint for who looks; the task itself is under the lock.
            self.ready.fetch_or(bit_of(slot), Ordering::Relaxed);
        }
        // SAFETY: taken above; the lists are no longer touched.
        unsafe { self.lock.unlock() };
        true
    }

    /// The general case of [`pop`](Self::pop). The caller holds the lock.
    #[inline(never)]
    fn take_sorted(
        &self,
        lists: &mut Lists,
        limit: usize,
        publish: &impl Fn(Option<Priority>),
    ) -> Option<NonNull<Header>> {
        let best = loop {
            self.drain(lists);
            let best = Priority::highest_in(fold(lists.bits)).filter(|p| p.index() < limit);
            publish(best);
            if !self.has_post() {
                break best;
            }
        };
        let taken = best.and_then(|priority| lists.take_either(priority));
        self.settle(lists);
        taken
    }

    /// Takes a task on behalf of another worker: the oldest stealable one of the most urgent priority.
    /// Does not wait for the lock.
    pub(crate) fn steal(&self) -> Option<(NonNull<Header>, Priority)> {
        if !self.lock.try_lock() {
            return None;
        }
        let taken = self.lists.with_mut(|lists| {
            // SAFETY: S5, under the lock.
            let lists = unsafe { &mut *lists };
            self.drain(lists);
            let best = Priority::highest_in(lists.bits as u32);
            let taken = best.and_then(|priority| lists.take(priority.number()).map(|task| (task, priority)));
            self.settle(lists);
            taken
        });
        // SAFETY: taken above; the lists are no longer touched.
        unsafe { self.lock.unlock() };
        taken
    }

    /// Moves what is in the inbox to the lists. The caller holds the lock.
    fn drain(&self, lists: &mut Lists) {
        if !self.has_post() {
            return;
        }
        // Acquire pairs with the Release of the exchange in `push`.
        lists.append_stack(self.inbox.swap(ptr::null_mut(), Ordering::Acquire));
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
            self.drain(lists);
        }
    }

    /// Takes a task out of the queue, whatever it is, and closes the queue when there is none. For the drop
    /// of the pool; not to be called on a closed queue.
    pub(crate) fn close(&self) -> Option<NonNull<Header>> {
        self.lock.lock();
        let taken = self.lists.with_mut(|lists| {
            // SAFETY: S5, under the lock.
            let lists = unsafe { &mut *lists };
            self.drain(lists);
            let taken = Priority::highest_in(fold(lists.bits)).and_then(|priority| lists.take_either(priority));
            if taken.is_none() {
                // Relaxed: fails only if something was pushed; then the caller's next turn takes it.
                let _ =
                    self.inbox.compare_exchange(ptr::null_mut(), Self::closed(), Ordering::Relaxed, Ordering::Relaxed);
            }
            taken
        });
        // SAFETY: taken above; the lists are no longer touched.
        unsafe { self.lock.unlock() };
        taken
    }

    /// Whether [`close`](Self::close) has come to its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.load(Ordering::Relaxed) == Self::closed()
    }
}

impl Lists {
    /// Appends what was in the inbox, the task that came first at the bottom.
    fn append_stack(&mut self, mut stack: *mut Header) {
        let mut oldest = ptr::null_mut();
        while let Some(task) = NonNull::new(stack) {
            // SAFETY: S2, everything in the stack belongs to the queue and is alive.
            let link = unsafe { &task.as_ref().link };
            // SAFETY: S2, its link too.
            stack = link.with_mut(|link| unsafe { core::mem::replace(&mut (*link).next, oldest) });
            oldest = task.as_ptr();
        }
        while let Some(task) = NonNull::new(oldest) {
            // SAFETY: S2, as above; `append` overwrites the link after it was read.
            let (next, slot) = unsafe { task.as_ref() }.link.with(|link| unsafe { ((*link).next, (*link).slot) });
            self.append(task, slot);
            oldest = next;
        }
    }

    /// Appends a task to the list of this slot.
    #[inline]
    fn append(&mut self, task: NonNull<Header>, slot: u8) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        // SAFETY: S2, the task belongs to this queue and is alive, and its link too.
        unsafe { task.as_ref() }.link.with_mut(|link| unsafe {
            (*link).next = ptr::null_mut();
            (*link).arrival = arrival;
        });
        self.bits |= bit_of(slot);
        self.slot(slot).append(task);
    }

    fn slot(&mut self, slot: u8) -> &mut List {
        &mut self.slots[usize::from(slot) % SLOTS]
    }

    /// The older of the first tasks in the two slots of this priority.
    #[inline]
    fn take_either(&mut self, priority: Priority) -> Option<NonNull<Header>> {
        let (free, pinned) = (priority.number(), priority.number() | PINNED);
        let both = self.bits & (self.bits >> PINNED) & bit_of(free) != 0;
        let slot = if both {
            self.older(free, pinned)
        } else if self.bits & bit_of(free) != 0 {
            free
        } else {
            pinned
        };
        self.take(slot)
    }

    /// Which of two slots has the older first task.
    #[inline(never)]
    fn older(&mut self, free: u8, pinned: u8) -> u8 {
        if self.slot(pinned).first_arrival() < self.slot(free).first_arrival() { pinned } else { free }
    }

    /// The first task of a slot.
    #[inline]
    fn take(&mut self, slot: u8) -> Option<NonNull<Header>> {
        let list = self.slot(slot);
        let task = list.take_first();
        if list.head.is_null() {
            self.bits &= !bit_of(slot);
        }
        task
    }
}

impl List {
    #[inline]
    fn append(&mut self, task: NonNull<Header>) {
        match NonNull::new(self.tail) {
            None => self.head = task.as_ptr(),
            // SAFETY: S2, the tail belongs to this queue and is alive.
            Some(tail) => unsafe { tail.as_ref() }.link.with_mut(|link| unsafe { (*link).next = task.as_ptr() }),
        }
        self.tail = task.as_ptr();
    }

    fn first_arrival(&self) -> Option<u64> {
        // SAFETY: S2, the head belongs to this queue and is alive.
        NonNull::new(self.head).map(|head| unsafe { head.as_ref() }.link.with(|link| unsafe { (*link).arrival }))
    }

    #[inline]
    fn take_first(&mut self) -> Option<NonNull<Header>> {
        let first = NonNull::new(self.head)?;
        // SAFETY: S2, the head belongs to this queue and is alive.
        self.head = unsafe { first.as_ref() }.link.with(|link| unsafe { (*link).next });
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        Some(first)
    }
}
