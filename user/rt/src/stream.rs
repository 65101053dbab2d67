//! A descriptor that tasks read and write: with buffers that they lend, which wait until it is ready, and with buffers that the operation
//! owns, which are requests.
//!
//! A request costs more than a call that finds what it wants, and less than one that does not. So an operation tries by the call
//! first, unless it is likely to fail, as a read is when the one before took less than it had room for; or unless entries are
//! pushed already, with which one more goes to the kernel for no call.

use crate::io;
use crate::owned::{self, IoBuf, IoBufMut};
use crate::reactor::{AsyncFd, Direction};
use crate::requests::{self, Request};
use crate::socket;
use crate::sys::{self, OwnedFd};
use ::task::Wait;
use abi::errno::{Errno, Result};
use abi::io_uring::{IORING_OP_READ, IORING_OP_SEND, IORING_OP_WRITE, Sqe};
use abi::net::MSG_NOSIGNAL;
use core::sync::atomic::{AtomicBool, Ordering};

/// The most that a request moves.
const MOST: usize = 1 << 30;
/// Where a file has a position, that.
const AT_POSITION: u64 = u64::MAX;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Stream {
    fd: AsyncFd,
    is_socket: bool,
    /// The last owned read took all there was, most likely. Relaxed: a guess.
    is_dry: AtomicBool,
}

impl Stream {
    /// Of a pipe, or of what is like one; non-blocking.
    pub(crate) fn pipe(fd: OwnedFd) -> Self {
        Self { fd: AsyncFd::new(fd), is_socket: false, is_dry: AtomicBool::new(false) }
    }

    /// Of a socket; non-blocking.
    pub(crate) fn socket(fd: OwnedFd) -> Self {
        Self { is_socket: true, ..Self::pipe(fd) }
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.fd.fd()
    }

    pub(crate) fn readiness(&self) -> &AsyncFd {
        &self.fd
    }

    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        sys::retry(|| match self.is_socket {
            true => socket::send(self.fd(), bytes, None, 0),
            false => sys::write(self.fd().raw(), bytes),
        })
    }

    /// Writes some of `buf`; returns how much.
    pub(crate) async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.fd.io(Direction::Write, |_| Ok(self.try_write(buf)?)).await
    }

    /// Writes all of `buf`.
    pub(crate) async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.write(buf).await?;
            buf = &buf[n..];
        }
        Ok(())
    }

    /// Reads into the room of `buf` from its byte `from` on; 0 is the end.
    async fn read_from<B: IoBufMut>(&self, mut buf: B, from: usize) -> (Result<usize>, B) {
        let (start, len) = buf.room();
        let (start, len) = (start.wrapping_add(from), len.saturating_sub(from).min(MOST));
        if !self.is_dry.swap(false, Ordering::Relaxed) {
            // SAFETY: the room is the buffer's, and nobody else's.
            match unsafe { sys::take_into(self.fd().raw(), start, len) } {
                Err(Errno::EAGAIN) => {}
                taken => {
                    let count = taken.map(|(count, dry)| {
                        self.is_dry.store(dry, Ordering::Relaxed);
                        count
                    });
                    return (count, buf);
                }
            }
        }
        let (addr, len) = (start as u64, len as u32);
        let entry = Sqe { opcode: IORING_OP_READ, addr, len, off: AT_POSITION, ..Sqe::default() };
        // SAFETY: the room is the buffer's, does not move with it, and nobody else touches it.
        let (read, buf) = unsafe { Request::new(entry, Wait::Read, Some(self.fd.fd()), buf) }.await;
        self.is_dry.store(read.is_ok_and(|count| count > 0 && count < len as usize), Ordering::Relaxed);
        (read, buf)
    }

    /// Reads into a buffer that it owns meanwhile; 0 is the end.
    pub(crate) async fn read_owned<B: IoBufMut>(&self, buf: B) -> (io::Result<usize>, B) {
        let (read, mut buf) = self.read_from(buf, 0).await;
        // SAFETY: so many were written.
        unsafe { buf.set_len(read.unwrap_or(0)) };
        (read.map_err(Into::into), buf)
    }

    /// Fills the room of a buffer that it owns meanwhile.
    pub(crate) async fn read_exact_owned<B: IoBufMut>(&self, buf: B) -> (io::Result<()>, B) {
        owned::read_exact(buf, "closed too early", |buf, from| self.read_from(buf, from)).await
    }

    /// Writes what is in `buf` from its byte `from` on; returns how much.
    async fn write_from<B: IoBuf>(&self, buf: B, from: usize) -> (Result<usize>, B) {
        let bytes = buf.bytes().get(from..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(MOST)];
        if !requests::gather() {
            match self.try_write(bytes) {
                Err(Errno::EAGAIN) => {}
                written => return (written, buf),
            }
        }
        let (addr, len) = (bytes.as_ptr() as u64, bytes.len() as u32);
        let entry = match self.is_socket {
            true => Sqe { opcode: IORING_OP_SEND, addr, len, op_flags: MSG_NOSIGNAL, ..Sqe::default() },
            false => Sqe { opcode: IORING_OP_WRITE, addr, len, off: AT_POSITION, ..Sqe::default() },
        };
        // SAFETY: the bytes are the buffer's, do not move with it, and nobody writes to them.
        unsafe { Request::new(entry, Wait::Write, Some(self.fd.fd()), buf) }.await
    }

    /// Writes some of a buffer that it owns meanwhile; returns how much.
    pub(crate) async fn write_owned<B: IoBuf>(&self, buf: B) -> (io::Result<usize>, B) {
        let (written, buf) = self.write_from(buf, 0).await;
        (written.map_err(Into::into), buf)
    }

    /// Writes all of a buffer that it owns meanwhile.
    pub(crate) async fn write_all_owned<B: IoBuf>(&self, buf: B) -> (io::Result<()>, B) {
        owned::write_all(buf, |buf, from| self.write_from(buf, from)).await
    }
}

/// The methods of what reads: with a buffer that is lent, and one that is handed over.
macro_rules! reads {
    () => {
        /// Reads up to `buf.len()` bytes; 0 is the end.
        ///
        /// # Errors
        /// `ECONNRESET` of a socket.
        pub async fn read(&self, buf: &mut [u8]) -> crate::io::Result<usize> {
            self.0.readiness().read(buf).await
        }

        /// Fills `buf`.
        ///
        /// # Errors
        /// [`UnexpectedEof`](crate::io::ErrorKind::UnexpectedEof) when the other end closes before.
        pub async fn read_exact(&self, buf: &mut [u8]) -> crate::io::Result<()> {
            self.0.readiness().read_exact(buf).await
        }

        /// Reads into the room of a buffer that belongs to the operation until that has ended; 0 is the end. Where the future is dropped, what is
        /// read until it is cancelled is lost.
        ///
        /// # Errors
        /// As for [`read`](Self::read); the buffer comes back.
        pub async fn read_owned<B: crate::owned::IoBufMut>(&self, buf: B) -> (crate::io::Result<usize>, B) {
            self.0.read_owned(buf).await
        }

        /// Fills the room of such a buffer.
        ///
        /// # Errors
        /// As for [`read_exact`](Self::read_exact); the buffer comes back with what was read.
        pub async fn read_exact_owned<B: crate::owned::IoBufMut>(&self, buf: B) -> (crate::io::Result<()>, B) {
            self.0.read_exact_owned(buf).await
        }
    };
}
pub(crate) use reads;

/// The methods of what writes, likewise.
macro_rules! writes {
    () => {
        /// Writes some of `buf`; returns how much.
        ///
        /// # Errors
        /// `EPIPE` when nobody can read it any more, `ECONNRESET` of a socket.
        pub async fn write(&self, buf: &[u8]) -> crate::io::Result<usize> {
            self.0.write(buf).await
        }

        /// Writes all of `buf`.
        ///
        /// # Errors
        /// As for [`write`](Self::write).
        pub async fn write_all(&self, buf: &[u8]) -> crate::io::Result<()> {
            self.0.write_all(buf).await
        }

        /// Writes some of a buffer that belongs to the operation until that has ended; returns how much.
        ///
        /// # Errors
        /// As for [`write`](Self::write); the buffer comes back.
        pub async fn write_owned<B: crate::owned::IoBuf>(&self, buf: B) -> (crate::io::Result<usize>, B) {
            self.0.write_owned(buf).await
        }

        /// Writes all of such a buffer.
        ///
        /// # Errors
        /// As for [`write`](Self::write); the buffer comes back.
        pub async fn write_all_owned<B: crate::owned::IoBuf>(&self, buf: B) -> (crate::io::Result<()>, B) {
            self.0.write_all_owned(buf).await
        }
    };
}
pub(crate) use writes;
