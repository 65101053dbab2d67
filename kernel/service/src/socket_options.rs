//! `setsockopt` and `getsockopt`: the numbers and layouts of options.

use crate::{
    arguments::{Args, micros, timeval},
    context::Task,
    sockets::Socket,
};
use abi::{
    errno::Errno,
    net::{self as n, Linger, Ucred},
    time::Timeval,
};
use net::{Framing, SocketFile, SocketOption, SocketValue};
use zerocopy::IntoBytes;

/// The option that a level and a number name.
fn known(level: u32, name: u32) -> Option<SocketOption> {
    Some(match (level, name) {
        (n::SOL_SOCKET, n::SO_REUSEADDR) => SocketOption::ReuseAddress,
        (n::SOL_SOCKET, n::SO_REUSEPORT) => SocketOption::ReusePort,
        (n::SOL_SOCKET, n::SO_KEEPALIVE) => SocketOption::KeepAlive,
        (n::SOL_SOCKET, n::SO_BROADCAST) => SocketOption::Broadcast,
        (n::SOL_SOCKET, n::SO_LINGER) => SocketOption::Linger,
        (n::SOL_SOCKET, n::SO_RCVTIMEO) => SocketOption::ReceiveTimeout,
        (n::SOL_SOCKET, n::SO_SNDTIMEO) => SocketOption::SendTimeout,
        (n::SOL_SOCKET, n::SO_ERROR) => SocketOption::Error,
        (n::SOL_SOCKET, n::SO_ACCEPTCONN) => SocketOption::Listening,
        (n::SOL_SOCKET, n::SO_PASSCRED) => SocketOption::PassCredentials,
        (n::SOL_SOCKET, n::SO_RCVBUF) => SocketOption::ReceiveBuffer,
        (n::SOL_SOCKET, n::SO_SNDBUF) => SocketOption::SendBuffer,
        (n::IPPROTO_TCP, n::TCP_NODELAY) => SocketOption::NoDelay,
        (n::IPPROTO_TCP, n::TCP_KEEPIDLE) => SocketOption::KeepIdle,
        _ => return None,
    })
}

/// Options that may be set without effect: hints, and what one interface and one route make moot.
fn ignorable(level: u32, name: u32) -> bool {
    matches!(
        (level, name),
        (n::SOL_SOCKET, n::SO_DONTROUTE | n::SO_OOBINLINE | n::SO_PRIORITY | n::SO_RCVLOWAT | n::SO_TIMESTAMP)
            | (n::IPPROTO_TCP, n::TCP_KEEPINTVL | n::TCP_KEEPCNT | n::TCP_CORK | n::TCP_QUICKACK)
            | (n::IPPROTO_TCP, n::TCP_USER_TIMEOUT | n::TCP_DEFER_ACCEPT | n::TCP_FASTOPEN)
            | (n::IPPROTO_IP, n::IP_TOS | n::IP_TTL | n::IP_MTU_DISCOVER | n::IP_RECVERR)
    )
}

/// Whether the socket has options of this level.
fn is_level(socket: &SocketFile, level: u32) -> bool {
    match level {
        n::SOL_SOCKET => true,
        n::IPPROTO_IP => !socket.is_local(),
        n::IPPROTO_TCP => !socket.is_local() && socket.is_stream(),
        _ => false,
    }
}

/// `setsockopt(fd, level, name, value, len)`.
pub(crate) async fn setsockopt(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let (level, name, at) = (args.bits(1), args.bits(2), args.word(3));
    let len = usize::try_from(args.int(4)).map_err(|_| Errno::EINVAL)?;
    if !is_level(socket.get(), level) {
        return Err(if socket.get().is_local() { Errno::EOPNOTSUPP } else { Errno::ENOPROTOOPT });
    }
    let option = match known(level, name) {
        Some(option) => option,
        None if ignorable(level, name) => return Ok(0),
        None => return Err(Errno::ENOPROTOOPT),
    };
    let least = |size: usize| if len < size { Err(Errno::EINVAL) } else { Ok(()) };
    let value = match option {
        SocketOption::Linger => {
            least(size_of::<Linger>())?;
            let linger: Linger = task.space().get(at).await?;
            SocketValue::Linger((linger.onoff != 0).then_some(linger.seconds.max(0) as u32))
        }
        SocketOption::ReceiveTimeout | SocketOption::SendTimeout => {
            least(size_of::<Timeval>())?;
            SocketValue::Number(micros(task.space().get(at).await?).map_err(|_| Errno::EDOM)?)
        }
        _ => {
            least(size_of::<i32>())?;
            let number: i32 = task.space().get(at).await?;
            SocketValue::Number(number as u32 as u64)
        }
    };
    socket.get().set_option(option, value)?;
    Ok(0)
}

/// `getsockopt(fd, level, name, value, len)`.
pub(crate) async fn getsockopt(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let room: i32 = task.space().get(args.word(4)).await?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let len = get(task, &socket, (args.bits(1), args.bits(2)), args.word(3), room).await?;
    task.space().put(args.word(4), &(len as i32)).await.map(|()| 0)
}

/// Stores as much of an option's value at `at` as there is `room` for; how much that is.
///
/// # Errors
/// `EOPNOTSUPP`, `ENOPROTOOPT`, `EFAULT`.
pub(crate) async fn get(
    task: &Task<'_>,
    socket: &Socket,
    (level, name): (u32, u32),
    at: usize,
    room: usize,
) -> Result<usize, Errno> {
    if !is_level(socket.get(), level) {
        return Err(Errno::EOPNOTSUPP);
    }
    if let Some(option) = known(level, name) {
        return match (option, socket.get().option(option)) {
            (_, SocketValue::Linger(linger)) => {
                let linger = Linger { onoff: linger.is_some().into(), seconds: linger.unwrap_or(0) as i32 };
                store(task, linger.as_bytes(), at, room).await
            }
            (SocketOption::ReceiveTimeout | SocketOption::SendTimeout, SocketValue::Number(nanos)) => {
                store(task, timeval(nanos).as_bytes(), at, room).await
            }
            (_, SocketValue::Number(number)) => store(task, &(number as i32).to_le_bytes(), at, room).await,
        };
    }
    if (level, name) == (n::SOL_SOCKET, n::SO_PEERCRED) {
        let peer = socket.get().peer_identity();
        let peer = Ucred { pid: peer.pid as i32, uid: peer.uid, gid: peer.gid };
        return store(task, peer.as_bytes(), at, room).await;
    }
    let number = fixed(socket.get(), level, name).ok_or(Errno::ENOPROTOOPT)?;
    store(task, &number.to_le_bytes(), at, room).await
}

/// What never changes on a socket.
fn fixed(socket: &SocketFile, level: u32, name: u32) -> Option<u32> {
    Some(match (level, name) {
        (n::SOL_SOCKET, n::SO_TYPE) => match socket.framing() {
            Framing::Stream => n::SOCK_STREAM,
            Framing::Datagrams => n::SOCK_DGRAM,
            Framing::Packets => n::SOCK_SEQPACKET,
        },
        (n::SOL_SOCKET, n::SO_DOMAIN) => {
            if socket.is_local() {
                n::AF_UNIX
            } else {
                n::AF_INET
            }
        }
        (n::SOL_SOCKET, n::SO_PROTOCOL) if socket.is_local() => 0,
        (n::SOL_SOCKET, n::SO_PROTOCOL) => {
            if socket.is_stream() {
                n::IPPROTO_TCP
            } else {
                n::IPPROTO_UDP
            }
        }
        (n::IPPROTO_TCP, n::TCP_MAXSEG) => 1460,
        (n::IPPROTO_IP, n::IP_TTL) => 64,
        _ if ignorable(level, name) => 0,
        _ => return None,
    })
}

/// Stores as much of a value as the caller has room for; how much that is.
async fn store(task: &Task<'_>, value: &[u8], at: usize, room: usize) -> Result<usize, Errno> {
    let len = value.len().min(room);
    task.space().copy_out(at, &value[..len]).await?;
    Ok(len)
}
