//! Grants of memory (`abi::grant`): the calls.

use crate::{
    arguments::{Args, only},
    context::Task,
};
use abi::{
    errno::Errno,
    fs::{O_RDONLY, O_RDWR},
    grant::WRITE,
};
use alloc::sync::Arc;
use io::open::OpenFile;
use process::grant::{self, Granter};

/// `grant(pages, how)`.
pub(crate) fn grant(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    only(args.bits(1), WRITE as u32)?;
    let is_writable = args.word(1) & WRITE != 0;
    let (granter, grantee) = grant::pair(args.word(0), is_writable, task.process().account())?;
    let keep = || task.descriptors()?.keep(task.file_limit());
    // Both before either can be used: nothing has to be taken back.
    let [near, far] = [keep()?, keep()?];
    let rights = if is_writable { O_RDWR } else { O_RDONLY };
    let near = near.give(OpenFile::new(Arc::new(granter), O_RDWR, b"anon_inode:[granted]"), true);
    Ok(near | far.give(OpenFile::new(Arc::new(grantee), rights, b"anon_inode:[grant]"), true) << 32)
}

/// `grant_revoke(granter)`.
pub(crate) async fn revoke(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let granter: &Granter = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    granter.revoke().await;
    Ok(0)
}
