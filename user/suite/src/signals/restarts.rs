//! What becomes of a wait that a signal or a stop interrupts: which run again, which fail, and what is left of their time.

use super::{count_it, on};
use crate::case::{Case, Outcome, Trouble};
use crate::process::{Shared, await_blocked, checked_child, exits, kill, millis, sleep_ms, stop, wait_with};
use rt::abi::errno::Result as Call;
use rt::abi::futex::FUTEX_WAIT;
use rt::abi::net::{AF_UNIX, SO_RCVTIMEO, SOCK_STREAM};
use rt::abi::process::{WCONTINUED, WaitStatus};
use rt::abi::signal::{SA_RESTART, SIGCONT, SIGUSR1, mask};
use rt::abi::time::{CLOCK_MONOTONIC, Timespec};

pub const CASES: &[Case] = &[
    case!("signals/stop-does-not-lengthen-a-sleep", "D14 D16", stop_does_not_lengthen_a_sleep),
    case!("signals/stop-does-not-restart-a-poll", "D14 D16", stop_does_not_restart_a_poll),
    case!("signals/stop-ends-some-waits", "D14", stop_ends_some_waits),
    case!("signals/time-limits-do-not-restart", "D14 D16", time_limits_do_not_restart),
];

/// A long time.
const LONG_MS: u64 = 1_000_000;
/// How long a wait lasts before it is interrupted.
const STEP_MS: u64 = 60;

/// Runs `body` in a child that blocks for a while; stops it for as long and continues it.
fn stopped_child(body: impl FnOnce() -> Outcome) -> Result<i32, Trouble> {
    let pid = checked_child(body)?;
    await_blocked(pid)?;
    sleep_ms(STEP_MS);
    stop(pid)?;
    sleep_ms(STEP_MS);
    kill(pid, SIGCONT)?;
    Ok(pid)
}

/// As [`stopped_child`]; then a signal with a handler ends the wait.
fn stopped_then_interrupted(body: impl FnOnce() -> Outcome) -> Outcome {
    let pid = stopped_child(|| {
        on(SIGUSR1, count_it, SA_RESTART)?;
        body()
    })?;
    equal!(wait_with(pid, WCONTINUED)?, (pid, WaitStatus::Continued));
    sleep_ms(5);
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

fn stop_does_not_lengthen_a_sleep() -> Outcome {
    let most = millis(LONG_MS - 2 * STEP_MS); // it goes on passing while the process is stopped
    let span = millis(LONG_MS);
    let mut left = span;
    stopped_then_interrupted(|| {
        fails!(call!(NANOSLEEP, &raw const span, &raw mut left), EINTR);
        ensure!(left <= most, "{left:?} were left");
        Ok(())
    })?;
    stopped_then_interrupted(|| {
        fails!(call!(CLOCK_NANOSLEEP, CLOCK_MONOTONIC, 0, &raw const span, &raw mut left), EINTR);
        ensure!(left <= most, "{left:?} were left");
        Ok(())
    })
}

/// These say what is left where they were told the time, before they stop, and go on with that.
fn stop_does_not_restart_a_poll() -> Outcome {
    let most = millis(LONG_MS - STEP_MS);
    let mut left = millis(LONG_MS);
    stopped_then_interrupted(|| {
        fails!(call!(PPOLL, 0, 0, &raw mut left, 0, 0), EINTR);
        ensure!(left <= most, "{left:?} were left");
        Ok(())
    })?;
    stopped_then_interrupted(|| {
        fails!(call!(PSELECT6, 0, 0, 0, 0, &raw mut left, 0), EINTR);
        ensure!(left <= most, "{left:?} were left");
        Ok(())
    })
}

/// Some fail with EINTR although no handler has run.
fn stop_ends_some_waits() -> Outcome {
    let set = mask(SIGUSR1);
    let pid = stopped_child(|| {
        fails!(call!(RT_SIGTIMEDWAIT, &raw const set, 0, 0, 8), EINTR);
        Ok(())
    })?;
    exits(pid, 0)?;
    let epoll = call!(EPOLL_CREATE1, 0)?;
    let pid = stopped_child(|| {
        let mut event = [0u64; 2];
        fails!(call!(EPOLL_PWAIT, epoll, &raw mut event, 1, usize::MAX, 0, 0), EINTR);
        Ok(())
    })?;
    exits(pid, 0)?;
    call!(CLOSE, epoll).map(drop).map_err(Trouble::from)
}

/// A child that blocks in `wait` gets a signal whose handler restarts calls.
fn interrupted(wait: impl FnOnce() -> Call<usize>) -> Outcome {
    let pid = checked_child(|| {
        on(SIGUSR1, count_it, SA_RESTART)?;
        fails!(wait(), EINTR);
        Ok(())
    })?;
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

fn time_limits_do_not_restart() -> Outcome {
    let long = millis(LONG_MS);
    let shared = Shared::new()?;
    let word = shared.word(0).as_ptr();
    interrupted(|| call!(FUTEX, word, FUTEX_WAIT, 0, &raw const long))?;
    let mut pair = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, SOCK_STREAM, 0, &raw mut pair)?;
    let limit = Timespec { sec: 1000, nsec: 0 }; // as a `timeval`
    call!(SETSOCKOPT, pair[0], 1, SO_RCVTIMEO, &raw const limit, 16)?;
    let mut byte = 0u8;
    interrupted(|| call!(RECVFROM, pair[0], &raw mut byte, 1, 0, 0, 0))?;
    interrupted(|| call!(READ, pair[0], &raw mut byte, 1))?;
    call!(CLOSE, pair[0])?;
    call!(CLOSE, pair[1]).map(drop).map_err(Trouble::from)
}
