//! A sparse map of page numbers.
//!
//! The pages of a file are neighbours, so a tree holds them in chunks: a search costs a step or two even in a large
//! file. A chunk ends with its last page, so that the one page of a small file does not pay for others, and has at
//! least one. What pages far apart cost above themselves is one chunk each, less than a page.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Range;

/// Pages of one chunk.
const CHUNK: u64 = 64;

pub struct PageMap<T> {
    /// The last slot of a chunk is never empty.
    chunks: BTreeMap<u64, Vec<Option<T>>>,
    len: usize,
}

/// The chunk of page `index`, and the slot in it.
fn place(index: u64) -> (u64, usize) {
    (index / CHUNK, (index % CHUNK) as usize)
}

impl<T> PageMap<T> {
    pub const fn new() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, index: u64) -> Option<&T> {
        let (chunk, slot) = place(index);
        self.chunks.get(&chunk)?.get(slot)?.as_ref()
    }

    pub fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let (chunk, slot) = place(index);
        self.chunks.get_mut(&chunk)?.get_mut(slot)?.as_mut()
    }

    /// Sets page `index`; what was there is dropped.
    pub fn insert(&mut self, index: u64, page: T) {
        let (chunk, slot) = place(index);
        let slots = self.chunks.entry(chunk).or_default();
        if slots.len() <= slot {
            slots.resize_with(slot + 1, || None);
        }
        if slots[slot].replace(page).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, index: u64) -> Option<T> {
        let (chunk, slot) = place(index);
        let slots = self.chunks.get_mut(&chunk)?;
        let page = slots.get_mut(slot)?.take()?;
        self.len -= 1;
        trim(slots);
        if slots.is_empty() {
            self.chunks.remove(&chunk);
        }
        Some(page)
    }

    /// The pages in `range`, in order.
    pub fn range_mut(&mut self, range: Range<u64>) -> impl Iterator<Item = (u64, &mut T)> {
        self.chunks
            .range_mut(place(range.start).0..)
            .flat_map(|(chunk, slots)| (chunk * CHUNK..).zip(slots))
            .skip_while(move |(index, _)| *index < range.start)
            .take_while(move |(index, _)| *index < range.end)
            .filter_map(|(index, slot)| Some((index, slot.as_mut()?)))
    }

    /// Takes the pages from `first` on, in order.
    pub fn split_off(&mut self, first: u64) -> impl Iterator<Item = (u64, T)> + use<T> {
        let (border, slot) = place(first);
        let mut tail = self.chunks.split_off(&border);
        if let Some(slots) = tail.get_mut(&border) {
            let mut kept = slots.iter_mut().take(slot).map(Option::take).collect();
            trim(&mut kept);
            if !kept.is_empty() {
                self.chunks.insert(border, kept);
            }
        }
        self.len -= tail.values().flatten().flatten().count();
        tail.into_iter()
            .flat_map(|(chunk, slots)| (chunk * CHUNK..).zip(slots))
            .filter_map(|(index, slot)| Some((index, slot?)))
    }
}

fn trim<T>(slots: &mut Vec<Option<T>>) {
    while slots.last().is_some_and(Option::is_none) {
        slots.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u32),
        Remove(u64),
        Change(Range<u64>),
        SplitOff(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Neighbours, far ones, and the last page that a file can have.
        let index =
            prop_oneof![8 => 0..300_u64, 1 => (0..64_u64).prop_map(|n| n << 40), 1 => Just(i64::MAX as u64 / 4096)];
        prop_oneof![
            6 => (index.clone(), any::<u32>()).prop_map(|(index, value)| Step::Insert(index, value)),
            4 => index.clone().prop_map(Step::Remove),
            1 => (index.clone(), index.clone()).prop_map(|(a, b)| Step::Change(a.min(b)..a.max(b))),
            1 => index.prop_map(Step::SplitOff),
        ]
    }

    proptest! {
        #[test]
        fn is_an_ordered_map(steps in proptest::collection::vec(step(), 0..300)) {
            let (mut map, mut model) = (PageMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(index, value) => {
                        map.insert(index, value);
                        model.insert(index, value);
                    }
                    Step::Remove(index) => prop_assert_eq!(map.remove(index), model.remove(&index)),
                    Step::Change(range) => {
                        map.range_mut(range.clone()).for_each(|(_, value)| *value ^= 1);
                        model.range_mut(range).for_each(|(_, value)| *value ^= 1);
                    }
                    Step::SplitOff(first) => prop_assert!(map.split_off(first).eq(model.split_off(&first))),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(map.chunks.values().all(|slots| slots.last().is_some_and(Option::is_some)));
                for index in model.keys().flat_map(|&index| [index, index + 1]) {
                    prop_assert_eq!(map.get(index), model.get(&index));
                    prop_assert_eq!(map.get_mut(index).map(|value| *value), model.get(&index).copied());
                }
            }
            let all = map.range_mut(0..u64::MAX).map(|(index, value)| (index, *value));
            prop_assert!(all.eq(model));
        }
    }
}
