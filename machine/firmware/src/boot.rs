//! From reset to S-mode: what M-mode has to set up once, and on each hart.

use crate::board::{self, APLIC_M, APLIC_M_SIZE, CLINT, CLINT_SIZE, FIRMWARE, HARTS, IMSIC_M, IMSIC_M_SIZE};
use crate::csr::{STIP, csr_read, csr_set, csr_try_write, csr_write};
use crate::entry::Frame;
use crate::local::Local;
use crate::start;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use nuintc::registers;
use platform::Platform;
use platform::append::{self, NewNode};

/// Exceptions that go to S-mode at once. Not: the illegal instruction (2) and access faults of loads and stores (5, 7), which N
/// and the controller may be behind, and calls of S-mode (9).
pub const EXCEPTIONS: usize = 0xf0_b55b;

/// Where the kernel lies if nobody says so.
const KERNEL: usize = FIRMWARE.end;

/// Set when the first hart has done what is done once; in `.data`, because the others look before `.bss` is cleared.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static READY: AtomicU32 = AtomicU32::new(0);
static HAS_AIA: AtomicBool = AtomicBool::new(false);
static HAS_SSTC: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(1);

/// Harts that are there.
pub fn harts() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// Whether S-mode has a timer of its own.
pub fn has_sstc() -> bool {
    HAS_SSTC.load(Ordering::Relaxed)
}

/// What QEMU says the next stage is (OpenSBI's `fw_dynamic_info`).
#[repr(C)]
struct NextStage {
    magic: usize,
    version: usize,
    address: usize,
}

#[unsafe(no_mangle)]
extern "C" fn first_hart(hart: usize, tree: usize, next: *const NextStage, frame: *mut Frame) -> ! {
    const MAGIC: usize = 0x4942_534f;
    // SAFETY: the reset code passes this in its read-only memory.
    let next = unsafe { next.read() };
    let address = if next.magic == MAGIC && next.address != 0 { next.address } else { KERNEL };
    prepare_machine(tree);
    prepare_hart();
    READY.store(1, Ordering::Release);
    let Some(local) = Local::of(hart) else { board::stop() };
    start::enter(frame, local, hart, address, tree)
}

#[unsafe(no_mangle)]
extern "C" fn other_hart(hart: usize, frame: *mut Frame) -> ! {
    prepare_hart();
    start::wait(frame, hart)
}

/// Reads the device tree and puts the controller into it; sets up what harts share.
fn prepare_machine(tree: usize) {
    /// The emulator puts the tree at the start of a stretch of this size at the end of memory.
    const ROOM: usize = 2 << 20;
    let room = (tree + 1).next_multiple_of(ROOM) - tree;
    // SAFETY: memory that the emulator left for the tree; nobody else runs.
    let bytes = unsafe { core::slice::from_raw_parts_mut(tree as *mut u8, room) };
    let platform = match Platform::parse(bytes) {
        Ok(platform) => platform,
        Err(error) => panic!("{error}"),
    };
    let end = platform.memory.iter().map(|range| range.end() as usize).max().unwrap_or(0);
    board::MEMORY_END.store(end, Ordering::Relaxed);
    COUNT.store(platform.harts.len().min(HARTS), Ordering::Relaxed);
    HAS_AIA.store(platform.aplic.is_some(), Ordering::Relaxed);
    if let (Some(aplic), Some(imsic)) = (&platform.aplic, &platform.imsic) {
        prepare_aplic(aplic.sources, imsic.registers.start as usize, imsic.guest_index_bits);
    }
    describe(bytes);
}

/// Adds the controller's node, and keeps the kernel off the firmware.
fn describe(tree: &mut [u8]) {
    let cells = |start: usize, size: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(start as u64).to_be_bytes());
        bytes[8..].copy_from_slice(&(size as u64).to_be_bytes());
        bytes
    };
    let two = 2_u32.to_be_bytes();
    let window = cells(registers::BASE, registers::SIZE);
    let controller = NewNode {
        name: "uintc@4000000",
        properties: &[
            ("compatible", b"asyncos,uintc\0"),
            ("reg", &window),
            ("asyncos,slots", &(registers::SLOTS as u32).to_be_bytes()),
            ("asyncos,contexts", &(registers::CONTEXTS as u32).to_be_bytes()),
        ],
        children: &[],
    };
    let own = cells(FIRMWARE.start, FIRMWARE.len());
    let reservation = NewNode {
        name: "reserved-memory",
        properties: &[("#address-cells", &two), ("#size-cells", &two), ("ranges", &[])],
        children: &[NewNode {
            name: "firmware@80000000",
            properties: &[("reg", &own), ("no-map", &[])],
            children: &[],
        }],
    };
    for node in [&controller, &reservation] {
        assert!(append::node(tree, node).is_some(), "no room in the device tree");
    }
}

/// The machine-level domain: sends messages to the files at these addresses, and has no source of its own.
fn prepare_aplic(sources: u32, files: usize, guest_index_bits: u32) {
    const DELEGATED: u32 = 1 << 10;
    const DOMAINCFG: usize = 0x0;
    const MMSIADDRCFG: usize = 0x1bc0;
    const SMSIADDRCFG: usize = 0x1bc8;
    /// Enabled, by messages.
    const ENABLED: u32 = 1 << 8 | 1 << 2;
    /// Bits of a hart's index in an address.
    const HART_BITS: u32 = HARTS.ilog2();
    board::write(APLIC_M + MMSIADDRCFG, (IMSIC_M >> 12) as u32);
    board::write(APLIC_M + MMSIADDRCFG + 4, HART_BITS << 12);
    board::write(APLIC_M + SMSIADDRCFG, (files >> 12) as u32);
    board::write(APLIC_M + SMSIADDRCFG + 4, guest_index_bits << 20);
    for source in 1..=sources as usize {
        board::write(APLIC_M + 4 * source, DELEGATED);
    }
    board::write(APLIC_M + DOMAINCFG, ENABLED);
}

/// What each hart needs before it leaves M-mode.
fn prepare_hart() {
    /// Counters: all of them.
    const ALL: usize = 0xffff_ffff;
    protect();
    // Interrupts of S-mode go there; those of VS-mode do by themselves.
    csr_write!("mideleg", 0x222);
    csr_write!("mcounteren", ALL);
    // menvcfg: Sstc, page types, cache-block operations, as far as the hart has them.
    csr_try_write!("0x30a", 1 << 63 | 1 << 62 | 0b1111 << 4);
    // mstateen0: nothing is kept from S-mode.
    csr_try_write!("0x30c", !0);
    // mcyclecfg, minstretcfg: M-mode does not count. It plays hardware.
    csr_try_write!("0x321", 1 << 62);
    csr_try_write!("0x322", 1 << 62);
    HAS_SSTC.store(timer_is_own(), Ordering::Relaxed);
}

/// Whether `mip.STIP` is the output of `stimecmp`, which software cannot write.
fn timer_is_own() -> bool {
    csr_try_write!("0x14d", !0);
    csr_set!("mip", STIP);
    let written = csr_read!("mip") & STIP != 0;
    csr_write!("mip", 0);
    !written
}

/// Memory protection: the firmware's own, then everything else for all modes.
fn protect() {
    const NONE: usize = 0x18;
    const ALL: usize = 0x1f;
    let aligned = |start: usize, size: usize| (start >> 2) | ((size >> 3) - 1);
    csr_write!("pmpaddr0", aligned(FIRMWARE.start, FIRMWARE.len()));
    csr_write!("pmpaddr1", aligned(CLINT, CLINT_SIZE));
    csr_write!("pmpaddr2", aligned(APLIC_M, APLIC_M_SIZE));
    csr_write!("pmpaddr3", aligned(IMSIC_M, IMSIC_M_SIZE));
    csr_write!("pmpaddr4", usize::MAX >> 10);
    // Without AIA there is a PLIC where its domain would be, and it is the kernel's.
    let aia = if HAS_AIA.load(Ordering::Relaxed) { NONE << 16 | NONE << 24 } else { 0 };
    csr_write!("pmpcfg0", NONE | NONE << 8 | aia | ALL << 32);
    // SAFETY: a flush can only cost time; it makes the protection count.
    unsafe { core::arch::asm!("sfence.vma", options(nostack)) };
}
