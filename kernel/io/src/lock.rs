//! Advisory locks of files: whole ones (`flock`) and of ranges of bytes (`fcntl`), which know nothing of each other.
//!
//! A lock has an owner: a table of descriptors (`F_SETLK`: so the threads of a process share theirs, and a fork has none), or an open
//! file description (`flock`, `F_OFD_SETLK`). What an owner holds goes with it: [`release`] is called when a table closes a file, or a
//! description ends, if it ever had a lock.
//!
//! **Wake-up protocol.** Who waits enters the file's queue, tries, and sleeps; whoever gives something up does so before it wakes the queue.
//!
//! **Deadlock.** Who is to wait for a range notes whom it waits for, in the same step in which it tries; who would wait for itself through at
//! most [`CHAIN`] others is refused, as in Linux. Whoever gives something of a file up strikes those notes in the same step: who waits there
//! looks anew. Descriptions are not looked at: nobody knows who will use one.

use crate::{inode::InodeId, open::OpenFile};
use abi::errno::Errno;
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::RangeInclusive;
use exec::sync::{WaitQueue, wait_until};
use hal::sync::{SpinLock, rank};
use mem::{Account, Charge, Room};

/// Locks of one file at a time: each step under the table's lock looks at all of them.
const MOST: usize = 1024;
/// What one of them costs: itself, and as much again, which the list may keep ahead.
const PRICE: usize = 2 * size_of::<Lock>() + 2 * size_of::<Charge>();
/// How many others a search for a deadlock goes through.
const CHAIN: usize = 10;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A table of descriptors, by its address.
    Table(usize),
    /// An open file description, by its address.
    Description(usize),
}

impl Owner {
    /// A description itself.
    #[must_use]
    pub fn description(open: &OpenFile) -> Self {
        Owner::Description(core::ptr::from_ref(open).addr())
    }
}

/// What is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The file as a whole.
    Whole,
    /// Some of its bytes, first and last.
    Range(RangeInclusive<u64>),
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Beside others of this kind.
    Shared,
    /// Alone.
    Exclusive,
}

/// A lock that is held, or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// By whom.
    pub owner: Owner,
    /// The process that asked for it.
    pub pid: u32,
    /// Of what.
    pub what: What,
    /// How.
    pub mode: Mode,
}

impl Lock {
    /// First and last byte that it has to do with; those of whole files are among themselves.
    fn bytes(&self) -> (u64, u64) {
        match &self.what {
            What::Whole => (0, u64::MAX),
            What::Range(range) => (*range.start(), *range.end()),
        }
    }

    fn overlaps(&self, other: &Lock) -> bool {
        let same_kind = matches!(self.what, What::Whole) == matches!(other.what, What::Whole);
        let ((first, last), (others_first, others_last)) = (self.bytes(), other.bytes());
        same_kind && first <= others_last && others_first <= last
    }

    fn excludes(&self, other: &Lock) -> bool {
        let shared = self.mode == Mode::Shared && other.mode == Mode::Shared;
        self.owner != other.owner && !shared && self.overlaps(other)
    }

    /// What is left of this without the bytes of `hole`, which it overlaps.
    fn without(&self, hole: &Lock) -> impl Iterator<Item = Lock> {
        let ((first, last), (from, to)) = (self.bytes(), hole.bytes());
        let part = |range: RangeInclusive<u64>| Lock { what: What::Range(range), ..self.clone() };
        let before = (first < from).then(|| part(first..=from - 1));
        let behind = (to < last).then(|| part(to + 1..=last));
        before.into_iter().chain(behind)
    }

    /// One lock instead of two, if they are alike and meet.
    fn joined(&self, other: &Lock) -> Option<Lock> {
        let ((first, last), (from, to)) = (self.bytes(), other.bytes());
        let alike = self.owner == other.owner && self.mode == other.mode && self.pid == other.pid;
        let meet = first <= to.saturating_add(1) && from <= last.saturating_add(1);
        let what = What::Range(first.min(from)..=last.max(to));
        let ranges = matches!((&self.what, &other.what), (What::Range(_), What::Range(_)));
        (ranges && alike && meet).then(|| Lock { what, ..self.clone() })
    }
}

/// The locks of one file.
#[derive(Default)]
struct Locks {
    held: Vec<Lock>,
    /// Who pays for `held`; grows to the most there were.
    paid: Vec<Charge>,
    changed: Arc<WaitQueue>,
    /// How many wait.
    waiting: usize,
    /// Where in [`Table::waits`] those are noted who wait for something here.
    edges: Vec<Edge>,
}

/// Somebody who waits, and the number of the wait.
type Edge = (Owner, u64);

/// A file: by its inode, or, if it has none, by its object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Inode(InodeId),
    Object(usize),
}

impl Key {
    fn of(open: &OpenFile) -> Self {
        match open.file().inode() {
            Some(inode) => Key::Inode(inode.id()),
            None => Key::Object(Arc::as_ptr(open.file()).addr()),
        }
    }
}

struct Table {
    /// Files with locks, or with somebody who waits for one.
    files: BTreeMap<Key, Locks>,
    /// Who is waited for, by who waits.
    waits: BTreeMap<Edge, Owner>,
    numbers: u64,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(rank::OPEN_FILE + 1, Table { files: BTreeMap::new(), waits: BTreeMap::new(), numbers: 0 });

/// What came of an attempt.
struct Tried {
    /// Who has it instead.
    taken: Option<Owner>,
    /// Something was given up that others may wait for.
    frees: bool,
}

impl Locks {
    fn obstacle(&self, lock: &Lock) -> Option<&Lock> {
        self.held.iter().find(|held| held.excludes(lock))
    }

    /// Cuts the bytes of `lock` out of what its owner holds, if it holds any. Two locks may come of the last one: there is room.
    fn cut(&mut self, lock: &Lock) -> bool {
        let before = self.held.len();
        let mut at = 0;
        let mut parts: [Option<Lock>; 2] = [None, None];
        while let Some(held) = self.held.get(at) {
            if held.owner != lock.owner || !held.overlaps(lock) {
                at += 1;
                continue;
            }
            for part in held.without(lock) {
                // Of all of them there is one part before the bytes, and one behind, at most: what an owner holds does not overlap.
                let place = usize::from(parts[0].is_some());
                parts[place] = Some(part);
            }
            self.held.swap_remove(at);
        }
        let cuts = self.held.len() < before;
        self.held.extend(parts.into_iter().flatten());
        cuts
    }

    /// Adds `lock`, which nothing excludes and whose bytes its owner does not hold.
    fn put(&mut self, mut lock: Lock) {
        while let Some(at) = self.held.iter().position(|held| lock.joined(held).is_some()) {
            let neighbour = self.held.swap_remove(at);
            lock = lock.joined(&neighbour).unwrap_or(lock);
        }
        self.held.push(lock);
    }

    /// Whether to unlock the bytes of `lock` leaves more than there were.
    fn splits(&self, lock: &Lock) -> bool {
        let inside = |held: &&Lock| held.owner == lock.owner && held.overlaps(lock) && held.without(lock).count() == 2;
        self.held.iter().any(|held| inside(&held))
    }

    /// Room for two more: what is cut in the middle is one more than it was.
    fn pay(&mut self, account: &Arc<Account>) -> Result<(), Errno> {
        let wanted = self.held.len() + 2;
        if wanted > MOST {
            return Err(Errno::ENOLCK);
        }
        self.held.make_room(2).map_err(|_| Errno::ENOLCK)?;
        self.paid.make_room(2).map_err(|_| Errno::ENOLCK)?;
        while self.paid.len() < wanted {
            self.paid.push(account.charge(PRICE).map_err(|_| Errno::ENOLCK)?);
        }
        Ok(())
    }

    /// Unlocks the bytes of `lock`; whether any of them were locked.
    fn unlock(&mut self, lock: &Lock, account: &Arc<Account>) -> Result<bool, Errno> {
        if self.splits(lock) {
            self.pay(account)?;
        }
        Ok(self.cut(lock))
    }

    fn lock(&mut self, lock: &Lock, account: &Arc<Account>) -> Result<Tried, Errno> {
        self.pay(account)?;
        // As in Linux: who asks for the file in another mode gives up the one it has, whether or not it gets the other.
        let is_old = |held: &Lock| held.owner == lock.owner && held.what == What::Whole && held.mode != lock.mode;
        let old = self.held.iter().position(|held| lock.what == What::Whole && is_old(held));
        if let Some(at) = old {
            self.held.swap_remove(at);
        }
        if let Some(obstacle) = self.obstacle(lock) {
            return Ok(Tried { taken: Some(obstacle.owner), frees: old.is_some() });
        }
        // A range may be had in a mode that lets others in.
        let frees = self.cut(lock) || old.is_some();
        self.put(lock.clone());
        Ok(Tried { taken: None, frees: frees && lock.mode == Mode::Shared })
    }
}

impl Table {
    fn lock(&mut self, key: Key, lock: &Lock, account: &Arc<Account>) -> Result<Tried, Errno> {
        self.files.entry(key).or_default().lock(lock, account)
    }

    /// Whether `owner`, who is to wait for `other`, would wait for itself.
    fn is_deadlock(&self, owner: Owner, mut other: Owner) -> bool {
        for _ in 0..CHAIN {
            if other == owner {
                return true;
            }
            let Some((_, next)) = self.waits.range((other, 0)..=(other, u64::MAX)).next() else { return false };
            other = *next;
        }
        false
    }

    /// Something of a file was given up: who waits there is to look whom it waits for now. The queue to wake.
    fn freed(&mut self, key: Key) -> Option<Arc<WaitQueue>> {
        let locks = self.files.get_mut(&key)?;
        for edge in locks.edges.drain(..) {
            self.waits.remove(&edge);
        }
        Some(locks.changed.clone())
    }

    /// Forgets a file of which nothing is left to be known.
    fn tidy(&mut self, key: Key) {
        if self.files.get(&key).is_some_and(|locks| locks.held.is_empty() && locks.waiting == 0) {
            self.files.remove(&key);
        }
    }

    /// The end of a step that gave something up, or not: the queue to wake, with the table unlocked.
    fn end(&mut self, key: Key, frees: bool) -> Option<Arc<WaitQueue>> {
        let queue = if frees { self.freed(key) } else { None };
        self.tidy(key);
        queue
    }
}

fn wake(queue: Option<Arc<WaitQueue>>) {
    if let Some(queue) = queue {
        queue.wake_all();
    }
}

/// A lock of `open`'s file that excludes `lock`.
#[must_use]
pub fn find(open: &OpenFile, lock: &Lock) -> Option<Lock> {
    TABLE.lock().files.get(&Key::of(open))?.obstacle(lock).cloned()
}

/// Unlocks what `lock` says, as far as its owner holds it; `account` pays for what that leaves in two parts.
///
/// # Errors
/// `ENOLCK`.
pub fn unlock(open: &OpenFile, lock: &Lock, account: &Arc<Account>) -> Result<(), Errno> {
    let key = Key::of(open);
    let mut table = TABLE.lock();
    let Some(locks) = table.files.get_mut(&key) else { return Ok(()) };
    let frees = locks.unlock(lock, account)?;
    let queue = table.end(key, frees);
    drop(table);
    wake(queue);
    Ok(())
}

/// Locks at once.
///
/// # Errors
/// `EAGAIN` if somebody else has it, `ENOLCK`.
pub fn try_lock(open: &OpenFile, lock: &Lock, account: &Arc<Account>) -> Result<(), Errno> {
    let key = Key::of(open);
    open.has_locks();
    let mut table = TABLE.lock();
    let tried = table.lock(key, lock, account);
    let queue = table.end(key, tried.as_ref().is_ok_and(|tried| tried.frees));
    drop(table);
    wake(queue);
    match tried?.taken {
        None => Ok(()),
        Some(_) => Err(Errno::EAGAIN),
    }
}

/// Locks when nobody else has it, after an attempt in vain. Dropped, it has not.
///
/// # Errors
/// `EDEADLK`, `ENOLCK`.
pub async fn lock(open: &OpenFile, lock: &Lock, account: &Arc<Account>) -> Result<(), Errno> {
    let wait = Wait::begin(Key::of(open), lock.owner);
    wait_until(&wait.queue, || wait.attempt(lock, account).transpose()).await
}

/// Takes away all that `owner` holds of `open`'s file.
pub fn release(open: &OpenFile, owner: Owner) {
    let key = Key::of(open);
    let mut table = TABLE.lock();
    let Some(locks) = table.files.get_mut(&key) else { return };
    let before = locks.held.len();
    locks.held.retain(|held| held.owner != owner);
    let frees = locks.held.len() < before;
    let queue = table.end(key, frees);
    drop(table);
    wake(queue);
}

/// A wait for a lock: one of those that wait for a file, and a link in the chain of those who wait for each other.
struct Wait {
    key: Key,
    edge: Edge,
    queue: Arc<WaitQueue>,
}

impl Wait {
    fn begin(key: Key, owner: Owner) -> Wait {
        let mut table = TABLE.lock();
        table.numbers += 1;
        let edge = (owner, table.numbers);
        let locks = table.files.entry(key).or_default();
        locks.waiting += 1;
        Wait { key, edge, queue: locks.changed.clone() }
    }

    /// Tries; `None`: it is to wait on.
    fn attempt(&self, lock: &Lock, account: &Arc<Account>) -> Result<Option<()>, Errno> {
        let mut table = TABLE.lock();
        self.forget(&mut table);
        let tried = table.lock(self.key, lock, account)?;
        let queue = if tried.frees { table.freed(self.key) } else { None };
        let noted = match tried.taken {
            None => Ok(Some(())),
            Some(other) => self.note(&mut table, lock, other).map(|()| None),
        };
        drop(table);
        wake(queue);
        noted
    }

    /// Notes whom it waits for.
    fn note(&self, table: &mut Table, lock: &Lock, other: Owner) -> Result<(), Errno> {
        if !matches!((lock.owner, &lock.what), (Owner::Table(_), What::Range(_))) {
            return Ok(());
        }
        if table.is_deadlock(lock.owner, other) {
            return Err(Errno::EDEADLK);
        }
        let Some(locks) = table.files.get_mut(&self.key) else { return Ok(()) };
        locks.edges.make_room(1).map_err(|_| Errno::ENOLCK)?;
        locks.edges.push(self.edge);
        table.waits.insert(self.edge, other);
        Ok(())
    }

    /// It waits for nobody any more.
    fn forget(&self, table: &mut Table) {
        if table.waits.remove(&self.edge).is_some()
            && let Some(locks) = table.files.get_mut(&self.key)
        {
            locks.edges.retain(|other| *other != self.edge);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        if let Some(locks) = table.files.get_mut(&self.key) {
            locks.waiting -= 1;
        }
        self.forget(&mut table);
        table.tidy(self.key);
    }
}

#[cfg(test)]
mod tests;
