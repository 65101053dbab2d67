//! Reading and receiving into a buffer that is chosen from a group when there is something, once or again and again; and sending from one that is chosen when
//! there is room.
//!
//! A buffer in which nothing was put, or of which nothing was sent, goes back, and no completion names it: on Linux one of which a send has failed does not.

mod bundle;

use super::{
    Ring,
    begun::{Begun, Body},
    groups::Selected,
    operation::{Done, Step},
    received::{self, Message, Took},
    stream::Stream,
};
use crate::{
    arguments::{Args, MOST},
    context::{OfRequest, Task, fair},
    given::Given,
    messages, sockets,
    transfer::{self, At, How, Piece},
};
use abi::{
    errno::Errno,
    fs::Iovec,
    io_uring::*,
    net::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_WAITALL, Msghdr},
    poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP},
};
use alloc::{boxed::Box, sync::Arc};
use core::mem;
use io::{file::Want, open::OpenFile};

/// Which events say that there is something, if only an end.
const HAS_SOME: u32 = EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
/// Which say that there is room, or will never be.
const HAS_ROOM: u32 = EPOLLOUT | EPOLLERR | EPOLLHUP;

/// Such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Select {
    opcode: u8,
    fixed: bool,
    multishot: bool,
    /// Several buffers at once, where there are; sent as long as there are some.
    bundle: bool,
    /// Not to be tried before there is something.
    waits_first: bool,
    group: u16,
    fd: i32,
    /// 0: as much as fits.
    len: u32,
    flags: u32,
    /// Where the rest of what is asked for lies.
    addr: u64,
    /// Or where the address lies that it is sent to, with its length.
    offset: u64,
    to_len: u32,
}

/// What is asked for, as far as it lies in memory.
struct Asked {
    /// 0: as much as fits.
    len: u32,
    message: Option<Message>,
}

/// One turn of a request: for whom, what it reads or writes, and what of it is asked for.
struct Turn<'a, 't> {
    task: &'a Task<'t>,
    ring: &'a Ring,
    open: &'a Arc<OpenFile>,
    asked: &'a Asked,
    /// It is tried before it is waited for.
    tries: bool,
}

/// Whether an operation may have a buffer chosen for it.
pub(super) fn selects(opcode: u8) -> bool {
    let others = [IORING_OP_READ, IORING_OP_READV, IORING_OP_RECV, IORING_OP_RECVMSG, IORING_OP_SEND];
    others.contains(&opcode) || is_known(opcode)
}

/// Whether it does nothing without.
pub(super) fn is_known(opcode: u8) -> bool {
    opcode == IORING_OP_READ_MULTISHOT
}

impl Select {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let &Sqe { opcode, fd, len, op_flags: flags, addr, off: offset, ioprio, buf_index: group, .. } = entry;
        let to_len = entry.file_index;
        let (multishot, is_right) = match opcode {
            IORING_OP_RECV | IORING_OP_RECVMSG => {
                let multishot = ioprio & IORING_RECV_MULTISHOT != 0;
                let bundles = if opcode == IORING_OP_RECV { IORING_RECVSEND_BUNDLE } else { 0 };
                let known = ioprio & !(IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST | bundles) == 0;
                let as_much_as_fits = len == 0 || opcode == IORING_OP_RECVMSG;
                let again = !multishot || as_much_as_fits && flags & MSG_WAITALL == 0;
                (multishot, known && again && offset == 0 && to_len == 0)
            }
            IORING_OP_SEND => {
                let known = ioprio & !(IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_BUNDLE) == 0;
                (false, known && to_len >> 16 == 0)
            }
            IORING_OP_READ => (false, ioprio == 0),
            IORING_OP_READV => (false, ioprio == 0 && len == 1),
            _ => (true, ioprio == 0 && entry.addr == 0 && len == 0),
        };
        let fixed = entry.flags & IOSQE_FIXED_FILE != 0;
        let is_message = matches!(opcode, IORING_OP_RECV | IORING_OP_RECVMSG | IORING_OP_SEND);
        let bundle = is_message && ioprio & IORING_RECVSEND_BUNDLE != 0;
        // As on Linux all of a bundle is sent.
        let flags = if bundle && opcode == IORING_OP_SEND { flags | MSG_WAITALL } else { flags };
        let waits_first = !is_message || ioprio & IORING_RECVSEND_POLL_FIRST != 0;
        if is_right {
            Ok(Self { opcode, fixed, multishot, bundle, waits_first, group, fd, len, flags, addr, offset, to_len })
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(super) fn opcode(&self) -> u8 {
        self.opcode
    }

    /// As one that needs no coroutine for it, and what it reads, if nothing is wrong with it. As on Linux it has to have a buffer to begin, and then only when
    /// something has come.
    pub(super) fn as_stream(&self, task: &Task<'_>, ring: &Ring) -> Option<(Stream, Arc<OpenFile>)> {
        let is_plain = matches!(self.opcode, IORING_OP_RECV | IORING_OP_READ_MULTISHOT) && self.flags == 0;
        if !is_plain || !self.multishot || self.bundle || !ring.groups.has_some(self.group) {
            return None;
        }
        let open = ring.file(task, self.fd, self.fixed).ok().filter(|open| !open.is_tagged())?;
        self.check(&open).ok()?;
        Some((Stream { opcode: self.opcode, group: self.group }, Arc::clone(&open)))
    }

    /// Where the rest of what is asked for lies, and its length: a message, a list of one piece, or an address.
    pub(super) fn said(&self) -> (usize, usize) {
        match self.opcode {
            IORING_OP_RECVMSG => (self.addr as usize, size_of::<Msghdr>()),
            IORING_OP_READV => (self.addr as usize, size_of::<Iovec>()),
            IORING_OP_SEND => (self.offset as usize, self.to_len as usize),
            _ => (0, 0),
        }
    }

    /// As far as that goes without waiting. What it is `given` may have been kept.
    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64, given: Option<Box<Given>>) -> Step {
        let open = match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let view = OfRequest { file: Some(Arc::clone(&open)), given, ..OfRequest::default() };
        open.keep(Begun::run(Body::Select(self), task, ring, user_data, view))
    }

    /// Whether it is about a message of a socket.
    fn is_message(&self) -> bool {
        matches!(self.opcode, IORING_OP_RECV | IORING_OP_RECVMSG | IORING_OP_SEND)
    }

    /// Whether it is not to wait.
    fn gives_up(&self) -> bool {
        self.is_message() && self.flags & MSG_DONTWAIT != 0
    }

    fn ready(&self) -> u32 {
        if self.opcode == IORING_OP_SEND { HAS_ROOM } else { HAS_SOME }
    }

    /// Whether a file is none for this: it would never have anything, and be waited for.
    fn check(&self, open: &OpenFile) -> Result<(), Errno> {
        match self.opcode {
            _ if self.is_message() => sockets::socket_of(open.file().as_ref()).map(|_| ()).ok_or(Errno::ENOTSOCK),
            _ if !open.readable() => Err(Errno::EBADF),
            // What is always ready would come without end.
            IORING_OP_READ_MULTISHOT if open.seekable() => Err(Errno::EBADFD),
            _ => Ok(()),
        }
    }

    async fn asked(&self, task: &Task<'_>) -> Result<Asked, Errno> {
        let at = self.addr as usize;
        match self.opcode {
            IORING_OP_RECVMSG => {
                let (message, len) = Message::get(task, at, self.multishot).await?;
                Ok(Asked { len, message: Some(message) })
            }
            IORING_OP_READV => Ok(Asked { len: received::length(task, at).await?, message: None }),
            _ => Ok(Asked { len: self.len, message: None }),
        }
    }

    /// To its end.
    pub(super) async fn serve(&self, task: &Task<'_>, ring: &Ring, user_data: u64) -> Done {
        let begun = match self.asked(task).await {
            Ok(asked) => task.file(self.fd).and_then(|open| self.check(&open).map(|()| (asked, open))),
            Err(errno) => Err(errno),
        };
        let (mut asked, open) = match begun {
            Ok(begun) => begun,
            Err(errno) => return Done::failed(errno),
        };
        // Where nothing can come, an attempt says so.
        let mut tries = !self.waits_first;
        loop {
            if task.interrupted() {
                return Done::failed(Errno::EINTR);
            }
            let turn = Turn { task, ring, open: &open, asked: &asked, tries: mem::take(&mut tries) };
            let once = self.next(&turn).await;
            let (done, is_end) = match once {
                Ok(once) => once,
                Err(errno) => return Done::failed(errno),
            };
            let goes_on = self.multishot || self.bundle && self.opcode == IORING_OP_SEND;
            if is_end || !goes_on {
                return done;
            }
            // As on Linux, only of the first.
            asked.len = 0;
            let more = Cqe { user_data, res: done.result, flags: done.flags | IORING_CQE_F_MORE };
            if !ring.post_more(more) {
                return done;
            }
            if exec::should_yield() {
                exec::yield_now().await;
            }
        }
    }

    /// With one buffer or several: a bundle is apart, so that the others do not carry its size.
    async fn next(&self, turn: &Turn<'_, '_>) -> Result<(Done, bool), Errno> {
        if !self.bundle {
            return self.once(turn).await;
        }
        let once = self.bundle_once(turn);
        let _charge = turn.task.caller().account.charge(size_of_val(&once))?;
        Box::pin(once).await
    }

    /// Waits until there is something, and takes it, or until there is room. Whether that was the end.
    async fn once(&self, turn: &Turn<'_, '_>) -> Result<(Done, bool), Errno> {
        let &Turn { task, ring, open, asked, .. } = turn;
        let mut waits = self.waits_at_first(turn);
        loop {
            self.come_to_choose(task, ring, open, waits).await?;
            let selected = task.wait_for(ring.groups.select(self.group), None).await?;
            let room = match asked.len {
                0 => selected.given.len,
                len => len.min(selected.given.len),
            };
            let piece = Piece { addr: selected.given.addr as usize, len: (room as usize).min(MOST) };
            match self.attempt(task, open, asked, piece).await {
                Err(Errno::EAGAIN) if !self.gives_up() => waits = true,
                Err(errno) => return Err(errno),
                // An end that is received needs no buffer; one that is read has one, as on Linux.
                Ok(Took { len: 0, .. }) if !self.uses_a_buffer_for_nothing() => {
                    return Ok((Done::with(0).with_more(self.opcode, open), true));
                }
                Ok(took) => {
                    let (flags, len) = self.used(task, open, selected, piece, took.len).await;
                    let is_short = len < piece.len || took.is_cut;
                    let fails = is_short && (!self.is_message() || self.flags & MSG_WAITALL != 0);
                    let done = Done { result: len as i32, fails, flags };
                    return Ok((done.with_more(self.opcode, open), took.is_end));
                }
            }
        }
    }

    /// Whether there is nothing yet that an attempt could do, and it may wait for that.
    fn waits_at_first(&self, turn: &Turn<'_, '_>) -> bool {
        let is_ready = || turn.open.seekable() || turn.open.file().events() & self.ready() != 0;
        !turn.tries && !self.gives_up() && !is_ready()
    }

    /// There has to be something to choose from, and if it `waits`, something to do with that first.
    async fn come_to_choose(
        &self,
        task: &Task<'_>,
        ring: &Ring,
        open: &Arc<OpenFile>,
        waits: bool,
    ) -> Result<(), Errno> {
        if !ring.groups.has_some(self.group) {
            return Err(Errno::ENOBUFS);
        }
        if waits { self.wait(task, open).await } else { Ok(()) }
    }

    async fn wait(&self, task: &Task<'_>, open: &Arc<OpenFile>) -> Result<(), Errno> {
        let ready = open.file().wait(task.caller(), Want::Events(self.ready()));
        task.wait_for(fair(ready), None).await
    }

    fn uses_a_buffer_for_nothing(&self) -> bool {
        matches!(self.opcode, IORING_OP_READ | IORING_OP_READV | IORING_OP_SEND)
    }

    /// Whether it is to take all that was asked for.
    fn goes_on(&self, open: &OpenFile) -> bool {
        let is_stream = || sockets::socket_of(open.file().as_ref()).is_some_and(|socket| socket.is_stream());
        self.is_message() && self.flags & MSG_WAITALL != 0 && self.flags & MSG_PEEK == 0 && is_stream()
    }

    /// There are so many bytes in a buffer: what its completion says of it, and how many there are in the end.
    async fn used(
        &self,
        task: &Task<'_>,
        open: &Arc<OpenFile>,
        selected: Selected<'_>,
        piece: Piece,
        len: usize,
    ) -> (u32, usize) {
        match (self.goes_on(open), selected.is_incremental) {
            (false, _) => (selected.keep(len), len),
            (true, false) => {
                let flags = selected.keep(len);
                (flags, self.fill(task, open, piece, len).await)
            }
            // What is left of it is others' when that is certain.
            (true, true) => {
                let len = self.fill(task, open, piece, len).await;
                (selected.keep(len), len)
            }
        }
    }

    /// Receives the rest into the buffer, or sends the rest of it. It is the program's from the first bytes on; how much was moved at the end, the error or the
    /// cancellation.
    async fn fill(&self, task: &Task<'_>, open: &Arc<OpenFile>, piece: Piece, mut len: usize) -> usize {
        while len < piece.len && !task.interrupted() {
            let rest = Piece { addr: piece.addr + len, len: piece.len - len };
            match self.move_bytes(task, rest).await {
                Err(Errno::EAGAIN) if !self.gives_up() => {
                    if self.wait(task, open).await.is_err() {
                        break;
                    }
                }
                Err(_) | Ok(0) => break,
                Ok(more) => len += more,
            }
        }
        len
    }

    /// Takes what is there, or sends what there is room for; `EAGAIN` if that is nothing.
    async fn attempt(&self, task: &Task<'_>, open: &Arc<OpenFile>, asked: &Asked, piece: Piece) -> Result<Took, Errno> {
        match &asked.message {
            Some(message) => message.receive(task, open, self.flags, piece).await,
            None if self.is_message() => self.move_bytes(task, piece).await.map(Took::bytes),
            None => self.read(task, open, piece).await.map(Took::bytes),
        }
    }

    /// Receives or sends.
    async fn move_bytes(&self, task: &Task<'_>, piece: Piece) -> Result<usize, Errno> {
        let (fd, flags) = (self.fd as usize, (self.flags | MSG_DONTWAIT) as usize);
        let Piece { addr, len } = piece;
        if self.opcode == IORING_OP_SEND {
            let (quiet, to) = (flags | MSG_NOSIGNAL as usize, (self.offset as usize, self.to_len as usize));
            return messages::sendto(task, &Args([fd, addr, len, quiet, to.0, to.1])).await;
        }
        messages::recvfrom(task, &Args([fd, addr, len, flags, 0, 0])).await
    }

    async fn read(&self, task: &Task<'_>, open: &OpenFile, piece: Piece) -> Result<usize, Errno> {
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
