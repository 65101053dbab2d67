//! What can go wrong with a device or a request.

use abi::errno::Errno;
use core::fmt;

/// Why a device could not be used, or a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No memory for the queue or the request.
    NoMemory,
    /// The device lacks what the driver needs, or answered impossibly while it was set up.
    Unsupported,
    /// The request makes no sense for this device: beyond its end, empty, not whole sectors, too many buffers.
    Invalid,
    /// A write to a device that can only be read.
    ReadOnly,
    /// The device reports that it could not do it.
    Failed,
    /// The device broke the protocol and is no longer used.
    Broken,
}

impl Error {
    /// The result of a failed request in the trace: a negated error number, as a caller would see it.
    pub(crate) fn traced(self) -> i64 {
        let errno = match self {
            Error::NoMemory => Errno::ENOMEM,
            Error::Unsupported | Error::Invalid => Errno::EINVAL,
            Error::ReadOnly => Errno::EROFS,
            Error::Failed | Error::Broken => Errno::EIO,
        };
        errno.to_return() as i64
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoMemory => "no memory for the device",
            Error::Unsupported => "unsupported device",
            Error::Invalid => "impossible request",
            Error::ReadOnly => "the device is read-only",
            Error::Failed => "the device reports an error",
            Error::Broken => "the device broke the protocol",
        })
    }
}

impl core::error::Error for Error {}
