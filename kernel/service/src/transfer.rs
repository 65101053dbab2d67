//! The one loop behind `read`, `write` and their relatives: try, wait or fault in, try again.
//!
//! **Waiting.** Where the file names a queue, the attempt is made in it: enter, try, sleep, try ([`Transfer::wait`]). So no
//! arrival is missed, and a wait allocates nothing.
//!
//! A call moves the bytes of a list of pieces of user memory. Streams (pipes, terminals, sockets) answer with
//! what is there; files go on until the list is full or the end is reached; a blocking write goes on until all
//! is written. Once something has been moved, a failure or a signal ends the call with that count.

use crate::{
    arguments::{Args, MOST},
    context::{Task, fair},
    direct_io, dispatch,
};
use abi::{
    errno::Errno,
    fs::{Iovec, RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT, RWF_SYNC},
    nr,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{future::Future, ops::Deref, pin::pin};
use exec::sync::wait_until_next;
use io::{
    block,
    device::{Null, Random, Zero},
    file::{Attempt, BoxFuture, IoError, Want},
    open::{APPEND, OpenFile},
    tty::Tty,
};
pub(crate) use mem::Piece;
use mem::{Charge, Sink, Source, list};
use process::Begun;
use zerocopy::{FromZeros, IntoBytes};

/// Where in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At the description's position, which moves.
    Position,
    /// At this offset.
    Offset(u64),
}

impl At {
    /// `done` bytes further.
    pub fn plus(self, done: usize) -> Self {
        match self {
            At::Position => At::Position,
            At::Offset(at) => At::Offset(at.saturating_add(done as u64)),
        }
    }
}

/// A list of pieces, and what pays for it: of requests that wait there may be very many.
pub(crate) struct Pieces {
    list: Vec<Piece>,
    _charge: Option<Charge>,
}

impl Deref for Pieces {
    type Target = [Piece];

    fn deref(&self) -> &[Piece] {
        &self.list
    }
}

impl Pieces {
    /// Leaves out the first `done` bytes.
    pub fn skip(&mut self, mut done: usize) {
        for piece in &mut self.list {
            let part = done.min(piece.len);
            *piece = piece.behind(part);
            done -= part;
        }
    }
}

/// Lists up to this length are not worth a look at the account.
const SHORT: usize = 8;

/// Copies a list of pieces from user memory.
///
/// # Errors
/// `EINVAL` for more than 1024 pieces or a negative length, `EFAULT`, `ENOMEM`.
pub(crate) async fn pieces(task: &Task<'_>, addr: usize, count: usize) -> Result<Pieces, Errno> {
    if count > abi::fs::IOV_MAX as usize {
        return Err(Errno::EINVAL);
    }
    let account = &task.caller().account;
    let charge = if count > SHORT { Some(account.charge(count * size_of::<Piece>())?) } else { None };
    let mut raw = list(count)?;
    raw.resize(count, Iovec::new_zeroed());
    task.copy_in(addr, raw.as_mut_slice().as_mut_bytes()).await?;
    Ok(Pieces { list: clamp(&raw)?, _charge: charge })
}

/// Checks the pieces' lengths and cuts the list where the sum passes what one call moves.
fn clamp(raw: &[Iovec]) -> Result<Vec<Piece>, Errno> {
    let mut left = MOST;
    let mut list = list(raw.len())?;
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
            return Some(piece.behind(done));
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
    read_into(task, open, at, &mut task.sink(piece))
}

/// One attempt to read.
pub(crate) fn read_into(task: &Task<'_>, open: &OpenFile, at: At, sink: &mut Sink<'_>) -> Attempt<usize> {
    if open.is_direct() {
        return Ok(None);
    }
    match at {
        At::Position => open.read_now(task.caller(), sink),
        At::Offset(offset) => {
            check_offset(open, open.readable())?;
            open.file().read_now(task.caller(), offset, sink)
        }
    }
}

/// One attempt to write from `piece`.
pub(crate) fn write_now(task: &Task<'_>, open: &OpenFile, at: At, piece: Piece) -> Attempt<usize> {
    write_from(task, open, at, &mut task.source(piece))
}

/// One attempt to write; none where it is not done with that.
pub(crate) fn write_from(task: &Task<'_>, open: &OpenFile, at: At, source: &mut Source<'_>) -> Attempt<usize> {
    if open.writes_late() {
        return Ok(None);
    }
    write_part(task, open, at, open.appends(), source)
}

/// One attempt to write a part of a call, at the end or not as `append` says.
#[inline]
fn write_part(task: &Task<'_>, open: &OpenFile, at: At, append: bool, source: &mut Source<'_>) -> Attempt<usize> {
    match at {
        At::Position => open.write_now_as(task.caller(), append, source),
        At::Offset(offset) => {
            check_offset(open, open.writable())?;
            open.file().write_now(task.caller(), if append { APPEND } else { offset }, source)
        }
    }
}

/// What has been moved at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub len: usize,
    /// There is no more to be moved, or what there is would be another call's.
    pub is_all: bool,
}

/// An attempt, and where a file stopped short another, which finds out whether that was the end. `None`: it has to wait, and nothing was moved.
#[inline(always)]
pub(crate) fn at_once(
    open: &OpenFile,
    at: At,
    piece: Piece,
    mut attempt: impl FnMut(At, Piece) -> Attempt<usize>,
) -> Result<Option<Moved>, IoError> {
    let Some(len) = attempt(at, piece)? else { return Ok(None) };
    if len == 0 || len >= piece.len || !open.seekable() {
        return Ok(Some(Moved { len, is_all: true }));
    }
    let rest = piece.behind(len);
    Ok(Some(match attempt(at.plus(len), rest) {
        Ok(Some(more)) => Moved { len: len + more, is_all: more == 0 || more == rest.len },
        // Whoever goes on is told what it is.
        Ok(None) | Err(_) => Moved { len, is_all: false },
    }))
}

/// Raises the signal that goes with a write that failed; messages that nobody takes raise none.
pub(crate) fn write_failed(task: &Task<'_>, open: &OpenFile, errno: Errno) {
    let stream = crate::sockets::socket_of(open.file().as_ref()).is_none_or(net::SocketFile::is_stream);
    if errno != Errno::EPIPE || stream {
        task.write_failed(errno);
    }
}

/// Fails of what has no positions, if one is given: as on Linux before anything else is looked at.
pub(crate) fn has_positions(open: &OpenFile, at: At) -> Result<(), Errno> {
    if matches!(at, At::Offset(_)) && !open.seekable() { Err(Errno::ESPIPE) } else { Ok(()) }
}

fn check_offset(open: &OpenFile, allowed: bool) -> Result<(), Errno> {
    match (allowed, open.seekable()) {
        (_, false) => Err(Errno::ESPIPE),
        (false, _) => Err(Errno::EBADF),
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
    /// The caller has just tried in vain.
    pub tried: bool,
}

impl How {
    /// As the description's flags say. Files do not count as something one waits for.
    pub fn of(open: &OpenFile) -> Self {
        Self { gives_up: open.nonblocking() && !open.seekable(), quiet: false, tried: false }
    }
}

/// What a call that moved `done` bytes answers when it cannot go on.
pub(crate) fn cut(done: usize, errno: Errno) -> Result<usize, Errno> {
    if done > 0 { Ok(done) } else { Err(errno) }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// From the file.
    Read,
    /// Into the file.
    Write,
}

/// A call that moves bytes between a list of pieces and a file.
struct Transfer<'c, 't> {
    task: &'c Task<'t>,
    open: &'c OpenFile,
    direction: Direction,
    at: At,
    /// It writes at the end, whatever `at` says.
    append: bool,
    list: &'c [Piece],
}

/// Reads into `list`.
///
/// # Errors
/// The file's own; `EAGAIN`, `EINTR`, `EFAULT`, `EBADF`, `ESPIPE`.
pub(crate) fn read<'a>(
    task: &'a Task<'a>,
    open: &'a OpenFile,
    at: At,
    list: &'a [Piece],
    how: How,
) -> impl Future<Output = Result<usize, Errno>> + 'a {
    Transfer { task, open, direction: Direction::Read, at, append: false, list }.run(how)
}

/// Writes from `list`.
///
/// # Errors
/// The file's own (`EPIPE` also raises `SIGPIPE`, the limit of its size `SIGXFSZ`); `EAGAIN`, `EINTR`, `EFAULT`, `EBADF`, `ESPIPE`.
pub(crate) fn write<'a>(
    task: &'a Task<'a>,
    open: &'a OpenFile,
    at: At,
    list: &'a [Piece],
    how: How,
) -> impl Future<Output = Result<usize, Errno>> + 'a {
    Transfer { task, open, direction: Direction::Write, at, append: open.appends(), list }.run(how)
}

/// The same to its end: with the flags `RWF_*`, which are [right](check_flags), and, where these or the description ask for it, until what was written is on
/// the medium.
///
/// # Errors
/// Also the medium's.
pub(crate) async fn write_out(
    task: &Task<'_>,
    open: &OpenFile,
    at: At,
    list: &[Piece],
    how: How,
    flags: u32,
) -> Result<usize, Errno> {
    let append = flags & RWF_APPEND != 0 || open.appends() && flags & RWF_NOAPPEND == 0;
    let moved = Transfer { task, open, direction: Direction::Write, at, append, list }.run(how).await?;
    settle(open, moved, flags).await
}

/// Behind a write that moved so many bytes: waits until they are on the medium, where the description or `flags` ask for that. As `fsync`, it is not given up half-way.
///
/// # Errors
/// The medium's; then nobody knows how much is there.
pub(crate) async fn settle(open: &OpenFile, moved: usize, flags: u32) -> Result<usize, Errno> {
    let asked = flags & (RWF_DSYNC | RWF_SYNC) != 0 && open.is_kept();
    if moved > 0 && (asked || open.is_synced()) {
        open.file().sync().await?;
    }
    Ok(moved)
}

/// Checks the flags `RWF_*` of a call on a file, which writes or reads, as Linux does.
///
/// # Errors
/// `EBADF` where it may not; `EOPNOTSUPP` for unknown ones, and where the file cannot tell whether it would wait; `EINVAL` for such as exclude each other.
pub(crate) fn check_flags(open: &OpenFile, writes: bool, flags: u32) -> Result<(), Errno> {
    const KNOWN: u32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    let allowed = if writes { open.writable() } else { open.readable() };
    match flags {
        0 => Ok(()),
        _ if !allowed => Err(Errno::EBADF),
        _ if flags & !KNOWN != 0 => Err(Errno::EOPNOTSUPP),
        _ if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 => Err(Errno::EINVAL),
        _ if flags & RWF_NOWAIT != 0 && !tells_of_waits(open) => Err(Errno::EOPNOTSUPP),
        _ => Ok(()),
    }
}

/// Whether `RWF_NOWAIT` means something: of what has pages, to what has a medium beside them.
fn tells_of_waits(open: &OpenFile) -> bool {
    match open.seekable() {
        true => open.file().direct().is_some() || never_waits(open),
        false => open.file().as_any().downcast_ref::<Tty>().is_none(),
    }
}

/// Whether it is a write that would go to pages first, and so is refused by Linux's file systems where it may not wait.
pub(crate) fn is_cached_write_without_wait(open: &OpenFile, flags: u32) -> bool {
    flags & RWF_NOWAIT != 0 && open.seekable() && !open.is_direct() && !never_waits(open)
}

/// Those devices of memory that have a position and Linux says of that they tell: `/dev/null`, `/dev/zero`, `/dev/random`, `/dev/urandom`.
fn never_waits(open: &OpenFile) -> bool {
    let device = open.file().as_any();
    device.is::<Null>() || device.is::<Zero>() || device.is::<Random>()
}

/// The rest of the call `number`, a transfer at `at` of the piece in its arguments 1 and 2 of which `done` bytes, not 0, have been moved:
/// whatever comes of the rest, they count.
pub(crate) fn go_on(task: Task<'_>, open: Arc<OpenFile>, number: usize, at: At, args: Args, done: usize) -> Begun<'_> {
    Begun::Waits(Box::pin(async move {
        let rest = [Piece { addr: args.word(1), len: args.count(2) }.behind(done)];
        let (at, how) = (at.plus(done), How { gives_up: false, quiet: true, tried: false });
        let more = match number {
            nr::READ | nr::PREAD64 => read(&task, &open, at, &rest, how).await,
            _ => write(&task, &open, at, &rest, how).await,
        };
        dispatch::outcome(&task, number, &args, Ok(done + more.unwrap_or(0)))
    }))
}

impl Transfer<'_, '_> {
    async fn run(self, how: How) -> Result<usize, Errno> {
        if self.open.is_direct() {
            // Boxed: no other wait is to carry its size.
            let moved: BoxFuture<'_, _> = Box::pin(self.run_direct(how));
            return moved.await;
        }
        // A stream that gave something does not wait for more.
        let takes_what_is_there = self.direction == Direction::Read && !self.open.seekable();
        let mut tried = how.tried && !how.gives_up;
        let mut done = 0;
        loop {
            let piece = match rest(self.list, done) {
                Some(piece) => piece,
                None if done > 0 => return Ok(done),
                None => Piece { addr: 0, len: 0 },
            };
            let mut answer = if tried { Ok(None) } else { self.attempt(done, piece) };
            if let Ok(None) = answer {
                if done > 0 && takes_what_is_there {
                    return Ok(done);
                }
                let waited = if how.gives_up { Err(Errno::EAGAIN) } else { self.wait(done, piece).await };
                answer = match waited.or_else(|errno| self.less(done, piece, errno)) {
                    Ok(answer) => answer,
                    Err(errno) => return cut(done, errno),
                };
            }
            tried = false;
            match answer {
                Ok(None) => {}
                Ok(Some(0)) => return Ok(done),
                Ok(Some(len)) => {
                    done += len;
                    if takes_what_is_there {
                        if len < piece.len {
                            return Ok(done);
                        }
                    } else if self.open.seekable() && exec::should_yield() && self.gives_way().await {
                        // A file may go on for long.
                        return Ok(done);
                    }
                }
                Err(IoError::Errno(errno)) => {
                    if done == 0 && self.direction == Direction::Write && !how.quiet {
                        write_failed(self.task, self.open, errno);
                    }
                    return cut(done, errno);
                }
                Err(IoError::Fault(fault)) => {
                    if let Err(errno) = self.task.resolve(fault).await {
                        return cut(done, errno);
                    }
                }
            }
        }
    }

    async fn run_direct(&self, how: How) -> Result<usize, Errno> {
        let direction = match self.direction {
            Direction::Read => block::Direction::Read,
            Direction::Write => block::Direction::Write,
        };
        let moved = direct_io::run(self.task, self.open, direction, (self.at, self.append), self.list).await;
        moved.inspect_err(|&errno| {
            if self.direction == Direction::Write && !how.quiet {
                write_failed(self.task, self.open, errno);
            }
        })
    }

    /// Lets others run; whether nobody wants the rest any more. Boxed: seldom needed, and no wait is to carry its size. A thread that is
    /// killed is not polled again.
    fn gives_way(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            exec::yield_now().await;
            self.task.is_request() && self.task.interrupted()
        })
    }

    /// Whether one attempt writes the rest of several pieces: what is small goes into a stream whole, and is read from there whole, as on Linux. No more than that: it is copied under
    /// the stream's lock.
    fn goes_whole(&self) -> bool {
        self.list.len() > 1
            && self.direction == Direction::Write
            && self.open.file().takes_pieces()
            && self.task.buffer().is_none()
            && total(self.list) <= abi::fs::PIPE_BUF
    }

    /// One attempt, after `done` bytes: with the rest of one piece, or of all.
    fn attempt(&self, done: usize, piece: Piece) -> Attempt<usize> {
        let (task, open, at) = (self.task, self.open, self.at.plus(done));
        match self.direction {
            Direction::Read => read_now(task, open, at, piece),
            Direction::Write if self.goes_whole() => {
                write_part(task, open, at, self.append, &mut Source::pieces(task.space(), self.list, done))
            }
            Direction::Write => write_part(task, open, at, self.append, &mut task.source(piece)),
        }
    }

    /// What a call gets that waits no longer, for `errno`: of a terminal that wants more than there is, that.
    fn less(&self, done: usize, piece: Piece, errno: Errno) -> Result<Attempt<usize>, Errno> {
        if self.direction == Direction::Write || !self.open.file().take_less() {
            return Err(errno);
        }
        match self.attempt(done, piece) {
            // Others took it.
            Ok(None) => Err(errno),
            answer => Ok(answer),
        }
    }

    async fn wait(&self, done: usize, piece: Piece) -> Result<Attempt<usize>, Errno> {
        let offset = match self.at.plus(done) {
            At::Position => POSITION,
            At::Offset(_) if self.append => APPEND,
            At::Offset(offset) => offset,
        };
        let want = match self.direction {
            Direction::Read => Want::Read { offset, len: piece.len },
            Direction::Write if self.goes_whole() => Want::Write { offset, len: total(self.list) - done },
            Direction::Write => Want::Write { offset, len: piece.len },
        };
        wait(self.task, self.open, want, self.append, || self.attempt(done, piece)).await
    }
}

/// The offset in a [`Want`] that stands for the description's position.
const POSITION: u64 = APPEND - 1;

/// Waits until `attempt`, made in vain just now, has an answer, or (`None`) is worth making again.
///
/// # Errors
/// `EINTR`, `EAGAIN` at the socket's time limit, the wait's own.
async fn wait(
    task: &Task<'_>,
    open: &OpenFile,
    want: Want,
    append: bool,
    mut attempt: impl FnMut() -> Attempt<usize> + Send,
) -> Result<Attempt<usize>, Errno> {
    let (file, caller) = (open.file(), task.caller());
    let limit = file.deadline(want);
    if limit.is_some() {
        task.end_with_signal();
    }
    if let Some(queue) = file.queue(want) {
        // The attempt in vain was just now: in the queue a look is enough, and after each wake-up comes an attempt.
        let mut look = matches!(want, Want::Read { .. });
        let answer = pin!(wait_until_next(queue, || {
            if core::mem::take(&mut look) && file.read_waits() {
                return None;
            }
            attempt().transpose().map(Ok)
        }));
        return task.wait_in_place(answer, limit).await.map(|answer| answer.map(Some));
    }
    let wait: BoxFuture<'_, _> = match want {
        // Only who has a position waits for it.
        Want::Read { offset: POSITION, len } if open.seekable() => Box::pin(open.wait_readable(caller, len)),
        Want::Write { offset: POSITION, len } if open.seekable() => Box::pin(open.wait_writable(caller, append, len)),
        want => file.wait(caller, want),
    };
    task.wait_for(fair(wait), limit).await.map(|()| Ok(None))
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
                task.wait_for(fair(open.file().wait(task.caller(), want)), None).await?;
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
        let rest = &bytes[done..];
        let attempt = || open.write_now(task.caller(), &mut Source::kernel(rest));
        let mut answer = attempt();
        if let Ok(None) = answer {
            if how.gives_up {
                return cut(done, Errno::EAGAIN);
            }
            let want = Want::Write { offset: POSITION, len: rest.len() };
            answer = match wait(task, open, want, open.appends(), attempt).await {
                Ok(answer) => answer,
                Err(errno) => return cut(done, errno),
            };
        }
        match answer {
            Ok(None) => {}
            Ok(Some(0)) => break,
            Ok(Some(len)) => done += len,
            Err(IoError::Errno(errno)) => {
                if done == 0 {
                    write_failed(task, open, errno);
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
