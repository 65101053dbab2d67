//! How a thread of control has the worker that it runs: for itself, or lent to it by the kernel (see `slots`).

use core::ptr::NonNull;

use sync::atomic::{AtomicBool, Ordering};

use crate::Priority;
use crate::interface::Header;
use crate::slots::Seat;

/// What a poll begins and ends with; for a thread that has the worker for itself, with nothing.
pub(crate) trait Hold: Copy {
    /// Whether the worker can be taken from the thread while it polls. Then what it has `polled` last stays noted until all polls are
    /// over. Nobody asks what that is: the thread does so when they are, and another that gets the worker begins with `abandon`.
    const LENT: bool = false;

    /// The poll begins. `true`: something more urgent has to be called for once more.
    #[inline(always)]
    fn begin_poll(self) -> bool {
        false
    }

    /// Polls the future of a task.
    ///
    /// # Safety
    /// The caller holds `RUNNING`, and the future is in place.
    #[inline(always)]
    unsafe fn poll(self, task: NonNull<Header>) -> bool {
        // SAFETY: alive, by contract.
        let poll = unsafe { task.as_ref() }.calls().poll;
        // SAFETY: by contract.
        unsafe { poll(task) }
    }

    /// The poll has ended; whether the thread has the worker still.
    #[inline(always)]
    fn end_poll(self) -> bool {
        true
    }

    /// Whether whoever has lent the worker thinks that it runs something more urgent than this.
    #[inline(always)]
    fn stands_above(self, priority: Priority) -> bool {
        let _ = priority;
        false
    }

    /// Whether the thread wants to do something else before it polls more.
    fn is_over(self) -> bool;
}

/// For itself, for one poll.
#[derive(Clone, Copy)]
pub(crate) struct Owned;

impl Hold for Owned {
    #[inline(always)]
    fn is_over(self) -> bool {
        true
    }
}

/// For itself, until this is set.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a>(pub(crate) &'a AtomicBool);

impl Hold for Until<'_> {
    #[inline(always)]
    fn is_over(self) -> bool {
        // Relaxed: what it is about is looked at by the caller, and whoever sets it calls the worker.
        self.0.load(Ordering::Relaxed)
    }
}

impl Hold for Seat<'_> {
    const LENT: bool = true;

    #[inline(always)]
    fn begin_poll(self) -> bool {
        Seat::begin_poll(&self)
    }

    #[inline(always)]
    fn end_poll(self) -> bool {
        Seat::end_poll(&self)
    }

    #[inline(always)]
    fn stands_above(self, priority: Priority) -> bool {
        Seat::stands_above(&self, priority)
    }

    #[inline(always)]
    fn is_over(self) -> bool {
        false
    }
}
