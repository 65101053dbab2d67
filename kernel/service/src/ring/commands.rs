//! Commands to what is behind a descriptor (`IORING_OP_URING_CMD`): of all that has some in Linux, sockets.

use crate::{
    arguments::Args,
    context::Task,
    socket_options,
    sockets::{Socket, socket_of},
};
use abi::{errno::Errno, io_uring::*, net::SOL_SOCKET};

/// A command: descriptor, level, option, its value, its length, number.
///
/// # Errors
/// `EOPNOTSUPP` for what has none, or not this one; those of the call that it stands for.
pub(super) async fn serve(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let socket = socket_of(open.file().as_ref()).ok_or(Errno::EOPNOTSUPP)?;
    match args.bits(5) {
        SOCKET_URING_OP_SIOCINQ if !socket.is_local() => socket.tell_readable(),
        SOCKET_URING_OP_SIOCOUTQ if !socket.is_local() => socket.tell_unsent().ok_or(Errno::EOPNOTSUPP)?,
        // As on Linux, of this level only; the length comes as the result.
        SOCKET_URING_OP_GETSOCKOPT if args.bits(1) == SOL_SOCKET => {
            let room = usize::try_from(args.int(4)).map_err(|_| Errno::EINVAL)?;
            let which = (args.bits(1), args.bits(2));
            socket_options::get(task, &Socket(open.clone()), which, args.word(3), room).await
        }
        SOCKET_URING_OP_SETSOCKOPT => socket_options::setsockopt(task, args).await,
        _ => Err(Errno::EOPNOTSUPP),
    }
}
