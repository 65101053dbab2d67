//! Reading and receiving into a buffer that is chosen from a group when there is something, once or again and again.

use super::{
    Ring,
    calls::{Begun, Body},
    operation::{Done, Step},
};
use crate::{
    arguments::{Args, MOST},
    context::{OfRequest, Task, fair},
    messages, sockets,
    transfer::{self, At, How, Piece},
};
use abi::{
    errno::Errno,
    io_uring::*,
    net::{MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL},
    poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP},
};
use alloc::sync::Arc;
use core::mem;
use io::{file::Want, open::OpenFile};

/// Which events say that there is something, if only an end.
const READY: u32 = EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP;

/// Such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Select {
    opcode: u8,
    fixed: bool,
    multishot: bool,
    /// Not to be tried before there is something.
    waits_first: bool,
    group: u16,
    fd: i32,
    /// 0: as much as fits.
    len: u32,
    flags: u32,
    offset: u64,
}

/// Whether an operation may have a buffer chosen for it.
pub(super) fn selects(opcode: u8) -> bool {
    matches!(opcode, IORING_OP_READ | IORING_OP_RECV) || is_known(opcode)
}

/// Whether it does nothing without.
pub(super) fn is_known(opcode: u8) -> bool {
    opcode == IORING_OP_READ_MULTISHOT
}

impl Select {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let &Sqe { opcode, fd, len, op_flags: flags, off: offset, ioprio, buf_index: group, .. } = entry;
        let (multishot, is_right) = match opcode {
            IORING_OP_RECV => {
                let multishot = ioprio & IORING_RECV_MULTISHOT != 0;
                let known = ioprio & !(IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST) == 0;
                let again = !multishot || len == 0 && flags & MSG_WAITALL == 0;
                (multishot, known && again && offset == 0 && entry.file_index == 0)
            }
            IORING_OP_READ => (false, ioprio == 0),
            _ => (true, ioprio == 0 && entry.addr == 0 && len == 0),
        };
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0;
        let waits_first = opcode != IORING_OP_RECV || ioprio & IORING_RECVSEND_POLL_FIRST != 0;
        if is_right {
            Ok(Self { opcode, fixed, multishot, waits_first, group, fd, len, flags, offset })
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(super) fn opcode(&self) -> u8 {
        self.opcode
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64) -> Step {
        let open = match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let view = OfRequest { file: Some(open), ..OfRequest::default() };
        Begun::run(Body::Select(self), task, ring, user_data, view)
    }

    /// To its end.
    pub(super) async fn serve(&self, task: &Task<'_>, ring: &Ring, user_data: u64) -> Done {
        let open = match task.file(self.fd) {
            Ok(open) => open,
            Err(errno) => return Done::failed(errno),
        };
        // These never have anything, and would be waited for.
        let wrong = match self.opcode {
            IORING_OP_RECV => sockets::socket_of(open.file().as_ref()).is_none().then_some(Errno::ENOTSOCK),
            _ => (!open.readable()).then_some(Errno::EBADF),
        };
        if let Some(errno) = wrong {
            return Done::failed(errno);
        }
        // What is always ready would come without end.
        if self.opcode == IORING_OP_READ_MULTISHOT && open.seekable() {
            return Done::failed(Errno::EBADFD);
        }
        // Where nothing can come, an attempt says so.
        let mut tries = !self.waits_first;
        loop {
            if task.interrupted() {
                return Done::failed(Errno::EINTR);
            }
            let done = match self.once(task, ring, &open, mem::take(&mut tries)).await {
                Ok(done) => done,
                Err(errno) => return Done::failed(errno),
            };
            // The end comes without a buffer.
            if !self.multishot || done.flags == 0 {
                return done;
            }
            let more = Cqe { user_data, res: done.result, flags: done.flags | IORING_CQE_F_MORE };
            if !ring.post_more(more) {
                return done;
            }
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
    }

    /// Waits until there is something, and takes it; `tries` before that.
    async fn once(&self, task: &Task<'_>, ring: &Ring, open: &Arc<OpenFile>, tries: bool) -> Result<Done, Errno> {
        let mut waits = !tries && !open.seekable() && open.file().events() & READY == 0;
        loop {
            if !ring.groups.has_some(self.group) {
                return Err(Errno::ENOBUFS);
            }
            if waits {
                let ready = open.file().wait(task.caller(), Want::Events(READY));
                task.wait_for(fair(ready), None).await?;
            }
            let selected = task.wait_for(ring.groups.select(self.group), None).await?;
            let room = match self.len {
                0 => selected.given.len,
                len => len.min(selected.given.len),
            };
            let piece = Piece { addr: selected.given.addr as usize, len: (room as usize).min(MOST) };
            match self.attempt(task, open, piece).await {
                Err(Errno::EAGAIN) => waits = true,
                Err(errno) => return Err(errno),
                // An end that is received needs no buffer; one that is read has one, as on Linux.
                Ok(0) if self.opcode != IORING_OP_READ => return Ok(Done::with(0)),
                Ok(len) => {
                    let bid = u32::from(selected.given.bid) << IORING_CQE_BUFFER_SHIFT;
                    selected.keep();
                    let len = match self.goes_on(open) {
                        true => self.fill(task, open, piece, len).await,
                        false => len,
                    };
                    let fails = match self.opcode {
                        IORING_OP_RECV => self.flags & MSG_WAITALL != 0 && len < piece.len,
                        _ => len < piece.len,
                    };
                    return Ok(Done { result: len as i32, fails, flags: bid | IORING_CQE_F_BUFFER });
                }
            }
        }
    }

    /// Whether it is to take all that was asked for.
    fn goes_on(&self, open: &OpenFile) -> bool {
        let is_stream = || sockets::socket_of(open.file().as_ref()).is_some_and(|socket| socket.is_stream());
        self.opcode == IORING_OP_RECV && self.flags & MSG_WAITALL != 0 && self.flags & MSG_PEEK == 0 && is_stream()
    }

    /// Receives the rest into the buffer, which is the program's from the first bytes on; how much is there at the end, the error or the cancellation.
    async fn fill(&self, task: &Task<'_>, open: &Arc<OpenFile>, piece: Piece, mut len: usize) -> usize {
        while len < piece.len && !task.interrupted() {
            let rest = Piece { addr: piece.addr + len, len: piece.len - len };
            match self.attempt(task, open, rest).await {
                Err(Errno::EAGAIN) => {
                    let ready = open.file().wait(task.caller(), Want::Events(READY));
                    if task.wait_for(fair(ready), None).await.is_err() {
                        break;
                    }
                }
                Err(_) | Ok(0) => break,
                Ok(more) => len += more,
            }
        }
        len
    }

    /// Takes what is there; `EAGAIN` if that is nothing.
    async fn attempt(&self, task: &Task<'_>, open: &OpenFile, piece: Piece) -> Result<usize, Errno> {
        if self.opcode == IORING_OP_RECV {
            let flags = self.flags | MSG_DONTWAIT;
            return messages::recvfrom(task, &Args([self.fd as usize, piece.addr, piece.len, flags as usize, 0, 0]))
                .await;
        }
        let at = match self.offset.cast_signed() {
            _ if self.flags != 0 => return Err(Errno::EOPNOTSUPP),
            -1 => At::Position,
            _ if !open.seekable() => At::Position,
            0.. => At::Offset(self.offset),
            _ => return Err(Errno::EINVAL),
        };
        let how = How { gives_up: !open.seekable(), quiet: false, tried: false };
        transfer::read(task, open, at, &[piece], how).await
    }
}
