//! Advanced platform-level interrupt controller: one interrupt domain in message mode (RISC-V Advanced
//! Interrupt Architecture 1.0, chapter 4).
//!
//! The domain turns each wired source into a message to an IMSIC: source `i` sends the identity that its
//! target register names to the hart it names. The addresses of the IMSICs are set up by the machine-level
//! domain, that is, by the firmware.
//!
//! # Level-triggered sources
//!
//! A message can be sent once only: in message mode a level source becomes pending at the rising edge of
//! its (rectified) input and stops being so when the message leaves (section 4.9.2). A device that raises
//! its line again before the driver has let it fall, would never be heard. So after a level-triggered source
//! was served, [`Aplic::resample`] must be called: it makes the source pending again if its input is high.
//!
//! Who may call what: every register write is for one source, so different sources need no lock.

use crate::mmio::Mmio;

const DOMAINCFG: usize = 0x0;
const SOURCECFG: usize = 0x4;
const SETIPNUM: usize = 0x1cdc;
const IN_CLRIP: usize = 0x1d00;
const SETIENUM: usize = 0x1edc;
const CLRIE: usize = 0x1f00;
const CLRIENUM: usize = 0x1fdc;
const TARGET: usize = 0x3004;

/// `domaincfg`: interrupts enabled.
const IE: u32 = 1 << 8;
/// `domaincfg`: delivery by message.
const DM: u32 = 1 << 2;

/// Bytes of registers that [`Aplic::new`] wants at least.
pub const MIN_BYTES: usize = 0x4000;

/// When a source is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At a rising edge.
    RisingEdge,
    /// At a falling edge.
    FallingEdge,
    /// While high.
    LevelHigh,
    /// While low.
    LevelLow,
}

impl Mode {
    /// The source-mode field of `sourcecfg`.
    fn encoding(self) -> u32 {
        match self {
            Mode::RisingEdge => 4,
            Mode::FallingEdge => 5,
            Mode::LevelHigh => 6,
            Mode::LevelLow => 7,
        }
    }
}

/// Where a source's message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Position of the hart among the IMSIC files (not its hart id).
    pub hart_index: u32,
    /// Guest file, or 0 for the hart's own.
    pub guest: u32,
    /// Interrupt identity.
    pub identity: u32,
}

impl Target {
    /// The `target` register, or `None` if a number does not fit into its field.
    fn encoding(self) -> Option<u32> {
        let fits = self.hart_index < 1 << 14 && self.guest < 1 << 6 && (1..1 << 11).contains(&self.identity);
        fits.then_some(self.hart_index << 18 | self.guest << 12 | self.identity)
    }
}

/// An interrupt domain.
#[derive(Clone, Copy, Debug)]
pub struct Aplic {
    registers: Mmio,
    sources: u32,
}

impl Aplic {
    /// The domain with these registers and sources 1 to `sources`.
    ///
    /// # Panics
    ///
    /// If the registers are fewer than [`MIN_BYTES`], or the sources more than 1023.
    pub const fn new(registers: Mmio, sources: u32) -> Aplic {
        assert!(registers.size() >= MIN_BYTES && sources < 1024, "not an interrupt domain");
        Aplic { registers, sources }
    }

    /// Sources are 1 to this, inclusive.
    pub const fn sources(&self) -> u32 {
        self.sources
    }

    /// Silences all sources and switches the domain to message mode, enabled.
    ///
    /// Returns false if the domain cannot send messages (the bit stayed clear).
    #[must_use]
    pub fn init(&self) -> bool {
        self.registers.write(DOMAINCFG, 0);
        for source in 1..=self.sources {
            self.registers.write(SOURCECFG + 4 * (source as usize - 1), 0);
        }
        for word in 0..=self.sources as usize / 32 {
            self.registers.write(CLRIE + 4 * word, u32::MAX);
        }
        self.registers.write(DOMAINCFG, IE | DM);
        self.registers.read(DOMAINCFG) & (IE | DM) == IE | DM
    }

    /// Connects a source. It stays disabled. Returns false if the source is not the domain's to configure, or
    /// the target is impossible.
    ///
    /// # Panics
    ///
    /// If there is no such source; so do all functions that take one.
    #[must_use]
    pub fn configure(&self, source: u32, mode: Mode, target: Target) -> bool {
        let Some(encoding) = target.encoding() else {
            return false;
        };
        let config = SOURCECFG + 4 * self.index(source);
        self.registers.write(config, mode.encoding());
        // A source that was not delegated to this domain reads as zero.
        if self.registers.read(config) != mode.encoding() {
            return false;
        }
        self.registers.write(TARGET + 4 * self.index(source), encoding);
        true
    }

    /// Sends a configured source's messages to another place from now on. Returns false if the target is
    /// impossible. A message that is under way still arrives at the old place.
    #[must_use]
    pub fn retarget(&self, source: u32, target: Target) -> bool {
        let Some(encoding) = target.encoding() else {
            return false;
        };
        self.registers.write(TARGET + 4 * self.index(source), encoding);
        true
    }

    /// Lets the source send.
    pub fn enable(&self, source: u32) {
        let _ = self.index(source);
        self.registers.write(SETIENUM, source);
    }

    /// Keeps the source from sending.
    pub fn disable(&self, source: u32) {
        let _ = self.index(source);
        self.registers.write(CLRIENUM, source);
    }

    /// To be called after a level-triggered source was served: sends another message if the device still
    /// raises its line. Does nothing for a line that has fallen.
    ///
    /// The input is looked at first, although the controller should ignore the write while it is low: some do
    /// not, and would send a message for every resampling, for ever. A line that rises between the two
    /// accesses is a rising edge, and pending by itself.
    pub fn resample(&self, source: u32) {
        let _ = self.index(source);
        let inputs = self.registers.read(IN_CLRIP + 4 * (source as usize / 32));
        if inputs & 1 << (source % 32) != 0 {
            self.registers.write(SETIPNUM, source);
        }
    }

    fn index(&self, source: u32) -> usize {
        assert!((1..=self.sources).contains(&source), "no interrupt source {source}");
        source as usize - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::block;

    fn domain() -> (Aplic, Mmio) {
        let registers = block(0x8000);
        (Aplic::new(registers, 96), registers)
    }

    #[test]
    fn init_enables_message_mode() {
        let (aplic, registers) = domain();
        registers.write(0x4, 6);
        assert!(aplic.init());
        assert_eq!((registers.read(0), registers.read(0x4)), (0x104, 0));
    }

    #[test]
    fn a_source_is_configured_at_its_own_registers() {
        let (aplic, registers) = domain();
        let target = Target { hart_index: 2, guest: 1, identity: 33 };
        assert!(aplic.configure(10, Mode::LevelHigh, target));
        assert_eq!(registers.read(4 * 10), 6);
        assert_eq!(registers.read(0x3000 + 4 * 10), 2 << 18 | 1 << 12 | 33);
        aplic.enable(10);
        assert_eq!(registers.read(0x1edc), 10);
        aplic.disable(10);
        assert_eq!(registers.read(0x1fdc), 10);
    }

    #[test]
    fn impossible_targets_are_refused() {
        let (aplic, _) = domain();
        for (hart_index, guest, identity) in [(1 << 14, 0, 1), (0, 64, 1), (0, 0, 0), (0, 0, 2048)] {
            let target = Target { hart_index, guest, identity };
            assert!(!aplic.configure(1, Mode::RisingEdge, target) && !aplic.retarget(1, target));
        }
    }

    #[test]
    fn resampling_looks_at_the_input() {
        let (aplic, registers) = domain();
        aplic.resample(40);
        assert_eq!(registers.read(0x1cdc), 0);
        registers.write(0x1d04, 1 << 8);
        aplic.resample(40);
        assert_eq!(registers.read(0x1cdc), 40);
    }

    #[test]
    #[should_panic(expected = "no interrupt source")]
    fn source_zero_does_not_exist() {
        domain().0.enable(0);
    }
}
