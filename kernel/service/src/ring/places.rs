//! Which places of a table are taken, so that a free one is found soon, however large the table is.

use abi::errno::Errno;
use alloc::vec::Vec;
use core::ops::Range;
use mem::list;

const BITS: usize = 64;

/// A bit for each place, and one for each word of these that is full.
pub(super) struct Places {
    taken: Vec<u64>,
    full: Vec<u64>,
}

/// The first bit from `from` on that is not set.
fn first_clear(word: u64, from: usize) -> Option<usize> {
    let clear = !word & (u64::MAX << from);
    (clear != 0).then(|| clear.trailing_zeros() as usize)
}

impl Places {
    /// All of `count` are free.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(count: usize) -> Result<Self, Errno> {
        let words = |count: usize| {
            let mut words = list(count.div_ceil(BITS))?;
            words.resize(count.div_ceil(BITS), 0);
            Ok::<_, Errno>(words)
        };
        Ok(Self { taken: words(count)?, full: words(count.div_ceil(BITS))? })
    }

    /// Bytes that they take.
    pub(super) fn bytes(count: usize) -> usize {
        let words = count.div_ceil(BITS);
        8 * (words + words.div_ceil(BITS))
    }

    /// Notes whether a place is taken.
    pub(super) fn set(&mut self, place: usize, is_taken: bool) {
        let (at, bit) = (place / BITS, 1 << (place % BITS));
        let Some(word) = self.taken.get_mut(at) else { return };
        *word = if is_taken { *word | bit } else { *word & !bit };
        let (is_full, bit) = (*word == u64::MAX, 1 << (at % BITS));
        if let Some(group) = self.full.get_mut(at / BITS) {
            *group = if is_full { *group | bit } else { *group & !bit };
        }
    }

    /// The first free place of a range.
    pub(super) fn free_in(&self, range: Range<usize>) -> Option<usize> {
        let mut place = range.start;
        while place < range.end {
            let at = place / BITS;
            if let Some(bit) = first_clear(*self.taken.get(at)?, place % BITS) {
                return Some(at * BITS + bit).filter(|found| *found < range.end);
            }
            // The next word that has one: among those of its group, or from the next group on.
            let group = (at + 1) / BITS;
            let word = self.full.get(group).and_then(|full| first_clear(*full, (at + 1) % BITS));
            place = word.map_or((group + 1) * BITS, |word| group * BITS + word) * BITS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_look_at_each_place_finds(
            count in 1..20_000usize,
            ranges in prop::collection::vec((0..20_000usize, 0..20_000usize, any::<bool>()), 1..20),
            wanted in (0..20_000usize, 0..20_000usize),
        ) {
            let (mut places, mut taken) = (Places::new(count).unwrap(), std::vec![false; count]);
            for (start, end, is_taken) in ranges {
                let range = start.min(count)..end.min(count);
                range.clone().for_each(|place| places.set(place, is_taken));
                if let Some(part) = taken.get_mut(range) {
                    part.fill(is_taken);
                }
            }
            let wanted = wanted.0.min(count)..wanted.1.min(count);
            let expected = wanted.clone().find(|place| !taken[*place]);
            prop_assert_eq!(places.free_in(wanted), expected);
        }
    }

    #[test]
    fn a_full_table_of_the_largest_size_has_none() {
        let count = 1 << 20;
        let mut places = Places::new(count).unwrap();
        (0..count).for_each(|place| places.set(place, true));
        assert_eq!(places.free_in(0..count), None);
        places.set(count - 1, false);
        assert_eq!(places.free_in(0..count), Some(count - 1));
        assert_eq!(places.free_in(0..count - 1), None);
    }
}
