//! The duty to complete entries. Nothing is lost: a [`Ticket`] that is dropped says that its entry was cancelled.

use super::{
    Ring,
    operation::{Done, Operation},
    own::Own,
    pieces::Rest,
    request::{CANCELLED, Entry, Mark},
    urgency::Urgency,
};
use crate::context::Task;
use abi::{
    asyncos::{CQE_WIDE, result},
    errno::Errno,
    io_uring::{Cqe, IORING_CQE_F_BUFFER, IOSQE_CQE_SKIP_SUCCESS},
};
use alloc::{boxed::Box, sync::Arc};
use mem::Charge;

/// An entry has ended like this: in the trace, before its completion is posted.
#[inline(always)]
pub(super) fn record(number: u64, done: Done) {
    if number != 0 {
        // Of a buffer's number the bit may be part, which is said.
        let is_wide = done.flags & (CQE_WIDE | IORING_CQE_F_BUFFER) == CQE_WIDE;
        let result = if is_wide { result(done.result, done.flags) } else { i64::from(done.result) };
        hal::record::complete(number, result);
    }
}

/// The duty to complete an entry, for which there is a place.
pub(super) struct Ticket {
    ring: Arc<Ring>,
    pub entry: Entry,
    pub urgency: Urgency,
    /// Others may wait for its end; if not, it waits itself for its beginning.
    has_begun: bool,
    /// What is said if nothing else is.
    pub otherwise: Option<Errno>,
    /// That of the place whose file it uses.
    pub tag: Option<Arc<Tag>>,
}

impl Ticket {
    /// Of one that has begun.
    pub(super) fn new(ring: &Arc<Ring>, entry: Entry, urgency: Urgency) -> Self {
        ring.drain.begin(1);
        let otherwise = Some(Errno::ECANCELED);
        Self { ring: ring.clone(), entry, urgency, has_begun: true, otherwise, tag: None }
    }

    /// Of what nothing waits for, and no entry of its own asked for.
    pub(super) fn apart(ring: &Arc<Ring>, user_data: u64) -> Self {
        let entry = Entry { user_data, mark: Mark::new(0, 0) };
        let (urgency, otherwise) = (Urgency::USUAL, Some(Errno::ECANCELED));
        Self { ring: ring.clone(), entry, urgency, has_begun: false, otherwise, tag: None }
    }

    /// With this result.
    pub(super) fn complete(&mut self, done: Done) {
        self.otherwise = None;
        self.ring.complete(self.entry, done);
    }

    /// The entry gets no completion: the failure of one before it stands for it.
    pub(super) fn forget(mut self) {
        self.otherwise = None;
        record(self.entry.mark.number(), CANCELLED);
        self.ring.release(1);
    }
}

impl Ring {
    /// Completes an entry that has a place, unless it wanted that for a failure only.
    pub(super) fn complete(&self, Entry { user_data, mark }: Entry, done: Done) {
        record(mark.number(), done);
        match mark.tells(done) {
            true => self.post_placed(Cqe { user_data, res: done.result, flags: done.flags }),
            false => self.release(1),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(errno) = self.otherwise {
            record(self.entry.mark.number(), Done::failed(errno));
            self.ring.post_placed(Cqe { user_data: self.entry.user_data, res: errno.to_return() as i32, flags: 0 });
        }
        if self.has_begun {
            self.ring.drain.end();
        }
    }
}

/// The duty to tell of the end of what a place of a table held, when nothing uses that any more: by a completion, for which there is a place all the while.
pub(super) struct Tag {
    ticket: Option<Ticket>,
    _charge: Charge,
}

impl Tag {
    /// 0 is none.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(task: &Task<'_>, ring: &Arc<Ring>, tag: u64) -> Result<Option<Arc<Self>>, Errno> {
        if tag == 0 {
            return Ok(None);
        }
        let charge = task.caller().account.charge(size_of::<Self>() + 16)?;
        if ring.reserve(1) == 0 {
            return Err(Errno::ENOMEM);
        }
        Ok(Some(Arc::new(Self { ticket: Some(Ticket::apart(ring, tag)), _charge: charge })))
    }

    /// Nothing is told, if nobody else has it.
    pub(super) fn silence(mut tag: Arc<Self>) {
        if let Some(ticket) = Arc::get_mut(&mut tag).and_then(|tag| tag.ticket.take()) {
            ticket.forget();
        }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            ticket.complete(Done::with(0));
            // As on Linux it waits for nobody to ask, and with it not what came before it.
            ticket.ring.show_deferred();
        }
    }
}

/// An entry of a chain.
pub(super) struct Linked {
    pub entry: Entry,
    pub urgency: Urgency,
    pub own: Option<Box<Own>>,
    pub operation: Result<Operation, Errno>,
}

/// The duty to complete entries that are linked, in their order, and what pays for them.
#[derive(Default)]
pub(super) struct Chain {
    entries: Rest<Linked>,
    /// There if there are entries.
    ring: Option<Arc<Ring>>,
    has_begun: bool,
    /// What the first says if nothing else is said; the others behind it were cancelled.
    otherwise: Option<Errno>,
    _charge: Option<Charge>,
}

impl Chain {
    /// Of entries that follow one that has begun.
    pub(super) fn new(ring: &Arc<Ring>, entries: Rest<Linked>, charge: Option<Charge>) -> Self {
        ring.drain.begin(entries.len());
        let mut chain = Self::of_deferred(ring, entries, charge);
        chain.begin();
        chain
    }

    /// Of entries that are to begin after others.
    pub(super) fn of_deferred(ring: &Arc<Ring>, entries: Rest<Linked>, charge: Option<Charge>) -> Self {
        Self { entries, ring: Some(ring.clone()), has_begun: false, otherwise: None, _charge: charge }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn first(&self) -> Option<&Linked> {
        self.entries.first()
    }

    /// The next, and what it has of its own.
    pub(super) fn next(&mut self) -> Option<(Ticket, Operation, Option<Box<Own>>)> {
        let ring = self.ring.as_ref()?;
        // One that is wrong says so: it is in no chain that began.
        for Linked { entry, urgency, own, operation } in &mut self.entries {
            let otherwise = operation.err().or(self.otherwise.take()).unwrap_or(Errno::ECANCELED);
            let (ring, has_begun, otherwise) = (ring.clone(), self.has_begun, Some(otherwise));
            let ticket = Ticket { ring, entry, urgency, has_begun, otherwise, tag: None };
            if let Ok(operation) = operation {
                return Some((ticket, operation, own));
            }
        }
        None
    }

    /// The next, if that is a limit of the time of the one before.
    pub(super) fn next_limit(&mut self) -> Option<(Ticket, Operation, Option<Box<Own>>)> {
        match self.first() {
            Some(Linked { operation: Ok(Operation::LinkTimeout(_)), .. }) => self.next(),
            _ => None,
        }
    }

    /// They begin: their number has been counted.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// What the next says if it is never taken out.
    pub(super) fn otherwise(&mut self, errno: Errno) {
        self.otherwise = Some(errno);
    }

    /// Ends the rest behind one with these flags that failed: all say that they were cancelled, unless that one wanted no completion for
    /// success.
    pub(super) fn cancel(&mut self, flags: u8) {
        while let Some((ticket, ..)) = self.next() {
            if flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
                ticket.forget();
            }
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.cancel(0);
    }
}
