//! Regions: what an address range of a process means, apart from which pages of it are there.
//!
//! [`Regions`] is a sorted map from start address to [`Region`]. Regions never overlap and are never
//! empty. Each carries a *stamp*, which changes with every edit that changes what an address in it means: a
//! page fault notes the stamp before it waits and compares it afterwards (D15).

use crate::backing::{Backing, new_object_id};
use abi::errno::Errno;
use alloc::{collections::BTreeMap, sync::Arc};
use core::ops::Range;
use hal::{PAGE_SIZE, space::Prot};

/// Most regions in one address space, as Linux's `vm.max_map_count`.
pub const MAX_REGIONS: usize = 65_530;
/// Lowest address that can be mapped.
pub const USER_START: usize = 0x1000;
/// End of user space (exclusive).
pub const USER_END: usize = hal::USER_END;
/// Addresses kept free below a region that grows down.
pub(crate) const GUARD_GAP: usize = 256 * PAGE_SIZE;

/// What the pages of a region hold before anybody writes.
#[derive(Clone)]
pub(crate) enum Content {
    /// Zeros.
    Zero,
    /// The pages of an object, beginning with page `first` at the start of the region.
    Pages {
        /// The object.
        backing: Arc<dyn Backing>,
        /// Page index in the object of the region's first page.
        first: u64,
    },
}

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Mapped by the program or the loader.
    Plain,
    /// The `brk` heap.
    Heap,
    /// The main stack; grows down at faults as far as the space's stack limit allows.
    Stack,
    /// A mapping that grows down (`MAP_GROWSDOWN`), within the same limit.
    Growing,
    /// Part of the window, which stays as it is.
    Window,
}

/// Where a region is in its life. What is not live, and left behind by a cancelled edit, the next edit unmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults are served.
    Live,
    /// Being unmapped: faults fail, the addresses are not free yet.
    Dying,
    /// Being replaced or moved: faults wait for the end of the edit.
    Busy,
}

/// One range of addresses with the same meaning.
#[derive(Clone)]
pub(crate) struct Region {
    pub end: usize,
    pub prot: Prot,
    /// The most that `mprotect` may give.
    pub max: Prot,
    pub shared: bool,
    pub content: Content,
    pub role: Role,
    pub stamp: u64,
    pub phase: Phase,
}

impl Region {
    /// The object and page index behind `addr`, if the content is not zeros.
    pub fn page_of(&self, start: usize, addr: usize) -> Option<(&Arc<dyn Backing>, u64)> {
        match &self.content {
            Content::Zero => None,
            Content::Pages { backing, first } => Some((backing, first + ((addr - start) / PAGE_SIZE) as u64)),
        }
    }

    /// The object behind it, if the content is not zeros.
    pub fn backing(&self) -> Option<&Arc<dyn Backing>> {
        match &self.content {
            Content::Zero => None,
            Content::Pages { backing, .. } => Some(backing),
        }
    }

    /// Whether a page of private memory is paid by the process as soon as it is there.
    pub fn zero(&self) -> bool {
        matches!(self.content, Content::Zero)
    }

    /// Whether this region, starting at `start`, and `next`, starting at its end, mean the same as one region.
    fn continues(&self, start: usize, next: &Region) -> bool {
        let content = match (&self.content, &next.content) {
            (Content::Zero, Content::Zero) => true,
            (Content::Pages { backing, first }, Content::Pages { backing: other, first: second }) => {
                backing.id() == other.id() && first + ((self.end - start) / PAGE_SIZE) as u64 == *second
            }
            _ => false,
        };
        content
            && self.phase == Phase::Live
            && next.phase == Phase::Live
            && self.shared == next.shared
            && self.prot == next.prot
            && self.max == next.max
            && self.role == next.role
            && matches!(self.role, Role::Plain | Role::Heap)
    }
}

/// All regions of a space, by start address.
#[derive(Clone, Default)]
pub(crate) struct Regions {
    map: BTreeMap<usize, Region>,
    /// Sum of the lengths, for `RLIMIT_AS`.
    bytes: usize,
    /// The most that was.
    peak: usize,
    /// Where the next top-down search starts; any value is correct, a good one is fast.
    cursor: usize,
}

impl Regions {
    /// The region that holds `addr`.
    pub fn find(&self, addr: usize) -> Option<(usize, &Region)> {
        let (&start, region) = self.map.range(..=addr).next_back()?;
        (addr < region.end).then_some((start, region))
    }

    /// The first region that starts above `addr`.
    pub fn above(&self, addr: usize) -> Option<(usize, &Region)> {
        self.map.range(addr + 1..).next().map(|(&start, region)| (start, region))
    }

    /// The last region that ends at or below `addr`, given that none holds it.
    pub fn below(&self, addr: usize) -> Option<(usize, &Region)> {
        self.map.range(..addr).next_back().map(|(&start, region)| (start, region))
    }

    /// The region that starts exactly at `start`.
    pub fn at(&mut self, start: usize) -> Option<&mut Region> {
        self.map.get_mut(&start)
    }

    /// The first region that overlaps `range`; none overlaps an empty one.
    pub fn first_in(&self, range: &Range<usize>) -> Option<(usize, &Region)> {
        if range.is_empty() {
            return None;
        }
        if let Some(found) = self.find(range.start) {
            return Some(found);
        }
        self.above(range.start).filter(|&(start, _)| start < range.end)
    }

    /// All regions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Region)> {
        self.map.iter().map(|(&start, region)| (start, region))
    }

    /// The regions that end above `addr`, in order.
    pub fn iter_from(&self, addr: usize) -> impl Iterator<Item = (usize, &Region)> {
        let first = self.find(addr).map_or(addr, |(start, _)| start);
        self.map.range(first..).map(|(&start, region)| (start, region))
    }

    /// Number of regions.
    pub fn count(&self) -> usize {
        self.map.len()
    }

    /// Sum of the lengths in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The largest sum that was.
    pub fn peak(&self) -> usize {
        self.peak
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
    }

    /// Whether any address of `range` is in a region.
    pub fn occupied(&self, range: &Range<usize>) -> bool {
        self.first_in(range).is_some()
    }

    /// Calls `check` for each region that overlaps `range`, in order.
    ///
    /// # Errors
    /// `ENOMEM` if a part of the range is in no region, or what `check` returned.
    pub fn check_all(
        &self,
        range: &Range<usize>,
        mut check: impl FnMut(&Region) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut addr = range.start;
        while addr < range.end {
            let (_, region) = self.find(addr).ok_or(Errno::ENOMEM)?;
            check(region)?;
            addr = region.end;
        }
        Ok(())
    }

    /// How many regions there would be after a `split` at both ends of `range`, and with `extra` more.
    ///
    /// # Errors
    /// `ENOMEM` if that would exceed the bound.
    pub fn admit(&self, range: &Range<usize>, extra: usize) -> Result<usize, Errno> {
        let cuts = |addr: usize| usize::from(self.find(addr).is_some_and(|(start, _)| start != addr));
        let total = self.count() + cuts(range.start) + cuts(range.end) + extra;
        if total > MAX_REGIONS { Err(Errno::ENOMEM) } else { Ok(total) }
    }

    /// Cuts regions so that none crosses an end of `range`. Stamps stay: no address changes its meaning.
    pub fn split(&mut self, range: &Range<usize>) {
        self.cut(range.start);
        self.cut(range.end);
    }

    fn cut(&mut self, at: usize) {
        let Some((start, _)) = self.find(at).filter(|&(start, _)| start != at) else {
            return;
        };
        let Some(left) = self.map.get_mut(&start) else { return };
        let mut right = left.clone();
        left.end = at;
        if let Content::Pages { first, .. } = &mut right.content {
            *first += ((at - start) / PAGE_SIZE) as u64;
        }
        self.map.insert(at, right);
    }

    /// The first region that starts in `range`.
    pub fn next_start(&self, range: Range<usize>) -> Option<usize> {
        if range.is_empty() { None } else { self.map.range(range).next().map(|(&start, _)| start) }
    }

    /// Gives the regions in `range` (after [`Regions::split`]) other rights, and joins what is equal then.
    pub fn set_rights(&mut self, range: &Range<usize>, prot: Prot) {
        for (_, region) in self.map.range_mut(range.clone()) {
            region.prot = prot;
            region.stamp = new_object_id();
        }
        self.rejoin(&(range.start.saturating_sub(1)..range.end + 1));
    }

    /// Puts the regions in `range` (after [`Regions::split`]) into `phase`; says whether there were any.
    pub fn mark(&mut self, range: &Range<usize>, phase: Phase) -> bool {
        let mut any = false;
        for (_, region) in self.map.range_mut(range.clone()) {
            region.phase = phase;
            region.stamp = new_object_id();
            any = true;
        }
        any
    }

    /// Adds a region where nothing is, joining it with neighbours that it continues.
    pub fn insert(&mut self, mut start: usize, mut region: Region) {
        debug_assert!(start < region.end && !self.occupied(&(start..region.end)), "regions overlap");
        self.grow(region.end - start);
        if let Some((before, left)) = self.below(start)
            && left.end == start
            && left.continues(before, &region)
        {
            // The left one's first page is the whole's first page.
            region.content = left.content.clone();
            self.map.remove(&before);
            start = before;
        }
        if let Some(right) = self.map.get(&region.end)
            && region.continues(start, right)
        {
            let (old, end) = (region.end, right.end);
            self.map.remove(&old);
            region.end = end;
        }
        self.map.insert(start, region);
    }

    /// Takes the region at `start` out.
    pub fn remove(&mut self, start: usize) -> Option<Region> {
        let region = self.map.remove(&start)?;
        self.bytes -= region.end - start;
        self.cursor = self.cursor.max(region.end);
        Some(region)
    }

    /// Lets the busy region at `from`, which holds a place, take in the one at `start` above it, whose pages are
    /// gone: a range that is being replaced is one region in the end. Answers what is to be dropped without locks.
    pub fn absorb(&mut self, start: usize, from: usize) -> Option<Region> {
        let old = self.remove(start)?;
        let held = Region { content: Content::Zero, role: Role::Plain, ..old.clone() };
        let place = self.map.entry(from).or_insert(Region { end: from, ..held });
        let more = old.end - place.end;
        place.end = old.end;
        self.grow(more);
        Some(old)
    }

    /// Takes the regions in `range` out and puts them back, so that equal neighbours join.
    pub fn rejoin(&mut self, range: &Range<usize>) {
        let mut from = range.start;
        while let Some(start) = self.next_start(from..range.end) {
            from = start + 1;
            if let Some(region) = self.remove(start) {
                self.insert(start, region);
            }
        }
    }

    /// Moves the start of a region that grows down.
    pub fn grow_down(&mut self, start: usize, to: usize) {
        if let Some(region) = self.map.remove(&start) {
            self.grow(start - to);
            self.map.insert(to, region);
        }
    }

    /// Moves the end of the region at `start` up to `end`.
    pub fn grow_up(&mut self, start: usize, end: usize) {
        if let Some(region) = self.map.get_mut(&start) {
            let more = end - region.end;
            region.end = end;
            self.grow(more);
        }
    }

    /// The highest free place of `len` bytes that ends at or below `top`.
    pub fn place(&mut self, len: usize, top: usize) -> Option<usize> {
        let from = self.cursor.clamp(USER_START, top);
        let found = self.gap_at(len, from).or_else(|| self.scan(len, top))?;
        self.cursor = found;
        Some(found)
    }

    /// `top`, or less if the region above it grows down and needs room.
    pub fn ceiling(&self, top: usize) -> usize {
        self.map.range(top..).next().map_or(top, |(&start, region)| top.min(self.low_end(start, region)))
    }

    /// The place of `len` bytes just below `top`, or just below the region that is there.
    fn gap_at(&self, len: usize, top: usize) -> Option<usize> {
        let top = match self.map.range(..top).next_back() {
            Some((&start, region)) if region.end > top => self.low_end(start, region),
            _ => self.ceiling(top),
        };
        let floor = self.map.range(..top).next_back().map_or(USER_START, |(_, region)| region.end);
        (top.checked_sub(floor)? >= len).then(|| top - len)
    }

    fn scan(&self, len: usize, top: usize) -> Option<usize> {
        let mut high = self.ceiling(top);
        for (&start, region) in self.map.range(..top).rev() {
            if high >= region.end && high - region.end >= len {
                return Some(high - len);
            }
            high = high.min(self.low_end(start, region));
        }
        (high >= USER_START && high - USER_START >= len).then(|| high - len)
    }

    /// The start of a region, with room kept below those that grow down.
    fn low_end(&self, start: usize, region: &Region) -> usize {
        match region.role {
            Role::Stack | Role::Growing => start.saturating_sub(GUARD_GAP),
            Role::Plain | Role::Heap | Role::Window => start,
        }
    }
}
