//! Copies of an address space for `fork`: copy-on-write from the start (D15).
//!
//! Private pages become read-only on both sides and shared by count; whoever writes first gets a copy, and
//! whoever is left alone with a page just gets its right back. Pages that a device is using are copied at
//! once, so that the parent keeps the page that the device knows. Pages of files and shared objects that
//! nobody wrote privately are not copied: the child faults them in.

use crate::room::Room;
use crate::{
    account::Account,
    edit::{LOOK, STEP},
    fault::entry_rights,
    region::{Phase, Role},
    space::{AddressSpace, Hot, State, breathe},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::Range;
use hal::{PAGE_SIZE, frame::Frame, space::Prot};

impl AddressSpace {
    /// A copy of this space, paid by `account`.
    ///
    /// # Errors
    /// `ENOMEM`; this space is as before then (some pages may take a fault more).
    pub async fn fork(&self, account: Arc<Account>) -> Result<Arc<Self>, Errno> {
        let mut child = Box::new(State::new(self.world(), account)?);
        let _edit = self.edit().await;
        let spans = self.state.lock().copy_regions(&mut child)?;
        let mut copied = Ok(());
        for (range, zero) in spans {
            let mut from = range.start;
            while from < range.end && copied.is_ok() {
                match self.state.lock().share_pages(&mut child, from..range.end, zero) {
                    Ok(next) => from = next,
                    Err(errno) => copied = Err(errno),
                }
                breathe().await;
            }
        }
        self.settle().await;
        copied?;
        Ok(Self::wrap(self.world(), *child))
    }
}

impl State {
    /// Gives the child the same regions; answers the private ranges, and whether they hold zero pages.
    fn copy_regions(&mut self, child: &mut State) -> Result<Vec<(Range<usize>, bool)>, Errno> {
        child.heap = self.heap;
        child.limits = self.limits;
        child.map_top = self.map_top;
        child.pay_regions(self.regions.count())?;
        // All at once: cheaper than one by one.
        child.regions = self.regions.clone();
        let mut spans = Vec::new();
        spans.make_room(self.regions.count())?;
        for (start, region) in self.regions.iter() {
            if region.phase != Phase::Live {
                child.regions.remove(start);
                continue;
            }
            // What the window says is about this space: the copy begins with pages of its own.
            if !region.shared && region.role != Role::Window {
                spans.push((start..region.end, region.zero()));
            }
        }
        self.hot = Hot::NONE;
        Ok(spans)
    }

    /// Shares up to [`STEP`] pages of a range with the child; answers where to go on.
    ///
    /// The flush of stale writable translations begins under the same lock as the edit: whoever copies
    /// such a page afterwards knows that it has to wait first ([`State::writes_linger`]).
    fn share_pages(&mut self, child: &mut State, range: Range<usize>, zero: bool) -> Result<usize, Errno> {
        let mut protected = false;
        let next = self.share_step(child, range, zero, &mut protected);
        if protected {
            self.retire_rights();
        }
        next
    }

    fn share_step(
        &mut self,
        child: &mut State,
        range: Range<usize>,
        zero: bool,
        protected: &mut bool,
    ) -> Result<usize, Errno> {
        let (mut from, mut budget) = (range.start, LOOK);
        for _ in 0..STEP {
            let next = if zero {
                self.pages.scan(from..range.end, &mut budget)
            } else {
                self.copied.range(from..range.end).next().copied().ok_or(range.end)
            };
            let page = match next {
                Ok(page) => page,
                Err(next) => return Ok(next),
            };
            *protected |= self.share_page(child, page, zero)?;
            from = page + PAGE_SIZE;
        }
        Ok(from)
    }

    /// Shares one page; says whether this space lost the right to write it. On an error it has not.
    fn share_page(&mut self, child: &mut State, page: usize, zero: bool) -> Result<bool, Errno> {
        let Some((frame, rights)) = self.pages.get(page) else { return Ok(false) };
        if !(if zero { child.pay() } else { child.pay_copy() }) {
            return Err(Errno::ENOMEM);
        }
        let read_only = rights.difference(Prot::WRITE);
        let pinned = frame.pinned();
        let theirs = if pinned { Frame::copy_of(&frame).ok_or(Errno::ENOMEM) } else { Ok(frame) };
        let mapped =
            theirs.and_then(|frame| child.map_page(page, frame, entry_rights(read_only)).map_err(|_| Errno::ENOMEM));
        if mapped.is_err() {
            if zero {
                child.refund()
            } else {
                child.refund_copy()
            }
            return Err(Errno::ENOMEM);
        }
        let protects = !pinned && rights.contains(Prot::WRITE);
        if protects {
            self.pages.protect(page, entry_rights(read_only));
        }
        child.resident += 1;
        if !zero {
            child.copied.insert(page);
        }
        Ok(protects)
    }
}
