//! Page tables of a process.
//!
//! One walker serves all worlds: a `vm` process has a G-stage table (Sv39x4) whose guest-physical addresses
//! are its virtual ones, the others an Sv39 table; below the root they look the same. A leaf owns a
//! [`Frame`].
//!
//! **Who owns what.** [`UserSpace`] owns the tables and is edited under its owner's lock. [`Root`] is the part
//! that a hart may still have selected when the process is gone: the root page and the generation; it is
//! shared by [`SpaceHandle`]s and freed with the last.
//!
//! **Shootdown.** Entering user mode: publish the space in `Local::running`, fence, read `generation`, flush if
//! it moved. Taking rights away: edit, raise `generation`, fence, read every hart's `running`. The two
//! fences order the store before the load on both sides, so either the hart sees the new generation or
//! the editor sees the hart; those it sees get an IPI and are waited for until they have left user mode or
//! have seen the new generation. A page unmapped is freed by its owner only after that wait ([`Shootdown`]). Who has to
//! sleep for that notes its waker, looks once more, and sends those that are left an IPI again: the end of an interrupt wakes it.

use crate::arch::physical_pointer;
use crate::frame::{Frame, FrameRun};
#[cfg(target_os = "none")]
use crate::hart::Local;
use crate::hart::{self, local_of};
use crate::sync::{IrqLock, rank};
use crate::{PAGE_SIZE, USER_END};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use core::task::{Context, Poll, Waker};
use riscv::sv39::{ENTRIES, Entry, LEVELS, bits, index, span};

/// How a process is isolated (D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// VS-mode under a G-stage table; needs the H extension.
    Vm,
    /// U-mode with a table that maps nothing of the kernel but resident code.
    Table,
    /// U-mode with the kernel mapped beside it.
    Shared,
}

bitflags::bitflags! {
    /// What a process may do with a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Prot: u8 {
        /// Read.
        const READ = 1;
        /// Write (implies read: the hardware has no write-only pages).
        const WRITE = 2;
        /// Fetch instructions.
        const EXEC = 4;
    }
}

impl Prot {
    /// The same as an entry of a page table has it.
    #[must_use]
    pub const fn rights(self) -> Rights {
        let read = if self.intersects(Prot::READ.union(Prot::WRITE)) { bits::R } else { 0 };
        let write = if self.contains(Prot::WRITE) { bits::W } else { 0 };
        let exec = if self.contains(Prot::EXEC) { bits::X } else { 0 };
        Rights(read | write | exec | bits::U)
    }

    fn of(entry: Entry) -> Self {
        let mut prot = Prot::empty();
        prot.set(Prot::READ, entry.0 & bits::R != 0);
        prot.set(Prot::WRITE, entry.0 & bits::W != 0);
        prot.set(Prot::EXEC, entry.0 & bits::X != 0);
        prot
    }
}

/// A page of a device's registers that a process may have (see `guest_file`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePage {
    pub(crate) physical: usize,
}

/// What was mapped at an address.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "harts may still use it until the next shootdown is done"]
pub enum Unmapped {
    /// A page of memory: to be kept until then.
    Frame(Frame),
    /// A device's page: it must not be given to another before.
    Device,
}

impl Unmapped {
    /// What has to be kept.
    pub fn frame(self) -> Option<Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Device => None,
        }
    }
}

/// Rights in the form of a page-table entry: for who maps many pages with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

/// No page for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

/// The part of a space that harts refer to.
pub struct Root {
    /// Never reused; not 0.
    id: u64,
    world: World,
    run: FrameRun,
    /// Raised by every edit that takes rights away or changes code.
    generation: AtomicU64,
}

/// What [`crate::user::UserContext::enter`] needs to know of a space.
pub type SpaceHandle = Arc<Root>;

impl Root {
    /// A number that no other space ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The world of the process.
    pub fn world(&self) -> World {
        self.world
    }

    /// Physical address of the root table.
    pub(crate) fn physical(&self) -> usize {
        self.run.physical()
    }

    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        // Acquire pairs with the Release in `shootdown`; the order after publishing `running` is the fence's.
        self.generation.load(Ordering::Acquire)
    }
}

/// Page tables of one process.
pub struct UserSpace {
    root: SpaceHandle,
    tables: usize,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl UserSpace {
    /// An empty address space; `None` without memory.
    pub fn new(world: World) -> Option<Self> {
        let run = FrameRun::for_root(if world == World::Vm { 4 } else { 1 })?;
        if world != World::Vm {
            install_kernel_entries(&run, world);
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let tables = run.len() / PAGE_SIZE;
        Some(Self { root: Arc::new(Root { id, world, run, generation: AtomicU64::new(1) }), tables })
    }

    /// The handle for entering user mode.
    pub fn handle(&self) -> &SpaceHandle {
        &self.root
    }

    /// Pages used by the tables themselves.
    pub fn table_frames(&self) -> usize {
        self.tables
    }

    /// Maps `frame` at the page of `address`; returns the frame that was there.
    ///
    /// # Errors
    /// Without memory for a table; nothing has changed then.
    ///
    /// # Panics
    /// If `address` is not in user space.
    pub fn map(&mut self, address: usize, frame: Frame, prot: Prot) -> Result<Option<Frame>, NoFrame> {
        assert!(address < USER_END, "mapping outside user space");
        let slot = self.slot_or_create(address)?;
        let old = slot.get();
        slot.set(Entry::leaf(frame.into_physical(), prot.rights().0));
        Ok(old.take_frame())
    }

    /// Maps `frame` at the page of `address` if the tables for it are there; else gives it back.
    ///
    /// # Errors
    /// The frame: call [`Self::create_tables`] first.
    #[inline]
    pub fn map_there(&mut self, address: usize, frame: Frame, prot: Prot) -> Result<Option<Frame>, Frame> {
        let Some(slot) = self.slot(address) else { return Err(frame) };
        let old = slot.get();
        slot.set(Entry::leaf(frame.into_physical(), prot.rights().0));
        Ok(old.take_frame())
    }

    /// Maps a device's page to read and write; returns the frame that was there.
    ///
    /// # Errors
    /// The tables for it are not there: call [`Self::create_tables`] first.
    pub fn map_device(&mut self, address: usize, page: DevicePage) -> Result<Option<Frame>, NoFrame> {
        let slot = self.slot(address).ok_or(NoFrame)?;
        let old = slot.get();
        slot.set(Entry::leaf(page.physical, (Prot::READ | Prot::WRITE).rights().0 | bits::DEVICE));
        Ok(old.take_frame())
    }

    /// Maps a page that `make` makes, if the tables for `address` are there and nothing is mapped at it. `false`: nothing is changed.
    #[inline]
    pub fn fill(&mut self, address: usize, rights: Rights, make: impl FnOnce() -> Option<Frame>) -> bool {
        let Some(slot) = self.slot(address) else { return false };
        if slot.get().valid() {
            return false;
        }
        let Some(frame) = make() else { return false };
        slot.set(Entry::leaf(frame.into_physical(), rights.0));
        true
    }

    /// Tables that are missing to map a page at `address`.
    pub fn tables_missing(&self, address: usize) -> usize {
        let mut table = self.root.physical();
        for level in (1..LEVELS).rev() {
            let entry = Slot::new(table, index(address, level)).get();
            if !entry.valid() {
                return level;
            }
            table = entry.physical();
        }
        0
    }

    /// Makes the tables for a page at `address`.
    ///
    /// # Errors
    /// Without memory; the tables made until then stay.
    pub fn create_tables(&mut self, address: usize) -> Result<(), NoFrame> {
        if address < USER_END { self.slot_or_create(address).map(drop) } else { Err(NoFrame) }
    }

    /// Takes the table of the lowest level that serves `address` out, if it is empty; to be freed like
    /// a page, after the next [`Self::shootdown`].
    pub fn take_empty_table(&mut self, address: usize) -> Option<Frame> {
        if address >= USER_END {
            return None;
        }
        let root = Slot::new(self.root.physical(), index(address, 2)).get();
        let above = root.valid().then(|| Slot::new(root.physical(), index(address, 1)))?;
        let entry = above.get();
        let table = entry.valid().then(|| entry.physical())?;
        if (0..ENTRIES).any(|entry| Slot::new(table, entry).get().valid()) {
            return None;
        }
        above.set(Entry::EMPTY);
        self.tables -= 1;
        entry.take_frame()
    }

    /// Looks for the first page in `range` that is mapped, and takes what it looks at from `budget`.
    ///
    /// # Errors
    /// The budget is used up, or nothing is mapped: where to go on (at or behind the end of the range).
    pub fn scan(&self, range: core::ops::Range<usize>, budget: &mut usize) -> Result<usize, usize> {
        let mut address = range.start;
        let end = range.end.min(USER_END);
        while address < end {
            let missing = self.tables_missing(address);
            if missing > 0 {
                address = (address | (span(missing) - 1)) + 1;
                *budget = budget.saturating_sub(1);
            } else {
                let stop = end.min((address | (span(1) - 1)) + 1);
                while address < stop && *budget > 0 {
                    *budget -= 1;
                    if self.slot(address).is_some_and(|slot| slot.get().valid()) {
                        return Ok(address);
                    }
                    address += PAGE_SIZE;
                }
            }
            if *budget == 0 {
                return Err(address);
            }
        }
        Err(address.max(range.end))
    }

    /// Removes the mapping at `address`; what was there may be used by harts until the next [`Self::shootdown`] is done.
    pub fn unmap(&mut self, address: usize) -> Option<Unmapped> {
        let slot = self.slot(address)?;
        let old = slot.get();
        if !old.valid() {
            return None;
        }
        slot.set(Entry::EMPTY);
        Some(old.take_frame().map_or(Unmapped::Device, Unmapped::Frame))
    }

    /// Changes the rights of the page of memory at `address`; `false` if none is there. A device's page is mapped with all its
    /// rights or not at all.
    pub fn protect(&mut self, address: usize, prot: Prot) -> bool {
        let Some(slot) = self.slot(address) else { return false };
        let old = slot.get();
        let is_memory = old.valid() && !old.is_device();
        if is_memory {
            slot.set(Entry::leaf(old.physical(), prot.rights().0));
        }
        is_memory
    }

    /// Whether any page is mapped at `address`.
    pub fn is_mapped(&self, address: usize) -> bool {
        self.slot(address).is_some_and(|slot| slot.get().valid())
    }

    /// Whether a device's page is mapped at `address`.
    pub fn is_device(&self, address: usize) -> bool {
        self.slot(address).is_some_and(|slot| slot.get().is_device())
    }

    /// The frame at `address` and its rights, as a new share.
    pub fn get(&self, address: usize) -> Option<(Frame, Prot)> {
        self.with(address, |frame, prot| (frame.clone(), prot))
    }

    /// Calls `f` with the frame at `address` and its rights, without taking a share. A device's page has none.
    #[inline]
    pub fn with<R>(&self, address: usize, f: impl FnOnce(&Frame, Prot) -> R) -> Option<R> {
        let entry = self.slot(address)?.get();
        if !entry.valid() || entry.is_device() {
            return None;
        }
        // SAFETY: a valid leaf that is no device's owns one share, which `ManuallyDrop` leaves with it.
        let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_physical(entry.physical()) });
        Some(f(&frame, Prot::of(entry)))
    }

    /// Starts making an edit visible on every hart; see the module head. Also needed after code was
    /// written, so that it is fetched anew.
    pub fn shootdown(&self) -> Shootdown {
        // Release pairs with the Acquire in `Root::generation`: a hart that sees the new number sees the edit.
        let generation = self.root.generation.fetch_add(1, Ordering::Release) + 1;
        // Pairs with the fence in `publish`.
        fence(Ordering::SeqCst);
        let mut shootdown = Shootdown { space: self.root.id, generation, waiting: 0 };
        let me = hart::no_preempt();
        for other in (0..hart::count()).filter(|&other| other != hart::id()) {
            if !shootdown.done_on(other) {
                shootdown.waiting |= 1 << other;
                hart::send_ipi(other);
            }
        }
        drop(me);
        shootdown
    }

    #[inline]
    fn slot(&self, address: usize) -> Option<Slot> {
        if address >= USER_END {
            return None;
        }
        let mut table = self.root.physical();
        for level in (1..LEVELS).rev() {
            let entry = Slot::new(table, index(address, level)).get();
            if !entry.valid() {
                return None;
            }
            table = entry.physical();
        }
        Some(Slot::new(table, index(address, 0)))
    }

    fn slot_or_create(&mut self, address: usize) -> Result<Slot, NoFrame> {
        let mut table = self.root.physical();
        for level in (1..LEVELS).rev() {
            let slot = Slot::new(table, index(address, level));
            let mut entry = slot.get();
            if !entry.valid() {
                let frame = Frame::zeroed().ok_or(NoFrame)?;
                self.tables += 1;
                entry = Entry::table(frame.into_physical());
                slot.set(entry);
            }
            table = entry.physical();
        }
        Ok(Slot::new(table, index(address, 0)))
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        // No thread of the process is left, so no hart is in user mode in it. A hart that still has the
        // root selected flushes before it next enters user mode; the kernel never uses user addresses.
        free_tables(self.root.physical(), LEVELS - 1, user_root_entries());
    }
}

fn user_root_entries() -> usize {
    USER_END.div_ceil(span(2))
}

fn free_tables(table: usize, level: usize, entries: usize) {
    for slot in (0..entries).map(|entry| Slot::new(table, entry)) {
        let entry = slot.get();
        if !entry.valid() {
            continue;
        }
        slot.set(Entry::EMPTY);
        if entry.is_device() {
            continue;
        }
        if level > 0 {
            free_tables(entry.physical(), level - 1, ENTRIES);
        }
        // SAFETY: the entry owned this share (a leaf's frame, or the page of a lower table) and is gone.
        drop(unsafe { Frame::from_physical(entry.physical()) });
    }
}

trait TakeFrame {
    fn take_frame(self) -> Option<Frame>;
}

impl TakeFrame for Entry {
    fn take_frame(self) -> Option<Frame> {
        // SAFETY: a valid leaf that is no device's owned one share, and the caller has just overwritten the entry.
        (self.valid() && !self.is_device()).then(|| unsafe { Frame::from_physical(self.physical()) })
    }
}

/// One entry of a table in memory. Hardware reads it at any time, so accesses are volatile.
struct Slot(*mut Entry);

impl Slot {
    #[inline(always)]
    fn new(table: usize, entry: usize) -> Self {
        Self(physical_pointer(table + entry * size_of::<Entry>()).cast())
    }

    #[inline(always)]
    fn get(&self) -> Entry {
        // SAFETY: the pointer is to an entry of a live table in the direct map, aligned to 8.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    fn set(&self, entry: Entry) {
        // SAFETY: as in `get`; the space is borrowed mutably, so no other writer exists.
        unsafe { self.0.write_volatile(entry) }
    }
}

#[cfg(target_os = "none")]
fn install_kernel_entries(run: &FrameRun, world: World) {
    for (entry, value) in crate::kernel_table::entries_for(world) {
        Slot::new(run.physical(), entry).set(value);
    }
}

#[cfg(not(target_os = "none"))]
fn install_kernel_entries(_: &FrameRun, _: World) {}

/// Waits until no hart can use a translation that an edit has removed. Awaiting it may take an interrupt's
/// time; most often it is done at once.
#[must_use = "frames may be freed only after the shootdown is done"]
pub struct Shootdown {
    space: u64,
    generation: u64,
    /// Harts that may still use the old translations, a bit each.
    waiting: u8,
}

static WAITING: IrqLock<Vec<Waker>> = IrqLock::new(rank::WAIT, Vec::new());
static SOMEBODY_WAITS: AtomicBool = AtomicBool::new(false);
static SHOOTDOWNS: AtomicUsize = AtomicUsize::new(0);

impl Shootdown {
    /// Whether every hart concerned has left user mode, or flushed, since the edit.
    pub fn done(&self) -> bool {
        (0..hart::MAX).all(|other| self.waiting & 1 << other == 0 || self.done_on(other))
    }

    /// Interrupts the harts that it still waits for; `false`: none is left.
    fn interrupt(&self) -> bool {
        let mut is_left = false;
        for other in (0..hart::MAX).filter(|other| self.waiting & 1 << other != 0 && !self.done_on(*other)) {
            hart::send_ipi(other);
            is_left = true;
        }
        is_left
    }

    fn done_on(&self, other: usize) -> bool {
        let local = local_of(other);
        // Acquire pairs with the Release in `withdraw`: accesses of the user code that ran are over. It also
        // orders the load of `seen`, which `select` stores before `running`.
        local.running.load(Ordering::Acquire) != self.space || local.seen.load(Ordering::Acquire) >= self.generation
    }
}

impl Future for Shootdown {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.done() {
            return Poll::Ready(());
        }
        SHOOTDOWNS.fetch_add(1, Ordering::Relaxed);
        WAITING.lock().push(context.waker().clone());
        SOMEBODY_WAITS.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake_shootdowns`: either that hart sees the flag or this one sees its exit.
        fence(Ordering::SeqCst);
        if self.done() {
            return Poll::Ready(());
        }
        // What interrupted a hart before may have been too early to wake this: that hart is on its way back to user mode then, and has
        // not come to the new generation. Nothing else need ever interrupt it there.
        if self.interrupt() { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Notes that this hart has left user mode because of an interrupt, and wakes who waited for that.
#[cfg(target_os = "none")]
pub(crate) fn wake_shootdowns() {
    // Pairs with the fence in `Shootdown::poll`.
    fence(Ordering::SeqCst);
    // The look first: most often nobody does, and a swap of a byte is a loop.
    if SOMEBODY_WAITS.load(Ordering::Relaxed) && SOMEBODY_WAITS.swap(false, Ordering::Relaxed) {
        let waiting = core::mem::take(&mut *WAITING.lock());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Publishes that this hart is about to enter user mode in `space`, and flushes stale translations.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn publish(local: &Local, space: &SpaceHandle) {
    if !core::ptr::eq(local.selected.load(Ordering::Relaxed), Arc::as_ptr(space)) {
        select(local, space);
    }
    local.running.store(space.id, Ordering::Relaxed);
    // Pairs with the fence in `shootdown`.
    fence(Ordering::SeqCst);
    let generation = space.generation();
    if local.seen.load(Ordering::Relaxed) != generation {
        flush(space.world);
        // Release pairs with the Acquire in `done_on`: the flush is over.
        local.seen.store(generation, Ordering::Release);
    }
}

/// The hart has left user mode.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn withdraw(local: &Local) {
    // Release pairs with the Acquire in `done_on`.
    local.running.store(0, Ordering::Release);
}

/// Tests: a page of no device.
#[cfg(not(target_os = "none"))]
pub const PRETENDED: DevicePage = DevicePage { physical: 0 };

/// Tests: hart `other` runs (or no longer runs) user code in `space` and has not flushed since.
#[cfg(not(target_os = "none"))]
pub fn pretend_running(other: usize, space: Option<&SpaceHandle>) {
    let local = local_of(other);
    local.seen.store(space.map_or(0, |space| space.generation()), Ordering::Release);
    local.running.store(space.map_or(0, |space| space.id), Ordering::Release);
}

#[cfg(target_os = "none")]
fn flush(world: World) {
    if world == World::Vm {
        riscv::csr::flush_guest_translations();
    } else {
        riscv::csr::flush_translations();
    }
    riscv::csr::flush_instructions();
}

#[cfg(target_os = "none")]
#[cold]
fn select(local: &Local, space: &SpaceHandle) {
    crate::kernel_table::select(local, space.world, space.physical());
    // Every switch flushes: spaces have no ASID or VMID of their own yet. The generation is read first, so
    // that an edit after it is noticed by `publish`.
    local.seen.store(space.generation(), Ordering::Relaxed);
    flush(space.world);
    // Pairs with the Acquire of `running` in `done_on`: who sees this space running sees this `seen`.
    fence(Ordering::Release);
    let old = local.selected.swap(Arc::into_raw(space.clone()).cast_mut(), Ordering::Relaxed);
    drop_selected(old);
}

#[cfg(target_os = "none")]
fn drop_selected(old: *mut Root) {
    if !old.is_null() {
        // SAFETY: `selected` holds a share made by `Arc::into_raw` in `select`, and has just been overwritten.
        drop(unsafe { Arc::from_raw(old) });
    }
}

/// Goes back to the kernel's own page table, so that an idle hart keeps no dead process's root alive.
pub fn deselect() {
    #[cfg(target_os = "none")]
    {
        let local = crate::arch::local();
        if !local.selected.load(Ordering::Relaxed).is_null() {
            crate::kernel_table::deselect();
            drop_selected(local.selected.swap(core::ptr::null_mut(), Ordering::Relaxed));
        }
    }
}

/// Times an edit had to wait for another hart, since boot.
pub fn shootdowns_waited() -> usize {
    SHOOTDOWNS.load(Ordering::Relaxed)
}

/// A page outside user memory that a process's page table maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelPage {
    /// Where it is mapped.
    pub address: usize,
    /// Where it lies in physical memory.
    pub physical: usize,
    /// Its size: there are large pages.
    pub bytes: usize,
    /// Whether it can be written there.
    pub writable: bool,
}

/// Everything outside user memory that the hardware could translate while `space` runs in user mode, by a walk of its
/// tables; for the test that proves what is resident (P3).
pub fn kernel_pages_reachable(space: &UserSpace) -> Vec<KernelPage> {
    #[cfg(target_os = "none")]
    return crate::kernel_table::reachable(space.root.physical(), space.root.world);
    #[cfg(not(target_os = "none"))]
    {
        let _ = space;
        Vec::new()
    }
}

/// Virtual addresses of the resident code and of the save areas; empty on the host.
pub fn resident() -> [core::ops::Range<usize>; 2] {
    #[cfg(target_os = "none")]
    return crate::kernel_table::resident();
    #[cfg(not(target_os = "none"))]
    return [0..0, 0..0];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_owns_its_frame() {
        let mut space = UserSpace::new(World::Table).expect("memory");
        let frame = Frame::zeroed().expect("memory");
        assert_eq!(space.map(0x1_0000, frame.clone(), Prot::READ | Prot::WRITE), Ok(None));
        assert_eq!(frame.shares(), 2);
        assert_eq!(space.get(0x1_0fff).map(|(_, prot)| prot), Some(Prot::READ | Prot::WRITE));
        assert!(space.protect(0x1_0000, Prot::READ));
        assert!(!space.protect(0x2_0000, Prot::READ));
        assert_eq!(space.with(0x1_0000, |_, prot| prot), Some(Prot::READ));
        assert_eq!(space.unmap(0x1_0000), Some(Unmapped::Frame(frame.clone())));
        assert_eq!(frame.shares(), 1);
        space.map(0x3f_0000_0000, frame.clone(), Prot::EXEC).expect("memory");
        drop(space);
        assert_eq!(frame.shares(), 1);
    }

    #[test]
    fn a_scan_skips_what_has_no_table_and_keeps_to_its_budget() {
        let mut space = UserSpace::new(World::Table).expect("memory");
        let far = 0x30_0000_0000;
        assert_eq!(
            (space.tables_missing(far), space.map_there(far, Frame::zeroed().expect("memory"), Prot::READ).is_err()),
            (2, true)
        );
        space.create_tables(far).expect("memory");
        assert_eq!((space.tables_missing(far), space.tables_missing(far + span(1))), (0, 1));
        assert_eq!(space.map_there(far + PAGE_SIZE, Frame::zeroed().expect("memory"), Prot::READ), Ok(None));
        assert_eq!(space.scan(0..USER_END, &mut 1000), Ok(far + PAGE_SIZE));
        assert_eq!(space.scan(far + 2 * PAGE_SIZE..USER_END, &mut 10), Err(far + 12 * PAGE_SIZE));
        assert!(space.scan(far + 2 * PAGE_SIZE..USER_END, &mut 100_000).is_err_and(|next| next >= USER_END));
        let tables = space.table_frames();
        assert!(space.take_empty_table(far).is_none());
        drop(space.unmap(far + PAGE_SIZE));
        assert!(space.take_empty_table(far).is_some() && space.table_frames() == tables - 1);
        assert_eq!(space.tables_missing(far), 1);
    }

    #[test]
    fn addresses_outside_user_space_are_not_there() {
        let space = UserSpace::new(World::Vm).expect("memory");
        assert!(space.get(usize::MAX).is_none() && space.get(USER_END).is_none());
    }
}
