//! The image of the scheduler that every process shares: whole pages of the kernel's read-only data (note 0003). No mapping
//! of them is writable, the direct map's included.

use crate::PAGE_SIZE;
use crate::frame::Frame;
use crate::space::KernelPage;
use alloc::vec::Vec;

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

/// Physical addresses of its pages.
#[cfg(target_os = "none")]
pub(crate) fn physical() -> impl Iterator<Item = usize> {
    let start = pages().as_ptr().addr() - riscv::boot::IMAGE_OFFSET;
    (start..start + pages().len()).step_by(PAGE_SIZE)
}

/// A share of each page, to be mapped.
#[must_use]
pub fn frames() -> Vec<Frame> {
    #[cfg(target_os = "none")]
    // SAFETY: boot kept these pages, when it built the kernel's table.
    return physical().map(|page| unsafe { Frame::of_image_page(page) }).collect();
    #[cfg(not(target_os = "none"))]
    Vec::new()
}

/// Where the kernel's own table maps pages of it, by a walk; for the test that proves that nobody can write them.
#[must_use]
pub fn kernel_mappings() -> Vec<KernelPage> {
    #[cfg(target_os = "none")]
    return crate::kernel_table::mapped()
        .into_iter()
        .filter(|there| physical().any(|page| (there.physical..there.physical + there.bytes).contains(&page)))
        .collect();
    #[cfg(not(target_os = "none"))]
    Vec::new()
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
