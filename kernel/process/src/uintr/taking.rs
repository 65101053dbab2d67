//! What a thread that takes user interrupts has in its coroutine.

use super::{Receiver, backends, injected::Injected, receiver::ReceiverFile};
use crate::{exception::Trap, thread::Thread};
use abi::{errno::Errno, fs::O_RDWR, process::RLIMIT_NOFILE, uintr};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use hal::user::{FloatsWord, OwnTraps, Traps, UserContext, UserTraps};
use io::open::OpenFile;

/// How its interrupts come.
enum Delivery {
    /// By hardware: at a place, or wherever it runs.
    Hardware(Traps),
    /// By the kernel, on the way to user mode.
    Injected(Injected),
}

/// The thread's own part.
pub(crate) struct Taking {
    delivery: Delivery,
    /// Exceptions that its program takes itself, by cause.
    exceptions: usize,
    /// Its timer, while the kernel watches it.
    alarm: Option<exec::timer::Sleep>,
    /// Where it stood when it did what others had left to it, unless it has been interrupted in user mode since.
    served_at: Option<usize>,
    receiver: Arc<Receiver>,
}

impl Taking {
    /// Makes the running thread a receiver (`uintr_receiver`); the descriptor.
    pub(crate) fn begin(
        thread: &Arc<Thread>,
        context: &UserContext,
        [entry, stack, backend]: [usize; 3],
    ) -> Result<(Box<Self>, usize), Errno> {
        if !entry.is_multiple_of(4) || !matches!(backend, uintr::AIA | uintr::NUINTC | uintr::SOFT) {
            return Err(Errno::EINVAL);
        }
        if !backends::has(backend, thread.space().world()) {
            return Err(Errno::ENODEV);
        }
        let task = thread.task().ok_or(Errno::ESRCH)?;
        let receiver = Receiver::new(thread, task, backend)?;
        let control = receiver.bell().control().clone();
        let delivery = match receiver.controller() {
            Some(slot) => {
                let floats = FloatsWord { page: control, offset: uintr::STATUS, bits: uintr::FLOATS };
                Delivery::Hardware(Traps::User(UserTraps::new(entry, stack, slot, floats)))
            }
            None if backend == uintr::SOFT => Delivery::Injected(Injected::new(control, entry, stack)),
            None => Delivery::Hardware(Traps::Supervisor(OwnTraps::new(context, entry, stack))),
        };
        let open = OpenFile::new(Arc::new(ReceiverFile(receiver.clone())), O_RDWR, b"anon_inode:[uintr]");
        let limit = usize::try_from(thread.process().limit(RLIMIT_NOFILE)).unwrap_or(usize::MAX);
        let descriptor = thread.process().descriptors()?.insert(open, true, 0, limit)?;
        Ok((Box::new(Self { delivery, exceptions: 0, alarm: None, served_at: None, receiver }), descriptor as usize))
    }

    /// What the hardware keeps of the thread, if its interrupts come by hardware.
    #[inline]
    pub(crate) fn traps(&mut self) -> Option<&mut Traps> {
        match &mut self.delivery {
            Delivery::Hardware(traps) => Some(traps),
            Delivery::Injected(_) => None,
        }
    }

    /// Whether its interrupts can come on this hart.
    pub(crate) fn is_settled(&self, hart: usize) -> bool {
        match &self.delivery {
            Delivery::Hardware(Traps::Supervisor(traps)) => traps.is_settled(hart),
            Delivery::Hardware(Traps::User(_)) | Delivery::Injected(_) => true,
        }
    }

    /// The thread is about to run on this hart; `false`: not before it has a place here.
    pub(crate) fn enter(&mut self, thread: &Thread, context: &mut UserContext, hart: usize) -> bool {
        if !self.is_settled(hart) {
            return false;
        }
        if self.alarm.is_some() && self.receiver.bell().has_own_timer() {
            self.alarm = None;
        }
        // Before the look at what it was told of.
        thread.attention.take_told();
        let look = thread.take_interrupts();
        match &mut self.delivery {
            Delivery::Hardware(Traps::Supervisor(traps)) if look => traps.look_at_all(),
            Delivery::Hardware(Traps::Supervisor(_)) => {}
            Delivery::Hardware(Traps::User(traps)) => {
                self.receiver.wake_up();
                if look {
                    traps.look_at_all();
                }
            }
            Delivery::Injected(injected) => injected.enter(context),
        }
        if self.receiver.errands.are_there() {
            self.receiver.attend(thread);
        }
        true
    }

    /// Does what others have left to the thread, unless it has done so since it was in user mode; whether it has.
    pub(crate) fn run_errands(&mut self, thread: &Thread, pc: usize) -> bool {
        let has_run = self.receiver.run_errands(thread, self.served_at != Some(pc));
        if has_run {
            self.served_at = Some(pc);
            // From now on.
            let _ = hal::hart::take_user_interrupt();
        }
        has_run
    }

    /// An interrupt may have struck it in user mode, where it may stand in a loop: behind that it stands where it stood, and was there all the same.
    #[inline]
    pub(crate) fn note_interrupt(&mut self) {
        if self.served_at.is_some() && hal::hart::take_user_interrupt() {
            self.served_at = None;
        }
    }

    /// The thread waits for something else than a hart: errands are for others.
    pub(crate) fn leave_errands(&self, thread: &Thread) {
        self.receiver.absent(thread);
    }

    /// `uintr_return()`; `false`: the kernel enters none of its handlers.
    pub(crate) fn resume(&self, context: &mut UserContext) -> bool {
        let Delivery::Injected(injected) = &self.delivery else { return false };
        injected.resume(context);
        true
    }

    /// `uintr_traps(causes)`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn take_exceptions(&mut self, context: &mut UserContext, causes: usize) -> Result<(), Errno> {
        if causes & !uintr::TRAPS != 0 {
            return Err(Errno::EINVAL);
        }
        self.exceptions = causes;
        if let Delivery::Hardware(Traps::Supervisor(traps)) = &mut self.delivery {
            // The first use of floating point is an illegal instruction, too, and would be the program's now.
            context.use_floating();
            traps.take_exceptions(causes);
        }
        Ok(())
    }

    /// Has the program take an exception, if it wants to and can.
    pub(crate) fn trap(&mut self, context: &mut UserContext, trap: Trap) -> bool {
        self.exceptions & 1 << trap.cause != 0
            && match &mut self.delivery {
                Delivery::Hardware(Traps::Supervisor(traps)) => context.trap(traps, trap.cause, trap.value),
                Delivery::Hardware(Traps::User(traps)) => match traps.trap(context.pc(), trap.cause, trap.value) {
                    Some(vector) => {
                        context.set_pc(vector);
                        true
                    }
                    None => false,
                },
                Delivery::Injected(injected) => injected.trap(context, trap.cause, trap.value),
            }
    }

    /// `uintr_timer(ns)`: the timer's slot is pending from then on.
    ///
    /// # Errors
    /// `EINVAL`: it has one of its own.
    pub(crate) fn set_timer(&mut self, deadline: u64) -> Result<(), Errno> {
        if self.receiver.bell().has_own_timer() {
            return Err(Errno::EINVAL);
        }
        self.alarm = None;
        // What was due by the earlier setting is not by this one.
        Injected::withdraw(self.receiver.bell().control(), uintr::TIMER_SLOT);
        if deadline != u64::MAX {
            self.watch(deadline);
        }
        Ok(())
    }

    /// Has the thread told at a time (ns since boot).
    fn watch(&mut self, deadline: u64) {
        let waker = Waker::from(self.receiver.bell().clone());
        let mut alarm = exec::timer::sleep_until(deadline);
        match Pin::new(&mut alarm).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => waker.wake(),
            Poll::Pending => self.alarm = Some(alarm),
        }
    }

    /// Gets a place on this hart, and has the thread look at everything.
    pub(crate) async fn settle(&mut self, thread: &Thread) {
        let Delivery::Hardware(Traps::Supervisor(traps)) = &mut self.delivery else { return };
        if let Some(place) = self.receiver.settle(thread).await {
            traps.settle(&place);
            self.receiver.keep(place);
        }
        traps.look_at_all();
    }

    /// The thread leaves user mode for more than a moment: what arrives is told to it, if it would take it or `waits` for it. One that `gives_way` is as soon in user mode again as it may,
    /// and finds there that its timer is due: that wakes nobody before.
    pub(crate) fn rest(&mut self, thread: &Thread, context: &UserContext, waits: bool, gives_way: bool) {
        let is_open = match &self.delivery {
            Delivery::Hardware(Traps::Supervisor(traps)) => traps.is_open(context),
            Delivery::Hardware(Traps::User(traps)) => traps.is_open(),
            Delivery::Injected(injected) => injected.is_open(),
        };
        // First: what is told from now on is told to a thread that is known to be open.
        thread.set_open(is_open);
        if !is_open && !waits {
            return;
        }
        let is_there = match &self.delivery {
            Delivery::Hardware(Traps::Supervisor(traps)) => traps.rest(context, waits),
            // It was told to look on its way to user mode, and kept interrupts off there: no word says so of a device's line.
            Delivery::Hardware(Traps::User(traps)) => traps.has_to_look() || self.receiver.fall_asleep(),
            Delivery::Injected(injected) => injected.is_pending(),
        };
        if let Delivery::Hardware(Traps::Supervisor(traps)) = &self.delivery
            && !gives_way
            && let Some(deadline) = traps.timer()
        {
            self.watch(deadline);
        }
        if is_there {
            // What a sender has set and not rung for yet is found where it is looked for.
            thread.note_interrupt(matches!(self.delivery, Delivery::Hardware(Traps::User(_))));
        }
    }

    /// The thread takes no interrupts any more.
    pub(crate) async fn end(&self) {
        self.receiver.end().await;
    }
}

impl Drop for Taking {
    /// Behind [`Taking::end`] there is nothing left to do.
    fn drop(&mut self) {
        self.receiver.close();
    }
}
