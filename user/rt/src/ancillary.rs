//! Descriptors that travel with bytes over local sockets (`SCM_RIGHTS`): first the call, then a request (see `stream`).

use crate::io;
use crate::owned::{IoBuf, IoBufMut};
use crate::requests::{self, Request};
use crate::sys::{OwnedFd, retry, syscall};
use ::task::Wait;
use abi::errno::{Errno, Result};
use abi::fs::Iovec;
use abi::io_uring::{IORING_OP_RECVMSG, IORING_OP_SENDMSG, Sqe};
use abi::net::{Cmsghdr, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, Msghdr, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromZeros, IntoBytes};

const HEADER: usize = size_of::<Cmsghdr>();
const NUMBER: usize = size_of::<i32>();

/// What the kernel reads and writes beside the bytes; in one place as long as it may. Dropped, it closes the descriptors that it has: those that
/// were to be sent, and those that came and nobody took, as the future that waited for them was dropped.
struct Message {
    header: Msghdr,
    piece: Iovec,
    /// One control message, at a multiple of 8.
    control: Vec<u64>,
    _sent: Vec<OwnedFd>,
}

impl Message {
    /// With room for the numbers of so many descriptors, the length of whose message is 0.
    fn new((base, len): (u64, usize), count: usize) -> Box<Self> {
        let controllen = HEADER + count * NUMBER;
        let control = alloc::vec![0; controllen.div_ceil(8)];
        let piece = Iovec { base, len: len as u64 };
        let mut message = Box::new(Self { header: Msghdr::new_zeroed(), piece, control, _sent: Vec::new() });
        message.header.iov = (&raw const message.piece) as u64;
        message.header.iovlen = 1;
        message.header.control = message.control.as_mut_ptr() as u64;
        message.header.controllen = controllen as u64;
        message
    }

    fn sending(bytes: (u64, usize), fds: Vec<OwnedFd>) -> Box<Self> {
        let mut message = Self::new(bytes, fds.len());
        let len = message.header.controllen;
        let header = Cmsghdr { len, level: SOL_SOCKET as i32, kind: SCM_RIGHTS as i32 };
        let control = message.control.as_mut_bytes();
        control[..HEADER].copy_from_slice(header.as_bytes());
        for (place, fd) in control[HEADER..].chunks_exact_mut(NUMBER).zip(&fds) {
            place.copy_from_slice(&fd.raw().to_ne_bytes());
        }
        if fds.is_empty() {
            message.header.controllen = 0;
        }
        message._sent = fds;
        message
    }

    fn address(&self) -> u64 {
        (&raw const self.header) as u64
    }
}

/// A message that is received into.
struct Receiving(Box<Message>);

impl Receiving {
    /// The descriptors that came, which are the caller's now.
    fn take(&mut self) -> Vec<OwnedFd> {
        let len = self.0.control.first_mut().map_or(0, core::mem::take) as usize;
        let data = self.0.control.as_bytes().get(HEADER..len).unwrap_or_default();
        let numbers = data.chunks_exact(NUMBER).filter_map(|number| number.try_into().ok());
        numbers.map(|number| OwnedFd::new(i32::from_ne_bytes(number) as usize)).collect()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Sends bytes with descriptors, which are closed here when they were sent, or it failed.
pub(crate) async fn send<B: IoBuf>(socket: &Arc<OwnedFd>, buf: B, fds: Vec<OwnedFd>) -> (io::Result<usize>, B) {
    let bytes = buf.bytes();
    let message = Message::sending((bytes.as_ptr() as u64, bytes.len()), fds);
    let addr = message.address();
    if !requests::gather() {
        match retry(|| syscall!(SENDMSG, socket.raw(), addr, MSG_NOSIGNAL | MSG_DONTWAIT)) {
            Err(Errno::EAGAIN) => {}
            sent => return (sent.map_err(Into::into), buf),
        }
    }
    let entry = Sqe { opcode: IORING_OP_SENDMSG, addr, len: 1, op_flags: MSG_NOSIGNAL, ..Sqe::default() };
    // SAFETY: the bytes are the buffer's and the rest the message's, which do not move with their owners.
    let (sent, (_, buf)) = unsafe { Request::new(entry, Wait::Write, Some(socket), (message, buf)) }.await;
    (sent.map_err(Into::into), buf)
}

/// Receives bytes, and the descriptors that came with them, of which there is room for `most`.
pub(crate) async fn receive<B: IoBufMut>(
    socket: &Arc<OwnedFd>,
    mut buf: B,
    most: usize,
) -> (io::Result<(usize, Vec<OwnedFd>)>, B) {
    let (start, len) = buf.room();
    let mut message = Receiving(Message::new((start as u64, len), most.min(SCM_MAX_FD as usize)));
    let addr = message.0.address();
    if !requests::gather() {
        match retry(|| syscall!(RECVMSG, socket.raw(), addr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) {
            Err(Errno::EAGAIN) => {}
            received => return (ended(received, &mut message, &mut buf), buf),
        }
    }
    let entry = Sqe { opcode: IORING_OP_RECVMSG, addr, len: 1, op_flags: MSG_CMSG_CLOEXEC, ..Sqe::default() };
    // SAFETY: as for `send`; nobody else touches the room.
    let (received, (mut message, mut buf)) =
        unsafe { Request::new(entry, Wait::Read, Some(socket), (message, buf)) }.await;
    (ended(received, &mut message, &mut buf), buf)
}

fn ended<B: IoBufMut>(
    received: Result<usize>,
    message: &mut Receiving,
    buf: &mut B,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    // SAFETY: so many were written.
    unsafe { buf.set_len(received.unwrap_or(0)) };
    Ok((received?, message.take()))
}
