//! Buffers that an operation owns while it is under way, in the manner of `tokio-uring`: the kernel may write to one until the
//! operation has ended, however early its future was dropped.

use crate::io;
use abi::errno::Result;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;

/// What can be written from.
///
/// # Safety
/// The bytes stay where they are, and are nobody else's to write, however the value is moved.
pub unsafe trait IoBuf: Send + 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// What can be read into.
///
/// # Safety
/// As for [`IoBuf`]; the room is this value's alone.
pub unsafe trait IoBufMut: IoBuf {
    /// Where the room begins, and how large it is.
    fn room(&mut self) -> (*mut u8, usize);

    /// The first `len` bytes of the room were written, and are what [`bytes`](IoBuf::bytes) gives.
    ///
    /// # Safety
    /// They were.
    unsafe fn set_len(&mut self, len: usize);
}

// SAFETY: a vector's bytes lie apart from it, and it is their only owner.
unsafe impl IoBuf for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: as above. The room is the capacity: what was in it is overwritten.
unsafe impl IoBufMut for Vec<u8> {
    fn room(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.capacity())
    }

    unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: the contract.
        unsafe { Vec::set_len(self, len) }
    }
}

// SAFETY: as for a vector.
unsafe impl IoBuf for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: as for a vector. All of it was written before, so its length stays.
unsafe impl IoBufMut for Box<[u8]> {
    fn room(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }

    unsafe fn set_len(&mut self, _: usize) {}
}

// SAFETY: nobody writes there as long as the program runs.
unsafe impl IoBuf for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Fills the room of `buf`, by what reads into it from some byte of it on. The buffer comes back with what was read, also if it `ended` before.
pub(crate) async fn read_exact<B: IoBufMut, F: Future<Output = (Result<usize>, B)>>(
    mut buf: B,
    ended: &'static str,
    mut read: impl FnMut(B, usize) -> F,
) -> (io::Result<()>, B) {
    let (mut filled, room, mut result) = (0, buf.room().1, Ok(()));
    while filled < room && result.is_ok() {
        let (count, back) = read(buf, filled).await;
        buf = back;
        match count {
            Ok(0) => result = Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended)),
            Ok(count) => filled += count,
            Err(errno) => result = Err(errno.into()),
        }
    }
    // SAFETY: so many were written.
    unsafe { buf.set_len(filled) };
    (result, buf)
}

/// Writes all of `buf`, by what writes it from some byte of it on.
pub(crate) async fn write_all<B: IoBuf, F: Future<Output = (Result<usize>, B)>>(
    mut buf: B,
    mut write: impl FnMut(B, usize) -> F,
) -> (io::Result<()>, B) {
    let mut written = 0;
    while written < buf.bytes().len() {
        let (count, back) = write(buf, written).await;
        buf = back;
        match count {
            Ok(0) => return (Err(io::Error::new(io::ErrorKind::WriteZero, "nothing more can be written")), buf),
            Ok(count) => written += count,
            Err(errno) => return (Err(errno.into()), buf),
        }
    }
    (Ok(()), buf)
}
