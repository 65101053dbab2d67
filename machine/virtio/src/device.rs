//! Finding out what sits in a virtio-mmio slot, and the steps common to all devices.

use crate::Error;
use core::ptr::NonNull;
use hal::sync::{IrqLock, rank};
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
use zerocopy::{FromBytes, IntoBytes};

/// Feature bit of every device: it follows version 1 of the specification.
pub(crate) const VERSION_1: u64 = 1 << 32;
/// How often a configuration that changes under the reader is read again.
const CONFIG_TRIES: usize = 16;

/// What is in a slot.
pub struct Found {
    /// The kind of device.
    pub kind: DeviceType,
    /// Its registers, for the driver's `new`.
    pub transport: MmioTransport<'static>,
}

/// Looks at a virtio-mmio slot. `None` if it is empty, or holds something unknown.
///
/// # Safety
///
/// `registers` points to the `size` bytes of registers of a virtio-mmio slot (or of no device at all, but
/// readable), mapped for ever, aligned to 4, and nobody else uses them.
pub unsafe fn probe(registers: NonNull<u8>, size: usize) -> Option<Found> {
    if size < size_of::<VirtIOHeader>() {
        return None;
    }
    // SAFETY: the caller promises mapped registers of this size, ours alone, for ever.
    match unsafe { MmioTransport::new(registers.cast(), size) } {
        Ok(transport) => Some(Found { kind: transport.device_type(), transport }),
        Err(
            MmioError::BadMagic(_)
            | MmioError::UnsupportedVersion(_)
            | MmioError::InvalidDeviceID(_)
            | MmioError::MmioRegionTooSmall,
        ) => None,
    }
}

/// The devices in the machine's virtio-mmio slots, with their interrupt lines, by ascending address. Each is
/// handed out once: a second call returns nothing.
#[cfg(target_os = "none")]
pub fn devices() -> alloc::vec::Vec<(platform::Line, Found)> {
    use core::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // Relaxed: nothing is published by it, the exchange alone decides who is first.
    if TAKEN.swap(true, Ordering::Relaxed) {
        return alloc::vec::Vec::new();
    }
    let slots = &hal::boot::machine().platform.virtio;
    slots.iter().filter_map(|slot| Some((slot.line, take(slot.registers)?))).collect()
}

#[cfg(target_os = "none")]
fn take(registers: platform::Range) -> Option<Found> {
    let base = hal::boot::registers(registers)?;
    // SAFETY: the device tree names these registers (aligned to a word: checked by its parser), boot has mapped
    // all of them for ever, and `devices` hands each slot out once.
    unsafe { probe(base, registers.size as usize) }
}

/// Agrees on features with the device: those of `wanted` that it offers. Leaves it ready for its queues.
pub(crate) fn negotiate<T: Transport>(transport: &mut T, wanted: u64) -> Result<u64, Error> {
    let agreed = transport.begin_init(Features::from_bits_retain(wanted | VERSION_1)).bits();
    let modern = !transport.requires_legacy_layout();
    // The bit that says whether the device agrees came with version 1.
    let refused = !transport.get_status().contains(DeviceStatus::FEATURES_OK);
    if modern && (refused || agreed & VERSION_1 == 0) {
        transport.set_status(DeviceStatus::FAILED);
        return Err(Error::Unsupported);
    }
    Ok(agreed)
}

bitflags::bitflags! {
    /// Any feature bits; drivers know them by number.
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const ALL = !0;
    }
}

/// Reads a field of the configuration space; `None` if the device has none, or keeps changing it.
pub(crate) fn config<T: Transport, V: FromBytes + IntoBytes + Copy>(transport: &T, offset: usize) -> Option<V> {
    for _ in 0..CONFIG_TRIES {
        let before = transport.read_config_generation();
        let value = transport.read_config_space(offset).ok()?;
        if transport.read_config_generation() == before {
            return Some(value);
        }
    }
    None
}

/// A device's registers after it was set up, shared by its queues.
pub(crate) struct Registers<T>(IrqLock<T>);

impl<T: Transport> Registers<T> {
    /// The last step of setting up: from now on the device works.
    pub(crate) fn start(mut transport: T) -> Registers<T> {
        transport.finish_init();
        Registers(IrqLock::new(rank::DEVICE, transport))
    }

    /// Tells the device that a queue has something for it.
    pub(crate) fn notify(&self, queue: u16) {
        order_memory_before_registers();
        self.0.lock().notify(queue);
    }

    /// Acknowledges the interrupt, so that the device lowers its line.
    pub(crate) fn acknowledge(&self) {
        let _ = self.0.lock().ack_interrupt();
        order_registers_before_memory();
    }

    /// Stops a device that broke the protocol: it forgets its queues.
    pub(crate) fn reset(&self) {
        self.0.lock().set_status(DeviceStatus::empty());
    }

    /// The registers themselves.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.lock())
    }
}

/// The queue's index must be in memory before the device is told to look. Rust's fences order memory only.
fn order_memory_before_registers() {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: a fence changes no state.
    unsafe {
        core::arch::asm!("fence w, o", options(nostack))
    };
}

/// The used index must be read after the interrupt was acknowledged, or an entry that comes in between would
/// be neither seen nor announced again.
fn order_registers_before_memory() {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: a fence changes no state.
    unsafe {
        core::arch::asm!("fence io, rw", options(nostack))
    };
}
