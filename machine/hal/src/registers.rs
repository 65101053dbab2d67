//! Registers of a device that a program may have, or a driver of the kernel (note 0011).

use crate::{PAGE_SIZE, space::DevicePage};

/// Whole pages of registers.
#[derive(Debug, PartialEq, Eq)]
pub struct Registers {
    physical: usize,
    pages: usize,
}

impl Registers {
    /// The pages at a physical address that hold so many bytes of registers. `None` if they do not begin with a page.
    ///
    /// # Safety
    ///
    /// No other device has registers in these pages, there is no memory, and the kernel relies on none of them: what anybody stores there is the device's business.
    pub const unsafe fn new(physical: usize, bytes: usize) -> Option<Registers> {
        if !physical.is_multiple_of(PAGE_SIZE) {
            return None;
        }
        Some(Registers { physical, pages: bytes.div_ceil(PAGE_SIZE) })
    }

    /// Where the kernel reaches them, for ever; `None` if boot has not mapped them.
    #[cfg(target_os = "none")]
    pub fn mapped(&self) -> Option<core::ptr::NonNull<u8>> {
        crate::boot::registers(platform::Range::new(self.physical as u64, (self.pages * PAGE_SIZE) as u64)?)
    }

    /// How many pages.
    pub const fn pages(&self) -> usize {
        self.pages
    }

    /// One of them.
    pub const fn page(&self, index: usize) -> Option<DevicePage> {
        if index >= self.pages {
            return None;
        }
        Some(DevicePage { physical: self.physical + index * PAGE_SIZE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_pages_as_the_bytes_take() {
        // SAFETY: nobody is given a page.
        let make = |physical, bytes| unsafe { Registers::new(physical, bytes) };
        let registers = make(0x4000_0000, PAGE_SIZE + 8).expect("a page begins there");
        assert_eq!(registers.pages(), 2);
        assert_eq!(registers.page(1), Some(DevicePage { physical: 0x4000_0000 + PAGE_SIZE }));
        assert_eq!((registers.page(2), make(0x4000_0008, 8)), (None, None));
    }
}
