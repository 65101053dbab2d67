//! The kernel's heap: size classes over pages.
//!
//! An allocation up to 2 KiB is an object of a class; a page (a *slab*) holds objects of one class. Each
//! hart keeps a stock of free objects per class, so that most allocations touch no lock; stocks are filled
//! from and emptied into the slabs in batches, and a slab with no object in use goes back to the page
//! allocator. Larger allocations are runs of pages.
//!
//! No library is used here because slabs must return pages: the kernel's memory is accounted in pages
//! (D13), and "memory back to where it was" is a bar.

use crate::frame::{Frame, FrameRun};
use crate::sizes::{ALIGNMENT, CLASSES, LARGEST, SLAB_HEADER, class_of};
use crate::sync::{IrqLock, rank};
use crate::{PAGE_SIZE, arch, hart};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Objects that move between a hart's stock and the slabs at once.
const BATCH: usize = 16;

/// A free object, linked through its first word.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Object(*mut Object);

/// Start of each slab.
#[repr(C)]
struct Slab {
    /// Neighbours in the list of slabs with a free object.
    next: *mut Slab,
    previous: *mut Slab,
    free: *mut Object,
    /// Objects in use or in a hart's stock.
    used: usize,
}

const _: () = assert!(size_of::<Slab>() == SLAB_HEADER);

struct Class {
    partial: *mut Slab,
    slabs: usize,
    /// Objects in use or in a hart's stock.
    used: usize,
}

// SAFETY: the pointers are to slabs, which only the holder of the class's lock touches.
unsafe impl Send for Class {}

static SLABS: [IrqLock<Class>; CLASSES.len()] =
    [const { IrqLock::new(rank::HEAP, Class { partial: core::ptr::null_mut(), slabs: 0, used: 0 }) }; CLASSES.len()];

/// Free objects of a class that a hart keeps. Changed by that hart only, with interrupts off.
struct Stock {
    head: Cell<*mut Object>,
    /// Others read it, to count.
    len: AtomicUsize,
}

// SAFETY: `head` is touched by the stock's hart only, which does not leave it with interrupts off.
unsafe impl Sync for Stock {}

impl Stock {
    const fn new() -> Self {
        Self { head: Cell::new(core::ptr::null_mut()), len: AtomicUsize::new(0) }
    }

    /// # Safety
    /// The object is free memory of this class, at least a pointer large, and the caller's; the stock is this hart's, interrupts are off.
    #[inline]
    unsafe fn push(&self, object: *mut Object) -> usize {
        // SAFETY: the contract.
        unsafe { *object = Object(self.head.get()) };
        self.head.set(object);
        let len = self.len.load(Relaxed) + 1;
        self.len.store(len, Relaxed);
        len
    }

    /// # Safety
    /// The stock is this hart's, interrupts are off.
    #[inline]
    unsafe fn pop(&self) -> *mut Object {
        let object = self.head.get();
        if !object.is_null() {
            // SAFETY: an object in a stock is free memory that holds the link to the next one.
            self.head.set(unsafe { (*object).0 });
            self.len.store(self.len.load(Relaxed) - 1, Relaxed);
        }
        object
    }
}

static STOCKS: [[Stock; CLASSES.len()]; hart::MAX] = [const { [const { Stock::new() }; CLASSES.len()] }; hart::MAX];

/// The stock of this hart, as long as interrupts are off.
#[inline]
fn stock_of(class: usize) -> &'static Stock {
    &STOCKS[hart::id() & (hart::MAX - 1)][class]
}

static SLAB_PAGES: AtomicUsize = AtomicUsize::new(0);
static LARGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Sizes of runs that are told apart.
const RUN_SIZES: usize = 12;
/// Runs in use of up to 1, 2, 4, 8 ... pages; the last: of more.
static RUNS: [AtomicUsize; RUN_SIZES] = [const { AtomicUsize::new(0) }; RUN_SIZES];

fn runs_of(layout: Layout) -> &'static AtomicUsize {
    let order = pages(layout).next_power_of_two().trailing_zeros() as usize;
    &RUNS[order.min(RUN_SIZES - 1)]
}

/// Objects above the size classes that are in use, of up to so many pages each: 1, 2, 4 and so on, the last with all that are larger.
pub fn runs() -> [usize; RUN_SIZES] {
    core::array::from_fn(|order| RUNS[order].load(Relaxed))
}

/// Bytes of memory that the heap has taken from the page allocator.
pub fn bytes() -> usize {
    SLAB_PAGES.load(Relaxed) * PAGE_SIZE + LARGE_BYTES.load(Relaxed)
}

/// What a size class holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Size of its objects.
    pub size: usize,
    /// Objects in use. Where other harts take and give meanwhile, it may be off by what they do.
    pub used: usize,
    /// Pages.
    pub slabs: usize,
}

/// The size classes as they are now.
pub fn census() -> [Census; CLASSES.len()] {
    core::array::from_fn(|class| {
        let slabs = SLABS[class].lock();
        let in_stock: usize = STOCKS.iter().map(|stocks| stocks[class].len.load(Relaxed)).sum();
        Census { size: CLASSES[class], used: slabs.used.saturating_sub(in_stock), slabs: slabs.slabs }
    })
}

/// The kernel's allocator.
pub struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: blocks come from slabs or page runs that nothing else uses, are as large and aligned as the
// layout asks (classes are multiples of 16 and only serve alignments up to 16), and stay until `dealloc`.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= LARGEST && layout.align() <= ALIGNMENT {
            take(class_of(layout.size()))
        } else {
            take_large(layout)
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if layout.size() <= LARGEST && layout.align() <= ALIGNMENT {
            // SAFETY: the pointer is an object of this class, and the caller is done with it.
            unsafe { give(class_of(layout.size()), pointer.cast()) };
        } else {
            give_large(pointer, layout);
        }
    }
}

fn pages(layout: Layout) -> usize {
    layout.size().max(layout.align()).div_ceil(PAGE_SIZE)
}

fn take_large(layout: Layout) -> *mut u8 {
    match FrameRun::uninitialised_for_kernel(pages(layout)) {
        Some(run) => {
            LARGE_BYTES.fetch_add(run.len(), Relaxed);
            runs_of(layout).fetch_add(1, Relaxed);
            arch::physical_pointer(run.into_physical())
        }
        None => core::ptr::null_mut(),
    }
}

fn give_large(pointer: *mut u8, layout: Layout) {
    let physical = pointer as usize - riscv::boot::DIRECT_MAP;
    // SAFETY: `take_large` gave up this run of as many pages, and the caller returns it once.
    let run = unsafe { FrameRun::from_physical(physical, pages(layout)) };
    LARGE_BYTES.fetch_sub(run.len(), Relaxed);
    runs_of(layout).fetch_sub(1, Relaxed);
}

#[inline]
fn take(class: usize) -> *mut u8 {
    let enabled = arch::interrupts_off();
    let stock = stock_of(class);
    if stock.head.get().is_null() {
        fill(class, stock);
    }
    // SAFETY: this hart's stock, with interrupts off.
    let object = unsafe { stock.pop() };
    if enabled {
        arch::interrupts_on();
    }
    object.cast()
}

/// # Safety
/// `object` was taken from `class` and is no longer used.
#[inline]
unsafe fn give(class: usize, object: *mut Object) {
    let enabled = arch::interrupts_off();
    let stock = stock_of(class);
    // SAFETY: the object is free (contract); this hart's stock, with interrupts off.
    if unsafe { stock.push(object) } > 2 * BATCH {
        empty(class, stock);
    }
    if enabled {
        arch::interrupts_on();
    }
}

/// Moves a batch of objects from slabs to a stock.
#[cold]
fn fill(class: usize, stock: &Stock) {
    let mut slabs = SLABS[class].lock();
    for _ in 0..BATCH {
        if slabs.partial.is_null() && !add_slab(&mut slabs, class) {
            return;
        }
        let slab = slabs.partial;
        // SAFETY: a slab in the list has a free object; slabs are touched under the lock only. The stock is as in `take`.
        unsafe {
            let object = (*slab).free;
            (*slab).free = (*object).0;
            (*slab).used += 1;
            if (*slab).free.is_null() {
                unlink(&mut slabs, slab);
            }
            stock.push(object);
        }
        slabs.used += 1;
    }
}

/// Moves a batch of objects from a stock back to their slabs.
#[cold]
fn empty(class: usize, stock: &Stock) {
    let mut slabs = SLABS[class].lock();
    for _ in 0..BATCH {
        // SAFETY: the stock holds more than a batch of objects; each lies in the slab at its page's start. The stock is as in `give`.
        unsafe {
            let object = stock.pop();
            let slab = (object as usize & !(PAGE_SIZE - 1)) as *mut Slab;
            let was_full = (*slab).free.is_null();
            *object = Object((*slab).free);
            (*slab).free = object;
            (*slab).used -= 1;
            if was_full {
                link(&mut slabs, slab);
            }
            if (*slab).used == 0 {
                unlink(&mut slabs, slab);
                drop(Frame::from_physical(slab as usize - riscv::boot::DIRECT_MAP));
                SLAB_PAGES.fetch_sub(1, Relaxed);
                slabs.slabs -= 1;
            }
        }
        slabs.used -= 1;
    }
}

/// Makes a slab of a new page and puts it into the list.
fn add_slab(slabs: &mut Class, class: usize) -> bool {
    let Some(frame) = Frame::uninitialised_for_kernel() else { return false };
    let start = arch::physical_pointer(frame.into_physical());
    let slab = start.cast::<Slab>();
    let size = CLASSES[class];
    // SAFETY: the page is ours: a header, then objects up to its end.
    unsafe {
        slab.write(Slab {
            next: core::ptr::null_mut(),
            previous: core::ptr::null_mut(),
            free: core::ptr::null_mut(),
            used: 0,
        });
        let mut offset = SLAB_HEADER;
        while offset + size <= PAGE_SIZE {
            let object = start.add(offset).cast::<Object>();
            *object = Object((*slab).free);
            (*slab).free = object;
            offset += size;
        }
        link(slabs, slab);
    }
    slabs.slabs += 1;
    SLAB_PAGES.fetch_add(1, Relaxed);
    true
}

/// # Safety
/// `slab` is a live slab of this class, not in the list.
unsafe fn link(slabs: &mut Class, slab: *mut Slab) {
    // SAFETY: the contract, and the list is touched under the lock only.
    unsafe {
        (*slab).previous = core::ptr::null_mut();
        (*slab).next = slabs.partial;
        if !slabs.partial.is_null() {
            (*slabs.partial).previous = slab;
        }
    }
    slabs.partial = slab;
}

/// # Safety
/// `slab` is in the list.
unsafe fn unlink(slabs: &mut Class, slab: *mut Slab) {
    // SAFETY: as in `link`.
    unsafe {
        if (*slab).previous.is_null() {
            slabs.partial = (*slab).next;
        } else {
            (*(*slab).previous).next = (*slab).next;
        }
        if !(*slab).next.is_null() {
            (*(*slab).next).previous = (*slab).previous;
        }
    }
}
