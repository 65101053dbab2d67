//! The image of the scheduler: built as a program, checked, and turned into the flat bytes that the kernel embeds.
//!
//! Every process has these pages, executable and shared with all others, so the check is strict. The image consists of
//! code and constants at the window's address. It has no relocation, nothing writable or zero-initialised, no undefined
//! symbol, no path to a panic, and no floating-point instruction, since it runs between any two instructions of a program.

use abi::window;
use anyhow::{Context, Result, bail, ensure};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Object, ObjectSection, ObjectSymbol, elf};

const PAGE: usize = 4096;
/// "ASYSCHED", as in `sched::table`.
const MAGIC: &[u8; 8] = b"ASYSCHED";

type Header = elf::FileHeader64<object::Endianness>;

/// The flat bytes of a linked image, in whole pages, if it is as it must be.
pub fn flatten(linked: &[u8]) -> Result<Vec<u8>> {
    let mut findings = Vec::new();
    let bytes = sections(linked, &mut findings)?;
    symbols(linked, &mut findings)?;
    if !bytes.starts_with(MAGIC) {
        findings.push("it does not begin with its magic number".to_owned());
    }
    if bytes.len() > window::IMAGE_PAGES * PAGE {
        findings.push(format!("it has {} bytes; the window has room for {} pages", bytes.len(), window::IMAGE_PAGES));
    }
    ensure!(findings.is_empty(), "the image of the scheduler cannot be shared:\n  {}", findings.join("\n  "));
    let mut pages = bytes;
    pages.resize(pages.len().next_multiple_of(PAGE), 0);
    Ok(pages)
}

/// Puts the loaded sections where they belong; notes those that must not be.
fn sections(linked: &[u8], findings: &mut Vec<String>) -> Result<Vec<u8>> {
    let header = Header::parse(linked).context("not an ELF file")?;
    let endian = header.endian()?;
    let table = header.sections(endian, linked)?;
    let mut image = Vec::new();
    for section in table.iter() {
        let (kind, flags) = (section.sh_type(endian), section.sh_flags(endian) as u32);
        let name = String::from_utf8_lossy(table.section_name(endian, section)?).into_owned();
        if [elf::SHT_RELA, elf::SHT_REL, elf::SHT_RELR, elf::SHT_DYNAMIC].contains(&kind) {
            findings.push(format!("section {name} relocates"));
        }
        let size = usize::try_from(section.sh_size(endian))?;
        if flags & elf::SHF_ALLOC == 0 || size == 0 {
            continue;
        }
        if flags & elf::SHF_WRITE != 0 || kind == elf::SHT_NOBITS {
            findings.push(format!("section {name} has {size} bytes that are writable or zero-initialised"));
            continue;
        }
        let data = section.data(endian, linked)?;
        if flags & elf::SHF_EXECINSTR != 0
            && let Some(offset) = first_floating(data)
        {
            findings.push(format!("section {name} has a floating-point instruction at {offset:#x}"));
        }
        let address = usize::try_from(section.sh_addr(endian))?;
        let Some(offset) = address.checked_sub(window::IMAGE).filter(|offset| *offset < window::PAGES * PAGE) else {
            findings.push(format!("section {name} lies at {address:#x}, outside the window"));
            continue;
        };
        image.resize(image.len().max(offset + size), 0);
        image[offset..offset + size].copy_from_slice(data);
    }
    Ok(image)
}

/// Notes symbols that must not be.
fn symbols(linked: &[u8], findings: &mut Vec<String>) -> Result<()> {
    let file = object::File::parse(linked).context("not an ELF file")?;
    if file.symbols().next().is_none() {
        bail!("the image has no symbol table, so it cannot be checked");
    }
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        if symbol.is_undefined() && !name.is_empty() {
            findings.push(format!("symbol {name} is undefined"));
        }
        let name = format!("{:#}", rustc_demangle::demangle(name));
        if ["panic", "rust_begin_unwind", "unwrap_failed", "expect_failed"].iter().any(|word| name.contains(word)) {
            findings.push(format!("symbol {name} belongs to a panic"));
        }
    }
    if file.sections().any(|section| section.relocations().next().is_some()) {
        findings.push("it has relocations".to_owned());
    }
    Ok(())
}

/// Offset of the first floating-point instruction.
fn first_floating(code: &[u8]) -> Option<usize> {
    let half = |at: usize| code.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let mut at = 0;
    while let Some(low) = half(at) {
        let is_long = low & 3 == 3;
        if if is_long { is_floating_long(low) } else { is_floating_short(low) } {
            return Some(at);
        }
        at += if is_long { 4 } else { 2 };
    }
    None
}

/// By the opcode: LOAD-FP, STORE-FP, the four fused multiply-adds, OP-FP.
fn is_floating_long(low: u16) -> bool {
    matches!(low & 0x7f, 0x07 | 0x27 | 0x43 | 0x47 | 0x4b | 0x4f | 0x53)
}

/// `c.fld`, `c.fsd`, `c.fldsp`, `c.fsdsp`.
fn is_floating_short(low: u16) -> bool {
    low & 3 != 1 && matches!(low >> 13, 1 | 5)
}

#[cfg(test)]
mod tests;
