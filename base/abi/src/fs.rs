//! Files: open flags, `fcntl`, paths relative to a directory, mounts, `statfs`. Directory records are in
//! [`dirent`]; `struct stat` and mode bits in [`crate::stat`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod dirent;

// `openat` flags. riscv64 uses the generic values.
constants! { u32:
    O_ACCMODE = 0o3, O_RDONLY = 0o0, O_WRONLY = 0o1, O_RDWR = 0o2, O_CREAT = 0o100, O_EXCL = 0o200,
    O_NOCTTY = 0o400, O_TRUNC = 0o1000, O_APPEND = 0o2000, O_NONBLOCK = 0o4000, O_DSYNC = 0o10000,
    FASYNC = 0o20000, O_DIRECT = 0o40000, O_LARGEFILE = 0o100000, O_DIRECTORY = 0o200000,
    O_NOFOLLOW = 0o400000, O_NOATIME = 0o1000000, O_CLOEXEC = 0o2000000, O_SYNC = 0o4010000,
    O_PATH = 0o10000000, O_TMPFILE = 0o20200000,
}
// Flags of `preadv2` and `pwritev2`, and of a ring's reads and writes.
constants! { u32:
    RWF_HIPRI = 0x1, RWF_DSYNC = 0x2, RWF_SYNC = 0x4, RWF_NOWAIT = 0x8, RWF_APPEND = 0x10, RWF_NOAPPEND = 0x20,
    RWF_ATOMIC = 0x40,
}
/// Linux `O_ASYNC`: the UAPI headers call it `FASYNC`.
pub const O_ASYNC: u32 = FASYNC;

// The `dirfd` that means "the working directory", and the flags of the `*at` calls.
constants! { i32:
    AT_FDCWD = -100,
}
constants! { u32:
    AT_SYMLINK_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_REMOVEDIR = 0x200, AT_SYMLINK_FOLLOW = 0x400,
    AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000, AT_STATX_FORCE_SYNC = 0x2000,
    AT_STATX_DONT_SYNC = 0x4000,
}

// What `sync_file_range` waits for, and does in between.
constants! { u32:
    SYNC_FILE_RANGE_WAIT_BEFORE = 1, SYNC_FILE_RANGE_WRITE = 2, SYNC_FILE_RANGE_WAIT_AFTER = 4,
    SYNC_FILE_RANGE_ALL = 7,
}

// What `openat2` may not walk through.
constants! { u32:
    RESOLVE_NO_XDEV = 0x1, RESOLVE_NO_MAGICLINKS = 0x2, RESOLVE_NO_SYMLINKS = 0x4, RESOLVE_BENEATH = 0x8,
    RESOLVE_IN_ROOT = 0x10, RESOLVE_CACHED = 0x20,
}

/// `struct open_how`: what `openat2` is asked for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u64,
    /// Permissions of what is made.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

// `fcntl` commands, descriptor flags and record lock types.
constants! { u32:
    F_DUPFD = 0, F_GETFD = 1, F_SETFD = 2, F_GETFL = 3, F_SETFL = 4, F_GETLK = 5, F_SETLK = 6, F_SETLKW = 7,
    F_SETOWN = 8, F_GETOWN = 9, F_DUPFD_CLOEXEC = 1030, F_SETPIPE_SZ = 1031, F_GETPIPE_SZ = 1032,
    F_ADD_SEALS = 1033, F_GET_SEALS = 1034, F_OFD_GETLK = 36, F_OFD_SETLK = 37, F_OFD_SETLKW = 38,
    F_SETSIG = 10, F_GETSIG = 11, F_SETOWN_EX = 15, F_GETOWN_EX = 16, F_GETOWNER_UIDS = 17,
}
// What `OwnerEx::pid` is.
constants! { i32:
    F_OWNER_TID = 0, F_OWNER_PID = 1, F_OWNER_PGRP = 2,
}

/// Linux `struct f_owner_ex`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, PartialEq, Eq)]
pub struct OwnerEx {
    /// `F_OWNER_*`.
    pub kind: i32,
    /// The number.
    pub pid: i32,
}
layout!(OwnerEx, 8, pid @ 4);

constants! { u32:
    FD_CLOEXEC = 1,
}
constants! { u32:
    F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2,
}

// `flock` operations.
constants! { u32:
    LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8,
}

// `lseek` origins.
constants! { u32:
    SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, SEEK_DATA = 3, SEEK_HOLE = 4,
}

// `faccessat` modes.
constants! { u32:
    F_OK = 0, X_OK = 1, W_OK = 2, R_OK = 4,
}

// `renameat2` flags.
constants! { u32:
    RENAME_NOREPLACE = 1, RENAME_EXCHANGE = 2, RENAME_WHITEOUT = 4,
}

// `fallocate` modes; 0 allocates.
constants! { u32:
    FALLOC_FL_KEEP_SIZE = 0x1, FALLOC_FL_PUNCH_HOLE = 0x2, FALLOC_FL_COLLAPSE_RANGE = 0x8,
    FALLOC_FL_ZERO_RANGE = 0x10, FALLOC_FL_INSERT_RANGE = 0x20,
}

// `fadvise64` advice.
constants! { u32:
    POSIX_FADV_NORMAL = 0, POSIX_FADV_RANDOM = 1, POSIX_FADV_SEQUENTIAL = 2, POSIX_FADV_WILLNEED = 3,
    POSIX_FADV_DONTNEED = 4, POSIX_FADV_NOREUSE = 5,
}

// `mount` and `umount2` flags.
constants! { u32:
    MS_RDONLY = 0x1, MS_NOSUID = 0x2, MS_NODEV = 0x4, MS_NOEXEC = 0x8, MS_SYNCHRONOUS = 0x10,
    MS_REMOUNT = 0x20, MS_NOATIME = 0x400, MS_BIND = 0x1000, MS_MOVE = 0x2000, MS_REC = 0x4000,
    MS_SILENT = 0x8000, MS_PRIVATE = 0x40000, MS_RELATIME = 0x200000,
}
constants! { u32:
    MNT_FORCE = 1, MNT_DETACH = 2, MNT_EXPIRE = 4, UMOUNT_NOFOLLOW = 8,
}

// `statfs.f_type` of the file systems that programs look for.
constants! { i64:
    EXT4_SUPER_MAGIC = 0xef53, TMPFS_MAGIC = 0x1021994, PROC_SUPER_MAGIC = 0x9fa0,
    DEVPTS_SUPER_MAGIC = 0x1cd1, SYSFS_MAGIC = 0x62656572, PIPEFS_MAGIC = 0x50495045,
    SOCKFS_MAGIC = 0x534f434b, ANON_INODE_FS_MAGIC = 0x9041934, MSDOS_SUPER_MAGIC = 0x4d44,
}

// `close_range` flags.
constants! { u32:
    CLOSE_RANGE_UNSHARE = 0x2, CLOSE_RANGE_CLOEXEC = 0x4,
}

// Flags of `splice`, `tee` and `vmsplice`.
constants! { u32:
    SPLICE_F_MOVE = 0x1, SPLICE_F_NONBLOCK = 0x2, SPLICE_F_MORE = 0x4, SPLICE_F_GIFT = 0x8, SPLICE_F_ALL = 0xf,
}

// `memfd_create` flags.
constants! { u32:
    MFD_CLOEXEC = 0x1, MFD_ALLOW_SEALING = 0x2,
}

// `eventfd2` flags.
constants! { u32:
    EFD_SEMAPHORE = 0x1, EFD_CLOEXEC = 0x8_0000, EFD_NONBLOCK = 0x800,
}

// Limits. A path's and a name's length counts bytes; a path includes its closing NUL.
constants! { usize:
    NAME_MAX = 255, PATH_MAX = 4096, PIPE_BUF = 4096, XATTR_SIZE_MAX = 65536, XATTR_LIST_MAX = 65536,
    XATTR_NAME_MAX = 255,
}

// Flags of `setxattr`.
constants! { u32:
    XATTR_CREATE = 1, XATTR_REPLACE = 2,
}

constants! { u32:
    IOV_MAX = 1024,
}

/// Linux `struct iovec`: one piece of a scattered buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Iovec {
    /// Address of the piece.
    pub base: u64,
    /// Its length in bytes.
    pub len: u64,
}
layout!(Iovec, 16, base @ 0, len @ 8);

/// Linux `struct flock`: a record lock.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Flock {
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: i16,
    /// `SEEK_*`: what `start` counts from.
    pub whence: i16,
    /// Padding.
    pub pad: u32,
    /// First byte.
    pub start: i64,
    /// Bytes; 0 means to the end.
    pub len: i64,
    /// Holder, filled in by `F_GETLK`.
    pub pid: i32,
    /// Padding.
    pub pad2: u32,
}
layout!(Flock, 32, start @ 8, len @ 16, pid @ 24);

/// Linux `struct statfs`: a mounted file system. Sizes are in blocks of `bsize` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Statfs {
    /// Which file system (`*_MAGIC`).
    pub kind: i64,
    /// Block size in bytes.
    pub bsize: i64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for unprivileged users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// File-system id.
    pub fsid: [i32; 2],
    /// Longest file name in bytes.
    pub namelen: i64,
    /// Fragment size in bytes.
    pub frsize: i64,
    /// Mount flags.
    pub flags: i64,
    /// Zero.
    pub spare: [i64; 4],
}
layout!(Statfs, 120, bsize @ 8, blocks @ 16, fsid @ 56, namelen @ 64, frsize @ 72, flags @ 80);
