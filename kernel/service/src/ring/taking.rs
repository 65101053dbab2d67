//! What belongs to who takes entries, and the shortest way through them.

use super::{operation, pages::Pages};
use abi::io_uring::{Cqe, Sqe};
use ring::{Layout, Submissions, Taken};

/// Completions that are posted together.
pub(super) const TOGETHER: usize = 32;

/// What belongs to who takes entries.
pub(super) struct Taking {
    pub submissions: Submissions,
    /// Places for completions that are reserved for the next to be taken.
    pub places: usize,
    /// Completions that are not posted yet.
    pub done: [Cqe; TOGETHER],
    pub filled: usize,
    /// The next chain waits for all that are before it.
    pub drains_next: bool,
    /// A completion may have been left out: nothing can be waited for in this way any more.
    pub skips: bool,
}

/// What comes next.
pub(super) enum Next {
    /// An entry that is to be looked at.
    Entry,
    /// All that were wanted are done, or there is no room for what is done.
    None,
    /// A number that no entry has.
    Dropped,
}

impl Taking {
    pub(super) fn new(layout: &Layout) -> Self {
        let submissions = Submissions::new(layout);
        let done = [Cqe::default(); TOGETHER];
        Self { submissions, places: 0, done, filled: 0, drains_next: false, skips: false }
    }

    /// Takes some of `most` entries: those that are done as soon as they are read, if they `stand_alone`, and one that is not; how many. There is room
    /// for one that is done.
    pub(super) fn next(&mut self, pages: &Pages, most: u32, stand_alone: bool, entry: &mut Sqe) -> (u32, Next) {
        for count in 1..=most {
            let Taken::Entry(taken) = self.submissions.take(pages) else { return (count - 1, Next::Dropped) };
            match operation::done_at_once(&taken) {
                Some(res) if stand_alone => {
                    self.done[self.filled % TOGETHER] = Cqe { user_data: taken.user_data, res, flags: 0 };
                    self.filled += 1;
                }
                _ => {
                    *entry = taken;
                    return (count, Next::Entry);
                }
            }
            if self.filled == TOGETHER {
                return (count, Next::None);
            }
        }
        (most, Next::None)
    }
}
