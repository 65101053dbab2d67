//! Sockets: families, options, addresses, messages. Ports and IPv4 addresses are in network byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// Address families.
constants! { u32:
    AF_UNSPEC = 0, AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, AF_PACKET = 17,
}

// Socket types, and the flags that `socket` and `accept4` take beside them.
constants! { u32:
    SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_RDM = 4, SOCK_SEQPACKET = 5,
}
constants! { u32:
    SOCK_CLOEXEC = 0x8_0000, SOCK_NONBLOCK = 0x800,
}

// Protocols, which are also option levels.
constants! { u32:
    IPPROTO_IP = 0, IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_IPV6 = 41, IPPROTO_RAW = 255,
}

// `SOL_SOCKET` and its options.
constants! { u32:
    SOL_SOCKET = 1, SO_DEBUG = 1, SO_REUSEADDR = 2, SO_TYPE = 3, SO_ERROR = 4, SO_DONTROUTE = 5,
    SO_BROADCAST = 6, SO_SNDBUF = 7, SO_RCVBUF = 8, SO_SNDBUFFORCE = 32, SO_RCVBUFFORCE = 33,
    SO_KEEPALIVE = 9, SO_OOBINLINE = 10, SO_NO_CHECK = 11, SO_PRIORITY = 12, SO_LINGER = 13,
    SO_BSDCOMPAT = 14, SO_REUSEPORT = 15, SO_PASSCRED = 16, SO_PEERCRED = 17, SO_RCVLOWAT = 18,
    SO_SNDLOWAT = 19, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21, SO_BINDTODEVICE = 25, SO_TIMESTAMP = 29,
    SO_ACCEPTCONN = 30, SO_PROTOCOL = 38, SO_DOMAIN = 39, SO_INCOMING_CPU = 49, SO_BUSY_POLL = 46,
}

// `IPPROTO_TCP` options.
constants! { u32:
    TCP_NODELAY = 1, TCP_MAXSEG = 2, TCP_CORK = 3, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6,
    TCP_SYNCNT = 7, TCP_LINGER2 = 8, TCP_DEFER_ACCEPT = 9, TCP_WINDOW_CLAMP = 10, TCP_INFO = 11,
    TCP_QUICKACK = 12, TCP_CONGESTION = 13, TCP_USER_TIMEOUT = 18, TCP_FASTOPEN = 23,
}

// `IPPROTO_IP` and `IPPROTO_IPV6` options.
constants! { u32:
    IP_TOS = 1, IP_TTL = 2, IP_MTU_DISCOVER = 10, IP_RECVERR = 11, IP_PKTINFO = 8, IP_MULTICAST_IF = 32,
    IP_MULTICAST_TTL = 33, IP_MULTICAST_LOOP = 34, IP_ADD_MEMBERSHIP = 35, IP_DROP_MEMBERSHIP = 36,
    IPV6_V6ONLY = 26, IPV6_UNICAST_HOPS = 16,
}

// Message flags.
constants! { u32:
    MSG_OOB = 0x1, MSG_PEEK = 0x2, MSG_DONTROUTE = 0x4, MSG_CTRUNC = 0x8, MSG_TRUNC = 0x20,
    MSG_DONTWAIT = 0x40, MSG_EOR = 0x80, MSG_WAITALL = 0x100, MSG_ERRQUEUE = 0x2000, MSG_NOSIGNAL = 0x4000,
    MSG_MORE = 0x8000, MSG_WAITFORONE = 0x1_0000, MSG_CMSG_CLOEXEC = 0x4000_0000,
}

// Control messages of Unix sockets, and how many descriptors one message carries.
constants! { u32:
    SCM_RIGHTS = 1, SCM_CREDENTIALS = 2, SCM_MAX_FD = 253,
}

// `shutdown`, and the longest `listen` queue.
constants! { u32:
    SHUT_RD = 0, SHUT_WR = 1, SHUT_RDWR = 2, SOMAXCONN = 4096,
}

/// Linux `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SockaddrIn {
    /// [`AF_INET`].
    pub family: u16,
    /// Port.
    pub port: [u8; 2],
    /// Address.
    pub addr: [u8; 4],
    /// Zero.
    pub zero: [u8; 8],
}
layout!(SockaddrIn, 16, port @ 2, addr @ 4);

/// Linux `struct sockaddr_in6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SockaddrIn6 {
    /// [`AF_INET6`].
    pub family: u16,
    /// Port.
    pub port: [u8; 2],
    /// Flow information.
    pub flowinfo: [u8; 4],
    /// Address.
    pub addr: [u8; 16],
    /// Interface, for link-local addresses.
    pub scope_id: u32,
}
layout!(SockaddrIn6, 28, addr @ 8, scope_id @ 24);

/// Linux `struct sockaddr_un`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SockaddrUn {
    /// [`AF_UNIX`].
    pub family: u16,
    /// Path; a first byte 0 names an abstract address.
    pub path: [u8; 108],
}
layout!(SockaddrUn, 110, path @ 2);

/// Bytes of the largest socket address (`struct sockaddr_storage`).
pub const SOCKADDR_MAX: usize = 128;

/// Linux `struct user_msghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Msghdr {
    /// Address of a socket address, or 0.
    pub name: u64,
    /// Its length.
    pub namelen: i32,
    /// Padding.
    pub pad: u32,
    /// Address of the pieces ([`crate::fs::Iovec`]).
    pub iov: u64,
    /// How many.
    pub iovlen: u64,
    /// Address of control messages.
    pub control: u64,
    /// Their length in bytes.
    pub controllen: u64,
    /// `MSG_*`, filled in by `recvmsg`.
    pub flags: u32,
    /// Padding.
    pub pad2: u32,
}
layout!(Msghdr, 56, iov @ 16, control @ 32, flags @ 48);

/// Linux `struct mmsghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Mmsghdr {
    /// What is said of the message.
    pub message: Msghdr,
    /// Bytes that were sent or received.
    pub len: u32,
    /// Padding.
    pub pad: u32,
}
layout!(Mmsghdr, 64, len @ 56);

/// Linux `struct cmsghdr`; data follows, each message starts at a multiple of 8.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Cmsghdr {
    /// Length in bytes with this header.
    pub len: u64,
    /// Level.
    pub level: i32,
    /// Type.
    pub kind: i32,
}
layout!(Cmsghdr, 16, level @ 8);

/// Linux `struct linger`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Linger {
    /// 0: off.
    pub onoff: i32,
    /// Seconds.
    pub seconds: i32,
}
layout!(Linger, 8, seconds @ 4);

/// Linux `struct ucred`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Ucred {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
layout!(Ucred, 12, gid @ 8);
