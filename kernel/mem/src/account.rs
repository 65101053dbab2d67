//! Accounts: who pays for memory (D13).
//!
//! An account counts bytes of frames and kernel objects against a limit; one without a parent may count things of another kind. Accounts form a tree: a charge is
//! taken at every level up to the root or at none, so the sum over all processes stays below the
//! limit of the system account whatever the single limits say. A [`Charge`] gives back on drop.

use abi::errno::Errno;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A counter of bytes, or of other things, with a limit.
///
/// All atomics are relaxed: the counts guard no other data.
pub struct Account {
    parent: Option<Arc<Account>>,
    used: AtomicUsize,
    limit: AtomicUsize,
    peak: AtomicUsize,
}

impl Account {
    /// An account below `parent` that admits up to `limit` bytes (`usize::MAX`: only the parent limits).
    #[must_use]
    pub fn new(parent: Option<&Arc<Account>>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            parent: parent.cloned(),
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            peak: AtomicUsize::new(0),
        })
    }

    /// Takes `bytes` from this account and all above it.
    ///
    /// # Errors
    /// `ENOMEM` if any limit would be exceeded; nothing is taken then.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, Errno> {
        if self.take(bytes) { Ok(Charge { account: self.clone(), bytes }) } else { Err(Errno::ENOMEM) }
    }

    /// Bytes charged now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// The most bytes that were ever charged at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Changes the limit; what is charged already stays.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Relaxed);
    }

    /// Charges without a guard; the caller owes [`Account::give`].
    pub(crate) fn take(&self, bytes: usize) -> bool {
        !self.fails() && self.admit(bytes)
    }

    /// Whether a charge is to fail on demand.
    pub(crate) fn fails(&self) -> bool {
        hal::fail::here_for(self.address())
    }

    /// What tells it from other accounts while it is there.
    #[must_use]
    pub fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// [`Account::take`] where nothing fails on demand.
    pub(crate) fn admit(&self, bytes: usize) -> bool {
        let admit = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit.load(Relaxed));
        let Ok(before) = self.used.fetch_update(Relaxed, Relaxed, admit) else {
            return false;
        };
        if let Some(parent) = &self.parent
            && !parent.admit(bytes)
        {
            self.used.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.peak.fetch_max(before + bytes, Relaxed);
        true
    }

    /// Gives back what [`Account::take`] took.
    pub(crate) fn give(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes, "account gave back more than it took");
        if let Some(parent) = &self.parent {
            parent.give(bytes);
        }
    }
}

/// Bytes taken from an [`Account`]; dropping it gives them back.
#[must_use = "dropping a charge gives it back at once"]
pub struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    /// The size of this charge in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account that pays.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Takes more from the same account.
    ///
    /// # Errors
    /// `ENOMEM`; the charge is as before then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Errno> {
        if !self.account.take(bytes) {
            return Err(Errno::ENOMEM);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives a part back early, at most the whole.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.account.give(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_taken_at_every_level_or_none() {
        let root = Account::new(None, 100);
        let (a, b) = (Account::new(Some(&root), usize::MAX), Account::new(Some(&root), 60));
        let held = a.charge(70).unwrap();
        assert_eq!((root.used(), a.used()), (70, 70));
        assert_eq!(b.charge(31).err(), Some(Errno::ENOMEM));
        assert_eq!((root.used(), b.used()), (70, 0));
        drop(held);
        assert_eq!((root.used(), a.peak()), (0, 70));
        assert!(b.charge(61).is_err());
        assert!(b.charge(usize::MAX).is_err());
    }

    #[test]
    fn a_charge_grows_and_shrinks() {
        let root = Account::new(None, 100);
        let mut held = root.charge(10).unwrap();
        assert_eq!(held.grow(91), Err(Errno::ENOMEM));
        held.grow(40).unwrap();
        held.shrink(20);
        assert_eq!((held.bytes(), root.used()), (30, 30));
        held.shrink(500);
        assert_eq!(root.used(), 0);
    }
}
