//! Reading and writing: the system calls' own loop, with an entry's arguments. What is moved at once is in [`attempt`], what waits in [`wait`].

mod attempt;
mod wait;

use super::{
    Ring,
    begun::{Begun, Body},
    buffers::Buffer,
    operation::{Done, Step},
    waits::Waits,
};
use crate::{
    arguments::MOST,
    context::{OfRequest, Task},
    direct_io::{self, Flight},
    given::Given,
    sockets,
    transfer::{At, Piece},
};
use abi::{
    errno::Errno,
    fs::{O_APPEND, O_DSYNC},
    io_uring::*,
    net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL},
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use io::{block::Direction, file::DirectIo, open::OpenFile};
use mem::CopyFault;

/// Which way, and whether the memory is a list of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Read,
    /// `recv` without flags, which is reading, of a socket only.
    Receive,
    Write,
    /// `send` without flags, likewise; it never raises `SIGPIPE`.
    Send,
    /// The same with `MSG_DONTWAIT`.
    SendNow,
    /// And with `MSG_WAITALL`: less than all of it is a failure.
    SendAllNow,
    ReadList,
    WriteList,
}

impl Shape {
    fn is_message(self) -> bool {
        matches!(self, Shape::Receive | Shape::Send) || self.gives_up()
    }

    fn gives_up(self) -> bool {
        matches!(self, Shape::SendNow | Shape::SendAllNow)
    }

    fn is_list(self) -> bool {
        matches!(self, Shape::ReadList | Shape::WriteList)
    }
}

/// `IORING_OP_READ`, `IORING_OP_WRITE`, with a registered buffer or not, `IORING_OP_READV`, `IORING_OP_WRITEV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    shape: Shape,
    /// The descriptor is a place in the table of registered files.
    fixed: bool,
    /// The memory lies in the registered buffer with this number.
    buffer: Option<u16>,
    fd: i32,
    len: u32,
    flags: u32,
    addr: usize,
    /// -1: the description's position.
    offset: u64,
    /// Bytes that have been moved, before it waits.
    done: u32,
}

/// One that a device carries out.
pub(super) struct AtDevice {
    transfer: Transfer,
    open: Arc<OpenFile>,
    flight: Flight,
}

impl AtDevice {
    pub(super) fn opcode(&self) -> u8 {
        self.transfer.opcode()
    }

    pub(super) fn open(&self) -> &Arc<OpenFile> {
        &self.open
    }

    /// Whether it has ended, and how.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        let transfer = self.transfer;
        Pin::new(&mut self.flight).poll(context).map(|moved| moved.map_or_else(Done::failed, |len| transfer.moved(len)))
    }

    /// Waits for its end.
    pub(super) async fn finish(&mut self) -> Done {
        poll_fn(|context| self.poll(context)).await
    }
}

/// Whether a `recv` or `send` is nothing but that, or sends without a wait. What else it says, right or wrong, is the call's.
#[inline(always)]
fn is_plain_message(entry: &Sqe) -> bool {
    // Who sends through a ring is never killed for it, whether it says so or not.
    let known = if entry.opcode == IORING_OP_SEND { MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL } else { 0 };
    let flags = entry.op_flags;
    let is_zero = entry.ioprio == 0 && flags & !known == 0 && entry.off == 0 && entry.file_index == 0;
    // All of it with waiting is the call's. Nothing is received at once, without a look at what there is.
    is_zero && flags & (MSG_WAITALL | MSG_DONTWAIT) != MSG_WAITALL && entry.buf_index == 0 && entry.len > 0
}

fn is_stream(open: &OpenFile) -> bool {
    sockets::socket_of(open.file().as_ref()).is_some_and(net::SocketFile::is_stream)
}

/// What came of doing what can be done at once.
pub(super) enum Tried {
    Done(Done),
    /// Nothing, until the file changes.
    NotYet,
    /// So many bytes; the rest waits for more than that.
    Partly(u32),
    /// Nothing: memory is missing.
    Faults(CopyFault),
}

/// The priority of a request to a device; nothing here has use for it, but a wrong one is refused.
fn check_priority(task: &Task<'_>, priority: u16) -> Result<(), Errno> {
    const REAL_TIME: u16 = 1;
    match (priority >> 13, priority & 0x1fff) {
        (0, 0) | (2..=3, _) => Ok(()),
        (REAL_TIME, _) => task.privileged(),
        _ => Err(Errno::EINVAL),
    }
}

impl Transfer {
    /// Whether an entry is a transfer without flags that others look at.
    #[inline(always)]
    pub(super) fn is_plain(entry: &Sqe) -> bool {
        const PLAIN: u8 = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
        const OPCODES: u64 = 1 << IORING_OP_READ
            | 1 << IORING_OP_RECV
            | 1 << IORING_OP_SEND
            | 1 << IORING_OP_WRITE
            | 1 << IORING_OP_READV
            | 1 << IORING_OP_WRITEV
            | 1 << IORING_OP_READ_FIXED
            | 1 << IORING_OP_WRITE_FIXED;
        let is_transfer = entry.opcode < 64 && OPCODES >> entry.opcode & 1 != 0;
        let is_plain = is_transfer && entry.flags & !PLAIN == 0 && entry.personality == 0;
        is_plain && (!matches!(entry.opcode, IORING_OP_RECV | IORING_OP_SEND) || is_plain_message(entry))
    }

    /// Whether an entry is [plain](Self::is_plain) and reads, into one piece of memory that is no registered buffer, of a file that it names by its number, and says no more than that.
    #[inline(always)]
    pub(super) fn is_simple_read(entry: &Sqe) -> bool {
        let says_no_more = entry.flags == 0 && entry.ioprio == 0 && entry.op_flags == 0 && entry.personality == 0;
        entry.opcode == IORING_OP_READ && says_no_more
    }

    /// Of such an entry. Who looks once and keeps nothing has it in registers.
    #[inline(always)]
    pub(super) fn of_simple_read(entry: &Sqe) -> Self {
        let &Sqe { fd, len, op_flags: flags, off: offset, .. } = entry;
        let (shape, fixed, buffer, addr, done) = (Shape::Read, false, None, entry.addr as usize, 0);
        Self { shape, fixed, buffer, fd, len, flags, addr, offset, done }
    }

    #[inline]
    pub(super) fn prepare(task: &Task<'_>, entry: &Sqe) -> Result<Self, Errno> {
        let shape = match entry.opcode {
            IORING_OP_READ | IORING_OP_READ_FIXED => Shape::Read,
            IORING_OP_RECV => Shape::Receive,
            IORING_OP_SEND if entry.op_flags & MSG_DONTWAIT != 0 => match entry.op_flags & MSG_WAITALL {
                0 => Shape::SendNow,
                _ => Shape::SendAllNow,
            },
            IORING_OP_SEND => Shape::Send,
            IORING_OP_WRITE | IORING_OP_WRITE_FIXED => Shape::Write,
            IORING_OP_READV => Shape::ReadList,
            _ => Shape::WriteList,
        };
        let in_buffer = matches!(entry.opcode, IORING_OP_READ_FIXED | IORING_OP_WRITE_FIXED);
        let buffer = in_buffer.then_some(entry.buf_index);
        check_priority(task, entry.ioprio)?;
        let &Sqe { fd, len, op_flags: flags, off: offset, .. } = entry;
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0;
        let flags = if entry.opcode == IORING_OP_SEND { 0 } else { flags };
        Ok(Self { shape, fixed, buffer, fd, len, flags, addr: entry.addr as usize, offset, done: 0 })
    }

    pub(super) fn opcode(&self) -> u8 {
        match (self.shape, self.buffer) {
            (Shape::Read, None) => IORING_OP_READ,
            (Shape::Read, Some(_)) => IORING_OP_READ_FIXED,
            (Shape::Receive, _) => IORING_OP_RECV,
            (Shape::Send | Shape::SendNow | Shape::SendAllNow, _) => IORING_OP_SEND,
            (Shape::Write, None) => IORING_OP_WRITE,
            (Shape::Write, Some(_)) => IORING_OP_WRITE_FIXED,
            (Shape::ReadList, _) => IORING_OP_READV,
            (Shape::WriteList, _) => IORING_OP_WRITEV,
        }
    }

    /// Streams ignore the offset.
    fn at(&self, open: &OpenFile) -> Result<At, Errno> {
        match self.offset.cast_signed() {
            -1 => Ok(At::Position),
            _ if !open.seekable() => Ok(At::Position),
            0.. => Ok(At::Offset(self.offset)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn piece(&self) -> Piece {
        Piece { addr: self.addr, len: (self.len as usize).min(MOST) }
    }

    /// The descriptor that it names, where that is a number of its process.
    #[inline]
    pub(super) fn fd(&self) -> Option<i32> {
        (!self.fixed).then_some(self.fd)
    }

    /// The file that it names, and whether by a place in the ring's table.
    #[inline]
    pub(super) fn file(&self) -> (i32, bool) {
        (self.fd, self.fixed)
    }

    /// Whether it reads into one piece of memory that is no registered buffer, of what a device carries nothing out of by itself: a look does it, or it waits.
    #[inline]
    pub(super) fn is_plain_read(&self, open: &OpenFile) -> bool {
        let is_read = match self.shape {
            Shape::Read => true,
            Shape::Receive => sockets::socket_of(open.file().as_ref()).is_some(),
            _ => false,
        };
        is_read && self.buffer.is_none() && self.flags == 0 && !open.is_direct()
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>) -> Step {
        match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open.keep(self.run_on(task, ring, &open)),
            Err(errno) => Step::Done(Done::failed(errno)),
        }
    }

    /// The same, on the file that it names.
    #[inline]
    pub(super) fn run_on(self, task: &Task<'_>, ring: &Arc<Ring>, open: &Arc<OpenFile>) -> Step {
        if self.shape.is_message() && sockets::socket_of(open.file().as_ref()).is_none() {
            return Step::Done(Done::failed(Errno::ENOTSOCK));
        }
        if self.shape.is_list() {
            return self.run_as_call(task, ring, OfRequest { file: Some(open.clone()), ..OfRequest::default() });
        }
        let buffer = match self.buffer.map(|place| ring.buffers.get(place, self.piece())).transpose() {
            Ok(buffer) => buffer,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        if let Some(direct) = open.direct() {
            return self.run_direct(task, (open, direct), buffer);
        }
        let tried = self.look(task, open, buffer.as_deref());
        self.goes_on(tried, open, buffer)
    }

    /// Where its list lies, and how many pieces it has.
    pub(super) fn list(&self) -> Option<(usize, usize)> {
        self.shape.is_list().then_some((self.addr, self.len as usize))
    }

    /// [`run`](Self::run) of one whose list was kept.
    pub(super) fn run_given(self, task: &Task<'_>, ring: &Arc<Ring>, given: Option<Box<Given>>) -> Step {
        if !self.shape.is_list() {
            return self.run(task, ring);
        }
        match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open.keep(self.run_as_call(
                task,
                ring,
                OfRequest { file: Some(Arc::clone(&open)), given, ..OfRequest::default() },
            )),
            Err(errno) => Step::Done(Done::failed(errno)),
        }
    }

    /// As a call is run: a list is read now, so that it is the program's again when the entry is taken, and the rights are the task's to the end.
    #[inline(never)]
    pub(super) fn run_as_call(self, task: &Task<'_>, ring: &Arc<Ring>, view: OfRequest) -> Step {
        // It says nothing but how it ends.
        Begun::run(Body::Transfer(self), task, ring, 0, view)
    }

    /// One that is run so, to its end.
    pub(super) async fn serve(&self, task: &Task<'_>) -> Done {
        match task.file(self.fd) {
            Ok(open) => self.wait(task, &open).await,
            Err(errno) => Done::failed(errno),
        }
    }

    /// How one without a registered buffer goes on behind a look, which says of what a device carries out that it is not yet done (`transfer::read_into`).
    pub(super) fn behind_look(self, task: &Task<'_>, tried: Tried, open: &Arc<OpenFile>) -> Step {
        match tried {
            Tried::NotYet if let Some(direct) = open.direct() => self.run_direct(task, (open, direct), None),
            tried => self.goes_on(tried, open, None),
        }
    }

    /// How it goes on behind a look.
    #[inline]
    pub(super) fn goes_on(self, tried: Tried, open: &Arc<OpenFile>, buffer: Option<Arc<Buffer>>) -> Step {
        let rest = match tried {
            Tried::Done(done) => return Step::Done(done),
            // What is sent now is not to come behind what is sent later.
            Tried::NotYet if self.shape.gives_up() && is_stream(open) => {
                return Step::Done(Done::failed(Errno::EAGAIN));
            }
            Tried::Partly(done) => Self { done, ..self },
            Tried::NotYet | Tried::Faults(_) => self,
        };
        Step::Waits(Waits::Transfer(rest, open.clone(), buffer))
    }

    /// A device does it, on the memory itself; or what has to be looked at longer goes on as a call would.
    #[cold]
    #[inline(never)]
    fn run_direct(
        self,
        task: &Task<'_>,
        (open, direct): (&Arc<OpenFile>, &dyn DirectIo),
        buffer: Option<Arc<Buffer>>,
    ) -> Step {
        let direction = match self.shape {
            Shape::Read => Some(Direction::Read),
            Shape::Write if open.flags() & (O_APPEND | O_DSYNC) == 0 => Some(Direction::Write),
            _ => None,
        };
        let direction = direction.filter(|_| self.flags == 0);
        let (Some(direction), Ok(At::Offset(offset))) = (direction, self.at(open)) else {
            return Step::Waits(Waits::Transfer(self, open.clone(), buffer));
        };
        let mut single = direct_io::Single::new(task, (open, direct), direction, offset);
        match single.prepare(self.piece(), buffer.as_deref()) {
            Ok(true) => match single.charge() {
                Ok(charge) => {
                    let flight = single.begin(charge);
                    // Written where it stays.
                    let device = Box::write(Box::new_uninit(), AtDevice { transfer: self, open: open.clone(), flight });
                    Step::Waits(Waits::Device(device))
                }
                Err(errno) => Step::Done(Done::failed(errno)),
            },
            Ok(false) => Step::Waits(Waits::Transfer(self, open.clone(), buffer)),
            Err(errno) => Step::Done(Done::failed(errno)),
        }
    }

    /// Whether it reads into one piece of memory: a try is all that it does then.
    pub(super) fn is_one_read(&self) -> bool {
        matches!(self.shape, Shape::Read | Shape::Receive) && self.flags == 0
    }

    /// So many bytes, and that was all; of what is received it is said whether there is more.
    #[inline]
    fn ended(&self, open: &OpenFile, len: usize) -> Done {
        let done = self.moved(len);
        if self.shape == Shape::Receive { done.with_more(IORING_OP_RECV, open) } else { done }
    }

    /// Less than was asked for ends a chain.
    fn moved(&self, len: usize) -> Done {
        // What is received is whatever has come, and what is sent what there was room for.
        let may_be_short = self.shape.is_message() && self.shape != Shape::SendAllNow;
        Done { result: len as i32, fails: len < self.piece().len && !may_be_short, flags: 0 }
    }
}
