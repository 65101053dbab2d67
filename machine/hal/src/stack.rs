//! Kernel stacks with a guard below each.
//!
//! Slots of address space at a fixed place: slot 0 is the emergency stack, then [`LEVELS`] for each hart
//! (the stack it runs on and those of preempted coroutines, all mapped at boot), then slots for whoever
//! asks ([`Stack`]).

use crate::PAGE_SIZE;

/// Stacks of a hart: as many as there are priorities, since only a higher one preempts (D2).
pub const LEVELS: usize = 32;
/// Bytes of a hart's stack.
pub const HART_STACK: usize = 32 << 10;
/// Largest stack that can be asked for, in bytes.
pub const MAX_SIZE: usize = 128 << 10;

/// A stack of its own for a synchronous library.
pub struct Stack {
    bottom: usize,
    top: usize,
    #[cfg(target_os = "none")]
    slot: usize,
}

impl Stack {
    /// Lowest usable address.
    pub fn bottom(&self) -> usize {
        self.bottom
    }

    /// Address behind the stack, aligned to 16 bytes.
    pub fn top(&self) -> usize {
        self.top
    }
}

#[cfg(not(target_os = "none"))]
mod host {
    use super::*;

    const GUARD: u8 = 0xa5;

    impl Stack {
        /// A stack of at least `size` bytes; the host puts a pattern, not a guard page, below it.
        pub fn new(size: usize) -> Option<Self> {
            // Host frames are larger than the kernel's: leave room for the test harness.
            let size = size.max(1 << 20);
            let memory = alloc::vec![GUARD; size + 2 * PAGE_SIZE].leak().as_mut_ptr() as usize;
            let bottom = memory.next_multiple_of(PAGE_SIZE);
            Some(Self { bottom, top: bottom + size })
        }
    }
}

#[cfg(target_os = "none")]
mod machine {
    use super::*;
    use crate::frame::Frame;
    use crate::kernel_table::{map_stack_page, unmap_stack_page};
    use crate::sync::{SpinLock, rank};
    use riscv::boot::STACKS;
    use riscv::resident::STACK_SLOT;

    /// Slots beyond those of the harts.
    const SLOTS: usize = 64;
    static USED: SpinLock<u64> = SpinLock::new(rank::KERNEL_TABLE - 1, 0);
    const FIRST: usize = 1 + crate::hart::MAX * LEVELS;

    fn top_of(slot: usize) -> usize {
        STACKS + (slot + 1) * STACK_SLOT
    }

    /// End of the stack of `level` on a hart.
    pub(crate) fn hart_stack_top(hart: usize, level: usize) -> usize {
        top_of(1 + hart * LEVELS + level)
    }

    fn map(slot: usize, size: usize) -> Option<()> {
        for page in 1..=size.div_ceil(PAGE_SIZE) {
            map_stack_page(top_of(slot) - page * PAGE_SIZE, Frame::zeroed_for_kernel()?)?;
        }
        Some(())
    }

    /// Maps the emergency stack and all stacks of `harts` harts. Once, at boot.
    pub(crate) fn initialise(harts: usize) -> Option<()> {
        map(0, 16 << 10)?;
        for slot in 0..harts * LEVELS {
            map(1 + slot, HART_STACK)?;
        }
        Some(())
    }

    impl Stack {
        /// A stack of `size` bytes (at most [`MAX_SIZE`]), or `None` without memory or address space.
        pub fn new(size: usize) -> Option<Self> {
            let size = size.next_multiple_of(PAGE_SIZE);
            if size > MAX_SIZE {
                return None;
            }
            let index = {
                let mut used = USED.lock();
                let index = used.trailing_ones() as usize;
                if index >= SLOTS {
                    return None;
                }
                *used |= 1 << index;
                index
            };
            let top = top_of(FIRST + index);
            let stack = Self { bottom: top - size, top, slot: index };
            // On failure the drop of `stack` takes back what was mapped.
            map(FIRST + index, size).map(|()| stack)
        }
    }

    impl Drop for Stack {
        fn drop(&mut self) {
            for address in (self.bottom..self.top).step_by(PAGE_SIZE) {
                drop(unmap_stack_page(address));
            }
            *USED.lock() &= !(1 << self.slot);
        }
    }
}

#[cfg(target_os = "none")]
pub(crate) use machine::{hart_stack_top, initialise};
