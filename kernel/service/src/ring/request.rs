//! Requests that wait: each is a coroutine, with those that are linked behind it (note 0005, sections 3 and 5).
//!
//! ```text
//!   spawned --poll--> waits --ready--> completed: the result is posted, the next of the chain begins
//!                       |                  ^
//!                       +-- cancelled -----+   ECANCELED, if the poll that follows finds it still waiting
//! ```
//!
//! **One decides.** Whether a request completed or was cancelled is found out by its own coroutine: it polls, and only if that answers
//! pending it looks whether it is cancelled. So who has moved bytes says so. One that nobody wants any more is not polled again. A canceller sets the flag, then wakes; a wake
//! during the poll has the coroutine polled once more. Its task is noted in its first poll, after which it looks: who cancelled before found none to wake.
//!
//! **Nothing is lost.** A [`Ticket`] is the duty to complete one entry, with a place for that. Dropped, it says that the entry was cancelled.

use super::{
    Ring,
    operation::{Done, Operation, Step, Waits},
};
use crate::{System, context::Task};
use abi::{
    errno::Errno,
    io_uring::{Cqe, IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_HARDLINK},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicBool, AtomicU8,
        Ordering::{Acquire, Relaxed, Release},
    },
    task::Poll,
};
use exec::TaskRef;
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use mem::{AddressSpace, Charge};
use process::Thread;

/// What a request takes: itself and its place in the table.
const BYTES: usize = size_of::<Request>() + 96;
/// What its coroutine takes at most.
const TASK: usize = 1152;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not yet.
    Runs,
    /// With its own result.
    Completed,
    /// Because it was cancelled.
    Cancelled,
}

/// A request that waits, as who cancels sees it.
pub(super) struct Request {
    pub user_data: u64,
    pub fd: i32,
    pub opcode: u8,
    pub pid: u32,
    cancelled: AtomicBool,
    /// With all that is linked behind it.
    abandoned: AtomicBool,
    outcome: AtomicU8,
    task: SpinLock<Option<TaskRef>>,
    _charge: Charge,
}

impl Request {
    /// Nobody is left who wants it, or what is linked behind it.
    pub(super) fn abandon(&self) {
        // Relaxed: ordered by the Release in `cancel`.
        self.abandoned.store(true, Relaxed);
        self.cancel();
    }

    /// Ends it, unless it ends by itself first.
    pub(super) fn cancel(&self) {
        // Release pairs with the Acquire in `Task::interrupted`.
        self.cancelled.store(true, Release);
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        // Acquire pairs with the Release in `Listed::end`: the completion is posted.
        match self.outcome.load(Acquire) {
            0 => Outcome::Runs,
            1 => Outcome::Completed,
            _ => Outcome::Cancelled,
        }
    }
}

/// The duty to complete an entry, for which there is a place.
pub(super) struct Ticket {
    ring: Arc<Ring>,
    user_data: u64,
    flags: u8,
    /// What is said if nothing else is.
    otherwise: Option<Errno>,
}

impl Ticket {
    pub(super) fn new(ring: &Arc<Ring>, user_data: u64, flags: u8) -> Self {
        Self { ring: ring.clone(), user_data, flags, otherwise: Some(Errno::ECANCELED) }
    }

    /// With this result.
    fn complete(&mut self, result: i32) {
        self.otherwise = None;
        self.post(result);
    }

    /// The entry gets no completion: the failure of one before it stands for it.
    fn forget(mut self) {
        self.otherwise = None;
        self.ring.release(1);
    }

    fn post(&self, result: i32) {
        let skipped = result >= 0 && self.flags & IOSQE_CQE_SKIP_SUCCESS != 0;
        let kept = match skipped {
            true => 0,
            false => self.ring.post(&[Cqe { user_data: self.user_data, res: result, flags: 0 }]).0,
        };
        self.ring.release(1 - kept.min(1));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(errno) = self.otherwise {
            self.post(errno.to_return() as i32);
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
struct Listed {
    ring: Arc<Ring>,
    request: Arc<Request>,
}

impl Listed {
    /// Its completion is posted.
    fn end(&self, done: Done) {
        // Release pairs with the Acquire in `Request::outcome`. Once: who drops it finds it ended.
        let outcome = if done == CANCELLED { 2 } else { 1 };
        if self.request.outcome.compare_exchange(0, outcome, Release, Relaxed).is_err() {
            return;
        }
        self.ring.requests.remove(&self.request);
        // For who cancels, and waits for the outcome.
        self.ring.changed.wake_all();
    }
}

impl Drop for Listed {
    /// One that could not begin.
    fn drop(&mut self) {
        self.end(Done::with(0));
    }
}

impl Owner {
    fn task<'a>(&'a self, cancelled: &'a AtomicBool) -> Task<'a> {
        Task::of_request(&self.system, &self.thread, self.space.clone(), self.caller.clone(), cancelled)
    }
}

/// Has a request and those linked behind it go on by themselves.
pub(super) fn spawn(
    task: &Task<'_>,
    mut ticket: Ticket,
    operation: &Operation,
    waits: Waits,
    rest: Vec<(Ticket, Operation)>,
) {
    let Some(system) = task.system.own.upgrade() else { return };
    let owner =
        Owner { system, thread: task.thread().clone(), space: task.shared_space(), caller: task.caller().clone() };
    ticket.otherwise = Some(Errno::ENOMEM);
    let Ok(listed) = enlist(&ticket, &owner, operation) else { return };
    ticket.ring.attach(task);
    let birth = task.thread().birth_of_request();
    let life = serve(owner, ticket, listed, waits, rest.into_iter());
    check_size(&life);
    if let Ok(handle) = exec::try_spawn_with(&birth, "ring request", life) {
        handle.detach();
    }
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

/// Pays for a request and lists it.
fn enlist(ticket: &Ticket, owner: &Owner, operation: &Operation) -> Result<Listed, Errno> {
    let charge = owner.caller.account.charge(BYTES + TASK)?;
    let (fd, opcode) = operation.about();
    let request = Arc::new(Request {
        user_data: ticket.user_data,
        fd,
        opcode,
        pid: owner.caller.pid,
        cancelled: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        outcome: AtomicU8::new(0),
        task: SpinLock::new(rank::PIPE, None),
        _charge: charge,
    });
    ticket.ring.requests.insert(&request);
    Ok(Listed { ring: ticket.ring.clone(), request })
}

/// The coroutine.
#[expect(clippy::manual_async_fn, reason = "an `async fn` has a second copy of each argument, for as long as it waits")]
fn serve(
    owner: Owner,
    mut ticket: Ticket,
    mut listed: Listed,
    mut waits: Waits,
    mut rest: vec::IntoIter<(Ticket, Operation)>,
) -> impl Future<Output = ()> + Send {
    async move {
        loop {
            let done = wait_for(&owner, &listed, &waits).await;
            let hard = if listed.request.abandoned.load(Relaxed) { 0 } else { IOSQE_IO_HARDLINK };
            let flags = ticket.flags & (hard | IOSQE_CQE_SKIP_SUCCESS);
            ticket.complete(done.result);
            listed.end(done);
            match follow(&owner, &listed.ring, (done.fails, flags), &mut rest) {
                Some(next) => (ticket, listed, waits) = next,
                None => return,
            }
        }
    }
}

const CANCELLED: Done = Done { result: -Errno::ECANCELED.number(), fails: true };

/// Goes through what is linked behind a request that has ended, up to the next that waits.
fn follow(
    owner: &Owner,
    ring: &Arc<Ring>,
    (mut fails, mut flags): (bool, u8),
    rest: &mut vec::IntoIter<(Ticket, Operation)>,
) -> Option<(Ticket, Listed, Waits)> {
    let never = AtomicBool::new(false);
    let task = owner.task(&never);
    while !fails || flags & IOSQE_IO_HARDLINK != 0 {
        let (mut ticket, operation) = rest.next()?;
        match operation.run(&task, ring) {
            Step::Done(done) => {
                (fails, flags) = (done.fails, ticket.flags);
                ticket.complete(done.result);
            }
            Step::Waits(waits) => match enlist(&ticket, owner, &operation) {
                Ok(listed) => return Some((ticket, listed, waits)),
                Err(errno) => {
                    (fails, flags) = (true, ticket.flags & !IOSQE_IO_HARDLINK);
                    ticket.otherwise = Some(errno);
                }
            },
        }
    }
    // Those that are left say that they were cancelled, unless who failed wanted no completion for success.
    if flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
        rest.for_each(|(ticket, _)| ticket.forget());
    }
    rest.for_each(drop);
    None
}

async fn wait_for(owner: &Owner, listed: &Listed, waits: &Waits) -> Done {
    let request = &*listed.request;
    *request.task.lock() = exec::current().await;
    let task = owner.task(&request.cancelled);
    let mut run = pin!(waits.run(&task, &listed.ring));
    let done = poll_fn(|context| {
        // Nobody would get what it takes. Relaxed: ordered by the Acquire.
        if request.cancelled.load(Acquire) && request.abandoned.load(Relaxed) {
            return Poll::Ready(CANCELLED);
        }
        match run.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending if request.cancelled.load(Acquire) => Poll::Ready(CANCELLED),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    let interrupted = done.result == Errno::EINTR.to_return() as i32 && request.cancelled.load(Acquire);
    if interrupted { CANCELLED } else { done }
}
