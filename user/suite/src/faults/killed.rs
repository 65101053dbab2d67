//! The end of a process at each poll of what it has submitted (`/proc/asyncos/kill-nth`, D14): of every operation, alone and in the chains that have it wait.
//!
//! A process submits an entry, does what it may wait for, and takes its completions; the next poll of these, or of who waits for them, is its last. It
//! is done over and over, until it ends by itself. Nothing of such a process may stay: no memory that it paid for, and no coroutine.

use super::digits;
use crate::case::{Outcome, Trouble};
use crate::kept;
use crate::machine::{needs_asyncos, needs_root};
use crate::process::{child, wait};
use crate::rings::every::{AGAIN, ENTRY, GATE, Stage, probed};
use crate::rings::fuzz;
use alloc::vec::Vec;
use core::ops::Range;
use rt::abi::Errno;
use rt::abi::fs::{AT_FDCWD, O_CLOEXEC, O_RDWR};
use rt::abi::io_uring::*;
use rt::abi::poll::EPOLLIN;
use rt::abi::process::WaitStatus;
use rt::abi::signal::SIGKILL;
use rt::system;

/// More polls than any of these has.
const MOST: usize = 100;
/// A run takes one share of the operations.
const SHARES: u16 = 8;
/// Passes in a row in which something is lost, if it is. What is kept by address, as the room of a queue of futexes, is kept once for each of many.
const PASSES: usize = 40;
/// Where in a chain the entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Alone,
    /// Behind a read that waits.
    Linked,
    /// The same, and has a limit of its own.
    Limited,
    /// Behind a read that waits, and the gate that all before it have to pass.
    Drained,
}

fn open_switch() -> Result<usize, Errno> {
    call!(OPENAT, AT_FDCWD, c"/proc/asyncos/kill-nth".as_ptr(), O_RDWR | O_CLOEXEC, 0)
}

fn choose(switch: usize, nth: usize) -> Result<usize, Errno> {
    let mut buffer = [0; 8];
    let text = digits(nth, &mut buffer);
    call!(PWRITE64, switch, text.as_ptr(), text.len(), 0)
}

fn chain(stage: &Stage, entry: Sqe, form: Form) -> Vec<Sqe> {
    let with = |flags: u8, entry: Sqe| Sqe { flags: entry.flags | flags, ..entry };
    let (waits, long) = (stage.waits(), stage.limit());
    if entry.opcode == IORING_OP_LINK_TIMEOUT {
        // It is about what is before it.
        return alloc::vec![with(IOSQE_IO_LINK, waits), entry];
    }
    match form {
        Form::Alone => alloc::vec![entry],
        Form::Linked => alloc::vec![with(IOSQE_IO_LINK, waits), entry],
        Form::Limited => alloc::vec![with(IOSQE_IO_LINK, waits), with(IOSQE_IO_LINK, entry), long],
        Form::Drained => alloc::vec![waits, with(IOSQE_IO_DRAIN, entry)],
    }
}

/// Submits it and takes its completions; what it came to first.
fn pass(stage: &mut Stage, which: u16, form: Form, switch: Option<(usize, usize)>) -> Result<i32, Trouble> {
    let entry = stage.entry(which)?.ok_or(Trouble::failed(format_args!("there is no entry of {which}")))?;
    let entries = chain(stage, entry, form);
    if let Some((switch, nth)) = switch {
        choose(switch, nth)?;
    }
    stage.begin(&entries)?;
    let is_limit = entry.opcode == IORING_OP_LINK_TIMEOUT;
    if !is_limit {
        stage.open_gate();
    }
    let results = stage.ends(entries.len(), which)?;
    if let Some((switch, _)) = switch {
        choose(switch, 0)?;
    }
    let of = |name: u64| results.iter().find(|(user_data, _)| *user_data == name).map(|(_, result)| *result);
    ensure!(of(GATE).is_none_or(|result| result == 1 || is_limit), "{results:?}");
    of(ENTRY).ok_or(Trouble::failed("it has no completion"))
}

fn attempt(which: u16, form: Form, nth: usize) -> i32 {
    let Ok(switch) = open_switch() else { return 2 };
    let Ok(mut stage) = Stage::new(which) else { return 3 };
    match pass(&mut stage, which, form, Some((switch, nth))) {
        Ok(_) => 0,
        Err(trouble) => {
            rt::eprintln!("in a child: {trouble:?}");
            1
        }
    }
}

/// Ends the process at each poll in turn; how many there were.
fn at_each_poll(which: u16, form: Form) -> Result<usize, Trouble> {
    for nth in 1..MOST {
        let status = wait(child(|| attempt(which, form, nth))?)?;
        match status {
            WaitStatus::Exited(0) => return Ok(nth - 1),
            WaitStatus::Signaled(signal, _) if u32::from(signal) == SIGKILL => {}
            other => return Err(Trouble::failed(format_args!("{other:?} of {which} {form:?} at poll {nth}"))),
        }
    }
    Err(Trouble::failed(format_args!("{which} {form:?} has no last poll")))
}

/// Does it for an operation, until nothing is kept behind it.
pub fn loses_nothing(which: u16, mut pass: impl FnMut() -> Outcome) -> Outcome {
    if which == u16::from(IORING_OP_WAITID) {
        // The child that it waits for is process 1's when its process ends, which reaps it when the case is over.
        return pass();
    }
    let written = || {
        // What is to be written is kept until it is: of a file that is removed by now, too.
        system::sync();
        Ok(())
    };
    written()?;
    // What is lost is two objects at least, of which one is tolerated.
    let twice = || pass().and_then(|()| pass()).and_then(|()| written());
    let done = kept::nothing(PASSES, kept::charges_and_objects, twice);
    done.map_err(|trouble| match trouble {
        Trouble::Failed(why) => Trouble::failed(format_args!("{why} (of {which})")),
        skipped => skipped,
    })
}

fn every_poll_of(which: u16, form: Form) -> Outcome {
    loses_nothing(which, || {
        let polls = at_each_poll(which, form)?;
        // A chain behind a read is polled as that begins and as it ends; with several harts it may be the same poll that goes on.
        ensure!(form == Form::Alone || polls >= 2, "{which} {form:?} has {polls} polls");
        Ok(())
    })
}

/// Operations of these numbers, in each of the forms.
pub fn of_some(operations: Range<u16>, forms: &[Form]) -> Outcome {
    of_each(operations, |which| forms.iter().try_for_each(|form| every_poll_of(which, *form)))
}

/// For each operation of these numbers that is there: with `--rounds 2` for all, else for every eighth, which ones by the fresh seed.
pub fn of_each(operations: Range<u16>, check: impl Fn(u16) -> Outcome) -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let known = probed()?;
    ensure!(known.len() >= 48, "{}", known.len());
    let (all, fresh) = (fuzz::number(fuzz::ROUNDS, 1) > 1, fuzz::number(fuzz::FRESH, 0));
    let wanted =
        |which: &u16| operations.contains(which) && (all || u64::from(*which % SHARES) == fresh % u64::from(SHARES));
    known.into_iter().chain(AGAIN).filter(wanted).try_for_each(check)
}

/// The switch itself: who may use it, what it takes, and that it does what it says.
pub fn switch() -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let switch = open_switch()?;
    for wrong in [&b"x"[..], b"", b"-1"] {
        fails!(call!(WRITE, switch, wrong.as_ptr(), wrong.len()), EINVAL);
    }
    let pid = crate::process::checked_child(|| {
        // It is for who opened it.
        fails!(choose(switch, 1), EPERM);
        call!(SETUID, 1000)?;
        fails!(open_switch(), EACCES);
        Ok(())
    })?;
    crate::process::exits(pid, 0)?;
    // What others do is not counted.
    choose(switch, 1)?;
    let pid = crate::process::checked_child(|| {
        // It waits until it is fed, and says the same however often that was.
        let mut stage = Stage::new(IORING_OP_POLL_ADD.into())?;
        equal!(pass(&mut stage, IORING_OP_POLL_ADD.into(), Form::Linked, None)?, EPOLLIN as i32);
        Ok(())
    })?;
    crate::process::exits(pid, 0)?;
    let mut left = [0u8; 2];
    call!(PREAD64, switch, left.as_mut_ptr(), 2, 0)?;
    equal!(left, *b"1\n");
    call!(CLOSE, switch)?;
    Ok(())
}
