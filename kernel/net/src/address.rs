//! Addresses of sockets, apart from their wire and user-memory forms.

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};
use io::inode::{Inode, InodeId};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

/// Where a socket is, or whom it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IPv4 address and port (`AF_INET`).
    V4(SocketAddrV4),
    /// A local name (`AF_UNIX`); empty for an unnamed socket.
    Local(LocalName),
}

/// The name of a local socket: its bytes, and, of a path that is to be bound or found, what it leads to. Two paths to one file lead to the same socket.
#[derive(Clone, Default)]
pub struct LocalName {
    bytes: Vec<u8>,
    file: Option<(InodeId, Arc<dyn Inode>)>,
}

impl LocalName {
    /// The same name, as a path that leads there.
    #[must_use]
    pub fn at(self, inode: Arc<dyn Inode>) -> Self {
        Self { file: Some((inode.id(), inode)), ..self }
    }

    /// What user memory has of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is one in the file system.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.bytes.first().is_some_and(|&first| first != 0)
    }

    /// The file, and its identity, which is asked for once: a file system may lock for it.
    pub(crate) fn file(&self) -> Option<&(InodeId, Arc<dyn Inode>)> {
        self.file.as_ref()
    }

    fn id(&self) -> Option<InodeId> {
        self.file.as_ref().map(|(id, _)| *id)
    }
}

impl From<Vec<u8>> for LocalName {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, file: None }
    }
}

impl PartialEq for LocalName {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.id() == other.id()
    }
}

impl Eq for LocalName {}

impl fmt::Debug for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalName").field(&self.bytes).field(&self.id()).finish()
    }
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
