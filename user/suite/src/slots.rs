//! Slots: a process's workers go on when the thread of one blocks, never yields, or ends; and what a process tells the kernel
//! of them harms nobody else (note 0003, section 5).

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_asyncos;
use crate::process::{PAGE, call, child, exits, kill, sleep_ms, wait_with};
use crate::programs::own_path;
use crate::word::{flag, spin_until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use rt::abi::Errno;
use rt::abi::asyncos::{SCHED_KICK, SCHED_SETUP, SCHED_WAIT};
use rt::abi::nr;
use rt::abi::process::{CLONE_VFORK, CLONE_VM, WNOHANG};
use rt::abi::signal::{SIGCHLD, SIGKILL};
use rt::abi::slots::{HINTS, KICKED, OWNER, STRIDE};
use rt::abi::window::{HINT, STATUS};
use rt::io::{Read, Write};
use rt::task::{self, Priority, block_on, spawn, spawn_with, yield_now};
use rt::time::{Duration, sleep};
use rt::{fs, pipe, raw, thread};

pub const CASES: &[Case] = &[
    case!("slots/blocking-call", "C7 P6 S2", blocking_call),
    case!("slots/blocking-sleep", "C7 P6", blocking_sleep),
    case!("slots/many-block", "C7 P8", many_block),
    case!("slots/never-yields", "P6 S4", never_yields),
    case!("slots/ages", "S1 S4", ages),
    case!("slots/ages-alone", "S1 S4", ages_alone),
    case!("slots/urgent-by-thread", "S1 S4 S5", urgent_by_thread),
    case!("slots/urgent-by-time", "S1 S4", urgent_by_time),
    case!("slots/priority-in-a-poll", "S4 D6", priority_in_a_poll),
    case!("slots/side-by-side", "P8", side_by_side),
    case!("slots/block-on-from-threads", "R3 P8", block_on_from_threads),
    case!("slots/counted", "P9", counted),
    case!("slots/arguments", "E1 S6", arguments),
    case!("slots/children-have-none", "P1 S6", children_have_none),
    case!("slots/forked-in-a-poll", "P1 S6", forked_in_a_poll),
    case!("slots/holder-ends", "S6", holder_ends),
    case!("slots/on-pages-of-another", "P1 S6", on_pages_of_another),
    case!("slots/hints-of-anything", "S6", hints_of_anything),
    case!("slots/pool-of-anything", "S6", pool_of_anything),
    case!("slots/claims-all", "S1 S6", claims_all),
    case!("slots/exit-while-all-run", "P8 D14", exit_while_all_run),
    case!("slots/beside-one-that-yields", "S1 S4", beside_one_that_yields),
    case!("slots/beside-that-and-a-process", "S1 S4", beside_that_and_a_process),
];

/// A coroutine blocks in `read` until its sibling, on the same worker, has written.
fn blocking_call() -> Outcome {
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
fn blocking_sleep() -> Outcome {
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
fn many_block() -> Outcome {
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

/// With one worker: who is most urgent and yields again and again does not keep the others from it for ever.
fn ages() -> Outcome {
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
fn ages_alone() -> Outcome {
    needs_asyncos()?;
    equal!(call(SCHED_SETUP, &[1]), Ok(1));
    ages()
}

/// With one worker: who never yields is preempted for its equals, and goes on on the thread that it is on.
fn never_yields() -> Outcome {
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

/// All workers run something that never yields and is less urgent: what a thread wakes runs at once.
fn urgent_by_thread() -> Outcome {
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
fn urgent_by_time() -> Outcome {
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

/// As many coroutines as may be run at once, each waiting for all without yielding; then the others have their turns.
fn side_by_side() -> Outcome {
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
fn block_on_from_threads() -> Outcome {
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

fn counted() -> Outcome {
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
fn priority_in_a_poll() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let counts = || (0..64).map(|place| raw::atomic(HINT + 4 * place).load(SeqCst)).collect::<Vec<_>>();
    let changed = block_on(async move {
        let task = spawn(async move {
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
    });
    let Ok(changed) = changed else { return Err(Trouble::failed("the coroutine has failed")) };
    equal!(changed.len(), 1);
    let (before, after) = changed[0];
    ensure!(before % 2 == 0 && after == before + 2, "{before} {after}");
    Ok(())
}

/// A call of the scheduler's.
fn sched(number: usize, first: usize, second: usize) -> Result<usize, Errno> {
    call(number, &[first, second])
}

fn arguments() -> Outcome {
    needs_asyncos()?;
    fails!(sched(SCHED_WAIT, 0, 0), EINVAL);
    fails!(sched(SCHED_KICK, 0, 0), EINVAL);
    fails!(sched(SCHED_SETUP, 0, 0), EINVAL);
    let slots = sched(SCHED_SETUP, usize::MAX, 0)?;
    ensure!((1..=8).contains(&slots), "{slots}");
    fails!(sched(SCHED_SETUP, 1, 0), EBUSY);
    for place in [64, 255, 256, usize::MAX] {
        fails!(sched(SCHED_WAIT, place, 0), EINVAL);
    }
    for target in [8, 255, 256, usize::MAX] {
        for priority in [0, 31, 32, usize::MAX] {
            equal!(sched(SCHED_KICK, target, priority), Ok(0));
        }
    }
    // What is kicked before anybody waits is there for the first that does; and so is a kick before its next wait.
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 63, 0), Ok(0));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 64);
    fails!(sched(SCHED_WAIT, 62, 0), EINVAL);
    raw::atomic(HINT + 4 * 63).store(1, SeqCst);
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 63, 0), Ok(0));
    Ok(())
}

/// Neither `fork` nor `execve` hands slots on.
fn children_have_none() -> Outcome {
    needs_asyncos()?;
    block_on(async {
        let _ = spawn(async {}).await;
    });
    let pid = child(|| {
        let none = sched(SCHED_KICK, 0, 0) == Err(Errno::EINVAL);
        let own = sched(SCHED_SETUP, 1, 0) == Ok(1) && raw::atomic(STATUS + OWNER).load(SeqCst) == 0;
        i32::from(!(none && own))
    })?;
    exits(pid, 0)?;
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    let mut command = rt::process::Command::new(&own_path());
    let (status, output) = command.args(["--program", "slots"]).output()?;
    ensure!(status.success(), "{status}");
    equal!(core::str::from_utf8(&output).map(str::trim), Ok("none"));
    Ok(())
}

/// A child that begins in a poll ends when that is over: it has no slots to go on with.
fn forked_in_a_poll() -> Outcome {
    needs_asyncos()?;
    let forks = || call(nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]);
    match block_on(async move { spawn(async move { forks() }).await }) {
        Ok(pid) => exits(pid? as i32, 0),
        Err(error) => Err(Trouble::failed(format_args!("{error:?}"))),
    }
}

/// A thread ends with a slot that it was given while the first was blocked; the slot goes on.
fn holder_ends() -> Outcome {
    needs_asyncos()?;
    equal!(sched(SCHED_SETUP, 1, 0), Ok(1));
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 0, 0), Ok(0));
    // In its count, zero, this thread polls a coroutine: it gives the slot up where it blocks.
    let spare = thread::spawn(|| sched(SCHED_WAIT, 1, 0))?;
    equal!(spare.join(), Some(Ok(0)));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 0);
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 0, 0), Ok(0));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 1);
    Ok(())
}

extern "C" fn set_up_and_exit(_: usize) {
    let refused = sched(SCHED_SETUP, 1, 0) == Err(Errno::EBUSY);
    let _ = call(nr::EXIT_GROUP, &[usize::from(!refused)]);
}

/// A child that shares the space of its maker cannot write what the kernel says there.
fn on_pages_of_another() -> Outcome {
    needs_asyncos()?;
    let stack = crate::process::map(4 * PAGE, crate::process::RW)? + 4 * PAGE;
    for more in [CLONE_VFORK, 0] {
        let how = raw::Clone { flags: CLONE_VM | more | u64::from(SIGCHLD), stack, ..raw::Clone::default() };
        exits(raw::clone_call(how, set_up_and_exit, 0) as i32, 0)?;
    }
    equal!(sched(SCHED_SETUP, 1, 0), Ok(1));
    Ok(())
}

/// Lets a child go on for a while, and ends it if it has not ended; how is its own affair.
fn let_go(pid: i32) -> Outcome {
    for _ in 0..20 {
        sleep_ms(2);
        if wait_with(pid, WNOHANG)?.0 == pid {
            return Ok(());
        }
    }
    let _ = kill(pid, SIGKILL);
    crate::process::wait(pid)?;
    Ok(())
}

/// A few coroutines that spin, yield and block.
fn stir() {
    block_on(async {
        let tasks: Vec<_> = (0..8u64)
            .map(|index| {
                spawn(async move {
                    for turn in 0..20 {
                        match (index + turn) % 4 {
                            0 => sleep_ms(1),
                            1 => (0..10_000).for_each(|_| core::hint::spin_loop()),
                            _ => yield_now().await,
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
}

/// What a case fills memory with: nothing, all ones, addresses of the kernel, of nobody, of the window itself, a count that
/// never stops.
const ANYTHING: [u64; 7] = [
    0,
    u64::MAX,
    0xffff_ffc0_8020_0000,
    0x0000_0040_0000_0000,
    HINT as u64,
    0x1111_1111_1111_1110,
    0x7fff_ffff_ffff_fff9,
];

/// The hint page is filled with anything, again and again, while the process works.
fn hints_of_anything() -> Outcome {
    needs_asyncos()?;
    for value in ANYTHING {
        let pid = child(|| {
            block_on(async {
                let _ = spawn(async {}).await;
            });
            let scribbler = thread::spawn(move || {
                loop {
                    (HINT..HINT + PAGE).step_by(8).for_each(|at| raw::store64(at, value));
                    let _ = sched(SCHED_KICK, 0, value as usize);
                }
            });
            stir();
            i32::from(scribbler.is_err())
        })?;
        let_go(pid)?;
    }
    blocking_call()
}

/// The pool's words are filled with anything: the ready bits, and what lies around them.
fn pool_of_anything() -> Outcome {
    needs_asyncos()?;
    for value in ANYTHING {
        for (from, words) in [(0isize, 1), (-8, 4), (-64, 64)] {
            let pid = child(|| {
                block_on(async {
                    let _ = spawn(async {}).await;
                });
                let ready = raw::load64(HINT + HINTS) as isize;
                (0..words).for_each(|word| raw::store64((ready + from + 8 * word) as usize, value));
                stir();
                0
            })?;
            let_go(pid)?;
        }
    }
    blocking_call()
}

/// A process that claims the highest priority for coroutines that never yield does not keep an honest one from ending.
fn claims_all() -> Outcome {
    needs_asyncos()?;
    let liar = child(|| {
        block_on(async {
            let spinners: Vec<_> = (0..8)
                .map(|_| {
                    spawn_with(Priority::HIGHEST, async {
                        loop {
                            let _ = sched(SCHED_KICK, 0, 0);
                        }
                    })
                })
                .collect();
            for spinner in spinners {
                let _: Result<(), _> = spinner.await;
            }
        });
        1
    })?;
    sleep_ms(5);
    let honest = child(|| {
        stir();
        0
    })?;
    let ended = exits(honest, 0);
    kill(liar, SIGKILL)?;
    crate::process::wait(liar)?;
    ended
}

/// A process ends while coroutines of it run on all harts.
fn exit_while_all_run() -> Outcome {
    needs_asyncos()?;
    for _ in 0..3 {
        let pid = child(|| {
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
                    sleep(Duration::from_millis(1)).await;
                }
            });
            5
        })?;
        exits(pid, 5)?;
    }
    let offsets = [OWNER, KICKED, STRIDE];
    ensure!(offsets.iter().all(|offset| raw::atomic(STATUS + offset).load(SeqCst) == 0), "another process's status");
    Ok(())
}

/// A thread that does nothing but poll again is more urgent than coroutines that never yield. On one hart these have their turns by ageing
/// alone; and so has each of their threads, one that has just been given the slot, too.
fn beside_one_that_yields() -> Outcome {
    needs_asyncos()?;
    let pid = child(|| {
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
                yield_now().await;
            }
        });
        5
    })?;
    exits(pid, 5)
}

/// The same beside another process, so that the first has had more than its share at times when ageing would put one ahead.
fn beside_that_and_a_process() -> Outcome {
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
