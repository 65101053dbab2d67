//! Adding nodes to a flattened device tree, as firmware does for what it brings along.

use arrayvec::ArrayVec;

/// A node to add.
pub struct NewNode<'a> {
    /// Name, with its unit address.
    pub name: &'a str,
    /// Names and values, in the tree's encoding.
    pub properties: &'a [(&'a str, &'a [u8])],
    /// Nodes below it.
    pub children: &'a [NewNode<'a>],
}

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;
/// The end of the root and of the structure.
const TAIL: usize = 8;

/// Offsets of the header's words.
const TOTAL: usize = 4;
const STRUCTURE_AT: usize = 8;
const STRINGS_AT: usize = 12;
const STRINGS_SIZE: usize = 32;
const STRUCTURE_SIZE: usize = 36;

/// What is added: the structure, and the names it refers to.
struct Added {
    structure: ArrayVec<u8, 1024>,
    names: ArrayVec<u8, 256>,
    /// Offset of the first added name.
    first_name: usize,
}

impl Added {
    fn node(&mut self, node: &NewNode<'_>) -> Option<()> {
        self.word(BEGIN_NODE)?;
        self.bytes(node.name.as_bytes())?;
        self.structure.try_push(0).ok()?;
        self.pad()?;
        for (name, value) in node.properties {
            self.word(PROPERTY)?;
            self.word(u32::try_from(value.len()).ok()?)?;
            self.word(u32::try_from(self.first_name + self.names.len()).ok()?)?;
            self.names.try_extend_from_slice(name.as_bytes()).ok()?;
            self.names.try_push(0).ok()?;
            self.bytes(value)?;
            self.pad()?;
        }
        for child in node.children {
            self.node(child)?;
        }
        self.word(END_NODE)
    }

    fn word(&mut self, word: u32) -> Option<()> {
        self.bytes(&word.to_be_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.structure.try_extend_from_slice(bytes).ok()
    }

    fn pad(&mut self) -> Option<()> {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.try_push(0).ok()?;
        }
        Some(())
    }
}

/// Adds a node below the root of the tree at the start of `buffer`, whose rest is free. `None` if there is no room, or if this is no
/// tree whose last block are its strings; the buffer is as before then.
pub fn node(buffer: &mut [u8], node: &NewNode<'_>) -> Option<()> {
    let (total, strings_size) = (word(buffer, TOTAL)?, word(buffer, STRINGS_SIZE)?);
    let (structure_at, structure_size) = (word(buffer, STRUCTURE_AT)?, word(buffer, STRUCTURE_SIZE)?);
    let strings_at = word(buffer, STRINGS_AT)?;
    let structure_end = structure_at.checked_add(structure_size)?;
    let strings_end = strings_at.checked_add(strings_size)?;
    let tail = structure_end.checked_sub(TAIL)?;
    let is_root_end = word(buffer, tail)? == END_NODE as usize && word(buffer, tail + 4)? == END as usize;
    if strings_at < structure_end || strings_end > total || !is_root_end {
        return None;
    }
    let mut added = Added { structure: ArrayVec::new(), names: ArrayVec::new(), first_name: strings_size };
    added.node(node)?;
    let (more, names) = (added.structure.len(), added.names.len());
    let new_total = total.checked_add(more + names)?;
    if new_total > buffer.len() {
        return None;
    }
    // From behind to the front: names behind the strings, strings and tail out of the way, the node before the tail.
    buffer.copy_within(tail..strings_end, tail + more);
    buffer.get_mut(strings_end + more..)?.get_mut(..names)?.copy_from_slice(&added.names);
    buffer.get_mut(tail..)?.get_mut(..more)?.copy_from_slice(&added.structure);
    let changed = [
        (TOTAL, new_total),
        (STRINGS_AT, strings_at + more),
        (STRINGS_SIZE, strings_size + names),
        (STRUCTURE_SIZE, structure_size + more),
    ];
    for (at, value) in changed {
        buffer.get_mut(at..at + 4)?.copy_from_slice(&u32::try_from(value).ok()?.to_be_bytes());
    }
    Some(())
}

fn word(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes = buffer.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Platform;
    use std::vec::Vec;

    const RESERVED: [u8; 16] = [0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0];

    const TWO: &[u8] = &[0, 0, 0, 2];
    const RESERVATION: NewNode<'static> = NewNode {
        name: "reserved-memory",
        properties: &[("#address-cells", TWO), ("#size-cells", TWO), ("ranges", &[])],
        children: &[NewNode {
            name: "firmware@80000000",
            properties: &[("reg", &RESERVED), ("no-map", &[])],
            children: &[],
        }],
    };

    fn fixture() -> Vec<u8> {
        include_bytes!("../fixtures/plic-4.dtb").to_vec()
    }

    #[test]
    fn a_reservation_is_found_and_the_rest_is_as_before() {
        let mut tree = fixture();
        let before = Platform::parse(&tree).unwrap();
        tree.resize(tree.len() + 1024, 0xa5);
        node(&mut tree, &RESERVATION).unwrap();
        let after = Platform::parse(&tree).unwrap();
        let range = crate::Range::new(0x8000_0000, 0x20_0000).unwrap();
        assert!(!before.reserved.contains(&range) && after.reserved.contains(&range));
        assert_eq!((before.harts, before.uart, before.virtio), (after.harts, after.uart, after.virtio));
    }

    #[test]
    fn a_controller_is_found() {
        let mut tree = fixture();
        tree.resize(tree.len() + 1024, 0);
        let properties = &[
            ("compatible", &b"asyncos,uintc\0"[..]),
            ("reg", &[0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]),
            ("asyncos,slots", &[0, 0, 0, 64]),
            ("asyncos,contexts", &[0, 0, 0, 8]),
        ];
        assert_eq!(Platform::parse(&tree).unwrap().uintc, None);
        node(&mut tree, &NewNode { name: "uintc@4000000", properties, children: &[] }).unwrap();
        let uintc = Platform::parse(&tree).unwrap().uintc.unwrap();
        assert_eq!((uintc.registers.start, uintc.registers.size), (0x400_0000, 0x400_0000));
        assert_eq!((uintc.slots, uintc.contexts), (64, 8));
    }

    #[test]
    fn without_room_nothing_changes() {
        let tree = fixture();
        let mut same = tree.clone();
        assert_eq!(node(&mut same, &RESERVATION), None);
        assert_eq!(same, tree);
    }

    #[test]
    fn any_bytes_are_borne() {
        let mut tree = fixture();
        for at in 0..40 {
            for value in [0, 1, 0x7f, 0xff] {
                let old = core::mem::replace(&mut tree[at], value);
                let mut copy = tree.clone();
                copy.resize(copy.len() + 64, 0);
                let _ = node(&mut copy, &NewNode { name: "n", properties: &[], children: &[] });
                tree[at] = old;
            }
        }
    }
}
