//! Files and directories, in the shape of `std::fs`. Paths are `&str`.

mod file;

pub(crate) use file::metadata_of;
pub use file::{File, Metadata, OpenOptions};

use crate::io::{self, Read, Write};
use crate::path;
use crate::sys::{c_string, syscall};
use abi::Errno;
use abi::fs::dirent::{self, Entries};
use abi::fs::{AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW};
use abi::stat::Stat;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use zerocopy::FromZeros;

fn stat_at(path: &str, flags: u32) -> io::Result<Metadata> {
    let path = c_string(path)?;
    let mut stat = Stat::new_zeroed();
    syscall!(NEWFSTATAT, AT_FDCWD, path.as_ptr(), &raw mut stat, flags)?;
    Ok(Metadata::new(stat))
}

/// What is known of the file `path` leads to.
///
/// # Errors
/// `ENOENT`, `EACCES`, `ENOTDIR`.
pub fn metadata(path: &str) -> io::Result<Metadata> {
    stat_at(path, 0)
}

/// The same, of a symbolic link itself.
///
/// # Errors
/// `ENOENT`, `EACCES`, `ENOTDIR`.
pub fn symlink_metadata(path: &str) -> io::Result<Metadata> {
    stat_at(path, AT_SYMLINK_NOFOLLOW)
}

/// Whether `path` leads to something.
#[must_use]
pub fn exists(path: &str) -> bool {
    metadata(path).is_ok()
}

/// Whether this process may execute `path`.
///
/// # Errors
/// `ENOENT`, `EACCES`.
pub fn check_executable(path: &str) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(FACCESSAT, AT_FDCWD, path.as_ptr(), abi::fs::X_OK)?;
    Ok(())
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Name.
    pub name: String,
    /// `abi::fs::dirent::DT_*`.
    pub kind: u8,
    /// Inode number.
    pub ino: u64,
}

impl DirEntry {
    /// Whether the directory says that it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == dirent::DT_DIR
    }
}

/// The entries of a directory, without `.` and `..`, in the file system's order. Bytes of a name that are not UTF-8
/// are replaced.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`.
pub fn read_dir(path: &str) -> io::Result<Vec<DirEntry>> {
    let dir = OpenOptions::new().read(true).custom_flags(abi::fs::O_DIRECTORY).open(path)?;
    let mut buf = alloc::vec![0u8; 4096];
    let mut list = Vec::new();
    loop {
        let len = syscall!(GETDENTS64, dir.fd().raw(), buf.as_mut_ptr(), buf.len())?;
        if len == 0 {
            return Ok(list);
        }
        for entry in Entries(&buf[..len]).filter(|e| e.name != b"." && e.name != b"..") {
            let name = String::from_utf8_lossy(entry.name).to_string();
            list.push(DirEntry { name, kind: entry.kind, ino: entry.ino });
        }
    }
}

/// Makes a directory.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`.
pub fn create_dir(path: &str) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(MKDIRAT, AT_FDCWD, path.as_ptr(), 0o777)?;
    Ok(())
}

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// As [`create_dir`]; a directory that exists is none.
pub fn create_dir_all(path: &str) -> io::Result<()> {
    match create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && metadata(path)?.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path::parent(path).is_empty() => {
            create_dir_all(path::parent(path))?;
            create_dir(path)
        }
        other => other,
    }
}

fn unlink(path: &str, flags: u32) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(UNLINKAT, AT_FDCWD, path.as_ptr(), flags)?;
    Ok(())
}

/// Removes a file.
///
/// # Errors
/// `ENOENT`, `EISDIR`, `EACCES`.
pub fn remove_file(path: &str) -> io::Result<()> {
    unlink(path, 0)
}

/// Removes an empty directory.
///
/// # Errors
/// `ENOTEMPTY`, `ENOENT`, `ENOTDIR`.
pub fn remove_dir(path: &str) -> io::Result<()> {
    unlink(path, AT_REMOVEDIR)
}

/// Removes a directory and all below it. Symbolic links are removed, not followed.
///
/// # Errors
/// The first that occurs; what was removed before stays removed.
pub fn remove_dir_all(path: &str) -> io::Result<()> {
    for entry in read_dir(path)? {
        let below = path::join(path, &entry.name);
        if symlink_metadata(&below)?.is_dir() {
            remove_dir_all(&below)?;
        } else {
            remove_file(&below)?;
        }
    }
    remove_dir(path)
}

/// Renames, replacing what has the new name.
///
/// # Errors
/// `EXDEV` between file systems, `ENOENT`, `EACCES`, ...
pub fn rename(from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    syscall!(RENAMEAT2, AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), 0)?;
    Ok(())
}

/// Makes a symbolic link at `link` that says `target`.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EPERM` where the file system has none.
pub fn symlink(target: &str, link: &str) -> io::Result<()> {
    let (target, link) = (c_string(target)?, c_string(link)?);
    syscall!(SYMLINKAT, target.as_ptr(), AT_FDCWD, link.as_ptr())?;
    Ok(())
}

/// Makes another name for a file.
///
/// # Errors
/// `EEXIST`, `EXDEV`, `EPERM` for a directory.
pub fn hard_link(from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    syscall!(LINKAT, AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), 0)?;
    Ok(())
}

/// What a symbolic link says.
///
/// # Errors
/// `EINVAL` when it is none, `ENOENT`.
pub fn read_link(path: &str) -> io::Result<String> {
    let path = c_string(path)?;
    let mut buf = [0u8; abi::fs::PATH_MAX];
    let len = syscall!(READLINKAT, AT_FDCWD, path.as_ptr(), buf.as_mut_ptr(), buf.len())?;
    io::text(buf[..len].to_vec())
}

/// Sets the permissions.
///
/// # Errors
/// `ENOENT`, `EPERM`.
pub fn set_permissions(path: &str, mode: u32) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(FCHMODAT, AT_FDCWD, path.as_ptr(), mode)?;
    Ok(())
}

/// Sets the times of last access and change to now.
///
/// # Errors
/// `ENOENT`, `EACCES`.
pub fn touch(path: &str) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(UTIMENSAT, AT_FDCWD, path.as_ptr(), 0, 0)?;
    Ok(())
}

/// The whole file.
///
/// # Errors
/// Those of opening and reading.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole file as text.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read_to_string(path: &str) -> io::Result<String> {
    io::text(read(path)?)
}

/// Replaces the file's contents; makes it if it is missing.
///
/// # Errors
/// Those of opening and writing.
pub fn write(path: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    File::create(path)?.write_all(bytes.as_ref())
}

/// Numbers of a mounted file system, in blocks of `bsize` bytes.
///
/// # Errors
/// `ENOENT`, `ENOSYS`.
pub fn statfs(path: &str) -> io::Result<abi::fs::Statfs> {
    let path = c_string(path)?;
    let mut statfs = abi::fs::Statfs::new_zeroed();
    syscall!(STATFS, path.as_ptr(), &raw mut statfs)?;
    Ok(statfs)
}

/// Mounts `source` of type `kind` at `target`.
///
/// # Errors
/// `ENODEV` for an unknown type, `ENOENT`, `EBUSY`, `EPERM`.
pub fn mount(source: &str, target: &str, kind: &str) -> io::Result<()> {
    let (source, target, kind) = (c_string(source)?, c_string(target)?, c_string(kind)?);
    syscall!(MOUNT, source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, 0)
        .map(|_| ())
        .map_err(|error: Errno| error.into())
}
