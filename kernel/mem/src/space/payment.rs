//! What a space owes its account: pages, page tables, regions, notes.
//!
//! Everything is paid before it comes into being. Some charge is kept ahead, so that most faults do not touch the
//! account.

use super::State;
use abi::errno::Errno;
use core::ops::Range;
use hal::{PAGE_SIZE, space::NoFrame};

/// Pages charged ahead, so that most faults do not touch the account.
const SPARE_PAGES: usize = 8;
/// What a region costs in bytes: its share of the map's nodes, and an object of its own.
const REGION: usize = 384;
/// What a private copy of an object's page costs besides the page: its note in a set.
const COPY_NOTE: usize = 32;
/// Regions that stay paid for although they are gone.
const SPARE_REGIONS: usize = 16;

impl State {
    /// Pays for one page.
    #[inline]
    pub fn pay(&mut self) -> bool {
        self.pay_bytes(PAGE_SIZE)
    }

    #[inline]
    fn pay_bytes(&mut self, bytes: usize) -> bool {
        if self.spare < bytes && !self.refill(bytes) {
            return false;
        }
        self.spare -= bytes;
        true
    }

    #[cold]
    fn refill(&mut self, bytes: usize) -> bool {
        if self.account.fails() {
            return false;
        }
        for bytes in [bytes + SPARE_PAGES * PAGE_SIZE, bytes] {
            if self.account.admit(bytes) {
                self.spare += bytes;
                self.charged += bytes;
                return true;
            }
        }
        false
    }

    /// Gives one page's charge back (to the spare ones first).
    pub fn refund(&mut self) {
        self.refund_bytes(PAGE_SIZE);
    }

    fn refund_bytes(&mut self, bytes: usize) {
        self.spare += bytes;
        if self.spare > 2 * SPARE_PAGES * PAGE_SIZE {
            self.trim();
        }
    }

    /// Pays for a private copy of an object's page.
    pub fn pay_copy(&mut self) -> bool {
        self.pay_bytes(PAGE_SIZE + COPY_NOTE)
    }

    /// Gives the charge of a private copy back.
    pub fn refund_copy(&mut self) {
        self.refund_bytes(PAGE_SIZE + COPY_NOTE);
    }

    /// Pays for `count` regions in all, so that none of them comes into being unpaid.
    pub fn pay_regions(&mut self, count: usize) -> Result<(), Errno> {
        let more = count.saturating_sub(self.paid_regions);
        if more > 0 && !self.pay_bytes(more * REGION) {
            return Err(Errno::ENOMEM);
        }
        self.paid_regions += more;
        Ok(())
    }

    /// Gives back what is paid for regions that are gone.
    pub fn trim_regions(&mut self) {
        let gone = self.paid_regions.saturating_sub(self.regions.count() + SPARE_REGIONS);
        if gone > 0 {
            self.paid_regions -= gone;
            self.refund_bytes(gone * REGION);
        }
    }

    /// Admits the cuts at both ends of `range` and `extra` more regions, and pays for them.
    pub fn admit(&mut self, range: &Range<usize>, extra: usize) -> Result<(), Errno> {
        let count = self.regions.admit(range, extra)?;
        self.pay_regions(count)
    }

    /// Gives all spare charge back.
    pub fn trim(&mut self) {
        self.account.give(self.spare);
        self.charged -= self.spare;
        self.spare = 0;
    }

    /// Makes and pays the tables for a page. After an error nothing is owed.
    #[cold]
    pub fn prepare(&mut self, page: usize) -> Result<(), NoFrame> {
        let missing = self.pages.tables_missing(page);
        for paid in 0..missing {
            if !self.pay() {
                (0..paid).for_each(|_| self.refund());
                return Err(NoFrame);
            }
        }
        let before = self.pages.table_frames();
        let made = self.pages.create_tables(page);
        let new = self.pages.table_frames() - before;
        self.tables += new;
        (new..missing).for_each(|_| self.refund());
        made
    }

    /// A page table has left the space.
    pub fn refund_table(&mut self) {
        self.tables -= 1;
        self.refund();
    }

    /// Bytes charged for pages and tables in use.
    pub fn paid(&self) -> usize {
        self.charged - self.spare
    }
}
