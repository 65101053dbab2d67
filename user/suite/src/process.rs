//! System calls by number, children made by `fork`, memory shared with them.

use crate::case::{Outcome, Trouble};
use core::sync::atomic::{AtomicU32, Ordering};
use rt::abi::errno::Result;
use rt::abi::mm::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use rt::abi::process::{WUNTRACED, WaitStatus};
use rt::abi::signal::{SIGCHLD, SIGSTOP};
use rt::abi::time::Timespec;
use rt::abi::{Errno, nr};
use rt::raw;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Read and write.
pub const RW: u32 = PROT_READ | PROT_WRITE;

/// A system call with up to six arguments.
pub fn call(number: usize, arguments: &[usize]) -> Result<usize> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Errno::from_return(raw::syscall6(number, all))
}

/// Ends this process at once.
pub fn exit(code: i32) -> ! {
    loop {
        let _ = call(nr::EXIT_GROUP, &[code as usize]);
    }
}

/// Forks; the child runs `body` and exits with what it returns. The child's id.
pub fn child(body: impl FnOnce() -> i32) -> Result<i32> {
    match call(nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0])? {
        0 => exit(body()),
        pid => Ok(pid as i32),
    }
}

/// As [`child`], for a body with checks: exit code 0 if all hold; else it prints why, and exits with 1.
pub fn checked_child(body: impl FnOnce() -> Outcome) -> Result<i32> {
    child(|| match body() {
        Ok(()) => 0,
        Err(trouble) => {
            rt::eprintln!("in a child: {trouble:?}");
            1
        }
    })
}

/// Waits for a child to end.
pub fn wait(pid: i32) -> Result<WaitStatus> {
    wait_with(pid, 0).map(|(_, status)| status)
}

/// `wait4` with options: who, and how. With `WNOHANG` the id may be 0.
pub fn wait_with(pid: i32, options: u32) -> Result<(i32, WaitStatus)> {
    let mut status = 0u32;
    loop {
        match call!(WAIT4, pid, &raw mut status, options, 0) {
            Err(Errno::EINTR) => {}
            other => return other.map(|pid| (pid as i32, WaitStatus::decode(status))),
        }
    }
}

/// Runs `body` in a child; how it ended.
pub fn run(body: impl FnOnce() -> i32) -> Result<WaitStatus> {
    wait(child(body)?)
}

/// The child has to end with this code.
#[track_caller]
pub fn exits(pid: i32, code: u8) -> Outcome {
    match wait(pid)? {
        WaitStatus::Exited(found) if found == code => Ok(()),
        other => Err(Trouble::failed(format_args!("the child: {other:?}, expected exit code {code}"))),
    }
}

/// The child has to end by this signal.
#[track_caller]
pub fn dies(pid: i32, signal: u32) -> Outcome {
    match wait(pid)? {
        WaitStatus::Signaled(found, _) if u32::from(found) == signal => Ok(()),
        other => Err(Trouble::failed(format_args!("the child: {other:?}, expected signal {signal}"))),
    }
}

/// What `body` does has to end its process by SIGSEGV, and nobody else's.
#[track_caller]
pub fn faults<T>(body: impl FnOnce() -> T) -> Outcome {
    dies(
        child(|| {
            core::hint::black_box(body());
            0
        })?,
        rt::abi::signal::SIGSEGV,
    )
}

/// Stops a child, and waits until it is.
pub fn stop(pid: i32) -> Outcome {
    kill(pid, SIGSTOP)?;
    equal!(wait_with(pid, WUNTRACED)?, (pid, WaitStatus::Stopped(SIGSTOP as u8)));
    Ok(())
}

/// In a child: goes on as `cat` between two descriptors. It comes back only with an error.
pub fn become_cat(input: i32, output: i32) -> Outcome {
    call!(DUP3, input, 0, 0)?;
    call!(DUP3, output, 1, 0)?;
    let arguments = [c"cat".as_ptr(), core::ptr::null()];
    call!(EXECVE, c"/bin/cat".as_ptr(), arguments.as_ptr(), 0)?;
    Ok(())
}

/// Sends a signal.
pub fn kill(pid: i32, signal: u32) -> Result<usize> {
    call!(KILL, pid, signal)
}

/// Sleeps.
pub fn sleep_ms(millis: u64) {
    rt::thread::sleep(core::time::Duration::from_millis(millis));
}

/// A time span as calls take it.
pub fn millis(millis: u64) -> Timespec {
    Timespec::from_nanos(millis * 1_000_000)
}

/// Fresh private memory of `len` bytes.
pub fn map(len: usize, protection: u32) -> Result<usize> {
    call!(MMAP, 0, len, protection, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0)
}

/// Fresh private memory at an address.
pub fn map_at(address: usize, len: usize, protection: u32) -> Result<usize> {
    call!(MMAP, address, len, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, usize::MAX, 0)
}

/// Takes memory away.
pub fn unmap(address: usize, len: usize) -> Result<usize> {
    call!(MUNMAP, address, len)
}

/// A page of words that children made by `fork` share.
#[derive(Clone, Copy)]
pub struct Shared(usize);

impl Shared {
    /// Maps it, all zero.
    pub fn new() -> Result<Self> {
        call!(MMAP, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, usize::MAX, 0).map(Self)
    }

    /// A word.
    pub fn word(self, index: usize) -> &'static AtomicU32 {
        raw::atomic(self.0 + 4 * index)
    }

    /// A word's value.
    pub fn get(self, index: usize) -> u32 {
        self.word(index).load(Ordering::SeqCst)
    }

    /// Sets a word.
    pub fn set(self, index: usize, value: u32) {
        self.word(index).store(value, Ordering::SeqCst);
    }

    /// Adds one to a word.
    pub fn count(self, index: usize) {
        self.word(index).fetch_add(1, Ordering::SeqCst);
    }

    /// Sleeps until a word is at least `value`; the hang limit is the runner's.
    pub fn await_least(self, index: usize, value: u32) {
        while self.get(index) < value {
            sleep_ms(1);
        }
    }
}

/// Waits until process or thread `pid` sleeps (state `S` in its stat file): until it is blocked in a call.
pub fn await_blocked(pid: i32) -> Outcome {
    let path = alloc::format!("/proc/{pid}/stat");
    loop {
        let stat = rt::fs::read_to_string(&path)?;
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        match state {
            Some("S") => return Ok(()),
            Some("R" | "D") => sleep_ms(1),
            other => return Err(Trouble::failed(format_args!("state {other:?} of a process that should wait"))),
        }
    }
}
