//! Which scheduler this process runs its tasks on: the image in the window, or what is linked into the program.

use abi::window;
use sched::table::{MAGIC, Table, VERSION};
use task::{ByTable, Direct, Linked};

/// The way to the scheduler. [`Shared`], once the kernel maps the window.
pub(crate) type Way = Direct;

/// The scheduler in the window.
pub(crate) type Shared = ByTable<Image>;

/// The image that the kernel maps into every process.
#[derive(Debug)]
pub(crate) struct Image;

// SAFETY: the kernel maps the image before the process begins, and nobody can unmap or change it; `check` has compared
// the version, which covers the functions and the structures.
unsafe impl Linked for Image {
    #[inline]
    fn table() -> &'static Table {
        // SAFETY: as above.
        unsafe { &*core::ptr::with_exposed_provenance::<Table>(window::IMAGE) }
    }
}

impl Image {
    /// Whether the image is what this program was built for; else the version that it has. To be called once, before
    /// anything else of it is.
    #[expect(dead_code, reason = "called from the start of the process once the kernel maps the window")]
    pub(crate) fn check() -> Result<(), u32> {
        let table = Self::table();
        if table.magic == MAGIC && table.version == VERSION { Ok(()) } else { Err(table.version) }
    }
}

/// Both ways can be built.
const _: fn() = || {
    fn is_a_way<S: task::Scheduler>() {}
    is_a_way::<Way>();
    is_a_way::<Shared>();
};
