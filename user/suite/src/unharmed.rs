//! What hostile cases have to leave as it was, beside what the runner looks at behind all: what processes are charged and the kernel's coroutines behind
//! each, and how fast the system is behind them all.

use crate::case::{Case, Outcome, Trouble};
use crate::kept;
use crate::machine::is_asyncos;
use crate::process::{PAGE, RW, map, millis, unmap};
use rt::abi::fs::{AT_FDCWD, O_RDWR};
use rt::abi::io_uring::Sqe;
use rt::abi::time::CLOCK_PROCESS_CPUTIME_ID;
use rt::raw;
use rt::ring::Ring;

/// Their names begin so: all in which a program or a device does what it should not, and those beside them that do the same as it should be done.
const HOSTILE: [&str; 19] = [
    "channel/",
    "coroutines/",
    "direct/",
    "driver/",
    "faults/",
    "hostile/",
    "isolation/",
    "killed/",
    "limits/",
    "registers/",
    "rights/",
    "ring/",
    "runtime/",
    "slots/",
    "ticks/",
    "traps/",
    "uintr/",
    "user-signals/",
    "watch/",
];

/// Whether it is one of them.
pub fn is_hostile(case: &Case) -> bool {
    HOSTILE.iter().any(|group| case.name.starts_with(group))
}

/// Runs one, and looks at what is kept behind it.
pub fn leaves_nothing(run: impl Fn() -> Outcome) -> Outcome {
    if is_asyncos() { kept::nothing(2, kept::charges_and_coroutines, run) } else { run() }
}

/// A little of everything, whose time shows whether the system is as fast as it was.
pub struct Reference(u64);

/// Samples of which the best counts; behind the cases more: it is the system that may be slower, not each moment.
const BEFORE: usize = 40;
/// How many times slower it may be.
const SLOWER: u64 = 4;
const BEHIND: usize = 400;

impl Reference {
    /// How fast it is before them.
    pub fn new() -> Result<Self, Trouble> {
        (0..BEFORE).try_fold(Self(u64::MAX), |best, _| Ok(Self(best.0.min(sample()?))))
    }

    /// It is of that order still: what is left behind and looked through each time makes it many times slower. A tenth, which is asked for, is less than what a busy host makes of
    /// it from one minute to the next.
    pub fn is_kept(&self) -> Outcome {
        let mut best = u64::MAX;
        for _ in 0..BEHIND {
            best = best.min(sample()?);
            if best <= SLOWER * self.0 {
                return Ok(());
            }
        }
        Err(Trouble::failed(format_args!("{best} ns; {} before the hostile cases", self.0)))
    }
}

fn own_time() -> Result<u64, Trouble> {
    let mut time = millis(0);
    call!(CLOCK_GETTIME, CLOCK_PROCESS_CPUTIME_ID, &raw mut time)?;
    Ok(time.sec as u64 * 1_000_000_000 + time.nsec as u64)
}

/// Nanoseconds of one pass: calls, files, pipes, memory, a ring, a socket.
fn sample() -> Result<u64, Trouble> {
    let mut ring = Ring::new(32, 0)?;
    let began = own_time()?;
    for _ in 0..20 {
        call!(GETPPID)?;
        let (read, write) = rt::pipe::pipe()?;
        let mut bytes = [0u8; 64];
        call!(WRITE, write.fd().raw(), bytes.as_ptr(), 64)?;
        call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 64)?;
        drop(raw::file(call!(OPENAT, AT_FDCWD, c"/dev/null".as_ptr(), O_RDWR, 0)?));
        let page = map(PAGE, RW)?;
        raw::store64(page, 1);
        unmap(page, PAGE)?;
        for _ in 0..32 {
            ring.push_raw(&Sqe::default());
        }
        ring.submit(32)?;
        while ring.pop().is_some() {}
    }
    Ok(own_time()? - began)
}
