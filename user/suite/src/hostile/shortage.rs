//! Who uses up the machine's memory, and those beside him (note 0014): what cannot be had is refused, or the largest process dies; the kernel and all others
//! go on, and when he is gone everything is as before.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_root};
use crate::place::Place;
use crate::process::{PAGE, RW, Shared, child, exits, map, sleep_ms, wait, wait_with};
use crate::runner::free_memory;
use alloc::{format, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;
use rt::abi::errno::Errno;
use rt::abi::fs::O_NONBLOCK;
use rt::abi::io_uring::{IORING_OP_READ, Sqe};
use rt::abi::mm::MADV_DONTNEED;
use rt::abi::poll::PollFd;
use rt::abi::process::{
    CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, RLIMIT_NOFILE, Rlimit, WNOHANG,
    WaitStatus,
};
use rt::abi::signal::SIGKILL;
use rt::fs::{self, File};
use rt::io::{self, Write};
use rt::raw;
use rt::ring::Ring;

pub const CASES: &[Case] = &[
    case!("shortage/touched", "E1 D13", || beside(touched, 2)),
    case!("shortage/pages", "E1 D13", || beside(pages, 2)),
    case!("shortage/pieces", "E1 D13", || beside(pieces, 5)),
    case!("shortage/tables", "E1 D13", || beside(tables, 2)),
    case!("shortage/threads", "E1 D13", || beside(threads, 2)),
    case!("shortage/polls", "E1 D13", || beside(polls, 8)),
    case!("shortage/pipes", "E1 D13", || beside(pipes, 2)),
    case!("shortage/sockets", "E1 D13", || beside(sockets, 2)),
    case!("shortage/rings", "E1 D13 D4", || beside(rings, 2)),
    case!("shortage/files", "E1 D13 D18", || beside(files, 5)),
    case!("shortage/unwritten", "E1 D13 D18", || beside(unwritten, 2)),
];

/// Memory in KiB beyond which it takes too long to use it up.
const LITTLE: i64 = 320 << 10;
/// Free memory in KiB that may be missing when all are gone: caches that fill once.
const TOLERANCE: i64 = 2048;
/// Processes that take what there is.
const HOGS: usize = 4;
/// Rounds of the bystander while all is taken, and when they are gone.
const ROUNDS: u32 = 10;

/// Words that all share: whether the hogs may leave, whether the bystander is to, his rounds, those in which something was refused;
/// behind these one of each hog, set when it can take no more.
const LEAVE: usize = 0;
const STOP: usize = 1;
const DONE: usize = 2;
const REFUSED: usize = 3;
const FULL: usize = 8;

/// What a hog has to go on.
#[derive(Clone, Copy)]
struct Means<'a> {
    /// Which one it is.
    number: usize,
    /// A directory in memory, and one on the disk.
    memory: &'a str,
    disk: &'a str,
}

/// Runs hogs, and somebody beside them who does a little of everything. Unless one of them dies, no more eighths of the memory than these are free when
/// they can take no more.
fn beside(hog: fn(Means<'_>) -> io::Result<()>, eighths: u64) -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    if free_memory().is_none_or(|free| free > LITTLE) {
        return Err(Trouble::skipped("there is too much memory to use it up"));
    }
    let shared = Shared::new()?;
    let (memories, disk) = ([Place::memory()?, Place::other_memory()?], Place::disk()?);
    let bystander = child(|| stand_by(shared, &disk.join("written")))?;
    shared.await_least(DONE, 3);
    equal!(shared.get(REFUSED), 0);
    let before = free_memory();
    let mut hogs = Vec::new();
    for number in 0..HOGS {
        // Each file system in memory holds half of it at most.
        let (memory, disk) = (memories[number % 2].join(&format!("{number}")), disk.join(&format!("{number}")));
        // Who is not there for lack of memory takes none.
        hogs.extend(child(|| live(hog, Means { number, memory: &memory, disk: &disk }, shared)));
    }
    let ended = taken_all(shared, &hogs)?;
    let least = rt::system::sysinfo()?.freeram;
    shared.await_least(DONE, shared.get(DONE) + ROUNDS);
    shared.set(LEAVE, 1);
    hogs.iter().filter(|pid| !ended.contains(pid)).try_for_each(|pid| left(wait(*pid)?))?;
    drop(memories);
    // The round under way may have been refused something.
    shared.await_least(DONE, shared.get(DONE) + 2);
    let (done, refused) = (shared.get(DONE), shared.get(REFUSED));
    shared.await_least(DONE, done + ROUNDS);
    equal!(shared.get(REFUSED), refused);
    shared.set(STOP, 1);
    exits(bystander, 0)?;
    // With the files goes what is remembered of them.
    drop(disk);
    is_back(before)?;
    let most = rt::system::sysinfo()?.totalram / 8 * eighths;
    ensure!(!ended.is_empty() || least < most, "{least} bytes were free, nobody died: nothing was used up");
    Ok(())
}

/// Waits until each hog can take no more, or is dead; those who are.
fn taken_all(shared: Shared, hogs: &[i32]) -> Result<Vec<i32>, Trouble> {
    let mut ended = Vec::with_capacity(HOGS);
    loop {
        let mut busy = false;
        for (number, pid) in hogs.iter().enumerate() {
            if ended.contains(pid) || shared.get(FULL + number) != 0 {
                continue;
            }
            match wait_with(*pid, WNOHANG)? {
                (0, _) => busy = true,
                (_, status) => {
                    left(status)?;
                    ended.push(*pid);
                }
            }
        }
        if !busy {
            return Ok(ended);
        }
        sleep_ms(1);
    }
}

fn left(status: WaitStatus) -> Outcome {
    let fine = matches!(status, WaitStatus::Exited(0)) || status == WaitStatus::Signaled(SIGKILL as u8, false);
    if fine { Ok(()) } else { Err(Trouble::failed(format_args!("who takes everything: {status:?}"))) }
}

fn live(hog: fn(Means<'_>) -> io::Result<()>, means: Means<'_>, shared: Shared) -> i32 {
    let most = Rlimit { current: 65_536, max: 65_536 };
    let _ = call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const most, 0);
    let taken = hog(means);
    if !taken.as_ref().is_err_and(is_refusal) {
        rt::eprintln!("who takes everything: {taken:?}");
        return 1;
    }
    shared.set(FULL + means.number, 1);
    while shared.get(LEAVE) == 0 {
        sleep_ms(1);
    }
    0
}

/// Whether an error says that something is used up.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::ENOMEM, Errno::EAGAIN, Errno::ENOBUFS, Errno::ENOSPC, Errno::ENFILE, Errno::EMFILE];
    refusals.iter().any(|errno| error.raw_os_error() == Some(errno.number()))
}

/// Does a little of everything, again and again.
fn stand_by(shared: Shared, path: &str) -> i32 {
    let mut round = 0;
    while shared.get(STOP) == 0 {
        match a_little(path, round) {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => shared.count(REFUSED),
            Err(error) => {
                rt::eprintln!("who stands by: {error}");
                return 1;
            }
        }
        shared.count(DONE);
        round = round.wrapping_add(1);
    }
    0
}

fn a_little(path: &str, round: u8) -> io::Result<()> {
    const LEN: usize = 5000;
    let out_of_memory = || io::Error::from(Errno::ENOMEM);
    let wrong = |()| io::Error::from(Errno::EBADMSG);
    let mut file = File::create(path)?;
    let bytes = [round; LEN];
    let mut written = 0;
    while written < 64 << 10 {
        written += file.write(&bytes)?;
    }
    file.sync_all()?;
    let mut ends = [0i32; 2];
    call!(SOCKETPAIR, 1, 1, 0, ends.as_mut_ptr())?;
    let mut got = [0u8; LEN];
    let passed = call!(WRITE, ends[0], bytes.as_ptr(), LEN).and_then(|_| call!(READ, ends[1], got.as_mut_ptr(), LEN));
    for end in ends {
        call!(CLOSE, end)?;
    }
    let passed = passed?;
    if got[..passed] != bytes[..passed] {
        return Err(wrong(()));
    }
    if passed < LEN {
        return Err(out_of_memory());
    }
    let pid = child(|| {
        let Ok(base) = map(16 * PAGE, RW) else { return 1 };
        (0..16).for_each(|page| raw::store64(base + page * PAGE, 7));
        0
    })?;
    match wait(pid)? {
        WaitStatus::Exited(0) => Ok(()),
        WaitStatus::Exited(1) | WaitStatus::Signaled(..) => Err(out_of_memory()),
        _ => Err(wrong(())),
    }
}

fn is_back(before: Option<i64>) -> Outcome {
    let mut missing = 0;
    // What a process had is given back soon after its end.
    for _ in 0..300 {
        missing = before.unwrap_or(0) - free_memory().unwrap_or(0);
        if missing <= TOLERANCE {
            return Ok(());
        }
        sleep_ms(1);
    }
    Err(Trouble::failed(format_args!("{missing} KiB are missing")))
}

fn total() -> io::Result<usize> {
    Ok(rt::system::sysinfo()?.totalram as usize)
}

/// Each page by a store: who has the most is killed.
fn touched(_: Means<'_>) -> io::Result<()> {
    let total = total()?;
    let base = map(2 * total, RW)?;
    (0..2 * total / PAGE).for_each(|page| raw::store8(base + page * PAGE, 1));
    Ok(())
}

/// Makes a page in each so many bytes of these by a call, which is refused when there are no more; how far it came.
fn fetch(base: usize, len: usize, step: usize) -> (usize, io::Result<()>) {
    let fetched = |at: usize| call!(GETCPU, base + at, 0, 0);
    for at in (0..len).step_by(step) {
        if let Err(errno) = fetched(at) {
            return (at, Err(errno.into()));
        }
    }
    (len, Ok(()))
}

fn pages(_: Means<'_>) -> io::Result<()> {
    let len = 2 * total()?;
    fetch(map(len, RW)?, len, PAGE).1
}

/// Every other page of all there is: half of it is free, and no two pages side by side.
fn pieces(_: Means<'_>) -> io::Result<()> {
    let len = 2 * total()?;
    let base = map(len, RW)?;
    let (len, refused) = fetch(base, len, PAGE);
    for at in (0..len).step_by(2 * PAGE) {
        call!(MADVISE, base + at, PAGE, MADV_DONTNEED)?;
    }
    refused
}

/// One page in each table.
fn tables(_: Means<'_>) -> io::Result<()> {
    const SPAN: usize = 2 << 20;
    let len = total()? / PAGE * SPAN;
    fetch(map(len, RW)?, len, SPAN).1
}

extern "C" fn sleeps(_: usize) {
    sleep_ms(100_000);
}

/// Threads that sleep, each on a stack of some pages. The limit of their number is the machine's.
fn threads(_: Means<'_>) -> io::Result<()> {
    const STACK: usize = 16 * PAGE;
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    loop {
        let stack = map(STACK, RW)?;
        fetch(stack, STACK, PAGE).1?;
        let how = raw::Clone { flags, stack: stack + STACK, parent_tid: 0, tls: 0, child_tid: 0 };
        Errno::from_return(raw::clone_call(how, sleeps, 0))?;
    }
}

/// Descriptors that each of the next one's threads waits for, and behind their list: an error, and whether to begin.
const POLLED: usize = 1000;
const ERROR: usize = POLLED * size_of::<PollFd>();
const BEGIN: usize = ERROR + 4;

extern "C" fn polls_for_ever(list: usize) {
    while raw::atomic(list + BEGIN).load(SeqCst) == 0 {
        sleep_ms(10);
    }
    if let Err(errno) = call!(PPOLL, list, POLLED, 0, 0, 0) {
        raw::atomic(list + ERROR).store(errno.number() as u32, SeqCst);
    }
    sleep_ms(100_000);
}

/// Threads that wait for a thousand descriptors each, all the same one, and begin when all are there: what they take then is the kernel's alone.
fn polls(_: Means<'_>) -> io::Result<()> {
    const STACK: usize = 2 * PAGE;
    const THREADS: usize = 200;
    let mut ends = [0i32; 2];
    call!(PIPE2, ends.as_mut_ptr(), 0)?;
    let list = map(2 * PAGE, RW)?;
    (0..POLLED).for_each(|at| raw::store64(list + at * size_of::<PollFd>(), ends[0] as u64 | 1 << 32));
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    for _ in 0..THREADS {
        let how = raw::Clone { flags, stack: map(STACK, RW)? + STACK, parent_tid: 0, tls: 0, child_tid: 0 };
        Errno::from_return(raw::clone_call(how, polls_for_ever, list))?;
    }
    raw::atomic(list + BEGIN).store(1, SeqCst);
    sleep_ms(500);
    // Where there is memory for all, nobody is refused.
    Err(Errno::new(raw::atomic(list + ERROR).load(SeqCst) as u16).unwrap_or(Errno::EAGAIN).into())
}

/// Pipes full of bytes.
fn pipes(_: Means<'_>) -> io::Result<()> {
    loop {
        let mut ends = [0i32; 2];
        call!(PIPE2, ends.as_mut_ptr(), O_NONBLOCK)?;
        fill(ends[1])?;
    }
}

/// Local sockets full of bytes.
fn sockets(_: Means<'_>) -> io::Result<()> {
    loop {
        let mut ends = [0i32; 2];
        call!(SOCKETPAIR, 1, 1 | O_NONBLOCK, 0, ends.as_mut_ptr())?;
        fill(ends[0])?;
        fill(ends[1])?;
    }
}

/// Writes until it would have to wait.
fn fill(fd: i32) -> io::Result<()> {
    let bytes = [1u8; PAGE];
    loop {
        match call!(WRITE, fd, bytes.as_ptr(), PAGE) {
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Rings whose requests wait for ever.
fn rings(_: Means<'_>) -> io::Result<()> {
    const ENTRIES: u32 = 256;
    let mut ends = [0i32; 2];
    call!(PIPE2, ends.as_mut_ptr(), 0)?;
    let mut byte = 0u8;
    loop {
        let mut ring = Ring::new(ENTRIES, 0)?;
        for _ in 0..ENTRIES {
            ring.push_raw(&Sqe {
                opcode: IORING_OP_READ,
                fd: ends[0],
                addr: (&raw mut byte) as u64,
                len: 1,
                ..Sqe::default()
            });
        }
        let submitted = ring.submit(0);
        core::mem::forget(ring);
        submitted?;
    }
}

/// Files in memory: of each size in turn, so that their names and nodes count, too.
fn files(means: Means<'_>) -> io::Result<()> {
    fs::create_dir(means.memory)?;
    let page = [1u8; PAGE];
    for number in 0..1_000_000 {
        let mut file = File::create(&format!("{}/{number}", means.memory))?;
        for _ in 0..number % 8 {
            file.write(&page)?;
        }
    }
    Err(Errno::EOVERFLOW.into())
}

/// Files on the disk that nobody has written back.
fn unwritten(means: Means<'_>) -> io::Result<()> {
    fs::create_dir(means.disk)?;
    let (page, most) = ([1u8; PAGE], total()? / PAGE / HOGS);
    for number in 0.. {
        let mut file = File::create(&format!("{}/{number}", means.disk))?;
        for count in 0..200 {
            if number * 200 + count > most {
                return Err(Errno::ENOSPC.into());
            }
            file.write(&page)?;
        }
    }
    Ok(())
}
