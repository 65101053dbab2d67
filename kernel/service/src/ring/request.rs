//! Requests that wait: each is a coroutine, with those that are linked behind it (note 0005, sections 3 and 5).
//!
//! ```text
//!   spawned --poll--> waits --ready--> completed: the result is posted, the next of the chain begins
//!                       |                  ^
//!                       +-- cancelled -----+   ECANCELED, if the poll that follows finds it still waiting; but a call or
//!                                               a transfer is told, and goes on to its end
//! ```
//!
//! **One decides.** Whether a request completed or was cancelled is found out by its own coroutine: it polls, and only if that answers
//! pending it looks whether it is cancelled. What has an effect before its end (a call, a transfer) is never dropped half-way then: it asks the
//! flag where it may be ended, and answers what happened; it is polled once more after it is told. One that nobody wants any more is not polled again. A canceller sets the flag, then wakes; a wake
//! during the poll has the coroutine polled once more. Its task is noted in its first poll, after which it looks: who cancelled before found none to wake.

use super::{
    Ring,
    buffers::Buffer,
    cancel::{Key, Place},
    drain,
    operation::{About, Done, Operation, Step, Waits},
    readiness::Watch,
    retry::Retry,
    submission::Share,
    ticket::{Chain, Ticket},
    timeout::{Sleeper, Timer},
};
use crate::{
    System,
    context::{OfRequest, Task},
};
use abi::{errno::Errno, io_uring::*};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicBool, AtomicU8,
        Ordering::{Acquire, Relaxed, Release},
    },
    task::{Context, Poll},
};
use exec::TaskRef;
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use mem::{AddressSpace, Charge, CopyFault};
use process::Thread;

/// What a request takes: itself and its place in the table.
const BYTES: usize = size_of::<Request>() + size_of::<Timer>() + drain::BYTES + 96;
/// What its coroutine takes at most.
const TASK: usize = 1344;

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
    task: SpinLock<Option<TaskRef>>,
    /// Where it waits for a time.
    pub timer: Option<Box<SpinLock<Timer>>>,
    /// Where it waits for events.
    pub watch: Option<Box<SpinLock<Watch>>>,
    /// Where it has no coroutine.
    pub retry: Option<Retry>,
    _charge: Charge,
}

impl Request {
    /// What comes back with it.
    pub(super) fn user_data(&self) -> u64 {
        self.place.key().0
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
    fn may_be_dropped(&self) -> bool {
        matches!(self.about.opcode, IORING_OP_ASYNC_CANCEL | IORING_OP_TIMEOUT | IORING_OP_POLL_ADD)
    }

    /// Has it look at what has changed.
    pub(super) fn rouse(self: &Arc<Self>) {
        if let Some(retry) = &self.retry {
            return self.make_ready(retry);
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

fn outcome_of(done: Done) -> u8 {
    if done == CANCELLED { GIVEN_UP } else { COMPLETED }
}

impl Request {
    /// One that waits without a coroutine.
    #[inline(always)]
    pub(super) fn of_retry(key: Key, about: About, pid: u32, retry: Retry, charge: Charge) -> Arc<Self> {
        Self::new(key, about, pid, None, (None, Some(retry)), charge)
    }

    #[inline(always)]
    fn new(
        key: Key,
        about: About,
        pid: u32,
        buffer: Option<Arc<Buffer>>,
        (timer, retry): (Option<Timer>, Option<Retry>),
        charge: Charge,
    ) -> Arc<Self> {
        Arc::new(Request {
            place: Place::of(key),
            about,
            pid,
            view: OfRequest { buffer, ..OfRequest::default() },
            abandoned: AtomicBool::new(false),
            decided: AtomicBool::new(false),
            outcome: AtomicU8::new(RUNS),
            task: SpinLock::new(rank::PIPE, None),
            timer: timer.map(|timer| Box::new(SpinLock::new(rank::PIPE, timer))),
            // A poll that has not begun knows no file.
            watch: (about.opcode == IORING_OP_POLL_ADD && about.file != 0).then(Watch::boxed),
            retry,
            _charge: charge,
        })
    }

    /// Says what becomes of it to who cancels, and waits for that. An end is said once.
    fn tell(&self, ring: &Ring, outcome: u8) {
        // Relaxed: nobody else stores it. Release pairs with the Acquire in `Request::outcome`.
        if self.outcome.load(Relaxed) < outcome.min(COMPLETED) {
            self.outcome.store(outcome, Release);
            ring.changed.wake_all();
        }
    }

    /// It has ended like this, if that was not said yet, and is listed no more.
    pub(super) fn has_ended(self: &Arc<Self>, ring: &Ring, done: Done) {
        self.tell(ring, outcome_of(done));
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
    caller: Caller,
}

/// A request in its ring's table, as long as this is there.
pub(super) struct Listed {
    ring: Arc<Ring>,
    request: Arc<Request>,
}

impl Listed {
    /// Its completion is posted.
    fn end(&self, done: Done) {
        self.tell(outcome_of(done));
    }

    fn tell(&self, outcome: u8) {
        self.request.tell(&self.ring, outcome);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // One that could not begin.
        self.request.has_ended(&self.ring, Done::with(0));
    }
}

impl Owner {
    pub(super) fn of(task: &Task<'_>) -> Option<Self> {
        let system = task.system.own.upgrade()?;
        Some(Self { system, thread: task.thread().clone(), space: task.shared_space(), caller: task.caller().clone() })
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
        Task::of_request(&self.system, &self.thread, self.space.clone(), self.caller.clone(), view)
    }

    /// Pays for a request and lists it.
    fn enlist(
        &self,
        ring: &Arc<Ring>,
        ticket: &Ticket,
        about: About,
        timer: Option<Timer>,
        buffer: Option<Arc<Buffer>>,
    ) -> Result<Listed, Errno> {
        let charge = self.caller.account.charge(BYTES + TASK)?;
        let request =
            Request::new(ring.requests.key(ticket.user_data), about, self.caller.pid, buffer, (timer, None), charge);
        ring.requests.insert(&request);
        Ok(Listed { ring: ring.clone(), request })
    }
}

/// How a coroutine begins.
pub(super) enum Start {
    /// With a request that waits; the chain comes after it.
    Waits(Ticket, Operation, Waits),
    /// With the chain, when its turn has come.
    Deferred {
        /// When all that run have ended.
        drains: bool,
    },
}

/// A request that waits, with what it waits for.
struct Parked {
    ticket: Ticket,
    listed: Listed,
    waits: Waits,
}

/// Has a request and those linked behind it go on by themselves.
pub(super) fn spawn(task: &Task<'_>, ring: &Arc<Ring>, start: Start, chain: Chain) {
    let Some(owner) = Owner::of(task) else { return };
    ring.attach(task);
    let first = match start {
        Start::Waits(ticket, operation, waits) => {
            park(&owner, ring, ticket, &operation, waits).map(|parked| (Some(parked), None))
        }
        Start::Deferred { drains } => defer(&owner, ring, &chain, drains).map(|listed| (None, Some(listed))),
    };
    let Ok((parked, deferred)) = first else { return };
    let birth = task.thread().birth_of_request();
    let life = serve(owner, deferred, parked, chain);
    check_size(&life);
    if let Ok(handle) = exec::try_spawn_with(&birth, "ring request", life) {
        handle.detach();
    }
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

fn park(
    owner: &Owner,
    ring: &Arc<Ring>,
    mut ticket: Ticket,
    operation: &Operation,
    mut waits: Waits,
) -> Result<Parked, Errno> {
    ticket.otherwise = Some(Errno::ENOMEM);
    let about = About { file: waits.file(), ..operation.about() };
    let (timer, buffer) = (waits.timer(ring), waits.take_buffer());
    let listed = owner.enlist(ring, &ticket, about, timer, buffer)?;
    Ok(Parked { ticket, listed, waits })
}

fn defer(owner: &Owner, ring: &Arc<Ring>, chain: &Chain, drains: bool) -> Result<Listed, Errno> {
    let (ticket, operation) = chain.first().ok_or(Errno::ENOMEM)?;
    let listed = owner.enlist(ring, ticket, operation.about(), None, None)?;
    ring.drain.defer(&listed.request, drains)?;
    Ok(listed)
}

/// The coroutine: of a deferred chain, or of a request that waits.
#[expect(clippy::manual_async_fn, reason = "an `async fn` has a second copy of each argument, for as long as it waits")]
fn serve(
    owner: Owner,
    mut deferred: Option<Listed>,
    mut next: Option<Parked>,
    mut chain: Chain,
) -> impl Future<Output = ()> + Send {
    async move {
        if let Some(listed) = deferred.take() {
            // Boxed: seldom.
            next = Box::pin(pass_gate(&owner, listed, &mut chain)).await;
        }
        // Nothing is moved out of it: that would be there twice.
        while let Some(Parked { ticket, listed, waits }) = &mut next {
            ticket.otherwise = Some(Errno::ECANCELED);
            *listed.request.task.lock() = exec::current().await;
            let mut limit = Limit::of_next(&owner, listed, &mut chain);
            let done = wait_for(&owner, listed, waits, limit.as_deref_mut()).await;
            let hard = if listed.request.abandoned.load(Relaxed) { 0 } else { IOSQE_IO_HARDLINK };
            let flags = ticket.flags & (hard | IOSQE_CQE_SKIP_SUCCESS);
            ticket.user_data = listed.ring.requests.decide(&listed.request);
            ticket.complete(done);
            listed.end(done);
            if let Some(limit) = limit {
                limit.end(done);
            }
            // The old one goes after the new one is there: a ring that goes finds one of the two.
            next = follow(&owner, &listed.ring, (done.fails, flags), &mut chain).await;
        }
    }
}

pub(super) const CANCELLED: Done = Done { result: -Errno::ECANCELED.number(), fails: true, flags: 0 };

/// Of a limit of one that has not waited.
const UNUSED: Done = Done { result: -Errno::ECANCELED.number(), fails: false, flags: 0 };

/// Waits until a deferred chain may begin, and runs it up to what waits.
async fn pass_gate(owner: &Owner, listed: Listed, chain: &mut Chain) -> Option<Parked> {
    let Listed { request, ring } = &listed;
    *request.task.lock() = exec::current().await;
    let passed = poll_fn(|_| match () {
        () if request.view.cancelled.load(Acquire) => Poll::Ready(false),
        () if ring.drain.passes(request, chain.len()) => Poll::Ready(true),
        () => Poll::Pending,
    });
    let passed = passed.await;
    request.decide();
    if passed {
        chain.begin();
        let next = follow(owner, ring, (false, 0), chain).await;
        ring.drain.has_begun();
        listed.end(Done::with(0));
        return next;
    }
    chain.cancel(0);
    listed.end(CANCELLED);
    None
}

/// How far some of a chain went.
enum Followed {
    /// To its end, or to one that waits.
    Through(Option<Parked>),
    /// So far that others get their turn first.
    Some,
}

/// Goes through what is linked behind a request that has ended with `after`, up to the next that waits.
async fn follow(owner: &Owner, ring: &Arc<Ring>, mut after: (bool, u8), chain: &mut Chain) -> Option<Parked> {
    loop {
        if let Followed::Through(next) = follow_some(owner, ring, &mut after, chain) {
            return next;
        }
        exec::yield_now().await;
        // None is listed now that could be found.
        if ring.has_lost(owner.caller.pid) {
            chain.cancel(0);
            return None;
        }
    }
}

/// As much of a chain as goes in one poll.
fn follow_some(owner: &Owner, ring: &Arc<Ring>, after: &mut (bool, u8), chain: &mut Chain) -> Followed {
    let never = OfRequest::default();
    let task = owner.task(&never);
    let (mut fails, mut flags) = *after;
    let mut share = Share::default();
    while !fails || flags & IOSQE_IO_HARDLINK != 0 {
        if share.is_used() {
            *after = (fails, flags);
            return Followed::Some;
        }
        let Some((mut ticket, operation)) = chain.next() else { return Followed::Through(None) };
        flags = ticket.flags;
        match operation.run(&task, ring, ticket.user_data) {
            Step::Done(done) => {
                share.take(done);
                fails = done.fails;
                ticket.complete(done);
                drop(ticket);
                if let Some((mut limit, _)) = chain.next_limit() {
                    limit.complete(UNUSED);
                }
            }
            Step::Waits(waits) => match park(owner, ring, ticket, &operation, waits) {
                Ok(parked) => {
                    if ring.has_lost(owner.caller.pid) {
                        parked.listed.request.abandon();
                    }
                    return Followed::Through(Some(parked));
                }
                Err(_) => (fails, flags) = (true, flags & !IOSQE_IO_HARDLINK),
            },
        }
    }
    chain.cancel(flags);
    Followed::Through(None)
}

/// A limit of the time that a request waits: an entry of its own, linked behind that.
struct Limit {
    ticket: Ticket,
    listed: Listed,
    sleeper: Sleeper,
    has_fired: bool,
}

impl Limit {
    /// The one behind the request that waits now, if there is one: it begins.
    fn of_next(owner: &Owner, limited: &Listed, chain: &mut Chain) -> Option<Box<Self>> {
        let ring = &limited.ring;
        let (mut ticket, operation) = chain.next_limit()?;
        let Operation::LinkTimeout(timeout) = operation else { return None };
        ticket.otherwise = Some(Errno::ENOMEM);
        let listed = owner.enlist(ring, &ticket, operation.about(), Some(timeout.start(ring)), None).ok()?;
        let task = limited.request.task.lock().clone();
        *listed.request.task.lock() = task;
        Some(Box::new(Self { ticket, listed, sleeper: Sleeper::default(), has_fired: false }))
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.listed.request.timer.as_deref();
        self.has_fired |= timer.is_some_and(|timer| self.sleeper.is_over(timer, context));
        self.has_fired
    }

    /// The request has ended like this. A limit that is not needed may be asked to say nothing.
    fn end(mut self, done: Done) {
        let errno = match (self.has_fired, done == CANCELLED) {
            (false, _) => Errno::ECANCELED,
            (true, true) => Errno::ETIME,
            (true, false) => Errno::EALREADY,
        };
        self.listed.request.decide();
        // As on Linux, that is no failure of its own.
        self.ticket.complete(Done { result: errno.to_return() as i32, fails: false, flags: 0 });
        self.listed.end(Done::with(0));
    }
}

async fn wait_for(owner: &Owner, listed: &Listed, waits: &mut Waits, mut limit: Option<&mut Limit>) -> Done {
    let request = &*listed.request;
    let task = owner.task(&request.view);
    let mut run = pin!(waits.run(&task, &listed.ring, request));
    let done = poll_fn(|context| {
        let was_told = request.is_cancelled();
        // Nobody would get what it takes. Relaxed: ordered by the Acquire.
        if was_told && request.abandoned.load(Relaxed) {
            return Poll::Ready(CANCELLED);
        }
        if let Poll::Ready(done) = run.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if limit.as_mut().is_some_and(|limit| limit.is_over(context)) {
            // Release: as in `cancel`.
            request.view.cancelled.store(true, Release);
        }
        if !request.is_cancelled() {
            return Poll::Pending;
        }
        // Told after it was polled: it has not had its say.
        if !was_told && let Poll::Ready(done) = run.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if request.may_be_dropped() {
            return Poll::Ready(CANCELLED);
        }
        listed.tell(GOES_ON);
        Poll::Pending
    })
    .await;
    let interrupted = done.result == Errno::EINTR.to_return() as i32 && request.is_cancelled();
    if interrupted { CANCELLED } else { done }
}
