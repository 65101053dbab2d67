//! From the first Rust instruction to the kernel's `main`, on each hart.
//!
//! The boot hart reads the device tree, sets up pages, the kernel's page table, stacks and the interrupt
//! controller, and calls the kernel's main function on its own stack. [`start_harts`] brings in the others.

use crate::arch::physical_pointer;
use crate::hart::{self, local_of};
use crate::{PAGE_SIZE, backtrace, console, frame, irq, kernel_table, power, stack, time};
use alloc::boxed::Box;
use core::fmt::Write;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use platform::{Extensions, Platform};
use riscv::boot::IMAGE_OFFSET;
use riscv::csr_write;

unsafe extern "Rust" {
    /// The kernel's main function on the boot hart, exported by `kernel_main!`.
    fn kernel_main(machine: &'static Machine) -> !;
}

/// Names the kernel's main function: `fn(&'static Machine) -> !`.
#[macro_export]
macro_rules! kernel_main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn kernel_main(machine: &'static $crate::boot::Machine) -> ! {
            $main(machine)
        }
    };
}

/// What boot found.
pub struct Machine {
    /// The device tree's contents.
    pub platform: Platform,
    /// Whether processes can run in the `vm` world.
    pub has_virtual: bool,
    /// `instret` at the kernel's first instruction, where the counter runs.
    pub first_instruction: usize,
}

static MACHINE: AtomicPtr<Machine> = AtomicPtr::new(core::ptr::null_mut());
static HART_MAIN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static STARTED: AtomicUsize = AtomicUsize::new(1);

/// Instructions retired by this hart since reset (emulators count truly only in their counting mode).
pub fn instructions() -> usize {
    riscv::csr_read!(instret)
}

#[unsafe(no_mangle)]
extern "C" fn boot_hart_main(hart_id: usize, dtb: usize) -> ! {
    let first_instruction = instructions();
    set_local(0, hart_id);
    let platform = read_device_tree(dtb);
    let (memory, free) = usable_memory(&platform);
    // SAFETY: the table lies in RAM behind the image, before the free range; both are otherwise unused.
    unsafe { initialise_frames(&memory, free) };
    let extensions = platform.common_extensions();
    let zero_blocks =
        extensions.contains(Extensions::ZICBOZ) && platform.harts.iter().all(|hart| hart.zero_block == 64);
    frame::ZERO_BLOCKS.store(zero_blocks, Ordering::Relaxed);
    let has_virtual = extensions.contains(Extensions::H);
    crate::user::HAS_FLOATING.store(extensions.contains(Extensions::D), Ordering::Relaxed);
    let harts = platform.harts.len().clamp(1, hart::MAX);
    hart::set_count(harts);
    time::initialise(platform.timebase_hz);
    time::machine::HAS_SSTC.store(extensions.contains(Extensions::SSTC), Ordering::Relaxed);
    let ready =
        kernel_table::build(&[memory], &device_ranges(&platform), extensions).and_then(|()| stack::initialise(harts));
    assert!(ready.is_some(), "not enough memory to boot: AsyncOS needs 64 MiB");
    let mut platform = platform;
    move_boot_hart_first(&mut platform, hart_id);
    let machine = Box::leak(Box::new(Machine { platform, has_virtual, first_instruction }));
    MACHINE.store(machine, Ordering::Release);
    kernel_table::activate(local_of(0));
    csr_write!(stvec, riscv::resident::vector as *const () as usize);
    assert!(riscv::boot::boot_stack_held(), "the boot stack has run over");
    // SAFETY: level 0 of this hart's stacks is mapped and unused. The boot stack is never returned to.
    unsafe { riscv::resident::call_on_stack(0, boot_on_own_stack, stack::hart_stack_top(0, 0)) };
    power::stop()
}

extern "C" fn boot_on_own_stack(_: usize) {
    let machine = machine();
    assert!(irq::initialise(&machine.platform).is_some(), "no interrupt controller that can be used");
    if let Some(rtc) = machine.platform.rtc.and_then(|rtc| irq::registers(rtc.registers)) {
        // Goldfish: reading the low half latches the high one; together nanoseconds since 1970.
        let low = rtc.read(0);
        time::set_wall(u64::from(rtc.read(4)) << 32 | u64::from(low));
    }
    irq::initialise_hart(0);
    crate::uintc::initialise(&machine.platform);
    if kernel_table::has_guest_files() {
        crate::guest_file::initialise_hart(0);
    }
    crate::arch::interrupts_on();
    // SAFETY: exported once by `kernel_main!`, with this signature.
    unsafe { kernel_main(machine) }
}

/// Where a device's registers are mapped, for ever; `None` if boot did not map them (see `device_ranges`).
pub fn registers(range: platform::Range) -> Option<core::ptr::NonNull<u8>> {
    let pointer = physical_pointer(usize::try_from(range.start).ok()?);
    core::ptr::NonNull::new(pointer).filter(|pointer| kernel_table::is_mapped(pointer.as_ptr() as usize))
}

/// What boot found; there from the start of the kernel's main function.
pub fn machine() -> &'static Machine {
    // SAFETY: stored by the boot hart from a leaked box, before anything that calls this.
    unsafe { &*MACHINE.load(Ordering::Acquire) }
}

fn set_local(index: usize, hart_id: usize) {
    let local = local_of(index);
    local.hart_id.store(hart_id, Ordering::Relaxed);
    // SAFETY: `tp` is reserved for this in the kernel; nothing has used it on this hart yet.
    unsafe { core::arch::asm!("mv tp, {0}", in(reg) core::ptr::from_ref(local), options(nostack)) };
}

/// Harts are numbered with the boot hart first, the others in the tree's order.
fn move_boot_hart_first(platform: &mut Platform, hart_id: usize) {
    if let Some(position) = platform.harts.iter().position(|hart| hart.id == hart_id) {
        platform.harts[..=position].rotate_right(1);
    }
}

fn read_device_tree(dtb: usize) -> Platform {
    /// A tree is smaller than this on any machine.
    const LIMIT: u32 = 1 << 20;
    let start = physical_pointer(dtb);
    // SAFETY: the firmware passes the tree in RAM, which the boot table maps, aligned to 8. The second word of
    // its header is its size, big-endian.
    let size = u32::from_be(unsafe { start.cast::<u32>().add(1).read() }).min(LIMIT);
    // SAFETY: as above, of the size that the header states.
    let bytes = unsafe { core::slice::from_raw_parts(start, size as usize) };
    match Platform::parse(bytes) {
        Ok(platform) => platform,
        Err(error) => panic!("{error}"),
    }
}

/// The RAM range that holds the kernel, and the part of it that is free for pages and their table.
fn usable_memory(platform: &Platform) -> (Range<usize>, Range<usize>) {
    let image = kernel_table::image().start - IMAGE_OFFSET..kernel_table::image().end - IMAGE_OFFSET;
    let ram = platform.memory.iter().map(|r| r.start as usize..r.end() as usize);
    let Some(ram) = ram.into_iter().find(|ram| ram.contains(&image.start)) else {
        panic!("the device tree does not list the memory that the kernel was loaded to");
    };
    // The boot table reaches the first 16 GiB.
    let mut free = image.end..ram.end.min(16 << 30);
    for reserved in &platform.reserved {
        let (start, end) = (reserved.start as usize, reserved.end() as usize);
        if start < free.end && end > free.start {
            // Keep the larger part beside the reservation.
            free = if start.saturating_sub(free.start) > free.end.saturating_sub(end) {
                free.start..start
            } else {
                end..free.end
            };
        }
    }
    let free = free.start.next_multiple_of(PAGE_SIZE)..free.end & !(PAGE_SIZE - 1);
    (ram.start..free.end, free)
}

/// # Safety
/// `free` is unused RAM inside `memory`, mapped by the boot table.
unsafe fn initialise_frames(memory: &Range<usize>, free: Range<usize>) {
    let pages = (memory.end - memory.start) / PAGE_SIZE;
    let table_bytes = (pages * size_of::<crate::buddy::Meta>()).next_multiple_of(PAGE_SIZE);
    let table = physical_pointer(free.start).cast();
    // SAFETY: the table takes the start of the free range and the pages the rest.
    unsafe { frame::initialise(memory.start, pages, table, free.start + table_bytes..free.end) };
}

fn device_ranges(platform: &Platform) -> alloc::vec::Vec<Range<usize>> {
    let aplic = platform.aplic.map(|aplic| aplic.registers);
    let imsic = platform.imsic.as_ref().map(|imsic| imsic.registers);
    let plic = platform.plic.as_ref().map(|plic| plic.registers);
    let uart = platform.uart.map(|uart| uart.registers);
    let rtc = platform.rtc.map(|rtc| rtc.registers);
    let uintc = platform.uintc.map(|uintc| uintc.registers);
    let pci = platform.pci.map(|pci| pci.configuration);
    // For drivers of the kernel. The window of memory is large, and no such driver has registers there.
    let ports = platform.pci.and_then(|pci| pci.ports).map(|window| window.range);
    let single = [aplic, imsic, plic, uart, rtc, uintc, pci, ports].into_iter().flatten();
    single
        .chain(platform.virtio.iter().map(|slot| slot.registers))
        .map(|range| range.start as usize & !(PAGE_SIZE - 1)..(range.end() as usize).next_multiple_of(PAGE_SIZE))
        .collect()
}

/// Starts all other harts; each runs `main` on its own stack. Waits until they have said hello.
pub fn start_harts(main: fn() -> !) {
    HART_MAIN.store(main as *mut (), Ordering::Release);
    riscv::boot::SECONDARY_SATP.store(kernel_table::kernel_satp(), Ordering::Release);
    let machine = machine();
    for (index, hart) in machine.platform.harts.iter().enumerate().take(hart::count()).skip(1) {
        local_of(index).hart_id.store(hart.id, Ordering::Relaxed);
        let before = STARTED.load(Ordering::Acquire);
        match riscv::boot::call_hart(hart.id, stack::hart_stack_top(index, 0)) {
            // One by one: the hart finds its index in this count.
            Ok(()) => {
                while STARTED.load(Ordering::Acquire) == before {
                    core::hint::spin_loop();
                }
            }
            Err(error) => {
                log::error!("hart {} does not start ({error:?}); going on with {index}", hart.id);
                hart::set_count(index);
                return;
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn secondary_hart_main(hart_id: usize) -> ! {
    let index = STARTED.load(Ordering::Acquire);
    set_local(index, hart_id);
    kernel_table::activate(local_of(index));
    csr_write!(stvec, riscv::resident::vector as *const () as usize);
    irq::initialise_hart(index);
    if kernel_table::has_guest_files() {
        crate::guest_file::initialise_hart(index);
    }
    // Release pairs with the Acquire in `start_harts`.
    STARTED.store(index + 1, Ordering::Release);
    let main = HART_MAIN.load(Ordering::Acquire);
    crate::arch::interrupts_on();
    // SAFETY: `start_harts` stored a function pointer of this type before it started the hart.
    unsafe { core::mem::transmute::<*mut (), fn() -> !>(main)() }
}

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::arch::interrupts_off();
    if PANICKING.swap(true, Ordering::Relaxed) {
        // A second hart, or a panic while panicking: the first one reports.
        power::stop();
    }
    console::enter_emergency();
    let mut out = console::Writer;
    let _ = writeln!(out, "\nkernel panic on hart {}: {info}", hart::id());
    backtrace::print(&mut out);
    let _ = writeln!(out, "the machine stops");
    power::off(true)
}
