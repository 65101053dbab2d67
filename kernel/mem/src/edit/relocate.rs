//! `mremap`: other sizes and other places.
//!
//! While pages move, their old and their new place are both busy, so that no thread can bring a page in
//! at either. The page tables of the new place are made and paid before the first page leaves: from then on a move
//! cannot fail.

use super::{Placement, round_up, user_range};
use crate::{
    backing::new_object_id,
    region::{Phase, Region, USER_START},
    space::{AddressSpace, State},
    window,
};
use abi::errno::Errno;
use core::ops::Range;
use hal::space::Unmapped;

/// How `mremap` may move a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remap {
    /// Not at all.
    InPlace,
    /// If it has to grow and cannot where it is.
    MayMove,
    /// To this address, in place of what is there.
    Fixed(usize),
}

impl AddressSpace {
    /// Changes the size of a mapping, and perhaps its place; answers the new address.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT` (not one whole mapping), `ENOMEM` (no room, a limit), `EPERM` (the window).
    pub async fn remap(&self, addr: usize, old_len: usize, new_len: usize, how: Remap) -> Result<usize, Errno> {
        let old = user_range(addr, old_len)?;
        let new_len = round_up(new_len).filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        if old.is_empty() {
            return Err(Errno::EINVAL);
        }
        window::spared(&old)?;
        if let Remap::Fixed(to) = how {
            let target = user_range(to, new_len)?;
            if target.start < USER_START || (target.start < old.end && old.start < target.end) {
                return Err(Errno::EINVAL);
            }
            window::spared(&target)?;
        }
        let _edit = self.edit().await;
        self.state.lock().admit_remap(&old, new_len)?;
        if new_len < old.len() {
            self.clear(old.start + new_len..old.end).await;
        }
        let kept = old.start..old.start + new_len.min(old.len());
        match how {
            Remap::Fixed(to) => self.relocate(kept, Placement::Fixed(to), new_len).await,
            _ if new_len <= old.len() || self.state.lock().extend(&old, new_len) => Ok(addr),
            Remap::InPlace => Err(Errno::ENOMEM),
            Remap::MayMove => self.relocate(kept, Placement::Anywhere, new_len).await,
        }
    }

    /// Moves one mapping (`old` lies in one region) and gives it `len` bytes.
    async fn relocate(&self, old: Range<usize>, place: Placement, len: usize) -> Result<usize, Errno> {
        let to = loop {
            if let Placement::Fixed(to) = place {
                self.vacate(to..to + len).await;
            }
            let begun = self.state.lock().begin_move(&old, &place, len)?;
            if let Some(to) = begun {
                break to;
            }
        };
        let offset = to.wrapping_sub(old.start);
        let mut prepared = Ok(());
        let prepare = |state: &mut State, page: usize| {
            prepared = prepared.and_then(|()| state.prepare(page.wrapping_add(offset)));
            false
        };
        self.step_pages(old.clone(), prepare).await;
        if prepared.is_err() {
            let gone = self.finish(|state| state.cancel_move(&old, to));
            drop(gone);
            return Err(Errno::ENOMEM);
        }
        self.step_pages(old.clone(), |state, page| state.move_page(page, page.wrapping_add(offset))).await;
        self.state.lock().settle_at(&(to..to + len));
        self.clear(old).await;
        Ok(to)
    }
}

impl State {
    /// Adds the region at its new place; both are busy from now on. `None`: something came into the place.
    fn begin_move(&mut self, old: &Range<usize>, place: &Placement, len: usize) -> Result<Option<usize>, Errno> {
        let to = self.choose(place, len)?;
        self.regions.split(old);
        let (_, source) = self.regions.find(old.start).ok_or(Errno::EFAULT)?;
        let region = Region { stamp: new_object_id(), phase: Phase::Busy, ..source.clone() };
        if !self.fill(to, len, &region) {
            return Ok(None);
        }
        self.mark(old, Phase::Busy);
        Ok(Some(to))
    }

    /// Undoes [`State::begin_move`], as long as no page has moved; answers what is to be dropped without locks.
    fn cancel_move(&mut self, old: &Range<usize>, to: usize) -> Option<Region> {
        self.settle_at(old);
        self.regions.remove(to)
    }

    /// The regions in `range` mean what they say again.
    fn settle_at(&mut self, range: &Range<usize>) {
        self.mark(range, Phase::Live);
        self.regions.rejoin(&(range.start.saturating_sub(1)..range.end + 1));
    }

    /// Moves a page to an empty place whose tables are there; harts have to flush then.
    fn move_page(&mut self, from: usize, to: usize) -> bool {
        let Some(rights) = self.pages.with(from, |_, prot| prot).filter(|_| self.pages.tables_missing(to) == 0) else {
            return false;
        };
        let Some(frame) = self.pages.unmap(from).and_then(Unmapped::frame) else { return false };
        if let Ok(Some(stray)) | Err(stray) = self.pages.map_there(to, frame, rights) {
            self.retire(alloc::vec![stray]); // cannot be: the place is busy; but no page is ever dropped before a flush
        }
        if self.copied.remove(&from) {
            self.copied.insert(to);
        }
        true
    }
}
