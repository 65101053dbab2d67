//! Receivers that lose their places and get others: nothing is lost on the way.

use super::{counting, from_another};
use crate::case::Outcome;
use crate::machine::{go_to, harts, needs_harts};
use crate::process::{checked_child, exits, sleep_ms};
use rt::thread;

fn skip_where_there_are_none() -> Outcome {
    drop(counting()?);
    Ok(())
}

/// The receiver changes harts all the time.
pub fn moves() -> Outcome {
    needs_harts(2)?;
    from_another(300, thread::yield_now, go_to)
}

fn many(receivers: usize, body: impl Fn() -> Outcome) -> Outcome {
    let pids: alloc::vec::Vec<_> = (0..receivers).map(|_| checked_child(&body)).collect();
    for pid in pids {
        exits(pid?, 0)?;
    }
    Ok(())
}

/// More receivers on a hart than it has places: each still gets what is sent to it.
pub fn more_than_places() -> Outcome {
    skip_where_there_are_none()?;
    many(12, || {
        go_to(0)?;
        from_another(40, || sleep_ms(1), |_| Ok(()))
    })
}

/// They lose their places to each other while they change harts.
pub fn moves_and_evictions() -> Outcome {
    skip_where_there_are_none()?;
    many(7 * harts() + 4, || from_another(24, thread::yield_now, go_to))
}
