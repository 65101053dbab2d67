//! The six registers of a call, and the checks that many calls share.
//!
//! A register is 64 bits wide; where Linux declares an `int`, only the low half counts.

use abi::errno::Errno;
use abi::time::{Timespec, Timeval};

/// Most bytes that one call moves: Linux's `MAX_RW_COUNT`.
pub(crate) const MOST: usize = 0x7fff_f000;

/// Arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args(pub [usize; 6]);

impl Args {
    /// Argument `index`, whole.
    pub fn word(&self, index: usize) -> usize {
        self.0[index]
    }

    /// Argument `index` as `int`.
    pub fn int(&self, index: usize) -> i32 {
        self.0[index] as u32 as i32
    }

    /// Argument `index` as `unsigned int`: flags, commands.
    pub fn bits(&self, index: usize) -> u32 {
        self.0[index] as u32
    }

    /// Argument `index` as `long`.
    pub fn long(&self, index: usize) -> i64 {
        self.0[index] as i64
    }

    /// Argument `index` as a byte count, as far as one call goes.
    pub fn count(&self, index: usize) -> usize {
        self.0[index].min(MOST)
    }

    /// Argument `index` as a file offset.
    ///
    /// # Errors
    /// `EINVAL` below zero.
    pub fn offset(&self, index: usize) -> Result<u64, Errno> {
        u64::try_from(self.long(index)).map_err(|_| Errno::EINVAL)
    }
}

/// `EINVAL` if `flags` has bits outside `known`.
pub(crate) fn only(flags: u32, known: u32) -> Result<(), Errno> {
    if flags & !known == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Nanoseconds of a time from user memory.
pub(crate) fn nanos(time: Timespec) -> Result<u64, Errno> {
    time.to_nanos().ok_or(Errno::EINVAL)
}

/// Nanoseconds of a time from user memory.
pub(crate) fn micros(time: Timeval) -> Result<u64, Errno> {
    match (u64::try_from(time.sec), u64::try_from(time.usec)) {
        (Ok(sec), Ok(usec)) if usec < 1_000_000 => Ok(sec.saturating_mul(1_000_000_000).saturating_add(usec * 1000)),
        _ => Err(Errno::EINVAL),
    }
}

/// `nanos` as seconds and microseconds.
pub(crate) fn timeval(nanos: u64) -> Timeval {
    Timeval { sec: (nanos / 1_000_000_000) as i64, usec: (nanos % 1_000_000_000 / 1000) as i64 }
}
