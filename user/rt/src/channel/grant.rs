//! Memory that one party lends to others until it takes it back: no byte of it is copied on the way.
//!
//! The [`Grantee`]'s descriptor goes to the other party as an end of a channel does. Reading and writing by it is a call each, and says by an error that the memory was taken
//! back. [Mapped](Grantee::map), there is no call, and no time to be told: then a touch is `SIGBUS`.
//!
//! Each party may write while the other looks: what is there is copied out before it means anything.

use super::copy::{copy_in, copy_out};
use crate::fs::File;
use crate::io::{Error, Result};
use crate::sys::{self, OwnedFd, syscall};
use abi::{Errno, grant as at, mm};

const PAGE: usize = 4096;

/// So many pages, 256 at most, all zero, that their granter reads and writes, and a grantee reads, or writes as well.
///
/// # Errors
/// `EINVAL`: none, or more; `ENOMEM`, `EMFILE`.
pub fn grant(pages: usize, is_writable: bool) -> Result<(Granter, Grantee)> {
    // SAFETY: no pointers.
    let fds = unsafe { sys::call6(at::GRANT, sys::pad([pages, if is_writable { at::WRITE } else { 0 }])) }?;
    let [near, far] = [fds & 0xffff_ffff, fds >> 32].map(OwnedFd::new);
    let grantee = Grantee(File::from(far));
    Ok((Granter { memory: Mapped::new(&near, pages, true)?, fd: near }, grantee))
}

/// Who lends the memory, and takes it back when dropped, by this and all who have inherited it.
#[derive(Debug)]
pub struct Granter {
    memory: Mapped,
    fd: OwnedFd,
}

impl Granter {
    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &Mapped {
        &self.memory
    }

    /// Takes it back: when this returns, no grantee reads or writes it.
    ///
    /// # Errors
    /// None that are known.
    pub fn revoke(&self) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::REVOKE, sys::pad([self.fd.raw() as usize])) }?;
        Ok(())
    }
}

/// Who it is lent to.
#[derive(Debug)]
pub struct Grantee(File);

impl Grantee {
    /// Of a descriptor that was inherited.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        self.0.fd()
    }

    /// Copies bytes out of it, and says how many: fewer where it ends, or where many were asked for.
    ///
    /// # Errors
    /// `ESRCH`: it was taken back.
    pub fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<usize> {
        self.0.read_at(bytes, offset as u64)
    }

    /// Copies bytes into it, and says how many, as for reading.
    ///
    /// # Errors
    /// `ESRCH`: it was taken back; `EBADF`: it is lent for reading.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<usize> {
        self.0.write_at(bytes, offset as u64)
    }

    /// Maps as many pages as were granted, for reading, or for writing as well.
    ///
    /// # Errors
    /// `EACCES`: it is lent for reading; `ESRCH`: it was taken back; `ENOMEM`: no room, or there are fewer pages.
    pub fn map(&self, pages: usize, is_writable: bool) -> Result<Mapped> {
        Mapped::new(self.fd(), pages, is_writable)
    }
}

/// Such memory, mapped. A grantee that touches it when it was taken back gets `SIGBUS`, one that writes what it may only read `SIGSEGV`.
#[derive(Debug)]
pub struct Mapped {
    base: usize,
    len: usize,
}

impl Mapped {
    fn new(fd: &OwnedFd, pages: usize, is_writable: bool) -> Result<Self> {
        let rights = mm::PROT_READ | if is_writable { mm::PROT_WRITE } else { 0 };
        let len = pages.checked_mul(PAGE).ok_or(Errno::EINVAL)?;
        Ok(Self { base: syscall!(MMAP, 0, len, rights, mm::MAP_SHARED, fd.raw(), 0)?, len })
    }

    /// Address and length.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        (self.base, self.len)
    }

    fn at(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let is_within = offset <= self.len && len <= self.len - offset;
        if is_within { Ok((self.base + offset) as *mut u8) } else { Err(Error::from(Errno::EFAULT)) }
    }

    /// Copies bytes out of it.
    ///
    /// # Errors
    /// `EFAULT`: they are not all within.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.at(offset, bytes.len())?;
        // SAFETY: all within the mapping, which nobody has a reference into.
        unsafe { copy_out(from, bytes) };
        Ok(())
    }

    /// Copies bytes into it.
    ///
    /// # Errors
    /// As [`Mapped::read`].
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.at(offset, bytes.len())?;
        // SAFETY: as for reading.
        unsafe { copy_in(to, bytes) };
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.base, self.len);
    }
}
