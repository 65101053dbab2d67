//! Telling others of completions: by a counter (`eventfd`), and by a completion in another ring.

use super::{
    Ring,
    operation::{Done, Step},
    ring_of,
};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hal::sync::{SpinLock, rank};
use io::{event::Event, open::OpenFile};
use ring::{Words, at};

/// The counter that is told of completions, if there is one.
pub(super) struct Notify {
    /// Whether there is one, for who posts.
    is_set: AtomicBool,
    to: SpinLock<Option<Told>>,
}

#[derive(Clone)]
struct Told {
    event: Arc<OpenFile>,
    /// Not of what was completed where it was submitted.
    only_later: bool,
}

fn event_of(open: &OpenFile) -> Option<&Event> {
    open.file().as_any().downcast_ref()
}

impl Notify {
    pub(super) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), to: SpinLock::new(rank::PIPE, None) }
    }

    /// # Errors
    /// `EBUSY` if there is one; `EINVAL` for what is no counter.
    pub(super) fn register(&self, event: Arc<OpenFile>, only_later: bool) -> Result<(), Errno> {
        let mut to = self.to.lock();
        if to.is_some() {
            return Err(Errno::EBUSY);
        }
        event_of(&event).ok_or(Errno::EINVAL)?;
        *to = Some(Told { event, only_later });
        // Relaxed: who posts at the same time may come before.
        self.is_set.store(true, Relaxed);
        Ok(())
    }

    /// # Errors
    /// `ENXIO` if there is none.
    pub(super) fn unregister(&self) -> Result<(), Errno> {
        let old = self.to.lock().take();
        self.is_set.store(false, Relaxed);
        // Not under the lock.
        old.map(drop).ok_or(Errno::ENXIO)
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
        if self.pages.word(at::CQ_FLAGS).load(Relaxed) & IORING_CQ_EVENTFD_DISABLED != 0 {
            return;
        }
        let told = self.notify.to.lock().clone();
        if let Some(told) = told.filter(|told| later || !told.only_later)
            && let Some(event) = event_of(&told.event)
        {
            event.signal(1);
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
        let (kept, _) = self.post(&[completion]);
        self.release(1 - kept.min(1));
        self.tell(true);
        Ok(())
    }
}

/// `IORING_OP_MSG_RING`: a completion for another ring. Descriptors are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    fixed: bool,
    /// Commands, flags and fields belong together.
    is_right: bool,
    fd: i32,
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Message {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let (passes, flags) = (entry.op_flags & IORING_MSG_RING_FLAGS_PASS != 0, entry.file_index);
        if entry.buf_index != 0 || entry.op_flags & !(IORING_MSG_RING_CQE_SKIP | IORING_MSG_RING_FLAGS_PASS) != 0 {
            return Err(Errno::EINVAL);
        }
        let silent = entry.op_flags & IORING_MSG_RING_CQE_SKIP != 0;
        let is_right = entry.addr == IORING_MSG_DATA && entry.addr3 == 0 && !silent && (passes || flags == 0);
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0;
        let (fd, user_data, result) = (entry.fd, entry.off, entry.len.cast_signed());
        Ok(Self { fixed, is_right, fd, user_data, result, flags })
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Ring) -> Step {
        let sent = self.send(task, ring);
        Step::Done(sent.map_or_else(Done::failed, |()| Done::with(0)))
    }

    fn send(self, task: &Task<'_>, ring: &Ring) -> Result<(), Errno> {
        let open = ring.file(task, self.fd, self.fixed)?;
        let target = ring_of(&open).map_err(|_| Errno::EBADFD)?;
        if !self.is_right {
            return Err(Errno::EINVAL);
        }
        target.post_message(Cqe { user_data: self.user_data, res: self.result, flags: self.flags })
    }
}
