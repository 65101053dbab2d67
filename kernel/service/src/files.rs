//! Calls on open descriptors: reading, writing, seeking, duplicating, controlling.

use crate::{
    arguments::{Args, MOST, only},
    context::Task,
    dispatch, locks, sockets,
    transfer::{self, At, How, Moved, Piece},
};
use abi::{
    asyncos::{TAKE, TAKE_DRY},
    errno::Errno,
    fs::{self as f, dirent::Entry},
    ioctl as i,
    net::MSG_DONTWAIT,
    nr,
};
use alloc::{boxed::Box, sync::Arc};
use io::{
    file::{Attempt, IoError},
    inode::Kind,
    open::{OpenFile, SeekFrom},
    tty::Tty,
};
use mem::list;
use process::{
    Begun,
    signal::{self, owner::Owner},
};

/// Bytes of directory records that one `getdents64` makes at most.
const RECORDS_MOST: usize = 64 * 1024;
/// Directory entries that are asked for at a time.
const ENTRIES: usize = 64;
/// Bytes that `sendfile` moves through the kernel at a time.
const CHUNK: usize = 16 * 1024;

fn piece(args: &Args) -> Piece {
    Piece { addr: args.word(1), len: args.count(2) }
}

/// Where `read`, `pread64` and their counterparts begin.
fn place(number: usize, args: &Args) -> Result<At, Errno> {
    match number {
        nr::PREAD64 | nr::PWRITE64 => args.offset(3).map(At::Offset),
        _ => Ok(At::Position),
    }
}

/// `read` and `pread64`, served at once or begun: what it waits in has the description and the caller that the attempt was made with.
pub(crate) fn begin_read(task: Task<'_>, number: usize, args: Args) -> Begun<'_> {
    let (at, open) = match place(number, &args).and_then(|at| Ok((at, task.file(args.int(0))?))) {
        Ok(found) => found,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    match transfer::at_once(&open, at, piece(&args), |at, piece| transfer::read_now(&task, &open, at, piece)) {
        Ok(Some(Moved { len, is_all: true })) => Begun::Done(len as isize),
        Ok(Some(Moved { len, is_all: false })) => transfer::go_on(task, open, number, at, args, len),
        // What a signal ends, the full call ends: it knows how to go on.
        Err(IoError::Errno(Errno::EINTR)) => Begun::Not,
        Err(IoError::Errno(errno)) => Begun::Done(errno.to_return()),
        // A terminal that has less than it wants to have may give that.
        Ok(None) if open.nonblocking() && !open.seekable() && !open.file().take_less() => {
            Begun::Done(Errno::EAGAIN.to_return())
        }
        // A file's pages come from a device: its request is the call's, which has no number yet.
        Ok(None) if !open.seekable() => Begun::Waits(Box::pin(async move {
            let result = transfer::read(&task, &open, at, &[piece(&args)], tried(&open)).await;
            dispatch::outcome(&task, number, &args, result)
        })),
        Ok(None) | Err(IoError::Fault(_)) => Begun::Not,
    }
}

/// `take(fd, buffer, len, offset)` of a file: reads what is in memory.
fn take_from_file(task: &Task<'_>, open: &OpenFile, args: &Args) -> Result<usize, Errno> {
    let at = At::Offset(args.offset(3)?);
    match transfer::at_once(open, at, piece(args), |at, piece| transfer::read_now(task, open, at, piece)) {
        Ok(Some(Moved { len, is_all: true })) => Ok(len),
        // Part of it, or none, or a page of the buffer is missing.
        Ok(Some(Moved { is_all: false, .. }) | None) | Err(IoError::Fault(_)) => Err(Errno::EAGAIN),
        Err(IoError::Errno(errno)) => Err(errno),
    }
}

/// `take(fd, buffer, len)`: reads what a stream has, and says if that was all.
pub(crate) fn begin_take(task: Task<'_>, args: Args) -> Begun<'_> {
    let open = match task.file(args.int(0)) {
        Ok(open) => open,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    if open.seekable() {
        return Begun::Done(take_from_file(&task, &open, &args).map_or_else(Errno::to_return, |len| len as isize));
    }
    match transfer::read_now(&task, &open, At::Position, piece(&args)) {
        Ok(Some(done)) => {
            let dry = done > 0 && open.file().read_waits();
            Begun::Done((done | if dry { TAKE_DRY } else { 0 }) as isize)
        }
        Ok(None) if !open.file().take_less() => Begun::Done(Errno::EAGAIN.to_return()),
        Err(IoError::Errno(errno)) => Begun::Done(errno.to_return()),
        // A page is missing, or a terminal has less than it wants to have.
        Ok(None) | Err(IoError::Fault(_)) => Begun::Waits(Box::pin(async move {
            let how = How { gives_up: true, ..How::of(&open) };
            let result = transfer::read(&task, &open, At::Position, &[piece(&args)], how).await;
            dispatch::outcome(&task, TAKE, &args, result)
        })),
    }
}

/// `write` and `pwrite64` of something short, served at once or begun. What is left when there was not room for all of it goes on
/// by itself.
pub(crate) fn begin_write(task: Task<'_>, number: usize, args: Args) -> Begun<'_> {
    let piece = piece(&args);
    // What might be written in part is left to the loop, which knows how much is done.
    if piece.len > f::PIPE_BUF {
        return Begun::Not;
    }
    let (at, open) = match place(number, &args).and_then(|at| Ok((at, task.file(args.int(0))?))) {
        Ok(found) => found,
        Err(errno) => return Begun::Done(errno.to_return()),
    };
    match transfer::write_now(&task, &open, at, piece) {
        Ok(Some(done)) if done < piece.len && !How::of(&open).gives_up => {
            transfer::go_on(task, open, number, at, args, done)
        }
        Ok(Some(done)) => Begun::Done(done as isize),
        // What a signal ends, the full call ends: it knows how to go on.
        Ok(None) | Err(IoError::Errno(Errno::EINTR) | IoError::Fault(_)) => Begun::Not,
        Err(IoError::Errno(errno)) => {
            transfer::write_failed(&task, &open, errno);
            Begun::Done(errno.to_return())
        }
    }
}

/// `read(fd, buffer, len)`.
pub(crate) async fn read(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    transfer::read(task, &open, At::Position, &[piece(args)], tried(&open)).await
}

/// `write(fd, buffer, len)`.
pub(crate) async fn write(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    transfer::write_out(task, &open, At::Position, &[piece(args)], tried(&open), 0).await
}

/// For calls that come here after [`begin_read`] or [`begin_write`].
fn tried(open: &OpenFile) -> How {
    How { tried: !open.seekable(), ..How::of(open) }
}

/// `pread64(fd, buffer, len, offset)`.
pub(crate) async fn pread(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let at = At::Offset(args.offset(3)?);
    let open = task.file(args.int(0))?;
    transfer::read(task, &open, at, &[piece(args)], How::of(&open)).await
}

/// `pwrite64(fd, buffer, len, offset)`.
pub(crate) async fn pwrite(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let at = At::Offset(args.offset(3)?);
    let open = task.file(args.int(0))?;
    transfer::write_out(task, &open, at, &[piece(args)], How::of(&open), 0).await
}

/// `readv(fd, pieces, count)`, and `preadv` with `at` and flags `RWF_*`.
pub(crate) async fn readv(task: &Task<'_>, args: &Args, at: At, flags: u32) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    transfer::has_positions(&open, at)?;
    let list = transfer::pieces(task, args.word(1), args.word(2)).await?;
    read_list(task, &open, at, &list, flagged(&open, false, flags, transfer::total(&list))?).await
}

/// How a call with flags behaves on a file; of one about nothing Linux does not look at them.
fn flagged(open: &OpenFile, writes: bool, flags: u32, len: usize) -> Result<How, Errno> {
    let how = How::of(open);
    if flags == 0 || len == 0 {
        return Ok(how);
    }
    transfer::check_flags(open, writes, flags)?;
    if writes && transfer::is_cached_write_without_wait(open, flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(How { gives_up: how.gives_up || flags & f::RWF_NOWAIT != 0, ..how })
}

/// Reads into a list of pieces: of a datagram socket, one message.
pub(crate) async fn read_list(
    task: &Task<'_>,
    open: &Arc<OpenFile>,
    at: At,
    list: &[Piece],
    how: How,
) -> Result<usize, Errno> {
    if let Some(socket) = crate::sockets::datagram(open) {
        return Ok(crate::messages::receive(task, &socket, list, message_flags(how)).await?.len);
    }
    transfer::read(task, open, at, list, how).await
}

fn message_flags(how: How) -> u32 {
    if how.gives_up { MSG_DONTWAIT } else { 0 }
}

/// `writev(fd, pieces, count)`, and `pwritev` with `at` and flags `RWF_*`.
pub(crate) async fn writev(task: &Task<'_>, args: &Args, at: At, flags: u32) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    transfer::has_positions(&open, at)?;
    let list = transfer::pieces(task, args.word(1), args.word(2)).await?;
    let how = flagged(&open, true, flags, transfer::total(&list))?;
    write_list(task, &open, at, &list, how, flags).await
}

/// Writes from a list of pieces: to a datagram socket, one message.
pub(crate) async fn write_list(
    task: &Task<'_>,
    open: &Arc<OpenFile>,
    at: At,
    list: &[Piece],
    how: How,
    flags: u32,
) -> Result<usize, Errno> {
    if let Some(socket) = crate::sockets::datagram(open) {
        return crate::messages::send(task, &socket, list, None, message_flags(how), None).await;
    }
    transfer::write_out(task, open, at, list, how, flags).await
}

/// `preadv(fd, pieces, count, offset)`; the second version takes -1 for the position, and flags.
pub(crate) async fn preadv(task: &Task<'_>, args: &Args, second: bool) -> Result<usize, Errno> {
    let (at, flags) = vector_offset(args, second)?;
    readv(task, args, at, flags).await
}

/// `pwritev(fd, pieces, count, offset)`; the second version as for [`preadv`].
pub(crate) async fn pwritev(task: &Task<'_>, args: &Args, second: bool) -> Result<usize, Errno> {
    let (at, flags) = vector_offset(args, second)?;
    writev(task, args, at, flags).await
}

/// Where, and with which flags. Argument 4 is the high half of the offset on 32-bit machines only.
fn vector_offset(args: &Args, second: bool) -> Result<(At, u32), Errno> {
    match second {
        true if args.long(3) == -1 => Ok((At::Position, args.bits(5))),
        true => Ok((At::Offset(args.offset(3)?), args.bits(5))),
        false => Ok((At::Offset(args.offset(3)?), 0)),
    }
}

/// `lseek(fd, offset, whence)`.
pub(crate) async fn lseek(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    loop {
        match lseek_now(&open, args) {
            Ok(Some(position)) => return Ok(position),
            Ok(None) => open.wait_free().await,
            // The size was not in memory: it is after this.
            Err(IoError::Errno(Errno::EAGAIN)) => match open.file().inode() {
                Some(inode) => drop(inode.metadata().await?),
                None => return Err(Errno::EINVAL),
            },
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

/// `lseek`, if the position is free and the size in memory.
pub(crate) fn lseek_now(open: &OpenFile, args: &Args) -> Attempt<usize> {
    let from = match args.bits(2) {
        f::SEEK_SET => SeekFrom::Start,
        f::SEEK_CUR => SeekFrom::Current,
        f::SEEK_END => SeekFrom::End,
        f::SEEK_DATA | f::SEEK_HOLE => return seek_hole(open, args),
        _ => return Err(Errno::EINVAL.into()),
    };
    if is_directory(open) && from == SeekFrom::Start {
        open.set_position(args.offset(1)?);
        return Ok(Some(args.word(1)));
    }
    Ok(open.seek_now(from, args.long(1))?.map(|position| position as usize))
}

fn is_directory(open: &OpenFile) -> bool {
    open.file().inode().is_some_and(|inode| inode.kind() == Kind::Directory)
}

/// Files are taken to have no hole but the one at their end, as POSIX allows.
fn seek_hole(open: &OpenFile, args: &Args) -> Attempt<usize> {
    let size = open.file().inode().ok_or(Errno::ESPIPE)?.metadata_now().ok_or(Errno::EAGAIN)?.size;
    let offset = args.offset(1)?;
    if offset >= size {
        return Err(Errno::ENXIO.into());
    }
    let to = if args.bits(2) == f::SEEK_DATA { offset } else { size };
    Ok(open.seek_now(SeekFrom::Start, to as i64)?.map(|position| position as usize))
}

/// `close(fd)`.
pub(crate) fn close(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.descriptors()?.remove(args.int(0)).map(|_| 0)
}

/// `close_range(first, last, flags)`.
pub(crate) fn close_range(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (first, last, flags) = (args.bits(0), args.bits(1), args.bits(2));
    only(flags, f::CLOSE_RANGE_UNSHARE | f::CLOSE_RANGE_CLOEXEC)?;
    if first > last {
        return Err(Errno::EINVAL);
    }
    task.descriptors()?.close_range(first, last, flags & f::CLOSE_RANGE_CLOEXEC != 0);
    Ok(0)
}

/// `dup(fd)`.
pub(crate) fn dup(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.install_from(task.file(args.int(0))?, 0, false)
}

/// `dup3(old, new, flags)`.
pub(crate) fn dup3(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (old, new, flags) = (args.int(0), args.int(1), args.bits(2));
    only(flags, f::O_CLOEXEC)?;
    let limit = task.file_limit();
    task.descriptors()?.replace(old, new, flags & f::O_CLOEXEC != 0, limit).map(|fd| fd as usize)
}

/// `F_SETOWN`.
fn set_owner(task: &Task<'_>, open: &OpenFile, who: i32) -> Result<usize, Errno> {
    Owner::of(open, task.caller())?.set(who, &task.process().identity()).map(|()| 0)
}

/// Begins or ends to tell of what becomes possible by signals.
fn set_async(task: &Task<'_>, fd: i32, open: &OpenFile, on: bool) -> Result<(), Errno> {
    if on {
        let owner = Owner::of(open, task.caller())?;
        if let Some(tty) = open.file().as_any().downcast_ref::<Tty>() {
            // As on Linux: of a terminal who is to hear of it need not be said.
            let who = tty.foreground().map_or(task.process().pid().cast_signed(), |group| -group.cast_signed());
            owner.set_default(who, &task.process().identity())?;
        }
        owner.begin(fd, open, task.thread(), task.caller())?;
    } else if let Some(owner) = Owner::find(open) {
        owner.end();
    }
    open.set_async(on);
    Ok(())
}

/// `fcntl(fd, command, argument)`.
pub(crate) async fn fcntl(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let fd = args.int(0);
    let open = task.file(fd)?;
    match args.bits(1) {
        f::F_DUPFD => task.install_from(open, args.word(2), false),
        f::F_DUPFD_CLOEXEC => task.install_from(open, args.word(2), true),
        f::F_GETFD => task.descriptors()?.close_on_exec(fd).map(|on| if on { f::FD_CLOEXEC as usize } else { 0 }),
        f::F_SETFD => task.descriptors()?.set_close_on_exec(fd, args.bits(2) & f::FD_CLOEXEC != 0).map(|()| 0),
        f::F_GETFL => Ok((open.flags() & !(f::O_CLOEXEC | f::O_CREAT | f::O_EXCL | f::O_TRUNC | f::O_NOCTTY)) as usize),
        f::F_SETFL => {
            if open.file().can_signal() {
                set_async(task, fd, &open, args.bits(2) & f::O_ASYNC != 0)?;
            }
            open.set_flags(args.bits(2));
            Ok(0)
        }
        f::F_GETLK | f::F_SETLK | f::F_SETLKW | f::F_OFD_GETLK | f::F_OFD_SETLK | f::F_OFD_SETLKW => {
            locks::record(task, &open, args).await
        }
        f::F_SETOWN => set_owner(task, &open, args.int(2)),
        // Groups are negative, and no errors.
        f::F_GETOWN => Ok(Owner::find(&open).map_or(0, |owner| owner.get()) as usize),
        f::F_SETOWN_EX => {
            let owner = task.space().get(args.word(2)).await?;
            Owner::of(&open, task.caller())?.set_kind(owner, &task.process().identity()).map(|()| 0)
        }
        f::F_GETOWN_EX => {
            let owner = Owner::find(&open).map(|owner| owner.get_kind()).unwrap_or_default();
            task.space().put(args.word(2), &owner).await.map(|()| 0)
        }
        f::F_SETSIG => {
            let signal = signal::check_number(i32::try_from(args.word(2)).map_err(|_| Errno::EINVAL)?)?;
            Owner::of(&open, task.caller())?.set_signal(signal);
            Ok(0)
        }
        f::F_GETOWNER_UIDS => {
            let (real, effective) = Owner::find(&open).map(|owner| owner.chooser()).unwrap_or_default();
            task.space().put(args.word(2), &[real, effective]).await.map(|()| 0)
        }
        f::F_GETSIG => Ok(Owner::find(&open).map_or(0, |owner| owner.signal()) as usize),
        f::F_GETPIPE_SZ | f::F_SETPIPE_SZ if open.path().starts_with(b"pipe:") => Ok(io::pipe::CAPACITY),
        _ => Err(Errno::EINVAL),
    }
}

/// `ioctl(fd, command, argument)`.
pub(crate) async fn ioctl(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let fd = args.int(0);
    let open = task.file(fd)?;
    match args.bits(1) {
        i::FIOCLEX => task.descriptors()?.set_close_on_exec(fd, true).map(|()| 0),
        i::FIONCLEX => task.descriptors()?.set_close_on_exec(fd, false).map(|()| 0),
        i::FIONBIO => {
            let on: i32 = task.space().get(args.word(2)).await?;
            let others = open.flags() & !f::O_NONBLOCK;
            open.set_flags(others | if on != 0 { f::O_NONBLOCK } else { 0 });
            Ok(0)
        }
        i::FIOASYNC => {
            let on: i32 = task.space().get(args.word(2)).await?;
            match (on != 0) == (open.flags() & f::O_ASYNC != 0) {
                true => Ok(0),
                false if open.file().can_signal() => set_async(task, fd, &open, on != 0).map(|()| 0),
                false => Err(Errno::ENOTTY),
            }
        }
        i::FIOSETOWN | i::SIOCSPGRP if sockets::socket_of(&**open.file()).is_some() => {
            let who = task.space().get(args.word(2)).await?;
            set_owner(task, &open, who)
        }
        i::FIOGETOWN | i::SIOCGPGRP if sockets::socket_of(&**open.file()).is_some() => {
            let owner: i32 = Owner::find(&open).map_or(0, |owner| owner.get());
            task.space().put(args.word(2), &owner).await.map(|()| 0)
        }
        command => {
            let control = open.file().ioctl(task.caller(), task.space(), command, args.word(2));
            task.wait_for(control, None).await
        }
    }
}

/// `pipe2(fds, flags)`.
pub(crate) async fn pipe2(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(1);
    only(flags, f::O_CLOEXEC | f::O_NONBLOCK | f::O_DIRECT)?;
    let (reader, writer) = io::pipe::new(&task.caller().account);
    let status = flags & f::O_NONBLOCK;
    let close = flags & f::O_CLOEXEC != 0;
    let label = alloc::format!("pipe:[{}]", mem::new_object_id());
    let first = task.install(OpenFile::new(reader, f::O_RDONLY | status, label.as_bytes()), close)?;
    let second = task.install(OpenFile::new(writer, f::O_WRONLY | status, label.as_bytes()), close);
    let second = second.inspect_err(|_| task.close(first as i32))?;
    let stored = task.space().put(args.word(0), &[first as i32, second as i32]).await;
    stored.inspect_err(|_| [first, second].iter().for_each(|&fd| task.close(fd as i32)))?;
    Ok(0)
}

/// `getdents64(fd, buffer, len)`.
pub(crate) async fn getdents64(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    let inode = open.file().inode().ok_or(Errno::ENOTDIR)?;
    let room = args.count(2).min(RECORDS_MOST);
    let mut records = list(room)?;
    records.resize(room, 0);
    let (mut used, mut cookie) = (0, open.position());
    'full: loop {
        let entries = inode.readdir(cookie, ENTRIES).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let kind = entry.kind.dirent_type();
            let record = Entry { ino: entry.ino, next: entry.next as i64, kind, name: &entry.name };
            match record.encode(&mut records[used..]) {
                Some(len) => used += len,
                None if used == 0 => return Err(Errno::EINVAL),
                None => break 'full,
            }
            cookie = entry.next;
        }
    }
    task.space().copy_out(args.word(1), &records[..used]).await?;
    open.set_position(cookie);
    Ok(used)
}

/// `fsync(fd)` and `fdatasync(fd)`.
pub(crate) async fn fsync(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    open.file().sync().await.map(|()| 0)
}

/// `syncfs(fd)`: writes back all of the file system that the file lies on.
pub(crate) async fn syncfs(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = task.file(args.int(0))?;
    // What lies on none has nothing to be written.
    match open.file().inode() {
        Some(inode) => inode.sync_all().await.map(|()| 0),
        None => Ok(0),
    }
}

/// `sync_file_range(fd, offset, count, flags)`: what it may wait for is all that is written of the file.
pub(crate) async fn sync_file_range(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (open, offset, count) = (task.file(args.int(0))?, args.word(1) as i64, args.word(2) as i64);
    if args.bits(3) & !f::SYNC_FILE_RANGE_ALL != 0
        || offset < 0
        || offset.checked_add(count).is_none_or(|end| end < offset)
    {
        return Err(Errno::EINVAL);
    }
    if !open.seekable() {
        return Err(Errno::ESPIPE);
    }
    match args.bits(3) {
        0 => Ok(0),
        _ => open.file().sync().await.map(|()| 0),
    }
}

/// `sendfile(out, in, offset, count)`.
pub(crate) async fn sendfile(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (out, input) = (task.file(args.int(0))?, task.file(args.int(1))?);
    if !out.writable() || !input.readable() {
        return Err(Errno::EBADF);
    }
    if !input.seekable() {
        return Err(Errno::EINVAL);
    }
    let start = match args.word(2) {
        0 => input.position(),
        addr => u64::try_from(task.space().get::<i64>(addr).await?).map_err(|_| Errno::EINVAL)?,
    };
    let done = copy(task, &input, start, &out, args.word(3).min(MOST)).await?;
    match args.word(2) {
        0 => input.set_position(start + done as u64),
        addr => task.space().put(addr, &((start + done as u64) as i64)).await?,
    }
    Ok(done)
}

/// Copies up to `count` bytes of `input` from `start` on to the position of `out`, through the kernel.
async fn copy(
    task: &Task<'_>,
    input: &OpenFile,
    start: u64,
    out: &Arc<OpenFile>,
    count: usize,
) -> Result<usize, Errno> {
    let mut buffer = list(CHUNK)?;
    buffer.resize(CHUNK.min(count), 0);
    let mut done = 0;
    while done < count {
        let len = buffer.len().min(count - done);
        let got = transfer::read_kernel(task, input, start + done as u64, &mut buffer[..len]).await;
        let len = match got {
            Ok(0) => break,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
            Ok(len) => len,
        };
        match transfer::write_kernel(task, out, &buffer[..len]).await {
            Ok(sent) => done += sent,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    transfer::settle(out, done, 0).await
}

fn is_regular(open: &OpenFile) -> bool {
    open.file().inode().is_some_and(|inode| inode.kind() == Kind::Regular)
}

/// `copy_file_range(in, in_offset, out, out_offset, len, flags)`: at the output's position only.
pub(crate) async fn copy_file_range(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    only(args.bits(5), 0)?;
    let (input, out) = (task.file(args.int(0))?, task.file(args.int(2))?);
    if !out.writable() || !input.readable() {
        return Err(Errno::EBADF);
    }
    if !is_regular(&input) || !is_regular(&out) || args.word(3) != 0 || Arc::ptr_eq(&input, &out) {
        return Err(Errno::EINVAL);
    }
    let start = match args.word(1) {
        0 => input.position(),
        addr => u64::try_from(task.space().get::<i64>(addr).await?).map_err(|_| Errno::EINVAL)?,
    };
    let done = copy(task, &input, start, &out, args.count(4)).await?;
    match args.word(1) {
        0 => input.set_position(start + done as u64),
        addr => task.space().put(addr, &((start + done as u64) as i64)).await?,
    }
    Ok(done)
}
