//! Who waits for a lock of the kernel's lends its priority to who holds it: somebody urgent goes on beside somebody in between who never
//! waits, though who holds the lock is less urgent than both. All on one hart.

use crate::affinity;
use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_asyncos;
use crate::process::{PAGE, RW, map, sleep_ms, unmap};
use crate::runner::free_memory;
use crate::word::flag;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use monitor::lines::{Coroutine, Thread};
use rt::abi::Errno;
use rt::abi::io_uring::{IORING_OP_MADVISE, Sqe};
use rt::abi::mm::MADV_DONTNEED;
use rt::abi::process::{SCHED_FIFO, SCHED_IDLE};
use rt::fs;
use rt::ring::Ring;
use rt::task::sync::{Mutex, Notify};
use rt::task::{JoinHandle, Priority, block_on, spawn_with};
use rt::time::{Duration, Instant, sleep};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("priority/lent-in-memory", "S1 D7 D8", in_memory),
    case!("priority/lent-by-a-request", "S1 D7 D8", by_a_request),
    case!("priority/lent-from-coroutines", "S1 D7 D8", from_coroutines),
];

/// Of who holds the lock for a while: it takes a mapping of so many bytes away.
const LARGE: usize = 64 << 20;
/// How often the holder is met while it holds the lock.
const MEETINGS: usize = 3;
/// So many may be slow: another hart, which the holder waits for, can be away for long.
const SLOW: usize = 1;
/// How often it is looked for.
const ROUNDS: usize = 60;
/// Milliseconds that who is in between may have run at a time from when the lock is wanted until it is had: whoever lends keeps it from running, but for when the holder waits for something, say
/// for other harts to forget addresses, some dozens of times. By age alone the holder has a turn after some 200.
const MOST: u64 = 20;

fn set_class(policy: u32, priority: i32) -> Result<usize, Errno> {
    call!(SCHED_SETSCHEDULER, 0, policy, &raw const priority)
}

/// Somebody who is urgent, but less than this thread, and never waits once it is called.
struct Between {
    stage: Arc<AtomicU32>,
    /// Milliseconds that it has run.
    ran: Arc<AtomicU32>,
    id: Arc<AtomicU32>,
    /// Whether it was urgent.
    thread: thread::JoinHandle<bool>,
}

impl Between {
    /// It waits to be called.
    fn new() -> Result<Self, Trouble> {
        let (stage, ran, id) = (flag(), flag(), flag());
        let (seen, runs, own) = (stage.clone(), ran.clone(), id.clone());
        let life = move || {
            own.store(call!(GETTID).unwrap_or(0) as u32, SeqCst);
            let is_urgent = set_class(SCHED_FIFO, 50).is_ok();
            while seen.load(SeqCst) == 0 {
                sleep_ms(1);
            }
            run_until(&seen, &runs);
            is_urgent
        };
        Ok(Self { stage, ran, id, thread: thread::spawn(life)? })
    }

    fn call(&self) {
        self.stage.store(1, SeqCst);
        sleep_ms(4);
    }

    /// Milliseconds that it has run so far, and how often it had the hart. Asked by who keeps it from running.
    fn ran(&self) -> Result<(u64, u64), Trouble> {
        let threads = fs::read_to_string("/proc/self/threads")?;
        let id = self.id.load(SeqCst);
        let own = threads.lines().filter_map(Thread::parse).find(|thread| thread.id == id);
        let turns = own.ok_or_else(|| Trouble::failed("who is in between is not there"))?.turns;
        Ok((self.ran.load(SeqCst).into(), turns))
    }

    /// Milliseconds that it has run at a time, since it was asked before.
    fn ran_at_a_time_since(&self, (ran, turns): (u64, u64)) -> Result<u64, Trouble> {
        let now = self.ran()?;
        Ok((now.0 - ran) / (now.1 - turns + 1))
    }

    fn end(self) -> Outcome {
        self.stage.store(2, SeqCst);
        equal!(self.thread.join(), Some(true));
        Ok(())
    }
}

/// Runs until the word says so, or for three seconds, and says for how many milliseconds, without those in which others ran.
fn run_until(stage: &AtomicU32, says: &AtomicU32) {
    let (mut ran, mut last) = (Duration::ZERO, Instant::now());
    while stage.load(SeqCst) < 2 && ran < Duration::from_secs(3) {
        let now = Instant::now();
        ran += (now - last).min(Duration::from_millis(1));
        last = now;
        says.store(ran.as_millis() as u32, SeqCst);
    }
}

/// A thread at the lowest class does this, at some time, and has taken the word to 2 when it has done so.
fn holder(
    stage: &Arc<AtomicU32>,
    hold: impl FnOnce() -> Result<usize, Errno> + Send + 'static,
) -> Result<thread::JoinHandle<bool>, Trouble> {
    let stage = stage.clone();
    Ok(thread::spawn(move || {
        let is_low = set_class(SCHED_IDLE, 0).is_ok();
        stage.store(1, SeqCst);
        let done = hold();
        stage.store(2, SeqCst);
        is_low && done.is_ok()
    })?)
}

/// This thread, the most urgent, wants the lock that somebody holds who does `hold`. The milliseconds that who is in between has run at a time meanwhile;
/// none if the holder was not met.
fn meet(
    hold: impl FnOnce() -> Result<usize, Errno> + Send + 'static,
    want: &mut impl FnMut() -> Outcome,
) -> Result<Option<u64>, Trouble> {
    let (stage, between) = (flag(), Between::new()?);
    let holder = holder(&stage, hold)?;
    while stage.load(SeqCst) == 0 {
        sleep_ms(1);
    }
    between.call();
    let before = between.ran()?;
    let is_met = stage.load(SeqCst) == 1;
    let wanted = if is_met { want() } else { Ok(()) };
    let ran = between.ran_at_a_time_since(before)?;
    between.end()?;
    equal!(holder.join(), Some(true));
    wanted.map(|()| is_met.then_some(ran))
}

/// As [`meet`], or [`chain`], again and again.
fn meetings(mut meet: impl FnMut() -> Result<Option<u64>, Trouble>) -> Outcome {
    needs_asyncos()?;
    affinity::stay()?;
    set_class(SCHED_FIFO, 99)?;
    let (mut met, mut slow) = (0, 0);
    for _ in 0..ROUNDS {
        let Some(ran) = meet()? else { continue };
        if ran >= MOST {
            slow += 1;
            ensure!(slow <= SLOW, "who is in between ran for {ran} ms at a time");
            continue;
        }
        met += 1;
        if met == MEETINGS {
            return Ok(());
        }
    }
    Err(Trouble::failed(format_args!("the holder was met {met} times")))
}

/// A large mapping, to be taken away.
fn takes_away() -> Result<impl FnOnce() -> Result<usize, Errno> + Send + 'static, Trouble> {
    if free_memory().is_some_and(|free| free < 2 * (LARGE >> 10) as i64) {
        return Err(Trouble::skipped("needs more memory"));
    }
    let address = map(LARGE, RW)?;
    (0..LARGE).step_by(PAGE).for_each(|at| raw::bytes(address + at, 1).fill(1));
    Ok(move || unmap(address, LARGE))
}

/// Memory is mapped while another thread of the process takes some away.
fn in_memory() -> Outcome {
    let mut want = || {
        let page = map(PAGE, RW)?;
        unmap(page, PAGE)?;
        Ok(())
    };
    meetings(|| meet(takes_away()?, &mut want))
}

/// What is asked of a ring.
fn gives_up(page: usize) -> Sqe {
    let (addr, len) = (page as u64, PAGE as u32);
    Sqe { opcode: IORING_OP_MADVISE, addr, len, op_flags: MADV_DONTNEED, user_data: 3, ..Sqe::default() }
}

/// It is asked, and answers.
fn gives_up_by(ring: &mut Ring, page: usize) -> Outcome {
    ensure!(ring.push_raw(&gives_up(page)));
    ring.submit(1)?;
    equal!(ring.pop().map(|found| (found.user_data, found.res)), Some((3, 0)));
    Ok(())
}

/// The same through a ring.
fn by_a_request() -> Outcome {
    let (mut ring, page) = (Ring::new(4, 0)?, map(PAGE, RW)?);
    meetings(|| meet(takes_away()?, &mut || gives_up_by(&mut ring, page)))
}

/// Five coroutines hold a lock each and want the one before; the first joins one that has a request to the kernel, which waits for the lock of the
/// holder's. Another of them is aborted in the middle: then nobody is more urgent than by himself. Somebody urgent wants the last lock, later.
fn from_coroutines() -> Outcome {
    let page = map(PAGE, RW)?;
    meetings(|| chain(page))
}

/// How many locks the links of the chain hold.
const LINKS: usize = 5;

/// As [`meet`].
fn chain(page: usize) -> Result<Option<u64>, Trouble> {
    let (stage, between, hold) = (flag(), Between::new()?, takes_away()?);
    block_on(async {
        let locks: Arc<Vec<_>> = Arc::new((0..=LINKS).map(|_| Mutex::new(())).collect());
        let (start, held) = (Arc::new(Notify::new()), flag());
        let starts = start.clone();
        let asks = spawn_with(Priority::LOWEST, async move {
            starts.notified().await;
            Ring::new(4, 0).is_ok_and(|mut ring| gives_up_by(&mut ring, page).is_ok())
        });
        let mut asks = Some(asks);
        let links: Vec<_> = (0..=LINKS)
            .map(|number| spawn_with(Priority::LOWEST, link(locks.clone(), held.clone(), number, asks.take())))
            .collect();
        while held.load(SeqCst) <= LINKS as u32 {
            sleep(Duration::from_millis(1)).await;
        }
        aborted_in_the_middle(&locks, &links).await?;
        let holder = holder(&stage, hold)?;
        while stage.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        between.call();
        let before = between.ran()?;
        let is_met = stage.load(SeqCst) == 1;
        start.notify_one();
        let urgent = spawn_with(Priority::HIGHEST, async move { locks[LINKS - 1].lock().await.is_ok() });
        let reached = urgent.await;
        let ran = between.ran_at_a_time_since(before)?;
        between.end()?;
        equal!(reached, Ok(true));
        for link in links.into_iter().take(LINKS) {
            equal!(link.await, Ok(true));
        }
        equal!(holder.join(), Some(true));
        nobody_is_raised()?;
        Ok(is_met.then_some(ran))
    })
}

/// A link holds a lock, and wants the one before, or joins who asks the kernel.
async fn link(locks: Arc<Vec<Mutex<()>>>, held: Arc<AtomicU32>, number: usize, asks: Option<JoinHandle<bool>>) -> bool {
    let own = locks[number].lock().await;
    held.fetch_add(1, SeqCst);
    // Nobody has a lock that another is to hold first.
    while held.load(SeqCst) <= LINKS as u32 {
        sleep(Duration::from_millis(1)).await;
    }
    let done = match asks {
        Some(asks) => asks.await == Ok(true),
        None => locks[number - 1].lock().await.is_ok(),
    };
    own.is_ok() && done
}

/// The last link goes while somebody urgent waits for it, and with it what that one lent to those before.
async fn aborted_in_the_middle(locks: &Arc<Vec<Mutex<()>>>, links: &[JoinHandle<bool>]) -> Outcome {
    let theirs = locks.clone();
    let urgent = spawn_with(Priority::HIGHEST, async move { theirs[LINKS].lock().await.is_ok() });
    // All of them, and who asks.
    while raised()? < LINKS + 2 {
        sleep(Duration::from_millis(1)).await;
    }
    links[LINKS].abort();
    equal!(urgent.await, Ok(true));
    nobody_is_raised()
}

/// Coroutines and threads of this process that are more urgent than by themselves.
fn raised() -> Result<usize, Trouble> {
    let coroutines = fs::read_to_string("/proc/self/coroutines")?;
    let threads = fs::read_to_string("/proc/self/threads")?;
    let coroutines = coroutines.lines().filter_map(Coroutine::parse).filter(|line| line.priority < line.own);
    let threads = threads.lines().filter_map(Thread::parse).filter(|line| line.priority < line.own);
    Ok(coroutines.count() + threads.count())
}

fn nobody_is_raised() -> Outcome {
    for _ in 0..100 {
        if raised()? == 0 {
            return Ok(());
        }
        sleep_ms(1);
    }
    Err(Trouble::failed(format_args!("{} are still raised", raised()?)))
}
