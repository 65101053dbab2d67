//! The harts that a thread may run on: what is set is read back, inherited and kept to, whoever else runs there.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{harts, is_asyncos, needs_harts, needs_kernel, needs_root};
use crate::process::{Shared, checked_child, child, dies, exits, kill, sleep_ms};
use crate::programs::own_path;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use rt::abi::process::{SCHED_DEADLINE, SCHED_FIFO, SchedAttr};
use rt::abi::signal::SIGKILL;
use rt::sync::Arc;
use rt::{fs, process, thread};

pub const CASES: &[Case] = &[
    case!("affinity/read-back", "E1 S1", read_back),
    case!("affinity/wrong", "E1 D12", wrong),
    case!("affinity/rights", "E1 S6", rights),
    case!("affinity/inherited", "E1 S1", inherited),
    case!("affinity/in-proc", "E1 P9", in_proc),
    case!("affinity/reservations", "E1 S3", reservations),
    case!("affinity/at-once", "E1 S1", at_once),
    case!("affinity/others", "E1 S1", others),
    case!("affinity/never-elsewhere", "E1 S1 S4", never_elsewhere),
    case!("affinity/beside-a-hog", "E1 S1 S4", beside_a_hog),
    case!("affinity/changed-for-ever", "E1 S1 D12", changed_for_ever),
    case!("affinity/many-at-once", "E1 S1 P8", many_at_once),
];

type Result<T> = core::result::Result<T, rt::abi::Errno>;

fn set(tid: i32, mask: u64) -> Result<usize> {
    call!(SCHED_SETAFFINITY, tid, size_of::<u64>(), &raw const mask)
}

fn get(tid: i32) -> Result<u64> {
    let mut mask = 0u64;
    call!(SCHED_GETAFFINITY, tid, size_of::<u64>(), &raw mut mask).map(|_| mask)
}

/// The hart that this thread is at.
fn hart() -> Result<u32> {
    let mut hart = u32::MAX;
    call!(GETCPU, &raw mut hart, 0, 0).map(|_| hart)
}

fn own_tid() -> Result<i32> {
    call!(GETTID).map(|tid| tid as i32)
}

fn all() -> u64 {
    u64::MAX >> (64 - harts().clamp(1, 64))
}

/// Skips what several harts would do at the same time.
pub fn needs_one_hart() -> Outcome {
    if harts() == 1 { Ok(()) } else { Err(Trouble::skipped("needs a machine with one hart")) }
}

/// This thread stays at the hart at which it is; which one.
pub fn stay() -> core::result::Result<u32, Trouble> {
    let hart = hart()?;
    set(0, 1 << hart)?;
    Ok(hart)
}

fn read_back() -> Outcome {
    needs_kernel("harts")?;
    equal!(get(0)?, all());
    let last = 1 << (harts() - 1);
    set(0, last)?;
    equal!((get(0)?, get(own_tid()?)?, get(process::id() as i32)?), (last, last, last));
    // What is not there does not count.
    set(0, u64::MAX)?;
    equal!(get(0)?, all());
    // A mask may be longer or shorter than the kernel's; what a short one lacks is 0.
    let long = [1u64, u64::MAX, 0, 5];
    call!(SCHED_SETAFFINITY, 0, size_of_val(&long), &raw const long)?;
    equal!(get(0)?, 1);
    let byte = 1u8;
    call!(SCHED_SETAFFINITY, 0, 1, &raw const byte)?;
    equal!(get(0)?, 1);
    let mut long = [u64::MAX; 4];
    equal!(call!(SCHED_GETAFFINITY, 0, size_of_val(&long), &raw mut long)?, size_of::<u64>());
    equal!(long, [1, u64::MAX, u64::MAX, u64::MAX]);
    Ok(())
}

fn wrong() -> Outcome {
    needs_kernel("harts")?;
    let mut mask = 1u64;
    fails!(set(0, 0), EINVAL);
    fails!(set(0, !all()), EINVAL);
    fails!(call!(SCHED_SETAFFINITY, 0, 0, &raw const mask), EINVAL);
    fails!(call!(SCHED_SETAFFINITY, 0, 8, 0), EFAULT);
    fails!(call!(SCHED_SETAFFINITY, 0, 8, usize::MAX - 3), EFAULT);
    for tid in [-1, i32::MIN, i32::MAX] {
        fails!(set(tid, 1), ESRCH);
        fails!(get(tid), ESRCH);
    }
    for len in [0, 1, 7, 9, 12] {
        fails!(call!(SCHED_GETAFFINITY, 0, len, &raw mut mask), EINVAL);
    }
    fails!(call!(SCHED_GETAFFINITY, 0, 8, 0), EFAULT);
    fails!(call!(SCHED_GETAFFINITY, 0, 8, usize::MAX - 3), EFAULT);
    equal!(get(0)?, all());
    Ok(())
}

/// Another user's threads are not to be moved.
fn rights() -> Outcome {
    needs_kernel("harts")?;
    needs_root()?;
    let parent = process::id() as i32;
    let pid = checked_child(|| {
        call!(SETUID, 1000)?;
        fails!(set(parent, 1), EPERM);
        equal!(get(parent)?, all());
        set(0, 1)?;
        Ok(())
    })?;
    exits(pid, 0)?;
    let pid = child(|| {
        let _ = call!(SETUID, 1000);
        loop {
            sleep_ms(1000);
        }
    })?;
    set(pid, 1)?;
    equal!(get(pid)?, 1);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

/// Threads and children have it from their maker; what one of them sets is its own.
fn inherited() -> Outcome {
    needs_kernel("harts")?;
    let last = 1 << (harts() - 1);
    set(0, last)?;
    let found = thread::spawn(|| (get(0), hart(), set(0, all()), get(0)))?.join();
    let (inherited, its_hart, _, own) = found.ok_or_else(|| Trouble::failed("the thread failed"))?;
    equal!((inherited?, 1 << its_hart?, own?), (last, last, all()));
    equal!(get(0)?, last);
    let pid = checked_child(|| {
        equal!((get(0)?, 1 << hart()?), (last, last));
        Ok(())
    })?;
    exits(pid, 0)?;
    // A new program has it still.
    let (_, output) = process::Command::new(&own_path()).args(["--program", "harts"]).output()?;
    equal!(String::from_utf8_lossy(&output).trim(), format!("{last}"));
    Ok(())
}

/// The harts that this thread may run on; 0 if they are not to be had.
pub fn own_harts() -> u64 {
    get(0).unwrap_or(0)
}

fn line_of(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_default().into()
}

fn in_proc() -> Outcome {
    needs_kernel("harts")?;
    let lists = || -> core::result::Result<(u64, String), Trouble> {
        let status = fs::read_to_string("/proc/self/status")?;
        let digits = line_of(&status, "Cpus_allowed").replace(',', "");
        equal!(digits.len(), harts().div_ceil(4));
        let mask = u64::from_str_radix(&digits, 16);
        Ok((mask.unwrap_or(0), line_of(&status, "Cpus_allowed_list")))
    };
    let count = harts();
    equal!(lists()?, (all(), if count == 1 { "0".into() } else { format!("0-{}", count - 1) }));
    set(0, 1)?;
    equal!(lists()?, (1, "0".into()));
    if count >= 4 {
        set(0, 0b1101)?;
        equal!(lists()?, (0b1101, "0,2-3".into()));
    }
    Ok(())
}

/// Reserved time is had on any hart: neither goes with the other.
fn reservations() -> Outcome {
    needs_harts(2)?;
    needs_root()?;
    const MS: u64 = 1_000_000;
    let size = size_of::<SchedAttr>() as u32;
    let attr = SchedAttr {
        size,
        policy: SCHED_DEADLINE,
        runtime: MS,
        deadline: 20 * MS,
        period: 40 * MS,
        ..SchedAttr::default()
    };
    let reserve = || call!(SCHED_SETATTR, 0, &raw const attr, 0);
    set(0, 1)?;
    fails!(reserve(), EPERM);
    set(0, all())?;
    reserve()?;
    fails!(set(0, 1), EBUSY);
    set(0, all())?;
    Ok(())
}

/// Whoever chooses is there when the call returns.
fn at_once() -> Outcome {
    needs_harts(2)?;
    for turn in 0..200u32 {
        let wanted = turn % harts() as u32;
        set(0, 1 << wanted)?;
        equal!(hart()?, wanted);
    }
    Ok(())
}

/// Counts where it is until it is told to stop: how often it was seen at a hart that is not in the mask of that moment.
struct Wanderer {
    /// Looks so far.
    looks: AtomicU32,
    /// The harts that it may be seen at.
    allowed: AtomicU32,
    astray: AtomicU32,
    stop: AtomicBool,
}

impl Wanderer {
    fn new() -> Arc<Self> {
        let [looks, astray] = [AtomicU32::new(0), AtomicU32::new(0)];
        Arc::new(Self { looks, allowed: AtomicU32::new(u32::MAX), astray, stop: AtomicBool::new(false) })
    }

    /// Looks, and waits now and then as `wait` says.
    fn wander(&self, wait: impl Fn(u32)) {
        while !self.stop.load(Ordering::SeqCst) {
            // What was allowed before the look and still is after it was allowed meanwhile.
            let before = self.allowed.load(Ordering::SeqCst);
            let hart = hart().unwrap_or(0);
            if self.allowed.load(Ordering::SeqCst) == before && before >> hart & 1 == 0 {
                self.astray.fetch_add(1, Ordering::SeqCst);
            }
            wait(self.looks.fetch_add(1, Ordering::SeqCst));
        }
    }

    fn await_looks(&self, more: u32) {
        let until = self.looks.load(Ordering::SeqCst).wrapping_add(more);
        while until.wrapping_sub(self.looks.load(Ordering::SeqCst)).cast_signed() > 0 {
            sleep_ms(1);
        }
    }

    /// Keeps a thread to these harts: during the call it may be seen at those of before, and by a look that is under way as that returns, which
    /// may be on its way into the kernel; after that no more.
    fn keep(&self, tid: i32, mask: u32) -> Result<usize> {
        self.allowed.store(u32::MAX, Ordering::SeqCst);
        let set = set(tid, u64::from(mask));
        self.await_looks(1);
        self.allowed.store(mask, Ordering::SeqCst);
        set
    }
}

/// Another thread is moved, whether it runs, waits, or gives way all the time.
fn others() -> Outcome {
    needs_harts(2)?;
    const WAITS: [fn(u32); 3] = [|_| (), |_| sleep_ms(1), |_| thread::yield_now()];
    for wait in WAITS {
        let wanderer = Wanderer::new();
        let (theirs, tid) = (wanderer.clone(), Arc::new(AtomicU32::new(0)));
        let its = tid.clone();
        let thread = thread::spawn(move || {
            its.store(own_tid().unwrap_or(0) as u32, Ordering::SeqCst);
            theirs.wander(wait);
        })?;
        wanderer.await_looks(1);
        let tid = tid.load(Ordering::SeqCst) as i32;
        for turn in 0..12 {
            let mask = if turn % 3 == 2 { 0b11 } else { 1 << (turn % harts() as u32) };
            wanderer.keep(tid, mask)?;
            equal!(get(tid)?, u64::from(mask));
            wanderer.await_looks(3);
        }
        wanderer.stop.store(true, Ordering::SeqCst);
        let _ = thread.join();
        equal!(wanderer.astray.load(Ordering::SeqCst), 0);
        // Who joins it hears of its end a little before it is gone.
        while get(tid).is_ok() {
            sleep_ms(1);
        }
        fails!(set(tid, 1), ESRCH);
    }
    Ok(())
}

/// Idle harts take nothing that is not theirs, and neither wakes, pipes, futexes nor slices carry it there.
fn never_elsewhere() -> Outcome {
    needs_harts(2)?;
    set(0, 1)?;
    let wanderers: Vec<_> = (0..6u32)
        .map(|number| {
            let wanderer = Wanderer::new();
            wanderer.allowed.store(1, Ordering::SeqCst);
            let theirs = wanderer.clone();
            let thread = thread::spawn(move || {
                theirs.wander(|look| match (number % 3, look % 16) {
                    (0, _) => thread::yield_now(),
                    (1, 0) => sleep_ms(1),
                    _ => {}
                });
            });
            thread.map(|thread| (wanderer, thread))
        })
        .collect::<core::result::Result<_, _>>()?;
    for (wanderer, _) in &wanderers {
        wanderer.await_looks(50);
    }
    for (wanderer, thread) in wanderers {
        wanderer.stop.store(true, Ordering::SeqCst);
        let _ = thread.join();
        equal!(wanderer.astray.load(Ordering::SeqCst), 0);
    }
    Ok(())
}

/// A child chooses the first hart, where somebody else runs, and is let go: what it has noted before that, and at its end: 1 more
/// than the hart that it came to.
fn let_go(shared: Shared) -> core::result::Result<(u32, u32), Trouble> {
    shared.set(1, 0);
    let pid = child(|| {
        let _ = set(0, 1);
        shared.set(1, 1 + hart().unwrap_or(0));
        0
    })?;
    while get(pid).unwrap_or(1) != 1 {
        sleep_ms(1);
    }
    // Until it has left this hart.
    sleep_ms(2);
    let before = shared.get(1);
    let _ = set(pid, 0b11);
    exits(pid, 0)?;
    Ok((before, shared.get(1)))
}

/// A thread that never yields does not hold up for ever who waits behind it and is then let go to another hart.
fn beside_a_hog() -> Outcome {
    needs_harts(2)?;
    needs_root()?;
    let shared = Shared::new()?;
    let hog = child(|| {
        let priority = 50i32;
        let _ = set(0, 1);
        let _ = call!(SCHED_SETSCHEDULER, 0, SCHED_FIFO, &raw const priority);
        shared.set(0, 1);
        loop {
            core::hint::spin_loop();
        }
    })?;
    set(0, 0b10)?;
    shared.await_least(0, 1);
    // Behind the hog it would come to run there in the end, and on a slow machine does so before it is let go; not each time.
    let mut found = Vec::new();
    while found.len() < 10 && found.last() != Some(&(0, 2)) {
        found.push(let_go(shared)?);
    }
    equal!(found.last(), Some(&(0, 2)));
    kill(hog, SIGKILL)?;
    dies(hog, SIGKILL)
}

/// Threads that change each other's harts all the time, and their own: they get to their end all the same.
fn changed_for_ever() -> Outcome {
    needs_kernel("harts")?;
    let shared = Shared::new()?;
    let pids: Vec<i32> = (0..4)
        .map(|number| {
            child(move || {
                let mut seed = number * 77 + 1u64;
                shared.await_least(0, 1);
                for _ in 0..500 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let whom = shared.get(1 + (seed >> 33) as usize % 4) as i32;
                    let _ = set(whom, seed >> 40);
                    let _ = set(0, seed >> 50);
                }
                0
            })
        })
        .collect::<core::result::Result<_, _>>()?;
    for (index, pid) in pids.iter().enumerate() {
        shared.set(1 + index, *pid as u32);
    }
    shared.set(0, 1);
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}

/// Many threads on one hart, which are let go, kept again and killed.
fn many_at_once() -> Outcome {
    needs_kernel("harts")?;
    let shared = Shared::new()?;
    let threads = if is_asyncos() { 64 } else { 16 };
    let pid = child(|| {
        let _ = set(0, 1);
        for _ in 0..threads {
            let started = thread::spawn(move || {
                shared.count(0);
                loop {
                    let _ = set(0, all());
                    let _ = set(0, 1);
                    thread::yield_now();
                }
            });
            if started.is_err() {
                return 1;
            }
        }
        loop {
            sleep_ms(1000);
        }
    })?;
    shared.await_least(0, threads);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}
