//! Trees dumped from QEMU (`fixtures/`), trees built to be awkward, and bytes that are no tree.

use super::*;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;
use std::vec::Vec;

const FIXTURES: [(&[u8], usize, bool); 6] = [
    (include_bytes!("../fixtures/plic-1.dtb"), 1, false),
    (include_bytes!("../fixtures/plic-4.dtb"), 4, false),
    (include_bytes!("../fixtures/plic-8.dtb"), 8, false),
    (include_bytes!("../fixtures/aia-1.dtb"), 1, true),
    (include_bytes!("../fixtures/aia-4.dtb"), 4, true),
    (include_bytes!("../fixtures/aia-8.dtb"), 8, true),
];
const PLIC_4: &[u8] = FIXTURES[1].0;
const AIA_4: &[u8] = FIXTURES[4].0;

#[test]
fn every_fixture_has_the_devices_of_the_virt_machine() {
    for (dtb, harts, aia) in FIXTURES {
        let p = Platform::parse(dtb).unwrap();
        assert_eq!(p.harts.len(), harts);
        assert_eq!(p.timebase_hz, 10_000_000);
        assert_eq!(p.memory.as_slice(), &[Range { start: 0x8000_0000, size: 256 << 20 }]);
        let uart = p.uart.unwrap();
        assert_eq!((uart.registers.start, uart.clock_hz, uart.register_shift), (0x1000_0000, 3_686_400, 0));
        assert_eq!(uart.line, Some(Line { number: 10, trigger: Trigger::LevelHigh }));
        assert_eq!(p.virtio.len(), 8);
        for (index, slot) in p.virtio.iter().enumerate() {
            assert_eq!(slot.registers.start, 0x1000_1000 + 0x1000 * index as u64);
            assert_eq!(slot.line.number, 1 + index as u32);
        }
        assert_eq!(p.rtc.unwrap().registers.start, 0x10_1000);
        let pci = p.pci.unwrap();
        let window = |bus, start, size| Some(Window { bus, range: Range { start, size } });
        assert_eq!(pci.configuration, Range { start: 0x3000_0000, size: 1 << 20 });
        assert_eq!(pci.ports, window(0, 0x300_0000, 0x1_0000));
        assert_eq!(pci.memory, window(0x4000_0000, 0x4000_0000, 0x4000_0000));
        // The pins go round.
        for (device, pin, number) in [(0, 1, 32), (1, 1, 33), (2, 1, 34), (3, 2, 32), (5, 1, 33)] {
            assert_eq!(pci.line(device, pin), Some(Line { number, trigger: Trigger::LevelHigh }));
        }
        assert_eq!((pci.line(0, 0), pci.line(0, 5)), (None, None));
        assert_eq!(p.finisher.unwrap().registers.start, 0x10_0000);
        assert!(p.seed.is_some());
        assert_eq!((p.plic.is_some(), p.imsic.is_some(), p.aplic.is_some()), (!aia, aia, aia));
        assert_eq!(p.left_out, 0);
    }
}

#[test]
fn harts_and_extensions() {
    let p = Platform::parse(AIA_4).unwrap();
    let ids: Vec<usize> = p.harts.iter().map(|hart| hart.id).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
    let has = Extensions::H | Extensions::SSTC | Extensions::SSAIA | Extensions::F | Extensions::D | Extensions::C;
    assert!(p.common_extensions().contains(has));
    assert!(!p.common_extensions().intersects(Extensions::V | Extensions::ZICBOZ));
    assert!(p.isa.starts_with("rv64imafdch_") && p.isa.ends_with("_sstc"));
    assert!(!Platform::parse(PLIC_4).unwrap().common_extensions().contains(Extensions::SSAIA));
}

#[test]
fn chosen_is_copied() {
    let p = Platform::parse(AIA_4).unwrap();
    assert_eq!(&p.bootargs, "world=vm -- a b");
    assert_eq!(p.initrd, Some(Range { start: 0x8820_0000, size: 5000 }));
    let p = Platform::parse(PLIC_4).unwrap();
    assert_eq!(&p.bootargs, "console=mux init=/bin/sh");
    assert_eq!(p.initrd, None);
}

#[test]
fn plic_contexts_are_the_s_mode_ones() {
    let plic = Platform::parse(PLIC_4).unwrap().plic.unwrap();
    assert_eq!((plic.registers.start, plic.lines), (0xc00_0000, 96));
    let contexts: Vec<_> = plic.contexts.iter().map(|c| (c.hart, c.context)).collect();
    assert_eq!(contexts, [(0, 1), (1, 3), (2, 5), (3, 7)]);
}

#[test]
fn imsic_and_aplic_are_the_s_level_ones() {
    let p = Platform::parse(AIA_4).unwrap();
    let imsic = p.imsic.unwrap();
    assert_eq!((imsic.registers.start, imsic.ids, imsic.guest_index_bits), (0x2800_0000, 255, 2));
    assert_eq!(imsic.file(3), Some(0x2800_0000 + 3 * 0x4000));
    assert_eq!(imsic.file(4), None);
    assert_eq!(p.aplic, Some(Aplic { registers: Range { start: 0xd00_0000, size: 0x8000 }, sources: 96 }));
}

/// The tree of a fixture, changed.
fn changed(change: impl FnOnce(&mut DeviceTreeNode)) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(PLIC_4).unwrap());
    change(&mut tree.root);
    tree.to_dtb()
}

fn property(name: &str, cells: &[u32]) -> DeviceTreeProperty {
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    DeviceTreeProperty::new(name, bytes).unwrap()
}

#[test]
fn reserved_memory_is_listed() {
    let dtb = changed(|root| {
        let mut parent = DeviceTreeNode::builder("reserved-memory").unwrap().build();
        parent.add_property(property("#address-cells", &[2]));
        parent.add_property(property("#size-cells", &[2]));
        let mut node = DeviceTreeNode::builder("mmode_resv0@80000000").unwrap().build();
        node.add_property(property("reg", &[0, 0x8000_0000, 0, 0x4_0000]));
        parent.add_child(node);
        root.add_child(parent);
    });
    let p = Platform::parse(&dtb).unwrap();
    assert_eq!(p.reserved.as_slice(), &[Range { start: 0x8000_0000, size: 0x4_0000 }]);
}

#[test]
fn what_is_missing_is_named() {
    let without = |name: &str| Platform::parse(&changed(|root| drop(root.remove_child(name)))).unwrap_err();
    assert_eq!(without("cpus"), Error::Missing("/cpus"));
    assert_eq!(without("memory@80000000"), Error::Missing("memory"));
    assert!(matches!(without("soc"), Error::Missing(what) if what.contains("interrupt controller")));
}

#[test]
fn a_longer_buffer_is_cut_and_a_shorter_one_refused() {
    let mut longer = PLIC_4.to_vec();
    longer.extend([0xff; 100]);
    assert!(Platform::parse(&longer).is_ok());
    assert_eq!(Platform::parse(&PLIC_4[..PLIC_4.len() - 1]).unwrap_err(), Error::Tree);
    assert_eq!(Platform::parse(&[]).unwrap_err(), Error::Tree);
}

#[test]
fn ranges_that_wrap_or_are_empty_are_refused() {
    assert_eq!(Range::new(u64::MAX, 2), None);
    assert_eq!(Range::new(5, 0), None);
    assert_eq!(Range::new(5, 3).unwrap().end(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, header: bool) {
        if header && bytes.len() >= 40 {
            bytes[..4].copy_from_slice(&0xd00d_feed_u32.to_be_bytes());
            let size = bytes.len() as u32;
            bytes[4..8].copy_from_slice(&size.to_be_bytes());
        }
        let _ = Platform::parse(&bytes);
    }

    #[test]
    fn a_damaged_tree_never_panics(aia: bool, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = if aia { AIA_4 } else { PLIC_4 }.to_vec();
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Platform::parse(&bytes);
    }
}
