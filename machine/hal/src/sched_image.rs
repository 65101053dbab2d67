//! The image of the scheduler that every process shares: whole pages of the kernel's read-only data (note 0003).

use crate::PAGE_SIZE;

/// Puts what it holds at the start of a page.
#[repr(C, align(4096))]
struct OnPages<T: ?Sized>(T);

/// Nothing but the image may lie on its pages, for processes see them whole; its size is a multiple of the alignment.
#[used]
static IMAGE: &OnPages<[u8]> = &OnPages(*include_bytes!(env!("ASYNCOS_SCHED_IMAGE")));

const _: () = assert!(align_of::<OnPages<u8>>() == PAGE_SIZE);

/// The image, in whole pages at page boundaries; empty in a build without it.
#[must_use]
pub fn pages() -> &'static [u8] {
    &IMAGE.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_consists_of_whole_pages() {
        assert!(pages().as_ptr().addr().is_multiple_of(PAGE_SIZE));
        assert!(pages().len().is_multiple_of(PAGE_SIZE));
    }
}
