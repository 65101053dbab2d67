//! Images that must be refused, one for each rule, and one that must not; made by hand.

use super::*;

struct Section {
    name: &'static str,
    kind: u32,
    flags: u32,
    address: usize,
    data: Vec<u8>,
}

const CODE: u32 = elf::SHF_ALLOC | elf::SHF_EXECINSTR;

fn section(name: &'static str, kind: u32, flags: u32, address: usize, data: &[u8]) -> Section {
    Section { name, kind, flags, address, data: data.to_vec() }
}

/// An ELF file of these sections and symbols (name, and whether it is defined).
fn linked(mut sections: Vec<Section>, symbols: &[(&str, bool)]) -> Vec<u8> {
    let (mut strings, mut table) = (vec![0], vec![0; 24]);
    for (name, defined) in symbols {
        table.extend((strings.len() as u32).to_le_bytes());
        table.extend([0x12, 0]);
        table.extend(u16::from(*defined).to_le_bytes());
        table.extend([0; 16]);
        strings.extend(name.bytes().chain([0]));
    }
    let link = sections.len() as u32 + 2;
    sections.push(section(".symtab", elf::SHT_SYMTAB, 0, 0, &table));
    sections.push(section(".strtab", elf::SHT_STRTAB, 0, 0, &strings));
    let mut names = vec![0];
    let mut offsets: Vec<u32> = Vec::new();
    for name in sections.iter().map(|section| section.name).chain([".shstrtab"]) {
        offsets.push(names.len() as u32);
        names.extend(name.bytes().chain([0]));
    }
    sections.push(section(".shstrtab", elf::SHT_STRTAB, 0, 0, &names));
    let (mut body, mut headers) = (Vec::<u8>::new(), vec![0_u8; 64]);
    for (section, name) in sections.iter().zip(offsets) {
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        let is_table = section.kind == elf::SHT_SYMTAB;
        let words =
            [u64::from(section.flags), section.address as u64, 64 + body.len() as u64, section.data.len() as u64];
        words.iter().for_each(|word| headers.extend(word.to_le_bytes()));
        headers.extend(if is_table { link } else { 0 }.to_le_bytes());
        headers.extend(u32::from(is_table).to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(if is_table { 24_u64 } else { 0 }.to_le_bytes());
        body.extend(&section.data);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    file.extend([2, 0, 243, 0, 1, 0, 0, 0]);
    file.extend([0; 16]);
    file.extend((64 + body.len() as u64).to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0]);
    file.extend((sections.len() as u16 + 1).to_le_bytes());
    file.extend((sections.len() as u16).to_le_bytes());
    file.extend(body);
    file.extend(headers);
    file
}

fn head() -> Section {
    section(".head", elf::SHT_PROGBITS, elf::SHF_ALLOC, window::IMAGE, MAGIC)
}

fn code(data: &[u8]) -> Section {
    section(".text", elf::SHT_PROGBITS, CODE, window::IMAGE + 8, data)
}

/// `ret`; `add a0, a0, a1`.
const INTEGER: [u8; 6] = [0x82, 0x80, 0x33, 0x05, 0xb5, 0x00];

fn refusal(sections: Vec<Section>, symbols: &[(&str, bool)]) -> String {
    format!("{:#}", flatten(&linked(sections, symbols)).unwrap_err())
}

#[test]
fn a_good_image_becomes_whole_pages() {
    let image = flatten(&linked(vec![head(), code(&INTEGER)], &[("run_next", true)])).unwrap();
    assert_eq!(image.len(), PAGE);
    assert_eq!((&image[..8], &image[8..14]), (&MAGIC[..], &INTEGER[..]));
}

#[test]
fn data_and_relocations_are_refused() {
    let writable = elf::SHF_ALLOC | elf::SHF_WRITE;
    let at = window::IMAGE + PAGE;
    for (name, kind, flags, words) in [
        (".data", elf::SHT_PROGBITS, writable, "writable"),
        (".bss", elf::SHT_NOBITS, writable, "zero-initialised"),
        (".rela.dyn", elf::SHT_RELA, elf::SHF_ALLOC, "relocates"),
        (".dynamic", elf::SHT_DYNAMIC, elf::SHF_ALLOC, "relocates"),
    ] {
        let found = refusal(vec![head(), section(name, kind, flags, at, &[0; 24])], &[("run_next", true)]);
        assert!(found.contains(name) && found.contains(words), "{name}: {found}");
    }
}

#[test]
fn symbols_of_others_and_of_panics_are_refused() {
    for (name, defined, words) in [
        ("memcpy", false, "memcpy is undefined"),
        ("_ZN4core9panicking9panic_fmt17h0123456789abcdefE", true, "belongs to a panic"),
        ("rust_begin_unwind", true, "belongs to a panic"),
    ] {
        let found = refusal(vec![head(), code(&INTEGER)], &[("run_next", true), (name, defined)]);
        assert!(found.contains(words), "{name}: {found}");
    }
}

#[test]
fn floating_point_is_refused_and_nothing_like_it() {
    // fld fa0, 0(a0); fadd.d fa0, fa0, fa1; c.fld fa0, 0(a0); c.fsdsp fa0, 0(sp).
    let samples: [&[u8]; 4] = [&[0x07, 0x35, 0x05, 0x00], &[0x53, 0x75, 0xb5, 0x02], &[0x08, 0x21], &[0x2a, 0xa0]];
    for sample in samples {
        let found = refusal(vec![head(), code(&[&INTEGER[..], sample].concat())], &[("run_next", true)]);
        assert!(found.contains("floating-point instruction at 0x6"), "{sample:x?}: {found}");
    }
    // The second half of a long instruction is none of its own: lui a0, 0x20080.
    assert_eq!(first_floating(&[0x37, 0x05, 0x08, 0x20]), None);
}

#[test]
fn place_and_size_are_checked() {
    let elsewhere = section(".text", elf::SHT_PROGBITS, CODE, 0x1000, &INTEGER);
    assert!(refusal(vec![head(), elsewhere], &[("run_next", true)]).contains("outside the window"));
    let large = code(&INTEGER.repeat(window::IMAGE_PAGES * PAGE / INTEGER.len() + 1));
    assert!(refusal(vec![head(), large], &[("run_next", true)]).contains("has room for"));
    let headless = section(".head", elf::SHT_PROGBITS, elf::SHF_ALLOC, window::IMAGE, b"NOTHEAD!");
    assert!(refusal(vec![headless], &[("run_next", true)]).contains("magic"));
}
