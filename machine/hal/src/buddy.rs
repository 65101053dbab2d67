//! Buddy allocator over page indices: free blocks of `2^order` pages in one doubly linked list per order.
//!
//! The links live in a table beside the pages (the page contents are never touched), so that freeing
//! finds its buddy in one step. Callers hold the lock of the frame pool.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Largest block: `2^10` pages, 4 MiB.
pub const MAX_ORDER: usize = 10;
const NONE: u32 = u32::MAX;
/// In [`Meta::shares`]: the page heads a free block, whose order is in the low bits.
pub const FREE: u32 = 1 << 31;
/// The same of a block that is in the other lists of two over one table, and joins none of these.
pub const APART: u32 = FREE | 1 << 30;

/// What is known about one page.
pub struct Meta {
    /// Owners of an allocated page, or the lists' mark with the order for the head of a free block.
    pub shares: AtomicU32,
    /// Devices that use the page right now.
    pub pins: AtomicU32,
    next: AtomicU32,
    previous: AtomicU32,
}

impl Meta {
    /// A page that is allocated (or does not exist).
    pub const fn new() -> Self {
        Self {
            shares: AtomicU32::new(1),
            pins: AtomicU32::new(0),
            next: AtomicU32::new(NONE),
            previous: AtomicU32::new(NONE),
        }
    }
}

/// The free lists.
///
/// `MARK` is [`FREE`], or [`APART`] for pages that are kept apart from those of the other in the same table: blocks of the one never join those of the other.
pub struct Buddy<const MARK: u32> {
    heads: [u32; MAX_ORDER + 1],
    free: usize,
}

impl<const MARK: u32> Buddy<MARK> {
    /// No free pages yet.
    pub const fn new() -> Self {
        Self { heads: [NONE; MAX_ORDER + 1], free: 0 }
    }

    /// Whether there is a free block of `2^order` pages.
    pub fn has(&self, order: usize) -> bool {
        self.heads.iter().skip(order).any(|head| *head != NONE)
    }

    /// Free pages.
    pub fn free_pages(&self) -> usize {
        self.free
    }

    /// Adds the pages `start..end`, which must not be in use.
    pub fn add(&mut self, table: &[Meta], start: usize, end: usize) {
        let mut page = start;
        while page < end {
            let aligned = if page == 0 { MAX_ORDER } else { page.trailing_zeros() as usize };
            let order = aligned.min((end - page).ilog2() as usize).min(MAX_ORDER);
            self.insert(table, page, order);
            page += 1 << order;
        }
    }

    /// Takes a block of `2^order` pages, aligned to its size; its pages have one owner each.
    pub fn take(&mut self, table: &[Meta], order: usize) -> Option<usize> {
        let mut found = (order..=MAX_ORDER).find(|&o| self.heads[o] != NONE)?;
        let page = self.heads[found] as usize;
        self.remove(table, page, found);
        while found > order {
            found -= 1;
            self.insert(table, page + (1 << found), found);
        }
        for meta in &table[page..page + (1 << order)] {
            meta.shares.store(1, Relaxed);
            meta.pins.store(0, Relaxed);
        }
        Some(page)
    }

    /// Gives a block back and joins it with its free buddies.
    pub fn give(&mut self, table: &[Meta], mut page: usize, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = page ^ 1 << order;
            let joined = table.get(buddy).is_some_and(|meta| meta.shares.load(Relaxed) == MARK | order as u32);
            if !joined {
                break;
            }
            self.remove(table, buddy, order);
            page &= !(1 << order);
            order += 1;
        }
        self.insert(table, page, order);
    }

    fn insert(&mut self, table: &[Meta], page: usize, order: usize) {
        let head = self.heads[order];
        table[page].shares.store(MARK | order as u32, Relaxed);
        table[page].previous.store(NONE, Relaxed);
        table[page].next.store(head, Relaxed);
        if head != NONE {
            table[head as usize].previous.store(page as u32, Relaxed);
        }
        self.heads[order] = page as u32;
        self.free += 1 << order;
    }

    fn remove(&mut self, table: &[Meta], page: usize, order: usize) {
        let (next, previous) = (table[page].next.load(Relaxed), table[page].previous.load(Relaxed));
        if previous == NONE {
            self.heads[order] = next;
        } else {
            table[previous as usize].next.store(next, Relaxed);
        }
        if next != NONE {
            table[next as usize].previous.store(previous, Relaxed);
        }
        table[page].shares.store(0, Relaxed);
        self.free -= 1 << order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn table(pages: usize) -> Vec<Meta> {
        (0..pages).map(|_| Meta::new()).collect()
    }

    #[test]
    fn everything_joins_again() {
        let table = table(2048);
        let mut buddy = Buddy::<FREE>::new();
        buddy.add(&table, 3, 2048);
        let blocks: Vec<_> = core::iter::from_fn(|| buddy.take(&table, 0)).collect();
        assert_eq!((blocks.len(), buddy.free_pages()), (2045, 0));
        for page in blocks {
            buddy.give(&table, page, 0);
        }
        assert_eq!(buddy.free_pages(), 2045);
        assert_eq!(buddy.take(&table, MAX_ORDER), Some(1024));
    }

    #[test]
    fn blocks_do_not_join_those_that_are_apart() {
        let table = table(2048);
        let (mut buddy, mut apart) = (Buddy::<FREE>::new(), Buddy::<APART>::new());
        apart.add(&table, 512, 1024);
        buddy.add(&table, 1024, 2048);
        buddy.add(&table, 256, 512);
        let block = apart.take(&table, 9).expect("all of them");
        assert!(!apart.has(0));
        apart.give(&table, block, 9);
        let other = buddy.take(&table, 8).expect("the smaller one");
        buddy.give(&table, other, 8);
        assert_eq!((buddy.free_pages(), apart.free_pages()), (1280, 512));
        assert!(apart.has(9) && !apart.has(10) && buddy.has(10));
        assert_eq!((apart.take(&table, 9), buddy.take(&table, 8)), (Some(512), Some(256)));
    }

    proptest! {
        #[test]
        fn blocks_never_overlap(orders in prop::collection::vec((0usize..=5, any::<bool>()), 1..200)) {
            let table = table(1024);
            let mut buddy = Buddy::<FREE>::new();
            buddy.add(&table, 1, 1000);
            let mut owned: Vec<(usize, usize)> = Vec::new();
            for (order, free) in orders {
                if free && !owned.is_empty() {
                    let (page, order) = owned.swap_remove(order % owned.len());
                    buddy.give(&table, page, order);
                } else if let Some(page) = buddy.take(&table, order) {
                    prop_assert!(page >= 1 && page + (1 << order) <= 1000 && page % (1 << order) == 0);
                    prop_assert!(owned.iter().all(|&(p, o)| page + (1 << order) <= p || p + (1 << o) <= page));
                    owned.push((page, order));
                }
                let used: usize = owned.iter().map(|&(_, o)| 1 << o).sum();
                prop_assert_eq!(buddy.free_pages(), 999 - used);
            }
        }
    }
}
