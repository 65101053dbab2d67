//! Harts that stop and start (SBI, "Hart State Management").
//!
//! ```text
//! STOPPED --hart_start: claims, stores where--> PENDING --the hart, interrupted: reads where--> STARTED
//!    ^------------------------------------------hart_stop-----------------------------------------'
//! ```

use crate::csr::{MPP, MPP_S, MPV, MSIP, SIE, SPIE, TSR, csr_clear, csr_read, csr_write};
use crate::entry::{self, Frame};
use crate::local::Local;
use crate::{board, boot, csr};
use core::sync::atomic::Ordering;
use nuintc::hart::Hart;

/// Waits to be started.
pub const STOPPED: u8 = 0;
/// Is being given its address.
const CLAIMED: u8 = 1;
/// Has been told to start.
pub const PENDING: u8 = 2;
/// Runs in S-mode, or below.
pub const STARTED: u8 = 3;

/// Tells a stopped hart to start. `false` if it is not stopped.
pub fn start(local: &Local, hart: usize, address: usize, opaque: usize) -> bool {
    if local.state.compare_exchange(STOPPED, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return false;
    }
    local.address.store(address, Ordering::Relaxed);
    local.opaque.store(opaque, Ordering::Relaxed);
    // Release pairs with the Acquire in `wait`.
    local.state.store(PENDING, Ordering::Release);
    board::interrupt(hart);
    true
}

/// Waits until the running hart is started, and goes to S-mode. Nobody looks at what was on its stack.
pub fn wait(frame: *mut Frame, hart: usize) -> ! {
    let Some(local) = Local::of(hart) else { board::stop() };
    csr_write!("mie", MSIP);
    local.state.store(STOPPED, Ordering::Release);
    while local.state.load(Ordering::Acquire) != PENDING {
        // Interrupts are off, so a pending one ends the wait and is not taken; one that came before the look is still pending.
        // SAFETY: waiting changes no state.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
        board::acknowledge(hart);
    }
    let (address, opaque) = (local.address.load(Ordering::Relaxed), local.opaque.load(Ordering::Relaxed));
    enter(frame, local, hart, address, opaque)
}

/// Goes to S-mode for the first time, or the first time since it stopped.
pub fn enter(frame: *mut Frame, local: &Local, hart: usize, address: usize, opaque: usize) -> ! {
    // SAFETY: the running hart's; what borrowed it before it stopped is not returned to.
    unsafe { *local.n() = Hart::new() };
    local.requests.store(0, Ordering::Relaxed);
    csr_write!("medeleg", boot::EXCEPTIONS);
    csr_write!("mie", MSIP);
    csr_clear!("mip", csr::SSIP | csr::STIP);
    csr_write!("satp", 0);
    let status = csr_read!("mstatus") & !(MPP | MPV | SIE | SPIE | TSR) | MPP_S;
    csr_write!("mstatus", status);
    local.state.store(STARTED, Ordering::Release);
    // SAFETY: the frame is the running hart's (callers have it from `entry`), and the stack is not needed.
    unsafe { entry::supervisor(frame, address, hart, opaque) }
}
