//! Devices that a program drives itself (note 0011).
//!
//! A device has one owner: who opened it, until the last descriptor and the last mapping of it are gone, or it is given back. The pages of its registers,
//! and behind them those of the memory that it reaches, can be mapped (shared, from the page on that [`INFO`] and [`MEMORY`] say) by one process: the first that
//! touches one of them.
//!
//! An interrupt of the device raises a vector of a sender. It has no word of its own to say so: the vector's bit in the sender's word is set beforehand, and the handler
//! sets it again *before* it looks at the device:
//!
//! ```text
//! set the bit of the vector in the word    atomically
//! fence rw, io
//! serve the device until it says that it raises its line no more
//! call AGAIN                               if BIND has answered MEDIATED
//! ```
//!
//! So an interrupt that comes behind the look is told again; the handler may be called for nothing.

use crate::asyncos::FIRST;

/// `device_info(index, info) -> 0`: what the device of a number is ([`Info`]); the numbers are 0 and up.
///
/// Errors: `ENODEV` (no such number), `EFAULT`.
pub const INFO: usize = FIRST + 0x30;
/// `device_open(index) -> fd`: makes the caller its owner, and starts it. The descriptor is closed by `execve`.
///
/// Errors: `EPERM` (not the superuser), `ENODEV`, `EBUSY` (it has an owner), `ENOMEM`, `EMFILE`.
pub const OPEN: usize = FIRST + 0x31;
/// `device_memory(fd, pages, address) -> page`: pages that lie side by side, all zero, for the device to reach: where they are for the device (64 bits, stored), and with which page
/// of the descriptor's mapping they begin. They stay until the device is given back, and with the device for its next owner.
///
/// Errors: `EBADF`, `EINVAL` (no device, no pages), `ENOSPC` (more than [`MOST_PAGES`] in all), `ENOMEM`, `EFAULT`, `ESRCH` (given back).
pub const MEMORY: usize = FIRST + 0x32;
/// `device_bind(fd, sender, vector) -> how`: the device's interrupts raise a vector from now on, which they do at once when its line is raised already. An earlier binding ends.
/// The answer is 0 (the hardware delivers them wherever it can), or [`MEDIATED`].
///
/// Errors: `EBADF`, `EINVAL` (no device, no sender, no such vector), `EPERM` (not granted), `ENXIO` (the device has no line), `ESRCH` (given back; the sender's right has
/// ended), `EBUSY` (another device's interrupts are the sender's).
pub const BIND: usize = FIRST + 0x33;
/// `device_again(fd) -> 0`: the device was served. If its line is raised still, or again, that is another interrupt.
///
/// Errors: `EBADF`, `EINVAL` (no device), `ESRCH` (it is bound to nobody).
pub const AGAIN: usize = FIRST + 0x34;
/// `device_give_back(fd) -> 0`: the device has no owner any more. When this has returned, it is stopped, and whoever touches its pages gets `SIGBUS`.
///
/// Errors: `EBADF`, `EINVAL` (no device).
pub const GIVE_BACK: usize = FIRST + 0x35;

/// Answer of [`BIND`]: the kernel takes the interrupts, and keeps the line off after each until [`AGAIN`].
pub const MEDIATED: usize = 1;

/// Pages that a device may reach, at most, in all.
pub const MOST_PAGES: usize = 256;

/// [`Info::class`] of a serial port with FIFOs of 16 bytes, which the kernel drives while no program has it.
pub const SERIAL: u32 = 0x07_00_02;

/// What a device is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
pub struct Info {
    /// Who made it (PCI).
    pub vendor: u16,
    /// What it is, as its maker numbers that.
    pub device: u16,
    /// Class, subclass and programming interface, from bit 16 down.
    pub class: u32,
    /// Bytes of its registers, which begin at the start of page 0.
    pub bytes: u32,
    /// Page of the mapping with which its memory begins: behind the registers.
    pub memory: u32,
    /// Number of its interrupt line; 0: it has none.
    pub line: u32,
}
layout!(Info, 20, class @ 4, bytes @ 8, memory @ 12, line @ 16);
