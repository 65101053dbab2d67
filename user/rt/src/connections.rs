//! Connections of sockets: taken and made by requests. What can be had at once is taken by the call, which costs no ring; how that is decided is
//! as for streams (see there).

use crate::io;
use crate::requests::{self, Request};
use crate::socket::{self, Address, Raw};
use crate::stream::Stream;
use crate::sys::{OwnedFd, retry};
use ::task::Wait;
use abi::io_uring::{IORING_OP_ACCEPT, IORING_OP_CONNECT, Sqe};
use abi::net::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener(Arc<OwnedFd>);

impl Listener {
    /// Takes one that is non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Waits for a connection. What a request takes whose future was dropped is closed.
    pub(crate) async fn accept<A: Address>(&self) -> io::Result<(Stream, A)> {
        if !requests::gather() {
            match retry(|| socket::accept(&self.0, SOCK_NONBLOCK)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => return accepted.map(|(fd, peer)| (Stream::socket(fd), peer)),
            }
        }
        let mut peer = Box::new(Raw::empty());
        let (addr, off) = (peer.bytes.as_mut_ptr() as u64, (&raw mut peer.len) as u64);
        let op_flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
        let entry = Sqe { opcode: IORING_OP_ACCEPT, addr, off, op_flags, ..Sqe::default() };
        // SAFETY: the address and its length lie in the box, and nobody else touches them.
        let (accepted, peer) = unsafe { Request::new(entry, Wait::Read, Some(&self.0), peer) }.opens().await;
        let stream = Stream::socket(OwnedFd::new(accepted?));
        Ok((stream, A::from_raw(&peer)?))
    }
}

/// Connects a socket by a request: whatever a connection needs, the call would not wait for it.
pub(crate) async fn connect(stream: &Stream, addr: &impl Address) -> io::Result<()> {
    let raw = Box::new(addr.to_raw());
    let (addr, off) = (raw.bytes.as_ptr() as u64, u64::from(raw.len));
    let entry = Sqe { opcode: IORING_OP_CONNECT, addr, off, ..Sqe::default() };
    // SAFETY: the address lies in the box, and is only read.
    let (connected, _) = unsafe { Request::new(entry, Wait::Write, Some(stream.readiness().fd()), raw) }.await;
    Ok(connected.map(drop)?)
}
