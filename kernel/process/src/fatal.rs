//! The report in the log when a fault kills a process: registers, address, backtrace, program.
//!
//! The backtrace follows frame pointers (`fp` points behind the saved return address and frame pointer). All
//! of it is the program's own memory: each step is copied and checked, and the walk is bounded.

use crate::thread::Thread;
use abi::signal::Siginfo;
use alloc::{string::String, vec::Vec};
use hal::user::UserContext;

/// Most frames of a backtrace.
const MAX_FRAMES: usize = 32;

const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// Logs what happened.
pub(crate) async fn report(thread: &Thread, context: &UserContext, info: &Siginfo) {
    let process = thread.process();
    let name = process.name();
    let name = String::from_utf8_lossy(&name);
    let (signal, code, address, pc) = (info.signo, info.code, info.fields[0], context.pc());
    log::warn!("{name}[{}]: killed by signal {signal} (code {code}) at pc {pc:#x}, address {address:#x}", thread.tid());
    for row in (1..32).collect::<Vec<usize>>().chunks(4) {
        let mut line = String::new();
        for &register in row {
            use core::fmt::Write;
            // Writing to a string cannot fail.
            let _ = write!(line, " {:>4} {:016x}", NAMES[register], context.x()[register]);
        }
        log::warn!("{line}");
    }
    let frames = backtrace(thread, context).await;
    log::warn!("  backtrace: {frames:x?}");
}

/// Return addresses, innermost first.
pub(crate) async fn backtrace(thread: &Thread, context: &UserContext) -> Vec<usize> {
    let space = thread.space();
    let mut frames = alloc::vec![context.pc(), context.x()[1]];
    let mut frame = context.x()[8];
    while frames.len() < MAX_FRAMES {
        let Some(at) = frame.checked_sub(16) else { break };
        let Ok([next, back]) = space.get::<[u64; 2]>(at).await else { break };
        if back == 0 || next as usize <= frame {
            break; // stacks grow down: frames further out are higher
        }
        frames.push(back as usize);
        frame = next as usize;
    }
    frames
}
