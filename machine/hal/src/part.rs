//! What a device is given of a page: a stretch of it, pinned.

use crate::{
    PAGE_SIZE,
    frame::{Frame, Pin},
};
use smallvec::SmallVec;

/// A stretch of a pinned page; not empty.
#[derive(Debug)]
pub struct Part {
    page: Pin,
    offset: u16,
    len: u16,
}

const _: () = assert!(PAGE_SIZE <= u16::MAX as usize);

/// The memory of a request. Up to two parts lie in place: most requests are about a page, or as much that is not aligned.
pub type Parts = SmallVec<[Part; 2]>;

impl Part {
    /// A whole page.
    pub fn page(frame: &Frame) -> Part {
        Part { page: frame.pin(), offset: 0, len: PAGE_SIZE as u16 }
    }

    /// `len` bytes at `offset` of a page; `None` if that is nothing, or not inside.
    #[inline]
    pub fn new(page: Pin, offset: usize, len: usize) -> Option<Part> {
        let is_inside = offset <= PAGE_SIZE && len <= PAGE_SIZE - offset;
        (is_inside && len > 0).then_some(Part { page, offset: offset as u16, len: len as u16 })
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "a part is never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The page, and where in it the part begins.
    pub fn place(&self) -> (&Frame, usize) {
        (self.page.frame(), usize::from(self.offset))
    }

    /// Where a device finds it.
    #[inline]
    pub fn physical(&self) -> usize {
        self.page.frame().physical() + usize::from(self.offset)
    }

    /// The same once more.
    pub fn share(&self) -> Part {
        Part { page: self.page.frame().pin(), offset: self.offset, len: self.len }
    }

    /// Cuts the first `len` bytes off.
    ///
    /// # Panics
    /// If that is nothing, or all of it.
    pub fn cut(&mut self, len: usize) -> Part {
        assert!(len > 0 && len < self.len(), "both parts are some of it");
        let len = len as u16;
        let first = Part { len, ..self.share() };
        self.offset += len;
        self.len -= len;
        first
    }

    /// Fills it with zeros.
    pub fn clear(&self) {
        let (frame, offset) = self.place();
        frame.fill(offset, self.len(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_within_its_page() {
        let page = Frame::zeroed().unwrap();
        for (offset, len) in [(PAGE_SIZE, 1), (1, PAGE_SIZE), (usize::MAX, 2), (0, 0), (2, usize::MAX)] {
            assert!(Part::new(page.pin(), offset, len).is_none());
        }
        let whole = Part::new(page.pin(), 0, PAGE_SIZE).unwrap();
        assert_eq!((whole.len(), whole.physical()), (PAGE_SIZE, page.physical()));
        drop(whole);
        assert!(!page.pinned());
    }

    #[test]
    fn what_is_cut_off_and_the_rest_are_the_part() {
        let page = Frame::zeroed().unwrap();
        page.fill(0, PAGE_SIZE, 7);
        let mut rest = Part::new(page.pin(), 512, 1536).unwrap();
        let first = rest.cut(1024);
        assert_eq!((first.physical() - page.physical(), first.len()), (512, 1024));
        assert_eq!((rest.physical() - page.physical(), rest.len()), (1536, 512));
        first.clear();
        let mut bytes = [0; PAGE_SIZE];
        page.read(0, &mut bytes);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == if (512..1536).contains(&at) { 0 } else { 7 }));
    }
}
