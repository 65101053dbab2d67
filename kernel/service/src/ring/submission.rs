//! One submission: entries are taken, [`prepare`]d, begun, and completed if they do not wait ([`park`]); those that are linked, in chains ([`chain`]); one
//! that reads or writes and stands alone, by a way of its own ([`single`]).

mod chain;
mod park;
mod prepare;
mod single;

pub(super) use single::run_single;

use super::{
    RESTRICTED, Ring,
    operation::{Done, Operation, Step},
    own::Own,
    pieces::Pieces,
    request::{Entry, polled},
    retry::Parked,
    taking::Taker,
    ticket::{Chain, Linked, record},
    transfer::{Transfer, Tried},
    urgency::Urgency,
};
use crate::context::Task;
use abi::{asyncos::IORING_SETUP_PRIORITIES, errno::Errno, io_uring::*};
use alloc::sync::Arc;
use io::{file::IoError, open::OpenFile};
use mem::{Charge, CopyFault};
use park::begin_to_wait;
use ring::Taken;
use smallvec::SmallVec;

/// Entries that are taken in one poll.
pub(super) const AT_ONCE: u32 = 128;
/// Bytes after which no more are taken in this poll.
pub(super) const MOVED_AT_ONCE: usize = 1 << 18;
/// Flags of an entry that need a look of their own.
const SPECIAL: u8 = !(IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC);

/// What was done in one poll: there is an end to it, so that others get their turn.
#[derive(Clone, Copy, Default)]
pub(super) struct Share {
    entries: u32,
    moved: usize,
}

impl Share {
    pub(super) fn take(&mut self, done: Done) {
        self.entries += 1;
        self.moved += done.result.max(0) as usize;
    }

    pub(super) fn is_used(self) -> bool {
        self.entries >= AT_ONCE || self.moved >= MOVED_AT_ONCE
    }
}

/// What came of taking entries.
pub(super) struct TakenSome {
    /// How many.
    pub count: u32,
    /// One was wrong: no more are to be taken.
    pub stopped: bool,
    /// Those that were taken have moved so much that others get their turn first, or the next needs memory that is not there.
    pub paused: bool,
    /// That memory.
    pub fault: Option<CopyFault>,
}

impl TakenSome {
    pub(super) fn none() -> Self {
        Self { count: 0, stopped: false, paused: false, fault: None }
    }
}

/// One submission: entries of one call.
pub(super) struct Submission<'a, 'r, 't> {
    task: &'a Task<'t>,
    ring: &'a Arc<Ring>,
    taker: &'a mut Taker<'r>,
    /// Bytes that were moved in this poll.
    moved: usize,
    /// The chain that is being put together.
    chain: Pieces<Linked>,
    charge: Option<Charge>,
    /// There was no memory for the chain: what belongs to it is cancelled as it comes.
    is_cut: bool,
    /// What begins is looked at first: it may have to wait for others (`drain`).
    is_draining: bool,
    /// More is taken after a fault.
    goes_on: bool,
    /// How often the next entry has missed a page.
    missed: u32,
    /// Entries say how urgent they are.
    says_priorities: bool,
    /// Entries are looked at before anything is done with them.
    is_restricted: bool,
    /// Of the entry that is taken now.
    urgency: Urgency,
    /// The same, if it has some.
    own: Own,
    /// What the last transfer in this poll was about, by its descriptor: the next often means the same. Forgotten before anything of
    /// this task's runs that may give the number to another; where another thread does, the entries of this poll were there before.
    last: Option<(i32, Arc<OpenFile>)>,
    /// For devices, which are told of them all at once: at the end of the poll. One lies in place.
    parked: SmallVec<[Parked; 1]>,
}

impl<'a, 'r: 'a, 't> Submission<'a, 'r, 't> {
    /// `goes_on`: who takes comes back after a fault, with the same submission.
    pub(super) fn new(task: &'a Task<'t>, taker: &'a mut Taker<'r>, goes_on: bool) -> Self {
        let ring = taker.ring;
        let is_draining = taker.head.drains_next || ring.drain.has_deferred();
        let (chain, charge) = (Pieces::default(), None);
        let (is_cut, missed, urgency, own, last, parked) =
            (false, 0, Urgency::USUAL, Own::default(), None, SmallVec::new());
        let says_priorities = ring.has(IORING_SETUP_PRIORITIES);
        let is_restricted = ring.has(RESTRICTED | IORING_SETUP_IOPOLL);
        Self {
            task,
            ring,
            taker,
            moved: 0,
            chain,
            charge,
            is_cut,
            is_draining,
            goes_on,
            missed,
            says_priorities,
            is_restricted,
            urgency,
            own,
            last,
            parked,
        }
    }

    /// Takes up to `count` entries, as many as there are places for.
    pub(super) fn take(&mut self, count: u32) -> TakenSome {
        // What is done and not posted, and a chain that has not begun, keep theirs.
        let held = self.taker.filled() + self.chain.len();
        let wanted = count;
        let count = count.min(self.taker.reserve(held + count as usize).saturating_sub(held) as u32);
        if count < wanted {
            self.refuse(count);
        }
        let goes_on = self.ring.has(IORING_SETUP_SUBMIT_ALL);
        let is_short = !self.says_priorities && !self.is_restricted && !hal::record::recording();
        let mut taken = TakenSome::none();
        self.moved = 0;
        while taken.count < count {
            if self.moved >= MOVED_AT_ONCE && self.chain.is_empty() {
                taken.paused = true;
                break;
            }
            let Taken::Entry(entry) = self.taker.head.submissions.take(&*self.ring.pages) else {
                taken.stopped = true;
                break;
            };
            taken.count += 1;
            let is_short = is_short && self.stands_alone();
            if is_short && Transfer::is_simple_read(&entry) {
                self.begin_simple_read(&entry);
                continue;
            }
            if is_short && Transfer::is_plain(&entry) {
                if !self.begin_transfer(entry) && !goes_on {
                    taken.stopped = true;
                    break;
                }
                continue;
            }
            self.last = None;
            let operation = match self.prepare(entry) {
                Ok(operation) => Ok(operation),
                Err(IoError::Errno(errno)) => Err(errno),
                Err(IoError::Fault(fault)) => {
                    self.put_back(&mut taken);
                    (taken.paused, taken.fault) = (true, Some(fault));
                    break;
                }
            };
            if !self.begin(Entry::taken(&entry), operation) && !goes_on {
                taken.stopped = true;
                break;
            }
        }
        self.last = None;
        self.begin_parked();
        self.taker.head.submissions.commit(&*self.ring.pages);
        polled(self.task.thread());
        taken
    }

    /// There is no place for the completion of the entry so many places behind the next: the trace says so. It is taken later, under another number.
    #[cold]
    fn refuse(&self, ahead: u32) {
        if let Some(entry) = self.taker.head.submissions.peek(&*self.ring.pages, ahead) {
            record(Entry::taken(&entry).mark.number(), Done::failed(Errno::EAGAIN));
        }
    }

    /// What comes is not part of a chain, and need not wait for others to begin.
    fn stands_alone(&self) -> bool {
        self.chain.is_empty() && !self.is_cut && !self.is_draining
    }

    /// [`begin`](Self::begin) for one that reads or writes, and stands alone. As all that [`take`](Self::take) calls it is given the entry itself, which so lies in registers there.
    #[inline(never)]
    fn begin_transfer(&mut self, entry: Sqe) -> bool {
        let entry = &entry;
        self.missed = 0;
        self.taker.head.skips |= entry.flags & IOSQE_CQE_SKIP_SUCCESS != 0;
        let transfer = match Transfer::prepare(self.task, entry) {
            Ok(transfer) => transfer,
            Err(errno) => {
                self.complete(Entry::silent(entry), Done::failed(errno));
                return false;
            }
        };
        let step = self.run_transfer(transfer);
        self.settle(entry, transfer, step);
        true
    }

    /// [`begin_transfer`](Self::begin_transfer) for a [simple read](Transfer::is_simple_read): most often it is done, and nothing of what has to be kept for a wait.
    #[inline(always)]
    fn begin_simple_read(&mut self, entry: &Sqe) {
        self.missed = 0;
        let task = self.task;
        let tried = self.open(entry.fd).map(|open| Transfer::of_simple_read(entry).look(task, open, None));
        match tried {
            // It has no flags.
            Ok(Tried::Done(done)) => self.tell(entry.user_data, done),
            Ok(tried) => self.behind_simple_look(*entry, tried),
            Err(errno) => self.complete(Entry::silent(entry), Done::failed(errno)),
        }
    }

    /// Apart, so that a read of what is there moves nothing. The transfer is made once more: it is to lie in memory here only.
    #[inline(never)]
    fn behind_simple_look(&mut self, entry: Sqe, tried: Tried) {
        let entry = &entry;
        let (task, transfer) = (self.task, Transfer::of_simple_read(entry));
        let step = match self.open(entry.fd) {
            Ok(open) => transfer.behind_look(task, tried, open),
            Err(errno) => Step::Done(Done::failed(errno)),
        };
        self.settle(entry, transfer, step);
    }

    /// What a descriptor is.
    #[inline(always)]
    fn open(&mut self, fd: i32) -> Result<&Arc<OpenFile>, Errno> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != fd) {
            self.last = Some((fd, self.task.file(fd)?));
        }
        self.last.as_ref().map(|(_, open)| open).ok_or(Errno::EBADF)
    }

    #[inline]
    fn run_transfer(&mut self, transfer: Transfer) -> Step {
        let Some(fd) = transfer.fd() else { return transfer.run(self.task, self.ring) };
        let (task, ring) = (self.task, self.ring);
        match self.open(fd) {
            Ok(open) => transfer.run_on(task, ring, open),
            Err(errno) => Step::Done(Done::failed(errno)),
        }
    }

    /// An entry that needs memory that is not there is taken again, and with it a chain that nobody is going to add to.
    #[cold]
    fn put_back(&mut self, taken: &mut TakenSome) {
        let chain = if self.goes_on { 0 } else { self.chain.len() as u32 };
        if !self.goes_on {
            // Those are taken again under other numbers.
            let chain = core::mem::take(&mut self.chain).into_iter();
            chain.for_each(|linked| record(linked.entry.mark.number(), Done::failed(Errno::EAGAIN)));
            self.charge = None;
        }
        self.own = Own::default();
        self.taker.head.submissions.put_back(1 + chain);
        taken.count -= 1 + chain;
    }

    /// Begins a request, or adds it to its chain. `false`: it is wrong, and ends the submission.
    #[inline]
    fn begin(&mut self, entry: Entry, operation: Result<Operation, Errno>) -> bool {
        // Also of one that is wrong: the next has its own, or none.
        let own = core::mem::take(&mut self.own).boxed();
        let is_linked = entry.mark.flags() & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0;
        if is_linked || !self.stands_alone() {
            return self.link(Linked { entry, urgency: self.urgency, own, operation }, is_linked);
        }
        match operation {
            Ok(Operation::Select(select)) if own.is_none() && self.begin_stream(select, entry) => {}
            Ok(operation) => match operation.run_own(self.task, own, self.ring, entry.user_data) {
                Step::Done(done) => self.complete(entry, done),
                Step::Waits(waits) => self.park(entry, operation, waits, Chain::default()),
            },
            Err(errno) => self.complete(entry, Done::failed(errno)),
        }
        // A limit of nothing is wrong.
        operation.is_ok_and(|operation| !matches!(operation, Operation::LinkTimeout(_)))
    }

    /// Completes a request, unless it wanted that for a failure only.
    #[inline]
    fn complete(&mut self, Entry { user_data, mark }: Entry, done: Done) {
        record(mark.number(), done);
        if mark.tells(done) {
            self.tell(user_data, done);
        } else {
            self.moved += done.result.max(0) as usize;
        }
    }

    #[inline(always)]
    fn tell(&mut self, user_data: u64, done: Done) {
        self.moved += done.result.max(0) as usize;
        self.taker.complete(completion(user_data, done));
    }

    /// Posts what is done.
    pub(super) fn post(&mut self) {
        self.taker.post();
    }

    fn post_some(&mut self) {
        if self.taker.filled() > 0 {
            self.post();
        }
    }

    /// No more entries come: a chain that waits for its end begins, and the right to take entries is given back. How many completions wait for the program,
    /// unless some are kept.
    pub(super) fn end(&mut self) -> Option<u32> {
        if !self.chain.is_empty() {
            self.run_chain(false);
        }
        self.taker.give_back()
    }
}

impl Drop for Submission<'_, '_, '_> {
    /// A thread that is killed while it submits leaves a chain that has not begun.
    fn drop(&mut self) {
        if !self.chain.is_empty() {
            self.run_chain(true);
        }
        self.begin_parked();
        self.post_some();
    }
}

fn completion(user_data: u64, done: Done) -> Cqe {
    Cqe { user_data, res: done.result, flags: done.flags }
}
