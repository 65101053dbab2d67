//! `io_uring_enter`: takes entries, and waits for completions.
//!
//! Up to [`AT_ONCE`] entries are taken in one poll; a thread that submits more yields in between.

use super::{
    Ring,
    ready::Helper,
    request::polled,
    ring_of,
    submission::{AT_ONCE, Submission, TakenSome, run_single},
    taking::{Beginning, Head, Taker},
    waiting::{Goal, Look, Plain},
};
use crate::{System, arguments::Args, context::Task, dispatch, poll};
use abi::{errno::Errno, io_uring::*, nr, time::Timespec};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};
use exec::sync::wait_until_next;
use io::open::OpenFile;
use mem::AddressSpace;
use process::{Begun, Thread};

const FLAGS: u32 = IORING_ENTER_GETEVENTS
    | IORING_ENTER_SQ_WAKEUP
    | IORING_ENTER_SQ_WAIT
    | IORING_ENTER_EXT_ARG
    | IORING_ENTER_REGISTERED_RING
    | IORING_ENTER_ABS_TIMER;

/// `io_uring_enter(fd, entries, completions, flags, argument, size)`, served at once or begun.
#[inline(never)]
pub(crate) fn begin_enter<'a>(
    system: &'a System,
    thread: &'a Arc<Thread>,
    space: &Arc<AddressSpace>,
    args: &[usize; 6],
) -> Begun<'a> {
    let args = Args(*args);
    if args.bits(3) & !FLAGS != 0 {
        return Begun::Done(Errno::EINVAL.to_return());
    }
    let found = if args.bits(3) & IORING_ENTER_REGISTERED_RING == 0 {
        thread.process().file(args.int(0))
    } else {
        thread.registered_ring(args.bits(0) as usize)
    };
    let open = match found {
        Ok(open) => open,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    let ring = match ring_of(&open) {
        Ok(ring) => ring,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    // What waited comes before what is new.
    ring.serve_ready(thread);
    if args.bits(1) == 0 {
        match look_at_completions(thread, ring, &args) {
            Some(result) => return Begun::Done(result.map_or_else(Errno::to_return, |()| 0)),
            None if let Some(plain) = waits_plainly(thread, (&open, ring), &args, 0) => return plain,
            None => {}
        }
    }
    match ring.begin_taking(args.bits(1)) {
        Beginning::Done(taken, waiting) if taken == args.bits(1) && is_over(ring, &args, Some(waiting)) => {
            Begun::Done(taken as isize)
        }
        beginning => begin_others((system, thread, space), &open, ring, args, &beginning),
    }
}

/// A call that submits nothing, if that is over at once.
#[inline(never)]
fn look_at_completions(thread: &Thread, ring: &Ring, args: &Args) -> Option<Result<(), Errno>> {
    if let Err(errno) = check(thread, ring, args) {
        return Some(Err(errno));
    }
    let over = is_over(ring, args, ring.waiting_in_order());
    if over && waits(args) {
        ring.show_deferred();
    }
    over.then_some(Ok(()))
}

/// Apart, so that what is done at once moves nothing.
#[inline(never)]
fn begin_others<'a>(
    (system, thread, space): (&'a System, &'a Arc<Thread>, &Arc<AddressSpace>),
    open: &Arc<OpenFile>,
    ring: &Arc<Ring>,
    args: Args,
    beginning: &Beginning,
) -> Begun<'a> {
    match begin(&Task::borrowed(system, thread, space), ring, &args, beginning) {
        Ok(Progress::Done(submitted)) => Begun::Done(submitted as isize),
        Ok(progress) => {
            if let Progress::Submitted(submitted) = progress
                && let Some(plain) = waits_plainly(thread, (open, ring), &args, submitted)
            {
                return plain;
            }
            waits_in(Task::new(system, thread, space.clone()), open.clone(), args, progress)
        }
        Err(errno) => {
            // Who has no place for a request makes one by taking what there is.
            if errno == Errno::EAGAIN && waits(&args) {
                ring.show_deferred();
            }
            Begun::Done(errno.to_return())
        }
    }
}

/// A call that has taken all its entries and waits for completions, for nothing else; `None`: it is to wait in another way, if at all.
#[inline(never)]
fn waits_plainly<'a>(
    thread: &'a Thread,
    (open, ring): (&Arc<OpenFile>, &Arc<Ring>),
    args: &Args,
    submitted: usize,
) -> Option<Begun<'a>> {
    let is_plain = args.bits(3) & !IORING_ENTER_REGISTERED_RING == IORING_ENTER_GETEVENTS && args.word(4) == 0;
    if !is_plain || looks_itself(ring) {
        return None;
    }
    let plain = Plain::new(thread, (open, ring), submitted as u32, wanted(ring, args))?;
    Some(Begun::Waits(Box::pin(plain)))
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

fn begin(task: &Task<'_>, ring: &Arc<Ring>, args: &Args, beginning: &Beginning) -> Result<Progress, Errno> {
    let (taken, right) = match *beginning {
        Beginning::Done(taken, _) => (taken, None),
        Beginning::Single(ref entry) => {
            let waiting = run_single(task, ring, entry);
            return Ok(progress(ring, args, 1, waiting));
        }
        Beginning::Right(head) => (0, Some(head)),
        Beginning::Later => {
            check(task.thread(), ring, args)?;
            if ring.poller.is_some() {
                // That takes them.
                return Ok(progress(ring, args, args.bits(1) as usize, ring.waiting_in_order()));
            }
            (0, None)
        }
    };
    let wanted = args.bits(1) - taken;
    let (more, waiting) = if wanted == 0 {
        (0, None)
    } else {
        let Some(head) = right.or_else(|| ring.try_claim()) else { return Ok(Progress::Takes(taken as usize)) };
        match submit_now(task, ring, head, wanted) {
            Ok(Ok(done)) => done,
            Ok(Err(more)) => return Ok(Progress::Takes(taken as usize + more)),
            Err(_) if taken > 0 => (0, None),
            Err(errno) => return Err(errno),
        }
    };
    Ok(progress(ring, args, taken as usize + more, waiting))
}

/// Where a call is that has taken so many entries, when so many completions wait for the program, unless some are kept. At its end the caller sees what it asks for.
fn progress(ring: &Ring, args: &Args, submitted: usize, waiting: Option<u32>) -> Progress {
    let over = submitted != args.bits(1) as usize || is_over(ring, args, waiting);
    if over && waits(args) {
        ring.show_deferred();
    }
    if over { Progress::Done(submitted) } else { Progress::Submitted(submitted) }
}

/// Whether a call that has taken all its entries is over, when so many completions wait for the program, unless some are kept.
fn is_over(ring: &Ring, args: &Args, waiting: Option<u32>) -> bool {
    // Completions that are kept are for the full call, and so is a time limit, which may be wrong.
    let wanted = args.bits(2).min(ring.layout.completions());
    let enough = args.bits(3) & IORING_ENTER_EXT_ARG == 0 && waiting.is_some_and(|waiting| waiting >= wanted);
    (enough || !waits(args)) && !(waits_for_room(args) && ring.poller.is_some())
}

/// Whether who waits is who looks for completions at the device. As on Linux the first of them ends that, and it is no wait if nothing is under way.
fn looks_itself(ring: &Ring) -> bool {
    ring.has(IORING_SETUP_IOPOLL) && ring.poller.is_none()
}

/// How many completions end a wait.
fn wanted(ring: &Ring, args: &Args) -> u32 {
    let most = if looks_itself(ring) { 1 } else { ring.layout.completions() };
    args.bits(2).min(most)
}

fn waits(args: &Args) -> bool {
    args.bits(3) & IORING_ENTER_GETEVENTS != 0
}

fn waits_for_room(args: &Args) -> bool {
    args.bits(3) & IORING_ENTER_SQ_WAIT != 0
}

/// Whether the ring takes entries, and this thread's; calls who takes them, if that is wanted.
fn check(thread: &Thread, ring: &Ring, args: &Args) -> Result<(), Errno> {
    if ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    if let Some(poller) = &ring.poller {
        if args.bits(3) & IORING_ENTER_SQ_WAKEUP != 0 {
            poller.call(ring);
        }
        return poller.check();
    }
    // Others may only wait, unless who waits is who completes.
    let takes_part = args.bits(1) > 0 || waits(args) && ring.has(IORING_SETUP_DEFER_TASKRUN);
    if takes_part && ring.issuer_is_another(thread) {
        return Err(Errno::EEXIST);
    }
    Ok(())
}

/// How many entries were taken, and how many completions wait for the program; or how many, with more to take.
type TakenNow = Result<(usize, Option<u32>), usize>;

/// Takes entries, if they are few.
pub(super) fn submit_now(task: &Task<'_>, ring: &Arc<Ring>, head: Head, wanted: u32) -> Result<TakenNow, Errno> {
    let mut taker = Taker::with(ring, head);
    let count = taker.head.submissions.ready(&*taker.ring.pages).min(wanted);
    if count > AT_ONCE {
        return Ok(Err(0));
    }
    let mut submission = Submission::new(task, &mut taker, false);
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

/// Takes up to `wanted` entries, in turn with others.
pub(super) async fn submit(task: &Task<'_>, ring: &Arc<Ring>, wanted: u32) -> Result<usize, Errno> {
    let mut taker = Taker::with(ring, ring.claim().await);
    let count = taker.head.submissions.ready(&*ring.pages).min(wanted);
    let mut submission = Submission::new(task, &mut taker, true);
    let mut all = TakenSome::none();
    while all.count < count && !all.stopped {
        let wanted = AT_ONCE.min(count - all.count);
        let some = submission.take(wanted);
        all.count += some.count;
        all.stopped |= some.stopped;
        if some.count < wanted && !some.paused {
            break;
        }
        submission.post();
        match some.fault {
            Some(fault) => {
                // Where memory is missing it is taken again, as often as it may be.
                if task.resolve(fault).await.is_err_and(|errno| errno != Errno::ENOMEM) {
                    submission.lacks_it();
                }
            }
            None => exec::yield_now().await,
        }
    }
    let _ = submission.end();
    answer(&all, count)
}

async fn enter(task: &Task<'_>, open: &OpenFile, args: &Args, progress: Progress) -> Result<usize, Errno> {
    let ring = ring_of(open)?;
    let entered = go_on(task, ring, args, progress).await;
    if waits(args) {
        ring.show_deferred();
    }
    entered
}

async fn go_on(task: &Task<'_>, ring: &Arc<Ring>, args: &Args, progress: Progress) -> Result<usize, Errno> {
    let submitted = match progress {
        Progress::Submitted(submitted) | Progress::Done(submitted) => submitted,
        Progress::Takes(0) => submit(task, ring, args.bits(1)).await?,
        // Those that are taken have begun.
        Progress::Takes(some) => some + submit(task, ring, args.bits(1) - some as u32).await.unwrap_or(0),
    };
    if waits_for_room(args)
        && let Some(poller) = &ring.poller
    {
        // As on Linux: who was interrupted looks for itself.
        let _ = poller.wait_for_room(task, ring).await;
    }
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
    let (mut mask, mut time, mut least) = ((args.word(4), args.word(5)), 0, 0);
    if args.bits(3) & IORING_ENTER_EXT_ARG != 0 {
        if args.word(5) != size_of::<GetEvents>() {
            return Err(Errno::EINVAL);
        }
        let argument: GetEvents = task.space().get(args.word(4)).await?;
        mask = (argument.sigmask as usize, argument.sigmask_sz as usize);
        time = argument.ts as usize;
        least = u64::from(argument.min_wait_usec) * 1_000;
    }
    let wanted = wanted(ring, args);
    ring.flush_all().await;
    if ring.waiting() >= wanted || looks_itself(ring) && ring.drain.is_idle() {
        return Ok(());
    }
    let goal = Goal::of(ring, wanted);
    let deadline = deadline(task, time, args.bits(3) & IORING_ENTER_ABS_TIMER != 0).await?;
    poll::mask(task, mask.0, mask.1).await?;
    let waited = match least {
        0 => reach(task, ring, goal, deadline).await,
        least => reach_or_any(task, ring, goal, (hal::time::now().saturating_add(least), deadline)).await,
    };
    // Of what the wait says, before that may be forgotten: a signal that this mask lets in is delivered under it.
    task.end_mask(waited.map(|()| 0));
    match waited {
        // Fewer than wanted are better than an error.
        Err(_) if ring.waiting() > 0 => Ok(()),
        Err(Errno::EAGAIN) => Err(Errno::ETIME),
        waited => waited,
    }
}

/// The same as [`reach`] up to the first of two times, as on Linux also if that is the later one. Then what waits for the program by now is enough, and if nothing does, the
/// next completion up to the second time; without that, this is the end.
async fn reach_or_any(
    task: &Task<'_>,
    ring: &Ring,
    goal: Goal,
    (least, deadline): (u64, Option<u64>),
) -> Result<(), Errno> {
    match reach(task, ring, goal, Some(least)).await {
        Err(Errno::EAGAIN) if ring.waiting() == 0 && deadline.is_some_and(|deadline| deadline > least) => {
            reach(task, ring, goal.with(ring, 1), deadline).await
        }
        waited => waited,
    }
}

/// Waits until there is an end to that; moves what is kept on the way there, and serves requests that become ready.
async fn reach(task: &Task<'_>, ring: &Ring, goal: Goal, deadline: Option<u64>) -> Result<(), Errno> {
    let helper = Helper::of(&ring.retries, task.thread()).await;
    loop {
        let more = helper.serve();
        polled(task.thread());
        let look = goal.look(ring);
        match look {
            Look::Reached => return Ok(()),
            Look::Moves => ring.flush_all().await,
            Look::Waits => {}
        }
        if more || exec::should_yield() {
            // Others get their turn, and what ends a wait is looked at.
            let turn = async {
                exec::yield_now().await;
                Ok(())
            };
            task.wait_for(turn, deadline).await?;
        } else if look == Look::Waits {
            let mut changed = pin!(wait_until_next(ring.changed(), || (goal.look(ring) != Look::Waits).then_some(())));
            // Or until there is something to serve, for which this is woken, too.
            let changed = poll_fn(|context| match helper.is_wanted() {
                true => Poll::Ready(Ok(())),
                false => changed.as_mut().poll(context).map(Ok),
            });
            task.wait_in_place(pin!(changed), deadline).await?;
        }
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
