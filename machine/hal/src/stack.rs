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
    use crate::kernel_table::map_stack_page;
    use crate::sync::{SpinLock, rank};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use riscv::boot::STACKS;
    use riscv::resident::STACK_SLOT;

    /// Slots beyond those of the harts.
    const SLOTS: usize = 64;
    const FIRST: usize = 1 + crate::hart::MAX * LEVELS;

    /// Slots given out, and how many bytes of each are mapped.
    struct Slots {
        used: u64,
        mapped: [usize; SLOTS],
    }

    static POOL: SpinLock<Slots> = SpinLock::new(rank::KERNEL_TABLE - 1, Slots { used: 0, mapped: [0; SLOTS] });
    /// Raised whenever stack pages were mapped.
    static GENERATION: AtomicUsize = AtomicUsize::new(0);

    fn top_of(slot: usize) -> usize {
        STACKS + (slot + 1) * STACK_SLOT
    }

    /// End of the stack of `level` on a hart.
    pub(crate) fn hart_stack_top(hart: usize, level: usize) -> usize {
        top_of(1 + hart * LEVELS + level)
    }

    /// Maps a slot from `from` to `to` bytes below its end, with pages from `page`.
    fn map(slot: usize, from: usize, to: usize, page: fn() -> Option<Frame>) -> Option<()> {
        for offset in (from..to).step_by(PAGE_SIZE) {
            map_stack_page(top_of(slot) - offset - PAGE_SIZE, page()?)?;
        }
        // Release pairs with the Acquire in `synchronise`.
        GENERATION.fetch_add(1, Ordering::Release);
        Some(())
    }

    /// Makes this hart see all stacks that were mapped so far: a TLB may remember that a page was not there. Called
    /// before a stack is run on that another hart may have made.
    pub fn synchronise() {
        let local = crate::arch::local();
        let generation = GENERATION.load(Ordering::Acquire);
        if local.stacks_seen.load(Ordering::Relaxed) != generation {
            riscv::csr::flush_translations();
            local.stacks_seen.store(generation, Ordering::Relaxed);
        }
    }

    /// Maps the emergency stack and all stacks of `harts` harts. Once, at boot.
    pub(crate) fn initialise(harts: usize) -> Option<()> {
        map(0, 0, 16 << 10, Frame::zeroed_for_kernel)?;
        for slot in 0..harts * LEVELS {
            map(1 + slot, 0, HART_STACK, Frame::zeroed_for_kernel)?;
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
            let (index, mapped) = {
                let mut pool = POOL.lock();
                let index = pool.used.trailing_ones() as usize;
                if index >= SLOTS {
                    return None;
                }
                pool.used |= 1 << index;
                (index, pool.mapped[index])
            };
            let top = top_of(FIRST + index);
            let stack = Self { bottom: top - size, top, slot: index };
            if size > mapped {
                // On failure the slot goes back unmapped as it was; pages mapped so far are found mapped again.
                map(FIRST + index, mapped, size, Frame::zeroed_leaving_reserve)?;
                POOL.lock().mapped[index] = size;
            }
            Some(stack)
        }
    }

    impl Drop for Stack {
        /// The pages stay mapped for the next one: other harts may have them in their TLBs.
        fn drop(&mut self) {
            POOL.lock().used &= !(1 << self.slot);
        }
    }
}

#[cfg(target_os = "none")]
pub use machine::synchronise;
#[cfg(target_os = "none")]
pub(crate) use machine::{hart_stack_top, initialise};

/// Makes this hart see all stacks that were mapped so far; nothing to do on the host.
#[cfg(not(target_os = "none"))]
pub fn synchronise() {}
