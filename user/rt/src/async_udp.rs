//! Datagrams for tasks: buffers belong to the operation until it has ended.

use crate::io;
use crate::net::SocketAddr;
use crate::owned::{IoBuf, IoBufMut};
use crate::requests::Request;
use crate::socket::{self, Raw};
use crate::sys::OwnedFd;
use ::task::Wait;
use abi::fs::Iovec;
use abi::io_uring::{IORING_OP_RECVMSG, IORING_OP_SENDMSG, Sqe};
use abi::net::{MSG_NOSIGNAL, Msghdr, SOCK_DGRAM};
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
    fn new((base, len): (u64, usize), addr: Raw) -> Box<Self> {
        let piece = Iovec { base, len: len as u64 };
        let mut message = Box::new(Self { header: Msghdr::new_zeroed(), piece, addr });
        message.header.name = message.addr.bytes.as_ptr() as u64;
        message.header.namelen = message.addr.len as i32;
        message.header.iov = (&raw const message.piece) as u64;
        message.header.iovlen = 1;
        message
    }
}

/// A datagram socket. Any number of tasks may send and receive.
#[derive(Debug)]
pub struct UdpSocket(Arc<OwnedFd>);

impl UdpSocket {
    /// A socket at `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let fd = socket::socket(&addr, SOCK_DGRAM)?;
        socket::bind(&fd, &addr)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// None for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local(&self.0)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// `EMSGSIZE`, `ENETUNREACH`; the buffer comes back.
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: SocketAddr) -> (io::Result<usize>, B) {
        let bytes = buf.bytes();
        let message = Message::new((bytes.as_ptr() as u64, bytes.len()), Raw::new(&to));
        let addr = (&raw const message.header) as u64;
        let entry = Sqe { opcode: IORING_OP_SENDMSG, addr, len: 1, op_flags: MSG_NOSIGNAL, ..Sqe::default() };
        // SAFETY: the bytes are the buffer's and the rest the message's, which do not move with their owners.
        let (sent, (_, buf)) = unsafe { Request::new(entry, Wait::Write, Some(&self.0), (message, buf)) }.await;
        (sent.map_err(Into::into), buf)
    }

    /// Waits for a datagram; what there is no room for is lost. So is one that comes before a future that was dropped is cancelled.
    ///
    /// # Errors
    /// `ECONNREFUSED` for an earlier datagram that found nobody; the buffer comes back.
    pub async fn recv_from<B: IoBufMut>(&self, mut buf: B) -> (io::Result<(usize, SocketAddr)>, B) {
        let (start, len) = buf.room();
        let message = Message::new((start as u64, len), Raw::empty());
        let addr = (&raw const message.header) as u64;
        let entry = Sqe { opcode: IORING_OP_RECVMSG, addr, len: 1, ..Sqe::default() };
        // SAFETY: as above; nobody else touches the room.
        let (received, (message, mut buf)) =
            unsafe { Request::new(entry, Wait::Read, Some(&self.0), (message, buf)) }.await;
        // SAFETY: so many were written.
        unsafe { buf.set_len(received.unwrap_or(0)) };
        let from = received.map_err(io::Error::from).and_then(|len| Ok((len, message.addr.get()?)));
        (from, buf)
    }
}
