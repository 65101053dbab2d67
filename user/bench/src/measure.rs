//! Measuring a repeated operation, and printing what came of it.
//!
//! QEMU before version 8 lets `instret` count virtual nanoseconds under `-icount`, two or more an instruction. So the
//! counter is compared with a loop of known length first, and what it says is divided by what was found.

use core::sync::atomic::{AtomicU64, Ordering};
use rt::abi::errno::{Errno, Result as CallResult};
use rt::time::Instant;
use rt::{io, println, raw};

/// How a group ends.
pub type Outcome = io::Result<()>;

/// A system call with up to six arguments.
#[inline]
pub fn call(number: usize, arguments: &[usize]) -> CallResult<usize> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Errno::from_return(raw::syscall6(number, all))
}

/// What `instret` advances by for an instruction. Relaxed: written once, before anything is measured.
static STEP: AtomicU64 = AtomicU64::new(1);

/// Finds out how `instret` counts.
pub fn calibrate() {
    const ROUNDS: u64 = 1_000_000;
    /// Of the loop in `hold_integers`.
    const LOOP: u64 = 2;
    let count = || {
        let before = raw::instret();
        let _ = raw::hold_integers(0, ROUNDS);
        raw::instret() - before
    };
    let _ = count();
    // In integers: some rows are about programs that use no floating point.
    let thousandths = count() * 1000 / (LOOP * ROUNDS);
    println!("B calibration {}.{:03} steps", thousandths / 1000, thousandths % 1000);
    let whole = (thousandths + 500) / 1000;
    if whole > 1 && thousandths.abs_diff(whole * 1000) < 10 {
        STEP.store(whole, Ordering::Relaxed);
    }
}

/// Instructions since the counter said this.
pub fn instructions_since(counter: u64) -> u64 {
    instructions_between(counter, raw::instret())
}

/// Instructions between two readings of the counter.
pub fn instructions_between(from: u64, to: u64) -> u64 {
    (to - from) / STEP.load(Ordering::Relaxed)
}

/// How far the clock advances for an instruction, as a loop of known length shows: under `-icount` always the same.
pub fn nanos_an_instruction() -> f64 {
    let start = Moment::now();
    let _ = raw::hold_integers(0, 1_000_000);
    let instructions = instructions_since(start.instructions);
    start.time.elapsed().as_nanos() as f64 / instructions as f64
}

/// Prints a figure.
pub fn report(id: &str, value: f64, unit: &str) {
    println!("B {id} {value:.2} {unit}");
    let _ = io::Write::flush(&mut io::stdout());
}

/// Prints what the counter said at some moment, as instructions since the machine was switched on.
pub fn report_counter(id: &str, counter: u64) {
    println!("B {id} {} insn", counter / STEP.load(Ordering::Relaxed));
}

/// Counters at one moment.
pub struct Moment {
    time: Instant,
    instructions: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let time = Instant::now();
        Self { time, instructions: raw::instret() }
    }

    /// Prints the figures since then, for each of `operations`.
    pub fn report(&self, id: &str, operations: u64) {
        let instructions = instructions_since(self.instructions);
        let nanos = self.time.elapsed().as_nanos() as f64;
        let each = |total: f64| total / operations as f64;
        println!("B {id} {:.1} insn", each(instructions as f64));
        println!("B {id} {:.1} ns", each(nanos));
        // A group that dies later has said what it found.
        let _ = io::Write::flush(&mut io::stdout());
    }
}

/// Measures `body`, which does the operation as often as it is told.
pub fn measure(id: &str, operations: u64, mut body: impl FnMut(u64) -> Outcome) -> Outcome {
    body(operations / 10 + 1)?;
    let start = Moment::now();
    body(operations)?;
    start.report(id, operations);
    Ok(())
}

/// How often what a plugin counts is done: the figure is the median.
const COUNTED: usize = 5;

/// Has a plugin of the emulator count `body`, on all harts; without one the marks do nothing. After each end a line says what was
/// counted.
pub fn count_on_all_harts(id: &str, operations: u64, mut body: impl FnMut(u64) -> Outcome) -> Outcome {
    body(operations / 10 + 1)?;
    for _ in 0..COUNTED {
        raw::mark_begin();
        body(operations)?;
        raw::mark_end();
        println!("M {id} {operations}");
        io::Write::flush(&mut io::stdout())?;
    }
    Ok(())
}

/// Measures `body`, done once with `operations` in it, after `prepare`, which is not measured and runs before the warm-up
/// too.
pub fn measure_prepared<T>(
    id: &str,
    operations: u64,
    mut prepare: impl FnMut() -> io::Result<T>,
    mut body: impl FnMut(&mut T) -> Outcome,
) -> Outcome {
    body(&mut prepare()?)?;
    let mut prepared = prepare()?;
    let start = Moment::now();
    body(&mut prepared)?;
    start.report(id, operations);
    Ok(())
}
