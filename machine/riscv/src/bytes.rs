//! Copying and filling memory in long steps: what dominates cached reads and the making of threads.
//!
//! `memcpy`, `memmove` and `memset` are what the compiler calls for whatever is not small. Those of its own library move a word
//! a turn and are weak symbols; the ones here move up to 32 and take their place in the kernel.
//!
//! All accesses are volatile: of a loop that copies or fills the compiler makes a call to these very functions. And no step
//! asks for more alignment than it has: an access across words may trap to the firmware, byte by byte.

use core::mem::MaybeUninit;

/// Copied memory may have padding in it.
type Byte = MaybeUninit<u8>;
/// What one load or store moves.
type Word = MaybeUninit<u64>;

/// Bytes of a word.
const WORD: usize = size_of::<Word>();

/// Words of the longest step. Beside the loads and stores each step costs three instructions.
const LONG: usize = 32;

/// Shorter than this, a copy is not worth the look at its alignment.
const SHORT: usize = 2 * WORD;

// `copy_shifted` joins words in this order.
const _: () = assert!(cfg!(target_endian = "little"));

/// The symbols, for the kernel only: the host has its own.
#[cfg(target_os = "none")]
mod symbols {
    /// # Safety
    /// As [`core::ptr::copy_nonoverlapping`].
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: the contract.
        unsafe { super::copy_forward(to, from, len) };
        to
    }

    /// # Safety
    /// As [`core::ptr::copy`].
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: the contract.
        unsafe { super::copy(to, from, len) };
        to
    }

    /// # Safety
    /// As [`core::ptr::write_bytes`].
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
        // SAFETY: the contract.
        unsafe { super::fill(to, byte as u8, len) };
        to
    }
}

/// Whether a word can be moved at once.
#[inline(always)]
fn is_aligned(at: *const u8) -> bool {
    at.addr().is_multiple_of(WORD)
}

/// Copies between ranges that may overlap.
///
/// # Safety
/// As [`core::ptr::copy`].
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the contract; `to` is below `from`, or behind the range, if the difference is none below `len`.
    unsafe {
        if to.addr().wrapping_sub(from.addr()) >= len {
            copy_forward(to, from, len);
        } else {
            copy_backward(to, from, len);
        }
    }
}

/// Copies from the first byte to the last, so `to` may be below `from` in an overlapping range.
///
/// # Safety
/// As [`core::ptr::copy`], and `to` does not lie within the range that is read, but at its start.
#[inline(always)]
unsafe fn copy_forward(to: *mut u8, from: *const u8, len: usize) {
    let mut done = 0;
    // SAFETY: the contract: what is done, and a part of what is left, make no more than `len`.
    unsafe {
        if len >= SHORT {
            done = to.addr().wrapping_neg() % WORD;
            copy_bytes(to, from, done);
            let (to, from, left) = (to.add(done), from.add(done), len - done);
            done += if is_aligned(from) {
                copy_words(to.cast(), from.cast(), left / WORD);
                left - left % WORD
            } else {
                copy_shifted(to.cast(), from, left)
            };
        }
        copy_bytes(to.add(done), from.add(done), len - done);
    }
}

/// # Safety
/// There is one to be read and room for one; both are aligned.
#[inline(always)]
unsafe fn move_one<T>(to: *mut T, from: *const T) {
    // SAFETY: the contract.
    unsafe { to.write_volatile(from.read_volatile()) };
}

/// # Safety
/// As [`copy_forward`].
#[inline(always)]
unsafe fn copy_bytes(to: *mut u8, from: *const u8, len: usize) {
    for at in 0..len {
        // SAFETY: the contract.
        unsafe { move_one::<Byte>(to.add(at).cast(), from.add(at).cast()) };
    }
}

/// # Safety
/// As [`copy_forward`], of words, which are aligned.
#[inline(always)]
unsafe fn copy_words(mut to: *mut Word, mut from: *const Word, words: usize) {
    // SAFETY: the contract: both ends go on by what was moved.
    unsafe {
        let end = to.add(words - words % LONG);
        while to != end {
            for at in (0..LONG).step_by(4) {
                copy_four(to.add(at), from.add(at));
            }
            (to, from) = (to.add(LONG), from.add(LONG));
        }
        let end = to.add(words % LONG - words % 4);
        while to != end {
            copy_four(to, from);
            (to, from) = (to.add(4), from.add(4));
        }
        let end = to.add(words % 4);
        while to != end {
            move_one(to, from);
            (to, from) = (to.add(1), from.add(1));
        }
    }
}

/// Loads before it stores: neither waits for the other, and the ranges may overlap.
///
/// # Safety
/// Four words can be read and written there; both are aligned.
#[inline(always)]
unsafe fn copy_four(to: *mut Word, from: *const Word) {
    // SAFETY: the contract.
    unsafe {
        let (a, b) = (from.read_volatile(), from.add(1).read_volatile());
        let (c, d) = (from.add(2).read_volatile(), from.add(3).read_volatile());
        to.write_volatile(a);
        to.add(1).write_volatile(b);
        to.add(2).write_volatile(c);
        to.add(3).write_volatile(d);
    }
}

/// Copies words from where none begin, each put together of the two it lies in; the bytes copied, of which at most 14 are
/// missing. Only words that are within the range are read.
///
/// # Safety
/// As [`copy_forward`]; `to` is aligned, `from` is not, and `len` is not below [`WORD`].
#[inline(always)]
unsafe fn copy_shifted(to: *mut u64, from: *const u8, len: usize) -> usize {
    let lead = from.addr().wrapping_neg() % WORD;
    let (low, high) = (8 * lead as u32, 64 - 8 * lead as u32);
    let words = (len - lead) / WORD;
    // SAFETY: the contract; the source's first whole word is behind the lead. What has no value gets some: volatile, it is
    // what the memory holds.
    unsafe {
        let mut carry = 0;
        for at in 0..lead {
            carry |= u64::from(from.add(at).read_volatile()) << (8 * at);
        }
        let source = from.add(lead).cast::<u64>();
        for at in 0..words {
            let word = source.add(at).read_volatile();
            to.add(at).write_volatile(carry | word << low);
            carry = word >> high;
        }
    }
    words * WORD
}

/// Copies from the last byte to the first, so `to` may be above `from` in an overlapping range.
///
/// # Safety
/// As [`core::ptr::copy`], and `to` is not below `from` in an overlapping range.
#[inline(always)]
unsafe fn copy_backward(to: *mut u8, from: *const u8, len: usize) {
    let mut left = len;
    // SAFETY: the contract: what is left is never more than `len`, and is lowered by what is moved.
    unsafe {
        // Both are aligned at the same places, or nowhere; that is rare, and what overlaps is short.
        if len >= SHORT && is_aligned(to.wrapping_sub(from.addr())) {
            while !is_aligned(to.add(left)) {
                left -= 1;
                move_one::<Byte>(to.add(left).cast(), from.add(left).cast());
            }
            while left >= 4 * WORD {
                left -= 4 * WORD;
                copy_four(to.add(left).cast(), from.add(left).cast());
            }
            while left >= WORD {
                left -= WORD;
                move_one::<Word>(to.add(left).cast(), from.add(left).cast());
            }
        }
        while left > 0 {
            left -= 1;
            move_one::<Byte>(to.add(left).cast(), from.add(left).cast());
        }
    }
}

/// # Safety
/// As [`core::ptr::write_bytes`].
#[inline(always)]
unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    let mut done = 0;
    // SAFETY: the contract: what is done, and a part of what is left, make no more than `len`.
    unsafe {
        if len >= SHORT {
            done = to.addr().wrapping_neg() % WORD;
            fill_bytes(to, byte, done);
            let words = (len - done) / WORD;
            fill_words(to.add(done).cast(), u64::from_ne_bytes([byte; WORD]), words);
            done += words * WORD;
        }
        fill_bytes(to.add(done), byte, len - done);
    }
}

/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn fill_bytes(to: *mut u8, byte: u8, len: usize) {
    for at in 0..len {
        // SAFETY: the contract.
        unsafe { to.add(at).write_volatile(byte) };
    }
}

/// # Safety
/// As [`fill`], of words, which are aligned.
#[inline(always)]
unsafe fn fill_words(mut to: *mut u64, word: u64, words: usize) {
    // SAFETY: the contract: `to` goes on by what was filled.
    unsafe {
        let end = to.add(words - words % LONG);
        while to != end {
            for at in 0..LONG {
                to.add(at).write_volatile(word);
            }
            to = to.add(LONG);
        }
        let end = to.add(words % LONG - words % 4);
        while to != end {
            for at in 0..4 {
                to.add(at).write_volatile(word);
            }
            to = to.add(4);
        }
        for at in 0..words % 4 {
            to.add(at).write_volatile(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than two turns of the longest step, with every remainder.
    const LONGEST: usize = 2 * 8 * LONG + 22;
    /// Aligned as a page is.
    #[repr(align(64))]
    struct Room([u8; 768]);

    fn pattern(seed: usize) -> Room {
        Room(core::array::from_fn(|at| (at * 31 + seed * 17 + at / 7) as u8))
    }

    #[test]
    fn copies_are_exact_at_every_alignment() {
        for (to, from) in (0..8).flat_map(|to| (0..8).map(move |from| (to, from))) {
            for len in 0..=LONGEST {
                let (source, mut real) = (pattern(1), pattern(2));
                let mut expected = real.0;
                expected[to..to + len].copy_from_slice(&source.0[from..from + len]);
                // SAFETY: both ranges are within the rooms, which are two.
                unsafe { copy_forward(real.0.as_mut_ptr().add(to), source.0.as_ptr().add(from), len) };
                assert_eq!(real.0, expected, "{len} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn overlapping_copies_are_as_if_through_a_third_place() {
        for (to, from) in (0..8).flat_map(|to| (0..80).flat_map(move |from| [(to, from), (from, to)])) {
            for len in 0..=LONGEST {
                let mut real = pattern(3);
                let mut expected = real.0;
                expected.copy_within(from..from + len, to);
                let room = real.0.as_mut_ptr();
                // SAFETY: both ranges are within the room.
                unsafe { copy(room.add(to), room.add(from), len) };
                assert_eq!(real.0, expected, "{len} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn fills_are_exact_at_every_alignment() {
        for (to, len) in (0..8).flat_map(|to| (0..=LONGEST).map(move |len| (to, len))) {
            let mut real = pattern(4);
            let mut expected = real.0;
            expected[to..to + len].fill(0xa5);
            // SAFETY: within the room.
            unsafe { fill(real.0.as_mut_ptr().add(to), 0xa5, len) };
            assert_eq!(real.0, expected, "{len} bytes at {to}");
        }
    }
}
