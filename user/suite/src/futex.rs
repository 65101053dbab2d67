//! Futexes.

use crate::case::{Case, Outcome};
use crate::process::{PAGE, RW, Shared, await_blocked, child, dies, exits, kill, map, millis, sleep_ms};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use rt::abi::errno::Result;
use rt::abi::futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET,
    FUTEX_WAKE, FUTEX_WAKE_BITSET,
};
use rt::abi::signal::SIGKILL;
use rt::abi::time::Timespec;
use rt::sync::Arc;
use rt::thread;
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("futex/value-differs", "D3", value_differs),
    case!("futex/timeout-is-not-early", "D16", timeout_is_not_early),
    case!("futex/absolute-timeout", "D16", absolute_timeout),
    case!("futex/wake-one", "D2 D3", wake_one),
    case!("futex/wake-between-processes", "P4", wake_between_processes),
    case!("futex/private-is-private", "P1", private_is_private),
    case!("futex/requeue", "D3", requeue),
    case!("futex/bitset", "D3", bitset),
    case!("futex/nobody-waits", "D3", nobody_waits),
    case!("futex/bad-arguments", "E1", bad_arguments),
    case!("futex/ping-pong", "S1", ping_pong),
    case!("futex/no-lost-wake-up", "D2", no_lost_wake_up),
    case!("futex/killed-waiter-is-forgotten", "D14", killed_waiter_is_forgotten),
];

/// A futex operation.
fn futex(word: &AtomicU32, op: u32, value: u32, limit: Option<&Timespec>, other: usize, bits: u32) -> Result<usize> {
    let limit = limit.map_or(0, |limit| core::ptr::from_ref(limit) as usize);
    call!(FUTEX, word.as_ptr(), op, value, limit, other, bits)
}

fn wait(word: &AtomicU32, value: u32, limit: Option<&Timespec>) -> Result<usize> {
    futex(word, FUTEX_WAIT, value, limit, 0, 0)
}

fn wake(word: &AtomicU32, count: u32) -> Result<usize> {
    futex(word, FUTEX_WAKE, count, None, 0, 0)
}

/// Wakes until `count` waiters were found: they may not have come to wait yet.
fn wake_all_of(word: &AtomicU32, count: usize) -> Outcome {
    let mut woken = 0;
    while woken < count {
        woken += wake(word, 1)?;
        thread::yield_now();
    }
    equal!(woken, count);
    Ok(())
}

fn value_differs() -> Outcome {
    let word = AtomicU32::new(5);
    fails!(wait(&word, 4, None), EAGAIN);
    Ok(())
}

fn timeout_is_not_early() -> Outcome {
    let word = AtomicU32::new(0);
    for span in [1, 10, 60] {
        let start = Instant::now();
        fails!(wait(&word, 0, Some(&millis(span))), ETIMEDOUT);
        ensure!(start.elapsed() >= Duration::from_millis(span));
    }
    Ok(())
}

fn absolute_timeout() -> Outcome {
    let word = AtomicU32::new(0);
    let mut now = Timespec::default();
    call!(CLOCK_GETTIME, rt::abi::time::CLOCK_MONOTONIC, &raw mut now)?;
    let deadline = Timespec::from_nanos(now.to_nanos().unwrap_or_default() + 30_000_000);
    let wait_until = || futex(&word, FUTEX_WAIT_BITSET, 0, Some(&deadline), 0, FUTEX_BITSET_MATCH_ANY);
    fails!(wait_until(), ETIMEDOUT);
    call!(CLOCK_GETTIME, rt::abi::time::CLOCK_MONOTONIC, &raw mut now)?;
    ensure!(now >= deadline);
    fails!(wait_until(), ETIMEDOUT);
    Ok(())
}

fn waiters(shared: Shared, word: usize, count: usize) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for _ in 0..count {
        pids.push(child(|| {
            let result = wait(shared.word(word), 0, None);
            shared.count(10);
            i32::from(result != Ok(0))
        })?);
    }
    Ok(pids)
}

fn wake_one() -> Outcome {
    let shared = Shared::new()?;
    let pids = waiters(shared, 0, 4)?;
    for pid in &pids {
        await_blocked(*pid)?;
    }
    for count in 1..=4 {
        equal!(wake(shared.word(0), 1), Ok(1));
        shared.await_least(10, count);
        sleep_ms(3);
        equal!(shared.get(10), count);
    }
    equal!(wake(shared.word(0), 1), Ok(0));
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

fn wake_between_processes() -> Outcome {
    let shared = Shared::new()?;
    let pids = waiters(shared, 3, 6)?;
    wake_all_of(shared.word(3), 6)?;
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

/// The same address in two processes is two futexes, if the memory is not shared.
fn private_is_private() -> Outcome {
    let base = map(PAGE, RW)?;
    let word = rt::raw::atomic(base);
    word.store(0, Ordering::SeqCst);
    let pid = child(|| {
        let _ = futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, None, 0, 0);
        0
    })?;
    await_blocked(pid)?;
    equal!(futex(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 9, None, 0, 0), Ok(0));
    equal!(wake(word, 9), Ok(0));
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

fn requeue() -> Outcome {
    let shared = Shared::new()?;
    let pids = waiters(shared, 0, 5)?;
    for pid in &pids {
        await_blocked(*pid)?;
    }
    let other = shared.word(1).as_ptr() as usize;
    // The fourth argument is the number to move.
    let requeue = |op: u32, wake: u32, moved: usize, expected: u32| {
        call!(FUTEX, shared.word(0).as_ptr(), op, wake, moved, other, expected)
    };
    fails!(requeue(FUTEX_CMP_REQUEUE, 1, 9, 77), EAGAIN);
    // Woken and moved.
    equal!(requeue(FUTEX_REQUEUE, 1, 2, 0), Ok(3));
    equal!(requeue(FUTEX_CMP_REQUEUE, 0, 1, 0), Ok(1));
    equal!(wake(shared.word(0), 9), Ok(1));
    equal!(wake(shared.word(1), 9), Ok(3));
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

fn bitset() -> Outcome {
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for bits in [1u32, 2] {
        pids.push(child(|| i32::from(futex(shared.word(0), FUTEX_WAIT_BITSET, 0, None, 0, bits) != Ok(0)))?);
    }
    for pid in &pids {
        await_blocked(*pid)?;
    }
    equal!(futex(shared.word(0), FUTEX_WAKE_BITSET, 9, None, 0, 4), Ok(0));
    equal!(futex(shared.word(0), FUTEX_WAKE_BITSET, 9, None, 0, 2), Ok(1));
    exits(pids[1], 0)?;
    equal!(futex(shared.word(0), FUTEX_WAKE_BITSET, 9, None, 0, 7), Ok(1));
    exits(pids[0], 0)?;
    fails!(futex(shared.word(0), FUTEX_WAIT_BITSET, 0, None, 0, 0), EINVAL);
    Ok(())
}

fn nobody_waits() -> Outcome {
    let word = AtomicU32::new(0);
    equal!(wake(&word, u32::MAX >> 1), Ok(0));
    Ok(())
}

fn bad_arguments() -> Outcome {
    let word = AtomicU32::new(0);
    let address = word.as_ptr() as usize;
    fails!(call!(FUTEX, address + 1, FUTEX_WAIT, 0, 0, 0, 0), EINVAL);
    fails!(call!(FUTEX, address + 2, FUTEX_WAKE, 1, 0, 0, 0), EINVAL);
    fails!(call!(FUTEX, 4096, FUTEX_WAIT, 0, 0, 0, 0), EFAULT);
    fails!(call!(FUTEX, address, 99, 0, 0, 0, 0), ENOSYS);
    let bad = Timespec { sec: 0, nsec: -1 };
    fails!(wait(&word, 0, Some(&bad)), EINVAL);
    Ok(())
}

fn ping_pong() -> Outcome {
    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let theirs = words.clone();
    let rounds = 2000;
    let other = thread::spawn(move || {
        for round in 1..=rounds {
            await_value(&theirs[0], round);
            theirs[1].store(round, Ordering::SeqCst);
            let _ = wake(&theirs[1], 1);
        }
    })?;
    for round in 1..=rounds {
        words[0].store(round, Ordering::SeqCst);
        wake(&words[0], 1)?;
        await_value(&words[1], round);
    }
    ensure!(other.join().is_some());
    Ok(())
}

fn await_value(word: &AtomicU32, value: u32) {
    loop {
        let found = word.load(Ordering::SeqCst);
        if found == value {
            return;
        }
        let _ = wait(word, found, None);
    }
}

/// Waiters and wakers race at the moment between looking and sleeping, many times, in different distances.
fn no_lost_wake_up() -> Outcome {
    let shared = Shared::new()?;
    let rounds = 1500;
    let pid = child(|| {
        for round in 1..=rounds {
            (0..round % 64).for_each(|_| core::hint::spin_loop());
            shared.set(0, round);
            let _ = wake(shared.word(0), 1);
            await_value(shared.word(1), round);
        }
        0
    })?;
    for round in 1..=rounds {
        await_value(shared.word(0), round);
        (0..round % 37).for_each(|_| core::hint::spin_loop());
        shared.set(1, round);
        wake(shared.word(1), 1)?;
    }
    exits(pid, 0)
}

/// A wake goes to somebody who is still there.
fn killed_waiter_is_forgotten() -> Outcome {
    let shared = Shared::new()?;
    let pids = waiters(shared, 0, 3)?;
    for pid in &pids {
        await_blocked(*pid)?;
    }
    kill(pids[0], SIGKILL)?;
    dies(pids[0], SIGKILL)?;
    equal!(wake(shared.word(0), 1), Ok(1));
    equal!(wake(shared.word(0), 1), Ok(1));
    equal!(wake(shared.word(0), 1), Ok(0));
    exits(pids[1], 0)?;
    exits(pids[2], 0)
}
