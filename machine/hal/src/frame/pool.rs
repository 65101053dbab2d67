//! The free pages behind the harts' stocks, and for what they may be taken. Some are kept apart for the kernel, so that it finds blocks of many however broken up the rest is
//! (note 0014).

use crate::buddy::{APART, Buddy, FREE, MAX_ORDER, Meta};
use core::ops::Range;

/// The pages.
pub(super) struct Pool {
    buddy: Buddy<FREE>,
    /// The range that is kept, and what is free of it.
    kept: Range<usize>,
    blocks: Buddy<APART>,
}

impl Pool {
    pub(super) const fn new() -> Self {
        Self { buddy: Buddy::new(), kept: 0..0, blocks: Buddy::new() }
    }

    /// Shares `pages` out: the kept ones are the last of them, from where a block of any size may begin.
    pub(super) fn add(&mut self, table: &[Meta], pages: Range<usize>, kept: usize) {
        let kept = kept.min(pages.len());
        let largest = kept.checked_ilog2().map_or(0, |order| MAX_ORDER.min(order as usize));
        let from = ((pages.end - kept) >> largest << largest).max(pages.start);
        self.kept = from..from + kept;
        self.buddy.add(table, pages.start, from);
        self.blocks.add(table, from, from + kept);
        self.buddy.add(table, from + kept, pages.end);
    }

    /// A block of `2^order` pages.
    pub(super) fn take(&mut self, table: &[Meta], order: usize, purpose: Purpose) -> Option<usize> {
        let found = self.buddy.take(table, order);
        let may_have_kept = match purpose {
            Purpose::User => false,
            Purpose::Root => self.is_half_kept(),
            Purpose::Kernel => true,
        };
        if found.is_none() && may_have_kept { self.blocks.take(table, order) } else { found }
    }

    fn is_half_kept(&self) -> bool {
        self.blocks.free_pages() > self.kept.len() / 2
    }

    /// Whether there is a block of `2^order` pages for what a program causes: elsewhere, or while more than half of what is kept is there.
    pub(super) fn has_for_program(&self, order: usize) -> bool {
        self.buddy.has(order) || self.is_half_kept() && self.blocks.has(order)
    }

    pub(super) fn give(&mut self, table: &[Meta], page: usize, order: usize) {
        if self.kept.contains(&page) {
            self.blocks.give(table, page, order)
        } else {
            self.buddy.give(table, page, order)
        }
    }
}

/// What memory is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What a program causes and can be refused: it leaves the reserve.
    User,
    /// The same for the root of a space, which in one world is a block of pages: it may have of what is kept up to a half, so that nobody is kept from
    /// making processes by whoever breaks the rest up.
    Root,
    /// What the kernel cannot do without.
    Kernel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn blocks_are_kept_for_the_kernel_however_broken_up_the_rest_is() {
        let table: Vec<Meta> = (0..4096).map(|_| Meta::new()).collect();
        let mut pool = Pool::new();
        pool.add(&table, 7..4001, 512);
        assert_eq!(pool.kept, 3072..3584);
        let taken: Vec<_> = core::iter::from_fn(|| pool.take(&table, 0, Purpose::User)).collect();
        assert_eq!(taken.len(), 4001 - 7 - 512);
        taken.iter().filter(|page| **page % 2 == 0).for_each(|page| pool.give(&table, *page, 0));
        assert_eq!(pool.take(&table, 1, Purpose::User), None);
        let roots: Vec<_> = core::iter::from_fn(|| pool.take(&table, 2, Purpose::Root)).collect();
        assert_eq!(roots.len(), 256 >> 2);
        roots.iter().for_each(|page| pool.give(&table, *page, 2));
        let runs: Vec<_> = core::iter::from_fn(|| pool.take(&table, 6, Purpose::Kernel)).collect();
        assert_eq!(runs.len(), 512 >> 6);
        runs.iter().for_each(|page| pool.give(&table, *page, 6));
        taken.iter().filter(|page| **page % 2 == 1).for_each(|page| pool.give(&table, *page, 0));
        // Back where they came from.
        assert!(pool.take(&table, MAX_ORDER, Purpose::User).is_some());
        assert_eq!((pool.buddy.free_pages(), pool.blocks.free_pages()), (taken.len() - 1024, 512));
    }
}
