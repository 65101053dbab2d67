//! Timers that are descriptors (`timerfd`).

use crate::{
    arguments::{Args, nanos, only},
    context::Task,
};
use abi::{
    errno::Errno,
    fs::O_RDWR,
    time::{self as t, Itimerspec, Timespec},
};
use io::{
    open::OpenFile,
    timer::{Clock, Setting, Timer},
};

fn timer_of(open: &OpenFile) -> Result<&Timer, Errno> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

fn itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec { interval: Timespec::from_nanos(setting.interval), value: Timespec::from_nanos(setting.value) }
}

/// `timerfd_create(clock, flags)`.
pub(crate) fn timerfd_create(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(1);
    only(flags, t::TFD_CLOEXEC | t::TFD_NONBLOCK)?;
    let clock = match args.bits(0) {
        t::CLOCK_REALTIME => Clock::Wall,
        t::CLOCK_MONOTONIC | t::CLOCK_BOOTTIME => Clock::Boot,
        // Nothing sleeps from which they could wake it; who may ask is Linux's rule all the same.
        t::CLOCK_REALTIME_ALARM => task.privileged().map(|()| Clock::Wall)?,
        t::CLOCK_BOOTTIME_ALARM => task.privileged().map(|()| Clock::Boot)?,
        _ => return Err(Errno::EINVAL),
    };
    let open = OpenFile::new(Timer::new(clock), O_RDWR | flags & t::TFD_NONBLOCK, b"anon_inode:[timerfd]");
    task.install(open, flags & t::TFD_CLOEXEC != 0)
}

/// `timerfd_settime(fd, flags, new, old)`. The clocks cannot be set, so `TFD_TIMER_CANCEL_ON_SET` never comes to anything.
pub(crate) async fn timerfd_settime(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let new: Itimerspec = task.space().get(args.word(2)).await?;
    only(args.bits(1), t::TFD_TIMER_ABSTIME | t::TFD_TIMER_CANCEL_ON_SET)?;
    let new = Setting { value: nanos(new.value)?, interval: nanos(new.interval)? };
    let open = task.file(args.int(0))?;
    let old = timer_of(&open)?.set(new, args.bits(1) & t::TFD_TIMER_ABSTIME != 0);
    if args.word(3) != 0 {
        task.space().put(args.word(3), &itimerspec(old)).await?;
    }
    Ok(0)
}

/// `timerfd_gettime(fd, value)`.
pub(crate) async fn timerfd_gettime(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let setting = timer_of(&open)?.get();
    task.space().put(args.word(1), &itimerspec(setting)).await.map(|()| 0)
}
