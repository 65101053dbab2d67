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
use exec::sync::wait_until_next;
use io::{file::File, open::OpenFile};
use process::{
    Begun, Call, Outcome, Restart, Thread,
    channel::{self, End},
    uintr::SenderFile,
};

fn end(open: &OpenFile) -> Result<&End, Errno> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

/// `channel_pair(pages)`.
pub(crate) fn pair(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let [first, second] = channel::pair(args.word(0), task.process().account())?;
    let install = |end: Arc<dyn File>| task.install(OpenFile::new(end, O_RDWR, b"anon_inode:[channel]"), true);
    let first = install(first)?;
    let second = install(second).inspect_err(|_| task.close(first as i32))?;
    Ok(first | second << 32)
}

/// `channel_bind(end, sender, vector)`.
pub(crate) fn bind(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, sent) = (task.file(args.int(0))?, task.file(args.int(1))?);
    let sender: &SenderFile = sent.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    end(&open)?.bind(&sender.0, args.word(2)).map(|()| 0)
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
pub(crate) fn begin_ring<'a>(thread: &'a Arc<Thread>, call: &Call) -> Begun<'a> {
    let args = Args(call.args);
    let begin = || {
        only(args.bits(1), (RING | WAIT) as u32)?;
        let open = thread.process().file(args.int(0))?;
        let end = end(&open)?;
        let heard = args.word(1) & RING == 0 || end.ring();
        if args.word(1) & WAIT == 0 {
            return if heard { Ok(None) } else { Err(Errno::EPIPE) };
        }
        match end.take() {
            Some(answer) => answer.map(|()| None),
            None if args.word(2) == 0 => Err(Errno::ETIMEDOUT),
            None => Ok(Some(open)),
        }
    };
    match begin() {
        Ok(None) => Begun::Done(0),
        Ok(Some(open)) => Begun::Waits(Box::pin(wait(thread, open, args.word(2)))),
        Err(errno) => Begun::Done(errno.to_return()),
    }
}

async fn wait(thread: &Thread, open: Arc<OpenFile>, ns: usize) -> Outcome {
    let Ok(end) = end(&open) else { return Errno::EINVAL.into() };
    let rung = thread.interruptible(wait_until_next(end.queue(), || end.take()));
    let rung = if ns == FOREVER {
        rung.await
    } else {
        match exec::timeout_at(hal::time::now().saturating_add(ns as u64), rung).await {
            Ok(rung) => rung,
            Err(_) => return Errno::ETIMEDOUT.into(),
        }
    };
    match rung {
        Ok(rung) => rung.map(|()| 0).into(),
        // Who waits looks for itself before it waits again.
        Err(_) => Outcome::Restart(Restart::Never),
    }
}
