//! What others leave to a receiver's thread, to be done on its way to user mode: it would be interrupted for that anyway, and runs first what interrupts it (note 0008, section 10).
//!
//! **Who does an errand.** The thread, if it runs, or waits for nothing but a hart ([`Attention`](sync::attention::Attention) says so in one word); else whoever brings it finds another
//! ([`Runner::call`]). What the thread leaves behind when it comes to rest, or has not done in one go, it passes on ([`Errand::pass_on`]).

use super::{Receiver, bell::Bell};
use crate::thread::Thread;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hal::sync::{SpinLock, rank};

/// Those of one receiver.
const MOST: usize = 4;

/// What a thread can do for others.
pub trait Errand: Send + Sync {
    /// By the thread; whether there is more. It does not wait.
    fn run(&self, thread: &Thread) -> bool;

    /// Others do what there is of it.
    fn pass_on(&self);
}

/// How a receiver's thread is called for errands.
pub struct Runner(Arc<Bell>);

impl Runner {
    /// Has the thread do what was made visible before; `false`: it is not there, or less urgent than who else would do it. Any context.
    #[must_use]
    pub fn call(&self, other: exec::Priority) -> bool {
        self.0.send(other)
    }
}

/// The errands of a receiver.
pub(super) struct Errands {
    /// There has been one: until then nobody looks.
    are_there: AtomicBool,
    list: SpinLock<[Option<Weak<dyn Errand>>; MOST]>,
}

impl Errands {
    pub(super) fn new() -> Self {
        Self { are_there: AtomicBool::new(false), list: SpinLock::new(rank::PIPE, [const { None }; MOST]) }
    }

    /// Whether there has been any.
    #[inline]
    pub(super) fn are_there(&self) -> bool {
        // Relaxed: who does not see it yet takes none yet.
        self.are_there.load(Relaxed)
    }

    /// One more; `false`: there are too many.
    fn add(&self, errand: Weak<dyn Errand>) -> bool {
        let mut list = self.list.lock();
        let is_its = |known: &Option<Weak<dyn Errand>>| {
            known.as_ref().is_some_and(|known| known.ptr_eq(&errand) || known.strong_count() == 0)
        };
        let place = list.iter().position(is_its).or_else(|| list.iter().position(Option::is_none));
        let Some(place) = place else { return false };
        let old = list[place].replace(errand);
        drop(list);
        // Not under the lock: it may free what it was of.
        drop(old);
        self.are_there.store(true, Relaxed);
        true
    }

    fn each(&self, mut act: impl FnMut(&dyn Errand)) {
        for place in 0..MOST {
            let errand = self.list.lock()[place].as_ref().and_then(Weak::upgrade);
            if let Some(errand) = errand {
                act(&*errand);
            }
        }
    }

    fn pass_on(&self) {
        self.each(|errand| errand.pass_on());
    }
}

impl Receiver {
    /// Leaves an errand to the thread from now on, if that is of this process, and has not too many.
    #[must_use]
    pub fn runs(&self, process: u32, errand: Weak<dyn Errand>) -> Option<Runner> {
        let is_its = self.bell().is_of(process) && self.errands.add(errand);
        is_its.then(|| Runner(self.bell().clone()))
    }

    /// The thread runs from now on, or waits for a hart: it takes errands, unless what it stands at is another's to say, or it has time reserved for other things.
    #[cold]
    pub(super) fn attend(&self, thread: &Thread) {
        if thread.place().is_none() && !thread.class().is_reserved() {
            thread.attention.come();
        } else {
            self.absent(thread);
        }
    }

    /// It does not.
    #[cold]
    pub(super) fn absent(&self, thread: &Thread) {
        if thread.attention.leave() {
            self.errands.pass_on();
        }
    }

    /// Does what there is, once, by the thread; whether there may have been something.
    pub(super) fn run_errands(&self, thread: &Thread) -> bool {
        if !thread.attention.take_errand() {
            return false;
        }
        self.errands.each(|errand| {
            if errand.run(thread) {
                errand.pass_on();
            }
        });
        // What has come meanwhile may not keep it from its program.
        if thread.attention.take_errand() {
            self.errands.pass_on();
        }
        true
    }
}
