//! Green threads that never yield share a worker by ticks (note 0008, section 10): what leaving one for another costs, and how often the kernel is entered for that.

use crate::measure::{Outcome, count_on_all_harts, instructions_between, report};
use crate::urgency;
use crate::user_signals::has_interrupts;
use core::hint::black_box;
use rt::task::{Builder, block_on, green, set_workers};
use rt::time::Duration;
use rt::{io, raw, task};

/// How often one is left for the other.
const SWITCHES: u64 = 2_000;
/// Rounds of the loop that each is in, to know what one takes.
const ROUNDS: u64 = 1_000_000;

fn left() -> u64 {
    task::metrics().preempted
}

/// Spins until they have been left so often in all, or for so many rounds; how many.
#[inline(never)]
fn spin(end: u64, limit: u64) -> u64 {
    let mut rounds = 0;
    while left() < end && rounds < limit {
        rounds += 1;
    }
    rounds
}

/// Has two share the worker until they have been left so often; rounds of both.
fn share(switches: u64) -> io::Result<u64> {
    let end = left() + switches;
    let start = || Builder::new().ticked().spawn_green(move || spin(end, u64::MAX));
    let both = [start()?, start()?];
    let rounds = both.map(|one| block_on(one).unwrap_or_default());
    Ok(rounds.iter().sum())
}

/// The row of instructions, in a process of its own.
pub fn rows() -> Outcome {
    by_ticks("measured")
}

/// What a plugin counts of the same.
pub fn counted() -> Outcome {
    by_ticks("counted")
}

/// Nothing where no tick would ever come: they would not share.
fn by_ticks(how: &str) -> Outcome {
    if has_interrupts() { urgency::in_a_process(&["--ticks", how]) } else { Ok(()) }
}

/// A process of its own, `bench --ticks HOW`.
pub fn in_a_process(how: &str) -> Outcome {
    set_workers(1);
    green::set_slice(Duration::from_micros(200));
    if how == "counted" {
        return count_on_all_harts("green_ticks", SWITCHES, |switches| share(switches).map(|_| ()));
    }
    share(SWITCHES / 10)?;
    let before = raw::instret();
    black_box(spin(u64::MAX, ROUNDS));
    let between = raw::instret();
    let rounds = share(SWITCHES)?;
    let after = raw::instret();
    report_switch(instructions_between(before, between), rounds, instructions_between(between, after));
    Ok(())
}

/// Apart: who calls it would use floating point from its first line on.
#[inline(never)]
fn report_switch(alone: u64, rounds: u64, both: u64) {
    let each = alone as f64 / ROUNDS as f64;
    report("green_preempted", (both as f64 - rounds as f64 * each) / SWITCHES as f64, "insn");
}
