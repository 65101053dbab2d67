//! Addresses of sockets, apart from their wire and user-memory forms.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

/// Where a socket is, or whom it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IPv4 address and port (`AF_INET`).
    V4(SocketAddrV4),
    /// A local name (`AF_UNIX`); empty for an unnamed socket.
    Local(Vec<u8>),
}

/// The library's form of an address.
pub(crate) fn endpoint(address: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*address.ip()), address.port())
}

/// The library's form of a local address, where 0.0.0.0 means any.
pub(crate) fn listen_endpoint(address: SocketAddrV4) -> IpListenEndpoint {
    let addr = (!address.ip().is_unspecified()).then(|| IpAddress::Ipv4(*address.ip()));
    IpListenEndpoint { addr, port: address.port() }
}

/// Our form of the library's address.
pub(crate) fn socket_address(endpoint: IpEndpoint) -> SocketAddrV4 {
    let IpAddress::Ipv4(ip) = endpoint.addr;
    SocketAddrV4::new(ip, endpoint.port)
}

/// The address that stands for "none given".
pub(crate) const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
