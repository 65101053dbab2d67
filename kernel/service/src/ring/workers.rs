//! What Linux lets a program say of a ring's worker threads. There are none here: what is said is checked, kept and told, and holds of itself.

use super::Ring;
use crate::context::Task;
use abi::{errno::Errno, process::RLIMIT_NPROC};
use hal::sync::{SpinLock, rank};
use ring::Layout;

/// How many there may be that wait for a bounded time, and of others; as Linux has it at first.
pub(super) struct Workers(SpinLock<[u32; 2]>);

impl Workers {
    pub(super) fn new(task: &Task<'_>, layout: &Layout) -> Self {
        let bounded = layout.entries().min(4 * hal::hart::count() as u32);
        let others = u32::try_from(task.process().limit(RLIMIT_NPROC)).unwrap_or(u32::MAX);
        Self(SpinLock::new(rank::PIPE, [bounded, others]))
    }

    /// Replaces those that are not 0; what was before.
    fn replace(&self, asked: [u32; 2]) -> [u32; 2] {
        let mut kept = self.0.lock();
        let before = *kept;
        for (kept, asked) in kept.iter_mut().zip(asked).filter(|(_, asked)| *asked != 0) {
            *kept = asked;
        }
        before
    }
}

/// `IORING_REGISTER_IOWQ_MAX_WORKERS`: two numbers, 0 for what is to stay; they are replaced by those before.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(super) async fn limit(task: &Task<'_>, ring: &Ring, addr: usize) -> Result<usize, Errno> {
    let asked: [u32; 2] = task.space().get(addr).await?;
    if asked.iter().any(|count| *count > i32::MAX as u32) {
        return Err(Errno::EINVAL);
    }
    let before = ring.workers.replace(asked);
    task.space().put(addr, &before).await.map(|()| 0)
}

/// `IORING_REGISTER_IOWQ_AFF`: harts that there are.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(super) async fn set_affinity(task: &Task<'_>, addr: usize, len: usize) -> Result<usize, Errno> {
    let mut harts = [0u8; size_of::<u64>()];
    let len = len.min(harts.len());
    task.space().copy_in(addr, &mut harts[..len]).await?;
    let beyond = u64::from_le_bytes(harts).checked_shr(hal::hart::count() as u32).unwrap_or(0);
    if beyond == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}
