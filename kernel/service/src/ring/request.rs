//! A request that waits, as all see it who look for it: who cancels, its ring, the end of its process. What serves it is a coroutine
//! ([`coroutine`](super::coroutine)), or whoever comes ([`retry`](super::retry)); that alone finds out whether it completed or was cancelled
//! ([`RequestState`]).

use super::{
    Ring,
    buffers::Buffer,
    cancel::Place,
    operation::{About, Done},
    readiness::Watch,
    retry::Retry,
    timeout::Timer,
};
use crate::{
    System,
    context::{OfRequest, Task},
};
use abi::{errno::Errno, io_uring::*, process::WaitStatus, signal::SIGKILL};
use alloc::{boxed::Box, sync::Arc};
use exec::TaskRef;
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use mem::{AddressSpace, Charge, CopyFault};
use process::Thread;
use ring::{Outcome, RequestState};
use trace::Work;

/// The completion of one that was cancelled.
pub(super) const CANCELLED: Done = Done { result: -Errno::ECANCELED.number(), fails: true, flags: 0 };

/// How an entry is to be served, and its number in the trace, 0 for none: in one word, so that an entry goes in two registers.
#[derive(Clone, Copy)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn new(flags: u8, number: u64) -> Self {
        Self(number << 8 | u64::from(flags))
    }

    pub(super) fn flags(self) -> u8 {
        self.0 as u8
    }

    pub(super) fn number(self) -> u64 {
        self.0 >> 8
    }

    /// Whether an end like this has a completion.
    #[inline(always)]
    pub(super) fn tells(self, done: Done) -> bool {
        done.fails || self.flags() & IOSQE_CQE_SKIP_SUCCESS == 0
    }
}

/// What goes with an entry as long as it has not ended.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub user_data: u64,
    pub mark: Mark,
}

impl Entry {
    /// One that is not recorded.
    #[inline(always)]
    pub(super) fn silent(entry: &Sqe) -> Self {
        Self { user_data: entry.user_data, mark: Mark::new(entry.flags, 0) }
    }

    /// One that is taken now, and recorded if anything is.
    #[inline(always)]
    pub(super) fn taken(entry: &Sqe) -> Self {
        let number = hal::record::submit(Work::Entry(u32::from(entry.opcode)));
        Self { user_data: entry.user_data, mark: Mark::new(entry.flags, number) }
    }
}

/// A request that waits, as who cancels sees it.
pub(super) struct Request {
    pub place: Place,
    pub about: About,
    pub pid: u32,
    pub view: OfRequest,
    /// Its coroutine, from its first poll on.
    pub task: SpinLock<Option<TaskRef>>,
    /// Where it waits for a time.
    pub timer: Option<Box<SpinLock<Timer>>>,
    /// Where it waits for events, in a coroutine.
    pub watch: Option<Box<SpinLock<Watch>>>,
    /// Where it has no coroutine.
    pub retry: Option<Retry>,
    /// Unless it is among those that are paid for together.
    _charge: Option<Charge>,
}

impl Request {
    /// What comes back with it.
    pub(super) fn user_data(&self) -> u64 {
        self.place.user_data()
    }

    pub(super) fn state(&self) -> &RequestState {
        &self.view.state
    }

    /// Nobody is left who wants it, or what is linked behind it.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.state().abandon();
        self.rouse();
    }

    /// Ends it, unless it ends by itself first.
    pub(super) fn cancel(self: &Arc<Self>) {
        self.state().cancel();
        self.rouse();
    }

    /// Whether Linux says of its end how many such were ended, which is one, where it says of others that they were.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self.about.opcode, IORING_OP_FUTEX_WAIT | IORING_OP_FUTEX_WAITV | IORING_OP_WAITID)
    }

    /// Whether it has done nothing before its end. The others are told that they are to wait no longer, and answer what happened.
    pub(super) fn may_be_dropped(&self) -> bool {
        matches!(self.about.opcode, IORING_OP_ASYNC_CANCEL | IORING_OP_TIMEOUT | IORING_OP_POLL_ADD)
    }

    /// Whether it waits for events of a file.
    pub(super) fn is_poll(&self) -> bool {
        self.about.opcode == IORING_OP_POLL_ADD && (self.watch.is_some() || self.retry.is_some())
    }

    /// Has it look at what has changed.
    pub(super) fn rouse(self: &Arc<Self>) {
        if self.retry.is_some() {
            return self.clone().make_ready();
        }
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Request {
    /// One that waits without a coroutine.
    #[inline(always)]
    pub(super) fn of_retry(user_data: u64, about: About, pid: u32, retry: Retry) -> Arc<Self> {
        Arc::new(Request { retry: Some(retry), ..Self::plain(user_data, about, pid) })
    }

    /// Another, of the same process, in the place of one without a coroutine that has ended, and that nobody else has.
    #[inline]
    pub(super) fn renew(&mut self, user_data: u64, about: About) {
        (self.place, self.about) = (Place::new(user_data), about);
        self.view.state = RequestState::default();
        if let Some(retry) = &mut self.retry {
            retry.renew();
        }
    }

    #[inline(always)]
    pub(super) fn new(
        user_data: u64,
        about: About,
        pid: u32,
        buffer: Option<Arc<Buffer>>,
        timer: Option<Timer>,
        charge: Charge,
    ) -> Arc<Self> {
        Arc::new(Request {
            view: OfRequest { buffer, ..OfRequest::default() },
            timer: timer.map(|timer| Box::new(SpinLock::new(rank::PIPE, timer))),
            // A poll that has not begun knows no file.
            watch: (about.opcode == IORING_OP_POLL_ADD && about.file != 0).then(Watch::boxed),
            _charge: Some(charge),
            ..Self::plain(user_data, about, pid)
        })
    }

    #[inline(always)]
    fn plain(user_data: u64, about: About, pid: u32) -> Self {
        Request {
            place: Place::new(user_data),
            about,
            pid,
            view: OfRequest::default(),
            task: SpinLock::new(rank::PIPE, None),
            timer: None,
            watch: None,
            retry: None,
            _charge: None,
        }
    }

    /// Says what becomes of it to who cancels, and waits for that.
    pub(super) fn tell(&self, ring: &Ring, outcome: Outcome) {
        if self.state().tell(outcome) {
            ring.changed().wake_all();
        }
    }

    /// It has ended like this: its completion is posted.
    #[inline(always)]
    pub(super) fn ends(&self, ring: &Ring, done: Done) {
        self.tell(ring, if done == CANCELLED { Outcome::Cancelled } else { Outcome::Completed });
    }

    /// It has ended like this, if that was not said yet, and is listed no more.
    pub(super) fn has_ended(self: &Arc<Self>, ring: &Ring, done: Done) {
        self.ends(ring, done);
        ring.requests.remove(self);
        if ring.drain.has_deferred() {
            ring.drain.settle();
        }
    }
}

/// A poll is over of what a thread of this process has submitted: the one, maybe, that is to end it (`hal::fail`). No lock is held.
#[inline(always)]
pub(super) fn polled(thread: &Thread) {
    if hal::fail::is_last_poll(|| thread.process().account().address()) {
        thread.process().end(WaitStatus::Signaled(SIGKILL as u8, false).encode());
    }
}

/// On whose behalf a request runs, kept.
pub(super) struct Owner {
    system: Arc<System>,
    thread: Arc<Thread>,
    space: Arc<AddressSpace>,
    pub caller: Caller,
    /// Pays for this, where no coroutine does.
    _charge: Option<Charge>,
}

impl Owner {
    pub(super) fn of(task: &Task<'_>) -> Option<Self> {
        let system = task.system.own.upgrade()?;
        let (thread, space, caller) = (task.thread().clone(), task.shared_space(), task.caller().clone());
        Some(Self { system, thread, space, caller, _charge: None })
    }

    /// One for several requests, which its account pays for.
    pub(super) fn paid(task: &Task<'_>) -> Option<Self> {
        let charge = task.caller().account.charge(size_of::<Self>() + 16).ok()?;
        Some(Self { _charge: Some(charge), ..Self::of(task)? })
    }

    /// Whether it is who calls, as it is now.
    pub(super) fn is(&self, task: &Task<'_>) -> bool {
        let is_thread = Arc::ptr_eq(&self.thread, task.thread());
        is_thread && core::ptr::eq(&*self.space, task.space()) && self.caller.is(task.caller())
    }

    pub(super) fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    /// Pays for so many bytes.
    pub(super) fn charge(&self, bytes: usize) -> Result<Charge, Errno> {
        self.caller.account.charge(bytes)
    }

    /// Makes memory present that a copy has missed.
    pub(super) async fn resolve(&self, fault: CopyFault) -> Result<(), Errno> {
        self.space.resolve(fault).await
    }

    pub(super) fn task<'a>(&'a self, view: &'a OfRequest) -> Task<'a> {
        Task::of_request(&self.system, &self.thread, &self.space, &self.caller, view)
    }
}
