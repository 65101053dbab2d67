//! Scheduling as Linux programs see it: policies are accepted and nothing depends on them; the system's own
//! priorities are set by its own calls.

use crate::{arguments::Args, context::Task};
use abi::{
    errno::Errno,
    process::{SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RR},
    time::Timespec,
};
use core::ops::RangeInclusive;
use process::table;

/// Nanoseconds of a time slice.
const SLICE: u64 = 10_000_000;

/// Checks that a thread exists; 0 is the caller.
fn check_thread(args: &Args) -> Result<(), Errno> {
    match args.int(0) {
        0 => Ok(()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => table::thread(tid as u32).map(|_| ()).ok_or(Errno::ESRCH),
    }
}

/// `sched_getscheduler(tid)`.
pub(crate) fn getscheduler(args: &Args) -> Result<usize, Errno> {
    check_thread(args).map(|()| SCHED_NORMAL as usize)
}

/// The priorities of a policy.
pub(crate) fn priority_range(args: &Args) -> Result<RangeInclusive<usize>, Errno> {
    match args.bits(0) {
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE => Ok(0..=0),
        SCHED_FIFO | SCHED_RR => Ok(1..=99),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_setscheduler(tid, policy, param)`.
pub(crate) async fn setscheduler(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    set(task, args, args.bits(1), args.word(2)).await
}

/// `sched_setparam(tid, param)`.
pub(crate) async fn setparam(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    set(task, args, SCHED_NORMAL, args.word(1)).await
}

async fn set(task: &Task<'_>, args: &Args, policy: u32, at: usize) -> Result<usize, Errno> {
    check_thread(args)?;
    let priority: i32 = task.space().get(at).await?;
    match (policy, priority) {
        (SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE, 0) => Ok(0),
        (SCHED_FIFO | SCHED_RR, 1..=99) => task.privileged().map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_getparam(tid, param)`.
pub(crate) async fn getparam(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_thread(args)?;
    task.space().put(args.word(1), &0i32).await.map(|()| 0)
}

/// `sched_rr_get_interval(tid, time)`.
pub(crate) async fn interval(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_thread(args)?;
    task.space().put(args.word(1), &Timespec::from_nanos(SLICE)).await.map(|()| 0)
}

/// `sched_getaffinity(tid, len, mask)`: all harts.
pub(crate) async fn getaffinity(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    const BYTES: usize = size_of::<u64>();
    check_thread(args)?;
    if args.word(1) < BYTES || !args.word(1).is_multiple_of(BYTES) {
        return Err(Errno::EINVAL);
    }
    let harts = u64::MAX >> (64 - hal::hart::count().clamp(1, 64));
    task.space().put(args.word(2), &harts).await.map(|()| BYTES)
}

/// `sched_setaffinity(tid, len, mask)`: accepted if a hart is left.
pub(crate) async fn setaffinity(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_thread(args)?;
    let len = args.word(1).min(size_of::<u64>());
    let mut mask = [0; 8];
    task.space().copy_in(args.word(2), &mut mask[..len]).await?;
    let harts = u64::MAX >> (64 - hal::hart::count().clamp(1, 64));
    if u64::from_le_bytes(mask) & harts == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}
