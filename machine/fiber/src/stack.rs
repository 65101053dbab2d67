//! The memory a fiber runs on: a kernel stack with a guard page below it.

use core::fmt;
use corosensei::stack::{Stack, StackPointer};

/// The smallest stack that is handed out, in bytes.
pub const MIN_STACK_BYTES: usize = 8 * 1024;

/// There is no memory, or no place, for a stack; or it would be larger than `hal::stack::MAX_SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for a stack")
    }
}

impl core::error::Error for NoMemory {}

/// One stack, owned, as the coroutine library wants it.
pub(crate) struct GuardedStack {
    base: StackPointer,
    limit: StackPointer,
    /// Keeps the memory.
    _stack: hal::stack::Stack,
}

impl GuardedStack {
    /// A stack with at least `bytes` usable.
    pub(crate) fn new(bytes: usize) -> Result<GuardedStack, NoMemory> {
        if bytes > hal::stack::MAX_SIZE {
            return Err(NoMemory);
        }
        let stack = hal::stack::Stack::new(bytes.max(MIN_STACK_BYTES)).ok_or(NoMemory)?;
        let base = StackPointer::new(stack.top()).ok_or(NoMemory)?;
        let limit = StackPointer::new(stack.bottom()).ok_or(NoMemory)?;
        Ok(GuardedStack { base, limit, _stack: stack })
    }
}

// SAFETY: `hal::stack::Stack` maps the pages from `limit` to `base` (at least MIN_STACK_BYTES, more than the
// library's minimum) for as long as it lives, which is as long as `self`, and leaves the page below unmapped.
// Both ends lie on page boundaries (`top` on a 16-byte boundary at least). On the host, where only tests run,
// a pattern stands in for the guard page.
unsafe impl Stack for GuardedStack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}
