//! The `Range` header (RFC 9110, section 14): which bytes of a file are asked for.

use alloc::vec::Vec;

/// Bytes `first..=last` of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte, not before the first.
    pub last: u64,
}

impl ByteRange {
    /// Bytes in it.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: no header, one that is to be ignored, or one that asks for more than the file is worth.
    Whole,
    /// These ranges, each within the file, in the order of the header; at least one.
    Ranges(Vec<ByteRange>),
    /// Only bytes that the file does not have.
    Unsatisfiable,
}

/// More ranges than this in one request are answered with the whole file.
const MOST: usize = 16;

/// Applies the header's value to a file of `size` bytes.
#[must_use]
pub fn select(header: Option<&str>, size: u64) -> Selection {
    let Some(list) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Selection::Whole;
    };
    let mut ranges = Vec::new();
    for (count, spec) in list.split(',').map(str::trim).enumerate() {
        if count >= MOST {
            return Selection::Whole;
        }
        match one(spec, size) {
            Err(Malformed) => return Selection::Whole,
            Ok(Some(range)) => ranges.push(range),
            Ok(None) => {}
        }
    }
    if ranges.is_empty() {
        return Selection::Unsatisfiable;
    }
    let total = ranges.iter().fold(0u64, |sum, r| sum.saturating_add(r.len()));
    if ranges.len() > 1 && total >= size {
        return Selection::Whole;
    }
    Selection::Ranges(ranges)
}

struct Malformed;

fn number(text: &str) -> Result<u64, Malformed> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    // More digits than fit: a position behind any file.
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// One range; `None` if no byte of it exists.
fn one(spec: &str, size: u64) -> Result<Option<ByteRange>, Malformed> {
    let (first, last) = spec.split_once('-').ok_or(Malformed)?;
    if first.is_empty() {
        let suffix = number(last)?.min(size);
        return Ok((suffix > 0).then(|| ByteRange { first: size - suffix, last: size - 1 }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(Malformed);
    }
    Ok((first < size).then(|| ByteRange { first, last: last.min(size - 1) }))
}
