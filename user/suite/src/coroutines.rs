//! Coroutines that do what no good one does: the others of their process go on, and nothing is lost or done twice.

mod inversion;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_asyncos;
use crate::process::{child, exits, sleep_ms};
use crate::runner::free_memory;
use crate::word::{flag, spin_until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use core::task::Poll;
use rt::io::{Read, Write};
use rt::task::{self, Builder, JoinError, Preemption, Priority, block_on, green, policy, spawn, spawn_with, yield_now};
use rt::time::{Duration, Instant, sleep};
use rt::{async_pipe, pipe};

pub const CASES: &[Case] = &[
    case!("coroutines/wakes-itself-for-ever", "P8 S1", wakes_itself_for_ever),
    case!("coroutines/wakes-a-million", "P5 P8", wakes_a_million, slow),
    case!("coroutines/keeps-equals-waiting", "S5 I2", keeps_equals_waiting),
    case!("coroutines/keeps-all-waiting", "S5 I2 C7", keeps_all_waiting),
    case!("coroutines/aborted-beside-another-hart", "D14 P8", aborted_beside_another_hart),
    case!("coroutines/inversion-through-eight", "S1 D7", inversion::through_eight),
    case!("coroutines/inversion-through-joins", "S1 D7", inversion::through_joins),
    case!("coroutines/inversion-through-channels", "S1 D7", inversion::through_channels),
    case!("coroutines/inversion-without-a-slot", "S1 S4 D7", inversion::without_a_slot),
    case!("coroutines/inversion-receiver-goes", "S1 D7", inversion::receiver_goes),
    case!("coroutines/green-thread-blocks", "S5 I2 C7", green_thread_blocks),
    case!("coroutines/green-thread-never-yields", "S5 I2 P6", green_thread_never_yields),
];

/// Some wake themselves in each poll, more than once. With one worker their equals go on, who is less urgent, and who waits for time or
/// for a descriptor.
fn wakes_itself_for_ever() -> Outcome {
    task::set_workers(1);
    let outputs = block_on(async {
        let restless: Vec<_> = (0..3)
            .map(|_| {
                spawn(poll_fn(|context| {
                    (0..3).for_each(|_| context.waker().wake_by_ref());
                    Poll::<()>::Pending
                }))
            })
            .collect();
        let (sender, receiver) = async_pipe::pipe()?;
        let equal = spawn(async {
            for _ in 0..100 {
                yield_now().await;
            }
        });
        let later = spawn_with(Priority::LOWEST, async {});
        let sleeps = spawn(sleep(Duration::from_millis(2)));
        let reads = spawn(async move { receiver.read_exact(&mut [0]).await });
        let fine = (equal.await.is_ok(), later.await.is_ok(), sleeps.await.is_ok());
        sender.write_all(&[1]).await?;
        let read = reads.await;
        ensure!(matches!(read, Ok(Ok(()))), "{read:?}");
        restless.iter().for_each(|task| task.abort());
        for task in restless {
            equal!(task.await, Err(JoinError::Cancelled));
        }
        Ok::<_, Trouble>(fine)
    });
    equal!(outputs?, (true, true, true));
    Ok(())
}

/// One wakes a million others in a single poll; each of them ends, and so does who came in between.
fn wakes_a_million() -> Outcome {
    const MANY: usize = 1_000_000;
    static POLLED: AtomicU32 = AtomicU32::new(0);
    if free_memory().is_some_and(|free| free < 400 << 10) {
        return Err(Trouble::skipped("a million coroutines need more memory"));
    }
    let pid = child(|| {
        let ended = block_on(async {
            let tasks: Vec<_> = (0..MANY)
                .map(|_| {
                    let mut is_first = true;
                    spawn(poll_fn(move |_| {
                        POLLED.fetch_add(1, SeqCst);
                        if core::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }
                    }))
                })
                .collect();
            while POLLED.load(SeqCst) < MANY as u32 {
                sleep(Duration::from_millis(1)).await;
            }
            let waker = spawn(async move {
                tasks.iter().for_each(|task| task.task().wake());
                tasks
            });
            let between = spawn(async {});
            let (Ok(tasks), Ok(())) = (waker.await, between.await) else { return 0 };
            let mut ended = 0;
            for task in tasks {
                ended += usize::from(task.await.is_ok());
            }
            ended
        });
        // Polled twice, each of them.
        i32::from(ended != MANY || POLLED.load(SeqCst) != 2 * MANY as u32)
    })?;
    exits(pid, 0)
}

/// Many times the slice that a coroutine has while others as urgent wait.
const SLICES: Duration = Duration::from_millis(60);

/// Spins for so long; how often others have counted meanwhile.
fn spin_for(span: Duration, count: &AtomicU32) -> u32 {
    let (start, before) = (Instant::now(), count.load(SeqCst));
    while start.elapsed() < span {
        core::hint::spin_loop();
    }
    count.load(SeqCst) - before
}

/// How a coroutine ended.
type Joined<T> = Result<T, JoinError>;

/// What a scenario comes to when all the code it needs is in memory: in the first turn a page that has to be fetched from the disk gives
/// the worker away in the middle of a poll.
pub fn rehearsed<T>(scenario: impl Fn() -> T) -> T {
    let _ = scenario();
    scenario()
}

/// With one worker: a coroutine that chose so is not preempted for its equals, nor is one that runs first in, first out; but it is for
/// what is more urgent.
fn keeps_equals_waiting() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    for builder in [Builder::new().preemption(Preemption::Urgent), Builder::new().policy(policy::FIFO, 0)] {
        equal!(rehearsed(|| beside_an_equal(&builder)), Ok((0, 1)));
    }
    Ok(())
}

/// A coroutine spins in one poll, from before its equal is ready until somebody urgent has run: how often the equal ran during
/// the first part, and in all.
fn beside_an_equal(builder: &Builder) -> Joined<(u32, u32)> {
    let (stage, ran) = (flag(), flag());
    let (theirs, counts) = (stage.clone(), ran.clone());
    let passed = block_on(async move {
        let keeps = builder.clone().spawn(async move {
            let theirs_too = counts.clone();
            let equal = spawn(async move { theirs_too.fetch_add(1, SeqCst) });
            let passed = spin_for(SLICES, &counts);
            theirs.store(1, SeqCst);
            spin_until(&theirs, 2);
            (passed, equal.await)
        });
        let awaited = stage.clone();
        while awaited.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let urgent = spawn_with(Priority::HIGHEST, async move { stage.store(2, SeqCst) });
        urgent.await?;
        let (passed, equal) = keeps.await?;
        equal.map(|_| passed)
    });
    passed.map(|passed| (passed, ran.load(SeqCst)))
}

/// With one worker: one that is preempted for nothing keeps what is more urgent waiting until its poll ends, but not while it waits in the
/// kernel.
fn keeps_all_waiting() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    equal!(rehearsed(beside_an_urgent), (Ok(0), Ok(0)));
    Ok(())
}

/// A coroutine that is preempted for nothing spins in one poll while somebody urgent is ready, then waits in the kernel: what the urgent
/// one found, and how often that ran during the spin.
fn beside_an_urgent() -> (Joined<u32>, Joined<u32>) {
    let (stage, ran) = (flag(), flag());
    let (theirs, counts) = (stage.clone(), ran.clone());
    block_on(async move {
        let keeps = Builder::new().preemption(Preemption::Never).spawn(async move {
            theirs.store(1, SeqCst);
            spin_until(&theirs, 2);
            let passed = spin_for(SLICES, &counts);
            // Who is urgent has its turn now.
            while counts.load(SeqCst) == 0 {
                sleep_ms(1);
            }
            passed
        });
        let awaited = stage.clone();
        while awaited.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let urgent = spawn_with(Priority::HIGHEST, async move { ran.fetch_add(1, SeqCst) });
        stage.store(2, SeqCst);
        (urgent.await, keeps.await)
    })
}

/// Counts its end.
struct Note(Arc<AtomicU32>);

impl Drop for Note {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A coroutine is in a poll that does not end before another coroutine, which is polled elsewhere meanwhile, has aborted it or dropped
/// its handle: its future goes once, and not under it.
fn aborted_beside_another_hart() -> Outcome {
    needs_asyncos()?;
    for round in 0..40 {
        let aborts = round % 2 == 0;
        let (stage, dropped) = (flag(), flag());
        let (theirs, note) = (stage.clone(), Note(dropped.clone()));
        let early = block_on(async {
            let victim = spawn(async move {
                let note = note;
                theirs.store(1, SeqCst);
                spin_until(&theirs, 2);
                let early = note.0.load(SeqCst);
                yield_now().await;
                theirs.store(3 + early, SeqCst);
            });
            let theirs = stage.clone();
            let other = spawn(async move {
                spin_until(&theirs, 1);
                let handle = if aborts {
                    victim.abort();
                    Some(victim)
                } else {
                    drop(victim);
                    None
                };
                theirs.store(2, SeqCst);
                match handle {
                    Some(victim) => victim.await == Err(JoinError::Cancelled),
                    None => true,
                }
            });
            let cancelled = other.await;
            while dropped.load(SeqCst) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            cancelled
        });
        equal!((early, dropped.load(SeqCst)), (Ok(true), 1));
        // Aborted it does not come as far; else it ends by itself.
        equal!(stage.load(SeqCst), if aborts { 2 } else { 3 });
    }
    Ok(())
}

/// A green thread blocks in the kernel until another, on the same worker, has written: it takes its thread along, not the worker.
fn green_thread_blocks() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (mut read, mut write) = pipe::pipe()?;
    let (reads, is_read) = (flag(), flag());
    let (announced, seen) = (reads.clone(), is_read.clone());
    let reader = green::spawn(move || {
        let mut byte = [0];
        green::yield_now();
        announced.store(1, SeqCst);
        let read = read.read_exact(&mut byte).is_ok();
        // Another thread may run it from here on.
        green::yield_now();
        seen.store(1, SeqCst);
        (read, byte[0])
    })?;
    let writer = green::spawn(move || {
        while reads.load(SeqCst) == 0 {
            green::yield_now();
        }
        let early = is_read.load(SeqCst);
        (write.write_all(&[7]).is_ok(), early)
    })?;
    let ended = block_on(async { (reader.await, writer.await) });
    equal!(ended, (Ok((true, 7)), Ok((true, 0))));
    Ok(())
}

/// A green thread that never yields is preempted for its equals, and goes on.
fn green_thread_never_yields() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let ran = flag();
    let seen = ran.clone();
    let spinner = green::spawn(move || {
        spin_until(&seen, 3);
        green::yield_now();
        green::is_current()
    })?;
    let others: Vec<_> = (0..3)
        .map(|_| {
            let ran = ran.clone();
            green::spawn(move || ran.fetch_add(1, SeqCst))
        })
        .collect();
    block_on(async {
        for other in others {
            ensure!(other?.await.is_ok());
        }
        equal!(spinner.await, Ok(true));
        Ok(())
    })
}
