//! What is done while one point after the other fails: a little of everything that the kernel makes for a program. Each closes what it opens.

use super::{Done, LOST, Refused};
use crate::process::{PAGE, RW, Shared, child, map, millis, unmap};
use core::ffi::CStr;
use rt::abi::fs::{AT_FDCWD, AT_REMOVEDIR, Iovec, O_CREAT, O_DIRECT, O_RDWR};
use rt::abi::io_uring::*;
use rt::abi::net::{AF_UNIX, SOCK_DGRAM, SOCK_STREAM};
use rt::abi::process::WaitStatus;
use rt::abi::{Errno, mm as m, poll as p};
use rt::fs::File;
use rt::net::{TcpListener, TcpStream};
use rt::ring::Ring;
use rt::{pipe, raw};

/// A result that is not the expected one; no error of the system has this number.
const WRONG: Refused = Refused(1000);

fn holds(condition: bool) -> Done {
    if condition { Ok(()) } else { Err(WRONG) }
}

fn open(path: &CStr, flags: u32) -> Result<File, Errno> {
    call!(OPENAT, AT_FDCWD, path.as_ptr(), flags, 0o600).map(raw::file)
}

fn unlink(path: &CStr) -> Result<usize, Errno> {
    call!(UNLINKAT, AT_FDCWD, path.as_ptr(), 0)
}

/// Does it and removes the file, whatever became of it.
fn with_file(path: &CStr, flags: u32, body: impl FnOnce(usize) -> Done) -> Done {
    let done = (|| -> Done {
        let file = open(path, O_CREAT | O_RDWR | flags)?;
        body(file.fd().raw() as usize)
    })();
    // It may not be there; it may also fail once.
    if unlink(path).is_err_and(|errno| errno != Errno::ENOENT) {
        unlink(path)?;
    }
    done
}

pub fn files(_: usize) -> Done {
    for path in [c"/tmp/faults", c"/root/faults"] {
        with_file(path, 0, |fd| {
            let bytes = [7u8; 3000];
            let pieces = [Iovec { base: bytes.as_ptr() as u64, len: 1500 }; 12];
            holds(call!(PWRITE64, fd, bytes.as_ptr(), 3000, 70_000)? == 3000)?;
            holds(call!(PWRITEV, fd, pieces.as_ptr(), 12, 0, 0)? == 18_000)?;
            let mut back = [0u8; 3000];
            holds(call!(PREAD64, fd, back.as_mut_ptr(), 3000, 70_000)? == 3000 && back == bytes)?;
            call!(FSYNC, fd)?;
            call!(FTRUNCATE, fd, 10)?;
            let copy = call!(DUP, fd)?;
            call!(CLOSE, copy)?;
            Ok(())
        })?;
    }
    Ok(())
}

pub fn names(_: usize) -> Done {
    for (directory, old, new) in [
        (c"/tmp/faults-d", c"/tmp/faults-d/a", c"/tmp/faults-d/b"),
        (c"/root/faults-d", c"/root/faults-d/a", c"/root/faults-d/b"),
    ] {
        let done = (|| -> Done {
            call!(MKDIRAT, AT_FDCWD, directory.as_ptr(), 0o700)?;
            drop(open(old, O_CREAT | O_RDWR)?);
            call!(LINKAT, AT_FDCWD, old.as_ptr(), AT_FDCWD, new.as_ptr(), 0)?;
            call!(RENAMEAT2, AT_FDCWD, new.as_ptr(), AT_FDCWD, old.as_ptr(), 0)?;
            call!(UNLINKAT, AT_FDCWD, new.as_ptr(), 0)?;
            call!(SYMLINKAT, c"a".as_ptr(), AT_FDCWD, new.as_ptr())?;
            let mut entries = [0u8; 512];
            let listed = open(directory, 0)?;
            holds(call!(GETDENTS64, listed.fd().raw(), entries.as_mut_ptr(), 512)? > 0)
        })();
        for _ in 0..2 {
            let _ = unlink(old);
            let _ = unlink(new);
            let _ = call!(UNLINKAT, AT_FDCWD, directory.as_ptr(), AT_REMOVEDIR);
        }
        done?;
    }
    Ok(())
}

/// Past the cache, and through it to the disk.
pub fn disk(_: usize) -> Done {
    let memory = map(8 * PAGE, RW)?;
    let done = with_file(c"/root/faults-direct", O_DIRECT, |fd| {
        raw::store64(memory, 5);
        holds(call!(PWRITE64, fd, memory, 8 * PAGE, 0)? == 8 * PAGE)?;
        raw::store64(memory, 6);
        holds(call!(PREAD64, fd, memory, 4 * PAGE, 0)? == 4 * PAGE && raw::load64(memory) == 5)?;
        let pieces = [Iovec { base: memory as u64, len: 512 }; 10];
        holds(call!(PREADV, fd, pieces.as_ptr(), 10, 0, 0)? == 5120)?;
        let mut ring = Ring::new(4, 0)?;
        let reads = Sqe { addr: memory as u64, len: PAGE as u32, ..entry(IORING_OP_READ, fd as i32) };
        all_of(&mut ring, &[reads; 4])
    });
    unmap(memory, 8 * PAGE)?;
    done?;
    with_file(c"/root/faults-synced", 0, |fd| {
        holds(call!(PWRITE64, fd, [1u8; 9000].as_ptr(), 9000, 0)? == 9000)?;
        call!(FSYNC, fd)?;
        Ok(())
    })
}

pub fn pipes(_: usize) -> Done {
    let (read, write) = pipe::pipe()?;
    let (other, into) = pipe::pipe()?;
    let bytes = [3u8; 5000];
    let (from, to) = (read.fd().raw(), write.fd().raw());
    holds(call!(WRITE, to, bytes.as_ptr(), 5000)? == 5000)?;
    holds(call!(TEE, from, into.fd().raw(), 5000, 0)? == 5000)?;
    let mut back = [0u8; 5000];
    holds(call!(READ, other.fd().raw(), back.as_mut_ptr(), 5000)? == 5000 && back == bytes)?;
    holds(call!(SPLICE, from, 0, into.fd().raw(), 0, 5000, 0)? == 5000)?;
    let counter = raw::file(call!(EVENTFD2, 0, 0)?);
    let timer = raw::file(call!(TIMERFD_CREATE, 1, 0)?);
    let set = raw::file(call!(EPOLL_CREATE1, 0)?);
    for file in [&counter, &timer, &read, &other] {
        let mut event = [1u32, 0, 7, 0];
        call!(EPOLL_CTL, set.fd().raw(), 1, file.fd().raw(), event.as_mut_ptr())?;
    }
    let mut found = [0u64; 8];
    holds(call!(EPOLL_PWAIT, set.fd().raw(), found.as_mut_ptr(), 4, 0, 0, 8)? == 1)?;
    let mut waits = [p::PollFd { fd: other.fd().raw(), events: p::POLLIN, revents: 0 }; 20];
    holds(call!(PPOLL, waits.as_mut_ptr(), 20, &raw const ZERO, 0, 8)? == 20)
}

static ZERO: rt::abi::time::Timespec = rt::abi::time::Timespec { sec: 0, nsec: 0 };

fn pair(kind: u32) -> Result<(File, File), Errno> {
    let mut fds = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, kind, 0, fds.as_mut_ptr())?;
    Ok((raw::file(fds[0] as usize), raw::file(fds[1] as usize)))
}

pub fn sockets(_: usize) -> Done {
    let (bytes, mut back) = ([9u8; 9000], [0u8; 9000]);
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let (one, other) = pair(kind)?;
        holds(call!(SENDTO, one.fd().raw(), bytes.as_ptr(), 9000, 0, 0, 0)? == 9000)?;
        holds(call!(RECVFROM, other.fd().raw(), back.as_mut_ptr(), 9000, 0, 0, 0)? == 9000)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0".parse().map_err(|_| WRONG)?)?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    // A connection for which there was no memory at the other end is not to be waited for.
    let limit = millis(500);
    let mut waits = p::PollFd { fd: listener.fd().raw(), events: p::POLLIN, revents: 0 };
    if call!(PPOLL, &raw mut waits, 1, &raw const limit, 0, 8)? == 0 {
        return Err(Errno::ECONNABORTED.into());
    }
    let (server, _) = listener.accept()?;
    holds(call!(SENDTO, client.fd().raw(), bytes.as_ptr(), 9000, 0, 0, 0)? == 9000)?;
    let mut have = 0;
    while have < 9000 {
        have += call!(RECVFROM, server.fd().raw(), back.as_mut_ptr(), 9000, 0, 0, 0)?;
    }
    Ok(())
}

/// Registrations in a set: one of two is taken back.
pub fn epoll(_: usize) -> Done {
    let set = raw::file(call!(EPOLL_CREATE1, p::EPOLL_CLOEXEC)?);
    let counters: [File; 2] = [raw::file(call!(EVENTFD2, 1, 0)?), raw::file(call!(EVENTFD2, 1, 0)?)];
    for (at, counter) in counters.iter().enumerate() {
        let event = p::EpollEvent { events: p::EPOLLIN, pad: 0, data: at as u64 };
        call!(EPOLL_CTL, set.fd().raw(), p::EPOLL_CTL_ADD, counter.fd().raw(), &raw const event)?;
    }
    call!(EPOLL_CTL, set.fd().raw(), p::EPOLL_CTL_DEL, counters[0].fd().raw(), 0)?;
    let mut found = [p::EpollEvent { events: 0, pad: 0, data: 7 }; 2];
    let count = call!(EPOLL_PWAIT, set.fd().raw(), found.as_mut_ptr(), 2, 0, 0, 8)?;
    holds(count == 1 && found[0].data == 1)
}

/// Signals that are queued, and words that are waited for.
pub fn waits(_: usize) -> Done {
    use rt::abi::signal as s;
    let blocked = 1u64 << (40 - 1);
    call!(RT_SIGPROCMASK, 0, &raw const blocked, 0, 8)?;
    let done = (|| -> Done {
        call!(TKILL, call!(GETTID)?, 40)?;
        call!(TKILL, call!(GETTID)?, 40)?;
        let mut info = [0u8; 128];
        holds(call!(RT_SIGTIMEDWAIT, &raw const blocked, info.as_mut_ptr(), &raw const ZERO, 8)? == 40)?;
        let signals = raw::file(call!(SIGNALFD4, usize::MAX, &raw const blocked, 8, 0)?);
        holds(call!(READ, signals.fd().raw(), info.as_mut_ptr(), 128)? == 128)
    })();
    let ignored = s::Sigaction { handler: s::SIG_IGN as u64, flags: 0, mask: 0 };
    call!(RT_SIGACTION, 40, &raw const ignored, 0, 8)?;
    call!(RT_SIGPROCMASK, 1, &raw const blocked, 0, 8)?;
    done?;
    let word = 0u32;
    let waits = call!(FUTEX, &raw const word, 0x80, 0, &raw const SHORT, 0, 0);
    holds(waits == Err(Errno::ETIMEDOUT)).or(match waits {
        Err(errno) => Err(errno.into()),
        Ok(_) => Err(WRONG),
    })
}

static SHORT: rt::abi::time::Timespec = rt::abi::time::Timespec { sec: 0, nsec: 1000 };

pub fn memory(_: usize) -> Done {
    let len = 64 * PAGE;
    let memory = map(len, RW)?;
    let mut done = (|| -> Done {
        (0..64).step_by(9).for_each(|page| raw::store64(memory + page * PAGE, 1));
        call!(MPROTECT, memory + PAGE, PAGE, m::PROT_READ)?;
        call!(MADVISE, memory + 9 * PAGE, PAGE, m::MADV_DONTNEED)?;
        Ok(())
    })();
    let moved = call!(MREMAP, memory + 32 * PAGE, 32 * PAGE, 128 * PAGE, m::MREMAP_MAYMOVE, 0);
    match moved {
        Ok(there) => {
            raw::store64(there + 100 * PAGE, 1);
            for (start, len) in [(there, 128 * PAGE), (memory, 32 * PAGE)] {
                // Cutting a region in two costs memory, and so may fail; taking all of one does not.
                if unmap(start, len).is_err() {
                    unmap(start, len)?;
                }
            }
        }
        Err(errno) => {
            done = done.and(Err(errno.into()));
            if unmap(memory, len).is_err() {
                unmap(memory, len)?;
            }
        }
    }
    done?;
    let shared = call!(MMAP, 0, PAGE, RW, m::MAP_SHARED | m::MAP_ANONYMOUS, usize::MAX, 0)?;
    raw::store64(shared, 1);
    unmap(shared, PAGE)?;
    let file = open(c"/bin/suite", 0)?;
    let mapped = call!(MMAP, 0, 3 * PAGE, RW, m::MAP_PRIVATE, file.fd().raw(), 0)?;
    (0..3).for_each(|page| raw::store64(mapped + page * PAGE, raw::load64(mapped) + 1));
    unmap(mapped, 3 * PAGE)?;
    Ok(())
}

fn ends_well(pid: i32) -> Done {
    match crate::process::wait(pid)? {
        WaitStatus::Exited(5) => Ok(()),
        WaitStatus::Exited(number) => Err(Refused(number.into())),
        WaitStatus::Signaled(..) => Err(Errno::ENOMEM.into()),
        _ => Err(WRONG),
    }
}

pub fn fork(_: usize) -> Done {
    let words = Shared::new()?;
    let done = child(|| {
        words.set(0, 1);
        5
    })
    .map_err(Refused::from)
    .and_then(ends_well)
    .and_then(|()| holds(words.get(0) == 1));
    unmap(words.word(0).as_ptr() as usize, PAGE)?;
    done
}

/// Runs another program in this process, which is asked then (`super::program`). One that fails half-way ends the process.
pub fn exec(switch: usize) -> Done {
    let mut buffer = [0; 9];
    super::digits(switch, &mut buffer[..8]);
    let first = buffer.iter().position(|byte| *byte != 0).unwrap_or(0);
    call!(FCNTL, switch, rt::abi::fs::F_SETFD, 0)?;
    let words = [c"suite", c"--program", c"faults"].map(CStr::as_ptr);
    let arguments = [words[0], words[1], words[2], buffer[first..].as_ptr().cast(), core::ptr::null()];
    let environment = [c"A=B".as_ptr(), core::ptr::null()];
    call!(EXECVE, c"/bin/suite".as_ptr(), arguments.as_ptr(), environment.as_ptr())?;
    Err(WRONG)
}

fn entry(opcode: u8, fd: i32) -> Sqe {
    Sqe { opcode, fd, user_data: 7, ..Sqe::default() }
}

fn moves(opcode: u8, fd: i32, bytes: &mut [u8]) -> Sqe {
    Sqe { addr: bytes.as_mut_ptr() as u64, len: bytes.len() as u32, ..entry(opcode, fd) }
}

/// Submits them; an error if not all are taken.
fn begin(ring: &mut Ring, entries: &[Sqe]) -> Done {
    for entry in entries {
        holds(ring.push_raw(entry))?;
    }
    if ring.submit(0)? == entries.len() { Ok(()) } else { Err(Errno::EAGAIN.into()) }
}

/// The next completion, for some seconds.
fn next(ring: &mut Ring) -> Result<Cqe, Refused> {
    let limit = millis(20_000);
    loop {
        if let Some(found) = ring.pop() {
            return Ok(found);
        }
        let argument = GetEvents { ts: (&raw const limit) as u64, ..GetEvents::default() };
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, size_of::<GetEvents>())?;
    }
}

/// Waits for so many completions; an error if one is of a failure that is not among these.
fn ends_as(ring: &mut Ring, count: usize, expected: &[(u64, Errno)]) -> Done {
    let mut done = Ok(());
    for _ in 0..count {
        let found = next(ring)?;
        let is_it = |(user_data, errno): &(u64, Errno)| *user_data == found.user_data && errno.number() == -found.res;
        if found.res < 0 && !expected.iter().any(is_it) {
            done = Err(Refused(-found.res));
        }
    }
    done
}

fn finish(ring: &mut Ring, count: usize) -> Done {
    ends_as(ring, count, &[])
}

fn all_of(ring: &mut Ring, entries: &[Sqe]) -> Done {
    begin(ring, entries)?;
    finish(ring, entries.len())
}

pub fn ring(_: usize) -> Done {
    for flags in [0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN] {
        let mut ring = Ring::new(64, flags)?;
        let nops = [entry(IORING_OP_NOP, -1); 64];
        // More than there are places for at first.
        for _ in 0..3 {
            begin(&mut ring, &nops)?;
        }
        finish(&mut ring, 192)?;
    }
    Ok(())
}

fn path_of(opcode: u8, path: &CStr) -> Sqe {
    Sqe { addr: path.as_ptr() as u64, ..entry(opcode, AT_FDCWD) }
}

pub fn ring_calls(_: usize) -> Done {
    let mut ring = Ring::new(16, 0)?;
    let mut bytes = [5u8; 600];
    for path in [c"/tmp/faults-ring", c"/root/faults-ring"] {
        with_file(path, 0, |fd| {
            let fd = fd as i32;
            let mut found = [0u64; 32];
            let statx = Sqe { off: found.as_mut_ptr() as u64, len: 0x7ff, ..path_of(IORING_OP_STATX, path) };
            let pieces = [Iovec { base: bytes.as_mut_ptr() as u64, len: 50 }; 12];
            let vectored = Sqe { addr: pieces.as_ptr() as u64, len: 12, ..entry(IORING_OP_WRITEV, fd) };
            all_of(&mut ring, &[moves(IORING_OP_WRITE, fd, &mut bytes)])?;
            all_of(
                &mut ring,
                &[vectored, statx, entry(IORING_OP_FSYNC, fd), Sqe { addr: 900, ..entry(IORING_OP_FALLOCATE, fd) }],
            )?;
            all_of(&mut ring, &[moves(IORING_OP_READ, fd, &mut bytes)])
        })?;
    }
    let directory = c"/tmp/faults-ring-d";
    // One that was begun in an earlier attempt, which did not see its end, may have been made behind the removal.
    let _ = call!(UNLINKAT, AT_FDCWD, directory.as_ptr(), AT_REMOVEDIR);
    let made = all_of(&mut ring, &[Sqe { len: 0o700, ..path_of(IORING_OP_MKDIRAT, directory) }]);
    let _ = call!(UNLINKAT, AT_FDCWD, directory.as_ptr(), AT_REMOVEDIR);
    let _ = call!(UNLINKAT, AT_FDCWD, directory.as_ptr(), AT_REMOVEDIR);
    made
}

pub fn ring_waits(_: usize) -> Done {
    let mut ring = Ring::new(16, 0)?;
    let (read, write) = pipe::pipe()?;
    let (one, other) = pair(SOCK_STREAM)?;
    // Who polls is told of what is sent, who receives of what is written: nothing is taken from the other.
    let (mut bytes, mut more, word) = ([0u8; 10], [0u8; 10], 0u32);
    let long = millis(2);
    let address = (&raw const word) as u64;
    let waits = [
        moves(IORING_OP_READ, read.fd().raw(), &mut bytes),
        moves(IORING_OP_RECV, one.fd().raw(), &mut more),
        Sqe { op_flags: p::POLLIN.into(), ..entry(IORING_OP_POLL_ADD, other.fd().raw()) },
        Sqe { flags: IOSQE_ASYNC, ..moves(IORING_OP_SEND, one.fd().raw(), &mut [1u8; 10]) },
    ];
    begin(&mut ring, &waits)?;
    // The last for who polls, if nothing was sent by the ring.
    for end in [&write.fd(), &other.fd(), &one.fd()] {
        holds(call!(WRITE, end.raw(), more.as_ptr(), 10)? == 10)?;
    }
    finish(&mut ring, 4)?;
    // A time, a word, and what cancels: their ends are errors each.
    let time = Sqe { addr: (&raw const long) as u64, len: 1, user_data: 8, ..entry(IORING_OP_TIMEOUT, -1) };
    let futex = Sqe { off: 0, addr: address, addr3: u32::MAX.into(), ..entry(IORING_OP_FUTEX_WAIT, 0x82) };
    begin(&mut ring, &[time, futex, moves(IORING_OP_READ, read.fd().raw(), &mut bytes)])?;
    let cancel = Sqe { op_flags: IORING_ASYNC_CANCEL_ALL, addr: 7, user_data: 9, ..entry(IORING_OP_ASYNC_CANCEL, -1) };
    // Twice: one may be refused.
    begin(&mut ring, &[cancel; 2])?;
    ends_as(&mut ring, 5, &[(7, Errno::ECANCELED), (8, Errno::ETIME)])
}

pub fn ring_chains(_: usize) -> Done {
    let mut ring = Ring::new(16, 0)?;
    let (read, write) = pipe::pipe()?;
    let mut bytes = [0u8; 10];
    let link = |entry: Sqe| Sqe { flags: IOSQE_IO_LINK, ..entry };
    let long = millis(15_000);
    let reads = moves(IORING_OP_READ, read.fd().raw(), &mut bytes);
    let limit = Sqe { addr: (&raw const long) as u64, len: 1, user_data: 8, ..entry(IORING_OP_LINK_TIMEOUT, -1) };
    let last = Sqe { flags: IOSQE_IO_DRAIN, ..entry(IORING_OP_NOP, -1) };
    begin(&mut ring, &[link(reads), link(limit), link(entry(IORING_OP_NOP, -1)), entry(IORING_OP_NOP, -1), last])?;
    holds(call!(WRITE, write.fd().raw(), [0u8; 10].as_ptr(), 10)? == 10)?;
    ends_as(&mut ring, 5, &[(8, Errno::ECANCELED)])
}

/// Of chains that are longer than goes in one poll, one behind a read that waits: what was not to be had is said, before all that is cancelled for it.
pub fn ring_long_chains(_: usize) -> Done {
    const COUNT: usize = 200;
    let mut ring = Ring::new(COUNT as u32, 0)?;
    let (read, write) = pipe::pipe()?;
    let mut byte = [0u8];
    let nop = entry(IORING_OP_NOP, -1);
    for head in [nop, moves(IORING_OP_READ, read.fd().raw(), &mut byte)] {
        let mut chain = [Sqe { flags: IOSQE_IO_LINK, ..nop }; COUNT];
        chain[0] = Sqe { flags: IOSQE_IO_LINK, ..head };
        chain[COUNT - 1].flags = 0;
        begin(&mut ring, &chain)?;
        if head.opcode == IORING_OP_READ {
            holds(call!(WRITE, write.fd().raw(), [0u8; 1].as_ptr(), 1)? == 1)?;
        }
        let (mut cancelled, mut refused) = (false, None);
        for _ in 0..COUNT {
            match Errno::from_return(next(&mut ring)?.res as isize) {
                Ok(_) => {}
                Err(Errno::ECANCELED) => cancelled = true,
                Err(errno) => refused = Some(errno),
            }
        }
        match refused {
            Some(errno) => return Err(errno.into()),
            None if cancelled => return Err(LOST),
            None => {}
        }
    }
    Ok(())
}

fn register(ring: &Ring, what: u32, argument: usize, count: usize) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), what, argument, count)
}

pub fn ring_tables(_: usize) -> Done {
    let mut ring = Ring::new(16, 0)?;
    let (read, write) = pipe::pipe()?;
    let memory = map(4 * PAGE, RW)?;
    raw::store64(memory, 1);
    let done = (|| -> Done {
        let pieces = [Iovec { base: memory as u64, len: 3 * PAGE as u64 }; 2];
        register(&ring, IORING_REGISTER_BUFFERS, pieces.as_ptr() as usize, 2)?;
        let files = [read.fd().raw(), write.fd().raw(), -1];
        register(&ring, IORING_REGISTER_FILES, files.as_ptr() as usize, 3)?;
        let counter = raw::file(call!(EVENTFD2, 0, 0)?);
        let number = counter.fd().raw();
        register(&ring, IORING_REGISTER_EVENTFD, (&raw const number) as usize, 1)?;
        let fixed = |entry: Sqe| Sqe { flags: IOSQE_FIXED_FILE, addr: memory as u64, len: 64, ..entry };
        all_of(&mut ring, &[fixed(entry(IORING_OP_WRITE_FIXED, 1))])?;
        all_of(&mut ring, &[fixed(entry(IORING_OP_READ_FIXED, 0))])?;
        let provided = Sqe { addr: memory as u64, len: 512, buf_index: 3, ..entry(IORING_OP_PROVIDE_BUFFERS, 6) };
        all_of(&mut ring, &[provided])?;
        let reads = Sqe { flags: IOSQE_BUFFER_SELECT, buf_index: 3, ..entry(IORING_OP_READ, read.fd().raw()) };
        begin(&mut ring, &[reads, reads])?;
        holds(call!(WRITE, write.fd().raw(), memory, 600)? == 600)?;
        finish(&mut ring, 2)
    })();
    unmap(memory, 4 * PAGE)?;
    done
}

/// What is registered beside files and buffers, and taken back: bounds of what a ring may do, places for rings, rings of buffers, tables with tags.
pub fn ring_registers(_: usize) -> Done {
    let ring = Ring::new(8, IORING_SETUP_R_DISABLED)?;
    let only = |opcode, value| Restriction { opcode, value, ..Restriction::default() };
    let rules = [only(IORING_RESTRICTION_SQE_OP, IORING_OP_NOP), only(IORING_RESTRICTION_SQE_OP, IORING_OP_READ)];
    register(&ring, IORING_REGISTER_RESTRICTIONS, rules.as_ptr() as usize, 2)?;
    register(&ring, IORING_REGISTER_ENABLE_RINGS, 0, 0)?;
    let mut other = Ring::new(8, 0)?;
    let mut update = RingUpdate { offset: u32::MAX, resv: 0, data: other.fd().raw() as u64 };
    register(&other, IORING_REGISTER_RING_FDS, &raw mut update as usize, 1)?;
    holds(call!(IO_URING_ENTER, update.offset, 0, 0, IORING_ENTER_REGISTERED_RING, 0, 0)? == 0)?;
    update.data = 0;
    register(&other, IORING_UNREGISTER_RING_FDS, &raw const update as usize, 1)?;
    let memory = map(4 * PAGE, RW)?;
    raw::store64(memory, 1);
    let done = (|| -> Done {
        let group = BufReg { ring_addr: memory as u64, ring_entries: 8, bgid: 1, ..BufReg::default() };
        register(&other, IORING_REGISTER_PBUF_RING, &raw const group as usize, 1)?;
        let (read, _write) = pipe::pipe()?;
        let (files, tags) = ([read.fd().raw(), -1], [5u64, 6]);
        let pieces = [Iovec { base: memory as u64, len: PAGE as u64 }; 2];
        for (what, data) in
            [(IORING_REGISTER_FILES2, files.as_ptr() as u64), (IORING_REGISTER_BUFFERS2, pieces.as_ptr() as u64)]
        {
            let nr = if what == IORING_REGISTER_FILES2 { 1 } else { 2 };
            let table = RsrcRegister { nr, data, tags: tags.as_ptr() as u64, ..RsrcRegister::default() };
            register(&other, what, &raw const table as usize, size_of::<RsrcRegister>())?;
        }
        register(&other, IORING_UNREGISTER_FILES, 0, 0)?;
        register(&other, IORING_UNREGISTER_BUFFERS, 0, 0)?;
        register(&other, IORING_UNREGISTER_PBUF_RING, &raw const group as usize, 1)?;
        // What has gone says so by its tag.
        finish(&mut other, 3)
    })();
    unmap(memory, 4 * PAGE)?;
    done
}

pub fn ring_polled(_: usize) -> Done {
    let mut ring = Ring::new(16, IORING_SETUP_SQPOLL)?;
    let (read, write) = pipe::pipe()?;
    let mut bytes = [0u8; 10];
    begin(&mut ring, &[moves(IORING_OP_READ, read.fd().raw(), &mut bytes), entry(IORING_OP_NOP, -1)])?;
    holds(call!(WRITE, write.fd().raw(), [0u8; 10].as_ptr(), 10)? == 10)?;
    finish(&mut ring, 2)
}

/// Descriptors that are sent, looked at, and received.
pub fn rights(_: usize) -> Done {
    use crate::sockets::rights::{receive, send};
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let (one, other) = pair(kind)?;
        let (read, write) = pipe::pipe()?;
        let fds = [read.fd().raw(), write.fd().raw(), one.fd().raw()];
        holds(send(&one, b"x", &fds)? == 1)?;
        for flags in [rt::abi::net::MSG_PEEK, 0] {
            let got = receive(&other, &mut [0; 4], 3, flags)?;
            // A number that there was no room for is closed, and told.
            let cut = got.flags & rt::abi::net::MSG_CTRUNC != 0;
            holds(got.len == 1 && cut == (got.files.len() < 3))?;
            if cut {
                return Err(Errno::ENOMEM.into());
            }
        }
    }
    Ok(())
}
