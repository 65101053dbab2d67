//! What crosses between the scheduler and whoever uses it: all `repr(C)`, no generic parameter, nothing allocated.
//!
//! The scheduler does not know what a task is. Its user allocates one, with a [`Header`] as the first field, and says in a
//! table of functions ([`Ops`]) how it is polled, dropped and freed. A pool's [`Port`] is the way back to who made it.
//!
//! The functions of both tables are `extern "C"`. Where panics unwind, which is on the host only, they may unwind
//! through them; so they are declared with [`crossing!`](crate::crossing), which knows.

use core::ptr::NonNull;

use sync::atomic::figure::{self, AtomicU8};
use sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use sync::cell::UnsafeCell;

use crate::MAX_WORKERS;
use crate::Priority;
use crate::link::Link;
use crate::policy::Policy;
use crate::pool::Pool;
use crate::slots::Shown;
use crate::standing::{Mark, Standing};
use crate::word::Word;
use crate::worker::Worker;

/// Defines functions that are called across the interface.
#[macro_export]
macro_rules! crossing {
    // # Safety: of the functions, as their documentation says.
    ($($(#[$note:meta])* $vis:vis unsafe fn $name:ident $([$($generics:tt)*])? ($($arg:ident: $type:ty),* $(,)?)
        $(-> $answer:ty)? $body:block)*) => {$(
        #[cfg(panic = "unwind")]
        // # Safety: as the documentation of each says.
        $(#[$note])* $vis unsafe extern "C-unwind" fn $name $(<$($generics)*>)? ($($arg: $type),*) $(-> $answer)? $body
        #[cfg(not(panic = "unwind"))]
        // # Safety: as the documentation of each says.
        $(#[$note])* $vis unsafe extern "C" fn $name $(<$($generics)*>)? ($($arg: $type),*) $(-> $answer)? $body
    )*};
}

/// Names types of functions that are called across the interface.
macro_rules! crossing_types {
    ($($(#[$note:meta])* $name:ident = fn($($arg:ty),*) $(-> $answer:ty)?;)*) => {$(
        #[cfg(panic = "unwind")]
        $(#[$note])* pub type $name = unsafe extern "C-unwind" fn($($arg),*) $(-> $answer)?;
        #[cfg(not(panic = "unwind"))]
        $(#[$note])* pub type $name = unsafe extern "C" fn($($arg),*) $(-> $answer)?;
    )*};
}
pub(crate) use crossing_types;

crossing_types! {
    /// Polls a task; `true` when it is ready, with its output in place.
    Poll = fn(NonNull<Header>) -> bool;
    /// Does something to a task.
    Act = fn(NonNull<Header>);
    /// Takes note of a task's end; a set of [`DROP_OUTPUT`] and [`WAKE_JOINER`] says what is to do.
    Ended = fn(NonNull<Header>, u32);
    /// See [`Port`].
    Pend = fn(*const (), u32, u32);
}

/// The join handle is gone: the output is dropped by who ends the task.
pub const DROP_OUTPUT: u32 = 1 << 0;
/// The joiner's cell is the completer's (S4): it takes the waker and wakes.
pub const WAKE_JOINER: u32 = 1 << 1;

/// What the scheduler calls of a task.
#[repr(C)]
pub struct Ops {
    /// Polls the future. The scheduler holds `RUNNING`.
    pub poll: Poll,
    /// Drops the future; once, instead of ever polling it again. The scheduler holds `RUNNING`.
    pub drop_future: Act,
    /// The task has ended; called only if there is something to do. The scheduler holds `RUNNING`.
    pub ended: Ended,
    /// Frees the task, whose future and output are gone (S3).
    pub free: Act,
    /// Whether an output that nobody wants has to be dropped.
    pub output_drops: bool,
}

/// The way from a pool to who made it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Port {
    /// For whoever made the pool.
    pub context: *const (),
    /// `(context, worker, priority)`: the worker is idle, or runs something less urgent than `priority`, and has a task
    /// of that priority. It should come back to `run_next` (from its sleep), or call `run_above` (preempt what it
    /// runs). Called from any context, interrupt handlers included; must not wait.
    pub pend: Pend,
    /// Policies besides those that every pool has, with the numbers that follow theirs. They live as long as the pool.
    pub policies: *const Policy,
    /// How many.
    pub policy_count: usize,
    /// One for each worker, if these are lent to threads by a kernel, else null: what that thread stands at. Who has something more
    /// urgent than that for a worker that runs nothing and is not idle pends it, too: the thread may not get to look at its queue
    /// for long. And so does the worker itself, when what it runs next is less urgent. They live as long as the pool.
    pub shown: *const Shown,
}

/// What a new task is made of, besides its functions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// How urgent it is.
    pub priority: Priority,
    /// The worker that it never leaves (wrapped to their number), or [`ANY_WORKER`].
    pub worker: u32,
    /// The number of its policy (see `policy`).
    pub policy: u32,
    /// What a policy that ranks goes by: a deadline, or what the owner has used.
    pub key: u64,
}

/// No worker in particular.
pub const ANY_WORKER: u32 = u32::MAX;

impl Birth {
    /// A task of this priority that may run anywhere, in turn.
    #[must_use]
    pub const fn new(priority: Priority) -> Self {
        Self { priority, worker: ANY_WORKER, policy: crate::policy::ROUND_ROBIN, key: 0 }
    }

    /// The same, never to leave this worker (wrapped to their number).
    #[must_use]
    pub const fn on(self, worker: usize) -> Self {
        Self { worker: worker as u32 % MAX_WORKERS as u32, ..self }
    }

    /// The same under a policy, with the key that it goes by.
    #[must_use]
    pub const fn under(self, policy: u32, key: u64) -> Self {
        Self { policy, key, ..self }
    }
}

/// What every task begins with. Written by [`Pool::new_task`], touched by the scheduler and through its own methods
/// only.
#[repr(C)]
pub struct Header {
    /// See `word`.
    pub(crate) word: Word,
    /// A pointer, so that a user may have more behind it than the scheduler knows of.
    pub(crate) ops: NonNull<Ops>,
    /// The worker in whose queue it is, or was last (S6, S7): where it is put unless another is better.
    home: AtomicPtr<Worker>,
    /// Unique in the pool, never used again.
    pub(crate) id: u64,
    /// Belongs to the queue the task is in (S2).
    pub(crate) link: UnsafeCell<Link>,
    /// Its priority and policy.
    pub(crate) standing: Standing,
    /// In which lists it is, if in any, and where: see `lists`.
    pub(crate) place: AtomicU16,
    /// What it waits for, and what its polls took: see `measure`.
    pub(crate) waits: AtomicU8,
    /// Likewise; see `measure::code`.
    pub(crate) longest: AtomicU8,
    /// Likewise.
    pub(crate) polls: figure::AtomicU32,
    /// Likewise.
    pub(crate) time: figure::AtomicU32,
    /// See [`Birth::key`].
    key: AtomicU64,
}

impl Header {
    /// A new task, `SCHEDULED` and with one reference, the join handle's.
    #[inline]
    pub(crate) fn new(ops: NonNull<Ops>, home: NonNull<Worker>, id: u64, standing: Standing, key: u64) -> Self {
        Self {
            word: Word::new(),
            ops,
            home: AtomicPtr::new(home.as_ptr()),
            id,
            link: UnsafeCell::new(Link::new()),
            standing,
            place: AtomicU16::new(0),
            waits: AtomicU8::new(0),
            longest: AtomicU8::new(0),
            polls: figure::AtomicU32::new(0),
            time: figure::AtomicU32::new(0),
            key: AtomicU64::new(key),
        }
    }

    /// What the task is doing.
    #[inline]
    #[must_use]
    pub fn word(&self) -> &Word {
        &self.word
    }

    /// The task's functions, as given at its birth.
    #[inline]
    #[must_use]
    pub fn ops(&self) -> NonNull<Ops> {
        self.ops
    }

    /// The same, to be called.
    #[inline]
    pub(crate) fn calls(&self) -> &'static Ops {
        // SAFETY: constant and valid for ever, by contract of `new_task`.
        unsafe { self.ops.as_ref() }
    }

    /// The task's number, never used twice in its pool.
    #[inline]
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How urgent the task is: its own priority, or a more urgent one that it has inherited.
    #[inline]
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.standing.priority()
    }

    /// The priority that it has without what it inherits.
    #[must_use]
    pub fn own_priority(&self) -> Priority {
        self.standing.own_priority()
    }

    /// Whether this is noted of it.
    #[inline]
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.standing.has(mark)
    }

    /// Notes something of it for good.
    pub fn mark(&self, mark: Mark) {
        self.standing.mark(mark);
    }

    /// What its policy goes by, if that ranks.
    #[inline]
    #[must_use]
    pub fn key(&self) -> u64 {
        // Relaxed: a number on its own.
        self.key.load(Ordering::Relaxed)
    }

    /// Changes what its policy goes by, from the next time on that the task is queued.
    pub fn set_key(&self, key: u64) {
        self.key.store(key, Ordering::Relaxed);
    }

    /// The worker in whose queue the task is, or was last.
    #[inline]
    pub(crate) fn home(&self) -> &Worker {
        // Relaxed: a hint, or constant for a pinned task; the workers are older than the task.
        let home = self.home.load(Ordering::Relaxed);
        // SAFETY: S6; made from a reference, in `new` and `set_home`.
        unsafe { &*home }
    }

    /// The number of the worker in whose queue the task is, or was last.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.home().number()
    }

    /// The task's pool.
    #[inline]
    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.home().pool()
    }

    /// Notes the worker whose queue the task is going to, one of its pool's. The task is in no queue, and the caller's.
    #[inline]
    pub(crate) fn set_home(&self, worker: &Worker) {
        self.home.store(core::ptr::from_ref(worker).cast_mut(), Ordering::Relaxed);
    }
}

/// A process has up to a hundred thousand tasks: a header grows by decision, not by accident.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Header>() == 96);
