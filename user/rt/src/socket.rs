//! Socket calls with Rust's address types, for [`crate::net`], [`crate::async_net`] and [`crate::async_udp`].

use crate::io;
use crate::sys::{OwnedFd, retry, syscall};
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

    pub(crate) fn new(addr: &SocketAddr) -> Self {
        let mut raw = Self::empty();
        let port = addr.port().to_be_bytes();
        let mut put = |bytes: &[u8]| {
            raw.bytes[..bytes.len()].copy_from_slice(bytes);
            raw.len = bytes.len() as u32;
        };
        match addr {
            SocketAddr::V4(v4) => {
                put(SockaddrIn { family: AF_INET as u16, port, addr: v4.ip().octets(), zero: [0; 8] }.as_bytes());
            }
            SocketAddr::V6(v6) => {
                let (flowinfo, scope_id) = (v6.flowinfo().to_be_bytes(), v6.scope_id());
                let addr = v6.ip().octets();
                put(SockaddrIn6 { family: AF_INET6 as u16, port, flowinfo, addr, scope_id }.as_bytes());
            }
        }
        raw
    }

    pub(crate) fn get(&self) -> io::Result<SocketAddr> {
        let family = u32::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]));
        match family {
            AF_INET => {
                let (sa, _) = SockaddrIn::read_from_prefix(&self.bytes).map_err(|_| Errno::EINVAL)?;
                Ok(SocketAddrV4::new(Ipv4Addr::from(sa.addr), u16::from_be_bytes(sa.port)).into())
            }
            AF_INET6 => {
                let (sa, _) = SockaddrIn6::read_from_prefix(&self.bytes).map_err(|_| Errno::EINVAL)?;
                let (ip, port) = (Ipv6Addr::from(sa.addr), u16::from_be_bytes(sa.port));
                Ok(SocketAddrV6::new(ip, port, u32::from_be_bytes(sa.flowinfo), sa.scope_id).into())
            }
            _ => Err(Errno::EAFNOSUPPORT.into()),
        }
    }
}

/// A new socket for addresses like `addr`; `kind` is `SOCK_*` with flags.
pub(crate) fn socket(addr: &SocketAddr, kind: u32) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AF_INET } else { AF_INET6 };
    Ok(OwnedFd::new(syscall!(SOCKET, family, kind | SOCK_CLOEXEC, 0)?))
}

pub(crate) fn bind(fd: &OwnedFd, addr: &SocketAddr) -> io::Result<()> {
    let raw = Raw::new(addr);
    syscall!(BIND, fd.raw(), raw.bytes.as_ptr(), raw.len)?;
    Ok(())
}

/// A listening socket.
pub(crate) fn listen(addr: &SocketAddr, kind: u32) -> io::Result<OwnedFd> {
    let fd = socket(addr, kind)?;
    set_option(&fd, SOL_SOCKET, SO_REUSEADDR, 1)?;
    bind(&fd, addr)?;
    syscall!(LISTEN, fd.raw(), 128)?;
    Ok(fd)
}

pub(crate) fn connect(fd: &OwnedFd, addr: &SocketAddr) -> io::Result<()> {
    let raw = Raw::new(addr);
    syscall!(CONNECT, fd.raw(), raw.bytes.as_ptr(), raw.len)?;
    Ok(())
}

/// The next connection; `flags` as for `accept4`.
pub(crate) fn accept(fd: &OwnedFd, flags: u32) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut raw = Raw::empty();
    let flags = flags | SOCK_CLOEXEC;
    let new = retry(|| syscall!(ACCEPT4, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len, flags))?;
    let new = OwnedFd::new(new);
    Ok((new, raw.get()?))
}

pub(crate) fn local(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let mut raw = Raw::empty();
    syscall!(GETSOCKNAME, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len)?;
    raw.get()
}

pub(crate) fn peer(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let mut raw = Raw::empty();
    syscall!(GETPEERNAME, fd.raw(), raw.bytes.as_mut_ptr(), &raw mut raw.len)?;
    raw.get()
}

/// Sends, without `SIGPIPE`: a peer that is gone is an error.
pub(crate) fn send(fd: &OwnedFd, buf: &[u8], to: Option<&SocketAddr>) -> abi::errno::Result<usize> {
    let raw = to.map(Raw::new);
    let (ptr, len) = raw.as_ref().map_or((core::ptr::null(), 0), |r| (r.bytes.as_ptr(), r.len));
    retry(|| syscall!(SENDTO, fd.raw(), buf.as_ptr(), buf.len(), MSG_NOSIGNAL, ptr, len))
}

pub(crate) fn receive_from(fd: &OwnedFd, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let mut raw = Raw::empty();
    let n = retry(|| {
        syscall!(RECVFROM, fd.raw(), buf.as_mut_ptr(), buf.len(), 0, raw.bytes.as_mut_ptr(), &raw mut raw.len)
    })?;
    Ok((n, raw.get()?))
}

/// Sets an option whose value is an `int`.
pub(crate) fn set_option(fd: &OwnedFd, level: u32, name: u32, value: i32) -> io::Result<()> {
    syscall!(SETSOCKOPT, fd.raw(), level, name, &raw const value, size_of::<i32>())?;
    Ok(())
}

/// The error that a socket has kept (`SO_ERROR`), which reading clears.
pub(crate) fn take_error(fd: &OwnedFd) -> io::Result<()> {
    let (mut value, mut len) = (0i32, size_of::<i32>() as u32);
    syscall!(GETSOCKOPT, fd.raw(), SOL_SOCKET, abi::net::SO_ERROR, &raw mut value, &raw mut len)?;
    match u16::try_from(value).ok().and_then(Errno::new) {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

pub(crate) fn shutdown(fd: &OwnedFd, how: u32) -> io::Result<()> {
    syscall!(SHUTDOWN, fd.raw(), how)?;
    Ok(())
}
