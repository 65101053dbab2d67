//! Getting memory back under pressure.
//!
//! Caches register how to shrink themselves; a fault that finds no frame asks them once before it fails, and
//! then the out-of-memory policy of the layer above.

use crate::backing::BoxFuture;
use alloc::{boxed::Box, vec::Vec};
use hal::sync::{SpinLock, rank};

/// Frees what it can; `true` if it freed anything.
pub type Reclaimer = fn() -> BoxFuture<'static, bool>;

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
