//! Readiness: `ppoll` and `epoll`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// `PollFd` events.
constants! { u16:
    POLLIN = 0x1, POLLPRI = 0x2, POLLOUT = 0x4, POLLERR = 0x8, POLLHUP = 0x10, POLLNVAL = 0x20,
    POLLRDNORM = 0x40, POLLRDBAND = 0x80, POLLWRNORM = 0x100, POLLWRBAND = 0x200, POLLMSG = 0x400,
    POLLREMOVE = 0x1000, POLLRDHUP = 0x2000,
}

// `epoll` events.
constants! { u32:
    EPOLLIN = 0x1, EPOLLPRI = 0x2, EPOLLOUT = 0x4, EPOLLERR = 0x8, EPOLLHUP = 0x10, EPOLLNVAL = 0x20,
    EPOLLRDNORM = 0x40, EPOLLRDBAND = 0x80, EPOLLWRNORM = 0x100, EPOLLWRBAND = 0x200, EPOLLMSG = 0x400,
    EPOLLRDHUP = 0x2000, EPOLLEXCLUSIVE = 0x10000000, EPOLLWAKEUP = 0x20000000, EPOLLONESHOT = 0x40000000,
    EPOLLET = 0x80000000,
}

// `epoll_ctl` operations and `epoll_create1` flag.
constants! { u32:
    EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3,
}
constants! { u32:
    EPOLL_CLOEXEC = 0x80000,
}

/// Linux `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PollFd {
    /// Descriptor; a negative one is skipped.
    pub fd: i32,
    /// Events asked for.
    pub events: u16,
    /// Events found; `POLLERR`, `POLLHUP` and `POLLNVAL` come unasked.
    pub revents: u16,
}
layout!(PollFd, 8, events @ 4, revents @ 6);

/// Linux `struct epoll_event` (riscv64: not packed).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct EpollEvent {
    /// `EPOLL*`.
    pub events: u32,
    /// Padding.
    pub pad: u32,
    /// The caller's word.
    pub data: u64,
}
layout!(EpollEvent, 16, data @ 8);
