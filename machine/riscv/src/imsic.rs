//! Incoming message-signalled interrupts: a hart's own S-level interrupt file (RISC-V Advanced Interrupt
//! Architecture 1.0, chapter 3).
//!
//! A file has one *pending* and one *enabled* bit for each identity 1 to 255 (or more). Any hart or device
//! makes an identity pending by writing it to the file's page ([`Doorbells`]); the owning hart takes the
//! lowest-numbered pending and enabled one with [`claim`]. A hart reaches the bits of its own file only, through
//! a pair of CSRs (`siselect` picks a register, `sireg` is it).
//!
//! Who may call what: the functions on CSRs act on the calling hart's file, with interrupts off, since a
//! handler that used the pair in between would change the selection. Doorbells are rung from anywhere.

use crate::mmio::Mmio;

const PAGE: usize = 4096;
/// Register of a file's page that takes identities.
const SETEIPNUM_LE: usize = 0;

/// Registers of a file, as `siselect` names them for a hart's own and `vsiselect` for a guest file.
#[cfg(target_arch = "riscv64")]
pub(crate) mod selected {
    /// Switches delivery on.
    pub(crate) const EIDELIVERY: usize = 0x70;
    /// The priority threshold.
    pub(crate) const EITHRESHOLD: usize = 0x72;
    /// The first array of pending bits; a register of 64 bits every second number.
    pub(crate) const EIP: usize = 0x80;
    /// The first array of enable bits.
    pub(crate) const EIE: usize = 0xc0;
}

/// The pages of all harts' S-level files, to send messages to them.
#[derive(Clone, Copy, Debug)]
pub struct Doorbells {
    registers: Mmio,
    stride: usize,
}

impl Doorbells {
    /// The files in these pages. Each hart has 2 to the power of `guest_index_bits` of them: its own file and
    /// its guest files (device tree: `riscv,guest-index-bits`).
    ///
    /// # Panics
    ///
    /// If a hart has more than 64 pages, which the architecture rules out.
    pub const fn new(registers: Mmio, guest_index_bits: u32) -> Doorbells {
        assert!(guest_index_bits <= 6, "more than 64 interrupt files for a hart");
        Doorbells { registers, stride: PAGE << guest_index_bits }
    }

    /// How many guest files each hart has a page for.
    pub const fn guests(&self) -> usize {
        self.stride / PAGE - 1
    }

    /// How many harts have their files here.
    pub const fn harts(&self) -> usize {
        self.registers.size() / self.stride
    }

    /// Makes `identity` pending at a hart's own file. Memory written before is visible to the hart when it
    /// takes the interrupt. An identity that the file does not have is ignored by it.
    ///
    /// # Panics
    ///
    /// If there is no file for that hart index (its position in the device tree, not its id).
    pub fn ring(&self, hart_index: usize, identity: u32) {
        assert!(hart_index < self.harts(), "no interrupt file for hart index {hart_index}");
        self.registers.write(self.stride * hart_index + SETEIPNUM_LE, identity);
    }

    /// Makes `identity` pending at a guest file, as [`Doorbells::ring`] does at the hart's own; a file that is not there gets nothing.
    pub fn ring_guest(&self, hart_index: usize, guest: usize, identity: u32) {
        if let Some(page) = self.guest_page(hart_index, guest) {
            self.registers.write(page + SETEIPNUM_LE, identity);
        }
    }

    /// Offset of a guest file's page from the start of all files, to map it to a sender.
    pub const fn guest_page(&self, hart_index: usize, guest: usize) -> Option<usize> {
        if hart_index >= self.harts() || guest == 0 || guest >= self.stride / PAGE {
            return None;
        }
        Some(self.stride * hart_index + PAGE * guest)
    }
}

#[cfg(target_arch = "riscv64")]
pub use own_file::{claim, disable, enable, init, make_pending};

/// The calling hart's file. The hart must have the Ssaia extension; without it every access traps.
#[cfg(target_arch = "riscv64")]
mod own_file {
    use super::selected::{EIDELIVERY, EIE, EIP, EITHRESHOLD};
    use core::arch::asm;

    /// Puts the file into its first state: identities 1 to `ids` disabled and not pending, no threshold,
    /// delivery on.
    pub fn init(ids: u32) {
        write(EIDELIVERY, 0);
        for word in 0..=ids as usize / 64 {
            write(EIE + 2 * word, 0);
            write(EIP + 2 * word, 0);
        }
        write(EITHRESHOLD, 0);
        write(EIDELIVERY, 1);
    }

    /// Lets an identity interrupt the hart.
    pub fn enable(identity: u32) {
        set(EIE + 2 * (identity as usize / 64), 1 << (identity % 64));
    }

    /// Keeps an identity from interrupting the hart; it still becomes pending.
    pub fn disable(identity: u32) {
        clear(EIE + 2 * (identity as usize / 64), 1 << (identity % 64));
    }

    /// Makes an identity pending at the calling hart, as a message would.
    pub fn make_pending(identity: u32) {
        set(EIP + 2 * (identity as usize / 64), 1 << (identity % 64));
    }

    /// Takes the most urgent pending and enabled identity, if there is one. It is no longer pending
    /// then: a message that arrives from now on interrupts again.
    pub fn claim() -> Option<u32> {
        let top: usize;
        // SAFETY: takes an interrupt of this hart; without one the register reads as zero. The read and
        // the write that claims are one instruction. No `nomem`: what the sender wrote before its message
        // is read after this.
        unsafe {
            asm!(
                ".option push",
                ".option arch, +ssaia",
                "csrrw {top}, stopei, zero",
                "fence i, rw",
                ".option pop",
                top = out(reg) top,
                options(nostack)
            );
        }
        // Bits 26:16 are the identity, 10:0 its priority, which is the same number.
        let identity = (top >> 16) as u32 & 0x7ff;
        (identity != 0).then_some(identity)
    }

    fn write(register: usize, value: usize) {
        // SAFETY: changes which interrupts this hart takes; interrupts are off (module documentation).
        unsafe {
            asm!(
                ".option push",
                ".option arch, +ssaia",
                "csrw siselect, {register}",
                "csrw sireg, {value}",
                ".option pop",
                register = in(reg) register,
                value = in(reg) value,
                options(nostack)
            );
        }
    }

    fn set(register: usize, bits: usize) {
        // SAFETY: as for `write`.
        unsafe {
            asm!(
                ".option push",
                ".option arch, +ssaia",
                "csrw siselect, {register}",
                "csrs sireg, {bits}",
                ".option pop",
                register = in(reg) register,
                bits = in(reg) bits,
                options(nostack)
            );
        }
    }

    fn clear(register: usize, bits: usize) {
        // SAFETY: as for `write`.
        unsafe {
            asm!(
                ".option push",
                ".option arch, +ssaia",
                "csrw siselect, {register}",
                "csrc sireg, {bits}",
                ".option pop",
                register = in(reg) register,
                bits = in(reg) bits,
                options(nostack)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::block;

    #[test]
    fn a_doorbell_is_the_first_page_of_a_hart() {
        let registers = block(0x1_0000);
        let doorbells = Doorbells::new(registers, 2);
        assert_eq!(doorbells.harts(), 4);
        doorbells.ring(3, 9);
        assert_eq!(registers.read(0xc000), 9);
        assert_eq!(registers.read(0x0), 0);
    }

    #[test]
    fn guest_pages_follow_the_own_file() {
        let doorbells = Doorbells::new(block(0x1_0000), 2);
        assert_eq!(doorbells.guest_page(1, 3), Some(0x7000));
        assert_eq!(doorbells.guest_page(1, 0), None);
        assert_eq!(doorbells.guest_page(1, 4), None);
        assert_eq!(doorbells.guest_page(4, 1), None);
    }

    #[test]
    #[should_panic(expected = "no interrupt file")]
    fn a_hart_that_is_not_there_cannot_be_sent_to() {
        Doorbells::new(block(0x4000), 2).ring(1, 1);
    }
}
