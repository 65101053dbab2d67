//! What a storm of user interrupts does to who has no part in it: the receiver and a neighbour count beside each other on one hart, the sender sends on another.

use crate::measure::{Outcome, report};
use crate::ping_pong::{go_to, partner, shared_word};
use crate::processes::end;
use crate::user_interrupts::counting;
use alloc::format;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
use rt::time::Instant;
use rt::uintr::Sender;
use rt::{fs, io};

/// Some hundred slices.
const WINDOW: Duration = Duration::from_secs(1);

/// How far the neighbour counts in a window in which this thread counts too.
fn window(neighbour: &AtomicU32) -> f64 {
    let (start, before) = (Instant::now(), neighbour.load(Relaxed));
    while start.elapsed() < WINDOW {}
    f64::from(neighbour.load(Relaxed).wrapping_sub(before))
}

/// What a process has had of harts for its own code, in hundredths of a second.
fn time_of(pid: i32) -> io::Result<f64> {
    let stat = fs::read_to_string(&format!("/proc/{pid}/stat"))?;
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Of its own code, behind eleven others: what interrupts take of its turn is not among it.
    let time = fields.nth(11).and_then(|field| field.parse().ok());
    time.ok_or(io::ErrorKind::InvalidData.into())
}

/// Interrupts sent and handled in a second, what the neighbour counts of what it does without them, and its share of the hart, which it has for itself but for this thread. Another kernel has none.
pub fn rows() -> Outcome {
    let Ok((receiver, seen)) = counting() else { return Ok(()) };
    let sender = Sender::open(receiver.grant(1)?)?;
    let (counted, sent) = (shared_word()?, shared_word()?);
    go_to(0)?;
    let neighbour = partner(0, || {
        loop {
            counted.fetch_add(1, Relaxed);
        }
    })?;
    while counted.load(Relaxed) == 0 {
        rt::thread::yield_now();
    }
    let quiet = window(counted);
    let sends = partner(1, || {
        loop {
            sender.send(0)?;
            sent.fetch_add(1, Relaxed);
        }
    })?;
    while sent.load(Relaxed) == 0 {
        rt::thread::yield_now();
    }
    let (sent_before, handled) = (sent.load(Relaxed), seen.count());
    let (time, start) = (time_of(neighbour)?, Instant::now());
    let stormed = window(counted);
    let share = (time_of(neighbour)? - time) * 1e9 / start.elapsed().as_nanos() as f64;
    report("storm_sent", f64::from(sent.load(Relaxed).wrapping_sub(sent_before)), "/s");
    report("storm_handled", f64::from(seen.count().wrapping_sub(handled)), "/s");
    report("storm_neighbour", 100.0 * stormed / quiet, "%");
    report("storm_share", share, "%");
    end(sends)?;
    end(neighbour)
}
