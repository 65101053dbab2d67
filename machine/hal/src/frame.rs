//! Physical pages.
//!
//! A [`Frame`] is one owner's share of a page: cloning adds an owner, dropping the last one frees the
//! page. Page tables, the page cache and pipes all hold frames, so a page lives as long as anybody can
//! reach it. Contents are reached by copying only: other harts, user programs and devices may change a
//! page at any time, and no reference to its bytes is ever made.
//!
//! Free pages are kept in a buddy allocator behind one lock, with a small stock of single pages for each
//! hart in front of it.
//!
//! The last pages are the kernel's *reserve* (note 0014): what programs cause, which can be refused ([`Frame::zeroed`], [`Frame::copy_of`], page tables,
//! and by [`admits_run`] large lists), is refused before the kernel itself runs out, whose own allocations cannot be (D13). A part of the reserve is
//! *kept*: a range from which only the kernel takes, and only what it finds nowhere else, so that blocks of many pages are there however broken up
//! the rest is.

mod pool;

use crate::arch::physical_pointer;
use crate::buddy::{MAX_ORDER, Meta};
use crate::sync::{IrqLock, rank};
use crate::{PAGE_SIZE, hart};
use alloc::{boxed::Box, vec::Vec};
use core::num::NonZeroU32;
use core::ops::Range;
use core::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use pool::{Pool, Purpose};

/// Part of the memory that only the kernel itself may take: one page in so many, but so many pages at least and at most.
const RESERVE_SHARE: usize = 16;
const RESERVE_PAGES: (usize, usize) = (1536, 16_384);
/// Part of the reserve that is kept in blocks.
const KEPT_SHARE: usize = 3;
/// Memory is scarce when so much is left beyond the reserve: one page in so many, but no more than the reserve itself.
const SCARCE_SHARE: usize = 32;
/// Pages that a hart keeps at hand, and moves to or from the common pool at once, as a block if there is one.
const STOCK: usize = 32;
const MOVE: usize = 1 << MOVE_ORDER;
const MOVE_ORDER: usize = 4;

struct Stock {
    pages: [u32; STOCK],
    len: usize,
}

impl Stock {
    /// Takes the largest block that the pool has, of up to `MOVE` pages. The first page of it goes first.
    #[cold]
    #[inline(never)]
    fn refill(&mut self) {
        let mut pool = POOL.lock();
        let found =
            (0..=MOVE_ORDER).rev().find_map(|order| Some((pool.take(table(), order, Purpose::User)?, 1 << order)));
        let Some((page, count)) = found else { return };
        for (at, page) in self.pages.iter_mut().zip((page..page + count).rev()) {
            *at = page as u32;
        }
        self.len = count;
    }
}

static POOL: IrqLock<Pool> = IrqLock::new(rank::FRAMES, Pool::new());
static STOCKS: [IrqLock<Stock>; hart::MAX] =
    [const { IrqLock::new(rank::FRAMES - 1, Stock { pages: [0; STOCK], len: 0 }) }; hart::MAX];
/// Physical address of page 0 of the table, its length, and the table itself; set once by `initialise`.
static BASE: AtomicUsize = AtomicUsize::new(0);
static PAGES: AtomicUsize = AtomicUsize::new(0);
static TABLE: AtomicPtr<Meta> = AtomicPtr::new(core::ptr::null_mut());
static TOTAL: AtomicUsize = AtomicUsize::new(0);
/// Free pages beyond the reserve, the harts' stocks and those that are kept included; below 0 when the kernel uses the reserve. Relaxed: it guards no data.
static SPARE: AtomicIsize = AtomicIsize::new(0);
/// Pages that only the kernel itself may take, and how many are left beyond them when memory is scarce; set once by `initialise`.
static RESERVE: AtomicUsize = AtomicUsize::new(0);
static SCARCE: AtomicUsize = AtomicUsize::new(0);

/// Counts of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Pages under management.
    pub total: usize,
    /// Pages nobody owns.
    pub free: usize,
}

/// How many pages there are and how many are free.
pub fn stats() -> Stats {
    ready();
    let (spare, reserve) = (SPARE.load(Ordering::Relaxed), RESERVE.load(Ordering::Relaxed));
    Stats { total: TOTAL.load(Ordering::Relaxed), free: reserve.saturating_add_signed(spare) }
}

/// Whether so many bytes can be given out on a program's behalf, and leave the kernel's reserve. Who asks has them only when they are taken: as many as there
/// are harts may have the same answer at once.
#[inline]
pub fn admits(bytes: usize) -> bool {
    ready();
    SPARE.load(Ordering::Relaxed) > (bytes / PAGE_SIZE) as isize
}

/// Whether so many bytes side by side can be: beyond the reserve, and of the blocks that are kept only while more than half of them is there.
pub fn admits_run(bytes: usize) -> bool {
    let order = order_of(bytes.div_ceil(PAGE_SIZE));
    admits(bytes) && order <= MAX_ORDER && POOL.lock().has_for_program(order)
}

/// Whether little is left beyond the kernel's reserve: what can be given back is to be given back.
#[inline]
pub fn is_scarce() -> bool {
    ready();
    SPARE.load(Ordering::Relaxed) <= SCARCE.load(Ordering::Relaxed) as isize
}

/// Sets up the allocator for the pages `base..base + pages * PAGE_SIZE`, of which `free` are free. `table` is
/// memory for the page table entries. Once, at boot.
///
/// # Safety
/// `table` points to writable memory for `pages` values of [`Meta`] that nothing else uses; the free range
/// is memory that nothing else uses, in the direct map.
pub(crate) unsafe fn initialise(base: usize, pages: usize, table: *mut Meta, free: Range<usize>) {
    for page in 0..pages {
        // SAFETY: the caller gives room for `pages` entries.
        unsafe { table.add(page).write(Meta::new()) };
    }
    // SAFETY: just initialised, and never changed but through atomics.
    let slice = unsafe { core::slice::from_raw_parts(table, pages) };
    let count = (free.end - free.start) / PAGE_SIZE;
    let reserve = (count / RESERVE_SHARE).clamp(RESERVE_PAGES.0, RESERVE_PAGES.1);
    RESERVE.store(reserve, Ordering::Relaxed);
    SCARCE.store(reserve.min(count / SCARCE_SHARE), Ordering::Relaxed);
    POOL.lock().add(slice, (free.start - base) / PAGE_SIZE..(free.end - base) / PAGE_SIZE, reserve / KEPT_SHARE);
    TOTAL.store(count, Ordering::Relaxed);
    SPARE.store(count as isize - reserve as isize, Ordering::Relaxed);
    BASE.store(base, Ordering::Relaxed);
    PAGES.store(pages, Ordering::Relaxed);
    // Release pairs with the Acquire in `table`.
    TABLE.store(table, Ordering::Release);
}

/// On the host the pool is made of the fake memory at first use.
#[cfg(not(target_os = "none"))]
fn ready() {
    use crate::arch::fake;
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let pages = fake::MEMORY / PAGE_SIZE;
        let table = alloc::vec::Vec::<Meta>::with_capacity(pages).leak().as_mut_ptr();
        // SAFETY: the vector has room for `pages` entries and is leaked; the fake memory is unused.
        unsafe { initialise(fake::BASE, pages, table, fake::BASE + PAGE_SIZE..fake::BASE + fake::MEMORY) };
    });
}

#[cfg(target_os = "none")]
#[inline(always)]
fn ready() {}

fn table() -> &'static [Meta] {
    ready();
    // Acquire pairs with the Release in `initialise`.
    let table = TABLE.load(Ordering::Acquire);
    // SAFETY: `initialise` stored a table of `PAGES` entries that lives for ever, or none was stored and
    // the length is 0.
    unsafe {
        core::slice::from_raw_parts(
            if table.is_null() { core::ptr::dangling() } else { table },
            PAGES.load(Ordering::Relaxed),
        )
    }
}

/// Preempted before the lock is taken, it goes on on the same hart (D2); the stock of another would do as well.
#[inline(always)]
fn take_page(purpose: Purpose) -> Option<usize> {
    ready();
    if purpose != Purpose::Kernel && SPARE.load(Ordering::Relaxed) <= 0 {
        return None;
    }
    let mut stock = STOCKS[hart::id()].lock();
    if stock.len == 0 {
        stock.refill();
    }
    stock.len = stock.len.checked_sub(1)?;
    SPARE.fetch_sub(1, Ordering::Relaxed);
    Some(stock.pages[stock.len] as usize)
}

/// As for [`take_page`].
fn give_page(page: usize) {
    let mut stock = STOCKS[hart::id()].lock();
    if stock.len == STOCK {
        let mut pool = POOL.lock();
        for _ in 0..MOVE {
            stock.len -= 1;
            pool.give(table(), stock.pages[stock.len] as usize, 0);
        }
    }
    let len = stock.len;
    stock.pages[len] = page as u32;
    stock.len += 1;
    SPARE.fetch_add(1, Ordering::Relaxed);
}

/// Cache blocks of 64 bytes can be cleared at once (Zicboz).
#[cfg(target_os = "none")]
pub(crate) static ZERO_BLOCKS: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// # Safety
/// `page` is a page that nothing else uses.
#[inline]
unsafe fn zero_page(page: *mut u8) {
    #[cfg(target_os = "none")]
    if ZERO_BLOCKS.load(Ordering::Relaxed) {
        // SAFETY: boot found the extension, with this block size, on every hart.
        return unsafe { riscv::memory::zero_page_by_blocks(page) };
    }
    // SAFETY: the contract.
    unsafe { riscv::memory::zero_page_by_words(page) }
}

/// # Safety
/// As for `core::ptr::copy_nonoverlapping`.
#[inline(always)]
unsafe fn copy_bytes(to: *mut u8, from: *const u8, len: usize) {
    // A few bytes cost less than a call. Volatile, or the compiler makes a call of the loop.
    if len <= 8 {
        for at in 0..len {
            // SAFETY: the contract.
            unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        }
        return;
    }
    // SAFETY: the contract.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
}

/// One owner's share of a physical page.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(NonZeroU32);

impl Frame {
    /// A page of zeroes for user memory; `None` when only the kernel's reserve is left.
    #[inline(always)]
    pub fn zeroed() -> Option<Self> {
        if crate::fail::here() {
            return None;
        }
        Self::zeroed_as(Purpose::User)
    }

    /// The same for what the kernel makes for a program, where nothing fails on demand.
    #[cfg(target_os = "none")]
    pub(crate) fn zeroed_leaving_reserve() -> Option<Self> {
        Self::zeroed_as(Purpose::User)
    }

    /// A page of zeroes for the kernel's own tables, which may use the reserve.
    #[inline(never)]
    pub fn zeroed_for_kernel() -> Option<Self> {
        Self::zeroed_as(Purpose::Kernel)
    }

    #[inline(always)]
    fn zeroed_as(purpose: Purpose) -> Option<Self> {
        let frame = Self::take(purpose)?;
        // SAFETY: the page is ours alone.
        unsafe { zero_page(physical_pointer(frame.physical())) };
        Some(frame)
    }

    /// A copy of another page.
    pub fn copy_of(other: &Frame) -> Option<Self> {
        if crate::fail::here() {
            return None;
        }
        let frame = Self::take(Purpose::User)?;
        other.copy_to(0, &frame, 0, PAGE_SIZE);
        Some(frame)
    }

    /// A page with unknown contents for the kernel's heap.
    #[cfg(target_os = "none")]
    pub(crate) fn uninitialised_for_kernel() -> Option<Self> {
        Self::take(Purpose::Kernel)
    }

    #[inline(always)]
    fn take(purpose: Purpose) -> Option<Self> {
        let page = take_page(purpose)?;
        let meta = &table()[page];
        meta.shares.store(1, Ordering::Relaxed);
        meta.pins.store(0, Ordering::Relaxed);
        // Page 0 of the table holds the firmware (or is left out on the host), so it is never free.
        NonZeroU32::new(page as u32).map(Self)
    }

    fn meta(&self) -> &'static Meta {
        &table()[self.0.get() as usize]
    }

    /// Physical address of the page.
    #[inline]
    pub fn physical(&self) -> usize {
        BASE.load(Ordering::Relaxed) + self.0.get() as usize * PAGE_SIZE
    }

    #[inline(always)]
    fn pointer(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset, "access beyond the page");
        // SAFETY: within the page, as asserted.
        unsafe { physical_pointer(self.physical()).add(offset) }
    }

    /// Copies bytes out of the page.
    ///
    /// # Panics
    /// If `offset + to.len()` exceeds the page.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.pointer(offset, to.len());
        // SAFETY: both ranges are valid for their length; `to` is ours alone, so they do not overlap. The
        // page may change meanwhile: the bytes are then a mix, which any byte pattern may be.
        unsafe { copy_bytes(to.as_mut_ptr(), from, to.len()) };
    }

    /// Copies bytes into the page.
    ///
    /// # Panics
    /// If `offset + from.len()` exceeds the page.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let to = self.pointer(offset, from.len());
        // SAFETY: as in `read`; no Rust reference to the page's bytes exists anywhere.
        unsafe { copy_bytes(to, from.as_ptr(), from.len()) };
    }

    /// Copies bytes from this page to another (or to another place of the same page).
    ///
    /// # Panics
    /// If either range exceeds its page.
    #[inline(always)]
    pub fn copy_to(&self, offset: usize, to: &Frame, to_offset: usize, len: usize) {
        let same = self.0 == to.0;
        let (from, to) = (self.pointer(offset, len), to.pointer(to_offset, len));
        if same {
            // SAFETY: both ranges are valid for `len`; `copy` allows them to overlap.
            unsafe { core::ptr::copy(from, to, len) };
        } else {
            // SAFETY: both ranges are valid for `len` and in different pages.
            unsafe { copy_bytes(to, from, len) };
        }
    }

    /// Sets bytes of the page.
    ///
    /// # Panics
    /// If the range exceeds the page.
    pub fn fill(&self, offset: usize, len: usize, byte: u8) {
        let to = self.pointer(offset, len);
        // SAFETY: the range is valid for `len`.
        unsafe { core::ptr::write_bytes(to, byte, len) };
    }

    /// A word of the page as an atomic (futexes, shared pages).
    ///
    /// # Panics
    /// If `offset` is not a multiple of 4 within the page.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        let pointer = self.pointer(offset, 4).cast::<u32>();
        // SAFETY: aligned, within the page, alive as long as `self`; whoever else writes the page does so
        // from another hart's user mode or by a copy, both of which an atomic tolerates on RISC-V.
        unsafe { AtomicU32::from_ptr(pointer) }
    }

    /// The same of 64 bits.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 8 within the page.
    #[inline]
    pub fn long_word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        let pointer = self.pointer(offset, 8).cast::<u64>();
        // SAFETY: as of `word`.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    /// Words that lie side by side, each loaded once, whoever else writes them.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 4, or they are not all within the page.
    #[inline]
    pub fn words<const COUNT: usize>(&self, offset: usize) -> [u32; COUNT] {
        assert!(offset.is_multiple_of(4));
        let first = self.pointer(offset, 4 * COUNT).cast::<u32>();
        core::array::from_fn(|number| {
            // SAFETY: as of `word`; all are within the page.
            let word = unsafe { AtomicU32::from_ptr(first.add(number)) };
            word.load(Ordering::Relaxed)
        })
    }

    /// Owners of the page. Exact only if nobody else can clone or drop meanwhile; 1 means just this one.
    pub fn shares(&self) -> u32 {
        // Acquire pairs with the Release in `drop`: if this is the last owner, the others are done.
        self.meta().shares.load(Ordering::Acquire)
    }

    /// Owners that are not pins: who has the page pinned means what the others see, and keeps nobody from writing it. Never too few if no pin
    /// is taken meanwhile.
    pub fn owners(&self) -> u32 {
        let pins = &self.meta().pins;
        // Acquire pairs with the Release in `pin`: the shares of these pins are there.
        let before = pins.load(Ordering::Acquire);
        let shares = self.shares();
        // A pin counts down before its share goes, so that what is missing from `shares` is missing here.
        if pins.load(Ordering::Relaxed) == before { shares.saturating_sub(before) } else { shares }
    }

    /// Marks the page as in use by a device until the guard is dropped; `fork` copies pinned pages at once.
    pub fn pin(&self) -> Pin {
        let pin = Pin(self.clone());
        // Release pairs with the Acquire in `owners`: the share is there before the pin.
        self.meta().pins.fetch_add(1, Ordering::Release);
        pin
    }

    /// Whether a device uses the page.
    pub fn pinned(&self) -> bool {
        self.meta().pins.load(Ordering::Relaxed) != 0
    }

    /// Makes a page of the kernel's image one that can be shared; the kernel stays one of its owners for ever. Once, at boot.
    #[cfg(target_os = "none")]
    pub(crate) fn keep_image_page(physical: usize) {
        let page = (physical - BASE.load(Ordering::Relaxed)) / PAGE_SIZE;
        table()[page].shares.store(1, Ordering::Relaxed);
    }

    /// A share of a page of the kernel's image.
    ///
    /// # Safety
    /// [`Self::keep_image_page`] was called for it.
    #[cfg(target_os = "none")]
    pub(crate) unsafe fn of_image_page(physical: usize) -> Self {
        // SAFETY: the share that is taken here is a new one, given up by nobody before.
        let kept = core::mem::ManuallyDrop::new(unsafe { Self::from_physical(physical) });
        (*kept).clone()
    }

    /// Gives up this share as a physical address, for a page-table entry.
    pub(crate) fn into_physical(self) -> usize {
        let physical = self.physical();
        core::mem::forget(self);
        physical
    }

    /// Takes back a share given up by [`Self::into_physical`].
    ///
    /// # Safety
    /// `physical` came from `into_physical`, and each such share is taken back once.
    pub(crate) unsafe fn from_physical(physical: usize) -> Self {
        let page = (physical - BASE.load(Ordering::Relaxed)) / PAGE_SIZE;
        // SAFETY: the address is one that `physical()` computed from a non-zero index.
        Self(unsafe { NonZeroU32::new_unchecked(page as u32) })
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        // Relaxed: a new owner comes from an existing one, which keeps the page alive.
        self.meta().shares.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // Release pairs with the Acquire fence below in the owner that is last.
        if self.meta().shares.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            give_last(self.0.get() as usize);
        }
    }
}

/// Apart, so that a share that is not the last is given up without a frame on the stack.
#[inline(never)]
fn give_last(page: usize) {
    give_page(page);
}

/// A page that a device uses; see [`Frame::pin`].
#[derive(Debug)]
pub struct Pin(Frame);

impl Pin {
    /// The pinned page.
    pub fn frame(&self) -> &Frame {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.meta().pins.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The order of the smallest block of so many pages.
fn order_of(pages: usize) -> usize {
    pages.max(1).checked_next_power_of_two().map_or(usize::MAX, |pages| pages.trailing_zeros() as usize)
}

/// Physically contiguous pages with one owner, for device queues and page-table roots.
#[derive(Debug)]
pub struct FrameRun {
    page: u32,
    order: u8,
}

impl FrameRun {
    /// At least `pages` pages of zeroes, aligned to their number rounded up to a power of two.
    pub fn alloc(pages: usize) -> Option<Self> {
        ready();
        Self::take(pages, Purpose::Kernel).map(Self::zeroed)
    }

    /// The same for user memory; `None` also when only the kernel's reserve would be left.
    pub(crate) fn for_users(pages: usize) -> Option<Self> {
        if crate::fail::here() { None } else { Self::refusable(pages, Purpose::User) }
    }

    /// The same for the root of a program's space, where nothing fails on demand.
    pub(crate) fn for_root(pages: usize) -> Option<Self> {
        Self::refusable(pages, Purpose::Root)
    }

    fn refusable(pages: usize, purpose: Purpose) -> Option<Self> {
        let bytes = pages.checked_next_power_of_two()?.checked_mul(PAGE_SIZE)?;
        if admits(bytes) { Self::take(pages, purpose).map(Self::zeroed) } else { None }
    }

    fn zeroed(self) -> Self {
        // SAFETY: the run is ours alone.
        unsafe { core::ptr::write_bytes(self.pointer(), 0, self.len()) };
        self
    }

    /// The first `pages` pages, each with an owner of its own; the others are given back.
    pub(crate) fn into_frames(self, pages: usize) -> Option<Box<[Frame]>> {
        let all = self.len() / PAGE_SIZE;
        let mut frames = Vec::new();
        frames.try_reserve_exact(all).ok()?;
        let first = self.page;
        core::mem::forget(self);
        // A page of the pool has one owner when it is taken, and is never page 0.
        frames.extend((first..).take(all).filter_map(NonZeroU32::new).map(Frame));
        frames.truncate(pages);
        Some(frames.into_boxed_slice())
    }

    /// So many pages of zeroes for a program, one behind the other in memory; `None` without memory.
    pub fn side_by_side(pages: usize) -> Option<Box<[Frame]>> {
        Self::for_users(pages)?.into_frames(pages)
    }

    /// At least `pages` pages with unknown contents for the kernel's heap.
    #[cfg(target_os = "none")]
    pub(crate) fn uninitialised_for_kernel(pages: usize) -> Option<Self> {
        Self::take(pages, Purpose::Kernel)
    }

    fn take(pages: usize, purpose: Purpose) -> Option<Self> {
        let order = order_of(pages);
        if order > MAX_ORDER {
            return None;
        }
        let page = POOL.lock().take(table(), order, purpose)?;
        SPARE.fetch_sub(1 << order, Ordering::Relaxed);
        Some(Self { page: page as u32, order: order as u8 })
    }

    /// Physical address of the first page.
    #[inline]
    pub fn physical(&self) -> usize {
        BASE.load(Ordering::Relaxed) + self.page as usize * PAGE_SIZE
    }

    /// Bytes in the run.
    #[expect(clippy::len_without_is_empty, reason = "a run is never empty")]
    pub fn len(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Pointer to the run in the direct map, for drivers in this layer.
    pub fn pointer(&self) -> *mut u8 {
        physical_pointer(self.physical())
    }

    /// Copies bytes out of the run.
    ///
    /// # Panics
    /// If the range exceeds the run.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= self.len() && to.len() <= self.len() - offset, "access beyond the run");
        // SAFETY: within the run, as asserted; `to` is ours alone.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer().add(offset), to.as_mut_ptr(), to.len()) };
    }

    /// Copies bytes into the run.
    ///
    /// # Panics
    /// If the range exceeds the run.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset <= self.len() && from.len() <= self.len() - offset, "access beyond the run");
        // SAFETY: within the run, as asserted; no Rust reference to its bytes exists.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.pointer().add(offset), from.len()) };
    }

    /// A word of the run as an atomic, for what a device shares.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 4 within the run.
    #[inline]
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.len());
        // SAFETY: aligned and within the run, as asserted, since a run begins on a page; alive as long as `self`. Who else writes it is a device, or a copy, both of
        // which an atomic tolerates on RISC-V.
        unsafe { AtomicU32::from_ptr(self.pointer().add(offset).cast()) }
    }

    /// Stores words that lie side by side, each at once.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 4, or they are not all within the run.
    #[inline]
    pub fn set_words<const COUNT: usize>(&self, offset: usize, words: [u32; COUNT]) {
        assert!(offset.is_multiple_of(4) && offset <= self.len() && 4 * COUNT <= self.len() - offset);
        // SAFETY: within the run, as asserted.
        let first = unsafe { self.pointer().add(offset) }.cast::<u32>();
        for (number, word) in words.into_iter().enumerate() {
            // SAFETY: as of `word`; all are within the run.
            unsafe { AtomicU32::from_ptr(first.add(number)) }.store(word, Ordering::Relaxed);
        }
    }

    /// Gives up ownership as a physical address.
    pub fn into_physical(self) -> usize {
        let physical = self.physical();
        core::mem::forget(self);
        physical
    }

    /// Takes back what [`Self::into_physical`] gave up.
    ///
    /// # Safety
    /// `physical` came from `into_physical` of a run of `pages` pages, and is taken back once.
    pub unsafe fn from_physical(physical: usize, pages: usize) -> Self {
        let page = (physical - BASE.load(Ordering::Relaxed)) / PAGE_SIZE;
        Self { page: page as u32, order: order_of(pages) as u8 }
    }
}

impl Drop for FrameRun {
    fn drop(&mut self) {
        POOL.lock().give(table(), self.page as usize, self.order as usize);
        SPARE.fetch_add(1 << self.order, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lives_as_long_as_its_last_owner() {
        let frame = Frame::zeroed().expect("memory");
        frame.write(100, b"hello");
        let other = frame.clone();
        assert_eq!(frame.shares(), 2);
        drop(frame);
        let mut bytes = [0; 5];
        other.read(100, &mut bytes);
        assert_eq!((&bytes, other.shares()), (b"hello", 1));
        let copy = Frame::copy_of(&other).expect("memory");
        copy.word(0).store(7, Ordering::Relaxed);
        assert_eq!(other.word(0).load(Ordering::Relaxed), 0);
    }

    #[test]
    fn pins_are_counted() {
        let frame = Frame::zeroed().expect("memory");
        let pin = frame.pin();
        assert!(frame.pinned());
        drop(pin);
        assert!(!frame.pinned());
    }

    #[test]
    fn runs_are_aligned_and_zero() {
        let run = FrameRun::alloc(3).expect("memory");
        assert_eq!((run.len(), run.physical() % run.len()), (4 * PAGE_SIZE, 0));
        let mut bytes = [1; 16];
        run.read(run.len() - 16, &mut bytes);
        assert_eq!(bytes, [0; 16]);
    }
}
