//! The table of calls.
//!
//! [`at_once`] serves calls that never wait and do not touch user memory, and [`attempt`] the hot ones
//! that need neither in the usual case. Everything else becomes a future in a box of its own, so that no call pays for
//! the size of another.

use crate::{
    arguments::Args,
    attributes, channels,
    context::{Task, Whose},
    devices, files, grants, identity, life, locks, memory, messages, opening, paths, poll, ring, schedule, signals,
    socket_options, sockets, splicing, system, time, timers, user_interrupts,
    xattrs::{self, By},
};
use abi::{bound, errno::Errno, nr};
use alloc::boxed::Box;
use io::file::{BoxFuture, IoError};
use process::{Outcome, Restart, slots};

/// Whether `now` may serve a call: spares the others the preparation.
pub(crate) fn may_be_quick(number: usize) -> bool {
    !matches!(
        number,
        nr::OPENAT
            | nr::MMAP
            | nr::MUNMAP
            | nr::MPROTECT
            | nr::BRK
            | nr::WAIT4
            | nr::CLONE
            | nr::EXIT
            | nr::EXIT_GROUP
            | nr::NANOSLEEP
            | nr::PPOLL
            | nr::NEWFSTATAT
    )
}

/// Serves a call that never waits.
pub(crate) fn at_once(task: &Task<'_>, number: usize, args: &Args) -> Option<Result<usize, Errno>> {
    Some(match number {
        nr::GETUID => Ok(task.process().identity().uid as usize),
        nr::GETGID => Ok(task.process().identity().gid as usize),
        nr::GETPGID => identity::getpgid(task, args),
        nr::GETSID => identity::getsid(task, args),
        nr::SETPGID => identity::setpgid(task, args),
        nr::SETSID => identity::setsid(task),
        nr::UMASK => Ok(task.set_umask(args.bits(0) & 0o777) as usize),
        abi::asyncos::SCHED_KICK => slots::kick(task.thread(), args.word(0), args.word(1)),
        abi::asyncos::SCHED_FOLLOW => slots::follow(task.thread(), args.word(0)),
        abi::uintr::SEND => user_interrupts::send(task, args),
        abi::uintr::COMPLETIONS => user_interrupts::completions(task, args),
        abi::device::OPEN => devices::open(task, args),
        abi::device::BIND => devices::bind(task, args),
        abi::device::AGAIN => devices::again(task, args),
        abi::channel::PAIR => channels::pair(task, args),
        abi::channel::BIND => channels::bind(task, args),
        abi::channel::PEER => channels::peer(task, args),
        abi::grant::GRANT => grants::grant(task, args),
        nr::SCHED_GETSCHEDULER => schedule::getscheduler(task, args),
        nr::SCHED_GET_PRIORITY_MAX => schedule::priority_range(args).map(|range| *range.end()),
        nr::SCHED_GET_PRIORITY_MIN => schedule::priority_range(args).map(|range| *range.start()),
        nr::GETPRIORITY => schedule::getpriority(task, args),
        nr::SETPRIORITY => schedule::setpriority(task, args),
        nr::MUNLOCK | nr::MLOCKALL | nr::MUNLOCKALL => Ok(0),
        nr::MEMBARRIER => memory::membarrier(args),
        nr::CLOSE => files::close(task, args),
        nr::DUP => files::dup(task, args),
        nr::DUP3 => files::dup3(task, args),
        nr::CLOSE_RANGE => files::close_range(task, args),
        nr::SOCKET => sockets::socket(task, args),
        nr::LISTEN => sockets::listen(task, args),
        nr::SHUTDOWN => sockets::shutdown(task, args),
        nr::EPOLL_CREATE1 => poll::epoll_create1(task, args),
        nr::EVENTFD2 => poll::eventfd2(task, args),
        nr::TIMERFD_CREATE => timers::timerfd_create(task, args),
        nr::SET_TID_ADDRESS => life::set_tid_address(task, args),
        nr::SET_ROBUST_LIST => life::set_robust_list(task, args),
        nr::KILL => signals::kill(task, args),
        nr::TKILL => signals::tkill(task, args),
        nr::TGKILL => signals::tgkill(task, args),
        nr::SETTIMEOFDAY | nr::CLOCK_SETTIME | nr::ADJTIMEX | nr::CLOCK_ADJTIME => Err(Errno::EPERM),
        nr::PERSONALITY => Ok(0),
        nr::FADVISE64 => attributes::fadvise(task, args),
        nr::READAHEAD => attributes::readahead(task, args),
        _ => return identity::change(task, number, args),
    })
}

/// Serves the usual case of a hot call. `None`: nothing was done, and the call has to be made in full.
pub(crate) fn attempt(task: &Task<'_>, number: usize, args: &Args) -> Option<Result<usize, Errno>> {
    let attempt = match number {
        nr::LSEEK => task.file(args.int(0)).map_err(IoError::from).and_then(|open| files::lseek_now(&open, args)),
        nr::CLOCK_GETTIME => return time::clock_gettime_now(task, args),
        nr::RT_SIGPROCMASK => return signals::rt_sigprocmask_now(task, args),
        nr::FSTAT => return attributes::fstat_now(task, args),
        _ => return None,
    };
    match attempt {
        Ok(done) => done.map(Ok),
        // What a signal ends, the full call ends: it knows how to go on.
        Err(IoError::Errno(Errno::EINTR)) => None,
        // A size that is not in memory is read in by the full call.
        Err(IoError::Errno(Errno::EAGAIN)) if number == nr::LSEEK => None,
        Err(IoError::Errno(errno)) => Some(Err(errno)),
        Err(IoError::Fault(_)) => None,
    }
}

/// How a call goes on after a signal that came before it did anything.
fn restart(number: usize, args: &Args) -> Restart {
    match number {
        nr::NANOSLEEP | nr::CLOCK_NANOSLEEP | nr::PPOLL | nr::PSELECT6 | nr::RT_SIGSUSPEND => Restart::IfNoHandler,
        // A wait with a time limit.
        nr::FUTEX if args.word(3) != 0 => Restart::IfNoHandler,
        nr::EPOLL_PWAIT | nr::EPOLL_PWAIT2 | nr::RT_SIGTIMEDWAIT | nr::IO_URING_ENTER | abi::channel::RING_CALL => {
            Restart::Never
        }
        _ => Restart::IfAllowed,
    }
}

/// What a call's result means for the thread. `EINTR` comes only from waits that a signal ended.
pub(crate) fn outcome(task: &Task<'_>, number: usize, args: &Args, result: Result<usize, Errno>) -> Outcome {
    match result {
        Err(Errno::EINTR) if task.is_final() => Outcome::Restart(Restart::Never),
        Err(Errno::EINTR) => Outcome::Restart(restart(number, args)),
        result => result.into(),
    }
}

/// A call that may wait, as a future.
pub(crate) type Served<'a> = BoxFuture<'a, Outcome>;

/// Makes a function that turns the calls of one family into futures.
macro_rules! family {
    ($name:ident, $task:ident, $args:ident: $($($number:path)|+ => $call:expr,)*) => {
        fn $name<'a>(whose: Whose<'a>, number: usize, $args: Args) -> Option<Served<'a>> {
            match number {
                $($($number)|+ => Some(Box::pin(async move {
                    let of_thread;
                    let ($task, $args) = match whose {
                        Whose::Request(task) => (task, &$args),
                        Whose::Thread(system, thread) => {
                            of_thread = Task::new(system, thread, thread.space());
                            (&of_thread, &$args)
                        }
                    };
                    let result = $call.await;
                    $task.end_mask(result);
                    outcome($task, number, $args, result)
                })),)*
                _ => None,
            }
        }
    };
}

family! { of_files, task, args:
    nr::READ => files::read(task, args),
    nr::WRITE => files::write(task, args),
    nr::PREAD64 => files::pread(task, args),
    nr::PWRITE64 => files::pwrite(task, args),
    nr::READV => files::readv(task, args, crate::transfer::At::Position, 0),
    nr::WRITEV => files::writev(task, args, crate::transfer::At::Position, 0),
    nr::PREADV => files::preadv(task, args, false),
    nr::PREADV2 => files::preadv(task, args, true),
    nr::PWRITEV => files::pwritev(task, args, false),
    nr::PWRITEV2 => files::pwritev(task, args, true),
    nr::LSEEK => files::lseek(task, args),
    nr::FCNTL => files::fcntl(task, args),
    nr::FLOCK => locks::flock(task, args),
    nr::IOCTL => files::ioctl(task, args),
    nr::PIPE2 => files::pipe2(task, args),
    nr::GETDENTS64 => files::getdents64(task, args),
    nr::FSYNC | nr::FDATASYNC => files::fsync(task, args),
    nr::SYNCFS => files::syncfs(task, args),
    nr::SYNC_FILE_RANGE => files::sync_file_range(task, args),
    nr::SENDFILE => files::sendfile(task, args),
    nr::COPY_FILE_RANGE => files::copy_file_range(task, args),
    nr::SPLICE => splicing::splice(task, args),
    nr::TEE => splicing::tee(task, args),
    nr::VMSPLICE => splicing::vmsplice(task, args),
    nr::FSTAT => attributes::fstat(task, args),
    nr::NEWFSTATAT => attributes::newfstatat(task, args),
    nr::STATX => attributes::statx(task, args),
    nr::FCHMOD => attributes::fchmod(task, args),
    nr::FCHMODAT => attributes::fchmodat(task, args),
    nr::FCHOWN => attributes::fchown(task, args),
    nr::FCHOWNAT => attributes::fchownat(task, args),
    nr::UTIMENSAT => attributes::utimensat(task, args),
    nr::TRUNCATE => attributes::truncate(task, args),
    nr::FTRUNCATE => attributes::ftruncate(task, args),
    nr::FALLOCATE => attributes::fallocate(task, args),
    nr::SETXATTR => xattrs::set(task, args, By::Path),
    nr::LSETXATTR => xattrs::set(task, args, By::Link),
    nr::FSETXATTR => xattrs::set(task, args, By::Descriptor),
    nr::GETXATTR => xattrs::get(task, args, By::Path),
    nr::LGETXATTR => xattrs::get(task, args, By::Link),
    nr::FGETXATTR => xattrs::get(task, args, By::Descriptor),
    nr::LISTXATTR => xattrs::list(task, args, By::Path),
    nr::LLISTXATTR => xattrs::list(task, args, By::Link),
    nr::FLISTXATTR => xattrs::list(task, args, By::Descriptor),
    nr::REMOVEXATTR => xattrs::remove(task, args, By::Path),
    nr::LREMOVEXATTR => xattrs::remove(task, args, By::Link),
    nr::FREMOVEXATTR => xattrs::remove(task, args, By::Descriptor),
    nr::STATFS => attributes::statfs(task, args),
    nr::FSTATFS => attributes::fstatfs(task, args),
    nr::IO_URING_SETUP => ring::setup(task, args),
    nr::IO_URING_REGISTER => ring::register(task, args),
}

family! { of_paths, task, args:
    nr::OPENAT => paths::openat(task, args),
    nr::OPENAT2 => opening::openat2(task, args),
    nr::MKDIRAT => paths::mkdirat(task, args),
    nr::MKNODAT => paths::mknodat(task, args),
    nr::UNLINKAT => paths::unlinkat(task, args),
    nr::SYMLINKAT => paths::symlinkat(task, args),
    nr::LINKAT => paths::linkat(task, args),
    nr::RENAMEAT2 => paths::renameat2(task, args, args.bits(4)),
    nr::READLINKAT => paths::readlinkat(task, args),
    nr::FACCESSAT => paths::faccessat(task, args, 0),
    nr::FACCESSAT2 => paths::faccessat(task, args, args.bits(3)),
    nr::GETCWD => paths::getcwd(task, args),
    nr::CHDIR => paths::chdir(task, args),
    nr::FCHDIR => paths::fchdir(task, args),
    nr::CHROOT => paths::chroot(task, args),
    nr::MOUNT => paths::mount(task, args),
    nr::UMOUNT2 => paths::umount2(task, args),
    nr::SYNC => paths::sync(task),
}

family! { of_sockets, task, args:
    nr::SOCKETPAIR => sockets::socketpair(task, args),
    nr::BIND => sockets::bind(task, args),
    nr::ACCEPT => sockets::accept(task, args, 0, 0),
    nr::ACCEPT4 => sockets::accept(task, args, args.bits(3), 0),
    nr::CONNECT => sockets::connect(task, args),
    nr::GETSOCKNAME => sockets::getsockname(task, args),
    nr::GETPEERNAME => sockets::getpeername(task, args),
    nr::SENDTO => messages::sendto(task, args),
    nr::RECVFROM => messages::recvfrom(task, args),
    nr::SENDMSG => messages::sendmsg(task, args),
    nr::RECVMSG => messages::recvmsg(task, args),
    nr::SENDMMSG => messages::sendmmsg(task, args),
    nr::RECVMMSG => messages::recvmmsg(task, args),
    nr::SETSOCKOPT => socket_options::setsockopt(task, args),
    nr::GETSOCKOPT => socket_options::getsockopt(task, args),
    nr::PPOLL => poll::ppoll(task, args),
    nr::PSELECT6 => poll::pselect6(task, args),
    nr::EPOLL_CTL => poll::epoll_ctl(task, args),
    nr::EPOLL_PWAIT => poll::epoll_pwait(task, args),
    nr::EPOLL_PWAIT2 => poll::epoll_pwait2(task, args),
}

family! { of_memory_and_time, task, args:
    nr::MMAP => memory::mmap(task, args),
    nr::MUNMAP => memory::munmap(task, args),
    nr::MPROTECT => memory::mprotect(task, args),
    nr::MREMAP => memory::mremap(task, args),
    nr::MADVISE => memory::madvise(task, args),
    nr::MSYNC => memory::msync(task, args),
    nr::MLOCK | nr::MLOCK2 => memory::mlock(task, args),
    nr::BRK => memory::brk(task, args),
    nr::RISCV_FLUSH_ICACHE => memory::flush_icache(task, args),
    nr::CLOCK_GETTIME => time::clock_gettime(task, args),
    nr::CLOCK_GETRES => time::clock_getres(task, args),
    nr::GETTIMEOFDAY => time::gettimeofday(task, args),
    nr::NANOSLEEP => time::nanosleep(task, args),
    nr::CLOCK_NANOSLEEP => time::clock_nanosleep(task, args),
    nr::TIMES => time::times(task, args),
    nr::SETITIMER => time::setitimer(task, args),
    nr::GETITIMER => time::getitimer(task, args),
    nr::TIMERFD_SETTIME => timers::timerfd_settime(task, args),
    nr::TIMERFD_GETTIME => timers::timerfd_gettime(task, args),
    nr::UNAME => system::uname(task, args),
    nr::SYSINFO => system::sysinfo(task, args),
    nr::GETRANDOM => system::getrandom(task, args),
    nr::REBOOT => system::reboot(task, args),
    nr::SYSLOG => system::syslog(task, args),
    nr::GETCPU => system::getcpu(task, args),
}

family! { of_life, task, args:
    nr::WAIT4 => life::wait4(task, args),
    nr::WAITID => life::waitid(task, args),
    nr::FUTEX => life::futex(task, args),
    nr::GET_ROBUST_LIST => life::get_robust_list(task, args),
    nr::PRLIMIT64 => life::prlimit64(task, args),
    nr::GETRLIMIT => life::getrlimit(task, args),
    nr::SETRLIMIT => life::setrlimit(task, args),
    nr::GETRUSAGE => life::getrusage(task, args),
    nr::PRCTL => life::prctl(task, args),
    nr::GETGROUPS => identity::getgroups(task, args),
    nr::SETGROUPS => identity::setgroups(task, args),
    nr::GETRESUID => identity::getresuid(task, args),
    nr::GETRESGID => identity::getresgid(task, args),
    nr::RT_SIGACTION => signals::rt_sigaction(task, args),
    nr::RT_SIGPROCMASK => signals::rt_sigprocmask(task, args),
    nr::RT_SIGPENDING => signals::rt_sigpending(task, args),
    nr::RT_SIGSUSPEND => signals::rt_sigsuspend(task, args),
    nr::RT_SIGTIMEDWAIT => signals::rt_sigtimedwait(task, args),
    nr::RT_SIGQUEUEINFO => signals::rt_sigqueueinfo(task, args),
    nr::SIGALTSTACK => signals::sigaltstack(task, args),
    nr::SIGNALFD4 => signals::signalfd4(task, args),
    nr::SCHED_GETAFFINITY => schedule::getaffinity(task, args),
    nr::SCHED_SETAFFINITY => schedule::setaffinity(task, args),
    nr::SCHED_SETSCHEDULER => schedule::setscheduler(task, args),
    nr::SCHED_SETPARAM => schedule::setparam(task, args),
    nr::SCHED_GETPARAM => schedule::getparam(task, args),
    nr::SCHED_SETATTR => schedule::setattr(task, args),
    nr::SCHED_GETATTR => schedule::getattr(task, args),
    nr::SCHED_RR_GET_INTERVAL => schedule::interval(task, args),
}

/// `riscv_hwprobe`, which Linux numbers beside its common table.
const RISCV_HWPROBE: usize = 258;

family! { of_machine, task, args:
    RISCV_HWPROBE => system::hwprobe(task, args),
    abi::asyncos::WORLD => life::world(task, args),
    abi::asyncos::NAME_RING => ring::name(task, args),
    abi::uintr::GRANT => user_interrupts::grant(task, args),
    abi::uintr::REVOKE => user_interrupts::revoke(task, args),
    abi::device::INFO => devices::info(task, args),
    abi::device::MEMORY => devices::memory(task, args),
    abi::device::GIVE_BACK => devices::give_back(task, args),
    abi::grant::REVOKE => grants::revoke(task, args),
    abi::asyncos::SCHED_SETUP => slots::setup(task.thread(), args.word(0)),
    abi::asyncos::SCHED_WAIT => slots::wait(task.thread(), args.word(0), args.word(1) == 1),
}

/// The future of a call; `None` if there is no such call.
pub(crate) fn waiting(whose: Whose<'_>, number: usize, args: Args) -> Option<Served<'_>> {
    of_files(whose, number, args)
        .or_else(|| of_paths(whose, number, args))
        .or_else(|| of_sockets(whose, number, args))
        .or_else(|| of_memory_and_time(whose, number, args))
        .or_else(|| of_life(whose, number, args))
        .or_else(|| of_machine(whose, number, args))
}

/// Descriptors that a call without a thread polls at most: each is looked at again with each change. A set of events has no such bound.
const POLLED: usize = 64;

/// Bytes at most that a call without a thread keeps while it waits, beside itself.
pub(crate) fn kept(number: usize, args: &Args) -> usize {
    /// What is polled, a reference to it, and a place in its queue.
    const EACH: usize = 256;
    match number {
        nr::PPOLL => args.word(1).min(POLLED) * EACH,
        nr::PSELECT6 => args.word(0).min(POLLED) * EACH,
        _ => 0,
    }
}

/// Whether a call may be made without a thread that waits for it (`abi::asyncos::ASYNC`).
///
/// # Errors
/// `EINVAL`.
pub(crate) fn may_be_asynchronous(number: usize, args: &Args) -> Result<(), Errno> {
    let may = match number {
        // With a mask of signals for its time, or very many descriptors, a call is the thread's.
        nr::PPOLL => args.word(3) == 0 && args.word(1) <= POLLED,
        nr::PSELECT6 => args.word(5) == 0 && args.word(0) <= POLLED,
        nr::EPOLL_PWAIT | nr::EPOLL_PWAIT2 => args.word(4) == 0,
        number => bound::of(number).is_none(),
    };
    if may { Ok(()) } else { Err(Errno::EINVAL) }
}
