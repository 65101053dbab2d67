//! Grants of memory (note 0010): pages that one party lends to others, until it takes them back.
//!
//! Both descriptors can be mapped (shared). The grantee's can also be read and written, as far as it may be, from an offset on: then that the pages
//! were taken back is an error (`ESRCH`), where in a mapping it is `SIGBUS`.

use crate::asyncos::FIRST;

/// `grant(pages, how) -> fds`: so many pages, 1 to [`MOST_PAGES`], all zero. The granter's descriptor is in the lower 32 bits, the grantee's, which
/// is to be passed on, in the upper ones; both are closed by `execve`. With the granter's last one the pages are taken back.
///
/// Errors: `EINVAL`, `ENOMEM`, `EMFILE`.
pub const GRANT: usize = FIRST + 0x40;
/// `grant_revoke(granter) -> 0`: takes the pages back. When this has returned, nobody reaches them by the grantee's descriptor, and who touches them in a mapping of
/// that gets `SIGBUS`. The granter keeps them.
///
/// Errors: `EBADF`, `EINVAL` (no granter's descriptor).
pub const REVOKE: usize = FIRST + 0x41;

/// For [`GRANT`]: the grantee may write, too.
pub const WRITE: usize = 1;

/// Pages of a grant at most.
pub const MOST_PAGES: usize = 256;
