//! A socket of datagrams for tasks: first the call, then a request (see `stream`).

use crate::io;
use crate::owned::{IoBuf, IoBufMut};
use crate::requests::{self, Request};
use crate::socket::{self, Address, Raw};
use crate::sys::{OwnedFd, retry};
use ::task::Wait;
use abi::errno::Errno;
use abi::fs::Iovec;
use abi::io_uring::{IORING_OP_RECVMSG, IORING_OP_SENDMSG, Sqe};
use abi::net::{MSG_DONTWAIT, MSG_NOSIGNAL, Msghdr};
use alloc::boxed::Box;
use alloc::sync::Arc;
use zerocopy::FromZeros;

/// What the kernel reads and writes beside the bytes; in one place as long as it may.
struct Message {
    header: Msghdr,
    piece: Iovec,
    addr: Raw,
}

impl Message {
    fn new((base, len): (u64, usize), addr: Option<Raw>) -> Box<Self> {
        let piece = Iovec { base, len: len as u64 };
        let named = addr.is_some();
        let mut message = Box::new(Self { header: Msghdr::new_zeroed(), piece, addr: addr.unwrap_or(Raw::empty()) });
        if named {
            message.header.name = message.addr.bytes.as_ptr() as u64;
            message.header.namelen = message.addr.len as i32;
        }
        message.header.iov = (&raw const message.piece) as u64;
        message.header.iovlen = 1;
        message
    }

    /// The address that the kernel has put there: its length is in the header, 0 if the sender has none.
    fn sender(&self) -> Raw {
        Raw { len: self.header.namelen.cast_unsigned(), bytes: self.addr.bytes }
    }
}

/// See the module's head. Any number of tasks may send and receive.
#[derive(Debug)]
pub(crate) struct Datagrams(Arc<OwnedFd>);

impl Datagrams {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.0
    }

    /// Sends one datagram; without an address to the one that it is connected to.
    pub(crate) async fn send<B: IoBuf>(&self, buf: B, to: Option<Raw>) -> (io::Result<usize>, B) {
        let bytes = buf.bytes();
        if !requests::gather() {
            match retry(|| socket::send(&self.0, bytes, to.as_ref(), MSG_DONTWAIT)) {
                Err(Errno::EAGAIN) => {}
                sent => return (sent.map_err(Into::into), buf),
            }
        }
        let message = Message::new((bytes.as_ptr() as u64, bytes.len()), to);
        let addr = (&raw const message.header) as u64;
        let entry = Sqe { opcode: IORING_OP_SENDMSG, addr, len: 1, op_flags: MSG_NOSIGNAL, ..Sqe::default() };
        // SAFETY: the bytes are the buffer's and the rest the message's, which do not move with their owners.
        let (sent, (_, buf)) = unsafe { Request::new(entry, Wait::Write, Some(&self.0), (message, buf)) }.await;
        (sent.map_err(Into::into), buf)
    }

    /// # Safety
    /// So many bytes there are valid for writes.
    unsafe fn receive_now(&self, start: *mut u8, len: usize) -> abi::errno::Result<(usize, Raw)> {
        // SAFETY: the caller's promise.
        retry(|| unsafe { socket::receive_into(&self.0, start, len, MSG_DONTWAIT) })
    }

    /// Waits for a datagram; with who sent it, if that has an address.
    pub(crate) async fn receive<B: IoBufMut>(&self, mut buf: B) -> (io::Result<(usize, Raw)>, B) {
        let (start, len) = buf.room();
        if !requests::gather() {
            // SAFETY: the room is the buffer's, and nobody else's.
            match unsafe { self.receive_now(start, len) } {
                Err(Errno::EAGAIN) => {}
                received => return (ended(received, &mut buf), buf),
            }
        }
        let message = Message::new((start as u64, len), Some(Raw::empty()));
        let addr = (&raw const message.header) as u64;
        let entry = Sqe { opcode: IORING_OP_RECVMSG, addr, len: 1, ..Sqe::default() };
        // SAFETY: as for `send`; nobody else touches the room.
        let (received, (message, mut buf)) =
            unsafe { Request::new(entry, Wait::Read, Some(&self.0), (message, buf)) }.await;
        (ended(received.map(|len| (len, message.sender())), &mut buf), buf)
    }

    /// The same with the address of a sender who has one of this kind.
    pub(crate) async fn receive_from<B: IoBufMut, A: Address>(&self, buf: B) -> (io::Result<(usize, A)>, B) {
        let (received, buf) = self.receive(buf).await;
        (received.and_then(|(len, from)| Ok((len, A::from_raw(&from)?))), buf)
    }
}

/// What was received is what the buffer has now.
fn ended<B: IoBufMut>(received: abi::errno::Result<(usize, Raw)>, buf: &mut B) -> io::Result<(usize, Raw)> {
    // SAFETY: so many were written.
    unsafe { buf.set_len(received.as_ref().map_or(0, |(len, _)| *len)) };
    Ok(received?)
}
