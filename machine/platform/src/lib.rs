//! What the device tree says about the machine.
//!
//! [`Platform::parse`] reads the flattened device tree that the firmware hands over, once, at boot, before
//! there is a heap: everything is copied into arrays of fixed capacity, and nothing refers to the tree
//! afterwards. Addresses are physical. What does not fit into an array is left out and counted in
//! [`Platform::left_out`]; what the kernel cannot run without is an [`Error`] that names it.
//!
//! Nodes are looked for below the root and below buses whose addresses are the parent's (an empty `ranges`).
//! The tree may be arbitrary bytes: parsing never panics.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod append;
mod cpu;
mod device;
mod interrupt;
mod memory;
mod pci;
#[cfg(test)]
mod tests;
mod tree;

use arrayvec::{ArrayString, ArrayVec};
use core::fmt;
use dtoolkit::fdt::Fdt;

pub use cpu::{Extensions, Hart};
pub use device::{Finisher, Line, Rtc, Trigger, Uart, VirtioSlot};
pub use interrupt::{Aplic, Imsic, Plic, PlicContext, Uintc};
pub use memory::Range;
pub use pci::{Pci, Window};

/// Harts that are recorded.
pub const MAX_HARTS: usize = 16;
/// Memory ranges that are recorded.
pub const MAX_MEMORY: usize = 8;
/// Reserved ranges that are recorded.
pub const MAX_RESERVED: usize = 16;
/// virtio-mmio slots that are recorded.
pub const MAX_VIRTIO: usize = 32;
/// Bytes of the kernel command line that are recorded.
pub const MAX_BOOTARGS: usize = 2048;
/// Bytes of the ISA string that are recorded.
pub const MAX_ISA: usize = 512;

/// Why a device tree cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not a well-formed flattened device tree.
    Tree,
    /// Something the kernel needs is not there.
    Missing(&'static str),
    /// A property is there but has the wrong size or an impossible value.
    Malformed(&'static str),
    /// The machine is laid out in a way that this kernel does not know.
    Unsupported(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Tree => f.write_str("not a flattened device tree"),
            Error::Missing(what) => write!(f, "the device tree has no {what}"),
            Error::Malformed(what) => write!(f, "the device tree's {what} is malformed"),
            Error::Unsupported(what) => write!(f, "unsupported machine: {what}"),
        }
    }
}

impl core::error::Error for Error {}

/// The machine, as far as the kernel uses it.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Usable harts in the order of the tree.
    pub harts: ArrayVec<Hart, MAX_HARTS>,
    /// ISA string of the first hart (for `/proc/cpuinfo`), cut at [`MAX_ISA`] bytes.
    pub isa: ArrayString<MAX_ISA>,
    /// Ticks per second of the `time` CSR; never zero.
    pub timebase_hz: u64,
    /// Physical memory, by ascending address; not empty.
    pub memory: ArrayVec<Range, MAX_MEMORY>,
    /// Parts of memory that belong to the firmware.
    pub reserved: ArrayVec<Range, MAX_RESERVED>,
    /// Kernel command line, cut at [`MAX_BOOTARGS`] bytes.
    pub bootargs: ArrayString<MAX_BOOTARGS>,
    /// Initial RAM disk.
    pub initrd: Option<Range>,
    /// Random bytes from the firmware, to seed the kernel's generator.
    pub seed: Option<[u8; 32]>,
    /// PLIC; machines have this or `imsic` with `aplic`.
    pub plic: Option<Plic>,
    /// Message-signalled interrupt files of the S level.
    pub imsic: Option<Imsic>,
    /// The APLIC domain that sends to the S-level `imsic`.
    pub aplic: Option<Aplic>,
    /// Controller of user interrupts (`docs/nuintc.md`).
    pub uintc: Option<Uintc>,
    /// Console; the one of `/chosen/stdout-path` if that is a 16550.
    pub uart: Option<Uart>,
    /// virtio-mmio slots by ascending address (a slot may be empty).
    pub virtio: ArrayVec<VirtioSlot, MAX_VIRTIO>,
    /// PCI host bridge.
    pub pci: Option<Pci>,
    /// Real-time clock.
    pub rtc: Option<Rtc>,
    /// Test finisher (power off with a status).
    pub finisher: Option<Finisher>,
    /// How many harts, ranges and slots did not fit into the arrays above.
    pub left_out: usize,
}

impl Platform {
    /// Reads a flattened device tree. `dtb` may be longer than the tree.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] if the bytes are no tree; [`Error::Missing`] for a tree without harts, timebase,
    /// memory, or an interrupt controller for S-mode; the others as documented there.
    pub fn parse(dtb: &[u8]) -> Result<Platform, Error> {
        let fdt = Fdt::new(exact(dtb)?).map_err(|_| Error::Tree)?;
        let mut left_out = 0;
        let cpus = cpu::read(&fdt, &mut left_out)?;
        let chosen = memory::chosen(&fdt);
        let nodes = tree::Nodes::new(&fdt);
        let controllers = interrupt::read(nodes, &cpus.controllers)?;
        if controllers.plic.is_none() && controllers.aplic.is_none() {
            return Err(Error::Missing("S-mode interrupt controller (PLIC, or APLIC with IMSIC)"));
        }
        Ok(Platform {
            harts: cpus.harts,
            isa: cpus.isa,
            timebase_hz: cpus.timebase_hz,
            memory: memory::ranges(&fdt, &mut left_out)?,
            reserved: memory::reserved(&fdt, &mut left_out),
            bootargs: chosen.bootargs,
            initrd: chosen.initrd,
            seed: chosen.seed,
            plic: controllers.plic,
            imsic: controllers.imsic,
            aplic: controllers.aplic,
            uintc: controllers.uintc,
            uart: device::uart(&fdt, nodes),
            virtio: device::virtio(nodes, &mut left_out),
            pci: pci::read(nodes),
            rtc: device::rtc(nodes),
            finisher: device::finisher(nodes),
            left_out,
        })
    }

    /// The extensions that every hart has; the kernel uses no others.
    pub fn common_extensions(&self) -> Extensions {
        self.harts.iter().fold(Extensions::all(), |all, hart| all & hart.extensions)
    }
}

/// Cuts `dtb` to the size that its header states, which the parser insists on.
fn exact(dtb: &[u8]) -> Result<&[u8], Error> {
    let size: [u8; 4] = dtb.get(4..8).and_then(|b| b.try_into().ok()).ok_or(Error::Tree)?;
    dtb.get(..u32::from_be_bytes(size) as usize).ok_or(Error::Tree)
}
