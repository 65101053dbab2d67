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
#[inline(always)]
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

/// A load or store of a word, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub word: Word,
    /// The register with the address.
    pub base: usize,
    /// What is added to it.
    pub offset: usize,
    /// Bytes of the instruction.
    pub length: usize,
}

/// Takes apart a load or store of 32 bits; `None` for any other instruction. Of a compressed one the upper 16 bits do not
/// matter.
#[inline(always)]
pub fn word(instruction: u32) -> Option<Access> {
    if instruction & 3 != 3 {
        return short_word(instruction);
    }
    let (destination, base) = (register(instruction, 7), register(instruction, 15));
    let of_load = (instruction as i32 >> 20) as usize;
    let access = |word, offset| Some(Access { word, base, offset, length: 4 });
    match instruction & 0x707f {
        0x2003 => access(Word::Load { destination, unsigned: false }, of_load),
        0x6003 => access(Word::Load { destination, unsigned: true }, of_load),
        0x2023 => access(Word::Store { source: register(instruction, 20) }, of_load & !0x1f | register(instruction, 7)),
        _ => None,
    }
}

/// `c.lw`, `c.sw`, `c.lwsp`, `c.swsp`.
fn short_word(instruction: u32) -> Option<Access> {
    let bits = |at: u32, width: u32, to: u32| ((instruction >> at & ((1 << width) - 1)) << to) as usize;
    let (short, base) = (8 + bits(2, 3, 0), 8 + bits(7, 3, 0));
    let of_register = bits(10, 3, 3) | bits(6, 1, 2) | bits(5, 1, 6);
    let access = |word, base, offset| Some(Access { word, base, offset, length: 2 });
    match instruction & 0xe003 {
        0x4000 => access(Word::Load { destination: short, unsigned: false }, base, of_register),
        0xc000 => access(Word::Store { source: short }, base, of_register),
        0x4002 if register(instruction, 7) != 0 => {
            let offset = bits(12, 1, 5) | bits(4, 3, 2) | bits(2, 2, 6);
            access(Word::Load { destination: register(instruction, 7), unsigned: false }, 2, offset)
        }
        0xc002 => access(Word::Store { source: register(instruction, 2) }, 2, bits(9, 4, 2) | bits(7, 2, 6)),
        _ => None,
    }
}

fn register(instruction: u32, at: u32) -> usize {
    (instruction >> at & 31) as usize
}
