//! Signals, as far as programs need them so far: send, ignore, default. Handlers come with user interrupts.

use crate::io;
use crate::sys::syscall;
use abi::signal::{SIG_DFL, SIG_IGN, SIGSET_SIZE, Sigaction};

pub use abi::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
};

/// Names without `SIG`, indexed by number.
pub const NAMES: [&str; 32] = [
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
];

/// Sends `signal` to process `pid`, or to process group `-pid`.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EINVAL`.
pub fn kill(pid: i32, signal: u32) -> io::Result<()> {
    syscall!(KILL, pid, signal)?;
    Ok(())
}

fn set(signal: u32, handler: usize) -> io::Result<()> {
    let action = Sigaction { handler: handler as u64, flags: 0, mask: 0 };
    syscall!(RT_SIGACTION, signal, &raw const action, 0, SIGSET_SIZE)?;
    Ok(())
}

/// Ignores `signal` from now on, in programs started from here too.
///
/// # Errors
/// `EINVAL` for a signal that cannot be ignored.
pub fn ignore(signal: u32) -> io::Result<()> {
    set(signal, SIG_IGN)
}

/// Lets `signal` do what it does by default.
///
/// # Errors
/// `EINVAL` for a signal that cannot be changed.
pub fn default(signal: u32) -> io::Result<()> {
    set(signal, SIG_DFL)
}
