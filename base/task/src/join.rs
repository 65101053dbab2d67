//! The join handle: the right to a task's output.

use core::future::Future;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use sched::interface::Header;
use sched::word::{Ending, Leave};

use crate::Wait;
use crate::cell::{self, vtable};
use crate::waker::{TaskRef, waits_for, waits_no_more};

/// Why a task has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// It was aborted, nobody could ever have woken it again, or its pool is gone.
    Cancelled,
    /// It panicked; the runtime marked it as failed.
    Panicked,
    /// The output has been handed out already: the handle was polled after it was ready.
    Taken,
}

impl core::fmt::Display for JoinError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the task was cancelled",
            Self::Panicked => "the task panicked",
            Self::Taken => "the task's output was taken before",
        })
    }
}

impl core::error::Error for JoinError {}

/// Waits for a task's end and yields its output. Dropping it detaches the task, which runs on.
#[derive(Debug)]
pub struct JoinHandle<T> {
    task: NonNull<Header>,
    /// The output has been moved out.
    taken: bool,
    /// The task has inherited through this handle.
    lent: bool,
    output: PhantomData<T>,
}

// SAFETY: a handle is a reference to a task, whose shared parts are atomic, and the right to its output.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives access to the atomic parts only.
unsafe impl<T: Send> Sync for JoinHandle<T> {}
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// `task` is new, its output of type `T`, and its one reference is given to the handle.
    pub(crate) unsafe fn new(task: NonNull<Header>) -> Self {
        Self { task, taken: false, lent: false, output: PhantomData }
    }

    fn header(&self) -> &Header {
        // SAFETY: the handle holds a reference.
        unsafe { self.task.as_ref() }
    }

    /// The task's number, never used twice in its pool.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.header().id()
    }

    /// A reference to the task that can be kept, cloned and sent about.
    #[must_use]
    pub fn task(&self) -> TaskRef {
        // SAFETY: the handle holds a reference.
        unsafe { TaskRef::of(self.task) }
    }

    /// Whether the task has ended, so that awaiting it would not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.header().word().ending().is_some()
    }

    /// Has the task's future dropped at its next run; see [`TaskRef::abort`].
    pub fn abort(&self) {
        self.task().abort();
    }

    /// Lets the task go its own way; the same as dropping the handle.
    pub fn detach(self) {}

    fn finish(&mut self, ending: Ending) -> Result<T, JoinError> {
        match ending {
            Ending::NoOutput => Err(JoinError::Cancelled),
            Ending::Failed => Err(JoinError::Panicked),
            Ending::Output if self.taken => Err(JoinError::Taken),
            Ending::Output => {
                self.taken = true;
                let mut output = MaybeUninit::<T>::uninit();
                // SAFETY: S1, complete with output, which is this handle's and not taken before; the type is
                // that of the task, by `new`.
                unsafe {
                    (vtable(self.header()).take_output)(self.task, output.as_mut_ptr().cast());
                    Ok(output.assume_init())
                }
            }
        }
    }

    /// The task that waits here is as urgent as who waits for it. After the waker is in its place: who ends the task meanwhile has this
    /// polled again, and what was lent then is taken back.
    fn lend(&mut self) {
        let task = self.task();
        if (vtable(self.header()).joins)(&task) {
            self.lent = true;
        } else {
            self.repay();
        }
    }

    /// Nobody waits here any more.
    fn repay(&mut self) {
        if core::mem::take(&mut self.lent) {
            (vtable(self.header()).joins_no_more)(&self.task());
        }
    }

    /// Leaves `waker` for the completer, unless the task has ended.
    fn register(&self, waker: &Waker) -> Result<(), Ending> {
        let header = self.header();
        header.word().take_join_cell()?;
        // SAFETY: the handle holds a reference.
        let old = unsafe { cell::join_waker(self.task) }.with_mut(|cell| {
            // SAFETY: S4, JOIN_WAKER and COMPLETE were clear at one moment, and only this handle sets the
            // former.
            let cell = unsafe { &mut *cell };
            match cell {
                Some(old) if old.will_wake(waker) => None,
                _ => cell.replace(waker.clone()),
            }
        });
        drop(old);
        header.word().give_join_cell().inspect_err(|_| self.clear_cell())
    }

    /// Empties the waker's cell. Only called while it is this handle's (S4).
    fn clear_cell(&self) {
        // SAFETY: the handle holds a reference; S4, by contract of this private function.
        let old = unsafe { cell::join_waker(self.task) }.with_mut(|cell| unsafe { (*cell).take() });
        drop(old);
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ending = match self.header().word().ending() {
            Some(ending) => ending,
            None => match self.register(cx.waker()) {
                Ok(()) => {
                    waits_for(cx, Wait::Join);
                    self.lend();
                    return Poll::Pending;
                }
                Err(ending) => ending,
            },
        };
        waits_no_more(cx);
        self.repay();
        Poll::Ready(self.finish(ending))
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        // A handle that has lent was polled, and its word says so.
        if !self.header().word().detach_new() {
            self.give_up();
        }
    }
}

impl<T> JoinHandle<T> {
    /// The general case of the handle's end.
    #[inline(never)]
    fn give_up(&mut self) {
        self.repay();
        match self.header().word().leave() {
            // The cell came back with the bit; there may be a waker in it.
            Leave::Running => self.clear_cell(),
            // SAFETY: S1, the output is this handle's and still in place.
            Leave::Ended(Ending::Output) if !self.taken => unsafe {
                (vtable(self.header()).drop_output)(self.task);
            },
            Leave::Ended(_) => {}
        }
        // SAFETY: the handle's reference, given up at its end.
        unsafe { cell::drop_ref(self.task) };
    }
}
