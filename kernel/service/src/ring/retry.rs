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
//! again. So a change is seen by a try, or makes it ready; and one party at a time tries.
//!
//! **Who serves.** Whoever comes first: who waits for completions, or the ring's own coroutine, at the class of who submitted. That is woken by the first that gets into
//! an empty list, and looks until the list is empty.

use super::{
    Ring,
    operation::{About, Done, Operation, Waits, place_of},
    request::{self, CANCELLED, Owner, Request, Start},
    ticket::{Chain, Ticket},
    transfer::{Transfer, Tried},
};
use crate::context::Task;
use abi::errno::Errno;
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, task::Wake};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering::AcqRel},
    task::{Context, Poll, Waker},
};
use exec::{TaskRef, sync::wait_until_next};
use hal::sync::{IrqLock, SpinLock, rank};
use io::{file::Want, open::OpenFile};
use mem::Charge;
use process::class::Class;

/// Requests that are tried in one poll.
const AT_ONCE: usize = 32;
/// What a request of this kind takes: itself, its places in the file's queue, the ring's table, the list.
const BYTES: usize = size_of::<Request>() + 128 + 96;
/// A list with room for so many stays as it is.
const ROOM: usize = 64;
/// What the service coroutine takes.
const TASK: usize = 512;

/// What such a request waits for.
const ANY: Want = Want::Read { offset: 0, len: 1 };

/// Stays pending: each poll enters the queue, if it is not in it.
type Place = Pin<Box<dyn Future<Output = ()> + Send>>;

fn place_in(open: Arc<OpenFile>) -> Place {
    Box::pin(async move {
        if let Some(queue) = open.file().queue(ANY) {
            wait_until_next(queue, || None::<()>).await;
        }
    })
}

/// It is in the list, or to be put there by who serves it.
const READY: u8 = 1;
/// Somebody serves it.
const BUSY: u8 = 2;

/// What a request of this kind has beside what all have.
pub(super) struct Retry {
    ring: Arc<Ring>,
    owner: Owner,
    transfer: Transfer,
    open: Arc<OpenFile>,
    flags: u8,
    state: AtomicU8,
    place: SpinLock<Option<Place>>,
}

/// Those of a ring.
pub(super) struct Retries {
    /// Wakers push: from any context.
    list: IrqLock<List>,
    server: SpinLock<Option<Server>>,
}

struct List {
    ready: VecDeque<Arc<Request>>,
    /// How many there are, ready or not: the list has room for all.
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
    _charge: Charge,
}

impl Retries {
    pub(super) fn new() -> Self {
        let list = List { ready: VecDeque::new(), waiting: 0, task: None, is_closed: false };
        Self { list: IrqLock::new(rank::WAIT - 1, list), server: SpinLock::new(rank::PIPE, None) }
    }

    /// No more come, and the coroutine ends with the last.
    pub(super) fn close(&self) {
        let mut list = self.list.lock();
        list.is_closed = true;
        let task = list.task.clone();
        drop(list);
        wake(task);
    }

    /// One more waits, for which there is room in the list.
    fn enter(&self) -> Result<(), Errno> {
        let mut list = self.list.lock();
        let most = list.waiting + 1;
        if list.ready.capacity() < most {
            drop(list);
            // Not under a lock that keeps interrupts out.
            let mut larger = VecDeque::new();
            larger.try_reserve_exact(2 * most).map_err(|_| Errno::ENOMEM)?;
            list = self.list.lock();
            if larger.capacity() > list.ready.capacity() {
                larger.append(&mut list.ready);
                core::mem::swap(&mut larger, &mut list.ready);
            }
            if list.ready.capacity() <= list.waiting {
                return Err(Errno::ENOMEM);
            }
        }
        list.waiting += 1;
        Ok(())
    }

    fn leave(&self) {
        let mut list = self.list.lock();
        list.waiting -= 1;
        let is_last = list.waiting == 0;
        // One that waits is not in the list when it leaves: so that is empty.
        let room =
            if is_last && list.ready.capacity() > ROOM { core::mem::take(&mut list.ready) } else { VecDeque::new() };
        let task = if is_last && list.is_closed { list.task.clone() } else { None };
        drop(list);
        drop(room);
        wake(task);
    }

    fn push(&self, request: Arc<Request>) {
        let mut list = self.list.lock();
        let is_first = list.ready.is_empty();
        list.ready.push_back(request);
        let task = if is_first { list.task.clone() } else { None };
        drop(list);
        wake(task);
    }

    fn pop(&self) -> Option<Arc<Request>> {
        self.list.lock().ready.pop_front()
    }

    fn is_over(&self) -> bool {
        let list = self.list.lock();
        list.is_closed && list.waiting == 0
    }

    /// Serves some of those that are ready: whether that may not be all.
    fn serve(&self) -> bool {
        (0..AT_ONCE).all(|_| self.pop().map(|request| request.serve()).is_some())
    }
}

fn wake(task: Option<TaskRef>) {
    if let Some(task) = task {
        task.wake();
    }
}

impl Ring {
    /// Tries again some of the requests that are ready, for who waits for completions: whether there were any.
    pub(super) fn serve_ready(&self) -> bool {
        let Some(request) = self.retries.pop() else { return false };
        request.serve();
        let _ = self.retries.serve();
        true
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
    let is_meant = transfer.is_one_read() && !open.seekable() && open.file().queue(ANY).is_some();
    if !is_meant || !has_server(task, ring) {
        return false;
    }
    let (Some(owner), Ok(charge)) = (Owner::of(task), task.caller().account.charge(BYTES)) else { return false };
    if ring.retries.enter().is_err() {
        return false;
    }
    ring.attach(task);
    let about = About { opcode: transfer.opcode(), file: place_of(open) };
    let place = SpinLock::new(rank::PIPE, Some(place_in(open.clone())));
    let key = ring.requests.key(user_data);
    let (ring, open, state) = (ring.clone(), open.clone(), AtomicU8::new(BUSY));
    let retry = Retry { ring, owner, transfer: *transfer, open, flags, state, place };
    Request::of_retry(key, about, task.caller().pid, buffer.clone(), retry, charge).begin();
    true
}

/// Whether the ring has a service coroutine of the caller's class, after it was made if there was none.
fn has_server(task: &Task<'_>, ring: &Arc<Ring>) -> bool {
    let (pid, class) = (task.process().pid(), task.thread().class());
    let mut server = ring.retries.server.lock();
    if let Some(server) = &*server {
        return server.pid == pid && server.class == class;
    }
    let Ok(charge) = task.caller().account.charge(TASK) else { return false };
    *server = Some(Server { pid, class, _charge: charge });
    drop(server);
    let life = serve(ring.clone());
    check_size(&life);
    let spawned = exec::try_spawn_with(&task.thread().birth_of_request(), "ring server", life);
    match spawned {
        Ok(handle) => handle.detach(),
        Err(_) => drop(ring.retries.server.lock().take()),
    }
    ring.retries.server.lock().is_some()
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

impl Request {
    /// It is listed, and tried once more in the queue.
    fn begin(self: &Arc<Self>) {
        let Some(retry) = &self.retry else { return };
        retry.ring.requests.insert(self);
        Ticket::new(&retry.ring, self.user_data(), retry.flags).hand_over();
        self.wait(retry);
    }

    /// It is to be tried again, by who serves.
    pub(super) fn make_ready(self: &Arc<Self>, retry: &Retry) {
        // AcqRel: with the others of these bits, one sees what was done before the other: the change, or that it is ready already.
        if retry.state.fetch_or(READY, AcqRel) == 0 {
            retry.ring.retries.push(self.clone());
        }
    }

    /// Tries, and if that is in vain, waits on.
    fn serve(self: &Arc<Self>) {
        let Some(retry) = &self.retry else { return };
        retry.state.swap(BUSY, AcqRel);
        // A wake-up after its end.
        if !self.runs() {
            return;
        }
        if self.is_abandoned() {
            return self.end(retry, CANCELLED);
        }
        if !self.try_once(retry) {
            self.wait(retry);
        }
    }

    /// Enters the queue, tries once more, and is served no more until it is ready.
    fn wait(self: &Arc<Self>, retry: &Retry) {
        let waker = Waker::from(self.clone());
        if let Some(place) = &mut *retry.place.lock() {
            let _ = place.as_mut().poll(&mut Context::from_waker(&waker));
        }
        if !retry.open.file().read_waits() && self.try_once(retry) {
            return;
        }
        if self.is_cancelled() {
            return self.end(retry, CANCELLED);
        }
        if retry.state.fetch_and(!BUSY, AcqRel) & READY != 0 {
            retry.ring.retries.push(self.clone());
        }
    }

    /// Whether it has ended with this try.
    fn try_once(self: &Arc<Self>, retry: &Retry) -> bool {
        let task = retry.owner.task(&self.view);
        match retry.transfer.look(&task, &retry.open, self.view.buffer.as_deref()) {
            Tried::Done(done) => self.end(retry, done),
            Tried::NotYet => return false,
            // It needs memory that is to be made present first.
            Tried::Partly(_) => self.become_coroutine(retry),
        }
        true
    }

    fn end(self: &Arc<Self>, retry: &Retry, done: Done) {
        self.decide();
        Ticket::taken_over(&retry.ring, self.user_data(), retry.flags).complete(done);
        self.leave(retry, done);
    }

    /// It is none of these any more. The completion is posted.
    fn leave(self: &Arc<Self>, retry: &Retry, done: Done) {
        let place = retry.place.lock().take();
        drop(place);
        self.has_ended(&retry.ring, done);
        retry.ring.retries.leave();
    }

    fn become_coroutine(self: &Arc<Self>, retry: &Retry) {
        self.decide();
        let ticket = Ticket::taken_over(&retry.ring, self.user_data(), retry.flags);
        let task = retry.owner.task(&self.view);
        let waits = Waits::Transfer(retry.transfer, retry.open.clone(), self.view.buffer.clone());
        let start = Start::Waits(ticket, Operation::Transfer(retry.transfer), waits);
        request::spawn(&task, &retry.ring, start, Chain::default());
        self.leave(retry, Done::with(0));
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
