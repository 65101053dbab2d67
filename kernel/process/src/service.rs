//! The system-call layer, as seen from below.
//!
//! This crate runs the threads; the layer above serves their calls through [`Service`]. Calls that need the
//! thread's registers (`clone`, `clone3`, `execve`, `execveat`, `rt_sigreturn`, `exit`, `exit_group`) are served here
//! and never reach it; so are `sched_yield` and the ids that a thread asks for without arguments (`getpid` and the like).
//!
//! **Signals and cancellation (D14).** A thread that is killed while it is in [`Service::call`] drops the future, unless the call changes
//! names: then it goes on to its end, which no user can put off. That is the only cancellation. A signal with a handler does not drop it: the service wraps those waits that
//! a signal may end in [`Thread::interruptible`], and answers with what it has done so far, or with a [`Restart`].

use crate::{process::Place, thread::Thread};
use abi::{errno::Errno, fs::O_CREAT, nr};
use alloc::{sync::Arc, vec::Vec};
use hal::user::UserContext;
use io::file::{BoxFuture, File};
use mem::{AddressSpace, Backing};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number (`a7`).
    pub number: usize,
    /// Arguments (`a0` to `a5`).
    pub args: [usize; 6],
}

impl Call {
    /// Whether it is carried to its end though its thread is killed: it changes names, which must not change any more when the end
    /// has been told. All it waits for is a file system.
    pub(crate) fn is_carried_out(&self) -> bool {
        match self.number {
            nr::MKDIRAT | nr::MKNODAT | nr::UNLINKAT | nr::SYMLINKAT | nr::LINKAT | nr::RENAMEAT2 => true,
            nr::OPENAT => self.args[2] as u32 & O_CREAT != 0,
            // What it asks for is in the program's memory.
            nr::OPENAT2 => true,
            _ => false,
        }
    }

    /// The call that the registers describe.
    #[inline]
    #[must_use]
    pub fn of(context: &UserContext) -> Self {
        let (number, &args) = Self::in_place(context);
        Self { number, args }
    }

    /// Its number, and its arguments where they are.
    #[inline]
    pub(crate) fn in_place(context: &UserContext) -> (usize, &[usize; 6]) {
        let [_, _, _, _, _, _, _, _, _, _, args @ .., _, number, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            context.x();
        (*number, args)
    }
}

/// What a call that was interrupted by a signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Runs again after a handler with `SA_RESTART`, or if no handler ran; else fails with `EINTR`. The usual kind.
    IfAllowed,
    /// Runs again only if no handler ran; else fails with `EINTR`: sleeps and polls. One that has a time of its own leaves
    /// its end with [`Thread::resume_at`].
    IfNoHandler,
    /// Fails with `EINTR`, also if no handler ran: the process was stopped and continued.
    Never,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this in `a0`: a value, or a negated error number.
    Value(isize),
    /// A signal came before it could do anything.
    Restart(Restart),
    /// It replaced the thread's registers.
    Registers,
}

impl Outcome {
    /// The result in the trace.
    pub(crate) fn traced(self) -> isize {
        match self {
            Outcome::Value(value) => value,
            Outcome::Restart(_) => Errno::EINTR.to_return(),
            Outcome::Registers => 0,
        }
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        Outcome::Value(errno.to_return())
    }
}

impl From<Result<usize, Errno>> for Outcome {
    fn from(result: Result<usize, Errno>) -> Self {
        Outcome::Value(result.map_or_else(Errno::to_return, |value| value as isize))
    }
}

/// What became of a call that was begun.
pub enum Begun<'a> {
    /// It is served, with this in `a0`.
    Done(isize),
    /// It has to wait, in this: what was prepared for the attempt need not be prepared again.
    Waits(BoxFuture<'a, Outcome>),
    /// Nothing was done: [`Service::call`] serves it.
    Not,
}

/// A file to execute.
pub struct Program {
    /// Its content.
    pub file: Arc<dyn File>,
    /// The same, to be mapped.
    pub backing: Arc<dyn Backing>,
    /// Path as given; argument of an interpreter.
    pub path: Vec<u8>,
    /// Where it was found, for `/proc/PID/exe`.
    pub place: Place,
}

/// The system-call layer.
pub trait Service: Send + Sync {
    /// Serves a call that needs no waiting. Short, and allocates only what a wait needs: this is the hot path. `space` is
    /// the thread's, and the arguments are read where its registers are kept.
    fn now<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        space: &Arc<AddressSpace>,
        number: usize,
        args: &[usize; 6],
    ) -> Begun<'a>;

    /// Serves a call that may wait. Unknown calls answer `ENOSYS` and are counted.
    fn call<'a>(&'a self, thread: &'a Arc<Thread>, call: Call) -> BoxFuture<'a, Outcome>;

    /// Serves a call that the thread does not wait for, as far as that goes at once; its result is a completion with this token in the ring that the process has
    /// named. `answered`: what it comes to is known.
    ///
    /// # Errors
    /// As for `abi::asyncos::ASYNC`; there is no completion then.
    fn register(&self, thread: &Arc<Thread>, call: Call, token: u64, answered: Option<u32>) -> Result<(), Errno>;

    /// Finds a program for `execve` and opens it for execution, checking the caller's rights.
    /// `directory` is the first argument of `execveat`, `AT_FDCWD` for `execve`; `flags` are its last.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `ENOTDIR`, `ELOOP`, ...
    fn open_program<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        directory: i32,
        path: &'a [u8],
        flags: u32,
    ) -> BoxFuture<'a, Result<Program, Errno>>;

    /// The first process has ended with this wait status: time to power off.
    fn init_ended(&self, status: u32);
}
