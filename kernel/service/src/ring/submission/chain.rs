//! The chains of a submission.
//!
//! A chain of linked entries is put together first and begins when its last one is there, or the submission ends: an entry of it that
//! is wrong keeps all of them from beginning.

use super::{
    super::{
        Ring,
        coroutine::{self, Start, UNUSED},
        operation::{Done, Operation, Step},
        pieces::Rest,
        ticket::{Chain, Linked, record},
    },
    Share, Submission,
};
use abi::{errno::Errno, io_uring::*};
use alloc::sync::Arc;
use mem::Charge;

impl Submission<'_, '_, '_> {
    #[cold]
    pub(super) fn link(&mut self, mut linked: Linked, goes_on: bool) -> bool {
        if let Ok(Operation::LinkTimeout(_)) = linked.operation
            && self.chain.last().is_none_or(|last| matches!(last.operation, Ok(Operation::LinkTimeout(_))))
        {
            // Of what?
            linked.operation = Err(Errno::EINVAL);
        }
        if !self.is_cut
            && let Err(errno) = self.make_room()
        {
            // There is not even room to say that all of it is cancelled later: now.
            self.run_chain(true);
            linked.operation = Err(errno);
            self.is_cut = true;
        }
        let is_right = linked.operation.is_ok() || goes_on;
        if self.is_cut {
            self.is_cut = goes_on;
            let errno = linked.operation.err().unwrap_or(Errno::ECANCELED);
            self.complete(linked.entry, Done::failed(errno));
            return is_right;
        }
        self.chain.push(linked);
        if !goes_on {
            self.run_chain(false);
        }
        is_right
    }

    /// Room for one more entry of the chain, paid for by who submits it, as long as it waits.
    fn make_room(&mut self) -> Result<(), Errno> {
        let bytes = self.chain.missing();
        if bytes == 0 {
            return Ok(());
        }
        match &mut self.charge {
            Some(charge) => charge.grow(bytes)?,
            none => *none = Some(self.task.caller().account.charge(bytes)?),
        }
        self.chain.make_room()
    }

    /// Begins a chain, unless one of it is wrong (`fails`: all is): then it is cancelled.
    pub(super) fn run_chain(&mut self, fails: bool) {
        if self.chain.is_empty() {
            self.charge = None;
            return;
        }
        let mut chain = core::mem::take(&mut self.chain).into_iter();
        let cancelled = fails || chain.iter().any(|linked| linked.operation.is_err());
        if cancelled && let Some(first) = chain.next() {
            let errno = first.operation.err().unwrap_or(Errno::ECANCELED);
            self.complete(first.entry, Done::failed(errno));
            self.cancel_rest(chain, first.entry.mark.flags());
        } else if let Some(drains) = self.is_draining.then(|| self.waits_for_others(&chain)).flatten() {
            self.defer(chain, drains);
        } else {
            self.run_linked(chain);
        }
        self.charge = None;
    }

    /// Does what the entries ask for, one after the other; from one that fails on, the rest is cancelled, unless its link is hard.
    fn run_linked(&mut self, mut chain: Rest<Linked>) {
        // With what was moved before it in this poll.
        let mut share = Share { entries: 0, moved: self.moved };
        while let Some(Linked { entry, urgency, own, operation: Ok(operation) }) = chain.next() {
            let flags = entry.mark.flags();
            let done = match operation.run_own(self.task, own, self.ring, entry.user_data) {
                Step::Done(done) => done,
                Step::Waits(waits) => {
                    // Those before it in its chain are completed before it.
                    self.post_some();
                    let rest = self.owned(chain, Chain::new);
                    self.urgency = urgency;
                    return self.park(entry, operation, waits, rest);
                }
            };
            self.complete(entry, done);
            share.take(done);
            if let Some(Linked { operation: Ok(Operation::LinkTimeout(_)), .. }) = chain.first()
                && let Some(limit) = chain.next()
            {
                // That is no failure of its own.
                self.complete(limit.entry, UNUSED);
            }
            if done.fails && flags & IOSQE_IO_HARDLINK == 0 {
                return self.cancel_rest(chain, flags);
            }
            if share.is_used() && chain.len() > 0 {
                // Others get their turn: it goes on by itself.
                return self.defer(chain, false);
            }
        }
    }

    /// A chain begins, or goes on, in a coroutine, when its turn has come.
    fn defer(&mut self, chain: Rest<Linked>, drains: bool) {
        // Those before it are completed before it.
        self.post_some();
        let chain = self.owned(chain, Chain::of_deferred);
        coroutine::spawn(self.task, self.ring, Start::Deferred { drains }, chain);
    }

    /// Whether a chain has to wait for others before it begins; `true` in it: for all, not only for its turn. A drain in the middle of
    /// a chain holds for all of it, and for what comes next.
    fn waits_for_others(&mut self, chain: &Rest<Linked>) -> Option<bool> {
        let mut flagged = chain.iter().map(|linked| linked.entry.mark.flags() & IOSQE_IO_DRAIN != 0);
        let first = flagged.next().unwrap_or(false);
        let later = flagged.any(|drains| drains);
        let drains = core::mem::replace(&mut self.taker.head.drains_next, later) || first || later;
        let waits = self.ring.drain.is_closed(drains);
        self.is_draining = waits || later || self.ring.drain.has_deferred();
        waits.then_some(drains)
    }

    /// Ends the rest of a chain behind one with these `flags` that failed: if that wanted no completion for success, the rest has none.
    fn cancel_rest(&mut self, rest: impl Iterator<Item = Linked>, flags: u8) {
        for Linked { entry, operation, .. } in rest {
            let done = Done::failed(operation.err().unwrap_or(Errno::ECANCELED));
            if flags & IOSQE_CQE_SKIP_SUCCESS == 0 {
                self.complete(entry, done);
            } else {
                record(entry.mark.number(), done);
            }
        }
    }

    /// A chain as what waits has it, with what pays for it. It needs no more memory: who has begun some of it can end all of it.
    fn owned(&mut self, chain: Rest<Linked>, make: fn(&Arc<Ring>, Rest<Linked>, Option<Charge>) -> Chain) -> Chain {
        if chain.len() == 0 {
            return Chain::default();
        }
        self.taker.give_places(chain.len());
        make(self.ring, chain, self.charge.take())
    }
}
