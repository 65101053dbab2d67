//! Sending and receiving on sockets: `sendto`, `recvfrom`, `sendmsg`, `recvmsg`.
//!
//! A datagram goes out and comes in whole: one that is spread over several pieces passes through a kernel
//! buffer. So does the part of a stream that carries descriptors. Control messages are in `control.rs`.

use crate::{
    arguments::Args,
    context::Task,
    control, dispatch,
    sockets::{Socket, get_receiver, put_sender},
    transfer::{self, At, How, Piece, Pieces, total},
};
use abi::{
    errno::Errno,
    fs::PIPE_BUF as SHORT,
    net::{
        MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL,
        MSG_WAITFORONE, Mmsghdr, Msghdr,
    },
    nr,
};
use alloc::{boxed::Box, vec::Vec};
use core::{future::Future, mem::offset_of};
use io::file::{IoError, Want};
use mem::{Charge, Sink, Source, list};
use net::{Address, Framing, Received, Rights};
use process::Begun;

/// Largest datagram of any kind.
const DATAGRAM_MOST: usize = 65_536;
/// Most bytes of a stream that descriptors go with; a read that gets them ends where these do.
const CARRIER_MOST: usize = 32_768;

/// The caller pays for it as long as it is there.
pub(crate) fn kernel_buffer(task: &Task<'_>, len: usize) -> Result<(Vec<u8>, Charge), Errno> {
    let charge = task.caller().account.charge(len).map_err(|_| Errno::ENOBUFS)?;
    let mut bytes = list(len).map_err(|_| Errno::ENOBUFS)?;
    bytes.resize(len, 0);
    Ok((bytes, charge))
}

async fn copy_in(task: &Task<'_>, piece: Piece, into: &mut [u8]) -> Result<(), Errno> {
    loop {
        let attempt = task.source(piece).take(into);
        match attempt {
            Ok(()) => return Ok(()),
            Err(fault) => task.resolve(fault).await?,
        }
    }
}

/// The first `len` bytes of `list` in a kernel buffer.
async fn gather(task: &Task<'_>, list: &[Piece], len: usize) -> Result<(Vec<u8>, Charge), Errno> {
    let (mut bytes, charge) = kernel_buffer(task, len)?;
    let mut done = 0;
    for piece in list {
        let now = piece.len.min(len - done);
        copy_in(task, Piece { addr: piece.addr, len: now }, &mut bytes[done..done + now]).await?;
        done += now;
    }
    Ok((bytes, charge))
}

/// Sends the bytes of `list`, and with the first of them `rights`, if there are any.
pub(crate) async fn send(
    task: &Task<'_>,
    socket: &Socket,
    list: &[Piece],
    to: Option<&Address>,
    flags: u32,
    rights: Option<Box<Rights>>,
) -> Result<usize, Errno> {
    if flags & MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let to = socket.get().receiver(to)?;
    if socket.get().is_stream() {
        let how = How { gives_up: !socket.waits(task, flags), quiet: flags & MSG_NOSIGNAL != 0, tried: false };
        return match rights {
            Some(rights) => Box::pin(send_carrier(task, socket, list, flags, rights)).await,
            None => transfer::write(task, &socket.0, At::Position, list, how).await,
        };
    }
    if total(list) > DATAGRAM_MOST {
        return Err(Errno::EMSGSIZE);
    }
    let (bytes, _charge) = gather(task, list, total(list)).await?;
    let rights = match rights {
        None if socket.get().is_local() => {
            control::real_ids(task).map(|real| control::claim(task, real)).transpose()?
        }
        rights => rights,
    };
    // No `SIGPIPE`: that is for streams.
    send_whole(task, socket, &bytes, to, flags, rights).await
}

/// One message, or what goes at once of a stream.
async fn send_whole(
    task: &Task<'_>,
    socket: &Socket,
    bytes: &[u8],
    to: Option<&Address>,
    flags: u32,
    mut rights: Option<Box<Rights>>,
) -> Result<usize, Errno> {
    let deadline = socket.send_deadline();
    loop {
        let mut source = Source::kernel(bytes);
        let attempt = match rights {
            Some(_) => socket.get().send_with_now(task.caller(), &mut source, to, &mut rights),
            None => socket.get().send_now(task.caller(), &mut source, to),
        };
        match attempt {
            Ok(Some(len)) => return Ok(len),
            Ok(None) => socket.room(task, (to, bytes.len()), flags, deadline).await?,
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

/// Sends over a stream what carries descriptors, then the rest. Without bytes nothing is sent, as on Linux.
async fn send_carrier(
    task: &Task<'_>,
    socket: &Socket,
    list: &[Piece],
    flags: u32,
    rights: Box<Rights>,
) -> Result<usize, Errno> {
    let len = total(list).min(CARRIER_MOST);
    if len == 0 {
        return Ok(0);
    }
    let (bytes, charge) = gather(task, list, len).await?;
    let sent = send_whole(task, socket, &bytes, None, flags, Some(rights)).await;
    drop((bytes, charge));
    let mut done = sent.inspect_err(|&errno| {
        if flags & MSG_NOSIGNAL == 0 {
            transfer::write_failed(task, &socket.0, errno);
        }
    })?;
    let how = How { gives_up: !socket.waits(task, flags), quiet: true, tried: false };
    while let Some(piece) = transfer::rest(list, done) {
        // Whatever comes of the rest, what was sent counts.
        let more = transfer::write(task, &socket.0, At::Position, &[piece], how).await.unwrap_or(0);
        done += more;
        if more < piece.len {
            break;
        }
    }
    Ok(done)
}

/// Receives into `list`.
pub(crate) async fn receive(task: &Task<'_>, socket: &Socket, list: &[Piece], flags: u32) -> Result<Received, Errno> {
    if flags & MSG_OOB != 0 {
        return Err(if socket.get().framing() == Framing::Stream { Errno::EINVAL } else { Errno::EOPNOTSUPP });
    }
    // Nothing is ever told there.
    if flags & MSG_ERRQUEUE != 0 && !socket.get().is_local() {
        return Err(Errno::EAGAIN);
    }
    // Bytes of a stream that stay there are looked at once: they are for all pieces, as a message is.
    if socket.get().is_stream() && (flags & MSG_PEEK == 0 || list.len() < 2) {
        return receive_stream(task, socket, list, flags).await;
    }
    if let [piece] = list {
        return receive_datagram(task, socket, flags, || Sink::user(task.space(), piece.addr, piece.len)).await;
    }
    let (mut bytes, _charge) = kernel_buffer(task, total(list).min(DATAGRAM_MOST))?;
    let received = receive_gathered(task, socket, flags, &mut bytes).await?;
    let mut left = &bytes[..received.len];
    for piece in list {
        let (now, later) = left.split_at(left.len().min(piece.len));
        task.space().copy_out(piece.addr, now).await?;
        left = later;
    }
    Ok(received)
}

/// A datagram socket that is read no more ends waits, and tells who does not wait that there is nothing, as in Linux. Not requests, which try whenever something is told.
fn unless_over(task: &Task<'_>, socket: &Socket, received: Received, flags: u32) -> Result<Received, Errno> {
    if received.is_end && !task.is_request() && !socket.waits(task, flags) { Err(Errno::EAGAIN) } else { Ok(received) }
}

async fn receive_gathered(task: &Task<'_>, socket: &Socket, flags: u32, bytes: &mut [u8]) -> Result<Received, Errno> {
    let deadline = socket.receive_deadline();
    loop {
        match socket.get().receive_now(&mut Sink::kernel(bytes), flags & MSG_PEEK != 0) {
            Ok(Some(received)) => return unless_over(task, socket, received, flags),
            Ok(None) => socket.wait(task, Want::Events(abi::poll::EPOLLIN), flags, deadline).await?,
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

async fn receive_datagram<'t>(
    task: &'t Task<'_>,
    socket: &Socket,
    flags: u32,
    sink: impl Fn() -> Sink<'t> + Send,
) -> Result<Received, Errno> {
    let deadline = socket.receive_deadline();
    loop {
        let attempt = socket.get().receive_now(&mut sink(), flags & MSG_PEEK != 0);
        match attempt {
            Ok(Some(received)) => return unless_over(task, socket, received, flags),
            Ok(None) => socket.wait(task, Want::Events(abi::poll::EPOLLIN), flags, deadline).await?,
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

/// What comes with descriptors ends what is received: they are told of once.
async fn receive_stream(task: &Task<'_>, socket: &Socket, list: &[Piece], flags: u32) -> Result<Received, Errno> {
    let (peek, all) = (flags & MSG_PEEK != 0, flags & MSG_WAITALL != 0);
    let deadline = socket.receive_deadline();
    let (mut done, mut most, mut rights) = (0, usize::MAX, None);
    while let Some(piece) = transfer::rest(list, done).filter(|_| most > 0) {
        let piece = Piece { len: piece.len.min(most), ..piece };
        let attempt = socket.get().receive_now(&mut Sink::user(task.space(), piece.addr, piece.len), peek);
        let waited = match attempt {
            Ok(Some(received)) => {
                done += received.len;
                most -= received.len.min(most);
                // Who sent is told once, descriptors come once.
                if let Some(more) = received.rights
                    && (rights.is_none() || !more.files().is_empty())
                {
                    (most, rights) = (received.left as usize, Some(more));
                }
                if received.len == 0 || peek {
                    break;
                }
                Ok(())
            }
            Ok(None) if done > 0 && !all => break,
            Ok(None) => socket.wait(task, Want::Events(abi::poll::EPOLLIN), flags, deadline).await,
            Err(IoError::Errno(errno)) => Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await,
        };
        match waited {
            Err(_) if done > 0 => break,
            waited => waited?,
        }
    }
    Ok(Received { len: done, full: done, from: None, rights, left: 0, is_end: false })
}

/// `sendto(fd, bytes, len, flags, address, address_len)`.
pub(crate) async fn sendto(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let to = match (args.word(4), args.bits(5)) {
        (0, _) => None,
        // As on Linux, a name without a byte is none to who has no use for one.
        (_, 0) if socket.get().is_stream() => None,
        (addr, len) => get_receiver(task, &socket, (addr, len as usize)).await?,
    };
    let piece = Piece { addr: args.word(1), len: args.count(2) };
    send(task, &socket, &[piece], to.as_ref(), args.bits(3), None).await
}

/// `sendto` of something short over a stream, without an address: served at once, or begun.
pub(crate) fn begin_sendto(task: Task<'_>, args: Args) -> Begun<'_> {
    let flags = args.bits(3);
    let piece = Piece { addr: args.word(1), len: args.count(2) };
    if args.word(4) != 0 || piece.len > SHORT || flags & !(MSG_NOSIGNAL | MSG_DONTWAIT) != 0 {
        return Begun::Not;
    }
    let socket = match Socket::find(&task, args.int(0)) {
        Ok(socket) => socket,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    if !socket.get().is_stream() {
        return Begun::Not;
    }
    let gives_up = socket.0.nonblocking() || flags & MSG_DONTWAIT != 0;
    let how = How { gives_up, quiet: flags & MSG_NOSIGNAL != 0, tried: true };
    match transfer::write_now(&task, &socket.0, At::Position, piece) {
        Ok(Some(done)) if done == piece.len || gives_up => return Begun::Done(done as isize),
        // There was not room for all of it.
        Ok(Some(done)) => return transfer::go_on(task, socket.0, nr::SENDTO, At::Position, args, done),
        Ok(None) => {}
        Err(IoError::Errno(errno)) => {
            if !how.quiet {
                transfer::write_failed(&task, &socket.0, errno);
            }
            return Begun::Done(errno.to_return());
        }
        Err(IoError::Fault(_)) => return Begun::Not,
    }
    if gives_up {
        return Begun::Done(Errno::EAGAIN.to_return());
    }
    Begun::Waits(Box::pin(async move {
        let result = transfer::write(&task, &socket.0, At::Position, &[piece], how).await;
        dispatch::outcome(&task, nr::SENDTO, &args, result)
    }))
}

/// `recvfrom(fd, bytes, len, flags, address, address_len)`.
pub(crate) async fn recvfrom(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let piece = Piece { addr: args.word(1), len: args.count(2) };
    let flags = args.bits(3);
    let received = receive(task, &socket, &[piece], flags).await?;
    put_sender(task, received.from.as_ref(), args.word(4), args.word(5)).await?;
    Ok(if flags & MSG_TRUNC != 0 { received.full } else { received.len })
}

/// `sendmsg(fd, message, flags)`.
pub(crate) async fn sendmsg(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    send_message(task, args).await.map(|(sent, _)| sent)
}

/// `sendmsg`: what was sent, of how much.
pub(crate) async fn send_message(task: &Task<'_>, args: &Args) -> Result<(usize, usize), Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let message: Msghdr = task.get(args.word(1)).await?;
    let to = match (message.name, message.namelen) {
        // As on Linux: a name without a byte is none. It is what is left in the structure by a receive from a stream.
        (0, _) | (_, 0) => None,
        (addr, len) => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            get_receiver(task, &socket, (addr as usize, len)).await?
        }
    };
    let list = message_pieces(task, &message).await?;
    let rights = control::rights(task, &socket, &message).await?;
    let sent = send(task, &socket, &list, to.as_ref(), args.bits(2), rights).await?;
    Ok((sent, total(&list)))
}

async fn message_pieces(task: &Task<'_>, message: &Msghdr) -> Result<Pieces, Errno> {
    let count = usize::try_from(message.iovlen).map_err(|_| Errno::EMSGSIZE)?;
    if count > abi::fs::IOV_MAX as usize {
        return Err(Errno::EMSGSIZE);
    }
    transfer::pieces(task, message.iov as usize, count).await
}

/// `recvmsg(fd, message, flags)`.
pub(crate) async fn recvmsg(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    receive_message(task, args).await.map(|(received, _)| received)
}

/// `recvmsg`: what was received, of how much there is room for.
pub(crate) async fn receive_message(task: &Task<'_>, args: &Args) -> Result<(usize, usize), Errno> {
    let socket = Socket::find(task, args.int(0))?;
    let (at, flags) = (args.word(1), args.bits(2));
    let message: Msghdr = task.get(at).await?;
    let list = message_pieces(task, &message).await?;
    let received = receive(task, &socket, &list, flags).await?;
    let answer = (if flags & MSG_TRUNC != 0 { received.full } else { received.len }, total(&list));
    put_message(task, at, &message, received, flags).await?;
    Ok(answer)
}

/// Tells who calls `recvmsg` what there is to say beside the bytes: the sender's address and control messages where `message` says, the rest in the
/// message at `at`.
pub(crate) async fn put_message(
    task: &Task<'_>,
    at: usize,
    message: &Msghdr,
    received: Received,
    flags: u32,
) -> Result<(), Errno> {
    let field = |offset: usize| at.wrapping_add(offset);
    let cut = if received.full > received.len { MSG_TRUNC } else { 0 };
    let room = (message.control as usize, usize::try_from(message.controllen).unwrap_or(usize::MAX));
    let (used, lack) = control::put(task, received.rights, room, flags).await;
    put_sender(task, received.from.as_ref(), message.name as usize, field(offset_of!(Msghdr, namelen))).await?;
    task.space().put(field(offset_of!(Msghdr, controllen)), &(used as u64)).await?;
    task.space().put(field(offset_of!(Msghdr, flags)), &(flags & MSG_CMSG_CLOEXEC | cut | lack)).await
}

/// Messages of one call at most.
const MESSAGES_MOST: usize = abi::fs::IOV_MAX as usize;

/// One message after the other, by `each`, which is given the address of what is said of it; their lengths are stored behind that. An error counts only before the first.
async fn several<F: Future<Output = Result<usize, Errno>> + Send>(
    task: &Task<'_>,
    (at, count): (usize, usize),
    mut each: impl FnMut(usize, usize) -> F,
    mut goes_on: impl FnMut() -> bool,
) -> Result<usize, Errno> {
    for index in 0..count {
        let at = at.wrapping_add(index * size_of::<Mmsghdr>());
        let done = async {
            let len = each(at, index).await?;
            task.space().put(at.wrapping_add(offset_of!(Mmsghdr, len)), &(len as u32)).await
        };
        match done.await {
            Err(errno) if index == 0 => return Err(errno),
            Err(_) => return Ok(index),
            // There may be messages without end, and nobody who waits for this one by one.
            Ok(()) if !goes_on() || task.interrupted() => return Ok(index + 1),
            Ok(()) if exec::should_yield() => exec::yield_now().await,
            Ok(()) => {}
        }
    }
    Ok(count)
}

/// `sendmmsg(fd, messages, count, flags)`.
pub(crate) async fn sendmmsg(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    Socket::find(task, args.int(0))?;
    let count = (args.bits(2) as usize).min(MESSAGES_MOST);
    let one = |at, _| async move { sendmsg(task, &Args([args.word(0), at, args.word(3), 0, 0, 0])).await };
    several(task, (args.word(1), count), one, || true).await
}

/// `recvmmsg(fd, messages, count, flags, timeout)`. As in Linux, the time is looked at behind each message.
pub(crate) async fn recvmmsg(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let deadline = crate::poll::deadline(task, args.word(4)).await?;
    Socket::find(task, args.int(0))?;
    let flags = args.bits(3);
    let one = |at, index| async move {
        let waits_not = flags & MSG_WAITFORONE != 0 && index > 0;
        let flags = flags & !MSG_WAITFORONE | if waits_not { MSG_DONTWAIT } else { 0 };
        recvmsg(task, &Args([args.word(0), at, flags as usize, 0, 0, 0])).await
    };
    let in_time = || deadline.is_none_or(|deadline| hal::time::now() < deadline);
    let received = several(task, (args.word(1), args.bits(2) as usize), one, in_time).await;
    crate::poll::put_rest(task, args.word(4), deadline).await;
    received
}
