//! The right to raise vectors, and how it is used.

use super::{PAGE, map};
use crate::io::{Error, Result};
use crate::sys::{self, OwnedFd, syscall};
use abi::uintr as at;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The right to raise vectors of a receiver, as a descriptor: to be inherited, passed over a local socket, and opened with [`Sender::open`].
#[derive(Debug)]
pub struct Right(OwnedFd);

impl Right {
    /// Of a descriptor that another process has passed.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// Raises vectors by a right.
pub struct Sender {
    right: Right,
    word: *const AtomicU64,
    closed: *const AtomicU32,
    asleep: *const AtomicU32,
    doorbell: *mut u32,
    slot: u32,
}

// SAFETY: the pages stay mapped, the words are atomic, and any thread may store to the doorbell.
unsafe impl Send for Sender {}
// SAFETY: as above.
unsafe impl Sync for Sender {}

impl Sender {
    /// Maps the right's pages.
    ///
    /// # Errors
    /// `ENOMEM`; `ENODEV`, `EINVAL`: the descriptor is no right.
    pub fn open(right: Right) -> Result<Self> {
        let pages = map(&right.0, at::SENDER_PAGES)?;
        // SAFETY: two pages, mapped for good but for `drop`.
        let (word, slot) =
            unsafe { (pages.cast::<AtomicU64>(), (*pages.add(at::SLOT).cast::<AtomicU32>()).load(Ordering::Relaxed)) };
        // SAFETY: as above.
        let (closed, asleep) = unsafe { (pages.add(at::CLOSED).cast(), pages.add(at::ASLEEP).cast()) };
        // SAFETY: as above.
        let doorbell = unsafe { pages.add(PAGE).cast_mut().cast() };
        Ok(Self { right, word, closed, asleep, doorbell, slot })
    }

    /// Raises a vector: one atomic instruction and one store, if the receiver's place is known to the hardware.
    ///
    /// # Errors
    /// `ESRCH`: the right has ended. A vector that was not granted, or is none, reaches nobody.
    #[inline]
    pub fn send(&self, vector: u32) -> Result<()> {
        self.set(vector);
        // SAFETY: a fence. It orders the word before the load, with which the kernel's fence pairs, and before the doorbell, which is device output.
        unsafe { asm!("fence rw, orw", options(nostack)) };
        // SAFETY: as for the word.
        if unsafe { (*self.asleep).load(Ordering::Relaxed) } != 0 {
            // Nothing is set by that: it may have been taken meanwhile. A right that has ended is told below.
            // SAFETY: no pointers.
            let _ = unsafe { sys::call6(at::SEND, sys::pad([self.right.0.raw() as usize, at::RING])) };
        } else {
            // SAFETY: the doorbell's page is mapped while `self` lives, and takes any number.
            unsafe { asm!("sw {}, 0({})", in(reg) self.slot, in(reg) self.doorbell, options(nostack)) };
        }
        // SAFETY: as for the word. Acquire pairs with the kernel's Release: what the receiver did before its end is visible.
        if unsafe { (*self.closed).load(Ordering::Acquire) } != 0 {
            return Err(Error::from(abi::Errno::ESRCH));
        }
        Ok(())
    }

    /// Sets a vector's bit, and tells nobody.
    #[inline]
    pub(crate) fn set(&self, vector: u32) {
        // SAFETY: the word's page is mapped while `self` lives. Release pairs with the swap of `collect`: what was written before is visible to the handler.
        unsafe { (*self.word).fetch_or(1 << (vector & 63), Ordering::Release) };
    }

    /// [`Sender::send`] by a system call, which works whatever the receiver's side has.
    ///
    /// # Errors
    /// `EINVAL`: no such vector; `EPERM`: it was not granted; `ESRCH`: the right has ended.
    pub fn send_by_call(&self, vector: u32) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::SEND, sys::pad([self.right.0.raw() as usize, vector as usize])) }?;
        Ok(())
    }

    /// The part of the word page that is the two parties' own (`abi::uintr::AREA`).
    pub(crate) fn area(&self) -> *const AtomicU64 {
        // SAFETY: within the word page.
        unsafe { self.word.cast::<u8>().add(at::AREA).cast() }
    }

    /// Whether the right has ended.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: mapped while `self` lives. Acquire as in `send`.
        unsafe { (*self.closed).load(Ordering::Acquire) != 0 }
    }

    /// The right.
    #[must_use]
    pub fn right(&self) -> &Right {
        &self.right
    }

    /// Address of the doorbell, for who tests what a hostile sender can do.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn doorbell(&self) -> usize {
        self.doorbell as usize
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.word, at::SENDER_PAGES * PAGE);
    }
}
