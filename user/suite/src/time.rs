//! Clocks and sleeping. Nothing may come too early; how late it comes is no verdict.

use crate::case::{Case, Outcome};
use crate::machine::needs_kernel;
use crate::process::{Shared, child, exits, millis};
use alloc::vec::Vec;
use rt::abi::time::{
    CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME, Timespec,
};
use rt::time::{Duration, Instant, SystemTime};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("time/sleep-is-not-early", "D16", sleep_is_not_early),
    case!("time/sleep-until", "D16", sleep_until),
    case!("time/monotonic", "D16", monotonic),
    case!("time/monotonic-across-harts", "D16", monotonic_across_harts),
    case!("time/register-agrees-with-clock", "D16", register_agrees_with_clock),
    case!("time/wall-clock", "D16", wall_clock),
    case!("time/processor-time", "D16", processor_time),
    case!("time/bad-arguments", "E1", bad_arguments),
    case!("time/zero-sleep", "D3", zero_sleep),
    case!("time/many-sleepers", "D2 D16", many_sleepers),
    case!("time/far-future", "D16 E1", far_future),
];

fn clock(id: u32) -> Result<Duration, rt::abi::Errno> {
    let mut now = Timespec::default();
    call!(CLOCK_GETTIME, id, &raw mut now)?;
    Ok(Duration::from_nanos(now.to_nanos().unwrap_or_default()))
}

fn sleep_is_not_early() -> Outcome {
    for micros in [1, 50, 900, 3_000, 20_000, 120_000] {
        let (start, duration) = (Instant::now(), Duration::from_micros(micros));
        thread::sleep(duration);
        let slept = start.elapsed();
        ensure!(slept >= duration, "slept {slept:?} instead of {duration:?}");
    }
    Ok(())
}

fn sleep_until() -> Outcome {
    for (id, step) in [(CLOCK_MONOTONIC, 15), (CLOCK_REALTIME, 15), (CLOCK_MONOTONIC, 1)] {
        let end = clock(id)? + Duration::from_millis(step);
        let deadline = Timespec::from_nanos(end.as_nanos() as u64);
        equal!(call!(CLOCK_NANOSLEEP, id, TIMER_ABSTIME, &raw const deadline, 0), Ok(0));
        ensure!(clock(id)? >= end);
        // A time that has passed is no wait.
        equal!(call!(CLOCK_NANOSLEEP, id, TIMER_ABSTIME, &raw const deadline, 0), Ok(0));
    }
    Ok(())
}

fn monotonic() -> Outcome {
    let mut last = clock(CLOCK_MONOTONIC)?;
    let first = last;
    for _ in 0..20_000 {
        let now = clock(CLOCK_MONOTONIC)?;
        ensure!(now >= last, "time went back by {:?}", last.saturating_sub(now));
        last = now;
    }
    ensure!(last > first, "time stands still");
    Ok(())
}

/// A time that one process has seen is past for every other.
fn monotonic_across_harts() -> Outcome {
    let shared = Shared::new()?;
    let latest = || u64::from(shared.get(0));
    let mut pids = Vec::new();
    for _ in 0..4 {
        pids.push(child(|| {
            for _ in 0..5000 {
                let before = latest();
                let Ok(now) = clock(CLOCK_MONOTONIC) else { return 2 };
                let now = (now.as_micros() as u64) & 0xffff_ffff;
                // In microseconds, modulo 2^32: half of that is an hour.
                if now.wrapping_sub(before) as u32 as i32 > -1 || before == 0 {
                    shared.word(0).fetch_max(now as u32, core::sync::atomic::Ordering::SeqCst);
                } else {
                    return 1;
                }
            }
            0
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

/// `rdtime` counts the same time as the clock, at the frequency the clock shows.
fn register_agrees_with_clock() -> Outcome {
    needs_kernel("the time register")?;
    let sample = || -> Result<(u64, u64), rt::abi::Errno> {
        loop {
            let (ticks, nanos) = (raw::time(), clock(CLOCK_MONOTONIC)?.as_nanos() as u64);
            // Within a millisecond: this thread was not away in between.
            if raw::time() - ticks < 10_000 {
                return Ok((ticks, nanos));
            }
        }
    };
    let (ticks, nanos) = sample()?;
    thread::sleep(Duration::from_millis(200));
    let (ticks, nanos) = { sample().map(|(t, n)| (t - ticks, n - nanos))? };
    // 10 MHz on QEMU's virt. What passes between the two readings is the tolerance: 10 %.
    let by_register = ticks * 100;
    ensure!(by_register.abs_diff(nanos) < nanos / 10, "{ticks} ticks in {nanos} ns");
    Ok(())
}

fn wall_clock() -> Outcome {
    let since = SystemTime::now().since_epoch();
    ensure!(since.as_secs() > 1_600_000_000, "it is {} s after 1970", since.as_secs());
    let mut pair = [0u64; 2];
    call!(GETTIMEOFDAY, pair.as_mut_ptr(), 0)?;
    ensure!(pair[0] >= since.as_secs() && pair[1] < 1_000_000);
    Ok(())
}

fn processor_time() -> Outcome {
    for id in [CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID] {
        let before = clock(id)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            core::hint::spin_loop();
        }
        let used = clock(id)? - before;
        ensure!(used > Duration::ZERO, "computing takes no time");
        let before = clock(id)?;
        thread::sleep(Duration::from_millis(300));
        let used = clock(id)? - before;
        ensure!(used < Duration::from_millis(200), "sleeping for 300 ms used {used:?}");
    }
    Ok(())
}

fn bad_arguments() -> Outcome {
    for (sec, nsec) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, i64::MIN)] {
        let span = Timespec { sec, nsec };
        fails!(call!(NANOSLEEP, &raw const span, 0), EINVAL);
        fails!(call!(CLOCK_NANOSLEEP, CLOCK_MONOTONIC, 0, &raw const span, 0), EINVAL);
        fails!(call!(PPOLL, 0, 0, &raw const span, 0, 0), EINVAL);
    }
    let mut now = Timespec::default();
    fails!(call!(CLOCK_GETTIME, 999, &raw mut now), EINVAL);
    fails!(call!(CLOCK_NANOSLEEP, 999, 0, &raw const now, 0), EINVAL);
    Ok(())
}

fn zero_sleep() -> Outcome {
    let zero = millis(0);
    for _ in 0..100 {
        equal!(call!(NANOSLEEP, &raw const zero, 0), Ok(0));
    }
    Ok(())
}

/// Forty threads with timers in all orders wake, none early.
fn many_sleepers() -> Outcome {
    let mut threads = Vec::new();
    for number in 0..40u64 {
        threads.push(thread::spawn(move || {
            let duration = Duration::from_millis(number * 37 % 41);
            let start = Instant::now();
            thread::sleep(duration);
            start.elapsed() >= duration
        })?);
    }
    for handle in threads {
        equal!(handle.join(), Some(true));
    }
    Ok(())
}

/// A sleep until the end of time is a sleep, not an overflow.
fn far_future() -> Outcome {
    let pid = child(|| {
        let span = Timespec { sec: i64::MAX, nsec: 999_999_999 };
        let _ = call!(NANOSLEEP, &raw const span, 0);
        1
    })?;
    crate::process::await_blocked(pid)?;
    crate::process::sleep_ms(20);
    equal!(crate::process::wait_with(pid, rt::abi::process::WNOHANG)?.0, 0);
    crate::process::kill(pid, rt::abi::signal::SIGKILL)?;
    crate::process::dies(pid, rt::abi::signal::SIGKILL)
}
