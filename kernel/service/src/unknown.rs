//! Calls that this kernel does not have: answered with `ENOSYS` and counted by number. So are operations of rings, answered with `EINVAL`.

use alloc::{format, string::String};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Numbers counted one by one; all others share a counter.
const NUMBERS: usize = 512;

/// The counters. They order nothing, so all atomics are relaxed.
pub(crate) struct Unknown {
    counts: [AtomicU32; NUMBERS],
    others: AtomicU32,
    operations: [AtomicU32; 256],
}

impl Unknown {
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; NUMBERS],
            others: AtomicU32::new(0),
            operations: [const { AtomicU32::new(0) }; 256],
        }
    }

    /// Notes one call.
    pub fn count(&self, number: usize) {
        self.counts.get(number).unwrap_or(&self.others).fetch_add(1, Relaxed);
    }

    /// Notes one entry of a ring.
    pub fn count_operation(&self, opcode: u8) {
        self.operations[usize::from(opcode)].fetch_add(1, Relaxed);
    }

    /// A line for each number that was called: number, name, times; behind these, with `ring` before it, for each operation.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (number, count) in self.counts.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let name = abi::nr::name(number).unwrap_or("?");
                text += &format!("{number} {name} {count}\n");
            }
        }
        let others = self.others.load(Relaxed);
        if others > 0 {
            text += &format!("other ? {others}\n");
        }
        for (opcode, count) in self.operations.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                text += &format!("ring:{opcode} ? {count}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_number() {
        let unknown = Unknown::new();
        for number in [0, 0, 511, 512, usize::MAX] {
            unknown.count(number);
        }
        for opcode in [255, 60, 255] {
            unknown.count_operation(opcode);
        }
        assert_eq!(unknown.report(), "0 io_setup 2\n511 ? 1\nother ? 2\nring:60 ? 1\nring:255 ? 2\n");
    }
}
