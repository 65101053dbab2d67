//! Provided buffers: groups of pieces of the program's memory, one of which is chosen when there is something to put into it.
//!
//! A group is a list that entries add to, or a ring in the program's memory that it fills by itself. What was chosen and is not needed after all is the
//! next to be chosen: who chooses holds it as a [`Selected`], which gives it back.
//!
//! **A ring of buffers.** The head is the kernel's own. The program stores the tail behind the entries; it is loaded once for each choice, and an entry copied once. Whatever they
//! say, it is memory of the program's, and checked as such when it is used.

use super::Ring;
use crate::context::Task;
use abi::{
    errno::Errno,
    io_uring::{Buf, BufReg, BufStatus},
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use core::sync::atomic::Ordering::Acquire;
use hal::{
    PAGE_SIZE,
    sync::{SpinLock, rank},
};
use mem::{Charge, Pinned, Source};
use zerocopy::IntoBytes;

/// Most buffers of a group, as in Linux.
pub(super) const MOST: usize = 1 << 16;
/// Where the word lies whose upper half is the tail.
const TAIL: usize = 12;
/// What a buffer of a list takes.
const EACH: usize = 2 * size_of::<Given>();
/// What a group takes.
const GROUP: usize = size_of::<Group>() + 64;

/// A buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub addr: u64,
    pub len: u32,
    pub bid: u16,
}

/// A ring of buffers.
struct Shared {
    memory: Pinned,
    mask: u16,
    head: u16,
}

impl Shared {
    fn waiting(&self) -> u16 {
        // Acquire: the entries were stored before the tail.
        let tail = self.memory.word(TAIL).map_or(0, |word| (word.load(Acquire) >> 16) as u16);
        tail.wrapping_sub(self.head)
    }

    fn take(&mut self) -> Option<Given> {
        if self.waiting() == 0 {
            return None;
        }
        let mut entry = Buf::default();
        let offset = usize::from(self.head & self.mask) * size_of::<Buf>();
        Source::pinned(&self.memory, offset, size_of::<Buf>()).take(entry.as_mut_bytes()).ok()?;
        self.head = self.head.wrapping_add(1);
        Some(Given { addr: entry.addr, len: entry.len, bid: entry.bid })
    }
}

struct Group {
    /// Tells it from another that has had its number.
    id: u64,
    /// Those of a list, or that were given back.
    ready: VecDeque<Given>,
    shared: Option<Shared>,
    /// How many are chosen: there is room for all of them.
    chosen: usize,
    charge: Charge,
}

/// The groups of a ring.
pub(super) struct Groups(SpinLock<BTreeMap<u16, Group>>);

/// A buffer that was chosen. Dropped, it goes back, unless it was used.
pub(super) struct Selected<'a> {
    groups: &'a Groups,
    group: u16,
    id: u64,
    pub given: Given,
    is_used: bool,
}

impl Selected<'_> {
    /// There is something in it: it stays with the program.
    pub(super) fn keep(mut self) {
        self.is_used = true;
    }
}

impl Drop for Selected<'_> {
    fn drop(&mut self) {
        let mut groups = self.groups.0.lock();
        if let Some(group) = groups.get_mut(&self.group).filter(|group| group.id == self.id) {
            group.chosen -= 1;
            if !self.is_used {
                group.ready.push_front(self.given);
            }
        }
    }
}

impl Groups {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, BTreeMap::new()))
    }

    /// Whether there is one to choose.
    pub(super) fn has_some(&self, number: u16) -> bool {
        let groups = self.0.lock();
        groups.get(&number).is_some_and(|group| {
            !group.ready.is_empty() || group.shared.as_ref().is_some_and(|shared| shared.waiting() > 0)
        })
    }

    /// Chooses one.
    ///
    /// # Errors
    /// `ENOBUFS`, `ENOMEM`.
    pub(super) fn select(&self, number: u16) -> Result<Selected<'_>, Errno> {
        let mut groups = self.0.lock();
        let group = groups.get_mut(&number).ok_or(Errno::ENOBUFS)?;
        group.ready.try_reserve(group.chosen + 1).map_err(|_| Errno::ENOMEM)?;
        let given = group.ready.pop_front().or_else(|| group.shared.as_mut().and_then(Shared::take));
        let given = given.ok_or(Errno::ENOBUFS)?;
        group.chosen += 1;
        Ok(Selected { groups: self, group: number, id: group.id, given, is_used: false })
    }

    /// Adds to a list: so many pieces of this size from this address on.
    ///
    /// # Errors
    /// `EINVAL` if it is a ring; `ENOMEM`.
    pub(super) fn provide(
        &self,
        task: &Task<'_>,
        number: u16,
        (addr, len): (u64, u32),
        first: u16,
        count: usize,
    ) -> Result<usize, Errno> {
        let charge = task.caller().account.charge(GROUP)?;
        let mut groups = self.0.lock();
        let group = groups.entry(number).or_insert_with(|| Group::new(charge));
        if group.shared.is_some() {
            return Err(Errno::EINVAL);
        }
        if group.ready.len() + group.chosen + count > MOST {
            return Err(Errno::ENOMEM);
        }
        group.charge.grow(count * EACH)?;
        group.ready.try_reserve(count + group.chosen).map_err(|_| Errno::ENOMEM)?;
        for number in 0..count {
            let addr = addr + number as u64 * u64::from(len);
            group.ready.push_back(Given { addr, len, bid: first.wrapping_add(number as u16) });
        }
        Ok(0)
    }

    /// Takes buffers out of a list; how many.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` if it is a ring.
    pub(super) fn remove(&self, number: u16, count: usize) -> Result<usize, Errno> {
        let mut groups = self.0.lock();
        let group = groups.get_mut(&number).ok_or(Errno::ENOENT)?;
        if group.shared.is_some() {
            return Err(Errno::EINVAL);
        }
        let removed = count.min(group.ready.len());
        group.ready.drain(..removed);
        group.charge.shrink(removed * EACH);
        Ok(removed)
    }

    fn insert(&self, number: u16, group: Group) -> Result<(), Errno> {
        let mut groups = self.0.lock();
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
        let mut groups = self.0.lock();
        match groups.get(&number) {
            None => Err(Errno::ENOENT),
            Some(group) if group.shared.is_none() => Err(Errno::EINVAL),
            Some(_) => groups.remove(&number).ok_or(Errno::ENOENT),
        }
    }

    fn head(&self, number: u32) -> Result<u16, Errno> {
        let groups = self.0.lock();
        let number = u16::try_from(number).map_err(|_| Errno::ENOENT)?;
        let group = groups.get(&number).ok_or(Errno::ENOENT)?;
        group.shared.as_ref().map(|shared| shared.head).ok_or(Errno::EINVAL)
    }
}

impl Group {
    fn new(charge: Charge) -> Self {
        Self { id: mem::new_object_id(), ready: VecDeque::new(), shared: None, chosen: 0, charge }
    }
}

/// Makes a group of a ring in the program's memory. Rings that the kernel has memory for, and buffers that are used bit by bit, are not there.
///
/// # Errors
/// `EINVAL`, `EFAULT`, `EEXIST`, `ENOMEM`.
pub(super) async fn register(task: &Task<'_>, ring: &Arc<Ring>, addr: usize) -> Result<usize, Errno> {
    let asked: BufReg = task.space().get(addr).await?;
    if asked.resv != [0; 3] || asked.flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (base, entries) = (asked.ring_addr as usize, asked.ring_entries);
    if base == 0 {
        return Err(Errno::EFAULT);
    }
    if !base.is_multiple_of(PAGE_SIZE) || !entries.is_power_of_two() || entries as usize >= MOST {
        return Err(Errno::EINVAL);
    }
    let account = &task.caller().account;
    let memory = task.space().pin(base, entries as usize * size_of::<Buf>(), account).await?;
    let shared = Shared { memory, mask: (entries - 1) as u16, head: 0 };
    let group = Group { shared: Some(shared), ..Group::new(account.charge(GROUP)?) };
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
