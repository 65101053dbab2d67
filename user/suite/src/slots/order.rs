//! Who runs first on a worker, and that nobody waits for ever: what is urgent, what never yields, what ages.

use crate::case::Outcome;
use crate::machine::needs_asyncos;
use crate::process::{call, child, exits, kill, sleep_ms};
use crate::word::{flag, spin_until};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::SeqCst;
use rt::abi::Errno;
use rt::abi::asyncos::SCHED_SETUP;
use rt::abi::signal::SIGKILL;
use rt::task::{Priority, block_on, spawn, spawn_with, yield_now};
use rt::time::{Duration, sleep};
use rt::{task, thread};

/// With one worker: who never yields is preempted for its equals, and goes on on the thread that it is on.
pub fn never_yields() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let ran = flag();
    let seen = ran.clone();
    block_on(async move {
        let spinner = spawn(async move { spin_until(&seen, 3) });
        let others: Vec<_> = (0..3)
            .map(|_| {
                let ran = ran.clone();
                spawn(async move { ran.fetch_add(1, SeqCst) })
            })
            .collect();
        for other in others {
            let _ = other.await;
        }
        let _ = spinner.await;
    });
    Ok(())
}

/// With one worker: who is most urgent and yields again and again does not keep the others from it for ever.
pub fn ages() -> Outcome {
    task::set_workers(1);
    let ran = flag();
    let seen = ran.clone();
    block_on(async move {
        let urgent = spawn_with(Priority::HIGHEST, async move {
            // For ever, if the other does not come before it once.
            while seen.load(SeqCst) == 0 {
                yield_now().await;
            }
        });
        let other = spawn(async move { ran.store(1, SeqCst) });
        let _ = (urgent.await, other.await);
    });
    Ok(())
}

/// The same where the runtime has no slots: somebody else has asked for them already.
pub fn ages_alone() -> Outcome {
    needs_asyncos()?;
    equal!(call(SCHED_SETUP, &[1]), Ok(1));
    ages()
}

/// All workers run something that never yields and is less urgent: what a thread wakes runs at once.
pub fn urgent_by_thread() -> Outcome {
    needs_asyncos()?;
    let (ran, ready, waits) = (flag(), flag(), flag());
    let (seen, announced, awaited) = (ran.clone(), ready.clone(), waits.clone());
    block_on(async move {
        let urgent = spawn_with(Priority::new(17), async move {
            core::future::poll_fn(|_| match waits.fetch_add(1, SeqCst) {
                0 => core::task::Poll::Pending,
                _ => core::task::Poll::Ready(()),
            })
            .await;
            ran.fetch_add(1, SeqCst)
        });
        let waker = urgent.task();
        let spinners: Vec<_> = (0..16)
            .map(|_| {
                let (seen, ready) = (seen.clone(), ready.clone());
                spawn_with(Priority::new(28), async move {
                    ready.fetch_add(1, SeqCst);
                    spin_until(&seen, 1);
                })
            })
            .collect();
        let by = thread::spawn(move || {
            spin_until(&awaited, 1);
            // Some spinner runs, and nothing but a preemption makes room for what is woken now.
            spin_until(&announced, 1);
            sleep_ms(2);
            waker.wake();
        });
        let _ = urgent.await;
        for spinner in spinners {
            let _ = spinner.await;
        }
        let _ = by.map(thread::JoinHandle::join);
    });
    Ok(())
}

/// The same for what waits for time.
pub fn urgent_by_time() -> Outcome {
    needs_asyncos()?;
    let ran = flag();
    let seen = ran.clone();
    block_on(async move {
        let urgent = spawn_with(Priority::new(17), async move {
            sleep(Duration::from_millis(5)).await;
            ran.fetch_add(1, SeqCst)
        });
        let spinners: Vec<_> = (0..8)
            .map(|_| {
                let seen = seen.clone();
                spawn_with(Priority::new(28), async move { spin_until(&seen, 1) })
            })
            .collect();
        let _ = urgent.await;
        for spinner in spinners {
            let _ = spinner.await;
        }
    });
    Ok(())
}

/// A child whose first thread pauses again and again, until four of eight coroutines that never yield have begun; then it ends, with 5.
pub fn child_beside_spinners<F: Future<Output = ()>>(pause: fn() -> F) -> Result<i32, Errno> {
    child(|| {
        let started = flag();
        block_on(async {
            for _ in 0..8 {
                let started = started.clone();
                spawn_with(Priority::new(20), async move {
                    started.fetch_add(1, SeqCst);
                    loop {
                        core::hint::spin_loop();
                    }
                })
                .detach();
            }
            while started.load(SeqCst) < 4 {
                pause().await;
            }
        });
        5
    })
}

/// A thread that does nothing but poll again is more urgent than coroutines that never yield. On one hart these have their turns by ageing
/// alone; and so has each of their threads, one that has just been given the slot, too.
pub fn beside_one_that_yields() -> Outcome {
    needs_asyncos()?;
    exits(child_beside_spinners(yield_now)?, 5)
}

/// The same beside another process, so that the first has had more than its share at times when ageing would put one ahead.
pub fn beside_that_and_a_process() -> Outcome {
    let busy = child(|| {
        loop {
            core::hint::spin_loop();
        }
    })?;
    let ended = beside_one_that_yields();
    kill(busy, SIGKILL)?;
    crate::process::wait(busy)?;
    ended
}
