//! The kernel's own page table, and what of the kernel other tables contain.
//!
//! ```text
//! 0xffff_ffc0_0000_0000  direct map: RAM without the kernel image, device registers      RW
//!                        of the image the scheduler's pages, which processes map         R
//! 0xffff_ffe0_0000_0000  kernel stacks, a slot each, guard below                         RW
//! 0xffff_ffff_8020_0000  image: text RX, rodata R, data RW
//!                        resident code RX and save areas RW: also in `table` processes
//! ```
//!
//! Nothing is writable and executable. The root entries are fixed when boot is over, so a `shared` process copies
//! them once; everything that changes later (stacks) changes below the root.

use crate::PAGE_SIZE;
use crate::frame::Frame;
use crate::hart::{self, Local};
use crate::space::{KernelPage, World};
use crate::sync::{SpinLock, rank};
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use platform::Extensions;
use riscv::boot::{DIRECT_MAP, IMAGE_OFFSET};
use riscv::context::SaveArea;
use riscv::sv39::{ENTRIES, Entry, LEVELS, MODE, bits, index, span};
use riscv::{csr_read, csr_write};

unsafe extern "C" {
    static __image_start: u8;
    static __resident_start: u8;
    static __resident_end: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __resident_data_start: u8;
    static __resident_data_end: u8;
    static __image_end: u8;
}

macro_rules! address_of {
    ($symbol:ident) => {
        (&raw const $symbol) as usize
    };
}

/// Virtual addresses of the kernel image.
pub(crate) fn image() -> Range<usize> {
    address_of!(__image_start)..address_of!(__image_end)
}

/// Virtual addresses of the kernel's code.
pub(crate) fn text() -> Range<usize> {
    address_of!(__image_start)..address_of!(__text_end)
}

const READ: u64 = bits::R | bits::G;
const WRITE: u64 = bits::R | bits::W | bits::G;
const EXEC: u64 = bits::R | bits::X | bits::G;

static KERNEL_ROOT: AtomicUsize = AtomicUsize::new(0);
static RESIDENT_ROOT: AtomicUsize = AtomicUsize::new(0);
static HAS_H: AtomicBool = AtomicBool::new(false);
static HAS_AIA: AtomicBool = AtomicBool::new(false);
static EDIT: SpinLock<()> = SpinLock::new(rank::KERNEL_TABLE, ());

/// A save area on a page of its own, so that a hart's page holds nothing else.
#[repr(C, align(4096))]
struct AreaPage(UnsafeCell<SaveArea>);

// SAFETY: each hart uses its own page only, and only with interrupts off or from trap entry.
unsafe impl Sync for AreaPage {}

impl AreaPage {
    const fn new() -> Self {
        Self(UnsafeCell::new(SaveArea {
            spill: 0,
            registers: 0,
            kernel_sp: 0,
            kernel_satp: 0,
            kernel_tp: 0,
            user_satp: 0,
            user_sp: 0,
            kernel_ra: 0,
            kernel_s: [0; 2],
        }))
    }
}

#[unsafe(link_section = ".resident.data")]
static AREAS: [AreaPage; hart::MAX] = [const { AreaPage::new() }; hart::MAX];

/// Builds both tables. `memory` and `devices` are physical ranges for the direct map.
pub(crate) fn build(memory: &[Range<usize>], devices: &[Range<usize>], extensions: Extensions) -> Option<()> {
    let root = Frame::zeroed_for_kernel()?.into_physical();
    let image_physical = image().start - IMAGE_OFFSET..image().end - IMAGE_OFFSET;
    for range in memory {
        // The image is reachable at its own address only, where its code cannot be written.
        let before = range.start..range.end.min(image_physical.start);
        let after = range.start.max(image_physical.end)..range.end;
        for part in [before, after] {
            map(root, DIRECT_MAP + part.start, part.start, part.end.saturating_sub(part.start), WRITE)?;
        }
    }
    for page in crate::sched_image::physical() {
        Frame::keep_image_page(page);
        map(root, DIRECT_MAP + page, page, PAGE_SIZE, READ)?;
    }
    for range in devices {
        map(root, DIRECT_MAP + range.start, range.start, range.end - range.start, WRITE)?;
    }
    let parts = [
        (image().start, address_of!(__text_end), EXEC),
        (address_of!(__text_end), address_of!(__rodata_end), READ),
        (address_of!(__rodata_end), image().end, WRITE),
    ];
    for (start, end, permissions) in parts {
        map(root, start, start - IMAGE_OFFSET, end - start, permissions)?;
    }
    // The second level of the stack area must exist before any root is copied.
    table_entry(root, riscv::boot::STACKS, LEVELS - 2)?;
    KERNEL_ROOT.store(root, Relaxed);
    HAS_H.store(extensions.contains(Extensions::H), Relaxed);
    HAS_AIA.store(extensions.contains(Extensions::SSAIA), Relaxed);

    let resident = Frame::zeroed_for_kernel()?.into_physical();
    for (start, end, permissions) in [
        (address_of!(__resident_start), address_of!(__resident_end), EXEC),
        (address_of!(__resident_data_start), address_of!(__resident_data_end), WRITE),
    ] {
        map(resident, start, start - IMAGE_OFFSET, end - start, permissions)?;
    }
    RESIDENT_ROOT.store(resident, Relaxed);
    Some(())
}

/// Switches this hart from the boot table to the kernel's own and fills its save area.
pub(crate) fn activate(local: &Local) {
    select_kernel();
    let area = AREAS[local.index.load(Relaxed)].0.get();
    // SAFETY: the area of this hart, before its first entry to user mode.
    unsafe { (*area).kernel_tp = core::ptr::from_ref(local) as usize };
    local.area.store(area, Relaxed);
    csr_write!(scounteren, 7);
    csr_write!(senvcfg, 0);
    if HAS_H.load(Relaxed) {
        riscv::virtual_csr::initialise(HAS_AIA.load(Relaxed), crate::time::machine::never());
    }
}

/// Whether user interrupts can arrive by hardware.
pub(crate) fn has_guest_files() -> bool {
    HAS_H.load(Relaxed) && HAS_AIA.load(Relaxed)
}

/// `satp` of the kernel's own table.
pub(crate) fn kernel_satp() -> usize {
    MODE | KERNEL_ROOT.load(Relaxed) >> 12
}

/// Selects the kernel's own table on this hart, and no G-stage table.
pub(crate) fn deselect() {
    select_kernel();
    if HAS_H.load(Relaxed) {
        riscv::virtual_csr::deselect_table();
    }
}

/// Selects the kernel's own table on this hart.
pub(crate) fn select_kernel() {
    // The kernel's table maps everything the kernel uses, this code and stack included.
    csr_write!(satp, kernel_satp());
    riscv::csr::flush_translations();
}

/// Prepares this hart for entering user mode in a space. Interrupts are off.
pub(crate) fn select(local: &Local, world: World, root: usize) {
    let kernel = kernel_satp();
    // SAFETY: this hart's own area, and trap entry cannot run: interrupts are off and the kernel is here.
    let area = unsafe { &mut *local.area.load(Relaxed) };
    (area.kernel_satp, area.user_satp) = match world {
        World::Table => (kernel, MODE | root >> 12),
        World::Shared | World::Vm => (0, 0),
    };
    // A `shared` root contains the kernel's entries, so either value keeps this code mapped.
    csr_write!(satp, if world == World::Shared { MODE | root >> 12 } else { kernel });
    if world == World::Vm {
        riscv::virtual_csr::select_table(root);
        local.traps_owner.store(0, Relaxed);
    } else if HAS_H.load(Relaxed) {
        // Else the `sret` behind a `vm` process would lead into virtual mode, over that process's memory.
        riscv::virtual_csr::leave();
    }
    crate::user::own::disown(local);
    // These two have no VS copy: a `vm` process may have changed them.
    csr_write!(scounteren, 7);
    csr_write!(senvcfg, 0);
}

/// Prepares this hart for returning to interrupted kernel code, after other coroutines ran on top of it. Interrupts are off.
pub(crate) fn return_to_kernel() {
    if HAS_H.load(Relaxed) {
        riscv::virtual_csr::stay_outside();
    }
}

/// The entries of a new root that concern the kernel.
pub(crate) fn entries_for(world: World) -> impl Iterator<Item = (usize, Entry)> {
    let source = match world {
        World::Shared => KERNEL_ROOT.load(Relaxed),
        World::Table | World::Vm => RESIDENT_ROOT.load(Relaxed),
    };
    (ENTRIES / 2..ENTRIES).map(move |entry| (entry, read(source, entry))).filter(|(_, entry)| entry.valid())
}

/// Pages outside user memory that `root` maps.
pub(crate) fn reachable(root: usize, world: World) -> Vec<KernelPage> {
    let mut pages = Vec::new();
    // The root of a guest-physical space is four pages long, and has no upper half.
    let (entries, address): (usize, fn(usize) -> usize) =
        if world == World::Vm { (4 * ENTRIES, core::convert::identity) } else { (ENTRIES, sign_extend) };
    for entry in ENTRIES / 2..entries {
        collect(read(root, entry), address(entry << 30), LEVELS - 1, &mut pages);
    }
    pages
}

/// All that the kernel's own table maps.
pub(crate) fn mapped() -> Vec<KernelPage> {
    reachable(KERNEL_ROOT.load(Relaxed), World::Shared)
}

fn collect(entry: Entry, address: usize, level: usize, pages: &mut Vec<KernelPage>) {
    if !entry.valid() {
        return;
    }
    if entry.is_leaf() {
        let writable = entry.0 & bits::W != 0;
        pages.push(KernelPage { address, physical: entry.physical(), bytes: span(level), writable });
        return;
    }
    for slot in 0..ENTRIES {
        collect(read(entry.physical(), slot), address + slot * span(level - 1), level - 1, pages);
    }
}

fn sign_extend(address: usize) -> usize {
    ((address << 25) as isize >> 25) as usize
}

/// Virtual addresses that are resident in every `table` process.
pub(crate) fn resident() -> [Range<usize>; 2] {
    [
        address_of!(__resident_start)..address_of!(__resident_end),
        address_of!(__resident_data_start)..address_of!(__resident_data_end),
    ]
}

/// Maps one page of a kernel stack.
pub(crate) fn map_stack_page(address: usize, frame: Frame) -> Option<()> {
    let _edit = EDIT.lock();
    let slot = table_entry(KERNEL_ROOT.load(Relaxed), address, 0)?;
    // SAFETY: an entry of the kernel's table, edited under the lock.
    unsafe { slot.write_volatile(Entry::leaf(frame.into_physical(), WRITE)) };
    Some(())
}

/// Whether `address` is mapped.
pub(crate) fn is_mapped(address: usize) -> bool {
    let mut table = KERNEL_ROOT.load(Relaxed);
    for level in (0..LEVELS).rev() {
        let entry = read(table, index(address, level));
        if !entry.valid() || entry.is_leaf() {
            return entry.valid();
        }
        table = entry.physical();
    }
    false
}

fn read(table: usize, entry: usize) -> Entry {
    // SAFETY: `table` is a live table in the direct map (or the boot table's window of it).
    unsafe { crate::arch::physical_pointer(table).cast::<Entry>().add(entry).read_volatile() }
}

/// Maps a physically contiguous range with the largest leaves that fit.
fn map(root: usize, mut address: usize, mut physical: usize, mut len: usize, permissions: u64) -> Option<()> {
    while len > 0 {
        let level =
            (0..LEVELS).rev().find(|&level| len >= span(level) && (address | physical).is_multiple_of(span(level)))?;
        let slot = table_entry(root, address, level)?;
        // SAFETY: an entry of a table that is being built.
        unsafe { slot.write_volatile(Entry::leaf(physical, permissions)) };
        (address, physical, len) = (address + span(level), physical + span(level), len - span(level));
    }
    Some(())
}

/// The entry for `address` at `level`, creating the tables above it.
fn table_entry(root: usize, address: usize, level: usize) -> Option<*mut Entry> {
    let mut table = root;
    for upper in (level + 1..LEVELS).rev() {
        let slot = crate::arch::physical_pointer(table).cast::<Entry>().wrapping_add(index(address, upper));
        // SAFETY: an entry of a live table of the kernel.
        let mut entry = unsafe { slot.read_volatile() };
        if !entry.valid() {
            entry = Entry::table(Frame::zeroed_for_kernel()?.into_physical());
            // SAFETY: as above; nobody else edits (boot, or the edit lock).
            unsafe { slot.write_volatile(entry) };
        }
        table = entry.physical();
    }
    Some(crate::arch::physical_pointer(table).cast::<Entry>().wrapping_add(index(address, level)))
}

/// `satp` now, for reports.
pub(crate) fn current() -> usize {
    csr_read!(satp)
}

const _: () = assert!(PAGE_SIZE == span(0));
