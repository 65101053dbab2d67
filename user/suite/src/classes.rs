//! Scheduling as Linux programs set it: policies, priorities, nice values, the rights to change them, and that they act.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::harts;
use crate::process::{Shared, checked_child, child, dies, exits, kill, sleep_ms};
use alloc::vec::Vec;
use rt::abi::process::{
    PRIO_PGRP, PRIO_PROCESS, PRIO_USER, RLIMIT_NICE, RLIMIT_RTPRIO, Rlimit, SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO,
    SCHED_IDLE, SCHED_NORMAL, SCHED_RESET_ON_FORK, SCHED_RR, SchedAttr,
};
use rt::abi::signal::SIGKILL;
use rt::abi::time::Timespec;
use rt::thread;

pub const CASES: &[Case] = &[
    case!("classes/read-back", "E1 S1 S3", read_back),
    case!("classes/attributes", "E1 S3", attributes),
    case!("classes/wrong", "E1 D12", wrong),
    case!("classes/children", "E1 S3", children),
    case!("classes/rights", "E1 S6", rights),
    case!("classes/nice", "E1 S6", nice_values),
    case!("classes/nice-acts", "S1 S6", nice_acts),
    case!("classes/many-threads-get-no-more", "S1 S6", many_threads_get_no_more),
    case!("classes/nobody-starves", "S1 S6", nobody_starves),
];

fn policy_of(tid: i32) -> Result<u32, rt::abi::Errno> {
    call!(SCHED_GETSCHEDULER, tid).map(|policy| policy as u32)
}

fn priority_of(tid: i32) -> Result<i32, rt::abi::Errno> {
    let mut priority = -1i32;
    call!(SCHED_GETPARAM, tid, &raw mut priority)?;
    Ok(priority)
}

fn set(tid: i32, policy: u32, priority: i32) -> Result<usize, rt::abi::Errno> {
    call!(SCHED_SETSCHEDULER, tid, policy, &raw const priority)
}

fn read_back() -> Outcome {
    equal!((policy_of(0)?, priority_of(0)?), (SCHED_NORMAL, 0));
    for (policy, priority) in [(SCHED_RR, 7), (SCHED_FIFO, 99), (SCHED_FIFO, 1), (SCHED_IDLE, 0), (SCHED_BATCH, 0)] {
        set(0, policy, priority)?;
        equal!((policy_of(0)?, priority_of(0)?), (policy, priority));
    }
    set(0, SCHED_RR, 10)?;
    let priority = 20i32;
    call!(SCHED_SETPARAM, 0, &raw const priority)?;
    equal!((policy_of(0)?, priority_of(0)?), (SCHED_RR, 20));
    let mut slice = Timespec::default();
    call!(SCHED_RR_GET_INTERVAL, 0, &raw mut slice)?;
    ensure!(slice.to_nanos().is_some_and(|nanos| nanos > 0));
    set(0, SCHED_FIFO | SCHED_RESET_ON_FORK, 20)?;
    equal!(policy_of(0)?, SCHED_FIFO | SCHED_RESET_ON_FORK);
    call!(SCHED_RR_GET_INTERVAL, 0, &raw mut slice)?;
    equal!(slice.to_nanos(), Some(0));
    set(0, SCHED_NORMAL, 0)?;
    for (policy, range) in
        [(SCHED_FIFO, (1, 99)), (SCHED_RR, (1, 99)), (SCHED_NORMAL, (0, 0)), (SCHED_DEADLINE, (0, 0))]
    {
        equal!((call!(SCHED_GET_PRIORITY_MIN, policy)?, call!(SCHED_GET_PRIORITY_MAX, policy)?), range);
    }
    Ok(())
}

fn attr(policy: u32) -> SchedAttr {
    SchedAttr { size: size_of::<SchedAttr>() as u32, policy, ..SchedAttr::default() }
}

fn read_attr() -> Result<SchedAttr, rt::abi::Errno> {
    let mut found = SchedAttr::default();
    call!(SCHED_GETATTR, 0, &raw mut found, size_of::<SchedAttr>(), 0)?;
    Ok(found)
}

fn attributes() -> Outcome {
    const RESET: u64 = 1;
    const KEEP_POLICY: u64 = 8;
    const KEEP_PARAMS: u64 = 16;
    let wanted = SchedAttr { nice: 5, flags: RESET, ..attr(SCHED_BATCH) };
    call!(SCHED_SETATTR, 0, &raw const wanted, 0)?;
    let found = read_attr()?;
    equal!((found.policy, found.nice, found.flags, found.priority), (SCHED_BATCH, 5, RESET, 0));
    equal!(call!(GETPRIORITY, PRIO_PROCESS, 0)?, 15);
    let wanted = SchedAttr { nice: -30, flags: KEEP_POLICY, ..attr(SCHED_RR) };
    call!(SCHED_SETATTR, 0, &raw const wanted, 0)?;
    let found = read_attr()?;
    equal!((found.policy, found.nice, found.flags), (SCHED_BATCH, -20, RESET));
    let wanted = SchedAttr { priority: 30, ..attr(SCHED_RR) };
    call!(SCHED_SETATTR, 0, &raw const wanted, 0)?;
    equal!((read_attr()?.policy, read_attr()?.priority, priority_of(0)?), (SCHED_RR, 30, 30));
    let wanted = SchedAttr { flags: KEEP_PARAMS, ..attr(SCHED_FIFO) };
    call!(SCHED_SETATTR, 0, &raw const wanted, 0)?;
    equal!((policy_of(0)?, priority_of(0)?), (SCHED_FIFO, 30));
    // The nice value was kept.
    set(0, SCHED_NORMAL, 0)?;
    equal!(call!(GETPRIORITY, PRIO_PROCESS, 0)?, 40);
    // Larger ones are taken if what is more is zero; smaller ones are not.
    let mut large = [0u64; 10];
    large[0] = 80 | u64::from(SCHED_IDLE) << 32;
    call!(SCHED_SETATTR, 0, large.as_ptr(), 0)?;
    equal!(policy_of(0)?, SCHED_IDLE);
    large[9] = 1;
    fails!(call!(SCHED_SETATTR, 0, large.as_ptr(), 0), E2BIG);
    equal!(large[0] as u32, 48);
    large[0] = 47 | u64::from(SCHED_IDLE) << 32;
    fails!(call!(SCHED_SETATTR, 0, large.as_ptr(), 0), E2BIG);
    fails!(call!(SCHED_GETATTR, 0, large.as_ptr(), 47, 0), EINVAL);
    fails!(call!(SCHED_GETATTR, 0, large.as_ptr(), 48, 1), EINVAL);
    Ok(())
}

fn wrong() -> Outcome {
    const NOBODY: i32 = 0x3fff_fff0;
    for (policy, priority) in [(SCHED_FIFO, 0), (SCHED_FIFO, 100), (SCHED_RR, -1), (SCHED_NORMAL, 1), (4, 0), (7, 0)] {
        fails!(set(0, policy, priority), EINVAL);
    }
    fails!(set(-1, SCHED_NORMAL, 0), EINVAL);
    fails!(set(NOBODY, SCHED_NORMAL, 0), ESRCH);
    fails!(call!(SCHED_SETSCHEDULER, 0, SCHED_NORMAL, 0), EINVAL);
    fails!(call!(SCHED_SETSCHEDULER, 0, SCHED_NORMAL, 8), EFAULT);
    fails!(call!(SCHED_SETSCHEDULER, 0, -1i32, 8), EINVAL);
    fails!(policy_of(-1), EINVAL);
    fails!(policy_of(NOBODY), ESRCH);
    fails!(call!(SCHED_GETPARAM, 0, 0), EINVAL);
    fails!(call!(SCHED_GETPARAM, NOBODY, 8), ESRCH);
    fails!(call!(SCHED_GET_PRIORITY_MAX, 4), EINVAL);
    fails!(call!(SETPRIORITY, 3, 0, 0), EINVAL);
    fails!(call!(GETPRIORITY, PRIO_PROCESS, NOBODY), ESRCH);
    fails!(call!(SETPRIORITY, PRIO_PGRP, NOBODY, 0), ESRCH);
    fails!(call!(SETPRIORITY, PRIO_USER, NOBODY, 0), ESRCH);
    Ok(())
}

/// What a child and a thread begin with, unless it is to be the default.
fn children() -> Outcome {
    set(0, SCHED_RR, 12)?;
    call!(SETPRIORITY, PRIO_PROCESS, 0, 3)?;
    let same = || {
        equal!((policy_of(0)?, priority_of(0)?, call!(GETPRIORITY, PRIO_PROCESS, 0)?), (SCHED_RR, 12, 17));
        Ok(())
    };
    exits(checked_child(same)?, 0)?;
    equal!(thread::spawn(move || same().is_ok())?.join(), Some(true));
    set(0, SCHED_RR | SCHED_RESET_ON_FORK, 12)?;
    let reset = || {
        equal!((policy_of(0)?, priority_of(0)?, call!(GETPRIORITY, PRIO_PROCESS, 0)?), (SCHED_NORMAL, 0, 20));
        Ok(())
    };
    exits(checked_child(reset)?, 0)
}

/// Without privilege: less is always allowed, more by the limits only, and nothing of others.
fn rights() -> Outcome {
    let other = child(|| {
        loop {
            sleep_ms(1000);
        }
    })?;
    let pid = checked_child(|| {
        let limit = |resource: u32, value: u64| {
            let limit = Rlimit { current: value, max: 40 };
            call!(PRLIMIT64, 0, resource, &raw const limit, 0)
        };
        limit(RLIMIT_NICE, 0)?;
        limit(RLIMIT_RTPRIO, 0)?;
        call!(SETUID, 1000)?;
        fails!(set(0, SCHED_FIFO, 1), EPERM);
        fails!(call!(SETPRIORITY, PRIO_PROCESS, 0, -1i32), EACCES);
        fails!(set(other, SCHED_BATCH, 0), EPERM);
        fails!(call!(SETPRIORITY, PRIO_PROCESS, other, 5), EPERM);
        equal!(call!(GETPRIORITY, PRIO_PROCESS, other)?, 20);
        call!(SETPRIORITY, PRIO_PROCESS, 0, 5)?;
        fails!(call!(SETPRIORITY, PRIO_PROCESS, 0, 4), EACCES);
        limit(RLIMIT_NICE, 17)?;
        call!(SETPRIORITY, PRIO_PROCESS, 0, 3)?;
        fails!(call!(SETPRIORITY, PRIO_PROCESS, 0, 2), EACCES);
        limit(RLIMIT_RTPRIO, 10)?;
        set(0, SCHED_FIFO, 10)?;
        fails!(set(0, SCHED_FIFO, 11), EPERM);
        limit(RLIMIT_RTPRIO, 0)?;
        // Less of what it has.
        set(0, SCHED_FIFO, 5)?;
        fails!(set(0, SCHED_RR, 5), EPERM);
        set(0, SCHED_NORMAL | SCHED_RESET_ON_FORK, 0)?;
        fails!(set(0, SCHED_NORMAL, 0), EPERM);
        set(0, SCHED_IDLE | SCHED_RESET_ON_FORK, 0)?;
        limit(RLIMIT_NICE, 0)?;
        fails!(set(0, SCHED_NORMAL | SCHED_RESET_ON_FORK, 0), EPERM);
        Ok(())
    })?;
    let outcome = exits(pid, 0);
    kill(other, SIGKILL)?;
    dies(other, SIGKILL)?;
    outcome
}

fn nice_values() -> Outcome {
    call!(SETPRIORITY, PRIO_PROCESS, 0, 100)?;
    equal!(call!(GETPRIORITY, PRIO_PROCESS, 0)?, 1);
    call!(SETPRIORITY, PRIO_PROCESS, 0, -100i32)?;
    equal!(call!(GETPRIORITY, PRIO_PROCESS, 0)?, 40);
    call!(SETPGID, 0, 0)?;
    let pid = child(|| {
        loop {
            sleep_ms(1000);
        }
    })?;
    call!(SETPRIORITY, PRIO_PGRP, 0, 4)?;
    equal!((call!(GETPRIORITY, PRIO_PROCESS, pid)?, call!(GETPRIORITY, PRIO_PGRP, 0)?), (16, 16));
    call!(SETPRIORITY, PRIO_PROCESS, pid, -4i32)?;
    equal!((call!(GETPRIORITY, PRIO_PGRP, 0)?, call!(GETPRIORITY, PRIO_PROCESS, 0)?), (24, 16));
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

/// What a child does, with a word of its own among those that all count in.
type Body<'a> = &'a dyn Fn(&Shared, usize);

/// Lets children count until one of them has come to `end`; how far each has come. What the children do beside counting is
/// their own affair.
fn race(end: u32, bodies: &[Body<'_>]) -> Result<Vec<u32>, Trouble> {
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        pids.push(child(|| {
            body(&shared, index);
            0
        })?);
    }
    while (0..bodies.len()).all(|index| shared.get(index) < end) {
        sleep_ms(5);
    }
    let found = (0..bodies.len()).map(|index| shared.get(index)).collect();
    for pid in &pids {
        kill(*pid, SIGKILL)?;
    }
    pids.into_iter().try_for_each(|pid| dies(pid, SIGKILL))?;
    Ok(found)
}

/// A thousand turns of a loop. Without `pause`, which leaves the emulator's translated code each time and is slower by a factor
/// that depends on the emulator and on how busy its host is: what the cases count must take about as long everywhere.
fn work() {
    (0..1_000).for_each(|turn| {
        core::hint::black_box(turn);
    });
}

/// Counts for ever, the same work each time.
fn count(shared: &Shared, index: usize) {
    loop {
        work();
        shared.count(index);
    }
}

/// So far that it takes many slices.
const FAR: u32 = 100_000;

/// Only one hart has to be shared for certain.
fn nice_acts() -> Outcome {
    let nice = |shared: &Shared, index: usize| {
        let _ = call!(SETPRIORITY, PRIO_PROCESS, 0, 10);
        count(shared, index);
    };
    let found = race(FAR, &[&count, &nice])?;
    ensure!(harts() > 1 || found[1] < found[0] / 3, "{found:?}");
    Ok(())
}

fn many_threads_get_no_more() -> Outcome {
    const STARTED: usize = 2;
    let many = |shared: &Shared, index: usize| {
        let shared = *shared;
        for _ in 0..15 {
            let _ = thread::spawn(move || {
                shared.count(STARTED);
                loop {
                    work();
                }
            });
        }
        // It counts among the others, not before them.
        shared.await_least(STARTED, 15);
        count(&shared, index);
    };
    let found = race(FAR, &[&count, &many])?;
    // It has half of the hart, and each of its threads a part of that.
    ensure!(harts() > 1 || found[1] < found[0] / 5, "{found:?}");
    let alone = race(FAR, &[&count, &count])?;
    ensure!(harts() > 1 || alone.iter().all(|turns| *turns > FAR / 2), "{alone:?}");
    Ok(())
}

/// Beside real-time threads that never stop, one that is idle by policy gets on.
fn nobody_starves() -> Outcome {
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for index in 0..harts() + 2 {
        pids.push(child(|| {
            if index == 0 {
                let _ = set(0, SCHED_IDLE, 0);
            } else {
                let _ = set(0, SCHED_FIFO, 50);
            }
            count(&shared, index);
            0
        })?);
    }
    shared.await_least(0, 100);
    for pid in &pids {
        kill(*pid, SIGKILL)?;
    }
    pids.into_iter().try_for_each(|pid| dies(pid, SIGKILL))
}
