//! Instructions that the hart does not know: those of N are executed, the others are illegal.

use crate::csr::{csr_read, csr_write};
use crate::trap::{self, ILLEGAL, Trap};
use crate::{boot, deliver, forward, unprivileged};
use core::sync::atomic::Ordering;
use nuintc::csr::SEDELEG;
use nuintc::hart::Mode;
use nuintc::instruction::{Csr, Source, System, system};

/// Executes the instruction, or hands the trap on; then lets interrupts in.
#[inline]
pub fn execute(trap: &mut Trap<'_>) {
    let mode = trap::origin(csr_read!("mstatus"));
    let mut value = csr_read!("mtval");
    if value == 0 && mode.is_some() {
        // This hart does not say which one it was.
        match unprivileged::fetch(csr_read!("mepc")) {
            Some(word) => value = word as usize,
            None => return,
        }
    }
    let done = match (mode, system(value as u32)) {
        (Some(mode), Some(System::Csr(csr))) => access(trap, csr, mode),
        (Some(Mode::User), Some(System::Uret)) => match trap.n.uret() {
            Some(pc) => {
                csr_write!("mepc", pc);
                true
            }
            None => false,
        },
        (Some(Mode::Supervisor), Some(System::Sret)) => {
            if !deliver::sret() {
                // Behind `deliver` it would be caught again, for ever.
                return;
            }
            true
        }
        _ => false,
    };
    if !done {
        forward::exception(trap, ILLEGAL, value);
    }
    deliver::deliver(trap);
}

#[inline]
fn access(trap: &mut Trap<'_>, csr: Csr, mode: Mode) -> bool {
    let source = match csr.source {
        Source::Register(register) => trap.frame.get(register),
        Source::Immediate(value) => value,
    };
    // Acquire as in `deliver`.
    let Some(old) = trap.n.access(csr, source, mode, trap.local.line.load(Ordering::Acquire)) else { return false };
    if csr.number == SEDELEG {
        // What goes to programs has to come here first.
        csr_write!("medeleg", boot::EXCEPTIONS & !trap.n.delegated());
    }
    trap.frame.set(csr.destination, old);
    csr_write!("mepc", csr_read!("mepc").wrapping_add(4));
    true
}
