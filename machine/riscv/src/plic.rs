//! Platform-level interrupt controller (RISC-V PLIC specification 1.0, the layout of SiFive's).
//!
//! A *context* is one privilege mode of one hart; the device tree says which one is a hart's S-mode. An
//! interrupt is *claimed* by one context, served, and *completed* by the same one; the controller sends the
//! line again afterwards if it is still raised, so level-triggered lines need nothing more.
//!
//! Who may call what: [`Plic::claim`] and [`Plic::complete`] are for the hart of the context, without a
//! lock. Enabling shares a register among 32 lines: callers serialise it. Priorities are per line.

use crate::mmio::Mmio;

const PRIORITY: usize = 0x0;
const ENABLE: usize = 0x2000;
const ENABLE_STRIDE: usize = 0x80;
const THRESHOLD: usize = 0x20_0000;
const CLAIM: usize = 0x20_0004;
const CONTEXT_STRIDE: usize = 0x1000;

/// A PLIC.
#[derive(Clone, Copy, Debug)]
pub struct Plic {
    registers: Mmio,
    lines: u32,
}

impl Plic {
    /// The controller with these registers and lines 1 to `lines`.
    pub const fn new(registers: Mmio, lines: u32) -> Plic {
        Plic { registers, lines }
    }

    /// Whether the controller has the line.
    pub fn has_line(&self, line: u32) -> bool {
        (1..=self.lines).contains(&line)
    }

    /// Whether the context's registers lie inside the controller.
    pub fn has_context(&self, context: usize) -> bool {
        let enable_end = ENABLE_STRIDE.checked_mul(context + 1).map(|size| ENABLE + size);
        let claim = CONTEXT_STRIDE.checked_mul(context).map(|offset| CLAIM + offset);
        enable_end.is_some_and(|end| end <= THRESHOLD) && claim.is_some_and(|claim| claim + 4 <= self.registers.size())
    }

    /// Puts a context into its first state: no line enabled, every priority above 0 let through.
    ///
    /// # Panics
    ///
    /// If there is no such context ([`Plic::has_context`]); so do all functions that take one.
    pub fn init_context(&self, context: usize) {
        for line in (0..=self.lines).step_by(32) {
            self.registers.write(self.enable_word(context, line), 0);
        }
        self.set_threshold(context, 0);
    }

    /// Lets interrupts with a priority above `threshold` through to the context.
    pub fn set_threshold(&self, context: usize, threshold: u32) {
        self.check_context(context);
        self.registers.write(THRESHOLD + CONTEXT_STRIDE * context, threshold);
    }

    /// Sets a line's priority; 0 is never delivered, 1 is the lowest.
    ///
    /// # Panics
    ///
    /// If there is no such line; so do the functions below.
    pub fn set_priority(&self, line: u32, priority: u32) {
        self.check_line(line);
        self.registers.write(PRIORITY + 4 * line as usize, priority);
    }

    /// Lets the line interrupt the context.
    pub fn enable(&self, context: usize, line: u32) {
        self.check_line(line);
        let word = self.enable_word(context, line);
        self.registers.write(word, self.registers.read(word) | 1 << (line % 32));
    }

    /// Keeps the line from the context.
    pub fn disable(&self, context: usize, line: u32) {
        self.check_line(line);
        let word = self.enable_word(context, line);
        self.registers.write(word, self.registers.read(word) & !(1 << (line % 32)));
    }

    /// Takes the most urgent pending line of the context, or `None` if another hart was faster.
    pub fn claim(&self, context: usize) -> Option<u32> {
        self.check_context(context);
        let line = self.registers.read(CLAIM + CONTEXT_STRIDE * context);
        (1..=self.lines).contains(&line).then_some(line)
    }

    /// Gives a claimed line back after it was served. The line must be enabled for the context, or the
    /// controller ignores this and never sends the line again.
    pub fn complete(&self, context: usize, line: u32) {
        self.check_context(context);
        self.registers.write(CLAIM + CONTEXT_STRIDE * context, line);
    }

    fn enable_word(&self, context: usize, line: u32) -> usize {
        self.check_context(context);
        ENABLE + ENABLE_STRIDE * context + 4 * (line as usize / 32)
    }

    fn check_line(&self, line: u32) {
        assert!((1..=self.lines).contains(&line), "no interrupt line {line}");
    }

    fn check_context(&self, context: usize) {
        assert!(self.has_context(context), "no interrupt context {context}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::block;

    fn plic() -> (Plic, Mmio) {
        let registers = block(0x60_0000);
        (Plic::new(registers, 96), registers)
    }

    #[test]
    fn enabling_touches_one_bit_of_one_context() {
        let (plic, registers) = plic();
        plic.enable(3, 33);
        plic.enable(3, 34);
        plic.disable(3, 33);
        assert_eq!(registers.read(0x2000 + 3 * 0x80 + 4), 1 << 2);
        assert_eq!(registers.read(0x2000 + 0x80 + 4), 0);
    }

    #[test]
    fn init_clears_all_lines() {
        let (plic, registers) = plic();
        for line in 1..=96 {
            plic.enable(1, line);
        }
        plic.set_threshold(1, 7);
        plic.init_context(1);
        assert!((0..4).all(|word| registers.read(0x2080 + 4 * word) == 0));
        assert_eq!(registers.read(0x20_1000), 0);
    }

    #[test]
    fn claim_takes_only_lines_that_exist() {
        let (plic, registers) = plic();
        assert_eq!(plic.claim(1), None);
        registers.write(0x20_1004, 10);
        assert_eq!(plic.claim(1), Some(10));
        registers.write(0x20_1004, 97);
        assert_eq!(plic.claim(1), None);
    }

    #[test]
    fn contexts_outside_of_the_registers_are_told() {
        let (plic, _) = plic();
        assert!(plic.has_context(1023));
        assert!(!plic.has_context(1024));
        assert!(!plic.has_context(usize::MAX - 1));
    }
}
