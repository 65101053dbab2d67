//! Trace points: what happened, on which hart, when, to whom.
//!
//! * [`Event`] and [`Record`] – what can be recorded, and its fixed 32-byte form.
//! * [`Ring`] – a hart's recorder: it never waits and never allocates; the newest records overwrite
//!   the oldest, and a [`Reader`] knows how many it lost.
//!
//! The crate has no clock and does not know harts: whoever owns the rings passes both. A trace point
//! looks like this, and costs a load and a branch while recording is off:
//!
//! ```
//! # static RING: trace::Ring<16> = trace::Ring::new();
//! # let (hart, now) = (0, || 5);
//! if trace::enabled() {
//!     RING.record(hart, now(), trace::Event::PollBegin { task: 7 });
//! }
//! ```
#![cfg_attr(not(any(loom, test)), no_std)]
#![forbid(unsafe_code)]

mod event;
mod ring;

pub use event::{Event, Record};
pub use ring::{Reader, Ring};

use sync::switch::Switch;

/// Whether trace points record.
static ENABLED: Switch = Switch::new();

/// Whether trace points record: one load and, at the caller, one branch. A few records more or less after
/// a change do not matter.
#[inline(always)]
#[must_use]
pub fn enabled() -> bool {
    ENABLED.is_on()
}

/// Switches recording on or off, everywhere.
pub fn set_enabled(on: bool) {
    ENABLED.set(on);
}
