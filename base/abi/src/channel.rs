//! Channels (note 0010): two ends of memory that two parties share, and the calls that wake the other.
//!
//! The kernel never looks at what is in the memory but for [`ENDED`], which it writes.

use crate::asyncos::FIRST;

/// `channel_pair(pages) -> ends`: a channel of so many pages, 1 to [`MOST_PAGES`], all zero, whose size never changes. The descriptor of the first end is
/// in the lower 32 bits, that of the second in the upper ones; both are closed by `execve`. A mapping of either is the whole memory.
///
/// Errors: `EINVAL`, `ENOMEM`, `EMFILE`.
pub const PAIR: usize = FIRST + 0x20;
/// `channel_ring(end, how, ns) -> 0`: with [`RING`] wakes the other end, with [`WAIT`] waits behind that until this end is rung, or was since the
/// last wait; at most so many nanoseconds, or without limit ([`FOREVER`]). With neither it only answers.
///
/// Errors: `EBADF`, `EINVAL`, `EPIPE` (the other end is nobody's any more; for a wait: and this one was not rung since the last), `ETIMEDOUT`, `EINTR`.
pub const RING_CALL: usize = FIRST + 0x21;
/// `channel_bind(end, sender, vector) -> count`: ringing this end raises a vector of the sender's receiver as well, instead of what it was bound to before; so
/// often it was bound by now.
///
/// Errors: `EBADF`, `EINVAL` (no end, no sender, no such vector).
pub const BIND: usize = FIRST + 0x22;
/// `channel_peer(end) -> fd`: the sender that the other end is bound to, for this process, and its vector in the upper 32 bits.
///
/// Errors: `EBADF`, `EINVAL`, `ENOENT` (it is bound to none), `EMFILE`, `ENOMEM`.
pub const PEER: usize = FIRST + 0x23;

/// For [`RING_CALL`].
pub const RING: usize = 1;
/// For [`RING_CALL`].
pub const WAIT: usize = 2;
/// No limit.
pub const FOREVER: usize = usize::MAX;

/// Pages of a channel at most.
pub const MOST_PAGES: usize = 256;

/// Where the words of an end begin, by end; a line apart.
pub const END: [usize; 2] = [0, 64];
/// Of an end, 32 bits: the kernel sets it when nobody has the end any more. The other party can write it, too: a hint.
pub const ENDED: usize = 0;
