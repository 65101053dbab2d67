//! Coroutines of this process under the shared scheduler: no system call in any operation.

use crate::measure::{Moment, Outcome, measure};
use crate::threads::free_bytes;
use alloc::vec::Vec;
use core::future::{pending, poll_fn};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::Poll;
use rt::sync::{Arc, OnceLock};
use rt::task::{JoinHandle, TaskRef, block_on, spawn, yield_now};
use rt::{io, println};

/// Switching among few and many, waking, starting and ending.
pub fn switches() -> Outcome {
    yields("task_switch", 2, 200_000)?;
    yields("task_switch_1k", 1_000, 200_000)?;
    yields("task_switch_100k", 100_000, 400_000)?;
    measure("task_wake", 100_000, |count| {
        block_on(wake_each_other(count / 2));
        Ok(())
    })?;
    measure("task_spawn", 20_000, |count| {
        let _ = block_on(spawn(start_detached(count)));
        Ok(())
    })?;
    measure("task_spawn_join", 20_000, |count| {
        let _ = block_on(spawn(async move {
            for _ in 0..count {
                let _ = spawn(async {}).await;
            }
        }));
        Ok(())
    })?;
    measure("task_spawn_10k", 10_000, |count| {
        let _ = block_on(spawn(async move {
            let tasks: Vec<_> = (0..count).map(|_| spawn(async {})).collect();
            for task in tasks {
                let _ = task.await;
            }
        }));
        Ok(())
    })?;
    waiting()
}

/// What free memory of the machine has become less by once a million tasks wait: for each, without what the program
/// keeps to find them again, and in all. Their futures have no size of their own.
fn waiting() -> Outcome {
    const COUNT: usize = 1_000_000;
    let mut tasks: Vec<Option<JoinHandle<()>>> = (0..COUNT).map(|_| None).collect();
    let before = free_bytes()?;
    tasks.iter_mut().for_each(|task| *task = Some(spawn(pending())));
    // It is behind them all.
    let _ = block_on(spawn(async {}));
    let taken = before - free_bytes()?;
    println!("B task_memory {:.0} B", taken / COUNT as f64);
    println!("B task_million {:.0} MiB", (taken + size_of_val(&tasks[..]) as f64) / (1 << 20) as f64);
    drop(tasks);
    // They are dropped by the scheduler.
    let _ = block_on(spawn(async {}));
    Ok(())
}

/// The others of [`yields`] end when this is set. Relaxed: nothing is handed over with it.
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// This many tasks that are always ready, and yield in turn. In each turn of the one that is measured all others have
/// theirs.
fn yields(id: &'static str, ready: u64, operations: u64) -> Outcome {
    ENOUGH.store(false, Relaxed);
    let others = (1..ready).map(|_| {
        spawn(async {
            while !ENOUGH.load(Relaxed) {
                yield_now().await;
            }
        })
    });
    let others: Vec<_> = others.collect();
    // Measured from within: without what passes until the thread that waits for it runs.
    let measured = spawn(async move {
        for _ in 0..(operations / 10).div_ceil(ready) {
            yield_now().await;
        }
        let start = Moment::now();
        for _ in 0..operations.div_ceil(ready) {
            yield_now().await;
        }
        start.report(id, operations);
    });
    let outcome = block_on(measured).map_err(|_| io::Error::new(io::ErrorKind::Other, "the coroutine has failed"));
    ENOUGH.store(true, Relaxed);
    block_on(async {
        for task in others {
            let _ = task.await;
        }
    });
    outcome
}

/// Two tasks that wake each other this often.
async fn wake_each_other(count: u64) {
    let pair = Arc::new(OnceLock::<[TaskRef; 2]>::new());
    let half = |own: usize| {
        let pair = Arc::clone(&pair);
        spawn(async move {
            for _ in 0..count {
                wake(&pair, 1 - own);
                pause().await;
            }
            wake(&pair, 1 - own);
        })
    };
    let (first, second) = (half(0), half(1));
    pair.get_or_init(|| [first.task(), second.task()]);
    let _ = first.await;
    let _ = second.await;
}

fn wake(pair: &OnceLock<[TaskRef; 2]>, other: usize) {
    if let Some(pair) = pair.get() {
        pair[other].wake();
    }
}

/// Waits to be woken once.
async fn pause() {
    let mut waited = false;
    poll_fn(|_| if core::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Starts empty tasks whose end nobody waits for, a few at a time, and lets them run.
async fn start_detached(count: u64) {
    const BATCH: u64 = 32;
    for _ in 0..count / BATCH {
        (0..BATCH).for_each(|_| spawn(async {}).detach());
        yield_now().await;
    }
}
