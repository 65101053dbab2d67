//! The duty to complete entries. Nothing is lost: a [`Ticket`] that is dropped says that its entry was cancelled.

use super::{
    Ring,
    operation::{Done, Operation},
};
use abi::{
    errno::Errno,
    io_uring::{Cqe, IOSQE_CQE_SKIP_SUCCESS},
};
use alloc::{
    sync::Arc,
    vec::{self, Vec},
};
use mem::Charge;

/// The duty to complete an entry, for which there is a place.
pub(super) struct Ticket {
    ring: Arc<Ring>,
    pub user_data: u64,
    pub flags: u8,
    /// Others may wait for its end; if not, it waits itself for its beginning.
    has_begun: bool,
    /// What is said if nothing else is.
    pub otherwise: Option<Errno>,
}

impl Ticket {
    /// Of one that has begun, or follows one that has.
    pub(super) fn new(ring: &Arc<Ring>, user_data: u64, flags: u8) -> Self {
        let mut ticket = Self::of_deferred(ring, user_data, flags);
        ticket.begin();
        ticket
    }

    /// Of one that is to begin after others.
    pub(super) fn of_deferred(ring: &Arc<Ring>, user_data: u64, flags: u8) -> Self {
        Self { ring: ring.clone(), user_data, flags, has_begun: false, otherwise: Some(Errno::ECANCELED) }
    }

    fn begin(&mut self) {
        self.ring.drain.begin(1);
        self.has_begun = true;
    }

    /// With this result.
    pub(super) fn complete(&mut self, done: Done) {
        self.otherwise = None;
        self.ring.complete(self.user_data, self.flags, done);
    }

    /// The entry gets no completion: the failure of one before it stands for it.
    pub(super) fn forget(mut self) {
        self.otherwise = None;
        self.ring.release(1);
    }
}

impl Ring {
    /// Completes an entry that has a place, unless it wanted that for a failure only.
    pub(super) fn complete(&self, user_data: u64, flags: u8, done: Done) {
        match done.fails || flags & IOSQE_CQE_SKIP_SUCCESS == 0 {
            true => self.post_placed(Cqe { user_data, res: done.result, flags: done.flags }),
            false => self.release(1),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(errno) = self.otherwise {
            self.ring.post_placed(Cqe { user_data: self.user_data, res: errno.to_return() as i32, flags: 0 });
        }
        if self.has_begun {
            self.ring.drain.end();
        }
    }
}

/// Entries that are linked, in their order, and what pays for them.
#[derive(Default)]
pub(super) struct Chain {
    entries: vec::IntoIter<(Ticket, Operation)>,
    _charge: Option<Charge>,
}

impl Chain {
    pub(super) fn new(entries: Vec<(Ticket, Operation)>, charge: Option<Charge>) -> Self {
        Self { entries: entries.into_iter(), _charge: charge }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn first(&self) -> Option<&(Ticket, Operation)> {
        self.entries.as_slice().first()
    }

    pub(super) fn next(&mut self) -> Option<(Ticket, Operation)> {
        self.entries.next()
    }

    /// The next, if that is a limit of the time of the one before.
    pub(super) fn next_limit(&mut self) -> Option<(Ticket, Operation)> {
        match self.first() {
            Some((_, Operation::LinkTimeout(_))) => self.next(),
            _ => None,
        }
    }

    /// They begin: their number has been counted.
    pub(super) fn begin(&mut self) {
        self.entries.as_mut_slice().iter_mut().for_each(|(ticket, _)| ticket.has_begun = true);
    }

    /// Ends the rest behind one with these flags that failed: all say that they were cancelled, unless that one wanted no completion for
    /// success.
    pub(super) fn cancel(&mut self, flags: u8) {
        let rest = core::mem::take(&mut self.entries);
        if flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
            rest.for_each(|(ticket, _)| ticket.forget());
        }
    }
}
