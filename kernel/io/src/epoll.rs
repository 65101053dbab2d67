//! epoll: a set of descriptions and the list of those that are ready.
//!
//! Each registration is an [`Item`] that is a waker: it stays in the file's queue, and each change puts it on the ready list.
//! `wait_now` looks at that list alone, never at the set.
//!
//! ```text
//! idle --file wakes--> queued --wait_now--> events hold:  reported; level: queued again
//!   ^                                                     edge: idle until the next edge
//!   |                                                     one-shot: disabled until MOD
//!   +------------------------------------- events are gone
//! ```
//!
//! It is taken off the list before it looks at the file, so a change is seen, or queues it again. Files without a queue of
//! their own (a terminal, both ends of a named pipe) are waited for: their item arms a wait, boxed, each time that it goes idle.
//!
//! **Whose place or wait stays.** Several may begin one at the same time: who adds or changes the registration, and each who looks at the set. Which of both it
//! is to be is said with the interest, before anybody can look; each has a number, given out under the interest's lock, and only the last that was begun is kept.
//!
//! An item holds the file, not the description, so the description closes with its last descriptor; its
//! destructor tells the item, which leaves the set. A set may be in another set, but not in a circle ([`nests`]).
//!
//! **What a wake-up may drop.** Wakers are called under locks of the file and in interrupt handlers, and one may be the last to hold its
//! item. So an item lets go of its file when it leaves the set, which happens where no lock is held: the end of an item is never that of a file.
//!
//! **One is enough** (`EPOLLEXCLUSIVE`). An exclusive item stays in the file's queue as a contender (`sync::wait::contend`): of a change of one kind, data or room, it
//! is told only if no other set took it, and a set takes what it is told if somebody waits for it in `epoll_wait`. All else (ends, errors, whatever files do not tell by its
//! kind) is told to all. Who waits looks at the list once more after it has given up; who cannot, for it is killed, passes on what is on the list. An item that leaves the set
//! leaves the queue first, then passes on what it may have been told.
//!
//! **`poll` of a set** looks at the items on the list, until it finds one that has something to report: that stays where it is, the others go idle.
//!
//! **Who pays.** Who makes the set, for that. Who registers, for the item and its places in the set, in the ready list and in the description's list of watchers. The ready
//! list has room for all items before they can be queued, so that a wake-up asks for no memory. What has left the set enters it no more ([`ready`]).

use crate::{
    caller::Caller,
    file::{File, Want},
    open::{OpenFile, Watcher},
};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP, EpollEvent},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::any::Any;
use exec::sync::{Crowd, WaitQueue};
use hal::sync::{SpinLock, rank};
use item::{Interest, Item};
use mem::{Account, Charge};
use ready::Ready;

mod item;
mod nests;
mod ready;

/// Flags that are not events.
const CONTROL: u32 = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
/// What `EPOLLEXCLUSIVE` may come with, as in Linux.
const WITH_EXCLUSIVE: u32 = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

/// Room for a place or wait, which is boxed.
const WAIT: usize = 128;
/// Room for the file's own wait inside it: a terminal's is the largest.
pub(crate) const WAIT_OF_FILE: usize = 512;
/// What a registration costs: the item, a wait, and its places in the tree of the set and in lists.
const BYTES: usize =
    size_of::<Item>() + WAIT + WAIT_OF_FILE + 2 * size_of::<(Key, Arc<Item>)>() + 8 * size_of::<Arc<Item>>();
/// The list of those that are ready keeps room for so many more than it needs.
const ROOM: usize = 8;
/// What a set costs: itself, and room on the list that no item pays for.
const SET: usize = size_of::<Shared>() + 2 * size_of::<Epoll>() + 16 * ROOM * size_of::<Arc<Item>>();

/// Identifies a registration: descriptor number and description.
type Key = (i32, usize);

/// What an epoll set is, without its handle.
struct Shared {
    items: SpinLock<BTreeMap<Key, Arc<Item>>>,
    ready: Ready,
    /// Woken when something was put on the list.
    changed: WaitQueue,
    /// Those who wait to take it from there.
    crowd: Crowd,
    _charge: Charge,
}

/// An epoll set.
pub struct Epoll(Arc<Shared>);

impl Epoll {
    /// An empty set; `account` pays for it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(account: &Arc<Account>) -> Result<Arc<Epoll>, Errno> {
        Ok(Arc::new(Epoll(Arc::new(Shared {
            items: SpinLock::new(rank::PIPE, BTreeMap::new()),
            ready: Ready::new(),
            changed: WaitQueue::new(),
            crowd: Crowd::new(),
            _charge: account.charge(SET)?,
        }))))
    }

    /// `EPOLL_CTL_ADD`.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` for files that cannot be waited for, `ELOOP` for sets in each other, `EINVAL` for sets nested too deeply and for what does not go with `EPOLLEXCLUSIVE`;
    /// `ENOSPC` if the caller cannot pay, `ENOMEM`.
    pub fn add(&self, caller: &Caller, fd: i32, open: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let file = open.file();
        if file.seekable() {
            return Err(Errno::EPERM);
        }
        let is_exclusive = event.events & EPOLLEXCLUSIVE != 0;
        if is_exclusive && (event.events & !WITH_EXCLUSIVE != 0 || file.as_any().is::<Epoll>()) {
            return Err(Errno::EINVAL);
        }
        let key = (fd, Arc::as_ptr(open) as usize);
        if self.0.items.lock().contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        nests::nest(&self.0, file, key)?;
        let added = self.insert(caller, key, open, event);
        added.inspect_err(|_| nests::unnest(&self.0, file, key))?.begin();
        Ok(())
    }

    /// Pays for a registration and puts it into the set.
    fn insert(&self, caller: &Caller, key: Key, open: &Arc<OpenFile>, event: EpollEvent) -> Result<Arc<Item>, Errno> {
        let charge = match open.pay(caller, BYTES) {
            Ok(charge) => charge,
            // Those that have left may be what was paid for.
            Err(_) => {
                self.0.ready.meet(self.0.ready.len());
                open.pay(caller, BYTES)?
            }
        };
        let item = Item::new(&self.0, caller, key, open, event, charge);
        // Before it is in the set: it cannot close meanwhile, and nobody finds what then fails.
        let watcher: Arc<dyn Watcher> = item.clone();
        open.watch(Arc::downgrade(&watcher), size_of::<Item>(), caller)?;
        self.0.insert(&item)?;
        Ok(item)
    }

    /// `EPOLL_CTL_MOD`.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` if it is exclusive, or would be.
    pub fn modify(&self, fd: i32, open: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let key = (fd, Arc::as_ptr(open) as usize);
        let item = {
            // Under the lock: an item that leaves the set meanwhile must not get its interest back.
            let items = self.0.items.lock();
            let item = items.get(&key).cloned().ok_or(Errno::ENOENT)?;
            let wanted = Interest::new(event, open.file());
            let mut interest = item.interest.lock();
            if (interest.events | event.events) & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            *interest = wanted;
            drop(interest);
            item
        };
        item.begin();
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, fd: i32, open: &Arc<OpenFile>) -> Result<(), Errno> {
        if self.0.take(&(fd, Arc::as_ptr(open) as usize)) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Up to `limit` events that hold now for `caller`; empty if none does.
    pub fn wait_now(&self, caller: &Caller, limit: usize) -> Vec<EpollEvent> {
        let mut found = Vec::new();
        self.take_now(caller, limit, |event| found.push(event));
        found
    }

    /// Hands up to `limit` events that hold now for `caller` to `found`.
    pub fn take_now(&self, caller: &Caller, limit: usize, mut found: impl FnMut(EpollEvent)) {
        // Items that are queued again during the round wait for the next one.
        let round = self.0.ready.len();
        let mut left = limit;
        for _ in 0..round {
            if left == 0 {
                break;
            }
            let Some(item) = self.0.ready.pop() else { break };
            if let Some(event) = item.report(caller) {
                found(event);
                left -= 1;
            }
        }
        if round > ROOM {
            self.0.fit();
        }
    }

    /// Resolves when `wait_now` may find something. Look then, and also when giving up before.
    pub async fn wait_ready(&self) {
        let waits = Waits::new(&self.0);
        exec::sync::wait_until(&self.0.changed, || (!self.0.ready.is_empty()).then_some(())).await;
        waits.end();
    }
}

/// Somebody waits for what comes on the list.
struct Waits<'s>(&'s Shared);

impl<'s> Waits<'s> {
    fn new(set: &'s Shared) -> Self {
        set.crowd.join();
        Self(set)
    }

    /// It is through, and looks.
    fn end(self) {
        self.0.crowd.leave();
        core::mem::forget(self);
    }
}

impl Drop for Waits<'_> {
    /// It may never look: others are to hear of what this set alone was told.
    fn drop(&mut self) {
        self.0.crowd.leave();
        for _ in 0..self.0.ready.len() {
            if let Some(item) = self.0.ready.turn() {
                item.pass_on();
            }
        }
    }
}

impl Shared {
    /// Adds a registration, for which there is room in the list of those that are ready from now on.
    fn insert(&self, item: &Arc<Item>) -> Result<(), Errno> {
        let mut items = self.items.lock();
        if items.contains_key(&item.key) {
            return Err(Errno::EEXIST);
        }
        self.ready.make_room(items.len() + 1)?;
        items.insert(item.key, item.clone());
        Ok(())
    }

    /// Takes a registration out; false if it is not there.
    fn take(&self, key: &Key) -> bool {
        let item = {
            let mut items = self.items.lock();
            let item = items.remove(key);
            if let Some(item) = &item {
                self.ready.part(item, items.len());
            }
            item
        };
        if let Some(item) = &item {
            item.retire();
            self.fit();
        }
        item.is_some()
    }

    /// Gives up room that the list has too much.
    fn fit(&self) {
        let items = self.items.lock();
        self.ready.fit(items.len());
    }

    /// Whether there is something to report to `caller`, which stays on the list.
    fn holds(&self, caller: &Caller) -> bool {
        for _ in 0..self.ready.len() {
            let Some(first) = self.ready.first() else { return false };
            if first.holds(self, caller) {
                return true;
            }
        }
        false
    }
}

impl File for Epoll {
    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.0.changed)
    }

    fn events(&self) -> u32 {
        if self.0.ready.is_empty() { 0 } else { EPOLLIN }
    }

    fn look(&self, caller: &Caller) -> (u64, u32) {
        (0, if self.0.holds(caller) { EPOLLIN } else { 0 })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // Armed waits hold their item as waker: without this they would keep each other alive.
        let items = core::mem::take(&mut *self.0.items.lock());
        for item in items.values() {
            self.0.ready.part(item, usize::MAX - ROOM);
            item.leave_queue();
        }
        // Behind that: none is told what another passes on.
        items.values().for_each(|item| item.retire());
        // Not dropped under the lock of wakers, of which none queues an item any more.
        let ready = self.0.ready.take_all();
        drop(ready);
    }
}

#[cfg(test)]
mod tests;
