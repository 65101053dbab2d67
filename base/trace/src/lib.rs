//! Trace points: what happened, on which hart, when, to whom.
//!
//! * [`Event`] and [`Record`] – what can be recorded, and its fixed 32-byte form.
//! * [`Ring`] – a hart's recorder: it never waits and never allocates; the newest records overwrite
//!   the oldest, and a [`Reader`] knows how many it lost.
//!
//! The crate has no clock, knows no harts and has no switch: whoever owns the rings passes time and hart, and asks
//! its switch before anything is made of an event:
//!
//! ```
//! # static RING: trace::Ring<16> = trace::Ring::new();
//! # let (on, hart, now) = (true, 0, || 5);
//! if on {
//!     RING.record(hart, now(), trace::Event::PollBegin { task: 7 }.words());
//! }
//! ```
#![cfg_attr(not(any(loom, test)), no_std)]
#![forbid(unsafe_code)]

mod event;
mod ring;

pub use event::{Event, Interrupted, Place, Record, Source, Words, Work};
pub use ring::{Reader, Ring};
