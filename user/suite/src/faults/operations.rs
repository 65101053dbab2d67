//! One point that fails after the other (`fail-nth`), in an entry of each operation: what it needs is made before.

use super::killed::{loses_nothing, of_each};
use super::{FAILED_AS_ASKED, MOST, PASSED, choose, has_failed, open_switch};
use crate::case::{Outcome, Trouble};
use crate::process::{child, wait};
use crate::rings::every::Stage;
use core::ops::Range;
use rt::abi::process::WaitStatus;

/// The exit code. Whether the entry was done does not matter where a point has failed; where none has, it has to be, and that is for other cases to look at.
fn attempt(which: u16, nth: usize) -> i32 {
    let Ok(switch) = open_switch() else { return 2 };
    let Ok(mut stage) = Stage::new(which) else { return 3 };
    let Ok(Some(entry)) = stage.entry(which) else { return 4 };
    if choose(switch, nth).is_err() {
        return 5;
    }
    let done = stage.begin(&[entry]).and_then(|()| stage.ends(1, which));
    let Ok(failed) = has_failed(switch) else { return 6 };
    let _ = choose(switch, 0);
    match done {
        _ if failed => FAILED_AS_ASKED.into(),
        Ok(_) => PASSED.into(),
        Err(trouble) => {
            rt::eprintln!("in a child: {trouble:?}");
            1
        }
    }
}

fn at_each_point(which: u16) -> Outcome {
    for nth in 1..MOST {
        let status = wait(child(|| attempt(which, nth))?)?;
        match status {
            WaitStatus::Exited(PASSED) => return Ok(()),
            // A program that has no more memory may end by a signal.
            WaitStatus::Exited(FAILED_AS_ASKED) | WaitStatus::Signaled(..) => {}
            other => return Err(Trouble::failed(format_args!("{other:?} of {which} at point {nth}"))),
        }
    }
    Err(Trouble::failed(format_args!("{which} has no last point")))
}

/// Operations of these numbers, and those that go on after their first completion.
pub fn every_point_of_some(operations: Range<u16>) -> Outcome {
    of_each(operations, |which| loses_nothing(which, || at_each_point(which)))
}
