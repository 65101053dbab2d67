//! Figures of a thread that computes while reads of a ring are pending: a vector that is raised for completions against the other ways to hear of them (note 0008, section 10).

use super::super::wanted::Limit::Below;
use super::super::wanted::{Wanted, icount, ratio};

/// What one that completes costs all in all, and how late it is.
macro_rules! way {
    ($way:literal, $load:literal, $what:expr) => {
        [
            icount(concat!("pending_", $way, "_", $load), "uintr", &[], $what),
            icount(
                concat!("pending_", $way, "_", $load, "_p99"),
                "uintr",
                &[],
                "from the write until the program has it: 99 of 100",
            ),
        ]
    };
}

/// A vector against another way, likewise.
macro_rules! against {
    ($way:literal, $load:literal, $what:expr) => {
        [
            ratio(
                concat!("pending_", $load, "_to_", $way),
                "uintr",
                [concat!("pending_interrupt_", $load), concat!("pending_", $way, "_", $load)],
                &[("vm", Below(1.0))],
                concat!("a vector against ", $what, ", ", $load, " pending: instructions"),
            ),
            ratio(
                concat!("pending_", $load, "_to_", $way, "_p99"),
                "uintr",
                [concat!("pending_interrupt_", $load, "_p99"), concat!("pending_", $way, "_", $load, "_p99")],
                &[("vm", Below(1.0))],
                concat!("a vector against ", $what, ", ", $load, " pending: how late"),
            ),
        ]
    };
}

/// With so many reads.
macro_rules! load {
    ($load:literal, $reads:literal) => {
        [
            way!(
                "interrupt",
                $load,
                concat!(
                    "a thread computes beside ",
                    $reads,
                    " of a ring: what one that completes costs all in all, where a vector is raised for it"
                )
            ),
            way!("enter", $load, "the same, where another thread waits in the ring"),
            way!("call", $load, "the same, where the thread enters the ring every 10,000 instructions"),
            way!("look", $load, "the same, where it looks at the ring's memory as often"),
            against!("enter", $load, "another thread that waits"),
            against!("call", $load, "entering the ring every 10,000 instructions"),
        ]
    };
}

const LOADS: &[[[Wanted; 2]; 6]] = &[
    load!("1", "a pending read"),
    load!("8", "8 pending reads that complete together"),
    load!("32", "32 pending reads that complete together"),
];

/// They are measured with the group `uintr`.
pub const PENDING: &[Wanted] = LOADS.as_flattened().as_flattened();
