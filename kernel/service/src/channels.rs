//! Channels (`abi::channel`): the calls.

use crate::{
    arguments::{Args, only},
    context::Task,
};
use abi::{
    channel::{FOREVER, RING, WAIT},
    errno::Errno,
    fs::O_RDWR,
};
use alloc::{boxed::Box, sync::Arc};
use core::future::Future;
use io::{file::File, open::OpenFile};
use process::{
    Begun, Outcome, Thread,
    channel::{self, End},
    descriptors::Reserved,
    uintr::SenderFile,
};

fn end(open: &OpenFile) -> Result<&End, Errno> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

/// `channel_pair(pages)`.
pub(crate) fn pair(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let [first, second] = channel::pair(args.word(0), task.process().account())?;
    let keep = || task.descriptors()?.keep(task.file_limit());
    // Both before either can be used: nothing has to be taken back.
    let numbers = [keep()?, keep()?];
    let give =
        |number: Reserved, end: Arc<dyn File>| number.give(OpenFile::new(end, O_RDWR, b"anon_inode:[channel]"), true);
    let [one, other] = numbers;
    Ok(give(one, first) | give(other, second) << 32)
}

/// `channel_bind(end, sender, vector)`.
pub(crate) fn bind(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, sent) = (task.file(args.int(0))?, task.file(args.int(1))?);
    let sender: &SenderFile = sent.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    end(&open)?.bind(&sender.0, args.word(2))
}

/// `channel_peer(end)`.
pub(crate) fn peer(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let (sender, vector) = end(&open)?.peer().ok_or(Errno::ENOENT)?;
    let file: Arc<dyn File> = Arc::new(SenderFile(sender));
    let fd = task.install(OpenFile::new(file, O_RDWR, b"anon_inode:[uintr-sender]"), true)?;
    Ok(fd | vector << 32)
}

/// `channel_ring(end, how, ns)`.
pub(crate) fn begin_ring<'a>(thread: &'a Arc<Thread>, args: Args) -> Begun<'a> {
    let (how, ns) = (args.word(1), args.word(2));
    let open = match only(args.bits(1), (RING | WAIT) as u32).and_then(|_| thread.process().file(args.int(0))) {
        Ok(open) => open,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    let end = match end(&open) {
        Ok(end) => end,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    let heard = if how & RING != 0 { end.ring() } else { !end.is_alone() };
    let answer = match how & WAIT {
        0 => Some(if heard { Ok(()) } else { Err(Errno::EPIPE) }),
        _ => end.take().or_else(|| (ns == 0).then_some(Err(Errno::ETIMEDOUT))),
    };
    match answer {
        Some(answer) => Begun::Done(answer.map_or_else(Errno::to_return, |()| 0)),
        None if ns == FOREVER => {
            let wait = end.wait(open.clone(), thread);
            Begun::Waits(Box::pin(wait))
        }
        None => Begun::Waits(Box::pin(wait_within(end.wait(open.clone(), thread), ns))),
    }
}

async fn wait_within(wait: impl Future<Output = Outcome>, ns: usize) -> Outcome {
    let end = hal::time::now().saturating_add(ns as u64);
    exec::timeout_at(end, wait).await.unwrap_or(Errno::ETIMEDOUT.into())
}
