//! Pages that their owner can take back from the spaces that map them: doorbells of user interrupts, words of a receiver.
//!
//! **Why no mapping is missed.** A fault notes the loan, then asks what the page is, then maps it if its region still has the stamp that it had.
//! Who takes the pages back first changes what the answer is, then takes each loan that was noted out of its space, and gives the region
//! another stamp: a fault that had the old answer begins again, and one that notes its loan later gets the new one.

use crate::{
    room::Room,
    space::{AddressSpace, State},
};
use abi::errno::Errno;
use alloc::{sync::Weak, vec::Vec};
use hal::{
    frame::Frame,
    space::DevicePage,
    sync::{SpinLock, rank},
};

/// Mappings of one object at most.
const MOST: usize = 64;

/// Where a page is mapped.
#[derive(Clone)]
pub struct Loan {
    space: Weak<AddressSpace>,
    page: usize,
}

impl Loan {
    pub(crate) fn new(space: Weak<AddressSpace>, page: usize) -> Self {
        Self { space, page }
    }
}

/// What is lent.
pub enum Lent {
    /// A page of memory.
    Frame(Frame),
    /// A page of a device.
    Device(DevicePage),
    /// A device's page that is not there now: whoever knows the object does what a store there means
    /// ([`FaultError::Doorbell`](crate::FaultError::Doorbell)).
    Absent,
}

/// The mappings of an object's pages.
pub struct Loans {
    /// The object's [`Backing::id`](crate::Backing::id).
    object: u64,
    mapped: SpinLock<Vec<Loan>>,
}

impl Loans {
    /// None of `object` yet.
    #[must_use]
    pub fn new(object: u64) -> Self {
        Self { object, mapped: SpinLock::new(rank::SHARED_MEMORY, Vec::new()) }
    }

    /// Notes one, before its page is looked up.
    ///
    /// # Errors
    /// `ENOSPC`: it is mapped in too many places; `ENOMEM`.
    pub fn note(&self, loan: Loan) -> Result<(), Errno> {
        let mut mapped = self.mapped.lock();
        if mapped.iter().any(|other| other.page == loan.page && other.space.ptr_eq(&loan.space)) {
            return Ok(());
        }
        if mapped.len() >= MOST {
            mapped.retain(|other| other.space.strong_count() > 0);
        }
        if mapped.len() >= MOST {
            // Not for want of memory: whoever waited for that would wait for ever.
            return Err(Errno::ENOSPC);
        }
        mapped.make_room(1)?;
        mapped.push(loan);
        Ok(())
    }

    /// Takes page `index`, or all, out of every space; when it is over, nobody uses what was lent before the call. What is asked for from now on must have
    /// another answer already.
    ///
    /// Dropped before, the pages are out of the tables, and harts may still use what they remember.
    pub async fn take_back(&self, index: Option<u64>) {
        let mapped = self.mapped.lock().clone();
        let spaces: Vec<_> = mapped.iter().filter_map(|loan| Some((loan.space.upgrade()?, loan.page))).collect();
        for (space, page) in &spaces {
            space.take_out(*page, self.object, index);
        }
        for (space, _) in &spaces {
            space.settle().await;
        }
    }
}

impl AddressSpace {
    /// Takes a page out if it is one of `object`.
    fn take_out(&self, page: usize, object: u64, index: Option<u64>) {
        let free = self.state.lock().take_out(page, object, index);
        drop(free); // not under the lock
    }
}

impl State {
    fn take_out(&mut self, page: usize, object: u64, index: Option<u64>) -> Vec<Frame> {
        let Some((start, region)) = self.regions.find(page) else { return Vec::new() };
        let is_it = region
            .page_of(start, page)
            .is_some_and(|(backing, at)| backing.id() == object && index.is_none_or(|index| index == at));
        if !is_it {
            return Vec::new();
        }
        if let Some(region) = self.regions.at(start) {
            region.stamp = crate::backing::new_object_id();
        }
        let Some(gone) = self.pages.unmap(page) else {
            return Vec::new(); // who took it out retired it
        };
        let frame = gone.frame();
        if frame.is_some() {
            self.most_resident = self.most_resident.max(self.resident);
            self.resident -= 1;
        }
        self.retire_or_free(frame.into_iter().collect())
    }
}
