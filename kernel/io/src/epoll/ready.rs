//! The list of the items that are ready.
//!
//! Wakers push here, also from interrupt handlers: that asks for no memory, and nobody has the lock but for a bounded number of steps. There is room for all items of the set
//! before they can be pushed. For more room the list is exchanged for an empty one; what lay in it lies *before* that, and goes first.
//!
//! An item that leaves the set while it is on the list stays there until somebody meets it. Those are counted, and looked for when they are
//! more than the items of the set.

use super::{ROOM, item::Item};
use abi::errno::Errno;
use alloc::{collections::VecDeque, sync::Arc};
use core::sync::atomic::Ordering;
use hal::sync::{IrqLock, rank};
use mem::Room;

/// Items that are moved with the lock held once.
const PIECE: usize = 32;
/// Items that are met for one that leaves, while too many are to be met.
const MEETINGS: usize = 8;

pub(super) struct Ready(IrqLock<Lists>);

struct Lists {
    list: VecDeque<Arc<Item>>,
    before: VecDeque<Arc<Item>>,
    /// Those that have left and were not met yet.
    gone: usize,
}

impl Lists {
    fn len(&self) -> usize {
        self.before.len() + self.list.len()
    }

    /// Moves some of those before into the list, which has room for all.
    fn bring_forward(&mut self) {
        for _ in 0..PIECE {
            match self.before.pop_back() {
                Some(item) => self.list.push_front(item),
                None => break,
            }
        }
    }

    fn front(&self) -> Option<&Arc<Item>> {
        self.before.front().or_else(|| self.list.front())
    }

    /// Relaxed, all accesses to whether an item has left: under the lock.
    #[inline]
    fn take_first(&mut self) -> Option<Arc<Item>> {
        if self.before.is_empty() { self.list.pop_front() } else { self.before.pop_front() }
    }

    /// From here on a wake-up puts it on the list again, unless it has left.
    #[inline]
    fn pop(&mut self) -> Option<Arc<Item>> {
        let item = self.take_first()?;
        if item.has_left.load(Ordering::Relaxed) {
            self.gone -= 1;
        } else {
            // SeqCst, with the load in `Item::queue`: what changed before that is seen by who looks behind this.
            item.queued.store(false, Ordering::SeqCst);
        }
        Some(item)
    }

    /// Unless it is there, or has left.
    #[inline]
    fn push(&mut self, item: &Arc<Item>) {
        if !item.has_left.load(Ordering::Relaxed) && !item.queued.load(Ordering::Relaxed) {
            item.queued.store(true, Ordering::SeqCst);
            self.list.push_back(item.clone());
        }
    }
}

impl Ready {
    pub const fn new() -> Self {
        Self(IrqLock::new(rank::WAIT - 1, Lists { list: VecDeque::new(), before: VecDeque::new(), gone: 0 }))
    }

    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&self, item: &Arc<Item>) {
        self.0.lock().push(item);
    }

    #[inline]
    pub fn pop(&self) -> Option<Arc<Item>> {
        self.0.lock().pop()
    }

    /// The first, which stays.
    pub fn first(&self) -> Option<Arc<Item>> {
        self.0.lock().front().cloned()
    }

    /// Takes the first off if it is `item`.
    pub fn pop_if(&self, item: &Arc<Item>) -> bool {
        let mut lists = self.0.lock();
        let is_first = lists.front().is_some_and(|first| Arc::ptr_eq(first, item));
        let popped = if is_first { lists.pop() } else { None };
        drop(lists);
        popped.is_some()
    }

    /// Puts the first behind all others, and answers it. `None`: it has left the set, or there is none.
    pub fn turn(&self) -> Option<Arc<Item>> {
        let mut lists = self.0.lock();
        let item = lists.take_first()?;
        let has_left = item.has_left.load(Ordering::Relaxed);
        if has_left {
            lists.gone -= 1;
        } else {
            // Marked as queued all the time.
            lists.list.push_back(item.clone());
        }
        // One that has left is dropped without the lock.
        drop(lists);
        (!has_left).then_some(item)
    }

    /// Takes an item that has left in no more; `alive` others have not. It stays marked as queued if it is on the list.
    pub fn part(&self, item: &Item, alive: usize) {
        let too_many = {
            let mut lists = self.0.lock();
            // Nobody pushes it behind this.
            item.has_left.store(true, Ordering::Relaxed);
            lists.gone += usize::from(item.queued.load(Ordering::Relaxed));
            lists.gone > alive + ROOM
        };
        if too_many {
            self.meet(MEETINGS);
        }
    }

    /// Lets go of those that have left, among the first `most`; the others go behind.
    pub fn meet(&self, most: usize) {
        for _ in 0..most {
            if self.0.lock().gone == 0 {
                return;
            }
            drop(self.turn());
        }
    }

    /// Room for `alive` items, whether or not they are on the list now, beside those on it that have left. Not by two at a time.
    pub fn make_room(&self, alive: usize) -> Result<(), Errno> {
        let (room, needed) = {
            let lists = self.0.lock();
            (lists.list.capacity(), alive + lists.gone)
        };
        if room >= needed { Ok(()) } else { self.exchange(2 * needed + ROOM) }
    }

    /// Gives up room that `alive` items do not need, if that is most of it. Not by two at a time, nor with [`make_room`](Self::make_room).
    pub fn fit(&self, alive: usize) {
        let (room, needed, spent) = {
            let mut lists = self.0.lock();
            let spent = if lists.before.is_empty() { core::mem::take(&mut lists.before) } else { VecDeque::new() };
            (lists.list.capacity(), alive + lists.gone + ROOM, spent)
        };
        drop(spent);
        if room > 4 * needed {
            // Where there is no memory for less, the next tries again.
            let _ = self.exchange(needed);
        }
    }

    /// Another list with room for so many.
    fn exchange(&self, room: usize) -> Result<(), Errno> {
        let mut list = VecDeque::new();
        list.make_exact_room(room)?;
        let spent = loop {
            let mut lists = self.0.lock();
            lists.bring_forward();
            if lists.before.is_empty() {
                let old = core::mem::replace(&mut lists.list, list);
                let spent = core::mem::replace(&mut lists.before, old);
                lists.bring_forward();
                let old = if lists.before.is_empty() { core::mem::take(&mut lists.before) } else { VecDeque::new() };
                // Dropped without the lock.
                break [spent, old];
            }
        };
        drop(spent);
        Ok(())
    }

    /// For when no item enters any more: all of them.
    pub fn take_all(&self) -> impl Sized {
        let mut lists = self.0.lock();
        (core::mem::take(&mut lists.list), core::mem::take(&mut lists.before))
    }

    #[cfg(test)]
    pub fn room(&self) -> usize {
        let lists = self.0.lock();
        lists.list.capacity() + lists.before.capacity()
    }
}
