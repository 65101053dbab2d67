//! What the suite runs on: AsyncOS in which world, Linux, or an emulator of Linux's user mode.

use crate::case::{Outcome, Trouble};
use rt::abi::{Errno, asyncos};
use rt::{env, fs, raw, system};

/// Whether this is AsyncOS.
pub fn is_asyncos() -> bool {
    system::uname().is_ok_and(|names| names.version.starts_with("AsyncOS"))
}

/// The world of this process; `None` on Linux.
pub fn world() -> Option<usize> {
    Errno::from_return(raw::syscall6(asyncos::WORLD, [asyncos::WORLD_GET, 0, 0, 0, 0, 0])).ok()
}

/// Skips what only AsyncOS has.
pub fn needs_asyncos() -> Outcome {
    if is_asyncos() { Ok(()) } else { Err(Trouble::skipped("only AsyncOS has it")) }
}

/// Skips what a user-mode emulator does not carry through.
pub fn needs_kernel(what: &str) -> Outcome {
    if env::var("SUITE_EMULATED").is_some() {
        return Err(Trouble::skipped(format_args!("the emulator's own: {what}")));
    }
    Ok(())
}

/// Skips what needs the rights of root.
pub fn needs_root() -> Outcome {
    if rt::process::user_id() == 0 { Ok(()) } else { Err(Trouble::skipped("needs to be root")) }
}

/// How many harts there are.
pub fn harts() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

/// Skips what takes so many harts.
pub fn needs_harts(count: usize) -> Outcome {
    needs_kernel("harts")?;
    if harts() < count { Err(Trouble::skipped(format_args!("needs {count} harts"))) } else { Ok(()) }
}

/// Has this thread run on the hart of a round.
pub fn go_to(round: u32) -> Outcome {
    let mask = 1_u64 << (round as usize % harts());
    call!(SCHED_SETAFFINITY, 0, 8, &raw const mask)?;
    Ok(())
}
