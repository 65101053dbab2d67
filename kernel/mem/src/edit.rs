//! Changing what addresses mean: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `brk`.
//!
//! Each edit holds the space's asynchronous `editing` lock, checks its whole range first, and then changes regions and
//! pages in bounded steps. Unmapping marks the regions as dying (faults there fail, the addresses stay taken),
//! takes their pages away some hundred at a time, and removes each region when it is empty. A caller that is
//! cancelled in between leaves dying regions behind; the next edit finishes them.

use crate::{
    backing::{Backing, SharedMemory, new_object_id},
    fault::entry_rights,
    region::{Content, Region, Role, USER_END, USER_START},
    space::{AddressSpace, Heap, Hot, State},
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use hal::{PAGE_SIZE, frame::Frame, space::Prot, sync::RawIrqLock, user::Access};

/// Pages that one step handles under the lock.
pub(crate) const STEP: usize = 256;

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
            let mut state = self.state.lock();
            for _ in 0..STEP {
                let Some(page) = state.next_mapped(from..range.end) else {
                    from = range.end;
                    break;
                };
                each(&mut state, page);
                from = page + PAGE_SIZE;
            }
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
            from = self.state.lock().take_pages(from..range.end, &mut step);
            for (backing, index) in step.dirty {
                backing.mark_dirty(index);
            }
            drop(step.free); // frees frames: not under the lock
            self.settle().await;
        }
    }
}

/// What one step of unmapping took out of the page tables.
#[derive(Default)]
struct Taken {
    /// Pages that no hart can see any more.
    free: Vec<Frame>,
    /// Shared pages that were writable until now.
    dirty: Vec<(Arc<dyn Backing>, u64)>,
}

impl State {
    fn choose(&mut self, placement: &Placement, len: usize) -> Result<usize, Errno> {
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
                if keep && self.regions.occupied(&(addr..addr + len)) { Err(Errno::EEXIST) } else { Ok(addr) }
            }
            Placement::Hint(addr) => {
                let addr = addr & !(PAGE_SIZE - 1);
                if fits(addr) && !self.regions.occupied(&(addr..addr + len)) {
                    return Ok(addr);
                }
                self.choose(&Placement::Anywhere, len)
            }
            Placement::Anywhere => self.regions.place(len, self.map_top).ok_or(Errno::ENOMEM),
        }
    }

    /// Checks the limits for a new region; says whether something has to go first.
    fn admit_map(&self, range: &Range<usize>, role: Role) -> Result<bool, Errno> {
        self.regions.admit(range, 1)?;
        let total = self.regions.bytes().saturating_add(range.len());
        if total > self.limits.address_space && !matches!(role, Role::Stack) {
            return Err(Errno::ENOMEM);
        }
        Ok(self.regions.occupied(range))
    }

    fn set_rights(&mut self, range: &Range<usize>, prot: Prot) {
        self.regions.split(range);
        self.hot = Hot::default();
        for start in self.regions.starts(range) {
            if let Some(region) = self.regions.at(start) {
                region.prot = prot;
                region.stamp = new_object_id();
            }
        }
        let edges = range.start.saturating_sub(1)..range.end + 1;
        self.regions.rejoin(&edges);
    }

    /// Gives a page the rights of its region now; the right to write is only ever given by a fault.
    fn adjust(&mut self, page: usize, prot: Prot) {
        let had = self.pages.with(page, |_, prot| prot).unwrap_or(Prot::empty());
        let write = Prot::WRITE & had;
        let now = prot.difference(Prot::WRITE) | (prot & write);
        self.pages.protect(page, entry_rights(now));
    }

    /// What range changes hands for `brk(to)`; `None` if it cannot be. Growth happens here.
    fn plan_brk(&mut self, to: usize) -> Option<Range<usize>> {
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
        let region = Region { end: grown.end, prot, max: Prot::all(), shared: false, content, role, stamp, dying: false };
        self.regions.insert(grown.start, region);
        self.hot = Hot::default();
        Some(grown)
    }

    fn heap_pages(&self) -> Heap {
        let up = |addr: usize| round_up(addr).unwrap_or(addr);
        Heap { start: up(self.heap.start), end: up(self.heap.end) }
    }

    /// Checks that `old` is one whole piece of one mapping and that `new_len` is within the limits.
    fn admit_remap(&self, old: &Range<usize>, new_len: usize) -> Result<(), Errno> {
        let (_, region) = self.regions.find(old.start).ok_or(Errno::EFAULT)?;
        if region.end < old.end {
            return Err(Errno::EFAULT);
        }
        if new_len > USER_END - USER_START {
            return Err(Errno::ENOMEM);
        }
        let growth = new_len.saturating_sub(old.len());
        if self.regions.bytes().saturating_add(growth) > self.limits.address_space {
            return Err(Errno::ENOMEM);
        }
        self.regions.admit(old, 2)
    }

    /// Grows a mapping where it is, if `old` is its end and there is room behind.
    fn extend(&mut self, old: &Range<usize>, new_len: usize) -> bool {
        let Some((start, region)) = self.regions.find(old.start) else { return false };
        let end = old.start + new_len;
        if region.end != old.end || end > USER_END || self.regions.occupied(&(old.end..end)) {
            return false;
        }
        self.regions.grow_up(start, end);
        self.hot = Hot::default();
        true
    }

    /// Adds the region at its new place; pages follow.
    fn begin_move(&mut self, old: &Range<usize>, to: usize, len: usize) -> bool {
        self.regions.split(old);
        self.hot = Hot::default();
        let Some(source) = self.regions.at(old.start) else { return false };
        source.stamp = new_object_id();
        let region = Region { end: to + len, stamp: new_object_id(), ..source.clone() };
        self.regions.insert(to, region);
        true
    }

    fn move_page(&mut self, from: usize, to: usize) {
        let Some(rights) = self.pages.with(from, |_, prot| prot) else { return };
        let Some(frame) = self.pages.unmap(from) else { return };
        let copied = self.copied.remove(&from);
        match self.map_page(to, frame, rights) {
            Ok(None) => {
                if copied {
                    self.copied.insert(to);
                }
            }
            // A thread touched the new place before the page came: what came replaces it, and is paid already.
            Ok(Some(early)) => {
                self.resident -= 1;
                self.retire(alloc::vec![early]);
            }
            // No page table: the page is lost to its owner, as under any other out-of-memory.
            Err(_) => self.resident -= 1,
        }
    }

    fn next_dying(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let mut from = range.start;
        loop {
            let (start, region) = self.regions.first_in(&(from..range.end))?;
            if region.dying {
                return Some(start..region.end);
            }
            from = region.end;
            if from >= range.end {
                return None;
            }
        }
    }

    /// Takes up to [`STEP`] pages out; answers where to go on.
    fn take_pages(&mut self, range: Range<usize>, taken: &mut Taken) -> usize {
        let mut frames = Vec::with_capacity(STEP);
        let mut from = range.start;
        while frames.len() < STEP {
            let Some(page) = self.next_mapped(from..range.end) else {
                from = range.end;
                break;
            };
            from = page + PAGE_SIZE;
            let writable = self.pages.with(page, |_, prot| prot.contains(Prot::WRITE)).unwrap_or(false);
            let Some(frame) = self.pages.unmap(page) else { continue };
            frames.push(frame);
            self.resident -= 1;
            let Some((start, region)) = self.regions.find(page) else { continue };
            if region.shared {
                if writable && let Some((backing, index)) = region.page_of(start, page) {
                    taken.dirty.push((backing.clone(), index));
                }
            } else if region.zero() || self.copied.remove(&page) {
                self.refund();
            }
        }
        if frames.is_empty() {
            return from;
        }
        let shootdown = self.pages.shootdown();
        if shootdown.done() {
            taken.free = frames;
        } else {
            self.retired.push((shootdown, frames));
        }
        from
    }
}
