//! Changing what addresses mean: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `brk`.
//!
//! Each edit holds the space's asynchronous `editing` lock, checks its whole range first, and then changes regions and
//! pages in bounded steps. Unmapping marks the regions as dying (faults there fail, the addresses stay taken),
//! takes their pages away some hundred at a time, and removes each region when it is empty. A caller that is
//! cancelled in between leaves dying regions behind; the next edit finishes them.

mod steps;

use crate::{
    backing::{Backing, SharedMemory, new_object_id},
    fault::entry_rights,
    region::{Content, Region, Role, USER_END, USER_START},
    space::{AddressSpace, Heap, Hot, State, breathe},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use hal::{PAGE_SIZE, space::Prot, sync::RawIrqLock, user::Access};
use steps::Taken;

/// Pages that one step handles under the lock.
pub(crate) const STEP: usize = 256;
/// Page-table entries that one step looks at under the lock.
pub(crate) const LOOK: usize = 4096;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Wherever there is room.
    Anywhere,
    /// At this address if there is room (rounded down to a page), else anywhere.
    Hint(usize),
    /// Exactly here, in place of what is there (`MAP_FIXED`).
    Fixed(usize),
    /// Exactly here, or `EEXIST` (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(usize),
}

/// What to map.
#[derive(Clone)]
pub struct Mapping {
    /// Where.
    pub placement: Placement,
    /// Bytes; rounded up to pages.
    pub len: usize,
    /// Rights now.
    pub prot: Prot,
    /// The most that `mprotect` may give later: without `WRITE` for a shared mapping of a file opened read-only.
    pub max: Prot,
    /// Writes reach the object, and other processes that map it.
    pub shared: bool,
    /// The object and the byte offset in it (a multiple of the page size); `None`: zeros.
    pub backing: Option<(Arc<dyn Backing>, u64)>,
    /// What for.
    pub role: Role,
}

impl Mapping {
    /// Private zero pages, anywhere.
    #[must_use]
    pub fn anonymous(len: usize, prot: Prot) -> Self {
        Self { placement: Placement::Anywhere, len, prot, max: Prot::all(), shared: false, backing: None, role: Role::Plain }
    }

    /// A private mapping of an object, anywhere.
    #[must_use]
    pub fn private(backing: Arc<dyn Backing>, offset: u64, len: usize, prot: Prot) -> Self {
        Self { backing: Some((backing, offset)), ..Self::anonymous(len, prot) }
    }

    /// The same, placed.
    #[must_use]
    pub fn at(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }
}

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

/// What `madvise` can ask for here; all other advice is none of the kernel's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The contents are not needed any more.
    DontNeed,
    /// Fault all pages in, for reading or writing.
    Populate(Access),
    /// Valid advice without effect.
    Ignore,
}

fn round_up(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(PAGE_SIZE)
}

/// A page-aligned user range, from a page-aligned address.
fn user_range(addr: usize, len: usize) -> Result<Range<usize>, Errno> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let len = round_up(len).ok_or(Errno::EINVAL)?;
    match addr.checked_add(len) {
        Some(end) if end <= USER_END => Ok(addr..end),
        _ => Err(Errno::EINVAL),
    }
}

impl AddressSpace {
    /// Maps, and answers the address.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (no room, a limit, too many regions), `EEXIST`, `EPERM` (below the lowest address).
    pub async fn map(&self, mapping: Mapping) -> Result<usize, Errno> {
        let region = self.region_of(&mapping)?;
        let len = region.end;
        let _edit = self.edit().await;
        let placed = self.state.lock().choose(&mapping.placement, len)?;
        let range = placed..placed + len;
        let replaces = self.state.lock().admit_map(&range, region.role)?;
        if replaces {
            self.clear(range.clone()).await;
        }
        let mut state = self.state.lock();
        state.regions.insert(range.start, Region { end: range.end, ..region });
        state.hot = Hot::default();
        Ok(range.start)
    }

    /// The region that `mapping` describes, as if it started at 0.
    fn region_of(&self, mapping: &Mapping) -> Result<Region, Errno> {
        if mapping.len == 0 || !mapping.max.contains(mapping.prot) {
            return Err(if mapping.len == 0 { Errno::EINVAL } else { Errno::EACCES });
        }
        let len = round_up(mapping.len).filter(|&len| len <= USER_END - USER_START).ok_or(Errno::ENOMEM)?;
        let pages = (len / PAGE_SIZE) as u64;
        let content = match &mapping.backing {
            None if mapping.shared => {
                Content::Pages { backing: SharedMemory::new(pages, self.account().clone()), first: 0 }
            }
            None => Content::Zero,
            Some((backing, offset)) => {
                let first = offset / PAGE_SIZE as u64;
                if !offset.is_multiple_of(PAGE_SIZE as u64) {
                    return Err(Errno::EINVAL);
                }
                first.checked_add(pages).filter(|end| end.checked_mul(PAGE_SIZE as u64).is_some()).ok_or(Errno::EOVERFLOW)?;
                Content::Pages { backing: backing.clone(), first }
            }
        };
        let (prot, max, shared, role) = (entry_rights(mapping.prot), mapping.max, mapping.shared, mapping.role);
        Ok(Region { end: len, prot, max, shared, content, role, stamp: new_object_id(), dying: false })
    }

    /// Unmaps whatever is in the range.
    ///
    /// # Errors
    /// `EINVAL` (alignment, length 0, not in user space), `ENOMEM` (a split would make too many regions).
    pub async fn unmap(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let range = user_range(addr, len)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        let _edit = self.edit().await;
        self.state.lock().regions.admit(&range, 0)?;
        self.clear(range).await;
        Ok(())
    }

    /// Changes the rights of a range that is wholly mapped.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole, too many regions), `EACCES` (the object does not allow it).
    pub async fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<(), Errno> {
        let prot = entry_rights(prot);
        let range = user_range(addr, len).map_err(|errno| if addr.is_multiple_of(PAGE_SIZE) { Errno::ENOMEM } else { errno })?;
        let _edit = self.edit().await;
        {
            let mut state = self.state.lock();
            state.regions.admit(&range, 0)?;
            state.regions.check_all(&range, |region| {
                if region.max.contains(prot) { Ok(()) } else { Err(Errno::EACCES) }
            })?;
            state.set_rights(&range, prot);
        }
        self.step_pages(range, |state, page| state.adjust(page, prot)).await;
        Ok(())
    }

    /// Calls `each` for every page that is there, in bounded steps, and then waits for the TLBs.
    async fn step_pages(&self, range: Range<usize>, mut each: impl FnMut(&mut State, usize)) {
        let mut from = range.start;
        while from < range.end {
            {
                let mut state = self.state.lock();
                let mut budget = LOOK;
                for _ in 0..STEP {
                    match state.pages.scan(from..range.end, &mut budget) {
                        Ok(page) => {
                            each(&mut state, page);
                            from = page + PAGE_SIZE;
                        }
                        Err(next) => {
                            from = next;
                            break;
                        }
                    }
                }
            }
            breathe().await;
        }
        self.state.lock().retire(Vec::new());
        self.settle().await;
    }

    /// Serves `madvise`.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole); `EFAULT`, `ENOMEM` while populating.
    pub async fn advise(&self, addr: usize, len: usize, advice: Advice) -> Result<(), Errno> {
        let range = user_range(addr, len)?;
        match advice {
            Advice::Ignore => self.state.lock().regions.check_all(&range, |_| Ok(())),
            Advice::DontNeed => {
                let _edit = self.edit().await;
                self.state.lock().regions.check_all(&range, |_| Ok(()))?;
                self.drop_pages(range).await;
                Ok(())
            }
            Advice::Populate(access) => {
                self.state.lock().regions.check_all(&range, |_| Ok(()))?;
                for page in range.step_by(PAGE_SIZE) {
                    self.fault(page, access).await?;
                    breathe().await;
                }
                Ok(())
            }
        }
    }

    /// Moves the end of the heap; answers the new end, or the old one if that is not possible (as Linux does).
    pub async fn brk(&self, to: usize) -> usize {
        let _edit = self.edit().await;
        let (old, range) = {
            let mut state = self.state.lock();
            match state.plan_brk(to) {
                Some(range) => (state.heap.end, range),
                None => return state.heap.end,
            }
        };
        if to < old && !range.is_empty() {
            self.clear(range).await;
        }
        self.state.lock().heap.end = to;
        to
    }

    /// Sets where the heap starts and what `mmap` may use; for the loader.
    pub fn set_layout(&self, heap: usize, map_top: usize) {
        let mut state = self.state.lock();
        state.heap = Heap { start: heap, end: heap };
        state.map_top = map_top.min(USER_END);
    }

    /// Changes the size of a mapping, and perhaps its place; answers the new address.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT` (not one whole mapping), `ENOMEM` (no room, a limit).
    pub async fn remap(&self, addr: usize, old_len: usize, new_len: usize, how: Remap) -> Result<usize, Errno> {
        let old = user_range(addr, old_len)?;
        let new_len = round_up(new_len).filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        if old.is_empty() {
            return Err(Errno::EINVAL);
        }
        let _edit = self.edit().await;
        if let Remap::Fixed(to) = how {
            let target = user_range(to, new_len)?;
            if target.start < USER_START || (target.start < old.end && old.start < target.end) {
                return Err(Errno::EINVAL);
            }
        }
        self.state.lock().admit_remap(&old, new_len)?;
        if new_len < old.len() {
            self.clear(old.start + new_len..old.end).await;
        }
        let kept = old.start..old.start + new_len.min(old.len());
        match how {
            Remap::Fixed(to) => {
                self.clear(to..to + new_len).await;
                self.relocate(kept, to, new_len).await;
                Ok(to)
            }
            _ if new_len <= old.len() || self.state.lock().extend(&old, new_len) => Ok(addr),
            Remap::InPlace => Err(Errno::ENOMEM),
            Remap::MayMove => {
                let to = self.state.lock().choose(&Placement::Anywhere, new_len)?;
                self.relocate(kept, to, new_len).await;
                Ok(to)
            }
        }
    }

    /// Moves one mapping (`old` lies in one region) to `to` and gives it `len` bytes.
    async fn relocate(&self, old: Range<usize>, to: usize, len: usize) {
        let moved = self.state.lock().begin_move(&old, to, len);
        if !moved {
            return;
        }
        let offset = to.wrapping_sub(old.start);
        self.step_pages(old.clone(), |state, page| state.move_page(page, page.wrapping_add(offset))).await;
        self.clear(old).await;
    }

    /// Takes the `editing` lock, and finishes what a cancelled edit left.
    pub(crate) async fn edit(&self) -> maitake_sync::MutexGuard<'_, (), RawIrqLock> {
        let guard = self.editing.lock().await;
        if self.state.lock().dying {
            self.sweep(USER_START..USER_END).await;
            self.state.lock().dying = false;
        }
        guard
    }

    /// Unmaps a range. Needs `editing`, and admission of the splits.
    async fn clear(&self, range: Range<usize>) {
        {
            let mut state = self.state.lock();
            state.regions.split(&range);
            state.hot = Hot::default();
            if !state.regions.kill(&range) {
                return;
            }
            state.dying = true;
        }
        self.sweep(range).await;
        self.state.lock().dying = false;
    }

    /// Empties and removes the dying regions in `range`.
    async fn sweep(&self, range: Range<usize>) {
        let mut from = range.start;
        loop {
            let next = self.state.lock().next_dying(&(from..range.end));
            let Some(region) = next else { return };
            self.drop_pages(region.clone()).await;
            self.state.lock().regions.remove(region.start);
            from = region.end;
        }
    }

    /// Takes away all pages of a range whose regions stay.
    async fn drop_pages(&self, range: Range<usize>) {
        let mut from = range.start;
        while from < range.end {
            let mut step = Taken::default();
            from = self.state.lock().take_pages(&range, from, &mut step);
            for (backing, index) in step.dirty {
                backing.mark_dirty(index);
            }
            drop(step.free); // frees frames: not under the lock
            self.settle().await;
            breathe().await;
        }
    }
}
