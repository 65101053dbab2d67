//! Requests that are ready to be tried again: who waits to be tried, who tries, who pays (note 0005, section 3).
//!
//! **Who serves.** Threads of the process and class for which the ring has a service coroutine serve when they enter the ring; one of those that wait in it serves
//! meanwhile ([`Helper`]); else the thread that completions interrupt does before it goes on, if it runs ([`Runner`]); else that coroutine does. Who gets into an empty list wakes the thread, if there is one, else the coroutine.
//!
//! **Wake-up.** The task that is to be woken is noted under the list's lock before it looks whether there are any; who calls puts the request in under the lock, then
//! wakes the task that is noted. A thread that waits no longer wakes the coroutine for what it leaves.

use super::{
    Ring,
    request::{Owner, Request},
    retry::{BYTES, Parked, TASK},
    submission::MOVED_AT_ONCE,
    usage::{self, Usage},
};
use crate::context::Task;
use alloc::sync::Arc;
use core::{
    future::poll_fn,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll},
};
use exec::{Priority, TaskRef, sync::WaitQueue};
use hal::sync::{IrqLock, SpinLock, rank};
use mem::Charge;
use process::{
    Thread,
    class::Class,
    uintr::{AT_ONCE, Errand, Runner},
};

/// Requests that are paid for together.
const TOGETHER: usize = 16;
/// Those that are kept when they have ended: as many as a program has often under way at a device.
const KEPT: usize = 2 * TOGETHER;

/// The requests of a ring that wait without a coroutine. A waker that outlives the ring has this.
pub(super) struct Retries {
    /// The tail of completions has moved, one is kept, or a request has ended.
    pub changed: WaitQueue,
    /// Wakers push: from any context.
    list: IrqLock<List>,
    /// Whether the list has any, for who enters the ring.
    has_ready: AtomicBool,
    /// The program did not want to be told of the last completion.
    is_silent: AtomicBool,
    service: SpinLock<Service>,
}

#[derive(Default)]
struct List {
    first: Option<Arc<Request>>,
    /// Unless that is the first.
    last: Option<Arc<Request>>,
    /// A thread that waits, and serves.
    helper: Option<TaskRef>,
    /// The thread that completions interrupt, if it serves meanwhile.
    runner: Option<Runner>,
    /// It may not: those that wait are of others.
    spares_runner: bool,
    /// The service coroutine.
    task: Option<TaskRef>,
}

/// On whose behalf they wait.
#[derive(Default)]
struct Service {
    server: Option<Server>,
    /// How many there are, ready or not, and how many are paid for.
    waiting: usize,
    paid: usize,
    /// Those that have ended, of who waited last: the next that wait take their places. They are among those that are paid for, of which `leave` keeps as many.
    ended: heapless::Vec<Parked, KEPT>,
    /// No more come.
    is_closed: bool,
}

/// Who waits has a place.
pub(super) enum Admitted {
    /// A new one, on this one's behalf.
    New(Arc<Owner>),
    /// That of one which has ended.
    Again(Parked),
}

/// The service coroutine, and who is served.
struct Server {
    pid: u32,
    class: Class,
    /// Who waited last.
    owner: Option<Arc<Owner>>,
    /// It was made.
    is_there: bool,
    /// The process has ended, or has another program: another may take its place when nothing waits any more.
    is_gone: bool,
    charge: Charge,
}

impl Server {
    fn is_of(&self, thread: &Thread) -> bool {
        self.is_there && !self.is_gone && self.pid == thread.process().pid() && self.class == thread.class()
    }
}

impl Service {
    fn is_of(&self, thread: &Thread) -> bool {
        self.server.as_ref().is_some_and(|server| server.is_of(thread))
    }

    /// One more, for who waited last if that is who calls.
    #[inline]
    fn admit(&mut self, task: &Task<'_>) -> Option<Admitted> {
        let server = self.server.as_mut().filter(|server| server.is_of(task.thread()))?;
        let owner = server.owner.as_ref().filter(|owner| owner.is(task))?;
        if self.is_closed {
            return None;
        }
        if self.waiting == self.paid {
            server.charge.grow(TOGETHER * BYTES).ok()?;
            self.paid += TOGETHER;
        }
        self.waiting += 1;
        Some(match self.ended.pop() {
            Some(parked) => Admitted::Again(parked),
            None => Admitted::New(owner.clone()),
        })
    }

    /// Keeps one that has ended for the next, if it may; else it is given back.
    fn keep(&mut self, ended: Option<Parked>) -> Option<Parked> {
        let ended = ended?;
        let owner = self.server.as_ref().and_then(|server| server.owner.as_ref());
        let is_its = owner.is_some_and(|owner| ended.is_of(owner));
        if is_its && !self.is_closed { self.ended.push(ended).err() } else { Some(ended) }
    }

    /// One has ended; whether the coroutine is over.
    fn leave(&mut self) -> bool {
        self.waiting -= 1;
        let spare = self.paid - self.waiting;
        if spare >= KEPT + TOGETHER
            && let Some(server) = &mut self.server
        {
            let gone = (spare - KEPT) / TOGETHER * TOGETHER;
            self.paid -= gone;
            server.charge.shrink(gone * BYTES);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.is_closed && self.waiting == 0
    }
}

fn wake(task: Option<TaskRef>) {
    if let Some(task) = task {
        task.wake();
    }
}

impl Retries {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            changed: WaitQueue::new(),
            list: IrqLock::new(rank::WAIT - 2, List::default()),
            has_ready: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            service: SpinLock::new(rank::PIPE, Service::default()),
        })
    }

    /// No more come, and the coroutine ends with the last.
    pub(super) fn close(&self) {
        self.service.lock().is_closed = true;
        self.forget(|_| true);
        self.call_coroutine();
    }

    /// A process is gone, or its program is.
    pub(super) fn abandoned(&self, pid: u32) {
        self.forget(|server| server.pid == pid);
    }

    /// Those that `is_meant` are served no more.
    fn forget(&self, is_meant: impl FnOnce(&Server) -> bool) {
        let mut service = self.service.lock();
        let server = service.server.as_mut().filter(|server| is_meant(server));
        let owner = server.and_then(|server| {
            server.is_gone = true;
            server.owner.take()
        });
        let ended = if owner.is_some() { core::mem::take(&mut service.ended) } else { heapless::Vec::new() };
        drop(service);
        // Not under the lock.
        drop((owner, ended));
    }

    fn call_coroutine(&self) {
        let task = self.list.lock().task.clone();
        wake(task);
    }

    /// One has ended, and is left for the next, or has not begun.
    pub(super) fn leave(&self, ended: Option<Parked>) {
        let mut service = self.service.lock();
        let ended = service.keep(ended);
        let is_over = service.leave();
        drop(service);
        // Not under the lock.
        drop(ended);
        if is_over {
            self.call_coroutine();
        }
    }

    /// One is ready.
    pub(super) fn push(&self, request: Arc<Request>) {
        let mut list = self.list.lock();
        if list.first.is_some() {
            return list.append(request);
        }
        list.first = Some(request);
        // Relaxed: a hint for who enters the ring; the wake orders it for who is woken.
        self.has_ready.store(true, Relaxed);
        let is_left = list.is_left_to_runner(&self.is_silent);
        let task = if is_left { None } else { list.helper.as_ref().or(list.task.as_ref()).cloned() };
        drop(list);
        wake(task);
    }

    /// Completions interrupt a thread: while it runs it serves those that are ready. Or they do not any more. The one before.
    #[must_use]
    pub(super) fn set_runner(&self, runner: Option<Runner>) -> Option<Runner> {
        let mut list = self.list.lock();
        let old = core::mem::replace(&mut list.runner, runner);
        list.spares_runner = false;
        // Whom it was left to before may be there no more.
        let task = list.left_to();
        drop(list);
        wake(task);
        old
    }

    /// Whether what is completed is told of at present: else nobody is interrupted for it.
    #[inline]
    pub(super) fn note_silence(&self, is_silent: bool) {
        // Relaxed: the program's wish, as old as the last completion.
        self.is_silent.store(is_silent, Relaxed);
    }

    fn pop(&self) -> Option<Arc<Request>> {
        let mut list = self.list.lock();
        let first = list.first.take()?;
        list.first = if list.last.is_some() { first.take_next() } else { None };
        let last = if list.first.is_none() {
            self.has_ready.store(false, Relaxed);
            list.last.take()
        } else {
            None
        };
        drop(list);
        drop(last);
        Some(first)
    }

    /// Serves some of those that are ready: whether that may not be all.
    fn serve(&self) -> bool {
        self.serve_up_to(AT_ONCE) == 0
    }

    /// The same for who may serve so many: how many are left of that, none if what was served may not be all.
    #[inline]
    fn serve_up_to(&self, most: usize) -> usize {
        let mut moved = 0;
        for left in (0..most).rev() {
            // Who has none left is spared the lock.
            let Some(request) = self.has_ready().then(|| self.pop()).flatten() else { return left + 1 };
            moved += request.serve();
            // As many bytes take as long as that many requests.
            if moved >= MOVED_AT_ONCE {
                break;
            }
        }
        0
    }

    /// Whether a thread that waits in the ring serves meanwhile.
    pub(super) fn has_helper(&self) -> bool {
        self.list.lock().helper.is_some()
    }

    /// A thread is about to wait in the ring, and serves meanwhile until it says that it does [no more](Self::help_no_more), unless this answers `false`.
    pub(super) fn help(&self, thread: &Thread, context: &Context<'_>) -> bool {
        let is_its = self.service.lock().is_of(thread);
        let mut task = if is_its { TaskRef::from_waker(context.waker()) } else { None };
        let mut list = self.list.lock();
        let helps = task.is_some() && list.helper.is_none();
        if helps {
            list.helper = task.take();
        }
        drop(list);
        // Another helps.
        drop(task);
        helps
    }

    /// It waits no longer: what it leaves is the coroutine's.
    pub(super) fn help_no_more(&self) {
        let mut list = self.list.lock();
        let helper = list.helper.take();
        let task = list.left_to();
        drop(list);
        drop(helper);
        wake(task);
    }

    /// Whether there is something to serve.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        // Relaxed: behind the wake, or looked at again. Written under the lock only, so it is `false` at most where who pushed wakes somebody.
        self.has_ready.load(Relaxed)
    }

    /// Serves some of what is ready, if it is of this thread's kind.
    #[cold]
    #[inline(never)]
    fn serve_some(&self, thread: &Thread) {
        let is_its = self.service.lock().is_of(thread);
        if is_its {
            let _ = self.serve();
        }
    }

    /// Serves some of what is ready: whether that may not be all.
    #[inline]
    pub(super) fn serve_ready(&self) -> bool {
        self.has_ready() && self.serve()
    }

    /// On whose behalf something waited last.
    fn thread(&self) -> Option<Arc<Thread>> {
        let service = self.service.lock();
        Some(service.server.as_ref()?.owner.as_ref()?.thread().clone())
    }
}

/// On the way of the thread that completions interrupt.
impl Errand for Retries {
    fn run(&self, thread: &Thread, left: &mut usize) -> bool {
        if !self.has_ready() {
            return false;
        }
        let is_its = self.service.lock().is_of(thread);
        if !is_its {
            // Until there is another that they are of: else each would wait for this one first.
            self.list.lock().spares_runner = true;
            return true;
        }
        *left = self.serve_up_to(*left);
        self.has_ready()
    }

    fn pass_on(&self) {
        self.call_coroutine();
    }
}

impl List {
    /// Whether the thread that completions interrupt does it: it runs, and nobody waits in the ring.
    #[inline]
    fn is_left_to_runner(&self, is_silent: &AtomicBool) -> bool {
        let Some(runner) = self.runner.as_ref().filter(|_| self.helper.is_none()) else { return false };
        if self.spares_runner || is_silent.load(Relaxed) {
            return false;
        }
        runner.call(self.task.as_ref().map_or(Priority::LOWEST, TaskRef::own_priority))
    }

    /// The coroutine, if there is something that is left to it.
    #[inline]
    fn left_to(&self) -> Option<TaskRef> {
        if self.first.is_some() { self.task.clone() } else { None }
    }

    /// Behind those that are there. Under the lock, and nothing goes: what was the last is the next of another.
    fn append(&mut self, request: Arc<Request>) {
        if let Some(tail) = self.last.as_ref().or(self.first.as_ref()) {
            tail.set_next(request.clone());
        }
        self.last = Some(request);
    }
}

/// A thread that waits in the ring, and serves meanwhile, if it may.
pub(super) struct Helper<'r>(Option<&'r Retries>);

impl<'r> Helper<'r> {
    /// A thread is about to wait in the ring.
    pub(super) async fn of(retries: &'r Retries, thread: &Thread) -> Self {
        let helps = poll_fn(|context| Poll::Ready(retries.help(thread, context))).await;
        Self(helps.then_some(retries))
    }

    /// Whether there is something to serve.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_some_and(Retries::has_ready)
    }

    /// Serves some of what is ready: whether that may not be all.
    pub(super) fn serve(&self) -> bool {
        self.0.is_some_and(Retries::serve_ready)
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        if let Some(retries) = self.0 {
            retries.help_no_more();
        }
    }
}

impl Ring {
    /// Tries again some of the requests that are ready, for who enters the ring, if they are of its kind.
    #[inline]
    pub(super) fn serve_ready(&self, thread: &Thread) {
        if self.retries.has_ready() {
            self.retries.serve_some(thread);
        }
    }

    /// One more request waits on the caller's behalf; `None`: it needs a coroutine.
    pub(super) fn admit(self: &Arc<Self>, task: &Task<'_>) -> Option<Admitted> {
        let admitted = self.retries.service.lock().admit(task);
        if admitted.is_some() {
            return admitted;
        }
        if !self.has_server(task) {
            return None;
        }
        // Before it is kept here: the ring hears of its end.
        self.attach(task);
        let owner = Arc::new(Owner::paid(task)?);
        let mut service = self.retries.service.lock();
        let Service { server, is_closed, .. } = &mut *service;
        let server = server.as_mut().filter(|server| !*is_closed && server.is_of(task.thread()));
        let old = match server {
            Some(server) => server.owner.replace(owner),
            None => Some(owner),
        };
        // They are of another.
        let ended = core::mem::take(&mut service.ended);
        let admitted = service.admit(task);
        drop(service);
        // Not under the lock.
        drop((old, ended));
        admitted
    }

    /// Whether the ring has a service coroutine of the caller's class, after it was made if there was none.
    #[cold]
    fn has_server(self: &Arc<Self>, task: &Task<'_>) -> bool {
        let (pid, class) = (task.process().pid(), task.thread().class());
        let mut service = self.retries.service.lock();
        if service.is_closed {
            return false;
        }
        if let Some(server) = &service.server {
            let is_free = server.is_gone && server.class == class && service.waiting == 0;
            if !is_free {
                return service.is_of(task.thread());
            }
        }
        let Ok(charge) = task.caller().account.charge(TASK) else { return false };
        // The coroutine of one that is gone serves on.
        let is_there = service.server.is_some();
        let old = service.server.replace(Server { pid, class, owner: None, is_there, is_gone: false, charge });
        service.paid = 0;
        drop(service);
        self.retries.list.lock().spares_runner = false;
        drop(old);
        if is_there {
            return true;
        }
        let is_there = super::retry::spawn(task.thread(), "ring server", serve(self.clone()));
        let mut service = self.retries.service.lock();
        let gone = if is_there { None } else { service.server.take() };
        if let Some(server) = &mut service.server {
            server.is_there = true;
        }
        drop(service);
        drop(gone);
        is_there
    }
}

/// The coroutine.
async fn serve(ring: Arc<Ring>) {
    let retries = &ring.retries;
    let (task, mut usage) = (exec::current().await, Usage::default());
    // Before it looks: who comes later wakes it.
    retries.list.lock().task.clone_from(&task);
    poll_fn(|context| {
        let (began, thread) = (hal::time::now(), retries.thread());
        if let (Some(thread), Some(task)) = (&thread, &task) {
            usage::follow(thread, task);
        }
        if retries.serve() {
            context.waker().wake_by_ref();
        }
        if let Some(birth) = thread.and_then(|thread| usage.add(began, &thread))
            && let Some(task) = &task
        {
            exec::set_class(task, &birth);
        }
        if retries.service.lock().is_over() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Else it would hold itself.
    let task = retries.list.lock().task.take();
    drop(task);
}
