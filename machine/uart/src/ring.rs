//! A queue of bytes of fixed size.

/// At most `N` bytes, first in, first out.
pub(crate) struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Where the oldest byte is.
    start: usize,
    len: usize,
}

impl<const N: usize> Ring<N> {
    pub(crate) const fn new() -> Ring<N> {
        Ring { bytes: [0; N], start: 0, len: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == N
    }

    /// Adds a byte; false if there is no room.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        if self.is_full() {
            return false;
        }
        self.bytes[(self.start + self.len) % N] = byte;
        self.len += 1;
        true
    }

    /// Takes the oldest byte.
    pub(crate) fn pop(&mut self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let byte = self.bytes[self.start];
        self.start = (self.start + 1) % N;
        self.len -= 1;
        Some(byte)
    }
}
