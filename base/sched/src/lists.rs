//! What one queue holds, by priority: the part that is touched under its lock (S5).
//!
//! There are 64 *columns*: 0 to 31 are the priorities of tasks that may be stolen, 32 to 63 those of tasks that may not, so
//! that a thief finds what it may take without a search. Each column has two groups: a heap of tasks that are *ranked* by
//! a number, and behind these a list of tasks that run *in turn*. A running number given on arrival keeps order between the
//! two columns of a priority. A *slot* names a group of a column: the column, and whether it is the heap ([`crate::columns`]).
//! What has waited for long goes ahead ([`ageing`]).

use core::iter;
use core::ptr::{self, NonNull};

use sync::atomic::Ordering;

use crate::Priority;
use crate::columns::{COLUMNS, NUMBER, PINNED, RANKED_SLOT, Turn, bit_of, is_ranked, mark_of};
use crate::heap::Heap;
use crate::interface::Header;
use crate::link::{List, with_link};
use crate::policy::FAIR;

mod ageing;

pub use ageing::AGE;
use ageing::AGED;

/// The tasks of a column.
#[derive(Clone, Copy)]
struct Column {
    turn: List,
    ranked: Heap,
    /// The ticks that each group has been ready and not served: in turn, ranked. 0 if it is empty.
    waited: [u16; 2],
}

const EMPTY: Column = Column { turn: List::EMPTY, ranked: Heap::EMPTY, waited: [0; 2] };

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

    /// The first task that may be taken by the worker that this bit stands for, since it is kept among workers of which that is one, and
    /// is of a wanted priority; and its slot. A few of each group are looked at, the first of it before all.
    pub(crate) fn first_kept(&mut self, bit: u8, wanted: u32) -> Option<(NonNull<Header>, u8)> {
        let mut left = self.bits & u64::from(wanted) << PINNED;
        // SAFETY: S2, what is in these lists is this queue's and alive.
        let fits = |task: &NonNull<Header>| unsafe { task.as_ref() }.standing.place().choice() & bit != 0;
        // SAFETY: as above; so is the neighbour.
        let behind = |task: &NonNull<Header>| unsafe { NonNull::new(with_link(*task, |link| link.next)) };
        while left != 0 {
            let column = left.trailing_zeros() as u8;
            left &= left - 1;
            let Column { ranked, turn, .. } = *self.column(column);
            // SAFETY: as above.
            if let Some(found) = unsafe { ranked.find::<KEPT_LOOKS>(fits) } {
                return Some((found, column | RANKED_SLOT));
            }
            if let Some(found) = iter::successors(NonNull::new(turn.head), behind).take(KEPT_LOOKS).find(fits) {
                return Some((found, column));
            }
        }
        None
    }
}

/// Tasks of a group that who looks for a kept one looks at: it holds the queue's lock meanwhile.
const KEPT_LOOKS: usize = 32;

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
