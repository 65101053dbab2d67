//! The kernel's trace: a ring for each hart.

use hal::hart;
use trace::{Event, Reader, Ring};

/// Records each hart keeps.
const RECORDS: usize = 1024;

static RINGS: [Ring<RECORDS>; hart::MAX] = [const { Ring::new() }; hart::MAX];

/// Records an event on this hart; any context. While recording is off, `event` is not called and this is
/// a load and a branch.
#[inline(always)]
pub fn record(event: impl FnOnce() -> Event) {
    if trace::enabled() {
        write(event());
    }
}

#[cold]
fn write(event: Event) {
    // A coroutine that is preempted here goes on on the same hart, so the ring stays this hart's.
    let hart = hart::id();
    if let Some(ring) = RINGS.get(hart) {
        ring.record(hart as u8, hal::time::now(), event);
    }
}

/// A reader of one hart's records, from the oldest there are; `None` for a hart that cannot exist.
#[must_use]
pub fn reader(hart: usize) -> Option<Reader<'static, RECORDS>> {
    RINGS.get(hart).map(Ring::reader)
}

/// Switches recording on or off on all harts.
pub fn set_tracing(on: bool) {
    trace::set_enabled(on);
}
