//! `io_uring_enter`: takes entries, and waits for completions.
//!
//! Up to [`AT_ONCE`] entries are taken in one poll; a thread that submits more yields in between. A chain of linked entries
//! is put together first and begins when its last one is there, or the submission ends: an entry of it that is wrong keeps all of them from
//! beginning.

use super::{
    Ring, TOGETHER, Taking,
    operation::{self, Operation, Step, Waits},
    request::{self, Ticket},
    ring_of,
};
use crate::{System, arguments::Args, context::Task, dispatch, poll};
use abi::{errno::Errno, io_uring::*, nr, time::Timespec};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use exec::sync::wait_until;
use io::open::OpenFile;
use mem::{AddressSpace, Charge};
use process::{Begun, Call, Thread};
use ring::Taken;

/// Entries that are taken in one poll.
const AT_ONCE: u32 = 128;
/// Bytes after which no more are taken in this poll.
const MOVED_AT_ONCE: usize = 1 << 18;
const FLAGS: u32 = IORING_ENTER_GETEVENTS
    | IORING_ENTER_SQ_WAKEUP
    | IORING_ENTER_SQ_WAIT
    | IORING_ENTER_EXT_ARG
    | IORING_ENTER_ABS_TIMER;

/// `io_uring_enter(fd, entries, completions, flags, argument, size)`, served at once or begun.
#[inline(never)]
pub(crate) fn begin_enter<'a>(
    system: &'a System,
    thread: &'a Arc<Thread>,
    space: &Arc<AddressSpace>,
    call: &Call,
) -> Begun<'a> {
    let (task, args) = (Task::new(system, thread, space.clone()), Args(call.args));
    // No ring is ever registered by number.
    if args.bits(3) & !FLAGS != 0 {
        return Begun::Done(Errno::EINVAL.to_return());
    }
    let open = match task.file(args.int(0)) {
        Ok(open) => open,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    let submitted = match begin(&task, &open, &args) {
        Ok(Progress::Done(submitted)) => return Begun::Done(submitted as isize),
        Ok(progress) => progress,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    waits_in(task, open, args, submitted)
}

/// Apart, so that a call that does not wait moves nothing.
#[inline(never)]
fn waits_in(task: Task<'_>, open: Arc<OpenFile>, args: Args, submitted: Progress) -> Begun<'_> {
    Begun::Waits(Box::pin(async move {
        let result = enter(&task, &open, &args, submitted).await;
        dispatch::outcome(&task, nr::IO_URING_ENTER, &args, result)
    }))
}

/// How far a call got without waiting.
enum Progress {
    /// So many entries were taken, and there are more to take.
    Takes(usize),
    /// So many entries were taken; now it waits.
    Submitted(usize),
    /// The same, and that was all.
    Done(usize),
}

fn begin(task: &Task<'_>, open: &OpenFile, args: &Args) -> Result<Progress, Errno> {
    let ring = check(task, open, args)?;
    let (submitted, waiting) = match args.bits(1) {
        0 => (0, ring.posting.lock().completions.waiting_in_order(&*ring.pages)),
        wanted => match submit_now(task, ring, wanted)? {
            Ok(done) => done,
            Err(taken) => return Ok(Progress::Takes(taken)),
        },
    };
    // Completions that are kept are for the full call, and so is a time limit, which may be wrong.
    let wanted = args.bits(2).min(ring.layout.completions());
    let enough = args.bits(3) & IORING_ENTER_EXT_ARG == 0 && waiting.is_some_and(|waiting| waiting >= wanted);
    let over = enough || submitted != args.bits(1) as usize || !waits(args);
    Ok(if over { Progress::Done(submitted) } else { Progress::Submitted(submitted) })
}

fn waits(args: &Args) -> bool {
    args.bits(3) & IORING_ENTER_GETEVENTS != 0
}

/// The ring, if it takes entries, and this thread's.
fn check<'a>(task: &Task<'_>, open: &'a OpenFile, args: &Args) -> Result<&'a Arc<Ring>, Errno> {
    let ring = ring_of(open)?;
    if ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    // Others may only wait, unless who waits is who completes.
    let takes_part = args.bits(1) > 0 || waits(args) && ring.has(IORING_SETUP_DEFER_TASKRUN);
    if takes_part && ring.issuer_is_another(task) {
        return Err(Errno::EEXIST);
    }
    Ok(ring)
}

/// How many entries were taken, and how many completions wait for the program; or how many, with more to take.
type TakenNow = Result<(usize, Option<u32>), usize>;

/// Takes entries, if they are few and nobody else takes some.
fn submit_now(task: &Task<'_>, ring: &Arc<Ring>, wanted: u32) -> Result<TakenNow, Errno> {
    let Some(mut taking) = ring.taking.try_lock() else { return Ok(Err(0)) };
    let count = taking.submissions.ready(&*ring.pages).min(wanted);
    if count > AT_ONCE {
        return Ok(Err(0));
    }
    let mut submission = Submission::new(task, ring, &mut taking);
    let taken = submission.take(count);
    let waiting = submission.end();
    if taken.paused {
        return Ok(Err(taken.count as usize));
    }
    answer(&taken, count).map(|submitted| Ok((submitted, waiting)))
}

/// What a submission of `count` entries answers.
fn answer(taken: &TakenSome, count: u32) -> Result<usize, Errno> {
    // There was no place for a completion.
    if taken.count == 0 && !taken.stopped && count > 0 { Err(Errno::EAGAIN) } else { Ok(taken.count as usize) }
}

async fn submit(task: &Task<'_>, ring: &Arc<Ring>, wanted: u32) -> Result<usize, Errno> {
    let mut taking = ring.taking.lock().await;
    let count = taking.submissions.ready(&*ring.pages).min(wanted);
    let mut submission = Submission::new(task, ring, &mut taking);
    let mut all = TakenSome { count: 0, stopped: false, paused: false };
    while all.count < count && !all.stopped {
        let wanted = AT_ONCE.min(count - all.count);
        let some = submission.take(wanted);
        all.count += some.count;
        all.stopped |= some.stopped;
        if some.count < wanted && !some.paused {
            break;
        }
        submission.post();
        exec::yield_now().await;
    }
    let _ = submission.end();
    answer(&all, count)
}

async fn enter(task: &Task<'_>, open: &OpenFile, args: &Args, progress: Progress) -> Result<usize, Errno> {
    let ring = ring_of(open)?;
    let submitted = match progress {
        Progress::Submitted(submitted) | Progress::Done(submitted) => submitted,
        Progress::Takes(0) => submit(task, ring, args.bits(1)).await?,
        // Those that are taken have begun.
        Progress::Takes(some) => some + submit(task, ring, args.bits(1) - some as u32).await.unwrap_or(0),
    };
    if submitted != args.bits(1) as usize || !waits(args) {
        return Ok(submitted);
    }
    match wait(task, ring, args).await {
        Err(errno) if submitted == 0 => Err(errno),
        _ => Ok(submitted),
    }
}

/// Waits for completions.
async fn wait(task: &Task<'_>, ring: &Ring, args: &Args) -> Result<(), Errno> {
    let (mut mask, mut time) = ((args.word(4), args.word(5)), 0);
    if args.bits(3) & IORING_ENTER_EXT_ARG != 0 {
        if args.word(5) != size_of::<GetEvents>() {
            return Err(Errno::EINVAL);
        }
        let argument: GetEvents = task.space().get(args.word(4)).await?;
        if argument.min_wait_usec != 0 {
            return Err(Errno::EINVAL);
        }
        mask = (argument.sigmask as usize, argument.sigmask_sz as usize);
        time = argument.ts as usize;
    }
    let wanted = args.bits(2).min(ring.layout.completions());
    ring.flush_all().await;
    if ring.waiting() >= wanted {
        return Ok(());
    }
    let target = ring.posting.lock().completions.target(&*ring.pages, wanted);
    let deadline = deadline(task, time, args.bits(3) & IORING_ENTER_ABS_TIMER != 0).await?;
    poll::mask(task, mask.0, mask.1).await?;
    let waited = reach(task, ring, target, deadline).await;
    // Of what the wait says, before that may be forgotten: a signal that this mask lets in is delivered under it.
    task.end_mask(waited.map(|()| 0));
    match waited {
        // Fewer than wanted are better than an error.
        Err(_) if ring.waiting() > 0 => Ok(()),
        Err(Errno::EAGAIN) => Err(Errno::ETIME),
        waited => waited,
    }
}

/// Waits until the tail is at `target`; moves what is kept on the way there.
async fn reach(task: &Task<'_>, ring: &Ring, target: u32, deadline: Option<u64>) -> Result<(), Errno> {
    loop {
        ring.flush_all().await;
        if ring.posting.lock().completions.reached(target) {
            return Ok(());
        }
        let changed = wait_until(&ring.changed, || {
            let completions = &ring.posting.lock().completions;
            (completions.reached(target) || completions.can_flush(&*ring.pages)).then_some(Ok(()))
        });
        task.wait_for(changed, deadline).await?;
    }
}

/// When the time at `addr`, if any, is over. As on Linux no value is wrong: a time before now is over at once.
async fn deadline(task: &Task<'_>, addr: usize, is_absolute: bool) -> Result<Option<u64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let Timespec { sec, nsec } = task.space().get(addr).await?;
    let nanos = u64::try_from(sec.saturating_mul(1_000_000_000).saturating_add(nsec)).unwrap_or(0);
    Ok(Some(if is_absolute { nanos } else { hal::time::now().saturating_add(nanos) }))
}

/// What came of taking entries.
struct TakenSome {
    /// How many.
    count: u32,
    /// One was wrong: no more are to be taken.
    stopped: bool,
    /// Those that were taken have moved so much that others get their turn first.
    paused: bool,
}

/// An entry of a chain.
struct Linked {
    user_data: u64,
    flags: u8,
    operation: Result<Operation, Errno>,
}

/// One submission: entries of one call.
struct Submission<'a, 't> {
    task: &'a Task<'t>,
    ring: &'a Arc<Ring>,
    taking: &'a mut Taking,
    /// Bytes that were moved in this poll.
    moved: usize,
    /// The chain that is being put together.
    chain: Vec<Linked>,
    charge: Option<Charge>,
    /// There was no memory for the chain: what belongs to it is cancelled as it comes.
    is_cut: bool,
}

impl<'a, 't> Submission<'a, 't> {
    fn new(task: &'a Task<'t>, ring: &'a Arc<Ring>, taking: &'a mut Taking) -> Self {
        Self { task, ring, taking, moved: 0, chain: Vec::new(), charge: None, is_cut: false }
    }

    /// Takes up to `count` entries, as many as there are places for.
    fn take(&mut self, count: u32) -> TakenSome {
        // What is done and not posted, and a chain that has not begun, keep theirs.
        let held = self.taking.filled + self.chain.len();
        let wanted = held + count as usize;
        if self.taking.places < wanted {
            self.taking.places += self.ring.reserve(wanted.max(TOGETHER) - self.taking.places);
        }
        let count = count.min(self.taking.places.saturating_sub(held) as u32);
        let goes_on = self.ring.has(IORING_SETUP_SUBMIT_ALL);
        let mut taken = TakenSome { count: 0, stopped: false, paused: false };
        self.moved = 0;
        for _ in 0..count {
            if self.moved >= MOVED_AT_ONCE && self.chain.is_empty() {
                taken.paused = true;
                break;
            }
            let Taken::Entry(entry) = self.taking.submissions.take(&*self.ring.pages) else {
                taken.stopped = true;
                break;
            };
            taken.count += 1;
            let operation = operation::prepare(self.task, &entry);
            if !self.begin(entry.user_data, entry.flags, operation) && !goes_on {
                taken.stopped = true;
                break;
            }
        }
        self.taking.submissions.commit(&*self.ring.pages);
        taken
    }

    /// Begins a request, or adds it to its chain. `false`: it is wrong, and ends the submission.
    #[inline]
    fn begin(&mut self, user_data: u64, flags: u8, operation: Result<Operation, Errno>) -> bool {
        let is_linked = flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0;
        if is_linked || !self.chain.is_empty() || self.is_cut {
            return self.link(Linked { user_data, flags, operation }, is_linked);
        }
        match operation {
            Ok(operation) => match operation.run(self.task, self.ring) {
                Step::Done(done) => self.complete(user_data, done.result, flags),
                Step::Waits(waits) => self.park((user_data, flags), &operation, waits, Vec::new()),
            },
            Err(errno) => self.complete(user_data, errno.to_return() as i32, flags),
        }
        operation.is_ok()
    }

    #[cold]
    fn link(&mut self, mut linked: Linked, goes_on: bool) -> bool {
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
            self.complete(
                linked.user_data,
                linked.operation.err().unwrap_or(Errno::ECANCELED).to_return() as i32,
                linked.flags,
            );
            return is_right;
        }
        self.chain.push(linked);
        if !goes_on {
            self.run_chain(false);
        }
        is_right
    }

    /// Room for one more entry of the chain, paid for by who submits it.
    fn make_room(&mut self) -> Result<(), Errno> {
        if self.chain.len() < self.chain.capacity() {
            return Ok(());
        }
        let more = self.chain.len().max(4);
        let bytes = more * size_of::<Linked>();
        match &mut self.charge {
            Some(charge) => charge.grow(bytes)?,
            none => *none = Some(self.task.caller().account.charge(bytes)?),
        }
        self.chain.try_reserve_exact(more).map_err(|_| Errno::ENOMEM)
    }

    /// Does what the chain asks for, one after the other; from one that fails on, the rest is cancelled, unless its link is hard. `fails`: all is.
    fn run_chain(&mut self, fails: bool) {
        let mut chain = core::mem::take(&mut self.chain).into_iter();
        let cancelled = fails || chain.as_slice().iter().any(|linked| linked.operation.is_err());
        if cancelled && let Some(first) = chain.next() {
            let result = first.operation.err().unwrap_or(Errno::ECANCELED);
            self.complete(first.user_data, result.to_return() as i32, first.flags);
            self.cancel_rest(chain, first.flags);
        } else {
            while let Some(Linked { user_data, flags, operation: Ok(operation) }) = chain.next() {
                let done = match operation.run(self.task, self.ring) {
                    Step::Done(done) => done,
                    Step::Waits(waits) => {
                        self.park_chain((user_data, flags), &operation, waits, chain);
                        break;
                    }
                };
                self.complete(user_data, done.result, flags);
                if done.fails && flags & IOSQE_IO_HARDLINK == 0 {
                    self.cancel_rest(chain, flags);
                    break;
                }
            }
        }
        self.charge = None;
    }

    /// Ends the rest of a chain behind one with these `flags` that failed: if that wanted no completion for success, the rest has none.
    fn cancel_rest(&mut self, rest: impl Iterator<Item = Linked>, flags: u8) {
        if flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
            return;
        }
        for Linked { user_data, flags, operation } in rest {
            let result = operation.err().unwrap_or(Errno::ECANCELED);
            self.complete(user_data, result.to_return() as i32, flags);
        }
    }

    /// A request waits, and what is linked behind it with it.
    #[inline(never)]
    fn park(
        &mut self,
        (user_data, flags): (u64, u8),
        operation: &Operation,
        waits: Waits,
        rest: Vec<(Ticket, Operation)>,
    ) {
        self.taking.places = self.taking.places.saturating_sub(1);
        request::spawn(self.task, Ticket::new(self.ring, user_data, flags), operation, waits, rest);
    }

    fn park_chain(
        &mut self,
        first: (u64, u8),
        operation: &Operation,
        waits: Waits,
        chain: impl ExactSizeIterator<Item = Linked>,
    ) {
        let mut rest = Vec::new();
        let fits = rest.try_reserve_exact(chain.len()).is_ok();
        for linked in chain {
            let ticket = Ticket::new(self.ring, linked.user_data, linked.flags);
            self.taking.places = self.taking.places.saturating_sub(1);
            // Else the ticket says that it was cancelled.
            if let (Ok(operation), true) = (linked.operation, fits) {
                rest.push((ticket, operation));
            }
        }
        self.park(first, operation, waits, rest);
    }

    /// Completes a request, unless it wanted that for an error only.
    #[inline]
    fn complete(&mut self, user_data: u64, res: i32, flags: u8) {
        if res >= 0 && flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
            return;
        }
        self.moved += res.max(0) as usize;
        if self.taking.filled == TOGETHER {
            self.post();
        }
        self.taking.done[self.taking.filled % TOGETHER] = Cqe { user_data, res, flags: 0 };
        self.taking.filled += 1;
    }

    /// Posts what is done; how many completions wait for the program, unless some are kept.
    fn post(&mut self) -> Option<u32> {
        let filled = core::mem::take(&mut self.taking.filled).min(TOGETHER);
        let (kept, waiting) = self.ring.post(&self.taking.done[..filled]);
        // What went into the ring leaves its place to the next.
        self.taking.places -= kept;
        waiting
    }

    /// No more entries come: a chain that waits for its end begins.
    fn end(mut self) -> Option<u32> {
        if !self.chain.is_empty() {
            self.run_chain(false);
        }
        self.post()
    }
}

impl Drop for Submission<'_, '_> {
    /// A thread that is killed while it submits leaves a chain that has not begun.
    fn drop(&mut self) {
        if !self.chain.is_empty() {
            self.run_chain(true);
        }
        if self.taking.filled > 0 {
            self.post();
        }
    }
}
