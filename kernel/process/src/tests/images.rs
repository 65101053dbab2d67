//! ELF files: good ones, and any bytes at all.

use super::*;
use crate::{
    execve::{choose_by_kind, choose_world, script_line},
    image::{self, Header, Image, is_native},
    stack::{self, Strings},
};
use abi::uintr;
use proptest::prelude::*;

fn u16_at(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn u64_at(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A static program: one page of code at `entry`, then data with two pages of zeros behind it.
pub(super) fn elf(entry: u64) -> Vec<u8> {
    let mut bytes = std::vec![0; 2 * PAGE_SIZE];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    u16_at(&mut bytes, 16, 2);
    u16_at(&mut bytes, 18, 243);
    bytes[20] = 1;
    u64_at(&mut bytes, 24, entry);
    u64_at(&mut bytes, 32, 64);
    u16_at(&mut bytes, 52, 64);
    u16_at(&mut bytes, 54, 56);
    u16_at(&mut bytes, 56, 2);
    let page = PAGE_SIZE as u64;
    for (at, flags, offset, vaddr, filesz, memsz) in
        [(64, 5, 0, entry, page, page), (120, 6, page, entry + page, 100, 100 + 2 * page)]
    {
        bytes[at] = 1;
        bytes[at + 4] = flags;
        for (field, value) in [(8, offset), (16, vaddr), (24, vaddr), (32, filesz), (40, memsz), (48, page)] {
            u64_at(&mut bytes, at + field, value);
        }
    }
    bytes
}

fn parse(bytes: &[u8]) -> Result<Image, Errno> {
    let header = Header::parse(bytes)?;
    let start = usize::try_from(header.table_offset).map_err(|_| Errno::ENOEXEC)?;
    let end = start.checked_add(header.table_len).ok_or(Errno::ENOEXEC)?;
    Image::parse(&header, bytes.get(start..end).ok_or(Errno::ENOEXEC)?)
}

#[test]
fn a_static_program_is_understood() {
    let image = parse(&elf(0x10000)).unwrap();
    assert_eq!((image.entry, image.table, image.entries, image.end), (0x10000, 0x10040, 2, 0x14000));
    let data = &image.segments[1];
    assert_eq!((data.file.clone(), data.zero.clone()), (0x11000..0x12000, 0x12000..0x14000));
    assert_eq!((data.tail.clone(), data.prot), (0x11064..0x12000, Prot::READ | Prot::WRITE));
    let mut independent = elf(0x10000);
    u16_at(&mut independent, 16, 3);
    assert_eq!(parse(&independent).unwrap().entry, image::PIE_BASE + 0x10000);
    let mut dynamic = elf(0x10000);
    dynamic[120] = 3;
    assert_eq!(parse(&dynamic).err(), Some(Errno::ENOENT));
    let mut foreign = elf(0x10000);
    foreign[18] = 62;
    assert_eq!(parse(&foreign).err(), Some(Errno::ENOEXEC));
}

#[test]
fn the_stack_is_laid_out_as_linux_does() {
    let image = parse(&elf(0x10000)).unwrap();
    let strings =
        Strings { arguments: std::vec![b"a".to_vec(), b"bc".to_vec()], environment: std::vec![b"E=1".to_vec()] };
    let (sp, bytes) = stack::build(&strings, b"/a", &image, &Identity::default()).unwrap();
    assert_eq!((sp % 16, sp + bytes.len() <= stack::TOP), (0, true));
    let word = |index: usize| u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap());
    let string = |at: u64| bytes[at as usize - sp..].split(|&byte| byte == 0).next().unwrap();
    assert_eq!((word(0), string(word(1)), string(word(2)), word(3)), (2, b"a".as_slice(), b"bc".as_slice(), 0));
    assert_eq!((string(word(4)), word(5)), (b"E=1".as_slice(), 0));
    let aux: BTreeMap<u64, u64> = (0..17).map(|i| (word(6 + 2 * i), word(7 + 2 * i))).collect();
    assert_eq!((aux[&9], aux[&3], aux[&5], string(aux[&31])), (0x10000, 0x10040, 2, b"/a".as_slice()));
    let huge = Strings { arguments: std::vec![std::vec![1; stack::MAX_STRINGS]], environment: Vec::new() };
    assert_eq!(stack::build(&huge, b"", &image, &Identity::default()).err(), Some(Errno::E2BIG));
}

#[test]
fn notes_mark_native_programs() {
    let mut note = std::vec![8, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0];
    note.extend_from_slice(b"AsyncOS\0\0\0\0\0");
    assert!(is_native(&note));
    let mut second = std::vec![4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'G', b'N', b'U', 0];
    assert!(!is_native(&second));
    second.extend_from_slice(&note);
    assert!(is_native(&second));
    assert_eq!(choose_world(0, false), World::Shared);
    assert_eq!(choose_world(0, true), World::Table);
    assert_eq!(choose_world(abi::asyncos::WORLD_TABLE, false), World::Table);
}

#[test]
fn native_programs_go_where_user_interrupts_come_by_hardware() {
    let has = |backends: &'static [usize]| {
        move |backend, world| match backend {
            uintr::AIA => world == World::Vm && backends.contains(&backend),
            _ => world != World::Vm && backends.contains(&backend),
        }
    };
    assert_eq!(choose_by_kind(true, true, has(&[])), World::Vm);
    assert_eq!(choose_by_kind(true, true, has(&[uintr::AIA])), World::Vm);
    assert_eq!(choose_by_kind(true, true, has(&[uintr::AIA, uintr::NUINTC])), World::Vm);
    assert_eq!(choose_by_kind(true, true, has(&[uintr::NUINTC])), World::Table);
    assert_eq!(choose_by_kind(true, false, has(&[uintr::NUINTC])), World::Table);
    assert_eq!(choose_by_kind(true, false, has(&[])), World::Table);
    assert_eq!(choose_by_kind(false, true, has(&[uintr::NUINTC])), World::Shared);
}

#[test]
fn script_lines_split_once() {
    assert_eq!(script_line(b" /bin/sh -e x \nrest"), Ok((b"/bin/sh".to_vec(), Some(b"-e x".to_vec()))));
    assert_eq!(script_line(b"/bin/sh"), Ok((b"/bin/sh".to_vec(), None)));
    assert_eq!(script_line(b"  \n"), Err(Errno::ENOEXEC));
}

fn inside(image: &Image) -> bool {
    let range = |range: &core::ops::Range<usize>| {
        range.is_empty()
            || (range.start >= image::LOWEST && range.end <= image::HIGHEST && range.start.is_multiple_of(PAGE_SIZE))
    };
    image.segments.iter().all(|s| range(&s.file) && range(&s.zero) && s.tail.len() < PAGE_SIZE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_refused_or_stay_in_user_space(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = is_native(&bytes);
        let _ = script_line(&bytes);
        if let Ok(image) = parse(&bytes) {
            prop_assert!(inside(&image));
        }
    }

    #[test]
    fn broken_programs_are_refused_or_stay_in_user_space(
        changes in prop::collection::vec((16..176_usize, prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 0..12),
        wide in prop::option::of((0..20_usize, any::<u64>())),
    ) {
        let mut bytes = elf(0x10000);
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Some((slot, value)) = wide {
            u64_at(&mut bytes, 16 + 8 * slot, value);
        }
        if let Ok(image) = parse(&bytes) {
            prop_assert!(inside(&image), "{image:x?}");
        }
    }
}
