//! All processes: ids, families, groups, sessions.
//!
//! One spin lock, held for look-ups and small changes only. Ids grow and are used again only after the whole
//! range has been used once. A tid is a pid, too: both come from here.

use crate::{process::Process, thread::Thread};
use abi::{errno::Errno, signal::SIGCHLD};
use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::Ordering::Relaxed;
use hal::sync::{SpinLock, rank};

/// Ids wrap behind this one.
const MAX_ID: u32 = 4_194_304;

/// The first process.
const FIRST: u32 = 1;

/// Family relations of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Parent, 0 for the first process.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
}

/// A change of state that `wait` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Ended; the wait status.
    Ended(u32),
    /// Stopped by this signal.
    Stopped(u8),
    /// Continued.
    Continued,
}

struct Entry {
    process: Arc<Process>,
    kin: Kin,
    children: Vec<u32>,
    change: Option<Change>,
}

struct Table {
    processes: BTreeMap<u32, Entry>,
    threads: BTreeMap<u32, Weak<Thread>>,
    /// Groups and sessions, and how many processes are in each: their ids are in use longer than their leaders'.
    held: BTreeMap<u32, usize>,
    next: u32,
    /// Ids given out since boot.
    given: u64,
}

const EMPTY: Table =
    Table { processes: BTreeMap::new(), threads: BTreeMap::new(), held: BTreeMap::new(), next: 1, given: 0 };

static TABLE: SpinLock<Table> = SpinLock::new(rank::PROCESSES, EMPTY);

impl Table {
    fn fresh_id(&mut self) -> Option<u32> {
        for _ in 0..MAX_ID {
            let id = self.next;
            self.next = if id >= MAX_ID { 2 } else { id + 1 };
            let used =
                self.processes.contains_key(&id) || self.threads.contains_key(&id) || self.held.contains_key(&id);
            if !used {
                self.given += 1;
                return Some(id);
            }
        }
        None
    }
}

/// A fresh id, never used recently.
///
/// # Errors
/// `EAGAIN` if all are in use.
pub(crate) fn fresh_id() -> Result<u32, Errno> {
    TABLE.lock().fresh_id().ok_or(Errno::EAGAIN)
}

/// The process `pid`, zombies included.
#[must_use]
pub fn process(pid: u32) -> Option<Arc<Process>> {
    TABLE.lock().processes.get(&pid).map(|entry| entry.process.clone())
}

/// The thread `tid`.
#[must_use]
pub fn thread(tid: u32) -> Option<Arc<Thread>> {
    TABLE.lock().threads.get(&tid).and_then(Weak::upgrade)
}

/// All process ids, in order.
#[must_use]
pub fn pids() -> Vec<u32> {
    TABLE.lock().processes.keys().copied().collect()
}

/// Number of threads in the system.
#[must_use]
pub fn thread_count() -> usize {
    TABLE.lock().threads.len()
}

/// Number of threads that run or wait for a hart only (a snapshot).
#[must_use]
pub fn running() -> usize {
    let threads: Vec<_> = TABLE.lock().threads.values().filter_map(Weak::upgrade).collect();
    threads.iter().filter(|thread| thread.running()).count()
}

/// Processes and threads that were made since boot.
#[must_use]
pub fn made() -> u64 {
    TABLE.lock().given
}

/// Family relations of `pid`.
#[must_use]
pub fn kin(pid: u32) -> Option<Kin> {
    TABLE.lock().processes.get(&pid).map(|entry| entry.kin)
}

/// The members of a process group.
#[must_use]
pub fn group(group: u32) -> Vec<Arc<Process>> {
    members(|kin| kin.group == group)
}

/// Whether nobody is left who could continue a process group: no member has a parent in another group of the session.
#[must_use]
pub fn is_orphaned(group: u32) -> bool {
    let table = TABLE.lock();
    let connects = |entry: &&Entry| {
        let parent = table.processes.get(&entry.kin.parent).filter(|_| entry.kin.parent != FIRST);
        let lives = !matches!(entry.change, Some(Change::Ended(_)));
        lives && parent.is_some_and(|parent| parent.kin.group != group && parent.kin.session == entry.kin.session)
    };
    !table.processes.values().filter(|entry| entry.kin.group == group).any(|entry| connects(&entry))
}

pub(crate) fn members(wanted: impl Fn(&Kin) -> bool) -> Vec<Arc<Process>> {
    let table = TABLE.lock();
    table.processes.values().filter(|entry| wanted(&entry.kin)).map(|entry| entry.process.clone()).collect()
}

impl Table {
    /// Takes a process out; to be dropped without the lock.
    fn take_out(&mut self, pid: u32) -> Option<Entry> {
        let entry = self.processes.remove(&pid)?;
        self.let_go(entry.kin);
        if let Some(parent) = self.processes.get_mut(&entry.kin.parent) {
            parent.children.retain(|&child| child != pid);
        }
        Some(entry)
    }

    fn hold(&mut self, kin: Kin) {
        for id in [kin.group, kin.session] {
            *self.held.entry(id).or_insert(0) += 1;
        }
    }

    fn let_go(&mut self, kin: Kin) {
        for id in [kin.group, kin.session] {
            if let Some(count) = self.held.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(&id);
                }
            }
        }
    }

    /// Moves a process to another group or session.
    fn regroup(&mut self, pid: u32, kin: Kin) {
        if let Some(entry) = self.processes.get_mut(&pid) {
            let old = core::mem::replace(&mut entry.kin, kin);
            self.hold(kin);
            self.let_go(old);
        }
    }

    fn enter(&mut self, process: Arc<Process>, kin: Kin) {
        let pid = process.pid();
        if let Some(parent) = self.processes.get_mut(&kin.parent) {
            parent.children.push(pid);
        }
        process.set_parent(kin.parent);
        self.hold(kin);
        self.processes.insert(pid, Entry { process, kin, children: Vec::new(), change: None });
    }
}

/// Enters a new process; `kin.group` or `kin.session` 0 means "its own".
pub(crate) fn add(process: Arc<Process>, kin: Kin) {
    let pid = process.pid();
    let own = |id| if id == 0 { pid } else { id };
    let kin = Kin { group: own(kin.group), session: own(kin.session), ..kin };
    TABLE.lock().enter(process, kin);
}

/// Enters a new process in group and session of `maker`, as its child or, with `CLONE_PARENT`, as its `sibling`. In one
/// step: the parent may end at any moment. A sibling tells that parent of its end as `maker` would: a process
/// must not choose the signal that another's parent gets.
///
/// # Errors
/// `EINVAL` for a sibling of the first process; `ESRCH`.
pub(crate) fn add_child(process: Arc<Process>, maker: u32, sibling: bool) -> Result<(), Errno> {
    let mut table = TABLE.lock();
    let entry = table.processes.get(&maker).ok_or(Errno::ESRCH)?;
    let own = entry.kin;
    // Whoever ends all processes (`signal::kill`) finds what was entered before, and nothing comes after.
    if entry.process.ending().is_some() {
        return Err(Errno::ESRCH);
    }
    if sibling && own.parent == 0 {
        return Err(Errno::EINVAL);
    }
    if sibling {
        process.exit_signal.store(entry.process.exit_signal.load(Relaxed), Relaxed); // ordered by the lock
    }
    let parent = if sibling { own.parent } else { maker };
    table.enter(process, Kin { parent, ..own });
    Ok(())
}

/// Takes out a process that never ran, or whose end nobody waits for.
pub(crate) fn forget(pid: u32) {
    let mut table = TABLE.lock();
    let entry = table.take_out(pid);
    drop(table);
    drop(entry);
}

/// Makes the end of a process visible to its parent's `wait`, and answers the parent. With `unwanted_by` the parent it
/// goes at once instead: a `wait` must not find a zombie that is about to be forgotten.
pub(crate) fn end(pid: u32, status: u32, unwanted_by: Option<u32>) -> Option<Arc<Process>> {
    let mut table = TABLE.lock();
    let entry = table.processes.get_mut(&pid)?;
    entry.change = Some(Change::Ended(status));
    let parent = entry.kin.parent;
    let gone = if unwanted_by == Some(parent) { table.take_out(pid) } else { None };
    let parent = table.processes.get(&parent).map(|entry| entry.process.clone());
    drop(table);
    drop(gone);
    parent
}

/// The parent of `pid`.
pub(crate) fn parent(pid: u32) -> Option<Arc<Process>> {
    let table = TABLE.lock();
    let kin = table.processes.get(&pid)?.kin;
    table.processes.get(&kin.parent).map(|entry| entry.process.clone())
}

/// Enters a thread.
pub(crate) fn add_thread(thread: &Arc<Thread>) {
    TABLE.lock().threads.insert(thread.tid(), Arc::downgrade(thread));
}

/// Takes a thread out.
pub(crate) fn remove_thread(tid: u32) {
    let gone = TABLE.lock().threads.remove(&tid);
    drop(gone);
}

/// Threads that processes of this user have.
pub(crate) fn threads_of_user(uid: u32) -> usize {
    let all: Vec<Arc<Process>> = members(|_| true);
    all.iter().filter(|process| process.user() == uid).map(|process| process.thread_count()).sum()
}

/// Notes a change that the parent's `wait` reports, and answers the parent. `None` also if the change is over: an end
/// is the last one, and a stop or its end may have been undone before it is noted.
pub(crate) fn note(pid: u32, change: Change) -> Option<Arc<Process>> {
    let mut table = TABLE.lock();
    let entry = table.processes.get_mut(&pid)?;
    let over = match change {
        _ if matches!(entry.change, Some(Change::Ended(_))) => true,
        // Noted by `end` alone.
        Change::Ended(_) => true,
        Change::Stopped(_) => !entry.process.stopped(),
        Change::Continued => entry.process.stopped(),
    };
    if over {
        return None;
    }
    entry.change = Some(change);
    let parent = entry.kin.parent;
    table.processes.get(&parent).map(|entry| entry.process.clone())
}

/// An ended process that nobody has waited for, and its wait status.
pub(crate) type Zombie = (Arc<Process>, u32);

/// Gives the children of a process that ends to the first process; answers that, and the zombies among them with their
/// wait statuses. Whatever signal they were to send at their end was for the one who made them: the
/// first process gets `SIGCHLD`.
pub(crate) fn orphan(pid: u32) -> Option<(Arc<Process>, Vec<Zombie>)> {
    let mut table = TABLE.lock();
    let children = core::mem::take(&mut table.processes.get_mut(&pid)?.children);
    let mut zombies = Vec::new();
    for child in &children {
        if let Some(entry) = table.processes.get_mut(child) {
            entry.kin.parent = FIRST;
            entry.process.set_parent(FIRST);
            entry.process.exit_signal.store(SIGCHLD, Relaxed); // ordered by the lock
            if let Some(Change::Ended(status)) = entry.change {
                zombies.push((entry.process.clone(), status));
            }
        }
    }
    let first = table.processes.get_mut(&FIRST)?;
    first.children.extend(children);
    Some((first.process.clone(), zombies))
}

/// What [`take_change`] found.
pub(crate) enum Found {
    /// A child with a change.
    Change(Arc<Process>, Change),
    /// Children that match, but none has changed.
    Nothing,
    /// No child matches.
    NoChild,
}

/// Looks for a child of `parent` for which `wanted(pid, group)` holds and that has a change that `accepts`.
/// `take`: the change is consumed; a child that has ended is gone then.
pub(crate) fn take_change(
    parent: u32,
    wanted: impl Fn(u32, u32) -> bool,
    accepts: impl Fn(Change) -> bool,
    take: bool,
) -> Found {
    let mut table = TABLE.lock();
    let Some(family) = table.processes.get(&parent) else { return Found::NoChild };
    let (mut any, mut found) = (false, None);
    for &child in &family.children {
        let Some(entry) = table.processes.get(&child).filter(|entry| wanted(child, entry.kin.group)) else { continue };
        any = true;
        if let Some(change) = entry.change.filter(|&change| accepts(change)) {
            found = Some((child, entry.process.clone(), change));
            break;
        }
    }
    let Some((child, process, change)) = found else {
        return if any { Found::Nothing } else { Found::NoChild };
    };
    let mut gone = None;
    if take && matches!(change, Change::Ended(_)) {
        gone = table.take_out(child);
    } else if take && let Some(entry) = table.processes.get_mut(&child) {
        entry.change = None;
    }
    drop(table);
    drop(gone);
    Found::Change(process, change)
}

/// `setpgid`: moves `pid` (a child of `caller`, or itself) to `group`, or to one of its own.
///
/// # Errors
/// `ESRCH`, `EPERM` (another session, a session leader).
pub fn set_group(caller: u32, pid: u32, group: u32) -> Result<(), Errno> {
    let mut table = TABLE.lock();
    let own = table.processes.get(&caller).ok_or(Errno::ESRCH)?.kin;
    let target = table.processes.get(&pid).ok_or(Errno::ESRCH)?.kin;
    if pid != caller && target.parent != caller {
        return Err(Errno::ESRCH);
    }
    if target.session != own.session || target.session == pid {
        return Err(Errno::EPERM);
    }
    let same = |entry: &Entry| entry.kin.group == group && entry.kin.session == own.session;
    if group != pid && !table.processes.values().any(same) {
        return Err(Errno::EPERM);
    }
    table.regroup(pid, Kin { group, ..target });
    Ok(())
}

/// `setsid`: makes the process the leader of a session and a group of its own.
///
/// # Errors
/// `EPERM` if it leads a group already.
pub fn new_session(pid: u32) -> Result<u32, Errno> {
    let mut table = TABLE.lock();
    if table.processes.values().any(|entry| entry.kin.group == pid) {
        return Err(Errno::EPERM);
    }
    let own = table.processes.get(&pid).ok_or(Errno::ESRCH)?.kin;
    table.regroup(pid, Kin { group: pid, session: pid, ..own });
    Ok(pid)
}

#[cfg(test)]
pub(crate) fn is_free(id: u32) -> bool {
    let table = TABLE.lock();
    !(table.processes.contains_key(&id) || table.threads.contains_key(&id) || table.held.contains_key(&id))
}
