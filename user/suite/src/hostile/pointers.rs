//! Bad addresses in every call that takes one: the kernel's half, no address at all, nothing mapped, read-only memory
//! for what the kernel writes, the end of memory, a range that begins well and ends nowhere.

use crate::case::{Outcome, Trouble};
use crate::process::{PAGE, RW, call, checked_child, exits, map, unmap};
use crate::sockets::{listen, local, pair, raw_address};
use alloc::vec::Vec;
use rt::abi::fs::{AT_FDCWD, AT_REMOVEDIR, O_DIRECTORY};
use rt::abi::mm::{PROT_NONE, PROT_READ};
use rt::abi::net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK};
use rt::abi::nr::{self, *};
use rt::abi::poll::{POLLIN, PollFd};
use rt::abi::{Errno, process::WNOHANG};
use rt::fs::{File, OpenOptions};
use rt::io::Write;
use rt::net::UdpSocket;
use rt::{pipe, raw};

/// An argument of a call.
#[derive(Clone, Copy)]
enum Arg {
    /// A value.
    Is(usize),
    /// The address of so many bytes that the kernel reads.
    In(usize),
    /// The same; 0 stands for none.
    OptIn(usize),
    /// The address of so many bytes that the kernel writes.
    Out(usize),
    /// The same; 0 stands for none.
    OptOut(usize),
    /// The address of a path.
    Path,
}
use Arg::{In, Is, OptIn, OptOut, Out, Path};

type Row = (usize, &'static [Arg]);

struct Bad {
    what: &'static str,
    address: usize,
    /// For what the kernel writes only.
    outputs: bool,
    /// For what is not optional only.
    required: bool,
    /// A part of it is there.
    partial: bool,
}

const CWD: Arg = Is(AT_FDCWD as usize);
const ZERO: Arg = Is(0);

/// A page to use, and the bad addresses.
fn addresses() -> Result<(usize, Vec<Bad>), Trouble> {
    let good = map(PAGE, RW)?;
    let read_only = map(PAGE, PROT_READ)?;
    let pages = map(2 * PAGE, RW)?;
    // Taken, so that nothing else comes to lie there, and forbidden.
    call!(MPROTECT, pages + PAGE, PAGE, PROT_NONE)?;
    // Where a call takes a length at an address, a length.
    raw::store64(good, 64);
    let bad = |what, address| Bad { what, address, outputs: false, required: false, partial: false };
    let all = alloc::vec![
        bad("direct map", 0xffff_ffc0_8000_0000),
        bad("kernel image", 0xffff_ffff_8020_0000),
        bad("kernel stacks", 0xffff_ffe0_0000_0000),
        bad("not canonical", 0x4000_0000_0000_0000),
        bad("behind user memory", 0x0000_0040_0000_0000),
        bad("unmapped", 0x8000),
        bad("forbidden", pages + PAGE),
        bad("wrapping", usize::MAX - 2),
        Bad { outputs: true, ..bad("read-only", read_only) },
        Bad { required: true, ..bad("null", 0) },
        Bad { partial: true, ..bad("half mapped", pages + PAGE - 3) },
    ];
    Ok((good, all))
}

fn check_row(row: &Row, fds: &[usize], good: usize, path: usize, bads: &[Bad]) -> Outcome {
    let (number, shape) = *row;
    let value = |arg: &Arg| match arg {
        // Values from 1000 on stand for the descriptors.
        Is(value) if (1000..1000 + fds.len()).contains(value) => fds[*value - 1000],
        Is(value) => *value,
        Path => path,
        _ => good,
    };
    for (position, arg) in shape.iter().enumerate() {
        let (output, optional) = match arg {
            Is(_) => continue,
            In(_) | Path => (false, false),
            OptIn(_) => (false, true),
            Out(_) => (true, false),
            OptOut(_) => (true, true),
        };
        let too_small = matches!(arg, In(1..=3) | Out(1..=3) | OptIn(1..=3) | OptOut(1..=3));
        for bad in bads {
            if bad.outputs && !output || bad.required && optional || bad.partial && too_small {
                continue;
            }
            if bad.partial {
                // Half of a path must not be a path; a call before may have written there.
                (0..3).for_each(|index| raw::store8(bad.address + index, b'a'));
            }
            let mut arguments: Vec<usize> = shape.iter().map(value).collect();
            arguments[position] = bad.address;
            accept(number, position, bad, call(number, &arguments))?;
        }
    }
    Ok(())
}

/// EFAULT, or a refusal that comes before the address is looked at.
fn accept(call: usize, position: usize, bad: &Bad, result: Result<usize, Errno>) -> Outcome {
    let name = nr::name(call).unwrap_or("?");
    let fine = match result {
        Err(Errno::EFAULT | Errno::EINVAL | Errno::EPERM) => true,
        Err(Errno::ENOSYS) => crate::machine::is_asyncos(),
        // What is there of a range may be used.
        Ok(len) => bad.partial && len <= 3,
        Err(_) => false,
    };
    ensure!(fine, "{name}, argument {position}, {} ({:#x}): {result:?}", bad.what, bad.address);
    Ok(())
}

fn check(rows: &[Row], fds: &[usize]) -> Outcome {
    let (good, bads) = addresses()?;
    let path = c"/proc/self/exe".as_ptr() as usize;
    rows.iter().try_for_each(|row| check_row(row, fds, good, path, &bads))
}

fn raw_fd(file: &File) -> usize {
    file.fd().raw() as usize
}

const READ_END: Arg = Is(1000);
const WRITE_END: Arg = Is(1001);
const FILE: Arg = Is(1002);
const FOLDER: Arg = Is(1003);

const FILES: &[Row] = &[
    (READ, &[READ_END, Out(64), Is(64)]),
    (WRITE, &[WRITE_END, In(64), Is(64)]),
    (READ, &[FILE, Out(64), Is(64)]),
    (PREAD64, &[FILE, Out(64), Is(64), ZERO]),
    (PWRITE64, &[FILE, In(64), Is(64), ZERO]),
    (READV, &[READ_END, In(16), Is(1)]),
    (WRITEV, &[WRITE_END, In(16), Is(1)]),
    (PREADV, &[FILE, In(16), Is(1), ZERO, ZERO]),
    (FSTAT, &[FILE, Out(128)]),
    (FSTATFS, &[FILE, Out(120)]),
    (GETDENTS64, &[FOLDER, Out(512), Is(512)]),
    (PIPE2, &[Out(8), ZERO]),
    (IOCTL, &[READ_END, Is(0x541b), Out(4)]),
    (FCNTL, &[FILE, Is(5), In(32)]),
    (PPOLL, &[In(8), Is(1), ZERO, ZERO, ZERO]),
    (PPOLL, &[ZERO, ZERO, OptIn(16), ZERO, ZERO]),
    (PPOLL, &[ZERO, ZERO, ZERO, OptIn(8), Is(8)]),
    (SENDFILE, &[WRITE_END, FILE, OptIn(8), Is(1)]),
    (SPLICE, &[FILE, OptIn(8), WRITE_END, ZERO, Is(1), ZERO]),
    (SPLICE, &[READ_END, ZERO, FILE, OptIn(8), Is(1), ZERO]),
    (VMSPLICE, &[WRITE_END, In(16), Is(1), ZERO]),
];

/// Calls on descriptors.
pub fn files() -> Outcome {
    let place = crate::place::Place::any()?;
    rt::fs::write(&place.join("file"), [b'x'; 5000])?;
    let file = OpenOptions::new().read(true).write(true).open(&place.join("file"))?;
    let folder = OpenOptions::new().read(true).custom_flags(O_DIRECTORY).open(place.path())?;
    let (read, mut write) = pipe::pipe()?;
    write.write_all(&[1; 1000])?;
    read.fd().set_nonblocking(true)?;
    write.fd().set_nonblocking(true)?;
    let fds = [&read, &write, &file, &folder].map(raw_fd);
    check(FILES, &fds)?;
    // A vector that is there, with a piece that is not.
    let (_, bads) = addresses()?;
    for bad in bads {
        let piece = [bad.address as u64, 64];
        accept(READV, 1, &bad, call(READV, &[fds[0], piece.as_ptr() as usize, 1]))?;
        if !bad.outputs {
            accept(WRITEV, 1, &bad, call(WRITEV, &[fds[1], piece.as_ptr() as usize, 1]))?;
        }
    }
    Ok(())
}

const PATHS: &[Row] = &[
    (OPENAT, &[CWD, Path, ZERO, ZERO]),
    (NEWFSTATAT, &[CWD, Path, Out(128), ZERO]),
    (STATX, &[CWD, Path, ZERO, Is(0x7ff), Out(256)]),
    (STATFS, &[Path, Out(120)]),
    (FACCESSAT, &[CWD, Path, ZERO]),
    (READLINKAT, &[CWD, Path, Out(64), Is(64)]),
    (MKDIRAT, &[CWD, Path, ZERO]),
    (MKNODAT, &[CWD, Path, ZERO, ZERO]),
    (UNLINKAT, &[CWD, Path, Is(AT_REMOVEDIR as usize)]),
    (SYMLINKAT, &[Path, CWD, Path]),
    (LINKAT, &[CWD, Path, CWD, Path, ZERO]),
    (RENAMEAT2, &[CWD, Path, CWD, Path, ZERO]),
    (FCHMODAT, &[CWD, Path, ZERO]),
    (FCHOWNAT, &[CWD, Path, ZERO, ZERO, ZERO]),
    (TRUNCATE, &[Path, ZERO]),
    (UTIMENSAT, &[CWD, Path, OptIn(32), ZERO]),
    (CHDIR, &[Path]),
    (GETCWD, &[Out(64), Is(64)]),
    (EXECVE, &[Path, OptIn(8), OptIn(8)]),
    (UMOUNT2, &[Path, ZERO]),
    (CHROOT, &[Path]),
    (MEMFD_CREATE, &[Path, ZERO]),
];

/// Calls that take paths.
pub fn paths() -> Outcome {
    crate::machine::needs_kernel("execve")?;
    check(PATHS, &[])
}

const CONNECTED: Arg = Is(1000);
const DATAGRAMS: Arg = Is(1001);
const UNBOUND: Arg = Is(1002);

const SOCKETS: &[Row] = &[
    (BIND, &[UNBOUND, In(16), Is(16)]),
    (CONNECT, &[UNBOUND, In(16), Is(16)]),
    (GETSOCKNAME, &[CONNECTED, Out(16), Out(4)]),
    (GETPEERNAME, &[CONNECTED, Out(16), Out(4)]),
    (GETSOCKOPT, &[CONNECTED, Is(1), Is(3), Out(4), Out(4)]),
    (SETSOCKOPT, &[CONNECTED, Is(1), Is(2), In(4), Is(4)]),
    (SENDTO, &[CONNECTED, In(64), Is(64), Is(MSG_NOSIGNAL as usize), ZERO, ZERO]),
    (SENDTO, &[DATAGRAMS, In(64), Is(64), ZERO, ZERO, ZERO]),
    (SENDTO, &[DATAGRAMS, ZERO, ZERO, ZERO, OptIn(16), Is(16)]),
    (RECVFROM, &[DATAGRAMS, Out(64), Is(64), Is((MSG_PEEK | MSG_DONTWAIT) as usize), ZERO, ZERO]),
    (RECVFROM, &[CONNECTED, Out(64), Is(64), Is((MSG_PEEK | MSG_DONTWAIT) as usize), ZERO, ZERO]),
    (SENDMSG, &[DATAGRAMS, In(56), ZERO]),
    (RECVMSG, &[DATAGRAMS, Out(56), Is(MSG_DONTWAIT as usize)]),
    (SOCKETPAIR, &[Is(1), Is(1), ZERO, Out(8)]),
];

/// Calls on sockets.
pub fn sockets() -> Outcome {
    let (near, mut far) = pair()?;
    far.write_all(&[3; 1000])?;
    let datagrams = UdpSocket::bind(local())?;
    let address = raw_address(datagrams.local_addr()?);
    let unbound = raw::file(call!(SOCKET, 2, 1, 0)?);
    let (_listener, _) = listen()?;
    let fd = raw::file(call!(SOCKET, 2, 2, 0)?);
    call!(BIND, fd.fd().raw(), &raw const address, 16).map_or_else(|_| Ok(()), |_| Err(Errno::EADDRINUSE))?;
    let any = raw_address(local());
    call!(BIND, fd.fd().raw(), &raw const any, 16)?;
    let mut own = any;
    let mut len = 16u32;
    call!(GETSOCKNAME, fd.fd().raw(), &raw mut own, &raw mut len)?;
    let bytes = [5u8; 200];
    call!(CONNECT, fd.fd().raw(), &raw const own, 16)?;
    call!(SENDTO, fd.fd().raw(), bytes.as_ptr(), 200, 0, 0, 0)?;
    // It comes by way of the network, in its own time.
    let mut poll = PollFd { fd: fd.fd().raw(), events: POLLIN, revents: 0 };
    equal!(call!(PPOLL, &raw mut poll, 1, 0, 0, 0), Ok(1));
    check(SOCKETS, &[near.fd().raw() as usize, raw_fd(&fd), raw_fd(&unbound)])
}

const REST: &[Row] = &[
    (NANOSLEEP, &[In(16), ZERO]),
    (CLOCK_NANOSLEEP, &[Is(1), ZERO, In(16), ZERO]),
    (CLOCK_GETTIME, &[Is(1), Out(16)]),
    (CLOCK_GETRES, &[Is(1), OptOut(16)]),
    (GETTIMEOFDAY, &[OptOut(16), ZERO]),
    (UNAME, &[Out(390)]),
    (SYSINFO, &[Out(112)]),
    (PRLIMIT64, &[ZERO, Is(7), ZERO, OptOut(16)]),
    (PRLIMIT64, &[ZERO, Is(7), OptIn(16), ZERO]),
    (GETRUSAGE, &[ZERO, Out(144)]),
    (TIMES, &[OptOut(32)]),
    (GETRANDOM, &[Out(64), Is(64), ZERO]),
    (RT_SIGACTION, &[Is(10), OptIn(24), ZERO, Is(8)]),
    (RT_SIGACTION, &[Is(10), ZERO, OptOut(24), Is(8)]),
    (RT_SIGPROCMASK, &[ZERO, OptIn(8), ZERO, Is(8)]),
    (RT_SIGPROCMASK, &[ZERO, ZERO, OptOut(8), Is(8)]),
    (RT_SIGPENDING, &[Out(8), Is(8)]),
    (RT_SIGSUSPEND, &[In(8), Is(8)]),
    (RT_SIGTIMEDWAIT, &[In(8), ZERO, ZERO, Is(8)]),
    (SIGALTSTACK, &[OptIn(24), ZERO]),
    (SIGALTSTACK, &[ZERO, OptOut(24)]),
    (FUTEX, &[In(4), ZERO, Is(77), ZERO, ZERO, ZERO]),
    (FUTEX, &[In(4), Is(1), Is(1), ZERO, ZERO, ZERO]),
    (GETITIMER, &[ZERO, Out(32)]),
    (SETITIMER, &[ZERO, OptIn(32), ZERO]),
    (SCHED_GETAFFINITY, &[ZERO, Is(128), Out(128)]),
    (GETCPU, &[OptOut(4), ZERO, ZERO]),
    (GETRESUID, &[Out(4), Out(4), Out(4)]),
    (CLONE3, &[In(88), Is(88)]),
    (EPOLL_CTL, &[Is(1000), Is(1), Is(1001), In(16)]),
    (TIMERFD_SETTIME, &[Is(1002), ZERO, In(32), OptOut(32)]),
    (TIMERFD_GETTIME, &[Is(1002), Out(32)]),
    (SIGNALFD4, &[Is(usize::MAX), In(8), Is(8), ZERO]),
    (SET_ROBUST_LIST, &[ZERO, Is(1)]),
];

/// Everything else.
pub fn rest() -> Outcome {
    let (read, _write) = pipe::pipe()?;
    let epoll = raw::file(call!(EPOLL_CREATE1, 0)?);
    let timer = raw::file(call!(TIMERFD_CREATE, 1, 0)?);
    check(REST, &[&epoll, &read, &timer].map(raw_fd))?;
    wait_status()
}

/// `wait4` has a child to report, and nowhere to.
fn wait_status() -> Outcome {
    let (_, bads) = addresses()?;
    for bad in bads.iter().filter(|bad| !bad.required && !bad.partial) {
        let pid = crate::process::child(|| 0)?;
        let result = call!(WAIT4, pid, bad.address, 0, 0);
        accept(WAIT4, 1, bad, result)?;
        // Whether the child has been reaped then is open.
        let _ = crate::process::wait_with(pid, WNOHANG);
    }
    Ok(())
}

/// Lengths that no buffer has. The file or pipe holds little, so that a system may serve what there is.
pub fn huge_lengths() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    write.fd().set_nonblocking(true)?;
    read.fd().set_nonblocking(true)?;
    let good = map(2 * PAGE, RW)?;
    call!(MPROTECT, good + PAGE, PAGE, PROT_NONE)?;
    for len in [1 << 31, 1 << 38, isize::MAX as usize, 1 << 63, usize::MAX] {
        write.write_all(&[9; 16])?;
        for number in [READ, WRITE, GETRANDOM, GETCWD, GETDENTS64] {
            let fd = if number == WRITE { raw_fd(&write) } else { raw_fd(&read) };
            let arguments = if matches!(number, GETRANDOM | GETCWD) { [good, len, 1] } else { [fd, good, len] };
            match call(number, &arguments) {
                // A partial result never says more than there was.
                Ok(done) => ensure!(done <= 64 * PAGE, "{number} with {len:#x} gave {done:#x}"),
                Err(errno) => ensure!(errno != Errno::ENOSYS, "{number} is not there"),
            }
        }
        // The number of entries is 32 bits wide, so that some of these are none.
        let at_once = crate::process::millis(0);
        let polled = call!(PPOLL, good, len, &raw const at_once, 0, 0);
        ensure!(matches!(polled, Ok(0) | Err(_)), "polled {polled:?}");
        let vector = call!(READV, raw_fd(&read), good, len);
        ensure!(matches!(vector, Ok(0) | Err(_)), "read {vector:?}");
        fails_any(call!(MMAP, 0, len, RW, 0x22, usize::MAX, 0), len)?;
    }
    fails_any(call!(MPROTECT, good, usize::MAX - PAGE + 1, RW), 0)?;
    fails_any(call!(MUNMAP, good, usize::MAX - PAGE + 1), 0)
}

fn fails_any(result: Result<usize, Errno>, len: usize) -> Outcome {
    if let Ok(base) = result
        && len == 1 << 31
    {
        // Two gigabytes of addresses are not too many; nothing was touched.
        let _ = (base != 0).then(|| unmap(base, len));
        return Ok(());
    }
    ensure!(result.is_err(), "a length of {len:#x} was accepted: {result:x?}");
    Ok(())
}

/// Calls that would end or stop the case, take away its memory, wait for ever, or reach others.
const LEFT_OUT: [usize; 25] = [
    EXIT,
    EXIT_GROUP,
    RT_SIGRETURN,
    CLONE,
    CLONE3,
    EXECVE,
    EXECVEAT,
    MUNMAP,
    MMAP,
    MPROTECT,
    MREMAP,
    BRK,
    KILL,
    TKILL,
    TGKILL,
    REBOOT,
    RT_SIGSUSPEND,
    PPOLL,
    PSELECT6,
    VHANGUP,
    PTRACE,
    SYNC,
    SETRLIMIT,
    KEXEC_LOAD,
    IO_GETEVENTS,
];

/// Each number with arguments that make no sense: an answer, and the process lives.
pub fn every_number() -> Outcome {
    const GARBAGE: [usize; 5] = [usize::MAX, 0xffff_ffc0_8000_0000, 0x8000_0000, 7, 0x4141_4141_4141_4141];
    let pid = checked_child(|| {
        // No descriptor, so that nothing of the runner's is harmed; no rights.
        let _ = call!(CLOSE_RANGE, 0, u32::MAX, 0);
        for fd in 0..256 {
            let _ = call!(CLOSE, fd);
        }
        let _ = call!(SETGID, 65534);
        let _ = call!(SETUID, 65534);
        for number in (0..460).filter(|number| !LEFT_OUT.contains(number)) {
            for garbage in GARBAGE {
                let _ = call(number, &[garbage; 6]);
            }
        }
        Ok(())
    })?;
    exits(pid, 0)
}

/// A string that ends where memory ends, without its zero; and one that is too long.
pub fn unterminated_path() -> Outcome {
    let pages = map(3 * PAGE, RW)?;
    call!(MPROTECT, pages + 2 * PAGE, PAGE, PROT_NONE)?;
    raw::bytes(pages, 2 * PAGE).fill(b'a');
    fails!(call!(OPENAT, AT_FDCWD, pages + 2 * PAGE - 5, 0, 0), EFAULT);
    fails!(call!(OPENAT, AT_FDCWD, pages, 0, 0), ENAMETOOLONG);
    raw::store8(pages + 2 * PAGE - 1, 0);
    fails!(call!(OPENAT, AT_FDCWD, pages + 2 * PAGE - 5, 0, 0), ENOENT);
    Ok(())
}

/// While one thread reads from pipes into a page, another takes the page away and puts it back.
pub fn buffer_taken_away() -> Outcome {
    let pid = checked_child(|| {
        let base = map(PAGE, RW)?;
        let spoiler = rt::thread::spawn(move || {
            for round in 0..400 {
                let _ = match round % 4 {
                    0 => call!(MPROTECT, base, PAGE, PROT_READ),
                    1 => call!(MPROTECT, base, PAGE, RW),
                    2 => unmap(base, PAGE),
                    _ => crate::process::map_at(base, PAGE, RW),
                };
            }
        })?;
        let (read, mut write) = pipe::pipe()?;
        while !spoiler.is_finished() {
            write.write_all(&[7; 64])?;
            match call!(READ, read.fd().raw(), base, 64) {
                Ok(64) => {}
                Err(Errno::EFAULT) => {
                    // What was not taken is still there, or the pipe gave it up: drain.
                    read.fd().set_nonblocking(true)?;
                    let mut bytes = [0u8; 64];
                    let _ = call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 64);
                    read.fd().set_nonblocking(false)?;
                }
                other => ensure!(false, "read gave {other:?}"),
            }
        }
        ensure!(spoiler.join().is_some());
        Ok(())
    })?;
    exits(pid, 0)
}
