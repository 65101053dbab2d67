//! Pages that their owner can take back from the spaces that map them: doorbells of user interrupts, words of a receiver.
//!
//! **Why no mapping is missed.** A fault notes the loan, then asks what the page is, then maps it if its region still has the stamp that it had.
//! Who takes the pages back first changes what the answer is, then takes each loan that was noted out of its space, and gives the region
//! another stamp: a fault that had the old answer begins again, and one that notes its loan later gets the new one.
//!
//! **What is forgotten.** There is room for so many loans, made and paid with the object. When it is used up, those whose pages have left their spaces, and which
//! no hart sees any more, are forgotten; their regions get another stamp before, for a fault that has noted one and not come to map its page begins again then, and
//! notes it again. A loan that was noted again meanwhile stays.

use crate::{
    account::{Account, Charge},
    backing::new_object_id,
    region::Region,
    room::list,
    space::{AddressSpace, State},
};
use abi::errno::Errno;
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::iter;
use hal::{
    frame::Frame,
    space::{DevicePage, World},
    sync::{SpinLock, rank},
};

/// A space as those know it who lend to it: what they keep of it when it is gone.
pub(crate) struct Borrower(SpinLock<Weak<AddressSpace>>);

/// What a borrower takes beside itself: the counts of its holders.
const COUNTS: usize = 2 * size_of::<usize>();

impl Borrower {
    fn space(&self) -> Option<Arc<AddressSpace>> {
        self.0.lock().upgrade()
    }

    /// The space is at its end.
    pub(crate) fn leave(&self) {
        let space = core::mem::take(&mut *self.0.lock());
        drop(space); // not under the lock
    }

    /// Whether nothing of the space is kept.
    #[cfg(test)]
    pub(crate) fn is_gone(&self) -> bool {
        self.0.lock().ptr_eq(&Weak::new())
    }
}

/// Where a page is mapped.
#[derive(Clone)]
pub struct Loan {
    borrower: Arc<Borrower>,
    page: usize,
}

impl Loan {
    /// Address of the space that it is to, which lives while it faults: to be compared with one that lives, too.
    #[must_use]
    pub fn space(&self) -> *const AddressSpace {
        self.borrower.0.lock().as_ptr()
    }

    /// Whether the space that it is to is one of world `vm`, or there is none any more.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.borrower.space().is_none_or(|space| space.world() == World::Vm)
    }

    /// Whether both are to the same space, which may be gone by now.
    #[must_use]
    pub fn is_to_space_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.borrower, &other.borrower)
    }

    fn is(&self, other: &Self) -> bool {
        self.page == other.page && self.is_to_space_of(other)
    }

    /// Whether its page is out, for good; see the module head.
    fn is_returned(&self, object: u64) -> bool {
        self.borrower.space().is_none_or(|space| space.state.lock().is_returned(self.page, object))
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
    noted: SpinLock<Noted>,
    _charge: Charge,
}

/// In the order in which they were first noted.
struct Noted {
    /// Never more than there is room for.
    loans: Vec<Entry>,
    most: usize,
    /// How many were noted so far.
    count: u64,
}

struct Entry {
    number: u64,
    /// How often it was noted.
    times: u64,
    loan: Loan,
}

impl Noted {
    /// `false`: there is no room.
    fn add(&mut self, loan: &Loan) -> bool {
        if let Some(known) = self.loans.iter_mut().find(|known| known.loan.is(loan)) {
            known.times += 1;
            return true;
        }
        let has_room = self.loans.len() < self.most;
        if has_room {
            self.loans.push(Entry { number: self.count, times: 1, loan: loan.clone() });
            self.count += 1;
        }
        has_room
    }
}

impl Loans {
    /// None of `object` yet, and room for `most`, which `account` pays.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(object: u64, most: usize, account: &Arc<Account>) -> Result<Self, Errno> {
        let charge = account.charge(most * (size_of::<Entry>() + size_of::<Borrower>() + COUNTS))?;
        let loans = list(most)?;
        let noted = SpinLock::new(rank::SHARED_MEMORY, Noted { loans, most, count: 0 });
        Ok(Self { object, noted, _charge: charge })
    }

    /// Notes one, before its page is looked up.
    ///
    /// # Errors
    /// `ENOSPC`: it is mapped in too many places. Not for want of memory: whoever waited for that would wait for ever.
    pub fn note(&self, loan: &Loan) -> Result<(), Errno> {
        if self.noted.lock().add(loan) {
            return Ok(());
        }
        for (number, times, loan) in self.all() {
            if loan.is_returned(self.object) {
                let noted = &mut self.noted.lock().loans;
                noted.retain(|entry| entry.number != number || entry.times != times);
            }
        }
        if self.noted.lock().add(loan) { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Those noted until now, by number and how often, as far as they are not forgotten meanwhile.
    fn all(&self) -> impl Iterator<Item = (u64, u64, Loan)> {
        let mut next = 0;
        let end = self.noted.lock().count;
        iter::from_fn(move || {
            let noted = self.noted.lock();
            let at = noted.loans.partition_point(|entry| entry.number < next);
            let entry = noted.loans.get(at).filter(|entry| entry.number < end)?;
            next = entry.number + 1;
            Some((entry.number, entry.times, entry.loan.clone()))
        })
    }

    /// Takes page `index`, or all, out of every space; when it is over, nobody uses what was lent before the call. What is asked for from now on must have
    /// another answer already.
    ///
    /// Dropped before, the pages are out of the tables, and harts may still use what they remember.
    pub async fn take_back(&self, index: Option<u64>) {
        self.take_out(index);
        // What was forgotten since was seen by no hart any more. What was noted since may be here, too.
        for (space, _) in self.spaces() {
            space.settle().await;
        }
    }

    /// The first half of that, for who cannot wait: the pages are out of the tables, and harts are told to forget them, which they will have soon.
    pub fn take_out(&self, index: Option<u64>) {
        for (space, page) in self.spaces() {
            space.take_out(page, self.object, index);
        }
    }

    fn spaces(&self) -> impl Iterator<Item = (Arc<AddressSpace>, usize)> {
        self.all().filter_map(|(_, _, loan)| Some((loan.borrower.space()?, loan.page)))
    }
}

impl AddressSpace {
    /// Of a page of it.
    pub(crate) fn loan(&self, page: usize) -> Loan {
        let borrower = || Arc::new(Borrower(SpinLock::new(rank::SHARED_MEMORY, self.me.clone())));
        let borrower = self.state.lock().borrower.get_or_insert_with(borrower).clone();
        Loan { borrower, page }
    }

    /// Takes a page out if it is one of `object`.
    fn take_out(&self, page: usize, object: u64, index: Option<u64>) {
        let free = self.state.lock().take_out(page, object, index);
        drop(free); // not under the lock
    }
}

impl State {
    /// The region whose page is one of `object`, that one or any.
    fn region_of(&mut self, page: usize, object: u64, index: Option<u64>) -> Option<&mut Region> {
        let (start, region) = self.regions.find(page)?;
        let (backing, at) = region.page_of(start, page)?;
        if backing.id() != object || index.is_some_and(|index| index != at) {
            return None;
        }
        self.regions.at(start)
    }

    fn is_returned(&mut self, page: usize, object: u64) -> bool {
        let is_mapped = self.pages.is_mapped(page);
        let settled = self.settled();
        match self.region_of(page, object, None) {
            Some(_) if is_mapped => false,
            Some(region) if settled => {
                region.stamp = new_object_id();
                true
            }
            _ => settled,
        }
    }

    fn take_out(&mut self, page: usize, object: u64, index: Option<u64>) -> Vec<Frame> {
        let Some(region) = self.region_of(page, object, index) else { return Vec::new() };
        region.stamp = new_object_id();
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
