//! Clocks and sleeping. Interval timers are in `alarms.rs`.

use crate::{
    arguments::{Args, micros, nanos, only, timeval},
    context::Task,
};
use abi::{
    errno::Errno,
    time::{self as t, Itimerval, Timespec, Tms},
};

/// Clock ticks a second that `times` counts in.
const TICKS: u64 = 100;

/// What a clock shows, in nanoseconds.
pub(crate) fn read(task: &Task<'_>, clock: u32) -> Result<u64, Errno> {
    match clock {
        t::CLOCK_REALTIME | t::CLOCK_REALTIME_COARSE | t::CLOCK_REALTIME_ALARM | t::CLOCK_TAI => Ok(hal::time::wall()),
        t::CLOCK_MONOTONIC
        | t::CLOCK_MONOTONIC_RAW
        | t::CLOCK_MONOTONIC_COARSE
        | t::CLOCK_BOOTTIME
        | t::CLOCK_BOOTTIME_ALARM => Ok(hal::time::now()),
        t::CLOCK_PROCESS_CPUTIME_ID => Ok(task.process_time()),
        t::CLOCK_THREAD_CPUTIME_ID => Ok(task.thread_time()),
        _ => Err(Errno::EINVAL),
    }
}

/// `clock_getres(clock, resolution)`.
pub(crate) async fn clock_getres(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    read(task, args.bits(0))?;
    if args.word(1) != 0 {
        task.space().put(args.word(1), &Timespec { sec: 0, nsec: 1 }).await?;
    }
    Ok(0)
}

/// `clock_gettime(clock, time)`.
pub(crate) async fn clock_gettime(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let now = Timespec::from_nanos(read(task, args.bits(0))?);
    task.space().put(args.word(1), &now).await.map(|()| 0)
}

/// `clock_gettime` where the page is there.
pub(crate) fn clock_gettime_now(task: &Task<'_>, args: &Args) -> Option<Result<usize, Errno>> {
    match read(task, args.bits(0)) {
        Ok(nanos) => task.space().put_now(args.word(1), &Timespec::from_nanos(nanos)).ok().map(|()| Ok(0)),
        Err(errno) => Some(Err(errno)),
    }
}

/// `gettimeofday(time, zone)`.
pub(crate) async fn gettimeofday(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(0) != 0 {
        task.space().put(args.word(0), &timeval(hal::time::wall())).await?;
    }
    if args.word(1) != 0 {
        // Minutes west of Greenwich and a kind of daylight saving: none.
        task.space().put(args.word(1), &[0i32; 2]).await?;
    }
    Ok(0)
}

/// `nanosleep(time, rest)`.
pub(crate) async fn nanosleep(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    sleep_for(task, args.word(0), args.word(1)).await
}

/// `clock_nanosleep(clock, flags, time, rest)`.
pub(crate) async fn clock_nanosleep(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let clock = args.bits(0);
    only(args.bits(1), t::TIMER_ABSTIME)?;
    if matches!(clock, t::CLOCK_THREAD_CPUTIME_ID) {
        return Err(Errno::EINVAL);
    }
    let shown = read(task, clock)?;
    if args.bits(1) & t::TIMER_ABSTIME == 0 {
        return sleep_for(task, args.word(2), args.word(3)).await;
    }
    let time: Timespec = task.space().get(args.word(2)).await?;
    let deadline = hal::time::now().saturating_add(nanos(time)?.saturating_sub(shown));
    task.sleep_until(deadline).await.map(|()| 0)
}

/// Sleeps for the time at `addr`; a signal stores what was left at `rest`.
async fn sleep_for(task: &Task<'_>, addr: usize, rest: usize) -> Result<usize, Errno> {
    let deadline = match task.take_resume() {
        Some(deadline) => deadline,
        None => hal::time::now().saturating_add(nanos(task.space().get(addr).await?)?),
    };
    let slept = task.sleep_until(deadline).await;
    if slept == Err(Errno::EINTR) {
        if rest != 0 {
            let left = Timespec::from_nanos(deadline.saturating_sub(hal::time::now()));
            task.space().put(rest, &left).await?;
        }
        task.resume_at(deadline);
    }
    slept.map(|()| 0)
}

/// `times(buffer)`.
pub(crate) async fn times(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let ticks = |nanos: u64| (nanos / (1_000_000_000 / TICKS)) as i64;
    if args.word(0) != 0 {
        let (own, children) = (task.process().times(), task.process().children_times());
        let tms = Tms {
            utime: ticks(own.user),
            stime: ticks(own.system),
            cutime: ticks(children.user),
            cstime: ticks(children.system),
        };
        task.space().put(args.word(0), &tms).await?;
    }
    Ok(ticks(hal::time::now()) as usize)
}

/// `setitimer(which, new, old)`.
pub(crate) async fn setitimer(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    real_timer(args)?;
    let new = match args.word(1) {
        0 => Itimerval { interval: timeval(0), value: timeval(0) },
        addr => task.space().get(addr).await?,
    };
    let (value, interval) = (micros(new.value)?, micros(new.interval)?);
    let old = task.system.alarms.set(task.process(), value, interval);
    if args.word(2) != 0 {
        task.space().put(args.word(2), &itimerval(old)).await?;
    }
    Ok(0)
}

/// `getitimer(which, value)`.
pub(crate) async fn getitimer(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    real_timer(args)?;
    let timer = itimerval(task.system.alarms.get(task.process()));
    task.space().put(args.word(1), &timer).await.map(|()| 0)
}

fn real_timer(args: &Args) -> Result<(), Errno> {
    if args.bits(0) == t::ITIMER_REAL { Ok(()) } else { Err(Errno::EINVAL) }
}

/// A timer's remaining time and interval, as programs see them.
fn itimerval((value, interval): (u64, u64)) -> Itimerval {
    Itimerval { interval: timeval(interval), value: timeval(value) }
}
