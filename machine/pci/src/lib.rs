//! Functions on the first PCI bus: what they are, where their registers lie, and how they are switched on and off.
//!
//! The configuration space is read and written by the crate `virtio-drivers`. Nothing has placed the registers before: [`functions`] gives each block of
//! them an address of its own, with whole pages, so that a page holds registers of one function only. A function is off until [`Switch::start`]:
//! it answers at no address, reaches no memory and interrupts nobody.
//!
//! One lock guards the configuration space, whose registers are shared by nobody else.

#![no_std]
#![expect(unsafe_code, reason = "device registers")]

extern crate alloc;

use alloc::vec::Vec;
use core::ptr::NonNull;
use hal::{
    PAGE_SIZE,
    registers::Registers,
    sync::{SpinLock, rank},
};
use platform::{Line, Pci, Range, Window};
use virtio_drivers::transport::pci::bus::{
    BarInfo, Cam, Command, ConfigurationAccess, DeviceFunction, HeaderType, MemoryBarType, MmioCam, PciRoot,
};

/// Offset of the word whose second byte says which pin interrupts (0: none).
const INTERRUPT: u8 = 0x3c;
/// Class of bridges, which are nobody's to have.
const BRIDGE: u8 = 6;

/// The configuration space.
pub type Root = PciRoot<MmioCam<'static>>;

static ROOT: SpinLock<Option<Root>> = SpinLock::new(rank::DEVICE - 1, None);

/// What switches a function on and off.
pub struct Switch(DeviceFunction);

/// A function.
pub struct Function {
    /// See there.
    pub switch: Switch,
    /// Who made it.
    pub vendor: u16,
    /// What it is, as its maker numbers that.
    pub device: u16,
    /// Class, subclass and programming interface, from bit 16 down.
    pub class: u32,
    /// The first block of its registers.
    pub registers: Registers,
    /// Bytes of that.
    pub bytes: u32,
    /// What it interrupts by.
    pub line: Option<Line>,
}

impl Switch {
    /// From here on it answers, may reach memory, and interrupts, unless nobody would be told: its line may be another's.
    pub fn start(&self, interrupts: bool) {
        let quiet = if interrupts { Command::empty() } else { Command::INTERRUPT_DISABLE };
        self.command(Command::IO_SPACE | Command::MEMORY_SPACE | Command::BUS_MASTER | quiet);
    }

    /// Ends that. What it was in the middle of is not forgotten, and goes on if it is started again.
    pub fn stop(&self) {
        self.command(Command::INTERRUPT_DISABLE);
    }

    fn command(&self, command: Command) {
        if let Some(root) = &mut *ROOT.lock() {
            root.set_command(self.0, command);
            // The write has arrived when this has: nothing of what it ends comes behind it.
            let _ = root.get_status_command(self.0);
        }
    }
}

/// Finds all functions, places their registers and switches them off. Once: a second call finds none.
#[cfg(target_os = "none")]
pub fn functions() -> Vec<Function> {
    let Some(pci) = &hal::boot::machine().platform.pci else { return Vec::new() };
    let Some(base) = hal::boot::registers(pci.configuration) else { return Vec::new() };
    let mut root = ROOT.lock();
    if root.is_some() {
        return Vec::new();
    }
    // SAFETY: the device tree names this space, and boot has mapped the first bus of it for ever; it is used under the lock.
    let (bus, found) = unsafe { probe(pci, base) };
    *root = Some(bus);
    found
}

/// Finds all functions, places their registers and switches them off.
///
/// # Safety
///
/// `base` is where the configuration space of the first bus is mapped, for ever, and nobody else uses it.
pub unsafe fn probe(pci: &Pci, base: NonNull<u8>) -> (Root, Vec<Function>) {
    // SAFETY: as the caller promises for the first bus; no other is asked for.
    let access = unsafe { MmioCam::new(base.as_ptr(), Cam::Ecam) };
    // SAFETY: the copy reads which pin a function has, which never changes.
    let fixed = unsafe { access.unsafe_clone() };
    let mut bus = PciRoot::new(access);
    let found = find(pci, &mut bus, &fixed);
    (bus, found)
}

/// What is left of a window.
struct Room(Option<Window>);

impl Room {
    /// So many bytes of it, a power of two, at a multiple of their number, in pages of their own: the address on the bus, and where that is.
    fn take(&mut self, bytes: u64) -> Option<(u64, Range)> {
        let window = self.0?;
        let size = bytes.max(PAGE_SIZE as u64);
        let bus = window.bus.max(PAGE_SIZE as u64).checked_next_multiple_of(size)?;
        let gone = (bus - window.bus).checked_add(size)?;
        let registers = Range::new(window.range.start + (bus - window.bus), bytes)?;
        if gone > window.range.size {
            return None;
        }
        let rest = Range::new(window.range.start + gone, window.range.size - gone);
        self.0 = rest.map(|range| Window { bus: bus + size, range });
        Some((bus, registers))
    }
}

fn find<C: ConfigurationAccess>(pci: &Pci, bus: &mut PciRoot<C>, fixed: &C) -> Vec<Function> {
    let (mut ports, mut memory) = (Room(pci.ports), Room(pci.memory));
    let all: Vec<_> = bus.enumerate_bus(0).collect();
    let mut found = Vec::new();
    for (place, info) in all {
        if info.class == BRIDGE || info.header_type != HeaderType::Standard {
            continue;
        }
        bus.set_command(place, Command::INTERRUPT_DISABLE);
        let registers = place_registers(bus, place, &mut ports, &mut memory).and_then(|range| {
            let (start, bytes) = (usize::try_from(range.start).ok()?, u32::try_from(range.size).ok()?);
            // SAFETY: of a window of this bus, in which each block has pages of its own, and which nobody else uses.
            Some((unsafe { Registers::new(start, bytes as usize) }?, bytes))
        });
        let Some((registers, bytes)) = registers else {
            log::warn!("pci {place}: no registers, or no room for them");
            continue;
        };
        let pin = (fixed.read_word(place, INTERRUPT) >> 8) as u8;
        found.push(Function {
            switch: Switch(place),
            vendor: info.vendor_id,
            device: info.device_id,
            class: u32::from(info.class) << 16 | u32::from(info.subclass) << 8 | u32::from(info.prog_if),
            registers,
            bytes,
            line: pci.line(place.device, pin),
        });
    }
    found
}

/// Gives each block of registers its address; where the first one is. `None`: there is none, or one has no room.
fn place_registers<C: ConfigurationAccess>(
    bus: &mut PciRoot<C>,
    place: DeviceFunction,
    ports: &mut Room,
    memory: &mut Room,
) -> Option<Range> {
    let mut first = None;
    let blocks = bus.bars(place).ok()?;
    for (number, block) in (0..).zip(blocks) {
        let (room, size, wide) = match block {
            None => continue,
            Some(BarInfo::IO { size, .. }) => (&mut *ports, u64::from(size), false),
            Some(BarInfo::Memory { size, address_type, .. }) => {
                (&mut *memory, size, address_type == MemoryBarType::Width64)
            }
        };
        let (address, registers) = room.take(size)?;
        if wide {
            bus.set_bar_64(place, number, address);
        } else {
            bus.set_bar_32(place, number, u32::try_from(address).ok()?);
        }
        first = first.or(Some(registers));
    }
    first
}
