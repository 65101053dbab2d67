//! The memory of tasks: places in chunks, which the kernel finds when somebody wants to know what the process does
//! (`sched::census` says how).
//!
//! A task of a size that the heap has bins for gets a place of that size in a chunk, which is a page; free places are in a bin, as
//! the heap's pieces are, so a task costs what any piece costs. Larger ones have a chunk each, from the heap. When a bin is
//! full, pages in which nothing is left are there for any bin again, and it may keep twice as many as it has then, or half as
//! many as there are tasks: so looking through all of them costs each task little.
//!
//! Chunks and their lists are touched under the lock. The kernel reads them at any time; what it gets then is its own affair.

use crate::heap::{self, BINS, Bin, Locked, bin, bins, piece};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use sched::census::{Chunk, HEAD, LISTS, MAGIC, OPS};
use task::Memory;

/// Bytes of a chunk of several places, and its alignment.
const PAGE: usize = 4096;
/// Bytes that are asked of the kernel at a time.
const REGION: usize = 64 * PAGE;

/// Where each list begins: one for each bin, and one for the chunks of one place.
static HEADS: [AtomicPtr<Chunk>; LISTS] = [const { AtomicPtr::new(ptr::null_mut()) }; LISTS];
const ALONE: usize = BINS;
const _: () = assert!(LISTS == BINS + 1);

/// What is free.
struct Free {
    bins: [Bin; BINS],
    /// Pages that were chunks, linked by their heads.
    pages: *mut Chunk,
    /// Where the pages begin that were none yet, and how many there are.
    fresh: *mut u8,
    left: usize,
}

static FREE: Locked<Free> = Locked::new(Free { bins: bins(), pages: ptr::null_mut(), fresh: ptr::null_mut(), left: 0 });

/// Whether somebody takes or gives back a place.
pub(crate) fn is_locked() -> bool {
    FREE.is_held()
}

/// Where the kernel finds the lists.
pub(crate) fn lists() -> usize {
    HEADS.as_ptr().expose_provenance()
}

/// The memory of tasks.
pub(crate) struct Chunks;

// SAFETY: places of a bin have at least the size and alignment of what is asked for, each for one owner until it is given back;
// so does what is alone in its chunk.
unsafe impl Memory for Chunks {
    #[inline]
    fn allocate(layout: Layout) -> *mut u8 {
        let Some(bin) = bin(layout) else { return alone(layout) };
        match FREE.with(|free| free.bins[bin].take()) {
            Some(place) => place.as_ptr(),
            None => refill(bin),
        }
    }

    #[inline]
    unsafe fn deallocate(at: *mut u8, layout: Layout) {
        let Some(bin) = bin(layout) else {
            // SAFETY: by contract, and `allocate` has gone the same way.
            return unsafe { end_alone(at, layout) };
        };
        // SAFETY: by contract, a place of this bin, which is nobody's now and has room for a header.
        unsafe {
            mark_free(at);
            let place = NonNull::new_unchecked(at);
            if !FREE.with(|free| free.bins[bin].put(place)) {
                sweep(bin, place);
            }
        }
    }
}

/// What the census tells a free place by.
///
/// # Safety
/// It has room for a header, and is nobody's.
#[inline]
unsafe fn mark_free(place: *mut u8) {
    // SAFETY: by contract, and aligned as a header is.
    unsafe { place.add(OPS).cast::<*mut u8>().write(ptr::null_mut()) };
}

/// A chunk more for a bin; answers one of its places, null without memory.
#[cold]
#[inline(never)]
fn refill(bin: usize) -> *mut u8 {
    let stride = piece(bin).size();
    let places = (PAGE - HEAD) / stride;
    FREE.with(|free| {
        // Another thread may have been faster. A bin that is empty keeps more than a chunk has places.
        if let Some(place) = free.bins[bin].take() {
            return place.as_ptr();
        }
        let Some(base) = free.page() else { return ptr::null_mut() };
        let place = |index: usize| base.wrapping_add(HEAD + index * stride);
        // SAFETY: a page of nobody's, which holds the head and the places; those are of this bin.
        unsafe {
            (0..places).for_each(|index| mark_free(place(index)));
            link(bin, base.cast(), places, stride);
            (1..places).rev().for_each(|index| {
                let _ = free.bins[bin].put(NonNull::new_unchecked(place(index)));
            });
        }
        place(0)
    })
}

impl Free {
    /// A page of nobody's.
    fn page(&mut self) -> Option<*mut u8> {
        let page = self.pages;
        // SAFETY: a page in the list was a chunk, whose head is still there.
        if let Some(chunk) = unsafe { page.as_ref() } {
            self.pages = chunk.next;
            return Some(page.cast());
        }
        if self.left == 0 {
            self.fresh = ptr::with_exposed_provenance_mut(heap::map(REGION).ok()?);
            self.left = REGION / PAGE;
        }
        let page = self.fresh;
        (self.fresh, self.left) = (page.wrapping_add(PAGE), self.left - 1);
        Some(page)
    }

    /// Empties the bin; pages with nothing but free places are free then, the places of others are back in the bin.
    ///
    /// # Safety
    /// The places in `rest` are free ones of this bin that are not in it.
    unsafe fn sweep(&mut self, bin: usize, rest: NonNull<u8>) {
        let mut kept = core::mem::replace(&mut self.bins[bin], Bin::that_keeps(bin, 0));
        let (mut chain, mut free) = (Bin::that_keeps(bin, usize::MAX), 1);
        // SAFETY: places are of this bin and in chunks of its list, whose heads are touched under the lock only.
        unsafe {
            let _ = chain.put(rest);
            (*chunk_of(rest)).free += 1;
            while let Some(place) = kept.take() {
                let _ = chain.put(place);
                (*chunk_of(place)).free += 1;
                free += 1;
            }
        }
        let mut live = 0;
        // SAFETY: as above.
        unsafe { each(bin, |chunk| live += usize::from((*chunk).places - (*chunk).free)) };
        self.bins[bin] = Bin::that_keeps(bin, (2 * free).max(live / 2));
        while let Some(place) = chain.take() {
            // SAFETY: as above. A bin that keeps as many as it had has room for them.
            unsafe {
                let chunk = chunk_of(place);
                if (*chunk).free != (*chunk).places {
                    let _ = self.bins[bin].put(place);
                }
            }
        }
        let pages = &mut self.pages;
        // SAFETY: as above; nobody has a place of a chunk whose places are all free, and none of them is in the bin.
        unsafe {
            each(bin, |chunk| {
                if (*chunk).free == (*chunk).places {
                    unlink(bin, chunk);
                    (*chunk).next = *pages;
                    *pages = chunk;
                }
                (*chunk).free = 0;
            });
        }
    }
}

/// The bin is full, and this is one place more.
///
/// # Safety
/// It is a free place of this bin that is not in it.
#[cold]
#[inline(never)]
unsafe fn sweep(bin: usize, place: NonNull<u8>) {
    // SAFETY: by contract.
    FREE.with(|free| unsafe { free.sweep(bin, place) });
}

/// The chunk that a place of a bin lies in.
fn chunk_of(place: NonNull<u8>) -> *mut Chunk {
    place.as_ptr().map_addr(|address| address & !(PAGE - 1)).cast()
}

/// Calls `act` for the chunks of a list; it may take the chunk out.
///
/// # Safety
/// Under the lock.
unsafe fn each(list: usize, mut act: impl FnMut(*mut Chunk)) {
    let mut chunk = HEADS[list].load(Ordering::Relaxed);
    while !chunk.is_null() {
        // SAFETY: what is in a list is a chunk.
        let next = unsafe { (*chunk).next };
        act(chunk);
        chunk = next;
    }
}

/// Puts a chunk into a list.
///
/// # Safety
/// Its memory is the caller's; under the lock.
unsafe fn link(list: usize, chunk: *mut Chunk, places: usize, stride: usize) {
    // Relaxed, as everywhere: written under the lock only.
    let next = HEADS[list].load(Ordering::Relaxed);
    let (places, stride) = (places as u16, stride as u64);
    // SAFETY: by contract; what is in the list is a chunk.
    unsafe {
        chunk.write(Chunk { next, before: ptr::null_mut(), magic: MAGIC, places, free: 0, stride });
        if let Some(next) = next.as_mut() {
            next.before = chunk;
        }
    }
    HEADS[list].store(chunk, Ordering::Relaxed);
}

/// Takes a chunk out of its list.
///
/// # Safety
/// It is in there; under the lock.
unsafe fn unlink(list: usize, chunk: *mut Chunk) {
    // SAFETY: by contract, and so are its neighbours.
    unsafe {
        let (next, before) = ((*chunk).next, (*chunk).before);
        (*chunk).magic = 0;
        if let Some(next) = next.as_mut() {
            next.before = before;
        }
        match before.as_mut() {
            Some(before) => before.next = next,
            None => HEADS[list].store(next, Ordering::Relaxed),
        }
    }
}

/// How a chunk with one place of this layout lies: the whole, and where the place begins. The head is right before it.
fn around(layout: Layout) -> Option<(Layout, usize)> {
    let (head, align) = (Layout::new::<Chunk>(), layout.align().max(align_of::<Chunk>()));
    let begin = head.size().checked_next_multiple_of(align)?;
    let whole = Layout::from_size_align(begin.checked_add(layout.size())?, align).ok()?;
    Some((whole, begin))
}

/// A place in a chunk of its own.
#[cold]
#[inline(never)]
fn alone(layout: Layout) -> *mut u8 {
    let Some((whole, begin)) = around(layout) else { return ptr::null_mut() };
    // SAFETY: not of size zero.
    let base = unsafe { alloc(whole) };
    if base.is_null() {
        return base;
    }
    // SAFETY: within what was allocated, and aligned: `around` says so.
    unsafe {
        let place = base.add(begin);
        mark_free(place);
        FREE.with(|_| link(ALONE, place.sub(HEAD).cast(), 1, layout.size()));
        place
    }
}

/// # Safety
/// [`alone`] answered this for the same layout, and it is nobody's any more.
#[cold]
#[inline(never)]
unsafe fn end_alone(place: *mut u8, layout: Layout) {
    let Some((whole, begin)) = around(layout) else { return };
    // SAFETY: by contract, so its head is before it, in the list.
    unsafe {
        FREE.with(|_| unlink(ALONE, place.sub(HEAD).cast()));
        dealloc(place.sub(begin), whole);
    }
}
