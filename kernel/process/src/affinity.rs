//! The harts that a thread may run on (`sched_setaffinity`).
//!
//! `sched` keeps the thread's coroutine among them ([`exec::set_harts`]). What was under way at that moment may yet come to another
//! hart, and what runs stays: so the thread, which is called, looks where it is before it enters user mode, and leaves
//! ([`Thread::is_astray`]). After the call it enters user mode nowhere else: it sees that it is called for, or is interrupted where it is.
//!
//! A child has what its maker has, and what a thread submits runs wherever it is served.

use crate::thread::Thread;
use abi::errno::Errno;
use core::{
    fmt,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// A set of harts that are there, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Harts(u8);

const _: () = assert!(hal::hart::MAX <= u8::BITS as usize);

impl Harts {
    /// All that there are.
    #[must_use]
    pub fn all() -> Self {
        Self(u8::MAX >> (hal::hart::MAX - hal::hart::count().clamp(1, hal::hart::MAX)))
    }

    /// Those of a mask, one bit each, that are there.
    ///
    /// # Errors
    /// `EINVAL`: none is.
    pub fn of(mask: u64) -> Result<Self, Errno> {
        let harts = mask as u8 & Self::all().0;
        if harts == 0 { Err(Errno::EINVAL) } else { Ok(Self(harts)) }
    }

    /// One bit each.
    #[must_use]
    pub fn mask(self) -> u64 {
        u64::from(self.0)
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    fn has(self, hart: usize) -> bool {
        self.mask() >> hart & 1 != 0
    }
}

/// As a mask with as many digits as there may be: `0d`.
impl fmt::LowerHex for Harts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0digits$x}", self.0, digits = Self::all().count().div_ceil(4))
    }
}

/// As a list of ranges: `0-2,5`.
impl fmt::Display for Harts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut first, mut separator) = (0, "");
        while first < hal::hart::MAX {
            let length = (first..hal::hart::MAX).take_while(|hart| self.has(*hart)).count();
            match length {
                0 => {}
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + length - 1)?,
            }
            if length != 0 {
                separator = ",";
            }
            first += length + 1;
        }
        Ok(())
    }
}

/// The harts of a thread, as its coroutine is kept to them: 0 for all. Relaxed: what is read is looked at again by who is called.
pub(crate) struct Affinity(AtomicU8);

impl Affinity {
    pub(crate) const fn all() -> Self {
        Self(AtomicU8::new(0))
    }

    fn word(&self) -> u8 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(crate) fn is_all(&self) -> bool {
        self.word() == 0
    }
}

impl Clone for Affinity {
    fn clone(&self) -> Self {
        Self(AtomicU8::new(self.word()))
    }
}

impl Thread {
    /// The harts that it may run on.
    #[must_use]
    pub fn harts(&self) -> Harts {
        match self.affinity.word() {
            0 => Harts::all(),
            harts => Harts(harts),
        }
    }

    /// Whether it is at a hart that it must not run on. By its own coroutine.
    pub(crate) fn is_astray(&self) -> bool {
        !self.harts().has(hal::hart::id())
    }

    /// Changes that. It enters user mode nowhere else from now on.
    ///
    /// # Errors
    /// `EBUSY`: CPU time is reserved for it, which may be had on any hart.
    pub fn set_harts(&self, harts: Harts) -> Result<(), Errno> {
        {
            // With the lock: as in `set_class`.
            let _scheduled = self.scheduled.lock();
            let is_all = harts == Harts::all();
            if self.class().is_reserved() && !is_all {
                return Err(Errno::EBUSY);
            }
            self.affinity.0.store(if is_all { 0 } else { harts.0 }, Relaxed);
        }
        self.keep_to_harts();
        self.notify();
        Ok(())
    }

    /// Has its coroutine, if it has one yet, kept where it may run.
    pub(crate) fn keep_to_harts(&self) {
        let Some(task) = self.task() else { return };
        // Another may change it at the same time: who comes last here has seen the last.
        loop {
            let harts = self.affinity.word();
            exec::set_harts(&task, harts);
            if self.affinity.word() == harts {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn harts_are_listed_in_ranges() {
        let list = |mask| Harts(mask).to_string();
        assert_eq!([list(1), list(3), list(5), list(0b1011_0111)], ["0", "0-1", "0,2", "0-2,4-5,7"]);
        assert_eq!((list(0x80), list(0xff)), ("7".to_string(), "0-7".to_string()));
    }

    #[test]
    fn a_mask_without_a_hart_is_refused() {
        let all = Harts::all();
        assert_eq!(Harts::of(u64::MAX), Ok(all));
        assert_eq!(Harts::of(0), Err(Errno::EINVAL));
        assert_eq!(Harts::of(!all.mask()), Err(Errno::EINVAL));
        assert_eq!(Harts::of(1 | !all.mask()).map(Harts::count), Ok(1));
    }
}
