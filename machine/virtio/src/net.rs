//! The network device (virtio 1.2, section 5.1): one pair of queues, no offloads.
//!
//! The driver owns all packet buffers; packets are copied out and in, so that nothing looks at bytes which
//! the device could still change. Descriptor `n` of a queue always describes buffer `n`.
//!
//! Receiving: a packet interrupts once; then interrupts are off until [`Net::receive`] has found the queue
//! empty. Sending: the device is not asked for interrupts unless somebody waits for room; sent packets are
//! collected when room is needed, and that is when the trace has them complete.

use crate::device::{Registers, config, negotiate};
use crate::queue::{Queue, Segment, Used};
use crate::{Error, Transport};
use core::task::{Context, Poll, Waker};
use hal::PAGE_SIZE;
use hal::frame::FrameRun;
use hal::sync::{IrqLock, rank};
use trace::Work;
use virtio_drivers::transport::DeviceType;

/// Longest packet, with its Ethernet header, in bytes.
pub const MAX_PACKET: usize = 1536;
/// Packets that can be under way in each direction.
const PACKETS: usize = 64;
/// Bytes from one packet buffer to the next: the virtio header and the packet.
const STRIDE: usize = 2048;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

const F_MAC: u64 = 1 << 5;
const F_STATUS: u64 = 1 << 16;
/// Legacy devices: header and packet may share a descriptor. Version 1 always allows it.
const F_ANY_LAYOUT: u64 = 1 << 27;

/// Offset of the link status in the configuration space.
const STATUS: usize = 6;
const LINK_UP: u16 = 1;
/// Bytes of the header in front of each packet: the last field came with version 1.
const HEADER: usize = 12;
const LEGACY_HEADER: usize = 10;
/// For a device that has no address of its own: a locally administered one.
const DEFAULT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// A network interface. One task receives and one sends, at a time; `receive` and `reserve` never wait.
pub struct Net<T> {
    /// First, so that dropping it resets the device before the memory goes.
    registers: Registers<T>,
    receive: IrqLock<Half>,
    transmit: IrqLock<Half>,
    mac: [u8; 6],
    has_status: bool,
    header: usize,
}

/// One direction.
struct Half {
    queue: Queue<PACKETS>,
    buffers: FrameRun,
    waker: Option<Waker>,
    /// What the device has, by descriptor: numbers in the trace.
    numbers: [u64; PACKETS],
    /// Descriptors promised to [`TransmitSlot`]s.
    reserved: usize,
    broken: bool,
}

impl Half {
    fn new<T: Transport>(transport: &mut T, index: u16) -> Result<Half, Error> {
        let queue = Queue::new(transport, index)?;
        let buffers = FrameRun::alloc((STRIDE * PACKETS).div_ceil(PAGE_SIZE)).ok_or(Error::NoMemory)?;
        Ok(Half { queue, buffers, waker: None, numbers: [0; PACKETS], reserved: 0, broken: false })
    }

    /// Gives the next free buffer to the device, `len` bytes of it.
    fn give(&mut self, len: usize, writable: bool) {
        let head = usize::from(self.queue.next_head());
        // With no room there is no such head, and nothing is given.
        if let Some(number) = self.numbers.get_mut(head) {
            *number = hal::record::submit(Work::Device(DeviceType::Network as u32));
        }
        let offset = STRIDE * head;
        let address = (self.buffers.physical() + offset) as u64;
        let segment = Segment { address, len: len as u32, writable };
        // SAFETY: the buffer of a free descriptor belongs to nobody; the memory is freed only after the
        // device was reset (`Net` drops its registers first), and only its owner writes to it.
        let _ = unsafe { self.queue.add(core::iter::once(segment)) };
    }

    /// Takes the next packet that the device has returned.
    fn take(&mut self) -> Result<Option<Used>, Error> {
        let used = self.queue.pop()?;
        if let Some(used) = &used {
            hal::record::complete(self.numbers[usize::from(used.head)], used.written.into());
        }
        Ok(used)
    }

    /// Takes back what was sent.
    fn reap(&mut self) -> Result<(), Error> {
        // Ends: there are at most PACKETS chains out, and nothing is added meanwhile.
        while self.take()?.is_some() {}
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.queue.free() > self.reserved
    }
}

impl<T: Transport> Net<T> {
    /// Sets the device up and gives it all receive buffers.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], [`Error::NoMemory`].
    pub fn new(mut transport: T) -> Result<Net<T>, Error> {
        let legacy = transport.requires_legacy_layout();
        let any_layout = if legacy { F_ANY_LAYOUT } else { 0 };
        let features = negotiate(&mut transport, F_MAC | F_STATUS | any_layout)?;
        if features & any_layout != any_layout {
            return Err(Error::Unsupported);
        }
        let mac = if features & F_MAC != 0 { config(&transport, 0).ok_or(Error::Unsupported)? } else { DEFAULT_MAC };
        let header = if legacy { LEGACY_HEADER } else { HEADER };
        let mut receive = Half::new(&mut transport, RECEIVE)?;
        let mut transmit = Half::new(&mut transport, TRANSMIT)?;
        transmit.queue.set_interrupts(false);
        while receive.queue.free() > 0 {
            receive.give(header + MAX_PACKET, true);
        }
        let net = Net {
            registers: Registers::start(transport),
            receive: IrqLock::new(rank::DEVICE, receive),
            transmit: IrqLock::new(rank::DEVICE, transmit),
            mac,
            has_status: features & F_STATUS != 0,
            header,
        };
        net.registers.notify(RECEIVE);
        Ok(net)
    }

    /// The interface's Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether a cable is plugged in, as far as the device says.
    pub fn is_link_up(&self) -> bool {
        let status = |transport: &mut T| config::<T, u16>(transport, STATUS);
        !self.has_status || self.registers.with(status).is_none_or(|status| status & LINK_UP != 0)
    }

    /// Takes the next packet: copies it to the beginning of `packet` and returns its length, or `None` if
    /// none has come.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], for ever, once the device broke the protocol.
    pub fn receive(&self, packet: &mut [u8; MAX_PACKET]) -> Result<Option<usize>, Error> {
        let mut half = self.receive.lock();
        match self.receive_locked(&mut half, packet) {
            Ok(received) => {
                let notify = received.is_some() && half.queue.should_notify();
                drop(half);
                if notify {
                    self.registers.notify(RECEIVE);
                }
                Ok(received)
            }
            Err(error) => {
                drop(half);
                self.give_up();
                Err(error)
            }
        }
    }

    fn receive_locked(&self, half: &mut Half, packet: &mut [u8; MAX_PACKET]) -> Result<Option<usize>, Error> {
        if half.broken {
            return Err(Error::Broken);
        }
        let mut used = half.take()?;
        if used.is_none() {
            half.queue.set_interrupts(true);
            // One may have come before the device saw that.
            used = half.take()?;
        }
        let Some(used) = used else { return Ok(None) };
        // At most `MAX_PACKET`, since the queue checks what the device says it wrote.
        let len = (used.written as usize).checked_sub(self.header).ok_or(Error::Broken)?;
        half.buffers.read(STRIDE * usize::from(used.head) + self.header, &mut packet[..len]);
        half.give(self.header + MAX_PACKET, true);
        Ok(Some(len))
    }

    /// Ready when [`Net::receive`] is worth calling: a packet is there, or the device is broken.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut half = self.receive.lock();
        half.queue.set_interrupts(true);
        if half.broken || half.queue.has_used() {
            return Poll::Ready(());
        }
        let old = half.waker.replace(cx.waker().clone());
        drop(half);
        drop(old);
        Poll::Pending
    }

    /// Whether [`Net::reserve`] would find room now.
    pub fn has_room(&self) -> bool {
        matches!(self.reserve(), Ok(Some(_)))
    }

    /// Reserves room for one packet, or returns `None` if all buffers are under way.
    ///
    /// # Errors
    ///
    /// As [`Net::receive`].
    pub fn reserve(&self) -> Result<Option<TransmitSlot<'_, T>>, Error> {
        let mut half = self.transmit.lock();
        if half.broken {
            return Err(Error::Broken);
        }
        if !half.has_room()
            && let Err(error) = half.reap()
        {
            drop(half);
            self.give_up();
            return Err(error);
        }
        if !half.has_room() {
            return Ok(None);
        }
        half.reserved += 1;
        Ok(Some(TransmitSlot { net: self }))
    }

    /// Ready when [`Net::reserve`] is worth calling: there is room, or the device is broken.
    pub fn poll_transmit(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut half = self.transmit.lock();
        // Asked for before the last look: what the device returns after it, interrupts.
        half.queue.set_interrupts(true);
        let reaped = half.reap();
        if half.broken || reaped.is_err() || half.has_room() {
            half.queue.set_interrupts(false);
            drop(half);
            if reaped.is_err() {
                self.give_up();
            }
            return Poll::Ready(());
        }
        let old = half.waker.replace(cx.waker().clone());
        drop(half);
        drop(old);
        Poll::Pending
    }

    /// Stops using a device that broke the protocol.
    fn give_up(&self) {
        self.registers.reset();
        for half in [&self.receive, &self.transmit] {
            let mut half = half.lock();
            half.broken = true;
            let waker = half.waker.take();
            drop(half);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn interrupt_receive(&self) -> Option<Waker> {
        let mut half = self.receive.lock();
        if !half.queue.has_used() {
            return None;
        }
        half.queue.set_interrupts(false);
        half.waker.take()
    }

    fn interrupt_transmit(&self) -> Result<Option<Waker>, Error> {
        let mut half = self.transmit.lock();
        if half.broken || half.waker.is_none() {
            return Ok(None);
        }
        half.reap()?;
        if !half.has_room() {
            return Ok(None);
        }
        half.queue.set_interrupts(false);
        Ok(half.waker.take())
    }
}

impl<T: Transport + Send> hal::irq::Handler for Net<T> {
    fn interrupt(&self) {
        self.registers.acknowledge();
        if let Some(waker) = self.interrupt_receive() {
            waker.wake();
        }
        match self.interrupt_transmit() {
            Ok(Some(waker)) => waker.wake(),
            Ok(None) => {}
            Err(_) => self.give_up(),
        }
    }
}

/// Room for one packet; dropping it gives the room back.
#[must_use]
pub struct TransmitSlot<'a, T: Transport> {
    net: &'a Net<T>,
}

impl<T: Transport> TransmitSlot<'_, T> {
    /// Sends a packet. It is copied; that it was sent is not reported, as on any Ethernet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the packet is empty or longer than [`MAX_PACKET`]; [`Error::Broken`].
    pub fn send(self, packet: &[u8]) -> Result<(), Error> {
        if packet.is_empty() || packet.len() > MAX_PACKET {
            return Err(Error::Invalid);
        }
        let net = self.net;
        let mut half = net.transmit.lock();
        if half.broken {
            return Err(Error::Broken);
        }
        let offset = STRIDE * usize::from(half.queue.next_head());
        // No offloads: a header of zeroes.
        half.buffers.write(offset, &[0; HEADER][..net.header]);
        half.buffers.write(offset + net.header, packet);
        half.give(net.header + packet.len(), false);
        let notify = half.queue.should_notify();
        drop(half);
        if notify {
            net.registers.notify(TRANSMIT);
        }
        Ok(())
    }
}

impl<T: Transport> Drop for TransmitSlot<'_, T> {
    fn drop(&mut self) {
        let mut half = self.net.transmit.lock();
        half.reserved -= 1;
        // Unused room may be what another sender waits for.
        let waker = if half.has_room() { half.waker.take() } else { None };
        drop(half);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
