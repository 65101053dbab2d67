//! What priorities and shares are worth: how soon the most urgent coroutine runs while a thousand others never yield, and what
//! an honest process keeps beside one that claims everything.

use crate::measure::{self, Outcome, measure};
use crate::pipe_rings;
use crate::processes::{end_counted, fork, own_path, wait};
use alloc::format;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;
use rt::abi::asyncos::SCHED_KICK;
use rt::abi::window::HINT;
use rt::io;
use rt::process::Command;
use rt::sync::Arc;
use rt::task::{Priority, block_on, set_workers, spawn_with, yield_now};
use rt::time::{Duration, Instant, sleep, sleep_until};
use rt::{async_pipe, fs, raw, thread};

/// Of the coroutines that never yield.
const LOW: Priority = Priority::new(28);
/// How many of them.
const SPINNERS: usize = 1_000;
/// How often the urgent one is woken.
const WAKES: usize = 500;
/// Of a page.
const PAGE: usize = 4096;

/// Where the kernel has no slots, as Linux, the one worker would never come back from what does not yield.
pub fn has_slots() -> bool {
    fs::exists("/proc/asyncos/scheduler")
}

/// Rows of one hart.
pub fn priorities() -> Outcome {
    if !has_slots() {
        return Ok(());
    }
    shares()?;
    in_a_process(&["--urgent", "process"])?;
    in_a_process(&["--urgent", "time"])
}

/// Rows that need several harts.
pub fn across_harts() -> Outcome {
    if has_slots() {
        in_a_process(&["--urgent", "harts"])?;
        in_a_process(&["--wakes", "parked"])?;
        in_a_process(&["--wakes", "awake"])?;
        pipe_rings::times()?;
    }
    in_a_process(&["--ping-pong", "harts"])?;
    in_a_process(&["--storm", "harts"])
}

/// A process decides once how many executors it has, and what never yields would be in the way of all other rows.
pub fn in_a_process(arguments: &[&str]) -> Outcome {
    if Command::new(&own_path()).args(arguments).status()?.success() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::Other, "a process for a row has failed"))
}

/// How many harts this machine has.
pub fn harts() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// Turns of a loop of two instructions: what an honest process does.
const TURNS: u64 = 100_000_000;

fn work(turns: u64) -> Outcome {
    let _ = raw::hold_integers(0, turns);
    Ok(())
}

/// Processes that lie about what they have to do, or have much of it, and their rows.
const LIARS: [(&str, &str, fn()); 5] = [
    ("claims", "share_beside_liar", || claim_all(&[Priority::HIGHEST; 8], spin)),
    ("kicks", "share_beside_kicks", || claim_all(&[Priority::HIGHEST; 8], kick)),
    ("spreads", "share_beside_spread", spread),
    ("threads", "share_beside_threads", || spin_in_threads(32)),
    ("hints", "share_beside_hints", scribble_hints),
];

/// Instructions of the hart a turn of that loop, alone and beside each of these.
fn shares() -> Outcome {
    measure("share_alone", TURNS, work)?;
    for (kind, id, _) in LIARS {
        let started = Instant::now();
        // A program of its own: a child of this process would have no threads for its coroutines if there are some here.
        let liar = Command::new(&own_path()).args(["--lie", kind]).spawn()?.id();
        thread::sleep(Duration::from_millis(200));
        let measured = measure(id, TURNS, work);
        let used = end_counted(liar)?;
        measured?;
        if used < started.elapsed() / 10 {
            return Err(io::Error::new(io::ErrorKind::Other, "a liar has not competed"));
        }
    }
    Ok(())
}

/// A row's process, `bench --lie KIND`: computes until it is ended.
pub fn lie(kind: &str) -> Outcome {
    if let Some((_, _, lie)) = LIARS.iter().find(|(known, ..)| *known == kind) {
        lie();
    }
    Ok(())
}

/// Never yields.
fn spin() {
    loop {
        spin_loop();
    }
}

/// The same, and calls for its process's slot all the time.
fn kick() {
    loop {
        raw::syscall6(SCHED_KICK, [0; 6]);
    }
}

/// Coroutines of these priorities that do this.
fn claim_all(priorities: &[Priority], act: fn()) {
    block_on(async {
        let spinners: Vec<_> = priorities.iter().map(|priority| spawn_with(*priority, async move { act() })).collect();
        for spinner in spinners {
            let _: Result<(), _> = spinner.await;
        }
    });
}

/// Never yields at any priority there is, the least urgent first, each on a thread of its own by then.
fn spread() {
    block_on(async {
        for number in (0..=Priority::LOWEST.number()).rev() {
            let begun = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&begun);
            spawn_with(Priority::new(number), async move {
                begun.store(true, Ordering::Relaxed);
                spin();
            })
            .detach();
            while !seen.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    spin();
}

/// So many threads that never stop.
fn spin_in_threads(threads: usize) {
    for _ in 1..threads {
        let _ = thread::spawn(spin);
    }
    spin();
}

/// Coroutines that never yield, in a process whose hints are all ones but for their addresses.
fn scribble_hints() {
    let _ = thread::spawn(|| {
        thread::sleep(Duration::from_millis(5));
        loop {
            (HINT..HINT + PAGE / 8).step_by(8).for_each(|at| raw::store64(at, u64::MAX));
        }
    });
    claim_all(&[Priority::HIGHEST; 8], kick);
}

/// A row's process, `bench --urgent KIND`: prints how late the urgent coroutine was.
pub fn urgent(kind: &str) -> Outcome {
    let (id, unit, late) = match kind {
        "process" => ("priority", "insn", woken_by_a_process()?),
        "time" => {
            let each = measure::nanos_an_instruction();
            ("priority_timer", "insn", woken_by_time()?.iter().map(|nanos| nanos / each).collect())
        }
        _ => ("priority_harts", "us", woken_by_time()?.iter().map(|nanos| nanos / 1_000.0).collect()),
    };
    let mut late: Vec<f64> = late;
    late.sort_by(f64::total_cmp);
    for (part, percent) in [("median", 50), ("p99", 99), ("max", 100)] {
        let index = (late.len() * percent).div_ceil(100).saturating_sub(1);
        if let Some(value) = late.get(index) {
            measure::report(&format!("{id}_{part}"), *value, unit);
        }
    }
    Ok(())
}

static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Starts those that never yield.
fn start_spinners() {
    for _ in 0..SPINNERS {
        spawn_with(LOW, async {
            // Relaxed: nothing is handed over with it.
            while !ENOUGH.load(Ordering::Relaxed) {
                spin_loop();
            }
        })
        .detach();
    }
}

/// A span that differs from turn to turn, so that nothing falls in step with ticks: 1 to 8 ms.
fn span(turn: usize) -> Duration {
    Duration::from_micros(1_000 + (turn as u64 * 7_919) % 7_000)
}

/// Another process writes what the counter of instructions says, and the coroutine compares when it has read it.
fn woken_by_a_process() -> io::Result<Vec<f64>> {
    let (there, here) = async_pipe::pipe()?;
    let child = fork(|| {
        for turn in 0..WAKES {
            thread::sleep(span(turn));
            let _ = block_on(async { there.write_all(&raw::instret().to_le_bytes()).await });
        }
    })?;
    start_spinners();
    let late = block_on(spawn_with(Priority::HIGHEST, async move {
        let mut late = Vec::with_capacity(WAKES);
        let mut stamp = [0; 8];
        while late.len() < WAKES && here.read_exact(&mut stamp).await.is_ok() {
            late.push(measure::instructions_since(u64::from_le_bytes(stamp)) as f64);
        }
        ENOUGH.store(true, Ordering::Relaxed);
        late
    }));
    wait(child)?;
    late.map_err(|_| io::Error::new(io::ErrorKind::Other, "the urgent coroutine has failed"))
}

/// It waits for a time, and compares with the clock: nanoseconds.
fn woken_by_time() -> io::Result<Vec<f64>> {
    start_spinners();
    let late = block_on(spawn_with(Priority::HIGHEST, async move {
        let mut late = Vec::with_capacity(WAKES);
        for turn in 0..WAKES {
            let due = Instant::now() + span(turn);
            sleep_until(due).await;
            late.push(due.elapsed().as_nanos() as f64);
        }
        ENOUGH.store(true, Ordering::Relaxed);
        late
    }));
    late.map_err(|_| io::Error::new(io::ErrorKind::Other, "the urgent coroutine has failed"))
}

/// How many IPIs all harts have sent.
fn ipis() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/interrupts")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("IPI:"));
    let count = line.and_then(|line| line.trim().parse::<f64>().ok());
    count.ok_or(io::Error::new(io::ErrorKind::InvalidData, "no IPIs"))
}

/// How often a coroutine is woken from another hart.
const CALLS: u32 = 1_000;

/// A row's process, `bench --wakes KIND`: IPIs that all harts send while a thread on one hart wakes a coroutine on another,
/// each time. `parked`: its worker has nothing else to run and sleeps, each time; else another coroutine keeps it awake.
pub fn wakes(kind: &str) -> Outcome {
    set_workers(1);
    let turns = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&turns);
    let woken = spawn_with(
        Priority::NORMAL,
        poll_fn(move |_| -> Poll<()> {
            seen.fetch_add(1, Ordering::SeqCst);
            Poll::Pending
        }),
    );
    let is_parked = kind == "parked";
    if !is_parked {
        spawn_with(Priority::NORMAL, async {
            while !ENOUGH.load(Ordering::Relaxed) {
                yield_now().await;
            }
        })
        .detach();
    }
    let target = woken.task();
    let run = |count: u32| {
        for _ in 0..count {
            let before = turns.load(Ordering::SeqCst);
            // Time to park, if there is nothing else; this thread keeps its hart.
            let _ = raw::hold_integers(0, 200_000);
            target.wake();
            while turns.load(Ordering::SeqCst) == before {
                spin_loop();
            }
        }
    };
    run(CALLS / 10);
    let before = ipis()?;
    run(CALLS);
    let each = (ipis()? - before) / f64::from(CALLS);
    measure::report(if is_parked { "wake_ipis" } else { "wake_ipis_awake" }, each, "IPIs");
    ENOUGH.store(true, Ordering::Relaxed);
    Ok(())
}
