//! The global allocator: bins of small pieces over `talc`, under a futex lock, growing by `mmap`.
//!
//! Memory is asked for in regions of at least [`GROWTH`] bytes and never given back; the kernel backs a page only when it
//! is touched, so a region costs what is used of it.
//!
//! A freed piece of up to [`SMALL`] bytes goes to the bin of its size, up to [`KEPT`] bytes a bin, and the next request of
//! that size takes it from there: what a program makes and drops all the time, as tasks, does not go through the general
//! allocator's search and joining of neighbours each time.

use crate::sync::RawMutex;
use crate::sys;
use abi::mm::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use talc::DefaultBinning;
use talc::base::{Talc, binning::Binning};
use talc::lock_api::RawMutex as _;
use talc::source::Source;

/// Least size of a region in bytes.
const GROWTH: usize = 256 * 1024;
/// What the allocator itself needs of a region: bin table, headers, rounding.
const OVERHEAD: usize = 16 * 1024;
/// The sizes of small pieces are multiples of this, and they are aligned to it.
const STEP: usize = 16;
/// The most bytes of a small piece.
const SMALL: usize = 512;
/// The most bytes that a bin keeps.
const KEPT: usize = 64 * 1024;

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

/// Free pieces of one size; each has the address of the next at its start.
#[derive(Clone, Copy)]
struct Bin {
    first: *mut u8,
    bytes: usize,
}

impl Bin {
    const EMPTY: Self = Self { first: ptr::null_mut(), bytes: 0 };

    #[inline]
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: `put` has written it, and nobody has the piece since.
        self.first = unsafe { first.cast::<*mut u8>().read() };
        self.bytes -= size;
        Some(first)
    }

    /// `false` if the bin is full.
    ///
    /// # Safety
    ///
    /// The piece has this size, is aligned to [`STEP`], and is nobody's.
    #[inline]
    unsafe fn put(&mut self, piece: *mut u8, size: usize) -> bool {
        if self.bytes + size > KEPT {
            return false;
        }
        // SAFETY: by contract it has room for a pointer.
        unsafe { piece.cast::<*mut u8>().write(self.first) };
        self.first = piece;
        self.bytes += size;
        true
    }
}

/// What the lock protects.
struct Memory {
    bins: [Bin; SMALL / STEP],
    general: Talc<Mapped, DefaultBinning>,
}

struct Heap {
    lock: RawMutex,
    memory: UnsafeCell<Memory>,
}

// SAFETY: the memory is touched under the lock.
unsafe impl Sync for Heap {}

/// What a small request gets: its size in whole steps. `None`: it is not small.
#[inline]
fn small(layout: Layout) -> Option<Layout> {
    if layout.size() > SMALL || layout.align() > STEP {
        return None;
    }
    Layout::from_size_align(layout.size().next_multiple_of(STEP), STEP).ok()
}

impl Heap {
    #[inline]
    fn with<R>(&self, act: impl FnOnce(&mut Memory) -> R) -> R {
        self.lock.lock();
        // SAFETY: under the lock, and `act` does not allocate.
        let answer = act(unsafe { &mut *self.memory.get() });
        // SAFETY: taken above.
        unsafe { self.lock.unlock() };
        answer
    }
}

impl Memory {
    /// # Safety
    /// The layout's size is not zero.
    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let small = small(layout);
        let kept = small.and_then(|piece| self.bins.get_mut(piece.size() / STEP - 1)?.take(piece.size()));
        // SAFETY: by contract.
        let piece = kept.or_else(|| unsafe { self.general.allocate(small.unwrap_or(layout)) });
        piece.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// # Safety
    /// The piece comes from [`alloc`](Self::alloc) with this layout, and is nobody's any more.
    #[inline]
    unsafe fn dealloc(&mut self, piece: *mut u8, layout: Layout) {
        let small = small(layout);
        let bin = small.and_then(|piece| self.bins.get_mut(piece.size() / STEP - 1));
        // SAFETY: by contract; it was allocated as `small` says.
        unsafe {
            let layout = small.unwrap_or(layout);
            if !bin.is_some_and(|bin| bin.put(piece, layout.size())) {
                self.general.deallocate(piece, layout);
            }
        }
    }
}

// SAFETY: pieces are the general allocator's, each for one owner until it is given back, and as large and aligned as asked;
// a piece in a bin is nobody's.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by contract.
        self.with(|memory| unsafe { memory.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: by contract.
        self.with(|memory| unsafe { memory.dealloc(piece, layout) });
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by contract the size is one of a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let stays = match (small(layout), small(wanted)) {
            (Some(now), Some(then)) => now == then,
            // SAFETY: neither is small, so the piece was allocated with this layout.
            (None, None) => self.with(|memory| unsafe { memory.general.try_realloc_in_place(piece, layout, size) }),
            _ => false,
        };
        if stays {
            return piece;
        }
        // SAFETY: by contract; the new piece is another, and both have as many bytes.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(piece, new, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            new
        }
    }
}

#[global_allocator]
static HEAP: Heap = Heap {
    lock: RawMutex::new(),
    memory: UnsafeCell::new(Memory { bins: [Bin::EMPTY; SMALL / STEP], general: Talc::new(Mapped) }),
};
