//! User memory that is held for transfers, whatever becomes of its mapping meanwhile: for as long as somebody likes ([`Pinned`]), or for a
//! request to a device ([`AddressSpace::pin_now`]).
//!
//! The pages are pinned under the space's lock, so that a `fork` either comes before, or copies them for the child at once.

use crate::room::list;
use crate::{
    account::{Account, Charge},
    backing::Backing,
    copy::{CopyFault, check_range},
    region::USER_END,
    space::{AddressSpace, State},
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

    /// Pins a stretch of it once more, for a transfer by a device: calls `each(page, offset in it, bytes)` for its pages, or for none.
    ///
    /// # Errors
    /// `EFAULT` if it is not all within.
    pub fn pin_again(&self, offset: usize, len: usize, mut each: impl FnMut(Pin, usize, usize)) -> Result<(), Errno> {
        let pinned = self.visit(offset, len, Access::Read, |frame, at, range| each(frame.pin(), at, range.len()));
        pinned.map_err(|_| Errno::EFAULT)
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

/// Why memory cannot be pinned at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpinned {
    /// A page is missing.
    Missing(CopyFault),
    /// It is an object's that has to know: a device would write to a file's page that others see, which nothing would write back, or reach a page that is
    /// lent when it has been taken back.
    Object,
}

/// Bytes of what is noted of a piece beside its pages, in a box or shared.
const NOTED: usize = size_of::<Pinned>() + 16;

impl AddressSpace {
    /// Pins memory for a transfer by a device: calls `each(page, offset in it, bytes)` for its pages, or for none. Who
    /// gets the pins pays for them.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn pin_now(
        &self,
        addr: usize,
        len: usize,
        access: Access,
        mut each: impl FnMut(Pin, usize, usize),
    ) -> Result<(), Unpinned> {
        let state = self.state.lock();
        if state.has_object(addr..addr.saturating_add(len), access) {
            return Err(Unpinned::Object);
        }
        let pinned = state.visit(addr, len, access, |frame, offset, range| each(frame.pin(), offset, range.len()));
        pinned.map_err(Unpinned::Missing)
    }

    /// Pins writable memory. `pinned` pays for the pages, which may outlive their mapping, `account` for what is noted of them.
    ///
    /// # Errors
    /// `EFAULT` if it is not all writable, or a file's that others see, or lent; `ENOMEM`.
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
        let charges = [pinned.charge(count * PAGE_SIZE)?, account.charge(count * size_of::<Pin>() + NOTED)?];
        let mut pages = list(count)?;
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
            let mut found = None;
            match self.pin_now(page, 1, Access::Write, |pin, _, _| found = Some(pin)) {
                Ok(()) => return found.ok_or(Errno::EFAULT),
                // A page of a file is written back when a mapping has made it dirty, which a pin does not. One that is lent can be taken back from a mapping alone.
                Err(Unpinned::Object) => return Err(Errno::EFAULT),
                Err(Unpinned::Missing(fault)) => self.resolve(fault).await?,
            }
        }
    }
}

impl State {
    /// Whether something lent is mapped there, or a file, for others to see what is written.
    fn has_object(&self, range: Range<usize>, access: Access) -> bool {
        let mut at = range.start;
        while let Some((_, region)) = self.regions.find(at) {
            let is_written = |backing: &dyn Backing| access == Access::Write && backing.file().is_some();
            if region.shared && region.backing().is_some_and(|backing| backing.lends() || is_written(&**backing)) {
                return true;
            }
            if region.end >= range.end {
                break;
            }
            at = region.end;
        }
        false
    }
}
