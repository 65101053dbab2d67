//! CPU time reserved for a thread: `SCHED_DEADLINE` as Linux programs set it, and that it acts.

use crate::case::{Case, Outcome};
use crate::machine::{harts, needs_asyncos, needs_kernel, needs_root};
use crate::process::{Shared, checked_child, child, dies, exits, kill, sleep_ms};
use alloc::vec::Vec;
use core::time::Duration;
use rt::abi::process::{SCHED_BATCH, SCHED_DEADLINE, SCHED_NORMAL, SchedAttr};
use rt::abi::signal::{SIGCHLD, SIGKILL};
use rt::abi::time::{CLOCK_THREAD_CPUTIME_ID, Timespec};
use rt::thread;
use rt::time::Instant;

pub const CASES: &[Case] = &[
    case!("reservations/read-back", "E1 S3", read_back),
    case!("reservations/wrong", "E1 S3 D12", wrong),
    case!("reservations/too-much", "E1 S3 S6", too_much),
    case!("reservations/children", "E1 S3", children),
    case!("reservations/yield-rests", "E1 S3", yield_rests),
    case!("reservations/no-more-than-that", "S3 S6", no_more_than_that),
    case!("reservations/killed-at-rest", "S3 P8", killed_at_rest),
];

const MS: u64 = 1_000_000;
const RESET: u64 = 1;

fn attr(runtime: u64, deadline: u64, period: u64) -> SchedAttr {
    let size = size_of::<SchedAttr>() as u32;
    SchedAttr { size, policy: SCHED_DEADLINE, runtime, deadline, period, ..SchedAttr::default() }
}

fn set(attr: &SchedAttr) -> Result<usize, rt::abi::Errno> {
    call!(SCHED_SETATTR, 0, core::ptr::from_ref(attr), 0)
}

fn set_policy(policy: u32, priority: i32) -> Result<usize, rt::abi::Errno> {
    call!(SCHED_SETSCHEDULER, 0, policy, &raw const priority)
}

fn read() -> Result<SchedAttr, rt::abi::Errno> {
    let mut found = SchedAttr::default();
    call!(SCHED_GETATTR, 0, &raw mut found, size_of::<SchedAttr>(), 0)?;
    Ok(found)
}

/// CPU time of this thread, in nanoseconds.
fn used() -> Result<u64, rt::abi::Errno> {
    let mut time = Timespec::default();
    call!(CLOCK_GETTIME, CLOCK_THREAD_CPUTIME_ID, &raw mut time)?;
    Ok(time.to_nanos().unwrap_or(0))
}

fn needs_rights() -> Outcome {
    needs_root()?;
    needs_kernel("reservations")
}

fn read_back() -> Outcome {
    needs_rights()?;
    call!(SETPRIORITY, 0, 0, 7)?;
    set(&attr(MS, 20 * MS, 40 * MS))?;
    let found = read()?;
    equal!((found.policy, found.flags, found.nice, found.priority), (SCHED_DEADLINE, 0, 0, 0));
    equal!((found.runtime, found.deadline, found.period), (MS, 20 * MS, 40 * MS));
    equal!(call!(SCHED_GETSCHEDULER, 0)?, SCHED_DEADLINE as usize);
    let mut slice = Timespec::from_nanos(1);
    call!(SCHED_RR_GET_INTERVAL, 0, &raw mut slice)?;
    equal!(slice.to_nanos(), Some(0));
    // A period that is not said is the deadline; what is kept stays.
    set(&attr(2 * MS, 30 * MS, 0))?;
    set(&SchedAttr { flags: 16 | RESET, ..attr(0, 0, 0) })?;
    let found = read()?;
    equal!((found.runtime, found.deadline, found.period, found.flags), (2 * MS, 30 * MS, 30 * MS, RESET));
    set_policy(SCHED_BATCH, 0)?;
    let found = read()?;
    equal!((found.policy, found.nice), (SCHED_BATCH, 7));
    equal!((found.runtime, found.deadline, found.period), (0, 0, 0));
    Ok(())
}

fn wrong() -> Outcome {
    needs_rights()?;
    let wrong = [
        (0, 0, 0),
        (1_023, MS, MS),
        (2 * MS, MS, 3 * MS),
        (MS, 3 * MS, 2 * MS),
        (2_000, 50_000, 50_000),
        (MS, 5_000 * MS, 5_000 * MS),
        (MS, 1 << 63, 1 << 63),
        (MS, MS, 1 << 63),
        (u64::MAX, u64::MAX, u64::MAX),
    ];
    for (runtime, deadline, period) in wrong {
        fails!(set(&attr(runtime, deadline, period)), EINVAL);
    }
    fails!(set(&SchedAttr { priority: 1, ..attr(MS, 10 * MS, 0) }), EINVAL);
    // The older calls know of no times.
    fails!(set_policy(SCHED_DEADLINE, 0), EINVAL);
    set(&attr(MS, 40 * MS, 0))?;
    let priority = 0i32;
    fails!(call!(SCHED_SETPARAM, 0, &raw const priority), EINVAL);
    equal!(read()?.runtime, MS);
    set_policy(SCHED_NORMAL, 0)?;
    let nobody = checked_child(|| {
        call!(SETUID, 1000)?;
        fails!(set(&attr(MS, 40 * MS, 0)), EPERM);
        Ok(())
    })?;
    exits(nobody, 0)
}

/// All reservations together leave the harts something; what ends gives back.
fn too_much() -> Outcome {
    needs_rights()?;
    let most = attr(90 * MS, 100 * MS, 0);
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for index in 0..harts() {
        pids.push(child(|| {
            shared.set(index, if set(&most).is_ok() { 1 } else { 2 });
            loop {
                sleep_ms(1000);
            }
        })?);
    }
    for index in 0..harts() {
        shared.await_least(index, 1);
        equal!(shared.get(index), 1);
    }
    fails!(set(&most), EBUSY);
    equal!(read()?.policy, SCHED_NORMAL);
    set(&attr(4 * MS, 100 * MS, 0))?;
    fails!(set(&attr(50 * MS, 100 * MS, 0)), EBUSY);
    equal!(read()?.runtime, 4 * MS);
    let last = pids.pop().unwrap_or(0);
    end(last)?;
    set(&most)?;
    pids.into_iter().try_for_each(end)
}

fn end(pid: i32) -> Outcome {
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

/// A reservation is for one thread: others are not made by it, or they have the default.
fn children() -> Outcome {
    needs_rights()?;
    set(&attr(10 * MS, 100 * MS, 0))?;
    fails!(call!(CLONE, SIGCHLD, 0, 0, 0, 0), EAGAIN);
    fails!(thread::spawn(|| ()), EAGAIN);
    set(&SchedAttr { flags: RESET, ..attr(10 * MS, 100 * MS, 0) })?;
    let is_usual = || {
        equal!(call!(SCHED_GETSCHEDULER, 0)?, SCHED_NORMAL as usize);
        Ok(())
    };
    exits(checked_child(is_usual)?, 0)?;
    equal!(thread::spawn(move || is_usual().is_ok())?.join(), Some(true));
    Ok(())
}

/// Who gives way has no more until the next period.
fn yield_rests() -> Outcome {
    needs_rights()?;
    needs_asyncos()?;
    // The first period may begin within the call.
    let start = Instant::now();
    set(&attr(2 * MS, 40 * MS, 0))?;
    for _ in 0..5 {
        call!(SCHED_YIELD)?;
    }
    // The first may come at once, if it had begun no period before.
    ensure!(start.elapsed() >= Duration::from_millis(4 * 40), "{:?}", start.elapsed());
    Ok(())
}

/// One that never waits is stopped. What it has run too long by then, however late that is, is taken from what follows: it rests for
/// as long as that would have taken.
fn no_more_than_that() -> Outcome {
    const RUNTIME: u64 = 5 * MS;
    const PERIOD: u64 = 50 * MS;
    needs_rights()?;
    let before = used()?;
    let start = Instant::now();
    set(&attr(RUNTIME, PERIOD, 0))?;
    while start.elapsed() < Duration::from_millis(500) {
        core::hint::spin_loop();
    }
    let had = used()? - before;
    // What it owes moves its deadline with the first, and the second waits for that.
    call!(SCHED_YIELD)?;
    call!(SCHED_YIELD)?;
    let elapsed = start.elapsed().as_nanos() as u64;
    ensure!(had <= (elapsed / PERIOD + 2) * RUNTIME, "{had} of {elapsed}");
    Ok(())
}

/// The end does not wait for the next period.
fn killed_at_rest() -> Outcome {
    needs_rights()?;
    let shared = Shared::new()?;
    let pid = child(|| {
        let _ = set(&attr(MS, 4_000 * MS, 0));
        loop {
            shared.count(0);
        }
    })?;
    shared.await_least(0, 1);
    sleep_ms(20);
    end(pid)
}
