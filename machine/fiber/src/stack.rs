//! The memory a fiber runs on: a heap allocation with a canary at its low end.
//!
//! Stacks grow down, so code that needs too much reaches the canary first. It is checked each time the
//! fiber gives control back, and a damaged one stops the machine: whatever lay below is damaged too.

use alloc::alloc::{Layout, alloc, dealloc};
use core::fmt;
use core::ptr::NonNull;
use corosensei::stack::{Stack, StackPointer};

/// The smallest stack that is handed out, in bytes.
pub const MIN_STACK_BYTES: usize = 8 * 1024;

const PAGE: usize = 4096;
/// The low words that nobody may write: a page's worth, so that one large frame does not leap over them
/// unnoticed.
const CANARY_WORDS: usize = PAGE / size_of::<u64>();
const CANARY: u64 = 0x5afe_57ac_c0de_cafe;

/// There is no memory for a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for a stack")
    }
}

impl core::error::Error for NoMemory {}

/// One stack, owned.
pub(crate) struct OwnedStack {
    low: NonNull<u64>,
    layout: Layout,
}

/// The low end of a stack that somebody else owns.
#[derive(Clone, Copy)]
pub(crate) struct Canary {
    low: NonNull<u64>,
}

impl OwnedStack {
    /// A stack with at least `bytes` usable, and the canary below them.
    pub(crate) fn new(bytes: usize) -> Result<OwnedStack, NoMemory> {
        let usable = bytes.max(MIN_STACK_BYTES).checked_next_multiple_of(PAGE).ok_or(NoMemory)?;
        let total = usable.checked_add(PAGE).ok_or(NoMemory)?;
        let layout = Layout::from_size_align(total, PAGE).map_err(|_| NoMemory)?;
        // SAFETY: `layout` is not of size zero: `total` is at least a page.
        let low = NonNull::new(unsafe { alloc(layout) }).ok_or(NoMemory)?.cast::<u64>();
        for index in 0..CANARY_WORDS {
            // SAFETY: the first page of the allocation has CANARY_WORDS words, and is aligned.
            unsafe { low.add(index).write(CANARY) };
        }
        Ok(OwnedStack { low, layout })
    }

    /// The part to look at while the coroutine library has the stack.
    pub(crate) fn canary(&self) -> Canary {
        Canary { low: self.low }
    }
}

impl Canary {
    /// Looks at the upper end of the canary, which is damaged first, and at its low end, which a leap over
    /// the upper end reaches.
    ///
    /// # Safety
    ///
    /// The [`OwnedStack`] that this came from still exists.
    ///
    /// # Panics
    ///
    /// If the code on this stack has used more than there is.
    pub(crate) unsafe fn check(self) {
        let intact = |index| {
            // SAFETY: `index` is below CANARY_WORDS; the words were written in `new`, and the caller keeps
            // the stack. Volatile, because they change behind the compiler's back if at all.
            unsafe { self.low.add(index).read_volatile() == CANARY }
        };
        let all = (CANARY_WORDS - 64..CANARY_WORDS).all(intact) && (0..16).all(intact);
        assert!(all, "a fiber has overrun its stack");
    }
}

impl Drop for OwnedStack {
    fn drop(&mut self) {
        // SAFETY: `low` came from `alloc` with this layout and is freed here only.
        unsafe { dealloc(self.low.as_ptr().cast(), self.layout) }
    }
}

// SAFETY: `base` is the end of an allocation that is at least MIN_STACK_BYTES + PAGE long, aligned to a page
// like its size, and lives as long as `self`. In place of a guard page the lowest page is the canary that
// `check` inspects after every switch back; an overrun is fatal there, before the fiber's results are used.
unsafe impl Stack for OwnedStack {
    fn base(&self) -> StackPointer {
        // The end of a non-null allocation is not zero.
        self.low.addr().saturating_add(self.layout.size())
    }

    fn limit(&self) -> StackPointer {
        self.low.addr()
    }
}
