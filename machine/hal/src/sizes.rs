//! Size classes of the kernel's heap, and what an object of a size really takes of a page.

use crate::PAGE_SIZE;

/// What a slab page begins with: `heap::Slab`.
pub const SLAB_HEADER: usize = 32;

/// Sizes of objects. From 288 up each is the largest of which so many fit into a page, or nearly so.
pub const CLASSES: [usize; 19] =
    [16, 32, 48, 64, 96, 128, 160, 192, 256, 288, 336, 448, 496, 576, 672, 800, 1008, 1344, 2016];

/// Larger objects are runs of pages, as are those with an alignment above [`ALIGNMENT`].
pub const LARGEST: usize = CLASSES[CLASSES.len() - 1];

/// What every class is aligned to.
pub const ALIGNMENT: usize = 16;

/// Class of each size, in steps of 16 bytes.
static CLASS_OF: [u8; LARGEST / 16 + 1] = {
    let mut table = [0; LARGEST / 16 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * 16 > CLASSES[class] {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

/// The class of an object of at most [`LARGEST`] bytes.
#[inline(always)]
pub fn class_of(size: usize) -> usize {
    CLASS_OF[size.div_ceil(16)] as usize
}

/// The bytes of memory that an object takes: its part of a full slab, or its pages.
pub const fn share(size: usize) -> usize {
    let mut class = 0;
    while class < CLASSES.len() {
        if size <= CLASSES[class] {
            return PAGE_SIZE.div_ceil((PAGE_SIZE - SLAB_HEADER) / CLASSES[class]);
        }
        class += 1;
    }
    size.next_multiple_of(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for size in 1..=LARGEST {
            let class = class_of(size);
            assert!(CLASSES[class] >= size && (class == 0 || CLASSES[class - 1] < size), "{size}");
        }
        assert!(CLASSES.is_sorted() && CLASSES.iter().all(|size| size.is_multiple_of(ALIGNMENT)));
    }

    #[test]
    fn a_share_is_what_a_full_page_comes_to() {
        assert_eq!((share(1), share(577), share(672), share(2016), share(2017)), (17, 683, 683, 2048, PAGE_SIZE));
        let wasted = |size: &usize| (PAGE_SIZE - SLAB_HEADER) % size;
        assert!(CLASSES.iter().all(|size| wasted(size) < PAGE_SIZE / 10), "a class wastes a tenth of its pages");
    }
}
