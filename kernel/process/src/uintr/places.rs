//! Who has the places of each hart, and whom a thread that needs one takes it from.
//!
//! All threads that have come to a hart can have a place there, one after the other: if none is free, one is taken from a receiver that does not run, in turn.
//!
//! **Waiting.** A place that is being given up is nobody's until its doorbells are taken back. Where all are, one waits for `changed`, which is woken
//! *after* a place was freed ([`free`]) or has become one that can be taken away ([`kept`]). Who waits looks once more in the queue, and stops when it is
//! killed, or finds itself on another hart.

use super::Receiver;
use crate::thread::Thread;
use alloc::sync::Arc;
use core::{
    any::Any,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use exec::sync::{WaitQueue, wait_until};
use hal::guest_file::{Owner, Place, owner, places, take_place};

/// What is known of a hart's places beside their owners.
struct Hart {
    /// Of whose place it was last asked whether it can be had. Written on this hart; a lost turn does no harm.
    hand: AtomicUsize,
    changed: WaitQueue,
}

static HARTS: [Hart; hal::hart::MAX] =
    [const { Hart { hand: AtomicUsize::new(0), changed: WaitQueue::new() } }; hal::hart::MAX];

/// What a look at a hart's places has found.
enum Found {
    Free(Place),
    /// Taken from a receiver; it is free when its doorbells are taken back.
    Leaving(Arc<Receiver>, Place),
    /// The thread was moved.
    OtherHart,
}

/// A place of the hart that this runs on, by the thread of `receiver`, which has none. `None`: the thread was killed.
pub(super) async fn obtain(receiver: &Arc<Receiver>, thread: &Thread) -> Option<Place> {
    let own: Arc<dyn Owner> = receiver.clone();
    loop {
        let hart = hal::hart::id();
        let look = || look(hart, &own);
        match thread.unless_killed(wait_until(&HARTS[hart].changed, look)).await.ok()? {
            Found::Free(place) => return Some(place),
            // To its end: a place that is dropped before is one that others still ring at.
            Found::Leaving(from, place) => from.depart(place).await,
            Found::OtherHart => {}
        }
    }
}

fn look(hart: usize, own: &Arc<dyn Owner>) -> Option<Found> {
    if hal::hart::id() != hart {
        return Some(Found::OtherHart);
    }
    if let Some(place) = take_place(own) {
        return Some(Found::Free(place));
    }
    let count = places();
    let last = HARTS[hart].hand.load(Relaxed);
    (1..=count).map(|step| (last + step) % count + 1).find_map(|number| {
        let from: Arc<dyn Any + Send + Sync> = owner(hart, number)?;
        let from = from.downcast::<Receiver>().ok()?;
        let place = from.part_with(hart)?;
        HARTS[hart].hand.store(number - 1, Relaxed);
        Some(Found::Leaving(from, place))
    })
}

/// Frees a place that nobody rings at any more.
pub(super) fn free(place: Place) {
    let hart = place.hart();
    drop(place);
    HARTS[hart].changed.wake_all();
}

/// A receiver has a place of this hart from now on.
pub(super) fn kept(hart: usize) {
    HARTS[hart].changed.wake_all();
}
