//! Page faults and mappings.

use crate::measure::{Outcome, call, measure, measure_prepared};
use crate::processes::{fork, wait};
use rt::abi::mm::MADV_NOHUGEPAGE;
use rt::abi::nr;
use rt::{io, raw};

const PAGE: usize = 4096;
const PAGES: usize = 4096;

/// A mapping that is taken away when dropped.
struct Mapping(usize);

impl Mapping {
    fn new() -> io::Result<Self> {
        let base = call(nr::MMAP, &[0, PAGES * PAGE, 3, 0x22, usize::MAX, 0])?;
        let _ = call(nr::MADVISE, &[base, PAGES * PAGE, MADV_NOHUGEPAGE as usize]);
        Ok(Self(base))
    }

    fn touch(&self) {
        (0..PAGES).for_each(|page| raw::store8(self.0 + page * PAGE, 1));
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _ = call(nr::MUNMAP, &[self.0, PAGES * PAGE]);
    }
}

/// A child that has the same pages until this is dropped.
struct Sharer {
    hold: Option<rt::fs::File>,
    pid: i32,
}

impl Drop for Sharer {
    fn drop(&mut self) {
        self.hold = None;
        let _ = wait(self.pid);
    }
}

/// The first store to each page; the first after a fork; making and taking away mappings.
pub fn faults() -> Outcome {
    measure_prepared("page_fault", PAGES as u64, Mapping::new, |mapping| {
        mapping.touch();
        Ok(())
    })?;
    let shared = || {
        let mapping = Mapping::new()?;
        mapping.touch();
        // The child keeps the pages shared until it is gone, so the copies are made here.
        let (mut go, hold) = rt::pipe::pipe()?;
        let raw_hold = hold.fd().raw();
        let pid = fork(|| {
            let _ = call(nr::CLOSE, &[raw_hold as usize]);
            let _ = io::Read::read(&mut go, &mut [0]);
        })?;
        Ok((mapping, Sharer { hold: Some(hold), pid }))
    };
    measure_prepared("copy_fault", PAGES as u64, shared, |(mapping, _)| {
        mapping.touch();
        Ok(())
    })?;
    measure("mmap_touch_munmap", 5_000, |count| {
        for _ in 0..count {
            let base = call(nr::MMAP, &[0, PAGE, 3, 0x22, usize::MAX, 0])?;
            raw::store8(base, 1);
            call(nr::MUNMAP, &[base, PAGE])?;
        }
        Ok(())
    })?;
    measure_prepared("unmap_page", PAGES as u64, touched, |mapping| {
        *mapping = None;
        Ok(())
    })
}

fn touched() -> io::Result<Option<Mapping>> {
    let mapping = Mapping::new()?;
    mapping.touch();
    Ok(Some(mapping))
}
