//! Where things lie: the first mapping has words, completions and array, the second the entries.

use crate::{Words, at};
use abi::io_uring::{CqOffsets, Cqe, SqOffsets, Sqe};
use sync::atomic::Ordering::Relaxed;

/// The most entries of a ring, as in Linux.
pub const MOST_ENTRIES: u32 = 32_768;
/// The most completions that fit, as in Linux.
pub const MOST_COMPLETIONS: u32 = 2 * MOST_ENTRIES;

/// Sizes of a ring: powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    entries: u32,
    completions: u32,
    array: Option<usize>,
    wide_entries: bool,
    wide_completions: bool,
}

impl Layout {
    /// A ring for so many entries and completions, which are rounded up; `has_array`: the order of entries is apart from them.
    #[must_use]
    pub fn new(entries: u32, completions: u32, has_array: bool) -> Self {
        let entries = entries.clamp(1, MOST_ENTRIES).next_power_of_two();
        let completions = completions.clamp(1, MOST_COMPLETIONS).next_power_of_two();
        let plain = Self { entries, completions, array: None, wide_entries: false, wide_completions: false };
        Self { array: has_array.then(|| plain.array_place()), ..plain }
    }

    /// The same with entries, or completions, of twice the size.
    #[must_use]
    pub fn widened(self, wide_entries: bool, wide_completions: bool) -> Self {
        let wide = Self { wide_entries, wide_completions, ..self };
        Self { array: self.array.map(|_| wide.array_place()), ..wide }
    }

    /// By how much the number of an entry is shifted to be that of a piece of an entry's usual size.
    #[must_use]
    pub fn entry_shift(&self) -> u32 {
        self.wide_entries.into()
    }

    /// The same of a completion.
    #[must_use]
    pub fn completion_shift(&self) -> u32 {
        self.wide_completions.into()
    }

    fn array_place(&self) -> usize {
        self.completions_end().next_multiple_of(64)
    }

    fn completions_end(&self) -> usize {
        at::CQES + ((self.completions as usize * size_of::<Cqe>()) << self.completion_shift())
    }

    /// Entries.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Completions.
    #[must_use]
    pub fn completions(&self) -> u32 {
        self.completions
    }

    /// Where the array begins.
    #[must_use]
    pub fn array(&self) -> Option<usize> {
        self.array
    }

    /// Bytes of the first mapping.
    #[must_use]
    pub fn ring_bytes(&self) -> usize {
        match self.array {
            Some(array) => array + self.entries as usize * 4,
            None => self.completions_end(),
        }
    }

    /// Bytes of the second.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        (self.entries as usize * size_of::<Sqe>()) << self.entry_shift()
    }

    /// What a program is told.
    #[must_use]
    pub fn offsets(&self) -> (SqOffsets, CqOffsets) {
        let submissions = SqOffsets {
            head: at::SQ_HEAD as u32,
            tail: at::SQ_TAIL as u32,
            ring_mask: at::SQ_MASK as u32,
            ring_entries: at::SQ_ENTRIES as u32,
            flags: at::SQ_FLAGS as u32,
            dropped: at::SQ_DROPPED as u32,
            array: self.array.unwrap_or(0) as u32,
            ..SqOffsets::default()
        };
        let completions = CqOffsets {
            head: at::CQ_HEAD as u32,
            tail: at::CQ_TAIL as u32,
            ring_mask: at::CQ_MASK as u32,
            ring_entries: at::CQ_ENTRIES as u32,
            overflow: at::CQ_OVERFLOW as u32,
            cqes: at::CQES as u32,
            flags: at::CQ_FLAGS as u32,
            ..CqOffsets::default()
        };
        (submissions, completions)
    }

    /// Writes down the sizes in fresh memory, for the program. The kernel never reads them again.
    pub fn write(&self, memory: &impl Words) {
        let sizes = [
            (at::SQ_MASK, self.entries - 1),
            (at::CQ_MASK, self.completions - 1),
            (at::SQ_ENTRIES, self.entries),
            (at::CQ_ENTRIES, self.completions),
        ];
        // Relaxed: nobody else has the memory yet.
        sizes.into_iter().for_each(|(offset, value)| memory.word(offset).store(value, Relaxed));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_and_bounded_and_nothing_overlaps() {
        for (entries, completions) in [(0, 0), (1, 1), (3, 5), (128, 256), (u32::MAX, u32::MAX)] {
            let layout = Layout::new(entries, completions, true);
            assert!(layout.entries().is_power_of_two() && layout.completions().is_power_of_two());
            assert!(layout.entries() <= MOST_ENTRIES && layout.completions() <= MOST_COMPLETIONS);
            let cqes_end = at::CQES + layout.completions() as usize * 16;
            let array = layout.array().unwrap();
            assert!(array >= cqes_end && layout.ring_bytes() == array + 4 * layout.entries() as usize);
            assert_eq!(layout.offsets().0.array as usize, array);
        }
        let wide = Layout::new(8, 16, true).widened(true, true);
        assert_eq!((wide.entry_bytes(), wide.array(), wide.ring_bytes()), (1024, Some(64 + 512), 64 + 512 + 32));
        let plain = Layout::new(8, 16, false);
        assert_eq!(plain.widened(false, true).ring_bytes(), 64 + 512);
        assert_eq!((plain.ring_bytes(), plain.entry_bytes(), plain.offsets().0.array), (64 + 256, 512, 0));
    }
}
