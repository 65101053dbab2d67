//! The kernel's signals, as far as programs need them: send, ignore, default. Signals with handlers are [`user`]'s.

use crate::io;
use crate::sys::syscall;
use abi::signal::{SIG_DFL, SIG_IGN, SIGSET_SIZE, Sigaction};
use core::sync::atomic::{AtomicU64, Ordering};

pub mod user;

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

/// Signals that this program has chosen to ignore.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// What [`ignore`] was called for: reset in the programs started from here. What was ignored before stays so.
pub(crate) fn ignored() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Ignores `signal` from now on, in this program alone.
///
/// # Errors
/// `EINVAL` for a signal that cannot be ignored.
pub fn ignore(signal: u32) -> io::Result<()> {
    set(signal, SIG_IGN)?;
    // Relaxed: a set of bits by itself, read by the thread that starts a program.
    IGNORED.fetch_or(abi::signal::mask(signal), Ordering::Relaxed);
    Ok(())
}

/// Lets `signal` do what it does by default.
///
/// # Errors
/// `EINVAL` for a signal that cannot be changed.
pub fn default(signal: u32) -> io::Result<()> {
    set(signal, SIG_DFL)?;
    IGNORED.fetch_and(!abi::signal::mask(signal), Ordering::Relaxed);
    Ok(())
}
