//! One registration in a set, and how it watches its file.

use super::{CONTROL, Key, Shared, WAIT, nests};
use crate::{
    caller::Caller,
    file::{BoxFuture, File, Want},
    open::{OpenFile, Watcher},
};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EpollEvent},
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    task::Wake,
};
use core::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};
use exec::sync::Contender;
use hal::sync::{SpinLock, rank};
use mem::Charge;

/// What is asked of an item, and what was answered.
pub(super) struct Interest {
    /// `EPOLL*` as registered; 0 while disabled by one-shot, and when the item has left the set.
    pub events: u32,
    /// Those of which only one of exclusive items is told, as registered.
    kinds: u32,
    data: u64,
    /// Edge count of the file at the last report.
    seen: u64,
    reported: bool,
    /// The item stays in the file's queue, or is about to enter it.
    watches: bool,
}

/// One registration.
pub(super) struct Item {
    pub key: Key,
    /// Not there when it has left the set.
    file: SpinLock<Option<Arc<dyn File>>>,
    open: Weak<OpenFile>,
    caller: Caller,
    pub interest: SpinLock<Interest>,
    /// One set is enough that hears of a change (`EPOLLEXCLUSIVE`).
    is_exclusive: bool,
    /// Its place in the file's queue, or a wait.
    armed: SpinLock<Option<BoxFuture<'static, Result<(), Errno>>>>,
    /// How many of these were begun.
    begun: AtomicU64,
    /// It is on the list of those that are ready, or about to be put there.
    pub queued: AtomicBool,
    /// It has left the set, and is put on the list no more.
    pub has_left: AtomicBool,
    set: Weak<Shared>,
    _charge: Charge,
}

impl Interest {
    pub fn new(event: EpollEvent, file: &Arc<dyn File>) -> Interest {
        // Errors and hang-ups are always told of, also to who asks for nothing.
        let events = event.events | EPOLLERR | EPOLLHUP;
        let watches = file.watched(events & !CONTROL).is_some();
        Interest {
            events,
            kinds: event.events & (EPOLLIN | EPOLLOUT),
            data: event.data,
            seen: 0,
            reported: false,
            watches,
        }
    }

    /// What is to be told of a file with these edges, for which these events hold.
    fn reports(&self, edges: u64, held: u32) -> u32 {
        let stale = self.events & EPOLLET != 0 && self.reported && edges == self.seen && edges != 0;
        if stale { 0 } else { held & self.mask() }
    }

    /// What is waited for.
    fn mask(&self) -> u32 {
        self.events & !CONTROL | EPOLLERR | EPOLLHUP
    }
}

impl Item {
    /// For `file`, which is that of `open`; the set is told of nothing until [`begin`](Self::begin).
    pub fn new(
        set: &Arc<Shared>,
        caller: &Caller,
        key: Key,
        open: &Arc<OpenFile>,
        event: EpollEvent,
        charge: Charge,
    ) -> Arc<Self> {
        let file = open.file();
        Arc::new(Self {
            key,
            file: SpinLock::new(rank::PIPE + 1, Some(file.clone())),
            open: Arc::downgrade(open),
            caller: caller.clone(),
            interest: SpinLock::new(rank::PIPE + 1, Interest::new(event, file)),
            is_exclusive: event.events & EPOLLEXCLUSIVE != 0,
            armed: SpinLock::new(rank::OPEN_FILE + 1, None),
            begun: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            set: Arc::downgrade(set),
            _charge: charge,
        })
    }

    /// The events of this item that hold for `caller`, if they are to be reported; arms or queues it for the next time.
    pub fn report(self: &Arc<Self>, caller: &Caller) -> Option<EpollEvent> {
        let (edges, held) = self.file()?.look(caller);
        let mut interest = self.interest.lock();
        let wanted = interest.events;
        let events = interest.reports(edges, held);
        if wanted == 0 {
            return None;
        }
        if events == 0 {
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

    /// Whether there is something to report to `caller`, all of which stays as it is. If not, it is taken off the list, on which it is the first.
    pub fn holds(self: &Arc<Self>, set: &Shared, caller: &Caller) -> bool {
        if self.would_report(caller).is_some_and(|(holds, _)| holds) {
            return true;
        }
        if !set.ready.pop_if(self) {
            return false;
        }
        // A wake from here on queues it again.
        match self.would_report(caller) {
            Some((true, _)) => {
                self.queue();
                true
            }
            Some((false, edges)) => {
                self.arm(Some(edges));
                false
            }
            None => false,
        }
    }

    /// Whether it would report something, and the edges that it goes by. `None`: it is disabled.
    fn would_report(&self, caller: &Caller) -> Option<(bool, u64)> {
        let (edges, held) = self.file()?.look(caller);
        let interest = self.interest.lock();
        (interest.events != 0).then(|| (interest.reports(edges, held) != 0, edges))
    }

    /// Tells another set what this one was told, for who would have seen to it does not.
    pub fn pass_on(&self) {
        if let Some(file) = self.file() {
            self.pass_to_others(&file);
        }
    }

    /// Each kind for itself: those who take one may not be there for the other. Nothing is to be passed on of what all were told.
    fn pass_to_others(&self, file: &Arc<dyn File>) {
        if !self.is_exclusive {
            return;
        }
        let events = self.interest.lock().kinds;
        if let Some(queue) = file.watched(events) {
            [EPOLLIN, EPOLLOUT].iter().filter(|&kind| events & kind != 0).for_each(|&kind| queue.wake(kind));
        }
    }

    /// The file, until it leaves the set. Not to be asked in a wake-up, which must not be the last to hold it.
    fn file(&self) -> Option<Arc<dyn File>> {
        self.file.lock().clone()
    }

    /// Begins to watch the file for what the interest says now, and looks at it a first time.
    pub fn begin(self: &Arc<Self>) {
        let Some(file) = self.file() else { return };
        let (mask, number) = {
            let interest = self.interest.lock();
            if !interest.watches {
                drop(interest);
                return self.arm(None);
            }
            (interest.mask(), self.next_number())
        };
        let mut place = self.place_in_queue(file.clone(), mask);
        let waker = Waker::from(self.clone());
        let _ = place.as_mut().poll(&mut Context::from_waker(&waker));
        self.keep(number, Some(place));
        if self.interest.lock().events == 0 {
            self.give_up(number);
            // It may have been told of a change meanwhile.
            self.pass_to_others(&file);
            return;
        }
        // In the queue by now.
        if file.look(&self.caller).1 & mask != 0 {
            self.queue();
        }
    }

    fn place_in_queue(self: &Arc<Self>, file: Arc<dyn File>, mask: u32) -> BoxFuture<'static, Result<(), Errno>> {
        if self.is_exclusive {
            let contender: Arc<dyn Contender> = self.clone();
            return boxed(async move {
                if let Some(queue) = file.watched(mask) {
                    match exec::sync::contend(queue, contender, mask).await {}
                }
                Ok(())
            });
        }
        boxed(async move {
            if let Some(queue) = file.watched(mask) {
                match exec::sync::stay(queue).await {}
            }
            Ok(())
        })
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

    pub fn queue(self: &Arc<Self>) {
        let Some(set) = self.set.upgrade() else { return };
        // One of several that are told in turn is to be on the list, not about to be put there, before it answers for that.
        if self.is_exclusive || !self.queued.load(Ordering::SeqCst) {
            set.ready.push(self);
        }
        set.changed.wake_all();
    }

    /// It is told of nothing any more. Not under a lock.
    pub fn leave_queue(&self) {
        self.interest.lock().events = 0;
        let old = self.armed.lock().take();
        drop(old);
    }

    /// It has left the set, and lets go of the file. Not under a lock: it may be the last to hold it.
    pub fn retire(&self) {
        self.leave_queue();
        let file = self.file.lock().take();
        if let Some(file) = &file {
            if let Some(set) = self.set.upgrade() {
                nests::unnest(&set, file, self.key);
            }
            // Out of the queue by now: whatever it was told before, also what is just being looked at, somebody else is told behind that.
            self.pass_to_others(file);
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

impl Contender for Item {
    fn tell(self: Arc<Self>) -> bool {
        self.queue();
        // Relaxed: if that comes later, who leaves passes it on.
        let has_left = self.has_left.load(Ordering::Relaxed);
        !has_left && self.set.upgrade().is_some_and(|set| set.crowd.is_there())
    }
}

impl Watcher for Item {
    fn closed(&self) {
        if let Some(set) = self.set.upgrade() {
            set.take(&self.key);
        }
    }
}
