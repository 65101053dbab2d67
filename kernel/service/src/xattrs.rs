//! Extended attributes: values under names, in namespaces with rules of their own.
//!
//! `user.` is for regular files and directories, by the permissions of the file; `trusted.` for the superuser, and invisible to others; `security.`
//! for all to read and for the superuser to set. What else there is on Linux (`system.`, so access lists) no file system here has.

use crate::{
    arguments::{Args, only},
    context::Task,
    paths,
};
use ::fs::access;
use abi::{
    errno::Errno,
    fs::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, XATTR_CREATE, XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX},
};
use alloc::{sync::Arc, vec::Vec};
use io::inode::{Inode, Kind, XattrMode};

/// What a call names the file by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Path,
    /// A path whose last link is not followed.
    Link,
    Descriptor,
}

async fn inode_of(task: &Task<'_>, args: &Args, by: By) -> Result<Arc<dyn Inode>, Errno> {
    if by == By::Descriptor {
        return task.file(args.int(0))?.file().inode().ok_or(Errno::EOPNOTSUPP);
    }
    let path = paths::get(task, args.word(0)).await?;
    let flags = if by == By::Link { AT_SYMLINK_NOFOLLOW } else { 0 };
    paths::find(task, AT_FDCWD, &path, flags).await
}

async fn name_at(task: &Task<'_>, addr: usize) -> Result<Vec<u8>, Errno> {
    match task.cstr(addr, XATTR_NAME_MAX + 1).await {
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        name => name,
    }
}

/// Linux's rules, in its order: who may, then whether there is such a namespace.
async fn check(task: &Task<'_>, inode: &dyn Inode, name: &[u8], wanted: u32) -> Result<(), Errno> {
    let who = task.caller().credentials;
    let writes = wanted == access::WRITE;
    let hidden = if writes { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"trusted.") {
        if who.uid != 0 {
            return Err(hidden);
        }
    } else if !name.starts_with(b"security.") && !name.starts_with(b"system.") {
        let metadata = access::metadata_of(inode).await?;
        if name.starts_with(b"user.") {
            let is_owner = who.uid == 0 || who.uid == metadata.uid;
            match metadata.kind {
                Kind::Regular => {}
                Kind::Directory if writes && metadata.permissions & 0o1000 != 0 && !is_owner => {
                    return Err(Errno::EPERM);
                }
                Kind::Directory => {}
                _ => return Err(hidden),
            }
        }
        access::check(&metadata, who, wanted)?;
    }
    if writes && name.starts_with(b"security.") {
        task.privileged()?;
    }
    let known = [&b"user."[..], b"trusted.", b"security."];
    match known.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
        Some([]) => Err(Errno::EINVAL),
        Some(_) => Ok(()),
        None => Err(Errno::EOPNOTSUPP),
    }
}

/// `setxattr(path, name, value, size, flags)` and its relatives.
pub(crate) async fn set(task: &Task<'_>, args: &Args, by: By) -> Result<usize, Errno> {
    let inode = inode_of(task, args, by).await?;
    let (size, flags) = (args.word(3), args.bits(4));
    only(flags, XATTR_CREATE | XATTR_REPLACE)?;
    let name = name_at(task, args.word(1)).await?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let _charge = task.caller().account.charge(size)?;
    let mut value = mem::list(size)?;
    value.resize(size, 0);
    task.copy_in(args.word(2), &mut value).await?;
    check(task, &*inode, &name, access::WRITE).await?;
    let mode = match flags {
        0 => XattrMode::Any,
        XATTR_CREATE => XattrMode::Create,
        XATTR_REPLACE => XattrMode::Replace,
        // It is there, or not: either is wrong.
        _ => return inode.xattr(&name).await.and(Err(Errno::EEXIST)),
    };
    inode.set_xattr(&name, &value, mode).await.map(|()| 0)
}

/// Hands out what is asked for, or says how long it is. A call can take `most`.
async fn give(task: &Task<'_>, bytes: &[u8], addr: usize, size: usize, most: usize) -> Result<usize, Errno> {
    if size == 0 {
        return Ok(bytes.len());
    }
    if bytes.len() > size.min(most) {
        return Err(if size >= most { Errno::E2BIG } else { Errno::ERANGE });
    }
    task.space().copy_out(addr, bytes).await.map(|()| bytes.len())
}

/// `getxattr(path, name, value, size)` and its relatives.
pub(crate) async fn get(task: &Task<'_>, args: &Args, by: By) -> Result<usize, Errno> {
    let inode = inode_of(task, args, by).await?;
    let name = name_at(task, args.word(1)).await?;
    check(task, &*inode, &name, access::READ).await?;
    let _charge = task.caller().account.charge(XATTR_SIZE_MAX)?;
    let value = inode.xattr(&name).await?;
    give(task, &value, args.word(2), args.word(3), XATTR_SIZE_MAX).await
}

/// `listxattr(path, list, size)` and its relatives.
pub(crate) async fn list(task: &Task<'_>, args: &Args, by: By) -> Result<usize, Errno> {
    let inode = inode_of(task, args, by).await?;
    let _charge = task.caller().account.charge(XATTR_LIST_MAX)?;
    let mut names = inode.xattrs().await?;
    let all = task.caller().credentials.uid == 0;
    names.retain(|name| all || !name.starts_with(b"trusted."));
    let mut list = mem::list(names.iter().map(|name| name.len() + 1).sum())?;
    names.iter().for_each(|name| list.extend(name.iter().chain(&[0])));
    give(task, &list, args.word(1), args.word(2), XATTR_LIST_MAX).await
}

/// `removexattr(path, name)` and its relatives.
pub(crate) async fn remove(task: &Task<'_>, args: &Args, by: By) -> Result<usize, Errno> {
    let inode = inode_of(task, args, by).await?;
    let name = name_at(task, args.word(1)).await?;
    check(task, &*inode, &name, access::WRITE).await?;
    inode.remove_xattr(&name).await.map(|()| 0)
}
