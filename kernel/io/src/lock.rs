//! Advisory locks of files: whole ones (`flock`) and of ranges of bytes (`fcntl`), which know nothing of each other.
//!
//! A lock has an owner: a table of descriptors (`F_SETLK`: so the threads of a process share theirs, and a fork has none), or an open
//! file description (`flock`, `F_OFD_SETLK`). What an owner holds goes with it: [`release`] is called when a table closes a file, or a
//! description ends, if it ever had a lock.
//!
//! **Wake-up protocol.** Who waits enters the file's queue, tries, and sleeps; whoever gives something up does so before it wakes the queue.
//!
//! **Deadlock.** Who is to wait for a range notes whom it waits for, in the same step in which it tries; who would wait for itself through at
//! most [`CHAIN`] others is refused, as in Linux. Descriptions are not looked at: nobody knows who will use one.

use crate::{inode::InodeId, open::OpenFile};
use abi::errno::Errno;
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{future::Future, ops::RangeInclusive};
use exec::sync::{WaitQueue, wait_until};
use hal::sync::{SpinLock, rank};
use mem::{Account, Charge};

/// Ranges of one file that can be locked at a time: each step under the lock looks at all of them.
const MOST: usize = 4096;
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
        (alike && meet && matches!(other.what, What::Range(_))).then(|| Lock { what, ..self.clone() })
    }
}

/// The locks of one file.
struct Locks {
    held: Vec<Lock>,
    /// Who pays for `held`; grows to the most there were.
    paid: Vec<Charge>,
    changed: Arc<WaitQueue>,
    /// How many wait.
    waiting: usize,
}

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
    /// Who waits for whom, by the number of the wait.
    waits: BTreeMap<u64, (Owner, Owner)>,
    numbers: u64,
}

static TABLE: SpinLock<Table> =
    SpinLock::new(rank::OPEN_FILE + 1, Table { files: BTreeMap::new(), waits: BTreeMap::new(), numbers: 0 });

/// What came of an attempt.
enum Tried {
    Done,
    /// Somebody else has it.
    Taken(Owner),
}

impl Locks {
    fn new() -> Self {
        Self { held: Vec::new(), paid: Vec::new(), changed: Arc::new(WaitQueue::new()), waiting: 0 }
    }

    fn obstacle(&self, lock: &Lock) -> Option<&Lock> {
        self.held.iter().find(|held| held.excludes(lock))
    }

    /// Cuts the bytes of `lock` out of what its owner holds.
    fn cut(&mut self, lock: &Lock) {
        let own = |held: &Lock| held.owner == lock.owner && held.overlaps(lock);
        let (cut, kept): (Vec<_>, Vec<_>) = core::mem::take(&mut self.held).into_iter().partition(own);
        self.held = kept;
        self.held.extend(cut.iter().flat_map(|held| held.without(lock)));
    }

    /// Adds `lock`, which nothing excludes and whose bytes its owner does not hold.
    fn put(&mut self, mut lock: Lock) {
        while let Some(at) = self.held.iter().position(|held| lock.joined(held).is_some()) {
            let neighbour = self.held.swap_remove(at);
            lock = lock.joined(&neighbour).unwrap_or(lock);
        }
        self.held.push(lock);
    }

    /// Room for two more: what is cut in the middle is one more than it was.
    fn pay(&mut self, account: &Arc<Account>) -> Result<(), Errno> {
        let wanted = self.held.len() + 2;
        if wanted > MOST {
            return Err(Errno::ENOLCK);
        }
        while self.paid.len() < wanted {
            self.paid.push(account.charge(2 * size_of::<Lock>()).map_err(|_| Errno::ENOLCK)?);
        }
        Ok(())
    }
}

impl Table {
    /// Locks, or (`None`) unlocks the bytes of `lock`; whoever waits for them is to be woken then.
    fn set(&mut self, key: Key, lock: &Lock, unlock: bool, account: &Arc<Account>) -> Result<Tried, Errno> {
        let locks = self.files.entry(key).or_insert_with(Locks::new);
        // Only a range in the middle of another needs room to be unlocked.
        if !unlock || matches!(lock.what, What::Range(_)) {
            locks.pay(account)?;
        }
        if unlock {
            locks.cut(lock);
            return Ok(Tried::Done);
        }
        if lock.what == What::Whole {
            // As in Linux: who asks for another mode gives up the one it has, whether or not it gets the other.
            locks.held.retain(|held| held.owner != lock.owner || held.what != What::Whole || held.mode == lock.mode);
        }
        if let Some(obstacle) = locks.obstacle(lock) {
            return Ok(Tried::Taken(obstacle.owner));
        }
        locks.cut(lock);
        locks.put(lock.clone());
        Ok(Tried::Done)
    }

    /// Whether `owner`, who is to wait for `other`, would wait for itself.
    fn is_deadlock(&self, owner: Owner, mut other: Owner) -> bool {
        for _ in 0..CHAIN {
            if other == owner {
                return true;
            }
            let Some((_, next)) = self.waits.values().find(|(waiting, _)| *waiting == other) else { return false };
            other = *next;
        }
        false
    }

    /// The queue of a file, which is forgotten if nothing is left to be known of it.
    fn tidy(&mut self, key: Key) -> Option<Arc<WaitQueue>> {
        let locks = self.files.get(&key)?;
        let queue = locks.changed.clone();
        if locks.held.is_empty() && locks.waiting == 0 {
            self.files.remove(&key);
        }
        Some(queue)
    }
}

/// Wakes who waits for something of a file.
fn changed(key: Key) {
    let queue = TABLE.lock().tidy(key);
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
    let done = TABLE.lock().set(key, lock, true, account);
    changed(key);
    done.map(|_| ())
}

/// Locks at once.
///
/// # Errors
/// `EAGAIN` if somebody else has it, `ENOLCK`.
pub fn try_lock(open: &OpenFile, lock: &Lock, account: &Arc<Account>) -> Result<(), Errno> {
    let key = Key::of(open);
    open.has_locks();
    let done = TABLE.lock().set(key, lock, false, account);
    // Another mode may let others in.
    changed(key);
    match done? {
        Tried::Done => Ok(()),
        Tried::Taken(_) => Err(Errno::EAGAIN),
    }
}

/// Locks when nobody else has it. Dropped, it has not.
///
/// # Errors
/// `EDEADLK`, `ENOLCK`.
pub fn lock<'a>(
    open: &'a OpenFile,
    lock: &'a Lock,
    account: &'a Arc<Account>,
) -> impl Future<Output = Result<(), Errno>> + 'a {
    async move {
        let key = Key::of(open);
        open.has_locks();
        let Some(wait) = Wait::begin(key, lock, account)? else { return Ok(()) };
        wait_until(&wait.queue, || wait.again(lock, account).transpose()).await
    }
}

/// Takes away all that `owner` holds of `open`'s file.
pub fn release(open: &OpenFile, owner: Owner) {
    let key = Key::of(open);
    {
        let mut table = TABLE.lock();
        let Some(locks) = table.files.get_mut(&key) else { return };
        locks.held.retain(|held| held.owner != owner);
    }
    changed(key);
}

/// A wait for a lock: one of those that wait for a file, and a link in the chain of those who wait for each other.
struct Wait {
    key: Key,
    number: u64,
    queue: Arc<WaitQueue>,
}

impl Wait {
    /// Locks, or begins to wait.
    fn begin(key: Key, lock: &Lock, account: &Arc<Account>) -> Result<Option<Wait>, Errno> {
        let mut table = TABLE.lock();
        let tried = table.set(key, lock, false, account);
        let waits = match &tried {
            Ok(Tried::Taken(other)) => Some(*other),
            _ => None,
        };
        let Some(other) = waits else {
            drop(table);
            changed(key);
            return tried.map(|_| None);
        };
        table.numbers += 1;
        let number = table.numbers;
        let locks = table.files.entry(key).or_insert_with(Locks::new);
        locks.waiting += 1;
        let wait = Wait { key, number, queue: locks.changed.clone() };
        let noted = wait.note(&mut table, lock, other);
        drop(table);
        // A mode that was given up may let others in.
        wait.queue.wake_all();
        noted.map(|()| Some(wait))
    }

    /// Notes whom it waits for.
    fn note(&self, table: &mut Table, lock: &Lock, other: Owner) -> Result<(), Errno> {
        if !matches!((lock.owner, &lock.what), (Owner::Table(_), What::Range(_))) {
            return Ok(());
        }
        if table.is_deadlock(lock.owner, other) {
            return Err(Errno::EDEADLK);
        }
        table.waits.insert(self.number, (lock.owner, other));
        Ok(())
    }

    /// Tries again; `None`: it is to wait on.
    fn again(&self, lock: &Lock, account: &Arc<Account>) -> Result<Option<()>, Errno> {
        let mut table = TABLE.lock();
        match table.set(self.key, lock, false, account)? {
            Tried::Done => Ok(Some(())),
            Tried::Taken(other) => self.note(&mut table, lock, other).map(|()| None),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        table.waits.remove(&self.number);
        if let Some(locks) = table.files.get_mut(&self.key) {
            locks.waiting -= 1;
        }
        drop(table);
        changed(self.key);
    }
}

#[cfg(test)]
mod tests;
