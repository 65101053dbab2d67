//! Room in a list that grows on a user's behalf: asked for before it is needed, so that running out of it is an error (D13).

use abi::errno::Errno;
use alloc::{collections::VecDeque, string::String, vec::Vec};
use hal::{
    frame,
    part::{Part, Parts},
};
use smallvec::SmallVec;

/// A list whose growth may fail.
pub trait Room {
    /// Room for `more` items, and likely for some others.
    ///
    /// # Errors
    /// `ENOMEM`; the list is as before then.
    fn make_room(&mut self, more: usize) -> Result<(), Errno>;

    /// Room for `more` items and hardly any others.
    ///
    /// # Errors
    /// As [`make_room`](Self::make_room).
    fn make_exact_room(&mut self, more: usize) -> Result<(), Errno>;
}

/// A list with room for `len` items: of a length that a program chooses.
///
/// # Errors
/// `ENOMEM`.
#[inline]
pub fn list<T>(len: usize) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    list.make_exact_room(len)?;
    Ok(list)
}

/// Whether a list may have these bytes: of the blocks that the kernel keeps for itself (`hal::frame`) it gets one only while more than half of them is there. What is an object of the heap is paid
/// for, or little.
#[inline]
fn is_admitted(bytes: usize) -> bool {
    bytes <= hal::sizes::LARGEST || frame::admits_run(bytes)
}

/// Has a list with room for `has` items more get room for `more`, in all so many bytes, by `grow`, unless it has.
#[inline]
fn make((has, more): (usize, usize), bytes: usize, grow: impl FnOnce() -> bool) -> Result<(), Errno> {
    let fits = !hal::fail::here() && (has >= more || is_admitted(bytes) && grow());
    if fits { Ok(()) } else { Err(Errno::ENOMEM) }
}

macro_rules! grows {
    ($list:ty, $size:expr $(, $item:ident)?) => {
        impl$(<$item>)? Room for $list {
            #[inline]
            fn make_room(&mut self, more: usize) -> Result<(), Errno> {
                let (len, has) = (self.len(), self.capacity());
                // It grows to twice its size at least.
                let items = len.saturating_add(more).max(has.saturating_mul(2));
                make((has - len, more), items.saturating_mul($size), || self.try_reserve(more).is_ok())
            }

            #[inline]
            fn make_exact_room(&mut self, more: usize) -> Result<(), Errno> {
                let (len, has) = (self.len(), self.capacity());
                let bytes = len.saturating_add(more).saturating_mul($size);
                make((has - len, more), bytes, || self.try_reserve_exact(more).is_ok())
            }
        }
    };
}

grows!(Vec<T>, size_of::<T>(), T);
grows!(VecDeque<T>, size_of::<T>(), T);
grows!(String, 1);
grows!(Parts, size_of::<Part>());
grows!(SmallVec<[T; 1]>, size_of::<T>(), T);
