//! `wait4` and `waitid`: waiting for children.

use crate::{
    exit::child_info,
    process::Process,
    table::{self, Change, Found},
};
use abi::{
    errno::Errno,
    process::{Rusage, WaitStatus},
    signal::{CLD_CONTINUED, CLD_STOPPED, SIGCONT, Siginfo},
};
use alloc::sync::Arc;

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Any.
    Any,
    /// This one.
    Pid(u32),
    /// Those in this group.
    Group(u32),
}

impl Who {
    /// From the first argument of `wait4`: above 0 a child, 0 the own group, -1 any, below a group.
    #[must_use]
    pub fn of_pid(process: &Process, pid: i32) -> Self {
        match pid {
            1.. => Self::Pid(pid as u32),
            0 => Self::Group(table::kin(process.pid()).map_or(0, |kin| kin.group)),
            -1 => Self::Any,
            _ => Self::Group(pid.unsigned_abs()),
        }
    }

    fn matches(self, pid: u32, group: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Pid(wanted) => wanted == pid,
            Self::Group(wanted) => wanted == group,
        }
    }
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Children that have ended.
    pub ended: bool,
    /// Children that were stopped (`WUNTRACED`, `WSTOPPED`).
    pub stopped: bool,
    /// Children that were continued (`WCONTINUED`).
    pub continued: bool,
    /// Answer at once (`WNOHANG`).
    pub no_hang: bool,
    /// Leave the change to be reported again (`WNOWAIT`).
    pub keep: bool,
}

/// A change of a child.
pub struct Report {
    /// The child.
    pub pid: u32,
    /// Status word of `wait4`.
    pub status: u32,
    /// What `waitid` stores.
    pub info: Siginfo,
    /// What the child used, if it has ended.
    pub usage: Rusage,
}

/// Why a wait ended without a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// Nothing matches: `ECHILD`.
    NoChild,
}

impl From<WaitError> for Errno {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::NoChild => Errno::ECHILD,
        }
    }
}

/// Looks once; `Ok(None)`: no change yet.
///
/// # Errors
/// [`WaitError::NoChild`].
pub fn wait_now(process: &Arc<Process>, who: Who, options: Options) -> Result<Option<Report>, WaitError> {
    let accepts = |change| match change {
        Change::Ended(_) => options.ended,
        Change::Stopped(_) => options.stopped,
        Change::Continued => options.continued,
    };
    match table::take_change(process.pid(), |pid, group| who.matches(pid, group), accepts, !options.keep) {
        Found::NoChild => Err(WaitError::NoChild),
        Found::Nothing => Ok(None),
        Found::Change(child, change) => Ok(Some(report(process, &child, change, options))),
    }
}

/// Waits for a change; `Ok(None)` only with [`Options::no_hang`]. No signal ends it.
///
/// # Errors
/// [`WaitError::NoChild`].
pub async fn change(process: &Arc<Process>, who: Who, options: Options) -> Result<Option<Report>, WaitError> {
    if options.no_hang {
        return wait_now(process, who, options);
    }
    let found = exec::sync::wait_until(&process.changed, || wait_now(process, who, options).transpose());
    found.await.map(Some)
}

fn report(parent: &Process, child: &Process, change: Change, options: Options) -> Report {
    let times = child.times();
    let stopped = |code, signal: u32| Siginfo::child(code, child.pid() as i32, child.user(), signal as i32, 0, 0);
    let (status, info) = match change {
        Change::Ended(status) => (status, child_info(child, status)),
        Change::Stopped(signal) => (WaitStatus::Stopped(signal).encode(), stopped(CLD_STOPPED, u32::from(signal))),
        Change::Continued => (WaitStatus::Continued.encode(), stopped(CLD_CONTINUED, SIGCONT)),
    };
    if matches!(change, Change::Ended(_)) && !options.keep {
        parent.children_usage.absorb(&times);
        parent.children_usage.absorb(&child.children_times());
    }
    Report { pid: child.pid(), status, info, usage: times.rusage(child.account().peak()) }
}
