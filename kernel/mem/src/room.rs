//! Room in a list that grows on a user's behalf: asked for before it is needed, so that running out of it is an error (D13).

use abi::errno::Errno;
use alloc::{collections::VecDeque, string::String, vec::Vec};

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

macro_rules! grows {
    ($list:ty $(, $item:ident)?) => {
        impl$(<$item>)? Room for $list {
            #[inline]
            fn make_room(&mut self, more: usize) -> Result<(), Errno> {
                if hal::fail::here() || self.try_reserve(more).is_err() { Err(Errno::ENOMEM) } else { Ok(()) }
            }

            #[inline]
            fn make_exact_room(&mut self, more: usize) -> Result<(), Errno> {
                if hal::fail::here() || self.try_reserve_exact(more).is_err() { Err(Errno::ENOMEM) } else { Ok(()) }
            }
        }
    };
}

grows!(Vec<T>, T);
grows!(VecDeque<T>, T);
grows!(String);
