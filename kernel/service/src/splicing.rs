//! `splice`, `tee` and `vmsplice`: bytes between a pipe and something else without a way through the program.
//!
//! One loop: an attempt holds the pipe's side and moves what it can at once (`io::pipe::hold`); a wait holds nothing, and what was not moved
//! is where it was. So a signal or a cancellation loses nothing. The order of checks is Linux's (`fs/splice.c`). Unlike there, what a
//! program changes in its memory after `vmsplice` does not show: the bytes are copied.

use crate::{
    arguments::{Args, MOST, only},
    context::{Task, fair},
    sockets,
    transfer::{self, At, How, Piece, cut},
};
use abi::{
    errno::Errno,
    fs::{O_APPEND, PIPE_BUF, SPLICE_F_ALL, SPLICE_F_NONBLOCK},
};
use alloc::{sync::Arc, vec::Vec};
use io::{
    file::{Attempt, IoError, Want},
    inode::Kind,
    open::OpenFile,
    pipe::hold::{self, Hold, Rest, Step, ends},
};
use mem::{Sink, Source, list};

/// Bytes that go through the kernel at a time.
const CHUNK: usize = 16 * 1024;

/// One of the two files.
struct Side {
    open: Arc<OpenFile>,
    is_pipe: bool,
    /// Where it begins, if that counts for it.
    start: u64,
    /// The description's position is to move.
    moves: bool,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Input,
    Output,
}

/// What is to be moved where.
pub(crate) struct Splice<'c, 't> {
    task: &'c Task<'t>,
    input: Side,
    out: Side,
    len: usize,
    rest: Rest,
    /// Pipes are not waited for.
    gives_up: bool,
}

/// `splice(in, in_offset, out, out_offset, len, flags)`.
pub(crate) async fn splice(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (len, flags) = (args.word(4), args.bits(5));
    if len == 0 {
        return Ok(0);
    }
    only(flags, SPLICE_F_ALL)?;
    let (input, out) = (task.file(args.int(0))?, task.file(args.int(2))?);
    let (from, to) = (args.word(1), args.word(3));
    if from != 0 && is_pipe(&input) || to != 0 && is_pipe(&out) {
        return Err(Errno::ESPIPE);
    }
    let out = (out, offset_at(task, to).await?);
    let splice = Splice::new(task, (input, offset_at(task, from).await?), out, len, flags)?;
    let done = splice.run().await?;
    for (addr, side) in [(to, &splice.out), (from, &splice.input)] {
        if addr != 0 {
            task.space().put(addr, &(side.start + done as u64)).await?;
        }
    }
    Ok(done)
}

async fn offset_at(task: &Task<'_>, addr: usize) -> Result<Option<i64>, Errno> {
    if addr == 0 { Ok(None) } else { task.space().get(addr).await.map(Some) }
}

/// `tee(in, out, len, flags)`.
pub(crate) async fn tee(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (len, flags) = (args.word(2), args.bits(3));
    only(flags, SPLICE_F_ALL)?;
    if len == 0 {
        return Ok(0);
    }
    Splice::tee(task, task.file(args.int(0))?, task.file(args.int(1))?, len, flags)?.run().await
}

/// `vmsplice(fd, pieces, count, flags)`. As on Linux it is the flags that say whether it waits, not the description.
pub(crate) async fn vmsplice(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(3);
    only(flags, SPLICE_F_ALL)?;
    let open = task.file(args.int(0))?;
    if !open.readable() && !open.writable() {
        return Err(Errno::EBADF);
    }
    let mut pieces = transfer::pieces(task, args.word(1), args.word(2)).await?;
    let Some(first) = transfer::rest(&pieces, 0) else { return Ok(0) };
    if !is_pipe(&open) {
        return Err(Errno::EBADF);
    }
    let how = How { gives_up: flags & SPLICE_F_NONBLOCK != 0, quiet: false, tried: false };
    let writes = open.writable();
    // There is to be something, or some room; beyond that it is what there is.
    let mut done = match writes {
        true => {
            let first = Piece { len: first.len.min(PIPE_BUF), ..first };
            transfer::write(task, &open, At::Position, &[first], how).await?
        }
        false => transfer::read(task, &open, At::Position, &pieces, how).await?,
    };
    pieces.skip(done);
    let how = How { gives_up: true, quiet: true, tried: false };
    while transfer::rest(&pieces, 0).is_some() {
        let more = match writes {
            true => transfer::write(task, &open, At::Position, &pieces, how).await,
            false => transfer::read(task, &open, At::Position, &pieces, how).await,
        };
        let more = more.unwrap_or(0);
        done += more;
        pieces.skip(more);
        if more == 0 || !goes_on(task).await {
            break;
        }
    }
    Ok(done)
}

/// Lets others run if it is time to; whether anybody wants the rest.
async fn goes_on(task: &Task<'_>) -> bool {
    if exec::should_yield() {
        exec::yield_now().await;
        return !task.is_request() || !task.interrupted();
    }
    true
}

fn is_pipe(open: &OpenFile) -> bool {
    ends(open.file().as_ref()).is_some()
}

/// Whether two descriptions are of one pipe.
fn is_one_pipe(input: &OpenFile, out: &OpenFile) -> bool {
    let pair = ends(input.file().as_ref()).zip(ends(out.file().as_ref()));
    pair.is_some_and(|(one, other)| one.is_of(&other))
}

/// Whether a file that is no pipe takes part: not those that count or watch, nor who has to keep messages apart.
fn takes_part(open: &OpenFile) -> bool {
    match sockets::socket_of(open.file().as_ref()) {
        Some(socket) => socket.is_stream(),
        None => open.file().inode().is_some_and(|inode| inode.kind() != Kind::Directory),
    }
}

impl Side {
    /// A file that is no pipe, from `offset` on or its position, for `len` bytes.
    fn of_file(open: Arc<OpenFile>, offset: Option<i64>, len: usize) -> Result<Self, Errno> {
        if offset.is_some() && !open.seekable() || !takes_part(&open) {
            return Err(Errno::EINVAL);
        }
        let moves = offset.is_none() && open.seekable();
        let start = offset.unwrap_or(if moves { open.position().cast_signed() } else { 0 });
        let end = i64::try_from(len).ok().and_then(|len| start.checked_add(len));
        match (u64::try_from(start), end) {
            (Ok(start), Some(_)) => Ok(Self { open, is_pipe: false, start, moves }),
            _ => Err(Errno::EINVAL),
        }
    }

    fn of_pipe(open: Arc<OpenFile>) -> Self {
        Self { open, is_pipe: true, start: 0, moves: false }
    }
}

impl<'c, 't> Splice<'c, 't> {
    /// # Errors
    /// `EBADF`, `ESPIPE`, `EINVAL`.
    pub(crate) fn new(
        task: &'c Task<'t>,
        (input, from): (Arc<OpenFile>, Option<i64>),
        (out, to): (Arc<OpenFile>, Option<i64>),
        len: usize,
        flags: u32,
    ) -> Result<Self, Errno> {
        if !input.readable() || !out.writable() {
            return Err(Errno::EBADF);
        }
        let (reads, writes) = (is_pipe(&input), is_pipe(&out));
        if reads && from.is_some() || writes && to.is_some() {
            return Err(Errno::ESPIPE);
        }
        let waits_not = |is_pipe, open: &OpenFile| is_pipe && open.nonblocking();
        let gives_up = flags & SPLICE_F_NONBLOCK != 0 || waits_not(reads, &input) || waits_not(writes, &out);
        let (input, out) = match (reads, writes) {
            (true, true) if is_one_pipe(&input, &out) => return Err(Errno::EINVAL),
            (true, true) => (Side::of_pipe(input), Side::of_pipe(out)),
            (true, false) if out.flags() & O_APPEND != 0 => return Err(Errno::EINVAL),
            (true, false) => (Side::of_pipe(input), Side::of_file(out, to, len)?),
            (false, true) => (Side::of_file(input, from, len)?, Side::of_pipe(out)),
            (false, false) => return Err(Errno::EINVAL),
        };
        Ok(Self { task, input, out, len: len.min(MOST), rest: Rest::Taken, gives_up })
    }

    /// One that leaves the bytes where they are.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    pub(crate) fn tee(
        task: &'c Task<'t>,
        input: Arc<OpenFile>,
        out: Arc<OpenFile>,
        len: usize,
        flags: u32,
    ) -> Result<Self, Errno> {
        if !input.readable() || !out.writable() {
            return Err(Errno::EBADF);
        }
        if !is_pipe(&input) || !is_pipe(&out) {
            return Err(Errno::EINVAL);
        }
        Ok(Self { rest: Rest::Left, ..Self::new(task, (input, None), (out, None), len, flags)? })
    }

    /// Moves what can be moved; waits for the first of it.
    ///
    /// # Errors
    /// Those of the files; `EPIPE`, `EAGAIN`, `EINTR`, `ENOMEM`.
    pub(crate) async fn run(&self) -> Result<usize, Errno> {
        let mut done = 0;
        let result = loop {
            let which = match self.attempt(done) {
                Ok(Step::Moved(len)) => {
                    done += len;
                    if done == self.len || self.rest == Rest::Left || !goes_on(self.task).await {
                        break Ok(done);
                    }
                    continue;
                }
                Ok(Step::End) => break Ok(done),
                Ok(Step::WaitsIn) => Which::Input,
                Ok(Step::WaitsOut) => Which::Output,
                Err(errno) => {
                    if done == 0 {
                        self.failed(errno);
                    }
                    break cut(done, errno);
                }
            };
            // A pipe that gave something, or took it, is not waited for again, nor a stream that gave something.
            let side = self.side(which);
            if done > 0 && (side.is_pipe || which == Which::Input && !side.open.seekable()) {
                break Ok(done);
            }
            if let Err(errno) = self.wait(which, done).await {
                break cut(done, errno);
            }
        };
        for side in [&self.input, &self.out] {
            if side.moves && done > 0 {
                side.open.set_position(side.start + done as u64);
            }
        }
        match result {
            Ok(done) if !self.out.is_pipe => transfer::settle(&self.out.open, done, 0).await,
            result => result,
        }
    }

    /// Raises the signal that goes with a failure. An entry raises none: on Linux it is its worker's.
    fn failed(&self, errno: Errno) {
        if !self.task.waits_always() {
            transfer::write_failed(self.task, &self.out.open, errno);
        }
    }

    fn side(&self, which: Which) -> &Side {
        match which {
            Which::Input => &self.input,
            Which::Output => &self.out,
        }
    }

    /// Moves what can be moved at once, behind `done` bytes.
    fn attempt(&self, done: usize) -> Result<Step, Errno> {
        let from = ends(self.input.open.file().as_ref()).and_then(|ends| ends.read);
        let to = ends(self.out.open.file().as_ref()).and_then(|ends| ends.write);
        match (from, to) {
            (Some(from), Some(to)) => hold::move_now(from, to, self.len - done, self.rest),
            (Some(from), None) => self.out_of(from, done),
            (None, Some(to)) => self.into(to, done),
            (None, None) => Err(Errno::EBADF),
        }
    }

    fn out_of(&self, pipe: &io::pipe::ReadEnd, done: usize) -> Result<Step, Errno> {
        let mut front = match pipe.hold() {
            Hold::Held(front) => front,
            Hold::Waits => return Ok(Step::WaitsIn),
            Hold::Over => return Ok(Step::End),
        };
        let mut bytes = buffer(front.len().min(self.len - done))?;
        front.peek(&mut bytes);
        let (file, at) = (self.out.open.file(), self.out.start + done as u64);
        match moved(file.write_now(self.task.caller(), at, &mut Source::kernel(&bytes)))? {
            None => Ok(Step::WaitsOut),
            Some(0) => Ok(Step::End),
            Some(len) => {
                front.advance(len);
                Ok(Step::Moved(len))
            }
        }
    }

    fn into(&self, pipe: &io::pipe::WriteEnd, done: usize) -> Result<Step, Errno> {
        let mut back = match pipe.hold() {
            Hold::Held(back) => back,
            Hold::Waits => return Ok(Step::WaitsOut),
            Hold::Over => return Err(Errno::EPIPE),
        };
        let kept = back.keep(CHUNK.min(self.len - done))?;
        let mut bytes = buffer(kept)?;
        let (file, at) = (self.input.open.file(), self.input.start + done as u64);
        match moved(file.read_now(self.task.caller(), at, &mut Sink::kernel(&mut bytes)))? {
            None => Ok(Step::WaitsIn),
            Some(0) => Ok(Step::End),
            Some(len) => {
                back.put(&bytes[..len]);
                Ok(Step::Moved(len))
            }
        }
    }

    /// Waits until another attempt is worth it.
    async fn wait(&self, which: Which, done: usize) -> Result<(), Errno> {
        let side = self.side(which);
        let (offset, len) = (side.start + done as u64, CHUNK.min(self.len - done));
        let want = match which {
            Which::Input => Want::Read { offset, len },
            Which::Output => Want::Write { offset, len },
        };
        if self.waits_not(which) {
            return Err(Errno::EAGAIN);
        }
        let file = side.open.file();
        let limit = file.deadline(want);
        if limit.is_some() {
            self.task.end_with_signal();
        }
        self.task.wait_for(fair(file.wait(self.task.caller(), want)), limit).await
    }

    fn waits_not(&self, which: Which) -> bool {
        let side = self.side(which);
        if side.is_pipe {
            return self.gives_up;
        }
        let socket = sockets::socket_of(side.open.file().as_ref());
        // Linux's local sockets alone take the flag for themselves.
        let by_flag = which == Which::Input && self.gives_up && socket.is_some_and(|socket| socket.is_local());
        !side.open.seekable() && side.open.nonblocking() || by_flag
    }
}

/// A place for up to so many bytes.
fn buffer(len: usize) -> Result<Vec<u8>, Errno> {
    let len = len.min(CHUNK);
    let mut bytes = list(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// No memory of a program's is touched, so none can be missing.
fn moved(attempt: Attempt<usize>) -> Result<Option<usize>, Errno> {
    attempt.map_err(|error| match error {
        IoError::Errno(errno) => errno,
        IoError::Fault(_) => Errno::EFAULT,
    })
}
