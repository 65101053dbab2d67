//! What is done on a hart before it enters user mode again: for others, where a call of a thread's has brought it about. Polls of rings are, whose completions so are there when the call has come back, as on
//! Linux, where it is the submitter that posts them on its way.
//!
//! **Who does it.** The next thread that is about to enter user mode on the hart: mostly the one whose call it was. A call that waits does not come to that, so a coroutine of the hart does it too, which is no more urgent than
//! programs are. It takes a bounded time: so much at once, and nothing that is woken by what is done itself. All else is for others, as [`push`] says.
//!
//! **Wake-up.** Who puts something in does so under the list's lock, then notes it, has the hart look ([`hal::hart::leave_user`]), and wakes the coroutine. Who does it takes the note away before it
//! takes what is there. All of this is on one hart, whose interrupts the lock keeps off.

use alloc::sync::Arc;
use core::{
    future::poll_fn,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::Poll,
};
use exec::{Priority, TaskRef};
use hal::{
    hart,
    sync::{IrqLock, rank},
};

/// What is done at a time.
const AT_ONCE: usize = 16;

/// What can be done so.
pub trait Prompt: Send + Sync {
    /// Does it. It does not wait.
    fn act(self: Arc<Self>);
}

type Woken = [Option<Arc<dyn Prompt>>; AT_ONCE];

struct List {
    woken: Woken,
    len: usize,
    /// Something is being done: what that wakes is for others.
    is_busy: bool,
    /// The hart's coroutine, from its first poll on.
    task: Option<TaskRef>,
}

struct Hart {
    /// The list may have some. Relaxed: written and read on one hart.
    has_some: AtomicBool,
    list: IrqLock<List>,
}

static HARTS: [Hart; hart::MAX] = [const {
    let list = List { woken: [const { None }; AT_ONCE], len: 0, is_busy: false, task: None };
    Hart { has_some: AtomicBool::new(false), list: IrqLock::new(rank::WAIT - 2, list) }
}; hart::MAX];

/// Starts the coroutines. Once, at boot.
pub fn start() {
    for hart in 0..hart::count() {
        exec::spawn_on(hart, Priority::NORMAL, "prompt", life(hart)).detach();
    }
}

async fn life(hart: usize) {
    let task = exec::current().await;
    HARTS[hart].list.lock().task = task;
    poll_fn(|_| {
        act(hart);
        Poll::<()>::Pending
    })
    .await;
}

/// Has this hart do something soon. Any context.
///
/// # Errors
/// It is for others: this has enough to do.
pub fn push(what: Arc<dyn Prompt>) -> Result<(), Arc<dyn Prompt>> {
    // Who calls goes on here.
    let _here = hart::no_preempt();
    let this = &HARTS[hart::id()];
    let mut list = this.list.lock();
    let len = list.len;
    if list.is_busy || list.task.is_none() || len == AT_ONCE {
        return Err(what);
    }
    list.woken[len] = Some(what);
    list.len = len + 1;
    let task = if len == 0 { list.task.clone() } else { None };
    drop(list);
    if let Some(task) = task {
        this.has_some.store(true, Relaxed);
        hart::leave_user();
        task.wake();
    }
    Ok(())
}

/// Whether there is something to do on this hart.
#[inline]
pub(crate) fn is_wanted(hart: usize) -> bool {
    HARTS[hart].has_some.load(Relaxed)
}

/// Does what there is on this hart. Nobody more urgent takes the hart meanwhile: what it waits for may be among this.
#[cold]
#[inline(never)]
pub(crate) fn act(hart: usize) {
    let _here = hart::no_preempt();
    let this = &HARTS[hart];
    let mut list = this.list.lock();
    this.has_some.store(false, Relaxed);
    list.is_busy = true;
    list.len = 0;
    let woken = core::mem::replace(&mut list.woken, [const { None }; AT_ONCE]);
    drop(list);
    woken.into_iter().flatten().for_each(|what| what.act());
    this.list.lock().is_busy = false;
}

#[cfg(test)]
mod tests;
