//! Who takes entries: the right to, and the shortest way through them.
//!
//! The right is one party's at a time. The head of the entries lies with the completions, under their lock; who has the right has a copy, which it
//! gives back. So entries that are done as soon as they are read need that one lock ([`Ring::begin_taking`]).
//!
//! **Waiting for the right.** Who wants it counts itself, enters `takers`, looks, sleeps; who gives it back clears the mark under the lock and wakes
//! then. Who comes while others wait waits too, so nobody is passed for ever.

use super::{Posting, RESTRICTED, Ring, operation, pages::Usual, submission::AT_ONCE, transfer::Transfer};
use abi::{
    asyncos::IORING_SETUP_PRIORITIES,
    io_uring::{
        Cqe, IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_IOPOLL, IORING_SETUP_R_DISABLED,
        IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SQE128, IORING_SETUP_SQPOLL, Sqe,
    },
};
use alloc::sync::Arc;
use exec::sync::wait_until;
use hal::sync::SpinGuard;
use ring::{Layout, Submissions};

/// Completions that are posted together.
const TOGETHER: usize = 32;

/// What goes on from one that takes entries to the next.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub submissions: Submissions,
    /// Places for completions that are reserved for those to come.
    places: usize,
    /// The next chain waits for all that are before it.
    pub drains_next: bool,
    /// A completion may have been left out: nothing can be waited for in this way any more.
    pub skips: bool,
}

impl Head {
    pub(super) fn new(layout: &Layout) -> Self {
        Self { submissions: Submissions::new(layout), places: 0, drains_next: false, skips: false }
    }

    /// One more place for those to come, if there are not enough.
    #[inline]
    pub(super) fn keep_place(&mut self) -> bool {
        let keeps = self.places < TOGETHER;
        self.places += usize::from(keeps);
        keeps
    }
}

/// How taking entries begins.
pub(super) enum Beginning {
    /// So many were done as soon as they were read, and so many completions wait for the program. These were all, or as many as go in one poll.
    Done(u32, u32),
    /// It is one that reads or writes and stands alone: it is taken, and the right to take others with it, until [`Ring::end_single`].
    Single(Sqe),
    /// They are to be looked at, by who has the right now: for [`Taker::with`].
    Right(Head),
    /// Nothing was taken: somebody else has the right, or who submits is to be looked at first.
    Later,
}

/// The right to take entries, until it is dropped.
pub(super) struct Taker<'r> {
    pub ring: &'r Arc<Ring>,
    pub head: Head,
    /// Completions that are not posted yet.
    done: heapless::Vec<Cqe, TOGETHER>,
    gave_back: bool,
}

/// What came of the only entry.
pub(super) enum Single {
    Done(Cqe),
    /// It is done, and tells of failures only.
    Silent,
    Waits,
}

/// What the only entry is.
enum Only {
    /// It was done, and so many completions wait for the program.
    Done(u32),
    /// It was taken.
    Single(Sqe),
}

impl Posting {
    /// Takes and completes so many entries, if all are done as soon as they are read and there is room; how many completions wait for the program then. Apart: the
    /// loop has use for all registers.
    #[inline(never)]
    fn take_plain(&mut self, pages: &Usual<'_>, count: u32) -> Option<u32> {
        let Posting { completions, head: Head { submissions, .. }, .. } = self;
        let plain = |ahead| {
            let entry = submissions.peek(pages, ahead)?;
            operation::done_at_once(&entry)
        };
        let waiting = completions.post_all(pages, count, plain)?;
        submissions.advance(count);
        submissions.commit(pages);
        completions.publish(pages);
        Some(waiting)
    }

    /// Takes the only entry, if it is done as soon as it is read, or reads or writes, stands alone, and has a place.
    #[inline(always)]
    fn take_only(&mut self, pages: &Usual<'_>) -> Option<Only> {
        let Posting { completions, head: Head { submissions, places, .. }, .. } = self;
        let entry = submissions.peek(pages, 0)?;
        if let Some(done) = operation::done_at_once(&entry) {
            let waiting = completions.post_all(pages, 1, |_| Some(done))?;
            submissions.advance(1);
            submissions.commit(pages);
            completions.publish(pages);
            return Some(Only::Done(waiting));
        }
        if *places == 0 || !Transfer::is_plain(&entry) {
            return None;
        }
        submissions.advance(1);
        submissions.commit(pages);
        Some(Only::Single(entry))
    }

    fn claim(&mut self) -> Option<Head> {
        let is_free = !core::mem::replace(&mut self.is_taking, true);
        if is_free {
            self.posted_before = self.completions.posted();
        }
        is_free.then_some(self.head)
    }
}

impl Ring {
    /// Takes up to `wanted` entries, if all are done as soon as they are read and there is room for what is done; or the only one; else, the right to
    /// take them.
    #[inline(always)]
    pub(super) fn begin_taking(&self, wanted: u32) -> Beginning {
        /// Who submits to these is asked who it is, or takes none.
        const ASKED: u32 = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SQPOLL;
        /// Entries of these say more than is looked at here; and none is recorded.
        const LONG: u32 =
            IORING_SETUP_PRIORITIES | IORING_SETUP_IOPOLL | IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | RESTRICTED;
        if wanted == 0 || self.has(ASKED | LONG) || hal::record::recording() {
            return Beginning::Later;
        }
        let (pages, mut posting) = (&Usual(&self.pages), self.posting.lock());
        if posting.is_taking || posting.wanting > 0 {
            return Beginning::Later;
        }
        let count = posting.head.submissions.ready(pages).min(wanted).min(AT_ONCE);
        let in_order = !posting.head.drains_next && !self.drain.has_deferred();
        if in_order && count == 1 {
            match posting.take_only(pages) {
                Some(Only::Done(waiting)) => return self.have_taken(posting, 1, waiting),
                Some(Only::Single(entry)) => {
                    posting.is_taking = true;
                    return Beginning::Single(entry);
                }
                None => {}
            }
        } else if in_order && let Some(waiting) = posting.take_plain(pages, count) {
            return self.have_taken(posting, count, waiting);
        }
        posting.is_taking = true;
        Beginning::Right(posting.head)
    }

    /// So many are done.
    #[inline(always)]
    fn have_taken(&self, posting: SpinGuard<'_, Posting>, count: u32, waiting: u32) -> Beginning {
        drop(posting);
        if count > 0 {
            self.changed().wake_all();
            self.tell(false);
        }
        Beginning::Done(count, waiting)
    }

    /// The one that was taken is done, or waits with its place, and the right is given back. How many completions wait for the program, unless some are kept.
    #[inline]
    pub(super) fn end_single(&self, end: Single) -> Option<u32> {
        let mut posting = self.posting.lock();
        let is_free = match &end {
            Single::Done(done) => {
                // None with others comes here (`begin_taking`).
                let fits = posting.completions.post_one(&Usual(&self.pages), done);
                posting.completions.publish(&*self.pages);
                fits
            }
            Single::Silent => true,
            Single::Waits => false,
        };
        // The place goes with what waits, or is kept.
        posting.head.places -= usize::from(!is_free);
        self.end_taking(posting, matches!(end, Single::Done(_)))
    }

    /// The one that was taken may leave out its completion.
    #[cold]
    pub(super) fn single_skips(&self) {
        self.posting.lock().head.skips = true;
    }

    /// Posts what is done and gives the right back with the head; how many completions wait for the program, unless some are kept.
    fn give_back(&self, mut posting: SpinGuard<'_, Posting>, mut head: Head, done: &[Cqe]) -> Option<u32> {
        if !done.is_empty() {
            // What went into the ring leaves its place to the next.
            head.places -= posting.completions.post(&*self.pages, done);
        }
        // Also what was completed within the call in another way, where that would wait for who asks (`Ring::have_posted_later`).
        let has_posted = posting.completions.posted() != posting.posted_before;
        if has_posted {
            posting.completions.publish(&*self.pages);
        }
        let shows = has_posted && posting.completions.show(&*self.pages);
        posting.head = head;
        let waiting = self.end_taking(posting, !done.is_empty() || shows);
        if shows {
            // Who looked before saw none (`Ring::show_deferred`).
            self.tell(true);
        }
        waiting
    }

    /// Does something within the call that has the right, of which what it posts is no part: it waits for who asks, where that is how it is.
    pub(super) fn later_than_call<T>(&self, act: impl FnOnce() -> T) -> T {
        if !self.has(IORING_SETUP_DEFER_TASKRUN) {
            return act();
        }
        let before = self.posting.lock().completions.posted();
        let done = act();
        let mut posting = self.posting.lock();
        let later = posting.completions.posted().wrapping_sub(before);
        posting.posted_before = posting.posted_before.wrapping_add(later);
        done
    }

    /// The right is given back, and who waits for what was posted is woken. Part of both that call it: each is the end of most calls of its kind.
    #[inline(always)]
    fn end_taking(&self, mut posting: SpinGuard<'_, Posting>, has_posted: bool) -> Option<u32> {
        posting.is_taking = false;
        let waiting = posting.completions.waiting_in_order(&*self.pages);
        drop(posting);
        self.takers.wake_all();
        if has_posted {
            self.changed().wake_all();
            self.tell(false);
        }
        waiting
    }

    /// The right to take entries, if nobody has it or waits for it: for [`Taker::with`].
    pub(super) fn try_claim(&self) -> Option<Head> {
        let mut posting = self.posting.lock();
        if posting.wanting == 0 { posting.claim() } else { None }
    }

    /// Waits for the right to take entries.
    pub(super) async fn claim(&self) -> Head {
        let _wanting = Wanting::new(self);
        wait_until(&self.takers, || self.posting.lock().claim()).await
    }
}

/// Somebody waits for the right.
struct Wanting<'r>(&'r Ring);

impl<'r> Wanting<'r> {
    fn new(ring: &'r Ring) -> Self {
        ring.posting.lock().wanting += 1;
        Self(ring)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.posting.lock().wanting -= 1;
    }
}

impl<'r> Taker<'r> {
    /// Who has the right has the head.
    #[inline]
    pub(super) fn with(ring: &'r Arc<Ring>, head: Head) -> Self {
        Self { ring, head, done: heapless::Vec::new(), gave_back: false }
    }

    /// Reserves places for `wanted` completions, if that is not done; how many there are.
    #[inline]
    pub(super) fn reserve(&mut self, wanted: usize) -> usize {
        if self.head.places < wanted {
            self.head.places += self.ring.reserve(wanted.max(TOGETHER) - self.head.places);
        }
        self.head.places
    }

    /// So many places are others' from now on: of those that have begun and wait.
    pub(super) fn give_places(&mut self, count: usize) {
        self.head.places = self.head.places.saturating_sub(count);
    }

    /// Completions that are not posted yet.
    pub(super) fn filled(&self) -> usize {
        self.done.len()
    }

    /// Completes one that has a place.
    #[inline]
    pub(super) fn complete(&mut self, completion: Cqe) {
        if let Err(completion) = self.done.push(completion) {
            self.post();
            // There is room now.
            let _ = self.done.push(completion);
        }
    }

    /// Where the kernel takes entries by itself, the program sees that there is room for another before it sees a completion of what was taken.
    pub(super) fn show_taken(&mut self) {
        if self.ring.poller.is_some() {
            self.head.submissions.commit(&*self.ring.pages);
        }
    }

    /// Posts what is done.
    pub(super) fn post(&mut self) {
        self.show_taken();
        // What went into the ring leaves its place to the next.
        self.head.places -= self.ring.post(&self.done);
        if !self.done.is_empty() {
            self.ring.tell(false);
        }
        self.done.clear();
    }

    /// Posts what is done and gives the right back; how many completions wait for the program, unless some are kept.
    pub(super) fn give_back(&mut self) -> Option<u32> {
        self.gave_back = true;
        let waiting = self.ring.give_back(self.ring.posting.lock(), self.head, &self.done);
        self.done.clear();
        waiting
    }
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        if !self.gave_back {
            self.give_back();
        }
    }
}
