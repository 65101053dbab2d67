//! The window of the controller: which register lies at which offset.
//!
//! Sender `s` has the two pages from `s * SLOT` on, receiver `r` those from `RECEIVERS_AT + r * SLOT` on. The first page of a
//! slot is for the process that owns the slot, the second for the kernel. Slot 0 is nobody's; the first page of sender
//! 0 holds what belongs to contexts.

/// Where the window lies in the machine that the firmware plays.
pub const BASE: usize = 0x0400_0000;
/// Bytes of the window.
pub const SIZE: usize = 0x0400_0000;
/// `compatible` in the device tree.
pub const COMPATIBLE: &str = "asyncos,uintc";
/// Slots of senders, and as many of receivers; slot 0 included.
pub const SLOTS: usize = 64;
/// Contexts: harts by their ids.
pub const CONTEXTS: usize = 8;
/// Bytes from one slot to the next.
pub const SLOT: usize = 0x2000;
/// Bytes of a page, of which a slot has two.
pub const PAGE: usize = 0x1000;
/// Offset of the slots of receivers.
pub const RECEIVERS_AT: usize = 0x0200_0000;
/// Offset of a slot's identity from the slot.
pub const UIID: usize = 0x1000;
/// Offset of a slot's enable bits from the slot, 32 in a register.
pub const ENABLE: usize = 0x1800;
/// Offset of a slot's pending bits from the slot, 32 in a register.
pub const PENDING: usize = 0x1a00;

/// Registers that hold one bit for each slot of the other side.
const WORDS: usize = SLOTS / 32;

/// Offset of the register that names the receiver a context listens to.
pub const fn listen(context: usize) -> usize {
    4 * context
}

/// Offset of a sender's slot; its first register is `send`.
pub const fn sender(slot: usize) -> usize {
    slot * SLOT
}

/// Offset of a receiver's slot; its first register is `claim`.
pub const fn receiver(slot: usize) -> usize {
    RECEIVERS_AT + slot * SLOT
}

/// Which side a slot is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sends.
    Sender,
    /// It receives.
    Receiver,
}

/// A register of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The receiver that a context listens to.
    Listen(usize),
    /// `send` of a sender's slot.
    Send(usize),
    /// `claim` of a receiver's slot.
    Claim(usize),
    /// The identity of a slot.
    Uiid(Side, usize),
    /// Enable bits of a slot: 32 from a multiple of 32 on.
    Enable(Side, usize, usize),
    /// Pending bits of a slot: 32 from a multiple of 32 on.
    Pending(Side, usize, usize),
    /// Nothing: reads as zero, writes are lost.
    Reserved,
}

impl Register {
    /// The register at an offset in the window.
    #[inline(always)]
    pub const fn at(offset: usize) -> Register {
        let side = if offset >= RECEIVERS_AT { Side::Receiver } else { Side::Sender };
        let (slot, within) = (offset % RECEIVERS_AT / SLOT, offset % SLOT);
        if offset >= SIZE || slot >= SLOTS {
            return Register::Reserved;
        }
        if within == 0 && slot != 0 {
            return if offset >= RECEIVERS_AT { Register::Claim(slot) } else { Register::Send(slot) };
        }
        if !offset.is_multiple_of(4) {
            return Register::Reserved;
        }
        if slot == 0 {
            let context = offset / 4;
            return if context < CONTEXTS { Register::Listen(context) } else { Register::Reserved };
        }
        match within {
            UIID => Register::Uiid(side, slot),
            ENABLE..PENDING if (within - ENABLE) / 4 < WORDS => Register::Enable(side, slot, (within - ENABLE) * 8),
            PENDING.. if (within - PENDING) / 4 < WORDS => Register::Pending(side, slot, (within - PENDING) * 8),
            _ => Register::Reserved,
        }
    }
}
