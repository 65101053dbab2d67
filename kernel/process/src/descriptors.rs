//! File descriptors: small numbers for open file descriptions.
//!
//! The lowest free number is always given out. The table is shared by the threads of a process and by `CLONE_FILES`
//! relatives, copied by `fork`. Closing never happens under the table's lock: the last reference to a
//! description may run arbitrary code of its object.

use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hal::sync::{SpinGuard, SpinLock, rank};
use io::{
    lock::{self, Owner},
    open::OpenFile,
};
use mem::{Account, Charge, Room, list};

/// One descriptor.
#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    close_on_exec: bool,
}

/// What room for a descriptor costs: its slot, and as much again, which the vector may keep ahead.
const SLOT: usize = 2 * size_of::<Option<Slot>>();

struct Slots {
    slots: Vec<Option<Slot>>,
    /// No free number is below this.
    lowest: usize,
    /// Numbers that are promised ([`Reserved`]): neither free nor in use.
    reserved: Vec<usize>,
    /// For the slots, in use or not.
    paid: Charge,
}

/// The descriptors of a process.
pub struct FdTable {
    state: SpinLock<Slots>,
    /// It has asked for locks of ranges, which go when it closes their file, by whatever number. Relaxed: set before the lock is made, so whoever
    /// closes and does not see it is followed by the look of [`FdTable::lock_owner`]'s caller at the number.
    locks: AtomicBool,
}

impl Drop for FdTable {
    fn drop(&mut self) {
        if *self.locks.get_mut() {
            let slots = core::mem::take(&mut self.state.get_mut().slots);
            slots.iter().flatten().for_each(|slot| self.closed(&slot.file));
        }
    }
}

fn index(fd: i32) -> Result<usize, Errno> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl Slots {
    #[inline]
    fn file(&self, at: usize) -> Result<Arc<OpenFile>, Errno> {
        self.slots.get(at).and_then(Option::as_ref).map(|slot| slot.file.clone()).ok_or(Errno::EBADF)
    }

    fn reserve(&mut self, len: usize) -> Result<(), Errno> {
        let more = len.saturating_sub(self.slots.len());
        if more > 0 {
            self.paid.grow(more * SLOT)?;
            if self.slots.make_room(more).is_err() {
                self.paid.shrink(more * SLOT);
                return Err(Errno::ENOMEM);
            }
            self.slots.resize(len, None);
        }
        Ok(())
    }

    fn free_from(&self, from: usize) -> usize {
        let start = from.max(if from <= self.lowest { self.lowest } else { from });
        let free = |at: &usize| self.slots[*at].is_none() && !self.reserved.contains(at);
        (start..self.slots.len()).find(free).unwrap_or(start.max(self.slots.len()))
    }

    fn put(&mut self, at: usize, slot: Slot) {
        self.slots[at] = Some(slot);
        if at == self.lowest {
            self.lowest += 1;
        }
    }

    fn take(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?.take();
        if slot.is_some() {
            self.lowest = self.lowest.min(at);
        }
        slot
    }
}

/// A number that is kept for a description that is yet to come. Dropped, it is free again.
pub struct Reserved {
    table: Arc<FdTable>,
    at: usize,
}

impl Reserved {
    /// Which it is.
    #[must_use]
    pub fn number(&self) -> usize {
        self.at
    }

    /// Gives the number to `file`.
    pub fn give(self, file: Arc<OpenFile>, close_on_exec: bool) -> usize {
        self.table.state.lock().put(self.at, Slot { file, close_on_exec });
        self.at
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        state.reserved.retain(|&at| at != self.at);
        if state.slots[self.at].is_none() {
            state.lowest = state.lowest.min(self.at);
        }
    }
}

impl FdTable {
    /// No descriptors; `account` pays for the table.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(account: &Arc<Account>) -> Result<Self, Errno> {
        let slots = Slots { slots: Vec::new(), lowest: 0, reserved: Vec::new(), paid: account.charge(0)? };
        Ok(Self { state: SpinLock::new(rank::DESCRIPTORS, slots), locks: AtomicBool::new(false) })
    }

    /// Who owns the locks of ranges that are asked for by this table. Who makes one looks whether its number still stands for its file
    /// afterwards, and takes it back if not.
    pub fn lock_owner(&self) -> Owner {
        self.locks.store(true, Relaxed);
        Owner::Table(core::ptr::from_ref(self).addr())
    }

    /// `file` is closed: by a number, though others may stand for it.
    fn closed(&self, file: &OpenFile) {
        if self.locks.load(Relaxed) {
            lock::release(file, self.lock_owner());
        }
    }

    /// The description behind `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        let at = index(fd)?;
        self.state.lock().file(at)
    }

    /// The same under a lock that its owner is kept under: what most calls begin with.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(crate) fn get_inside<T>(&self, owner: &SpinGuard<'_, T>, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        let at = index(fd)?;
        self.state.with_inside(owner, |state| state.file(at))
    }

    /// Gives `file` the lowest free number from `from` on; `limit` is `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EMFILE`; `EINVAL` if `from` is not below the limit; `ENOMEM`.
    pub fn insert(&self, file: Arc<OpenFile>, close_on_exec: bool, from: usize, limit: usize) -> Result<i32, Errno> {
        if from >= limit {
            return Err(if from == 0 { Errno::EMFILE } else { Errno::EINVAL });
        }
        let mut state = self.state.lock();
        let at = state.free_from(from);
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        state.reserve(at + 1)?;
        state.put(at, Slot { file, close_on_exec });
        Ok(at as i32)
    }

    /// Keeps the lowest free number for a description that is yet to come; `limit` is `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn keep(self: Arc<Self>, limit: usize) -> Result<Reserved, Errno> {
        let mut state = self.state.lock();
        let at = state.free_from(0);
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        state.reserve(at + 1)?;
        state.reserved.make_room(1)?;
        state.reserved.push(at);
        drop(state);
        Ok(Reserved { table: self, at })
    }

    /// `dup3`: makes `new` refer to what `old` does, closing what it referred to.
    ///
    /// # Errors
    /// `EBADF`; `EINVAL` if they are equal; `EBUSY` if the number is promised; `ENOMEM`.
    pub fn replace(&self, old: i32, new: i32, close_on_exec: bool, limit: usize) -> Result<i32, Errno> {
        let file = self.get(old)?;
        let at = index(new)?;
        if old == new {
            return Err(Errno::EINVAL);
        }
        if at >= limit {
            return Err(Errno::EBADF);
        }
        let mut state = self.state.lock();
        if state.reserved.contains(&at) {
            return Err(Errno::EBUSY);
        }
        state.reserve(at + 1)?;
        let before = state.take(at);
        state.put(at, Slot { file, close_on_exec });
        drop(state);
        if let Some(before) = before {
            self.closed(&before.file);
        }
        Ok(new)
    }

    /// Takes `fd` out; dropping the answer closes the description if it was the last.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        let at = index(fd)?;
        let taken = self.state.lock().take(at);
        let file = taken.map(|slot| slot.file).ok_or(Errno::EBADF)?;
        self.closed(&file);
        Ok(file)
    }

    /// Takes all descriptors in a range out, or only marks them close-on-exec (`close_range`).
    pub fn close_range(&self, first: u32, last: u32, only_mark: bool) {
        let mut closed: Vec<Slot> = Vec::new();
        let mut state = self.state.lock();
        let end = (last as usize).saturating_add(1).min(state.slots.len());
        for at in first as usize..end {
            if only_mark {
                if let Some(slot) = &mut state.slots[at] {
                    slot.close_on_exec = true;
                }
            } else {
                closed.extend(state.take(at));
            }
        }
        drop(state);
        closed.iter().for_each(|slot| self.closed(&slot.file));
    }

    /// Whether `execve` closes `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool, Errno> {
        let at = index(fd)?;
        let state = self.state.lock();
        state.slots.get(at).and_then(Option::as_ref).map(|slot| slot.close_on_exec).ok_or(Errno::EBADF)
    }

    /// Sets whether `execve` closes `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_close_on_exec(&self, fd: i32, close: bool) -> Result<(), Errno> {
        let at = index(fd)?;
        let mut state = self.state.lock();
        let slot = state.slots.get_mut(at).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        slot.close_on_exec = close;
        Ok(())
    }

    /// A copy for `fork`, for which `account` pays.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self, account: &Arc<Account>) -> Result<Self, Errno> {
        let state = self.state.lock();
        let paid = account.charge(state.slots.len() * SLOT)?;
        let mut slots = list(state.slots.len())?;
        slots.extend(state.slots.iter().cloned());
        // What is promised here is free there.
        let lowest = state.reserved.iter().copied().fold(state.lowest, usize::min);
        let slots = Slots { slots, lowest, reserved: Vec::new(), paid };
        Ok(Self { state: SpinLock::new(rank::DESCRIPTORS, slots), locks: AtomicBool::new(false) })
    }

    /// Closes what `execve` closes.
    pub fn exec(&self) {
        let mut from = 0;
        loop {
            let mut state = self.state.lock();
            let is_closed = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.close_on_exec);
            let Some(at) = state.slots.iter().skip(from).position(is_closed) else { return };
            from += at;
            let slot = state.take(from);
            drop(state);
            // One after the other: there may be more of them than can be put aside.
            slot.iter().for_each(|slot| self.closed(&slot.file));
        }
    }

    /// The numbers in use, for `/proc/PID/fd`.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        let state = self.state.lock();
        let used = state.slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
        used.map(|(at, _)| at as i32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::any::Any;
    use io::file::File;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    extern crate std;

    struct Nothing;

    impl File for Nothing {
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn file() -> Arc<OpenFile> {
        OpenFile::new(Arc::new(Nothing), 0, b"nothing")
    }

    fn empty() -> (Arc<Account>, FdTable) {
        let account = Account::new(None, 16 << 10);
        let table = FdTable::new(&account).unwrap();
        (account, table)
    }

    proptest! {
        #[test]
        fn numbers_follow_the_lowest_free_rule(ops in prop::collection::vec((0..5_u8, 0..12_i32, 0..12_i32), 1..60)) {
            let (table, mut model) = (empty().1, BTreeMap::new());
            for (op, a, b) in ops {
                match op {
                    0 | 1 => {
                        let from = if op == 0 { 0 } else { a };
                        let expected = (from..16).find(|fd| !model.contains_key(fd)).ok_or(Errno::EMFILE);
                        let got = table.insert(file(), false, from as usize, 16);
                        prop_assert_eq!(got, expected);
                        if let Ok(fd) = got {
                            model.insert(fd, false);
                        }
                    }
                    2 => prop_assert_eq!(table.remove(a).is_ok(), model.remove(&a).is_some()),
                    3 => {
                        let may = a != b && model.contains_key(&a);
                        prop_assert_eq!(table.replace(a, b, true, 16).is_ok(), may);
                        if may {
                            model.insert(b, true);
                        }
                    }
                    _ => {
                        let table = table.fork(&Account::new(None, usize::MAX)).unwrap();
                        table.exec();
                        let kept: std::vec::Vec<i32> = model.iter().filter(|(_, close)| !**close).map(|(fd, _)| *fd).collect();
                        prop_assert_eq!(table.numbers(), kept);
                    }
                }
            }
        }
    }

    #[test]
    fn negative_and_huge_numbers_are_bad() {
        let (_, table) = empty();
        assert!(table.get(-1).is_err() && table.get(i32::MAX).is_err() && table.remove(i32::MIN).is_err());
        table.close_range(0, u32::MAX, false);
        assert_eq!(table.insert(file(), false, 0, 0), Err(Errno::EMFILE));
    }

    #[test]
    fn a_promised_number_is_neither_free_nor_in_use() {
        let (account, table) = empty();
        let table = Arc::new(table);
        let promised = table.clone().keep(2).unwrap();
        assert_eq!(table.insert(file(), false, 0, 2), Ok(1));
        assert!(table.get(0).is_err() && table.clone().keep(2).is_err());
        assert_eq!(table.replace(1, 0, false, 2), Err(Errno::EBUSY));
        assert_eq!(table.fork(&account).unwrap().insert(file(), false, 0, 2), Ok(0));
        assert_eq!((promised.give(file(), false), table.get(0).is_ok()), (0, true));
        table.remove(0).unwrap();
        drop(table.clone().keep(2).unwrap());
        assert_eq!(table.insert(file(), false, 0, 2), Ok(0));
    }

    #[test]
    fn room_for_descriptors_is_paid_by_each_table() {
        let (account, table) = empty();
        table.insert(file(), false, 0, 65_536).unwrap();
        assert_eq!(account.used(), SLOT);
        table.replace(0, 399, false, 65_536).unwrap();
        assert_eq!(account.used(), 400 * SLOT);
        assert_eq!(table.replace(0, 65_535, false, 65_536), Err(Errno::ENOMEM));
        assert_eq!(table.insert(file(), false, 600, 65_536), Err(Errno::ENOMEM));
        let other = Account::new(None, 10 * SLOT);
        assert!(table.fork(&other).is_err() && other.used() == 0);
        let copy = table.fork(&Account::new(Some(&account), usize::MAX));
        assert!(copy.is_err(), "two do not fit");
        drop(table);
        assert_eq!(account.used(), 0);
    }
}
