//! `struct stat` as riscv64 has it (the generic layout), `struct statx`, and the mode bits.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// `st_mode`: file type and permissions.
constants! { u32:
    S_IFMT = 0o170000, S_IFSOCK = 0o140000, S_IFLNK = 0o120000, S_IFREG = 0o100000, S_IFBLK = 0o60000,
    S_IFDIR = 0o40000, S_IFCHR = 0o20000, S_IFIFO = 0o10000, S_ISUID = 0o4000, S_ISGID = 0o2000,
    S_ISVTX = 0o1000, S_IRWXU = 0o700, S_IRUSR = 0o400, S_IWUSR = 0o200, S_IXUSR = 0o100, S_IRWXG = 0o70,
    S_IRGRP = 0o40, S_IWGRP = 0o20, S_IXGRP = 0o10, S_IRWXO = 0o7, S_IROTH = 0o4, S_IWOTH = 0o2,
    S_IXOTH = 0o1,
}

// `statx` mask: what is asked for, what was filled in.
constants! { u32:
    STATX_TYPE = 0x1, STATX_MODE = 0x2, STATX_NLINK = 0x4, STATX_UID = 0x8, STATX_GID = 0x10,
    STATX_ATIME = 0x20, STATX_MTIME = 0x40, STATX_CTIME = 0x80, STATX_INO = 0x100, STATX_SIZE = 0x200,
    STATX_BLOCKS = 0x400, STATX_BASIC_STATS = 0x7ff, STATX_BTIME = 0x800, STATX_MNT_ID = 0x1000,
    STATX_DIOALIGN = 0x2000, STATX_ALL = 0xfff, STATX__RESERVED = 0x80000000,
}

// `Statx::attributes`.
constants! { u64:
    STATX_ATTR_COMPRESSED = 0x4, STATX_ATTR_IMMUTABLE = 0x10, STATX_ATTR_APPEND = 0x20,
    STATX_ATTR_NODUMP = 0x40, STATX_ATTR_ENCRYPTED = 0x800, STATX_ATTR_AUTOMOUNT = 0x1000,
    STATX_ATTR_MOUNT_ROOT = 0x2000, STATX_ATTR_VERITY = 0x100000, STATX_ATTR_DAX = 0x200000,
}

/// Linux `struct stat` (riscv64): what `newfstatat` and `fstat` fill in.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Stat {
    /// Device that holds the file.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions (`S_*`).
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that a device file stands for.
    pub rdev: u64,
    /// Padding.
    pub pad1: u64,
    /// Size in bytes.
    pub size: i64,
    /// Preferred size of a transfer in bytes.
    pub blksize: i32,
    /// Padding.
    pub pad2: i32,
    /// Allocated space in units of 512 bytes.
    pub blocks: i64,
    /// Last access, seconds since 1970.
    pub atime: i64,
    /// Its nanoseconds.
    pub atime_nsec: u64,
    /// Last change of the data, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u64,
    /// Last change of the inode, seconds since 1970.
    pub ctime: i64,
    /// Its nanoseconds.
    pub ctime_nsec: u64,
    /// Zero.
    pub unused: [u32; 2],
}
layout!(Stat, 128, ino @ 8, mode @ 16, nlink @ 20, rdev @ 32, size @ 48, blksize @ 56, blocks @ 64, atime @ 72, ctime @ 104);

/// Linux `struct statx_timestamp`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct StatxTimestamp {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
    /// Padding.
    pub pad: i32,
}
layout!(StatxTimestamp, 16, nsec @ 8);

/// Linux `struct statx`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Statx {
    /// Which fields are filled in (`STATX_*`).
    pub mask: u32,
    /// Preferred size of a transfer in bytes.
    pub blksize: u32,
    /// `STATX_ATTR_*`.
    pub attributes: u64,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions (`S_*`).
    pub mode: u16,
    /// Padding.
    pub spare0: u16,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Which bits of `attributes` are supported.
    pub attributes_mask: u64,
    /// Last access.
    pub atime: StatxTimestamp,
    /// Creation.
    pub btime: StatxTimestamp,
    /// Last change of the inode.
    pub ctime: StatxTimestamp,
    /// Last change of the data.
    pub mtime: StatxTimestamp,
    /// Major number that a device file stands for.
    pub rdev_major: u32,
    /// Minor number that a device file stands for.
    pub rdev_minor: u32,
    /// Major number of the device that holds the file.
    pub dev_major: u32,
    /// Minor number of the device that holds the file.
    pub dev_minor: u32,
    /// Mount id.
    pub mnt_id: u64,
    /// Memory alignment for direct transfers in bytes.
    pub dio_mem_align: u32,
    /// File offset alignment for direct transfers in bytes.
    pub dio_offset_align: u32,
    /// Zero.
    pub spare3: [u64; 12],
}
layout!(Statx, 256, nlink @ 16, mode @ 28, ino @ 32, atime @ 64, mtime @ 112, rdev_major @ 128, mnt_id @ 144, spare3 @ 160);

/// Encodes a device number as `st_dev`/`st_rdev` have it.
#[must_use]
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Major and minor part of a device number.
#[must_use]
pub const fn split_dev(dev: u64) -> (u32, u32) {
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
    let minor = (dev & 0xff) | ((dev >> 12) & !0xff);
    (major as u32, minor as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn device_numbers_survive(major in 0u32..0xfff, minor in 0u32..0xf_ffff) {
            prop_assert_eq!(split_dev(makedev(major, minor)), (major, minor));
        }
    }
}
