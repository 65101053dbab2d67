//! Reading ELF files: 64-bit, little-endian, RISC-V, static or static position-independent.
//!
//! A file is an allegation. Parsing copies what it needs and checks every sum; what comes out maps
//! nothing outside [`LOWEST`]`..`[`HIGHEST`], whatever the bytes were.
//!
//! A native AsyncOS program says so by an ELF note (`PT_NOTE`) of name [`NATIVE_NOTE`], any type and content.

use abi::errno::Errno;
use alloc::vec::Vec;
use core::ops::Range;
use elf::{
    abi as e,
    endian::LittleEndian,
    file::{Class, FileHeader, parse_ident},
    parse::ParseAt,
    segment::ProgramHeader,
};
use hal::{PAGE_SIZE, space::Prot};
use mem::Room;

/// Bytes of an ELF header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a program header.
pub const ENTRY_BYTES: usize = 56;
/// Most bytes of program headers, as in Linux.
const MAX_TABLE: usize = 64 << 10;
/// Most bytes of notes that are looked at.
pub const MAX_NOTES: usize = 4096;
/// Lowest address a segment may have.
pub const LOWEST: usize = mem::USER_START;
/// End of the addresses that segments may have; heap, mappings and stack are above.
pub const HIGHEST: usize = 0x30_0000_0000;
/// Where position-independent programs go.
pub const PIE_BASE: usize = 0x10_0000_0000;
/// Name of the note that marks a native program.
pub const NATIVE_NOTE: &[u8] = b"AsyncOS\0";

/// What the ELF header says.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    entry: usize,
    /// Offset of the program headers in the file.
    pub table_offset: u64,
    /// Bytes of the program headers.
    pub table_len: usize,
    independent: bool,
}

/// One piece of the program, page-aligned, at its final address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Addresses backed by the file.
    pub file: Range<usize>,
    /// Offset in the file of `file.start`.
    pub offset: u64,
    /// Addresses of zero pages behind.
    pub zero: Range<usize>,
    /// Bytes at the end of the last file page that have to be zeroed.
    pub tail: Range<usize>,
    /// Rights.
    pub prot: Prot,
}

/// A program ready to be mapped.
#[derive(Clone, Debug)]
pub struct Image {
    /// Address of the first instruction.
    pub entry: usize,
    /// Load address minus link address.
    pub bias: usize,
    /// Address of the program headers in memory; 0 if they are not loaded.
    pub table: usize,
    /// Number of program headers.
    pub entries: usize,
    /// What to map, in order.
    pub segments: Vec<Segment>,
    /// End of the highest segment.
    pub end: usize,
    /// Where in the file notes are.
    pub notes: Vec<(u64, usize)>,
}

impl Header {
    /// Reads the first bytes of a file.
    ///
    /// # Errors
    /// `ENOEXEC` if it is no ELF file for this machine.
    pub fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(Errno::ENOEXEC)?;
        let ident = parse_ident::<LittleEndian>(&bytes[..16]).map_err(|_| Errno::ENOEXEC)?;
        let header = FileHeader::parse_tail(ident, &bytes[16..]).map_err(|_| Errno::ENOEXEC)?;
        let table_len = usize::from(header.e_phnum) * ENTRY_BYTES;
        let ours = header.class == Class::ELF64
            && header.e_machine == e::EM_RISCV
            && (header.e_type == e::ET_EXEC || header.e_type == e::ET_DYN)
            && usize::from(header.e_phentsize) == ENTRY_BYTES
            && (ENTRY_BYTES..=MAX_TABLE).contains(&table_len);
        if !ours {
            return Err(Errno::ENOEXEC);
        }
        let entry = usize::try_from(header.e_entry).map_err(|_| Errno::ENOEXEC)?;
        Ok(Self { entry, table_offset: header.e_phoff, table_len, independent: header.e_type == e::ET_DYN })
    }
}

impl Image {
    /// Reads the program headers, `table`.
    ///
    /// # Errors
    /// `ENOEXEC` (no loadable segment, nonsense), `ENOENT` (wants an interpreter: dynamic programs are
    /// not supported, and as on Linux without the interpreter's file it cannot be found), `ENOMEM`.
    pub fn parse(header: &Header, table: &[u8]) -> Result<Self, Errno> {
        let bias = if header.independent { PIE_BASE } else { 0 };
        let entry = header.entry.checked_add(bias).ok_or(Errno::ENOEXEC)?;
        let entries = header.table_len / ENTRY_BYTES;
        let mut image = Self { entry, bias, table: 0, entries, segments: Vec::new(), end: 0, notes: Vec::new() };
        let mut offset = 0;
        for _ in 0..entries {
            let parsed = ProgramHeader::parse_at(LittleEndian, Class::ELF64, &mut offset, table);
            image.add(header, &parsed.map_err(|_| Errno::ENOEXEC)?)?;
        }
        let executable = image
            .segments
            .iter()
            .any(|s| s.prot.contains(Prot::EXEC) && (s.file.start..s.zero.end.max(s.file.end)).contains(&entry));
        if executable { Ok(image) } else { Err(Errno::ENOEXEC) }
    }

    fn add(&mut self, header: &Header, program: &ProgramHeader) -> Result<(), Errno> {
        match program.p_type {
            e::PT_LOAD if program.p_memsz > 0 => {
                let segment = segment(program, self.bias)?;
                let covered = program.p_offset..program.p_offset.saturating_add(program.p_filesz);
                if self.table == 0 && covered.contains(&header.table_offset) {
                    let delta = (header.table_offset - program.p_offset) as usize;
                    self.table = self.bias.wrapping_add(program.p_vaddr as usize).wrapping_add(delta);
                }
                self.end = self.end.max(segment.zero.end).max(segment.file.end);
                self.segments.make_room(1)?;
                self.segments.push(segment);
                Ok(())
            }
            e::PT_INTERP => Err(Errno::ENOENT),
            e::PT_NOTE if self.notes.len() < 8 => {
                self.notes.push((program.p_offset, program.p_filesz.min(MAX_NOTES as u64) as usize));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn segment(program: &ProgramHeader, bias: usize) -> Result<Segment, Errno> {
    let bad = Errno::ENOEXEC;
    let page = PAGE_SIZE as u64;
    if program.p_filesz > program.p_memsz || program.p_vaddr % page != program.p_offset % page {
        return Err(bad);
    }
    program.p_offset.checked_add(program.p_filesz).ok_or(bad)?;
    let size = |value: u64| usize::try_from(value).map_err(|_| bad);
    let start = size(program.p_vaddr)?.checked_add(bias).ok_or(bad)?;
    let file_end = start.checked_add(size(program.p_filesz)?).ok_or(bad)?;
    let end = start.checked_add(size(program.p_memsz)?).ok_or(bad)?;
    if start < LOWEST || end > HIGHEST {
        return Err(bad);
    }
    let up = |addr: usize| addr.next_multiple_of(PAGE_SIZE);
    let first = start & !(PAGE_SIZE - 1);
    let mut prot = Prot::empty();
    prot.set(Prot::READ, program.p_flags & e::PF_R != 0);
    prot.set(Prot::WRITE, program.p_flags & e::PF_W != 0);
    prot.set(Prot::EXEC, program.p_flags & e::PF_X != 0);
    let split = if program.p_filesz == 0 { first } else { up(file_end) };
    let tail = if program.p_filesz == 0 { split..split } else { file_end..split.min(up(end)) };
    let tail = if end > file_end { tail } else { split..split };
    let offset = program.p_offset & !(page - 1);
    Ok(Segment { file: first..split, offset, zero: split..up(end).max(split), tail, prot })
}

/// Whether the content of a `PT_NOTE` segment has the note of native programs.
#[must_use]
pub fn is_native(notes: &[u8]) -> bool {
    let word = |at: usize| -> Option<usize> {
        let bytes = notes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let mut at = 0;
    // Each note is at least its 12-byte head, so this ends.
    while let (Some(name_len), Some(content_len)) = (word(at), word(at + 4)) {
        let name = at + 12;
        if notes.get(name..name.saturating_add(name_len)) == Some(NATIVE_NOTE) {
            return true;
        }
        let padded = |len: usize| len.checked_next_multiple_of(4).unwrap_or(usize::MAX / 4);
        at = name.saturating_add(padded(name_len)).saturating_add(padded(content_len));
        if at >= notes.len() {
            break;
        }
    }
    false
}
