//! Waiting for one of many: `ppoll`, `epoll`, `eventfd`.

use crate::case::{Case, Outcome, Trouble, provided};
use crate::process::{Shared, await_blocked, checked_child, child, exits, millis};
use alloc::vec::Vec;
use rt::abi::errno::Result as Call;
use rt::abi::fs::{EFD_NONBLOCK, EFD_SEMAPHORE, Iovec};
use rt::abi::poll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT,
    EPOLLPRI, EPOLLRDHUP, EpollEvent, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, PollFd,
};
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::fs::File;
use rt::io::{Read, Write};
use rt::pipe;
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("poll/ready-or-not", "I1", ready_or_not),
    case!("poll/timeout-is-not-early", "I1 D16", timeout_is_not_early),
    case!("poll/closed", "I1 E1", closed),
    case!("poll/wakes", "I1 D2", wakes),
    case!("poll/many", "I1", many),
    case!("poll/limits", "E1", limits),
    case!("eventfd/counter", "I1", counter),
    case!("eventfd/semaphore", "I1", semaphore),
    case!("eventfd/waits", "I1 D2", event_waits),
    case!("epoll/level", "I1", level),
    case!("epoll/each-once-in-a-call", "I1", each_once),
    case!("epoll/edge-and-oneshot", "I1", edge_and_oneshot),
    case!("epoll/change", "I1", change),
    case!("epoll/closed-is-forgotten", "I1", closed_is_forgotten),
    case!("epoll/wakes", "I1 D2", epoll_wakes),
    case!("epoll/exclusive", "I1 E1", exclusive),
    case!("epoll/exclusive-wakes-one", "I1 D2", exclusive_wakes_one),
    case!("epoll/nests", "I1 E1", nests),
    case!("epoll/set-is-polled", "I1", set_is_polled),
    case!("epoll/errors", "E1", epoll_errors),
];

/// `ppoll`, for up to `limit` milliseconds.
pub fn poll(fds: &mut [PollFd], limit: Option<u64>) -> Call<usize> {
    let span = limit.map(millis);
    let span = span.as_ref().map_or(0, |span| core::ptr::from_ref(span) as usize);
    call!(PPOLL, fds.as_mut_ptr(), fds.len(), span, 0, 0)
}

/// Asks for `events` of `file`.
pub fn entry(file: &File, events: u16) -> PollFd {
    PollFd { fd: file.fd().raw(), events, revents: 0xffff }
}

fn ready_or_not() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let mut fds = [entry(&read, POLLIN), entry(&write, POLLOUT), PollFd { fd: -1, events: POLLIN, revents: 9 }];
    equal!(poll(&mut fds, Some(0)), Ok(1));
    equal!(fds.map(|fd| fd.revents), [0, POLLOUT, 0]);
    write.write_all(b"x")?;
    equal!(poll(&mut fds, None), Ok(2));
    equal!(fds.map(|fd| fd.revents), [POLLIN, POLLOUT, 0]);
    read.read_exact(&mut [0])?;
    write.fd().set_nonblocking(true)?;
    while write.write(&[0; 4096]).is_ok() {}
    equal!(poll(&mut fds, Some(0)), Ok(1));
    equal!(fds.map(|fd| fd.revents), [POLLIN, 0, 0]);
    Ok(())
}

fn timeout_is_not_early() -> Outcome {
    let (read, _write) = pipe::pipe()?;
    for span in [1, 10, 50] {
        let start = Instant::now();
        equal!(poll(&mut [entry(&read, POLLIN)], Some(span)), Ok(0));
        ensure!(start.elapsed() >= Duration::from_millis(span));
    }
    Ok(())
}

fn closed() -> Outcome {
    let (read, write) = pipe::pipe()?;
    let (other_read, other_write) = pipe::pipe()?;
    drop((write, other_read));
    let unopened = PollFd { fd: 200, events: POLLIN, revents: 0 };
    let mut fds = [entry(&read, POLLIN), entry(&other_write, POLLOUT), unopened];
    equal!(poll(&mut fds, None), Ok(3));
    equal!(fds.map(|fd| fd.revents), [POLLHUP, POLLOUT | POLLERR, POLLNVAL]);
    Ok(())
}

fn wakes() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let (idle, _idle_write) = pipe::pipe()?;
    let pid = checked_child(|| {
        let mut fds = [entry(&idle, POLLIN), entry(&read, POLLIN)];
        for _ in 0..10 {
            equal!(poll(&mut fds, None), Ok(1));
            equal!(fds.map(|fd| fd.revents), [0, POLLIN]);
            read.read_exact(&mut [0])?;
        }
        Ok(())
    })?;
    for _ in 0..10 {
        await_blocked(pid)?;
        write.write_all(&[1])?;
    }
    exits(pid, 0)
}

fn many() -> Outcome {
    let mut pipes = Vec::new();
    for _ in 0..100 {
        pipes.push(pipe::pipe()?);
    }
    for chosen in [0, 57, 99] {
        pipes[chosen].1.write_all(&[1])?;
        let mut fds: Vec<PollFd> = pipes.iter().map(|(read, _)| entry(read, POLLIN)).collect();
        equal!(poll(&mut fds, None), Ok(1));
        equal!(fds.iter().position(|fd| fd.revents != 0), Some(chosen));
        pipes[chosen].0.read_exact(&mut [0])?;
    }
    Ok(())
}

fn limits() -> Outcome {
    let mut none: [PollFd; 0] = [];
    equal!(poll(&mut none, Some(1)), Ok(0));
    // More entries than descriptors can be open, or may be by this process.
    fails!(call!(PPOLL, 4096, usize::MAX / 8, 0, 0, 0), EINVAL);
    let mut files = Rlimit { current: 0, max: 0 };
    call!(PRLIMIT64, 0, RLIMIT_NOFILE, 0, &raw mut files)?;
    fails!(call!(PPOLL, 4096, files.current + 1, 0, 0, 0), EINVAL);
    fails!(call!(PPOLL, 4096, files.current, 0, 0, 0), EFAULT);
    fails!(call!(PPOLL, 4096, 1, 0, 0, 0), EFAULT);
    Ok(())
}

fn event(start: u32, flags: u32) -> Result<File, Trouble> {
    let fd = provided(call!(EVENTFD2, start, flags), "eventfd2")?;
    // A clone is a file that closes itself; the first number is closed here.
    let clone = call!(FCNTL, fd, rt::abi::fs::F_DUPFD_CLOEXEC, 3)?;
    call!(CLOSE, fd)?;
    Ok(adopt(clone))
}

/// A descriptor as a file.
pub fn adopt(fd: usize) -> File {
    rt::raw::file(fd)
}

fn take(file: &mut File) -> rt::io::Result<u64> {
    let mut word = [0; 8];
    file.read_exact(&mut word)?;
    Ok(u64::from_le_bytes(word))
}

fn counter() -> Outcome {
    let mut file = event(3, EFD_NONBLOCK)?;
    file.write_all(&4u64.to_le_bytes())?;
    equal!(take(&mut file)?, 7);
    fails!(take(&mut file), EAGAIN);
    file.write_all(&(u64::MAX - 1).to_le_bytes())?;
    fails!(file.write(&1u64.to_le_bytes()), EAGAIN);
    fails!(file.write(&u64::MAX.to_le_bytes()), EINVAL);
    fails!(file.write(&[1]), EINVAL);
    // Each piece is a write of its own.
    let pieces = [Iovec { base: [1u32].as_ptr() as u64, len: 4 }; 2];
    fails!(call!(WRITEV, file.fd().raw(), pieces.as_ptr(), pieces.len()), EINVAL);
    fails!(file.read(&mut [0; 7]), EINVAL);
    equal!(take(&mut file)?, u64::MAX - 1);
    Ok(())
}

fn semaphore() -> Outcome {
    let mut file = event(2, EFD_NONBLOCK | EFD_SEMAPHORE)?;
    equal!([take(&mut file)?, take(&mut file)?], [1, 1]);
    fails!(take(&mut file), EAGAIN);
    Ok(())
}

fn event_waits() -> Outcome {
    let mut file = event(0, 0)?;
    let mut theirs = file.try_clone()?;
    let pid = checked_child(|| {
        equal!(take(&mut theirs)?, 5);
        Ok(())
    })?;
    await_blocked(pid)?;
    equal!(poll(&mut [entry(&file, POLLIN | POLLOUT)], None), Ok(1));
    file.write_all(&5u64.to_le_bytes())?;
    exits(pid, 0)
}

/// An epoll set.
pub struct Epoll(File);

impl Epoll {
    pub fn new() -> Result<Self, Trouble> {
        provided(call!(EPOLL_CREATE1, rt::abi::poll::EPOLL_CLOEXEC), "epoll_create1").map(|fd| Self(adopt(fd)))
    }

    pub fn control(&self, op: u32, fd: i32, events: u32, data: u64) -> Call<usize> {
        let event = EpollEvent { events, pad: 0, data };
        call!(EPOLL_CTL, self.0.fd().raw(), op, fd, &raw const event)
    }

    pub fn wait(&self, limit: i32) -> Call<Vec<(u32, u64)>> {
        let mut events = [EpollEvent { events: 0, pad: 0, data: 0 }; 16];
        let count = call!(EPOLL_PWAIT, self.0.fd().raw(), events.as_mut_ptr(), 16, limit, 0, 8)?;
        Ok(events[..count].iter().map(|event| (event.events, event.data)).collect())
    }
}

fn level() -> Outcome {
    let epoll = Epoll::new()?;
    let (mut read, mut write) = pipe::pipe()?;
    epoll.control(EPOLL_CTL_ADD, read.fd().raw(), EPOLLIN, 11)?;
    epoll.control(EPOLL_CTL_ADD, write.fd().raw(), EPOLLOUT, 22)?;
    equal!(epoll.wait(0)?, [(EPOLLOUT, 22)]);
    write.write_all(b"xy")?;
    for _ in 0..2 {
        let mut found = epoll.wait(-1)?;
        found.sort_unstable_by_key(|event| event.1);
        equal!(found, [(EPOLLIN, 11), (EPOLLOUT, 22)]);
        read.read_exact(&mut [0])?;
    }
    equal!(epoll.wait(0)?, [(EPOLLOUT, 22)]);
    Ok(())
}

/// However many hold, a call names none twice, and takes what it has no room for the next time.
fn each_once() -> Outcome {
    let epoll = Epoll::new()?;
    let (_read, write) = pipe::pipe()?;
    let numbers: Vec<_> = (0..20).map(|_| write.fd().try_clone()).collect::<rt::io::Result<_>>()?;
    let named = |found: Vec<(u32, u64)>| {
        let mut names: Vec<u64> = found.into_iter().map(|(_, name)| name).collect();
        names.sort_unstable();
        names
    };
    for (name, number) in (0..10).zip(&numbers) {
        epoll.control(EPOLL_CTL_ADD, number.raw(), EPOLLOUT, name)?;
    }
    equal!(named(epoll.wait(0)?), (0..10).collect::<Vec<u64>>());
    for (name, number) in (0..20).zip(&numbers).skip(10) {
        epoll.control(EPOLL_CTL_ADD, number.raw(), EPOLLOUT, name)?;
    }
    // Sixteen at a time: all of them in two calls.
    let mut both = named(epoll.wait(0)?);
    equal!(both.windows(2).all(|pair| pair[0] < pair[1]), true);
    both.extend(named(epoll.wait(0)?));
    both.sort_unstable();
    both.dedup();
    equal!(both.len(), 20);
    Ok(())
}

fn edge_and_oneshot() -> Outcome {
    let epoll = Epoll::new()?;
    let (read, mut write) = pipe::pipe()?;
    let fd = read.fd().raw();
    epoll.control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, 1)?;
    write.write_all(b"a")?;
    equal!(epoll.wait(0)?, [(EPOLLIN, 1)]);
    equal!(epoll.wait(0)?, []);
    write.write_all(b"b")?;
    equal!(epoll.wait(0)?, [(EPOLLIN, 1)]);
    epoll.control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 2)?;
    equal!(epoll.wait(0)?, [(EPOLLIN, 2)]);
    write.write_all(b"c")?;
    equal!(epoll.wait(0)?, []);
    epoll.control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 3)?;
    equal!(epoll.wait(0)?, [(EPOLLIN, 3)]);
    Ok(())
}

fn change() -> Outcome {
    let epoll = Epoll::new()?;
    let (_read, write) = pipe::pipe()?;
    let fd = write.fd().raw();
    epoll.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1)?;
    equal!(epoll.wait(0)?, []);
    epoll.control(EPOLL_CTL_MOD, fd, EPOLLOUT, 2)?;
    equal!(epoll.wait(0)?, [(EPOLLOUT, 2)]);
    epoll.control(EPOLL_CTL_DEL, fd, 0, 0)?;
    equal!(epoll.wait(0)?, []);
    Ok(())
}

fn closed_is_forgotten() -> Outcome {
    let epoll = Epoll::new()?;
    let (_read, write) = pipe::pipe()?;
    epoll.control(EPOLL_CTL_ADD, write.fd().raw(), EPOLLOUT, 1)?;
    drop(write);
    equal!(epoll.wait(0)?, []);
    Ok(())
}

fn epoll_wakes() -> Outcome {
    let epoll = Epoll::new()?;
    let (read, mut write) = pipe::pipe()?;
    epoll.control(EPOLL_CTL_ADD, read.fd().raw(), EPOLLIN, 4)?;
    let shared = Shared::new()?;
    let pid = child(|| {
        shared.set(0, 1);
        i32::from(epoll.wait(-1) != Ok(alloc::vec![(EPOLLIN, 4)]))
    })?;
    shared.await_least(0, 1);
    await_blocked(pid)?;
    write.write_all(&[1])?;
    exits(pid, 0)?;
    let start = Instant::now();
    let _ = read.fd().set_nonblocking(true);
    let mut read = read;
    read.read_exact(&mut [0])?;
    equal!(epoll.wait(20)?, []);
    ensure!(start.elapsed() >= Duration::from_millis(20));
    Ok(())
}

/// Of the sets that are registered so at least one hears of a change; only some flags go with that, and it is never changed.
fn exclusive() -> Outcome {
    let (one, other) = (Epoll::new()?, Epoll::new()?);
    let (mut read, mut write) = pipe::pipe()?;
    let fd = read.fd().raw();
    for set in [&one, &other] {
        set.control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 5)?;
    }
    for _ in 0..3 {
        write.write_all(b"x")?;
        let (first, second) = (one.wait(0)?, other.wait(0)?);
        ensure!(first == [(EPOLLIN, 5)] || second == [(EPOLLIN, 5)], "{first:?} {second:?}");
        read.read_exact(&mut [0])?;
    }
    fails!(one.control(EPOLL_CTL_MOD, fd, EPOLLIN, 1), EINVAL);
    fails!(one.control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE, 1), EINVAL);
    one.control(EPOLL_CTL_DEL, fd, 0, 0)?;
    for wrong in [EPOLLONESHOT, EPOLLPRI, EPOLLRDHUP] {
        fails!(one.control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | wrong, 1), EINVAL);
    }
    one.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1)?;
    fails!(one.control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE, 1), EINVAL);
    fails!(one.control(EPOLL_CTL_ADD, other.0.fd().raw(), EPOLLIN | EPOLLEXCLUSIVE, 1), EINVAL);
    Ok(())
}

/// Counts in `shared` what its own set is told of `read`, until that is the end.
fn count_tidings(read: &File, write: &File, shared: &Shared) -> Outcome {
    // Or the end would never come.
    call!(CLOSE, write.fd().raw())?;
    let set = Epoll::new()?;
    set.control(EPOLL_CTL_ADD, read.fd().raw(), EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 5)?;
    loop {
        let told = set.wait(-1)?;
        equal!(told.len(), 1);
        if told[0].0 & EPOLLHUP != 0 {
            return Ok(());
        }
        shared.count(0);
    }
}

/// Several wait, each with its set: one hears of each change, seldom another, all of the end.
fn exclusive_wakes_one() -> Outcome {
    const CHANGES: u32 = 20;
    let (read, mut write) = pipe::pipe()?;
    let shared = Shared::new()?;
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(checked_child(|| count_tidings(&read, &write, &shared))?);
    }
    for _ in 0..CHANGES {
        for &pid in &children {
            await_blocked(pid)?;
        }
        let before = shared.get(0);
        write.write_all(b"x")?;
        shared.await_least(0, before + 1);
    }
    for &pid in &children {
        await_blocked(pid)?;
    }
    drop(write);
    for pid in children {
        exits(pid, 0)?;
    }
    // As on Linux more than one may be told, if who was asked first is about to leave; but not all. The end is no such change.
    let told = shared.get(0);
    ensure!(told < 2 * CHANGES, "{told} hear of {CHANGES} changes");
    Ok(())
}

/// A pipe in a set in a set: five deep, as in Linux.
fn nests() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let mut sets: Vec<Epoll> = Vec::new();
    for depth in 0..5 {
        let set = Epoll::new()?;
        let inner = sets.last().map_or(read.fd().raw(), |inner| inner.0.fd().raw());
        set.control(EPOLL_CTL_ADD, inner, EPOLLIN, depth)?;
        sets.push(set);
    }
    let (first, last) = (sets[0].0.fd().raw(), sets[4].0.fd().raw());
    fails!(Epoll::new()?.control(EPOLL_CTL_ADD, last, EPOLLIN, 5), EINVAL);
    fails!(sets[0].control(EPOLL_CTL_ADD, last, EPOLLIN, 5), ELOOP);
    fails!(sets[0].control(EPOLL_CTL_ADD, first, EPOLLIN, 5), EINVAL);
    equal!(sets[4].wait(0)?, []);
    write.write_all(b"x")?;
    equal!(sets[4].wait(0)?, [(EPOLLIN, 4)]);
    equal!(poll(&mut [entry(&sets[4].0, POLLIN)], Some(0)), Ok(1));
    Ok(())
}

/// A set is readable while something in it is, whoever has seen to that.
fn set_is_polled() -> Outcome {
    let set = Epoll::new()?;
    let (mut read, mut write) = pipe::pipe()?;
    let fd = read.fd().raw();
    let ready = || poll(&mut [entry(&set.0, POLLIN)], Some(0));
    set.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1)?;
    equal!(ready(), Ok(0));
    write.write_all(b"x")?;
    equal!(ready(), Ok(1));
    read.read_exact(&mut [0])?;
    equal!(ready(), Ok(0));
    write.write_all(b"x")?;
    equal!(ready(), Ok(1));
    set.control(EPOLL_CTL_DEL, fd, 0, 0)?;
    equal!(ready(), Ok(0));
    equal!(set.wait(0)?, []);
    Ok(())
}

fn epoll_errors() -> Outcome {
    let epoll = Epoll::new()?;
    let (read, _write) = pipe::pipe()?;
    let (fd, own) = (read.fd().raw(), epoll.0.fd().raw());
    epoll.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1)?;
    fails!(epoll.control(EPOLL_CTL_ADD, fd, EPOLLIN, 1), EEXIST);
    fails!(epoll.control(EPOLL_CTL_ADD, 200, EPOLLIN, 1), EBADF);
    fails!(epoll.control(EPOLL_CTL_ADD, own, EPOLLIN, 1), EINVAL);
    fails!(epoll.control(99, fd, EPOLLIN, 1), EINVAL);
    epoll.control(EPOLL_CTL_DEL, fd, 0, 0)?;
    fails!(epoll.control(EPOLL_CTL_DEL, fd, 0, 0), ENOENT);
    fails!(epoll.control(EPOLL_CTL_MOD, fd, EPOLLIN, 1), ENOENT);
    fails!(call!(EPOLL_CTL, own, EPOLL_CTL_ADD, fd, 4096), EFAULT);
    let mut events = [0u64; 2];
    fails!(call!(EPOLL_PWAIT, own, events.as_mut_ptr(), 0, 0, 0, 8), EINVAL);
    fails!(call!(EPOLL_PWAIT, own, events.as_mut_ptr(), -1isize, 0, 0, 8), EINVAL);
    Ok(())
}
