//! A message that is received into a buffer that was chosen for it (`IORING_OP_RECVMSG`), once or again and again.
//!
//! Once, what is to be said beside its bytes goes where `recvmsg` puts it. Again and again, all of it goes into the buffer:
//!
//! ```text
//!   RecvmsgOut | room for the sender's address | room for control messages | bytes
//! ```

use crate::{
    context::Task,
    control, messages,
    sockets::{Socket, encode},
    transfer::Piece,
};
use abi::{
    errno::Errno,
    fs::{IOV_MAX, Iovec},
    io_uring::RecvmsgOut,
    net::{MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_TRUNC, Msghdr},
};
use alloc::sync::Arc;
use io::open::OpenFile;
use net::Received;

/// What the program has said of the messages that it wants.
pub(super) struct Message {
    /// Where it has said so.
    at: usize,
    said: Msghdr,
    /// Where what is said of each lies before its bytes: room for an address, and for control messages.
    rooms: Option<(usize, usize)>,
}

/// What was received into a buffer.
#[derive(Clone, Copy)]
pub(super) struct Took {
    /// So much of it is used.
    pub len: usize,
    /// There was more.
    pub is_cut: bool,
    /// No more comes.
    pub is_end: bool,
}

impl Took {
    pub(super) fn bytes(len: usize) -> Self {
        Self { len, is_cut: false, is_end: len == 0 }
    }
}

impl Message {
    /// Reads what the program says, with how many bytes it wants at most of the first message, or 0. The checks are Linux's, in its order.
    ///
    /// # Errors
    /// `EFAULT`, `EINVAL`, `EMSGSIZE`, `EOVERFLOW`.
    pub(super) async fn get(task: &Task<'_>, at: usize, multishot: bool) -> Result<(Self, u32), Errno> {
        let message: Msghdr = task.get(at).await?;
        if message.name != 0 && message.namelen < 0 {
            return Err(Errno::EINVAL);
        }
        if message.iovlen > u64::from(IOV_MAX) {
            return Err(Errno::EMSGSIZE);
        }
        let len = match message.iovlen {
            0 => 0,
            1 => length(task, message.iov as usize).await?,
            _ => return Err(Errno::EINVAL),
        };
        let rooms = match multishot {
            true => Some(rooms(&message).ok_or(Errno::EOVERFLOW)?),
            false => None,
        };
        Ok((Self { at, said: message, rooms }, len))
    }

    /// Receives one that is there.
    ///
    /// # Errors
    /// `EAGAIN`; `EFAULT`, also if the buffer is too small for what is said of a message.
    pub(super) async fn receive(
        &self,
        task: &Task<'_>,
        open: &Arc<OpenFile>,
        flags: u32,
        piece: Piece,
    ) -> Result<Took, Errno> {
        let before = self.rooms.map_or(0, |(name, control)| size_of::<RecvmsgOut>() + name + control);
        let room = piece.len.checked_sub(before).ok_or(Errno::EFAULT)?;
        let bytes = [Piece { addr: piece.addr.wrapping_add(before), len: room }];
        let received = messages::receive(task, &Socket(open.clone()), &bytes, flags | MSG_DONTWAIT).await?;
        let len = if flags & MSG_TRUNC != 0 { received.full } else { received.len };
        let is_cut = received.full > received.len;
        match self.rooms {
            Some(rooms) => put(task, piece.addr, rooms, (flags, len), received).await?,
            None => messages::put_message(task, self.at, &self.said, received, flags).await?,
        }
        // As on Linux, of one that is cut the result is no more than there is room for, if it lies behind what is said of it.
        let used = if self.rooms.is_some() { before + len.min(room) } else { len };
        Ok(Took { len: used, is_cut, is_end: len == 0 })
    }
}

/// The length that a piece in memory has. Where it lies is not looked at.
pub(super) async fn length(task: &Task<'_>, at: usize) -> Result<u32, Errno> {
    let piece: Iovec = task.get(at).await?;
    Ok(u32::try_from(piece.len).unwrap_or(u32::MAX))
}

/// What is asked for, if it can be told in an `int`.
fn rooms(message: &Msghdr) -> Option<(usize, usize)> {
    let (name, control) = (usize::try_from(message.namelen).ok()?, usize::try_from(message.controllen).ok()?);
    let all = size_of::<RecvmsgOut>().checked_add(name)?.checked_add(control)?;
    i32::try_from(all).ok().map(|_| (name, control))
}

async fn put(
    task: &Task<'_>,
    at: usize,
    (room, control): (usize, usize),
    (flags, len): (u32, usize),
    received: Received,
) -> Result<(), Errno> {
    let name = received.from.as_ref().map(encode).unwrap_or_default();
    let cut = if received.full > received.len { MSG_TRUNC } else { 0 };
    let name_at = at.wrapping_add(size_of::<RecvmsgOut>());
    let (used, lack) = control::put(task, received.rights, (name_at.wrapping_add(room), control), flags).await;
    let out = RecvmsgOut {
        namelen: name.len() as u32,
        controllen: used as u32,
        payloadlen: len as u32,
        flags: flags & MSG_CMSG_CLOEXEC | cut | lack,
    };
    task.space().put(at, &out).await?;
    task.space().copy_out(name_at, &name[..name.len().min(room)]).await
}
