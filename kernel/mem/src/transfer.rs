//! Where read data goes and where written data comes from: user memory, pinned or not, or a kernel buffer.
//!
//! Each call is all or nothing: on a fault nothing of that call is consumed, so a service can fault the page
//! in and repeat it. Keep single calls to a page or so; they run under the space's lock.

use crate::{copy::CopyFault, pinned::Pinned, space::AddressSpace};
use core::ops::Range;
use hal::{PAGE_SIZE, frame::Frame, user::Access};

enum Target<'a> {
    User { space: &'a AddressSpace, addr: usize },
    Pinned { memory: &'a Pinned, offset: usize },
    Kernel(&'a mut [u8]),
}

/// A destination of bytes.
pub struct Sink<'a> {
    target: Target<'a>,
    len: usize,
    done: usize,
}

impl<'a> Sink<'a> {
    /// `len` bytes of user memory at `addr`.
    #[must_use]
    pub fn user(space: &'a AddressSpace, addr: usize, len: usize) -> Self {
        Self { target: Target::User { space, addr }, len, done: 0 }
    }

    /// `len` bytes of pinned memory from `offset` on.
    #[must_use]
    pub fn pinned(memory: &'a Pinned, offset: usize, len: usize) -> Self {
        Self { target: Target::Pinned { memory, offset }, len, done: 0 }
    }

    /// A kernel buffer.
    #[must_use]
    pub fn kernel(buffer: &'a mut [u8]) -> Self {
        let len = buffer.len();
        Self { target: Target::Kernel(buffer), len, done: 0 }
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Takes `bytes`, of which at most [`Sink::remaining`] count.
    ///
    /// # Errors
    /// A page that is missing; nothing was taken.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), CopyFault> {
        let bytes = &bytes[..bytes.len().min(self.remaining())];
        match &mut self.target {
            Target::User { space, addr } => space.copy_out_now(addr.wrapping_add(self.done), bytes)?,
            Target::Pinned { memory, offset } => {
                memory.visit(*offset + self.done, bytes.len(), Access::Write, |page, at, range| {
                    page.write(at, &bytes[range]);
                })?;
            }
            Target::Kernel(buffer) => buffer[self.done..self.done + bytes.len()].copy_from_slice(bytes),
        }
        self.done += bytes.len();
        Ok(())
    }

    /// Takes `len` bytes of `frame` from `offset` on, without a buffer in between.
    ///
    /// # Errors
    /// A page that is missing; nothing was taken.
    #[inline]
    pub fn put_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> Result<(), CopyFault> {
        let len = len.min(self.remaining()).min(PAGE_SIZE.saturating_sub(offset));
        match &mut self.target {
            Target::User { space, addr } => {
                space.visit(addr.wrapping_add(self.done), len, Access::Write, |page, at, range| {
                    frame.copy_to(offset + range.start, page, at, range.len());
                })?;
            }
            Target::Pinned { memory, offset: start } => {
                memory.visit(*start + self.done, len, Access::Write, |page, at, range| {
                    frame.copy_to(offset + range.start, page, at, range.len());
                })?;
            }
            Target::Kernel(buffer) => frame.read(offset, &mut buffer[self.done..self.done + len]),
        }
        self.done += len;
        Ok(())
    }

    /// Takes `len` zero bytes.
    ///
    /// # Errors
    /// A page that is missing; nothing was taken.
    pub fn zero(&mut self, len: usize) -> Result<(), CopyFault> {
        let len = len.min(self.remaining());
        match &mut self.target {
            Target::User { space, addr } => {
                space.visit(addr.wrapping_add(self.done), len, Access::Write, |page, at, range| {
                    page.fill(at, range.len(), 0);
                })?;
            }
            Target::Pinned { memory, offset } => {
                memory.visit(*offset + self.done, len, Access::Write, |page, at, range| {
                    page.fill(at, range.len(), 0);
                })?;
            }
            Target::Kernel(buffer) => buffer[self.done..self.done + len].fill(0),
        }
        self.done += len;
        Ok(())
    }
}

/// A stretch of user memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub addr: usize,
    /// Bytes.
    pub len: usize,
}

impl Piece {
    /// What is behind its first `done` bytes, at most all of it.
    #[must_use]
    pub fn behind(self, done: usize) -> Self {
        Self { addr: self.addr.wrapping_add(done), len: self.len - done }
    }
}

enum Origin<'a> {
    User {
        space: &'a AddressSpace,
        addr: usize,
    },
    /// Several pieces, without the first bytes of them all.
    Pieces {
        space: &'a AddressSpace,
        pieces: &'a [Piece],
        skip: usize,
    },
    Pinned {
        memory: &'a Pinned,
        offset: usize,
    },
    Kernel(&'a [u8]),
}

/// A source of bytes.
pub struct Source<'a> {
    origin: Origin<'a>,
    len: usize,
    done: usize,
}

impl<'a> Source<'a> {
    /// `len` bytes of user memory at `addr`.
    #[must_use]
    pub fn user(space: &'a AddressSpace, addr: usize, len: usize) -> Self {
        Self { origin: Origin::User { space, addr }, len, done: 0 }
    }

    /// Pieces of user memory one behind the other, without the first `skip` bytes: at most all of them.
    #[must_use]
    pub fn pieces(space: &'a AddressSpace, pieces: &'a [Piece], skip: usize) -> Self {
        let len = pieces.iter().map(|piece| piece.len).sum::<usize>() - skip;
        Self { origin: Origin::Pieces { space, pieces, skip }, len, done: 0 }
    }

    /// `len` bytes of pinned memory from `offset` on.
    #[must_use]
    pub fn pinned(memory: &'a Pinned, offset: usize, len: usize) -> Self {
        Self { origin: Origin::Pinned { memory, offset }, len, done: 0 }
    }

    /// A kernel buffer.
    #[must_use]
    pub fn kernel(bytes: &'a [u8]) -> Self {
        Self { origin: Origin::Kernel(bytes), len: bytes.len(), done: 0 }
    }

    /// Bytes not yet given.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Bytes given so far.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Gives the next bytes into `into`, at most [`Source::remaining`] of them.
    ///
    /// # Errors
    /// A page that is missing; nothing was given.
    pub fn take(&mut self, into: &mut [u8]) -> Result<(), CopyFault> {
        let len = into.len().min(self.remaining());
        let into = &mut into[..len];
        match &self.origin {
            Origin::User { space, addr } => space.copy_in_now(addr.wrapping_add(self.done), into)?,
            Origin::Pieces { space, pieces, skip } => {
                each_part(pieces, skip + self.done, len, |at, range| space.copy_in_now(at, &mut into[range]))?;
            }
            Origin::Pinned { memory, offset } => {
                memory.visit(*offset + self.done, len, Access::Read, |page, at, range| {
                    page.read(at, &mut into[range]);
                })?;
            }
            Origin::Kernel(bytes) => into.copy_from_slice(&bytes[self.done..self.done + len]),
        }
        self.done += len;
        Ok(())
    }

    /// Gives the next `len` bytes into `frame` at `offset`, without a buffer in between.
    ///
    /// # Errors
    /// A page that is missing; nothing was given.
    pub fn take_into_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> Result<(), CopyFault> {
        let len = len.min(self.remaining()).min(PAGE_SIZE.saturating_sub(offset));
        match &self.origin {
            Origin::User { space, addr } => {
                space.visit(addr.wrapping_add(self.done), len, Access::Read, |page, at, range| {
                    page.copy_to(at, frame, offset + range.start, range.len());
                })?;
            }
            Origin::Pieces { space, pieces, skip } => each_part(pieces, skip + self.done, len, |at, part| {
                space.visit(at, part.len(), Access::Read, |page, at, range| {
                    page.copy_to(at, frame, offset + part.start + range.start, range.len());
                })
            })?,
            Origin::Pinned { memory, offset: start } => {
                memory.visit(*start + self.done, len, Access::Read, |page, at, range| {
                    page.copy_to(at, frame, offset + range.start, range.len());
                })?;
            }
            Origin::Kernel(bytes) => frame.write(offset, &bytes[self.done..self.done + len]),
        }
        self.done += len;
        Ok(())
    }
}

/// Shows the parts of `pieces` that hold `len` bytes from `skip` on: where each begins, and which of these bytes it has.
fn each_part(
    pieces: &[Piece],
    mut skip: usize,
    len: usize,
    mut visit: impl FnMut(usize, Range<usize>) -> Result<(), CopyFault>,
) -> Result<(), CopyFault> {
    let mut done = 0;
    for piece in pieces {
        if done == len {
            break;
        }
        let part = piece.behind(skip.min(piece.len));
        skip -= piece.len - part.len;
        if part.len == 0 {
            continue;
        }
        let end = done + part.len.min(len - done);
        visit(part.addr, done..end)?;
        done = end;
    }
    Ok(())
}
