//! What one queue holds, by priority: the part that is touched under its lock (S5).
//!
//! There are 64 *columns*: 0 to 31 are the priorities of tasks that may be stolen, 32 to 63 those of tasks that may not, so
//! that a thief finds what it may take without a search. Each column has two groups: a heap of tasks that are *ranked* by
//! a number, and behind these a list of tasks that run *in turn*. A running number given on arrival keeps order between the
//! two columns of a priority. A *slot* names a group of a column: the column, and [`RANKED_SLOT`].
//!
//! **Ageing.** A group that has been ready for [`AGE`] ticks without being served has its first task *aged*: moved to the
//! most urgent priority that is ready or runs, with the smallest rank there is. So it goes ahead of what it was put before
//! and, since it runs at that priority, is not preempted by it. If something still more urgent has come, the group in
//! which it is now ages in turn.

use core::ptr::{self, NonNull};

use sync::atomic::Ordering;

use crate::Priority;
use crate::heap::Heap;
use crate::interface::Header;
use crate::policy::FAIR;

/// A task's place in a queue.
pub(crate) struct Link {
    /// The task pushed before (inbox), the one behind (list), the next sibling (heap).
    pub(crate) next: *mut Header,
    /// The one before (list; of the first one it means nothing), the sibling before or parent (heap).
    pub(crate) prev: *mut Header,
    /// The first child (heap).
    pub(crate) child: *mut Header,
    /// When it arrived in the lists.
    pub(crate) arrival: u64,
    /// Of a ranked task.
    pub(crate) rank: u64,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { next: ptr::null_mut(), prev: ptr::null_mut(), child: ptr::null_mut(), arrival: 0, rank: 0 }
    }

    /// Without neighbours.
    pub(crate) fn cut(&mut self) {
        (self.next, self.prev, self.child) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    }
}

/// Does something with a task's link.
///
/// # Safety
///
/// The task belongs to a queue whose lock the caller holds (S2, S5), or is the caller's and in no queue. `act` does not come
/// here for the same task.
#[inline(always)]
pub(crate) unsafe fn with_link<R>(task: NonNull<Header>, act: impl FnOnce(&mut Link) -> R) -> R {
    // SAFETY: alive and the caller's, by contract.
    unsafe { task.as_ref().link.with_mut(|link| act(&mut *link)) }
}

/// How many columns there are.
const COLUMNS: usize = 2 * Priority::COUNT;
/// What tells the column of a pinned task from that of another of the same priority.
pub(crate) const PINNED: u8 = Priority::COUNT as u8;
/// The slot of a column's heap, not of its list.
pub(crate) const RANKED_SLOT: u8 = COLUMNS as u8;
/// The rank of what is aged; all others are greater.
const AGED: u64 = 0;

/// Ticks that a group waits before its first task is aged.
pub const AGE: u16 = if cfg!(loom) { 2 } else { 40 };

/// `place` of a task that is in lists. Below it the number of the lists' worker, and the slot.
const IN_LISTS: u16 = 1 << 15;
/// Where the worker's number begins in `place`.
const NUMBER: u32 = 7;

/// What `place` of a task in the lists of this worker begins with.
const fn mark_of(number: u8) -> u16 {
    IN_LISTS | (number as u16) << NUMBER
}

/// The bit of a slot's column.
#[inline]
pub(crate) const fn bit_of(slot: u8) -> u64 {
    1 << (slot & (COLUMNS as u8 - 1))
}

/// A slot whose tasks run in turn, one after the other, and what tells that it may go on so.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) slot: u8,
    /// Of a task that is there.
    place: u16,
    pub(crate) bit: u64,
    /// The columns whose priority is that of the slot, or more urgent.
    pub(crate) up_to: u64,
}

impl Turn {
    /// Of the worker with this number.
    pub(crate) const fn of(slot: u8, number: usize) -> Self {
        let priority = priority_of(slot);
        let up_to = (priority.bits_above() | priority.bit()) as u64;
        Self { slot, place: mark_of(number as u8) | slot as u16, bit: bit_of(slot), up_to: up_to | up_to << PINNED }
    }
}

/// Both halves of a set of columns.
#[inline]
pub(crate) const fn fold(columns: u64) -> u32 {
    (columns | columns >> 32) as u32
}

/// The priority of a slot.
#[inline]
pub(crate) const fn priority_of(slot: u8) -> Priority {
    Priority::from_number(slot)
}

/// Whether a slot is for tasks that never leave their worker.
#[inline]
pub(crate) const fn is_pinned(slot: u8) -> bool {
    slot & PINNED != 0
}

/// Whether a slot is for tasks that are ranked.
#[inline]
pub(crate) const fn is_ranked(slot: u8) -> bool {
    slot & RANKED_SLOT != 0
}

/// The tasks of a slot that run in turn, oldest first.
#[derive(Clone, Copy)]
struct List {
    head: *mut Header,
    tail: *mut Header,
}

/// The tasks of a column.
#[derive(Clone, Copy)]
struct Column {
    turn: List,
    ranked: Heap,
    /// The ticks that each group has been ready and not served: in turn, ranked. 0 if it is empty.
    waited: [u16; 2],
}

const EMPTY: Column =
    Column { turn: List { head: ptr::null_mut(), tail: ptr::null_mut() }, ranked: Heap::EMPTY, waited: [0; 2] };

/// The lists of one queue and what they hold. `repr(C)`: as `Worker`.
#[repr(C)]
pub(crate) struct Lists {
    /// Which columns have tasks.
    pub(crate) bits: u64,
    arrivals: u64,
    /// What `place` of a task in these lists begins with.
    mark: u16,
    columns: [Column; COLUMNS],
}

impl Lists {
    /// The empty lists of the worker with this number.
    pub(crate) fn new(number: u8) -> Self {
        Self { bits: 0, arrivals: 0, mark: mark_of(number), columns: [EMPTY; COLUMNS] }
    }

    #[inline]
    fn column(&mut self, slot: u8) -> &mut Column {
        &mut self.columns[usize::from(slot) % COLUMNS]
    }

    /// Appends what was in an inbox, the task that came first at the bottom.
    ///
    /// # Safety
    ///
    /// The stack is the queue's. So too in all that follow: what is handed over is the queue's and in no list.
    pub(crate) unsafe fn append_stack(&mut self, mut stack: *mut Header) {
        let mut oldest = ptr::null_mut();
        while let Some(task) = NonNull::new(stack) {
            // SAFETY: S2, everything in the stack belongs to the queue and is alive.
            stack = unsafe { with_link(task, |link| core::mem::replace(&mut link.next, oldest)) };
            oldest = task.as_ptr();
        }
        while let Some(task) = NonNull::new(oldest) {
            // SAFETY: S2, as above; `append` overwrites the link after it was read.
            unsafe {
                oldest = with_link(task, |link| link.next);
                self.append(task, task.as_ref().standing.slot());
            }
        }
    }

    /// Adds a task that has just arrived to a slot.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack).
    #[inline]
    pub(crate) unsafe fn append(&mut self, task: NonNull<Header>, slot: u8) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        // SAFETY: by contract.
        unsafe {
            self.note(task, slot);
            if is_ranked(slot) {
                return self.rank(task, slot, arrival);
            }
            let list = &mut self.column(slot).turn;
            let last = list.tail;
            with_link(task, |link| (link.next, link.prev, link.arrival) = (ptr::null_mut(), last, arrival));
            match NonNull::new(last) {
                None => list.head = task.as_ptr(),
                // S2: the tail belongs to this queue.
                Some(last) => with_link(last, |link| link.next = task.as_ptr()),
            }
            list.tail = task.as_ptr();
        }
    }

    /// Whether it is a slot's turn: its column is the first that has tasks, the only one of its priority, and has no
    /// ranked ones.
    #[inline(always)]
    pub(crate) fn is_turn_of(&mut self, turn: Turn) -> bool {
        self.bits & turn.up_to == turn.bit && self.column(turn.slot).ranked.first().is_none()
    }

    /// Adds a task that has just arrived to a slot whose turn it is, and takes the first of that.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack); [`is_turn_of`](Self::is_turn_of) holds.
    #[inline(always)]
    pub(crate) unsafe fn rotate(&mut self, task: NonNull<Header>, turn: Turn) -> NonNull<Header> {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let column = self.column(turn.slot);
        // SAFETY: by contract there are tasks in the list; S2, first and last belong to this queue. Relaxed, as in `note`.
        unsafe {
            let first = NonNull::new_unchecked(column.turn.head);
            let last = NonNull::new_unchecked(column.turn.tail);
            with_link(task, |link| (link.next, link.prev, link.arrival) = (ptr::null_mut(), last.as_ptr(), arrival));
            with_link(last, |link| link.next = task.as_ptr());
            column.turn = List { head: with_link(first, |link| link.next), tail: task.as_ptr() };
            column.waited[0] = 0;
            task.as_ref().place.store(turn.place, Ordering::Relaxed);
            first.as_ref().place.store(0, Ordering::Relaxed);
            first
        }
    }

    /// Takes the first task of a slot whose turn it is, unless it is the last one.
    ///
    /// # Safety
    /// As [`rotate`](Self::rotate).
    #[inline(always)]
    pub(crate) unsafe fn take_turn(&mut self, slot: u8) -> Option<NonNull<Header>> {
        let column = self.column(slot);
        // SAFETY: as in `rotate`.
        unsafe {
            let first = NonNull::new_unchecked(column.turn.head);
            column.turn.head = NonNull::new(with_link(first, |link| link.next))?.as_ptr();
            column.waited[0] = 0;
            first.as_ref().place.store(0, Ordering::Relaxed);
            Some(first)
        }
    }

    /// Notes that a task is here.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack).
    #[inline]
    unsafe fn note(&mut self, task: NonNull<Header>, slot: u8) {
        // SAFETY: by contract. Relaxed: decides under the lock only.
        unsafe { task.as_ref() }.place.store(self.mark | u16::from(slot), Ordering::Relaxed);
        self.bits |= bit_of(slot);
    }

    /// # Safety
    /// As [`append_stack`](Self::append_stack).
    #[cold]
    #[inline(never)]
    unsafe fn rank(&mut self, task: NonNull<Header>, slot: u8, arrival: u64) {
        // SAFETY: by contract; S2, what is first belongs to this queue; the pool's policies do what `Policy` says.
        unsafe {
            let header = task.as_ref();
            let first = self.column(slot).ranked.first().map_or(0, |first| with_link(first, |link| link.rank));
            let policy = header.standing.policy();
            let rank = (header.pool().policy(policy).rank)(task, arrival, first).max(AGED + 1);
            with_link(task, |link| (link.rank, link.arrival) = (rank, arrival));
            self.column(slot).ranked.insert(task);
        }
    }

    /// In which slot of these lists a task is, if it is here. The task is alive; nothing else is asked of it.
    pub(crate) fn slot_of(&self, task: &Header) -> Option<u8> {
        const SLOTS: u16 = (1 << NUMBER) - 1;
        // Relaxed: what says that it is here was written under the lock that the caller holds, and so is what takes it back.
        let place = task.place.load(Ordering::Relaxed);
        (place & !SLOTS == self.mark).then_some((place & SLOTS) as u8)
    }

    /// The first task of the priority: ranked before in turn, by rank, by arrival.
    #[inline]
    pub(crate) fn take(&mut self, priority: Priority) -> Option<NonNull<Header>> {
        let (free, pinned) = (priority.number(), priority.number() | PINNED);
        let both = self.bits & (self.bits >> PINNED) & bit_of(free) != 0;
        let column = if both {
            self.earlier(free, pinned)
        } else if self.bits & bit_of(free) != 0 {
            free
        } else {
            pinned
        };
        self.take_column(column)
    }

    /// Which of two columns has the task that comes first.
    #[inline(never)]
    fn earlier(&mut self, free: u8, pinned: u8) -> u8 {
        // SAFETY: S2, what is first in a column belongs to this queue and is alive.
        let order = |column: &Column| unsafe {
            match (column.ranked.first(), NonNull::new(column.turn.head)) {
                (Some(task), _) => with_link(task, |link| (0, link.rank, link.arrival)),
                (None, Some(task)) => with_link(task, |link| (1, 0, link.arrival)),
                (None, None) => (2, 0, 0),
            }
        };
        if order(self.column(pinned)) < order(self.column(free)) { pinned } else { free }
    }

    /// The first task of a column.
    #[inline]
    pub(crate) fn take_column(&mut self, column: u8) -> Option<NonNull<Header>> {
        if self.column(column).ranked.first().is_some() {
            return self.take_ranked(column);
        }
        let list = &mut self.column(column).turn;
        let first = NonNull::new(list.head)?;
        // SAFETY: S2, the head belongs to this queue and is alive.
        list.head = unsafe { with_link(first, |link| link.next) };
        if list.head.is_null() {
            list.tail = ptr::null_mut();
        }
        let rest = list.head;
        self.column(column).waited[0] = 0;
        if rest.is_null() {
            self.bits &= !bit_of(column);
        }
        // SAFETY: as above. Relaxed: decides under the lock only.
        unsafe { first.as_ref() }.place.store(0, Ordering::Relaxed);
        Some(first)
    }

    #[cold]
    #[inline(never)]
    fn take_ranked(&mut self, column: u8) -> Option<NonNull<Header>> {
        // SAFETY: S2, the heap's tasks belong to this queue.
        let first = unsafe { self.column(column).ranked.take_first() }?;
        // SAFETY: as above.
        unsafe { serve(first) };
        self.column(column).waited[1] = 0;
        self.left(first, column);
        Some(first)
    }

    /// A task is no longer in this column.
    fn left(&mut self, task: NonNull<Header>, slot: u8) {
        let column = self.column(slot);
        if column.turn.head.is_null() {
            column.waited[0] = 0;
        }
        if column.ranked.first().is_none() {
            column.waited[1] = 0;
            if column.turn.head.is_null() {
                self.bits &= !bit_of(slot);
            }
        }
        // SAFETY: S2, it was this queue's and is alive. Relaxed: decides under the lock only.
        unsafe { task.as_ref() }.place.store(0, Ordering::Relaxed);
    }

    /// Takes a task out of the slot that it is in.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack); it is in that slot.
    pub(crate) unsafe fn remove(&mut self, task: NonNull<Header>, slot: u8) {
        // SAFETY: by contract; S2, its neighbours are this queue's, too.
        unsafe {
            if is_ranked(slot) {
                self.column(slot).ranked.remove(task);
            } else {
                self.column(slot).turn.remove(task);
            }
        }
        self.left(task, slot);
    }

    /// Lets this many ticks pass while something of the priority `running` runs, if anything does. `true`: something was
    /// put ahead.
    pub(crate) fn age(&mut self, ticks: u16, running: Option<Priority>) -> bool {
        let Some(ready) = Priority::highest_in(fold(self.bits)) else { return false };
        let ahead = running.map_or(ready, |running| running.min(ready));
        let (mut left, mut has_aged) = (self.bits, false);
        while left != 0 {
            let column = left.trailing_zeros() as u8;
            left &= left - 1;
            has_aged |= self.age_group(column | RANKED_SLOT, ticks, ahead);
            has_aged |= self.age_group(column, ticks, ahead);
        }
        has_aged
    }

    fn age_group(&mut self, slot: u8, ticks: u16, ahead: Priority) -> bool {
        let column = self.column(slot);
        let first = if is_ranked(slot) { column.ranked.first() } else { NonNull::new(column.turn.head) };
        let Some(first) = first else { return false };
        let waited = &mut column.waited[usize::from(is_ranked(slot))];
        *waited = waited.saturating_add(ticks);
        if *waited < AGE {
            return false;
        }
        *waited = 0;
        // SAFETY: S2, the first of a group is in these lists, and then the queue's and in none.
        unsafe {
            if is_ranked(slot) {
                // Its group is served by this: if nothing but ageing did that and the floor stayed, whoever comes back would be
                // ranked no further behind each time, and others could wait behind those for ever.
                serve(first);
            }
            self.remove(first, slot);
            self.put_ahead(first, slot, ahead);
        }
        true
    }

    /// Puts a task that was in `slot` before all of this priority but those that were put there earlier.
    ///
    /// # Safety
    /// As [`append_stack`](Self::append_stack).
    unsafe fn put_ahead(&mut self, task: NonNull<Header>, slot: u8, ahead: Priority) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let slot_ahead = ahead.number() | slot & PINNED | RANKED_SLOT;
        // SAFETY: by contract.
        unsafe {
            with_link(task, |link| {
                let was_ahead = is_ranked(slot) && link.rank == AGED;
                if !was_ahead {
                    (link.rank, link.arrival) = (AGED, arrival);
                }
            });
            self.note(task, slot_ahead);
            self.column(slot_ahead).ranked.insert(task);
        }
    }
}

/// What has been taken as the first of its heap raises the floor for those to come, if it is fair.
///
/// # Safety
/// As [`with_link`].
#[inline]
unsafe fn serve(first: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe {
        let header = first.as_ref();
        if header.standing.policy() == FAIR {
            header.home().queue.raise_floor(header.priority(), with_link(first, |link| link.rank));
        }
    }
}

impl List {
    /// Takes out a task, wherever it is.
    ///
    /// # Safety
    /// It is in this list, whose lock the caller holds.
    unsafe fn remove(&mut self, task: NonNull<Header>) {
        // SAFETY: by contract; S2, its neighbours belong to the same list.
        unsafe {
            let (prev, next) = with_link(task, |link| (link.prev, link.next));
            // Of the first one, `prev` means nothing.
            let prev = if self.head == task.as_ptr() { None } else { NonNull::new(prev) };
            match prev {
                None => self.head = next,
                Some(prev) => with_link(prev, |link| link.next = next),
            }
            match NonNull::new(next) {
                None => self.tail = prev.map_or(ptr::null_mut(), NonNull::as_ptr),
                Some(next) => with_link(next, |link| link.prev = prev.map_or(ptr::null_mut(), NonNull::as_ptr)),
            }
        }
    }
}
