//! Rings in memory that the program has already (`IORING_SETUP_NO_MMAP`).
//!
//! The kernel has to have the pages of a ring side by side, which a program's are not. So it makes them as for any ring, with what lies in that memory, and maps them
//! there in its place. From then on that is a mapping of the ring as others are: unlike on Linux, where the program's own pages are used, it is shared with a child of `fork`, and whoever else had
//! mapped the memory before does not see the ring.

use super::pages::{Pages, RunOf};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use alloc::sync::Arc;
use hal::{PAGE_SIZE, space::Prot};
use mem::{Mapping, Pinned, Placement, list};

/// Memory that is to become a run of pages of a ring.
struct Place {
    run: RunOf,
    addr: usize,
    len: usize,
    /// All of it is there and may be written, as long as this is.
    _pinned: Pinned,
}

/// Where a ring is to lie.
pub(super) struct InPlace([Place; 2]);

impl InPlace {
    /// The memory that the program says, if this is such a ring.
    ///
    /// # Errors
    /// `EINVAL`: it does not begin with a page; `EFAULT`: it is not all writable, or a file's; `ENOMEM`.
    pub(super) async fn of(task: &Task<'_>, params: &Params, layout: &ring::Layout) -> Result<Option<Self>, Errno> {
        if params.flags & IORING_SETUP_NO_MMAP == 0 {
            return Ok(None);
        }
        let ring = Place::new(task, RunOf::Ring, params.cq_off.user_addr, layout.ring_bytes()).await?;
        let entries = Place::new(task, RunOf::Entries, params.sq_off.user_addr, layout.entry_bytes()).await?;
        Ok(Some(Self([ring, entries])))
    }

    /// These pages, which nobody else has yet, take the place of that memory.
    ///
    /// # Errors
    /// `EFAULT`: it is gone meanwhile; `ENOMEM`.
    pub(super) async fn take(self, task: &Task<'_>, pages: &Arc<Pages>) -> Result<(), Errno> {
        for place in self.0 {
            place.take(task, pages).await?;
        }
        Ok(())
    }
}

impl Place {
    async fn new(task: &Task<'_>, run: RunOf, addr: u64, len: usize) -> Result<Self, Errno> {
        let addr = usize::try_from(addr).map_err(|_| Errno::EFAULT)?;
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = len.next_multiple_of(PAGE_SIZE);
        Ok(Self { run, addr, len, _pinned: task.pin(addr, len).await? })
    }

    async fn take(self, task: &Task<'_>, pages: &Arc<Pages>) -> Result<(), Errno> {
        let mut page = list(PAGE_SIZE)?;
        page.resize(PAGE_SIZE, 0);
        for number in 0..self.len / PAGE_SIZE {
            task.space().copy_in(self.addr + number * PAGE_SIZE, &mut page).await?;
            pages.fill(self.run, number, &page);
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
        let mapping = Mapping {
            shared: true,
            backing: Some((pages.clone(), self.run.offset())),
            ..Mapping::anonymous(self.len, Prot::READ | Prot::WRITE)
        };
        task.space().map(mapping.at(Placement::Fixed(self.addr))).await.map(drop)
    }
}
