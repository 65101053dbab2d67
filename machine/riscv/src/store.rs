//! The instructions that store 32 bits (unprivileged specification, "Load and Store Instructions" and "C" extension): `sw`, `c.sw`, `c.swsp`.

/// Where an instruction stores 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordStore {
    /// Number of the register with the base.
    pub base: usize,
    /// What is added to it.
    pub offset: isize,
    /// Bytes of the instruction.
    pub len: usize,
}

const SP: usize = 2;

impl WordStore {
    /// Decodes an instruction, of which the lower 16 bits count if it is a compressed one. `None`: it is another.
    #[must_use]
    pub fn decode(instruction: u32) -> Option<Self> {
        let field = |from: u32, bits: u32| (instruction >> from & ((1 << bits) - 1)) as usize;
        match (field(0, 2), field(13, 3)) {
            (0, 0b110) => {
                let offset = field(10, 3) << 3 | field(6, 1) << 2 | field(5, 1) << 6;
                Some(Self { base: 8 + field(7, 3), offset: offset as isize, len: 2 })
            }
            (2, 0b110) => {
                let offset = field(9, 4) << 2 | field(7, 2) << 6;
                Some(Self { base: SP, offset: offset as isize, len: 2 })
            }
            (3, _) if field(2, 5) == 0b01000 && field(12, 3) == 0b010 => {
                // The upper bits of the offset are the upper ones of the instruction, with their sign.
                let offset = (instruction as i32 >> 25 << 5) as isize | field(7, 5) as isize;
                Some(Self { base: field(15, 5), offset, len: 4 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(instruction: u32) -> Option<(usize, isize, usize)> {
        WordStore::decode(instruction).map(|store| (store.base, store.offset, store.len))
    }

    #[test]
    fn stores_of_words_are_decoded() {
        assert_eq!(decoded(0x00b5_2023), Some((10, 0, 4))); // sw a1, 0(a0)
        assert_eq!(decoded(0xfeb5_2e23), Some((10, -4, 4))); // sw a1, -4(a0)
        assert_eq!(decoded(0x7eb5_2fa3), Some((10, 2047, 4))); // sw a1, 2047(a0)
        assert_eq!(decoded(0x1234_c10c), Some((10, 0, 2))); // c.sw a1, 0(a0)
        assert_eq!(decoded(0xdcfc), Some((9, 124, 2))); // c.sw a5, 124(s1)
        assert_eq!(decoded(0xdfae), Some((2, 252, 2))); // c.swsp a1, 252(sp)
    }

    #[test]
    fn nothing_else_is() {
        for other in [
            0x00b5_0023, // sb a1, 0(a0)
            0x00b5_1023, // sh a1, 0(a0)
            0x00b5_3023, // sd a1, 0(a0)
            0x0005_2583, // lw a1, 0(a0)
            0x00a5_2027, // fsw fa0, 0(a0)
            0x0ab5_202f, // amoswap.w zero, a1, (a0)
            0x18b5_262f, // sc.w a2, a1, (a0)
            0x4108,      // c.lw a0, 0(a0)
            0xe10c,      // c.sd a1, 0(a0)
            0xa10c,      // c.fsd fa1, 0(a0)
            0x0000_0013, // nop
            0,
            u32::MAX,
        ] {
            assert_eq!(decoded(other), None, "{other:#x}");
        }
    }
}
