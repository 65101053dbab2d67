//! Interrupt controllers, as far as S-mode has a part in them: PLIC, APLIC domain, IMSIC files.

use crate::cpu::LocalController;
use crate::memory::Range;
use crate::tree::{Nodes, bytes, cell, cells, reg};
use crate::{Error, MAX_HARTS};
use arrayvec::ArrayVec;
use dtoolkit::fdt::FdtNode;

/// Number of the S-level external interrupt at a hart's local controller.
const S_EXTERNAL: u32 = 9;
/// Most contexts of a PLIC (the size of its register map).
const MAX_CONTEXTS: usize = 15872;
const PAGE: u64 = 4096;

/// A PLIC.
#[derive(Clone, Debug)]
pub struct Plic {
    /// Its registers.
    pub registers: Range,
    /// Lines are 1 to this, inclusive.
    pub lines: u32,
    /// The S-mode context of each hart that has one.
    pub contexts: ArrayVec<PlicContext, MAX_HARTS>,
}

/// Which PLIC context is a hart's S-mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlicContext {
    /// Hart id.
    pub hart: usize,
    /// Context number.
    pub context: usize,
}

/// The S-level IMSIC files.
#[derive(Clone, Debug)]
pub struct Imsic {
    /// All files of all harts.
    pub registers: Range,
    /// Interrupt identities are 1 to this, inclusive.
    pub ids: u32,
    /// A hart has 2 to the power of this pages: its own file, then guest files.
    pub guest_index_bits: u32,
    /// Hart ids in the order of the files. The position is the *hart index* of APLIC targets.
    pub harts: ArrayVec<usize, MAX_HARTS>,
}

impl Imsic {
    /// Bytes from one hart's file to the next hart's.
    pub fn stride(&self) -> u64 {
        PAGE << self.guest_index_bits
    }

    /// Position of a hart's file.
    pub fn index_of(&self, hart: usize) -> Option<usize> {
        self.harts.iter().position(|&id| id == hart)
    }

    /// Physical address of a hart's S-level file (guest file `n` is `n` pages on).
    pub fn file(&self, hart: usize) -> Option<u64> {
        Some(self.registers.start + self.index_of(hart)? as u64 * self.stride())
    }
}

/// The APLIC interrupt domain of S-mode, in message mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aplic {
    /// Its registers.
    pub registers: Range,
    /// Sources are 1 to this, inclusive.
    pub sources: u32,
}

/// The matrix UINTC, which comes with the CSRs of N on every hart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uintc {
    /// Its window.
    pub registers: Range,
    /// Slots of senders, and as many of receivers, slot 0 included.
    pub slots: usize,
    /// Contexts are the harts with ids below this.
    pub contexts: usize,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Controllers {
    pub(crate) plic: Option<Plic>,
    pub(crate) imsic: Option<Imsic>,
    pub(crate) aplic: Option<Aplic>,
    pub(crate) uintc: Option<Uintc>,
}

pub(crate) fn read(nodes: Nodes<'_>, local: &[LocalController]) -> Result<Controllers, Error> {
    let mut out = Controllers::default();
    if let Some(node) = nodes.compatible(&["riscv,plic0", "sifive,plic-1.0.0"]).next() {
        out.plic = Some(plic(&node, local)?);
    }
    // Imsics of M-mode have the same form; only what they are wired to tells them apart.
    let s_level = nodes.compatible(&["riscv,imsics"]).find(|node| wires(node).any(|(_, irq)| irq == S_EXTERNAL));
    if let Some(node) = s_level {
        out.imsic = Some(imsic(&node, local)?);
        let phandle = cell(&node, "phandle");
        let domain = nodes.compatible(&["riscv,aplic"]).find(|node| {
            let parent = cell(node, "msi-parent");
            parent.is_some() && parent == phandle
        });
        out.aplic = domain.map(|node| aplic(&node)).transpose()?;
    }
    out.uintc = nodes.compatible(&["asyncos,uintc"]).next().and_then(|node| uintc(&node));
    Ok(out)
}

/// One that is described badly is not used: processes have other ways.
fn uintc(node: &FdtNode<'_>) -> Option<Uintc> {
    let count = |name: &str| cell(node, name).filter(|n| (2..=2048).contains(n)).map(|n| n as usize);
    Some(Uintc { registers: reg(node)?, slots: count("asyncos,slots")?, contexts: count("asyncos,contexts")? })
}

/// The pairs (phandle of a local controller, its interrupt) that a controller is wired to.
fn wires<'a>(node: &FdtNode<'a>) -> impl Iterator<Item = (u32, u32)> + use<'a> {
    let phandles = cells(node, "interrupts-extended").step_by(2);
    phandles.zip(cells(node, "interrupts-extended").skip(1).step_by(2))
}

fn hart_of(local: &[LocalController], phandle: u32) -> Option<usize> {
    local.iter().find(|entry| entry.phandle == phandle).map(|entry| entry.hart)
}

fn plic(node: &FdtNode<'_>, local: &[LocalController]) -> Result<Plic, Error> {
    let registers = reg(node).ok_or(Error::Malformed("PLIC reg"))?;
    let lines =
        cell(node, "riscv,ndev").filter(|n| (1..1024).contains(n)).ok_or(Error::Malformed("PLIC riscv,ndev"))?;
    let mut contexts = ArrayVec::new();
    for (context, (phandle, irq)) in wires(node).take(MAX_CONTEXTS).enumerate() {
        if irq != S_EXTERNAL {
            continue;
        }
        if let Some(hart) = hart_of(local, phandle) {
            // Harts that did not fit into the list of harts are not in `local` either.
            let _ = contexts.try_push(PlicContext { hart, context });
        }
    }
    if contexts.is_empty() {
        return Err(Error::Malformed("PLIC interrupts-extended"));
    }
    Ok(Plic { registers, lines, contexts })
}

fn imsic(node: &FdtNode<'_>, local: &[LocalController]) -> Result<Imsic, Error> {
    if cell(node, "riscv,group-index-bits").unwrap_or(0) > 0 {
        return Err(Error::Unsupported("IMSIC files in several groups"));
    }
    let registers = reg(node).ok_or(Error::Malformed("IMSIC reg"))?;
    let ids = cell(node, "riscv,num-ids")
        .filter(|n| (63..2048).contains(n))
        .ok_or(Error::Malformed("IMSIC riscv,num-ids"))?;
    let guest_index_bits = cell(node, "riscv,guest-index-bits").unwrap_or(0);
    if guest_index_bits > 6 {
        return Err(Error::Malformed("IMSIC riscv,guest-index-bits"));
    }
    let mut harts = ArrayVec::new();
    for (phandle, _) in wires(node) {
        // A hart that is not used ends the list: positions must stay those of the hardware.
        let Some(hart) = hart_of(local, phandle) else {
            break;
        };
        if harts.try_push(hart).is_err() {
            break;
        }
    }
    let imsic = Imsic { registers, ids, guest_index_bits, harts };
    if imsic.harts.is_empty() || imsic.stride() * imsic.harts.len() as u64 > registers.size {
        return Err(Error::Malformed("IMSIC interrupts-extended"));
    }
    Ok(imsic)
}

fn aplic(node: &FdtNode<'_>) -> Result<Aplic, Error> {
    let registers = reg(node).filter(|r| r.size >= 0x4000).ok_or(Error::Malformed("APLIC reg"))?;
    let sources = cell(node, "riscv,num-sources").filter(|n| (1..1024).contains(n));
    if bytes(node, "interrupts-extended").is_some() {
        return Err(Error::Unsupported("APLIC with direct delivery"));
    }
    Ok(Aplic { registers, sources: sources.ok_or(Error::Malformed("APLIC riscv,num-sources"))? })
}
