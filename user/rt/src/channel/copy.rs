//! Bytes to and from memory that another party may write, or look at, at any time: each is moved once, by words where it can be.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use zerocopy::IntoBytes;

/// Lengths of the pieces of so many bytes at an address that are before the first whole word, and whole words.
fn pieces(at: *const u8, len: usize) -> (usize, usize) {
    let before = len.min(at.align_offset(8));
    (before, (len - before) / 8 * 8)
}

/// Words by way of this side's memory where its bytes are not aligned: what moves bytes there does so by words all the same.
const BLOCK: usize = 8;

/// Calls `one` for each word, several in a row.
#[inline(always)]
fn each(words: usize, one: impl Fn(usize)) {
    const ROW: usize = 8;
    let rows = words / ROW * ROW;
    for row in (0..rows).step_by(ROW) {
        (row..row + ROW).for_each(&one);
    }
    (rows..words).for_each(one);
}

/// # Safety
/// As many words at `to` are within the shared memory, as many at `from` this side's; both are aligned.
#[inline(always)]
unsafe fn store(from: *const u64, to: *mut u64, words: usize) {
    // SAFETY: as asked for. Whoever looks sees no byte but these; relaxed: in no order.
    each(words, |at| unsafe { AtomicU64::from_ptr(to.add(at)).store(from.add(at).read(), Relaxed) });
}

/// # Safety
/// As many words at `from` are within the shared memory, as many at `to` this side's; both are aligned.
#[inline(always)]
unsafe fn load(from: *const u64, to: *mut u64, words: usize) {
    // SAFETY: as asked for. The other party may be writing; relaxed: in no order.
    each(words, |at| unsafe { to.add(at).write(AtomicU64::from_ptr(from.add(at).cast_mut()).load(Relaxed)) });
}

/// # Safety
/// As [`store`], but for the alignment of what is this side's: whole words.
#[inline(never)]
unsafe fn store_unaligned(bytes: &[u8], to: *mut u8) {
    for (index, some) in bytes.chunks(8 * BLOCK).enumerate() {
        let mut block = [0_u64; BLOCK];
        block.as_mut_bytes()[..some.len()].copy_from_slice(some);
        // SAFETY: as asked for.
        unsafe { store(block.as_ptr(), to.add(index * 8 * BLOCK).cast(), some.len() / 8) };
    }
}

/// # Safety
/// As [`load`], but for the alignment of what is this side's: whole words.
#[inline(never)]
unsafe fn load_unaligned(from: *const u8, bytes: &mut [u8]) {
    for (index, some) in bytes.chunks_mut(8 * BLOCK).enumerate() {
        let mut block = [0_u64; BLOCK];
        // SAFETY: as asked for.
        unsafe { load(from.add(index * 8 * BLOCK).cast(), block.as_mut_ptr(), some.len() / 8) };
        some.copy_from_slice(&block.as_bytes()[..some.len()]);
    }
}

/// # Safety
/// As many bytes at `to` are within the shared memory.
pub(super) unsafe fn copy_in(to: *mut u8, bytes: &[u8]) {
    let (before, words) = pieces(to, bytes.len());
    // SAFETY: as `store`.
    let one = |at: usize| unsafe { AtomicU8::from_ptr(to.add(at)).store(bytes[at], Relaxed) };
    (0..before).for_each(one);
    let middle = &bytes[before..before + words];
    let from = middle.as_ptr().cast::<u64>();
    if from.is_aligned() {
        // SAFETY: within both, and aligned behind the bytes before.
        unsafe { store(from, to.add(before).cast(), words / 8) };
    } else {
        // SAFETY: as above.
        unsafe { store_unaligned(middle, to.add(before)) };
    }
    (before + words..bytes.len()).for_each(one);
}

/// # Safety
/// As many bytes at `from` are within the shared memory.
pub(super) unsafe fn copy_out(from: *const u8, bytes: &mut [u8]) {
    let (before, words) = pieces(from, bytes.len());
    // SAFETY: as `load`.
    let one = |at: usize| unsafe { AtomicU8::from_ptr(from.add(at).cast_mut()).load(Relaxed) };
    let (first, rest) = bytes.split_at_mut(before);
    let (middle, last) = rest.split_at_mut(words);
    first.iter_mut().enumerate().for_each(|(at, byte)| *byte = one(at));
    let to = middle.as_mut_ptr().cast::<u64>();
    if to.is_aligned() {
        // SAFETY: within both, and aligned behind the bytes before.
        unsafe { load(from.add(before).cast(), to, words / 8) };
    } else {
        // SAFETY: as above.
        unsafe { load_unaligned(from.add(before), middle) };
    }
    last.iter_mut().enumerate().for_each(|(at, byte)| *byte = one(before + words + at));
}
