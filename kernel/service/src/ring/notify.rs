//! Telling others of completions: by a counter (`eventfd`), by a user interrupt, and by a completion in another ring.

use super::{
    Ring,
    operation::{Done, Step},
    ready::Retries,
    ring_of,
};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use hal::sync::{SpinLock, rank};
use io::{event::Event, open::OpenFile};
use process::uintr::{Errand, Old, Runner, Sender};
use ring::{Words, at};

/// Who is told of completions, if anybody is.
pub(super) struct Notify {
    /// Whether there is somebody, for who posts.
    is_set: AtomicBool,
    /// How often a counter was raised so far.
    raised: AtomicU32,
    to: SpinLock<Option<Told>>,
}

#[derive(Clone)]
struct Told {
    by: By,
    /// Not of what was completed where it was submitted.
    only_later: bool,
}

/// How it is told.
#[derive(Clone)]
enum By {
    Event(Arc<OpenFile>),
    Vector(Arc<Sender>, usize),
}

fn event_of(open: &OpenFile) -> Option<&Event> {
    open.file().as_any().downcast_ref()
}

impl Notify {
    pub(super) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), raised: AtomicU32::new(0), to: SpinLock::new(rank::PIPE, None) }
    }

    /// # Errors
    /// `EBUSY` if somebody is told already; `EINVAL` for what is no counter.
    pub(super) fn register(&self, event: Arc<OpenFile>, only_later: bool) -> Result<(), Errno> {
        event_of(&event).ok_or(Errno::EINVAL)?;
        self.set(Told { by: By::Event(event), only_later }, || ())
    }

    /// Has a vector raised of what is completed later.
    ///
    /// # Errors
    /// `EBUSY` as above; `EINVAL`, `EPERM` if the sender may not raise it.
    fn raise<T>(&self, sender: &Arc<Sender>, vector: usize, then: impl FnOnce() -> T) -> Result<T, Errno> {
        sender.may_raise(vector)?;
        self.set(Told { by: By::Vector(sender.clone(), vector), only_later: true }, then)
    }

    /// `then` is done under the lock, so that it goes with who is told. What it answers may be dropped behind it.
    fn set<T>(&self, told: Told, then: impl FnOnce() -> T) -> Result<T, Errno> {
        let mut to = self.to.lock();
        if to.is_some() {
            return Err(Errno::EBUSY);
        }
        *to = Some(told);
        // Relaxed: who posts at the same time may come before.
        self.is_set.store(true, Relaxed);
        Ok(then())
    }

    /// Whether that is the counter that is raised.
    pub(super) fn raises(&self, open: &OpenFile) -> bool {
        // Relaxed: one that is set at the same time may be set later.
        self.is_set.load(Relaxed)
            && matches!(&*self.to.lock(), Some(Told { by: By::Event(event), .. }) if Arc::ptr_eq(event.file(), open.file()))
    }

    /// How often a counter was raised so far.
    pub(super) fn raised(&self) -> u32 {
        // Relaxed: who has looked at the counter sees what was counted before that was raised, by its lock.
        self.raised.load(Relaxed)
    }

    /// `then` as above.
    ///
    /// # Errors
    /// `ENXIO` if there is none.
    fn unregister<T>(&self, then: impl FnOnce(&By) -> T) -> Result<T, Errno> {
        let mut to = self.to.lock();
        let old = to.take().ok_or(Errno::ENXIO)?;
        // Under the lock, as where it is set: the two agree.
        self.is_set.store(false, Relaxed);
        let answer = then(&old.by);
        drop(to);
        drop(old); // not under the lock
        Ok(answer)
    }

    /// `then` as above, if it is still by this sender that somebody is told.
    fn if_by<T>(&self, sender: &Arc<Sender>, then: impl FnOnce() -> T) -> Option<T> {
        let to = self.to.lock();
        let is_it = matches!(&*to, Some(Told { by: By::Vector(told, _), .. }) if Arc::ptr_eq(told, sender));
        is_it.then(then)
    }
}

impl Ring {
    /// Completions have been posted; `later`: not where their requests were submitted.
    #[inline]
    pub(super) fn tell(&self, later: bool) {
        if self.notify.is_set.load(Relaxed) {
            self.tell_event(later);
        }
    }

    #[cold]
    fn tell_event(&self, later: bool) {
        // Relaxed: the program's wish, whenever it comes.
        let is_silent = self.pages.word(at::CQ_FLAGS).load(Relaxed) & IORING_CQ_EVENTFD_DISABLED != 0;
        self.retries.note_silence(is_silent);
        if is_silent {
            return;
        }
        let to = self.notify.to.lock();
        if let Some(Told { by: By::Vector(sender, vector), .. }) = &*to
            && later
            && sender.tells_more(*vector)
        {
            return;
        }
        let told = to.clone();
        drop(to);
        match told.filter(|told| later || !told.only_later).map(|told| told.by) {
            Some(By::Event(open)) => {
                if let Some(event) = event_of(&open) {
                    self.notify.raised.fetch_add(1, Relaxed);
                    event.signal(1);
                }
            }
            Some(By::Vector(sender, vector)) if sender.raise(vector).is_err() => self.right_has_ended(&sender),
            Some(By::Vector(..)) | None => {}
        }
    }

    /// Posts a completion that no request of this ring asked for.
    ///
    /// # Errors
    /// `EBADFD` while the ring is disabled; `EOVERFLOW` if there is no place.
    fn post_message(&self, completion: Cqe) -> Result<(), Errno> {
        if self.has(IORING_SETUP_R_DISABLED) {
            return Err(Errno::EBADFD);
        }
        if self.reserve(1) == 0 {
            return Err(Errno::EOVERFLOW);
        }
        self.post_placed(completion);
        Ok(())
    }

    /// Has completions raise a vector. A thread of the caller's process, which that interrupts, serves what is ready before it goes on.
    fn raise(&self, task: &Task<'_>, sender: &Arc<Sender>, vector: usize) -> Result<(), Errno> {
        let pid = task.process().pid();
        let old = self.notify.raise(sender, vector, || {
            let (runner, old) = sender.receiver().runs(pid, &self.errand());
            (self.retries.set_runner(runner), old)
        })?;
        drop(old); // not under the lock
        Ok(())
    }

    /// What a thread does for it that completions interrupt.
    fn errand(&self) -> Weak<dyn Errand> {
        let errand: Weak<Retries> = Arc::downgrade(&self.retries);
        errand
    }

    /// That thread does it no more.
    fn part_from_runner(&self, sender: &Sender) -> (Option<Runner>, Old) {
        (self.retries.set_runner(None), sender.receiver().runs_no_more(&self.errand()))
    }

    /// The sender's right has ended: nobody is told any more, and nobody is interrupted on the way there.
    #[cold]
    fn right_has_ended(&self, sender: &Arc<Sender>) {
        let old = self.notify.if_by(sender, || self.part_from_runner(sender));
        drop(old); // not under the lock
    }

    /// Nobody is told of completions any more.
    ///
    /// # Errors
    /// `ENXIO` if nobody was.
    pub(super) fn tell_nobody(&self) -> Result<(), Errno> {
        let old = self.notify.unregister(|by| match by {
            By::Vector(sender, _) => Some(self.part_from_runner(sender)),
            By::Event(_) => None,
        })?;
        drop(old); // not under the lock
        Ok(())
    }
}

/// Has completions of a ring raise a vector.
///
/// # Errors
/// `EINVAL`, `EPERM`, `EBUSY`.
pub(crate) fn raise(task: &Task<'_>, open: &OpenFile, sender: &Arc<Sender>, vector: usize) -> Result<(), Errno> {
    ring_of(open).map_err(|_| Errno::EINVAL)?.raise(task, sender, vector)
}

/// `IORING_OP_MSG_RING`: a completion for another ring, or a registered file for its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    fixed: bool,
    fd: i32,
    command: u64,
    op_flags: u32,
    user_data: u64,
    len: u32,
    /// The place of a file.
    source: u64,
    /// Flags of the completion, or where the file goes.
    target: u32,
}

impl Message {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let &Sqe { fd, addr: command, op_flags, off: user_data, len, addr3: source, file_index: target, .. } = entry;
        if entry.buf_index != 0 || op_flags & !(IORING_MSG_RING_CQE_SKIP | IORING_MSG_RING_FLAGS_PASS) != 0 {
            return Err(Errno::EINVAL);
        }
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0;
        Ok(Self { fixed, fd, command, op_flags, user_data, len, source, target })
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>) -> Step {
        Step::Done(self.send(task, ring).map_or_else(Done::failed, |done| Done::with(done as i32)))
    }

    fn send(self, task: &Task<'_>, ring: &Arc<Ring>) -> Result<usize, Errno> {
        let open = ring.file(task, self.fd, self.fixed)?;
        let target = ring_of(&open).map_err(|_| Errno::EBADFD)?;
        match self.command {
            IORING_MSG_DATA => self.send_data(target).map(|()| 0),
            IORING_MSG_SEND_FD => self.send_file(ring, target),
            _ => Err(Errno::EINVAL),
        }
    }

    fn send_data(self, target: &Ring) -> Result<(), Errno> {
        let passes = self.op_flags & IORING_MSG_RING_FLAGS_PASS != 0;
        let silent = self.op_flags & IORING_MSG_RING_CQE_SKIP != 0;
        if self.source != 0 || silent || !passes && self.target != 0 {
            return Err(Errno::EINVAL);
        }
        target.post_message(Cqe { user_data: self.user_data, res: self.len.cast_signed(), flags: self.target })
    }

    /// The file is there before the completion that tells of it; without a place for that the sender is told so.
    fn send_file(self, ring: &Arc<Ring>, target: &Arc<Ring>) -> Result<usize, Errno> {
        if self.len != 0 || Arc::ptr_eq(ring, target) {
            return Err(Errno::EINVAL);
        }
        if target.has(IORING_SETUP_R_DISABLED) {
            return Err(Errno::EBADFD);
        }
        // As on Linux of the lower half.
        let file = ring.files.get((self.source as u32).cast_signed())?;
        let place = target.files.install(self.target, Arc::clone(&file))?;
        if self.op_flags & IORING_MSG_RING_CQE_SKIP == 0 {
            target.post_message(Cqe { user_data: self.user_data, res: place as i32, flags: 0 })?;
        }
        Ok(place)
    }
}
