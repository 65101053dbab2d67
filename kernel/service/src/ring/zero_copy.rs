//! Sending "without a copy" (`IORING_OP_SEND_ZC`, `IORING_OP_SENDMSG_ZC`): a result, then a notification that the memory is the program's again.
//!
//! A socket here has a copy of all that was sent by the time that the result is known. So the notification comes right behind the result, and says that there was a copy to who
//! asks. A result without `IORING_CQE_F_MORE` has none: when nothing was sent, or there is no memory to tell of both.

use super::{Ring, buffers::Buffer, calls::Call, operation::Done, ticket::Ticket};
use crate::{arguments::MOST, context::Task, sockets::Socket, transfer::Piece};
use abi::{errno::Errno, io_uring::*};
use alloc::sync::Arc;

/// Whether a call is such a one.
pub(super) fn is_one(call: &Call) -> bool {
    matches!(call.opcode(), IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC)
}

/// Whether the fields of an entry are as they must be. The notification cannot be left out.
pub(super) fn is_right(entry: &Sqe) -> bool {
    let known = IORING_RECVSEND_POLL_FIRST | IORING_SEND_ZC_REPORT_USAGE;
    let rest = match entry.opcode {
        IORING_OP_SEND_ZC => entry.ioprio & !(known | IORING_RECVSEND_FIXED_BUF) == 0 && entry.file_index >> 16 == 0,
        _ => entry.ioprio & !known == 0 && entry.off == 0 && entry.file_index == 0,
    };
    rest && entry.addr3 == 0 && entry.pad == 0 && entry.flags & IOSQE_CQE_SKIP_SUCCESS == 0
}

/// The registered buffer that it sends from, if it does.
///
/// # Errors
/// `EFAULT`.
pub(super) fn buffer(call: &Call, ring: &Ring) -> Result<Option<Arc<Buffer>>, Errno> {
    if !is_one(call) || call.ioprio & IORING_RECVSEND_FIXED_BUF == 0 {
        return Ok(None);
    }
    let piece = Piece { addr: call.addr as usize, len: (call.len as usize).min(MOST) };
    ring.buffers.get(call.group, piece).map(Some)
}

/// The call, to its end, with its result posted; what ends the request is the notification.
pub(super) async fn serve(call: &Call, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64) -> Done {
    match Socket::find(task, call.fd) {
        // As on Linux: for what the network carries.
        Ok(socket) if socket.get().is_local() => return Done::failed(Errno::EOPNOTSUPP),
        Ok(_) => {}
        Err(errno) => return Done::failed(errno),
    }
    let done = call.finish(task, ring).await;
    if done.result < 0 || ring.reserve(1) == 0 {
        return done;
    }
    Ticket::apart(ring, user_data).complete(Done { flags: IORING_CQE_F_MORE, ..done });
    let reports = call.ioprio & IORING_SEND_ZC_REPORT_USAGE != 0;
    let usage = if reports { IORING_NOTIF_USAGE_ZC_COPIED } else { 0 };
    Done { result: usage.cast_signed(), fails: done.fails, flags: IORING_CQE_F_NOTIF }
}
