//! Attributes of files: the `stat` family, and changing modes, owners, times and sizes.

use crate::{
    arguments::{Args, only},
    context::Task,
    paths,
};
use ::fs::namespace::{self, change_mode, change_owner, change_times};
use abi::{
    errno::Errno,
    fs as f,
    stat::{self as s, Stat, Statx, StatxTimestamp},
    time::{Timespec, UTIME_NOW, UTIME_OMIT},
};
use alloc::sync::Arc;
use io::{
    inode::{Inode, InodeId, Kind, Metadata, SetAttributes, Statistics, Timestamp},
    open::OpenFile,
};
use zerocopy::FromZeros;

/// Preferred size of transfers that `stat` reports.
const BLOCK: u32 = 4096;

/// Attributes of what a descriptor refers to, if they are in memory. What has no inode gets made-up ones.
fn of_open_now(open: &OpenFile) -> Option<Metadata> {
    match open.file().inode() {
        Some(inode) => inode.metadata_now(),
        None => Some(nameless(open)),
    }
}

async fn of_open(open: &OpenFile) -> Result<Metadata, Errno> {
    match open.file().inode() {
        Some(inode) => inode.metadata().await,
        None => Ok(nameless(open)),
    }
}

fn kind_of(open: &OpenFile) -> Kind {
    open.file().inode().map_or_else(|| nameless(open).kind, |inode| inode.kind())
}

/// `fadvise64(fd, offset, len, advice)`: checked, and taken note of nowhere.
pub(crate) fn fadvise(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    if kind_of(&open) == Kind::Fifo {
        return Err(Errno::ESPIPE);
    }
    let is_known = args.bits(3) <= f::POSIX_FADV_NOREUSE;
    if (args.word(2) as isize) < 0 || !is_known {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// `readahead(fd, offset, count)`: likewise.
pub(crate) fn readahead(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    if !open.readable() {
        return Err(Errno::EBADF);
    }
    match kind_of(&open) {
        Kind::Regular | Kind::Block => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// Attributes of pipes, sockets and event objects.
fn nameless(open: &OpenFile) -> Metadata {
    let path = open.path();
    let kind = match path {
        _ if path.starts_with(b"socket:") => Kind::Socket,
        _ if path.starts_with(b"pipe:") => Kind::Fifo,
        _ => Kind::Character,
    };
    // The label tells one from another; a kernel address would tell too much.
    let ino = path.iter().fold(5381, |sum: u64, &byte| (sum.wrapping_mul(33) ^ u64::from(byte)) & 0xffff_ffff);
    let zero = Timestamp::default();
    Metadata {
        id: InodeId { dev: 0, ino },
        kind,
        permissions: 0o600,
        links: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        accessed: zero,
        modified: zero,
        changed: zero,
        created: None,
    }
}

/// `struct stat` of `metadata`.
fn stat_of(metadata: &Metadata) -> Stat {
    Stat {
        dev: metadata.id.dev,
        ino: metadata.id.ino,
        mode: metadata.mode(),
        nlink: metadata.links,
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: metadata.rdev,
        pad1: 0,
        size: metadata.size as i64,
        blksize: BLOCK as i32,
        pad2: 0,
        blocks: metadata.blocks as i64,
        atime: metadata.accessed.seconds,
        atime_nsec: metadata.accessed.nanos.into(),
        mtime: metadata.modified.seconds,
        mtime_nsec: metadata.modified.nanos.into(),
        ctime: metadata.changed.seconds,
        ctime_nsec: metadata.changed.nanos.into(),
        unused: [0; 2],
    }
}

fn statx_time(time: Timestamp) -> StatxTimestamp {
    StatxTimestamp { sec: time.seconds, nsec: time.nanos, pad: 0 }
}

/// `struct statx`. The time of creation is for who wants it, as on Linux.
fn statx_of(metadata: &Metadata, wanted: u32) -> Statx {
    let mut statx = Statx::new_zeroed();
    if let Some(created) = metadata.created.filter(|_| wanted & s::STATX_BTIME != 0) {
        (statx.mask, statx.btime) = (s::STATX_BTIME, statx_time(created));
    }
    (statx.rdev_major, statx.rdev_minor) = s::split_dev(metadata.rdev);
    (statx.dev_major, statx.dev_minor) = s::split_dev(metadata.id.dev);
    Statx {
        mask: statx.mask | s::STATX_BASIC_STATS,
        blksize: BLOCK,
        nlink: metadata.links,
        uid: metadata.uid,
        gid: metadata.gid,
        mode: metadata.mode() as u16,
        ino: metadata.id.ino,
        size: metadata.size,
        blocks: metadata.blocks,
        atime: statx_time(metadata.accessed),
        ctime: statx_time(metadata.changed),
        mtime: statx_time(metadata.modified),
        ..statx
    }
}

/// `fstat(fd, stat)`.
pub(crate) async fn fstat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let stat = stat_of(&of_open(&open).await?);
    task.space().put(args.word(1), &stat).await.map(|()| 0)
}

/// `fstat` where attributes and page are there.
pub(crate) fn fstat_now(task: &Task<'_>, args: &Args) -> Option<Result<usize, Errno>> {
    let open = match task.file(args.int(0)) {
        Ok(open) => open,
        Err(errno) => return Some(Err(errno)),
    };
    let stat = stat_of(&of_open_now(&open)?);
    task.space().put_now(args.word(1), &stat).ok().map(|()| Ok(0))
}

/// The attributes that a directory, a path and `AT_*` flags name.
async fn named(task: &Task<'_>, dirfd: i32, path: usize, flags: u32) -> Result<Metadata, Errno> {
    let path = paths::get(task, path).await?;
    if path.is_empty() && flags & f::AT_EMPTY_PATH != 0 && dirfd != f::AT_FDCWD {
        return of_open(task.file(dirfd)?.as_ref()).await;
    }
    let inode = paths::find(task, dirfd, &path, flags).await?;
    inode.metadata().await
}

/// `newfstatat(dirfd, path, stat, flags)`.
pub(crate) async fn newfstatat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(3);
    only(flags, f::AT_SYMLINK_NOFOLLOW | f::AT_NO_AUTOMOUNT | f::AT_EMPTY_PATH)?;
    let stat = stat_of(&named(task, args.int(0), args.word(1), flags).await?);
    task.space().put(args.word(2), &stat).await.map(|()| 0)
}

/// `statx(dirfd, path, flags, mask, buffer)`.
pub(crate) async fn statx(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(2);
    let sync = f::AT_STATX_FORCE_SYNC | f::AT_STATX_DONT_SYNC;
    only(flags, f::AT_SYMLINK_NOFOLLOW | f::AT_NO_AUTOMOUNT | f::AT_EMPTY_PATH | sync)?;
    if flags & sync == sync || args.bits(3) & s::STATX__RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    let statx = statx_of(&named(task, args.int(0), args.word(1), flags).await?, args.bits(3));
    task.space().put(args.word(4), &statx).await.map(|()| 0)
}

/// The inode of a descriptor that must have one.
fn inode_of(open: &OpenFile) -> Result<Arc<dyn Inode>, Errno> {
    open.file().inode().ok_or(Errno::EINVAL)
}

/// `fchmod(fd, mode)`.
pub(crate) async fn fchmod(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let inode = inode_of(task.file(args.int(0))?.as_ref())?;
    change_mode(task.caller(), &*inode, args.bits(1) & 0o7777).await.map(|()| 0)
}

/// `fchmodat(dirfd, path, mode)`.
pub(crate) async fn fchmodat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let path = paths::get(task, args.word(1)).await?;
    let inode = paths::find(task, args.int(0), &path, 0).await?;
    change_mode(task.caller(), &*inode, args.bits(2) & 0o7777).await.map(|()| 0)
}

/// An id to set; all ones leave it as it is.
fn id(bits: u32) -> Option<u32> {
    (bits != u32::MAX).then_some(bits)
}

/// `fchown(fd, uid, gid)`.
pub(crate) async fn fchown(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let inode = inode_of(task.file(args.int(0))?.as_ref())?;
    change_owner(task.caller(), &*inode, id(args.bits(1)), id(args.bits(2))).await.map(|()| 0)
}

/// `fchownat(dirfd, path, uid, gid, flags)`.
pub(crate) async fn fchownat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(4);
    only(flags, f::AT_SYMLINK_NOFOLLOW | f::AT_EMPTY_PATH)?;
    let path = paths::get(task, args.word(1)).await?;
    let inode = paths::find(task, args.int(0), &path, flags).await?;
    change_owner(task.caller(), &*inode, id(args.bits(2)), id(args.bits(3))).await.map(|()| 0)
}

/// A time of `utimensat`; `None` leaves it as it is.
fn new_time(time: Timespec, now: Timestamp) -> Result<Option<Timestamp>, Errno> {
    match time.nsec {
        UTIME_NOW => Ok(Some(now)),
        UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(Timestamp { seconds: time.sec, nanos: time.nsec as u32 })),
        _ => Err(Errno::EINVAL),
    }
}

/// `utimensat(dirfd, path, times, flags)`.
pub(crate) async fn utimensat(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(3);
    only(flags, f::AT_SYMLINK_NOFOLLOW | f::AT_EMPTY_PATH)?;
    let now = Timestamp::now();
    let times: Option<[Timespec; 2]> = match args.word(2) {
        0 => None,
        addr => Some(task.space().get(addr).await?),
    };
    let (accessed, modified) = match times {
        None => (Some(now), Some(now)),
        Some([accessed, modified]) => (new_time(accessed, now)?, new_time(modified, now)?),
    };
    let both_now = times.is_none_or(|times| times.iter().all(|time| time.nsec == UTIME_NOW));
    // A descriptor alone means its file; without one, a missing path is a bad address.
    let inode = if args.word(1) == 0 && args.int(0) != f::AT_FDCWD {
        only(flags, 0)?;
        inode_of(task.file(args.int(0))?.as_ref())?
    } else {
        let path = paths::get(task, args.word(1)).await?;
        paths::find(task, args.int(0), &path, flags).await?
    };
    change_times(task.caller(), &*inode, accessed, modified, both_now).await.map(|()| 0)
}

/// `truncate(path, size)`.
pub(crate) async fn truncate(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let size = args.offset(1)?;
    let path = paths::get(task, args.word(0)).await?;
    let inode = paths::find(task, f::AT_FDCWD, &path, 0).await?;
    check_size(task, &*inode, size).await?;
    namespace::truncate(task.caller(), &*inode, size).await.map(|()| 0)
}

/// Whether the process may make a regular file that long; raises `SIGXFSZ` if not.
async fn check_size(task: &Task<'_>, inode: &dyn Inode, size: u64) -> Result<(), Errno> {
    if size <= task.caller().file_limit || inode.kind() != Kind::Regular || inode.metadata().await?.size >= size {
        return Ok(());
    }
    task.write_failed(Errno::EFBIG);
    Err(Errno::EFBIG)
}

async fn resize(task: &Task<'_>, inode: &dyn Inode, size: u64) -> Result<usize, Errno> {
    match inode.kind() {
        Kind::Regular => {}
        Kind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    check_size(task, inode, size).await?;
    let set = SetAttributes { size: Some(size), ..Default::default() };
    inode.set_attributes(task.caller(), set).await.map(|()| 0)
}

/// `ftruncate(fd, size)`.
pub(crate) async fn ftruncate(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let size = args.offset(1)?;
    if !open.writable() {
        return Err(Errno::EINVAL);
    }
    resize(task, &*inode_of(&open)?, size).await
}

/// `fallocate(fd, mode, offset, len)`: makes the file at least that long; space is found when it is written.
pub(crate) async fn fallocate(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    if !open.writable() {
        return Err(Errno::EBADF);
    }
    let (offset, len) = (args.offset(2)?, args.offset(3)?);
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let end = offset.checked_add(len).filter(|&end| i64::try_from(end).is_ok()).ok_or(Errno::EFBIG)?;
    let inode = open.file().inode().ok_or(Errno::ESPIPE)?;
    match args.bits(1) {
        0 if inode.metadata().await?.size < end => resize(task, &*inode, end).await,
        0 | f::FALLOC_FL_KEEP_SIZE => Ok(0),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// `struct statfs` of a file system's figures.
fn statfs_of(figures: &Statistics) -> f::Statfs {
    let mut statfs = f::Statfs::new_zeroed();
    statfs.kind = figures.magic as i64;
    statfs.bsize = figures.block_size as i64;
    statfs.blocks = figures.blocks;
    statfs.bfree = figures.blocks_free;
    statfs.bavail = figures.blocks_free;
    statfs.files = figures.files;
    statfs.ffree = figures.files_free;
    statfs.namelen = f::NAME_MAX as i64;
    statfs.frsize = figures.block_size as i64;
    statfs
}

/// `statfs(path, buffer)`.
pub(crate) async fn statfs(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let path = paths::get(task, args.word(0)).await?;
    let inode = paths::find(task, f::AT_FDCWD, &path, 0).await?;
    task.space().put(args.word(1), &statfs_of(&inode.statistics().await?)).await.map(|()| 0)
}

/// `fstatfs(fd, buffer)`.
pub(crate) async fn fstatfs(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let figures = match open.file().inode() {
        Some(inode) => inode.statistics().await?,
        None => Statistics { magic: f::ANON_INODE_FS_MAGIC as u64, block_size: BLOCK.into(), ..Default::default() },
    };
    task.space().put(args.word(1), &statfs_of(&figures)).await.map(|()| 0)
}
