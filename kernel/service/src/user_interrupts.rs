//! User interrupts (`abi::uintr`): the calls on descriptors. What needs the thread's registers is `process::uintr`'s.

use crate::{arguments::Args, context::Task, ring};
use abi::{errno::Errno, fs::O_RDWR};
use alloc::sync::Arc;
use io::{file::File, open::OpenFile};
use process::uintr::{Receiver, ReceiverFile, Sender, SenderFile};

fn receiver(open: &OpenFile) -> Result<&Arc<Receiver>, Errno> {
    let file: &ReceiverFile = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    Ok(&file.0)
}

fn sender(open: &OpenFile) -> Result<&Arc<Sender>, Errno> {
    let file: &SenderFile = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    Ok(&file.0)
}

/// `uintr_grant(receiver, vectors)`.
pub(crate) async fn grant(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let sender = receiver(&open)?.grant(args.word(1) as u64).await?;
    let file: Arc<dyn File> = Arc::new(SenderFile(sender));
    task.install(OpenFile::new(file, O_RDWR, b"anon_inode:[uintr-sender]"), true)
}

/// `uintr_send(sender, vector)`.
pub(crate) fn send(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    sender(&open)?.raise(args.word(1)).map(|()| 0)
}

/// `uintr_revoke(receiver, sender)`.
pub(crate) async fn revoke(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, sent) = (task.file(args.int(0))?, task.file(args.int(1))?);
    let (receiver, sender) = (receiver(&open)?, sender(&sent)?);
    if !Arc::ptr_eq(receiver, sender.receiver()) {
        return Err(Errno::EINVAL);
    }
    receiver.revoke(sender).await.map(|()| 0)
}

/// `uintr_ring(ring, sender, vector)`.
pub(crate) fn completions(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, sent) = (task.file(args.int(0))?, task.file(args.int(1))?);
    ring::raise(task, &open, sender(&sent)?, args.word(2)).map(|()| 0)
}
