//! A pairing heap of tasks, linked through their headers: the task with the smallest rank first, equals by arrival.
//!
//! Each node has its first child and is in a doubly linked list of siblings; `prev` of the first of them is the parent. Adding
//! takes constant time, taking the first and leaving from anywhere logarithmic time, on average over many. Nothing
//! here recurses.

use core::ptr::{self, NonNull};

use crate::interface::Header;
use crate::link::{Link, with_link};

/// A heap; its tasks belong to the queue whose lock protects it (S2, S5).
#[derive(Clone, Copy)]
pub(crate) struct Heap {
    root: *mut Header,
}

impl Heap {
    pub(crate) const EMPTY: Self = Self { root: ptr::null_mut() };

    #[inline]
    pub(crate) fn first(&self) -> Option<NonNull<Header>> {
        NonNull::new(self.root)
    }

    /// Adds a task, whose rank and arrival are in its link.
    ///
    /// # Safety
    ///
    /// It is the queue's and in no list; so too in all that follow, of the tasks that they name.
    pub(crate) unsafe fn insert(&mut self, task: NonNull<Header>) {
        // SAFETY: by contract.
        unsafe {
            with_link(task, Link::cut);
            self.root = meld(self.root, task.as_ptr());
        }
    }

    /// A task that fits, among the first and some below it: so many are looked at.
    ///
    /// # Safety
    /// As [`insert`](Self::insert).
    pub(crate) unsafe fn find<const LOOKS: usize>(
        &self,
        fits: impl Fn(&NonNull<Header>) -> bool,
    ) -> Option<NonNull<Header>> {
        // To be looked at, the last first. With each look there is one more at most.
        let (mut left, mut count) = ([self.root; LOOKS], usize::from(!self.root.is_null()));
        for _ in 0..LOOKS {
            count = count.checked_sub(1)?;
            let task = NonNull::new(*left.get(count)?)?;
            if fits(&task) {
                return Some(task);
            }
            // SAFETY: it is a task of this heap, and so are those in its links.
            let (next, child) = unsafe { with_link(task, |link| (link.next, link.child)) };
            for other in [next, child] {
                if !other.is_null()
                    && let Some(place) = left.get_mut(count)
                {
                    *place = other;
                    count += 1;
                }
            }
        }
        None
    }

    /// Takes the first task out.
    ///
    /// # Safety
    /// As [`insert`](Self::insert).
    pub(crate) unsafe fn take_first(&mut self) -> Option<NonNull<Header>> {
        let first = NonNull::new(self.root)?;
        // SAFETY: the root is a task of this heap.
        self.root = unsafe { meld_all(with_link(first, |link| link.child)) };
        Some(first)
    }

    /// Takes a task of this heap out, wherever it is.
    ///
    /// # Safety
    /// As [`insert`](Self::insert); it is in this heap.
    pub(crate) unsafe fn remove(&mut self, task: NonNull<Header>) {
        if self.root == task.as_ptr() {
            // SAFETY: the root is a task of this heap.
            unsafe { self.take_first() };
            return;
        }
        // SAFETY: by contract it is a task of this heap and not the root, so there is one before it; so is each in its links.
        unsafe {
            let (prev, next, child) = with_link(task, |link| (link.prev, link.next, link.child));
            if let Some(prev) = NonNull::new(prev) {
                with_link(prev, |link| {
                    let way = if link.child == task.as_ptr() { &mut link.child } else { &mut link.next };
                    *way = next;
                });
            }
            if let Some(next) = NonNull::new(next) {
                with_link(next, |link| link.prev = prev);
            }
            self.root = meld(self.root, meld_all(child));
        }
    }
}

/// Makes one heap of two; either may be empty.
///
/// # Safety
/// Both are roots of heaps whose tasks belong to one queue, the caller's.
unsafe fn meld(one: *mut Header, other: *mut Header) -> *mut Header {
    let (Some(one), Some(other)) = (NonNull::new(one), NonNull::new(other)) else {
        return if one.is_null() { other } else { one };
    };
    // SAFETY: by contract.
    unsafe {
        let key = |link: &mut Link| (link.rank, link.arrival);
        let is_before = with_link(other, key) < with_link(one, key);
        let (above, below) = if is_before { (other, one) } else { (one, other) };
        let eldest = with_link(above, |link| core::mem::replace(&mut link.child, below.as_ptr()));
        with_link(below, |link| (link.prev, link.next) = (above.as_ptr(), eldest));
        if let Some(eldest) = NonNull::new(eldest) {
            with_link(eldest, |link| link.prev = below.as_ptr());
        }
        with_link(above, |link| (link.prev, link.next) = (ptr::null_mut(), ptr::null_mut()));
        above.as_ptr()
    }
}

/// Makes one heap of a list of siblings: of pairs from the left, and then of these from the right.
///
/// # Safety
/// As [`meld`], of each.
unsafe fn meld_all(mut siblings: *mut Header) -> *mut Header {
    let mut pairs: *mut Header = ptr::null_mut();
    // SAFETY: by contract; each list ends.
    unsafe {
        while let Some(one) = NonNull::new(siblings) {
            let other = with_link(one, |link| core::mem::replace(&mut link.next, ptr::null_mut()));
            siblings = NonNull::new(other).map_or(ptr::null_mut(), |other| {
                with_link(other, |link| core::mem::replace(&mut link.next, ptr::null_mut()))
            });
            let pair = meld(one.as_ptr(), other);
            if let Some(pair) = NonNull::new(pair) {
                with_link(pair, |link| link.next = pairs);
            }
            pairs = pair;
        }
        let mut whole = ptr::null_mut();
        while let Some(pair) = NonNull::new(pairs) {
            pairs = with_link(pair, |link| core::mem::replace(&mut link.next, ptr::null_mut()));
            whole = meld(whole, pair.as_ptr());
        }
        if let Some(root) = NonNull::new(whole) {
            with_link(root, |link| link.prev = ptr::null_mut());
        }
        whole
    }
}
