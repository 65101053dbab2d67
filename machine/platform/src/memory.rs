//! Memory, reserved memory, and what the boot loader left in `/chosen`.

use crate::tree::{bytes, number, regs, text};
use crate::{Error, MAX_BOOTARGS, MAX_MEMORY, MAX_RESERVED};
use arrayvec::{ArrayString, ArrayVec};
use dtoolkit::Node;
use dtoolkit::fdt::Fdt;

/// A range of physical addresses: not empty, and not wrapping around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Range {
    /// The range, unless it is empty or wraps around.
    pub fn new(start: u64, size: u64) -> Option<Range> {
        (size > 0 && start.checked_add(size).is_some()).then_some(Range { start, size })
    }

    /// The first address behind the range.
    pub fn end(self) -> u64 {
        self.start + self.size
    }
}

/// What `/chosen` says.
pub(crate) struct Chosen {
    pub(crate) bootargs: ArrayString<MAX_BOOTARGS>,
    pub(crate) initrd: Option<Range>,
    pub(crate) seed: Option<[u8; 32]>,
}

pub(crate) fn chosen(fdt: &Fdt<'_>) -> Chosen {
    let mut out = Chosen { bootargs: ArrayString::new(), initrd: None, seed: None };
    let Some(node) = fdt.root().child("chosen") else {
        return out;
    };
    if let Some(args) = bytes(&node, "bootargs").and_then(text) {
        let end = args.floor_char_boundary(MAX_BOOTARGS.min(args.len()));
        out.bootargs.push_str(&args[..end]);
    }
    if let (Some(start), Some(end)) = (number(&node, "linux,initrd-start"), number(&node, "linux,initrd-end")) {
        out.initrd = end.checked_sub(start).and_then(|size| Range::new(start, size));
    }
    out.seed = bytes(&node, "rng-seed").and_then(|seed| seed.first_chunk::<32>().copied());
    out
}

/// The memory ranges, sorted.
pub(crate) fn ranges(fdt: &Fdt<'_>, left_out: &mut usize) -> Result<ArrayVec<Range, MAX_MEMORY>, Error> {
    let mut out = ArrayVec::new();
    for node in fdt.root().children() {
        if bytes(&node, "device_type").and_then(text) == Some("memory") {
            collect(&mut out, regs(&node), left_out);
        }
    }
    if out.is_empty() {
        return Err(Error::Missing("memory"));
    }
    out.sort_unstable();
    if out.windows(2).any(|pair| pair[0].end() > pair[1].start) {
        return Err(Error::Malformed("memory: ranges overlap"));
    }
    Ok(out)
}

/// The header's reservations and those below `/reserved-memory`. Memory that is reserved but has no
/// fixed place yet (`size` without `reg`) is nobody's until the kernel picks it, and not listed.
pub(crate) fn reserved(fdt: &Fdt<'_>, left_out: &mut usize) -> ArrayVec<Range, MAX_RESERVED> {
    let mut out = ArrayVec::new();
    collect(&mut out, fdt.memory_reservations().filter_map(|r| Range::new(r.address(), r.size())), left_out);
    if let Some(parent) = fdt.root().child("reserved-memory") {
        for node in parent.children() {
            collect(&mut out, regs(&node), left_out);
        }
    }
    out
}

fn collect<const N: usize>(out: &mut ArrayVec<Range, N>, from: impl Iterator<Item = Range>, left_out: &mut usize) {
    for range in from {
        *left_out += usize::from(out.try_push(range).is_err());
    }
}
