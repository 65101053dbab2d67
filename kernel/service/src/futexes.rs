//! Futexes as the second interface has them: size and scope are flags of each word, and a wait may be for several words.

use crate::{arguments::only, context::Task};
use abi::{errno::Errno, futex::*};
use alloc::{boxed::Box, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};
use io::file::{BoxFuture, IoError};
use mem::{Charge, list};
use process::futex::{self, Wait};
use zerocopy::{FromZeros, IntoBytes};

/// What a wait for a word takes: with its waiter, and two places in a bucket, which grows by doubling.
const EACH: usize = size_of::<Wait<'_>>() + size_of::<FutexWaitv>() + 96 + 2 * 24;

/// Whether the flags of a word are known, and values fit into it.
pub(crate) fn is_right(flags: u32, value: u64, bits: u64) -> bool {
    size_is_right(flags).is_ok() && u32::try_from(value).is_ok() && u32::try_from(bits).is_ok()
}

fn size_is_right(flags: u32) -> Result<(), Errno> {
    only(flags, FUTEX2_SIZE_MASK | FUTEX2_PRIVATE)?;
    if flags & FUTEX2_SIZE_MASK == FUTEX2_SIZE_U32 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn is_private(flags: u32) -> bool {
    flags & FUTEX2_PRIVATE != 0
}

/// Wakes up to `count`, of which only the lower half counts, as a signed number; of 0 none.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(crate) fn wake(task: &Task<'_>, addr: usize, count: usize, bits: u32, flags: u32) -> Result<usize, Errno> {
    // Linux looks for the first before it looks at the count.
    let count = match count as u32 as i32 {
        0 => 0,
        count => count.max(1) as usize,
    };
    futex::wake(task.space(), addr, is_private(flags), count, bits)
}

/// Waits until one wakes this that is for one of `bits`.
///
/// # Errors
/// `EAGAIN` for another value, `EINTR`, `EINVAL`, `EFAULT`, `ENOMEM`.
pub(crate) async fn wait(task: &Task<'_>, addr: usize, expected: u32, bits: u32, flags: u32) -> Result<usize, Errno> {
    let _counted = task.process().quotas().words.charge(1)?;
    let _charge = task.caller().account.charge(EACH)?;
    loop {
        match futex::begin(None, task.space(), addr, is_private(flags), expected, bits) {
            Ok(wait) => return until_woken(task, &mut [wait]).await.map(|_| 0),
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

/// [`wait_until`] in memory of its own, which is paid for: a thread's wait is not to carry its size.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn begin_apart<'a>(
    task: &'a Task<'_>,
    addr: usize,
    word: (bool, u32, u32),
    deadline: Option<u64>,
) -> Result<(BoxFuture<'a, Result<usize, Errno>>, Charge), Errno> {
    let waits = wait_until(task, addr, word, deadline);
    let charge = task.caller().account.charge(size_of_val(&waits))?;
    Ok((Box::pin(waits), charge))
}

/// Waits like the first interface, for a request: until `deadline` (ns since boot) at most. `word`: whether it is this process's only, what it is to be, and for what of it.
///
/// # Errors
/// As [`wait`], and `ETIMEDOUT`.
async fn wait_until(
    task: &Task<'_>,
    addr: usize,
    word: (bool, u32, u32),
    deadline: Option<u64>,
) -> Result<usize, Errno> {
    let _counted = task.process().quotas().words.charge(1)?;
    let _charge = task.caller().account.charge(EACH)?;
    let (private, expected, bits) = word;
    let mut waits = loop {
        match futex::begin(None, task.space(), addr, private, expected, bits) {
            Ok(wait) => break [wait],
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    };
    match task.wait_for(until_woken(task, &mut waits), deadline).await {
        // The time is over. A waker may have been faster.
        Err(Errno::EAGAIN) => give_up(&mut waits, Errno::ETIMEDOUT),
        ended => ended,
    }
}

/// Waits for one of the words in a list of the program's; which one.
///
/// # Errors
/// As [`wait`].
pub(crate) async fn wait_for_one(task: &Task<'_>, addr: usize, count: usize) -> Result<usize, Errno> {
    let _charges = [task.process().quotas().words.charge(count)?, task.caller().account.charge(count * EACH)?];
    let (mut words, mut waits) = (list(count)?, list(count)?);
    words.resize(count, FutexWaitv::new_zeroed());
    task.copy_in(addr, words.as_mut_slice().as_mut_bytes()).await?;
    for word in &words {
        if !is_right(word.flags, word.val, 0) || word.reserved != 0 {
            return Err(Errno::EINVAL);
        }
    }
    loop {
        let Err(error) = begin_all(task, &words, &mut waits) else { return until_woken(task, &mut waits).await };
        let errno = match error {
            IoError::Errno(errno) => errno,
            IoError::Fault(_) => Errno::EAGAIN,
        };
        // One may have been woken meanwhile: that counts.
        let woken = give_up(&mut waits, errno);
        waits.clear();
        match (woken, error) {
            (Err(_), IoError::Fault(fault)) => task.resolve(fault).await?,
            (woken, _) => return woken,
        }
    }
}

fn begin_all(task: &Task<'_>, words: &[FutexWaitv], waits: &mut Vec<Wait<'static>>) -> Result<(), IoError> {
    for word in words {
        let private = is_private(word.flags);
        let bits = FUTEX_BITSET_MATCH_ANY;
        waits.push(futex::begin(None, task.space(), word.uaddr as usize, private, word.val as u32, bits)?);
    }
    Ok(())
}

/// Ends the waits, unless a waker was faster: then which one it was for.
fn give_up(waits: &mut [Wait<'_>], errno: Errno) -> Result<usize, Errno> {
    let mut woken = Err(errno);
    for (number, wait) in waits.iter_mut().enumerate() {
        if wait.give_up(errno).is_ok() && woken.is_err() {
            woken = Ok(number);
        }
    }
    woken
}

async fn until_woken(task: &Task<'_>, waits: &mut [Wait<'_>]) -> Result<usize, Errno> {
    poll_fn(|context| {
        let mut each = waits.iter_mut();
        if let Some(number) = each.position(|wait| Pin::new(wait).poll(context).is_ready()) {
            return Poll::Ready(Ok(number));
        }
        if task.interrupted() { Poll::Ready(give_up(waits, Errno::EINTR)) } else { Poll::Pending }
    })
    .await
}
