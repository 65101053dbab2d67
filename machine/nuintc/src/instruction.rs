//! The instructions that concern the hardware: CSR accesses, returns, loads and stores of a word.

/// What a CSR access does with the bits of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They replace the CSR's.
    Write,
    /// They are set.
    Set,
    /// They are cleared.
    Clear,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register, by its number.
    Register(usize),
    /// The instruction itself.
    Immediate(usize),
}

/// A CSR access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csr {
    /// Which CSR.
    pub number: usize,
    /// Where the old value goes; 0 for nowhere.
    pub destination: usize,
    /// What the new value is made of.
    pub source: Source,
    /// How; `None` if it only reads.
    pub change: Option<Change>,
}

/// An instruction that the hardware had no answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// A CSR access.
    Csr(Csr),
    /// Back from a trap in user mode.
    Uret,
    /// Back from a trap in the kernel.
    Sret,
}

/// Takes apart an illegal instruction; `None` if it is none of these.
pub fn system(word: u32) -> Option<System> {
    const URET: u32 = 0x0020_0073;
    const SRET: u32 = 0x1020_0073;
    match word {
        URET => return Some(System::Uret),
        SRET => return Some(System::Sret),
        _ => {}
    }
    let (kind, field) = (word >> 12 & 7, register(word, 15));
    if word & 0x7f != 0x73 || kind & 3 == 0 {
        return None;
    }
    let change = match kind & 3 {
        1 => Some(Change::Write),
        // Without a bit to change they do not write.
        _ if field == 0 => None,
        2 => Some(Change::Set),
        _ => Some(Change::Clear),
    };
    let source = if kind & 4 == 0 { Source::Register(field) } else { Source::Immediate(field) };
    Some(System::Csr(Csr { number: (word >> 20) as usize, destination: register(word, 7), source, change }))
}

/// A load or store of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Into a register; the sign fills its upper half, unless the load is unsigned.
    Load {
        /// The register.
        destination: usize,
        /// Zeroes fill its upper half.
        unsigned: bool,
    },
    /// From a register.
    Store {
        /// The register.
        source: usize,
    },
}

/// Takes apart a load or store of 32 bits: what it does, and its length; `None` for any other instruction. Of a
/// compressed one the upper 16 bits do not matter.
pub fn word(instruction: u32) -> Option<(Word, usize)> {
    if instruction & 3 == 3 {
        let access = match instruction & 0x707f {
            0x2003 => Word::Load { destination: register(instruction, 7), unsigned: false },
            0x6003 => Word::Load { destination: register(instruction, 7), unsigned: true },
            0x2023 => Word::Store { source: register(instruction, 20) },
            _ => return None,
        };
        return Some((access, 4));
    }
    let short = 8 + (instruction >> 2 & 7) as usize;
    let access = match instruction & 0xe003 {
        0x4000 => Word::Load { destination: short, unsigned: false },
        0xc000 => Word::Store { source: short },
        0x4002 if register(instruction, 7) != 0 => {
            Word::Load { destination: register(instruction, 7), unsigned: false }
        }
        0xc002 => Word::Store { source: register(instruction, 2) },
        _ => return None,
    };
    Some((access, 2))
}

fn register(instruction: u32, at: u32) -> usize {
    (instruction >> at & 31) as usize
}
