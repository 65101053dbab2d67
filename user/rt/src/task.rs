//! Tasks: coroutines of this process, in the shape of `tokio::task`, over the shared scheduler.
//!
//! The pool has as many workers as the kernel gives slots, one a hart (or [`set_workers`]). Workers are run by threads of the
//! runtime, made as they are needed ([`workers`]): there is always one more than there is work for, so that the kernel can
//! give a worker whose thread blocks or is preempted to another. One thread more waits in the reactor, once a task does. A thread in
//! [`block_on`] polls its own future only.
//!
//! Where the kernel has no slots, as Linux, there is one worker: the thread in `block_on`, which parks in the reactor itself
//! ([`alone`]); tasks go on in the next one. A child made by `fork` has no threads that would run tasks: it is for what needs none.

use crate::scheduler::Way;
use crate::sync::{Arc, OnceLock};
use crate::{chunks, futex, reactor, requests, slots, thread};
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use sched::slots::{MAX_SLOTS, Shown};
use task::{Pender, Pool, Running};

mod alone;
mod blocking;
mod builder;
mod callback;
mod failure;
pub mod green;
mod join_set;
mod local;
mod names;
mod preemption;
mod scope;
mod select;
pub mod sync;
mod workers;

pub use blocking::spawn_blocking;
pub use builder::Builder;
pub use callback::OnDone;
pub use failure::{Metrics, abort_on_panic, metrics};
pub(crate) use failure::{STACK as POLL_STACK, end_task};
pub(crate) use green::{Switch, Ticker};
pub use join_set::JoinSet;
pub(crate) use local::Scope as LocalScope;
pub use local::{AccessError, LocalKey, TaskLocalFuture};
pub(crate) use names::NameOf;
pub use names::name;
pub use preemption::Preemption;
pub use scope::{Scope, scope};

pub use task::{JoinError, JoinHandle, Priority, TaskRef, current, policy, yield_now};

/// Polls of tasks in one call of the thread in [`block_on`].
const TURN: u32 = 64;

struct Unpark;

impl Pender for Unpark {
    type Memory = chunks::Chunks;

    #[inline]
    fn runs(task: Option<Running>) {
        thread::set_task(task);
    }

    fn joins(task: &TaskRef) -> bool {
        thread::with_task(|joiner| joiner.is_some_and(|joiner| task::sync::lend::<sync::Futex>(task, joiner)))
    }

    fn joins_no_more(task: &TaskRef) {
        task::sync::repay::<sync::Futex>(task);
    }

    fn ends(task: &TaskRef) {
        task::sync::ended::<sync::Futex>(task);
    }

    fn shown(&self) -> Option<&'static [Shown; MAX_SLOTS]> {
        slots::shown()
    }

    fn pend(&self, worker: usize, priority: Priority) {
        if slots::active() {
            slots::call(worker, priority.number());
        } else {
            reactor::notify();
        }
    }
}

/// How many workers to ask for; the kernel gives no more than it has harts.
static WANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Sets how many workers run tasks at once, before the first task is spawned and the first `block_on`. Default: one a hart.
pub fn set_workers(count: usize) {
    WANTED.store(count.max(1), Ordering::Relaxed);
}

fn pool() -> &'static Pool<Unpark, Way> {
    static POOL: OnceLock<Pool<Unpark, Way>> = OnceLock::new();
    POOL.get_or_init(new_pool)
}

/// Out of the way of those who find it made.
#[cold]
#[inline(never)]
fn new_pool() -> Pool<Unpark, Way> {
    let workers = slots::set_up(WANTED.load(Ordering::Relaxed), workers::start);
    if workers > 0 {
        slots::publish(chunks::lists());
    }
    let pool = Pool::new(workers.max(1), Unpark);
    for worker in 0..workers {
        if let Some(hints) = pool.hints(worker) {
            slots::describe(worker, hints);
        }
        // Nobody runs it yet: whoever has something for it calls.
        let _ = pool.set_idle(worker);
    }
    pool
}

/// Calls for a worker once more, for the most urgent that waits there, or is polled: its thread may stand lower than that.
pub(crate) fn call_again(worker: usize) {
    let pool = pool();
    if let Some(priority) = pool.highest_ready(worker).into_iter().chain(pool.running(worker)).min() {
        pool.pender().pend(worker, priority);
    }
}

/// Somebody waits for a descriptor or for time: where no thread in `block_on` looks, one of its own has to.
pub(crate) fn need_reactor() {
    if slots::active() {
        workers::start_reactor();
    }
}

/// How many descriptors the runtime keeps open for itself.
#[must_use]
pub fn kept_descriptors() -> usize {
    reactor::kept_descriptors() + green::kept_descriptors()
}

/// Starts a task of normal priority.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_with(Priority::NORMAL, future)
}

/// Starts a task of the given priority.
pub fn spawn_with<F>(priority: Priority, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    pool().spawn(priority, future)
}

/// Wakes the main future of a `block_on`.
///
/// Its thread sets `parked`, looks at `woken` once more and then parks; a waker sets `woken` and then looks at `parked`.
struct MainFuture {
    woken: AtomicBool,
    /// 1 while the thread waits on this word; where there are no slots it waits in the reactor.
    parked: AtomicU32,
}

impl MainFuture {
    /// Whether it was woken since the last call.
    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    /// Waits until it is woken; may return early.
    fn park(&self) {
        self.parked.store(1, Ordering::SeqCst);
        // Looked at after `parked` was set.
        if !self.woken.load(Ordering::SeqCst) {
            futex::wait(&self.parked, 1, workers::lacks_reactor().then_some(workers::AGAIN));
        }
        self.parked.store(0, Ordering::Relaxed);
    }
}

impl Wake for MainFuture {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SeqCst: stored before this or `notify` looks whether the thread is parked.
        self.woken.store(true, Ordering::SeqCst);
        if !slots::active() {
            reactor::notify();
        } else if self.parked.swap(0, Ordering::SeqCst) == 1 {
            futex::wake(&self.parked, 1);
        }
    }
}

/// Runs `future` to its end on this thread. Any number of threads may be in here; where the kernel has no slots they take
/// turns, and the first runs tasks beside its future. Not to be called from a task.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let pool = pool();
    let mut future = pin!(future);
    let main = Arc::new(MainFuture { woken: AtomicBool::new(true), parked: AtomicU32::new(0) });
    let waker = Waker::from(main.clone());
    let mut cx = Context::from_waker(&waker);
    if !slots::active() {
        return alone::block_on(pool, future, &main, &mut cx);
    }
    loop {
        if !main.take() {
            main.park();
        } else if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        requests::submit();
    }
}
