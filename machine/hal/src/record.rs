//! The kernel's trace: a ring for each hart, the switch, and the numbers of requests.
//!
//! It is here because traps and interrupts are recorded here; everything above records with the same
//! [`record`]. While recording is off a trace point is a load relative to `tp` and a branch: the switch is a byte of
//! each hart's [`Local`](crate::hart::Local), not a static whose address would have to be formed.

use crate::hart::{self, coroutine};
use crate::{arch, time};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trace::{Event, Reader, Ring, Work};

/// Records each hart keeps.
pub const RECORDS: usize = 1024;

static RINGS: [Ring<RECORDS>; hart::MAX] = [const { Ring::new() }; hart::MAX];
static NEXT_REQUEST: AtomicU64 = AtomicU64::new(1);

/// Records an event on this hart; any context. While recording is off, `event` is not called.
#[inline(always)]
pub fn record(event: impl FnOnce() -> Event) {
    if recording() {
        let words = event().words();
        write(words.head, words.a, words.b);
    }
}

/// Out of line and with operands in registers, so that a trace point leaves no more than a call in its caller.
#[cold]
#[inline(never)]
fn write(head: u64, a: u64, b: u64) {
    // Between the time and its record there is no interrupt: its records would come first, with later times.
    let enabled = arch::interrupts_off();
    let hart = hart::id();
    if let Some(ring) = RINGS.get(hart) {
        ring.record(hart as u8, time::now(), trace::Words { head, a, b });
    }
    if enabled {
        arch::interrupts_on();
    }
}

/// Whether trace points record. A few records more or less after a change do not matter.
#[inline(always)]
#[must_use]
pub fn recording() -> bool {
    arch::recording()
}

/// Switches recording on or off on all harts. On the host, where each thread is a hart of its own, on this one.
pub fn set_recording(on: bool) {
    // Relaxed, here and where it is read: nothing is handed over with it.
    (0..hart::MAX).map(hart::local_of).chain([arch::local()]).for_each(|local| local.recording.store(on, Relaxed));
}

/// Records that the running coroutine asks for something, and returns the request's number for [`complete`];
/// 0, which is no request, while recording is off.
#[inline(always)]
#[must_use]
pub fn submit(work: Work) -> u64 {
    if recording() { submit_recorded(work) } else { 0 }
}

#[cold]
#[inline(never)]
fn submit_recorded(work: Work) -> u64 {
    // Relaxed: that no number is given out twice is all that matters.
    let request = NEXT_REQUEST.fetch_add(1, Relaxed);
    record(|| Event::Submit { request, task: coroutine(), work });
    request
}

/// Records that a request is done; nothing for 0.
#[inline(always)]
pub fn complete(request: u64, result: i64) {
    if request != 0 {
        complete_recorded(request, result);
    }
}

#[cold]
#[inline(never)]
fn complete_recorded(request: u64, result: i64) {
    record(|| Event::Complete { request, result });
}

/// A reader of one hart's records, from the oldest there are; `None` for a hart that cannot exist.
#[must_use]
pub fn reader(hart: usize) -> Option<Reader<'static, RECORDS>> {
    RINGS.get(hart).map(Ring::reader)
}

/// A reader of each hart's records as of now, by hart.
#[must_use]
pub fn snapshot() -> [Reader<'static, RECORDS>; hart::MAX] {
    core::array::from_fn(|hart| RINGS[hart].snapshot())
}
