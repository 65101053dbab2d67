//! Executable files, made here: a correct one of three instructions, and as many broken ones as somebody thinks of.

use alloc::vec::Vec;

/// Where the segment is loaded.
pub const BASE: u64 = 0x40_0000;
/// `PT_LOAD`.
const LOAD: u32 = 1;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// A program header.
#[derive(Clone, Copy)]
pub struct Segment {
    pub kind: u32,
    /// 4 read, 2 write, 1 execute.
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub align: u64,
}

/// An executable file. The fields are what a loader reads; [`Elf::bytes`] writes them as they are.
#[derive(Clone)]
pub struct Elf {
    pub magic: [u8; 4],
    pub class: u8,
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub table: u64,
    pub entry_size: u16,
    pub count: Option<u16>,
    pub segments: Vec<Segment>,
    /// Bytes cut off the end, or zeros added.
    pub length: Option<usize>,
}

impl Elf {
    /// A program that exits with `code`.
    pub fn correct() -> Self {
        let size = Self::code_offset(1) + 12;
        let segment =
            Segment { kind: LOAD, flags: 5, offset: 0, address: BASE, file_size: size, memory_size: size, align: 4096 };
        Self {
            magic: *b"\x7fELF",
            class: 2,
            kind: 2,
            machine: 243,
            entry: BASE + Self::code_offset(1),
            table: HEADER as u64,
            entry_size: PROGRAM_HEADER as u16,
            count: None,
            segments: alloc::vec![segment],
            length: None,
        }
    }

    /// Where the code lies in a file with `count` program headers.
    pub fn code_offset(count: usize) -> u64 {
        (HEADER + count * PROGRAM_HEADER) as u64
    }

    /// The file: `li a0, code; li a7, 93; ecall` behind the headers.
    pub fn bytes(&self, code: u8) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&[self.class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        [self.kind, self.machine].iter().for_each(|half| out.extend_from_slice(&half.to_le_bytes()));
        out.extend_from_slice(&1u32.to_le_bytes());
        [self.entry, self.table, 0].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        // Flags: compressed instructions, double floats.
        out.extend_from_slice(&5u32.to_le_bytes());
        let count = self.count.unwrap_or(self.segments.len() as u16);
        for half in [HEADER as u16, self.entry_size, count, 64, 0, 0] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        for segment in &self.segments {
            [segment.kind, segment.flags].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            let Segment { offset, address, file_size, memory_size, align, .. } = *segment;
            for word in [offset, address, address, file_size, memory_size, align] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        for instruction in [0x0000_0513 | u32::from(code) << 20, 0x05d0_0893, 0x0000_0073] {
            out.extend_from_slice(&instruction.to_le_bytes());
        }
        if let Some(length) = self.length {
            out.resize(length, 0);
        }
        out
    }
}
