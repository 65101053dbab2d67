//! A submission of one entry that reads or writes and stands alone: the shortest way of all that may wait.

use super::{
    super::{
        Ring,
        operation::{Done, Operation, Step},
        request::{Entry, polled},
        retry::{self, Reading},
        taking::Single,
        ticket::Chain,
        transfer::{Transfer, Tried},
        urgency::Urgency,
    },
    begin_to_wait, completion,
};
use crate::context::Task;
use abi::io_uring::{IOSQE_CQE_SKIP_SUCCESS, Sqe};
use alloc::sync::Arc;
use io::open::OpenFile;

/// A submission of one entry that reads or writes and stands alone, which was taken. How many completions wait for the program then, unless some are kept.
pub(in super::super) fn run_single(task: &Task<'_>, ring: &Arc<Ring>, entry: &Sqe) -> Option<u32> {
    let request = Entry::silent(entry);
    if entry.flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
        ring.single_skips();
    }
    // Most often, and nothing of what has to be kept for a wait.
    if Transfer::is_simple_read(entry)
        && let Ok(open) = task.file(entry.fd)
        && !open.is_direct()
    {
        return match Transfer::of_simple_read(entry).look(task, &open, None) {
            Tried::Done(done) => ring.end_single(single(request, done)),
            tried => behind_simple_look(task, ring, entry, &open, tried),
        };
    }
    let prepared = Transfer::prepare(task, entry);
    let prepared = prepared.and_then(|transfer| Ok((transfer, ring.file(task, transfer.file().0, transfer.file().1)?)));
    match prepared {
        Ok((transfer, open)) if transfer.is_plain_read(&open) && !open.is_tagged() => {
            let tried = transfer.look(task, &open, None);
            behind_look(task, ring, request, transfer, &open, tried)
        }
        Ok((transfer, open)) => {
            let step = transfer.run_on(task, ring, &open);
            end_single(task, ring, request, transfer, open.keep(step))
        }
        Err(errno) => ring.end_single(single(request, Done::failed(errno))),
    }
}

/// What a request says that is done.
#[inline(always)]
fn single(request: Entry, done: Done) -> Single {
    if request.mark.tells(done) { Single::Done(completion(request.user_data, done)) } else { Single::Silent }
}

/// Apart, as below. The transfer is made once more: it is to lie in memory here only.
#[inline(never)]
fn behind_simple_look(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: &Sqe,
    open: &Arc<OpenFile>,
    tried: Tried,
) -> Option<u32> {
    behind_look(task, ring, Entry::silent(entry), Transfer::of_simple_read(entry), open, tried)
}

/// A look at what it reads has come to this.
#[inline(always)]
fn behind_look(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    request: Entry,
    transfer: Transfer,
    open: &Arc<OpenFile>,
    tried: Tried,
) -> Option<u32> {
    match tried {
        Tried::Done(done) => ring.end_single(single(request, done)),
        Tried::NotYet if retry::park(task, ring, request, open, || Reading::Once(transfer, None)).is_some() => {
            ring.end_single(Single::Waits)
        }
        tried => end_single(task, ring, request, transfer, transfer.goes_on(tried, open, None)),
    }
}

/// Apart, so that a read of what is there moves nothing.
#[inline(never)]
fn end_single(task: &Task<'_>, ring: &Arc<Ring>, request: Entry, transfer: Transfer, step: Step) -> Option<u32> {
    match step {
        Step::Done(done) => ring.end_single(single(request, done)),
        Step::Waits(waits) => {
            let operation = Operation::Transfer(transfer);
            if let Some(parked) =
                begin_to_wait(task, ring, (request, Urgency::USUAL), (operation, waits), Chain::default())
            {
                parked.begin();
            }
            polled(task.thread());
            ring.end_single(Single::Waits)
        }
    }
}
