//! The error of everything that reaches the system: an error number, or a kind with a text.

use abi::Errno;
use core::fmt;

/// Result with [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// An error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(Repr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repr {
    System(Errno),
    Own(ErrorKind, &'static str),
}

/// What sort of error, as in `std::io::ErrorKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such file.
    NotFound,
    /// Not allowed.
    PermissionDenied,
    /// Exists already.
    AlreadyExists,
    /// Would have to wait.
    WouldBlock,
    /// Bad argument.
    InvalidInput,
    /// Malformed data.
    InvalidData,
    /// Took too long.
    TimedOut,
    /// A writer takes nothing more.
    WriteZero,
    /// Ended too early.
    UnexpectedEof,
    /// Interrupted by a signal.
    Interrupted,
    /// Nobody reads any more.
    BrokenPipe,
    /// The peer reset the connection.
    ConnectionReset,
    /// Nobody listens there.
    ConnectionRefused,
    /// The address is taken.
    AddrInUse,
    /// A directory where a file was expected.
    IsADirectory,
    /// A file where a directory was expected.
    NotADirectory,
    /// Directory not empty.
    DirectoryNotEmpty,
    /// Different file systems.
    CrossesDevices,
    /// No memory.
    OutOfMemory,
    /// The system cannot do this.
    Unsupported,
    /// Anything else.
    Other,
}

impl Error {
    /// An error that did not come from a system call.
    #[must_use]
    pub const fn new(kind: ErrorKind, text: &'static str) -> Self {
        Self(Repr::Own(kind, text))
    }

    /// The error number, if a system call reported it.
    #[must_use]
    pub const fn raw_os_error(&self) -> Option<i32> {
        match self.0 {
            Repr::System(errno) => Some(errno.number()),
            Repr::Own(..) => None,
        }
    }

    /// What sort of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.0 {
            Repr::Own(kind, _) => kind,
            Repr::System(errno) => kind_of(errno),
        }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::ENOENT => ErrorKind::NotFound,
        Errno::EACCES | Errno::EPERM => ErrorKind::PermissionDenied,
        Errno::EEXIST => ErrorKind::AlreadyExists,
        Errno::EAGAIN => ErrorKind::WouldBlock,
        Errno::EINVAL => ErrorKind::InvalidInput,
        Errno::ETIMEDOUT => ErrorKind::TimedOut,
        Errno::EINTR => ErrorKind::Interrupted,
        Errno::EPIPE => ErrorKind::BrokenPipe,
        Errno::ECONNRESET => ErrorKind::ConnectionReset,
        Errno::ECONNREFUSED => ErrorKind::ConnectionRefused,
        Errno::EADDRINUSE => ErrorKind::AddrInUse,
        Errno::EISDIR => ErrorKind::IsADirectory,
        Errno::ENOTDIR => ErrorKind::NotADirectory,
        Errno::ENOTEMPTY => ErrorKind::DirectoryNotEmpty,
        Errno::EXDEV => ErrorKind::CrossesDevices,
        Errno::ENOMEM => ErrorKind::OutOfMemory,
        Errno::ENOSYS | Errno::EOPNOTSUPP => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self(Repr::System(errno))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, "failed")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::System(errno) => errno.fmt(f),
            Repr::Own(_, text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for Error {}
