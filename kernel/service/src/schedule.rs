//! Scheduling as Linux programs see it: policy, priority, nice value, and the rights to change them.
//!
//! What is set is what acts (`process::class`), and what is read back. Real-time priorities that lie close together are equals.
//! Of `SCHED_DEADLINE` the flags are not offered: what others leave of their reservations is nobody's, and no signal tells of an
//! overrun.

use crate::{arguments::Args, context::Task};
use abi::{
    errno::Errno,
    process::{
        PRIO_PGRP, PRIO_PROCESS, PRIO_USER, RLIMIT_NICE, RLIMIT_RTPRIO, SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO,
        SCHED_IDLE, SCHED_NORMAL, SCHED_RESET_ON_FORK, SCHED_RR, SchedAttr,
    },
    time::Timespec,
};
use alloc::{sync::Arc, vec::Vec};
use core::ops::RangeInclusive;
use process::{
    Thread,
    affinity::Harts,
    class::{Class, MAX_RT, Parts},
    reservation::Reservation,
    table,
};

/// Nanoseconds of a time slice.
const SLICE: u64 = 10_000_000;
/// `sched_flags` of `sched_setattr`.
const RESET_ON_FORK: u64 = 1;
const KEEP_POLICY: u64 = 8;
const KEEP_PARAMS: u64 = 16;
/// Bytes of the first version of `sched_attr`, which is ours.
const ATTR: usize = size_of::<SchedAttr>();
const PAGE: usize = 4096;

/// The thread with this id; 0 is the caller.
fn find(task: &Task<'_>, id: i32) -> Result<Arc<Thread>, Errno> {
    match id {
        0 => Ok(task.thread().clone()),
        id if id < 0 => Err(Errno::EINVAL),
        id => table::thread(id as u32).ok_or(Errno::ESRCH),
    }
}

fn is_real_time(policy: u32) -> bool {
    matches!(policy, SCHED_FIFO | SCHED_RR)
}

fn has_nice(policy: u32) -> bool {
    matches!(policy, SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE)
}

/// `sched_getscheduler(tid)`.
pub(crate) fn getscheduler(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let parts = find(task, args.int(0))?.class().parts();
    Ok((parts.policy | if parts.resets { SCHED_RESET_ON_FORK } else { 0 }) as usize)
}

/// The priorities of a policy.
pub(crate) fn priority_range(args: &Args) -> Result<RangeInclusive<usize>, Errno> {
    match args.bits(0) {
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0..=0),
        SCHED_FIFO | SCHED_RR => Ok(1..=usize::from(MAX_RT)),
        _ => Err(Errno::EINVAL),
    }
}

/// What a thread is to have; what is `None` stays.
struct Wish {
    /// Policy, and whether children get the default.
    policy: Option<(u32, bool)>,
    nice: Option<i32>,
    priority: Option<i32>,
    /// Of `SCHED_DEADLINE`: runtime, deadline and period, unchecked.
    times: Option<[u64; 3]>,
}

/// What a call says that knows of no reservations.
const NO_TIMES: Option<[u64; 3]> = Some([0; 3]);

/// `sched_setscheduler(tid, policy, param)`.
pub(crate) async fn setscheduler(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.int(1) < 0 || args.word(2) == 0 || args.int(0) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = task.space().get(args.word(2)).await?;
    let (policy, resets) = (args.bits(1) & !SCHED_RESET_ON_FORK, args.bits(1) & SCHED_RESET_ON_FORK != 0);
    let wish = Wish { policy: Some((policy, resets)), nice: None, priority: Some(priority), times: NO_TIMES };
    apply(task, &*find(task, args.int(0))?, &wish)
}

/// `sched_setparam(tid, param)`.
pub(crate) async fn setparam(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(1) == 0 || args.int(0) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = task.space().get(args.word(1)).await?;
    let wish = Wish { policy: None, nice: None, priority: Some(priority), times: NO_TIMES };
    apply(task, &*find(task, args.int(0))?, &wish)
}

/// `sched_setattr(tid, attr, flags)`.
pub(crate) async fn setattr(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(1) == 0 || args.int(0) < 0 || args.bits(2) != 0 {
        return Err(Errno::EINVAL);
    }
    let attr = read_attr(task, args.word(1)).await?;
    if attr.policy.cast_signed() < 0 || attr.flags & !(RESET_ON_FORK | KEEP_POLICY | KEEP_PARAMS) != 0 {
        return Err(Errno::EINVAL);
    }
    let (keeps, keeps_params) = (attr.flags & KEEP_POLICY != 0, attr.flags & KEEP_PARAMS != 0);
    let wish = Wish {
        policy: (!keeps).then_some((attr.policy, attr.flags & RESET_ON_FORK != 0)),
        nice: (!keeps_params).then_some(attr.nice.clamp(-20, 19)),
        priority: (!keeps_params).then_some(i32::try_from(attr.priority).unwrap_or(i32::MAX)),
        times: (!keeps_params).then_some([attr.runtime, attr.deadline, attr.period]),
    };
    apply(task, &*find(task, args.int(0))?, &wish)
}

/// The structure at an address: its size first, what it has beyond ours has to be zero.
async fn read_attr(task: &Task<'_>, at: usize) -> Result<SchedAttr, Errno> {
    let size: u32 = task.space().get(at).await?;
    let size = if size == 0 { ATTR } else { size as usize };
    let mut bytes = [0; PAGE / 4];
    if !(ATTR..=bytes.len()).contains(&size) {
        return too_big(task, at).await;
    }
    task.space().copy_in(at, &mut bytes[..size]).await?;
    if bytes[ATTR..size].iter().any(|byte| *byte != 0) {
        return too_big(task, at).await;
    }
    <SchedAttr as zerocopy::FromBytes>::read_from_bytes(&bytes[..ATTR]).map_err(|_| Errno::EINVAL)
}

/// Says which size is known.
async fn too_big(task: &Task<'_>, at: usize) -> Result<SchedAttr, Errno> {
    task.space().put(at, &(ATTR as u32)).await?;
    Err(Errno::E2BIG)
}

/// `sched_getattr(tid, attr, size, flags)`.
pub(crate) async fn getattr(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let size = args.bits(2) as usize;
    if args.word(1) == 0 || args.int(0) < 0 || !(ATTR..=PAGE).contains(&size) || args.bits(3) != 0 {
        return Err(Errno::EINVAL);
    }
    let thread = find(task, args.int(0))?;
    let Parts { policy, nice, priority, resets } = thread.class().parts();
    let [runtime, deadline, period] =
        thread.reservation().map_or([0; 3], |reserved| [reserved.runtime, reserved.deadline, reserved.period]);
    let attr = SchedAttr {
        size: ATTR as u32,
        policy,
        flags: if resets { RESET_ON_FORK } else { 0 },
        nice: if has_nice(policy) { nice } else { 0 },
        priority: u32::from(priority),
        runtime,
        deadline,
        period,
    };
    task.space().put(args.word(1), &attr).await.map(|()| 0)
}

/// `sched_getparam(tid, param)`.
pub(crate) async fn getparam(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(1) == 0 {
        return Err(Errno::EINVAL);
    }
    let priority = i32::from(find(task, args.int(0))?.class().parts().priority);
    task.space().put(args.word(1), &priority).await.map(|()| 0)
}

/// Gives a thread what is wished for it, if that makes sense and the caller may.
fn apply(task: &Task<'_>, target: &Thread, wish: &Wish) -> Result<usize, Errno> {
    // Again if another has changed it meanwhile.
    while !try_apply(task, target, wish)? {}
    Ok(0)
}

/// `false`: its class was changed meanwhile.
fn try_apply(task: &Task<'_>, target: &Thread, wish: &Wish) -> Result<bool, Errno> {
    let before = target.class();
    let now = before.parts();
    let (policy, resets) = wish.policy.unwrap_or((now.policy, now.resets));
    let priority = match wish.priority {
        None => now.priority,
        Some(priority) => u8::try_from(priority).ok().filter(|priority| *priority <= MAX_RT).ok_or(Errno::EINVAL)?,
    };
    let known = has_nice(policy) || is_real_time(policy) || policy == SCHED_DEADLINE;
    if !known || is_real_time(policy) != (priority != 0) {
        return Err(Errno::EINVAL);
    }
    let reservation = reserved(target, policy, wish.times)?;
    // The nice value of any other thread is kept for later.
    let nice = wish.nice.filter(|_| has_nice(policy)).unwrap_or(now.nice);
    let wanted = Parts { policy, nice, priority, resets };
    if !may(task, target, &now, &wanted) {
        task.privileged()?;
    }
    target.set_class(before, Class::new(wanted), reservation)
}

/// What is to be reserved for a thread.
fn reserved(target: &Thread, policy: u32, times: Option<[u64; 3]>) -> Result<Option<Reservation>, Errno> {
    if policy != SCHED_DEADLINE {
        return Ok(None);
    }
    match times {
        Some([runtime, deadline, period]) => Reservation::new(runtime, deadline, period).map(Some),
        None => target.reservation().map(Some).ok_or(Errno::EINVAL),
    }
}

/// Whether the caller may without privilege.
fn may(task: &Task<'_>, target: &Thread, now: &Parts, wanted: &Parts) -> bool {
    let limit = target.process().limit(RLIMIT_RTPRIO);
    let rises = is_real_time(wanted.policy)
        && ((wanted.policy != now.policy && limit == 0)
            || (wanted.priority > now.priority && u64::from(wanted.priority) > limit));
    let is_nicer = has_nice(wanted.policy) && wanted.nice < now.nice;
    let leaves_idle = now.policy == SCHED_IDLE && wanted.policy != SCHED_IDLE;
    let (own, theirs) = (task.process().identity(), target.process().identity());
    !rises
        && wanted.policy != SCHED_DEADLINE
        && (!is_nicer || may_nice(target, wanted.nice))
        && (!leaves_idle || may_nice(target, now.nice))
        && (own.euid == theirs.euid || own.euid == theirs.uid)
        && (!now.resets || wanted.resets)
}

/// Whether the limits of a thread's process allow this nice value.
fn may_nice(target: &Thread, nice: i32) -> bool {
    (20 - nice) as u64 <= target.process().limit(RLIMIT_NICE)
}

/// Whom `setpriority` and `getpriority` mean.
fn subjects(task: &Task<'_>, args: &Args) -> Result<Vec<Arc<Thread>>, Errno> {
    let who = args.bits(1);
    let of = |processes: Vec<Arc<process::Process>>| processes.iter().flat_map(|process| process.threads()).collect();
    let found: Vec<Arc<Thread>> = match args.bits(0) {
        PRIO_PROCESS if who == 0 => [task.thread().clone()].into(),
        PRIO_PROCESS => table::thread(who).into_iter().collect(),
        PRIO_PGRP => {
            let own = || table::kin(task.process().pid()).map_or(0, |kin| kin.group);
            let mut threads: Vec<Arc<Thread>> = of(table::group(if who == 0 { own() } else { who }));
            // The first of each.
            threads.retain(|thread| thread.tid() == thread.process().pid());
            threads
        }
        PRIO_USER => {
            let user = if who == 0 { task.process().identity().uid } else { who };
            let processes = table::pids().into_iter().filter_map(table::process);
            of(processes.filter(|process| process.identity().uid == user).collect())
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// `setpriority(which, who, nice)`: all that may be changed are; the error is the last one's.
pub(crate) fn setpriority(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let nice = args.int(2).clamp(-20, 19);
    let own = task.process().identity().euid;
    let mut outcome = Ok(0);
    for thread in subjects(task, args)? {
        let (theirs, now) = (thread.process().identity(), thread.class().parts());
        let is_privileged = task.privileged().is_ok();
        if !is_privileged && theirs.uid != own && theirs.euid != own {
            outcome = Err(Errno::EPERM);
        } else if !is_privileged && nice < now.nice && !may_nice(&thread, nice) {
            outcome = Err(Errno::EACCES);
        } else {
            thread.set_nice(nice);
        }
    }
    outcome
}

/// `getpriority(which, who)`: 20 less the smallest nice value.
pub(crate) fn getpriority(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let least = subjects(task, args)?.iter().map(|thread| thread.class().parts().nice).min();
    Ok((20 - least.unwrap_or(0)) as usize)
}

/// `sched_rr_get_interval(tid, time)`: 0 for what runs without end, or by a reservation.
pub(crate) async fn interval(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let without = matches!(find(task, args.int(0))?.class().parts().policy, SCHED_FIFO | SCHED_DEADLINE);
    let slice = if without { 0 } else { SLICE };
    task.space().put(args.word(1), &Timespec::from_nanos(slice)).await.map(|()| 0)
}

/// Bytes of a set of harts: as many words as hold them.
const MASK: usize = size_of::<u64>();

/// Whose harts are meant; unlike above a negative number is nobody's.
fn find_for_harts(task: &Task<'_>, id: i32) -> Result<Arc<Thread>, Errno> {
    if id < 0 { Err(Errno::ESRCH) } else { find(task, id) }
}

/// `sched_getaffinity(tid, len, mask)`: answers how many bytes there are.
pub(crate) async fn getaffinity(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let len = args.bits(1) as usize;
    if len < MASK || !len.is_multiple_of(MASK) {
        return Err(Errno::EINVAL);
    }
    let harts = find_for_harts(task, args.int(0))?.harts().mask();
    task.space().put(args.word(2), &harts).await.map(|()| MASK)
}

/// `sched_setaffinity(tid, len, mask)`: what the mask has beyond the harts that are there does not count, and what it is short of is 0.
pub(crate) async fn setaffinity(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let len = (args.bits(1) as usize).min(MASK);
    let mut mask = [0; MASK];
    task.space().copy_in(args.word(2), &mut mask[..len]).await?;
    let target = find_for_harts(task, args.int(0))?;
    let (own, theirs) = (task.process().identity().euid, target.process().identity());
    if own != theirs.euid && own != theirs.uid {
        task.privileged()?;
    }
    let harts = Harts::of(u64::from_le_bytes(mask))?;
    target.set_harts(harts).map(|()| 0)
}
