//! The one loop behind `read`, `write` and their relatives: try, wait or fault in, try again.
//!
//! A call moves the bytes of a list of pieces of user memory. Streams (pipes, terminals, sockets) answer with
//! what is there; files go on until the list is full or the end is reached; a blocking write goes on until all
//! is written. Once something has been moved, a failure or a signal ends the call with that count.

use crate::{arguments::MOST, context::Task};
use abi::{errno::Errno, fs::Iovec};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use io::{
    file::{Attempt, IoError, Want},
    open::{APPEND, OpenFile},
};
use mem::{Sink, Source};
use zerocopy::{FromZeros, IntoBytes};

/// A stretch of user memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub addr: usize,
    pub len: usize,
}

/// Where in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At the description's position, which moves.
    Position,
    /// At this offset.
    Offset(u64),
}

impl At {
    fn plus(self, done: usize) -> Self {
        match self {
            At::Position => At::Position,
            At::Offset(at) => At::Offset(at.saturating_add(done as u64)),
        }
    }
}

/// Copies a list of pieces from user memory.
///
/// # Errors
/// `EINVAL` for more than 1024 pieces or a negative length, `EFAULT`, `ENOMEM`.
pub(crate) async fn pieces(task: &Task<'_>, addr: usize, count: usize) -> Result<Vec<Piece>, Errno> {
    if count > abi::fs::IOV_MAX as usize {
        return Err(Errno::EINVAL);
    }
    let mut raw = Vec::new();
    raw.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    raw.resize(count, Iovec::new_zeroed());
    task.space().copy_in(addr, raw.as_mut_slice().as_mut_bytes()).await?;
    clamp(&raw)
}

/// Checks the pieces' lengths and cuts the list where the sum passes what one call moves.
fn clamp(raw: &[Iovec]) -> Result<Vec<Piece>, Errno> {
    let mut left = MOST;
    let mut list = Vec::new();
    list.try_reserve_exact(raw.len()).map_err(|_| Errno::ENOMEM)?;
    for one in raw {
        if i64::try_from(one.len).is_err() {
            return Err(Errno::EINVAL);
        }
        let len = left.min(one.len as usize);
        left -= len;
        list.push(Piece { addr: one.base as usize, len });
    }
    Ok(list)
}

/// The part of `list` that starts `done` bytes in: the rest of one piece.
pub(crate) fn rest(list: &[Piece], mut done: usize) -> Option<Piece> {
    for piece in list {
        if done < piece.len {
            return Some(Piece { addr: piece.addr.wrapping_add(done), len: piece.len - done });
        }
        done -= piece.len;
    }
    None
}

pub(crate) fn total(list: &[Piece]) -> usize {
    list.iter().map(|piece| piece.len).sum()
}

/// One attempt to read into `piece`.
pub(crate) fn read_now(task: &Task<'_>, open: &OpenFile, at: At, piece: Piece) -> Attempt<usize> {
    let mut sink = Sink::user(task.space(), piece.addr, piece.len);
    match at {
        At::Position => open.read_now(task.caller(), &mut sink),
        At::Offset(offset) => {
            check_offset(open, open.readable())?;
            open.file().read_now(task.caller(), offset, &mut sink)
        }
    }
}

/// One attempt to write from `piece`.
pub(crate) fn write_now(task: &Task<'_>, open: &OpenFile, at: At, piece: Piece) -> Attempt<usize> {
    let mut source = Source::user(task.space(), piece.addr, piece.len);
    match at {
        At::Position => open.write_now(task.caller(), &mut source),
        At::Offset(offset) => {
            check_offset(open, open.writable())?;
            let append = open.flags() & abi::fs::O_APPEND != 0;
            open.file().write_now(task.caller(), if append { APPEND } else { offset }, &mut source)
        }
    }
}

fn check_offset(open: &OpenFile, allowed: bool) -> Result<(), Errno> {
    match (allowed, open.file().seekable()) {
        (false, _) => Err(Errno::EBADF),
        (_, false) => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}

/// How a call behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    /// `EAGAIN` instead of waiting.
    pub gives_up: bool,
    /// No `SIGPIPE`.
    pub quiet: bool,
}

impl How {
    /// As the description's flags say. Files do not count as something one waits for.
    pub fn of(open: &OpenFile) -> Self {
        Self { gives_up: open.nonblocking() && !open.file().seekable(), quiet: false }
    }
}

/// What a call that moved `done` bytes answers when it cannot go on.
fn cut(done: usize, errno: Errno) -> Result<usize, Errno> {
    if done > 0 { Ok(done) } else { Err(errno) }
}

/// Reads into `list`.
///
/// # Errors
/// The file's own; `EAGAIN`, `EINTR`, `EFAULT`, `EBADF`, `ESPIPE`.
pub(crate) async fn read(task: &Task<'_>, open: &Arc<OpenFile>, at: At, list: &[Piece]) -> Result<usize, Errno> {
    let gives_up = How::of(open).gives_up;
    let stream = !open.file().seekable();
    let mut done = 0;
    loop {
        let piece = match rest(list, done) {
            Some(piece) => piece,
            None if done > 0 => return Ok(done),
            None => Piece { addr: 0, len: 0 },
        };
        match read_now(task, open, at.plus(done), piece) {
            Ok(Some(0)) => return Ok(done),
            Ok(Some(len)) => {
                done += len;
                if stream && len < piece.len {
                    return Ok(done);
                }
            }
            // A stream that gave something does not wait for more.
            Ok(None) if done > 0 && stream => return Ok(done),
            Ok(None) if gives_up => return Err(Errno::EAGAIN),
            Ok(None) => {
                if let Err(errno) = wait_read(task, open, at.plus(done), piece.len).await {
                    return cut(done, errno);
                }
            }
            Err(IoError::Errno(errno)) => return cut(done, errno),
            Err(IoError::Fault(fault)) => {
                if let Err(errno) = task.resolve(fault).await {
                    return cut(done, errno);
                }
            }
        }
    }
}

async fn wait_read(task: &Task<'_>, open: &OpenFile, at: At, len: usize) -> Result<(), Errno> {
    let limit = crate::sockets::receive_deadline(open.file().as_ref());
    let wait = match at {
        // Only who has a position waits for it, in a box of its own.
        At::Position if open.file().seekable() => Box::pin(open.wait_readable(task.caller(), len)),
        At::Position => open.file().wait(task.caller(), Want::Read { offset: 0, len }),
        At::Offset(offset) => open.file().wait(task.caller(), Want::Read { offset, len }),
    };
    task.wait_for(wait, limit).await
}

/// Writes from `list`.
///
/// # Errors
/// The file's own (`EPIPE` also raises `SIGPIPE`, the limit of its size `SIGXFSZ`); `EAGAIN`, `EINTR`, `EFAULT`, `EBADF`, `ESPIPE`.
pub(crate) async fn write(
    task: &Task<'_>,
    open: &Arc<OpenFile>,
    at: At,
    list: &[Piece],
    how: How,
) -> Result<usize, Errno> {
    let mut done = 0;
    loop {
        let piece = match rest(list, done) {
            Some(piece) => piece,
            None if done > 0 => return Ok(done),
            None => Piece { addr: 0, len: 0 },
        };
        match write_now(task, open, at.plus(done), piece) {
            Ok(Some(0)) => return Ok(done),
            Ok(Some(len)) => done += len,
            Ok(None) if how.gives_up => return cut(done, Errno::EAGAIN),
            Ok(None) => {
                if let Err(errno) = wait_write(task, open, at.plus(done), piece.len).await {
                    return cut(done, errno);
                }
            }
            Err(IoError::Errno(errno)) => {
                if done == 0 && !how.quiet {
                    task.write_failed(errno);
                }
                return cut(done, errno);
            }
            Err(IoError::Fault(fault)) => {
                if let Err(errno) = task.resolve(fault).await {
                    return cut(done, errno);
                }
            }
        }
    }
}

async fn wait_write(task: &Task<'_>, open: &OpenFile, at: At, len: usize) -> Result<(), Errno> {
    let limit = crate::sockets::send_deadline(open.file().as_ref());
    let wait = match at {
        At::Position if open.file().seekable() => Box::pin(open.wait_writable(task.caller(), len)),
        At::Position => open.file().wait(task.caller(), Want::Write { offset: 0, len }),
        At::Offset(offset) => open.file().wait(task.caller(), Want::Write { offset, len }),
    };
    task.wait_for(wait, limit).await
}

/// Reads at `offset` into a kernel buffer; 0 is the end.
///
/// # Errors
/// The file's own; `EINTR`.
pub(crate) async fn read_kernel(
    task: &Task<'_>,
    open: &OpenFile,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    loop {
        match open.file().read_now(task.caller(), offset, &mut Sink::kernel(buffer)) {
            Ok(Some(len)) => return Ok(len),
            Ok(None) => {
                let want = Want::Read { offset, len: buffer.len() };
                task.wait_for(open.file().wait(task.caller(), want), None).await?;
            }
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
}

/// Writes all of a kernel buffer at the description's position, or as much as can be.
///
/// # Errors
/// As [`write`], before anything was written.
pub(crate) async fn write_kernel(task: &Task<'_>, open: &OpenFile, bytes: &[u8]) -> Result<usize, Errno> {
    let how = How::of(open);
    let mut done = 0;
    while done < bytes.len() {
        match open.write_now(task.caller(), &mut Source::kernel(&bytes[done..])) {
            Ok(Some(0)) => break,
            Ok(Some(len)) => done += len,
            Ok(None) if how.gives_up => return cut(done, Errno::EAGAIN),
            Ok(None) => {
                if let Err(errno) = wait_write(task, open, At::Position, bytes.len() - done).await {
                    return cut(done, errno);
                }
            }
            Err(IoError::Errno(errno)) => {
                if done == 0 {
                    task.write_failed(errno);
                }
                return cut(done, errno);
            }
            Err(IoError::Fault(fault)) => task.resolve(fault).await?,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iovec(base: u64, len: u64) -> Iovec {
        Iovec { base, len }
    }

    #[test]
    fn lists_are_cut_at_the_limit_of_one_call() {
        let list = clamp(&[iovec(1, 10), iovec(2, u64::from(u32::MAX)), iovec(3, 5)]).unwrap();
        assert_eq!(list[1].len, MOST - 10);
        assert_eq!((list[2].len, total(&list)), (0, MOST));
        assert_eq!(clamp(&[iovec(0, 1 << 63)]), Err(Errno::EINVAL));
    }

    #[test]
    fn the_rest_skips_what_is_done() {
        let list = clamp(&[iovec(100, 4), iovec(200, 0), iovec(300, 2)]).unwrap();
        assert_eq!(rest(&list, 3), Some(Piece { addr: 103, len: 1 }));
        assert_eq!(rest(&list, 4), Some(Piece { addr: 300, len: 2 }));
        assert_eq!(rest(&list, 6), None);
    }
}
