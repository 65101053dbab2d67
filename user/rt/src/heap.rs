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
pub(crate) struct Bin {
    first: *mut u8,
    /// How many more it may keep.
    room: usize,
}

impl Bin {
    #[inline]
    pub(crate) fn take(&mut self) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: `put` has written it, and nobody has the piece since.
        self.first = unsafe { first.cast::<*mut u8>().read() };
        self.room += 1;
        Some(first)
    }

    /// `false` if the bin is full.
    ///
    /// # Safety
    ///
    /// The piece is of this bin's size and nobody's.
    #[inline]
    pub(crate) unsafe fn put(&mut self, piece: NonNull<u8>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        // SAFETY: by contract it has room for a pointer, and is aligned to it.
        unsafe { piece.cast::<*mut u8>().write(self.first) };
        self.first = piece.as_ptr();
        true
    }

    /// An empty one that keeps as many as `bins` says, or `most` if that is more.
    pub(crate) fn that_keeps(bin: usize, most: usize) -> Self {
        Self { first: ptr::null_mut(), room: most.max(KEPT / piece(bin).size()) }
    }
}

pub(crate) const BINS: usize = SMALL / STEP;

/// The empty bins; the first is that of the pieces of one step.
pub(crate) const fn bins() -> [Bin; BINS] {
    let mut bins = [Bin { first: ptr::null_mut(), room: 0 }; BINS];
    let mut number = 0;
    while number < BINS {
        bins[number].room = KEPT / piece(number).size();
        number += 1;
    }
    bins
}

/// The bin for a request, if it is small.
#[inline]
pub(crate) fn bin(layout: Layout) -> Option<usize> {
    let number = layout.size().wrapping_sub(1) / STEP;
    (number < BINS && layout.align() <= STEP).then_some(number)
}

/// What a bin's pieces are.
pub(crate) const fn piece(bin: usize) -> Layout {
    match Layout::from_size_align((bin + 1) * STEP, STEP) {
        Ok(layout) => layout,
        Err(_) => Layout::new::<u128>(),
    }
}

/// What the lock protects.
struct Memory {
    bins: [Bin; BINS],
    general: Talc<Mapped, DefaultBinning>,
}

/// What belongs to an allocator, under its lock: what is done with it does not allocate.
pub(crate) struct Locked<T> {
    lock: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the value is touched under the lock; it is the pieces of memory that lie in it, which are no thread's.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: RawMutex::new(), value: UnsafeCell::new(value) }
    }

    /// Whether somebody has it.
    pub(crate) fn is_held(&self) -> bool {
        self.lock.is_held()
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        self.lock.lock();
        // SAFETY: under the lock, and `act` does not come back here: it does not allocate.
        let answer = act(unsafe { &mut *self.value.get() });
        // SAFETY: taken above.
        unsafe { self.lock.unlock() };
        answer
    }
}

type Heap = Locked<Memory>;

impl Heap {
    #[cold]
    #[inline(never)]
    fn alloc_general(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not zero: that of a request by contract of `alloc`, that of a piece in any case.
        self.with(|memory| unsafe { memory.general.allocate(layout) }).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// # Safety
    /// It comes from `alloc_general` with this layout, and is nobody's any more.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_general(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: by contract.
        self.with(|memory| unsafe { memory.general.deallocate(piece, layout) });
    }
}

// SAFETY: pieces are the general allocator's, each for one owner until it is given back, and as large and aligned as asked;
// a piece in a bin is nobody's.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(bin) = bin(layout) else { return self.alloc_general(layout) };
        match self.with(|memory| memory.bins[bin].take()) {
            Some(piece) => piece.as_ptr(),
            None => self.alloc_general(piece(bin)),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let bin = bin(layout);
        // SAFETY: by contract; a small one was allocated as a piece.
        unsafe {
            match bin {
                None => self.dealloc_general(at, layout),
                Some(bin) if self.with(|memory| memory.bins[bin].put(NonNull::new_unchecked(at))) => {}
                Some(bin) => self.dealloc_general(at, piece(bin)),
            }
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by contract the size is one of a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let stays = match (bin(layout), bin(wanted)) {
            (Some(now), Some(then)) => now == then,
            // SAFETY: neither is small, so the piece was allocated with this layout.
            (None, None) => self.with(|memory| unsafe { memory.general.try_realloc_in_place(at, layout, size) }),
            _ => false,
        };
        if stays {
            return at;
        }
        // SAFETY: by contract; the new piece is another, and both have as many bytes.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(at, new, layout.size().min(size));
                self.dealloc(at, layout);
            }
            new
        }
    }
}

/// Whether somebody is in the allocator.
pub(crate) fn is_locked() -> bool {
    HEAP.is_held()
}

#[global_allocator]
static HEAP: Heap = Heap::new(Memory { bins: bins(), general: Talc::new(Mapped) });
