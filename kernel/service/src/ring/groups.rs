//! Provided buffers: groups of pieces of the program's memory, one of which is chosen when there is something to put into it.
//!
//! A group is a list that entries add to, or a ring in the program's memory that it fills by itself. What was chosen and is not needed after all is the
//! next to be chosen: who chooses holds it as a [`Selected`], which gives it back. In a ring whose buffers are used bit by bit (`IOU_PBUF_RING_INC`) so does what is left of one.
//!
//! Of a ring of buffers ([`Shared`]) several may be chosen at once (`select::bundle`).

use super::{
    Ring,
    group_memory::{Memory, OwnMemory, Shared},
};
use crate::context::Task;
use abi::{
    errno::Errno,
    io_uring::{
        Buf, BufReg, BufStatus, IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER, IOU_PBUF_RING_INC,
        IOU_PBUF_RING_MMAP,
    },
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use exec::sync::{WaitQueue, wait_until};
use hal::{
    PAGE_SIZE,
    sync::{SpinLock, rank},
};
use mem::{Account, Backing, Charge, Room};

/// Most buffers of a group, as in Linux.
pub(super) const MOST: usize = 1 << 16;
/// What a place in a list takes.
const EACH: usize = size_of::<Run>();
/// What a group takes.
const GROUP: usize = size_of::<Group>() + 64;

/// A buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub addr: u64,
    pub len: u32,
    pub bid: u16,
}

/// Buffers of a list that lie one behind the other, with numbers in sequence: so many as one entry may add are as one.
#[derive(Clone, Copy)]
struct Run {
    first: Given,
    count: u32,
}

impl Run {
    /// Without the first of them.
    fn after(self, count: u32) -> Self {
        let Given { addr, len, bid } = self.first;
        let addr = addr.wrapping_add(u64::from(count) * u64::from(len));
        Self { first: Given { addr, len, bid: bid.wrapping_add(count as u16) }, count: self.count - count }
    }
}

struct Group {
    /// Tells it from another that has had its number.
    id: u64,
    /// Those of a list, or that were given back.
    ready: VecDeque<Run>,
    /// How many these are.
    count: usize,
    shared: Option<Shared>,
    /// What is left of one is the next to be chosen.
    is_incremental: bool,
    /// How many are chosen: there is a place for each of them.
    chosen: usize,
    /// Pays for the places of `ready`, taken or not.
    charge: Charge,
}

/// The groups of a ring.
pub(super) struct Groups {
    all: SpinLock<BTreeMap<u16, Group>>,
    /// What was chosen was used, or went back: woken after that.
    changed: WaitQueue,
}

/// A buffer that was chosen. Dropped, it goes back, unless it was used.
pub(super) struct Selected<'a> {
    groups: &'a Groups,
    group: u16,
    id: u64,
    pub given: Given,
    pub is_incremental: bool,
    /// What is left of it when this goes.
    left: Option<Given>,
}

impl Selected<'_> {
    /// There are so many bytes in it: it stays with the program, or that part of it. What its completion says of it.
    pub(super) fn keep(mut self, used: usize) -> u32 {
        let Given { addr, len, bid } = self.given;
        let used = len.min(u32::try_from(used).unwrap_or(len));
        let left = Given { addr: addr.wrapping_add(used.into()), len: len - used, bid };
        self.left = Some(left).filter(|left| self.is_incremental && left.len > 0);
        marks(bid, self.left.is_some())
    }
}

/// What a completion says of a buffer, of which there is more or not.
pub(super) fn marks(bid: u16, has_more: bool) -> u32 {
    let more = if has_more { IORING_CQE_F_BUF_MORE } else { 0 };
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT | more
}

impl Drop for Selected<'_> {
    fn drop(&mut self) {
        let mut groups = self.groups.all.lock();
        if let Some(group) = groups.get_mut(&self.group).filter(|group| group.id == self.id) {
            group.chosen -= 1;
            if let Some(first) = self.left {
                group.ready.push_front(Run { first, count: 1 });
                group.count += 1;
            }
        }
        drop(groups);
        self.groups.changed.wake_all();
    }
}

impl Groups {
    pub(super) fn new() -> Self {
        Self { all: SpinLock::new(rank::PIPE, BTreeMap::new()), changed: WaitQueue::new() }
    }

    /// Whether there is one to choose, or one that others hold may come back.
    pub(super) fn has_some(&self, number: u16) -> bool {
        let groups = self.all.lock();
        groups.get(&number).is_some_and(|group| {
            group.chosen > 0
                || !group.ready.is_empty()
                || group.shared.as_ref().is_some_and(|shared| shared.waiting() > 0)
        })
    }

    /// Chooses one. Where others hold the last, it is seen first what becomes of that: who holds one does not wait for what may never come.
    ///
    /// # Errors
    /// `ENOBUFS`, `ENOMEM`.
    pub(super) async fn select(&self, number: u16) -> Result<Selected<'_>, Errno> {
        wait_until(&self.changed, || self.try_select(number).transpose()).await
    }

    /// Waits until one can be chosen, or it is certain that there is none.
    pub(super) async fn settled(&self, number: u16) {
        wait_until(&self.changed, || {
            let groups = self.all.lock();
            let waits = groups.get(&number).is_some_and(|group| {
                let shared = group.shared.as_ref().is_some_and(|shared| shared.waiting() > 0);
                group.chosen > 0 && group.ready.is_empty() && !shared
            });
            (!waits).then_some(())
        })
        .await;
    }

    /// Nothing: others hold the last.
    pub(super) fn try_select(&self, number: u16) -> Result<Option<Selected<'_>>, Errno> {
        let mut groups = self.all.lock();
        let group = groups.get_mut(&number).ok_or(Errno::ENOBUFS)?;
        group.make_room(1)?;
        match group.take_next() {
            Some(given) => {
                group.chosen += 1;
                let (id, is_incremental, left) = (group.id, group.is_incremental, Some(given));
                Ok(Some(Selected { groups: self, group: number, id, given, is_incremental, left }))
            }
            None if group.chosen > 0 => Ok(None),
            None => Err(Errno::ENOBUFS),
        }
    }

    /// How many could be chosen at once, one at least: of a list one.
    pub(super) fn most(&self, number: u16) -> usize {
        let groups = self.all.lock();
        groups.get(&number).map_or(1, Group::most).max(1)
    }

    /// Chooses as many as so many bytes need and there is room for in `given`, one at least; in which group, whether that is used bit by bit, and whether these were all. Waits as
    /// [`select`](Self::select) does.
    ///
    /// # Errors
    /// `ENOBUFS`, `ENOMEM`.
    pub(super) async fn select_several(
        &self,
        number: u16,
        wanted: usize,
        given: &mut Vec<Given>,
    ) -> Result<(u64, bool, bool), Errno> {
        wait_until(&self.changed, || self.try_select_several(number, wanted, given).transpose()).await
    }

    fn try_select_several(
        &self,
        number: u16,
        wanted: usize,
        given: &mut Vec<Given>,
    ) -> Result<Option<(u64, bool, bool)>, Errno> {
        let mut groups = self.all.lock();
        let group = groups.get_mut(&number).ok_or(Errno::ENOBUFS)?;
        let (most, mut bytes) = (given.capacity().min(group.most().max(1)), 0);
        while given.len() < most && (given.is_empty() || bytes < wanted) {
            match group.make_room(1) {
                Err(errno) if given.is_empty() => return Err(errno),
                Err(_) => break,
                Ok(()) => {}
            }
            let Some(next) = group.take_next() else { break };
            group.chosen += 1;
            bytes = bytes.saturating_add(next.len as usize);
            given.push(next);
        }
        match given.is_empty() {
            false => Ok(Some((group.id, group.is_incremental, group.most() == 0))),
            true if group.chosen > 0 => Ok(None),
            true => Err(Errno::ENOBUFS),
        }
    }

    /// So many that were chosen are used, but for these, which are the next to be chosen.
    pub(super) fn give_back(&self, number: u16, id: u64, chosen: usize, back: impl DoubleEndedIterator<Item = Given>) {
        let mut groups = self.all.lock();
        if let Some(group) = groups.get_mut(&number).filter(|group| group.id == id) {
            group.chosen -= chosen;
            for first in back.rev() {
                group.ready.push_front(Run { first, count: 1 });
                group.count += 1;
            }
        }
        drop(groups);
        self.changed.wake_all();
    }

    /// The memory of a ring that the kernel has it for, to be mapped.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn memory(&self, number: u64) -> Result<Arc<dyn Backing>, Errno> {
        let groups = self.all.lock();
        let group = u16::try_from(number).ok().and_then(|number| groups.get(&number));
        match group.and_then(|group| group.shared.as_ref()).map(|shared| &shared.memory) {
            Some(Memory::Own(memory)) => Ok(memory.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Adds to a list: so many pieces of this size from this address on.
    ///
    /// # Errors
    /// `EINVAL` if it is a ring; `ENOMEM`.
    pub(super) fn provide(
        &self,
        account: &Arc<Account>,
        number: u16,
        (addr, len): (u64, u32),
        first: u16,
        count: usize,
    ) -> Result<usize, Errno> {
        let charge = account.charge(GROUP)?;
        let mut groups = self.all.lock();
        let group = groups.entry(number).or_insert_with(|| Group::new(charge));
        if group.shared.is_some() {
            return Err(Errno::EINVAL);
        }
        if group.count + group.chosen + count > MOST {
            return Err(Errno::ENOMEM);
        }
        group.make_room(1)?;
        group.ready.push_back(Run { first: Given { addr, len, bid: first }, count: count as u32 });
        group.count += count;
        Ok(0)
    }

    /// Takes buffers out of a list; how many.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` if it is a ring.
    pub(super) fn remove(&self, number: u16, count: usize) -> Result<usize, Errno> {
        let mut groups = self.all.lock();
        let group = groups.get_mut(&number).ok_or(Errno::ENOENT)?;
        if group.shared.is_some() {
            return Err(Errno::EINVAL);
        }
        let removed = count.min(group.count);
        group.discard(removed);
        group.fit();
        Ok(removed)
    }

    fn insert(&self, number: u16, group: Group) -> Result<(), Errno> {
        let mut groups = self.all.lock();
        let is_there =
            groups.get(&number).is_some_and(|old| old.shared.is_some() || !old.ready.is_empty() || old.chosen > 0);
        if is_there {
            return Err(Errno::EEXIST);
        }
        let old = groups.insert(number, group);
        drop(groups);
        // Not under the lock.
        drop(old);
        Ok(())
    }

    fn take(&self, number: u16) -> Result<Group, Errno> {
        let mut groups = self.all.lock();
        match groups.get(&number) {
            None => Err(Errno::ENOENT),
            Some(group) if group.shared.is_none() => Err(Errno::EINVAL),
            Some(_) => groups.remove(&number).ok_or(Errno::ENOENT),
        }
    }

    fn head(&self, number: u32) -> Result<u16, Errno> {
        let groups = self.all.lock();
        let number = u16::try_from(number).map_err(|_| Errno::ENOENT)?;
        let group = groups.get(&number).ok_or(Errno::ENOENT)?;
        let shared = group.shared.as_ref().ok_or(Errno::EINVAL)?;
        // What was given back is the next to be chosen, and what is chosen may be given back.
        Ok(shared.head.wrapping_sub((group.count + group.chosen) as u16))
    }
}

impl Group {
    fn new(charge: Charge) -> Self {
        let (id, ready) = (mem::new_object_id(), VecDeque::new());
        Self { id, ready, count: 0, shared: None, is_incremental: false, chosen: 0, charge }
    }

    /// How many there are in a ring of buffers; of a list no more than one is told.
    fn most(&self) -> usize {
        match &self.shared {
            Some(shared) => self.count + usize::from(shared.waiting()),
            None => self.count.min(1),
        }
    }

    fn take_next(&mut self) -> Option<Given> {
        self.take_first().or_else(|| self.shared.as_mut().and_then(Shared::take))
    }

    /// The next of the list.
    fn take_first(&mut self) -> Option<Given> {
        let given = self.ready.front()?.first;
        self.discard(1);
        Some(given)
    }

    /// Takes the next so many out of the list, at most all.
    fn discard(&mut self, count: usize) {
        let mut left = count;
        while let Some(run) = self.ready.front_mut().filter(|_| left > 0) {
            let here = left.min(run.count as usize);
            *run = run.after(here as u32);
            if run.count == 0 {
                self.ready.pop_front();
            }
            left -= here;
        }
        self.count -= count - left;
    }

    /// Makes places for so many more, besides those that are chosen.
    #[inline(always)]
    fn make_room(&mut self, more: usize) -> Result<(), Errno> {
        let (wanted, places) = (self.ready.len() + self.chosen + more, self.ready.capacity());
        if wanted <= places { Ok(()) } else { self.make_places(wanted, places) }
    }

    #[cold]
    fn make_places(&mut self, wanted: usize, places: usize) -> Result<(), Errno> {
        let wanted = wanted.next_power_of_two();
        self.charge.grow((wanted - places) * EACH)?;
        let made = self.ready.make_exact_room(wanted - self.ready.len());
        self.settle();
        made.map_err(|_| Errno::ENOMEM)
    }

    /// Gives places back when few are needed, if there is memory to do so.
    fn fit(&mut self) {
        let needed = self.ready.len() + self.chosen;
        let mut fewer = VecDeque::new();
        if needed <= self.ready.capacity() / 4 && fewer.make_exact_room(2 * needed).is_ok() {
            fewer.extend(self.ready.drain(..));
            self.ready = fewer;
            self.settle();
        }
    }

    /// Gives back what was paid for more places than there are.
    fn settle(&mut self) {
        let owed = GROUP + self.ready.capacity() * EACH;
        self.charge.shrink(self.charge.bytes().saturating_sub(owed));
    }
}

/// Makes a group of a ring in the program's memory, or in some of the kernel's that the program maps.
///
/// # Errors
/// `EINVAL`, `EFAULT`, `EEXIST`, `ENOMEM`.
pub(super) async fn register(task: &Task<'_>, ring: &Arc<Ring>, addr: usize) -> Result<usize, Errno> {
    let asked: BufReg = task.space().get(addr).await?;
    if asked.resv != [0; 3] || asked.flags & !(IOU_PBUF_RING_INC | IOU_PBUF_RING_MMAP) != 0 {
        return Err(Errno::EINVAL);
    }
    let (base, entries, is_own) = (asked.ring_addr as usize, asked.ring_entries, asked.flags & IOU_PBUF_RING_MMAP != 0);
    if base == 0 && !is_own {
        return Err(Errno::EFAULT);
    }
    let is_right_base = if is_own { base == 0 } else { base.is_multiple_of(PAGE_SIZE) };
    if !is_right_base || !entries.is_power_of_two() || entries as usize >= MOST {
        return Err(Errno::EINVAL);
    }
    let memory = match is_own {
        true => Memory::Own(OwnMemory::new(entries, &task.caller().account)?),
        false => Memory::Program(task.pin(base, entries as usize * size_of::<Buf>()).await?),
    };
    let shared = Shared::new(memory, entries);
    let is_incremental = asked.flags & IOU_PBUF_RING_INC != 0;
    let charge = task.caller().account.charge(GROUP)?;
    let group = Group { shared: Some(shared), is_incremental, ..Group::new(charge) };
    ring.groups.insert(asked.bgid, group).map(|()| 0)
}

/// Takes such a group apart.
///
/// # Errors
/// `EINVAL`, `EFAULT`, `ENOENT`.
pub(super) async fn unregister(task: &Task<'_>, ring: &Arc<Ring>, addr: usize) -> Result<usize, Errno> {
    let asked: BufReg = task.space().get(addr).await?;
    if asked.resv != [0; 3] || asked.flags != 0 {
        return Err(Errno::EINVAL);
    }
    let group = ring.groups.take(asked.bgid)?;
    drop(group);
    Ok(0)
}

/// Says which buffer of such a group is the next.
///
/// # Errors
/// `EINVAL`, `EFAULT`, `ENOENT`.
pub(super) async fn status(task: &Task<'_>, ring: &Arc<Ring>, addr: usize) -> Result<usize, Errno> {
    let asked: BufStatus = task.space().get(addr).await?;
    if asked.resv != [0; 8] {
        return Err(Errno::EINVAL);
    }
    let head = ring.groups.head(asked.buf_group)?.into();
    task.space().put(addr, &BufStatus { head, ..asked }).await.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn chosen(groups: &Groups, number: u16) -> Selected<'_> {
        groups.try_select(number).unwrap().unwrap()
    }

    #[test]
    fn what_a_list_has_places_for_is_paid_for_and_no_more() {
        let account = Account::new(None, usize::MAX);
        let groups = Groups::new();
        let all = |number| groups.provide(&account, number, (4096, 16), 0, MOST).map_err(|_| ());
        let paid = |groups: &Groups| {
            let groups = groups.all.lock();
            groups.values().map(|group| GROUP + group.ready.capacity() * EACH).sum::<usize>()
        };
        // Used up and provided again, as programs do.
        for round in 0..1000u16 {
            assert_eq!(groups.provide(&account, 1, (4096, 16), round, 2), Ok(0));
            for number in 0..2 {
                let selected = chosen(&groups, 1);
                let given = Given { addr: 4096 + 16 * u64::from(number), len: 16, bid: round + number };
                assert_eq!(selected.given, given);
                // In vain at first.
                drop(selected);
                assert_eq!(chosen(&groups, 1).keep(1), 1 | u32::from(given.bid) << 16);
            }
            assert_eq!(account.used(), paid(&groups));
        }
        assert!(account.used() < GROUP + 16 * EACH);
        // All that there may be, in pieces and at once.
        assert_eq!(all(2), Ok(0));
        assert_eq!(all(2), Err(()));
        assert_eq!((groups.remove(2, 5), chosen(&groups, 2).given.bid), (Ok(5), 5));
        assert_eq!(groups.remove(2, MOST), Ok(MOST - 5));
        for number in 0..1000 {
            assert_eq!(groups.provide(&account, 3, (4096, 16), number, 1), Ok(0));
        }
        assert_eq!(account.used(), paid(&groups));
        assert_eq!(groups.remove(3, 10).and_then(|_| groups.remove(3, MOST)), Ok(990));
        assert!(account.used() == paid(&groups) && account.used() < 3 * (GROUP + 16 * EACH));
        // No memory: nothing is changed.
        account.set_limit(account.used());
        assert_eq!(groups.provide(&account, 4, (4096, 16), 0, 1), Err(Errno::ENOMEM));
        drop(groups);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn who_gives_back_needs_no_memory() {
        let account = Account::new(None, usize::MAX);
        let groups = Groups::new();
        assert_eq!(groups.provide(&account, 1, (0, 1), 0, 100), Ok(0));
        let all: Vec<_> = (0..100).map(|_| chosen(&groups, 1)).collect();
        // Others may give one back, or use all.
        assert!(matches!(groups.try_select(1), Ok(None)));
        let places = groups.all.lock()[&1].ready.capacity();
        assert!(places >= 100);
        drop(all);
        assert_eq!(groups.all.lock()[&1].ready.capacity(), places);
        assert_eq!(groups.remove(1, MOST), Ok(100));
        assert_eq!(groups.try_select(1).err(), Some(Errno::ENOBUFS));
    }
}
