//! Open files, how to open them, and what is known of a file.

use crate::io::{self, Read, Write};
use crate::sys::{self, OwnedFd, c_string, syscall};
use abi::fs::AT_FDCWD;
use abi::stat::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Stat};
use zerocopy::FromZeros;

/// An open file.
#[derive(Debug)]
pub struct File(OwnedFd);

/// What is known of an open file.
pub(crate) fn metadata_of(fd: &OwnedFd) -> io::Result<Metadata> {
    let mut stat = Stat::new_zeroed();
    syscall!(FSTAT, fd.raw(), &raw mut stat)?;
    Ok(Metadata(stat))
}

impl From<File> for OwnedFd {
    fn from(file: File) -> Self {
        file.0
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl File {
    /// Opens for reading.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, ...
    pub fn open(path: &str) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens for writing; the file is made, or emptied.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `EISDIR`, `ENOSPC`, ...
    pub fn create(path: &str) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// A second descriptor of what descriptor `fd` of this process refers to.
    ///
    /// # Errors
    /// `EBADF` when it is not open, `EMFILE`.
    pub fn duplicate(fd: i32) -> io::Result<Self> {
        Ok(Self(OwnedFd::duplicate(fd)?))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Another handle of the same open file, sharing its position.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// What is known of the file.
    ///
    /// # Errors
    /// `EIO`.
    pub fn metadata(&self) -> io::Result<Metadata> {
        metadata_of(&self.0)
    }

    /// Reads at `offset` without moving the position.
    ///
    /// # Errors
    /// `EIO`, `ESPIPE`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(sys::retry(|| syscall!(PREAD64, self.0.raw(), buf.as_mut_ptr(), buf.len(), offset))?)
    }

    /// Writes at `offset` without moving the position.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, `ESPIPE`.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        Ok(sys::retry(|| syscall!(PWRITE64, self.0.raw(), buf.as_ptr(), buf.len(), offset))?)
    }

    /// Moves the position to `offset` from the start; returns it.
    ///
    /// # Errors
    /// `ESPIPE`, `EINVAL`.
    pub fn seek(&mut self, offset: u64) -> io::Result<u64> {
        Ok(syscall!(LSEEK, self.0.raw(), offset, abi::fs::SEEK_SET)? as u64)
    }

    /// Makes the file `len` bytes long.
    ///
    /// # Errors
    /// `EINVAL`, `ENOSPC`.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        syscall!(FTRUNCATE, self.0.raw(), len)?;
        Ok(())
    }

    /// Writes what is cached of the file to its disk.
    ///
    /// # Errors
    /// `EIO`.
    pub fn sync_all(&self) -> io::Result<()> {
        syscall!(FSYNC, self.0.raw())?;
        Ok(())
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(sys::read(self.0.raw(), buf)?)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(sys::write(self.0.raw(), buf)?)
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    flags: u32,
    mode: u32,
}

impl OpenOptions {
    /// Nothing chosen; the mode of a new file is `0o666`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "as in std: options begin with new")]
    pub const fn new() -> Self {
        Self { read: false, write: false, flags: 0, mode: 0o666 }
    }

    const fn flag(mut self, flag: u32, on: bool) -> Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// For reading.
    #[must_use]
    pub const fn read(mut self, on: bool) -> Self {
        self.read = on;
        self
    }

    /// For writing.
    #[must_use]
    pub const fn write(mut self, on: bool) -> Self {
        self.write = on;
        self
    }

    /// For writing at the end.
    #[must_use]
    pub const fn append(self, on: bool) -> Self {
        self.write(on).flag(abi::fs::O_APPEND, on)
    }

    /// Empties it.
    #[must_use]
    pub const fn truncate(self, on: bool) -> Self {
        self.flag(abi::fs::O_TRUNC, on)
    }

    /// Makes it if it is missing.
    #[must_use]
    pub const fn create(self, on: bool) -> Self {
        self.flag(abi::fs::O_CREAT, on)
    }

    /// Makes it, and fails if it exists.
    #[must_use]
    pub const fn create_new(self, on: bool) -> Self {
        self.flag(abi::fs::O_CREAT | abi::fs::O_EXCL, on)
    }

    /// Other `O_*` flags.
    #[must_use]
    pub const fn custom_flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// Mode of a new file, less the process's umask.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Opens.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `EEXIST`, `EISDIR`, `ENOTDIR`, `EMFILE`, `ENOSPC`, ...
    pub fn open(&self, path: &str) -> io::Result<File> {
        let (path, (flags, mode)) = (c_string(path)?, self.numbers());
        let fd = sys::retry(|| syscall!(OPENAT, AT_FDCWD, path.as_ptr(), flags, mode))?;
        Ok(File(OwnedFd::new(fd)))
    }

    /// Flags and mode, as the call takes them.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        let access = match (self.read, self.write) {
            (true, true) => abi::fs::O_RDWR,
            (false, true) => abi::fs::O_WRONLY,
            _ => abi::fs::O_RDONLY,
        };
        (access | self.flags | abi::fs::O_CLOEXEC | abi::fs::O_LARGEFILE, self.mode)
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct Metadata(Stat);

impl Metadata {
    pub(super) fn new(stat: Stat) -> Self {
        Self(stat)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0.mode & S_IFMT == S_IFDIR
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.mode & S_IFMT == S_IFREG
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.0.mode & S_IFMT == S_IFLNK
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size as u64
    }

    /// Last change of the data, seconds since 1970.
    #[must_use]
    pub fn mtime(&self) -> i64 {
        self.0.mtime
    }

    /// Everything.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.0
    }
}
