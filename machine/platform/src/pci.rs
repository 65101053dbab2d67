//! The PCI host bridge: where its configuration space and its windows are, and which line a function's pin is wired to.

use crate::device::{Line, line_of};
use crate::memory::Range;
use crate::tree::{Nodes, cell, cells, reg};
use dtoolkit::fdt::FdtNode;

/// Bytes of configuration space for each bus.
const BUS: u64 = 1 << 20;
/// Device numbers after which the wiring repeats itself, and pins of a function.
const SLOTS: usize = 4;
const PINS: usize = 4;
/// Cells of an address on the bus, and of an entry of `ranges` (behind it an address and a size of two cells each).
const ADDRESS: usize = 3;
const WINDOW: usize = ADDRESS + 4;
/// The bits of an address that say which space it is in: 1 ports, 2 memory below 4 GiB, 3 memory.
const SPACE: u32 = 3 << 24;

/// A part of an address space of the bus, as the processor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first address on the bus.
    pub bus: u64,
    /// Where that is.
    pub range: Range,
}

/// A host bridge of the generic kind (ECAM), with what is on its first bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pci {
    /// The configuration space of the first bus.
    pub configuration: Range,
    /// Ports.
    pub ports: Option<Window>,
    /// Memory with addresses of 32 bits.
    pub memory: Option<Window>,
    lines: [[Option<Line>; PINS]; SLOTS],
}

impl Pci {
    /// The line to which pin 1 to 4 of a device is wired.
    pub fn line(&self, device: u8, pin: u8) -> Option<Line> {
        let pins = self.lines.get(usize::from(device) % SLOTS)?;
        *pins.get(usize::from(pin).checked_sub(1)?)?
    }
}

pub(crate) fn read(nodes: Nodes<'_>) -> Option<Pci> {
    let node = nodes.compatible(&["pci-host-ecam-generic"]).next()?;
    let whole = reg(&node).filter(|range| range.size >= BUS)?;
    Some(Pci {
        configuration: Range::new(whole.start, BUS)?,
        ports: window(&node, 1),
        memory: window(&node, 2),
        lines: lines(nodes, &node),
    })
}

/// The first window of a space.
fn window(node: &FdtNode<'_>, space: u32) -> Option<Window> {
    let mut all = cells(node, "ranges");
    loop {
        let mut entry = [0; WINDOW];
        for value in &mut entry {
            *value = all.next()?;
        }
        let [flags, bus, start, size] = [0, 1, 3, 5].map(|at| u64::from(entry[at]) << 32 | u64::from(entry[at + 1]));
        if (flags >> 32) as u32 & SPACE == space << 24 {
            return Some(Window { bus, range: Range::new(start, size)? });
        }
    }
}

/// `interrupt-map`: address on the bus, pin, controller, and as many cells as that takes.
fn lines(nodes: Nodes<'_>, node: &FdtNode<'_>) -> [[Option<Line>; PINS]; SLOTS] {
    let mut lines = [[None; PINS]; SLOTS];
    let mut all = cells(node, "interrupt-map");
    loop {
        let mut head = [0; ADDRESS + 2];
        for value in &mut head {
            let Some(cell) = all.next() else { return lines };
            *value = cell;
        }
        let [address, _, _, pin, controller] = head;
        let controller = nodes.iter().find(|node| cell(node, "phandle") == Some(controller));
        let count = controller.and_then(|node| cell(&node, "#interrupt-cells"));
        let line = match count {
            Some(1) => line_of(&mut all.by_ref().take(1)),
            Some(2) => line_of(&mut all.by_ref().take(2)),
            // How long the entry is cannot be told.
            _ => return lines,
        };
        let slot = (address >> 11) as usize % SLOTS;
        if let Some(place) = (pin as usize).checked_sub(1).and_then(|pin| lines[slot].get_mut(pin)) {
            *place = line;
        }
    }
}
