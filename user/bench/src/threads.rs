//! Threads: starting and ending, switching, waiting for one another, what a parked one costs.

use crate::measure::{Outcome, call, count_on_all_harts, measure};
use crate::processes::{end, fork};
use crate::urgency::harts;
use core::sync::atomic::{AtomicU32, Ordering};
use rt::abi::futex::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE};
use rt::abi::nr;
use rt::abi::process::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM};
use rt::sync::Arc;
use rt::{io, println, raw, thread};

const WAIT: usize = (FUTEX_WAIT | FUTEX_PRIVATE_FLAG) as usize;
const WAKE: usize = (FUTEX_WAKE | FUTEX_PRIVATE_FLAG) as usize;
const PAGE: usize = 4096;

/// Threads as programs start them, switches between two, and parked ones.
pub fn life() -> Outcome {
    measure("thread_create_join", 1_000, |count| {
        for _ in 0..count {
            let _ = thread::spawn(|| {})?.join();
        }
        Ok(())
    })?;
    switches()?;
    process_switches()?;
    parked()
}

/// Two threads that do nothing but yield, on one hart: an operation is a yield and the switch to the other.
fn switches() -> Outcome {
    let stop = Arc::new(AtomicU32::new(0));
    let seen = stop.clone();
    let other = thread::spawn(move || {
        while seen.load(Ordering::Relaxed) == 0 {
            raw::syscall6(nr::SCHED_YIELD, [0; 6]);
        }
    })?;
    measure("thread_switch", 40_000, yield_in_turn)?;
    stop.store(1, Ordering::Relaxed);
    let _ = other.join();
    Ok(())
}

/// This one's half of `count` yields; whoever takes turns with it does the other.
fn yield_in_turn(count: u64) -> Outcome {
    for _ in 0..count / 2 {
        raw::syscall6(nr::SCHED_YIELD, [0; 6]);
    }
    Ok(())
}

/// The same with two processes.
fn process_switches() -> Outcome {
    let other = fork(|| {
        loop {
            raw::syscall6(nr::SCHED_YIELD, [0; 6]);
        }
    })?;
    let measured = measure("process_switch", 40_000, yield_in_turn);
    end(other)?;
    measured
}

const PARKED: usize = 2_000;
const THREAD: u64 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

extern "C" fn park(words: usize) {
    raw::atomic(words + 4).fetch_add(1, Ordering::SeqCst);
    while raw::atomic(words).load(Ordering::SeqCst) == 0 {
        let _ = call(nr::FUTEX, &[words, WAIT, 0, 0]);
    }
    raw::atomic(words + 8).fetch_add(1, Ordering::SeqCst);
}

/// Free memory of the machine.
pub fn free_bytes() -> io::Result<f64> {
    let text = rt::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or(io::Error::new(io::ErrorKind::InvalidData, "no MemFree"))
}

/// What free memory of the machine has become less by, a thread, once two thousand threads wait in a futex. It counts
/// pages, and so all that the kernel keeps for a thread: its objects, what is lost in the pages that hold them, tables,
/// page tables, stocks of the heap. Only what is the program's own is there before: a page of stack for each thread is
/// touched first, and with it the page tables for it.
fn parked() -> Outcome {
    let stacks = call(nr::MMAP, &[0, (PARKED + 1) * PAGE, 3, 0x22, usize::MAX, 0])?;
    // No huge pages, which would come and go.
    let _ = call(nr::MADVISE, &[stacks, (PARKED + 1) * PAGE, rt::abi::mm::MADV_NOHUGEPAGE as usize]);
    (0..=PARKED).for_each(|page| raw::store64(stacks + page * PAGE, 0));
    let words = stacks + PARKED * PAGE;
    let settle = || thread::sleep(core::time::Duration::from_millis(50));
    settle();
    let before = free_bytes()?;
    let mut started = 0u32;
    for number in 0..PARKED {
        let how = raw::Clone { flags: THREAD, stack: stacks + (number + 1) * PAGE, ..raw::Clone::default() };
        if raw::clone_call(how, park, words) < 0 {
            break;
        }
        started += 1;
    }
    while raw::atomic(words + 4).load(Ordering::SeqCst) < started {
        thread::yield_now();
    }
    settle();
    let after = free_bytes()?;
    println!("B thread_memory {:.0} B", (before - after) / f64::from(started));
    raw::atomic(words).store(1, Ordering::SeqCst);
    let _ = call(nr::FUTEX, &[words, WAKE, i32::MAX as usize]);
    while raw::atomic(words + 8).load(Ordering::SeqCst) < started {
        thread::yield_now();
    }
    // The last ones still leave their stacks, which therefore stay.
    settle();
    Ok(())
}

fn await_value(word: &AtomicU32) {
    while word.load(Ordering::Acquire) == 0 {
        let _ = call(nr::FUTEX, &[word.as_ptr() as usize, WAIT, 0, 0]);
    }
}

fn post(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    let _ = call(nr::FUTEX, &[word.as_ptr() as usize, WAKE, 1]);
}

/// Two threads wake each other in turn: `measured` is given what makes so many round trips.
fn wake_in_turn(measured: impl FnOnce(&mut dyn FnMut(u64) -> Outcome) -> Outcome) -> Outcome {
    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let theirs = words.clone();
    let other = thread::spawn(move || {
        loop {
            await_value(&theirs[1]);
            let value = theirs[1].swap(0, Ordering::Relaxed);
            post(&theirs[0], 1);
            if value == 2 {
                return;
            }
        }
    })?;
    let ping = |value: u32| {
        post(&words[1], value);
        await_value(&words[0]);
        words[0].store(0, Ordering::Relaxed);
    };
    let outcome = measured(&mut |count| {
        (0..count).for_each(|_| ping(1));
        Ok(())
    });
    ping(2);
    let _ = other.join();
    outcome
}

/// Round trips of two threads, anywhere.
pub fn futexes() -> Outcome {
    wake_in_turn(|round_trips| measure("futex_pp", 5_000, round_trips))
}

/// Keeps the calling thread on a hart.
fn keep_on(hart: usize) -> io::Result<()> {
    keep_on_all(1 << hart)
}

/// Lets it go to any of these.
fn keep_on_all(mask: u64) -> io::Result<()> {
    call(nr::SCHED_SETAFFINITY, &[0, size_of_val(&mask), (&raw const mask).addr()])?;
    Ok(())
}

/// Round trips of two threads on two harts.
pub fn across_harts() -> Outcome {
    if harts() < 2 {
        return Ok(());
    }
    // The other thread has it from this one.
    keep_on(1)?;
    wake_in_turn(|round_trips| {
        keep_on(0)?;
        count_on_all_harts("futex_two_harts", 2_000, round_trips)
    })?;
    keep_on_all(u64::MAX)
}
