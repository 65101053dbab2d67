//! Devices: UART, virtio-mmio slots, clock, finisher.

use crate::MAX_VIRTIO;
use crate::memory::Range;
use crate::tree::{Nodes, bytes, cell, cells, is_compatible, is_enabled, reg, text};
use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};

const UARTS: &[&str] = &["ns16550a", "ns16550", "snps,dw-apb-uart"];

/// How a line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Rising edge.
    RisingEdge,
    /// Falling edge.
    FallingEdge,
    /// High level (what a PLIC takes).
    LevelHigh,
    /// Low level.
    LevelLow,
}

/// An interrupt line at the machine's controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// PLIC line or APLIC source; not 0.
    pub number: u32,
    /// How it signals.
    pub trigger: Trigger,
}

/// A 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: Range,
    /// Its interrupt; a UART without one can still be polled.
    pub line: Option<Line>,
    /// Input clock in Hz, 0 if not stated.
    pub clock_hz: u32,
    /// Registers are 2 to the power of this bytes apart.
    pub register_shift: u32,
    /// Bytes of one register access (1 or 4).
    pub access_bytes: u32,
}

/// A virtio-mmio slot, empty or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Its registers.
    pub registers: Range,
    /// Its interrupt.
    pub line: Line,
}

/// A goldfish real-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtc {
    /// Its registers.
    pub registers: Range,
}

/// A SiFive test finisher: writing a code powers the machine off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finisher {
    /// Its registers.
    pub registers: Range,
}

/// The console's UART, else the first one.
pub(crate) fn uart(fdt: &Fdt<'_>, nodes: Nodes<'_>) -> Option<Uart> {
    let console = console(fdt).filter(|node| is_compatible(node, UARTS) && is_enabled(node));
    let node = console.or_else(|| nodes.compatible(UARTS).next())?;
    let register_shift = cell(&node, "reg-shift").unwrap_or(0);
    let access_bytes = cell(&node, "reg-io-width").unwrap_or(1);
    let registers = reg(&node)?;
    // Eight registers must lie inside, or a driver would touch what is not the UART's.
    let fits = register_shift <= 4 && registers.size >= 8 << register_shift;
    let possible = access_bytes == 1 || access_bytes == 4 && register_shift >= 2;
    if !fits || !possible {
        return None;
    }
    let clock_hz = cell(&node, "clock-frequency").unwrap_or(0);
    Some(Uart { registers, line: line(&node), clock_hz, register_shift, access_bytes })
}

/// The node of `/chosen/stdout-path`: a path, perhaps with options after a colon. Aliases are not followed.
fn console<'a>(fdt: &Fdt<'a>) -> Option<FdtNode<'a>> {
    let chosen = fdt.find_node("/chosen")?;
    let path = bytes(&chosen, "stdout-path").and_then(text)?.split(':').next()?;
    path.starts_with('/').then(|| fdt.find_node(path))?
}

pub(crate) fn virtio(nodes: Nodes<'_>, left_out: &mut usize) -> ArrayVec<VirtioSlot, MAX_VIRTIO> {
    let mut out = ArrayVec::new();
    for node in nodes.compatible(&["virtio,mmio"]) {
        // 0x100 registers and at least some configuration space behind them.
        let registers = reg(&node).filter(|r| r.size > 0x100);
        let (Some(registers), Some(line)) = (registers, line(&node)) else {
            continue;
        };
        *left_out += usize::from(out.try_push(VirtioSlot { registers, line }).is_err());
    }
    out.sort_unstable_by_key(|slot| slot.registers.start);
    out
}

pub(crate) fn rtc(nodes: Nodes<'_>) -> Option<Rtc> {
    let node = nodes.compatible(&["google,goldfish-rtc"]).next()?;
    Some(Rtc { registers: reg(&node).filter(|r| r.size >= 0x20)? })
}

pub(crate) fn finisher(nodes: Nodes<'_>) -> Option<Finisher> {
    let node = nodes.compatible(&["sifive,test0", "sifive,test1"]).next()?;
    Some(Finisher { registers: reg(&node).filter(|r| r.size >= 4)? })
}

/// The first entry of `interrupts`.
fn line(node: &FdtNode<'_>) -> Option<Line> {
    line_of(&mut cells(node, "interrupts"))
}

/// An entry: one cell at a PLIC, two (with the trigger) at an APLIC.
pub(crate) fn line_of(entry: &mut impl Iterator<Item = u32>) -> Option<Line> {
    let number = entry.next().filter(|n| (1..1024).contains(n))?;
    let trigger = match entry.next() {
        None | Some(4) => Trigger::LevelHigh,
        Some(1) => Trigger::RisingEdge,
        Some(2) => Trigger::FallingEdge,
        Some(8) => Trigger::LevelLow,
        Some(_) => return None,
    };
    Some(Line { number, trigger })
}
