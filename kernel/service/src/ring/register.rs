//! `io_uring_register`.

use super::{Ring, buffers, cancel::Cancel, files, groups, operation, restrictions, ring_fds, ring_of, workers};
use crate::{arguments::Args, context::Task};
use abi::{
    errno::Errno,
    io_uring::*,
    time::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, Timespec},
};
use alloc::sync::Arc;
use mem::list;
use zerocopy::IntoBytes;

/// `io_uring_register(fd, operation, argument, count)`.
pub(crate) async fn register(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (operation, argument, count) = (args.bits(1), args.word(2), args.bits(3) as usize);
    let number = operation & !IORING_REGISTER_USE_REGISTERED_RING;
    if number >= IORING_REGISTER_LAST {
        return Err(Errno::EINVAL);
    }
    let by_place = number != operation;
    let open = if by_place { task.thread().registered_ring(args.bits(0) as usize)? } else { task.file(args.int(0))? };
    let ring = ring_of(&open)?;
    if ring.issuer_is_another(task.thread()) {
        return Err(Errno::EEXIST);
    }
    ring.check_call(number)?;
    match number {
        IORING_REGISTER_PROBE if argument != 0 && count <= 256 => probe(task, argument, count).await,
        IORING_REGISTER_ENABLE_RINGS if argument == 0 && count == 0 => enable(task, ring),
        IORING_REGISTER_RESTRICTIONS => restrictions::register(task, ring, argument, count).await,
        IORING_REGISTER_EVENTFD | IORING_REGISTER_EVENTFD_ASYNC if count == 1 => {
            let fd: i32 = task.space().get(argument).await?;
            ring.notify.register(task.file(fd)?, number == IORING_REGISTER_EVENTFD_ASYNC).map(|()| 0)
        }
        IORING_UNREGISTER_EVENTFD if argument == 0 && count == 0 => ring.tell_nobody().map(|()| 0),
        IORING_REGISTER_PBUF_RING if argument != 0 && count == 1 => groups::register(task, ring, argument).await,
        IORING_UNREGISTER_PBUF_RING if argument != 0 && count == 1 => groups::unregister(task, ring, argument).await,
        IORING_REGISTER_PBUF_STATUS if argument != 0 && count == 1 => groups::status(task, ring, argument).await,
        IORING_REGISTER_SYNC_CANCEL if argument != 0 && count == 1 => cancel(task, ring, argument).await,
        IORING_REGISTER_RING_FDS => ring_fds::register(task, argument, count).await,
        IORING_UNREGISTER_RING_FDS => ring_fds::unregister(task, argument, count).await,
        IORING_REGISTER_PERSONALITY if argument == 0 && count == 0 => ring.personalities.register(task),
        IORING_UNREGISTER_PERSONALITY if argument == 0 => ring.personalities.unregister(count),
        IORING_REGISTER_CLOCK if argument != 0 && count == 0 => clock(task, argument).await,
        // There is no polling of network devices, as in a Linux that is built without.
        IORING_REGISTER_NAPI if argument != 0 && count == 1 => Err(Errno::EOPNOTSUPP),
        IORING_UNREGISTER_NAPI if count == 1 => Err(Errno::EOPNOTSUPP),
        IORING_REGISTER_IOWQ_AFF if argument != 0 && count > 0 => workers::set_affinity(task, argument, count).await,
        IORING_UNREGISTER_IOWQ_AFF if argument == 0 && count == 0 => Ok(0),
        IORING_REGISTER_IOWQ_MAX_WORKERS if argument != 0 && count == 2 => workers::limit(task, ring, argument).await,
        _ => resources(task, ring, number, argument, count).await,
    }
}

/// Operations on files and buffers.
async fn resources(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    number: u32,
    argument: usize,
    count: usize,
) -> Result<usize, Errno> {
    match number {
        IORING_REGISTER_FILES | IORING_REGISTER_BUFFERS if argument == 0 => Err(Errno::EFAULT),
        IORING_REGISTER_FILES => files::register(task, ring, (argument as u64, 0), count).await,
        IORING_REGISTER_FILES2 => {
            let RsrcRegister { nr, data, tags, .. } = list_of(task, argument, count).await?;
            files::register(task, ring, (data, tags), nr as usize).await
        }
        IORING_UNREGISTER_FILES if argument == 0 && count == 0 => ring.files.unregister().map(|()| 0),
        IORING_REGISTER_FILES_UPDATE => files::update_of_call(task, ring, argument, count).await,
        IORING_REGISTER_FILES_UPDATE2 => {
            let RsrcUpdate { offset, data, tags, nr, .. } = change_of(task, argument, count).await?;
            files::update(task, ring, offset as usize, (data, tags), nr as usize).await
        }
        IORING_REGISTER_FILE_ALLOC_RANGE if argument != 0 && count == 0 => {
            ring.files.set_range(task.space().get(argument).await?).map(|()| 0)
        }
        IORING_REGISTER_BUFFERS => buffers::register(task, ring, (argument as u64, 0), count).await,
        IORING_REGISTER_BUFFERS2 => {
            let RsrcRegister { nr, data, tags, .. } = list_of(task, argument, count).await?;
            buffers::register(task, ring, (data, tags), nr as usize).await
        }
        IORING_REGISTER_CLONE_BUFFERS if argument != 0 && count == 1 => buffers::copy_table(task, ring, argument).await,
        IORING_UNREGISTER_BUFFERS if argument == 0 && count == 0 => ring.buffers.unregister().map(|()| 0),
        IORING_REGISTER_BUFFERS_UPDATE => buffers::update(task, ring, &change_of(task, argument, count).await?).await,
        _ => Err(Errno::EINVAL),
    }
}

/// What a table is to be made of.
async fn list_of(task: &Task<'_>, addr: usize, size: usize) -> Result<RsrcRegister, Errno> {
    if size != size_of::<RsrcRegister>() {
        return Err(Errno::EINVAL);
    }
    let asked: RsrcRegister = task.space().get(addr).await?;
    let sparse = asked.flags & IORING_RSRC_REGISTER_SPARSE != 0;
    let has_others = asked.flags & !IORING_RSRC_REGISTER_SPARSE != 0;
    if asked.nr == 0 || asked.resv2 != 0 || has_others || sparse && asked.data != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(asked)
}

/// What places are to be changed to.
async fn change_of(task: &Task<'_>, addr: usize, size: usize) -> Result<RsrcUpdate, Errno> {
    if size != size_of::<RsrcUpdate>() {
        return Err(Errno::EINVAL);
    }
    let asked: RsrcUpdate = task.space().get(addr).await?;
    if asked.nr == 0 || asked.resv != 0 || asked.resv2 != 0 {
        return Err(Errno::EINVAL);
    }
    asked.offset.checked_add(asked.nr).ok_or(Errno::EOVERFLOW)?;
    Ok(asked)
}

/// The clock of times that `io_uring_enter` is given. Both that Linux has for it are one here: the machine does not sleep.
async fn clock(task: &Task<'_>, addr: usize) -> Result<usize, Errno> {
    let asked: ClockRegister = task.space().get(addr).await?;
    let is_right = asked.resv == [0; 3] && matches!(asked.clockid, CLOCK_MONOTONIC | CLOCK_BOOTTIME);
    if is_right { Ok(0) } else { Err(Errno::EINVAL) }
}

/// Ends requests, and waits for that.
async fn cancel(task: &Task<'_>, ring: &Ring, addr: usize) -> Result<usize, Errno> {
    let asked: SyncCancel = task.space().get(addr).await?;
    let cancel = Cancel::of_call(&asked)?;
    let open = cancel.file(task, ring)?;
    let deadline = match asked.timeout {
        Timespec { sec: -1, nsec: -1 } => None,
        Timespec { sec, nsec } => {
            let nanos = u64::try_from(sec.saturating_mul(1_000_000_000).saturating_add(nsec)).unwrap_or(0);
            Some(hal::time::now().saturating_add(nanos))
        }
    };
    // Whatever the limit is, it is seen whether that is all. What goes on is waited for.
    let done = task.wait_for(async { Ok(cancel.wait(ring, open.as_ref(), false).await) }, None).await?;
    match Errno::from_return(done.result as isize) {
        Err(Errno::EALREADY) => {}
        result => return result,
    }
    match task.wait_for(async { Ok(cancel.wait(ring, open.as_ref(), true).await) }, deadline).await {
        Err(Errno::EAGAIN) => Err(Errno::ETIME),
        // As on Linux: it is gone, and nobody asks how.
        ended => ended.map(|_| 0),
    }
}

/// What operations are there.
async fn probe(task: &Task<'_>, addr: usize, count: usize) -> Result<usize, Errno> {
    let count = count.min(usize::from(IORING_OP_LAST));
    let len = size_of::<Probe>() + count * size_of::<ProbeOp>();
    let mut bytes = list(len)?;
    bytes.resize(len, 0u8);
    task.space().copy_in(addr, &mut bytes).await?;
    if bytes.iter().any(|&byte| byte != 0) {
        return Err(Errno::EINVAL);
    }
    let head = Probe { last_op: IORING_OP_LAST - 1, ops_len: count as u8, ..Probe::default() };
    let operations = (0..count as u8).map(|op| {
        let flags = if operation::is_known(op) { IO_URING_OP_SUPPORTED } else { 0 };
        ProbeOp { op, flags, ..ProbeOp::default() }
    });
    let (first, rest) = bytes.split_at_mut(size_of::<Probe>());
    first.copy_from_slice(head.as_bytes());
    rest.chunks_mut(size_of::<ProbeOp>()).zip(operations).for_each(|(to, op)| to.copy_from_slice(op.as_bytes()));
    task.space().copy_out(addr, &bytes).await.map(|()| 0)
}

/// A ring that was made disabled begins.
fn enable(task: &Task<'_>, ring: &Ring) -> Result<usize, Errno> {
    if !ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    ring.appoint(task);
    if !ring.enable() {
        return Err(Errno::EBADFD);
    }
    if let Some(poller) = &ring.poller {
        poller.call(ring);
    }
    Ok(0)
}
