//! Socket calls with Rust's address types, for [`crate::net`] and what tasks use.

use crate::io;
use crate::sys::{OwnedFd, syscall, waiting_call};
use abi::Errno;
use abi::net::{
    AF_INET, AF_INET6, MSG_NOSIGNAL, SO_REUSEADDR, SOCK_CLOEXEC, SOCKADDR_MAX, SOL_SOCKET, SockaddrIn, SockaddrIn6,
};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use zerocopy::{FromBytes, IntoBytes};

/// A socket address as the kernel takes and gives it.
pub(crate) struct Raw {
    pub(crate) bytes: [u8; SOCKADDR_MAX],
    pub(crate) len: u32,
}

impl Raw {
    pub(crate) fn empty() -> Self {
        Self { bytes: [0; SOCKADDR_MAX], len: SOCKADDR_MAX as u32 }
    }

    /// These bytes, at most [`SOCKADDR_MAX`].
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut raw = Self::empty();
        raw.bytes[..bytes.len()].copy_from_slice(bytes);
        raw.len = bytes.len() as u32;
        raw
    }

    /// The family that they name.
    pub(crate) fn family(&self) -> u32 {
        u32::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]))
    }
}

/// An address of a family.
pub(crate) trait Address: Sized {
    fn to_raw(&self) -> Raw;

    /// # Errors
    /// `EAFNOSUPPORT` for one of another family.
    fn from_raw(raw: &Raw) -> io::Result<Self>;
}

impl Address for SocketAddr {
    fn to_raw(&self) -> Raw {
        let port = self.port().to_be_bytes();
        match self {
            SocketAddr::V4(v4) => {
                let addr = v4.ip().octets();
                Raw::of(SockaddrIn { family: AF_INET as u16, port, addr, zero: [0; 8] }.as_bytes())
            }
            SocketAddr::V6(v6) => {
                let (flowinfo, scope_id) = (v6.flowinfo().to_be_bytes(), v6.scope_id());
                let addr = v6.ip().octets();
                Raw::of(SockaddrIn6 { family: AF_INET6 as u16, port, flowinfo, addr, scope_id }.as_bytes())
            }
        }
    }

    fn from_raw(raw: &Raw) -> io::Result<Self> {
        match raw.family() {
            AF_INET => {
                let (sa, _) = SockaddrIn::read_from_prefix(&raw.bytes).map_err(|_| Errno::EINVAL)?;
                Ok(SocketAddrV4::new(Ipv4Addr::from(sa.addr), u16::from_be_bytes(sa.port)).into())
            }
            AF_INET6 => {
                let (sa, _) = SockaddrIn6::read_from_prefix(&raw.bytes).map_err(|_| Errno::EINVAL)?;
                let (ip, port) = (Ipv6Addr::from(sa.addr), u16::from_be_bytes(sa.port));
                Ok(SocketAddrV6::new(ip, port, u32::from_be_bytes(sa.flowinfo), sa.scope_id).into())
            }
            _ => Err(Errno::EAFNOSUPPORT.into()),
        }
    }
}

/// A new socket for addresses like `addr`; `kind` is `SOCK_*` with flags.
pub(crate) fn socket(addr: &impl Address, kind: u32) -> io::Result<OwnedFd> {
    Ok(OwnedFd::new(syscall!(SOCKET, addr.to_raw().family(), kind | SOCK_CLOEXEC, 0)?))
}

pub(crate) fn bind(fd: &OwnedFd, addr: &impl Address) -> io::Result<()> {
    let raw = addr.to_raw();
    syscall!(BIND, fd.raw(), raw.bytes.as_ptr(), raw.len)?;
    Ok(())
}

/// A listening socket.
pub(crate) fn listen(addr: &impl Address, kind: u32) -> io::Result<OwnedFd> {
    let fd = socket(addr, kind)?;
    set_option(&fd, SOL_SOCKET, SO_REUSEADDR, 1)?;
    bind(&fd, addr)?;
    syscall!(LISTEN, fd.raw(), 128)?;
    Ok(fd)
}

pub(crate) fn connect(fd: &OwnedFd, addr: &impl Address) -> io::Result<()> {
    let raw = addr.to_raw();
    waiting_call!(CONNECT, fd.raw(), raw.bytes.as_ptr(), raw.len)?;
    Ok(())
}

/// The next connection; `flags` as for `accept4`.
pub(crate) fn accept<A: Address>(fd: &OwnedFd, flags: u32) -> io::Result<(OwnedFd, A)> {
    let mut raw = Raw::empty();
    let flags = flags | SOCK_CLOEXEC;
    let new = waiting_call!(ACCEPT4, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len, flags)?;
    let new = OwnedFd::new(new);
    Ok((new, A::from_raw(&raw)?))
}

pub(crate) fn local<A: Address>(fd: &OwnedFd) -> io::Result<A> {
    let mut raw = Raw::empty();
    syscall!(GETSOCKNAME, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len)?;
    A::from_raw(&raw)
}

pub(crate) fn peer<A: Address>(fd: &OwnedFd) -> io::Result<A> {
    let mut raw = Raw::empty();
    syscall!(GETPEERNAME, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len)?;
    A::from_raw(&raw)
}

/// Sends, without `SIGPIPE`: a peer that is gone is an error. `flags` are more `MSG_*`.
pub(crate) fn send(fd: &OwnedFd, buf: &[u8], to: Option<&Raw>, flags: u32) -> abi::errno::Result<usize> {
    let (addr, len) = to.map_or((core::ptr::null(), 0), |raw| (raw.bytes.as_ptr(), raw.len));
    waiting_call!(SENDTO, fd.raw(), buf.as_ptr(), buf.len(), MSG_NOSIGNAL | flags, addr, len)
}

/// Receives, with the sender's address.
pub(crate) fn receive(fd: &OwnedFd, buf: &mut [u8]) -> abi::errno::Result<(usize, Raw)> {
    // SAFETY: the buffer is borrowed.
    unsafe { receive_into(fd, buf.as_mut_ptr(), buf.len(), 0) }
}

/// The same into memory that need not have been written before.
///
/// # Safety
/// So many bytes there are valid for writes.
pub(crate) unsafe fn receive_into(
    fd: &OwnedFd,
    start: *mut u8,
    len: usize,
    flags: u32,
) -> abi::errno::Result<(usize, Raw)> {
    let mut raw = Raw::empty();
    let (addr, addr_len) = (raw.bytes.as_mut_ptr(), &raw mut raw.len);
    let count = waiting_call!(RECVFROM, fd.raw(), start, len, flags, addr, addr_len)?;
    Ok((count, raw))
}

/// Sets an option whose value is an `int`.
pub(crate) fn set_option(fd: &OwnedFd, level: u32, name: u32, value: i32) -> io::Result<()> {
    syscall!(SETSOCKOPT, fd.raw(), level, name, &raw const value, size_of::<i32>())?;
    Ok(())
}

pub(crate) fn shutdown(fd: &OwnedFd, how: u32) -> io::Result<()> {
    syscall!(SHUTDOWN, fd.raw(), how)?;
    Ok(())
}
