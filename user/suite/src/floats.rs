//! Registers survive being interrupted, the floating-point ones too.

use crate::case::{Case, Outcome};
use crate::process::{child, exits};
use alloc::vec::Vec;
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("registers/floats-among-processes", "P9 S4", floats_among_processes),
    case!("registers/floats-among-threads", "P9 S4", floats_among_threads),
    case!("registers/integers-among-processes", "P9 S4", integers_among_processes),
    case!("registers/floats-over-calls", "D3", floats_over_calls),
    case!("registers/fork-keeps-floats", "P1", fork_keeps_floats),
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

fn fork_keeps_floats() -> Outcome {
    let value = core::hint::black_box(1.25f64);
    let pid = child(|| (core::hint::black_box(value) * 4.0) as i32)?;
    exits(pid, 5)?;
    equal!(core::hint::black_box(value), 1.25);
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
