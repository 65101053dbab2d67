//! A process's workers go on when the thread of one waits in the kernel: who has a slot gives it to another.

use crate::case::{Outcome, Trouble};
use crate::coroutines::rehearsed;
use crate::machine::needs_asyncos;
use crate::process::sleep_ms;
use crate::word::{flag, spin_until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;
use rt::abi::window::HINT;
use rt::io::{Read, Write};
use rt::task::{Builder, JoinError, Preemption, Priority, block_on, spawn, yield_now};
use rt::{fs, pipe, raw, task, thread};

/// A coroutine blocks in `read` until its sibling, on the same worker, has written.
pub fn blocking_call() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (mut read, mut write) = pipe::pipe()?;
    let got = block_on(async move {
        let reader = spawn(async move {
            let mut byte = [0];
            read.read(&mut byte).map(|_| byte[0])
        });
        yield_now().await;
        let writer = spawn(async move { write.write(&[7]).map(|_| write) });
        let _ = writer.await;
        reader.await
    });
    ensure!(matches!(got, Ok(Ok(7))), "{got:?}");
    Ok(())
}

/// The same with a sleep of the thread.
pub fn blocking_sleep() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let turns = flag();
    let seen = turns.clone();
    block_on(async move {
        let sleeper = spawn(async move {
            // Without siblings that go on this never ends.
            while seen.load(SeqCst) < 100 {
                sleep_ms(1);
            }
        });
        let counter = spawn(async move {
            for _ in 0..100 {
                turns.fetch_add(1, SeqCst);
                yield_now().await;
            }
        });
        let _ = (sleeper.await, counter.await);
    });
    Ok(())
}

/// More coroutines block at once than there are workers, each until the one after it has run.
pub fn many_block() -> Outcome {
    const MANY: usize = 12;
    needs_asyncos()?;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..MANY {
        let (read, write) = pipe::pipe()?;
        reads.push(read);
        writes.push(write);
    }
    let sum = block_on(async move {
        let tasks: Vec<_> = reads
            .into_iter()
            .map(|mut read| {
                spawn(async move {
                    let mut byte = [0];
                    let _ = read.read(&mut byte);
                    u32::from(byte[0])
                })
            })
            .collect();
        let writer = spawn(async move {
            for write in writes.iter_mut().rev() {
                let _ = write.write(&[1]);
            }
            writes
        });
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap_or_default();
        }
        let _ = writer.await;
        sum
    });
    equal!(sum, MANY as u32);
    Ok(())
}

/// As many coroutines as may be run at once, each waiting for all without yielding; then the others have their turns.
pub fn side_by_side() -> Outcome {
    needs_asyncos()?;
    let here = flag();
    block_on(async move {
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let here = here.clone();
                spawn(async move {
                    here.fetch_add(1, SeqCst);
                    spin_until(&here, 4);
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
    Ok(())
}

/// Several threads wait for coroutines, each for its own and for one that another has started.
pub fn block_on_from_threads() -> Outcome {
    needs_asyncos()?;
    let turns = flag();
    for _ in 0..30 {
        three_threads(&turns)?;
    }
    equal!(turns.load(SeqCst), 450);
    Ok(())
}

fn three_threads(turns: &Arc<AtomicU32>) -> Outcome {
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let turns = turns.clone();
            thread::spawn(move || {
                block_on(async {
                    for _ in 0..5 {
                        let turns = turns.clone();
                        let _ = spawn(async move {
                            yield_now().await;
                            turns.fetch_add(1, SeqCst)
                        })
                        .await;
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        let _ = thread?.join();
    }
    Ok(())
}

/// A number of `/proc/self/sched`.
fn number(name: &str) -> Result<u64, Trouble> {
    let text = fs::read_to_string("/proc/self/sched")?;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.ok_or_else(|| Trouble::failed(format_args!("{name}: {text}")))
}

pub fn counted() -> Outcome {
    needs_asyncos()?;
    equal!((number("coroutine_switches")?, number("slot_moves")?), (0, 0));
    blocking_call()?;
    // To the first thread, and to the one that ran the writer while the reader blocked.
    ensure!(number("slot_moves")? >= 2);
    let before = number("coroutine_switches")?;
    block_on(async {
        let _ = spawn(async {
            for _ in 0..1000 {
                yield_now().await;
            }
        })
        .await;
    });
    ensure!(number("coroutine_switches")? >= before + 1000, "{before}");
    ensure!(number("yields")? >= 1);
    Ok(())
}

/// A coroutine that changes a priority takes a queue's lock. It is in the scheduler meanwhile, says its count, so that the kernel does
/// not give its worker to another thread, which would wait for the lock; and in its poll again afterwards.
pub fn priority_in_a_poll() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let Ok(changed) = rehearsed(change_a_priority) else { return Err(Trouble::failed("the coroutine has failed")) };
    equal!(changed.len(), 1);
    let (before, after) = changed[0];
    ensure!(before % 2 == 0 && after == before + 2, "{before} {after}");
    Ok(())
}

/// The counts that have moved meanwhile, of threads that poll. Nobody else gets the worker: a slice may be over on a busy machine.
fn change_a_priority() -> Result<Vec<(u32, u32)>, JoinError> {
    let counts = || (0..64).map(|place| raw::atomic(HINT + 4 * place).load(SeqCst)).collect::<Vec<_>>();
    block_on(async move {
        let task = Builder::new().preemption(Preemption::Never).spawn(async move {
            let other = spawn(async {}).task();
            let before = counts();
            // Less urgent: nobody is called for it.
            other.set_priority(Priority::LOWEST);
            let after = counts();
            // A thread that starts meanwhile goes into the scheduler, and stays there: its count is odd.
            let polls = |(before, after): &(u32, u32)| before != after && after % 2 == 0;
            before.into_iter().zip(after).filter(polls).collect::<Vec<_>>()
        });
        task.await
    })
}
