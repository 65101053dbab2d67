//! Locks and channels between tasks, in the shape of `tokio::sync`: those of `base/task`, under a lock that does not spin.
//!
//! They work under any executor. `lock`, `read` and `write` answer with an error once a task has panicked that held the lock
//! (see [`Poisoned`]); what cannot fail in `tokio` for lack of that is the one difference.

use crate::sync::RawMutex;
use crate::thread;
use ::sync::wait::{Turns, WaitLock, WaitQueue};
use task::TaskRef;
use task::sync as base;

pub use base::{AcquireError, BarrierWaitResult, Poisoned, TryAcquireError, TryLockError};

/// The lock under which the state of each lies.
#[derive(Debug)]
pub struct Futex(RawMutex);

// SAFETY: the mutex excludes, and orders by acquire and release; nobody interrupts a thread to use one.
unsafe impl WaitLock for Futex {
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        // A panic in here, which is that there is no memory, cannot end a task alone.
        thread::begin_guard();
        let result = self.0.with(f);
        thread::end_guard();
        result
    }
}

// SAFETY: the one pool of this process does so.
unsafe impl base::Lock for Futex {
    const NEW: Self = Self(RawMutex::new());

    fn failures() -> &'static WaitQueue<Self> {
        static FAILURES: WaitQueue<Futex> = WaitQueue::new(base::Lock::NEW);
        &FAILURES
    }

    fn debts() -> &'static Turns<Self, base::Debts> {
        static DEBTS: Turns<Futex, base::Debts> = Turns::new(base::Lock::NEW, base::Debts::new());
        &DEBTS
    }

    #[inline]
    fn with_current<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R {
        thread::with_task(f)
    }
}

/// A value that one task at a time can use.
pub type Mutex<T> = base::Mutex<T, Futex>;
/// The value while it is held.
pub type MutexGuard<'m, T> = base::MutexGuard<'m, T, Futex>;
/// The value while it is held, with the mutex.
pub type OwnedMutexGuard<T> = base::OwnedMutexGuard<T, Futex>;
/// A value that many tasks can read, or one can write.
pub type RwLock<T> = base::RwLock<T, Futex>;
/// The value while it can be read.
pub type RwLockReadGuard<'l, T> = base::RwLockReadGuard<'l, T, Futex>;
/// The value while it can be written.
pub type RwLockWriteGuard<'l, T> = base::RwLockWriteGuard<'l, T, Futex>;
/// A number of permits.
pub type Semaphore = base::Semaphore<Futex>;
/// Permits, given back when dropped.
pub type SemaphorePermit<'s> = base::SemaphorePermit<'s, Futex>;
/// Permits, with the semaphore.
pub type OwnedSemaphorePermit = base::OwnedSemaphorePermit<Futex>;
/// Tasks that wait to be told.
pub type Notify = base::Notify<Futex>;
/// The future of [`Notify::notified`](base::Notify::notified).
pub type Notified<'n> = base::Notified<'n, Futex>;
/// Tasks wait here until so many are there.
pub type Barrier = base::Barrier<Futex>;
/// A value made at its first use.
pub type OnceCell<T> = base::OnceCell<T, Futex>;

/// Channels with many senders and one receiver.
pub mod mpsc {
    use super::{Futex, base};
    use futures_util::sink::{self, Sink};

    pub use base::mpsc::{SendError, TryRecvError, TrySendError};

    /// The sending half of a bounded channel.
    pub type Sender<T> = base::mpsc::Sender<T, Futex>;
    /// The receiving half.
    pub type Receiver<T> = base::mpsc::Receiver<T, Futex>;
    /// A place for a message.
    pub type Permit<'s, T> = base::mpsc::Permit<'s, T, Futex>;
    /// The sending half of a channel without a bound.
    pub type UnboundedSender<T> = base::mpsc::UnboundedSender<T, Futex>;
    /// The receiving half of a channel without a bound.
    pub type UnboundedReceiver<T> = base::mpsc::UnboundedReceiver<T, Futex>;

    /// A channel that holds at most `capacity` messages; for 0 it is as for 1.
    #[must_use]
    pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        base::mpsc::channel(capacity)
    }

    /// The sending half as a sink: it takes a message when the one before has its place. A receiver is a stream as it is.
    pub fn sink<T: Send>(sender: Sender<T>) -> impl Sink<T, Error = SendError<T>> {
        sink::unfold(sender, async |sender, message| {
            sender.send(message).await?;
            Ok(sender)
        })
    }

    /// A channel without a bound.
    #[must_use]
    pub fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        base::mpsc::unbounded_channel()
    }
}

/// A channel for one message.
pub mod oneshot {
    use super::{Futex, base};

    pub use base::oneshot::{RecvError, TryRecvError};

    /// The sending half.
    pub type Sender<T> = base::oneshot::Sender<T, Futex>;
    /// The receiving half: a future of the message.
    pub type Receiver<T> = base::oneshot::Receiver<T, Futex>;

    /// Makes a channel.
    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        base::oneshot::channel()
    }
}

/// A channel in which each receiver gets each message.
pub mod broadcast {
    use super::{Futex, base};
    use futures_util::stream::{self, Stream};

    pub use base::broadcast::{RecvError, SendError, TryRecvError};

    /// The sending half.
    pub type Sender<T> = base::broadcast::Sender<T, Futex>;
    /// A receiving half.
    pub type Receiver<T> = base::broadcast::Receiver<T, Futex>;

    /// A channel that keeps the newest `capacity` messages; for 0 it is as for 1.
    #[must_use]
    pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        base::broadcast::channel(capacity)
    }

    /// What a receiver gets, until all senders are gone. `Err`: how many messages it was too late for.
    pub fn stream<T: Clone>(receiver: Receiver<T>) -> impl Stream<Item = Result<T, u64>> {
        stream::unfold(receiver, async |mut receiver| match receiver.recv().await {
            Ok(message) => Some((Ok(message), receiver)),
            Err(RecvError::Lagged(missed)) => Some((Err(missed), receiver)),
            Err(RecvError::Closed) => None,
        })
    }
}

/// A value that one side sets and the other watches.
pub mod watch {
    use super::{Futex, base};
    use futures_util::stream::{self, Stream};

    pub use base::watch::{RecvError, Ref, SendError};

    /// The side that sets.
    pub type Sender<T> = base::watch::Sender<T, Futex>;
    /// A side that watches.
    pub type Receiver<T> = base::watch::Receiver<T, Futex>;

    /// A channel with a first value, which counts as seen.
    #[must_use]
    pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
        base::watch::channel(value)
    }

    /// The values that a side sees, the present one first, until the other is gone. One that is replaced before anybody looks is not seen.
    pub fn stream<T: Clone>(receiver: Receiver<T>) -> impl Stream<Item = T> {
        stream::unfold((receiver, true), async |(mut receiver, first)| {
            if !first {
                receiver.changed().await.ok()?;
            }
            let value = T::clone(&receiver.borrow_and_update());
            Some((value, (receiver, false)))
        })
    }
}
