//! A ring of buffers from which the kernel chooses (`IORING_REGISTER_PBUF_RING`), for programs that answer for the memory themselves.

use super::{Mapping, Ring, word};
use crate::io;
use crate::sys::syscall;
use abi::io_uring::{
    Buf, BufReg, IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT, IORING_REGISTER_PBUF_RING, IOU_PBUF_RING_INC,
    IOU_PBUF_RING_MMAP,
};
use core::sync::atomic::Ordering::{Relaxed, Release};

/// A group of buffers.
#[derive(Debug)]
pub struct Buffers {
    memory: Mapping,
    places: u16,
    tail: u16,
}

impl Buffers {
    /// An empty ring with so many places, a power of two, as a group of `ring`'s. It goes on with the ring, whose kernel keeps its pages.
    ///
    /// # Errors
    /// `EEXIST`, `EINVAL`, `ENOMEM`.
    pub fn new(ring: &Ring, group: u16, places: u16) -> io::Result<Self> {
        Self::with_flags(ring, group, places, 0)
    }

    /// The same, whose buffers are used bit by bit: what is left of one is the next.
    ///
    /// # Errors
    /// As above.
    pub fn incremental(ring: &Ring, group: u16, places: u16) -> io::Result<Self> {
        Self::with_flags(ring, group, places, IOU_PBUF_RING_INC)
    }

    /// The same in memory that the kernel has for it.
    ///
    /// # Errors
    /// As above.
    pub fn mapped(ring: &Ring, group: u16, places: u16) -> io::Result<Self> {
        Self::register(ring, 0, (group, places), IOU_PBUF_RING_MMAP)?;
        let offset = IORING_OFF_PBUF_RING | u64::from(group) << IORING_OFF_PBUF_SHIFT;
        let memory = Mapping::new(&ring.fd, usize::from(places) * size_of::<Buf>(), offset)?;
        Ok(Self { memory, places, tail: 0 })
    }

    fn register(ring: &Ring, base: usize, (bgid, places): (u16, u16), flags: u16) -> io::Result<()> {
        let (ring_addr, ring_entries) = (base as u64, places.into());
        let asked = BufReg { ring_addr, ring_entries, bgid, flags, ..BufReg::default() };
        syscall!(IO_URING_REGISTER, ring.fd.raw(), IORING_REGISTER_PBUF_RING, &raw const asked, 1)?;
        Ok(())
    }

    fn with_flags(ring: &Ring, group: u16, places: u16, flags: u16) -> io::Result<Self> {
        let memory = Mapping::anonymous(usize::from(places) * size_of::<Buf>())?;
        Self::register(ring, memory.base, (group, places), flags)?;
        Ok(Self { memory, places, tail: 0 })
    }

    /// Where its entries lie, of 16 bytes each.
    #[must_use]
    pub fn address(&self) -> usize {
        self.memory.base
    }

    /// Gives the kernel a buffer. What it does to that memory is the caller's business (see [`crate::raw`]).
    pub fn add(&mut self, addr: usize, len: u32, bid: u16) {
        let at = usize::from(self.tail & (self.places - 1)) * size_of::<Buf>();
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: all are aligned words of the mapping, which is there as long as `self`; nobody touches them but atomically, or as the kernel does.
        let [low, high, length, number, first] =
            [at, at + 4, at + 8, at + 12, 12].map(|offset| unsafe { word(self.memory.base + offset) });
        low.store(addr as u32, Relaxed);
        high.store((addr as u64 >> 32) as u32, Relaxed);
        length.store(len, Relaxed);
        // The upper half of the first one's number is the tail.
        if at > 0 {
            number.store(bid.into(), Relaxed);
        }
        let old = if at == 0 { bid.into() } else { first.load(Relaxed) & 0xffff };
        // Release: the kernel sees the buffer with the tail.
        first.store(u32::from(self.tail) << 16 | old, Release);
    }
}
