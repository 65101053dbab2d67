//! Rings that a program shares with the kernel: `io_uring_setup`, `io_uring_enter`, `io_uring_register` (note 0005).
//!
//! A [`RingFile`] is what a descriptor refers to; a [`Ring`] goes on as long as requests of its own wait. Its pages are the kernel's, mapped into whoever asks; the protocol of what lies in them, and who may write what, is
//! `base/ring`'s. Here it is decided what an entry asks for ([`operation`]), who takes entries and when ([`enter`], [`submission`]), and what
//! a ring is like ([`setup`]). What waits is a [`request`], served by a [`coroutine`] or by whoever comes ([`retry`], [`ready`]), what ends it in [`cancel`], who goes first in [`drain`].
//!
//! **Who holds what.** Taking entries is for one party at a time: a right that may be held across an `.await` ([`taking`]).
//! Completions are under a spin lock for some stores; nothing is run under it.
//!
//! **Waiting.** Who waits for completions is in the queue `changed`: enter, look, sleep; who posts stores the tail, then wakes.

mod begun;
mod buffers;
mod calls;
mod cancel;
mod commands;
mod coroutine;
mod device_polled;
mod drain;
mod enter;
mod fields;
mod files;
mod group_memory;
mod groups;
mod in_place;
mod in_turn;
mod notify;
mod operation;
mod ordinary;
mod own;
mod pages;
mod personalities;
mod pieces;
mod places;
mod polled;
mod readiness;
mod ready;
mod received;
mod register;
mod request;
mod restrictions;
mod retry;
mod ring_fds;
mod select;
mod setup;
mod stream;
mod submission;
mod table;
mod taking;
mod ticket;
mod timeout;
mod transfer;
mod urgency;
mod usage;
mod waiting;
mod waits;
mod workers;
mod zero_copy;

pub(crate) use buffers::Buffer;
pub(crate) use enter::begin_enter;
pub(crate) use files::Direct;
pub(crate) use notify::raise;
pub(crate) use ordinary::{name, register_call};
pub(crate) use register::register;
pub(crate) use setup::setup;

use crate::context::Task;
use abi::{
    errno::Errno,
    io_uring::{
        Cqe, IORING_OFF_MMAP_MASK, IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT, IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_NO_MMAP, IORING_SETUP_R_DISABLED, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SQPOLL,
        IORING_SETUP_TASKRUN_FLAG, Params,
    },
    poll::{EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM},
};
use alloc::{sync::Arc, vec::Vec};
use buffers::Buffers;
use cancel::Requests;
use core::{
    any::Any,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use drain::Drain;
use exec::sync::WaitQueue;
use files::Files;
use groups::Groups;
use hal::sync::{SpinGuard, SpinLock, rank};
use io::{
    file::{File, Want, as_a_whole},
    open::OpenFile,
};
use mem::{Backing, Charge};
use notify::Notify;
use pages::Pages;
use personalities::Personalities;
use polled::Poller;
use process::{Attached, Thread};
use ready::Retries;
use restrictions::Restrictions;
use ring::{Completions, Layout, Words, at};
use taking::Head;
use workers::Workers;

/// Completions that are kept and move at once under the lock.
const MOVED_AT_ONCE: usize = 64;
/// Among [`Ring::flags`], and no flag that a program may give: rules hold.
const RESTRICTED: u32 = 1 << 30;
/// No thread has this id.
const NOBODY: u32 = 0;

struct Posting {
    completions: Completions,
    head: Head,
    /// Somebody has the right to take entries: the head that counts is with who has.
    is_taking: bool,
    /// Completions that had been posted when the right was claimed.
    posted_before: u32,
    /// How many wait for that right.
    wanting: usize,
    /// Pays for what is kept, or may be.
    charge: Charge,
    /// Counts places for completions.
    places: Charge,
}

impl Posting {
    /// Takes places for completions that are outstanding, up to so many; how many.
    fn reserve(&mut self, wanted: usize) -> usize {
        let Self { completions, charge, places, .. } = self;
        completions.reserve(wanted, |bytes, count| {
            places.grow(count).is_ok()
                && (charge.grow(bytes).is_ok() || {
                    places.shrink(count);
                    false
                })
        })
    }

    /// A place is free: for who takes entries next, unless somebody does now or there are enough for that.
    #[inline]
    fn free_place(&mut self) {
        if self.is_taking || !self.head.keep_place() {
            self.release(1);
        }
    }

    #[inline(never)]
    fn release(&mut self, places: usize) {
        self.completions.release(places);
        self.settle();
    }

    /// Gives back what was paid for places that are gone.
    fn settle(&mut self) {
        let (bytes, places) = self.completions.owed();
        self.charge.shrink(self.charge.bytes().saturating_sub(bytes + size_of::<Ring>()));
        self.places.shrink(self.places.bytes().saturating_sub(places));
    }
}

/// A ring.
pub(crate) struct Ring {
    pages: Arc<Pages>,
    layout: Layout,
    /// `IORING_SETUP_*`; [`IORING_SETUP_R_DISABLED`] goes when the ring is enabled.
    flags: AtomicU32,
    /// The thread that is the only one to submit, where one is.
    issuer: AtomicU32,
    posting: SpinLock<Posting>,
    /// Requests that wait.
    requests: Requests,
    /// Those of them that have no coroutine.
    retries: Arc<Retries>,
    /// Processes that have submitted some of these.
    users: SpinLock<Users>,
    drain: Drain,
    /// Files that entries name by their place.
    files: Files,
    /// Memory that entries name by its place.
    buffers: Buffers,
    /// Memory to choose from.
    groups: Groups,
    notify: Notify,
    /// What entries and calls may ask for.
    restrictions: Restrictions,
    /// Rights that entries name by their number.
    personalities: Personalities,
    workers: Workers,
    /// Completions so far that told the time: those that wait for a number do not count them.
    timeouts: AtomicU32,
    /// How often the program was told a time so far: who waits for completions does not wait on behind that.
    told_times: AtomicU32,
    /// The right to take entries was given back.
    takers: WaitQueue,
    /// Who takes them, if calls do not.
    poller: Option<Poller>,
    /// It is one of its maker's.
    _counted: Charge,
}

/// Who wants what a ring still does.
struct Users {
    pids: Vec<u32>,
    /// Nobody has a descriptor any more.
    is_closed: bool,
}

/// A ring as a file. With it go the requests that wait.
pub(crate) struct RingFile(Arc<Ring>);

impl Drop for RingFile {
    fn drop(&mut self) {
        self.0.users.lock().is_closed = true;
        if let Some(poller) = &self.0.poller {
            poller.end();
        }
        self.0.requests.abandon(|_| true);
        self.0.retries.close();
        // They hold the ring, to tell of their end.
        let _ = self.0.buffers.unregister();
        let _ = self.0.files.unregister();
        // Nor is anything kept for it by who was told, if somebody was.
        let _ = self.0.tell_nobody();
    }
}

impl Attached for Ring {
    fn abandoned(&self, pid: u32) {
        self.users.lock().pids.retain(|user| *user != pid);
        if let Some(poller) = &self.poller {
            poller.abandoned(pid);
        }
        self.retries.abandoned(pid);
        self.requests.abandon(|request| request.pid == pid);
    }
}

impl Ring {
    fn new(task: &Task<'_>, layout: Layout, params: &Params, pages: Arc<Pages>) -> Result<Arc<Self>, Errno> {
        let has = |flag| params.flags & flag != 0;
        let (account, quotas) = (&task.caller().account, task.process().quotas());
        let counted = quotas.rings.charge(1)?;
        let charge = account.charge(size_of::<Self>())?;
        let posting = Posting {
            completions: Completions::new(&layout),
            head: Head::new(&layout),
            is_taking: false,
            posted_before: 0,
            wanting: 0,
            charge,
            places: quotas.requests.charge(0)?,
        };
        let ring = Self {
            pages,
            layout,
            flags: AtomicU32::new(params.flags),
            issuer: AtomicU32::new(NOBODY),
            posting: SpinLock::new(rank::PIPE, posting),
            requests: Requests::new(layout.completions(), account)?,
            retries: Retries::new(),
            users: SpinLock::new(rank::PIPE, Users { pids: Vec::new(), is_closed: false }),
            drain: Drain::new(),
            files: Files::new(),
            buffers: Buffers::new(),
            groups: Groups::new(),
            notify: Notify::new(),
            restrictions: Restrictions::new(),
            personalities: Personalities::new(),
            workers: Workers::new(task, &layout),
            timeouts: AtomicU32::new(0),
            told_times: AtomicU32::new(0),
            takers: WaitQueue::new(),
            poller: has(IORING_SETUP_SQPOLL).then(|| Poller::new(task.process(), params)),
            _counted: counted,
        };
        if !has(IORING_SETUP_R_DISABLED) {
            ring.appoint(task);
        }
        Ok(Arc::new(ring))
    }

    fn has(&self, flag: u32) -> bool {
        // Acquire pairs with the Release in `register::enable`: who sees the ring enabled sees whose it is.
        self.flags.load(Acquire) & flag != 0
    }

    /// Where only one thread may submit, this is the one, if none is yet.
    fn appoint(&self, task: &Task<'_>) {
        if self.has(IORING_SETUP_SINGLE_ISSUER) {
            // Relaxed: an id guards no other data. Who comes second does not replace the first.
            let _ = self.issuer.compare_exchange(NOBODY, task.thread().tid(), Relaxed, Relaxed);
        }
    }

    /// The caller's process has submitted a request that waits: the ring hears of its end.
    fn attach(self: &Arc<Self>, task: &Task<'_>) {
        let (process, mut users) = (task.process(), self.users.lock());
        if users.pids.contains(&process.pid()) {
            return;
        }
        users.pids.push(process.pid());
        drop(users);
        let ring: Arc<dyn Attached> = self.clone();
        process.attach(Arc::downgrade(&ring));
    }

    /// Whether nobody wants any more what a process has submitted: asked after a request was listed, so that this or who abandons finds it.
    fn has_lost(&self, pid: u32) -> bool {
        let users = self.users.lock();
        users.is_closed || !users.pids.contains(&pid)
    }

    /// Whether another thread than the caller is the only one to submit.
    fn issuer_is_another(&self, thread: &Thread) -> bool {
        let issuer = self.issuer.load(Relaxed);
        issuer != NOBODY && issuer != thread.tid()
    }

    /// Reserves places for up to `wanted` completions; how many there are.
    fn reserve(&self, wanted: usize) -> usize {
        self.posting.lock().reserve(wanted)
    }

    /// Completes requests that have places; how many of these that took.
    fn post(&self, completions: &[Cqe]) -> usize {
        let mut posting = self.posting.lock();
        let kept = posting.completions.post(&*self.pages, completions);
        posting.completions.publish(&*self.pages);
        drop(posting);
        self.changed().wake_all();
        kept
    }

    /// Posts the completion of a request that has a place, which is free then.
    fn post_placed(&self, completion: Cqe) {
        let mut posting = self.posting.lock();
        if posting.completions.post_one(&*self.pages, &completion) {
            posting.free_place();
        }
        self.have_posted_later(posting);
    }

    /// Something was completed elsewhere than where it was submitted.
    #[inline(always)]
    fn have_posted_later(&self, mut posting: SpinGuard<'_, Posting>) {
        if self.has(IORING_SETUP_DEFER_TASKRUN) {
            posting.completions.defer(&*self.pages, self.has(IORING_SETUP_TASKRUN_FLAG));
        } else {
            posting.completions.publish(&*self.pages);
        }
        drop(posting);
        self.changed().wake_all();
        self.tell(true);
    }

    /// The submitter asks for what was completed meanwhile. As on Linux who is told of completions is told of them again: who looked before saw none.
    fn show_deferred(&self) {
        if self.has(IORING_SETUP_DEFER_TASKRUN) && self.posting.lock().completions.show(&*self.pages) {
            self.changed().wake_all();
            self.tell(true);
        }
    }

    /// Who waits for completions, or for the end of a request, waits here.
    fn changed(&self) -> &WaitQueue {
        &self.retries.changed
    }

    /// Posts a completion that is not the last of its request, if there is room for it at once.
    fn post_more(&self, completion: Cqe) -> bool {
        let mut posting = self.posting.lock();
        if !posting.completions.post_if_room(&*self.pages, &completion) {
            return false;
        }
        self.have_posted_later(posting);
        true
    }

    /// The same of one that tells the time.
    fn post_time(&self, completion: Cqe) -> bool {
        let mut posting = self.posting.lock();
        let has_room = posting.completions.post_if_room(&*self.pages, &completion);
        if has_room {
            // Under the lock: whoever sees it sees that it tells the time.
            self.tell_time();
            self.have_posted_later(posting);
        }
        has_room
    }

    /// Completions so far, without those that told the time.
    fn counted(&self) -> u32 {
        // Relaxed: a count; it is stored before that completion is posted.
        let timeouts = self.timeouts.load(Relaxed);
        self.posting.lock().completions.posted().wrapping_sub(timeouts)
    }

    /// The next completion tells the time.
    fn count_timeout(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    /// It does not, after all.
    fn uncount_timeout(&self) {
        self.timeouts.fetch_sub(1, Relaxed);
    }

    /// A completion that tells the time is about to be posted, or was under the hold of the lock that the caller has: whoever waits goes back to the program then, as on Linux, with however
    /// few. So nobody's next wait, who has taken it, is ended by that.
    fn tell_time(&self) {
        // Release pairs with the Acquire in `waiting::Goal`, which looks behind the post, as that wakes it.
        self.told_times.fetch_add(1, Release);
    }

    /// Gives places back that are not needed.
    fn release(&self, places: usize) {
        if places > 0 {
            self.posting.lock().release(places);
        }
    }

    /// Moves some of the completions that were kept to where the program has made room; whether there are more to move.
    fn flush(&self) -> bool {
        let mut posting = self.posting.lock();
        if !posting.completions.flush(&*self.pages, MOVED_AT_ONCE) {
            return false;
        }
        posting.completions.publish(&*self.pages);
        posting.settle();
        let more = posting.completions.can_flush(&*self.pages);
        drop(posting);
        self.changed().wake_all();
        more
    }

    /// Moves all that there is room for.
    async fn flush_all(&self) {
        while self.flush() {
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
    }

    /// Completions in the ring that the program has not taken.
    fn waiting(&self) -> u32 {
        self.posting.lock().completions.waiting(&*self.pages)
    }

    /// Where the tail is when so many wait for the program, if it takes none.
    fn target(&self, wanted: u32) -> u32 {
        self.posting.lock().completions.target(&*self.pages, wanted)
    }

    /// The same, unless some are kept.
    fn waiting_in_order(&self) -> Option<u32> {
        self.posting.lock().completions.waiting_in_order(&*self.pages)
    }

    /// Whether there is no room for an entry.
    fn is_full(&self) -> bool {
        self.posting.lock().head.submissions.ready(&*self.pages) >= self.layout.entries()
    }
}

impl File for RingFile {
    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(self.0.changed())
    }

    fn events(&self) -> u32 {
        let ring = &self.0;
        // Of the shared words, as Linux: a program that spoils them is told what it wrote.
        let word = |offset| ring.pages.word(offset).load(Relaxed);
        let full = word(at::SQ_TAIL).wrapping_sub(word(at::SQ_HEAD)) >= ring.layout.entries();
        let none = ring.waiting_in_order() == Some(0);
        (if full { 0 } else { EPOLLOUT | EPOLLWRNORM }) | if none { 0 } else { EPOLLIN | EPOLLRDNORM }
    }

    fn edges(&self) -> u64 {
        self.0.posting.lock().completions.events()
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.0.pages.clone())
    }

    fn backing_at(&self, path: &Arc<[u8]>, offset: u64) -> Result<(Arc<dyn Backing>, u64), Errno> {
        match offset & IORING_OFF_MMAP_MASK {
            IORING_OFF_PBUF_RING => {
                let group = (offset & !IORING_OFF_MMAP_MASK) >> IORING_OFF_PBUF_SHIFT;
                let within = offset & ((1 << IORING_OFF_PBUF_SHIFT) - 1);
                self.0.groups.memory(group).map(|memory| (memory, within))
            }
            // Its pages are mapped where the program had memory, and nowhere else.
            _ if self.0.has(IORING_SETUP_NO_MMAP) => Err(Errno::EINVAL),
            _ => as_a_whole(self.backing(path), offset),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The ring behind a descriptor.
///
/// # Errors
/// `EBADF`; `EOPNOTSUPP` for other files.
#[inline]
fn ring_of(open: &OpenFile) -> Result<&Arc<Ring>, Errno> {
    // Not asked for what stands behind it, as others are: a ring stands for itself.
    let file: &dyn Any = &**open.file();
    file.downcast_ref().map(|file: &RingFile| &file.0).ok_or(Errno::EOPNOTSUPP)
}
