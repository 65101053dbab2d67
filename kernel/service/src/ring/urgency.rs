//! How urgent a request is. In rings that are made with `IORING_SETUP_PRIORITIES` byte 56 of an entry says so (decision D4); in all others it is as its submitter is.
//!
//! What is done where an entry is taken is done at the priority of who takes it. What waits has a coroutine at its own. A coroutine that takes entries by itself
//! runs at the most urgent that it has not taken ([`Poller`](super::polled::Poller)).

use super::Ring;
use abi::{
    asyncos::IORING_SETUP_PRIORITIES,
    errno::Errno,
    io_uring::{IORING_SETUP_R_DISABLED, Sqe},
};
use exec::{Birth, Priority, TaskRef};
use process::Thread;

/// Entries that are looked at for what they say, before they are taken.
const LOOKS: u32 = 128;

/// What an entry says: nothing, or a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Urgency(u8);

impl Urgency {
    /// As urgent as who submits.
    pub(super) const USUAL: Self = Self(0);

    /// Of an entry of a ring in which it may say so: 0, or one more than a priority.
    ///
    /// # Errors
    /// `EINVAL`: there is no such priority, or what lies behind it is not zero.
    pub(super) fn of(entry: &Sqe) -> Result<Self, Errno> {
        match u8::try_from(entry.pad) {
            Ok(said) if said <= Priority::LOWEST.number() + 1 => Ok(Self(said)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The priority of requests of `thread` that say this: never more urgent than the thread.
    fn priority(self, thread: &Thread) -> Priority {
        Priority::new(self.0.saturating_sub(1).max(thread.priority()))
    }

    /// Whether a request of `thread` is as urgent as one that says nothing.
    pub(super) fn is_usual(self, thread: &Thread) -> bool {
        self.0 == 0 || self.priority(thread).number() == thread.priority()
    }

    /// How a coroutine for it runs.
    pub(super) fn birth(self, thread: &Thread) -> Birth {
        if self.0 == 0 { thread.birth_of_request() } else { thread.birth_of_request_at(self.priority(thread)) }
    }

    /// The same for one that is allowed no more than this.
    fn birth_within(self, thread: &Thread, allowed: Priority) -> Birth {
        thread.birth_of_request_at(self.priority(thread).max(allowed))
    }
}

impl Ring {
    /// What the most urgent of the first entries says that nobody has taken, if this is a ring in which they say something, and there are any.
    fn most_urgent(&self) -> Option<Urgency> {
        if !self.has(IORING_SETUP_PRIORITIES) || self.has(IORING_SETUP_R_DISABLED) {
            return None;
        }
        let submissions = self.posting.lock().head.submissions;
        let count = submissions.ready(&*self.pages).min(LOOKS);
        let entries = (0..count).filter_map(|ahead| submissions.peek(&*self.pages, ahead));
        // One that is wrong is as urgent as its submitter: it is told so.
        entries.map(|entry| Urgency::of(&entry).unwrap_or_default()).min_by_key(|said| said.0)
    }

    /// Has the coroutine that takes entries run as urgently as the most urgent of them that is not taken, and no more than it is allowed, for `thread`: by itself before it takes them, and by who submits and
    /// says so. Either looks once more behind the change: what was submitted meanwhile may have been followed before it, and that is undone by it.
    pub(super) fn follow_entries(&self, task: &TaskRef, thread: &Thread, allowed: Priority) {
        let mut last: Option<Urgency> = None;
        // At most once for each priority.
        while let Some(said) = self.most_urgent().filter(|said| last.is_none_or(|last| said.0 < last.0)) {
            exec::set_class(task, &said.birth_within(thread, allowed));
            last = Some(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_nothing_or_a_priority() {
        let said = |pad| Urgency::of(&Sqe { pad, ..Sqe::default() });
        assert_eq!(said(0), Ok(Urgency::USUAL));
        assert_eq!(said(1), Ok(Urgency(1)));
        assert_eq!(said(32), Ok(Urgency(32)));
        for wrong in [33, 255, 256, 1 << 63] {
            assert_eq!(said(wrong), Err(Errno::EINVAL), "{wrong:#x}");
        }
    }
}
