//! Pages side by side as one piece of memory, each of which can also be shared by itself: what the kernel uses at any offset, and maps
//! into programs page by page.
//!
//! Whoever else has the pages writes them as he likes, so they are reached by atomics and volatile copies of whole words only, and no Rust
//! reference to their bytes exists.

use crate::{
    PAGE_SIZE,
    arch::physical_pointer,
    frame::{Frame, FrameRun},
};
use alloc::boxed::Box;
use core::{ptr::NonNull, sync::atomic::AtomicU32};

/// The pages; they live as long as this or a share of each.
#[derive(Debug)]
pub struct Stretch {
    /// Of the first page, in the direct map.
    start: NonNull<u8>,
    frames: Box<[Frame]>,
}

// SAFETY: the pointer leads to the pages of `frames`, which may be sent, and is used for atomics and volatile accesses only.
unsafe impl Send for Stretch {}
// SAFETY: as above.
unsafe impl Sync for Stretch {}

impl Stretch {
    /// This many pages of zeroes, one at least; `None` without so many side by side, or when only the kernel's reserve is left.
    #[must_use]
    pub fn zeroed(pages: usize) -> Option<Self> {
        let frames = FrameRun::for_users(pages.max(1))?.into_frames(pages.max(1))?;
        let start = NonNull::new(physical_pointer(frames.first()?.physical()))?;
        Some(Self { start, frames })
    }

    /// The pages, each to be shared by itself.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Words of so many bytes that there are.
    #[inline(always)]
    fn count(&self, size: usize) -> usize {
        self.frames.len() * PAGE_SIZE / size
    }

    /// The word of four bytes with this number as an atomic.
    ///
    /// # Panics
    /// If it is beyond the pages.
    #[inline(always)]
    pub fn word(&self, number: usize) -> &AtomicU32 {
        assert!(number < self.count(4), "access beyond the pages");
        // SAFETY: within the pages, as asserted.
        unsafe { self.atomic(number) }
    }

    /// The same within the first page, which is always there: a number that the compiler knows costs no look at how many there are.
    ///
    /// # Panics
    /// If it is beyond that page.
    #[inline(always)]
    pub fn first_page_word(&self, number: usize) -> &AtomicU32 {
        assert!(number < PAGE_SIZE / 4, "access beyond the first page");
        // SAFETY: within the first page, as asserted.
        unsafe { self.atomic(number) }
    }

    /// # Safety
    /// The word lies within the pages.
    #[inline(always)]
    unsafe fn atomic(&self, number: usize) -> &AtomicU32 {
        // SAFETY: within the pages, by the contract, which are alive as long as `self`, and aligned; whoever else writes them does so from
        // user mode or by a copy, both of which an atomic tolerates on RISC-V.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().cast::<u32>().add(number)) }
    }

    /// Copies the group of `N` words of eight bytes with this number, each read once: what the pages say may change meanwhile.
    ///
    /// # Panics
    /// If it is beyond the pages.
    #[inline(always)]
    pub fn read<const N: usize>(&self, number: usize) -> [u64; N] {
        assert!(number < self.count(8 * N), "access beyond the pages");
        // SAFETY: within the pages, as asserted.
        let from = unsafe { self.start.as_ptr().cast::<u64>().add(number * N) };
        // SAFETY: aligned, and as above; volatile, as whoever else has the page may write it.
        core::array::from_fn(|index| unsafe { from.add(index).read_volatile() })
    }

    /// Stores the group of `N` words of eight bytes with this number.
    ///
    /// # Panics
    /// If it is beyond the pages.
    #[inline(always)]
    pub fn write<const N: usize>(&self, number: usize, words: [u64; N]) {
        assert!(number < self.count(8 * N), "access beyond the pages");
        // SAFETY: within the pages, as asserted.
        let to = unsafe { self.start.as_ptr().cast::<u64>().add(number * N) };
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: aligned, and as above; no Rust reference to the pages' bytes exists.
            unsafe { to.add(index).write_volatile(word) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;

    #[test]
    fn pages_are_one_piece_and_each_can_be_shared() {
        let stretch = Stretch::zeroed(3).expect("memory");
        assert_eq!(stretch.frames().len(), 3);
        let last = stretch.count(16) - 1;
        assert_eq!(stretch.read::<2>(last), [0; 2]);
        stretch.write(last, [1, u64::from(7u32) << 32]);
        assert_eq!(stretch.word(4 * last + 3).load(Relaxed), 7);
        let frame = stretch.frames()[2].clone();
        drop(stretch);
        assert_eq!((frame.word(PAGE_SIZE - 4).load(Relaxed), frame.shares()), (7, 1));
    }

    #[test]
    fn what_is_not_needed_of_a_run_goes_back() {
        // Tests run beside each other: that many pages are not taken by others meanwhile.
        let before = crate::frame::stats().free;
        let stretch = Stretch::zeroed(513).expect("memory");
        assert!(before.saturating_sub(crate::frame::stats().free) < 800);
        drop(stretch);
        assert!(before.saturating_sub(crate::frame::stats().free) < 200);
    }

    #[test]
    #[should_panic(expected = "beyond the pages")]
    fn nothing_beyond_them_is_reached() {
        let stretch = Stretch::zeroed(1).expect("memory");
        let _ = stretch.read::<8>(PAGE_SIZE / 64);
    }

    #[test]
    #[should_panic(expected = "beyond the first page")]
    fn nothing_beyond_the_first_page_is_reached() {
        let stretch = Stretch::zeroed(2).expect("memory");
        let _ = stretch.first_page_word(PAGE_SIZE / 4);
    }
}
