//! Completions that wait for room in the ring, and places for those to come.
//!
//! In blocks: one more place moves no completion and takes no long run of memory, and what is empty can go without taking any.

use abi::io_uring::Cqe;
use alloc::{collections::VecDeque, vec::Vec};

/// Completions in a block: as many as two of them fit into a page of the kernel's heap.
const BLOCK: usize = 126;
/// What a block takes: half a page, and its part of the list of blocks, which grows by doubling.
pub(crate) const BLOCK_BYTES: usize = 2048 + 64;

/// A queue that never grows by a push. A place lost at its front comes back with the block.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Each has room for [`BLOCK`]; filled one after the other.
    blocks: VecDeque<Vec<Cqe>>,
    /// Where the oldest is in the first.
    first: usize,
    len: usize,
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Places for more.
    pub(crate) fn places(&self) -> usize {
        self.blocks.len() * BLOCK - self.first - self.len
    }

    /// Bytes that it takes, and places that it has, with those that are taken.
    pub(crate) fn owed(&self) -> (usize, usize) {
        (self.blocks.len() * BLOCK_BYTES, self.blocks.len() * BLOCK)
    }

    /// Takes memory for more places, if there is some and `admit` lets it take so many bytes for so many; whether it did.
    pub(crate) fn grow(&mut self, admit: &mut impl FnMut(usize, usize) -> bool) -> bool {
        let mut block = Vec::new();
        let grows =
            block.try_reserve_exact(BLOCK).is_ok() && self.blocks.try_reserve(1).is_ok() && admit(BLOCK_BYTES, BLOCK);
        if grows {
            self.blocks.push_back(block);
        }
        grows
    }

    /// Gives back what is not needed for what is in it and `places` more, but for one block, so that not each call takes one.
    pub(crate) fn trim(&mut self, places: usize) {
        if self.blocks.len() > 1 {
            let needed = (self.first + self.len + places).div_ceil(BLOCK);
            self.blocks.truncate(needed + 1);
        }
    }

    /// Puts one at the end, for which there is a place.
    pub(crate) fn push(&mut self, completion: Cqe) {
        debug_assert!(self.places() > 0, "a completion without a place");
        if let Some(block) = self.blocks.get_mut((self.first + self.len) / BLOCK) {
            block.push(completion);
            self.len += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Cqe> {
        let block = self.blocks.front_mut()?;
        let completion = *block.get(self.first)?;
        (self.first, self.len) = (self.first + 1, self.len - 1);
        if self.len == 0 {
            block.clear();
            self.first = 0;
        } else if self.first == BLOCK {
            self.blocks.pop_front();
            self.first = 0;
        }
        Some(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_queue_whose_places_stay_until_they_are_used(
            steps in prop::collection::vec((0..4u8, 0..400usize), 1..100)
        ) {
            let (mut kept, mut queue, mut reserved, mut next) = (Kept::default(), VecDeque::new(), 0, 0);
            for (step, count) in steps {
                match step {
                    0 => {
                        while kept.places() < reserved + count {
                            prop_assert!(kept.grow(&mut |bytes, places| (bytes, places) == (BLOCK_BYTES, BLOCK)));
                        }
                        reserved += count;
                    }
                    1 => for _ in 0..count.min(reserved) {
                        kept.push(Cqe { user_data: next, ..Cqe::default() });
                        queue.push_back(next);
                        (next, reserved) = (next + 1, reserved - 1);
                    },
                    2 => for _ in 0..count {
                        prop_assert_eq!(kept.pop().map(|completion| completion.user_data), queue.pop_front());
                    },
                    _ => {
                        reserved -= count.min(reserved);
                        kept.trim(reserved);
                        prop_assert!(kept.owed().0 <= ((queue.len() + reserved) / BLOCK + 3) * BLOCK_BYTES);
                    }
                }
                prop_assert_eq!(kept.len(), queue.len());
                prop_assert!(kept.places() >= reserved);
            }
            prop_assert!(!kept.grow(&mut |_, _| false));
        }
    }
}
