//! The calls for slots, and whose slots they are.

use super::order::child_beside_spinners;
use crate::case::{Outcome, Trouble};
use crate::machine::needs_asyncos;
use crate::process::{PAGE, call, child, exits};
use crate::programs::own_path;
use core::sync::atomic::Ordering::SeqCst;
use rt::abi::asyncos::{SCHED_FOLLOW, SCHED_KICK, SCHED_SETUP, SCHED_WAIT};
use rt::abi::process::{CLONE_VFORK, CLONE_VM};
use rt::abi::signal::SIGCHLD;
use rt::abi::slots::{KICKED, OWNER, STRIDE};
use rt::abi::window::{HINT, STATUS};
use rt::abi::{Errno, nr};
use rt::task::{block_on, spawn};
use rt::time::{Duration, sleep};
use rt::{raw, thread};

/// A call of the scheduler's.
pub fn sched(number: usize, first: usize, second: usize) -> Result<usize, Errno> {
    call(number, &[first, second])
}

pub fn arguments() -> Outcome {
    needs_asyncos()?;
    fails!(sched(SCHED_WAIT, 0, 0), EINVAL);
    fails!(sched(SCHED_KICK, 0, 0), EINVAL);
    fails!(sched(SCHED_FOLLOW, 0, 0), EINVAL);
    fails!(sched(SCHED_SETUP, 0, 0), EINVAL);
    let slots = sched(SCHED_SETUP, usize::MAX, 0)?;
    ensure!((1..=8).contains(&slots), "{slots}");
    fails!(sched(SCHED_SETUP, 1, 0), EBUSY);
    for place in [64, 255, 256, usize::MAX] {
        fails!(sched(SCHED_WAIT, place, 0), EINVAL);
    }
    for target in [8, 255, 256, usize::MAX] {
        for priority in [0, 31, 32, usize::MAX] {
            equal!(sched(SCHED_KICK, target, priority), Ok(0));
        }
    }
    for place in [0, 63, 64, 255, 256, usize::MAX] {
        equal!(sched(SCHED_FOLLOW, place, 0), Ok(0));
    }
    // What is kicked before anybody waits is there for the first that does; and so is a kick before its next wait.
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 63, 0), Ok(0));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 64);
    fails!(sched(SCHED_WAIT, 62, 0), EINVAL);
    raw::atomic(HINT + 4 * 63).store(1, SeqCst);
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 63, 0), Ok(0));
    Ok(())
}

/// Neither `fork` nor `execve` hands slots on.
pub fn children_have_none() -> Outcome {
    needs_asyncos()?;
    block_on(async {
        let _ = spawn(async {}).await;
    });
    let pid = child(|| {
        let none = sched(SCHED_KICK, 0, 0) == Err(Errno::EINVAL);
        let own = sched(SCHED_SETUP, 1, 0) == Ok(1) && raw::atomic(STATUS + OWNER).load(SeqCst) == 0;
        i32::from(!(none && own))
    })?;
    exits(pid, 0)?;
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    let mut command = rt::process::Command::new(&own_path());
    let (status, output) = command.args(["--program", "slots"]).output()?;
    ensure!(status.success(), "{status}");
    equal!(core::str::from_utf8(&output).map(str::trim), Ok("none"));
    Ok(())
}

/// A child that begins in a poll ends when that is over: it has no slots to go on with.
pub fn forked_in_a_poll() -> Outcome {
    needs_asyncos()?;
    let forks = || call(nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]);
    match block_on(async move { spawn(async move { forks() }).await }) {
        Ok(pid) => exits(pid? as i32, 0),
        Err(error) => Err(Trouble::failed(format_args!("{error:?}"))),
    }
}

/// A thread ends with a slot that it was given while the first was blocked; the slot goes on.
pub fn holder_ends() -> Outcome {
    needs_asyncos()?;
    equal!(sched(SCHED_SETUP, 1, 0), Ok(1));
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 0, 0), Ok(0));
    // In its count, zero, this thread polls a coroutine: it gives the slot up where it blocks.
    let spare = thread::spawn(|| sched(SCHED_WAIT, 1, 0))?;
    equal!(spare.join(), Some(Ok(0)));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 0);
    equal!(sched(SCHED_KICK, 0, 0), Ok(0));
    equal!(sched(SCHED_WAIT, 0, 0), Ok(0));
    equal!(raw::atomic(STATUS + OWNER).load(SeqCst), 1);
    Ok(())
}

extern "C" fn set_up_and_exit(_: usize) {
    let refused = sched(SCHED_SETUP, 1, 0) == Err(Errno::EBUSY);
    let _ = call(nr::EXIT_GROUP, &[usize::from(!refused)]);
}

/// A child that shares the space of its maker cannot write what the kernel says there.
pub fn on_pages_of_another() -> Outcome {
    needs_asyncos()?;
    let stack = crate::process::map(4 * PAGE, crate::process::RW)? + 4 * PAGE;
    for more in [CLONE_VFORK, 0] {
        let how = raw::Clone { flags: CLONE_VM | more | u64::from(SIGCHLD), stack, ..raw::Clone::default() };
        exits(raw::clone_call(how, set_up_and_exit, 0) as i32, 0)?;
    }
    equal!(sched(SCHED_SETUP, 1, 0), Ok(1));
    Ok(())
}

/// A process ends while coroutines of it run on all harts.
pub fn exit_while_all_run() -> Outcome {
    needs_asyncos()?;
    for _ in 0..3 {
        let pid = child_beside_spinners(|| sleep(Duration::from_millis(1)))?;
        exits(pid, 5)?;
    }
    let offsets = [OWNER, KICKED, STRIDE];
    ensure!(offsets.iter().all(|offset| raw::atomic(STATUS + offset).load(SeqCst) == 0), "another process's status");
    Ok(())
}
