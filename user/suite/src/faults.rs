//! Failures on demand (D13): each point at which a scenario can run out of something fails once, and everything comes back.
//!
//! A scenario is done over and over, each time by a process of its own in which the next point fails, until it is done without one that has. What it
//! is told is its own to bear: an error, an entry that is not taken, the end of its process. What must not happen is that something is lost.

mod killed;
mod late;
mod operations;
mod scenarios;

use crate::case::{Case, Outcome, Trouble};
use crate::kept;
use crate::machine::{needs_asyncos, needs_root};
use crate::process::{child, wait};
use killed::{Form, of_some};
use operations::every_point_of_some;
use rt::abi::fs::{AT_FDCWD, O_CLOEXEC, O_RDWR};
use rt::abi::process::WaitStatus;
use rt::abi::{Errno, fs as f};

pub const CASES: &[Case] = &[
    case!("faults/files", "D13", || every_point_of(scenarios::files)),
    case!("faults/names", "D13", || every_point_of(scenarios::names)),
    case!("faults/disk", "D13", || every_point_of(scenarios::disk)),
    case!("faults/pipes", "D13", || every_point_of(scenarios::pipes)),
    case!("faults/sockets", "D13", || every_point_of(scenarios::sockets)),
    case!("faults/epoll", "D13", || every_point_of(scenarios::epoll)),
    case!("faults/rights", "D13", || every_point_of(scenarios::rights)),
    case!("faults/waits", "D13", || every_point_of(scenarios::waits)),
    case!("faults/memory", "D13", || every_point_of(scenarios::memory)),
    case!("faults/fork", "D13", || every_point_of(scenarios::fork)),
    case!("faults/exec", "D13", || every_point_of(scenarios::exec)),
    case!("faults/ring", "D13", || every_point_of(scenarios::ring)),
    case!("faults/ring-calls", "D13", || every_point_of(scenarios::ring_calls)),
    case!("faults/ring-waits", "D13", || every_point_of(scenarios::ring_waits)),
    case!("faults/ring-chains", "D13", || every_point_of(scenarios::ring_chains)),
    case!("faults/ring-long-chains", "C4 D13", || every_point_of(scenarios::ring_long_chains)),
    case!("faults/ring-tables", "D13", || every_point_of(scenarios::ring_tables)),
    case!("faults/ring-registers", "D13", || every_point_of(scenarios::ring_registers)),
    case!("faults/ring-operations-0", "D13", || every_point_of_some(0..26)),
    case!("faults/ring-operations-26", "D13", || every_point_of_some(26..u16::MAX)),
    case!("faults/ring-polled", "D13", || every_point_of(scenarios::ring_polled)),
    case!("faults/switch", "D13 E1", switch),
    case!("faults/killed-at-each-poll-0", "D14 C4", || of_some(0..20, &SHORT)),
    case!("faults/killed-at-each-poll-20", "D14 C4", || of_some(20..40, &SHORT)),
    case!("faults/killed-at-each-poll-40", "D14 C4", || of_some(40..u16::MAX, &SHORT)),
    case!("faults/killed-in-longer-chains-0", "D14 C4", || of_some(0..20, &LONGER), slow),
    case!("faults/killed-in-longer-chains-20", "D14 C4", || of_some(20..40, &LONGER), slow),
    case!("faults/killed-in-longer-chains-40", "D14 C4", || of_some(40..u16::MAX, &LONGER), slow),
    case!("faults/kill-switch", "D14 E1", killed::switch),
    case!("faults/late-disk", "D13 D14 D15", late::disk),
    case!("faults/very-late-disk", "D13 D14 D15", late::very_late_disk, slow),
];

const SHORT: [Form; 2] = [Form::Alone, Form::Linked];
const LONGER: [Form; 2] = [Form::Limited, Form::Drained];

/// The number of the error that kept a scenario from being done.
#[derive(PartialEq, Eq)]
struct Refused(i32);

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self(errno.number())
    }
}

impl From<rt::io::Error> for Refused {
    fn from(error: rt::io::Error) -> Self {
        Self(crate::case::number(error))
    }
}

/// What no point may do, whichever fails.
const LOST: Refused = Refused(0);

/// What a scenario says: that it was done, or why not.
type Done = Result<(), Refused>;

const SWITCH: &core::ffi::CStr = c"/proc/asyncos/fail-nth";
/// More points than any scenario has.
const MOST: usize = 3000;
/// Exit codes of the process that does it.
const PASSED: u8 = 0;
const FAILED_AS_ASKED: u8 = 10;

fn open_switch() -> Result<usize, Errno> {
    call!(OPENAT, AT_FDCWD, SWITCH.as_ptr(), O_RDWR | O_CLOEXEC, 0)
}

/// The decimal digits of a number, without memory.
fn digits(mut number: usize, buffer: &mut [u8]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &buffer[at..];
        }
    }
}

fn choose(switch: usize, nth: usize) -> Result<usize, Errno> {
    let mut buffer = [0; 8];
    let text = digits(nth, &mut buffer);
    call!(PWRITE64, switch, text.as_ptr(), text.len(), 0)
}

/// The program that the scenario of `execve` runs: says whether a point has failed, by the switch that it was handed.
pub fn program(switch: &str) -> i32 {
    let failed = switch.parse().map_err(|_| Errno::EINVAL).and_then(has_failed);
    failed.map_or(4, |failed| i32::from(if failed { FAILED_AS_ASKED } else { PASSED }))
}

fn has_failed(switch: usize) -> Result<bool, Errno> {
    let mut text = [0u8; 2];
    call!(PREAD64, switch, text.as_mut_ptr(), 2, 0)?;
    Ok(text == *b"0\n")
}

fn open_numbers() -> usize {
    (0..64).filter(|fd| call!(FCNTL, *fd, f::F_GETFD, 0).is_ok()).count()
}

/// Does the scenario while the `nth` point fails. The exit code.
fn attempt(scenario: fn(usize) -> Done, nth: usize) -> i32 {
    let Ok(switch) = open_switch() else { return 2 };
    let before = open_numbers();
    if choose(switch, nth).is_err() {
        return 3;
    }
    let done = scenario(switch);
    let Ok(failed) = has_failed(switch) else { return 4 };
    let _ = choose(switch, 0);
    match done {
        _ if open_numbers() != before => 5,
        Err(LOST) => 6,
        _ if failed => FAILED_AS_ASKED.into(),
        Ok(()) => PASSED.into(),
        Err(Refused(number)) => 100 + number,
    }
}

fn every_point_of(scenario: fn(usize) -> Done) -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    // What is made once, and what this process needs to look.
    for _ in 0..2 {
        equal!(wait(child(|| attempt(scenario, 0))?)?, WaitStatus::Exited(FAILED_AS_ASKED));
        kept::charges()?;
    }
    for nth in 1..MOST {
        // What is lost at a point is lost each time.
        let mut status = WaitStatus::Exited(0);
        kept::nothing(4, kept::charges, || {
            status = wait(child(|| attempt(scenario, nth))?)?;
            Ok(())
        })?;
        match status {
            WaitStatus::Exited(PASSED) => return Ok(()),
            // A program that has no more memory may end by a signal.
            WaitStatus::Exited(FAILED_AS_ASKED) | WaitStatus::Signaled(..) => {}
            other => return Err(Trouble::failed(format_args!("{other:?} at point {nth}"))),
        }
    }
    Err(Trouble::failed("it has no last point"))
}

/// The switch itself: who may use it, and what it takes.
fn switch() -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let switch = open_switch()?;
    for wrong in [&b"x"[..], b"", b"-1", b"12345678901234"] {
        fails!(call!(WRITE, switch, wrong.as_ptr(), wrong.len()), EINVAL);
    }
    // It is for who opened it.
    let pid = crate::process::checked_child(|| {
        fails!(choose(switch, 1), EPERM);
        Ok(())
    })?;
    crate::process::exits(pid, 0)?;
    choose(switch, 1)?;
    let mapped = crate::process::map(4096, crate::process::RW).and_then(|page| {
        rt::raw::store64(page, 1);
        crate::process::unmap(page, 4096)
    });
    // Either was refused, or the page came at the second attempt.
    let _ = mapped;
    ensure!(has_failed(switch)?, "nothing has failed");
    choose(switch, 1_000_000)?;
    ensure!(!has_failed(switch)?, "it has failed already");
    call!(CLOSE, switch)?;
    let switch = open_switch()?;
    ensure!(has_failed(switch)?, "closing has not taken it back");
    call!(CLOSE, switch)?;
    let pid = crate::process::checked_child(|| {
        call!(SETUID, 1000)?;
        fails!(open_switch(), EACCES);
        Ok(())
    })?;
    crate::process::exits(pid, 0)
}
