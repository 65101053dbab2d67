//! The calling thread, and what serving its call needs of it.
//!
//! A [`Task`] is made for one call. It fixes the address space and the caller (rights, priority, account) as of
//! submission (D14).

use crate::{
    System,
    given::Given,
    ring::{Buffer, Direct},
    transfer::Piece,
};
use ::fs::walk::Place;
use abi::{
    errno::Errno,
    process::{RLIM_INFINITY, RLIMIT_NOFILE},
    signal::{SIGPIPE, SIGXFSZ},
};
use alloc::{borrow::Cow, boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::Poll,
};
use io::{
    caller::{Caller, Credentials},
    file::BoxFuture,
    open::OpenFile,
};
use mem::{AddressSpace, CopyFault, Pinned, Sink, Source};
use process::{FdTable, Process, Thread, descriptors::Reserved};
use ring::RequestState;

/// One call's view of the thread that made it.
pub(crate) struct Task<'a> {
    pub system: &'a System,
    thread: &'a Arc<Thread>,
    space: Cow<'a, Arc<AddressSpace>>,
    caller: Cow<'a, Caller>,
    /// Of a request that has no thread of its own.
    request: Option<&'a OfRequest>,
    /// This call has set a mask of its own.
    masked: AtomicBool,
    /// If a signal ends this call, it does not run again.
    once: AtomicBool,
}

/// Who makes a call.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// A thread that waits for it.
    Thread(&'a System, &'a Arc<Thread>),
    /// Nobody: it is a request.
    Request(&'a Task<'a>),
}

/// What a request has that a call has not.
#[derive(Default)]
pub(crate) struct OfRequest {
    /// Whether it is cancelled, which ends the waits; a call's are ended by signals.
    pub state: RequestState,
    /// The one file that it is about, without a number: whatever number it asks for is that.
    pub file: Option<Arc<OpenFile>>,
    /// Where what it opens goes instead of getting a number. Boxed, as is what was kept: most have none.
    pub into: Option<Box<Direct>>,
    /// Its memory lies in there, whatever is mapped.
    pub buffer: Option<Arc<Buffer>>,
    /// What it is given was kept when it was submitted, whatever lies there now.
    pub given: Option<Box<Given>>,
    /// It is a call in all else (`abi::asyncos::ASYNC`): a descriptor that does not wait means it.
    pub is_call: bool,
}

/// A number, or a place, that is kept for a description that is yet to come.
pub(crate) enum Kept<'a> {
    Number(Reserved),
    Place(&'a Direct),
}

impl Kept<'_> {
    /// Gives it to `open`.
    ///
    /// # Errors
    /// Of a place: that there is none.
    pub fn give(self, open: Arc<OpenFile>, close_on_exec: bool) -> Result<usize, Errno> {
        match self {
            Kept::Number(number) => Ok(number.give(open, close_on_exec)),
            Kept::Place(direct) => direct.install(open),
        }
    }
}

impl<'a> Task<'a> {
    /// `space` is the thread's.
    pub fn new(system: &'a System, thread: &'a Arc<Thread>, space: Arc<AddressSpace>) -> Self {
        Self::of_call(system, thread, Cow::Owned(space))
    }

    /// The same for a call that is over at once.
    pub fn borrowed(system: &'a System, thread: &'a Arc<Thread>, space: &'a Arc<AddressSpace>) -> Self {
        Self::of_call(system, thread, Cow::Borrowed(space))
    }

    #[inline(always)]
    fn of_call(system: &'a System, thread: &'a Arc<Thread>, space: Cow<'a, Arc<AddressSpace>>) -> Self {
        let (masked, once) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { system, thread, space, caller: Cow::Owned(thread.caller()), request: None, masked, once }
    }

    /// The view of a request that `thread` has submitted and does not wait for. Its coroutine is woken after it is cancelled.
    pub fn of_request(
        system: &'a System,
        thread: &'a Arc<Thread>,
        space: &'a Arc<AddressSpace>,
        caller: &'a Caller,
        request: &'a OfRequest,
    ) -> Self {
        let (masked, once) = (AtomicBool::new(false), AtomicBool::new(false));
        let (space, caller) = (Cow::Borrowed(space), Cow::Borrowed(caller));
        Self { system, thread, space, caller, request: Some(request), masked, once }
    }

    /// The same with other rights.
    pub fn with_rights(&self, credentials: Credentials) -> Task<'_> {
        let (masked, once) = (AtomicBool::new(false), AtomicBool::new(false));
        let caller = Cow::Owned(Caller { credentials, ..self.caller().clone() });
        Task { space: Cow::Borrowed(&*self.space), caller, masked, once, ..*self }
    }

    /// Whether what waits for this is to wait no longer.
    pub fn interrupted(&self) -> bool {
        self.request.map_or_else(|| self.thread.interrupted(), |request| request.state.is_cancelled())
    }

    /// Whether this is a request that nobody waits for.
    pub fn is_request(&self) -> bool {
        self.request.is_some()
    }

    /// Whether it waits itself, whatever its descriptor says (`O_NONBLOCK`): an entry does, as on Linux.
    pub fn waits_always(&self) -> bool {
        self.request.is_some_and(|request| !request.is_call)
    }

    pub fn thread(&self) -> &'a Arc<Thread> {
        self.thread
    }

    pub fn process(&self) -> &'a Arc<Process> {
        self.thread.process()
    }

    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// Where a stretch of its memory is to be read into.
    pub fn sink(&self, piece: Piece) -> Sink<'_> {
        match self.buffer() {
            Some(buffer) => buffer.sink(piece),
            None => Sink::user(&self.space, piece.addr, piece.len),
        }
    }

    /// Where a stretch of its memory is to be written from.
    pub fn source(&self, piece: Piece) -> Source<'_> {
        match self.buffer() {
            Some(buffer) => buffer.source(piece),
            None => Source::user(&self.space, piece.addr, piece.len),
        }
    }

    /// The registered buffer that its memory lies in.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.request.and_then(|request| request.buffer.as_deref())
    }

    /// What was kept of what it is given.
    pub fn given(&self) -> Option<&Given> {
        self.request.and_then(|request| request.given.as_deref())
    }

    /// The address space, for who outlives this.
    pub fn shared_space(&self) -> Arc<AddressSpace> {
        Arc::clone(&self.space)
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Fails for everybody but the superuser.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn privileged(&self) -> Result<(), Errno> {
        if self.caller.credentials.uid == 0 { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The ids that `access` checks with.
    pub fn real_credentials(&self) -> Credentials {
        let identity = self.process().identity();
        Credentials { uid: identity.uid, gid: identity.gid }
    }

    /// The descriptors.
    ///
    /// # Errors
    /// `ESRCH` while the process ends.
    pub fn descriptors(&self) -> Result<Arc<FdTable>, Errno> {
        self.process().descriptors()
    }

    /// The description behind `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn file(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        match self.request.and_then(|request| request.file.as_ref()) {
            Some(file) => Ok(file.clone()),
            None => self.process().file(fd),
        }
    }

    /// Gives a description the lowest free number, or the place that the request has for it.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`; of a place: that there is none.
    pub fn install(&self, mut open: Arc<OpenFile>, close_on_exec: bool) -> Result<usize, Errno> {
        // Who has it already has paid for it.
        if let Some(fresh) = Arc::get_mut(&mut open) {
            fresh.pay_for(&self.caller().account)?;
        }
        match self.direct() {
            Some(direct) => direct.install(open),
            None => self.install_from(open, 0, close_on_exec),
        }
    }

    /// Keeps that for a description that is yet to come.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn keep(&self) -> Result<Kept<'_>, Errno> {
        Ok(match self.direct() {
            Some(direct) => Kept::Place(direct),
            None => Kept::Number(self.descriptors()?.keep(self.file_limit())?),
        })
    }

    fn direct(&self) -> Option<&Direct> {
        self.request.and_then(|request| request.into.as_deref())
    }

    /// Gives a description the lowest free number from `from` on.
    ///
    /// # Errors
    /// `EMFILE`, `EINVAL`, `ENOMEM`.
    pub fn install_from(&self, open: Arc<OpenFile>, from: usize, close_on_exec: bool) -> Result<usize, Errno> {
        let fd = self.descriptors()?.insert(open, close_on_exec, from, self.file_limit())?;
        Ok(fd as usize)
    }

    /// Closes a number that this call gave out.
    pub fn close(&self, fd: i32) {
        if let Ok(descriptors) = self.descriptors() {
            // Another thread may have closed it already.
            let _ = descriptors.remove(fd);
        }
    }

    /// Numbers of descriptors are below this.
    pub fn file_limit(&self) -> usize {
        usize::try_from(self.process().limit(RLIMIT_NOFILE)).unwrap_or(usize::MAX)
    }

    fn place(&self, pick: impl FnOnce(process::process::FilePlaces) -> process::process::Place) -> Arc<Place> {
        let places = self.process().files().map(|files| files.get());
        let place = places.ok().and_then(|places| pick(places).downcast().ok());
        // A process that ends has no place any more; it sees the root until it is gone.
        place.unwrap_or_else(|| self.system.namespace.root().clone())
    }

    /// What `/` means.
    pub fn root(&self) -> Arc<Place> {
        self.place(|places| places.root)
    }

    /// The working directory.
    pub fn directory(&self) -> Arc<Place> {
        self.place(|places| places.directory)
    }

    pub fn set_root(&self, place: Arc<Place>) {
        if let Ok(files) = self.process().files() {
            files.set(|places| places.root = place);
        }
    }

    pub fn set_directory(&self, place: Arc<Place>) {
        if let Ok(files) = self.process().files() {
            files.set(|places| places.directory = place);
        }
    }

    /// The file-creation mask.
    pub fn umask(&self) -> u32 {
        self.process().files().map_or(0o22, |files| files.get().umask)
    }

    /// Sets the file-creation mask; answers the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        let old = self.umask();
        if let Ok(files) = self.process().files() {
            files.set(|places| places.umask = mask);
        }
        old
    }

    /// Waits, until a signal comes or the deadline (ns since boot) passes.
    ///
    /// # Errors
    /// `EINTR`, `EAGAIN` at the deadline, and the wait's own.
    pub async fn wait_for<T>(
        &self,
        wait: impl Future<Output = Result<T, Errno>>,
        deadline: Option<u64>,
    ) -> Result<T, Errno> {
        self.wait_in_place(pin!(wait), deadline).await
    }

    /// [`Task::wait_for`], for a wait that is better not moved again.
    ///
    /// # Errors
    /// As [`Task::wait_for`].
    pub async fn wait_in_place<T>(
        &self,
        mut wait: Pin<&mut impl Future<Output = Result<T, Errno>>>,
        deadline: Option<u64>,
    ) -> Result<T, Errno> {
        let mut limit = deadline.map(exec::sleep_until);
        poll_fn(|context| {
            if let Poll::Ready(waited) = wait.as_mut().poll(context) {
                return Poll::Ready(waited);
            }
            if let Some(limit) = &mut limit
                && Pin::new(limit).poll(context).is_ready()
            {
                return Poll::Ready(Err(Errno::EAGAIN));
            }
            // As in `Thread::interruptible`.
            if self.interrupted() { Poll::Ready(Err(Errno::EINTR)) } else { Poll::Pending }
        })
        .await
    }

    /// Pins memory, which counts as the process's pinned memory then.
    ///
    /// # Errors
    /// `EFAULT` if it is not all writable, or a file's that others see; `ENOMEM`.
    pub async fn pin(&self, addr: usize, len: usize) -> Result<Pinned, Errno> {
        self.space.pin(addr, len, &self.caller.account, &self.process().quotas().pinned).await
    }

    /// Faults in what a copy missed.
    pub fn resolve(&self, fault: CopyFault) -> BoxFuture<'_, Result<(), Errno>> {
        self.space.resolve(fault)
    }

    /// Sleeps until `deadline` (ns since boot).
    ///
    /// # Errors
    /// `EINTR`.
    pub async fn sleep_until(&self, deadline: u64) -> Result<(), Errno> {
        let sleep = async {
            exec::sleep_until(deadline).await;
            Ok(())
        };
        self.wait_for(sleep, None).await
    }

    /// When a sleep ends that a signal interrupted, if this call goes on with it. A request is never interrupted.
    pub fn take_resume(&self) -> Option<u64> {
        self.request.is_none().then(|| self.thread.take_resume())?
    }

    /// A signal interrupts a sleep until `deadline` (ns since boot).
    pub fn resume_at(&self, deadline: u64) {
        if self.request.is_none() {
            self.thread.resume_at(deadline);
        }
    }

    /// Blocks other signals for the time of this call. [`Task::end_mask`] ends it.
    pub fn mask_for_this_call(&self, mask: u64) {
        self.thread.set_temporary_mask(mask);
        process::signal::retarget(self.thread, mask);
        // Relaxed: one thread's own.
        self.masked.store(true, Relaxed);
    }

    /// If a signal ends this call, it does not run again: what it had left of its time is not known to the next.
    pub fn end_with_signal(&self) {
        // Relaxed: as `masked`.
        self.once.store(true, Relaxed);
    }

    /// Whether a signal that ends this call makes it fail.
    pub fn is_final(&self) -> bool {
        self.once.load(Relaxed)
    }

    /// Puts the mask back if no signal ended the call; else the signal's delivery does.
    pub fn end_mask(&self, result: Result<usize, Errno>) {
        if result != Err(Errno::EINTR) && self.masked.load(Relaxed) {
            self.thread.end_temporary_mask();
        }
    }

    /// Raises the signal that goes with a failed write: `SIGPIPE` for a pipe or socket that nobody reads, `SIGXFSZ` for a
    /// file at the limit of its size.
    pub fn write_failed(&self, errno: Errno) {
        match errno {
            Errno::EPIPE => crate::signals::raise(self, SIGPIPE),
            Errno::EFBIG if self.caller.file_limit != RLIM_INFINITY => crate::signals::raise(self, SIGXFSZ),
            _ => {}
        }
    }

    /// CPU time of the process in nanoseconds.
    pub fn process_time(&self) -> u64 {
        let times = self.process().times();
        times.user + times.system
    }

    /// CPU time of the thread in nanoseconds.
    pub fn thread_time(&self) -> u64 {
        let times = self.thread.usage.times();
        times.user + times.system
    }
}

/// A wait after which the caller looks again. It may end at once and for nothing, again and again: then it pauses first, or
/// others of this priority would never get the hart, and this thread no signal.
pub(crate) fn fair<T>(mut wait: impl Future<Output = T> + Unpin) -> impl Future<Output = T> {
    let (mut begun, mut early) = (false, None);
    poll_fn(move |context| {
        if let Some(waited) = early.take() {
            return Poll::Ready(waited);
        }
        let first = !core::mem::replace(&mut begun, true);
        match Pin::new(&mut wait).poll(context) {
            Poll::Ready(waited) if first => {
                early = Some(waited);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            step => step,
        }
    })
}
