//! This process and its children.

mod command;
mod spawn;
mod world;

pub use command::{Child, Command, Stdio};
pub use world::{World, world};

use crate::io::{self, Write};
use crate::sys::{retry, syscall, waiting_call};
use abi::process::{WNOHANG, WUNTRACED, WaitStatus};
use core::fmt;

/// The exit status of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(WaitStatus);

impl ExitStatus {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.code() == Some(0)
    }

    /// The exit code; `None` if a signal ended or stopped it.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self.0 {
            WaitStatus::Exited(code) => Some(i32::from(code)),
            _ => None,
        }
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(self) -> Option<u32> {
        match self.0 {
            WaitStatus::Signaled(signal, _) => Some(u32::from(signal)),
            _ => None,
        }
    }

    /// The signal that stopped it.
    #[must_use]
    pub fn stopped(self) -> Option<u32> {
        match self.0 {
            WaitStatus::Stopped(signal) => Some(u32::from(signal)),
            _ => None,
        }
    }

    /// What a shell reports: the code, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self.0 {
            WaitStatus::Exited(code) => i32::from(code),
            WaitStatus::Signaled(signal, _) | WaitStatus::Stopped(signal) => 128 + i32::from(signal),
            WaitStatus::Continued => 0,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            WaitStatus::Exited(code) => write!(f, "exit status {code}"),
            WaitStatus::Signaled(signal, _) => write!(f, "killed by signal {signal}"),
            WaitStatus::Stopped(signal) => write!(f, "stopped by signal {signal}"),
            WaitStatus::Continued => f.write_str("continued"),
        }
    }
}

/// The status of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(i32);

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self(0);
    /// It did not.
    pub const FAILURE: Self = Self(1);

    /// The number.
    #[must_use]
    pub fn to_i32(self) -> i32 {
        self.0
    }
}

impl From<i32> for ExitCode {
    fn from(code: i32) -> Self {
        Self(code)
    }
}

/// What `main` may return.
pub trait Termination {
    /// The status; says on standard error what went wrong.
    fn report(self) -> ExitCode;
}

impl Termination for () {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl Termination for ExitCode {
    fn report(self) -> ExitCode {
        self
    }
}

impl<T: Termination, E: fmt::Display> Termination for Result<T, E> {
    fn report(self) -> ExitCode {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Ends the process with the low eight bits of `code`, after writing out standard output.
pub fn exit(code: i32) -> ! {
    // A full disk or a closed pipe cannot be reported any more.
    let _ = io::stdout().flush();
    loop {
        let _ = syscall!(EXIT_GROUP, code);
    }
}

/// The process id.
#[must_use]
pub fn id() -> i32 {
    syscall!(GETPID).unwrap_or_default() as i32
}

/// The parent's process id.
#[must_use]
pub fn parent_id() -> i32 {
    syscall!(GETPPID).unwrap_or_default() as i32
}

/// The user id.
#[must_use]
pub fn user_id() -> u32 {
    syscall!(GETUID).unwrap_or_default() as u32
}

/// Puts process `pid` (0: this one) into group `group` (0: a new one with its id).
///
/// # Errors
/// `ESRCH`, `EPERM`, `EACCES` after the child has called exec.
pub fn set_group(pid: i32, group: i32) -> io::Result<()> {
    syscall!(SETPGID, pid, group)?;
    Ok(())
}

/// The group of this process.
#[must_use]
pub fn group() -> i32 {
    syscall!(GETPGID, 0).unwrap_or_default() as i32
}

/// Begins a new session without a terminal.
///
/// # Errors
/// `EPERM` when this process leads a group already.
pub fn new_session() -> io::Result<()> {
    syscall!(SETSID)?;
    Ok(())
}

fn wait4(pid: i32, options: u32) -> io::Result<Option<(i32, ExitStatus)>> {
    let mut status = 0u32;
    let pid = match options & WNOHANG {
        0 => waiting_call!(WAIT4, pid, &raw mut status, options, 0),
        _ => retry(|| syscall!(WAIT4, pid, &raw mut status, options, 0)),
    }?;
    Ok((pid != 0).then(|| (pid as i32, ExitStatus(WaitStatus::decode(status)))))
}

/// Waits for child `pid` (-1: any, below -1: any of that group) to end or stop.
///
/// # Errors
/// `ECHILD` when there is none.
pub fn wait(pid: i32) -> io::Result<(i32, ExitStatus)> {
    wait4(pid, WUNTRACED)?.ok_or_else(|| abi::Errno::ECHILD.into())
}

/// The same without waiting; `None` if no such child has ended or stopped.
///
/// # Errors
/// `ECHILD` when there is none.
pub fn try_wait(pid: i32) -> io::Result<Option<(i32, ExitStatus)>> {
    wait4(pid, WNOHANG | WUNTRACED)
}
