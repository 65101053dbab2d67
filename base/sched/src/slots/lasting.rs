//! How long the poll has lasted that a slot's thread is in, as far as its count tells whoever looks now and then.

/// What was seen at the last look that found something new.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    /// Whose count it was: threads begin to count at the same number, so the count alone does not tell one poll from another's.
    place: u8,
    count: u32,
    since: u64,
}

impl Default for Lasting {
    fn default() -> Self {
        Self { place: u8::MAX, count: 0, since: 0 }
    }
}

impl Lasting {
    /// The thread in this place has the slot, and this count. For how long, as far as it was seen; nothing if it was not before.
    pub fn look(&mut self, place: u8, count: u32, now: u64) -> u64 {
        if (self.place, self.count) != (place, count) {
            *self = Self { place, count, since: now };
        }
        now.saturating_sub(self.since)
    }
}
