//! One submission: entries are taken, begun, and completed if they do not wait; those that are linked, in chains ([`chain`]); one
//! that reads or writes and stands alone, by a way of its own ([`single`]).

mod chain;
mod single;

pub(super) use single::run_single;

use super::{
    RESTRICTED, Ring,
    coroutine::{self, Start},
    fields,
    operation::{self, Done, Operation, Step},
    own::{self, Own},
    pieces::Pieces,
    request::{Entry, polled},
    retry::{self, Parked, Reading},
    select::{self, Select},
    taking::Taker,
    ticket::{Chain, Linked, Ticket, record},
    transfer::{AtDevice, Transfer, Tried},
    urgency::Urgency,
    waits::Waits,
};
use crate::context::Task;
use abi::{asyncos::IORING_SETUP_PRIORITIES, errno::Errno, io_uring::*};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use io::{file::IoError, open::OpenFile};
use mem::{Charge, CopyFault, Room};
use ring::Taken;

/// Entries that are taken in one poll.
pub(super) const AT_ONCE: u32 = 128;
/// Bytes after which no more are taken in this poll.
pub(super) const MOVED_AT_ONCE: usize = 1 << 18;
/// How often an entry may miss a page until it is taken. What it says lies in fewer, but what was made present may be gone again.
const MOST_MISSED: u32 = 64;
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
    /// For devices, which are told of them all at once: at the end of the poll.
    parked: Vec<Parked>,
}

impl<'a, 'r: 'a, 't> Submission<'a, 'r, 't> {
    /// `goes_on`: who takes comes back after a fault, with the same submission.
    pub(super) fn new(task: &'a Task<'t>, taker: &'a mut Taker<'r>, goes_on: bool) -> Self {
        let ring = taker.ring;
        let is_draining = taker.head.drains_next || ring.drain.has_deferred();
        let (chain, charge) = (Pieces::default(), None);
        let (is_cut, missed, urgency, own, last, parked) =
            (false, 0, Urgency::USUAL, Own::default(), None, Vec::new());
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

    /// It is done, or waits.
    #[inline]
    fn settle(&mut self, entry: &Sqe, transfer: Transfer, step: Step) {
        let entry = Entry::silent(entry);
        match step {
            Step::Done(done) => self.complete(entry, done),
            Step::Waits(Waits::Device(device)) if self.urgency.is_usual(self.task.thread()) => {
                self.park_at_device(entry, Operation::Transfer(transfer), device);
            }
            Step::Waits(waits) => self.park(entry, Operation::Transfer(transfer), waits, Chain::default()),
        }
    }

    /// [`park`](Self::park) for what stands alone and a device carries out: there may be many in a poll.
    fn park_at_device(&mut self, entry: Entry, operation: Operation, device: Box<AtDevice>) {
        self.taker.give_places(1);
        self.taker.show_taken();
        if let Some(parked) = begin_at_device(self.task, self.ring, entry, operation, device) {
            self.keep_parked(parked);
        }
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

    #[inline(never)]
    fn prepare(&mut self, mut entry: Sqe) -> Result<Operation, IoError> {
        let entry = &mut entry;
        if self.says_priorities {
            self.urgency = Urgency::USUAL;
            self.urgency = Urgency::of(entry)?;
        }
        if entry.flags & SPECIAL != 0 {
            self.check_special(entry)?;
        }
        if self.is_restricted && entry.opcode < IORING_OP_LAST {
            self.ring.check_entry(entry)?;
            if let Some(instead) = self.ring.check_device(self.task, entry)? {
                return Ok(instead);
            }
        }
        if entry.personality != 0 {
            self.take_rights(entry)?;
        }
        let prepared = match entry.flags & IOSQE_BUFFER_SELECT {
            0 => operation::prepare(self.task, entry),
            _ => operation::prepare_select(entry),
        };
        match prepared.and_then(|operation| self.keep_given(entry, operation)) {
            Err(IoError::Fault(fault)) => self.miss(fault),
            prepared => {
                self.missed = 0;
                prepared
            }
        }
    }

    /// One that begins later has what it says in the program's memory as it is now.
    #[inline]
    fn keep_given(&mut self, entry: &Sqe, operation: Operation) -> Result<Operation, IoError> {
        if entry.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0 || !self.stands_alone() {
            self.own.given = own::given(self.task, &operation)?;
        }
        Ok(operation)
    }

    /// The entry is taken once more when the page is there, unless it has missed too many.
    #[cold]
    fn miss(&mut self, fault: CopyFault) -> Result<Operation, IoError> {
        if self.is_cut || self.missed == MOST_MISSED {
            self.missed = 0;
            return Err(Errno::EFAULT.into());
        }
        self.missed += 1;
        Err(fault.into())
    }

    /// The page that the next entry has missed cannot be there: to miss it again is that entry's error.
    pub(super) fn lacks_it(&mut self) {
        self.missed = MOST_MISSED;
    }

    /// Linux's checks of flags, in its order. Who ever left out a completion cannot drain: nobody could count.
    #[cold]
    fn check_special(&mut self, entry: &Sqe) -> Result<(), Errno> {
        let has = |flag| entry.flags & flag != 0;
        if !operation::is_known(entry.opcode) || has(!operation::FLAGS) {
            operation::count_unknown(self.task, entry);
            return Err(Errno::EINVAL);
        }
        if has(IOSQE_BUFFER_SELECT) && !select::selects(entry.opcode) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.taker.head.skips |= has(IOSQE_CQE_SKIP_SUCCESS);
        if has(IOSQE_IO_DRAIN) && self.taker.head.skips {
            return Err(Errno::EOPNOTSUPP);
        }
        self.is_draining |= has(IOSQE_IO_DRAIN);
        Ok(())
    }

    /// The rights that an entry names are its own from here on, and it is as one that names none.
    #[cold]
    fn take_rights(&mut self, entry: &mut Sqe) -> Result<(), Errno> {
        let rights = self.ring.personalities.get(core::mem::take(&mut entry.personality))?;
        // What it gives a number to is the program's by its own rights.
        if fields::is_fixed(entry.opcode) {
            return match operation::prepare(self.task, entry) {
                Err(IoError::Errno(errno)) => Err(errno),
                _ => Err(Errno::EPERM),
            };
        }
        self.own.rights = Some(rights);
        Ok(())
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

    /// Begins one that reads again and again, if it needs no coroutine.
    fn begin_stream(&mut self, select: Select, entry: Entry) -> bool {
        if !self.urgency.is_usual(self.task.thread()) {
            return false;
        }
        let Some((stream, open)) = select.as_stream(self.task, self.ring) else { return false };
        // Those before it are completed before it.
        self.post_some();
        self.taker.show_taken();
        let moved = retry::park(self.task, self.ring, entry, &open, || Reading::Again(stream));
        if let Some(moved) = moved {
            self.taker.give_places(1);
            self.moved += moved;
        }
        moved.is_some()
    }

    /// A request waits, and what is linked behind it with it.
    #[inline(never)]
    fn park(&mut self, entry: Entry, operation: Operation, waits: Waits, rest: Chain) {
        self.taker.give_places(1);
        self.taker.show_taken();
        let begun = begin_to_wait(self.task, self.ring, (entry, self.urgency), (operation, waits), rest);
        if let Some(parked) = begun {
            self.keep_parked(parked);
        }
    }

    /// It begins with others, at the end of the poll.
    fn keep_parked(&mut self, parked: Parked) {
        if self.parked.make_room(1).is_err() {
            self.moved += parked.begin();
            return;
        }
        self.parked.push(parked);
    }

    #[inline]
    fn begin_parked(&mut self) {
        self.moved += self.parked.drain(..).map(Parked::begin).sum::<usize>();
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

/// A request waits, with its urgency, and what is linked behind it: as a record, or in a coroutine. One that waits for a device begins when the
/// caller has it. Inlined: what it is given is large to be moved.
#[inline(always)]
fn begin_to_wait(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (entry, urgency): (Entry, Urgency),
    (operation, waits): (Operation, Waits),
    rest: Chain,
) -> Option<Parked> {
    // Records are all as urgent as their submitter.
    if rest.len() == 0 && urgency.is_usual(task.thread()) {
        if reads_as_record(task, ring, entry, &waits) {
            return None;
        }
        if let Waits::Device(device) = waits {
            return begin_at_device(task, ring, entry, operation, device);
        }
    }
    waits_in_coroutine(task, ring, (entry, urgency), (operation, waits), rest);
    None
}

#[inline(never)]
fn waits_in_coroutine(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (entry, urgency): (Entry, Urgency),
    (operation, waits): (Operation, Waits),
    rest: Chain,
) {
    let ticket = Ticket::new(ring, entry, urgency);
    coroutine::spawn(task, ring, Start::Waits(ticket, operation.about(), waits), rest);
}

/// What a device does waits without a coroutine, if it can.
#[inline(never)]
fn begin_at_device(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    operation: Operation,
    device: Box<AtDevice>,
) -> Option<Parked> {
    match retry::park_device(task, ring, entry, device) {
        Ok(parked) => Some(parked),
        Err(device) => {
            let entry = (entry, Urgency::USUAL);
            waits_in_coroutine(task, ring, entry, (operation, Waits::Device(device)), Chain::default());
            None
        }
    }
}

/// Has a read wait without a coroutine; `false`: it needs one.
#[inline(always)]
fn reads_as_record(task: &Task<'_>, ring: &Arc<Ring>, entry: Entry, waits: &Waits) -> bool {
    let Waits::Transfer(transfer, open, buffer) = waits else { return false };
    let reading = || Reading::Once(*transfer, buffer.clone());
    transfer.is_one_read() && retry::park(task, ring, entry, open, reading).is_some()
}

fn completion(user_data: u64, done: Done) -> Cqe {
    Cqe { user_data, res: done.result, flags: done.flags }
}
