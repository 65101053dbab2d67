//! A device for the tests: registers in a struct, and the other end of the virtqueues, to be driven step by
//! step, honestly or not.

use std::sync::{Arc, Mutex, MutexGuard};
use std::vec::Vec;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where a queue lies, and how far the device has got.
#[derive(Clone, Copy, Default)]
struct Ring {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    taken: u16,
    returned: u16,
}

struct State {
    kind: DeviceType,
    features: u64,
    config: Vec<u8>,
    legacy: bool,
    max_queue: u32,
    rings: [Ring; 2],
    status: DeviceStatus,
    resets: usize,
    notified: Vec<u16>,
    refuse_features: bool,
}

/// The driver's end.
pub(crate) struct FakeTransport(Arc<Mutex<State>>);

/// The device's end.
#[derive(Clone)]
pub(crate) struct FakeDevice(Arc<Mutex<State>>);

/// A chain of descriptors as the device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) head: u16,
    /// Address, bytes, writable.
    pub(crate) segments: Vec<(u64, u32, bool)>,
}

pub(crate) fn device(kind: DeviceType, features: u64, config: &[u8]) -> (FakeTransport, FakeDevice) {
    let state = Arc::new(Mutex::new(State {
        kind,
        features: features | 1 << 32,
        config: config.to_vec(),
        legacy: false,
        max_queue: 1024,
        rings: [Ring::default(); 2],
        status: DeviceStatus::empty(),
        resets: 0,
        notified: Vec::new(),
        refuse_features: false,
    }));
    (FakeTransport(state.clone()), FakeDevice(state))
}

/// Reads pretended physical memory.
pub(crate) fn read(address: u64, len: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; len];
    let from = hal::fake::physical_pointer(address as usize);
    // SAFETY: pretended memory, which is one allocation; addresses come from the driver under test.
    unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
    bytes
}

/// Writes pretended physical memory.
pub(crate) fn write(address: u64, bytes: &[u8]) {
    let to = hal::fake::physical_pointer(address as usize);
    // SAFETY: as in `read`.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

fn read16(address: u64) -> u16 {
    u16::from_le_bytes(read(address, 2).try_into().unwrap())
}

fn read32(address: u64) -> u32 {
    u32::from_le_bytes(read(address, 4).try_into().unwrap())
}

impl FakeDevice {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next chain the driver has made available.
    pub(crate) fn take(&self, queue: usize) -> Option<Chain> {
        let mut state = self.state();
        let ring = &mut state.rings[queue];
        if ring.size == 0 || read16(ring.available + 2) == ring.taken {
            return None;
        }
        let head = read16(ring.available + 4 + 2 * u64::from(ring.taken % ring.size));
        ring.taken = ring.taken.wrapping_add(1);
        let mut segments = Vec::new();
        let mut index = head;
        loop {
            assert!(index < ring.size && segments.len() < usize::from(ring.size), "broken chain");
            let descriptor = ring.descriptors + 16 * u64::from(index);
            let address = u64::from_le_bytes(read(descriptor, 8).try_into().unwrap());
            let flags = read16(descriptor + 12);
            segments.push((address, read32(descriptor + 8), flags & 2 != 0));
            if flags & 1 == 0 {
                return Some(Chain { head, segments });
            }
            index = read16(descriptor + 14);
        }
    }

    /// All chains that are available.
    pub(crate) fn take_all(&self, queue: usize) -> Vec<Chain> {
        core::iter::from_fn(|| self.take(queue)).collect()
    }

    /// Returns a chain, or what pretends to be one.
    pub(crate) fn put(&self, queue: usize, id: u32, written: u32) {
        let mut state = self.state();
        let ring = &mut state.rings[queue];
        let entry = ring.used + 4 + 8 * u64::from(ring.returned % ring.size);
        write(entry, &id.to_le_bytes());
        write(entry + 4, &written.to_le_bytes());
        ring.returned = ring.returned.wrapping_add(1);
        write(ring.used + 2, &ring.returned.to_le_bytes());
    }

    /// Moves the used index without filling entries.
    pub(crate) fn set_used_index(&self, queue: usize, index: u16) {
        write(self.state().rings[queue].used + 2, &index.to_le_bytes());
    }

    /// Whether the driver wants interrupts.
    pub(crate) fn wants_interrupts(&self, queue: usize) -> bool {
        read16(self.state().rings[queue].available) & 1 == 0
    }

    /// Asks the driver for notifications, or for none.
    pub(crate) fn set_notifications(&self, queue: usize, wanted: bool) {
        write(self.state().rings[queue].used, &u16::from(!wanted).to_le_bytes());
    }

    /// The queues that were notified since this was last asked.
    pub(crate) fn notified(&self) -> Vec<u16> {
        core::mem::take(&mut self.state().notified)
    }

    pub(crate) fn status(&self) -> DeviceStatus {
        self.state().status
    }

    pub(crate) fn resets(&self) -> usize {
        self.state().resets
    }

    pub(crate) fn set_legacy(&self) {
        let mut state = self.state();
        state.legacy = true;
        state.features &= !(1 << 32);
    }

    pub(crate) fn set_max_queue(&self, size: u32) {
        self.state().max_queue = size;
    }

    pub(crate) fn refuse_features(&self) {
        self.state().refuse_features = true;
    }

    /// Serves one block request from (or to) `disk`; returns its head.
    pub(crate) fn serve_block(&self, chain: &Chain, disk: &mut [u8], status: u8) {
        let (header, rest) = chain.segments.split_first().unwrap();
        let (end, data) = rest.split_last().unwrap();
        assert_eq!((header.1, header.2, end.1, end.2), (16, false, 1, true));
        let kind = read32(header.0);
        let sector = u64::from_le_bytes(read(header.0 + 8, 8).try_into().unwrap());
        let mut at = 512 * sector as usize;
        let mut written = 1;
        for &(address, len, writable) in data {
            let part = &mut disk[at..at + len as usize];
            at += len as usize;
            assert_eq!(writable, kind == 0);
            if writable {
                write(address, part);
                written += len;
            } else {
                part.copy_from_slice(&read(address, len as usize));
            }
        }
        write(end.0, &[status]);
        self.put(0, chain.head.into(), written);
    }
}

impl Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        self.0.lock().unwrap().kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.lock().unwrap().features
    }

    fn write_driver_features(&mut self, _: u64) {}

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.0.lock().unwrap().max_queue
    }

    fn notify(&mut self, queue: u16) {
        self.0.lock().unwrap().notified.push(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.lock().unwrap().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut state = self.0.lock().unwrap();
        state.resets += usize::from(status.is_empty());
        state.status = status;
        if state.refuse_features {
            state.status.remove(DeviceStatus::FEATURES_OK);
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.0.lock().unwrap().legacy
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, available: u64, used: u64) {
        let ring = Ring { size: size as u16, descriptors, available, used, ..Ring::default() };
        self.0.lock().unwrap().rings[usize::from(queue)] = ring;
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.lock().unwrap().rings[usize::from(queue)] = Ring::default();
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.lock().unwrap().rings[usize::from(queue)].size != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::QUEUE_INTERRUPT
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        let state = self.0.lock().unwrap();
        let bytes = state.config.get(offset..offset + size_of::<T>());
        let bytes = bytes.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)?;
        Ok(T::read_from_bytes(bytes).unwrap())
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}
