//! Buffers that an operation owns while it is under way, in the manner of `tokio-uring`: the kernel may write to one until the
//! operation has ended, however early its future was dropped.

use alloc::boxed::Box;
use alloc::vec::Vec;

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
