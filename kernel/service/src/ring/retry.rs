//! Requests that wait for a file without a coroutine: in the file's queue, tried again when that is woken (note 0005, section 3).
//!
//! ```text
//!   armed --the queue is woken, or it is cancelled--> ready --served--> tried: completed
//!     ^                                                                   or
//!     +----------------- armed, tried once more: not yet -----------------+
//! ```
//!
//! **Wake-up.** Who makes one ready sets [`READY`], and puts it into the list if no bit was set. Who serves takes it out of the list and swaps the bits for
//! [`BUSY`], then tries; what cannot be done is armed, and tried once more. Then `BUSY` goes, and who finds `READY` behind it puts the request into the list
//! again. So a change is seen by a try, or makes it ready; and one party at a time tries. `BUSY` stays when it has ended: what comes late finds that.
//!
//! **Who serves.** Whoever comes first: a thread of the submitter's process and class that enters the ring, or the ring's own coroutine, which is of that class. That is woken by the
//! first that gets into an empty list, and looks until the list is empty.
//!
//! **Who holds what.** All that may be costly to let go is [`Held`], which who serves takes out, and drops at the end. A waker that outlives it has a shell.

use super::{
    Ring,
    buffers::Buffer,
    operation::{About, Done, Waits, place_of},
    request::{CANCELLED, Owner, Request},
    submission::MOVED_AT_ONCE,
    ticket::Ticket,
    transfer::{Transfer, Tried},
};
use crate::context::Task;
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, task::Wake};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{
        AtomicBool, AtomicU8,
        Ordering::{AcqRel, Relaxed},
    },
    task::{Context, Poll, Waker},
};
use exec::{TaskRef, sync::wait_until_next};
use hal::sync::{IrqLock, SpinLock, rank};
use io::open::OpenFile;
use mem::{Charge, CopyFault};
use process::{Thread, class::Class};

/// Requests that are tried in one poll.
const AT_ONCE: usize = 32;
/// What a request of this kind takes: itself, what it holds, its places in the file's queue and the ring's table.
const BYTES: usize = size_of::<Request>() + size_of::<Held>() + 112 + 64;
/// What the service coroutine takes, or one that makes memory present.
const TASK: usize = 512;

/// It is in the list, or to be put there by who serves it.
const READY: u8 = 1;
/// Somebody serves it, or it has ended.
const BUSY: u8 = 2;

/// Stays pending: each poll enters the queue, if it is not in it.
type Place = Pin<Box<dyn Future<Output = ()> + Send>>;

fn place_in(open: Arc<OpenFile>) -> Place {
    Box::pin(async move {
        match open.file().read_queue() {
            Some(queue) => wait_until_next(queue, || None::<()>).await,
            None => core::future::pending().await,
        }
    })
}

/// What a request of this kind has beside what all have.
pub(super) struct Retry {
    retries: Arc<Retries>,
    state: AtomicU8,
    parts: IrqLock<Parts>,
}

/// In one, for the lock's sake: there are very many of these.
#[derive(Default)]
struct Parts {
    /// Not there while it is served, and when it has ended.
    held: Option<Box<Held>>,
    /// The one behind it in the list: under the list's lock, too.
    next: Option<Arc<Request>>,
}

struct Held {
    ring: Arc<Ring>,
    owner: Owner,
    transfer: Transfer,
    open: Arc<OpenFile>,
    buffer: Option<Arc<Buffer>>,
    flags: u8,
    place: Place,
}

/// Those of a ring.
pub(super) struct Retries {
    /// Wakers push: from any context.
    list: IrqLock<List>,
    /// Whether the list has any, for who enters the ring.
    has_ready: AtomicBool,
    server: SpinLock<Option<Server>>,
}

struct List {
    /// The first and the last of those that are ready.
    ends: Option<(Arc<Request>, Arc<Request>)>,
    /// How many there are, ready or not.
    waiting: usize,
    /// Of the server.
    task: Option<TaskRef>,
    /// No more come.
    is_closed: bool,
}

/// The service coroutine.
struct Server {
    pid: u32,
    class: Class,
    /// It was made.
    is_there: bool,
    _charge: Charge,
}

impl Retries {
    pub(super) fn new() -> Arc<Self> {
        let list = List { ends: None, waiting: 0, task: None, is_closed: false };
        Arc::new(Self {
            list: IrqLock::new(rank::WAIT - 2, list),
            has_ready: AtomicBool::new(false),
            server: SpinLock::new(rank::PIPE, None),
        })
    }

    /// No more come, and the coroutine ends with the last.
    pub(super) fn close(&self) {
        let mut list = self.list.lock();
        list.is_closed = true;
        let task = list.task.clone();
        drop(list);
        wake(task);
    }

    /// One more; `false`: no more come.
    fn enter(&self) -> bool {
        let mut list = self.list.lock();
        list.waiting += usize::from(!list.is_closed);
        !list.is_closed
    }

    fn leave(&self) {
        let mut list = self.list.lock();
        list.waiting -= 1;
        let task = if list.waiting == 0 && list.is_closed { list.task.clone() } else { None };
        drop(list);
        wake(task);
    }

    fn push(&self, request: &Arc<Request>) {
        let (first, last) = (request.clone(), request.clone());
        let mut list = self.list.lock();
        let before = list.ends.take();
        let task = if before.is_none() { list.task.clone() } else { None };
        let before = match before {
            None => {
                list.ends = Some((first, last));
                None
            }
            Some((head, tail)) => {
                if let Some(retry) = &tail.retry {
                    retry.parts.lock().next = Some(first);
                }
                list.ends = Some((head, last));
                Some(tail)
            }
        };
        // Relaxed: a hint; who misses it leaves the request to the server.
        self.has_ready.store(true, Relaxed);
        drop(list);
        drop(before);
        wake(task);
    }

    fn pop(&self) -> Option<Arc<Request>> {
        let mut list = self.list.lock();
        let (head, tail) = list.ends.take()?;
        let next = head.retry.as_ref().and_then(|retry| retry.parts.lock().next.take());
        let last = match next {
            Some(next) => {
                list.ends = Some((next, tail));
                None
            }
            None => {
                self.has_ready.store(false, Relaxed);
                Some(tail)
            }
        };
        drop(list);
        drop(last);
        Some(head)
    }

    fn is_over(&self) -> bool {
        let list = self.list.lock();
        list.is_closed && list.waiting == 0
    }

    /// Serves some of those that are ready: whether that may not be all.
    fn serve(&self) -> bool {
        let mut moved = 0;
        for _ in 0..AT_ONCE {
            let Some(request) = self.pop() else { return false };
            moved += request.serve();
            if moved >= MOVED_AT_ONCE {
                break;
            }
        }
        true
    }
}

fn wake(task: Option<TaskRef>) {
    if let Some(task) = task {
        task.wake();
    }
}

impl Ring {
    /// Tries again some of the requests that are ready, for who enters the ring, if they are of its kind.
    #[inline]
    pub(super) fn serve_ready(&self, thread: &Thread) {
        if self.retries.has_ready.load(Relaxed) {
            self.serve_some(thread);
        }
    }

    #[cold]
    #[inline(never)]
    fn serve_some(&self, thread: &Thread) {
        let is_its = self.retries.server.lock().as_ref().is_some_and(|server| server.is_of(thread));
        if is_its {
            let _ = self.retries.serve();
        }
    }
}

impl Server {
    fn is_of(&self, thread: &Thread) -> bool {
        self.is_there && self.pid == thread.process().pid() && self.class == thread.class()
    }
}

/// The coroutine.
async fn serve(ring: Arc<Ring>) {
    let task = exec::current().await;
    // Before it looks: who comes later wakes it.
    ring.retries.list.lock().task = task;
    poll_fn(|context| {
        if ring.retries.serve() {
            context.waker().wake_by_ref();
        }
        if ring.retries.is_over() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Else it would hold itself.
    let task = ring.retries.list.lock().task.take();
    drop(task);
}

/// Has a transfer wait without a coroutine; `false`: it needs one.
pub(super) fn park(task: &Task<'_>, ring: &Arc<Ring>, (user_data, flags): (u64, u8), waits: &Waits) -> bool {
    let Waits::Transfer(transfer, open, buffer) = waits else { return false };
    if !transfer.is_one_read() || open.file().read_queue().is_none() || !has_server(task, ring) {
        return false;
    }
    let (Some(owner), Ok(charge)) = (Owner::of(task), task.caller().account.charge(BYTES)) else { return false };
    if !ring.retries.enter() {
        return false;
    }
    ring.attach(task);
    let about = About { opcode: transfer.opcode(), file: place_of(open) };
    let (transfer, open, buffer) = (*transfer, open.clone(), buffer.clone());
    let place = place_in(open.clone());
    let held = Box::new(Held { ring: ring.clone(), owner, transfer, open, buffer, flags, place });
    let parts = IrqLock::new(rank::WAIT - 1, Parts::default());
    let retry = Retry { retries: ring.retries.clone(), state: AtomicU8::new(BUSY), parts };
    Request::of_retry(ring.requests.key(user_data), about, task.caller().pid, retry, charge).begin(held);
    true
}

/// Whether the ring has a service coroutine of the caller's class, after it was made if there was none.
fn has_server(task: &Task<'_>, ring: &Arc<Ring>) -> bool {
    let mut server = ring.retries.server.lock();
    if let Some(server) = &*server {
        return server.is_of(task.thread());
    }
    let Ok(charge) = task.caller().account.charge(TASK) else { return false };
    let (pid, class) = (task.process().pid(), task.thread().class());
    *server = Some(Server { pid, class, is_there: false, _charge: charge });
    drop(server);
    let is_there = spawn(task.thread(), "ring server", serve(ring.clone()));
    let mut server = ring.retries.server.lock();
    let gone = if is_there { None } else { server.take() };
    if let Some(server) = &mut *server {
        server.is_there = true;
    }
    drop(server);
    drop(gone);
    is_there
}

fn spawn(thread: &Thread, name: &'static str, life: impl Future<Output = ()> + Send + 'static) -> bool {
    check_size(&life);
    exec::try_spawn_with(&thread.birth_of_request(), name, life).map(|handle| handle.detach()).is_ok()
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

/// What came of serving one.
enum Served {
    /// It has ended, with so many bytes moved.
    Ended(usize),
    /// It waits on.
    Waits(Box<Held>),
    /// It needs memory first.
    Faults(Box<Held>, CopyFault),
}

impl Request {
    /// It is listed, and tried once more in the queue.
    fn begin(self: &Arc<Self>, held: Box<Held>) {
        held.ring.requests.insert(self);
        Ticket::new(&held.ring, self.user_data(), held.flags).hand_over();
        let served = self.wait(held);
        self.go_on(served);
    }

    /// It is to be tried again, by who serves.
    pub(super) fn make_ready(self: &Arc<Self>, retry: &Retry) {
        // AcqRel: with the others of these bits, one sees what was done before the other: the change, or that it is ready already.
        if retry.state.fetch_or(READY, AcqRel) == 0 {
            retry.retries.push(self);
        }
    }

    /// Tries, and if that is in vain, waits on; how many bytes that moved.
    fn serve(self: &Arc<Self>) -> usize {
        let Some(retry) = &self.retry else { return 0 };
        retry.state.swap(BUSY, AcqRel);
        let held = retry.parts.lock().held.take();
        held.map_or(0, |held| {
            let served = self.try_again(held);
            self.go_on(served)
        })
    }

    fn try_again(self: &Arc<Self>, held: Box<Held>) -> Served {
        if self.is_abandoned() {
            return self.end(held, CANCELLED);
        }
        match self.try_once(held) {
            Served::Waits(held) => self.wait(held),
            served => served,
        }
    }

    /// Enters the queue, and tries once more.
    fn wait(self: &Arc<Self>, mut held: Box<Held>) -> Served {
        let waker = Waker::from(self.clone());
        let _ = held.place.as_mut().poll(&mut Context::from_waker(&waker));
        if !held.open.file().read_waits() {
            match self.try_once(held) {
                Served::Waits(left) => held = left,
                served => return served,
            }
        }
        if self.is_cancelled() { self.end(held, CANCELLED) } else { Served::Waits(held) }
    }

    /// Lets others serve it, if it waits on; how many bytes were moved.
    fn go_on(self: &Arc<Self>, served: Served) -> usize {
        let Some(retry) = &self.retry else { return 0 };
        match served {
            Served::Ended(moved) => return moved,
            Served::Faults(held, fault) => self.make_present(held, fault),
            Served::Waits(held) => {
                retry.parts.lock().held = Some(held);
                if retry.state.fetch_and(!BUSY, AcqRel) & READY != 0 {
                    retry.retries.push(self);
                }
            }
        }
        0
    }

    /// A coroutine makes the memory present, and serves it then: until that it is served by nobody else.
    fn make_present(self: &Arc<Self>, held: Box<Held>, fault: CopyFault) {
        let Ok(charge) = held.owner.charge(TASK) else { return drop(self.end(held, Done::failed(Errno::ENOMEM))) };
        let (request, thread) = (self.clone(), held.owner.thread().clone());
        // Else it would go with a coroutine that cannot be made.
        let shared = Arc::new(SpinLock::new(rank::PIPE, Some(held)));
        let its = shared.clone();
        let life = async move {
            let _charge = charge;
            let held = its.lock().take();
            if let Some(held) = held {
                request.resolve(held, fault).await;
            }
        };
        if !spawn(&thread, "ring memory", life) {
            let held = shared.lock().take();
            held.map(|held| self.end(held, Done::failed(Errno::ENOMEM)));
        }
    }

    async fn resolve(self: &Arc<Self>, mut held: Box<Held>, mut fault: CopyFault) {
        loop {
            if let Err(errno) = held.owner.resolve(fault).await {
                let _ = self.end(held, Done::failed(errno));
                return;
            }
            match self.try_again(held) {
                Served::Faults(left, _) if self.is_cancelled() => return drop(self.end(left, CANCELLED)),
                Served::Faults(left, again) => (held, fault) = (left, again),
                served => {
                    self.go_on(served);
                    return;
                }
            }
            exec::yield_now().await;
        }
    }

    fn try_once(self: &Arc<Self>, held: Box<Held>) -> Served {
        let tried = {
            let task = held.owner.task(&self.view);
            held.transfer.look(&task, &held.open, held.buffer.as_deref())
        };
        match tried {
            Tried::Done(done) => self.end(held, done),
            Tried::NotYet => Served::Waits(held),
            Tried::Faults(fault) => Served::Faults(held, fault),
            // What a signal would end: of that a request knows nothing.
            Tried::Partly(_) => self.end(held, Done::failed(Errno::EINTR)),
        }
    }

    /// Its completion is posted, and it leaves all that it is in.
    fn end(self: &Arc<Self>, held: Box<Held>, done: Done) -> Served {
        self.decide();
        Ticket::taken_over(&held.ring, self.user_data(), held.flags).complete(done);
        self.has_ended(&held.ring, done);
        if let Some(retry) = &self.retry {
            retry.retries.leave();
        }
        drop(held);
        Served::Ended(done.result.max(0) as usize)
    }
}

impl Wake for Request {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rouse();
    }
}
