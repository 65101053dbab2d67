//! The sending side.

use super::Words;
use crate::io::{Error, Result};
use crate::sys::OwnedFd;
use crate::uintr;
use abi::Errno;
use core::sync::atomic::Ordering;
use signal::area::{self, Area, at};

/// The right to send signals to a receiver, as a descriptor: to be inherited, passed over a local socket, and opened with [`Sender::open`].
#[derive(Debug)]
pub struct Right(pub(super) uintr::Right);

impl Right {
    /// Of a descriptor that another process has passed.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(uintr::Right::from_fd(fd))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        self.0.fd()
    }
}

/// Sends signals by a right. All threads of all processes that have the right can at once.
pub struct Sender {
    sender: uintr::Sender,
    vector: u32,
}

impl Sender {
    /// Maps what it shares with the receiver.
    ///
    /// # Errors
    /// As [`uintr::Sender::open`].
    pub fn open(right: Right) -> Result<Self> {
        let sender = uintr::Sender::open(right.0)?;
        // Relaxed: written before there was a right. A wrong one, by another that has the right, reaches nobody.
        let vector = Words(sender.area()).word(at::VECTOR).load(Ordering::Relaxed) as u32;
        Ok(Self { sender, vector })
    }

    /// Sends a signal; 0: none, but tells whether one could be sent.
    ///
    /// # Errors
    /// `EINVAL`: there is no such signal; `ESRCH`: the right, or the receiver, has ended, by this signal perhaps; `EAGAIN`: it is one that queues, and as many are queued by this
    /// right as can be ([`area::PLACES`]).
    #[inline]
    pub fn kill(&self, signal: u32) -> Result<()> {
        self.queue(signal, 0)
    }

    /// The same with a value. Of those that do not queue, and have become one, any value may arrive.
    ///
    /// # Errors
    /// As [`Sender::kill`].
    #[inline]
    pub fn queue(&self, signal: u32, value: u64) -> Result<()> {
        match signal {
            0 if self.sender.is_closed() => Err(Error::from(Errno::ESRCH)),
            0 => Ok(()),
            1..=64 => {
                area::send(&Words(self.sender.area()), signal, value).map_err(|_| self.full())?;
                self.sender.send(self.vector)
            }
            _ => Err(Error::from(Errno::EINVAL)),
        }
    }

    /// Why there was no place. The receiver is told of those that there are: who filled them may have ended before it told.
    #[cold]
    fn full(&self) -> Error {
        self.sender.send(self.vector).err().unwrap_or(Error::from(Errno::EAGAIN))
    }

    /// What it shares with the receiver, for who tests what a hostile sender can do.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn area(&self) -> usize {
        self.sender.area() as usize
    }
}
