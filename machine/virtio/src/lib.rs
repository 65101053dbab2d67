//! Asynchronous virtio drivers: block ([`Block`]), network ([`Net`]), entropy ([`Entropy`]).
//!
//! The register interface ([`Transport`], with `MmioTransport` for both the legacy and the modern form) is that
//! of the crate `virtio-drivers`. The virtqueue is ours ([`queue`]), because that crate's takes references to
//! the buffers, once at the start and again at the end: here pages are known by their physical address, no
//! reference to their bytes ever exists, and what a device was given stays with the driver (D14).
//!
//! # Who owns what
//!
//! * A block or entropy request is an `Arc` shared by the driver's table and the caller's future. The table
//!   keeps it, and with it the pinned pages, until the device returns it. Dropping the future only gives
//!   up interest in the result.
//! * Network buffers belong to the driver for ever; packets are copied in and out.
//!
//! # Trust
//!
//! The device may write anything into its part of the queue. Indices, identities, lengths and duplicates are
//! checked against the driver's own record; a device that breaks the protocol is reset, all its requests
//! end with [`Error::Broken`], and the memory it was given is not used again. A device that never answers
//! keeps its own callers waiting and nobody else.
//!
//! # Locks and interrupts
//!
//! Each queue has one `IrqLock` of rank `DEVICE`, the register block another; they are never held together,
//! and nobody is woken while one is held. The drivers are `hal::irq::Handler`s: `interrupt` completes
//! what the device has returned, and sends what was waiting for room. It may free memory (of
//! requests whose caller is gone), so the kernel's allocator must be usable in interrupt handlers.

#![no_std]
#![expect(unsafe_code, reason = "shares memory with devices")]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod block;
mod device;
mod entropy;
mod error;
#[cfg(test)]
mod fake;
mod net;
pub mod queue;
mod request;
#[cfg(test)]
mod tests;

pub use block::{Block, MAX_BUFFERS, SECTOR};
#[cfg(target_os = "none")]
pub use device::devices;
pub use device::{Found, probe};
pub use entropy::Entropy;
pub use error::Error;
pub use net::{MAX_PACKET, Net, TransmitSlot};
pub use request::Completion;
pub use virtio_drivers::transport::mmio::MmioTransport;
pub use virtio_drivers::transport::{DeviceType, Transport};
