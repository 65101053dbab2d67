//! POSIX signals between cooperating programs, carried by user interrupts (note 0012): no kernel on the way, where there is hardware for that.
//!
//! ```no_run
//! let signals = Signals::receive(Handlers::new(), 0)?;
//! // SAFETY: the handler only counts.
//! unsafe { signals.handle(SIGUSR1, Flags::RESTART, 0, &|_, _| count())? };
//! let right = signals.grant(1)?; // to be inherited by a child, or passed on
//! // There:
//! Sender::open(right)?.queue(SIGRTMIN + 3, 42)?;
//! ```
//!
//! The kernel's signals are other ones, with masks and actions of their own. A child made by `fork` receives none before it [inherits](Signals::inherit).
//!
//! **Who touches what.** What is pending, masked and done is the thread's, and its handlers': only while its interrupts are off. What the senders share lies in the word pages of
//! their rights, and is trusted by nobody (`signal::area`).
//!
//! **How a signal arrives.** The handler of the vector collects. If something came that is not masked, it has the thread call `inner::deliver` before
//! it goes on (`uintr::redirect`), on its own stack, where handlers run with interrupts on. Whoever else makes a signal pending or unmasks one delivers it in the same call. Both leave with
//! interrupts off and nothing wanted; what comes behind that interrupts.

mod calls;
mod group;
mod inner;
mod sender;
mod waits;

use crate::io::{Error, Result};
use crate::sync::{Arc, OnceLock};
use crate::uintr::{self, Handlers, Receiver};
use abi::Errno;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use group::Ring;
use inner::{Inner, Served, Words};
use signal::area::{self, at};
use signal::state::{self, Areas};

pub use abi::signal::{SIGRTMAX, SIGRTMIN};
pub use calls::call;
pub use group::Group;
pub use sender::{Right, Sender};
pub use signal::bit;
pub use signal::state::{Flags, Info};

/// What runs when a signal arrives, in the thread that receives it: with what that receives by.
pub type Handler = dyn Fn(&Signals, &Info);
/// What is done with a signal.
pub type Action = state::Action<&'static Handler>;
type State = state::State<&'static Handler>;

/// This thread's receiving signals.
pub struct Signals {
    /// Of this value, which frees it; of its thread alone.
    inner: *const Inner,
}

impl Signals {
    /// The thread receives signals by this vector, 0 to 63, of a receiver with these handlers for the others.
    ///
    /// # Errors
    /// As [`uintr::receive`]; `EINVAL`: a less urgent vector has a handler that lets more urgent ones in ([`Handlers::nesting`]).
    ///
    /// # Panics
    /// If there is no such vector.
    pub fn receive(handlers: Handlers, vector: u32) -> Result<Self> {
        Self::with(handlers, vector, State::new())
    }

    /// In a child made by `fork`, which has the mask and the actions of its parent, and nothing pending. The rights that its parent has granted
    /// go on being for that. Of the parent's value the child uses nothing else.
    ///
    /// # Errors
    /// As [`Signals::receive`].
    pub fn inherit(&self, handlers: Handlers) -> Result<Self> {
        // SAFETY: only this thread has it, and nothing interrupts a thread that is no receiver yet.
        let state = unsafe { &*self.inner().state.get() }.inherited();
        Self::with(handlers, self.inner().vector, state)
    }

    /// A signal must not come in a handler that others interrupt: who runs its handlers could not tell which call, and which stack, is to hear of it.
    fn with(handlers: Handlers, vector: u32, state: State) -> Result<Self> {
        if handlers.nest_below(vector) {
            return Err(Errno::EINVAL.into());
        }
        let inner = Box::new(Inner {
            vector,
            receiver: UnsafeCell::new(None),
            state: UnsafeCell::new(state),
            own: [const { AtomicU64::new(0) }; at::WORDS],
            handled: AtomicU64::new(0),
            stack: [const { AtomicUsize::new(0) }; 2],
            awaited: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            apart: AtomicU64::new(0),
            member: UnsafeCell::new(None),
            bell: OnceLock::new(),
        });
        let this = Self { inner: Box::into_raw(inner) };
        let served = Served(this.inner);
        let handler: &'static _ = Box::leak(Box::new(move |_: u32| served.arrived()));
        // SAFETY: it uses atomics and calls, and what is the thread's only while interrupts are off. No floating point.
        let receiver = uintr::receive(unsafe { handlers.on_without_floats(vector, handler) })?;
        // SAFETY: nobody has a right to that vector yet, so that the handler has not read it.
        unsafe { *this.inner().receiver.get() = Some(receiver) };
        Ok(this)
    }

    #[inline(always)]
    fn inner(&self) -> &Inner {
        // SAFETY: it is there as long as this value.
        unsafe { &*self.inner }
    }

    /// The receiver, for rights to its other vectors. Signals that arrive while its interrupts are kept off are delivered by the next call here.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        self.inner().receiver()
    }

    /// A right to send signals, which arrive with this tag.
    ///
    /// # Errors
    /// As [`Receiver::grant`].
    pub fn grant(&self, tag: u64) -> Result<Right> {
        self.inner().closed(|state| {
            let (right, slot) = self.inner().new_right(state, false)?;
            state.set_tag(slot, tag);
            Ok(Right(right))
        })
    }

    /// The thread is one of a group: it takes what is sent to all of them and is not masked here, or waited for. It is until this value is gone.
    ///
    /// What it does with that is by its own actions: a thread sets them before, as all of a group, as a rule. Not to be called by a handler, for it allocates.
    ///
    /// # Errors
    /// As [`Receiver::grant`]; `EBUSY`: it is one of a group already; `EINVAL`: of another process; `ENOSPC`: there are 64 threads.
    pub fn join(&self, group: &Arc<Group>) -> Result<()> {
        self.inner().closed(|state| {
            if self.inner().member().is_some() {
                return Err(Error::from(Errno::EBUSY));
            }
            let (right, _) = self.inner().new_right(state, true)?;
            let member = group.join(Ring { sender: uintr::Sender::open(right)?, vector: self.inner().vector })?;
            // SAFETY: interrupts are off, and nobody has a reference to what is there: there is none.
            unsafe { *self.inner().member.get() = Some(member) };
            Ok(())
        })
    }

    /// A right to send signals to all threads of the group that this one is of: one of them takes each, with this tag. The right lasts as long as this thread is of the group, or until it is
    /// [revoked](Signals::revoke) here, also if nobody has it any more. Not to be called by a handler, for it allocates.
    ///
    /// # Errors
    /// As [`Receiver::grant`]; `EINVAL`: it is of none; `ENOSPC` also: the group has 63 such rights.
    pub fn grant_for_group(&self, tag: u64) -> Result<Right> {
        self.inner().closed(|state| {
            let Some(member) = self.inner().member() else { return Err(Error::from(Errno::EINVAL)) };
            let (right, slot) = self.inner().new_right(state, true)?;
            let own = uintr::Sender::open(group::again(&right)?)?;
            member.add(own, slot, tag).ok_or(Error::from(Errno::ENOSPC))?;
            Ok(Right(right))
        })
    }

    /// Sends a signal to the threads of the group that this one is of, this one among them: if it is not masked here, it is delivered before the return.
    ///
    /// # Errors
    /// As [`Signals::queue`]; `EINVAL` also: it is of none.
    pub fn queue_for_group(&self, signal: u32, value: u64) -> Result<()> {
        let Some(member) = self.inner().member() else { return Err(Error::from(Errno::EINVAL)) };
        match signal {
            0 => return Ok(()),
            1..=64 => {}
            _ => return Err(Error::from(Errno::EINVAL)),
        }
        let sent = self.inner().closed(|state| {
            let (sent, pending) = member.queue(signal, value);
            state.set_shared(pending);
            self.inner().tell(state);
            sent
        });
        sent.map_err(|_| Error::from(Errno::EAGAIN))
    }

    /// Ends a right: what is sent by it from now on arrives nowhere, and what is queued by it is gone.
    ///
    /// # Errors
    /// As [`Receiver::revoke`].
    pub fn revoke(&self, right: &Right) -> Result<()> {
        self.inner().closed(|state| {
            self.inner().receiver().revoke(&right.0)?;
            // Its area may be its sender's for a while.
            state.set_used(self.inner().used());
            self.inner().forget_ended();
            Ok(())
        })
    }

    /// Runs `handler` for a signal, with its signal and those of `mask` masked, as the flags say.
    ///
    /// # Errors
    /// `EINVAL`: there is no such signal, or it cannot be handled.
    ///
    /// # Safety
    /// It interrupts the thread between any two instructions, on its stack. It must not depend on what those are in the middle of, which rules out what is not for the
    /// handler of a signal: taking a lock, allocating or freeing, borrowing from a cell or a task's locals, panicking. It may use atomics, system calls, and what is here.
    /// A child that it makes by `fork` must not return from it: the child is no receiver, and ends there.
    pub unsafe fn handle(&self, signal: u32, flags: Flags, mask: u64, handler: &'static Handler) -> Result<()> {
        self.act(signal, Action::Handle(handler, mask, flags)).map(drop)
    }

    /// Ignores a signal; what was done with it.
    ///
    /// # Errors
    /// `EINVAL`: there is no such signal, or it cannot be ignored.
    pub fn ignore(&self, signal: u32) -> Result<Action> {
        self.act(signal, Action::Ignore)
    }

    /// Has a signal do what is usual; what was done with it.
    ///
    /// # Errors
    /// `EINVAL`: there is no such signal, or nothing can be done about it.
    pub fn default(&self, signal: u32) -> Result<Action> {
        self.act(signal, Action::Default)
    }

    fn act(&self, signal: u32, action: Action) -> Result<Action> {
        let done = self.inner().closed(|state| state.set_action(self.inner(), signal, action));
        done.map_err(|_| Error::from(Errno::EINVAL))
    }

    /// Masks these, too; what was masked.
    pub fn block(&self, set: u64) -> u64 {
        self.inner().closed(|state| state.set_mask(state.mask() | set))
    }

    /// Masks these no more, and delivers those of them that are pending; what was masked.
    pub fn unblock(&self, set: u64) -> u64 {
        self.inner().closed(|state| state.set_mask(state.mask() & !set))
    }

    /// Masks these alone; what was masked.
    pub fn set_mask(&self, set: u64) -> u64 {
        self.inner().closed(|state| state.set_mask(set))
    }

    /// Signals that are pending, thus masked; of those that queue perhaps some that are not any more.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.inner().closed(|state| {
            state.collect(self.inner());
            self.inner().look_around(state);
            state.pending()
        })
    }

    /// Sends a signal to this thread: if it is not masked, it is delivered before the return. Makes no call.
    ///
    /// # Errors
    /// `EINVAL`, `EAGAIN` as [`Sender::kill`].
    pub fn raise(&self, signal: u32) -> Result<()> {
        self.queue(signal, 0)
    }

    /// The same with a value.
    ///
    /// # Errors
    /// As [`Signals::raise`].
    pub fn queue(&self, signal: u32, value: u64) -> Result<()> {
        if bit(signal) == 0 {
            return if signal == 0 { Ok(()) } else { Err(Error::from(Errno::EINVAL)) };
        }
        let sent = self.inner().closed(|state| {
            let sent = area::send(&self.inner().area(0), signal, value);
            state.collect(self.inner());
            self.inner().tell(state);
            sent
        });
        sent.map_err(|_| Error::from(Errno::EAGAIN))
    }

    /// Handlers with [`Flags::ONSTACK`] run on this stack from now on; without one, on the thread's.
    ///
    /// # Errors
    /// `EPERM`: one of them runs; `ENOMEM`: it is too small.
    pub fn set_stack(&self, stack: Option<&'static mut [u8]>) -> Result<()> {
        if self.inner().is_on_stack() {
            return Err(Error::from(Errno::EPERM));
        }
        let (start, len) = stack.map_or((0, 0), |stack| (stack.as_mut_ptr() as usize, stack.len()));
        if start != 0 && len < abi::signal::MINSIGSTKSZ {
            return Err(Error::from(Errno::ENOMEM));
        }
        self.inner().closed(|_| {
            self.inner().stack[0].store(start, Relaxed);
            self.inner().stack[1].store(len, Relaxed);
        });
        Ok(())
    }

    /// Whether that stack is in use.
    #[must_use]
    pub fn is_on_stack(&self) -> bool {
        self.inner().is_on_stack()
    }
}

impl Drop for Signals {
    /// The thread receives no more, neither signals nor other interrupts; nor can it again.
    fn drop(&mut self) {
        let inner = self.inner();
        // A child made by `fork` has its parent's value, and is none of the group.
        if let Some(member) = inner.membership()
            && inner.receiver().is_this_thread()
        {
            let _ = inner.receiver().mask();
            member.leave(inner.receiver());
        }
        // SAFETY: made by a box. The receiver goes with it, behind which no handler runs; one that runs borrows this value.
        drop(unsafe { Box::from_raw(self.inner.cast_mut()) });
    }
}
