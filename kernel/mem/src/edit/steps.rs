//! The parts of edits that run under the address space's lock.

use super::{LOOK, Placement, STEP, round_up};
use crate::{
    backing::new_object_id,
    fault::entry_rights,
    region::{Content, Phase, Region, Role, USER_END, USER_START},
    space::{CHUNK, Heap, Hot, State},
    window,
};
use abi::errno::Errno;
use alloc::vec::Vec;
use core::ops::Range;
use hal::{
    PAGE_SIZE,
    frame::Frame,
    space::{Prot, Unmapped},
};

impl State {
    pub(super) fn choose(&mut self, placement: &Placement, len: usize) -> Result<usize, Errno> {
        let fits = |addr: usize| addr >= USER_START && addr.checked_add(len).is_some_and(|end| end <= USER_END);
        match *placement {
            Placement::Fixed(addr) | Placement::FixedNoReplace(addr) => {
                if !addr.is_multiple_of(PAGE_SIZE) {
                    return Err(Errno::EINVAL);
                }
                if !fits(addr) {
                    return Err(if addr < USER_START { Errno::EPERM } else { Errno::ENOMEM });
                }
                let keep = matches!(placement, Placement::FixedNoReplace(_));
                if keep && self.regions.occupied(&(addr..addr + len)) {
                    return Err(Errno::EEXIST);
                }
                window::spared(&(addr..addr + len)).map(|()| addr)
            }
            Placement::Hint(addr) => {
                let addr = addr & !(PAGE_SIZE - 1);
                let range = addr..addr.saturating_add(len);
                if fits(addr) && window::spared(&range).is_ok() && !self.regions.occupied(&range) {
                    return Ok(addr);
                }
                self.choose(&Placement::Anywhere, len)
            }
            Placement::Anywhere => self.regions.place(len, self.map_top).ok_or(Errno::ENOMEM),
        }
    }

    /// Checks the limits for a new region.
    fn admit_map(&mut self, range: &Range<usize>, role: Role) -> Result<(), Errno> {
        self.admit(range, 1)?;
        let total = self.regions.bytes().saturating_add(range.len());
        if total > self.limits.address_space && !matches!(role, Role::Stack) {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Finds the place of `region` (given as if it started at 0) and puts it there, if nothing has to go first:
    /// the place, and whether that was so.
    pub(super) fn begin_map(&mut self, placement: &Placement, region: &Region) -> Result<(usize, bool), Errno> {
        let start = self.choose(placement, region.end)?;
        self.admit_map(&(start..start + region.end), region.role)?;
        Ok((start, self.fill(start, region.end, region)))
    }

    /// Puts `region` at `start`, where nothing is or a busy place is held; `false` if anything else is there:
    /// a stack may have grown into the range since it was vacated.
    pub(super) fn fill(&mut self, start: usize, len: usize, region: &Region) -> bool {
        let end = start + len;
        let held = self.regions.at(start).filter(|held| held.phase == Phase::Busy).map_or(start, |held| held.end);
        if held > end || self.regions.occupied(&(held..end)) {
            return false;
        }
        if held > start {
            self.regions.remove(start); // holds no object: nothing but memory is dropped here
        }
        self.regions.insert(start, Region { end, ..region.clone() });
        self.hot = Hot::NONE;
        true
    }

    /// Puts all regions in `range` into `phase`; says whether there were any.
    pub(super) fn mark(&mut self, range: &Range<usize>, phase: Phase) -> bool {
        self.regions.split(range);
        self.hot = Hot::NONE;
        let any = self.regions.mark(range, phase);
        self.unfinished |= any && phase != Phase::Live;
        any
    }

    pub(super) fn set_rights(&mut self, range: &Range<usize>, prot: Prot) {
        self.regions.split(range);
        self.hot = Hot::NONE;
        self.regions.set_rights(range, prot);
    }

    /// Gives a page the rights of its region now; the right to write is only ever given by a fault. Says whether
    /// harts have to flush: rights were taken, or the right to execute given. A device's page goes: the next fault knows whether it may be there.
    pub(super) fn adjust(&mut self, page: usize, prot: Prot) -> bool {
        if self.pages.is_device(page) {
            return self.pages.unmap(page).is_some();
        }
        let had = self.pages.with(page, |_, prot| prot).unwrap_or(Prot::empty());
        let write = Prot::WRITE & had;
        let now = entry_rights(prot.difference(Prot::WRITE) | (prot & write));
        if !now.contains(Prot::WRITE) {
            self.note_written(page);
        }
        self.pages.protect(page, now);
        !now.contains(had) || now.difference(had).contains(Prot::EXEC)
    }

    /// What range changes hands for `brk(to)`; `None` if it cannot be. Growth happens here.
    pub(super) fn plan_brk(&mut self, to: usize) -> Option<Range<usize>> {
        let Heap { start, end } = self.heap_pages();
        let new_end = round_up(to)?;
        if to < self.heap.start || new_end > self.map_top || to - self.heap.start > self.limits.data {
            return None;
        }
        if new_end <= end {
            return Some(new_end..end);
        }
        let grown = end.max(start)..new_end;
        let room = grown.start..grown.end + PAGE_SIZE;
        self.admit_map(&grown, Role::Heap).ok()?;
        if self.regions.occupied(&room) {
            return None;
        }
        let prot = Prot::READ | Prot::WRITE;
        let (content, role, stamp) = (Content::Zero, Role::Heap, new_object_id());
        let region =
            Region { end: grown.end, prot, max: Prot::all(), shared: false, content, role, stamp, phase: Phase::Live };
        self.regions.insert(grown.start, region);
        self.hot = Hot::NONE;
        Some(grown)
    }

    fn heap_pages(&self) -> Heap {
        let up = |addr: usize| round_up(addr).unwrap_or(addr);
        Heap { start: up(self.heap.start), end: up(self.heap.end) }
    }

    /// Checks that `old` is one whole piece of one mapping and that `new_len` is within the limits.
    pub(super) fn admit_remap(&mut self, old: &Range<usize>, new_len: usize) -> Result<(), Errno> {
        let (_, region) = self.regions.find(old.start).ok_or(Errno::EFAULT)?;
        // What can be taken back stays where its owner knows it to be.
        if region.end < old.end || region.backing().is_some_and(|backing| backing.lends()) {
            return Err(Errno::EFAULT);
        }
        if new_len > USER_END - USER_START {
            return Err(Errno::ENOMEM);
        }
        let growth = new_len.saturating_sub(old.len());
        if self.regions.bytes().saturating_add(growth) > self.limits.address_space {
            return Err(Errno::ENOMEM);
        }
        self.admit(old, 4) // the new one, and the cuts of its range
    }

    /// Grows a mapping where it is, if `old` is its end and there is room behind.
    pub(super) fn extend(&mut self, old: &Range<usize>, new_len: usize) -> bool {
        let Some((start, region)) = self.regions.find(old.start) else { return false };
        let end = old.start + new_len;
        if region.end != old.end
            || end > abi::window::START
            || self.regions.occupied(&(old.end..end))
            || self.regions.ceiling(end) < end
        {
            return false;
        }
        self.regions.grow_up(start, end);
        self.hot = Hot::NONE;
        true
    }

    /// The first region in `range` that is not live.
    pub(super) fn next_leaving(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let mut from = range.start;
        loop {
            let (start, region) = self.regions.first_in(&(from..range.end))?;
            if region.phase != Phase::Live {
                return Some(start..region.end);
            }
            from = region.end;
            if from >= range.end {
                return None;
            }
        }
    }

    /// Takes up to [`STEP`] pages of `whole` out, beginning at `from`; answers where to go on, and the pages that no
    /// hart can see any more.
    pub(super) fn take_pages(&mut self, whole: &Range<usize>, mut from: usize) -> (usize, Vec<Frame>) {
        let mut frames = Vec::with_capacity(STEP.min(whole.len() / PAGE_SIZE));
        let (mut budget, mut chunk) = (LOOK, from / CHUNK);
        let mut devices = false;
        while frames.len() < STEP {
            let page = match self.pages.scan(from..whole.end, &mut budget) {
                Ok(page) => page,
                Err(next) => {
                    from = next;
                    break;
                }
            };
            if page / CHUNK != chunk {
                self.take_table(whole, chunk, &mut frames);
                chunk = page / CHUNK;
            }
            from = page + PAGE_SIZE;
            let kind = self.regions.find(page).map(|(_, region)| (region.shared, region.zero()));
            if let Some((true, _)) = kind {
                self.note_written(page);
            }
            match self.pages.unmap(page) {
                Some(Unmapped::Frame(frame)) => frames.push(frame),
                gone => {
                    devices |= gone.is_some();
                    continue;
                }
            }
            self.most_resident = self.most_resident.max(self.resident);
            self.resident -= 1;
            match kind {
                Some((false, true)) => self.refund(),
                Some((false, false)) if self.copied.remove(&page) => self.refund_copy(),
                _ => {}
            }
        }
        if from / CHUNK != chunk {
            self.take_table(whole, chunk, &mut frames);
        }
        let free = if frames.is_empty() && !devices { frames } else { self.retire_or_free(frames) };
        (from, free)
    }

    /// Takes the page table of a chunk out, if the chunk is wholly in `range` and empty.
    fn take_table(&mut self, range: &Range<usize>, chunk: usize, frames: &mut Vec<Frame>) {
        if chunk * CHUNK < range.start || (chunk + 1) * CHUNK > range.end {
            return;
        }
        if let Some(table) = self.pages.take_empty_table(chunk * CHUNK) {
            frames.push(table);
            self.refund_table();
        }
    }
}
