//! `io_uring_enter`: takes entries, and waits for completions.
//!
//! Up to [`AT_ONCE`] entries are taken in one poll; a thread that submits more yields in between.

use super::{
    Ring, ring_of,
    submission::{AT_ONCE, Submission, TakenSome},
};
use crate::{System, arguments::Args, context::Task, dispatch, poll};
use abi::{errno::Errno, io_uring::*, nr, time::Timespec};
use alloc::{boxed::Box, sync::Arc};
use exec::sync::wait_until;
use io::open::OpenFile;
use mem::AddressSpace;
use process::{Begun, Call, Thread};

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
    let mut submission = Submission::new(task, ring, &mut taking, false);
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
    let mut submission = Submission::new(task, ring, &mut taking, true);
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
            // What is wrong with that memory is found when the entry is taken again.
            Some(fault) => drop(task.resolve(fault).await),
            None => exec::yield_now().await,
        }
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
