//! Priorities: 0 is the highest, 31 the lowest, everywhere in the system.

/// How urgent a task is: 0 (highest) to 31 (lowest). Orders by number: `a < b` means that `a` is the
/// more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Priority(u8);

impl Priority {
    /// How many priorities there are.
    pub const COUNT: usize = 32;
    /// The most urgent, 0.
    pub const HIGHEST: Self = Self(0);
    /// What ordinary work runs at, 16.
    pub const NORMAL: Self = Self(16);
    /// The least urgent, 31.
    pub const LOWEST: Self = Self(31);

    /// The priority `number`; numbers above 31 mean 31.
    #[inline]
    #[must_use]
    pub const fn new(number: u8) -> Self {
        if number > 31 { Self::LOWEST } else { Self(number) }
    }

    /// The priority that a number from [`number`](Self::number) stands for.
    #[inline]
    pub(crate) const fn from_number(number: u8) -> Self {
        Self(number & 31)
    }

    /// The number, 0 to 31.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The index of the list for this priority; in range by construction.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        (self.0 & 31) as usize
    }

    /// The bit that stands for this priority in a bitmap of 32.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << (self.0 & 31)
    }

    /// The bits of all priorities that are more urgent than this one.
    #[inline]
    pub(crate) const fn bits_above(self) -> u32 {
        self.bit() - 1
    }

    /// The most urgent priority in a bitmap of 32.
    #[inline]
    pub(crate) const fn highest_in(bits: u32) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits.trailing_zeros() as u8)) }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}
