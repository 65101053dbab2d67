//! What a ring is restricted to (`IORING_REGISTER_RESTRICTIONS`): operations of entries and of `io_uring_register`, flags of entries.
//!
//! Rules are given while the ring is disabled, once, and hold from when it is enabled on. From then on entries take the long way, on which they are looked at.

use super::{RESTRICTED, Ring};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use core::sync::atomic::Ordering::Release;
use hal::sync::{SpinLock, rank};
use mem::list;

/// Most rules in a call, as in Linux.
const MOST: usize = IORING_RESTRICTION_LAST as usize + IORING_REGISTER_LAST as usize + IORING_OP_LAST as usize;

/// A bit for each operation.
type Set = u64;
const _: () = assert!(IORING_OP_LAST as u32 <= Set::BITS && IORING_REGISTER_LAST <= Set::BITS);

/// What is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    calls: Set,
    operations: Set,
    allowed: u8,
    required: u8,
}

impl Rules {
    /// With one more.
    ///
    /// # Errors
    /// `EINVAL`.
    fn with(mut self, rule: &Restriction) -> Result<Self, Errno> {
        match rule.opcode {
            IORING_RESTRICTION_REGISTER_OP if u32::from(rule.value) < IORING_REGISTER_LAST => {
                self.calls |= 1 << rule.value
            }
            IORING_RESTRICTION_SQE_OP if rule.value < IORING_OP_LAST => self.operations |= 1 << rule.value,
            IORING_RESTRICTION_SQE_FLAGS_ALLOWED => self.allowed = rule.value,
            IORING_RESTRICTION_SQE_FLAGS_REQUIRED => self.required = rule.value,
            _ => return Err(Errno::EINVAL),
        }
        Ok(self)
    }

    fn allows(&self, entry: &Sqe) -> bool {
        let is_allowed = entry.opcode < IORING_OP_LAST && self.operations >> entry.opcode & 1 != 0;
        let has_required = entry.flags & self.required == self.required;
        is_allowed && has_required && entry.flags & !(self.allowed | self.required) == 0
    }
}

/// The rules, once they are there.
pub(super) struct Restrictions(SpinLock<Option<Rules>>);

impl Restrictions {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, None))
    }

    /// Whether there are any.
    fn are_there(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl Ring {
    /// Entries are taken from here on, under the rules that are there by now. `false`: they were before.
    pub(super) fn enable(&self) -> bool {
        let rules = self.restrictions.0.lock();
        if rules.is_some() {
            // Before it is enabled: no entry is taken without a look.
            self.flags.fetch_or(RESTRICTED, Release);
        }
        // Release pairs with the Acquire in `Ring::has`. Of two at once, one enables.
        self.flags.fetch_and(!IORING_SETUP_R_DISABLED, Release) & IORING_SETUP_R_DISABLED != 0
    }

    /// Whether a restricted ring takes this entry.
    ///
    /// # Errors
    /// `EACCES`.
    pub(super) fn check_entry(&self, entry: &Sqe) -> Result<(), Errno> {
        let rules = *self.restrictions.0.lock();
        if rules.is_none_or(|rules| rules.allows(entry)) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether a ring takes this operation of `io_uring_register`.
    ///
    /// # Errors
    /// `EACCES`.
    pub(super) fn check_call(&self, number: u32) -> Result<(), Errno> {
        if !self.has(RESTRICTED) {
            return Ok(());
        }
        let rules = *self.restrictions.0.lock();
        if rules.is_none_or(|rules| rules.calls >> number & 1 != 0) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

/// Keeps the rules at `addr`.
///
/// # Errors
/// `EBADFD`: the ring is not disabled; `EBUSY`: it has some; `EINVAL`, `EFAULT`, `ENOMEM`.
pub(super) async fn register(task: &Task<'_>, ring: &Ring, addr: usize, count: usize) -> Result<usize, Errno> {
    if !ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    if ring.restrictions.are_there() {
        return Err(Errno::EBUSY);
    }
    if addr == 0 || count > MOST {
        return Err(Errno::EINVAL);
    }
    let mut rules = list(count)?;
    rules.resize(count, Restriction::default());
    task.space().copy_in(addr, zerocopy::IntoBytes::as_mut_bytes(&mut rules[..])).await?;
    let rules = rules.iter().try_fold(Rules::default(), Rules::with)?;
    let mut kept = ring.restrictions.0.lock();
    // Other threads may have been faster.
    if kept.is_some() {
        return Err(Errno::EBUSY);
    }
    if !ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    *kept = Some(rules);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[(u16, u8)]) -> Result<Rules, Errno> {
        let rule = |&(opcode, value)| Restriction { opcode, value, ..Restriction::default() };
        list.iter().map(rule).try_fold(Rules::default(), |rules, rule| rules.with(&rule))
    }

    #[test]
    fn what_no_rule_allows_is_refused() {
        let rules = rules(&[
            (IORING_RESTRICTION_SQE_OP, IORING_OP_READ),
            (IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_ASYNC),
            (IORING_RESTRICTION_SQE_FLAGS_REQUIRED, IOSQE_FIXED_FILE),
        ])
        .unwrap();
        let allows = |opcode, flags| rules.allows(&Sqe { opcode, flags, ..Sqe::default() });
        assert!(allows(IORING_OP_READ, IOSQE_FIXED_FILE));
        assert!(allows(IORING_OP_READ, IOSQE_FIXED_FILE | IOSQE_ASYNC));
        assert!(!allows(IORING_OP_READ, 0));
        assert!(!allows(IORING_OP_READ, IOSQE_FIXED_FILE | IOSQE_IO_LINK));
        assert!(!allows(IORING_OP_WRITE, IOSQE_FIXED_FILE));
        assert!(!allows(u8::MAX, IOSQE_FIXED_FILE));
    }

    #[test]
    fn rules_about_nothing_are_wrong() {
        for rule in [
            (IORING_RESTRICTION_LAST, 0),
            (IORING_RESTRICTION_SQE_OP, IORING_OP_LAST),
            (IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_LAST as u8),
        ] {
            assert_eq!(rules(&[rule]), Err(Errno::EINVAL), "{rule:?}");
        }
    }
}
