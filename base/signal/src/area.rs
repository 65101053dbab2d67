//! The words that the senders by one right share with the receiver.
//!
//! ```text
//!   sender                                        receiver
//!   CLAIMED  take a place  <-- Release/Acquire --- CLAIMED  give it back
//!   the place: stamp, signal, value
//!   READY    --------- Release / Acquire --------> READY    copy the oldest place of a signal
//!   RAISED   --------- Release / Acquire --------> RAISED   take all: look for these signals
//!   raise the vector                              the vector is handled
//! ```
//!
//! **Nothing is lost.** The vector follows `RAISED`, and `RAISED` follows `READY`: who is interrupted takes `RAISED`, and finds the places that it tells of. A signal that comes behind the
//! taking raises the vector again. There is no index and no count that one side has from the other, only sets of places:
//!
//! * Several processes and threads can send by one right at once. One that ends between taking a place and making it ready keeps that place until the right ends, and holds nobody up.
//! * Whoever stores anything anywhere makes signals of this right: the receiver looks at 64 places at most, copies what it finds, and goes by the copy.
//! * The places are what is queued: a sender that finds none is told so ([`Full`]), and takes none from others.
//!
//! Stamps order the places. They are drawn in one order, and who sends behind another has a later one, so real-time signals of a right arrive first in, first out.

use crate::{REAL_TIME, bit};
use sync::atomic::{AtomicU64, Ordering};

/// Numbers of the words, which are of 64 bits. What different parties write is in different lines.
pub mod at {
    /// The vector that tells of signals. The receiver writes it before the sender has the right.
    pub const VECTOR: usize = 0;
    /// Signals that were sent and not looked for, a bit each.
    pub const RAISED: usize = 8;
    /// Places that somebody has taken, a bit each.
    pub const CLAIMED: usize = 16;
    /// Places that hold a signal.
    pub const READY: usize = 24;
    /// Stamps so far.
    pub const STAMP: usize = 32;
    /// Values of the signals that do not queue, by number.
    pub const VALUES: usize = 40;
    /// The places.
    pub const PLACES: usize = 72;
    /// Words of a place.
    pub const PLACE: usize = 3;
    /// In a place: its stamp, its signal, its value.
    pub const FIELDS: [usize; 3] = [0, 1, 2];
    /// Behind all of them.
    pub const WORDS: usize = PLACES + super::PLACES * PLACE;
}

/// Signals that can be queued by a right.
pub const PLACES: usize = 64;

/// The shared words.
pub trait Area {
    /// One of the words of [`at`].
    fn word(&self, index: usize) -> &AtomicU64;
}

/// As many signals are queued as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

fn field(area: &impl Area, place: u32, field: usize) -> &AtomicU64 {
    area.word(at::PLACES + place as usize * at::PLACE + at::FIELDS[field])
}

/// Sends a signal, 1 to 64. Behind it the vector is to be raised.
///
/// # Errors
/// [`Full`], of signals that queue.
#[inline]
pub fn send(area: &impl Area, signal: u32, value: u64) -> Result<(), Full> {
    if REAL_TIME.contains(&signal) {
        put(area, signal, value)?;
    } else {
        // Relaxed: ordered by the Release below. Of several that become one, any value will do.
        area.word(at::VALUES + (signal & 31) as usize).store(value, Ordering::Relaxed);
    }
    // Release pairs with the Acquire in `collect`: what was sent is there.
    area.word(at::RAISED).fetch_or(bit(signal), Ordering::Release);
    Ok(())
}

fn put(area: &impl Area, signal: u32, value: u64) -> Result<(), Full> {
    let place = claim(area)?;
    // Relaxed: one order of all stamps, in which who has heard of another's comes behind it.
    let stamp = area.word(at::STAMP).fetch_add(1, Ordering::Relaxed);
    for (number, content) in [stamp, u64::from(signal), value].into_iter().enumerate() {
        field(area, place, number).store(content, Ordering::Relaxed);
    }
    // Release pairs with the Acquire in `oldest`: the place is complete.
    area.word(at::READY).fetch_or(1 << place, Ordering::Release);
    Ok(())
}

/// Takes a place. Each turn that fails has seen another's success, and there are no more turns than places: the words may say anything.
fn claim(area: &impl Area) -> Result<u32, Full> {
    let claimed = area.word(at::CLAIMED);
    let mut taken = claimed.load(Ordering::Relaxed);
    for _ in 0..PLACES {
        if taken == u64::MAX {
            break;
        }
        let place = (!taken).trailing_zeros();
        // Acquire pairs with the Release in `give_back`: the place was copied before it is written again.
        taken = claimed.fetch_or(1 << place, Ordering::Acquire);
        if taken & 1 << place == 0 {
            return Ok(place);
        }
    }
    Err(Full)
}

/// Takes the set of signals that were sent.
#[inline]
pub fn collect(area: &impl Area) -> u64 {
    let raised = area.word(at::RAISED);
    // Relaxed: a signal that this does not see yet is told of by the vector again.
    if raised.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    // Acquire pairs with the Release in `send`.
    raised.swap(0, Ordering::Acquire)
}

/// The value of a signal that does not queue and was [collected](collect).
#[must_use]
pub fn value(area: &impl Area, signal: u32) -> u64 {
    // Relaxed: behind the Acquire of `collect`.
    area.word(at::VALUES + (signal & 31) as usize).load(Ordering::Relaxed)
}

/// The place of the oldest signal of this number.
fn oldest(area: &impl Area, signal: u32) -> Option<u32> {
    // Acquire pairs with the Release in `put`.
    let mut ready = area.word(at::READY).load(Ordering::Acquire);
    let mut found = None;
    while ready != 0 {
        let place = ready.trailing_zeros();
        ready &= ready - 1;
        if field(area, place, 1).load(Ordering::Relaxed) == u64::from(signal) {
            let stamp = field(area, place, 0).load(Ordering::Relaxed);
            if found.is_none_or(|(oldest, _)| stamp < oldest) {
                found = Some((stamp, place));
            }
        }
    }
    found.map(|(_, place)| place)
}

/// Takes the oldest queued signal of this number; its value.
#[must_use]
pub fn take(area: &impl Area, signal: u32) -> Option<u64> {
    let place = oldest(area, signal)?;
    let value = field(area, place, 2).load(Ordering::Relaxed);
    give_back(area, place);
    Some(value)
}

/// The set of signals that are queued. Places that say they hold one and name none are given back: nobody would take them.
#[must_use]
pub fn queued(area: &impl Area) -> u64 {
    // Acquire pairs with the Release in `put`.
    let mut ready = area.word(at::READY).load(Ordering::Acquire);
    let mut signals = 0;
    while ready != 0 {
        let place = ready.trailing_zeros();
        ready &= ready - 1;
        match u32::try_from(field(area, place, 1).load(Ordering::Relaxed)) {
            Ok(signal) if REAL_TIME.contains(&signal) => signals |= bit(signal),
            _ => give_back(area, place),
        }
    }
    signals
}

fn give_back(area: &impl Area, place: u32) {
    // Relaxed: before the place is anybody's again, by the Release below.
    area.word(at::READY).fetch_and(!(1 << place), Ordering::Relaxed);
    // Release pairs with the Acquire in `claim`.
    area.word(at::CLAIMED).fetch_and(!(1 << place), Ordering::Release);
}
