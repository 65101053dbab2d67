//! How a receiver's thread is told that something has arrived, from any context.

use super::injected::Injected;
use crate::thread::Thread;
use alloc::{sync::Arc, task::Wake};
use hal::{
    frame::Frame,
    record::record,
    sync::{IrqLock, rank},
};
use trace::{Event, Interrupted};

/// Whom to tell.
struct Whom {
    thread: Arc<Thread>,
    task: exec::TaskRef,
}

impl Whom {
    #[inline]
    fn record(&self, what: Interrupted) {
        record(|| Event::UserInterrupt { task: self.task.id(), what });
    }
}

/// See the module. Apart from the receiver: an interrupt may be the last to have it, and must not be the last to have more than a page.
pub(super) struct Bell {
    /// None when the thread has ended.
    whom: IrqLock<Option<Whom>>,
    control: Frame,
    /// The thread has a timer of its own: when that is due, the hardware tells it.
    own_timer: bool,
}

impl Bell {
    pub(super) fn new(thread: &Arc<Thread>, task: exec::TaskRef, control: Frame, own_timer: bool) -> Arc<Self> {
        let whom = Some(Whom { thread: thread.clone(), task });
        Arc::new(Self { whom: IrqLock::new(rank::WAIT, whom), control, own_timer })
    }

    pub(super) fn has_own_timer(&self) -> bool {
        self.own_timer
    }

    /// The receiver's control page.
    pub(super) fn control(&self) -> &Frame {
        &self.control
    }

    /// Something is at the thread's place, which it will find when it runs: wakes it if it waits.
    pub(super) fn arrived(&self) {
        self.rouse(Interrupted::Arrived);
    }

    fn rouse(&self, what: Interrupted) {
        if let Some(whom) = &*self.whom.lock() {
            whom.record(what);
            whom.thread.note_interrupt(false);
            whom.task.wake();
        }
    }

    /// Has the thread look at everything, wherever it is.
    pub(super) fn summon(&self) {
        // Under the lock, so that the thread cannot be gone in between, and this the last that has it.
        if let Some(whom) = &*self.whom.lock() {
            whom.record(Interrupted::Told);
            whom.thread.note_interrupt(true);
            whom.thread.tell(&whom.task);
        }
    }

    /// Has the thread do an errand, if it is there, and as urgent as this.
    pub(super) fn send(&self, least: exec::Priority) -> bool {
        let whom = self.whom.lock();
        whom.as_ref().is_some_and(|whom| whom.thread.priority() <= least.number() && whom.thread.send())
    }

    /// Whether its thread is one of this process's.
    pub(super) fn is_of(&self, process: u32) -> bool {
        self.whom.lock().as_ref().is_some_and(|whom| whom.thread.process().pid() == process)
    }

    /// The thread has ended.
    pub(super) fn end(&self) {
        let whom = self.whom.lock().take();
        drop(whom);
    }
}

/// The waker of the thread's timer.
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if self.own_timer {
            self.rouse(Interrupted::Due);
        } else {
            Injected::raise(&self.control, abi::uintr::TIMER_SLOT);
            self.summon();
        }
    }
}
