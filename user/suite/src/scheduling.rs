//! Who runs, and when: processes and threads under the kernel, coroutines under the library.

use crate::case::{Case, Outcome, Trouble};
use crate::process::{Shared, child, dies, exits, kill, sleep_ms};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use rt::abi::signal::SIGKILL;
use rt::task::{self, JoinHandle, Priority, yield_now};
use rt::time::{Duration, Instant, sleep, timeout};
use rt::{sync::Mutex, thread};

pub const CASES: &[Case] = &[
    case!("tasks/ten-thousand", "P5 P8 R2 S2", ten_thousand),
    case!("tasks/take-turns", "P8 S1", take_turns),
    case!("tasks/by-priority", "S1 S2", by_priority),
    case!("tasks/sleep", "P5 C7 D16", task_sleep),
    case!("tasks/timeout-cancels", "D14", timeout_cancels),
    case!("tasks/nested", "R2 R4", nested),
    case!("tasks/abort", "D14 R2", abort),
    case!("tasks/woken-by-a-thread", "P8 R3", woken_by_a_thread),
    case!("scheduling/busy-does-not-stop-others", "P6 S4", busy_does_not_stop_others),
    case!("scheduling/more-busy-than-harts", "P6 S4 I2", more_busy_than_harts),
    case!("scheduling/busy-threads-of-one-process", "P6 P7", busy_threads_of_one_process),
    case!("scheduling/timer-beside-busy", "S4 D16", timer_beside_busy),
    case!("scheduling/yield", "I2", yields),
    case!("scheduling/idle", "D16", idle),
];

fn ten_thousand() -> Outcome {
    let sum = task::block_on(async {
        let mut tasks = Vec::new();
        for number in 0..10_000u64 {
            tasks.push(task::spawn(async move {
                yield_now().await;
                number
            }));
        }
        let mut sum = 0;
        for handle in tasks {
            sum += handle.await.unwrap_or_default();
        }
        sum
    });
    equal!(sum, 9_999 * 10_000 / 2);
    Ok(())
}

/// Tasks that yield are never more than a round apart. One whose thread loses its slot meanwhile, for a page or to others, is away for as long as that takes: so the best of some
/// trials counts.
fn take_turns() -> Outcome {
    // Several workers take turns by their own count.
    task::set_workers(1);
    let mut apart = 0;
    for _ in 0..5 {
        apart = turns_apart()?;
        if (1..=2).contains(&apart) {
            return Ok(());
        }
        // What has disturbed this one may go on for a while.
        sleep_ms(20);
    }
    Err(Trouble::failed(format_args!("one task was {apart} turns before another, each time")))
}

/// By how many turns one of them is before another at most.
fn turns_apart() -> Result<u32, Trouble> {
    let turns: Arc<Vec<AtomicU32>> = Arc::new((0..20).map(|_| AtomicU32::new(0)).collect());
    let apart = Arc::new(AtomicU32::new(0));
    let (each, most) = (turns.clone(), apart.clone());
    // Nobody begins before all are there.
    let all = task::spawn_with(Priority::HIGHEST, async move {
        let mut tasks = Vec::new();
        for index in 0..20 {
            let (turns, apart) = (each.clone(), most.clone());
            tasks.push(task::spawn(async move {
                for _ in 0..200 {
                    let mine = turns[index].fetch_add(1, Ordering::Relaxed) + 1;
                    let least = turns.iter().map(|turn| turn.load(Ordering::Relaxed)).min().unwrap_or(0);
                    apart.fetch_max(mine.saturating_sub(least), Ordering::Relaxed);
                    yield_now().await;
                }
            }));
        }
        tasks
    });
    join_from_outside(all)?;
    Ok(apart.load(Ordering::Relaxed))
}

/// Joins what a task has started by who is no task, and lends nothing.
fn join_from_outside(starts: JoinHandle<Vec<JoinHandle<()>>>) -> Outcome {
    task::block_on(async {
        for handle in starts.await.unwrap_or_default() {
            ensure!(handle.await.is_ok());
        }
        Ok(())
    })
}

/// The best of some trials counts, as for [`take_turns`].
fn by_priority() -> Outcome {
    task::set_workers(1);
    let mut found = Vec::new();
    for _ in 0..5 {
        found = order_of_priorities()?;
        // 0 is the most urgent; equals keep their order.
        if found == [5, 5, 12, 20, 28] {
            return Ok(());
        }
        sleep_ms(20);
    }
    Err(Trouble::failed(format_args!("{found:?}, each time")))
}

/// In which order tasks of several priorities run that are all there before one begins.
fn order_of_priorities() -> Result<Vec<u8>, Trouble> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    // As urgent as can be, so that it is not preempted by what it starts.
    let all = task::spawn_with(Priority::HIGHEST, async move {
        let mut tasks = Vec::new();
        for number in [20u8, 5, 12, 28, 5] {
            let order = seen.clone();
            let priority = Priority::new(number);
            tasks.push(task::spawn_with(priority, async move { order.lock().push(number) }));
        }
        tasks
    });
    join_from_outside(all)?;
    let found = order.lock().clone();
    Ok(found)
}

fn task_sleep() -> Outcome {
    let early = task::block_on(async {
        let mut tasks = Vec::new();
        for number in 0..200u64 {
            tasks.push(task::spawn(async move {
                let span = Duration::from_millis(number * 7 % 40);
                let start = Instant::now();
                sleep(span).await;
                u32::from(start.elapsed() < span)
            }));
        }
        let mut early = 0;
        for handle in tasks {
            early += handle.await.unwrap_or(1);
        }
        early
    });
    equal!(early, 0);
    Ok(())
}

struct Flag(Arc<AtomicU32>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that is given up is dropped, with all it holds.
fn timeout_cancels() -> Outcome {
    let dropped = Arc::new(AtomicU32::new(0));
    let flag = Flag(dropped.clone());
    let result = task::block_on(timeout(Duration::from_millis(5), async move {
        let _flag = flag;
        core::future::pending::<()>().await;
    }));
    ensure!(result.is_err_and(|error| error.kind() == rt::io::ErrorKind::TimedOut));
    equal!(dropped.load(Ordering::SeqCst), 1);
    Ok(())
}

fn nested() -> Outcome {
    fn tree(depth: u32) -> core::pin::Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return 1;
            }
            let (left, right) = (task::spawn(tree(depth - 1)), task::spawn(tree(depth - 1)));
            left.await.unwrap_or(0) + right.await.unwrap_or(0)
        })
    }
    equal!(task::block_on(tree(9)), 512);
    Ok(())
}

fn abort() -> Outcome {
    let dropped = Arc::new(AtomicU32::new(0));
    let flag = Flag(dropped.clone());
    let cancelled = task::block_on(async move {
        let handle = task::spawn(async move {
            let _flag = flag;
            core::future::pending::<()>().await;
        });
        yield_now().await;
        handle.abort();
        handle.await.is_err()
    });
    ensure!(cancelled);
    equal!(dropped.load(Ordering::SeqCst), 1);
    Ok(())
}

fn woken_by_a_thread() -> Outcome {
    let pid = child(|| {
        let woken = Arc::new(Mutex::new((0u32, None::<core::task::Waker>)));
        let theirs = woken.clone();
        let sender = thread::spawn(move || {
            for _ in 0..50 {
                sleep_ms(1);
                let mut guard = theirs.lock();
                guard.0 += 1;
                if let Some(waker) = guard.1.take() {
                    waker.wake();
                }
            }
        });
        task::block_on(core::future::poll_fn(|cx| {
            let mut guard = woken.lock();
            guard.1 = Some(cx.waker().clone());
            if guard.0 == 50 { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
        }));
        i32::from(sender.map_or(true, |sender| sender.join().is_none()))
    })?;
    exits(pid, 0)
}

/// Processes that never enter the kernel.
struct Busy(Vec<i32>);

impl Busy {
    fn start(count: usize) -> Result<Self, Trouble> {
        let mut busy = Self(Vec::new());
        for _ in 0..count {
            busy.0.push(child(|| {
                loop {
                    core::hint::spin_loop();
                }
            })?);
        }
        Ok(busy)
    }

    fn end(self) -> Outcome {
        for pid in &self.0 {
            kill(*pid, SIGKILL)?;
        }
        self.0.iter().try_for_each(|pid| dies(*pid, SIGKILL))
    }
}

fn busy_does_not_stop_others() -> Outcome {
    let busy = Busy::start(8)?;
    for number in 0..10 {
        exits(child(move || number)?, number as u8)?;
    }
    let (mut read, mut write) = rt::pipe::pipe()?;
    let pid = child(|| {
        let mut byte = [0];
        i32::from(rt::io::Read::read_exact(&mut read, &mut byte).is_err())
    })?;
    rt::io::Write::write_all(&mut write, &[1])?;
    exits(pid, 0)?;
    busy.end()
}

/// Twenty processes that only count: each gets on.
fn more_busy_than_harts() -> Outcome {
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for index in 0..20 {
        pids.push(child(|| {
            loop {
                shared.count(index);
            }
        })?);
    }
    (0..20).for_each(|index| shared.await_least(index, 10_000));
    for pid in &pids {
        kill(*pid, SIGKILL)?;
    }
    pids.into_iter().try_for_each(|pid| dies(pid, SIGKILL))
}

fn busy_threads_of_one_process() -> Outcome {
    let stop = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for _ in 0..10 {
        let stop = stop.clone();
        threads.push(thread::spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                core::hint::spin_loop();
            }
        })?);
    }
    sleep_ms(20);
    stop.store(1, Ordering::Relaxed);
    for handle in threads {
        ensure!(handle.join().is_some());
    }
    Ok(())
}

fn timer_beside_busy() -> Outcome {
    let busy = Busy::start(8)?;
    for _ in 0..10 {
        let start = Instant::now();
        sleep_ms(5);
        ensure!(start.elapsed() >= Duration::from_millis(5));
    }
    busy.end()
}

fn yields() -> Outcome {
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for _ in 0..4 {
        pids.push(child(|| {
            for _ in 0..500 {
                shared.count(0);
                thread::yield_now();
            }
            0
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    equal!(shared.get(0), 2000);
    Ok(())
}

/// While everybody sleeps no processor time passes for this process.
fn idle() -> Outcome {
    let used = || {
        let mut now = rt::abi::time::Timespec::default();
        call!(CLOCK_GETTIME, rt::abi::time::CLOCK_PROCESS_CPUTIME_ID, &raw mut now).map(|_| now.to_nanos())
    };
    let before = used()?;
    sleep_ms(400);
    let (Some(before), Some(after)) = (before, used()?) else { return Err(Trouble::failed("the clock")) };
    ensure!(after - before < 300_000_000, "sleeping for 400 ms used {} ns", after - before);
    Ok(())
}
