//! How a task is linked to others of its queue, through its header; and the list that is linked so.

use core::ptr::{self, NonNull};

use crate::interface::Header;

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

/// The tasks of a slot that run in turn, oldest first.
#[derive(Clone, Copy)]
pub(crate) struct List {
    pub(crate) head: *mut Header,
    pub(crate) tail: *mut Header,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: ptr::null_mut(), tail: ptr::null_mut() };

    /// Takes out a task, wherever it is.
    ///
    /// # Safety
    /// It is in this list, whose lock the caller holds.
    pub(crate) unsafe fn remove(&mut self, task: NonNull<Header>) {
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
