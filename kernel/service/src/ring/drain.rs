//! Entries that wait until none before them is left (`IOSQE_IO_DRAIN`), and those behind them that wait for their turn.
//!
//! As on Linux: such an entry begins when all that had begun before it have ended; what comes behind it begins after it has *begun*. An entry
//! in a chain stands for the whole chain.
//!
//! **The gate.** Deferred chains queue up, each a coroutine. The first passes when nothing runs, or at once if it only waited for
//! its turn; then it counts as running, begins, and calls the next. Who ends as the last that ran calls the first. Both look under the queue's lock:
//! the first notes its task, then looks at the count; who ends counts, then looks for the first.

use super::request::Request;
use abi::errno::Errno;
use alloc::{collections::VecDeque, sync::Arc};
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use hal::sync::{SpinLock, rank};
use mem::Room;
use ring::Outcome;

struct Place {
    request: Arc<Request>,
    /// It waits for all that run, not only for its turn.
    drains: bool,
}

/// What a place takes.
pub(super) const BYTES: usize = 2 * size_of::<Place>();

/// Which requests run, and which wait for that.
pub(super) struct Drain {
    /// Requests that have begun and not ended.
    running: AtomicUsize,
    /// Length of the queue.
    waiting: AtomicUsize,
    queue: SpinLock<VecDeque<Place>>,
}

impl Drain {
    pub(super) fn new() -> Self {
        let queue = SpinLock::new(rank::PIPE, VecDeque::new());
        Self { running: AtomicUsize::new(0), waiting: AtomicUsize::new(0), queue }
    }

    /// So many begin.
    pub(super) fn begin(&self, count: usize) {
        // Relaxed: who looks does so after the same thread's, or under the lock.
        self.running.fetch_add(count, Relaxed);
    }

    /// One has ended.
    pub(super) fn end(&self) {
        // AcqRel: what it did comes before what begins after it; pairs with the Acquire in `is_open`, and with itself.
        if self.running.fetch_sub(1, AcqRel) == 1 {
            self.call_first();
        }
    }

    /// Nothing has begun that has not ended, and nothing waits to begin.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_closed(true)
    }

    /// Whether some wait. Only who takes entries adds to them, so that a no is certain there.
    pub(super) fn has_deferred(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Whether what begins now has to wait.
    pub(super) fn is_closed(&self, drains: bool) -> bool {
        !self.queue.lock().is_empty() || !self.is_open(drains)
    }

    fn is_open(&self, drains: bool) -> bool {
        !drains || self.running.load(Acquire) == 0
    }

    /// Queues a request up.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn defer(&self, request: &Arc<Request>, drains: bool) -> Result<(), Errno> {
        let mut queue = self.queue.lock();
        queue.make_room(1)?;
        queue.push_back(Place { request: request.clone(), drains });
        self.waiting.store(queue.len(), Relaxed);
        Ok(())
    }

    /// Whether it is this request's turn: then it runs, with `count` entries, and says when it has begun.
    pub(super) fn passes(&self, request: &Arc<Request>, count: usize) -> bool {
        let queue = self.queue.lock();
        let turn =
            queue.front().is_some_and(|place| Arc::ptr_eq(&place.request, request) && self.is_open(place.drains));
        if turn {
            self.begin(count);
        }
        turn
    }

    /// The first has begun: the next has its turn.
    pub(super) fn has_begun(&self) {
        let mut queue = self.queue.lock();
        let place = queue.pop_front();
        self.waiting.store(queue.len(), Relaxed);
        drop(queue);
        drop(place);
        self.call_first();
    }

    /// One that waited may have given up: whoever is first now gets its turn.
    pub(super) fn settle(&self) {
        loop {
            let mut queue = self.queue.lock();
            let gone = match queue.front() {
                Some(place) if place.request.state().outcome() != Outcome::Runs => queue.pop_front(),
                _ => break,
            };
            self.waiting.store(queue.len(), Relaxed);
            drop(queue);
            drop(gone);
        }
        self.call_first();
    }

    fn call_first(&self) {
        let first = self.queue.lock().front().map(|place| place.request.clone());
        if let Some(request) = first {
            request.rouse();
        }
    }
}
