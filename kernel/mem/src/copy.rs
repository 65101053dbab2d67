//! Copies between the kernel and user memory.
//!
//! User memory is walked in software, so a copy never traps. The `_now` forms never wait: they copy all or
//! nothing and name the page that is missing. The awaiting forms fault it in and try again.

use crate::room::Room;
use crate::{
    fault::right,
    region::{Region, USER_END, USER_START},
    space::{AddressSpace, State},
};
use abi::errno::Errno;
use alloc::vec::Vec;
use core::{ops::Range, sync::atomic::AtomicU32};
use hal::{PAGE_SIZE, frame::Frame, space::Prot, user::Access};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A page of user memory that a copy missed; [`AddressSpace::resolve`] fetches it or says that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFault {
    /// The address that missed.
    pub addr: usize,
    /// What it was wanted for.
    pub access: Access,
}

/// Tells futex words apart: two addresses have equal keys exactly if they are the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutexKey {
    /// Twice the number of the address space, or, and one more, of the object that several spaces may map
    /// ([`AddressSpace::id`], [`crate::Backing::id`]).
    owner: u64,
    /// Address in the space, or byte offset in the object.
    offset: u64,
}

impl FutexKey {
    fn private(space: u64, addr: usize) -> Self {
        Self { owner: space << 1, offset: addr as u64 }
    }

    fn shared(object: u64, offset: u64) -> Self {
        Self { owner: object << 1 | 1, offset }
    }

    /// For tables: the same for equal keys, and evenly spread in the upper bits.
    #[inline]
    #[must_use]
    pub fn hash(self) -> u64 {
        (self.owner.wrapping_mul(31) ^ self.offset >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl State {
    /// Calls `each(frame, offset in it, range of the whole)` for the pages of `addr..addr + len`, which must all be
    /// there with the right for `access`; otherwise for none.
    pub(crate) fn visit(
        &self,
        addr: usize,
        len: usize,
        access: Access,
        mut each: impl FnMut(&Frame, usize, Range<usize>),
    ) -> Result<(), CopyFault> {
        let miss = |addr| CopyFault { addr, access };
        let end = addr.checked_add(len).filter(|&end| end <= USER_END).ok_or(miss(USER_END))?;
        if addr < USER_START && len > 0 {
            return Err(miss(addr));
        }
        let mut copy = |frame: &Frame, piece: Range<usize>| {
            each(frame, piece.start % PAGE_SIZE, piece.start - addr..piece.end - addr);
        };
        let mut pieces = Pieces { addr, end };
        let Some(first) = pieces.next() else { return Ok(()) };
        let Some(second) = pieces.next() else {
            return self.page(first.start, access, |frame| copy(frame, first));
        };
        if pieces.next().is_none() {
            return self.page(first.start, access, |frame| {
                self.page(second.start, access, |next| {
                    copy(frame, first);
                    copy(next, second);
                })
            })?;
        }
        for piece in (Pieces { addr, end }) {
            self.page(piece.start, access, |_| ())?;
        }
        for piece in (Pieces { addr, end }) {
            self.page(piece.start, access, |frame| copy(frame, piece))?;
        }
        Ok(())
    }

    /// Calls `f` with the frame at `addr`, which must be there with the right for `access`.
    #[inline]
    fn page<R>(&self, addr: usize, access: Access, f: impl FnOnce(&Frame) -> R) -> Result<R, CopyFault> {
        let result = self.pages.with(addr, |frame, prot| prot.contains(right(access)).then(|| f(frame)));
        result.flatten().ok_or(CopyFault { addr, access })
    }
}

/// Splits an address range at page boundaries.
struct Pieces {
    addr: usize,
    end: usize,
}

impl Iterator for Pieces {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.addr >= self.end {
            return None;
        }
        let start = self.addr;
        self.addr = ((start & !(PAGE_SIZE - 1)) + PAGE_SIZE).min(self.end);
        Some(start..self.addr)
    }
}

impl AddressSpace {
    /// Calls `each(frame, offset, range)` for the pages of a user range; all or nothing.
    pub(crate) fn visit(
        &self,
        addr: usize,
        len: usize,
        access: Access,
        each: impl FnMut(&Frame, usize, Range<usize>),
    ) -> Result<(), CopyFault> {
        self.state.lock().visit(addr, len, access, each)
    }

    /// Copies from user memory, all or nothing.
    ///
    /// # Errors
    /// The first page that is missing.
    pub fn copy_in_now(&self, addr: usize, into: &mut [u8]) -> Result<(), CopyFault> {
        self.visit(addr, into.len(), Access::Read, |frame, offset, range| frame.read(offset, &mut into[range]))
    }

    /// Copies to user memory, all or nothing.
    ///
    /// # Errors
    /// The first page that is missing or not writable yet.
    pub fn copy_out_now(&self, addr: usize, from: &[u8]) -> Result<(), CopyFault> {
        self.visit(addr, from.len(), Access::Write, |frame, offset, range| frame.write(offset, &from[range]))
    }

    /// Copies from user memory, page by page; a range that becomes invalid half-way leaves `into` half filled.
    ///
    /// # Errors
    /// `EFAULT`; `ENOMEM` if there is no memory for a page.
    pub async fn copy_in(&self, addr: usize, into: &mut [u8]) -> Result<(), Errno> {
        check_range(addr, into.len())?;
        for piece in (Pieces { addr, end: addr + into.len() }) {
            while let Err(fault) = self.copy_in_now(piece.start, &mut into[piece.start - addr..piece.end - addr]) {
                self.resolve(fault).await?;
            }
        }
        Ok(())
    }

    /// Copies to user memory, page by page; a range that is invalid half-way has been written up to there.
    ///
    /// # Errors
    /// `EFAULT`; `ENOMEM` if there is no memory for a page.
    pub async fn copy_out(&self, addr: usize, from: &[u8]) -> Result<(), Errno> {
        check_range(addr, from.len())?;
        for piece in (Pieces { addr, end: addr + from.len() }) {
            while let Err(fault) = self.copy_out_now(piece.start, &from[piece.start - addr..piece.end - addr]) {
                self.resolve(fault).await?;
            }
        }
        Ok(())
    }

    /// A value from user memory.
    ///
    /// # Errors
    /// `EFAULT`, `ENOMEM`.
    pub async fn get<T: FromBytes + IntoBytes>(&self, addr: usize) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.copy_in(addr, value.as_mut_bytes()).await?;
        Ok(value)
    }

    /// A value from user memory, if its pages are there.
    ///
    /// # Errors
    /// The page that is missing.
    pub fn get_now<T: FromBytes + IntoBytes>(&self, addr: usize) -> Result<T, CopyFault> {
        let mut value = T::new_zeroed();
        self.copy_in_now(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// A value to user memory.
    ///
    /// # Errors
    /// `EFAULT`, `ENOMEM`.
    pub async fn put<T: IntoBytes + Immutable>(&self, addr: usize, value: &T) -> Result<(), Errno> {
        self.copy_out(addr, value.as_bytes()).await
    }

    /// A value to user memory, if its pages are there.
    ///
    /// # Errors
    /// The page that is missing.
    pub fn put_now<T: IntoBytes + Immutable>(&self, addr: usize, value: &T) -> Result<(), CopyFault> {
        self.copy_out_now(addr, value.as_bytes())
    }

    /// The instruction at `addr`, of which the lower 16 bits count if it is a compressed one: whether the program may read it or not.
    ///
    /// # Errors
    /// `EFAULT`: it may not be executed; `ENOMEM`.
    pub async fn instruction(&self, addr: usize) -> Result<u32, Errno> {
        let low = self.parcel(addr).await?;
        let high = if low & 3 == 3 { self.parcel(addr.wrapping_add(2)).await? } else { 0 };
        Ok(u32::from(high) << 16 | u32::from(low))
    }

    /// 16 bits of text, at an even address.
    async fn parcel(&self, addr: usize) -> Result<u16, Errno> {
        let mut bytes = [0; 2];
        while let Err(fault) = self.visit(addr, 2, Access::Exec, |frame, at, range| frame.read(at, &mut bytes[range])) {
            self.resolve(fault).await?;
        }
        Ok(u16::from_le_bytes(bytes))
    }

    /// A NUL-terminated string, without the NUL.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` if no NUL is among the first `max` bytes.
    pub async fn cstr(&self, addr: usize, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        let mut chunk = [0; 256];
        while string.len() < max {
            let at = addr.checked_add(string.len()).ok_or(Errno::EFAULT)?;
            let to_page_end = PAGE_SIZE - at % PAGE_SIZE;
            let len = chunk.len().min(to_page_end).min(max - string.len());
            self.copy_in(at, &mut chunk[..len]).await?;
            string.make_room(len)?;
            if let Some(nul) = chunk[..len].iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&chunk[..nul]);
                return Ok(string);
            }
            string.extend_from_slice(&chunk[..len]);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Runs `act` on an aligned word of user memory, if its page is there with the right for `access`.
    ///
    /// `act` runs under the space's lock: it must be short and take no lock of a rank below it.
    ///
    /// # Errors
    /// The page that is missing; an unaligned address misses for ever (check it before).
    pub fn word_now<R>(&self, addr: usize, access: Access, act: impl FnOnce(&AtomicU32) -> R) -> Result<R, CopyFault> {
        if !addr.is_multiple_of(4) || !(USER_START..USER_END).contains(&addr) {
            return Err(CopyFault { addr: USER_END, access });
        }
        self.state.lock().page(addr, access, |frame| act(frame.word(addr % PAGE_SIZE)))
    }

    /// Runs `act` on an aligned, writable word of user memory.
    ///
    /// # Errors
    /// `EINVAL` if unaligned, `EFAULT`, `ENOMEM`.
    pub async fn word<R>(&self, addr: usize, mut act: impl FnMut(&AtomicU32) -> R) -> Result<R, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        loop {
            match self.word_now(addr, Access::Write, &mut act) {
                Ok(result) => return Ok(result),
                Err(fault) => self.resolve(fault).await?,
            }
        }
    }

    /// The key of a futex word. `private`: the caller promises that only this space uses it.
    ///
    /// # Errors
    /// `EINVAL` if unaligned; `EFAULT` if it is no user address or, unless `private`, nothing accessible is mapped there.
    #[inline]
    pub fn futex_key(&self, addr: usize, private: bool) -> Result<FutexKey, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if !(USER_START..USER_END).contains(&addr) {
            return Err(Errno::EFAULT);
        }
        if private { Ok(FutexKey::private(self.id(), addr)) } else { self.mapped_key(addr) }
    }

    /// The key of a word that others may use, too.
    fn mapped_key(&self, addr: usize) -> Result<FutexKey, Errno> {
        let state = self.state.lock();
        let accessible = |region: &Region| region.prot.intersects(Prot::READ | Prot::WRITE);
        let (start, region) = state.regions.find(addr).filter(|(_, region)| accessible(region)).ok_or(Errno::EFAULT)?;
        Ok(match region.page_of(start, addr).filter(|_| region.shared) {
            None => FutexKey::private(self.id(), addr),
            Some((backing, index)) => {
                FutexKey::shared(backing.memory(), index * PAGE_SIZE as u64 + (addr % PAGE_SIZE) as u64)
            }
        })
    }

    /// The frame behind a user page.
    #[cfg(test)]
    pub(crate) fn frame_now(&self, addr: usize, access: Access) -> Result<Frame, CopyFault> {
        let mut found = None;
        self.visit(addr, 1, access, |frame, _, _| found = Some(frame.clone()))?;
        found.ok_or(CopyFault { addr, access })
    }
}

/// # Errors
/// `EFAULT` if the range is not in user space.
pub(crate) fn check_range(addr: usize, len: usize) -> Result<(), Errno> {
    match addr.checked_add(len) {
        Some(end) if end <= USER_END && (len == 0 || addr >= USER_START) => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}
