//! What the stack asks of a network card, and the adapter that the protocol library wants.
//!
//! A device works on `&self`: it has its own lock, because a frame is transmitted while another one
//! is being received (the answer to it). Frames are lent, never copied or allocated per packet.

use crate::stack::rank;
use core::task::{Context, Poll};
use hal::sync::SpinLock;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// The kind of frames a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet frames; the device has this hardware address.
    Ethernet([u8; 6]),
    /// Bare IP packets (loopback).
    Ip,
}

/// A network card as the stack sees it. Called from kernel coroutines, never from interrupt handlers.
pub trait NetDevice: Send + Sync {
    /// What the frames are.
    fn link(&self) -> Link;

    /// Largest IP packet, in bytes.
    fn mtu(&self) -> usize;

    /// Lends one received frame to `take`; false if there is none.
    fn receive(&self, take: &mut dyn FnMut(&[u8])) -> bool;

    /// Whether `transmit` would find room.
    fn can_transmit(&self) -> bool;

    /// Lends `len` bytes of a transmit buffer to `fill` and sends them. Drops the frame if there is no
    /// room: the network may lose anything, and TCP sends again.
    fn transmit(&self, len: usize, fill: &mut dyn FnMut(&mut [u8]));

    /// Ready when a frame can be received, or when `transmit` found no room before and would now;
    /// otherwise leaves the waker to be woken by then.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// The library's view of a device for the time of one call, with the frame being processed, if any.
pub(crate) struct Adapter<'a> {
    device: &'a dyn NetDevice,
    frame: Option<&'a [u8]>,
}

impl<'a> Adapter<'a> {
    /// For sending only.
    pub fn sending(device: &'a dyn NetDevice) -> Self {
        Self { device, frame: None }
    }

    /// For processing `frame`.
    pub fn receiving(device: &'a dyn NetDevice, frame: &'a [u8]) -> Self {
        Self { device, frame: Some(frame) }
    }
}

impl phy::Device for Adapter<'_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Sending<'t>
    where
        Self: 't;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        match self.device.link() {
            Link::Ethernet(_) => {
                capabilities.medium = Medium::Ethernet;
                capabilities.max_transmission_unit = self.device.mtu() + ETHERNET_HEADER;
            }
            Link::Ip => {
                capabilities.medium = Medium::Ip;
                capabilities.max_transmission_unit = self.device.mtu();
                // Loopback memory does not flip bits.
                capabilities.checksum = phy::ChecksumCapabilities::ignored();
            }
        }
        capabilities
    }

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        Some((Received(frame), Sending(self.device)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        self.device.can_transmit().then_some(Sending(self.device))
    }
}

/// Bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;

pub(crate) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Longest packet that is built and dropped without asking for memory: of the loopback.
const LONGEST: usize = 1 << 16;

/// Where a frame is built that nobody has room for; it is there before memory may be gone.
static DROPPED: SpinLock<[u8; LONGEST]> = SpinLock::new(rank::DROPPED, [0; LONGEST]);

pub(crate) struct Sending<'a>(&'a dyn NetDevice);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut fill = Some(f);
        let mut result = None;
        self.0.transmit(len, &mut |buffer| {
            if let Some(f) = fill.take() {
                result = Some(f(buffer));
            }
        });
        match (result, fill) {
            (Some(result), _) => result,
            // No room (only for answers to a received frame): the frame is built and dropped.
            (None, Some(f)) => match DROPPED.lock().get_mut(..len) {
                Some(buffer) => f(buffer),
                None => f(&mut alloc::vec![0; len]),
            },
            (None, None) => unreachable!("`fill` is taken only where `result` is set"),
        }
    }
}
