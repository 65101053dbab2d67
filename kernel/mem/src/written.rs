//! Telling objects that their pages were written through shared mappings.
//!
//! A page is marked dirty when a fault makes it writable. Its owner may write it back and call it clean while
//! it is still writable here, so it is marked again whenever that right ends: when it is unmapped, when
//! `mprotect` takes the right, when `msync` asks, and when the space goes. Such pages collect in the state under
//! the lock and are marked without it, before the flush (a cancelled caller has marked them) and after it (a hart may
//! have stored until then).

use crate::{
    backing::Backing,
    edit::{LOOK, STEP},
    fault::entry_rights,
    space::{AddressSpace, State},
};
use alloc::{sync::Arc, vec::Vec};
use hal::space::Prot;

/// Pages of objects, by index.
pub(crate) type Written = Vec<(Arc<dyn Backing>, u64)>;

fn mark(written: &Written) {
    for (backing, index) in written {
        backing.mark_dirty(*index);
    }
}

impl AddressSpace {
    /// Marks what the last step under the lock has collected; waits for the harts that may still store there.
    pub(crate) async fn mark_written(&self) {
        let written = core::mem::take(&mut self.state.lock().written);
        if !written.is_empty() {
            mark(&written);
            self.settle().await;
            mark(&written);
        }
    }
}

impl State {
    /// Notes the page if it is writable and shared with an object.
    pub(crate) fn note_written(&mut self, page: usize) {
        if self.pages.with(page, |_, prot| prot.contains(Prot::WRITE)) == Some(true)
            && let Some((start, region)) = self.regions.find(page)
            && region.shared
            && let Some((backing, index)) = region.page_of(start, page)
        {
            self.written.push((backing.clone(), index));
        }
    }

    /// Makes a shared page read-only until the next store, noting that it was writable. Harts have to flush then.
    pub(crate) fn clean(&mut self, page: usize) -> bool {
        let before = self.written.len();
        self.note_written(page);
        let noted = self.written.len() > before;
        if noted && let Some(rights) = self.pages.with(page, |_, prot| prot) {
            self.pages.protect(page, entry_rights(rights.difference(Prot::WRITE)));
        }
        noted
    }

    /// Notes some of the pages that are writable and shared, from `from` on; answers where to go on.
    fn note_some(&mut self, from: usize) -> Option<usize> {
        let shared = self.regions.iter_from(from).find(|(_, region)| region.shared);
        let (start, end) = shared.map(|(start, region)| (start, region.end))?;
        let (mut from, mut budget) = (from.max(start), LOOK);
        for _ in 0..STEP {
            match self.pages.scan(from..end, &mut budget) {
                Ok(page) => {
                    self.note_written(page);
                    from = page + hal::PAGE_SIZE;
                }
                Err(next) => return Some(next.min(end)),
            }
        }
        Some(from)
    }
}

impl Drop for AddressSpace {
    /// No thread is left and no lock is held: the objects hear of the last stores, and who lends here keeps nothing of the space.
    fn drop(&mut self) {
        if let Some(borrower) = self.state.lock().borrower.take() {
            borrower.leave();
        }
        let mut from = Some(0);
        while let Some(at) = from {
            let written = {
                let mut state = self.state.lock();
                from = state.note_some(at);
                core::mem::take(&mut state.written)
            };
            mark(&written);
        }
    }
}
