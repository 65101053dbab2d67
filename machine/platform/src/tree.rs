//! Walking the tree: property helpers and the iterator over the nodes that can be devices.

use crate::memory::Range;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

/// Most ranges of one `reg` property that are looked at.
const MAX_REG: usize = 16;

/// The nodes below the root, and below identity-mapped buses under it. Cheap to copy; one use is one pass.
#[derive(Clone, Copy)]
pub(crate) struct Nodes<'a> {
    fdt: &'a Fdt<'a>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(fdt: &'a Fdt<'a>) -> Self {
        Nodes { fdt }
    }

    /// All nodes, top level first.
    pub(crate) fn iter(self) -> impl Iterator<Item = FdtNode<'a>> {
        let below_buses = self.fdt.root().children().filter(is_identity_bus).flat_map(|bus| bus.children());
        self.fdt.root().children().chain(below_buses)
    }

    /// The enabled nodes with one of the given `compatible` strings.
    pub(crate) fn compatible(self, names: &'static [&'static str]) -> impl Iterator<Item = FdtNode<'a>> {
        self.iter().filter(move |node| is_enabled(node) && is_compatible(node, names))
    }
}

fn is_identity_bus(node: &FdtNode<'_>) -> bool {
    is_compatible(node, &["simple-bus"]) && node.property("ranges").is_some_and(|p| p.value().is_empty())
}

/// True if the node's `compatible` list has one of `names`.
pub(crate) fn is_compatible(node: &FdtNode<'_>, names: &[&str]) -> bool {
    node.compatible().is_some_and(|mut list| list.any(|entry| names.contains(&entry)))
}

/// True unless `status` says otherwise.
pub(crate) fn is_enabled(node: &FdtNode<'_>) -> bool {
    node.property("status").is_none_or(|p| matches!(text(p.value()), Some("okay" | "ok")))
}

/// The bytes of a property.
pub(crate) fn bytes<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.properties().find(|p| p.name() == name)?.value_as::<&'a [u8]>().ok()
}

/// A property of one cell.
pub(crate) fn cell(node: &FdtNode<'_>, name: &str) -> Option<u32> {
    Some(u32::from_be_bytes(bytes(node, name)?.try_into().ok()?))
}

/// A property of one or two cells.
pub(crate) fn number(node: &FdtNode<'_>, name: &str) -> Option<u64> {
    let value = bytes(node, name)?;
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// The cells of a property; a trailing part of a cell is left out.
pub(crate) fn cells<'a>(node: &FdtNode<'a>, name: &str) -> impl Iterator<Item = u32> + use<'a> {
    let chunks = bytes(node, name).unwrap_or_default().chunks_exact(4);
    chunks.map(|chunk| chunk.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
}

/// A zero-terminated string.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok()?.split('\0').next()
}

/// The entries of `reg` that are neither empty nor wrap around.
pub(crate) fn regs<'a>(node: &FdtNode<'a>) -> impl Iterator<Item = Range> + use<'a> {
    let entries = node.reg().ok().flatten().into_iter().flatten();
    entries.take(MAX_REG).filter_map(|reg| Range::new(reg.address::<u64>().ok()?, reg.size::<u64>().ok()?))
}

/// A device's registers: the first usable entry of `reg`. They begin on a word boundary, which drivers rely on.
pub(crate) fn reg(node: &FdtNode<'_>) -> Option<Range> {
    regs(node).next().filter(|range| range.start.is_multiple_of(4))
}

/// The `reg` of a node whose addresses are numbers without a size (harts).
pub(crate) fn reg_id(node: &FdtNode<'_>) -> Option<usize> {
    usize::try_from(number(node, "reg")?).ok()
}
