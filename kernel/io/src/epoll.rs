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
//! destructor tells the item, which leaves the set. A set may be in another set, which may be in none: no cycles.
//!
//! **What a wake-up may drop.** Wakers are called under locks of the file and in interrupt handlers, and one may be the last to hold its
//! item. So an item lets go of its file when it leaves the set, which happens where no lock is held: the end of an item is never that of a file.
//!
//! **Who pays.** Who registers, for the item and its places in the set, in the ready list and in the description's list of watchers. The ready
//! list has room for all items before they can be queued, so that a wake-up asks for no memory. What has left the set enters it no more, and is let
//! go of when the list has far more room than the set needs.

use crate::{
    caller::Caller,
    file::{BoxFuture, File, Want},
    open::{OpenFile, Watcher},
};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP, EpollEvent},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    task::Wake,
    vec::Vec,
};
use core::{
    any::Any,
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};
use exec::sync::WaitQueue;
use hal::sync::{IrqLock, SpinLock, rank};
use mem::{Charge, Room};

/// Flags that are not events.
const CONTROL: u32 = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
/// What `EPOLLEXCLUSIVE` may come with, as in Linux. Each set hears of each change with it as without: at least one is promised.
const WITH_EXCLUSIVE: u32 = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

/// Room for a place or wait, which is boxed.
const WAIT: usize = 128;
/// Room for the file's own wait inside it: a terminal's is the largest.
pub(crate) const WAIT_OF_FILE: usize = 512;
/// What a registration costs: the item, a wait, and its places in the tree of the set and in lists.
const BYTES: usize =
    size_of::<Item>() + WAIT + WAIT_OF_FILE + 2 * size_of::<(Key, Arc<Item>)>() + 4 * size_of::<Arc<Item>>();
/// The list of those that are ready keeps room for so many more than it needs.
const ROOM: usize = 8;

/// Identifies a registration: descriptor number and description.
type Key = (i32, usize);

struct Interest {
    /// `EPOLL*` as registered; 0 while disabled by one-shot, and when the item has left the set.
    events: u32,
    data: u64,
    /// Edge count of the file at the last report.
    seen: u64,
    reported: bool,
    /// The item stays in the file's queue, or is about to enter it.
    watches: bool,
}

/// One registration.
struct Item {
    key: Key,
    /// Not there when it has left the set.
    file: SpinLock<Option<Arc<dyn File>>>,
    open: Weak<OpenFile>,
    caller: Caller,
    interest: SpinLock<Interest>,
    /// Its place in the file's queue, or a wait.
    armed: SpinLock<Option<BoxFuture<'static, Result<(), Errno>>>>,
    /// How many of these were begun.
    begun: AtomicU64,
    queued: AtomicBool,
    /// It has no room on the list any more.
    has_left: AtomicBool,
    set: Weak<Shared>,
    _charge: Charge,
}

struct Shared {
    items: SpinLock<BTreeMap<Key, Arc<Item>>>,
    /// Wakers push here, also from interrupt handlers.
    ready: IrqLock<VecDeque<Arc<Item>>>,
    changed: WaitQueue,
    /// Sets inside this set, and sets that this one is inside of.
    nested: AtomicUsize,
    inside: AtomicUsize,
}

/// An epoll set.
pub struct Epoll(Arc<Shared>);

impl Epoll {
    /// An empty set.
    pub fn new() -> Arc<Epoll> {
        Arc::new(Epoll(Arc::new(Shared {
            items: SpinLock::new(rank::PIPE, BTreeMap::new()),
            ready: IrqLock::new(rank::WAIT - 1, VecDeque::new()),
            changed: WaitQueue::new(),
            nested: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
        })))
    }

    /// `EPOLL_CTL_ADD`.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` for files that cannot be waited for, `ELOOP` for sets nested too deeply or in each other, `EINVAL` for what does not go with `EPOLLEXCLUSIVE`;
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
        let charge = match open.pay(caller, BYTES) {
            Ok(charge) => charge,
            // Those that have left may be what was paid for.
            Err(_) => {
                self.0.fit(0);
                open.pay(caller, BYTES)?
            }
        };
        let item = Arc::new(Item {
            key,
            file: SpinLock::new(rank::PIPE + 1, Some(file.clone())),
            open: Arc::downgrade(open),
            caller: caller.clone(),
            interest: SpinLock::new(rank::PIPE + 1, Interest::new(event, file)),
            armed: SpinLock::new(rank::OPEN_FILE + 1, None),
            begun: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            set: Arc::downgrade(&self.0),
            _charge: charge,
        });
        // Before it is in the set: it cannot close meanwhile, and nobody finds what then fails.
        let watcher: Arc<dyn Watcher> = item.clone();
        open.watch(Arc::downgrade(&watcher), size_of::<Item>(), caller)?;
        self.nest(file)?;
        if let Err(errno) = self.0.insert(&item) {
            self.0.unnest(file);
            return Err(errno);
        }
        item.begin();
        Ok(())
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
        let round = self.0.ready.lock().len();
        let mut left = limit;
        for _ in 0..round {
            if left == 0 {
                break;
            }
            let Some(item) = self.0.ready.lock().pop_front() else { break };
            // AcqRel pairs with `Item::queue`: a wake from here on queues the item again.
            item.queued.store(false, Ordering::SeqCst);
            if let Some(event) = item.report(caller) {
                found(event);
                left -= 1;
            }
        }
        if round > ROOM {
            self.0.fit(2);
        }
    }

    /// Resolves when `wait_now` may find something.
    pub async fn wait_ready(&self) {
        exec::sync::wait_until(&self.0.changed, || (!self.0.ready.lock().is_empty()).then_some(())).await;
    }

    /// Checks and notes that `file`, if it is a set, goes into this one.
    fn nest(&self, file: &Arc<dyn File>) -> Result<(), Errno> {
        let Some(inner) = file.as_any().downcast_ref::<Epoll>() else { return Ok(()) };
        if Arc::ptr_eq(&inner.0, &self.0) {
            return Err(Errno::EINVAL);
        }
        // Both counts are raised before either is tested, so two sets added to each other at once both fail.
        inner.0.inside.fetch_add(1, Ordering::SeqCst);
        self.0.nested.fetch_add(1, Ordering::SeqCst);
        if self.0.inside.load(Ordering::SeqCst) > 0 || inner.0.nested.load(Ordering::SeqCst) > 0 {
            self.0.unnest(file);
            return Err(Errno::ELOOP);
        }
        Ok(())
    }
}

impl Shared {
    /// Adds a registration, for which there is room in the list of those that are ready from now on.
    fn insert(&self, item: &Arc<Item>) -> Result<(), Errno> {
        let mut items = self.items.lock();
        if items.contains_key(&item.key) {
            return Err(Errno::EEXIST);
        }
        // For all of the set, whether or not they are on the list now, beside those on it that have left.
        self.ready.lock().make_room(items.len() + 1)?;
        items.insert(item.key, item.clone());
        Ok(())
    }

    /// Takes a registration out; false if it is not there.
    fn take(&self, key: &Key) -> bool {
        let item = {
            let mut items = self.items.lock();
            let item = items.remove(key);
            if let Some(item) = &item {
                // Relaxed: who counts the set's items next has both locks, and gives the list's to who queues.
                item.has_left.store(true, Ordering::Relaxed);
            }
            item
        };
        if let Some(item) = &item {
            item.retire();
            self.fit(2);
        }
        item.is_some()
    }

    /// Lets go of those on the ready list that have left, and of room that it has too much, if it has so many times what it needs. Seldom: those that have left
    /// have paid for it.
    fn fit(&self, times: usize) {
        let items = self.items.lock();
        let mut ready = self.ready.lock();
        let most = 2 * (items.len() + ROOM);
        if ready.capacity() <= times * most {
            return;
        }
        let mut less = VecDeque::new();
        if less.make_exact_room(most).is_err() {
            return;
        }
        let mut old = core::mem::replace(&mut *ready, less);
        for _ in 0..old.len() {
            let Some(item) = old.pop_front() else { break };
            let list = if item.has_left.load(Ordering::Relaxed) { &mut old } else { &mut *ready };
            list.push_back(item);
        }
        drop(ready);
        drop(items);
        drop(old);
    }

    /// Notes that `file`, if it is a set, is no longer in this one.
    fn unnest(&self, file: &Arc<dyn File>) {
        if let Some(inner) = file.as_any().downcast_ref::<Epoll>() {
            inner.0.inside.fetch_sub(1, Ordering::SeqCst);
            self.nested.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Interest {
    fn new(event: EpollEvent, file: &Arc<dyn File>) -> Interest {
        // Errors and hang-ups are always told of, also to who asks for nothing.
        let events = event.events | EPOLLERR | EPOLLHUP;
        let watches = file.watched(events & !CONTROL).is_some();
        Interest { events, data: event.data, seen: 0, reported: false, watches }
    }

    /// What is waited for.
    fn mask(&self) -> u32 {
        self.events & !CONTROL | EPOLLERR | EPOLLHUP
    }
}

impl File for Epoll {
    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.0.changed)
    }

    fn events(&self) -> u32 {
        if self.0.ready.lock().is_empty() { 0 } else { EPOLLIN }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Item {
    /// The events of this item that hold for `caller`, if they are to be reported; arms or queues it for the next time.
    fn report(self: &Arc<Self>, caller: &Caller) -> Option<EpollEvent> {
        let (edges, held) = self.file()?.look(caller);
        let mut interest = self.interest.lock();
        let wanted = interest.events;
        let events = held & (wanted & !CONTROL | EPOLLERR | EPOLLHUP);
        let stale = wanted & EPOLLET != 0 && interest.reported && edges == interest.seen && edges != 0;
        if wanted == 0 {
            return None;
        }
        if events == 0 || stale {
            drop(interest);
            self.arm(Some(edges));
            return None;
        }
        (interest.seen, interest.reported) = (edges, true);
        let data = interest.data;
        if wanted & EPOLLONESHOT != 0 {
            interest.events = 0;
        }
        drop(interest);
        if wanted & EPOLLONESHOT == 0 {
            if wanted & EPOLLET != 0 { self.arm(Some(edges)) } else { self.queue() }
        }
        Some(EpollEvent { events, pad: 0, data })
    }

    /// The file, until it leaves the set. Not to be asked in a wake-up, which must not be the last to hold it.
    fn file(&self) -> Option<Arc<dyn File>> {
        self.file.lock().clone()
    }

    /// Begins to watch the file for what the interest says now, and looks at it a first time.
    fn begin(self: &Arc<Self>) {
        let Some(file) = self.file() else { return };
        let (mask, number) = {
            let interest = self.interest.lock();
            if !interest.watches {
                drop(interest);
                return self.arm(None);
            }
            (interest.mask(), self.next_number())
        };
        let watched = file.clone();
        let mut place = boxed(async move {
            if let Some(queue) = watched.watched(mask) {
                match exec::sync::stay(queue).await {}
            }
            Ok(())
        });
        let waker = Waker::from(self.clone());
        let _ = place.as_mut().poll(&mut Context::from_waker(&waker));
        self.keep(number, Some(place));
        if self.interest.lock().events == 0 {
            return self.give_up(number);
        }
        // In the queue by now.
        if file.look(&self.caller).1 & mask != 0 {
            self.queue();
        }
    }

    /// The number of a place or wait that begins. Under the interest's lock.
    fn next_number(&self) -> u64 {
        // Relaxed: ordered by that lock; see `keep`.
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Keeps a place or wait, unless another was begun since.
    fn keep(&self, number: u64, wait: Option<BoxFuture<'static, Result<(), Errno>>>) {
        let mut armed = self.armed.lock();
        // Relaxed: a later one that is not seen here comes here after this.
        let is_last = self.begun.load(Ordering::Relaxed) == number;
        let old = if is_last { core::mem::replace(&mut *armed, wait) } else { wait };
        drop(armed);
        drop(old);
    }

    /// Retired, or disabled, while it began to wait: nobody else comes for that, and it holds this item.
    fn give_up(&self, number: u64) {
        // Not what others have begun since: they look for themselves.
        self.keep(number, None);
    }

    /// Waits for the file with this item as the waker, unless it stays in the file's queue; `since` are the edges of a look that found
    /// nothing new.
    fn arm(self: &Arc<Self>, since: Option<u64>) {
        let Some(file) = self.file() else { return };
        let (mask, edge, number) = {
            let interest = self.interest.lock();
            if interest.watches || interest.events == 0 {
                return;
            }
            let edge = interest.events & EPOLLET != 0 && interest.reported;
            (interest.mask(), edge.then_some(interest.seen), self.next_number())
        };
        let caller = self.caller.clone();
        let mut wait = boxed(async move {
            match (edge, since) {
                (Some(seen), _) => file.wait_edge(&caller, mask, seen).await,
                (None, Some(since)) => file.wait_level(&caller, mask, since).await,
                (None, None) => file.wait(&caller, Want::Events(mask)).await,
            }
        });
        let waker = Waker::from(self.clone());
        let ready = matches!(wait.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(_));
        self.keep(number, (!ready).then_some(wait));
        if ready {
            self.queue();
        } else if self.interest.lock().events == 0 {
            self.give_up(number);
        }
    }

    fn queue(self: &Arc<Self>) {
        let Some(set) = self.set.upgrade() else { return };
        if !self.queued.swap(true, Ordering::SeqCst) {
            let mut ready = set.ready.lock();
            // There is room for those of the set.
            if !self.has_left.load(Ordering::Relaxed) {
                ready.push_back(self.clone());
            }
        }
        set.changed.wake_all();
    }

    /// It has left the set, and lets go of the file. Not under a lock: it may be the last to hold it.
    fn retire(&self) {
        self.interest.lock().events = 0;
        let old = self.armed.lock().take();
        drop(old);
        let file = self.file.lock().take();
        if let (Some(file), Some(set)) = (file, self.set.upgrade()) {
            set.unnest(&file);
        }
        if let Some(open) = self.open.upgrade() {
            open.watcher_leaves();
        }
    }
}

/// A place or wait, for which the item has paid.
fn boxed<F: Future<Output = Result<(), Errno>> + Send + 'static>(wait: F) -> BoxFuture<'static, Result<(), Errno>> {
    const { assert!(size_of::<F>() <= WAIT) };
    Box::pin(wait)
}

impl Wake for Item {
    fn wake(self: Arc<Self>) {
        self.queue();
    }
}

impl Watcher for Item {
    fn closed(&self) {
        if let Some(set) = self.set.upgrade() {
            set.take(&self.key);
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // Armed waits hold their item as waker: without this they would keep each other alive.
        let items = core::mem::take(&mut *self.0.items.lock());
        for item in items.values() {
            item.has_left.store(true, Ordering::Relaxed); // as in `take`
            item.retire();
        }
        // Not dropped under the lock of wakers, of which none queues an item any more.
        let ready = core::mem::take(&mut *self.0.ready.lock());
        drop(ready);
    }
}

#[cfg(test)]
mod tests;
