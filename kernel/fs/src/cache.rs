//! The page cache: the pages of one file, and what state each is in.
//!
//! ```text
//!            fetch                 filled               write
//!  (missing) -----> Filling -----------------> Clean ----------> Dirty <------+
//!      ^               | failed                  ^                 | flush     | failed, or
//!      |               v                         | written         v           | written meanwhile
//!      +----------- Failed (told once)           +------------- Writing -------+
//!      +--- evict: Clean, cold, not mapped
//! ```
//!
//! [`Pages`] owns the frames and the size of the file. Its lock is held for a lookup only, never while bytes are copied:
//! user memory has locks of its own, which come first in the lock order. So a writer claims the
//! whole file with a flag ([`Claim`]): writes are atomic to each other, `O_APPEND` finds the true end, and
//! truncation excludes both. Readers take no claim.
//!
//! A [`Store`] says where pages come from and go to. A file without one (tmpfs) lives in its pages: missing ones are
//! zeros and none is ever evicted.

mod direct;
mod fetch;
mod flush;
mod map;
mod reclaim;
mod transfer;

pub(crate) use direct::{clip, total};
pub use direct::{read_direct, write_direct};
pub use fetch::wait_read;
pub use flush::{flush, kick};
pub use reclaim::{cached_pages, offer, register, shrink};
pub use transfer::{frame_now, read_now, wait_write, write_now};

use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use exec::sync::WaitQueue;
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};
use io::{
    block::{Answer, Direction, Parts, Placed},
    file::{BoxFuture, Want},
};
use map::PageMap;

/// Where the pages of a file come from and go to. `self` is an `Arc` so that transfers outlive their caller.
pub trait Store: Placed + Send + Sync + 'static {
    /// The cached pages.
    fn pages(&self) -> &Pages;

    /// Whether pages have another place than the cache. Without one, `fetch` and `store` are never called.
    fn backed(&self) -> bool;

    /// Fills `frames` from page `index` on; holes become zeros.
    fn fetch(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>>;

    /// Writes `frames` from page `index` on, giving them room first if they have none.
    fn store(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>>;

    /// Sets room aside for page `index`, which is about to become dirty: `Ok(None)` if that has to wait for [`prepare`](Self::prepare),
    /// `Ok(Some(n))` with the number of units taken (0 if the page has room already, as where all pages have their places for good, for which this and the next
    /// ones are unless a store says otherwise).
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `ENOMEM`.
    fn reserve(&self, index: u64) -> Result<Option<usize>, Errno> {
        let _ = index;
        Ok(Some(0))
    }

    /// Gives units back that pages held that never got there.
    fn unreserve(&self, units: usize) {
        let _ = units;
    }

    /// Waits for what `reserve` missed.
    ///
    /// # Errors
    /// `ENOSPC` if there is no room for page `index` and none is about to be freed; `EIO`.
    fn prepare(self: Arc<Self>, index: u64) -> BoxFuture<'static, Result<(), Errno>> {
        let _ = index;
        Box::pin(core::future::ready(Ok(())))
    }

    /// Whether all these bytes have places in which they can be written over; `None`: [`find_places`](Self::find_places) first.
    fn in_place(&self, offset: u64, len: usize) -> Option<bool> {
        let _ = (offset, len);
        Some(true)
    }

    /// Finds out where the pages are.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    fn find_places(self: Arc<Self>) -> BoxFuture<'static, Result<(), Errno>> {
        Box::pin(core::future::ready(Ok(())))
    }

    /// Moves the parts between memory and their places from byte `offset` on, a sector's; where there is none they become zeros. The places
    /// were found, and stay meanwhile.
    fn transfer(&self, direction: Direction, offset: u64, parts: Parts) -> Answer;

    /// Starts a transfer that outlives its caller.
    fn start(&self, job: BoxFuture<'static, ()>);

    /// The file has its first dirty page: the file system must flush it some time.
    fn dirtied(self: Arc<Self>);
}

/// `File::wait` of a file that lives in a cache, of whose events `always` hold.
pub(crate) fn wait<'a>(store: &'a Arc<dyn Store>, want: Want, always: u32) -> BoxFuture<'a, Result<(), Errno>> {
    match want {
        Want::Read { offset, len } => Box::pin(wait_read(store, offset, len)),
        Want::Write { offset, len } => Box::pin(wait_write(store, offset, len)),
        Want::Events(events) if events & always == 0 => Box::pin(core::future::pending()),
        Want::Events(_) => Box::pin(core::future::ready(Ok(()))),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageState {
    Filling,
    Clean,
    Dirty,
    /// Being written; the flag says that it was changed since that began.
    Writing {
        again: bool,
    },
    Failed(Errno),
}

struct Page {
    frame: Frame,
    state: PageState,
    /// Used since the clock hand passed.
    hot: bool,
    /// Units of room set aside for it.
    reserved: usize,
}

impl Page {
    fn readable(&self) -> bool {
        !matches!(self.state, PageState::Filling | PageState::Failed(_))
    }
}

struct State {
    pages: PageMap<Page>,
    size: u64,
    dirty: BTreeSet<u64>,
    /// Units of room set aside for all pages.
    reserved: usize,
    claimed: bool,
    /// Transfers that go past the cache: until they are over the file is not cut.
    direct: usize,
    /// Where a sequential reader comes next, and how far read-ahead reaches.
    next: u64,
    window: u64,
    hand: u64,
    error: Option<Errno>,
    /// Write-backs that failed so far: whoever waits for one hears of its failure, though another has taken the error.
    failures: u64,
    /// Requests of write-backs that were begun so far, and the numbers of those under way.
    begun: u64,
    under_way: BTreeSet<u64>,
}

/// The cached pages of one file, and its size.
pub struct Pages {
    state: SpinLock<State>,
    changed: WaitQueue,
    id: u64,
}

/// The right to change size and content, given up when dropped.
#[must_use]
pub struct Claim<'a>(&'a Pages);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.state.lock().claimed = false;
        self.0.changed.wake_all();
    }
}

impl Pages {
    /// No pages of a file of `size` bytes.
    pub fn new(size: u64) -> Pages {
        let mut pages = Pages { id: mem::new_object_id(), ..Pages::none() };
        pages.state.get_mut().size = size;
        pages
    }

    /// The pages of what has none.
    pub(crate) const fn none() -> Pages {
        let state = State {
            pages: PageMap::new(),
            size: 0,
            dirty: BTreeSet::new(),
            reserved: 0,
            claimed: false,
            direct: 0,
            next: 0,
            window: 0,
            hand: 0,
            error: None,
            failures: 0,
            begun: 0,
            under_way: BTreeSet::new(),
        };
        Pages { state: SpinLock::new(rank::CACHE, state), changed: WaitQueue::new(), id: 0 }
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// Pages in memory, and dirty ones among them.
    pub fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.pages.len(), state.dirty.len())
    }

    /// Units of room set aside for pages that have none of their own yet.
    pub fn reserved(&self) -> usize {
        self.state.lock().reserved
    }

    /// Pages from `first` on have got room: what was set aside for them is used up. Answers how much that was.
    pub fn housed(&self, first: u64, count: u64) -> usize {
        let mut state = self.state.lock();
        let state = &mut *state;
        let pages = state.pages.range_mut(first..first.saturating_add(count));
        let units = pages.map(|(_, page)| core::mem::take(&mut page.reserved)).sum();
        state.reserved -= units;
        units
    }

    /// Unique among all objects that can be mapped.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Claims the file for a change, if nobody has.
    pub fn claim_now(&self) -> Option<Claim<'_>> {
        let mut state = self.state.lock();
        if state.claimed {
            return None;
        }
        state.claimed = true;
        Some(Claim(self))
    }

    /// Claims the file for a change.
    pub async fn claim(&self) -> Claim<'_> {
        exec::sync::wait_until(&self.changed, || self.claim_now()).await
    }

    /// Extends the file with a hole. The claim is the caller's.
    pub fn extend(&self, _claim: &Claim<'_>, size: u64) {
        let mut state = self.state.lock();
        state.size = state.size.max(size);
    }

    /// Cuts the file to `size`: drops the pages behind, clears the rest of the last, and waits for transfers in flight.
    /// The last page, if `size` ends within it, must have been fetched before. Answers the units of room that the
    /// dropped pages held.
    pub async fn cut(&self, _claim: &Claim<'_>, size: u64) -> usize {
        let keep = size.div_ceil(PAGE_SIZE as u64);
        self.state.lock().size = size;
        let mut freed = 0;
        exec::sync::wait_until(&self.changed, || {
            let mut state = self.state.lock();
            let (units, busy) = state.drop_from(keep);
            freed += units;
            (!busy && state.direct == 0).then_some(())
        })
        .await;
        let tail = (size % PAGE_SIZE as u64) as usize;
        let mut state = self.state.lock();
        if tail > 0
            && let Some(page) = state.pages.get(keep - 1)
        {
            page.frame.fill(tail, PAGE_SIZE - tail, 0);
            state.mark(keep - 1);
        }
        freed
    }

    /// Marks a page dirty because it is, or was, mapped writable.
    pub fn mark_mapped(&self, index: u64) -> bool {
        let mut state = self.state.lock();
        let first = state.dirty.is_empty();
        state.mark(index) && first
    }

    /// The frame of a page that is in memory.
    fn frame(&self, index: u64) -> Option<Frame> {
        let mut state = self.state.lock();
        let page = state.pages.get_mut(index)?;
        page.hot = true;
        page.readable().then(|| page.frame.clone())
    }
}

impl State {
    /// Makes a page dirty; `false` if it is not there.
    fn mark(&mut self, index: u64) -> bool {
        let Some(page) = self.pages.get_mut(index) else { return false };
        match page.state {
            PageState::Clean | PageState::Dirty => {
                page.state = PageState::Dirty;
                self.dirty.insert(index);
            }
            PageState::Writing { .. } => page.state = PageState::Writing { again: true },
            PageState::Filling | PageState::Failed(_) => return false,
        }
        true
    }

    /// Drops the pages from `keep` on that are not being written; answers their units, and whether some remain.
    fn drop_from(&mut self, keep: u64) -> (usize, bool) {
        let tail = self.pages.split_off(keep);
        let (mut units, mut busy) = (0, false);
        for (index, page) in tail {
            if matches!(page.state, PageState::Writing { .. }) {
                busy = true;
                self.pages.insert(index, page);
            } else {
                units += page.reserved;
            }
        }
        let _ = self.dirty.split_off(&keep);
        self.reserved -= units;
        (units, busy)
    }
}
