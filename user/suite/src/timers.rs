//! Timers that are descriptors (`timerfd`).

use crate::case::{Case, Outcome, Trouble, provided};
use crate::events::{Epoll, adopt, entry, poll};
use crate::process::{await_blocked, checked_child, exits, sleep_ms};
use rt::abi::errno::Result as Call;
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLET, EPOLLIN, POLLIN};
use rt::abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME, Itimerspec, TFD_CLOEXEC, TFD_NONBLOCK,
    TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, Timespec,
};
use rt::fs::File;
use rt::io::{self, Read, Write};
use rt::pipe;
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("timerfd/once", "I1 D16", once),
    case!("timerfd/repeats", "I1 D16", repeats),
    case!("timerfd/past-time", "I1 D16", past_time),
    case!("timerfd/setting-wakes", "I1 D2", setting_wakes),
    case!("timerfd/watched", "I1 D2", watched),
    case!("timerfd/shortest-interval", "S6 E1", shortest_interval),
    case!("timerfd/errors", "E1", errors),
];

const MS: u64 = 1_000_000;

struct Timer(File);

impl Timer {
    fn new(clock: u32, flags: u32) -> Result<Self, Trouble> {
        provided(call!(TIMERFD_CREATE, clock, flags), "timerfd_create").map(|fd| Self(adopt(fd)))
    }

    /// Sets it, in nanoseconds; answers what was left, and the interval.
    fn set(&self, flags: u32, value: u64, interval: u64) -> Call<(u64, u64)> {
        let new = Itimerspec { interval: Timespec::from_nanos(interval), value: Timespec::from_nanos(value) };
        let mut old = new;
        call!(TIMERFD_SETTIME, self.0.fd().raw(), flags, &raw const new, &raw mut old)?;
        Ok(nanos(old))
    }

    fn get(&self) -> Call<(u64, u64)> {
        let mut left = Itimerspec { interval: Timespec::default(), value: Timespec::default() };
        call!(TIMERFD_GETTIME, self.0.fd().raw(), &raw mut left)?;
        Ok(nanos(left))
    }

    fn take(&mut self) -> io::Result<u64> {
        let mut word = [0; 8];
        self.0.read_exact(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }
}

fn nanos(timer: Itimerspec) -> (u64, u64) {
    let nanos = |time: Timespec| time.to_nanos().unwrap_or(u64::MAX);
    (nanos(timer.value), nanos(timer.interval))
}

fn once() -> Outcome {
    for clock in [CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME] {
        let mut timer = Timer::new(clock, TFD_CLOEXEC)?;
        equal!(timer.get()?, (0, 0));
        let start = Instant::now();
        equal!(timer.set(0, 20 * MS, 0)?, (0, 0));
        let (left, interval) = timer.get()?;
        ensure!(left <= 20 * MS && interval == 0);
        equal!(timer.take()?, 1);
        ensure!(start.elapsed() >= Duration::from_millis(20));
        equal!(timer.get()?, (0, 0));
        equal!(poll(&mut [entry(&timer.0, POLLIN)], Some(0)), Ok(0));
        // What has expired and was not read is forgotten with a new setting.
        timer.set(0, 1, 0)?;
        equal!(poll(&mut [entry(&timer.0, POLLIN)], None), Ok(1));
        equal!(timer.set(0, 0, 0)?, (0, 0));
        equal!(poll(&mut [entry(&timer.0, POLLIN)], Some(0)), Ok(0));
    }
    Ok(())
}

fn repeats() -> Outcome {
    let mut timer = Timer::new(CLOCK_MONOTONIC, TFD_NONBLOCK)?;
    fails!(timer.take(), EAGAIN);
    timer.set(0, MS, 5 * MS)?;
    sleep_ms(22);
    let (left, interval) = timer.get()?;
    ensure!(left > 0 && left <= 5 * MS);
    equal!(interval, 5 * MS);
    ensure!(timer.take()? >= 5);
    let (left, interval) = timer.set(0, 0, 0)?;
    ensure!(left > 0 && left <= 5 * MS && interval == 5 * MS);
    fails!(timer.take(), EAGAIN);
    Ok(())
}

fn past_time() -> Outcome {
    let mut timer = Timer::new(CLOCK_REALTIME, TFD_NONBLOCK)?;
    // One second after the epoch, and each year from then on.
    timer.set(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, 1_000_000_000, 31_536_000_000_000_000)?;
    ensure!(timer.take()? >= 1);
    fails!(timer.take(), EAGAIN);
    timer.set(TFD_TIMER_ABSTIME, 1, 0)?;
    equal!(timer.take()?, 1);
    // Zero is no time, also where it would be absolute.
    timer.set(TFD_TIMER_ABSTIME, 0, 1)?;
    fails!(timer.take(), EAGAIN);
    equal!(timer.get()?, (0, 1));
    Ok(())
}

fn setting_wakes() -> Outcome {
    let timer = Timer::new(CLOCK_MONOTONIC, 0)?;
    let mut theirs = Timer(timer.0.try_clone()?);
    let pid = checked_child(|| {
        equal!(theirs.take()?, 1);
        Ok(())
    })?;
    await_blocked(pid)?;
    // From never to late, from late to soon.
    timer.set(0, 3_600_000 * MS, 0)?;
    await_blocked(pid)?;
    timer.set(0, MS, 0)?;
    exits(pid, 0)
}

fn watched() -> Outcome {
    let mut timer = Timer::new(CLOCK_MONOTONIC, TFD_NONBLOCK)?;
    let (level, edge) = (Epoll::new()?, Epoll::new()?);
    let fd = timer.0.fd().raw();
    level.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1)?;
    edge.control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, 2)?;
    equal!(level.wait(0)?, []);
    timer.set(0, MS, 0)?;
    equal!(level.wait(-1)?, [(EPOLLIN, 1)]);
    equal!(level.wait(-1)?, [(EPOLLIN, 1)]);
    equal!(edge.wait(-1)?, [(EPOLLIN, 2)]);
    equal!(edge.wait(0)?, []);
    equal!(timer.take()?, 1);
    equal!(level.wait(0)?, []);
    timer.set(0, MS, MS)?;
    // Each expiry is an edge, read or not.
    for _ in 0..3 {
        equal!(edge.wait(-1)?, [(EPOLLIN, 2)]);
    }
    // So is the first of a new setting, however many came before.
    for _ in 0..3 {
        timer.set(0, MS, 0)?;
        equal!(edge.wait(-1)?, [(EPOLLIN, 2)]);
        equal!(timer.take()?, 1);
    }
    Ok(())
}

fn shortest_interval() -> Outcome {
    let mut timer = Timer::new(CLOCK_MONOTONIC, 0)?;
    let epoll = Epoll::new()?;
    epoll.control(EPOLL_CTL_ADD, timer.0.fd().raw(), EPOLLIN | EPOLLET, 3)?;
    timer.set(0, 1, 1)?;
    let mut all = 0;
    for _ in 0..100 {
        all += timer.take()?;
        epoll.wait(-1)?;
    }
    ensure!(all >= 100);
    // Its next expiry would be beyond all time.
    timer.set(TFD_TIMER_ABSTIME, 1, u64::MAX / 2)?;
    equal!(timer.take()?, 1);
    Ok(())
}

fn errors() -> Outcome {
    let mut timer = Timer::new(CLOCK_MONOTONIC, TFD_NONBLOCK)?;
    fails!(call!(TIMERFD_CREATE, CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    fails!(call!(TIMERFD_CREATE, 99, 0), EINVAL);
    fails!(call!(TIMERFD_CREATE, CLOCK_MONOTONIC, 1), EINVAL);
    fails!(timer.set(4, 1, 0), EINVAL);
    fails!(timer.0.read(&mut [0; 7]), EINVAL);
    fails!(timer.0.write(&[0; 8]), EINVAL);
    let fd = timer.0.fd().raw();
    let wrong =
        [Timespec { sec: 0, nsec: 1_000_000_000 }, Timespec { sec: -1, nsec: 0 }, Timespec { sec: 0, nsec: -1 }];
    let right = Timespec::default();
    for time in wrong {
        for new in [Itimerspec { interval: right, value: time }, Itimerspec { interval: time, value: right }] {
            fails!(call!(TIMERFD_SETTIME, fd, 0, &raw const new, 0), EINVAL);
        }
    }
    let new = Itimerspec { interval: right, value: right };
    fails!(call!(TIMERFD_SETTIME, fd, 0, 4096, 0), EFAULT);
    fails!(call!(TIMERFD_SETTIME, fd, 0, &raw const new, 4096), EFAULT);
    fails!(call!(TIMERFD_GETTIME, fd, 4096), EFAULT);
    let (read, _write) = pipe::pipe()?;
    fails!(call!(TIMERFD_SETTIME, read.fd().raw(), 0, &raw const new, 0), EINVAL);
    fails!(call!(TIMERFD_SETTIME, 200, 0, &raw const new, 0), EBADF);
    fails!(call!(TIMERFD_GETTIME, 200, &raw const new), EBADF);
    Ok(())
}
