//! Page faults (D15): the immediate form for everything that is in memory, the awaiting form for the rest.
//!
//! Both take the space's lock for one bounded step. Where a page must come from a [`Backing`], the step
//! answers what it needs and the stamp of the region; the page is then fetched without the lock, and the next step
//! installs it only if the region still has that stamp.

use crate::{
    backing::{Backing, BoxFuture},
    loans::Lent,
    region::{Content, GUARD_GAP, Phase, Region, Role},
    space::{AddressSpace, Hot, State},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    space::{DevicePage, Prot},
    user::Access,
};

/// Why a fault cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// `SIGSEGV`.
    Segv(SegvKind),
    /// `SIGBUS`: behind the end of the object, or it could not be read.
    Bus,
    /// No memory, or none that this process may have: `SIGBUS` or worse.
    NoMemory,
    /// A device's page that is not there now: [`AddressSpace::object_at`] knows what a store there means.
    Doorbell,
}

/// The two kinds of `SIGSEGV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegvKind {
    /// Nothing is mapped there.
    Maperr,
    /// What is mapped there does not allow this access.
    Accerr,
}

impl From<FaultError> for Errno {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::NoMemory => Errno::ENOMEM,
            FaultError::Segv(_) | FaultError::Bus | FaultError::Doorbell => Errno::EFAULT,
        }
    }
}

/// What a fault asks for.
#[derive(Clone, Copy)]
struct Asked {
    page: usize,
    access: Access,
    by: By,
}

/// Who accesses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The program itself.
    Program,
    /// The kernel for it, which reaches memory only.
    Kernel,
}

/// A page of a backing that a fault waits for.
struct Need {
    backing: Arc<dyn Backing>,
    index: u64,
    stamp: u64,
    /// A shared page is about to become writable.
    dirty: bool,
}

/// The page that was needed, to be installed if nothing changed meanwhile.
struct Given {
    page: Page,
    stamp: u64,
    index: u64,
}

enum Page {
    Frame(Frame),
    Device(DevicePage),
}

enum Step {
    Done,
    /// Done, but other harts may still see the page that was replaced.
    Settle,
    /// Other harts may still write the page that has to be copied: settle, then try again.
    Linger,
    /// What is mapped there is being replaced or moved: try again after the edit.
    Busy,
    Fail(FaultError),
    Need(Need),
    /// The frame allocator is empty.
    NoFrame,
}

/// The right that an access needs.
pub(crate) fn right(access: Access) -> Prot {
    match access {
        Access::Read => Prot::READ,
        Access::Write => Prot::WRITE,
        Access::Exec => Prot::EXEC,
    }
}

/// What the page tables hold for a right that implies others: RISC-V has no write-only pages.
pub(crate) fn entry_rights(prot: Prot) -> Prot {
    if prot.contains(Prot::WRITE) { prot | Prot::READ } else { prot }
}

impl AddressSpace {
    /// Serves a fault without waiting. `None`: it would wait, call [`AddressSpace::fault`].
    #[inline(always)]
    #[must_use]
    pub fn fault_now(&self, addr: usize, access: Access) -> Option<Result<(), FaultError>> {
        self.serve_now(addr, access, By::Program)
    }

    /// Apart from its caller, whose frame would grow for every system call; with the walk inside, so that most faults pay for one frame.
    #[inline(never)]
    fn serve_now(&self, addr: usize, access: Access, by: By) -> Option<Result<(), FaultError>> {
        let page = addr & !(PAGE_SIZE - 1);
        if self.state.lock().fill_hot(page, access) {
            return Some(Ok(()));
        }
        self.one_step(Asked { page, access, by })
    }

    /// One step without waiting. Apart: it keeps more in its frame than most faults need.
    #[cold]
    #[inline(never)]
    fn one_step(&self, asked: Asked) -> Option<Result<(), FaultError>> {
        let step = self.state.lock().step(asked.page, asked.access, None);
        match step {
            Step::Done => Some(Ok(())),
            Step::Fail(error) => Some(Err(error)),
            Step::Settle | Step::Linger | Step::Busy | Step::NoFrame => None,
            Step::Need(need) => self.provide_now(asked, &need),
        }
    }

    /// The page may be in the cache: one attempt.
    fn provide_now(&self, asked: Asked, need: &Need) -> Option<Result<(), FaultError>> {
        let page_now = match self.fetch_now(asked, need) {
            Ok(page) => page?,
            Err(error) => return Some(Err(error)),
        };
        let given = Given { page: page_now, stamp: need.stamp, index: need.index };
        let step = self.state.lock().step(asked.page, asked.access, Some(given));
        match step {
            Step::Done => Some(Ok(())),
            Step::Fail(error) => Some(Err(error)),
            Step::Settle | Step::Linger | Step::Busy | Step::NoFrame | Step::Need(_) => None,
        }
    }

    /// Serves a fault, waiting for the page if need be.
    ///
    /// # Errors
    /// See [`FaultError`].
    pub async fn fault(&self, addr: usize, access: Access) -> Result<(), FaultError> {
        self.serve(addr, access, By::Program).await
    }

    async fn serve(&self, addr: usize, access: Access, by: By) -> Result<(), FaultError> {
        let asked = Asked { page: addr & !(PAGE_SIZE - 1), access, by };
        let mut given = None;
        let mut reclaimed = false;
        loop {
            let step = self.state.lock().step(asked.page, access, given.take());
            match step {
                Step::Done | Step::Settle => {
                    self.settle().await;
                    return Ok(());
                }
                Step::Linger => self.settle().await,
                Step::Busy => drop(self.edit().await),
                Step::Fail(error) => return Err(error),
                Step::Need(need) => given = Some(self.fetch(asked, need).await?),
                Step::NoFrame if !reclaimed && crate::reclaim::reclaim().await => reclaimed = true,
                Step::NoFrame => return Err(FaultError::NoMemory),
            }
        }
    }

    /// Faults in what a copy missed. In a box: it is rare, and whoever copies and waits need not carry its size.
    ///
    /// When it is served, memory was there that the copy can reach: who tries again does not do so for ever.
    ///
    /// # Errors
    /// `EFAULT`, also where a device's page belongs, or `ENOMEM`.
    pub fn resolve(&self, fault: crate::copy::CopyFault) -> BoxFuture<'_, Result<(), Errno>> {
        Box::pin(async move {
            if let Some(served) = self.serve_now(fault.addr, fault.access, By::Kernel) {
                return Ok(served?);
            }
            Ok(self.serve(fault.addr, fault.access, By::Kernel).await?)
        })
    }
}

impl AddressSpace {
    fn fetch_now(&self, asked: Asked, need: &Need) -> Result<Option<Page>, FaultError> {
        if need.index >= need.backing.len_pages() {
            return Err(FaultError::Bus);
        }
        if need.backing.lends() {
            return match need.backing.lend(need.index, self.loan(asked.page)).map_err(object_error)? {
                Lent::Frame(frame) => Ok(Some(Page::Frame(frame))),
                Lent::Device(_) if asked.by == By::Kernel => Err(FaultError::Bus),
                Lent::Device(device) => Ok(Some(Page::Device(device))),
                Lent::Absent => Err(FaultError::Doorbell),
            };
        }
        if need.dirty {
            need.backing.mark_dirty(need.index);
        }
        Ok(need.backing.frame_now(need.index).map_err(object_error)?.map(Page::Frame))
    }

    async fn fetch(&self, asked: Asked, need: Need) -> Result<Given, FaultError> {
        let page = match self.fetch_now(asked, &need)? {
            Some(page) => page,
            None => {
                let frame = need.backing.frame(need.index).await.map_err(object_error)?;
                if need.dirty {
                    need.backing.mark_dirty(need.index); // it may not have been there to be marked before
                }
                Page::Frame(frame)
            }
        };
        Ok(Given { page, stamp: need.stamp, index: need.index })
    }

    /// The object mapped at an address, and which of its pages that is.
    #[must_use]
    pub fn object_at(&self, addr: usize) -> Option<(Arc<dyn Backing>, u64)> {
        let state = self.state.lock();
        let (start, region) = state.regions.find(addr)?;
        region.page_of(start, addr).map(|(backing, index)| (backing.clone(), index))
    }
}

fn object_error(errno: Errno) -> FaultError {
    if errno == Errno::ENOMEM { FaultError::NoMemory } else { FaultError::Bus }
}

impl State {
    fn step(&mut self, page: usize, access: Access, given: Option<Given>) -> Step {
        let present = self.pages.with(page, |frame, prot| (prot, frame.owners()));
        if let Some((prot, _)) = present
            && prot.contains(right(access))
        {
            // Another thread was faster, or the hart's TLB was behind; what was there before may be seen still.
            return if self.settled() { Step::Done } else { Step::Settle };
        }
        self.step_region(page, access, present, given)
    }

    /// Most faults: a page of zeros, not the first one of its region, at an address where nothing is mapped. One walk through the
    /// tables; `false`: nothing is changed, and what it is else the other way finds out.
    #[inline(always)]
    fn fill_hot(&mut self, page: usize, access: Access) -> bool {
        let Hot { start, end, prot, rights } = self.hot;
        if page < start || page >= end || !prot.contains(right(access)) || !self.pay() {
            return false;
        }
        if !self.pages.fill(page, rights, Frame::zeroed) {
            self.refund();
            return false;
        }
        self.resident += 1;
        true
    }

    fn step_region(&mut self, page: usize, access: Access, present: Option<(Prot, u32)>, given: Option<Given>) -> Step {
        let Some(start) = self.region_for(page) else {
            return Step::Fail(FaultError::Segv(SegvKind::Maperr));
        };
        let Some((_, region)) = self.regions.find(start) else {
            return Step::Fail(FaultError::Segv(SegvKind::Maperr));
        };
        match region.phase {
            Phase::Live => {}
            Phase::Dying => return Step::Fail(FaultError::Segv(SegvKind::Maperr)),
            Phase::Busy => return Step::Busy,
        }
        // As on Linux, the right to write implies that to read.
        if !entry_rights(region.prot).contains(right(access)) {
            return Step::Fail(FaultError::Segv(SegvKind::Accerr));
        }
        let (prot, zero, shared) = (region.prot, region.zero(), region.shared);
        if let Some((_, owners)) = present
            && !shared
        {
            return self.step_present(page, access, prot, owners, zero);
        }
        if zero {
            // What may be fetched must be made known to the harts, so it goes the long way.
            if !prot.contains(Prot::EXEC) {
                let prot = entry_rights(prot);
                self.hot = Hot { start, end: region.end, prot, rights: prot.rights() };
            }
            return self.install_zero(page, prot);
        }
        let region = region.clone();
        self.step_backed(page, start, &region, access, given)
    }

    /// The start of the region for `page`; grows a stack when the page is just below it.
    fn region_for(&mut self, page: usize) -> Option<usize> {
        if let Some((start, _)) = self.regions.find(page) {
            return Some(start);
        }
        let (start, region) = self.regions.above(page)?;
        let top = region.end;
        if !matches!(region.role, Role::Stack | Role::Growing)
            || region.phase != Phase::Live
            || top - page > self.limits.stack
        {
            return None;
        }
        let floor = self.regions.below(page).map_or(0, |(_, below)| below.end);
        if page < floor + GUARD_GAP {
            return None;
        }
        self.regions.grow_down(start, page);
        Some(page)
    }

    /// A private page is there but lacks a right that the region gives: copy-on-write, or `mprotect` gave it later.
    fn step_present(&mut self, page: usize, access: Access, prot: Prot, owners: u32, zero: bool) -> Step {
        let own = owners == 1 && (zero || self.copied.contains(&page));
        if !matches!(access, Access::Write) {
            let rights = if own { prot } else { prot.difference(Prot::WRITE) };
            self.pages.protect(page, entry_rights(rights));
            return Step::Done;
        }
        if own {
            self.pages.protect(page, entry_rights(prot));
            return Step::Done;
        }
        if self.writes_linger() {
            return Step::Linger;
        }
        let Some(copy) = self.pages.with(page, |frame, _| Frame::copy_of(frame)).flatten() else {
            return Step::NoFrame;
        };
        // A private copy of a backing's page is paid from now on; a zero page was paid already.
        if !zero && !self.copied.contains(&page) {
            if !self.pay_copy() {
                return Step::Fail(FaultError::NoMemory);
            }
            self.copied.insert(page);
        }
        let Ok(old) = self.map_page(page, copy, entry_rights(prot)) else {
            return Step::NoFrame;
        };
        self.retiring(old.into_iter().collect())
    }

    fn install_zero(&mut self, page: usize, prot: Prot) -> Step {
        if !self.pay() {
            return Step::Fail(FaultError::NoMemory);
        }
        let Some(frame) = Frame::zeroed() else {
            self.refund();
            return Step::NoFrame;
        };
        let step = self.install(page, frame, entry_rights(prot));
        if matches!(step, Step::NoFrame) {
            self.refund();
        }
        step
    }

    /// Puts a page where none is.
    fn install(&mut self, page: usize, frame: Frame, rights: Prot) -> Step {
        let Ok(None) = self.map_page(page, frame, rights) else { return Step::NoFrame };
        self.resident += 1;
        if rights.contains(Prot::EXEC) { self.new_code() } else { Step::Done }
    }

    /// Harts may have fetched what this frame held before: they must fetch anew.
    #[cold]
    fn new_code(&mut self) -> Step {
        self.retiring(Vec::new())
    }

    /// The fault is served when no hart sees these frames any more.
    fn retiring(&mut self, frames: Vec<Frame>) -> Step {
        if self.retire(frames) { Step::Done } else { Step::Settle }
    }

    fn step_backed(
        &mut self,
        page: usize,
        start: usize,
        region: &Region,
        access: Access,
        given: Option<Given>,
    ) -> Step {
        let Content::Pages { backing, .. } = &region.content else {
            return Step::Fail(FaultError::Bus);
        };
        let index = region.page_of(start, page).map_or(0, |(_, index)| index);
        let writes = matches!(access, Access::Write);
        let Some(given) = given.filter(|given| given.stamp == region.stamp && given.index == index) else {
            let dirty = region.shared && writes;
            return Step::Need(Need { backing: backing.clone(), index, stamp: region.stamp, dirty });
        };
        let frame = match given.page {
            Page::Frame(frame) => frame,
            Page::Device(device) => return self.install_device(page, region, device),
        };
        let read_only = region.prot.difference(Prot::WRITE);
        if region.shared {
            let rights = if writes { region.prot } else { read_only };
            return self.install_shared(page, frame, entry_rights(rights));
        }
        if !writes {
            return self.install(page, frame, read_only);
        }
        if !self.pay_copy() {
            return Step::Fail(FaultError::NoMemory);
        }
        let Some(copy) = Frame::copy_of(&frame) else {
            self.refund_copy();
            return Step::NoFrame;
        };
        let step = self.install(page, copy, entry_rights(region.prot));
        if matches!(step, Step::Done | Step::Settle) {
            self.copied.insert(page);
        } else {
            self.refund_copy();
        }
        step
    }

    /// A device's page: mapped whole, and only where the program shares it.
    #[cold]
    fn install_device(&mut self, page: usize, region: &Region, device: DevicePage) -> Step {
        if !region.shared || !region.prot.contains(Prot::WRITE) {
            return Step::Fail(FaultError::Bus);
        }
        if self.pages.tables_missing(page) > 0 && self.prepare(page).is_err() {
            return Step::NoFrame;
        }
        match self.pages.map_device(page, device) {
            Err(_) => Step::NoFrame,
            Ok(None) => Step::Done,
            Ok(Some(old)) => self.retiring(vec![old]),
        }
    }

    /// A shared page may be there already, with fewer rights or (after truncation) as an older frame.
    fn install_shared(&mut self, page: usize, frame: Frame, rights: Prot) -> Step {
        match self.map_page(page, frame, rights) {
            Err(_) => Step::NoFrame,
            Ok(Some(old)) => self.retiring(vec![old]),
            Ok(None) => {
                self.resident += 1;
                if rights.contains(Prot::EXEC) { self.new_code() } else { Step::Done }
            }
        }
    }
}
