//! The global allocator: `talc` under a futex lock, growing by `mmap`.
//!
//! Memory is asked for in pieces of at least [`GROWTH`] bytes and never given back; the kernel backs a page only when it
//! is touched, so a piece costs what is used of it.

use crate::sync::RawMutex;
use crate::sys;
use abi::mm::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};
use core::alloc::Layout;
use talc::TalcLock;
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

/// Least size of a piece in bytes.
const GROWTH: usize = 256 * 1024;
/// What the allocator itself needs of a piece: bin table, headers, rounding.
const OVERHEAD: usize = 16 * 1024;

#[derive(Debug)]
struct Mapped;

// SAFETY: `acquire` makes one system call and touches the allocator through the reference it was given only.
unsafe impl Source for Mapped {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let need = layout.size().checked_add(layout.align()).and_then(|n| n.checked_add(OVERHEAD)).ok_or(())?;
        let size = need.max(GROWTH).checked_next_multiple_of(4096).ok_or(())?;
        let base = map(size).map_err(|_| ())?;
        // SAFETY: the mapping is fresh, private, writable and this long; nobody else knows its address.
        unsafe { talc.claim(base as *mut u8, size) }.map(|_| ()).ok_or(())
    }
}

/// Maps `size` bytes of fresh memory.
pub(crate) fn map(size: usize) -> abi::errno::Result<usize> {
    let args = [0, size, (PROT_READ | PROT_WRITE) as usize, (MAP_PRIVATE | MAP_ANONYMOUS) as usize, usize::MAX, 0];
    // SAFETY: without MAP_FIXED the kernel chooses an unused range.
    unsafe { sys::call6(abi::nr::MMAP, args) }
}

#[global_allocator]
static HEAP: TalcLock<RawMutex, Mapped> = TalcLock::new(Mapped);
