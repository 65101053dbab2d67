//! Named objects: what a path leads to.
//!
//! An [`Inode`] lives as long as somebody holds its `Arc`; a file system may keep a table of weak
//! references so that one object on disk is one `Inode` in memory. Attributes are cached in the inode:
//! [`Inode::metadata_now`] and [`Inode::lookup_now`] answer from memory or say `None`, then the boxed
//! form waits. Names are bytes, as in Linux; they never contain `/` or NUL and are never `.` or `..`
//! (path resolution handles those), and are at most [`NAME_MAX`] bytes.
//!
//! **Access.** Permission bits are checked by path resolution (`fs`), not here. A file system checks
//! only what it alone can know: emptiness, existence, space.

use crate::{
    caller::Caller,
    file::{BoxFuture, File},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;

/// Longest name of one directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Identity of an inode: the pair that `stat` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId {
    /// Number of the mounted file system.
    pub dev: u64,
    /// Inode number within it.
    pub ino: u64,
}

/// What kind of object an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path to elsewhere.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl Kind {
    /// The `S_IFMT` bits of `st_mode`.
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::Fifo => 0o010_000,
            Kind::Character => 0o020_000,
            Kind::Directory => 0o040_000,
            Kind::Block => 0o060_000,
            Kind::Regular => 0o100_000,
            Kind::Symlink => 0o120_000,
            Kind::Socket => 0o140_000,
        }
    }

    /// From the `S_IFMT` bits of a mode; other bits are ignored.
    pub fn from_mode(mode: u32) -> Option<Kind> {
        Some(match mode & 0o170_000 {
            0o010_000 => Kind::Fifo,
            0o020_000 => Kind::Character,
            0o040_000 => Kind::Directory,
            0o060_000 => Kind::Block,
            0o100_000 => Kind::Regular,
            0o120_000 => Kind::Symlink,
            0o140_000 => Kind::Socket,
            _ => return None,
        })
    }

    /// The `d_type` of `getdents64`, which is the mode's type shifted down.
    pub fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// A point in wall-clock time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Timestamp {
    /// The wall clock now.
    pub fn now() -> Timestamp {
        let nanos = hal::time::wall();
        Timestamp { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as u32 }
    }
}

/// Attributes of an inode, as `stat` shows them.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// Device and inode number.
    pub id: InodeId,
    /// Kind of object.
    pub kind: Kind,
    /// Permission bits (`07777`).
    pub permissions: u32,
    /// Hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node (`makedev` form), else 0.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of content.
    pub modified: Timestamp,
    /// Last change of attributes.
    pub changed: Timestamp,
    /// Creation, where that is kept.
    pub created: Option<Timestamp>,
}

impl Metadata {
    /// `st_mode`: kind and permissions.
    pub fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.permissions
    }
}

/// Attributes to change; `None` leaves as is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttributes {
    /// Permission bits.
    pub permissions: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes: truncates or extends with a hole.
    pub size: Option<u64>,
    /// Access time.
    pub accessed: Option<Timestamp>,
    /// Modification time.
    pub modified: Option<Timestamp>,
}

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct NewInode {
    /// Kind of object; symbolic links have a call of their own.
    pub kind: Kind,
    /// Permission bits, umask already applied.
    pub permissions: u32,
    /// Device number of a device node.
    pub rdev: u64,
}

/// One directory entry.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Kind of object.
    pub kind: Kind,
    /// Position after this entry: pass it as the cookie to go on from here.
    pub next: u64,
    /// Name.
    pub name: Box<[u8]>,
}

/// What `unlink` expects the name to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// `unlink`: anything but a directory (`EISDIR`).
    File,
    /// `rmdir`: an empty directory (`ENOTDIR`, `ENOTEMPTY`).
    Directory,
}

/// How `rename` treats an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Replace it (the default of `rename`).
    Yes,
    /// `RENAME_NOREPLACE`: `EEXIST`.
    No,
    /// `RENAME_EXCHANGE`: swap the two.
    Exchange,
}

/// What there must be before an extended attribute is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Either will do.
    Any,
    /// None of this name (`EEXIST`).
    Create,
    /// One of this name (`ENODATA`).
    Replace,
}

/// Figures of a file system, for `statfs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// `f_type`.
    pub magic: u64,
    /// Block size in bytes.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// Shorthand for what every waiting call returns.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Errno>>;

fn refuse<'a, T: Send + 'a>(errno: Errno) -> Reply<'a, T> {
    Box::pin(core::future::ready(Err(errno)))
}

/// A named object of a file system.
///
/// Called from kernel coroutines. A call whose future is dropped may or may not have taken effect, but
/// never half.
pub trait Inode: Send + Sync + Any {
    /// Device and inode number.
    fn id(&self) -> InodeId;

    /// Kind of object; never changes.
    fn kind(&self) -> Kind;

    /// Attributes, if they are in memory.
    fn metadata_now(&self) -> Option<Metadata>;

    /// Attributes.
    fn metadata(&self) -> Reply<'_, Metadata> {
        Box::pin(async { self.metadata_now().ok_or(Errno::EIO) })
    }

    /// Changes attributes.
    fn set_attributes<'a>(&'a self, caller: &'a Caller, set: SetAttributes) -> Reply<'a, ()> {
        let _ = (caller, set);
        refuse(Errno::EPERM)
    }

    /// Looks `name` up if the answer is in memory.
    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        let _ = name;
        None
    }

    /// Looks `name` up in this directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EIO`.
    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        let _ = name;
        refuse(Errno::ENOTDIR)
    }

    /// Creates `name` in this directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EROFS`, `EPERM`.
    fn create<'a>(&'a self, caller: &'a Caller, name: &'a [u8], new: NewInode) -> Reply<'a, Arc<dyn Inode>> {
        let _ = (caller, name, new);
        refuse(Errno::EPERM)
    }

    /// Creates the symbolic link `name` in this directory.
    fn symlink<'a>(&'a self, caller: &'a Caller, name: &'a [u8], target: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        let _ = (caller, name, target);
        refuse(Errno::EPERM)
    }

    /// Adds the hard link `name` to `target`, an inode of the same file system that is no directory.
    fn link<'a>(&'a self, name: &'a [u8], target: &'a Arc<dyn Inode>) -> Reply<'a, ()> {
        let _ = (name, target);
        refuse(Errno::EPERM)
    }

    /// Removes `name` from this directory. The object lives on while it is open.
    fn unlink<'a>(&'a self, name: &'a [u8], removal: Removal) -> Reply<'a, ()> {
        let _ = (name, removal);
        refuse(Errno::EPERM)
    }

    /// Moves `old` of this directory to `new` in `directory`, atomically.
    ///
    /// # Errors
    /// `EXDEV` for another file system, `EINVAL` for a directory into itself.
    fn rename<'a>(
        &'a self,
        old: &'a [u8],
        directory: &'a Arc<dyn Inode>,
        new: &'a [u8],
        replace: Replace,
    ) -> Reply<'a, ()> {
        let _ = (old, directory, new, replace);
        refuse(Errno::EPERM)
    }

    /// Target of a symbolic link, if it is in memory.
    fn readlink_now(&self) -> Option<Box<[u8]>> {
        None
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    fn readlink(&self) -> Reply<'_, Box<[u8]>> {
        refuse(Errno::EINVAL)
    }

    /// Where a "magic" link of /proc leads, bypassing the path that `readlink` shows.
    fn follow(&self, caller: &Caller) -> Option<Result<Arc<dyn Inode>, Errno>> {
        let _ = caller;
        None
    }

    /// Up to `limit` entries from `cookie` on (0: the beginning), including `.` and `..`; none is the end.
    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        let _ = (cookie, limit);
        refuse(Errno::ENOTDIR)
    }

    /// Opens the object; `flags` are the `O_*` flags of `openat`. Truncation is the caller's business.
    fn open(self: Arc<Self>, caller: &Caller, flags: u32) -> Reply<'static, Arc<dyn File>>;

    /// The value of an extended attribute; names are whole, with their namespace.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP` where there are none.
    fn xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Vec<u8>> {
        let _ = name;
        refuse(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `ENOSPC`, `EROFS`, `EOPNOTSUPP`.
    fn set_xattr<'a>(&'a self, name: &'a [u8], value: &'a [u8], mode: XattrMode) -> Reply<'a, ()> {
        let _ = (name, value, mode);
        refuse(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// As [`xattr`](Self::xattr); `EROFS`.
    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, ()> {
        let _ = name;
        refuse(Errno::EOPNOTSUPP)
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// `E2BIG`, `EIO`.
    fn xattrs(&self) -> Reply<'_, Vec<Box<[u8]>>> {
        Box::pin(core::future::ready(Ok(Vec::new())))
    }

    /// Writes the object's data and attributes to the medium.
    fn sync(&self) -> Reply<'_, ()> {
        Box::pin(core::future::ready(Ok(())))
    }

    /// Writes all that its file system has in memory to the medium.
    fn sync_all(&self) -> Reply<'_, ()> {
        self.sync()
    }

    /// Figures of the file system.
    fn statistics(&self) -> Reply<'_, Statistics> {
        Box::pin(core::future::ready(Ok(Statistics::default())))
    }

    /// For a file system to recognise its own.
    fn as_any(&self) -> &dyn Any;
}
