//! Which of several threads is told of a signal that is sent to all of them.
//!
//! ```text
//!   who finds or leaves signals                     a member whose mask changes
//!   PENDING   store (one at a time, by a lock)      WANTS     store
//!   fence                                           fence
//!   WANTS     look: ring one that takes it          PENDING   look: take it, or hand it over
//! ```
//!
//! **Nothing is lost.** Both store, fence and look, so one of them sees the other: the member finds the signal, or who has found it does not count on the member. Whoever is rung does as who finds: what it does not take
//! it hands over. A signal for which nobody is found is pending for all, and the first that wants it finds it so.
//!
//! **None comes twice.** A ring only says to look; what is taken is taken by who has the lock.

use sync::atomic::{AtomicU64, Ordering, fence};

/// Threads of a group at most.
pub const MEMBERS: usize = if cfg!(loom) { 3 } else { 64 };

/// See the module.
#[derive(Debug)]
pub struct Group {
    /// Signals that are pending for all; of those that queue perhaps too many.
    pending: AtomicU64,
    /// By member: what it takes. Nothing, where there is none.
    wants: [AtomicU64; MEMBERS],
    /// Numbers that are somebody's.
    members: AtomicU64,
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// Of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pending: AtomicU64::new(0),
            wants: core::array::from_fn(|_| AtomicU64::new(0)),
            members: AtomicU64::new(0),
        }
    }

    /// A number for one more, which takes nothing yet. `None`: there are as many as can be.
    #[must_use]
    pub fn join(&self) -> Option<usize> {
        // Acquire pairs with the Release in `leave`: what was the last one's is gone.
        let join = |members: u64| {
            let number = (!members).trailing_zeros();
            ((number as usize) < MEMBERS).then(|| members | 1 << number)
        };
        let before = self.members.fetch_update(Ordering::Acquire, Ordering::Relaxed, join).ok()?;
        Some((!before).trailing_zeros() as usize)
    }

    /// The number is nobody's. Behind a [`Group::want`] of nothing, and the handing over of what that tells of.
    pub fn leave(&self, member: usize) {
        // Release pairs with the Acquire in `join`.
        self.members.fetch_and(!(1 << member), Ordering::Release);
    }

    /// A member takes these from now on, and no others. What is pending: those of it that it takes are to be looked for, the others [handed over](Group::hand_over).
    #[must_use]
    pub fn want(&self, member: usize, signals: u64) -> u64 {
        // Relaxed: the fence orders it before the look, and pairs with that in `hand_over`.
        self.wants[member].store(signals, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.pending.load(Ordering::Relaxed)
    }

    /// What is pending has changed. By who has the lock.
    pub fn publish(&self, pending: u64) {
        // Relaxed: ordered by the fence of `hand_over`, where there is more; where there is less, who looks in vain finds nothing.
        self.pending.store(pending, Ordering::Relaxed);
    }

    /// Calls `ring` with a member that takes it for each pending signal that `member` does not take. One that answers `false` is gone without having left, and takes
    /// nothing any more. Behind [`Group::publish`], by who has the lock.
    pub fn hand_over(&self, member: usize, mut ring: impl FnMut(usize) -> bool) {
        // Pairs with that in `want`.
        fence(Ordering::SeqCst);
        let pending = self.pending.load(Ordering::Relaxed);
        let mut left = pending & !self.wants[member].load(Ordering::Relaxed);
        // Relaxed: a member that joins or leaves stores `wants`.
        let mut others = self.members.load(Ordering::Relaxed) & !(1 << member);
        while left != 0 && others != 0 {
            let other = others.trailing_zeros() as usize;
            others &= others - 1;
            let taken = self.wants[other].load(Ordering::Relaxed) & left;
            if taken == 0 {
                continue;
            }
            if ring(other) {
                left &= !taken;
            } else {
                self.wants[other].store(0, Ordering::Relaxed);
            }
        }
    }
}
