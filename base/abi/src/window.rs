//! The window: the last pages of user space, the same in every process and every world, which the kernel maps and nobody
//! unmaps, replaces or makes writable (note 0003).
//!
//! ```text
//!   IMAGE    the scheduler, read and execute         IMAGE_PAGES at most, from the bottom
//!   STATUS   what the kernel says, read
//!   HINT     what the process says, read and write
//!   RETURN   where signal handlers return to, read and execute; the last page of user space
//! ```

/// Bytes of a page.
const PAGE: usize = 4096;
/// First address above user space.
const END: usize = 0x40_0000_0000 - PAGE;

/// How many pages the window has.
pub const PAGES: usize = 16;
/// Where the window begins.
pub const START: usize = END - PAGES * PAGE;

/// The image of the scheduler; it begins with its table of functions.
pub const IMAGE: usize = START;
/// The most pages that the image may have.
pub const IMAGE_PAGES: usize = 12;
/// What the kernel tells the process.
pub const STATUS: usize = END - 3 * PAGE;
/// What the process tells the kernel.
pub const HINT: usize = END - 2 * PAGE;
/// What signal handlers return to.
pub const RETURN: usize = END - PAGE;

/// The window costs no page table of its own beside the stack, and its parts do not overlap.
const _: () = {
    assert!(START >> 21 == (END - 1) >> 21);
    assert!(IMAGE + IMAGE_PAGES * PAGE <= STATUS);
};
