//! What came: calls, interrupts, and what the hart had no answer for.

use crate::csr::{STIP, csr_clear, csr_read, csr_set};
use crate::entry::Frame;
use crate::local::{IPI, Local};
use crate::{board, csr, deliver, forward, illegal, sbi, window};
use core::sync::atomic::Ordering;
use nuintc::hart::{Hart, Mode};

/// `mcause`: the illegal instruction.
pub const ILLEGAL: usize = 2;
/// `mcause`: a load that nothing answers.
pub const LOAD_ACCESS: usize = 5;
/// `mcause`: a store that nothing answers.
pub const STORE_ACCESS: usize = 7;
/// `mcause`: a call of S-mode.
const CALL: usize = 9;
/// `mcause`: the top bit of interrupts.
const INTERRUPT: usize = 1 << 63;
const SOFTWARE: usize = INTERRUPT | 3;
const TIMER: usize = INTERRUPT | 7;

/// A trap, and the hart that it happened to.
pub struct Trap<'a> {
    /// The registers of the mode it came from.
    pub frame: &'a mut Frame,
    /// The hart's.
    pub local: &'static Local,
    /// The hart's CSRs of N.
    pub n: &'a mut Hart,
}

/// The mode that a trap came from: `None` for V = 1, which knows nothing of N.
pub fn origin(status: usize) -> Option<Mode> {
    match (status & csr::MPV, status & csr::MPP) {
        (0, 0) => Some(Mode::User),
        (0, _) => Some(Mode::Supervisor),
        _ => None,
    }
}

#[unsafe(no_mangle)]
extern "C" fn trap(frame: &mut Frame) {
    let Some(local) = Local::of(frame.hart) else { return };
    // SAFETY: the frame is the running hart's, and the only other user, a hart that starts, is not in a trap.
    let n = unsafe { local.n() };
    let mut trap = Trap { frame, local, n };
    match csr_read!("mcause") {
        ILLEGAL => return illegal::execute(&mut trap),
        cause @ (LOAD_ACCESS | STORE_ACCESS) => window::access(&mut trap, cause),
        CALL => sbi::call(trap.frame),
        SOFTWARE => software(&trap),
        TIMER => {
            // Until the kernel sets the next one; S-mode sees the interrupt.
            csr_clear!("mie", csr::MTIP);
            csr_set!("mip", STIP);
        }
        // Delegated to S-mode, unless `sedeleg` wanted them looked at here.
        cause => forward::exception(&mut trap, cause, csr_read!("mtval")),
    }
    deliver::deliver(&mut trap);
}

fn software(trap: &Trap<'_>) {
    board::acknowledge(trap.frame.hart);
    // Acquire pairs with the Release of who asked. What is asked from now on interrupts again.
    if trap.local.requests.swap(0, Ordering::Acquire) & IPI != 0 {
        csr_set!("mip", csr::SSIP);
    }
}
