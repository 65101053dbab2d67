//! The memory of a channel as one side has it mapped.

use super::End;
use crate::io::{Error, Result};
use crate::sys::syscall;
use abi::{Errno, channel as at};
use channel::Words;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

const PAGE: usize = 4096;

/// What can be a message: plain bytes in a fixed layout, which are looked at when they arrive: those that are no value (of an `enum`, a `bool`) end the
/// channel. `zerocopy` derives it. Its size is a multiple of 8, and it is aligned to 8 at most: each place is copied by
/// words, and no byte goes to the other side that is none of the message.
pub trait Message: TryFromBytes + IntoBytes + Immutable + Copy + Send + 'static {}

impl<M: TryFromBytes + IntoBytes + Immutable + Copy + Send + 'static> Message for M {}

/// A message in the memory.
#[repr(C, align(8))]
pub(super) struct Place<M>(M);

impl<M> Place<M> {
    /// Bytes of one.
    const SIZE: usize = {
        assert!(size_of::<M>() == size_of::<Self>() && align_of::<Self>() == 8, "a message is some words of 8 bytes");
        size_of::<Self>()
    };
}

/// By words, one by one: the other party may be writing, or look, at any time.
impl<M: Message> Place<M> {
    /// # Safety
    /// The place is within the memory.
    #[inline(always)]
    unsafe fn put(place: *mut Self, message: &M) {
        let from = core::ptr::from_ref(message).cast::<u64>();
        for word in 0..Self::SIZE / 8 {
            // SAFETY: within the message, which is that many words, all of them initialised (`IntoBytes`), but need not be aligned.
            let value =
                unsafe { if align_of::<M>() == 8 { from.add(word).read() } else { from.add(word).read_unaligned() } };
            // SAFETY: within the place, and aligned.
            unsafe { place.cast::<u64>().add(word).write_volatile(value) };
        }
    }

    /// # Safety
    /// The place is within the memory.
    #[inline(always)]
    unsafe fn get(place: *const Self) -> Option<M> {
        let mut message = MaybeUninit::<Self>::uninit();
        for word in 0..Self::SIZE / 8 {
            // SAFETY: within both, and aligned. Volatile: one copy.
            unsafe {
                message.as_mut_ptr().cast::<u64>().add(word).write(place.cast::<u64>().add(word).read_volatile())
            };
        }
        // SAFETY: each byte was written. This side's copy: nobody changes it while it is looked at.
        let bytes = unsafe { core::slice::from_raw_parts(message.as_ptr().cast::<u8>(), Self::SIZE) };
        M::try_read_from_bytes(bytes).ok()
    }
}

/// Where the places of the second side's messages begin.
fn second<A>(places: u32) -> usize {
    channel::at::PLACES + places as usize * Place::<A>::SIZE
}

pub(super) fn pages<A, B>(places: u32) -> Result<usize> {
    let pages = (second::<A>(places) + places as usize * Place::<B>::SIZE).div_ceil(PAGE);
    if places.is_power_of_two() && pages <= at::MOST_PAGES { Ok(pages) } else { Err(Error::from(Errno::EINVAL)) }
}

/// The mapping, of a side that sends `S` and receives `R`.
pub(super) struct Memory<S, R> {
    base: *mut u8,
    pages: usize,
    pub(super) sent: *mut Place<S>,
    pub(super) received: *mut Place<R>,
}

// SAFETY: the mapping is this value's, and goes with it.
unsafe impl<S, R> Send for Memory<S, R> {}
// SAFETY: words are atomic. Places are touched by who has the channel for itself, and by the other party, which any access allows for.
unsafe impl<S, R> Sync for Memory<S, R> {}

impl<S, R> Memory<S, R> {
    pub(super) fn map(end: &End) -> Result<Self> {
        let (pages, offset_of) = if end.side == 0 {
            (pages::<S, R>(end.places)?, [channel::at::PLACES, second::<S>(end.places)])
        } else {
            (pages::<R, S>(end.places)?, [second::<R>(end.places), channel::at::PLACES])
        };
        let rights = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
        let base = syscall!(MMAP, 0, pages * PAGE, rights, abi::mm::MAP_SHARED, end.fd.raw(), 0)? as *mut u8;
        let [sent, received] = offset_of.map(|offset| base.wrapping_add(offset));
        Ok(Self { base, pages, sent: sent.cast(), received: received.cast() })
    }

    /// Where it is, and how many bytes.
    #[cfg(feature = "raw")]
    pub(super) fn range(&self) -> (usize, usize) {
        (self.base as usize, self.pages * PAGE)
    }

    #[inline(always)]
    pub(super) fn word_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the words are within the first page, aligned, mapped as long as `self` is there, and atomic for this side.
        unsafe { &*self.base.add(offset).cast() }
    }
}

impl<S, R> Drop for Memory<S, R> {
    fn drop(&mut self) {
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.base, self.pages * PAGE);
    }
}

impl<S, R> Words for Memory<S, R> {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.word_at(offset)
    }
}

impl<S: Message, R: Message> channel::Memory<S> for Memory<S, R> {
    #[inline(always)]
    fn put(&self, _side: usize, place: u32, message: &S) {
        // SAFETY: `place` is below their number, and all are mapped.
        unsafe { Place::put(self.sent.add(place as usize), message) };
    }

    fn get(&self, _side: usize, place: u32) -> Option<S> {
        // SAFETY: as above.
        unsafe { Place::get(self.sent.add(place as usize)) }
    }
}

/// The other direction of a [`Memory`].
pub(super) struct Received<'a, S, R>(pub(super) &'a Memory<S, R>);

impl<S, R> Words for Received<'_, S, R> {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word_at(offset)
    }
}

impl<S: Message, R: Message> channel::Memory<R> for Received<'_, S, R> {
    fn put(&self, _side: usize, place: u32, message: &R) {
        // SAFETY: as in `get`.
        unsafe { Place::put(self.0.received.add(place as usize), message) };
    }

    #[inline(always)]
    fn get(&self, _side: usize, place: u32) -> Option<R> {
        // SAFETY: `place` is below their number, and all are mapped.
        unsafe { Place::get(self.0.received.add(place as usize)) }
    }
}
