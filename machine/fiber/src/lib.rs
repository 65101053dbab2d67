//! A stack for a synchronous library, driven as a future.
//!
//! A library that knows nothing of `async` runs inside a [`Fiber`]. Where it has to wait it calls
//! [`Port::wait`] with a future: the fiber leaves its stack, the task that polls the [`Fiber`] returns
//! `Pending`, and when that task is woken the library goes on where it stopped. So
//! `fn read_block(&mut self, ..) { self.port.wait(device.read(..)) }` makes a synchronous file system wait
//! without occupying a hart.
//!
//! # Protocol
//!
//! ```text
//!   executor              Fiber::poll                  on the fiber's stack
//!   --------              -----------                  --------------------
//!   poll(cx)  ---------> resume(Poll(waker)) --------> closure runs, calls port.wait(f)
//!                                                       f.poll -> Pending
//!   Pending   <--------- Yield               <-------- suspend
//!   (f wakes the task)
//!   poll(cx)  ---------> resume(Poll(waker)) --------> f.poll -> Ready(v); wait returns Ok(v)
//!   Ready(r)  <--------- Return(r)           <-------- closure returns r
//! ```
//!
//! # Cancellation
//!
//! Dropping a [`Fiber`] that is suspended resumes it with the order to give up: that `wait`, and every
//! later one, returns [`Cancelled`] at once, so the library sees errors, returns, and drops what it holds. If it
//! keeps calling `wait` all the same ([`PATIENCE`] times), its stack and what lies on it are leaked and
//! counted in [`leaked`]; nothing dangles, because the stack is not reused.
//!
//! # Moving between harts
//!
//! A fiber may continue on another hart, with all that is on its stack. The closure and its result are
//! `Send`, so nothing on that stack is shared with the outside by unsynchronised means; values that are not
//! `Send` among themselves (`Rc`) move together. What must not be held across a `wait` is a guard that
//! belongs to a hart: a spin lock or a section with preemption off (decision D8 forbids it anyway);
//! `wait` refuses that.

#![no_std]
#![expect(unsafe_code, reason = "stacks for corosensei, and moving a suspended stack between harts")]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod stack;
#[cfg(test)]
mod tests;

use core::fmt;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use stack::GuardedStack;
pub use stack::{MIN_STACK_BYTES, NoMemory};

/// How many waits of a dropped fiber are refused before its stack is given up as lost.
pub const PATIENCE: usize = 1000;

static LEAKED: AtomicUsize = AtomicUsize::new(0);

/// How many fibers were leaked because they ignored their cancellation.
pub fn leaked() -> usize {
    // Relaxed: a statistic, nothing is read on the strength of it.
    LEAKED.load(Ordering::Relaxed)
}

/// The fiber is being dropped: stop and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fiber was cancelled")
    }
}

impl core::error::Error for Cancelled {}

/// What the fiber is resumed with.
enum Resume {
    /// Poll what you wait for; wake this when it is worth another try.
    Poll(Waker),
    /// Give up.
    Cancel,
}

type Inner<R> = Coroutine<Resume, (), R, GuardedStack>;

/// The synchronous code's way to wait. It exists on the fiber's own stack only.
pub struct Port<'a> {
    yielder: &'a Yielder<Resume, ()>,
    /// What the fiber was last resumed with: the waker for the next poll, or the order to give up.
    order: core::cell::RefCell<Resume>,
}

impl Port<'_> {
    /// Blocks the calling code, not the hart, until `future` is ready.
    ///
    ///
    /// # Errors
    ///
    /// [`Cancelled`] once the fiber is being dropped; `future` is then dropped unfinished.
    ///
    /// # Panics
    ///
    /// If a spin lock is held or preemption is off: the guard would be released on another hart.
    pub fn wait<F>(&self, future: F) -> Result<F::Output, Cancelled>
    where
        F: Future + Send,
    {
        assert!(hal::hart::preemptible(), "a fiber must not wait with preemption off");
        let mut future = pin!(future);
        loop {
            let polled = match &*self.order.borrow() {
                Resume::Cancel => None,
                Resume::Poll(waker) => Some(future.as_mut().poll(&mut Context::from_waker(waker))),
            };
            match polled {
                Some(Poll::Ready(value)) => return Ok(value),
                Some(Poll::Pending) => self.suspend(),
                None => {
                    // Hand control back, so that `Drop` can count and lose its patience.
                    self.suspend();
                    return Err(Cancelled);
                }
            }
        }
    }

    /// True if the fiber is being dropped, for code that can stop early.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.order.borrow(), Resume::Cancel)
    }

    fn suspend(&self) {
        let order = self.yielder.suspend(());
        *self.order.borrow_mut() = order;
    }
}

/// Synchronous code on a stack of its own, as a future of its result.
#[must_use = "a fiber runs when it is polled"]
pub struct Fiber<R> {
    /// `None` once the closure has returned.
    inner: Option<Inner<R>>,
}

// SAFETY: the closure and its result are `Send` (bounds of `spawn`), `wait` takes only `Send` futures, and
// the stack is owned memory. Everything else on the stack was created by the closure, so all of it moves
// together, and only between `resume` calls, which `&mut self` serialises. Guards tied to a hart are not on a
// suspended stack: `wait` checks that preemption is on.
unsafe impl<R: Send> Send for Fiber<R> {}

impl<R> Unpin for Fiber<R> {}

impl<R: Send + 'static> Fiber<R> {
    /// Prepares `code` to run on a new stack of at least `stack_bytes`. Nothing runs before the first poll.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] if there is none for the stack, or it is larger than `hal::stack::MAX_SIZE`.
    pub fn spawn<F>(stack_bytes: usize, code: F) -> Result<Fiber<R>, NoMemory>
    where
        F: FnOnce(&Port<'_>) -> R + Send + 'static,
    {
        let stack = GuardedStack::new(stack_bytes)?;
        let inner = Inner::with_stack(stack, move |yielder, first| {
            code(&Port { yielder, order: core::cell::RefCell::new(first) })
        });
        Ok(Fiber { inner: Some(inner) })
    }
}

impl<R> Future for Fiber<R> {
    type Output = R;

    /// # Panics
    ///
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let inner = self.inner.as_mut().expect("a fiber is not polled after it has finished");
        // The stack may have been mapped by another hart.
        hal::stack::synchronise();
        match inner.resume(Resume::Poll(cx.waker().clone())) {
            CoroutineResult::Yield(()) => Poll::Pending,
            CoroutineResult::Return(value) => {
                self.inner = None;
                Poll::Ready(value)
            }
        }
    }
}

impl<R> Drop for Fiber<R> {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        if !inner.started() {
            return;
        }
        hal::stack::synchronise();
        for _ in 0..PATIENCE {
            if let CoroutineResult::Return(_) = inner.resume(Resume::Cancel) {
                return;
            }
        }
        // A suspended stack cannot be unwound without unwinding tables: it stays, with all it owns.
        let _ = ManuallyDrop::new(inner);
        // Relaxed: a statistic (see `leaked`).
        LEAKED.fetch_add(1, Ordering::Relaxed);
    }
}
