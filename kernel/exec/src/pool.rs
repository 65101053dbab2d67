//! The kernel's one pool, and spawning.

use core::future::Future;

use alloc::boxed::Box;
use hal::{hart, record::record, sync::RawLendingLock};
use once_cell::race::OnceBox;
use task::{Birth, JoinHandle, Pender, Pool, Priority, TaskRef};
use trace::Event;

use crate::{harts, service::listed, timer};

static POOL: OnceBox<Pool<Harts>> = OnceBox::new();

/// Gets a hart's attention.
pub(crate) struct Harts;

impl Pender for Harts {
    type Memory = task::Heap;

    fn pend(&self, worker: usize, _: Priority) {
        if worker != hart::id() {
            hart::send_ipi(worker);
        } else if pool().running(worker).is_some() {
            // This hart itself. An interrupt handler's wake is looked at when the interrupt ends, a
            // coroutine's when its poll does. If preemption is off now and a user thread is about to
            // be entered, it shall come back and ask `should_yield`.
            hart::leave_user();
        }
        // An idle hart that wakes itself is in an interrupt handler, and looks before it sleeps again.
    }

    const HEARS_WAKES: bool = true;

    fn woken(&self, id: u64) {
        record(|| Event::Wake { task: id, waker: hart::coroutine() });
    }
}

/// The pool.
#[inline]
pub(crate) fn pool() -> &'static Pool<Harts> {
    match POOL.get() {
        Some(pool) => pool,
        None => first_use(),
    }
}

#[cold]
fn first_use() -> &'static Pool<Harts> {
    POOL.get_or_init(|| Box::new(Pool::new(hart::count(), Harts)))
}

/// Makes the pool for this many harts and connects preemption and the timer. Once, at boot, before any
/// [`run_hart`](crate::run_hart) and before the first spawn.
pub fn init(count: usize) {
    POOL.get_or_init(|| Box::new(Pool::new(count.min(hart::MAX), Harts)));
    hart::set_preemption(harts::preemption_wanted, harts::preempt);
    hal::time::on_alarm(timer::on_timer_interrupt);
}

/// Starts a coroutine of the kernel's own. The name is for the trace, where its first 16 bytes count, and for [`services`](crate::services). Without memory this panics: for
/// work on a user's behalf use [`try_spawn`].
pub fn spawn<F>(priority: Priority, name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    announce(name, pool().spawn(priority, listed(name, future)))
}

/// Starts a coroutine, or gives the future back when there is no memory for it.
pub fn try_spawn<F>(priority: Priority, name: &str, future: F) -> Result<JoinHandle<F::Output>, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if hal::fail::here() {
        return Err(future);
    }
    pool().try_spawn(priority, future).map(|handle| announce(name, handle))
}

/// Starts a coroutine that never leaves a hart; else as [`spawn`].
pub fn spawn_on<F>(hart: usize, priority: Priority, name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    announce(name, pool().spawn_on(hart, priority, listed(name, future)))
}

/// Starts a coroutine born as this says; else as [`try_spawn`].
pub fn try_spawn_with<F>(birth: &Birth, name: &str, future: F) -> Result<JoinHandle<F::Output>, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if hal::fail::here() {
        return Err(future);
    }
    pool().try_spawn_with(birth, future).map(|handle| announce(name, handle))
}

/// Changes a coroutine's priority. If it is queued it moves at once. Not in interrupt handlers.
#[expect(clippy::disallowed_methods, reason = "with preemption off")]
pub fn set_priority(task: &TaskRef, priority: Priority) {
    // The queue's lock is held for a moment: what preempted it here would wait for it on this hart.
    let _guard = hart::no_preempt();
    task.set_priority(priority);
}

/// Changes a coroutine's priority and policy. Else as [`set_priority`].
#[expect(clippy::disallowed_methods, reason = "with preemption off")]
pub fn set_class(task: &TaskRef, birth: &Birth) {
    let _guard = hart::no_preempt();
    pool().set_class(task, birth);
}

/// Keeps a coroutine on the harts of this set, one bit each; with none, or all, it may run anywhere. What runs elsewhere goes on
/// there until its poll ends. Else as [`set_priority`].
#[expect(clippy::disallowed_methods, reason = "with preemption off")]
pub fn set_harts(task: &TaskRef, harts: u8) {
    const { assert!(hart::MAX <= task::CHOICES) };
    let _guard = hart::no_preempt();
    pool().set_workers(task, harts);
}

/// Makes a coroutine at least as urgent as this, until [`restore`]. Else as [`set_priority`].
#[expect(clippy::disallowed_methods, reason = "with preemption off")]
pub fn inherit(task: &TaskRef, priority: Priority) {
    let _guard = hart::no_preempt();
    task.inherit(priority);
}

/// Takes that back; what it has inherited through locks stays. Else as [`set_priority`].
pub fn restore(task: &TaskRef) {
    task::sync::restore::<RawLendingLock>(task);
}

/// The bytes that a coroutine with this future takes, for accounting.
#[must_use]
pub const fn task_size<F: Future>() -> usize {
    Pool::<Harts>::task_size::<F>()
}

/// Records a new coroutine. It may have begun to run already.
fn announce<T>(name: &str, handle: JoinHandle<T>) -> JoinHandle<T> {
    if hal::record::recording() {
        let task = handle.id();
        record(|| Event::Spawn { task, parent: hart::coroutine() });
        for (part, bytes) in name.as_bytes().chunks(8).take(2).enumerate() {
            let mut text = [0; 8];
            text.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            record(|| Event::Name { task, part: part as u16, text });
        }
    }
    handle
}
