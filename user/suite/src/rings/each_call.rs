//! Each system call as one that nobody waits for (`abi::asyncos::ASYNC`): those that need their thread (`abi::bound`) are refused, all others are served by
//! what serves the call. With arguments that make no sense that is seen of all; what they do is seen of some of each kind.

use super::ordinary::{named, register};
use crate::case::{Case, Outcome, Trouble};
use crate::files::direct::open;
use crate::place::Place;
use crate::process::{PAGE, RW, map};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::asyncos::{self, CQE_WIDE};
use rt::abi::fs::{O_CREAT, O_RDWR};
use rt::abi::futex::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET};
use rt::abi::io_uring::{IORING_OP_ASYNC_CANCEL, Sqe};
use rt::abi::mm::{MAP_ANONYMOUS, MAP_PRIVATE, MREMAP_MAYMOVE};
use rt::abi::process::Utsname;
use rt::abi::signal::{SIG_BLOCK, SIGUSR1, Siginfo, mask};
use rt::abi::time::Timespec;
use rt::abi::{Errno, bound, nr};
use rt::ring::Ring;
use rt::{fs, raw};

pub const CASES: &[Case] = &[
    case!("ring/async-each-call", "C6 D4 E1", each),
    case!("ring/async-memory", "C6 D4", memory),
    case!("ring/async-futexes", "C6 D4 D16", futexes),
    case!("ring/async-scheduling", "C6 D4", scheduling),
    case!("ring/async-signals", "C6 D4", signals),
    case!("ring/async-machine", "C6 D4", machine),
    case!("ring/async-goes-on-elsewhere", "C6 D4 D14", elsewhere),
    case!("ring/async-result-that-is-wide", "C6 D4", wide),
];

/// No argument that makes sense.
const NONE: [usize; 6] = [usize::MAX; 6];
/// Of the file in `elsewhere`: one for each argument.
const PAGES: usize = 9;
const ANYWHERE: usize = (MAP_PRIVATE | MAP_ANONYMOUS) as usize;

/// All numbers that have, or may have, a call.
fn numbers() -> impl Iterator<Item = usize> {
    (0..512).chain(asyncos::FIRST..asyncos::FIRST + 0x80)
}

/// Arguments with which a call does nothing that is seen when it is made again. Most refuse what makes no sense.
fn harmless(number: usize) -> [usize; 6] {
    match number {
        nr::UMASK => [0o22; 6],
        // As root; of the others -1 means that nothing changes.
        nr::SETUID | nr::SETGID => [0; 6],
        // A mask would be the thread's.
        nr::PPOLL => [1, 1, 1, 0, 0, 0],
        nr::PSELECT6 => [1, 1, 1, 1, 1, 0],
        nr::EPOLL_PWAIT | nr::EPOLL_PWAIT2 => [usize::MAX, 1, 1, 0, 0, 0],
        _ => NONE,
    }
}

/// Makes a call so, and waits for what it answers.
fn answer(ring: &mut Ring, number: usize, args: &[usize]) -> Result<i64, Trouble> {
    equal!((number, register(number, args, 7)), (number, 0));
    result(ring, 7)
}

/// Waits for the one completion that is to come. What is wide says so, and what is not does not.
fn result(ring: &mut Ring, token: u64) -> Result<i64, Trouble> {
    let (user_data, result) = result_of_any(ring)?;
    equal!(user_data, token);
    Ok(result)
}

fn each() -> Outcome {
    let mut ring = named(8, 0)?;
    let (mut refused, mut served) = (0, 0);
    for number in numbers() {
        if bound::of(number).is_some() {
            refused += 1;
            equal!((number, register(number, &NONE, 1)), (number, Errno::EINVAL.to_return()));
            continue;
        }
        let args = harmless(number);
        let expected = raw::syscall6(number, args) as i64;
        equal!((number, answer(&mut ring, number, &args)?), (number, expected));
        served += usize::from(expected != Errno::ENOSYS.to_return() as i64);
    }
    ensure!(ring.pop().is_none());
    // Both kinds are there.
    ensure!(refused > 20 && served > 200, "{refused} are refused, {served} served");
    Ok(())
}

/// Addresses are wide where they are large; what was mapped is there for all.
fn memory() -> Outcome {
    let mut ring = named(8, 0)?;
    let made = answer(&mut ring, nr::MMAP, &[0, 2 * PAGE, RW as usize, ANYWHERE, usize::MAX, 0])?;
    ensure!(made > 0 && (made as usize).is_multiple_of(PAGE), "{made}");
    let first = made as usize;
    raw::store8(first, 5);
    let moved = answer(&mut ring, nr::MREMAP, &[first, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE as usize, 0])?;
    ensure!(moved > 0, "{moved}");
    equal!(raw::load8(moved as usize), 5);
    let space = [moved as usize, 64 * PAGE];
    equal!(answer(&mut ring, nr::MPROTECT, &[space[0], space[1], 1])?, 0);
    equal!(answer(&mut ring, nr::MLOCK, &space)?, 0);
    equal!(answer(&mut ring, nr::MADVISE, &[space[0], space[1], 4])?, 0);
    equal!(raw::load8(moved as usize), 0);
    equal!(answer(&mut ring, nr::MUNMAP, &space)?, 0);
    equal!(answer(&mut ring, nr::MLOCK, &space)?, i64::from(-Errno::ENOMEM.number()));
    let end = answer(&mut ring, nr::BRK, &[0])?;
    equal!(call!(BRK, 0)? as i64, end);
    equal!(answer(&mut ring, nr::BRK, &[end as usize + PAGE])?, end + PAGE as i64);
    equal!(answer(&mut ring, nr::BRK, &[end as usize])?, end);
    Ok(())
}

/// Waits for a word: woken by a call and by a request, too late, another value, cancelled.
fn futexes() -> Outcome {
    let mut ring = named(8, 0)?;
    let word = AtomicU32::new(3);
    let at = word.as_ptr() as usize;
    let (wait, wake) = (FUTEX_WAIT as usize, FUTEX_WAKE as usize);
    equal!(answer(&mut ring, nr::FUTEX, &[at, wait, 4])?, i64::from(-Errno::EAGAIN.number()));
    equal!(register(nr::FUTEX, &[at, wait, 3, 0], 1), 0);
    ensure!(ring.pop().is_none());
    equal!(call!(FUTEX, at, wake, 1)?, 1);
    equal!(result(&mut ring, 1)?, 0);
    // One of two is for these bits, and the wake-up is a request, too.
    let bits = |operation: u32| (operation | FUTEX_PRIVATE_FLAG) as usize;
    for token in [1, 2] {
        equal!(register(nr::FUTEX, &[at, bits(FUTEX_WAIT_BITSET), 3, 0, 0, token], token as u64), 0);
    }
    equal!(register(nr::FUTEX, &[at, bits(FUTEX_WAKE_BITSET), 5, 0, 0, 2], 9), 0);
    let mut ended = [result_of_any(&mut ring)?, result_of_any(&mut ring)?];
    ended.sort_unstable();
    equal!(ended, [(2, 0), (9, 1)]);
    let entry = Sqe { opcode: IORING_OP_ASYNC_CANCEL, fd: -1, addr: 1, user_data: 8, ..Sqe::default() };
    ensure!(ring.push_raw(&entry));
    ring.submit(0)?;
    let mut ended = [result_of_any(&mut ring)?, result_of_any(&mut ring)?];
    ended.sort_unstable();
    equal!(ended, [(1, i64::from(-Errno::ECANCELED.number())), (8, 0)]);
    // Nobody waits any more.
    equal!(call!(FUTEX, at, wake, 9)?, 0);
    let limit = Timespec { sec: 0, nsec: 2_000_000 };
    let late = answer(&mut ring, nr::FUTEX, &[at, wait, 3, &raw const limit as usize])?;
    equal!(late, i64::from(-Errno::ETIMEDOUT.number()));
    equal!(word.load(Relaxed), 3);
    Ok(())
}

fn result_of_any(ring: &mut Ring) -> Result<(u64, i64), Trouble> {
    loop {
        if let Some(cqe) = ring.pop() {
            let result = asyncos::result(cqe.res, cqe.flags);
            equal!((result, cqe.flags & CQE_WIDE != 0), (result, i32::try_from(result).is_err()));
            equal!(cqe.flags & 0xff, 0);
            return Ok((cqe.user_data, result));
        }
        ring.submit(1)?;
    }
}

/// "The calling thread" is the one that registers.
fn scheduling() -> Outcome {
    let mut ring = named(8, 0)?;
    let (mut harts, mut same) = (0u64, 0u64);
    let (at, size) = (&raw mut harts as usize, size_of::<u64>());
    equal!(answer(&mut ring, nr::SCHED_GETAFFINITY, &[0, size, at])?, size as i64);
    call!(SCHED_GETAFFINITY, 0, size, &raw mut same)?;
    ensure!(harts != 0 && harts == same);
    let one = harts & harts.wrapping_neg();
    equal!(answer(&mut ring, nr::SCHED_SETAFFINITY, &[0, size, &raw const one as usize])?, 0);
    call!(SCHED_GETAFFINITY, 0, size, &raw mut same)?;
    equal!(same, one);
    equal!(answer(&mut ring, nr::SCHED_SETAFFINITY, &[0, size, at])?, 0);
    equal!(answer(&mut ring, nr::SETPRIORITY, &[0, 0, 7])?, 0);
    equal!((call!(GETPRIORITY, 0, 0)?, answer(&mut ring, nr::GETPRIORITY, &[0, 0])?), (13, 13));
    let none = 0i32;
    equal!(answer(&mut ring, nr::SCHED_SETSCHEDULER, &[0, 3, &raw const none as usize])?, 0);
    equal!((call!(SCHED_GETSCHEDULER, 0)?, answer(&mut ring, nr::SCHED_GETSCHEDULER, &[0])?), (3, 3));
    equal!(answer(&mut ring, nr::SCHED_GET_PRIORITY_MAX, &[1])?, 99);
    Ok(())
}

fn signals() -> Outcome {
    let mut ring = named(8, 0)?;
    let blocked = mask(SIGUSR1);
    call!(RT_SIGPROCMASK, SIG_BLOCK, &raw const blocked, 0, 8)?;
    let (pid, tid) = (call!(GETPID)?, call!(GETTID)?);
    let signal = SIGUSR1 as usize;
    let mut info = Siginfo::sent(SIGUSR1, -1, 0, 0, 0);
    let given = &raw mut info as usize;
    let sends: [(usize, &[usize]); 4] = [
        (nr::KILL, &[pid, signal]),
        (nr::TKILL, &[tid, signal]),
        (nr::TGKILL, &[pid, tid, signal]),
        (nr::RT_SIGQUEUEINFO, &[pid, signal, given]),
    ];
    for (number, args) in sends {
        let mut pending = 0u64;
        let at = &raw mut pending as usize;
        equal!((number, answer(&mut ring, nr::RT_SIGPENDING, &[at, 8])?, pending & blocked), (number, 0, 0));
        equal!((number, answer(&mut ring, number, args)?), (number, 0));
        equal!((number, answer(&mut ring, nr::RT_SIGPENDING, &[at, 8])?, pending & blocked), (number, 0, blocked));
        let now = Timespec { sec: 0, nsec: 0 };
        equal!(call!(RT_SIGTIMEDWAIT, &raw const blocked, 0, &raw const now, 8)?, signal);
    }
    Ok(())
}

fn machine() -> Outcome {
    let mut ring = named(8, 0)?;
    let (mut name, mut same) = ([0u8; size_of::<Utsname>()], [0u8; size_of::<Utsname>()]);
    equal!(answer(&mut ring, nr::UNAME, &[&raw mut name as usize])?, 0);
    call!(UNAME, &raw mut same)?;
    ensure!(name == same && name[0] != 0);
    let mut bytes = [0u8; 512];
    equal!(answer(&mut ring, nr::GETRANDOM, &[bytes.as_mut_ptr() as usize, 512, 0])?, 512);
    ensure!(bytes.iter().any(|byte| *byte != bytes[0]));
    let title = c"elsewhere";
    equal!(answer(&mut ring, nr::PRCTL, &[15, title.as_ptr() as usize])?, 0);
    equal!(fs::read("/proc/self/comm")?, b"elsewhere\n");
    equal!(answer(&mut ring, nr::GETTID, &[])?, call!(GETTID)? as i64);
    Ok(())
}

/// What the arguments lead to has to be read from the disk first, so a coroutine goes on with the call: for the thread that registered it.
fn elsewhere() -> Outcome {
    let (place, mut ring) = (Place::disk()?, named(8, 0)?);
    let blocked = mask(SIGUSR1);
    call!(RT_SIGPROCMASK, SIG_BLOCK, &raw const blocked, 0, 8)?;
    let mut harts = 0u64;
    call!(SCHED_GETAFFINITY, 0, 8, &raw mut harts)?;
    let written = map(PAGES * PAGE, RW)?;
    raw::store64(written, harts & harts.wrapping_neg());
    raw::bytes(written + 2 * PAGE, 10).copy_from_slice(b"elsewhere\0");
    // A `siginfo`: its code says that a program has sent it.
    raw::store64(written + 3 * PAGE + 8, u64::from(u32::MAX));
    let file = open(&place.join("file"), O_CREAT | O_RDWR)?;
    // Past all pages.
    equal!(call!(PWRITE64, file.fd().raw(), written, PAGES * PAGE, 0)?, PAGES * PAGE);
    let at = call!(MMAP, 0, PAGES * PAGE, RW, MAP_PRIVATE, file.fd().raw(), 0)?;
    let (page, pid, signal) = (|number: usize| at + number * PAGE, call!(GETPID)?, SIGUSR1 as usize);
    equal!(answer(&mut ring, nr::SCHED_SETAFFINITY, &[0, 8, page(0)])?, 0);
    let mut now = 0u64;
    call!(SCHED_GETAFFINITY, 0, 8, &raw mut now)?;
    equal!(now, harts & harts.wrapping_neg());
    call!(SCHED_SETAFFINITY, 0, 8, &raw const harts)?;
    equal!(answer(&mut ring, nr::SCHED_SETSCHEDULER, &[0, 3, page(1)])?, 0);
    equal!(call!(SCHED_GETSCHEDULER, 0)?, 3);
    equal!(answer(&mut ring, nr::PRCTL, &[15, page(2)])?, 0);
    equal!(fs::read("/proc/self/comm")?, b"elsewhere\n");
    equal!(answer(&mut ring, nr::RT_SIGQUEUEINFO, &[pid, signal, page(3)])?, 0);
    equal!(answer(&mut ring, nr::RT_SIGPENDING, &[page(4), 8])?, 0);
    equal!(raw::load64(page(4)) & blocked, blocked);
    call!(SET_ROBUST_LIST, &raw const now, 24)?;
    equal!(answer(&mut ring, nr::GET_ROBUST_LIST, &[0, page(5), page(6)])?, 0);
    equal!((raw::load64(page(5)), raw::load64(page(6))), (&raw const now as u64, 24));
    call!(SET_ROBUST_LIST, 0, 24)?;
    // A word of another value, and one of this.
    equal!(answer(&mut ring, nr::FUTEX, &[page(7), FUTEX_WAIT as usize, 1, 0])?, i64::from(-Errno::EAGAIN.number()));
    equal!(answer(&mut ring, nr::GETCWD, &[page(8), PAGE])?, call!(GETCWD, written, PAGE)? as i64);
    Ok(())
}

/// A place in a file that is far away.
fn wide() -> Outcome {
    let mut ring = named(8, 0)?;
    let file = fs::File::create("/tmp/wide")?;
    let fd = file.fd().raw() as usize;
    for far in [1, i32::MAX as usize, 1 << 31, 0xffff_f001, 1 << 32, (1 << 43) + 5] {
        equal!(register(nr::LSEEK, &[fd, far, 0], 3), 0);
        let Some(cqe) = ring.pop() else { return Err(Trouble::failed("it waits")) };
        equal!(asyncos::result(cqe.res, cqe.flags), far as i64);
        equal!((far, cqe.flags & CQE_WIDE != 0), (far, far > i32::MAX as usize));
    }
    let wrong = answer(&mut ring, nr::LSEEK, &[fd, usize::MAX, 0])?;
    equal!(wrong, i64::from(-Errno::EINVAL.number()));
    fs::remove_file("/tmp/wide")?;
    Ok(())
}
