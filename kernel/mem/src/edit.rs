//! Changing what addresses mean: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `brk`.
//!
//! Each edit holds the space's asynchronous `editing` lock, checks its whole range first, and then changes regions and
//! pages in bounded steps. Unmapping marks the regions as dying (faults there fail, the addresses stay taken),
//! takes their pages away some hundred at a time, and removes each region when it is empty. What is
//! replaced or moved is busy meanwhile: faults there wait for the end of the edit. A caller that is
//! cancelled in between leaves dying and busy regions behind; the next edit unmaps them.
//!
//! Stacks grow without the `editing` lock. So a place is chosen and taken under one hold of the
//! space's lock, or, when something had to go first, checked again.

mod relocate;
mod steps;

use crate::{
    backing::{Backing, SharedMemory, new_object_id},
    fault::entry_rights,
    region::{Content, Phase, Region, Role, USER_END, USER_START},
    space::{AddressSpace, Heap, State, breathe},
    window,
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use exec::sync::MutexGuard;
use hal::{PAGE_SIZE, space::Prot, user::Access};
pub use relocate::Remap;

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
        Self {
            placement: Placement::Anywhere,
            len,
            prot,
            max: Prot::all(),
            shared: false,
            backing: None,
            role: Role::Plain,
        }
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

/// What `madvise` and `msync` can ask for here; all other advice is none of the kernel's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The contents are not needed any more.
    DontNeed,
    /// Tell the objects behind shared mappings which pages were written.
    Sync,
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
    /// `EINVAL`, `ENOMEM` (no room, a limit, too many regions), `EEXIST`, `EPERM` (below the lowest address,
    /// or the window), `EACCES` (more than the object allows).
    pub async fn map(&self, mapping: Mapping) -> Result<usize, Errno> {
        let region = self.region_of(&mapping)?;
        let len = region.end;
        let _edit = self.edit().await;
        let (start, mut placed) = self.state.lock().begin_map(&mapping.placement, &region)?;
        while !placed {
            self.vacate(start..start + len).await;
            placed = self.finish(|state| state.fill(start, len, &region));
        }
        Ok(start)
    }

    /// The region that `mapping` describes, as if it started at 0.
    fn region_of(&self, mapping: &Mapping) -> Result<Region, Errno> {
        let mut max = mapping.max;
        if mapping.backing.as_ref().is_some_and(|(backing, _)| backing.lends()) {
            if !mapping.shared {
                return Err(Errno::EINVAL); // a private copy could not be taken back, and tells nobody anything
            }
            max.remove(Prot::EXEC);
        }
        if mapping.len == 0 || !max.contains(mapping.prot) {
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
                // No file is longer. So offsets do not overflow either where a mapping has grown by all of user space.
                first
                    .checked_add(pages)
                    .filter(|end| *end <= i64::MAX as u64 / PAGE_SIZE as u64)
                    .ok_or(Errno::EOVERFLOW)?;
                Content::Pages { backing: backing.clone(), first }
            }
        };
        let (prot, shared, role) = (entry_rights(mapping.prot), mapping.shared, mapping.role);
        Ok(Region { end: len, prot, max, shared, content, role, stamp: new_object_id(), phase: Phase::Live })
    }

    /// Unmaps whatever is in the range.
    ///
    /// # Errors
    /// `EINVAL` (alignment, length 0, not in user space), `ENOMEM` (a split would make too many regions), `EPERM` (the
    /// window).
    pub async fn unmap(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let range = user_range(addr, len)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        window::spared(&range)?;
        let _edit = self.edit().await;
        self.state.lock().admit(&range, 0)?;
        self.clear(range).await;
        Ok(())
    }

    /// Changes the rights of a range that is wholly mapped.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (a hole, too many regions), `EACCES` (the object does not allow it), `EPERM` (the window).
    pub async fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<(), Errno> {
        let prot = entry_rights(prot);
        let range = user_range(addr, len)
            .map_err(|errno| if addr.is_multiple_of(PAGE_SIZE) { Errno::ENOMEM } else { errno })?;
        if range.is_empty() {
            return Ok(());
        }
        window::spared(&range)?;
        let _edit = self.edit().await;
        {
            let mut state = self.state.lock();
            state.admit(&range, 0)?;
            state.regions.check_all(
                &range,
                |region| {
                    if region.max.contains(prot) { Ok(()) } else { Err(Errno::EACCES) }
                },
            )?;
            state.set_rights(&range, prot);
        }
        self.step_pages(range, |state, page| state.adjust(page, prot)).await;
        Ok(())
    }

    /// Calls `each` for every page that is there, in bounded steps, and then waits for the TLBs if any call says that
    /// they have to be flushed.
    async fn step_pages(&self, range: Range<usize>, mut each: impl FnMut(&mut State, usize) -> bool) {
        let mut from = range.start;
        while from < range.end {
            {
                let mut state = self.state.lock();
                let (mut budget, mut flush) = (LOOK, false);
                for _ in 0..STEP {
                    match state.pages.scan(from..range.end, &mut budget) {
                        Ok(page) => {
                            flush |= each(&mut state, page);
                            from = page + PAGE_SIZE;
                        }
                        Err(next) => {
                            from = next;
                            break;
                        }
                    }
                }
                if flush {
                    state.retire(Vec::new());
                }
            }
            self.mark_written().await;
            breathe().await;
        }
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
                self.drop_pages(window::below(range)).await;
                Ok(())
            }
            Advice::Sync => {
                let _edit = self.edit().await;
                self.state.lock().regions.check_all(&range, |_| Ok(()))?;
                self.step_pages(range, State::clean).await;
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

    /// Takes the `editing` lock, and finishes what a cancelled edit left.
    pub(crate) async fn edit(&self) -> MutexGuard<'_, ()> {
        let guard = self.editing.lock().await;
        if self.state.lock().unfinished {
            self.sweep(USER_START..USER_END, false).await;
            self.finish(|_| ());
        }
        guard
    }

    /// The last part of an edit: after it, no region is dying or busy.
    fn finish<T>(&self, last: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.unfinished = false;
        let last = last(&mut state);
        state.trim_regions();
        last
    }

    /// Unmaps a range. Needs `editing`, and admission of the splits.
    async fn clear(&self, range: Range<usize>) {
        let any = self.state.lock().mark(&range, Phase::Dying);
        if any {
            self.sweep(range, false).await;
            self.finish(|_| ());
        }
    }

    /// Unmaps a range, and holds its place by a busy region. Needs `editing`, and admission of the splits.
    async fn vacate(&self, range: Range<usize>) {
        let any = self.state.lock().mark(&range, Phase::Busy);
        if any {
            self.sweep(range, true).await;
        }
    }

    /// Empties and removes the dying and busy regions in `range`; `hold`: one busy region takes their place.
    async fn sweep(&self, range: Range<usize>, hold: bool) {
        let mut from = range.start;
        loop {
            let next = self.state.lock().next_leaving(&(from..range.end));
            let Some(region) = next else { return };
            self.drop_pages(region.clone()).await;
            let gone = {
                let regions = &mut self.state.lock().regions;
                if hold { regions.absorb(region.start, range.start) } else { regions.remove(region.start) }
            };
            drop(gone); // perhaps the last of its object: not under the lock
            from = region.end;
        }
    }

    /// Takes away all pages of a range whose regions stay.
    async fn drop_pages(&self, range: Range<usize>) {
        let mut from = range.start;
        while from < range.end {
            let (next, free) = self.state.lock().take_pages(&range, from);
            from = next;
            drop(free); // not under the lock
            self.mark_written().await;
            self.settle().await;
            breathe().await;
        }
    }
}
