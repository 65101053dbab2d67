//! Getting memory back under pressure.
//!
//! Caches register how to shrink themselves. While memory is scarce ([`hal::frame::is_scarce`]) a coroutine asks them, before anybody is refused: what is
//! charged wakes it. A fault that finds no frame asks them itself before it fails, and then the out-of-memory policy of the layer above.
//!
//! The coroutine waits by the protocol of `sync::wait`; what makes its condition true is the taking of pages, which wakes nobody. A charge that finds
//! memory scarce does, so between the two as much is taken as there is between two charges.

use crate::backing::BoxFuture;
use alloc::{boxed::Box, vec::Vec};
use exec::sync::{WaitQueue, wait_until};
use hal::{
    frame,
    sync::{SpinLock, rank},
};

/// Frees what it can; `true` if it freed anything.
pub type Reclaimer = fn() -> BoxFuture<'static, bool>;

/// How often it is tried.
const ROUNDS: u32 = 16;
/// How long nothing is tried where nothing could be freed.
const PAUSE: u64 = 10_000_000;

/// Where the coroutine waits until memory is scarce.
static SCARCE: WaitQueue = WaitQueue::new();
static RECLAIMERS: SpinLock<Vec<Reclaimer>> = SpinLock::new(rank::ACCOUNT, Vec::new());

/// Adds a way to get memory back; they are tried in the order of registration.
pub fn register(reclaimer: Reclaimer) {
    RECLAIMERS.lock().push(reclaimer);
}

/// Asks each reclaimer in turn until one has freed something.
pub async fn reclaim() -> bool {
    let mut index = 0;
    loop {
        let next = RECLAIMERS.lock().get(index).copied();
        let Some(reclaimer) = next else { return false };
        let attempt: BoxFuture<'static, bool> = Box::pin(reclaimer());
        if attempt.await {
            return true;
        }
        index += 1;
    }
}

/// Resolves when memory is scarce and somebody has noticed ([`notice`]).
pub async fn scarce() {
    wait_until(&SCARCE, || frame::is_scarce().then_some(())).await;
}

/// Wakes who can give memory back, if it is scarce. Any context that may wake.
pub fn notice() {
    if frame::is_scarce() {
        SCARCE.wake_all();
    }
}

/// Gives memory back while it is scarce, for ever.
pub async fn run() {
    loop {
        scarce().await;
        let mut in_vain = 0;
        while frame::is_scarce() && in_vain < ROUNDS {
            // A page that was used since is spared once, so that the first rounds may free nothing.
            in_vain = if reclaim().await { 0 } else { in_vain + 1 };
            exec::yield_now().await;
        }
        if in_vain > 0 {
            exec::sleep(PAUSE).await;
        }
    }
}

/// Whether so many bytes are there for a program. Any context that may wake.
#[inline]
pub(crate) fn admits(bytes: usize) -> bool {
    frame::is_ample(bytes) || is_there(bytes)
}

#[cold]
#[inline(never)]
fn is_there(bytes: usize) -> bool {
    SCARCE.wake_all();
    frame::admits(bytes)
}
