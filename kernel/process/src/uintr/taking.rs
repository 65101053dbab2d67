//! What a thread that takes user interrupts has in its coroutine.

use super::{Receiver, receiver::ReceiverFile};
use crate::thread::Thread;
use abi::{errno::Errno, fs::O_RDWR, process::RLIMIT_NOFILE};
use alloc::{boxed::Box, sync::Arc};
use hal::{
    space::World,
    user::{OwnTraps, Rest, UserContext},
};
use io::open::OpenFile;

/// The thread's own part.
pub(crate) struct Taking {
    pub(crate) traps: OwnTraps,
    receiver: Arc<Receiver>,
}

impl Taking {
    /// Makes the running thread a receiver (`uintr_receiver`); the descriptor.
    pub(crate) fn begin(
        thread: &Arc<Thread>,
        context: &UserContext,
        entry: usize,
        stack: usize,
    ) -> Result<(Box<Self>, usize), Errno> {
        if !entry.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if thread.space().world() != World::Vm || hal::guest_file::places() == 0 {
            return Err(Errno::ENODEV);
        }
        let task = thread.task().ok_or(Errno::ESRCH)?;
        let receiver = Receiver::new(thread, task)?;
        let open = OpenFile::new(Arc::new(ReceiverFile(receiver.clone())), O_RDWR, b"anon_inode:[uintr]");
        let limit = usize::try_from(thread.process().limit(RLIMIT_NOFILE)).unwrap_or(usize::MAX);
        let descriptor = thread.process().descriptors()?.insert(open, true, 0, limit)?;
        Ok((Box::new(Self { traps: OwnTraps::new(context, entry, stack), receiver }), descriptor as usize))
    }

    /// The thread is about to run on this hart; `false`: not before it has a place here.
    pub(crate) fn enter(&mut self, thread: &Thread, hart: usize) -> bool {
        if !self.traps.is_settled(hart) {
            return false;
        }
        if thread.take_interrupts() {
            self.traps.look_at_all();
        }
        true
    }

    /// Gets a place on this hart, and has the thread look at everything.
    pub(crate) async fn settle(&mut self) {
        if let Some(place) = self.receiver.settle().await {
            self.traps.settle(&place);
            self.receiver.take(place);
        }
        self.traps.look_at_all();
    }

    /// The thread leaves user mode for more than a moment: what arrives is told to it, if it would take it or waits for it.
    pub(crate) fn rest(&self, thread: &Thread, waits: bool) {
        if !waits && !self.traps.is_open() {
            return;
        }
        match self.traps.rest() {
            Rest::Told => {}
            Rest::Arrived => thread.note_interrupt(false),
            Rest::Nowhere => thread.note_interrupt(true),
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.receiver.end();
    }
}
