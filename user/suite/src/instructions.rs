//! Code that a program writes itself.

use crate::case::{Case, Outcome};
use crate::process::{PAGE, RW, Shared, child, exits, map};
use rt::abi::mm::{MAP_ANONYMOUS, MAP_SHARED, PROT_EXEC, PROT_READ};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("code/written-then-run", "D15", written_then_run),
    case!("code/changed-again-and-again", "D15", changed_again_and_again),
    case!("code/changed-for-another-thread", "D15", changed_for_another_thread),
    case!("code/changed-for-another-process", "D15 P4", changed_for_another_process),
];

/// `li a0, value; ret`.
fn program(value: u16) -> u64 {
    let load = (u64::from(value) & 0x7ff) << 20 | 0x513;
    0x0000_8067 << 32 | load
}

fn flush(base: usize) {
    raw::fence_i();
    // For the other harts; without effect where it is not provided, and then the cases say so.
    let _ = call!(RISCV_FLUSH_ICACHE, base, base + PAGE, 0);
}

fn write_code(base: usize, value: u16) -> Outcome {
    call!(MPROTECT, base, PAGE, RW)?;
    raw::store64(base, program(value));
    call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC)?;
    flush(base);
    Ok(())
}

fn written_then_run() -> Outcome {
    let base = map(PAGE, RW)?;
    write_code(base, 123)?;
    equal!(raw::call(base, 0), 123);
    Ok(())
}

fn changed_again_and_again() -> Outcome {
    let base = map(PAGE, RW)?;
    for value in 0..300 {
        write_code(base, value)?;
        equal!(raw::call(base, 0), usize::from(value));
    }
    Ok(())
}

fn changed_for_another_thread() -> Outcome {
    let base = map(PAGE, RW)?;
    for value in 0..60 {
        write_code(base, value)?;
        let found = thread::spawn(move || raw::call(base, 0))?.join();
        equal!(found, Some(usize::from(value)));
    }
    Ok(())
}

/// Two mappings of the same page, one to write and one to run, in two processes.
fn changed_for_another_process() -> Outcome {
    let base = call!(MMAP, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, usize::MAX, 0)?;
    let shared = Shared::new()?;
    let pid = child(|| {
        if call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC).is_err() {
            return 1;
        }
        for value in 1..=50u32 {
            shared.await_least(0, value);
            flush(base);
            if raw::call(base, 0) != value as usize {
                return 2;
            }
            shared.set(1, value);
        }
        0
    })?;
    for value in 1..=50u32 {
        raw::store64(base, program(value as u16));
        shared.set(0, value);
        shared.await_least(1, value);
    }
    exits(pid, 0)
}
