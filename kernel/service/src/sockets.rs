//! Sockets: making, connecting, accepting, addresses. Messages are in `messages.rs`, options in
//! `socket_options.rs`.

use crate::{
    arguments::{Args, only},
    context::{Task, fair},
    paths,
};
use abi::{
    errno::Errno,
    fs::{O_CLOEXEC, O_NONBLOCK, O_RDWR},
    net::{
        AF_INET, AF_UNIX, AF_UNSPEC, IPPROTO_TCP, IPPROTO_UDP, SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_CLOEXEC, SOCK_DGRAM,
        SOCK_NONBLOCK, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, SOCKADDR_MAX, SockaddrIn,
    },
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    net::{Ipv4Addr, SocketAddrV4},
    pin::pin,
};
use io::{
    file::{File, IoError, Want},
    open::OpenFile,
};
use net::{Address, Direction, Framing, LocalName, SocketFile};

// The flags of `socket` are those of `openat`.
const _: () = assert!(SOCK_CLOEXEC == O_CLOEXEC && SOCK_NONBLOCK == O_NONBLOCK);

/// The socket behind a file, if it is one.
pub(crate) fn socket_of(file: &dyn File) -> Option<&SocketFile> {
    file.as_any().downcast_ref()
}

/// Whether a file is a socket that has more of what was received or accepted.
pub(crate) fn has_more(file: &dyn File) -> bool {
    socket_of(file).is_some_and(SocketFile::has_more)
}

/// A descriptor that refers to a socket.
pub(crate) struct Socket(pub Arc<OpenFile>);

impl Socket {
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    pub fn find(task: &Task<'_>, fd: i32) -> Result<Self, Errno> {
        let open = task.file(fd)?;
        match socket_of(open.file().as_ref()) {
            Some(_) => Ok(Self(open)),
            None => Err(Errno::ENOTSOCK),
        }
    }

    pub fn get(&self) -> &SocketFile {
        socket_of(self.0.file().as_ref()).expect("`find` has checked that the file is a socket")
    }

    /// Whether a call with these flags waits.
    pub fn waits(&self, task: &Task<'_>, flags: u32) -> bool {
        (task.waits_always() || !self.0.nonblocking()) && flags & abi::net::MSG_DONTWAIT == 0
    }

    /// Waits for what `want` names.
    ///
    /// # Errors
    /// `EAGAIN` if the socket or `flags` say not to wait, or at the deadline; `EINTR`.
    pub async fn wait(&self, task: &Task<'_>, want: Want, flags: u32, deadline: Option<u64>) -> Result<(), Errno> {
        if !self.waits(task, flags) {
            return Err(Errno::EAGAIN);
        }
        if deadline.is_some() {
            task.end_with_signal();
        }
        task.wait_for(fair(self.0.file().wait(task.caller(), want)), deadline).await
    }
}

impl Socket {
    /// Waits for room for a message of `len` bytes to `to`, or to the peer.
    ///
    /// # Errors
    /// As [`Socket::wait`].
    pub async fn room(
        &self,
        task: &Task<'_>,
        (to, len): (Option<&Address>, usize),
        flags: u32,
        deadline: Option<u64>,
    ) -> Result<(), Errno> {
        if !self.waits(task, flags) {
            return Err(Errno::EAGAIN);
        }
        if deadline.is_some() {
            task.end_with_signal();
        }
        task.wait_for(fair(pin!(self.get().room(task.caller(), to, len))), deadline).await
    }

    /// Waits for a place in the queue of who listens at `address`.
    ///
    /// # Errors
    /// `EAGAIN` at the deadline, `EINTR`.
    async fn vacancy(&self, task: &Task<'_>, address: &Address, deadline: Option<u64>) -> Result<(), Errno> {
        if deadline.is_some() {
            task.end_with_signal();
        }
        let vacancy = async {
            self.get().vacancy(address).await;
            Ok(())
        };
        task.wait_for(fair(pin!(vacancy)), deadline).await
    }
}

/// The datagram socket behind a description, if it is one: its reads and writes are whole messages.
pub(crate) fn datagram(open: &Arc<OpenFile>) -> Option<Socket> {
    let socket = socket_of(open.file().as_ref())?;
    (!socket.is_stream()).then(|| Socket(open.clone()))
}

const RECEIVE: Want = Want::Read { offset: 0, len: 0 };
const SEND: Want = Want::Write { offset: 0, len: 0 };

impl Socket {
    /// When a wait for data ends (`SO_RCVTIMEO`); `None`: never.
    pub fn receive_deadline(&self) -> Option<u64> {
        self.0.file().deadline(RECEIVE)
    }

    /// When a wait for room ends (`SO_SNDTIMEO`); `None`: never.
    pub fn send_deadline(&self) -> Option<u64> {
        self.0.file().deadline(SEND)
    }
}

/// What a socket address from user memory says; `None` for `AF_UNSPEC`. A local name may be empty: that of who asks for any.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Address>, Errno> {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(Errno::EINVAL);
    };
    match u32::from(u16::from_le_bytes(*family)) {
        AF_UNSPEC => Ok(None),
        AF_INET => {
            let Some(rest) = rest.get(..14) else { return Err(Errno::EINVAL) };
            let port = u16::from_be_bytes([rest[0], rest[1]]);
            let ip = Ipv4Addr::new(rest[2], rest[3], rest[4], rest[5]);
            Ok(Some(Address::V4(SocketAddrV4::new(ip, port))))
        }
        AF_UNIX => {
            let path = match rest.first() {
                // A first byte 0 names an address outside the file system: all bytes count.
                Some(0) => rest,
                _ => &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len())],
            };
            if path.len() > 108 { Err(Errno::EINVAL) } else { Ok(Some(Address::Local(path.to_vec().into()))) }
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An address as user memory has it.
pub(crate) fn encode(address: &Address) -> Vec<u8> {
    let mut bytes = Vec::new();
    match address {
        Address::V4(address) => {
            bytes.extend_from_slice(&(AF_INET as u16).to_le_bytes());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&address.ip().octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        Address::Local(name) => {
            bytes.extend_from_slice(&(AF_UNIX as u16).to_le_bytes());
            bytes.extend_from_slice(name.bytes());
            if name.is_path() {
                bytes.push(0);
            }
        }
    }
    bytes
}

/// Reads an address of `len` bytes, which is somebody's.
async fn get_address(task: &Task<'_>, addr: usize, len: usize) -> Result<Option<Address>, Errno> {
    match get_any_address(task, addr, len).await? {
        Some(Address::Local(name)) if name.bytes().is_empty() => Err(Errno::EINVAL),
        address => Ok(address),
    }
}

/// Reads the address of who is to receive a message over `socket`.
///
/// # Errors
/// Also those of the path of a local datagram socket; other sockets do not go by it.
pub(crate) async fn get_receiver(
    task: &Task<'_>,
    socket: &Socket,
    (addr, len): (usize, usize),
) -> Result<Option<Address>, Errno> {
    let address = get_address(task, addr, len).await?;
    let goes_by_it = socket.get().is_local() && socket.get().framing() == Framing::Datagrams;
    if goes_by_it { find_local(task, address).await } else { Ok(address) }
}

/// Finds the file of a local name that is a path.
async fn find_local(task: &Task<'_>, address: Option<Address>) -> Result<Option<Address>, Errno> {
    let Some(Address::Local(name)) = address else { return Ok(address) };
    if !name.is_path() {
        return Ok(Some(Address::Local(name)));
    }
    let inode = paths::find_socket(task, name.bytes()).await?;
    Ok(Some(Address::Local(name.at(inode))))
}

async fn get_any_address(task: &Task<'_>, addr: usize, len: usize) -> Result<Option<Address>, Errno> {
    if len > SOCKADDR_MAX {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0; SOCKADDR_MAX];
    task.copy_in(addr, &mut bytes[..len]).await?;
    decode(&bytes[..len])
}

/// Stores an address at `addr`, cut to the length at `len_addr`, and its whole length there.
async fn put_address(task: &Task<'_>, address: &Address, addr: usize, len_addr: usize) -> Result<(), Errno> {
    let room: i32 = task.space().get(len_addr).await?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = encode(address);
    task.space().copy_out(addr, &bytes[..bytes.len().min(room)]).await?;
    task.space().put(len_addr, &(bytes.len() as i32)).await
}

/// Stores a sender's address if the caller wants it.
pub(crate) async fn put_sender(task: &Task<'_>, from: Option<&Address>, addr: usize, len: usize) -> Result<(), Errno> {
    match from {
        _ if addr == 0 => Ok(()),
        Some(from) => put_address(task, from, addr, len).await,
        None => {
            let room: i32 = task.space().get(len).await?;
            if room < 0 { Err(Errno::EINVAL) } else { task.space().put(len, &0i32).await }
        }
    }
}

/// Makes the object that `socket` asks for.
fn make(task: &Task<'_>, family: u32, kind: u32, protocol: u32) -> Result<Arc<SocketFile>, Errno> {
    let net = &task.system.net;
    match (family, kind, protocol) {
        (AF_INET, SOCK_STREAM, 0 | IPPROTO_TCP) => Ok(SocketFile::tcp(net)),
        (AF_INET, SOCK_DGRAM, 0 | IPPROTO_UDP) => Ok(SocketFile::udp(net)),
        (AF_INET, SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => Err(Errno::EPROTONOSUPPORT),
        (AF_INET | AF_UNIX, _, _) if kind > SOCK_SEQPACKET => Err(Errno::EINVAL),
        (AF_UNIX, _, protocol) if protocol != 0 && protocol != AF_UNIX => Err(Errno::EPROTONOSUPPORT),
        (AF_UNIX, _, _) => Ok(SocketFile::local(net, framing(kind)?)),
        (AF_INET, _, _) => Err(Errno::ESOCKTNOSUPPORT),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn framing(kind: u32) -> Result<Framing, Errno> {
    match kind {
        SOCK_STREAM => Ok(Framing::Stream),
        SOCK_DGRAM => Ok(Framing::Datagrams),
        SOCK_SEQPACKET => Ok(Framing::Packets),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn install(task: &Task<'_>, socket: Arc<SocketFile>, flags: u32) -> Result<usize, Errno> {
    let open = OpenFile::new(socket, O_RDWR | flags & O_NONBLOCK, b"socket:[]");
    task.install(open, flags & O_CLOEXEC != 0)
}

/// `socket(family, type, protocol)`.
pub(crate) fn socket(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let kind = args.bits(1);
    only(kind & !0xf, SOCK_CLOEXEC | SOCK_NONBLOCK)?;
    let socket = make(task, args.bits(0), kind & 0xf, args.bits(2))?;
    install(task, socket, kind & !0xf)
}

/// `socketpair(family, type, protocol, fds)`.
pub(crate) async fn socketpair(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let kind = args.bits(1);
    only(kind & !0xf, SOCK_CLOEXEC | SOCK_NONBLOCK)?;
    // As in Linux, what cannot be made at all is told first.
    drop(make(task, args.bits(0), kind & 0xf, args.bits(2))?);
    if args.bits(0) != AF_UNIX {
        return Err(Errno::EOPNOTSUPP);
    }
    let (a, b) = SocketFile::pair(&task.system.net, task.caller(), framing(kind & 0xf)?)?;
    let first = install(task, a, kind)?;
    let second = install(task, b, kind).inspect_err(|_| task.close(first as i32))?;
    let stored = task.space().put(args.word(3), &[first as i32, second as i32]).await;
    stored.inspect_err(|_| [first, second].iter().for_each(|&fd| task.close(fd as i32)))?;
    Ok(0)
}

/// The address that a socket is to have. Of no family, it may be any of this host's; a local socket is told `EINVAL` of every family but its own.
async fn own_address(task: &Task<'_>, socket: &Socket, (at, len): (usize, usize)) -> Result<Address, Errno> {
    let address = get_any_address(task, at, len).await;
    if socket.get().is_local() {
        return match address {
            Ok(Some(address @ Address::Local(_))) => Ok(address),
            Ok(_) | Err(Errno::EAFNOSUPPORT) => Err(Errno::EINVAL),
            Err(errno) => Err(errno),
        };
    }
    if len < size_of::<SockaddrIn>() {
        return Err(Errno::EINVAL);
    }
    match address? {
        Some(address) => Ok(address),
        None => {
            let said: SockaddrIn = task.space().get(at).await?;
            let port = u16::from_be_bytes(said.port);
            let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
            if said.addr == [0; 4] { Ok(Address::V4(any)) } else { Err(Errno::EAFNOSUPPORT) }
        }
    }
}

/// `bind(fd, address, len)`.
pub(crate) async fn bind(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let address = own_address(task, &socket, (args.word(1), args.bits(2) as usize)).await?;
    if let Address::V4(address) = &address
        && (1..1024).contains(&address.port())
        && task.caller().credentials.uid != 0
    {
        return Err(Errno::EACCES);
    }
    match address {
        Address::Local(name) if name.is_path() && socket.get().is_local() => bind_path(task, &socket, name).await?,
        address => socket.get().bind(task.caller(), &address)?,
    }
    Ok(0)
}

/// Binds a local socket to a path, where its file is made.
///
/// # Errors
/// `EADDRINUSE`: something is there, whoever has made it, and be it of a socket that is gone; those of making a file.
async fn bind_path(task: &Task<'_>, socket: &Socket, name: LocalName) -> Result<(), Errno> {
    let inode = paths::create_socket(task, name.bytes()).await.map_err(|errno| match errno {
        Errno::EEXIST => Errno::EADDRINUSE,
        errno => errno,
    })?;
    let name = name.at(inode.clone());
    let bound = socket.get().bind(task.caller(), &Address::Local(name.clone()));
    if bound.is_err() {
        // As in Linux. If that fails, the file leads to nobody.
        let _ = paths::remove_socket(task, name.bytes(), &inode).await;
    }
    bound
}

/// `listen(fd, backlog)`.
pub(crate) fn listen(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    // A negative backlog is a large one: the kernel compares it as unsigned.
    socket.get().listen(task.caller(), args.bits(1) as usize)?;
    Ok(0)
}

/// `accept4(fd, address, len, flags)`; `how` may say `MSG_DONTWAIT`.
pub(crate) async fn accept(task: &Task<'_>, args: &Args, flags: u32, how: u32) -> Result<usize, Errno> {
    only(flags, SOCK_CLOEXEC | SOCK_NONBLOCK)?;
    let socket = Socket::find(task, args.int(0))?;
    let deadline = socket.receive_deadline();
    let mut kept = None;
    let (accepted, number) = loop {
        // First: with no number to give, the connection stays where it is.
        let number = match kept.take() {
            Some(number) => number,
            None => task.keep()?,
        };
        match socket.get().accept_now() {
            Ok(Some(accepted)) => break (accepted, number),
            Ok(None) => {
                // There is one call for each thread, but any number of requests, which keep none while they wait.
                kept = (!task.is_request()).then_some(number);
                socket.wait(task, Want::Events(abi::poll::EPOLLIN), how, deadline).await?;
            }
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    };
    let open = OpenFile::new(accepted.socket, O_RDWR | flags & O_NONBLOCK, b"socket:[]");
    put_sender(task, Some(&accepted.peer), args.word(1), args.word(2)).await?;
    number.give(open, flags & O_CLOEXEC != 0)
}

/// `connect(fd, address, len)`.
pub(crate) async fn connect(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let address = get_address(task, args.word(1), args.bits(2) as usize).await?;
    let said = address.clone().filter(|_| socket.get().is_local());
    let address = if said.is_some() { find_local(task, address).await? } else { address };
    let Some(mut address) = address else {
        return socket.get().disconnect(task.caller()).map(|()| 0);
    };
    let deadline = socket.send_deadline();
    let mut attempt = socket.get().connect_now(task.caller(), &address);
    loop {
        match attempt {
            Ok(Some(())) => return Ok(0),
            Ok(None) => match socket.wait(task, Want::Events(abi::poll::EPOLLOUT), 0, deadline).await {
                Err(Errno::EAGAIN) => return Err(Errno::EINPROGRESS),
                waited => waited?,
            },
            Err(IoError::Errno(Errno::EAGAIN)) if socket.get().is_local() && socket.waits(task, 0) => {
                socket.vacancy(task, &address, deadline).await?;
                // As on Linux who waited looks for the name again: it may be another's by now.
                address = find_local(task, said.clone()).await?.ok_or(Errno::EINVAL)?;
                attempt = socket.get().connect_now(task.caller(), &address);
                continue;
            }
            // Begun by a call that a signal ended: go on waiting for it.
            Err(IoError::Errno(Errno::EALREADY)) if socket.waits(task, 0) => {}
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
        attempt = socket.get().connect_result();
    }
}

/// `getsockname(fd, address, len)`.
pub(crate) async fn getsockname(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    put_address(task, &socket.get().local_address(), args.word(1), args.word(2)).await?;
    Ok(0)
}

/// `getpeername(fd, address, len)`.
pub(crate) async fn getpeername(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    put_address(task, &socket.get().peer_address()?, args.word(1), args.word(2)).await?;
    Ok(0)
}

/// `shutdown(fd, how)`.
pub(crate) fn shutdown(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let direction = match args.bits(1) {
        SHUT_RD => Direction::Read,
        SHUT_WR => Direction::Write,
        SHUT_RDWR => Direction::Both,
        _ => return Err(Errno::EINVAL),
    };
    socket.get().shutdown(direction)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive() {
        let address = Address::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 15), 8080));
        let bytes = encode(&address);
        assert_eq!(bytes[..8], [2, 0, 0x1f, 0x90, 10, 0, 2, 15]);
        assert_eq!(decode(&bytes), Ok(Some(address)));
        assert_eq!(
            decode(&encode(&Address::Local(b"/run/x".to_vec().into()))),
            Ok(Some(Address::Local(b"/run/x".to_vec().into())))
        );
        let outside = Address::Local(b"\0name\0more".to_vec().into());
        assert_eq!(decode(&encode(&outside)), Ok(Some(outside)));
    }

    #[test]
    fn bad_addresses_are_refused() {
        assert_eq!(decode(&[]), Err(Errno::EINVAL));
        assert_eq!(decode(&[2]), Err(Errno::EINVAL));
        assert_eq!(decode(&[2, 0, 0, 80, 127, 0, 0, 1]), Err(Errno::EINVAL));
        assert_eq!(decode(&[10, 0, 0, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(decode(&[0, 0]), Ok(None));
        assert_eq!(decode(&[1, 0]), Ok(Some(Address::Local(LocalName::default()))));
    }
}
