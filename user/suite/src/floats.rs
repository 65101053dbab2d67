//! Registers survive being interrupted, the floating-point ones too.

use crate::case::{Case, Outcome};
use crate::process::{checked_child, child, exits};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use rt::abi::{errno::Errno, nr, signal::SIGCHLD};
use rt::sync::Arc;
use rt::{process, raw, thread};

pub const CASES: &[Case] = &[
    case!("registers/floats-among-processes", "P9 S4", floats_among_processes),
    case!("registers/floats-among-threads", "P9 S4", floats_among_threads),
    case!("registers/integers-among-processes", "P9 S4", integers_among_processes),
    case!("registers/floats-over-calls", "D3", floats_over_calls),
    case!("registers/floats-at-rest", "P9 S4", floats_at_rest),
    case!("registers/fork-of-floats-at-rest", "P9 P1", fork_of_floats_at_rest),
    case!("registers/fork-keeps-floats", "P1", fork_keeps_floats),
    case!("registers/rounding-among-processes", "P9 S4", rounding_among_processes),
    case!("registers/rounding-of-a-child", "P9 P1", rounding_of_a_child),
    case!("registers/arithmetic", "P9", arithmetic),
];

/// Long enough that a time slice ends in the middle.
const ROUNDS: u64 = 2_000_000;

fn floats_among_processes() -> Outcome {
    let mut pids = Vec::new();
    for number in 0..12u64 {
        pids.push(child(move || i32::from((0..5).any(|turn| raw::hold_floats((number << 40) + turn, ROUNDS) != 0)))?);
    }
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}

fn floats_among_threads() -> Outcome {
    let mut threads = Vec::new();
    for number in 0..8u64 {
        threads.push(thread::spawn(move || (0..5).all(|turn| raw::hold_floats((number << 44) + turn, ROUNDS) == 0))?);
    }
    for handle in threads {
        equal!(handle.join(), Some(true));
    }
    Ok(())
}

fn integers_among_processes() -> Outcome {
    let mut pids = Vec::new();
    for number in 0..12u64 {
        pids.push(child(move || i32::from((0..5).any(|turn| raw::hold_integers((number << 40) + turn, ROUNDS) != 0)))?);
    }
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}

/// Waiting in a call and coming back on another hart keeps what callers keep.
fn floats_over_calls() -> Outcome {
    let mut threads = Vec::new();
    for number in 1..=6u32 {
        threads.push(thread::spawn(move || {
            let mut value = core::hint::black_box(f64::from(number));
            for _ in 0..200 {
                value = core::hint::black_box(value * 1.5);
                thread::yield_now();
                value = core::hint::black_box(value / 1.5);
            }
            // Multiplying by 3/2 and dividing again is exact to one unit in the last place a round at most.
            (value - f64::from(number)).abs() < 1e-9
        })?);
    }
    for handle in threads {
        equal!(handle.join(), Some(true));
    }
    Ok(())
}

/// Enough for the kernel to notice that a thread does not use them, each time.
const YIELDS: u64 = 100;

/// Threads take turns on a hart, and look at their registers only when they have not for long; then again at once.
fn floats_at_rest() -> Outcome {
    crate::machine::go_to(0)?;
    let mut threads = Vec::new();
    for number in 1..=3u64 {
        threads.push(thread::spawn(move || {
            (0..40).all(|turn| {
                let (seed, yields) = ((number << 44) + (turn << 8), if turn % 2 == 0 { YIELDS } else { 1 });
                let (difference, pid) = raw::hold_floats_over_calls(seed, yields, [nr::GETPID, 0]);
                difference == 0 && pid > 0
            })
        })?);
    }
    for handle in threads {
        equal!(handle.join(), Some(true));
    }
    Ok(())
}

/// A child has the registers of its parent, which has not looked at them for long.
fn fork_of_floats_at_rest() -> Outcome {
    crate::machine::go_to(0)?;
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    let other = thread::spawn(move || {
        let mut same = true;
        while !seen.load(Ordering::Relaxed) {
            same &= raw::hold_floats_over_calls(7 << 44, 1, [nr::GETPID, 0]).0 == 0;
        }
        same
    })?;
    let fork = [nr::CLONE, SIGCHLD as usize];
    let (difference, pid) = raw::hold_floats_over_calls(5 << 44, YIELDS, fork);
    if pid == 0 {
        process::exit(i32::from(difference != 0));
    }
    done.store(true, Ordering::Relaxed);
    let exited = exits(Errno::from_return(pid)? as i32, 0);
    equal!(other.join(), Some(true));
    equal!(difference, 0);
    exited
}

fn fork_keeps_floats() -> Outcome {
    let value = core::hint::black_box(1.25f64);
    let pid = child(|| (core::hint::black_box(value) * 4.0) as i32)?;
    exits(pid, 5)?;
    equal!(core::hint::black_box(value), 1.25);
    Ok(())
}

/// Processes that take turns on a hart have their own rounding modes, also if they compute nothing, whether they wait or have their time taken.
fn rounding_among_processes() -> Outcome {
    crate::machine::go_to(0)?;
    let mut pids = Vec::new();
    for number in 0..3usize {
        pids.push(checked_child(move || {
            for turn in 0..300usize {
                let mode = (number + turn) % 4;
                raw::set_rounding(mode);
                if turn % 30 == 0 {
                    let _ = raw::hold_integers(1, ROUNDS / 2);
                } else {
                    thread::yield_now();
                }
                equal!(raw::rounding(), mode);
            }
            Ok(())
        })?);
    }
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}

/// A child rounds as its parent does, which has computed nothing since it chose how; and so does a thread.
fn rounding_of_a_child() -> Outcome {
    let usual = raw::rounding();
    for mode in [1, 2, 3, usual] {
        raw::set_rounding(mode);
        exits(child(|| i32::from(raw::rounding() != mode))?, 0)?;
        equal!(thread::spawn(raw::rounding)?.join(), Some(mode));
    }
    Ok(())
}

/// The same sum in many processes at once has one result.
fn arithmetic() -> Outcome {
    let sum = || {
        let mut sum = 0.0f64;
        for index in 1..200_000u32 {
            sum += core::hint::black_box(1.0 / f64::from(index));
        }
        sum.to_bits()
    };
    let expected = sum();
    let mut pids = Vec::new();
    for _ in 0..6 {
        pids.push(child(|| i32::from(sum() != expected))?);
    }
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}
