//! A request that waits, as all see it who look for it: who cancels, its ring, the end of its process. What serves it is a coroutine
//! ([`coroutine`](super::coroutine)), or whoever comes ([`retry`](super::retry)); that alone finds out whether it completed or was cancelled.

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
use abi::{errno::Errno, io_uring::*};
use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};
use exec::TaskRef;
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use mem::{AddressSpace, Charge, CopyFault};
use process::Thread;

/// The completion of one that was cancelled.
pub(super) const CANCELLED: Done = Done { result: -Errno::ECANCELED.number(), fails: true, flags: 0 };

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not yet.
    Runs,
    /// Not yet, though it was told to.
    GoesOn,
    /// With its own result.
    Completed,
    /// Because it was cancelled.
    Cancelled,
}

const RUNS: u8 = 0;
const GOES_ON: u8 = 1;
const COMPLETED: u8 = 2;
const GIVEN_UP: u8 = 3;

/// A request that waits, as who cancels sees it.
pub(super) struct Request {
    pub place: Place,
    pub about: About,
    pub pid: u32,
    pub view: OfRequest,
    /// With all that is linked behind it.
    abandoned: AtomicBool,
    /// Its end is known, and about to be told: nobody finds it any more.
    decided: AtomicBool,
    outcome: AtomicU8,
    /// Its coroutine, from its first poll on.
    pub task: SpinLock<Option<TaskRef>>,
    /// Where it waits for a time.
    pub timer: Option<Box<SpinLock<Timer>>>,
    /// Where it waits for events.
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

    /// Nobody is left who wants it, or what is linked behind it.
    pub(super) fn abandon(self: &Arc<Self>) {
        // Relaxed: ordered by the Release in `cancel`.
        self.abandoned.store(true, Relaxed);
        self.cancel();
    }

    /// Whether nobody wants it. Behind a look at the cancellation.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_cancelled() && self.abandoned.load(Relaxed)
    }

    /// Ends it, unless it ends by itself first.
    pub(super) fn cancel(self: &Arc<Self>) {
        // Release pairs with the Acquire in `Task::interrupted`.
        self.view.cancelled.store(true, Release);
        self.rouse();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        // Acquire pairs with the Release of who cancels.
        self.view.cancelled.load(Acquire)
    }

    /// Whether it has done nothing before its end. The others are told that they are to wait no longer, and answer what happened.
    pub(super) fn may_be_dropped(&self) -> bool {
        matches!(self.about.opcode, IORING_OP_ASYNC_CANCEL | IORING_OP_TIMEOUT | IORING_OP_POLL_ADD)
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

    /// Before the completion, so that who sees that, and uses its `user_data` again, means another.
    pub(super) fn decide(&self) {
        // Release pairs with the Acquire in `runs`, though the locks around the completion would do.
        self.decided.store(true, Release);
    }

    /// Whether it can be found.
    pub(super) fn runs(&self) -> bool {
        !self.decided.load(Acquire)
    }

    pub(super) fn outcome(&self) -> Outcome {
        // Acquire pairs with the Release in `Listed::tell`: the completion is posted.
        match self.outcome.load(Acquire) {
            RUNS => Outcome::Runs,
            GOES_ON => Outcome::GoesOn,
            COMPLETED => Outcome::Completed,
            _ => Outcome::Cancelled,
        }
    }
}

impl Request {
    /// One that waits without a coroutine.
    #[inline(always)]
    pub(super) fn of_retry(user_data: u64, about: About, pid: u32, retry: Retry) -> Arc<Self> {
        Arc::new(Request { retry: Some(retry), ..Self::plain(user_data, about, pid) })
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
            abandoned: AtomicBool::new(false),
            decided: AtomicBool::new(false),
            outcome: AtomicU8::new(RUNS),
            task: SpinLock::new(rank::PIPE, None),
            timer: None,
            watch: None,
            retry: None,
            _charge: None,
        }
    }

    /// Says what becomes of it to who cancels, and waits for that. An end is said once.
    fn tell(&self, ring: &Ring, outcome: u8) {
        // Relaxed: nobody else stores it. Release pairs with the Acquire in `Request::outcome`.
        if self.outcome.load(Relaxed) < outcome.min(COMPLETED) {
            self.outcome.store(outcome, Release);
            ring.changed().wake_all();
        }
    }

    /// It was told, and goes on.
    pub(super) fn goes_on(&self, ring: &Ring) {
        self.tell(ring, GOES_ON);
    }

    /// It has ended like this: its completion is posted.
    pub(super) fn ends(&self, ring: &Ring, done: Done) {
        self.tell(ring, if done == CANCELLED { GIVEN_UP } else { COMPLETED });
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

/// On whose behalf a request runs, kept.
pub(super) struct Owner {
    system: Arc<System>,
    thread: Arc<Thread>,
    space: Arc<AddressSpace>,
    pub caller: Caller,
}

impl Owner {
    pub(super) fn of(task: &Task<'_>) -> Option<Self> {
        let system = task.system.own.upgrade()?;
        Some(Self { system, thread: task.thread().clone(), space: task.shared_space(), caller: task.caller().clone() })
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
