//! A pager of its own: a region that is larger than the memory for it, filled at the first access, with the page written back that was filled first.

use super::receiver;
use crate::case::Outcome;
use crate::process::{PAGE, RW, map};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use rt::abi::mm::{PROT_NONE, PROT_READ};
use rt::raw::{self, take_traps};
use rt::uintr::traps::{Causes, Kind, Next, Trapped};

/// Pages of the region, and how many are there at a time.
const PAGES: usize = 64;
const PRESENT: usize = 8;

struct Pager {
    start: usize,
    /// What the pages hold while they are not there.
    store: usize,
    /// Those that are there by the order of their coming, each its number plus one.
    present: [AtomicUsize; PRESENT],
    fills: AtomicUsize,
    written_back: AtomicUsize,
}

impl Pager {
    fn new() -> rt::io::Result<Self> {
        let (start, store) = (map(PAGES * PAGE, PROT_NONE)?, map(PAGES * PAGE, RW)?);
        for page in 0..PAGES {
            raw::store64(store + page * PAGE, page as u64 + 1);
        }
        let present = [const { AtomicUsize::new(0) }; PRESENT];
        Ok(Self { start, store, present, fills: AtomicUsize::new(0), written_back: AtomicUsize::new(0) })
    }

    fn serve(&self, trapped: &Trapped) -> Next {
        let page = trapped.address.wrapping_sub(self.start) / PAGE;
        if page >= PAGES {
            return Next::Signal;
        }
        let served = match self.present.iter().any(|known| known.load(Relaxed) == page + 1) {
            // It is there to be read: the first store makes it one to be written back.
            true if trapped.kind == Kind::Store => call!(MPROTECT, self.start + page * PAGE, PAGE, RW).is_ok(),
            true => return Next::Signal,
            false => self.fill(page).is_ok(),
        };
        if served { Next::Again } else { Next::Signal }
    }

    fn fill(&self, page: usize) -> rt::io::Result<()> {
        let place = &self.present[self.fills.fetch_add(1, Relaxed) % PRESENT];
        if let Some(old) = place.load(Relaxed).checked_sub(1) {
            let address = self.start + old * PAGE;
            raw::bytes(self.store + old * PAGE, PAGE).copy_from_slice(raw::bytes(address, PAGE));
            self.written_back.fetch_add(1, Relaxed);
            call!(MADVISE, address, PAGE, rt::abi::mm::MADV_DONTNEED)?;
            call!(MPROTECT, address, PAGE, PROT_NONE)?;
        }
        let address = self.start + page * PAGE;
        call!(MPROTECT, address, PAGE, RW)?;
        raw::bytes(address, PAGE).copy_from_slice(raw::bytes(self.store + page * PAGE, PAGE));
        call!(MPROTECT, address, PAGE, PROT_READ)?;
        place.store(page + 1, Relaxed);
        Ok(())
    }
}

pub(super) fn pages_on_demand() -> Outcome {
    let receiver = receiver()?;
    let pager: &'static Pager = Box::leak(Box::new(Pager::new()?));
    let serve: &'static _ = Box::leak(Box::new(|trapped: &Trapped| pager.serve(trapped)));
    take_traps(&receiver, Causes::FAULTS, serve)?;
    for round in 0..3 {
        for page in 0..PAGES {
            let address = pager.start + page * PAGE;
            equal!(raw::load64(address), page as u64 + 1 + round);
            raw::store64(address, page as u64 + 2 + round);
        }
    }
    equal!(pager.fills.load(Relaxed), 3 * PAGES);
    equal!(pager.written_back.load(Relaxed), 3 * PAGES - PRESENT);
    Ok(())
}
