//! The trial of our own firmware: a small kernel that tries the user-interrupt hardware it plays, on both kinds of machine,
//! and counts instructions on one.

use super::{Context, HANG_LIMIT, Tally};
use crate::build;
use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::emulator::{Emulator, Interrupts, Machine};
use anyhow::Result;

/// Interrupt controllers, harts, more properties of the CPU, and whether instructions are counted.
const MACHINES: [(Interrupts, usize, Option<&str>, bool); 4] = [
    (Interrupts::Plic, 1, None, true),
    (Interrupts::Plic, 2, Some("h=false,sstc=false"), false),
    (Interrupts::Plic, 2, None, false),
    (Interrupts::Aia, 2, None, false),
];

/// Runs the trial.
pub fn trial(context: &Context) -> Result<Tally> {
    let firmware = build::build_firmware(&context.project, &context.toolchain)?;
    let emulator = Emulator::find(&context.project, None)?;
    let mut tally = Tally::default();
    for (interrupts, harts, cpu, icount) in MACHINES {
        if interrupts == Interrupts::Aia && !emulator.has_aia() {
            tally += Tally::skip();
            continue;
        }
        let mut machine = Machine::new(&firmware.trial, interrupts);
        machine.firmware = Some(firmware.image.clone());
        machine.cpu = cpu.map(str::to_owned);
        (machine.harts, machine.icount) = (harts, icount);
        let mut said = Vec::new();
        let ending = Session::start(machine.start(&emulator), Wire::Plain)?
            .drain(Some(HANG_LIMIT), |_, bytes| said.extend_from_slice(bytes));
        tally += judged(&String::from_utf8_lossy(&said), &ending, icount);
    }
    Ok(tally)
}

fn judged(said: &str, ending: &Ending, icount: bool) -> Tally {
    let mut tally = Tally::default();
    for line in said.lines() {
        tally += if line.starts_with("ok ") {
            Tally::of(true)
        } else if let Some(what) = line.strip_prefix("not ok ") {
            Tally::failure(what)
        } else {
            // Figures mean something where instructions are counted; a word of trouble always.
            if icount || !line.ends_with("each") {
                say(format!("  {line}"));
            }
            continue;
        };
    }
    // The machine turns itself off, without a status of a program.
    if tally == Tally::default() || !matches!(ending, Ending::Died(how) if how.contains("exit status: 0")) {
        tally += Tally::failure(format!("{ending:?}"));
    }
    tally
}
