//! What others leave to a receiver's thread, to be done on its way to user mode: it would be interrupted for that anyway, and runs first what interrupts it (note 0008, section 10).
//!
//! **Who does an errand.** The thread, if it runs, or waits for nothing but a hart ([`Attention`](sync::attention::Attention) says so in one word); else whoever brings it finds another
//! ([`Runner::call`]). What the thread leaves behind when it comes to rest, or has not done in one go, it passes on ([`Errand::pass_on`]). It does them once before it has executed something in user
//! mode again, and so much at once for all who have some: what comes more is passed on, so whoever brings it, and however much, does not keep it from its program. Whether it has executed something
//! is told by where it stands: one that makes all its calls from one place leaves more to others than it need.

use super::{Receiver, bell::Bell};
use crate::thread::Thread;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hal::sync::{SpinLock, rank};

/// Those of one receiver.
const MOST: usize = 4;
/// Requests, or what counts as one, that a thread serves in one go, whoever they are of.
pub const AT_ONCE: usize = 32;

/// What a thread can do for others.
pub trait Errand: Send + Sync {
    /// By the thread, as long as there is something `left` to it; whether there is more. It does not wait.
    fn run(&self, thread: &Thread, left: &mut usize) -> bool;

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
        Self { are_there: AtomicBool::new(false), list: SpinLock::new(rank::PIPE + 1, [const { None }; MOST]) }
    }

    /// Whether there has been any.
    #[inline]
    pub(super) fn are_there(&self) -> bool {
        // Relaxed: who does not see it yet takes none yet.
        self.are_there.load(Relaxed)
    }

    /// One more, if there is a place. What had the place goes with the answer, not under a lock: that may free what it was of.
    fn add(&self, errand: &Weak<dyn Errand>) -> Result<Old, Full> {
        let mut list = self.list.lock();
        // Its own before that of one that is gone: else it would have two.
        let place = list
            .iter()
            .position(|known| is_of(known, errand))
            .or_else(|| list.iter().position(|known| known.as_ref().is_none_or(|known| known.strong_count() == 0)));
        let old = list[place.ok_or(Full)?].replace(errand.clone());
        drop(list);
        self.are_there.store(true, Relaxed);
        Ok(old)
    }

    /// One less, if it is there.
    fn remove(&self, errand: &Weak<dyn Errand>) -> Old {
        let mut list = self.list.lock();
        list.iter_mut().find(|known| is_of(known, errand)).and_then(Option::take)
    }

    /// The thread does none any more.
    pub(super) fn clear(&self) {
        let old = core::mem::take(&mut *self.list.lock());
        drop(old); // not under the lock, as above
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

fn is_of(known: &Option<Weak<dyn Errand>>, errand: &Weak<dyn Errand>) -> bool {
    known.as_ref().is_some_and(|known| known.ptr_eq(errand))
}

/// There are too many.
#[derive(Debug)]
struct Full;

/// One that is not kept any more, to be dropped where no lock is held.
pub type Old = Option<Weak<dyn Errand>>;

impl Receiver {
    /// Leaves an errand to the thread from now on, if that is of this process, and has not too many.
    #[must_use]
    pub fn runs(&self, process: u32, errand: &Weak<dyn Errand>) -> (Option<Runner>, Old) {
        if !self.bell().is_of(process) {
            return (None, None);
        }
        match self.errands.add(errand) {
            Ok(old) => (Some(Runner(self.bell().clone())), old),
            Err(Full) => (None, None),
        }
    }

    /// It is not left to the thread any more.
    #[must_use]
    pub fn runs_no_more(&self, errand: &Weak<dyn Errand>) -> Old {
        self.errands.remove(errand)
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

    /// Does what there is, once, by the thread, if it `may`; whether it has.
    pub(super) fn run_errands(&self, thread: &Thread, may: bool) -> bool {
        if !thread.attention.take_errand() {
            return false;
        }
        if !may {
            self.errands.pass_on();
            return false;
        }
        let mut left = AT_ONCE;
        self.errands.each(|errand| {
            if errand.run(thread, &mut left) {
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

#[cfg(test)]
mod tests;
