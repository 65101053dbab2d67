//! `/cpus`: harts, their extensions, and the timebase.

use crate::tree::{bytes, cell, is_compatible, is_enabled, number, reg_id, text};
use crate::{Error, MAX_HARTS, MAX_ISA};
use arrayvec::{ArrayString, ArrayVec};
use bitflags::bitflags;
use dtoolkit::Node;
use dtoolkit::fdt::{Fdt, FdtNode};

bitflags! {
    /// ISA extensions that the kernel asks about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Extensions: u32 {
        /// Single-precision floating point.
        const F = 1 << 0;
        /// Double-precision floating point.
        const D = 1 << 1;
        /// Compressed instructions.
        const C = 1 << 2;
        /// Vectors.
        const V = 1 << 3;
        /// Hypervisor.
        const H = 1 << 4;
        /// S-level timer compare register.
        const SSTC = 1 << 5;
        /// Advanced interrupt architecture, M level.
        const SMAIA = 1 << 6;
        /// Advanced interrupt architecture, S level.
        const SSAIA = 1 << 7;
        /// Cache-block zero; the block size is [`Hart::zero_block`].
        const ZICBOZ = 1 << 8;
        /// Cache-block management.
        const ZICBOM = 1 << 9;
        /// Page-based memory types.
        const SVPBMT = 1 << 10;
        /// Naturally aligned contiguous translations.
        const SVNAPOT = 1 << 11;
        /// Fine-grained TLB invalidation.
        const SVINVAL = 1 << 12;
        /// Accessed and dirty bits are updated by hardware.
        const SVADU = 1 << 13;
        /// Accessed and dirty bits raise a fault.
        const SVADE = 1 << 14;
        /// Entropy source.
        const ZKR = 1 << 15;
        /// Pause hint.
        const ZIHINTPAUSE = 1 << 16;
        /// Wait-on-reservation-set.
        const ZAWRS = 1 << 17;
        /// Address generation (bit manipulation).
        const ZBA = 1 << 18;
        /// Basic bit manipulation.
        const ZBB = 1 << 19;
        /// Carry-less multiplication.
        const ZBC = 1 << 20;
        /// Single-bit instructions.
        const ZBS = 1 << 21;
        /// Counter overflow interrupts.
        const SSCOFPMF = 1 << 22;
    }
}

/// Extensions of more than one letter, by their name in the tree.
const NAMED: [(&str, Extensions); 18] = [
    ("sstc", Extensions::SSTC),
    ("smaia", Extensions::SMAIA),
    ("ssaia", Extensions::SSAIA),
    ("zicboz", Extensions::ZICBOZ),
    ("zicbom", Extensions::ZICBOM),
    ("svpbmt", Extensions::SVPBMT),
    ("svnapot", Extensions::SVNAPOT),
    ("svinval", Extensions::SVINVAL),
    ("svadu", Extensions::SVADU),
    ("svade", Extensions::SVADE),
    ("zkr", Extensions::ZKR),
    ("zihintpause", Extensions::ZIHINTPAUSE),
    ("zawrs", Extensions::ZAWRS),
    ("zba", Extensions::ZBA),
    ("zbb", Extensions::ZBB),
    ("zbc", Extensions::ZBC),
    ("zbs", Extensions::ZBS),
    ("sscofpmf", Extensions::SSCOFPMF),
];

/// One hart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hart {
    /// Hart id, as SBI calls take it.
    pub id: usize,
    /// What it implements, of what the kernel knows.
    pub extensions: Extensions,
    /// Bytes that one `cbo.zero` clears: a power of two, or 0 without [`Extensions::ZICBOZ`].
    pub zero_block: u32,
}

/// Links the phandle of a hart's local interrupt controller to the hart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalController {
    pub(crate) phandle: u32,
    pub(crate) hart: usize,
}

/// What `/cpus` says.
pub(crate) struct Cpus {
    pub(crate) harts: ArrayVec<Hart, MAX_HARTS>,
    pub(crate) controllers: ArrayVec<LocalController, MAX_HARTS>,
    pub(crate) isa: ArrayString<MAX_ISA>,
    pub(crate) timebase_hz: u64,
}

pub(crate) fn read(fdt: &Fdt<'_>, left_out: &mut usize) -> Result<Cpus, Error> {
    let cpus = fdt.root().child("cpus").ok_or(Error::Missing("/cpus"))?;
    let mut out = Cpus {
        harts: ArrayVec::new(),
        controllers: ArrayVec::new(),
        isa: ArrayString::new(),
        timebase_hz: number(&cpus, "timebase-frequency").unwrap_or(0),
    };
    for cpu in cpus.children().filter(|node| is_hart(node)) {
        // Some trees repeat the frequency in each hart instead.
        if out.timebase_hz == 0 {
            out.timebase_hz = number(&cpu, "timebase-frequency").unwrap_or(0);
        }
        let Some(id) = reg_id(&cpu) else {
            return Err(Error::Malformed("/cpus/cpu reg"));
        };
        let hart = Hart { id, extensions: extensions(&cpu), zero_block: zero_block(&cpu) };
        if out.harts.try_push(hart).is_err() {
            *left_out += 1;
            continue;
        }
        if out.isa.is_empty() {
            out.isa = isa_text(&cpu);
        }
        if let Some(phandle) = local_controller(&cpu) {
            // Cannot overflow: it has the capacity of `harts`, which took this hart.
            let _ = out.controllers.try_push(LocalController { phandle, hart: id });
        }
    }
    if out.harts.is_empty() {
        return Err(Error::Missing("usable hart"));
    }
    if out.timebase_hz == 0 {
        return Err(Error::Missing("timebase-frequency"));
    }
    Ok(out)
}

fn is_hart(node: &FdtNode<'_>) -> bool {
    node.name_without_address() == "cpu" && is_compatible(node, &["riscv"]) && is_enabled(node)
}

fn local_controller(cpu: &FdtNode<'_>) -> Option<u32> {
    let controller = cpu.children().find(|node| is_compatible(node, &["riscv,cpu-intc"]))?;
    cell(&controller, "phandle")
}

fn zero_block(cpu: &FdtNode<'_>) -> u32 {
    if !extensions(cpu).contains(Extensions::ZICBOZ) {
        return 0;
    }
    cell(cpu, "riscv,cboz-block-size").filter(|size| size.is_power_of_two() && *size <= 4096).unwrap_or(0)
}

/// Both forms of the tree: a list of names, or the older single string.
fn extensions(cpu: &FdtNode<'_>) -> Extensions {
    if let Some(list) = bytes(cpu, "riscv,isa-extensions").and_then(|b| core::str::from_utf8(b).ok()) {
        return list.split('\0').fold(Extensions::empty(), |all, name| all | named(name));
    }
    let Some(isa) = bytes(cpu, "riscv,isa").and_then(text) else {
        return Extensions::empty();
    };
    let mut parts = isa.split('_');
    let single = parts.next().and_then(|first| first.get("rv64".len()..)).unwrap_or("");
    let letters = single.chars().fold(Extensions::empty(), |all, c| all | lettered(c));
    parts.fold(letters, |all, name| all | named(name))
}

fn named(name: &str) -> Extensions {
    let mut letters = name.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        return lettered(letter);
    }
    NAMED.iter().find(|(known, _)| *known == name).map_or(Extensions::empty(), |(_, flag)| *flag)
}

fn lettered(letter: char) -> Extensions {
    match letter {
        'f' => Extensions::F,
        'd' => Extensions::D,
        'c' => Extensions::C,
        'v' => Extensions::V,
        'h' => Extensions::H,
        'g' => Extensions::F | Extensions::D,
        _ => Extensions::empty(),
    }
}

fn isa_text(cpu: &FdtNode<'_>) -> ArrayString<MAX_ISA> {
    let isa = bytes(cpu, "riscv,isa").and_then(text).unwrap_or("");
    let mut out = ArrayString::new();
    // Whole names only, so that a cut string is still a valid one.
    for (index, part) in isa.split('_').enumerate() {
        if out.remaining_capacity() <= part.len() {
            break;
        }
        if index > 0 {
            out.push('_');
        }
        out.push_str(part);
    }
    out
}
