//! User memory that is held for transfers, whatever becomes of its mapping meanwhile.
//!
//! The pages are pinned under the space's lock, so that a `fork` either comes before, or copies them for the child at once.

use crate::{
    account::{Account, Charge},
    copy::{CopyFault, check_range},
    region::USER_END,
    space::AddressSpace,
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::{ops::Range, sync::atomic::AtomicU32};
use hal::{
    PAGE_SIZE,
    frame::{Frame, Pin},
    user::Access,
};

/// A stretch of writable memory.
pub struct Pinned {
    addr: usize,
    len: usize,
    pages: Vec<Pin>,
    _charges: [Charge; 2],
}

impl Pinned {
    /// The offset of `addr..addr + len` in it.
    ///
    /// # Errors
    /// `EFAULT` if it is not all within.
    pub fn offset_of(&self, addr: usize, len: usize) -> Result<usize, Errno> {
        let offset = addr.checked_sub(self.addr).filter(|offset| *offset <= self.len && len <= self.len - offset);
        offset.ok_or(Errno::EFAULT)
    }

    /// The word at an offset, if it is within and aligned.
    #[must_use]
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        let start = self.addr % PAGE_SIZE + offset;
        let within = offset <= self.len && self.len - offset >= 4 && start.is_multiple_of(4);
        let pin = self.pages.get(start / PAGE_SIZE).filter(|_| within)?;
        Some(pin.frame().word(start % PAGE_SIZE))
    }

    /// Copies words that lie side by side from an offset on, if they are within, aligned, and in one page.
    #[must_use]
    pub fn words<const COUNT: usize>(&self, offset: usize) -> Option<[u32; COUNT]> {
        let (start, len) = (self.addr % PAGE_SIZE + offset, 4 * COUNT);
        let within = offset <= self.len && self.len - offset >= len && start.is_multiple_of(4);
        let (page, at) = (start / PAGE_SIZE, start % PAGE_SIZE);
        let frame = self.pages.get(page).filter(|_| within && at + len <= PAGE_SIZE)?.frame();
        Some(frame.words(at))
    }

    /// Calls `each(frame, offset in it, range of the whole)` for the pages from `offset` on; for none if it is not all within.
    pub(crate) fn visit(
        &self,
        offset: usize,
        len: usize,
        access: Access,
        mut each: impl FnMut(&Frame, usize, Range<usize>),
    ) -> Result<(), CopyFault> {
        let within = offset <= self.len && len <= self.len - offset;
        if !within {
            return Err(CopyFault { addr: USER_END, access });
        }
        let start = self.addr % PAGE_SIZE + offset;
        let mut done = 0;
        while done < len {
            let (page, at) = ((start + done) / PAGE_SIZE, (start + done) % PAGE_SIZE);
            let end = len.min(done + PAGE_SIZE - at);
            let Some(pin) = self.pages.get(page) else { return Err(CopyFault { addr: USER_END, access }) };
            each(pin.frame(), at, done..end);
            done = end;
        }
        Ok(())
    }
}

impl AddressSpace {
    /// Pins writable memory. `pinned` pays for the pages, which may outlive their mapping, `account` for what is noted of them.
    ///
    /// # Errors
    /// `EFAULT` if it is not all writable, or a file's that others see; `ENOMEM`.
    pub async fn pin(
        &self,
        addr: usize,
        len: usize,
        account: &Arc<Account>,
        pinned: &Arc<Account>,
    ) -> Result<Pinned, Errno> {
        check_range(addr, len)?;
        let first = addr / PAGE_SIZE;
        let count = (addr + len).div_ceil(PAGE_SIZE) - first;
        let charges = [pinned.charge(count * PAGE_SIZE)?, account.charge(count * size_of::<Pin>())?];
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        for page in first..first + count {
            pages.push(self.pin_page(page * PAGE_SIZE).await?);
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
        Ok(Pinned { addr, len, pages, _charges: charges })
    }

    async fn pin_page(&self, page: usize) -> Result<Pin, Errno> {
        loop {
            // A page of a file is written back when a mapping has made it dirty, which a pin does not.
            if self.is_shared_file(page) {
                return Err(Errno::EFAULT);
            }
            let mut pin = None;
            match self.visit(page, 1, Access::Write, |frame, _, _| pin = Some(frame.pin())) {
                Ok(()) => return pin.ok_or(Errno::EFAULT),
                Err(fault) => self.resolve(fault).await?,
            }
        }
    }

    fn is_shared_file(&self, addr: usize) -> bool {
        let state = self.state.lock();
        let found = state.regions.find(addr).filter(|(_, region)| region.shared);
        found
            .and_then(|(start, region)| region.page_of(start, addr))
            .is_some_and(|(backing, _)| backing.file().is_some())
    }
}
