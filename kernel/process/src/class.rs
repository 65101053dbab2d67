//! How a thread is scheduled, in Linux's terms: policy, nice value, priority; and what that means in ours.
//!
//! | policy | here |
//! |---|---|
//! | `SCHED_OTHER` | 16, [`NORMAL`](exec::Priority::NORMAL); when busy 17, fair by process, weighted by the nice value |
//! | `SCHED_BATCH` | the same, and always busy |
//! | `SCHED_IDLE` | 30, fair: what is left, and by ageing a little more |
//! | `SCHED_DEADLINE` | 9, by [reservation](crate::reservation): the earliest deadline first |
//! | `SCHED_FIFO`, `SCHED_RR` 1 to 99 | 15 to 10, sixteen or seventeen of Linux's a level; in turn, without end or for a slice |
//!
//! All are below the kernel's own services, which they need.

use crate::share::BUSY;
use abi::errno::Errno;
use abi::process::{SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RR};
use exec::{Birth, Priority, policy};

/// Priority of `SCHED_IDLE`.
const IDLE: Priority = Priority::new(30);
/// Priority of `SCHED_DEADLINE`.
const DEADLINE: Priority = Priority::new(9);
/// Priorities of `SCHED_FIFO` and `SCHED_RR`: the least urgent, and how many there are.
const REAL_TIME: (u8, u16) = (15, 6);
/// Linux's: 1 to 99.
pub const MAX_RT: u8 = 99;

/// One word, so that it is read and changed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Class(u32);

/// Its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// `SCHED_*`.
    pub policy: u32,
    /// -20 to 19; counts under `SCHED_OTHER` and `SCHED_BATCH`, and is kept under the others.
    pub nice: i32,
    /// 1 to 99 under `SCHED_FIFO` and `SCHED_RR`, else 0.
    pub priority: u8,
    /// Children get the default (`SCHED_RESET_ON_FORK`).
    pub resets: bool,
}

/// The byte of nice 0.
const USUAL: usize = 20;

/// What a nanosecond counts, in 1024ths, by nice value from -20 on: each step is a tenth of the CPU, as with Linux.
const WEIGHTS: [u32; 40] = weights();

/// Linux's weights, 1024 for nice 0, turned round.
const fn weights() -> [u32; 40] {
    const LINUX: [u32; 40] = [
        88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501,
        1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
    ];
    let mut weights = [0; 40];
    let mut index = 0;
    while index < 40 {
        weights[index] = (1 << 20) / LINUX[index];
        index += 1;
    }
    weights
}

impl Class {
    /// What the first process has.
    pub const DEFAULT: Self = Self::new(Parts { policy: SCHED_NORMAL, nice: 0, priority: 0, resets: false });

    /// Made of parts, which are in their ranges.
    #[must_use]
    pub const fn new(parts: Parts) -> Self {
        let nice = (parts.nice + 20) as u8;
        Self(u32::from_le_bytes([parts.policy as u8, nice, parts.priority, parts.resets as u8]))
    }

    pub(crate) const fn from_word(word: u32) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// Its parts.
    #[must_use]
    pub const fn parts(self) -> Parts {
        let [policy, nice, priority, resets] = self.0.to_le_bytes();
        Parts { policy: policy as u32, nice: nice as i32 - 20, priority, resets: resets != 0 }
    }

    pub(crate) fn with_nice(self, nice: i32) -> Self {
        Self::new(Parts { nice, ..self.parts() })
    }

    /// What so many nanoseconds count in the account of the process.
    #[inline]
    pub(crate) fn weighted(self, ns: u64) -> u64 {
        let nice = usize::from(self.0.to_le_bytes()[1]);
        if nice == USUAL {
            return ns;
        }
        ns.wrapping_mul(u64::from(WEIGHTS[nice % WEIGHTS.len()])) >> 10
    }

    /// Whether its threads are fair by process.
    pub(crate) fn is_fair(self) -> bool {
        matches!(self.parts().policy, SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE)
    }

    /// Whether its threads go by a [reservation](crate::reservation).
    pub(crate) fn is_reserved(self) -> bool {
        self.parts().policy == SCHED_DEADLINE
    }

    /// What its threads are to the kernel's scheduler, at this priority: at the usual one they run in turn, and when they are
    /// [busy](crate::share) ranked by `key`.
    pub(crate) fn at(self, priority: Priority, key: u64) -> Birth {
        let own = self.birth(key);
        match (self.is_fair(), priority > Priority::NORMAL) {
            (false, _) => Birth { priority, ..own },
            (true, false) => Birth::new(priority).under(policy::ROUND_ROBIN, key),
            (true, true) => Birth::new(priority).under(policy::FAIR, key),
        }
    }

    /// What its threads are at first; `key` is for policies that rank.
    pub(crate) fn birth(self, key: u64) -> Birth {
        let Parts { policy, priority, .. } = self.parts();
        let (lowest, levels) = REAL_TIME;
        let step = u16::from(priority.saturating_sub(1).min(MAX_RT - 1)) * levels / u16::from(MAX_RT);
        let level = lowest - step as u8;
        match policy {
            SCHED_DEADLINE => Birth::new(DEADLINE).under(policy::DEADLINE, key),
            SCHED_FIFO => Birth::new(Priority::new(level)).under(policy::FIFO, key),
            SCHED_RR => Birth::new(Priority::new(level)).under(policy::ROUND_ROBIN, key),
            SCHED_IDLE => Birth::new(IDLE).under(policy::FAIR, key),
            SCHED_BATCH => Birth::new(BUSY).under(policy::FAIR, key),
            _ => Birth::new(Priority::NORMAL).under(policy::ROUND_ROBIN, key),
        }
    }

    /// What a child of such a thread gets.
    ///
    /// # Errors
    /// `EAGAIN`: a reservation is for one thread.
    pub fn of_child(self) -> Result<Self, Errno> {
        let parts = self.parts();
        if !parts.resets {
            return if self.is_reserved() { Err(Errno::EAGAIN) } else { Ok(self) };
        }
        let keeps = matches!(parts.policy, SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE);
        let policy = if keeps { parts.policy } else { SCHED_NORMAL };
        // A nice value that the child could not take for itself is not left to it.
        let nice = if keeps { parts.nice.max(0) } else { 0 };
        Ok(Self::new(Parts { policy, nice, priority: 0, resets: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn class(policy: u32, nice: i32, priority: u8) -> Class {
        Class::new(Parts { policy, nice, priority, resets: false })
    }

    #[test]
    fn parts_are_kept_and_weights_grow_with_niceness() {
        for nice in -20..20 {
            assert_eq!(class(SCHED_BATCH, nice, 0).parts().nice, nice);
        }
        assert_eq!(class(SCHED_NORMAL, 0, 0).weighted(1_000), 1_000);
        assert_eq!(class(SCHED_NORMAL, 19, 0).weighted(1_000), 68_266);
        let counts: Vec<u64> = (-20..20).map(|nice| class(SCHED_NORMAL, nice, 0).weighted(1 << 20)).collect();
        assert!(counts.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn linux_priorities_are_ours_the_other_way_round() {
        let level = |policy, priority| class(policy, 0, priority).birth(0).priority.number();
        let levels: Vec<u8> = (1..=MAX_RT).map(|priority| level(SCHED_FIFO, priority)).collect();
        assert!(levels.is_sorted_by(|one, other| one >= other));
        assert_eq!((levels[0], levels[98]), (15, 10));
        assert_eq!((level(SCHED_NORMAL, 0), level(SCHED_BATCH, 0), level(SCHED_IDLE, 0)), (16, 17, 30));
    }

    #[test]
    fn a_child_has_no_more_than_it_could_take() {
        let of = |policy, nice, priority| {
            let parts = Parts { resets: true, ..class(policy, nice, priority).parts() };
            Class::new(parts).of_child()
        };
        assert_eq!(of(SCHED_RR, 3, 10), Ok(class(SCHED_NORMAL, 0, 0)));
        assert_eq!(of(SCHED_NORMAL, -5, 0), Ok(class(SCHED_NORMAL, 0, 0)));
        assert_eq!(of(SCHED_BATCH, 5, 0), Ok(class(SCHED_BATCH, 5, 0)));
        assert_eq!(class(SCHED_RR, 3, 10).of_child(), Ok(class(SCHED_RR, 3, 10)));
    }
}
