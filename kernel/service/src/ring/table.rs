//! A table whose entries have places, and names that need not differ: entering, leaving and finding cost the same however many are there.
//!
//! Places lie in blocks that never move. Each is in a chain with others of its name, oldest first, or in the list of those that are free.

use abi::errno::Errno;
use alloc::{boxed::Box, vec::Vec};
use core::iter;
use mem::{Room, list};

/// Places of a block.
const BLOCK: usize = 64;
/// No place.
const NONE: u32 = u32::MAX;
/// Spreads names over the chains: 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) struct Slot<T> {
    entry: Option<T>,
    name: u64,
    /// In its chain; of a free one, the next that is free.
    next: u32,
    previous: u32,
}

#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// What a chain takes.
pub(super) const CHAIN: usize = size_of::<Chain>();

type Blocks<T> = Vec<Box<[Slot<T>; BLOCK]>>;

/// Entries with places and names.
pub(super) struct Table<T> {
    blocks: Blocks<T>,
    /// A power of two.
    chains: Box<[Chain]>,
    free: u32,
    used: usize,
}

impl<T> Table<T> {
    /// What the places of a block take.
    pub(super) const BLOCK_BYTES: usize = size_of::<[Slot<T>; BLOCK]>() + 2 * size_of::<Box<()>>();

    /// An empty table with so many chains, rounded up to a power of two.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(chains: usize) -> Result<Self, Errno> {
        let (mut list, len) = (Vec::new(), chains.next_power_of_two());
        list.make_exact_room(len)?;
        list.resize(len, Chain { first: NONE, last: NONE });
        Ok(Self { blocks: Vec::new(), chains: list.into_boxed_slice(), free: NONE, used: 0 })
    }

    fn number_of(&self, name: u64) -> usize {
        (name.wrapping_mul(SPREAD) >> 32) as usize & (self.chains.len() - 1)
    }

    fn chain(&mut self, name: u64) -> &mut Chain {
        &mut self.chains[self.number_of(name)]
    }

    fn slot(&mut self, place: u32) -> Option<&mut Slot<T>> {
        self.blocks.get_mut(place as usize / BLOCK).map(|block| &mut block[place as usize % BLOCK])
    }

    fn shared_slot(&self, place: u32) -> Option<&Slot<T>> {
        self.blocks.get(place as usize / BLOCK).map(|block| &block[place as usize % BLOCK])
    }

    /// Whether it needs another block of places for the next entry.
    pub(super) fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// Puts an entry behind all with its name; `placed` is told the place.
    ///
    /// # Errors
    /// `ENOMEM` if it is full.
    pub(super) fn insert(&mut self, name: u64, entry: T, placed: impl FnOnce(&T, u32)) -> Result<(), Errno> {
        let place = self.free;
        let slot = self.slot(place).ok_or(Errno::ENOMEM)?;
        placed(&entry, place);
        let next = slot.next;
        (slot.entry, slot.name) = (Some(entry), name);
        self.free = next;
        self.used += 1;
        self.link(place, name);
        Ok(())
    }

    /// Another block of free places, of a table that is full.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[cold]
    pub(super) fn grow(&mut self) -> Result<(), Errno> {
        let first = u32::try_from(self.blocks.len() * BLOCK).map_err(|_| Errno::ENOMEM)?;
        let mut block = list(BLOCK)?;
        let next = (first + 1..first + BLOCK as u32).chain(iter::once(NONE));
        block.extend(next.map(|next| Slot { entry: None, name: 0, next, previous: NONE }));
        self.blocks.make_room(1)?;
        let block = block.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)?;
        self.blocks.push(block);
        self.free = first;
        Ok(())
    }

    fn link(&mut self, place: u32, name: u64) {
        let chain = self.chain(name);
        let last = core::mem::replace(&mut chain.last, place);
        if last == NONE {
            chain.first = place;
        }
        if let Some(slot) = self.slot(last) {
            slot.next = place;
        }
        if let Some(slot) = self.slot(place) {
            (slot.next, slot.previous) = (NONE, last);
        }
    }

    fn unlink(&mut self, name: u64, next: u32, previous: u32) {
        match self.slot(previous) {
            Some(slot) => slot.next = next,
            None => self.chain(name).first = next,
        }
        match self.slot(next) {
            Some(slot) => slot.previous = previous,
            None => self.chain(name).last = previous,
        }
    }

    /// Takes out what is at a place.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let free = self.free;
        let slot = self.slot(place)?;
        let entry = slot.entry.take()?;
        let (name, next, previous) = (slot.name, slot.next, slot.previous);
        slot.next = free;
        self.free = place;
        self.unlink(name, next, previous);
        self.used -= 1;
        Some(entry)
    }

    /// Whether there is more than one block, and none is used.
    #[inline]
    pub(super) fn has_spare(&self) -> bool {
        self.used == 0 && self.blocks.len() > 1
    }

    /// Its blocks, if it [has](Self::has_spare) too many: places do not move, so what is not used goes all at once.
    pub(super) fn take_spare(&mut self) -> Option<Blocks<T>> {
        if !self.has_spare() {
            return None;
        }
        self.free = NONE;
        Some(core::mem::take(&mut self.blocks))
    }

    /// Gives what is at a place another name, behind all that have it.
    pub(super) fn rename(&mut self, place: u32, name: u64) {
        let Some(slot) = self.slot(place).filter(|slot| slot.entry.is_some()) else { return };
        let (old, next, previous) = (core::mem::replace(&mut slot.name, name), slot.next, slot.previous);
        self.unlink(old, next, previous);
        self.link(place, name);
    }

    /// Those with a name, oldest first, after a look at up to `limit` entries; whether those were all.
    pub(super) fn named(&self, name: u64, limit: usize, mut found: impl FnMut(&T)) -> bool {
        let mut place = self.chains[self.number_of(name)].first;
        for _ in 0..limit {
            let Some(slot) = self.shared_slot(place) else { return true };
            if let Some(entry) = slot.entry.as_ref().filter(|_| slot.name == name) {
                found(entry);
            }
            place = slot.next;
        }
        place == NONE
    }

    /// Those at up to `limit` places from `from` on; where to go on, if there are more.
    pub(super) fn from(&self, from: u32, limit: u32, mut found: impl FnMut(&T)) -> Option<u32> {
        let end = from.saturating_add(limit);
        for place in from..end {
            match self.shared_slot(place) {
                Some(slot) => slot.entry.iter().for_each(&mut found),
                None => return None,
            }
        }
        self.shared_slot(end).map(|_| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, vec};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(usize),
        Rename(usize, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u64..6).prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => (any::<usize>(), 0u64..6).prop_map(|(which, name)| Step::Rename(which, name)),
        ]
    }

    /// What the table should be: name and age by place.
    #[derive(Default)]
    struct Model {
        by_place: BTreeMap<u32, (u64, usize, usize)>,
        ages: usize,
    }

    impl Model {
        fn place(&self, which: usize) -> Option<u32> {
            self.by_place.keys().nth(which % self.by_place.len().max(1)).copied()
        }

        fn named(&self, name: u64) -> Vec<usize> {
            let mut those: Vec<_> = self.by_place.values().filter(|entry| entry.0 == name).collect();
            those.sort_by_key(|entry| entry.1);
            those.into_iter().map(|entry| entry.2).collect()
        }
    }

    fn grow<T>(table: &mut Table<T>) {
        if table.is_full() {
            table.grow().unwrap();
        }
    }

    fn named(table: &Table<usize>, name: u64) -> Vec<usize> {
        let mut found = Vec::new();
        assert!(table.named(name, usize::MAX, |entry| found.push(*entry)));
        found
    }

    fn all(table: &Table<usize>) -> Vec<usize> {
        let (mut found, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            next = table.from(from, 7, |entry| found.push(*entry));
        }
        found
    }

    proptest! {
        #[test]
        fn it_is_a_map_from_places_and_names(steps in prop::collection::vec(step(), 0..400), chains in 1usize..5) {
            let (mut table, mut model) = (Table::new(chains).unwrap(), Model::default());
            for (number, step) in steps.into_iter().enumerate() {
                model.ages += 1;
                match step {
                    Step::Insert(name) => {
                        let mut at = NONE;
                        grow(&mut table);
                        table.insert(name, number, |_, place| at = place).unwrap();
                        prop_assert!(model.by_place.insert(at, (name, model.ages, number)).is_none());
                    }
                    Step::Remove(which) => if let Some(place) = model.place(which) {
                        let expected = model.by_place.remove(&place).map(|entry| entry.2);
                        prop_assert_eq!(table.remove(place), expected);
                        prop_assert_eq!(table.remove(place), None);
                    }
                    Step::Rename(which, name) => if let Some(place) = model.place(which) {
                        table.rename(place, name);
                        let ages = model.ages;
                        model.by_place.entry(place).and_modify(|entry| (entry.0, entry.1) = (name, ages));
                    }
                }
                for name in 0..6 {
                    prop_assert_eq!(named(&table, name), model.named(name));
                }
                prop_assert_eq!(all(&table), model.by_place.values().map(|entry| entry.2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_look_at_a_chain_is_bounded() {
        let mut table = Table::new(1).unwrap();
        grow(&mut table);
        (0..10).for_each(|number| table.insert(number, number, |_, _| ()).unwrap());
        let mut found = 0;
        assert!(!table.named(9, 9, |_| found += 1));
        assert!(table.named(9, 10, |_| found += 1));
        assert_eq!(found, 1);
    }

    #[test]
    fn blocks_go_when_none_is_used() {
        let mut table = Table::new(4).unwrap();
        assert_eq!(table.insert(0, 0, |_, _| ()), Err(Errno::ENOMEM));
        for number in 0..1000usize {
            grow(&mut table);
            table.insert(0, number, |_, _| ()).unwrap();
        }
        for place in 0..1000 {
            assert!(table.take_spare().is_none());
            assert_eq!(table.remove(place), Some(place as usize));
        }
        assert_eq!(table.take_spare().unwrap().len(), 1000usize.div_ceil(BLOCK));
        assert!(table.is_full() && table.take_spare().is_none());
        grow(&mut table);
        table.insert(7, 1, |_, place| assert_eq!(place, 0)).unwrap();
        assert_eq!((named(&table, 7), all(&table)), (vec![1], vec![1]));
    }
}
