//! A list in pieces of a page at most: however long it gets, it needs no large memory in one.
//!
//! It is filled, and then gone through from its beginning; a piece is given back when it is through.

use abi::errno::Errno;
use alloc::{
    boxed::Box,
    vec::{self, Vec},
};
use core::iter;
use mem::Room;

/// What a piece takes at most, in bytes.
const PIECE: usize = 4096;

type Link<T> = Option<Box<[Piece<T>; 1]>>;

/// One of a long list. Linked to the one before it while the list is filled, to the one behind it afterwards.
struct Piece<T> {
    items: Vec<T>,
    next: Link<T>,
    /// How many items the pieces before it have.
    earlier: usize,
}

impl<T> Drop for Piece<T> {
    /// Not one in the other: there may be very many.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut piece) = next {
            next = piece[0].next.take();
        }
    }
}

/// A list that is filled.
pub(super) struct Pieces<T> {
    /// All of a short list. It grows up to a piece.
    first: Vec<T>,
    /// The last of the others.
    last: Link<T>,
}

impl<T> Pieces<T> {
    /// Items in a piece.
    const MOST: usize = if PIECE / size_of::<T>() > 4 { PIECE / size_of::<T>() } else { 4 };

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.last.as_ref().map_or(self.first.len(), |piece| piece[0].earlier + piece[0].items.len())
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.last.as_ref().map_or(&self.first, |piece| &piece[0].items).last()
    }

    /// Bytes that are missing for another item.
    #[inline]
    pub(super) fn missing(&self) -> usize {
        let piece = self.last.as_ref().map_or(&self.first, |piece| &piece[0].items);
        match piece.len() {
            len if len < piece.capacity() => 0,
            len if len < Self::MOST => Self::growth(len) * size_of::<T>(),
            _ => Self::MOST * size_of::<T>() + size_of::<Piece<T>>(),
        }
    }

    /// By how many items the first piece grows.
    fn growth(len: usize) -> usize {
        len.max(4).min(Self::MOST - len)
    }

    /// Makes room for another item, where some is missing.
    ///
    /// # Errors
    /// `ENOMEM`; the list is as before then.
    pub(super) fn make_room(&mut self) -> Result<(), Errno> {
        if self.last.is_none() && self.first.len() < Self::MOST {
            return self.first.make_exact_room(Self::growth(self.first.len()));
        }
        let (mut items, mut piece) = (Vec::new(), Vec::new());
        items.make_exact_room(Self::MOST)?;
        piece.make_exact_room(1)?;
        let earlier = self.len();
        piece.push(Piece { items, next: self.last.take(), earlier });
        self.last = piece.try_into().ok();
        Ok(())
    }

    /// Adds an item, for which there is room.
    #[inline]
    pub(super) fn push(&mut self, item: T) {
        match &mut self.last {
            None => self.first.push(item),
            Some(piece) => piece[0].items.push(item),
        }
    }
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { first: Vec::new(), last: None }
    }
}

impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = Rest<T>;

    #[inline]
    fn into_iter(self) -> Rest<T> {
        let later = self.len() - self.first.len();
        let Self { first, last: mut from } = self;
        let mut next = None;
        while let Some(mut piece) = from {
            from = core::mem::replace(&mut piece[0].next, next);
            next = Some(piece);
        }
        Rest { items: first.into_iter(), next, later }
    }
}

/// What is left of a list.
pub(super) struct Rest<T> {
    /// Empty only if nothing is left.
    items: vec::IntoIter<T>,
    next: Link<T>,
    /// How many items there are behind `items`.
    later: usize,
}

impl<T> Rest<T> {
    pub(super) fn first(&self) -> Option<&T> {
        self.items.as_slice().first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let pieces = iter::successors(self.next.as_ref(), |piece| piece[0].next.as_ref());
        self.items.as_slice().iter().chain(pieces.flat_map(|piece| &piece[0].items))
    }

    #[cold]
    fn go_on(&mut self) {
        if let Some(mut piece) = self.next.take() {
            self.next = piece[0].next.take();
            self.items = core::mem::take(&mut piece[0].items).into_iter();
            self.later -= self.items.len();
        }
    }
}

impl<T> Default for Rest<T> {
    fn default() -> Self {
        Self { items: Vec::new().into_iter(), next: None, later: 0 }
    }
}

impl<T> Iterator for Rest<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let item = self.items.next();
        if self.items.as_slice().is_empty() && self.next.is_some() {
            self.go_on();
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.items.len() + self.later;
        (len, Some(len))
    }
}

impl<T> ExactSizeIterator for Rest<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    fn filled(count: usize) -> Pieces<[usize; 12]> {
        let mut pieces = Pieces::default();
        for number in 0..count {
            assert_eq!((pieces.len(), pieces.is_empty()), (number, number == 0));
            if pieces.missing() > 0 {
                pieces.make_room().unwrap();
            }
            assert_eq!(pieces.missing(), 0);
            pieces.push([number; 12]);
            assert_eq!(pieces.last(), Some(&[number; 12]));
        }
        pieces
    }

    #[test]
    fn what_was_pushed_comes_in_its_order() {
        for count in [0, 1, 4, 5, 41, 42, 43, 84, 85, 1000] {
            let mut rest = filled(count).into_iter();
            for number in 0..count {
                assert_eq!(rest.len(), count - number);
                assert_eq!(rest.first(), Some(&[number; 12]));
                assert!(rest.iter().map(|item| item[3]).eq(number..count));
                assert_eq!(rest.next(), Some([number; 12]));
            }
            assert_eq!((rest.len(), rest.next(), rest.first()), (0, None, None));
        }
    }

    #[test]
    fn no_piece_is_larger_than_a_page_and_all_that_is_taken_is_told() {
        let (mut pieces, mut told) = (Pieces::default(), 0);
        for number in 0..500_usize {
            let missing = pieces.missing();
            assert!(missing <= PIECE + size_of::<Piece<[usize; 12]>>());
            told += missing;
            if missing > 0 {
                pieces.make_room().unwrap();
            }
            pieces.push([number; 12]);
        }
        assert!((500 * 96..500 * 96 + 2 * PIECE).contains(&told));
    }

    #[test]
    fn items_of_any_size_have_pieces() {
        let mut pieces = Pieces::default();
        for number in 0..9_u8 {
            if pieces.missing() > 0 {
                pieces.make_room().unwrap();
            }
            pieces.push([number; 3000]);
        }
        assert!(pieces.into_iter().map(|item| item[0]).eq(0..9));
    }

    #[test]
    fn a_long_list_is_dropped_anywhere() {
        let item = Arc::new([0_u8; 100]);
        for through in [0, 1, 300, 99_999, 100_000] {
            let mut pieces = Pieces::default();
            for _ in 0..100_000 {
                if pieces.missing() > 0 {
                    pieces.make_room().unwrap();
                }
                pieces.push((item.clone(), [0_u64; 60]));
            }
            match through {
                0 => drop(pieces),
                _ => assert_eq!(pieces.into_iter().take(through).count(), through),
            }
            assert_eq!(Arc::strong_count(&item), 1);
        }
    }
}
