//! Devices that programs drive themselves (`abi::device`): the calls.

use crate::{arguments::Args, context::Task};
use abi::{device::MEDIATED, errno::Errno, fs::O_RDWR};
use alloc::sync::Arc;
use io::{file::File, open::OpenFile};
use process::{
    device::{self, DeviceFile, Owned},
    uintr::SenderFile,
};

fn owned(open: &OpenFile) -> Result<&Arc<Owned>, Errno> {
    let file: &DeviceFile = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    Ok(&file.0)
}

/// `device_info(index, info)`.
pub(crate) async fn info(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let info = device::info(args.word(0))?;
    task.space().put(args.word(1), &info).await.map(|()| 0)
}

/// `device_open(index)`.
pub(crate) fn open(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    // Whoever has a device that reaches memory can have it reach any.
    task.privileged()?;
    let file: Arc<dyn File> = Arc::new(DeviceFile(Owned::new(args.word(0), task.process().account())?));
    task.install(OpenFile::new(file, O_RDWR, b"anon_inode:[device]"), true)
}

/// `device_memory(fd, pages, address)`.
pub(crate) async fn memory(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let (address, page) = owned(&open)?.give(args.word(1))?;
    task.space().put(args.word(2), &address).await.map(|()| page)
}

/// `device_bind(fd, sender, vector)`.
pub(crate) fn bind(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, sent) = (task.file(args.int(0))?, task.file(args.int(1))?);
    let sender: &SenderFile = sent.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    let is_mediated = owned(&open)?.bind(&sender.0, args.word(2))?;
    Ok(if is_mediated { MEDIATED } else { 0 })
}

/// `device_again(fd)`.
pub(crate) fn again(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    owned(&open)?.again().map(|()| 0)
}

/// `device_give_back(fd)`.
pub(crate) async fn give_back(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    owned(&open)?.give_back().await;
    Ok(0)
}
