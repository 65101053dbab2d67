//! Error numbers of Linux (`asm-generic/errno.h`): the one error type that crosses the system-call boundary.
//!
//! A call that fails returns `-errno` in `a0`; [`Errno::to_return`] and [`Errno::from_return`] are the two
//! directions. Layers above the boundary have small error types of their own and convert here.

use core::fmt;
use core::num::NonZeroU16;

/// An error number, `1..=4095`. `Option<Errno>` is two bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(NonZeroU16);

/// Result of anything that a system call may report.
pub type Result<T> = core::result::Result<T, Errno>;

/// Largest error number: a return value in `-MAX..0` is an error, everything else a value.
pub const MAX: u16 = 4095;

impl Errno {
    /// The error with this number; `None` for 0 and for numbers above [`MAX`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(n) if number <= MAX => Some(Self(n)),
            _ => None,
        }
    }

    /// The positive error number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0.get() as i32
    }

    /// What a failing call leaves in `a0`: the negated number.
    #[must_use]
    pub const fn to_return(self) -> isize {
        -(self.0.get() as isize)
    }

    /// Splits what a call left in `a0`.
    ///
    /// # Errors
    /// The error number, when the value lies in `-4095..0`.
    pub const fn from_return(value: isize) -> Result<usize> {
        if value < 0 && value >= -(MAX as isize) {
            match Self::new(value.unsigned_abs() as u16) {
                Some(errno) => Err(errno),
                None => Ok(value as usize),
            }
        } else {
            Ok(value as usize)
        }
    }
}

macro_rules! errors {
    ($($name:ident = $number:literal $text:literal,)*) => {
        impl Errno {
            $(
                #[doc = concat!($text, " (", $number, ").")]
                pub const $name: Self = match Self::new($number) {
                    Some(errno) => errno,
                    None => panic!("error numbers are in 1..=4095"),
                };
            )*

            /// The symbolic name, such as `"ENOENT"`; `None` for a number Linux does not define.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0.get() {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// A short text for people; the name where no text says more, `"unknown error"` if undefined.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self.0.get() {
                    $($number => $text,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errors! {
    EPERM = 1 "not permitted",
    ENOENT = 2 "no such file or directory",
    ESRCH = 3 "no such process",
    EINTR = 4 "interrupted by a signal",
    EIO = 5 "input/output error",
    ENXIO = 6 "no such device or address",
    E2BIG = 7 "argument list too long",
    ENOEXEC = 8 "not an executable format",
    EBADF = 9 "bad file descriptor",
    ECHILD = 10 "no child processes",
    EAGAIN = 11 "would block, try again",
    ENOMEM = 12 "out of memory",
    EACCES = 13 "permission denied",
    EFAULT = 14 "bad address",
    ENOTBLK = 15 "not a block device",
    EBUSY = 16 "device or resource busy",
    EEXIST = 17 "file exists",
    EXDEV = 18 "crosses file systems",
    ENODEV = 19 "no such device",
    ENOTDIR = 20 "not a directory",
    EISDIR = 21 "is a directory",
    EINVAL = 22 "invalid argument",
    ENFILE = 23 "too many open files in the system",
    EMFILE = 24 "too many open files",
    ENOTTY = 25 "not a terminal",
    ETXTBSY = 26 "executable file busy",
    EFBIG = 27 "file too large",
    ENOSPC = 28 "no space left on device",
    ESPIPE = 29 "cannot seek",
    EROFS = 30 "read-only file system",
    EMLINK = 31 "too many links",
    EPIPE = 32 "broken pipe",
    EDOM = 33 "argument out of domain",
    ERANGE = 34 "result out of range",
    EDEADLK = 35 "would deadlock",
    ENAMETOOLONG = 36 "file name too long",
    ENOLCK = 37 "no locks available",
    ENOSYS = 38 "function not implemented",
    ENOTEMPTY = 39 "directory not empty",
    ELOOP = 40 "too many symbolic links",
    ENOMSG = 42 "no message of this type",
    EIDRM = 43 "identifier removed",
    ECHRNG = 44 "ECHRNG",
    EL2NSYNC = 45 "EL2NSYNC",
    EL3HLT = 46 "EL3HLT",
    EL3RST = 47 "EL3RST",
    ELNRNG = 48 "ELNRNG",
    EUNATCH = 49 "EUNATCH",
    ENOCSI = 50 "ENOCSI",
    EL2HLT = 51 "EL2HLT",
    EBADE = 52 "EBADE",
    EBADR = 53 "EBADR",
    EXFULL = 54 "EXFULL",
    ENOANO = 55 "ENOANO",
    EBADRQC = 56 "EBADRQC",
    EBADSLT = 57 "EBADSLT",
    EBFONT = 59 "EBFONT",
    ENOSTR = 60 "not a stream",
    ENODATA = 61 "no data available",
    ETIME = 62 "timer expired",
    ENOSR = 63 "out of stream resources",
    ENONET = 64 "ENONET",
    ENOPKG = 65 "ENOPKG",
    EREMOTE = 66 "EREMOTE",
    ENOLINK = 67 "link severed",
    EADV = 68 "EADV",
    ESRMNT = 69 "ESRMNT",
    ECOMM = 70 "ECOMM",
    EPROTO = 71 "protocol error",
    EMULTIHOP = 72 "multihop attempted",
    EDOTDOT = 73 "EDOTDOT",
    EBADMSG = 74 "bad message",
    EOVERFLOW = 75 "value too large for its type",
    ENOTUNIQ = 76 "ENOTUNIQ",
    EBADFD = 77 "EBADFD",
    EREMCHG = 78 "EREMCHG",
    ELIBACC = 79 "ELIBACC",
    ELIBBAD = 80 "ELIBBAD",
    ELIBSCN = 81 "ELIBSCN",
    ELIBMAX = 82 "ELIBMAX",
    ELIBEXEC = 83 "ELIBEXEC",
    EILSEQ = 84 "invalid byte sequence",
    ERESTART = 85 "call should be restarted",
    ESTRPIPE = 86 "ESTRPIPE",
    EUSERS = 87 "too many users",
    ENOTSOCK = 88 "not a socket",
    EDESTADDRREQ = 89 "destination address required",
    EMSGSIZE = 90 "message too long",
    EPROTOTYPE = 91 "wrong protocol for this socket",
    ENOPROTOOPT = 92 "protocol option not available",
    EPROTONOSUPPORT = 93 "protocol not supported",
    ESOCKTNOSUPPORT = 94 "socket type not supported",
    EOPNOTSUPP = 95 "operation not supported",
    EPFNOSUPPORT = 96 "protocol family not supported",
    EAFNOSUPPORT = 97 "address family not supported",
    EADDRINUSE = 98 "address in use",
    EADDRNOTAVAIL = 99 "address not available",
    ENETDOWN = 100 "network is down",
    ENETUNREACH = 101 "network unreachable",
    ENETRESET = 102 "connection reset by the network",
    ECONNABORTED = 103 "connection aborted",
    ECONNRESET = 104 "connection reset by peer",
    ENOBUFS = 105 "no buffer space",
    EISCONN = 106 "already connected",
    ENOTCONN = 107 "not connected",
    ESHUTDOWN = 108 "sending after shutdown",
    ETOOMANYREFS = 109 "too many references",
    ETIMEDOUT = 110 "timed out",
    ECONNREFUSED = 111 "connection refused",
    EHOSTDOWN = 112 "host is down",
    EHOSTUNREACH = 113 "host unreachable",
    EALREADY = 114 "already in progress",
    EINPROGRESS = 115 "in progress",
    ESTALE = 116 "stale file handle",
    EUCLEAN = 117 "file system is damaged",
    ENOTNAM = 118 "ENOTNAM",
    ENAVAIL = 119 "ENAVAIL",
    EISNAM = 120 "EISNAM",
    EREMOTEIO = 121 "remote input/output error",
    EDQUOT = 122 "quota exceeded",
    ENOMEDIUM = 123 "no medium",
    EMEDIUMTYPE = 124 "wrong medium type",
    ECANCELED = 125 "canceled",
    ENOKEY = 126 "required key not available",
    EKEYEXPIRED = 127 "key expired",
    EKEYREVOKED = 128 "key revoked",
    EKEYREJECTED = 129 "key rejected",
    EOWNERDEAD = 130 "owner died",
    ENOTRECOVERABLE = 131 "state not recoverable",
    ERFKILL = 132 "ERFKILL",
    EHWPOISON = 133 "memory page has a hardware error",
}

impl Errno {
    /// Linux's other name for [`Errno::EAGAIN`].
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// Linux's other name for [`Errno::EOPNOTSUPP`].
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_split_at_the_error_window() {
        assert_eq!(Errno::from_return(0), Ok(0));
        assert_eq!(Errno::from_return(-2), Err(Errno::ENOENT));
        assert_eq!(Errno::from_return(-4095).map_err(Errno::number), Err(4095));
        assert_eq!(Errno::from_return(-4096), Ok((-4096_isize).cast_unsigned()));
        assert_eq!(Errno::from_return(Errno::EHWPOISON.to_return()), Err(Errno::EHWPOISON));
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(4096), None);
        assert_eq!(Errno::EINVAL.name(), Some("EINVAL"));
    }
}
