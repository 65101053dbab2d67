//! Room in a list that grows on a user's behalf: asked for before it is needed, so that running out of it is an error (D13).

use abi::errno::Errno;
use alloc::{collections::VecDeque, string::String, vec::Vec};
use hal::frame;

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

/// Whether a list may have these bytes: of the blocks that the kernel keeps for itself (`hal::frame`) it gets none. What is an object of the heap is paid
/// for, or little.
#[inline]
fn is_admitted(items: usize, size: usize) -> bool {
    let bytes = items.saturating_mul(size);
    bytes <= hal::sizes::LARGEST || frame::admits_run(bytes)
}

macro_rules! grows {
    ($list:ty, $size:expr $(, $item:ident)?) => {
        impl$(<$item>)? Room for $list {
            #[inline]
            fn make_room(&mut self, more: usize) -> Result<(), Errno> {
                if hal::fail::here() {
                    return Err(Errno::ENOMEM);
                }
                let (len, has) = (self.len(), self.capacity());
                // It grows to twice its size at least.
                let items = len.saturating_add(more).max(has.saturating_mul(2));
                let fits = has - len >= more || is_admitted(items, $size) && self.try_reserve(more).is_ok();
                if fits { Ok(()) } else { Err(Errno::ENOMEM) }
            }

            #[inline]
            fn make_exact_room(&mut self, more: usize) -> Result<(), Errno> {
                if hal::fail::here() {
                    return Err(Errno::ENOMEM);
                }
                let (len, has) = (self.len(), self.capacity());
                let items = len.saturating_add(more);
                let fits = has - len >= more || is_admitted(items, $size) && self.try_reserve_exact(more).is_ok();
                if fits { Ok(()) } else { Err(Errno::ENOMEM) }
            }
        }
    };
}

grows!(Vec<T>, size_of::<T>(), T);
grows!(VecDeque<T>, size_of::<T>(), T);
grows!(String, 1);
