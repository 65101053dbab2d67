//! Memory that must not be touched: the process that does is ended by SIGSEGV, and nobody else.

use crate::case::{Case, Outcome};
use crate::process::{PAGE, RW, child, dies, exits, faults, map, unmap};
use rt::abi::mm::{PROT_EXEC, PROT_NONE, PROT_READ};
use rt::abi::signal::{SIGILL, SIGSEGV, SIGTRAP};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("protection/null", "E1 P1", null),
    case!("protection/unmapped", "E1", unmapped),
    case!("protection/read-only", "E1", read_only),
    case!("protection/none", "E1", none),
    case!("protection/given-back", "D3", given_back),
    case!("protection/half-a-range", "D3", half_a_range),
    case!("protection/no-execute", "D15 E1", no_execute),
    case!("protection/own-text", "D15 E1", own_text),
    case!("protection/own-constants", "D15", own_constants),
    case!("protection/stack-guard", "E1", stack_guard),
    case!("protection/thread-guard", "E1 P7", thread_guard),
    case!("protection/other-threads-see-it", "D15 G1", other_threads_see_it),
    case!("protection/illegal-instruction", "E1 U7", illegal_instruction),
    case!("protection/breakpoint", "E1 U7", breakpoint),
    case!("protection/others-live-on", "E1 P1", others_live_on),
];

fn null() -> Outcome {
    faults(|| raw::load8(0))?;
    faults(|| raw::store8(8, 1))?;
    faults(|| raw::call(0, 0))
}

fn unmapped() -> Outcome {
    let base = map(PAGE, RW)?;
    unmap(base, PAGE)?;
    faults(|| raw::load8(base))?;
    faults(|| raw::store8(base, 1))
}

fn read_only() -> Outcome {
    let base = map(PAGE, RW)?;
    raw::store64(base, 4);
    call!(MPROTECT, base, PAGE, PROT_READ)?;
    equal!(raw::load64(base), 4);
    faults(|| raw::store8(base, 1))?;
    // A page that was never touched.
    let fresh = map(PAGE, PROT_READ)?;
    equal!(raw::load64(fresh), 0);
    faults(|| raw::store8(fresh, 1))
}

fn none() -> Outcome {
    let base = map(PAGE, PROT_NONE)?;
    faults(|| raw::load8(base))?;
    let used = map(PAGE, RW)?;
    raw::store64(used, 4);
    call!(MPROTECT, used, PAGE, PROT_NONE)?;
    faults(|| raw::load8(used))
}

fn given_back() -> Outcome {
    let base = map(PAGE, RW)?;
    raw::store64(base, 4);
    call!(MPROTECT, base, PAGE, PROT_NONE)?;
    call!(MPROTECT, base, PAGE, RW)?;
    equal!(raw::load64(base), 4);
    raw::store64(base, 5);
    equal!(raw::load64(base), 5);
    Ok(())
}

fn half_a_range() -> Outcome {
    let base = map(4 * PAGE, RW)?;
    (0..4).for_each(|page| raw::store64(base + page * PAGE, 1));
    call!(MPROTECT, base + PAGE, 2 * PAGE, PROT_READ)?;
    raw::store64(base, 2);
    raw::store64(base + 3 * PAGE, 2);
    faults(|| raw::store8(base + PAGE, 1))?;
    faults(|| raw::store8(base + 2 * PAGE, 1))?;
    unmap(base + 3 * PAGE, PAGE)?;
    fails!(call!(MPROTECT, base + 2 * PAGE, 2 * PAGE, RW), ENOMEM);
    Ok(())
}

/// `ret`, as an instruction word.
const RET: u64 = 0x0000_8067;

fn no_execute() -> Outcome {
    let base = map(PAGE, RW)?;
    raw::store64(base, RET);
    let local = core::hint::black_box([RET; 2]);
    faults(|| raw::call(base, 0))?;
    faults(|| raw::call(local.as_ptr() as usize, 0))?;
    call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC)?;
    equal!(raw::call(base, 5), 5);
    Ok(())
}

fn own_text() -> Outcome {
    let text = own_text as *const () as usize;
    ensure!(raw::load8(text) != 0 || raw::load8(text + 1) != 0);
    faults(|| raw::store8(text, 0))
}

fn own_constants() -> Outcome {
    static WORDS: [u64; 4] = [1, 2, 3, 4];
    let address = core::hint::black_box(&WORDS).as_ptr() as usize;
    equal!(raw::load64(address), 1);
    faults(|| raw::store64(address, 9))?;
    faults(|| raw::call(address, 0))
}

#[inline(never)]
fn endless(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 512]);
    if frame[1] == u64::MAX { 0 } else { endless(depth + 1) + frame[2] }
}

fn stack_guard() -> Outcome {
    faults(|| core::hint::black_box(endless(0)))
}

fn thread_guard() -> Outcome {
    let pid = child(|| {
        let handle = thread::spawn(|| core::hint::black_box(endless(0)));
        handle.map_or(1, |handle| handle.join().map_or(2, |_| 3))
    })?;
    dies(pid, SIGSEGV)
}

/// A right that one thread takes away is gone for the thread that runs on another hart.
fn other_threads_see_it() -> Outcome {
    for _ in 0..20 {
        let pid = child(|| {
            let Ok(base) = map(2 * PAGE, RW) else { return 1 };
            raw::store64(base, 1);
            let _writer = thread::spawn(move || {
                loop {
                    raw::store64(base + 8, raw::load64(base + 8) + 1);
                }
            });
            while raw::load64(base + 8) == 0 {
                thread::yield_now();
            }
            if call!(MPROTECT, base, PAGE, PROT_READ).is_err() {
                return 2;
            }
            // From here on nothing may change; the writer must fault, which ends this process, when it has its hart again.
            let seen = raw::load64(base + 8);
            loop {
                crate::process::sleep_ms(1);
                if raw::load64(base + 8) != seen {
                    return 3;
                }
            }
        })?;
        dies(pid, SIGSEGV)?;
    }
    Ok(())
}

fn illegal_instruction() -> Outcome {
    let base = map(PAGE, RW)?;
    // All zero bits are defined to be illegal.
    call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC)?;
    dies(child(|| raw::call(base, 0) as i32)?, SIGILL)
}

fn breakpoint() -> Outcome {
    let base = map(PAGE, RW)?;
    const EBREAK: u64 = 0x0010_0073;
    raw::store64(base, EBREAK);
    call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC)?;
    dies(child(|| raw::call(base, 0) as i32)?, SIGTRAP)
}

/// While some die, others compute.
fn others_live_on() -> Outcome {
    let worker = child(|| {
        let mut sum = 0u64;
        for index in 0..200_000u64 {
            sum = core::hint::black_box(sum.wrapping_mul(31).wrapping_add(index));
        }
        i32::from(sum == 0)
    })?;
    for _ in 0..20 {
        faults(|| raw::load8(16))?;
    }
    exits(worker, 0)
}
