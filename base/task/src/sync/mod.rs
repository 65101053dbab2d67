//! Locks and channels for tasks, in the shape of `tokio::sync`; they work under any executor.
//!
//! Each is a state under a short lock, with those who wait for it in order of arrival ([`sync::wait::Turns`]); a wait allocates
//! nothing but, where urgency is lent, a few words that say how urgent it is. A future that is dropped before it is ready has taken nothing and passes its turn on.
//!
//! The lock is the [`Lock`] that each is made with: a process has one that does not spin. Nothing of the user's runs
//! under it: no value is cloned or dropped, no waker called.
//!
//! **Failed holders.** A task that fails (it panicked, and panics do not unwind) leaves its guards where they are. Whoever
//! waits for a lock therefore waits for failures, too, in one queue for all locks ([`Lock::failures`]): it enters that
//! queue, looks whether the holder has failed, and sleeps; who lets a task fail does so first and calls [`failed`]
//! then. The lock is poisoned then, for ever: the guard may be anywhere, so nobody else can be let in.
//!
//! **Inheritance.** A task that somebody joins, who holds a mutex or a read-write lock, and who receives from an [`mpsc`] channel is as
//! urgent as whoever waits for it as long as that one does, also along chains: see `inherit` and `server`. A waiter that is next, and has been called, is not raised by one that comes behind it until it holds the lock.

use alloc::sync::Arc;
use core::convert::Infallible;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll};

use sync::wait::{Claim, Gate, Turns, WaitLock, WaitQueue, wait_until_next};

use crate::Wait;
use crate::waker::{TaskRef, waits_for, waits_no_more};

mod barrier;
pub mod broadcast;
mod inherit;
pub mod mpsc;
mod mutex;
mod notify;
mod once_cell;
pub mod oneshot;
mod rwlock;
mod semaphore;
mod server;
mod urgency;
pub mod watch;

pub use barrier::{Barrier, BarrierWaitResult};
pub use inherit::{Debts, lend, repay, restore};
pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use notify::{Notified, Notify};
pub use once_cell::OnceCell;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};
pub use server::ended;

/// The lock under which the state of a lock or channel lies, and what goes with it.
///
/// # Safety
/// The tasks that [`with_current`](Self::with_current) shows are of pools whose [`Pender::ends`](crate::Pender::ends) calls [`ended`] with this
/// lock.
pub unsafe trait Lock: WaitLock + Sized + Send + Sync + 'static {
    /// A free lock.
    #[cfg(not(loom))]
    const NEW: Self;

    /// A free lock.
    #[cfg(loom)]
    fn new() -> Self;

    /// Where those wait who wait for somebody that may fail.
    fn failures() -> &'static WaitQueue<Self>;

    /// What tasks have inherited through locks.
    fn debts() -> &'static Turns<Self, Debts>;

    /// Calls `f` with the task that runs here, if one does: the holder of what it locks, the sender of what it sends.
    fn with_current<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R;
}

sync::const_fn! {
    const fn free<L: Lock>() -> L {
        #[cfg(not(loom))]
        return L::NEW;
        #[cfg(loom)]
        L::new()
    }
}

/// To be called after a task has failed: whoever waits for what it held learns of it.
pub fn failed<L: Lock>() {
    L::failures().wake_all();
}

/// A lock is poisoned: a task failed while it held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poisoned;

/// Why a lock could not be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryLockError {
    /// A task failed while it held it.
    Poisoned,
    /// It is held, or others have waited longer.
    WouldBlock,
}

/// What errors say.
macro_rules! says {
    ($($name:ident $(<$value:ident>)?: $($pattern:pat => $text:expr),+;)*) => {$(
        impl $(<$value>)? core::fmt::Display for $name $(<$value>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(match self { $($pattern => $text),+ })
            }
        }
        impl $(<$value: core::fmt::Debug>)? core::error::Error for $name $(<$value>)? {}
    )*};
}
use says;

says! {
    Poisoned: _ => "a task failed while it held the lock";
    TryLockError: Self::Poisoned => "a task failed while it held the lock", Self::WouldBlock => "the lock is held";
}

/// Who holds something; none if that is no task.
#[derive(Debug)]
struct Holder(Option<TaskRef>);

impl Holder {
    fn current<L: Lock>() -> Self {
        Self(L::with_current(|current| current.cloned()))
    }

    fn has_failed(&self) -> bool {
        self.0.as_ref().is_some_and(TaskRef::has_failed)
    }
}

/// Claims what a holder has that may fail.
async fn claim_held<L: Lock, S: Gate, C: Claim<S>>(turns: &Turns<L, S>, mut claim: C) -> C::Output {
    if let Some(output) = turns.now(&mut claim) {
        return output;
    }
    let mut failure = pin!(wait_until_next(L::failures(), || None::<Infallible>));
    let mut turn = pin!(turns.wait(claim));
    poll_fn(|context| {
        // Always pending. In that queue first, then the look: see the module head.
        let _ = failure.as_mut().poll(context);
        noted(turn.as_mut().poll(context), Wait::Lock, context)
    })
    .await
}

/// Claims what nobody can fail to give back.
async fn claim<L: Lock, S: Gate, C: Claim<S>>(turns: &Turns<L, S>, mut claim: C, wait: Wait) -> C::Output {
    match turns.now(&mut claim) {
        Some(output) => output,
        None => claim_in_turn(turns, claim, wait).await,
    }
}

/// The same by who has looked in vain.
async fn claim_in_turn<L: Lock, S: Gate, C: Claim<S>>(turns: &Turns<L, S>, claim: C, wait: Wait) -> C::Output {
    let mut turn = pin!(turns.wait(claim));
    poll_fn(|context| noted(turn.as_mut().poll(context), wait, context)).await
}

/// The answer of something that waits; what for is noted, or that it has come.
#[inline]
fn noted<T>(answer: Poll<T>, wait: Wait, context: &Context<'_>) -> Poll<T> {
    match answer {
        Poll::Pending => waits_for(context, wait),
        Poll::Ready(_) => waits_no_more(context),
    }
    answer
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
