//! Locks and channels on one thread, by hand: who is woken, who gets what, what is left when somebody goes away.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ::sync::raw::RawSpin;
use ::sync::wait::{WaitLock, WaitQueue};

use super::*;
use crate::{JoinError, Pender, Pool, Priority};

mod channels;
mod failure;
mod inheritance;
mod locks;
mod noted;
mod served;

/// The lock of these tests.
pub(super) struct Spin(RawSpin);

// SAFETY: the raw lock's word.
unsafe impl WaitLock for Spin {
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        self.0.with(f)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<TaskRef>> = const { RefCell::new(None) };
}

// SAFETY: only the pools of `Alone` have tasks that run as current ones.
unsafe impl Lock for Spin {
    const NEW: Self = Self(RawSpin::new());

    fn failures() -> &'static WaitQueue<Self> {
        static FAILURES: WaitQueue<Spin> = WaitQueue::new(Spin::NEW);
        &FAILURES
    }

    fn debts() -> &'static Turns<Self, Debts> {
        static DEBTS: Turns<Spin, Debts> = Turns::new(Spin::NEW, Debts::new());
        &DEBTS
    }

    fn with_current<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R {
        let current = CURRENT.with(|current| current.borrow().clone());
        f(current.as_ref())
    }
}

/// Counts its calls.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future, and whether it was woken since it was last polled.
struct Waiter<'f, T> {
    future: Pin<Box<dyn Future<Output = T> + 'f>>,
    count: Arc<Count>,
}

fn waiter<'f, T>(future: impl Future<Output = T> + 'f) -> Waiter<'f, T> {
    Waiter { future: Box::pin(future), count: Arc::default() }
}

impl<T> Waiter<'_, T> {
    fn poll(&mut self) -> Option<T> {
        self.count.0.store(0, Ordering::Relaxed);
        match self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(self.count.clone()))) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn is_woken(&self) -> bool {
        self.count.0.load(Ordering::Relaxed) > 0
    }

    /// Polls it if it was woken.
    fn run(&mut self) -> Option<T> {
        if self.is_woken() { self.poll() } else { None }
    }
}

/// Polls a future that must be ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    waiter(future).poll().expect("ready at once")
}
