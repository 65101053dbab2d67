//! Who is urgent waits for who is not, beside some in between that never wait: those have no turn meanwhile.

use crate::case::{Outcome, Trouble};
use crate::machine::{harts, needs_asyncos};
use crate::process::call;
use crate::word::{flag, spin_until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use rt::abi::asyncos::SCHED_SETUP;
use rt::task::sync::{Mutex, Notify, mpsc, oneshot};
use rt::task::{JoinHandle, Priority, block_on, spawn, spawn_with, yield_now};
use rt::time::{Duration, sleep};

/// Eight hold a lock each and want the one before; the first works. Somebody urgent wants the last, and somebody who is more urgent
/// than the eight never waits: that one has no turn meanwhile. In polls, so with one worker, on a thread that nobody takes it from.
pub fn through_eight() -> Outcome {
    const LINKS: usize = 8;
    needs_asyncos()?;
    // The runtime has no slots then.
    equal!(call(SCHED_SETUP, &[1]), Ok(1));
    let locks: Arc<Vec<_>> = Arc::new((0..LINKS).map(|_| Mutex::new(())).collect());
    let (start, held, turns, stop) = (Arc::new(Notify::new()), flag(), flag(), flag());
    let passed = block_on(async {
        let mut links = Vec::new();
        for link in 0..LINKS {
            let (locks, start, held) = (locks.clone(), start.clone(), held.clone());
            links.push(spawn_with(Priority::LOWEST, async move {
                let own = locks[link].lock().await;
                held.fetch_add(1, SeqCst);
                match link.checked_sub(1) {
                    Some(before) => drop(locks[before].lock().await),
                    None => {
                        start.notified().await;
                        for _ in 0..20 {
                            yield_now().await;
                        }
                    }
                }
                drop(own);
            }));
        }
        while held.load(SeqCst) < LINKS as u32 {
            sleep(Duration::from_millis(1)).await;
        }
        let (counted, ends) = (turns.clone(), stop.clone());
        let restless = spawn(async move {
            while ends.load(SeqCst) == 0 {
                counted.fetch_add(1, SeqCst);
                yield_now().await;
            }
        });
        // Who is less urgent does not get the worker any more.
        while turns.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        start.notify_one();
        let urgent = spawn_with(Priority::HIGHEST, async move {
            let before = turns.load(SeqCst);
            drop(locks[LINKS - 1].lock().await);
            let passed = turns.load(SeqCst) - before;
            stop.store(1, SeqCst);
            passed
        });
        let passed = urgent.await;
        equal!(restless.await, Ok(()));
        for link in links {
            equal!(link.await, Ok(()));
        }
        passed.map_err(|error| Trouble::failed(format_args!("{error}")))
    })?;
    // By age alone one turn of the eight comes after some two thousand of its.
    ensure!(passed < 100, "who is in between had {passed} turns");
    Ok(())
}

/// The same where the urgent one joins somebody who joins the next, eight of them.
pub fn through_joins() -> Outcome {
    needs_asyncos()?;
    equal!(call(SCHED_SETUP, &[1]), Ok(1));
    let (start, turns, stop) = (Arc::new(Notify::new()), flag(), flag());
    let passed = block_on(async {
        let starts = start.clone();
        let mut last = spawn_with(Priority::LOWEST, async move {
            starts.notified().await;
            for _ in 0..20 {
                yield_now().await;
            }
        });
        for _ in 1..8 {
            last = spawn_with(Priority::LOWEST, async move { last.await.unwrap_or_default() });
        }
        // All wait by then.
        let _ = spawn_with(Priority::LOWEST, yield_now()).await;
        let (counted, ends) = (turns.clone(), stop.clone());
        let restless = spawn(async move {
            while ends.load(SeqCst) == 0 {
                counted.fetch_add(1, SeqCst);
                yield_now().await;
            }
        });
        start.notify_one();
        let urgent = spawn_with(Priority::HIGHEST, async move {
            let before = turns.load(SeqCst);
            let joined = last.await;
            let passed = turns.load(SeqCst) - before;
            stop.store(1, SeqCst);
            joined.map(|()| passed)
        });
        let passed = urgent.await;
        equal!(restless.await, Ok(()));
        match passed {
            Ok(Ok(passed)) => Ok(passed),
            other => Err(Trouble::failed(format_args!("{other:?}"))),
        }
    })?;
    ensure!(passed < 100, "who is in between had {passed} turns");
    Ok(())
}

/// Turns of a loop: some ten slices.
const WORK: u32 = 4_000_000;

/// Coroutines in between that never yield, as many as this at a time, until they are told to.
struct Spinners {
    turns: Arc<Vec<AtomicU32>>,
    stop: Arc<AtomicU32>,
    tasks: Vec<JoinHandle<()>>,
}

impl Spinners {
    const COUNT: usize = 1000;

    /// They are there, and some have been preempted for others.
    async fn start() -> Self {
        let (turns, stop) = (Arc::new((0..Self::COUNT).map(|_| AtomicU32::new(0)).collect::<Vec<_>>()), flag());
        let tasks = (0..Self::COUNT)
            .map(|index| {
                let (turns, stop) = (turns.clone(), stop.clone());
                spawn_with(Priority::new(20), async move {
                    while stop.load(SeqCst) == 0 {
                        turns[index].fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        let spinners = Self { turns, stop, tasks };
        while spinners.turns.iter().filter(|turns| turns.load(SeqCst) > 0).count() < 12 {
            sleep(Duration::from_millis(1)).await;
        }
        spinners
    }

    async fn end(self) -> Outcome {
        self.stop.store(1, SeqCst);
        for task in self.tasks {
            equal!(task.await, Ok(()));
        }
        Ok(())
    }
}

/// How many turns they have all had.
fn sum(turns: &[AtomicU32]) -> u64 {
    turns.iter().map(|turns| u64::from(turns.load(SeqCst))).sum()
}

/// Works for so many turns of the same loop as theirs.
fn work(turns: u32, stop: &AtomicU32) {
    let own = AtomicU32::new(0);
    while stop.load(SeqCst) == 0 && own.fetch_add(1, SeqCst) < turns {}
}

/// Somebody urgent does this beside the spinners, for which somebody at the lowest priority works for so long: how often they had a turn
/// meanwhile, in parts of what they may have by themselves, on other harts.
async fn passed<F: Future<Output = bool> + Send + 'static>(spinners: &Spinners, urgent: F) -> Result<u64, Trouble> {
    let turns = spinners.turns.clone();
    let task = spawn_with(Priority::new(10), async move {
        let before = sum(&turns);
        (urgent.await, sum(&turns) - before)
    });
    match task.await {
        Ok((true, passed)) => Ok(passed),
        other => Err(Trouble::failed(format_args!("{other:?}"))),
    }
}

/// By age alone a turn of one at the lowest priority comes after forty of each hart's. Those in between have the other harts for as long as
/// it takes.
fn few_turns(passed: u64) -> Outcome {
    let most = (1 + 8 * (harts() as u64 - 1)) * u64::from(WORK);
    ensure!(passed < most, "those in between had {passed} turns, of {most}");
    Ok(())
}

/// A request goes through three servers of the lowest priority; the last works for it, in several polls. It waits behind another of the
/// lowest priority, which the first has under way.
pub fn through_channels() -> Outcome {
    needs_asyncos()?;
    block_on(async {
        let (first, mut requests) = mpsc::channel::<oneshot::Sender<()>>(4);
        let (stop, busy) = (flag(), flag());
        for link in 0..3 {
            let (next, next_requests) = mpsc::unbounded_channel();
            let (stop, busy) = (stop.clone(), busy.clone());
            let mut own = core::mem::replace(&mut requests, next_requests);
            spawn_with(Priority::LOWEST, async move {
                while let Some(request) = own.recv().await {
                    busy.fetch_add(u32::from(link == 0), SeqCst);
                    for _ in 0..10 {
                        work(WORK / 40, &stop);
                        yield_now().await;
                    }
                    let _ = if link < 2 { next.send(request).is_ok() } else { request.send(()).is_ok() };
                }
            })
            .detach();
        }
        // Through all of them, so that each has received.
        let ask = |priority| {
            let (sender, answer) = oneshot::channel();
            let first = first.clone();
            spawn_with(priority, async move { first.send(sender).await.is_ok() && answer.await.is_ok() })
        };
        equal!(ask(Priority::LOWEST).await, Ok(true));
        let low = ask(Priority::LOWEST);
        while busy.load(SeqCst) < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        let spinners = Spinners::start().await;
        let (sender, answer) = oneshot::channel();
        let passed = passed(&spinners, async move { first.send(sender).await.is_ok() && answer.await.is_ok() }).await;
        stop.store(1, SeqCst);
        spinners.end().await?;
        equal!(low.await, Ok(true));
        few_turns(passed?)
    })
}

/// Somebody of the lowest priority holds a lock and is in the middle of a poll when the spinners come: its worker is given to those, and
/// it goes on as a thread. Somebody urgent wants the lock then.
pub fn without_a_slot() -> Outcome {
    needs_asyncos()?;
    block_on(async {
        let (lock, stage, stop) = (Arc::new(Mutex::new(())), flag(), flag());
        let (theirs, reached, stops) = (lock.clone(), stage.clone(), stop.clone());
        let holder = spawn_with(Priority::LOWEST, async move {
            let guard = theirs.lock().await;
            reached.store(1, SeqCst);
            spin_until(&reached, 2);
            work(WORK, &stops);
            guard.is_ok()
        });
        while stage.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let spinners = Spinners::start().await;
        let passed = passed(&spinners, async move {
            stage.store(2, SeqCst);
            lock.lock().await.is_ok()
        })
        .await;
        stop.store(1, SeqCst);
        spinners.end().await?;
        equal!(holder.await, Ok(true));
        few_turns(passed?)
    })
}

/// The receiving half goes from task to task, of which each ends with what it has taken, and the last drops it, while somebody urgent sends:
/// each message is taken, or comes back.
pub fn receiver_goes() -> Outcome {
    needs_asyncos()?;
    const ROUNDS: u32 = 300;
    for _ in 0..10 {
        let (sender, receiver) = mpsc::channel::<u32>(2);
        let ended = block_on(async move {
            let urgent = spawn_with(Priority::HIGHEST, async move {
                let mut sent = 0;
                while sender.send(sent).await.is_ok() {
                    sent += 1;
                    if sent.is_multiple_of(3) {
                        yield_now().await;
                    }
                }
                sent
            });
            let mut receiver = Some(receiver);
            for round in 0..ROUNDS {
                let Some(mut own) = receiver.take() else { break };
                let task = spawn_with(Priority::new(17 + (round % 8) as u8), async move {
                    let taken = own.recv().await;
                    (taken, own)
                });
                let Ok((taken, own)) = task.await else { break };
                equal!(taken, Some(round));
                receiver = Some(own);
            }
            drop(receiver);
            let sent = urgent.await;
            ensure!(sent.is_ok_and(|sent| (ROUNDS..=ROUNDS + 2).contains(&sent)), "{sent:?}");
            Ok::<_, Trouble>(())
        });
        ended?;
    }
    Ok(())
}
