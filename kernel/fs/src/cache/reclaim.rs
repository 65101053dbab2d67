//! Giving memory back: a clock over the clean pages of all files.
//!
//! Every file with a store registers its pages once. The hand goes from file to file and page to page; a page that was
//! used since the last visit gets another round, one that is mapped or dirty stays.

use super::{PageState, Pages, Store};
use alloc::{
    boxed::Box,
    collections::VecDeque,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicBool, Ordering};
use hal::sync::{SpinLock, rank};

/// Pages that one visit to a file looks at.
const VISIT: usize = 256;

static FILES: SpinLock<VecDeque<Weak<dyn Store>>> = SpinLock::new(rank::CACHE - 1, VecDeque::new());

/// Makes the pages of `store` known to the clock; once per file.
pub fn register(store: &Arc<dyn Store>) {
    let mut files = FILES.lock();
    // Files that are gone are dropped as new ones come, so the list is no longer than it must be.
    for _ in 0..files.len().min(2) {
        if let Some(file) = files.pop_front()
            && file.strong_count() > 0
        {
            files.push_back(file);
        }
    }
    files.push_back(Arc::downgrade(store));
}

/// Whether the cache is to grow no more.
pub(super) fn pressed() -> bool {
    hal::frame::is_scarce()
}

/// Evicts up to `target` clean pages; `true` if any.
pub fn shrink(target: usize) -> bool {
    let mut freed = 0;
    // Twice round: the first visit takes the mark of use away, the second the page.
    let files = FILES.lock().len();
    for _ in 0..2 * files {
        let Some(file) = FILES.lock().pop_front() else { break };
        let Some(store) = file.upgrade() else { continue };
        FILES.lock().push_back(file);
        freed += store.pages().evict(target - freed);
        if freed >= target {
            break;
        }
    }
    freed > 0
}

/// Pages that the files of all file systems on media have in memory.
pub fn cached_pages() -> usize {
    let files: alloc::vec::Vec<_> = FILES.lock().iter().filter_map(Weak::upgrade).collect();
    files.iter().map(|store| store.pages().count().0).sum()
}

/// Tells `mem` that the cache can give pages back; calling it again does nothing.
pub fn offer() {
    static OFFERED: AtomicBool = AtomicBool::new(false);
    // Relaxed: the exchange alone decides who is first.
    if !OFFERED.swap(true, Ordering::Relaxed) {
        mem::reclaim::register(|| Box::pin(core::future::ready(shrink(128))));
    }
}

impl Pages {
    /// One visit of the clock hand; answers how many pages went.
    fn evict(&self, target: usize) -> usize {
        let mut freed = alloc::vec::Vec::new();
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut victims = alloc::vec::Vec::new();
        let mut last = None;
        for (index, page) in state.pages.range_mut(state.hand..u64::MAX).take(VISIT) {
            last = Some(index);
            let idle = page.state == PageState::Clean && page.frame.shares() <= 1 && !page.frame.pinned();
            if idle && !core::mem::take(&mut page.hot) {
                victims.push(index);
                if victims.len() == target {
                    break;
                }
            }
        }
        state.hand = last.map_or(0, |last| last + 1);
        for index in victims {
            freed.extend(state.pages.remove(index));
        }
        freed.len()
    }
}
