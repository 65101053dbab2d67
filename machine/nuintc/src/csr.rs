//! The CSRs of the N extension, by their numbers, and their bits.

/// `ustatus`: [`UIE`] and [`UPIE`].
pub const USTATUS: usize = 0x000;
/// `uie`: which interrupts are let in.
pub const UIE_CSR: usize = 0x004;
/// `utvec`: where traps go; bit 0 set: interrupts to 4 times their cause behind it.
pub const UTVEC: usize = 0x005;
/// `uscratch`: the program's.
pub const USCRATCH: usize = 0x040;
/// `uepc`: where a trap came from.
pub const UEPC: usize = 0x041;
/// `ucause`: why; the top bit is set for interrupts.
pub const UCAUSE: usize = 0x042;
/// `utval`: the address or instruction of an exception.
pub const UTVAL: usize = 0x043;
/// `uip`: which interrupts are pending.
pub const UIP: usize = 0x044;
/// `sedeleg`: exceptions that the kernel leaves to the program.
pub const SEDELEG: usize = 0x102;
/// `sideleg`: interrupts that the kernel leaves to the program.
pub const SIDELEG: usize = 0x103;

/// `ustatus`: interrupts are let in.
pub const UIE: usize = 1 << 0;
/// `ustatus`: they were before the trap.
pub const UPIE: usize = 1 << 4;
/// `uie`, `uip`, `sideleg`: the software interrupt, from the controller or from `uip` itself.
pub const SOFTWARE: usize = 1 << 0;
/// The timer's interrupt, raised by the kernel.
pub const TIMER: usize = 1 << 4;
/// The external interrupt, raised by the kernel.
pub const EXTERNAL: usize = 1 << 8;
/// All three.
pub const INTERRUPTS: usize = SOFTWARE | TIMER | EXTERNAL;
/// `sedeleg`: the exceptions that can be delegated; calls from the kernel's mode cannot.
pub const EXCEPTIONS: usize = 0xb1ff;
/// `ucause` of interrupts.
pub const INTERRUPT: usize = 1 << 63;
