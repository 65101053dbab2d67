//! Rings that a thread registers with itself, to name them by a place (`IORING_REGISTER_RING_FDS`, [`process::registered_rings`]).

use super::{in_turn::in_turn, ring_of};
use crate::context::Task;
use abi::{errno::Errno, io_uring::RingUpdate};
use process::registered_rings::PLACES;

/// In any place.
const ANY: u32 = u32::MAX;

/// Registers the rings of a list, and leaves their places in it; how many.
///
/// # Errors
/// Of the first: `EINVAL`, `EFAULT`, `EBADF`, `EOPNOTSUPP` for what is no ring, `EBUSY` for a place that is taken, or if all are; `ENOMEM`.
pub(super) async fn register(task: &Task<'_>, addr: usize, count: usize) -> Result<usize, Errno> {
    check(count)?;
    in_turn(count, |done| register_one(task, addr.wrapping_add(done * size_of::<RingUpdate>()))).await
}

async fn register_one(task: &Task<'_>, addr: usize) -> Result<(), Errno> {
    let asked: RingUpdate = task.space().get(addr).await?;
    let range = match asked.offset {
        _ if asked.resv != 0 => return Err(Errno::EINVAL),
        ANY => 0..PLACES,
        place if (place as usize) < PLACES => place as usize..place as usize + 1,
        _ => return Err(Errno::EINVAL),
    };
    // As on Linux, the upper half is not looked at.
    let ring = task.file(asked.data as i32)?;
    ring_of(&ring)?;
    let place = task.thread().register_ring(range, ring)?;
    let told = task.space().put(addr, &RingUpdate { offset: place as u32, ..asked }).await;
    if told.is_err() {
        drop(task.thread().take_registered_ring(place));
    }
    told
}

/// Empties the places of a list; how many entries of it were right.
///
/// # Errors
/// Of the first: `EINVAL`, `EFAULT`.
pub(super) async fn unregister(task: &Task<'_>, addr: usize, count: usize) -> Result<usize, Errno> {
    check(count)?;
    in_turn(count, |done| unregister_one(task, addr.wrapping_add(done * size_of::<RingUpdate>()))).await
}

async fn unregister_one(task: &Task<'_>, addr: usize) -> Result<(), Errno> {
    let asked: RingUpdate = task.space().get(addr).await?;
    if asked.resv != 0 || asked.data != 0 || asked.offset as usize >= PLACES {
        return Err(Errno::EINVAL);
    }
    drop(task.thread().take_registered_ring(asked.offset as usize));
    Ok(())
}

fn check(count: usize) -> Result<(), Errno> {
    if (1..=PLACES).contains(&count) { Ok(()) } else { Err(Errno::EINVAL) }
}
