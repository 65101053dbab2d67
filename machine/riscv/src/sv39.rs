//! Sv39 page-table entries and address arithmetic (privileged specification, "Sv39").
//!
//! The G-stage format Sv39x4 differs only in its 16-KiB root, whose first quarter covers every address
//! that a process can have; below it the tables are the same, so one walker serves all worlds.

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// Entries in a table.
pub const ENTRIES: usize = 512;
/// Levels of a walk; level 2 is the root.
pub const LEVELS: usize = 3;
/// `satp.MODE` and `hgatp.MODE` for Sv39 and Sv39x4.
pub const MODE: usize = 8 << 60;

/// Bits of an entry.
pub mod bits {
    /// The entry is valid.
    pub const V: u64 = 1 << 0;
    /// Readable.
    pub const R: u64 = 1 << 1;
    /// Writable.
    pub const W: u64 = 1 << 2;
    /// Executable.
    pub const X: u64 = 1 << 3;
    /// Accessible from user mode (and required in every G-stage leaf).
    pub const U: u64 = 1 << 4;
    /// Present in every address space.
    pub const G: u64 = 1 << 5;
    /// Accessed. Always set in leaves: hardware need not update it (Svade).
    pub const A: u64 = 1 << 6;
    /// Dirty. Set in writable leaves for the same reason.
    pub const D: u64 = 1 << 7;
    /// Software's (RSW): a leaf that owns no page of memory, but shows a device's.
    pub const DEVICE: u64 = 1 << 8;
}

/// A page-table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl Entry {
    /// Not valid.
    pub const EMPTY: Self = Self(0);

    /// An entry that points to the next table.
    pub const fn table(physical: usize) -> Self {
        Self((physical as u64 >> 12 << 10) | bits::V)
    }

    /// A leaf with the given permission bits; A, and D if it is writable, are set.
    pub const fn leaf(physical: usize, permissions: u64) -> Self {
        let dirty = if permissions & bits::W != 0 { bits::D } else { 0 };
        Self((physical as u64 >> 12 << 10) | permissions | bits::V | bits::A | dirty)
    }

    /// Whether the entry is valid.
    pub const fn valid(self) -> bool {
        self.0 & bits::V != 0
    }

    /// Whether the entry is a leaf.
    pub const fn is_leaf(self) -> bool {
        self.0 & (bits::R | bits::W | bits::X) != 0
    }

    /// Whether the entry is a leaf that shows a device's page ([`bits::DEVICE`]).
    pub const fn is_device(self) -> bool {
        self.0 & bits::DEVICE != 0
    }

    /// The physical address the entry points to.
    pub const fn physical(self) -> usize {
        ((self.0 >> 10 & 0xfff_ffff_ffff) << 12) as usize
    }

    /// The R, W and X bits.
    pub const fn permissions(self) -> u64 {
        self.0 & (bits::R | bits::W | bits::X)
    }
}

/// Index into the table of `level` for a virtual address.
pub const fn index(address: usize, level: usize) -> usize {
    address >> (12 + 9 * level) & (ENTRIES - 1)
}

/// Bytes that one entry of `level` covers.
pub const fn span(level: usize) -> usize {
    PAGE_SIZE << (9 * level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_returns_what_it_was_made_of() {
        let entry = Entry::leaf(0x8765_4000, bits::R | bits::W | bits::U);
        assert_eq!(entry.physical(), 0x8765_4000);
        assert_eq!(entry.permissions(), bits::R | bits::W);
        assert!(entry.valid() && entry.is_leaf() && entry.0 & bits::D != 0);
        assert!(!Entry::table(0x8000_1000).is_leaf());
    }

    #[test]
    fn indices_cut_the_address_in_nines() {
        let address = (3 << 30) | (5 << 21) | (7 << 12);
        assert_eq!((index(address, 2), index(address, 1), index(address, 0)), (3, 5, 7));
        assert_eq!(span(1), 2 << 20);
    }
}
