//! A block of device registers: bounds-checked, volatile, and ordered against memory.
//!
//! The compiler keeps volatile accesses in order among themselves; the processor is told by fences: a register
//! write comes after all memory writes before it (a descriptor is complete before the doorbell rings), and
//! memory reads after a register read do not overtake it (data is read after the status that announced it).

use core::ptr::NonNull;

/// A block of memory-mapped registers. Copies are further views of the same block.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the block is device memory (contract of `new`), and every access to it is volatile and of one
// register, so harts cannot tear each other's accesses. What several accesses mean together is a matter of
// the driver, which documents who may call what.
unsafe impl Send for Mmio {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// The registers at a virtual address.
    ///
    /// # Safety
    ///
    /// The `size` bytes at `base` are mapped for as long as this value or a copy of it is used, they are the
    /// registers of a device (on the host: memory reached through raw pointers only), and `base` is
    /// aligned to 4.
    pub const unsafe fn new(base: NonNull<u8>, size: usize) -> Mmio {
        Mmio { base, size }
    }

    /// Bytes in the block.
    pub const fn size(self) -> usize {
        self.size
    }

    /// Reads the 32-bit register at `offset`.
    ///
    /// # Panics
    ///
    /// If the register is not inside the block, or not aligned. Drivers compute offsets from numbers that
    /// they have checked.
    #[inline]
    pub fn read(self, offset: usize) -> u32 {
        let register = self.register(offset);
        // SAFETY: inside the block and aligned (`register`), and mapped by the contract of `new`.
        let value = unsafe { register.read_volatile() };
        after_read();
        value
    }

    /// Writes the 32-bit register at `offset`.
    ///
    /// # Panics
    ///
    /// As [`Mmio::read`].
    #[inline]
    pub fn write(self, offset: usize, value: u32) {
        let register = self.register(offset);
        before_write();
        // SAFETY: inside the block and aligned (`register`), and mapped by the contract of `new`.
        unsafe { register.write_volatile(value) };
    }

    #[inline]
    fn register(self, offset: usize) -> NonNull<u32> {
        let inside = self.size.checked_sub(size_of::<u32>()).is_some_and(|last| offset <= last);
        assert!(inside && offset.is_multiple_of(4), "register {offset:#x} outside of the device");
        // SAFETY: `offset` is inside the block, which is one mapping (contract of `new`).
        unsafe { self.base.byte_add(offset).cast() }
    }
}

/// Orders memory writes before the register write that follows.
#[inline]
fn before_write() {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: a fence changes no state. No `nomem`: the compiler must not move accesses across it either.
    unsafe {
        core::arch::asm!("fence w, o", options(nostack))
    };
    #[cfg(not(target_arch = "riscv64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
}

/// Orders the register read just done before memory accesses that follow.
#[inline]
fn after_read() {
    #[cfg(target_arch = "riscv64")]
    // SAFETY: as in `before_write`.
    unsafe {
        core::arch::asm!("fence i, rw", options(nostack))
    };
    #[cfg(not(target_arch = "riscv64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
}

/// Registers that are plain memory, for the tests of the drivers.
#[cfg(test)]
pub(crate) mod fake {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::vec;

    /// A block of `size` bytes of zeroes that is never freed.
    pub(crate) fn block(size: usize) -> Mmio {
        let memory = Box::leak(vec![0_u32; size / 4].into_boxed_slice());
        let base = NonNull::from(memory).cast();
        // SAFETY: leaked, so valid for ever; the reference to it is gone, so only raw accesses remain.
        unsafe { Mmio::new(base, size) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::fake::block;

    #[test]
    fn reads_what_was_written() {
        let registers = block(0x20);
        registers.write(0x1c, 7);
        assert_eq!((registers.read(0x1c), registers.read(0x18)), (7, 0));
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn an_access_behind_the_block_is_refused() {
        block(0x20).read(0x20);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn an_unaligned_access_is_refused() {
        block(0x20).read(2);
    }
}
