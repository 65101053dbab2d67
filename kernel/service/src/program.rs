//! Finding the file that `execve` runs.

use crate::{context::Task, paths};
use ::fs::access;
use abi::{
    errno::Errno,
    fs::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_RDONLY},
};
use io::inode::Kind;
use process::Program;

/// Opens a program for execution.
///
/// # Errors
/// `EACCES` for what is not a file that the caller may execute; `ELOOP` for a link that was not to be followed;
/// those of path resolution.
pub(crate) async fn open(task: &Task<'_>, directory: i32, path: &[u8], flags: u32) -> Result<Program, Errno> {
    let place = paths::find_place(task, directory, path, flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)).await?;
    let inode = place.inode();
    match inode.kind() {
        Kind::Regular => {}
        Kind::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    access::check_inode(&**inode, task.caller().credentials, access::EXECUTE).await?;
    let file = inode.clone().open(task.caller(), O_RDONLY).await?;
    let backing = file.backing(&place.path(&task.root()).into()).ok_or(Errno::EACCES)?;
    Ok(Program { file, backing, path: path.to_vec(), place })
}
