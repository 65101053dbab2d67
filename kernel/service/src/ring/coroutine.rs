//! Requests that wait: each is a coroutine, with those that are linked behind it (note 0005, sections 3 and 5).
//!
//! ```text
//!   spawned --poll--> waits --ready--> completed: the result is posted, the next of the chain begins
//!                       |                  ^
//!                       +-- cancelled -----+   ECANCELED, if the poll that follows finds it still waiting; but a call or
//!                                               a transfer is told, and goes on to its end
//! ```
//!
//! **One decides.** Whether a request completed or was cancelled is found out by its own coroutine, in [`ring::RequestState`]: it polls, and only if that answers
//! pending it looks whether it is cancelled. What has an effect before its end (a call, a transfer) is never dropped half-way then: it asks
//! where it may be ended, and answers what happened. One that nobody wants any more is not polled again. Its task is noted in its first poll, after
//! which it looks: who cancelled before found none to wake.

use super::{
    Ring,
    buffers::Buffer,
    drain,
    operation::{About, Done, Operation, Step},
    request::{CANCELLED, Owner, Request, polled},
    submission::Share,
    ticket::{Chain, Linked, Ticket},
    timeout::{Sleeper, Timer},
    urgency::Urgency,
    usage,
    waits::Waits,
};
use crate::context::{OfRequest, Task};
use abi::{errno::Errno, io_uring::*};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};
use ring::{Outcome, Polled};

/// What a request takes: itself and its place in the table.
const BYTES: usize = size_of::<Request>() + size_of::<Timer>() + drain::BYTES;
/// What its coroutine takes at most.
const TASK: usize = 1344;

/// A request in its ring's table, as long as this is there.
pub(super) struct Listed {
    ring: Arc<Ring>,
    request: Arc<Request>,
}

impl Listed {
    /// Its completion is posted.
    fn end(&self, done: Done) {
        self.request.ends(&self.ring, done);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // One that could not begin.
        self.request.has_ended(&self.ring, Done::with(0));
    }
}

impl Owner {
    /// Pays for a request and lists it.
    fn enlist(
        &self,
        ring: &Arc<Ring>,
        user_data: u64,
        about: About,
        timer: Option<Timer>,
        buffer: Option<Arc<Buffer>>,
    ) -> Result<Listed, Errno> {
        let charge = self.caller.account.charge(BYTES + TASK)?;
        let request = Request::new(user_data, about, self.caller.pid, buffer, timer, charge);
        ring.requests.insert(&request)?;
        Ok(Listed { ring: ring.clone(), request })
    }
}

/// How a coroutine begins.
pub(super) enum Start {
    /// With a request that waits; the chain comes after it.
    Waits(Ticket, About, Waits),
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
pub(super) fn spawn(task: &Task<'_>, ring: &Arc<Ring>, start: Start, mut chain: Chain) {
    if let Start::Deferred { .. } = start {
        chain.otherwise(Errno::ENOMEM);
    }
    let Some(owner) = Owner::of(task) else { return };
    ring.attach(task);
    let first = match start {
        Start::Waits(ticket, about, waits) => {
            park(&owner, ring, ticket, about, waits).map(|parked| (Some(parked), None))
        }
        Start::Deferred { drains } => defer(&owner, ring, &chain, drains).map(|listed| (None, Some(listed))),
    };
    let Ok((parked, deferred)) = first else { return };
    // Before anybody can look for it.
    let limit = parked.as_ref().and_then(|parked: &Parked| Limit::of_next(&owner, &parked.listed, &mut chain));
    let urgency = match &parked {
        Some(parked) => parked.ticket.urgency,
        None => chain.first().map_or(Urgency::USUAL, |linked| linked.urgency),
    };
    let birth = urgency.birth(task.thread());
    let life = serve(owner, urgency, deferred, (parked, limit), chain);
    check_size(&life);
    if let Ok(handle) = exec::try_spawn_with(&birth, "ring request", life) {
        handle.detach();
    }
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

fn park(owner: &Owner, ring: &Arc<Ring>, mut ticket: Ticket, about: About, waits: Waits) -> Result<Parked, Errno> {
    let (mut waits, tag) = waits.untag();
    (ticket.otherwise, ticket.tag) = (Some(Errno::ENOMEM), tag);
    let about = About { file: waits.file(), ..about };
    let (timer, buffer) = (waits.timer(ring), waits.take_buffer());
    let listed = owner.enlist(ring, ticket.entry.user_data, about, timer, buffer)?;
    Ok(Parked { ticket, listed, waits })
}

fn defer(owner: &Owner, ring: &Arc<Ring>, chain: &Chain, drains: bool) -> Result<Listed, Errno> {
    let Some(Linked { entry, operation: Ok(operation), .. }) = chain.first() else { return Err(Errno::EINVAL) };
    let listed = owner.enlist(ring, entry.user_data, operation.about(), None, None)?;
    ring.drain.defer(&listed.request, drains)?;
    Ok(listed)
}

/// The coroutine: of a deferred chain, or of a request that waits.
#[expect(clippy::manual_async_fn, reason = "an `async fn` has a second copy of each argument, for as long as it waits")]
fn serve(
    owner: Owner,
    mut urgency: Urgency,
    mut deferred: Option<Listed>,
    (mut next, mut limit): (Option<Parked>, Option<Box<Limit>>),
    mut chain: Chain,
) -> impl Future<Output = ()> + Send {
    async move {
        if let Some(listed) = deferred.take() {
            chain.otherwise(Errno::ECANCELED);
            // Boxed: seldom.
            next = Box::pin(pass_gate(&owner, listed, &mut chain)).await;
            limit = next.as_ref().and_then(|next| Limit::of_next(&owner, &next.listed, &mut chain));
        }
        // Nothing is moved out of it: that would be there twice.
        while let Some(Parked { ticket, listed, waits }) = &mut next {
            ticket.otherwise = Some(Errno::ECANCELED);
            let task = exec::current().await;
            if ticket.urgency != core::mem::replace(&mut urgency, ticket.urgency)
                && let Some(task) = &task
            {
                exec::set_class(task, &urgency.birth(owner.thread()));
            }
            if let Some(limit) = &limit {
                *limit.listed.request.task.lock() = task.clone();
            }
            *listed.request.task.lock() = task;
            let done = wait_for(&owner, urgency, listed, waits, limit.as_deref_mut()).await;
            let hard = if listed.request.state().is_abandoned() { 0 } else { IOSQE_IO_HARDLINK };
            let flags = ticket.entry.mark.flags() & (hard | IOSQE_CQE_SKIP_SUCCESS);
            ticket.entry.user_data = listed.ring.requests.decide(&listed.request);
            ticket.complete(done);
            listed.end(done);
            if let Some(limit) = limit.take() {
                limit.end(done, listed.request.is_counted());
            }
            // The old one goes after the new one is there: a ring that goes finds one of the two.
            next = follow(&owner, &listed.ring, (done.fails, flags), &mut chain).await;
            limit = next.as_ref().and_then(|next| Limit::of_next(&owner, &next.listed, &mut chain));
        }
    }
}

/// Of a limit of one that has not waited.
pub(super) const UNUSED: Done = Done { result: -Errno::ECANCELED.number(), fails: false, flags: 0 };

/// Waits until a deferred chain may begin, and runs it up to what waits.
async fn pass_gate(owner: &Owner, listed: Listed, chain: &mut Chain) -> Option<Parked> {
    let Listed { request, ring } = &listed;
    *request.task.lock() = exec::current().await;
    let passed = poll_fn(|_| {
        polled(owner.thread());
        match () {
            () if request.state().is_cancelled() => Poll::Ready(false),
            () if ring.drain.passes(request, chain.len()) => Poll::Ready(true),
            () => Poll::Pending,
        }
    });
    let passed = passed.await;
    request.state().decide();
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
        let began = hal::time::now();
        let followed = follow_some(owner, ring, &mut after, chain);
        polled(owner.thread());
        // A chain that goes on is ranked anew with what it waits for.
        let _ = owner.thread().charge_moment(hal::time::now().saturating_sub(began));
        if let Followed::Through(next) = followed {
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
        let Some((mut ticket, operation, own)) = chain.next() else { return Followed::Through(None) };
        flags = ticket.entry.mark.flags();
        match operation.run_own(&task, own, ring, ticket.entry.user_data) {
            Step::Done(done) => {
                share.take(done);
                fails = done.fails;
                ticket.complete(done);
                drop(ticket);
                if let Some((mut limit, ..)) = chain.next_limit() {
                    limit.complete(UNUSED);
                }
            }
            Step::Waits(waits) => match park(owner, ring, ticket, operation.about(), waits) {
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
        let (mut ticket, operation, _) = chain.next_limit()?;
        let Operation::LinkTimeout(timeout) = operation else { return None };
        ticket.otherwise = Some(Errno::ENOMEM);
        let listed =
            owner.enlist(ring, ticket.entry.user_data, operation.about(), Some(timeout.start(ring)), None).ok()?;
        Some(Box::new(Self { ticket, listed, sleeper: Sleeper::default(), has_fired: false }))
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.listed.request.timer.as_deref();
        self.has_fired |= timer.is_some_and(|timer| self.sleeper.is_over(timer, context));
        self.has_fired
    }

    /// The request has ended like this. A limit that is not needed may be asked to say nothing.
    fn end(mut self, done: Done, is_counted: bool) {
        let errno = match (self.has_fired, done == CANCELLED) {
            (false, _) => Errno::ECANCELED,
            (true, true) => Errno::ETIME,
            (true, false) => Errno::EALREADY,
        };
        let result = if is_counted && errno == Errno::ETIME { 1 } else { errno.to_return() as i32 };
        self.listed.request.state().decide();
        // As on Linux, that is no failure of its own.
        self.ticket.complete(Done { result, fails: false, flags: 0 });
        self.listed.end(Done::with(0));
    }
}

async fn wait_for(
    owner: &Owner,
    urgency: Urgency,
    listed: &Listed,
    waits: &mut Waits,
    mut limit: Option<&mut Limit>,
) -> Done {
    let request = &*listed.request;
    let task = owner.task(&request.view);
    let mut run = pin!(waits.run(&task, &listed.ring, request));
    let mut is_busy = false;
    let done = poll_fn(|context| {
        let began = hal::time::now();
        let answer = request.state().poll(
            context,
            request.may_be_dropped(),
            |context| run.as_mut().poll(context),
            |context| limit.as_mut().is_some_and(|limit| limit.is_over(context)),
        );
        let birth = owner.thread().charge_moment(hal::time::now().saturating_sub(began));
        if birth.is_some() || is_busy {
            is_busy = usage::rank(owner.thread(), request, urgency, birth);
        }
        polled(owner.thread());
        match answer {
            Polled::Done(done) => return Poll::Ready(done),
            Polled::Cancelled => return Poll::Ready(CANCELLED),
            Polled::GoesOn => request.tell(&listed.ring, Outcome::GoesOn),
            Polled::Pending => {}
        }
        Poll::Pending
    })
    .await;
    let interrupted = done.fails && done.result == Errno::EINTR.to_return() as i32 && request.state().is_cancelled();
    if interrupted { CANCELLED } else { done }
}
