//! A write barrier, as a garbage collector has it: between two collections the old generation's pages are read-only, and the first store to each
//! marks it to be scanned. Stores behind the first cost nothing.

use super::receiver;
use crate::case::Outcome;
use crate::process::{PAGE, RW, map};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::mm::PROT_READ;
use rt::raw::{self, take_traps};
use rt::uintr::traps::{Causes, Kind, Next, Trapped};

/// Pages of the old generation.
const PAGES: usize = 32;

struct Generation {
    start: usize,
    /// Pages that were stored to since the last collection, a bit each.
    dirty: AtomicU32,
    /// Stores that were stopped.
    stopped: AtomicU32,
}

impl Generation {
    fn new() -> rt::io::Result<Self> {
        Ok(Self { start: map(PAGES * PAGE, RW)?, dirty: AtomicU32::new(0), stopped: AtomicU32::new(0) })
    }

    /// Begins a new interval: every page is clean.
    fn protect(&self) -> rt::io::Result<u32> {
        call!(MPROTECT, self.start, PAGES * PAGE, PROT_READ)?;
        Ok(self.dirty.swap(0, Relaxed))
    }

    /// Serves a store. One elsewhere is an error of the program.
    fn store(&self, trapped: &Trapped) -> Next {
        let page = trapped.address.wrapping_sub(self.start) / PAGE;
        if trapped.kind != Kind::Store || page >= PAGES {
            return Next::Signal;
        }
        self.dirty.fetch_or(1 << page, Relaxed);
        self.stopped.fetch_add(1, Relaxed);
        match call!(MPROTECT, self.start + page * PAGE, PAGE, RW) {
            Ok(_) => Next::Again,
            Err(_) => Next::Signal,
        }
    }
}

pub(super) fn write_barrier() -> Outcome {
    let receiver = receiver()?;
    let old: &'static Generation = Box::leak(Box::new(Generation::new()?));
    let barrier: &'static _ = Box::leak(Box::new(|trapped: &Trapped| old.store(trapped)));
    take_traps(&receiver, Causes::FAULTS, barrier)?;
    for round in 0..20 {
        old.protect()?;
        let mut expected = 0;
        for number in 0..200 {
            let page = (number * 7 + round) % (PAGES / 2);
            raw::store64(old.start + page * PAGE + number * 8, number as u64);
            equal!(raw::load64(old.start + page * PAGE + number * 8), number as u64);
            expected |= 1 << page;
        }
        equal!(old.dirty.load(Relaxed), expected);
        equal!(old.stopped.swap(0, Relaxed), expected.count_ones());
    }
    Ok(())
}
