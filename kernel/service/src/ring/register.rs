//! `io_uring_register`.

use super::{Ring, buffers, cancel::Cancel, files, groups, operation, ring_of};
use crate::{
    arguments::Args,
    context::{Task, list},
};
use abi::{errno::Errno, io_uring::*, time::Timespec};
use core::sync::atomic::Ordering::Release;
use zerocopy::IntoBytes;

/// `io_uring_register(fd, operation, argument, count)`.
pub(crate) async fn register(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (number, argument, count) = (args.bits(1), args.word(2), args.bits(3));
    // No ring is ever registered by number: that flag is refused with the operations that are not there.
    if number >= IORING_REGISTER_LAST {
        return Err(Errno::EINVAL);
    }
    let open = task.file(args.int(0))?;
    let ring = ring_of(&open)?;
    if ring.issuer_is_another(task.thread()) {
        return Err(Errno::EEXIST);
    }
    match number {
        IORING_REGISTER_PROBE if argument != 0 && count <= 256 => probe(task, argument, count as usize).await,
        IORING_REGISTER_ENABLE_RINGS if argument == 0 && count == 0 => enable(task, ring),
        IORING_REGISTER_FILES if argument != 0 => files::register(task, ring, argument, count as usize).await,
        IORING_UNREGISTER_FILES if argument == 0 && count == 0 => ring.files.unregister().map(|()| 0),
        IORING_REGISTER_FILES_UPDATE if argument != 0 => {
            files::update_of_call(task, ring, argument, count as usize).await
        }
        IORING_REGISTER_EVENTFD | IORING_REGISTER_EVENTFD_ASYNC if argument != 0 && count == 1 => {
            let fd: i32 = task.space().get(argument).await?;
            ring.notify.register(task.file(fd)?, number == IORING_REGISTER_EVENTFD_ASYNC).map(|()| 0)
        }
        IORING_UNREGISTER_EVENTFD if argument == 0 && count == 0 => ring.notify.unregister().map(|()| 0),
        IORING_REGISTER_PBUF_RING if argument != 0 && count == 1 => groups::register(task, ring, argument).await,
        IORING_UNREGISTER_PBUF_RING if argument != 0 && count == 1 => groups::unregister(task, ring, argument).await,
        IORING_REGISTER_PBUF_STATUS if argument != 0 && count == 1 => groups::status(task, ring, argument).await,
        IORING_REGISTER_BUFFERS if argument != 0 => {
            buffers::register(task, ring, (argument as u64, 0), count as usize).await
        }
        IORING_UNREGISTER_BUFFERS if argument == 0 && count == 0 => ring.buffers.unregister().map(|()| 0),
        IORING_REGISTER_BUFFERS2 => buffers::register_tagged(task, ring, argument, count as usize).await,
        IORING_REGISTER_BUFFERS_UPDATE => buffers::update(task, ring, argument, count as usize).await,
        IORING_REGISTER_FILE_ALLOC_RANGE if argument != 0 && count == 0 => {
            ring.files.set_range(task.space().get(argument).await?).map(|()| 0)
        }
        IORING_REGISTER_SYNC_CANCEL if argument != 0 && count == 1 => cancel(task, ring, argument).await,
        _ => Err(Errno::EINVAL),
    }
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
    let ended = async { Ok(cancel.wait(ring, open.as_ref(), true).await) };
    let done = match task.wait_for(ended, deadline).await {
        Err(Errno::EAGAIN) => return Err(Errno::ETIME),
        ended => ended?,
    };
    match Errno::from_return(done.result as isize) {
        // As on Linux: it is gone, and nobody asks how.
        Err(Errno::EALREADY) => Ok(0),
        result => result,
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
    // Release pairs with the Acquire in `Ring::has`. Of two at once, one enables.
    let before = ring.flags.fetch_and(!IORING_SETUP_R_DISABLED, Release);
    if before & IORING_SETUP_R_DISABLED == 0 {
        return Err(Errno::EBADFD);
    }
    if let Some(poller) = &ring.poller {
        poller.call(ring);
    }
    Ok(0)
}
