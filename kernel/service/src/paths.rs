//! Calls that take paths. The walk and the permissions are `fs`'s; here are descriptors, flags and `AT_*`.

use crate::{
    arguments::{Args, only},
    context::Task,
};
use ::fs::{
    access,
    walk::{Context, Last, Place},
};
use abi::{
    errno::Errno,
    fs::{self as f, AT_FDCWD, PATH_MAX},
};
use alloc::{sync::Arc, vec::Vec};
use io::{
    caller::Credentials,
    inode::{Inode, Kind, NewInode, Removal, Replace},
    open::OpenFile,
};

/// Flags of `openat` that the kernel knows.
pub(crate) const OPEN_FLAGS: u32 = f::O_ACCMODE
    | f::O_CREAT
    | f::O_EXCL
    | f::O_NOCTTY
    | f::O_TRUNC
    | f::O_APPEND
    | f::O_NONBLOCK
    | f::O_SYNC
    | f::O_DIRECT
    | f::O_LARGEFILE
    | f::O_DIRECTORY
    | f::O_NOFOLLOW
    | f::O_NOATIME
    | f::O_CLOEXEC
    | f::O_PATH
    | f::FASYNC;

/// Where a relative path begins: a directory, and the root that `..` does not leave.
pub(crate) struct Base {
    root: Arc<Place>,
    base: Arc<Place>,
    /// `RESOLVE_*`.
    resolve: u32,
}

impl Base {
    /// The base of `path` for `dirfd`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`.
    pub async fn of(task: &Task<'_>, dirfd: i32, path: &[u8]) -> Result<Self, Errno> {
        let root = task.root();
        if dirfd == AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(Self { root, base: task.directory(), resolve: 0 });
        }
        let base = directory_of(task, &root, task.file(dirfd)?.as_ref()).await?;
        Ok(Self { root, base, resolve: 0 })
    }

    /// The same where the walk may be kept within bounds (`RESOLVE_*`): if these are the directory, an absolute path has to do with it too.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`.
    pub async fn bounded(task: &Task<'_>, dirfd: i32, path: &[u8], resolve: u32) -> Result<Self, Errno> {
        let path = if resolve & (f::RESOLVE_BENEATH | f::RESOLVE_IN_ROOT) == 0 { path } else { b"" };
        Ok(Self { resolve, ..Self::of(task, dirfd, path).await? })
    }

    pub fn context<'a>(&'a self, task: &'a Task<'_>) -> Context<'a> {
        Context { caller: task.caller(), root: &self.root, base: &self.base, resolve: self.resolve }
    }
}

/// The place of an open directory.
async fn directory_of(task: &Task<'_>, root: &Arc<Place>, open: &OpenFile) -> Result<Arc<Place>, Errno> {
    let inode = open.file().inode().filter(|inode| inode.kind() == Kind::Directory).ok_or(Errno::ENOTDIR)?;
    let context = Context { caller: task.caller(), root, base: root, resolve: 0 };
    match task.system.namespace.find(&context, open.path(), Last::Follow).await {
        Ok(place) if place.inode().id() == inode.id() => Ok(place),
        // Moved or removed since: paths below it still work, `..` does not lead further up.
        _ => Ok(Place::root(inode)),
    }
}

/// Copies a path.
pub(crate) async fn get(task: &Task<'_>, addr: usize) -> Result<Vec<u8>, Errno> {
    task.cstr(addr, PATH_MAX).await
}

/// The inode that `dirfd`, `path` and `AT_SYMLINK_NOFOLLOW`, `AT_EMPTY_PATH` of `flags` name.
pub(crate) async fn find(task: &Task<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<Arc<dyn Inode>, Errno> {
    if path.is_empty() && flags & f::AT_EMPTY_PATH != 0 && dirfd != AT_FDCWD {
        return task.file(dirfd)?.file().inode().ok_or(Errno::EINVAL);
    }
    Ok(find_place(task, dirfd, path, flags).await?.inode().clone())
}

/// The place that the same arguments name.
pub(crate) async fn find_place(task: &Task<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<Arc<Place>, Errno> {
    if path.is_empty() && flags & f::AT_EMPTY_PATH != 0 {
        if dirfd == AT_FDCWD {
            return Ok(task.directory());
        }
        let open = task.file(dirfd)?;
        let inode = open.file().inode().ok_or(Errno::EINVAL)?;
        // The name that it was opened by.
        return Ok(Place::below(&task.root(), open.path().strip_prefix(b"/").unwrap_or_default(), inode));
    }
    let last = if flags & f::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
    let base = Base::of(task, dirfd, path).await?;
    task.system.namespace.find(&base.context(task), path, last).await
}

/// `openat(dirfd, path, flags, mode)`.
pub(crate) async fn openat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(2) & OPEN_FLAGS;
    let path = get(task, args.word(1)).await?;
    let base = Base::of(task, args.int(0), &path).await?;
    let open = open(task, &base, &path, flags, args.bits(3)).await?;
    task.install(open, flags & f::O_CLOEXEC != 0)
}

/// Opens a path; opening a named pipe or a terminal may wait.
pub(crate) async fn open(
    task: &Task<'_>,
    base: &Base,
    path: &[u8],
    flags: u32,
    mode: u32,
) -> Result<Arc<OpenFile>, Errno> {
    let permissions = mode & 0o7777 & !task.umask();
    // Who asks for more with one bit asks for less too, and only that is looked at.
    let flags = if flags & f::O_SYNC != 0 { flags | f::O_DSYNC } else { flags };
    let context = base.context(task);
    let opening = task.system.namespace.open(&context, path, flags, permissions);
    // Creating must not be given up half-way: begun again, it would find its own file.
    let opened = if flags & f::O_CREAT != 0 { opening.await } else { task.wait_for(opening, None).await };
    let (open, _place) = opened?;
    // Opening a named pipe may wait for long.
    if let Some(wait) = open.file().opened() {
        let wait = async {
            wait.await;
            Ok(())
        };
        task.wait_for(wait, None).await?;
    }
    Ok(open)
}

/// `mkdirat(dirfd, path, mode)`.
pub(crate) async fn mkdirat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let permissions = args.bits(2) & 0o1777 & !task.umask();
    create(task, args, NewInode { kind: Kind::Directory, permissions, rdev: 0 }).await
}

/// `mknodat(dirfd, path, mode, dev)`.
pub(crate) async fn mknodat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let mode = args.bits(2);
    let kind = match mode & abi::stat::S_IFMT {
        0 => Kind::Regular,
        abi::stat::S_IFDIR => return Err(Errno::EPERM),
        abi::stat::S_IFLNK => return Err(Errno::EINVAL),
        _ => Kind::from_mode(mode).ok_or(Errno::EINVAL)?,
    };
    let permissions = mode & 0o7777 & !task.umask();
    create(task, args, NewInode { kind, permissions, rdev: args.bits(3).into() }).await
}

async fn create(task: &Task<'_>, args: &Args, new: NewInode) -> Result<usize, Errno> {
    let path = get(task, args.word(1)).await?;
    let base = Base::of(task, args.int(0), &path).await?;
    task.system.namespace.create(&base.context(task), &path, new).await.map(|_| 0)
}

/// Creates the file of a local socket that is bound to `path`.
pub(crate) async fn create_socket(task: &Task<'_>, path: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
    let base = Base::of(task, AT_FDCWD, path).await?;
    let new = NewInode { kind: Kind::Socket, permissions: 0o777 & !task.umask(), rdev: 0 };
    task.system.namespace.create(&base.context(task), path, new).await
}

/// Removes it again, if `path` leads to it still.
pub(crate) async fn remove_socket(task: &Task<'_>, path: &[u8], inode: &Arc<dyn Inode>) -> Result<(), Errno> {
    let base = Base::of(task, AT_FDCWD, path).await?;
    let (namespace, context) = (&task.system.namespace, base.context(task));
    if namespace.find(&context, path, Last::Keep).await?.inode().id() == inode.id() {
        namespace.unlink(&context, path, Removal::File).await?;
    }
    Ok(())
}

/// The file of a local socket that others are to reach by `path`: who may write to it may.
pub(crate) async fn find_socket(task: &Task<'_>, path: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
    let inode = find(task, AT_FDCWD, path, 0).await?;
    access::check_inode(&*inode, task.caller().credentials, access::WRITE).await?;
    if inode.kind() == Kind::Socket { Ok(inode) } else { Err(Errno::ECONNREFUSED) }
}

/// `unlinkat(dirfd, path, flags)`.
pub(crate) async fn unlinkat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    only(args.bits(2), f::AT_REMOVEDIR)?;
    let removal = if args.bits(2) & f::AT_REMOVEDIR != 0 { Removal::Directory } else { Removal::File };
    let path = get(task, args.word(1)).await?;
    let base = Base::of(task, args.int(0), &path).await?;
    task.system.namespace.unlink(&base.context(task), &path, removal).await.map(|()| 0)
}

/// `symlinkat(target, dirfd, path)`.
pub(crate) async fn symlinkat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let target = get(task, args.word(0)).await?;
    let path = get(task, args.word(2)).await?;
    let base = Base::of(task, args.int(1), &path).await?;
    task.system.namespace.symlink(&base.context(task), &target, &path).await.map(|()| 0)
}

/// `linkat(dirfd, path, new_dirfd, new_path, flags)`.
pub(crate) async fn linkat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(4);
    only(flags, f::AT_SYMLINK_FOLLOW | f::AT_EMPTY_PATH)?;
    let old = get(task, args.word(1)).await?;
    let new = get(task, args.word(3)).await?;
    // Here following is what has to be asked for.
    let keep = if flags & f::AT_SYMLINK_FOLLOW != 0 { 0 } else { f::AT_SYMLINK_NOFOLLOW };
    let target = find(task, args.int(0), &old, keep | flags & f::AT_EMPTY_PATH).await?;
    let base = Base::of(task, args.int(2), &new).await?;
    task.system.namespace.link(&base.context(task), &target, &new).await.map(|()| 0)
}

/// `renameat2(dirfd, path, new_dirfd, new_path, flags)`.
pub(crate) async fn renameat2(task: &Task<'_>, args: &Args, flags: u32) -> Result<usize, Errno> {
    let replace = match flags {
        0 => Replace::Yes,
        f::RENAME_NOREPLACE => Replace::No,
        f::RENAME_EXCHANGE => Replace::Exchange,
        _ => return Err(Errno::EINVAL),
    };
    let old = get(task, args.word(1)).await?;
    let new = get(task, args.word(3)).await?;
    let from = Base::of(task, args.int(0), &old).await?;
    let to = Base::of(task, args.int(2), &new).await?;
    let (from, to) = (from.context(task), to.context(task));
    task.system.namespace.rename((&from, &old), (&to, &new), replace).await.map(|()| 0)
}

/// `readlinkat(dirfd, path, buffer, len)`.
pub(crate) async fn readlinkat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let len = usize::try_from(args.int(3)).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
    let path = get(task, args.word(1)).await?;
    let inode = find(task, args.int(0), &path, f::AT_SYMLINK_NOFOLLOW | f::AT_EMPTY_PATH).await?;
    if inode.kind() != Kind::Symlink {
        return Err(Errno::EINVAL);
    }
    let target = match inode.readlink_now() {
        Some(target) => target,
        None => inode.readlink().await?,
    };
    let len = len.min(target.len());
    task.space().copy_out(args.word(2), &target[..len]).await?;
    Ok(len)
}

/// `faccessat2(dirfd, path, mode, flags)`.
pub(crate) async fn faccessat(task: &Task<'_>, args: &Args, flags: u32) -> Result<usize, Errno> {
    let mode = args.bits(2);
    only(mode, f::R_OK | f::W_OK | f::X_OK)?;
    only(flags, f::AT_EACCESS | f::AT_SYMLINK_NOFOLLOW | f::AT_EMPTY_PATH)?;
    let path = get(task, args.word(1)).await?;
    let inode = find(task, args.int(0), &path, flags).await?;
    let who: Credentials = if flags & f::AT_EACCESS != 0 { task.caller().credentials } else { task.real_credentials() };
    if mode != f::F_OK {
        access::check_inode(&*inode, who, mode).await?;
    }
    Ok(0)
}

/// `getcwd(buffer, len)`.
pub(crate) async fn getcwd(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let directory = task.directory();
    let metadata = match directory.inode().metadata_now() {
        Some(metadata) => metadata,
        None => directory.inode().metadata().await?,
    };
    if metadata.links == 0 {
        return Err(Errno::ENOENT); // it has been removed
    }
    let mut path = directory.path(&task.root());
    path.push(0);
    if path.len() > args.word(1) {
        return Err(Errno::ERANGE);
    }
    task.space().copy_out(args.word(0), &path).await?;
    Ok(path.len())
}

/// A directory that the caller may enter.
async fn enterable(task: &Task<'_>, place: Arc<Place>) -> Result<Arc<Place>, Errno> {
    if place.inode().kind() != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    access::check_inode(&**place.inode(), task.caller().credentials, access::EXECUTE).await?;
    Ok(place)
}

async fn directory_at(task: &Task<'_>, addr: usize) -> Result<Arc<Place>, Errno> {
    let path = get(task, addr).await?;
    let base = Base::of(task, AT_FDCWD, &path).await?;
    let place = task.system.namespace.find(&base.context(task), &path, Last::Follow).await?;
    enterable(task, place).await
}

/// `chdir(path)`.
pub(crate) async fn chdir(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.set_directory(directory_at(task, args.word(0)).await?);
    Ok(0)
}

/// `fchdir(fd)`.
pub(crate) async fn fchdir(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let place = directory_of(task, &task.root(), &open).await?;
    task.set_directory(enterable(task, place).await?);
    Ok(0)
}

/// `chroot(path)`.
pub(crate) async fn chroot(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let place = directory_at(task, args.word(0)).await?;
    if task.caller().credentials.uid != 0 {
        return Err(Errno::EPERM);
    }
    task.set_root(place);
    Ok(0)
}

/// `mount(source, target, type, flags, data)`: new file systems of the kinds that need no device.
pub(crate) async fn mount(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let source = match args.word(0) {
        0 => Vec::new(),
        addr => get(task, addr).await?,
    };
    let target = get(task, args.word(1)).await?;
    let kind = match args.word(2) {
        0 => return Err(Errno::EINVAL),
        addr => get(task, addr).await?,
    };
    if args.bits(3) & (f::MS_REMOUNT | f::MS_BIND | f::MS_MOVE) != 0 {
        return Err(Errno::EINVAL);
    }
    if task.caller().credentials.uid != 0 {
        return Err(Errno::EPERM);
    }
    let options = match args.word(4) {
        0 => Vec::new(),
        addr => get(task, addr).await?,
    };
    let (kind, root) = (task.system.new_file_system)(&kind, &options)?;
    let base = Base::of(task, AT_FDCWD, &target).await?;
    let source = alloc::string::String::from_utf8_lossy(&source);
    task.system.namespace.mount(&base.context(task), &target, root, &source, kind).await.map(|()| 0)
}

/// `umount2(target, flags)`.
pub(crate) async fn umount2(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    only(args.bits(1), f::MNT_FORCE | f::MNT_DETACH | f::UMOUNT_NOFOLLOW)?;
    let target = get(task, args.word(0)).await?;
    let base = Base::of(task, AT_FDCWD, &target).await?;
    let root = task.system.namespace.unmount(&base.context(task), &target).await?;
    root.sync_all().await.map(|()| 0)
}

/// `sync()`: writes back every mounted file system.
pub(crate) async fn sync(task: &Task<'_>) -> Result<usize, Errno> {
    for root in task.system.namespace.roots() {
        // As Linux: `sync` reports no errors.
        let _ = root.sync_all().await;
    }
    Ok(0)
}
