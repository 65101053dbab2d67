//! A byte that goes round a ring of pipes, from coroutine to coroutine and from thread to thread: the same program twice.

use crate::measure::{Outcome, call, measure, report};
use crate::processes::own_path;
use alloc::format;
use alloc::vec::Vec;
use rt::abi::nr;
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::io::{self, Read, Write};
use rt::process::Command;
use rt::task::{JoinHandle, block_on, set_workers, spawn};
use rt::time::Instant;
use rt::{async_pipe, fs, pipe, thread};

/// How many stand in a ring.
const RING: usize = 3_600;
/// Steps that are measured: so often round.
const STEPS: u64 = 10 * RING as u64;
/// How many executors the coroutines are given; the system may have fewer.
const EXECUTORS: [usize; 3] = [1, 2, 4];

/// All of them. A process decides once how many executors it has, so each ring of coroutines has its own.
pub fn rings() -> Outcome {
    for executors in EXECUTORS {
        in_a_process("--ring", executors)?;
    }
    allow_descriptors()?;
    of_threads()
}

fn in_a_process(how: &str, executors: usize) -> Outcome {
    if Command::new(&own_path()).args([how, &format!("{executors}")]).status()?.success() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::Other, "a ring of coroutines has failed"))
}

/// The ring of coroutines in a process made for it.
pub fn with_executors(count: &str) -> Outcome {
    set_workers(count.parse().unwrap_or(1));
    allow_descriptors()?;
    of_tasks(|turns| measure(&format!("pipe_ring_tasks_{count}"), STEPS, turns))
}

/// Microseconds a step, for [`EXECUTORS`]: for a machine of several harts, where instructions cannot be counted.
pub fn times() -> Outcome {
    for executors in EXECUTORS {
        in_a_process("--ring-time", executors)?;
    }
    Ok(())
}

/// The same ring, timed.
pub fn timed(count: &str) -> Outcome {
    set_workers(count.parse().unwrap_or(1));
    allow_descriptors()?;
    of_tasks(|turns| {
        turns(STEPS / 10)?;
        let start = Instant::now();
        turns(STEPS)?;
        let each = start.elapsed().as_nanos() as f64 / 1_000.0 / STEPS as f64;
        report(&format!("ring_harts_{count}"), each, "us");
        Ok(())
    })
}

/// Two descriptors a pipe, and some.
fn allow_descriptors() -> Outcome {
    let most = 2 * RING as u64 + 100;
    let limit = Rlimit { current: most, max: most };
    call(nr::PRLIMIT64, &[0, RLIMIT_NOFILE as usize, &raw const limit as usize, 0])?;
    Ok(())
}

/// Makes the ring and hands on what sends a byte from one coroutine to the next, as many steps as it is told.
fn of_tasks(measure: impl FnOnce(&mut dyn FnMut(u64) -> Outcome) -> Outcome) -> Outcome {
    let (first, mut last) = async_pipe::pipe()?;
    let mut others: Vec<JoinHandle<()>> = Vec::new();
    for _ in 1..RING {
        let (next, receiver) = async_pipe::pipe()?;
        let from = core::mem::replace(&mut last, receiver);
        others.push(spawn(async move {
            let mut byte = [0];
            while from.read_exact(&mut byte).await.is_ok() && next.write_all(&byte).await.is_ok() {}
        }));
    }
    measure(&mut |steps| {
        block_on(async {
            let mut byte = [1];
            for _ in 0..steps.div_ceil(RING as u64) {
                first.write_all(&byte).await?;
                last.read_exact(&mut byte).await?;
            }
            Ok(())
        })
    })?;
    drop(first);
    block_on(async {
        for other in others {
            let _ = other.await;
        }
    });
    Ok(())
}

/// The same from thread to thread.
fn of_threads() -> Outcome {
    let (mut last, mut first): (fs::File, fs::File) = pipe::pipe()?;
    let mut others = Vec::new();
    for _ in 1..RING {
        let (receiver, mut next) = pipe::pipe()?;
        let mut from = core::mem::replace(&mut last, receiver);
        others.push(thread::spawn(move || {
            let mut byte = [0];
            while from.read_exact(&mut byte).is_ok() && next.write_all(&byte).is_ok() {}
        })?);
    }
    measure("pipe_ring_threads", STEPS, |steps| {
        let mut byte = [1];
        for _ in 0..steps.div_ceil(RING as u64) {
            first.write_all(&byte)?;
            last.read_exact(&mut byte)?;
        }
        Ok(())
    })?;
    drop(first);
    for other in others {
        let _ = other.join();
    }
    Ok(())
}
