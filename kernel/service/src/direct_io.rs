//! Direct I/O (`O_DIRECT`): a device works on the program's own pages, which are pinned meanwhile.
//!
//! ```text
//!   pin the pages --> DirectIo::read, write --> Flight --ready--> so many bytes
//!                                                  +--dropped--> goes on by itself, in a coroutine of its own
//! ```
//!
//! A device cannot be told to stop. So a [`Flight`] that nobody waits for any more goes on to its end: until then its pages are paid for, and the
//! places on the medium are nobody else's. Pages of a file that others see are no place for a device to write to, as nothing would write
//! them back: what is read there goes by way of pages of the kernel's.

use crate::{
    context::Task,
    ring::Buffer,
    transfer::{self, At, Piece},
};
use abi::errno::Errno;
use alloc::vec::Vec;
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use hal::{PAGE_SIZE, frame::Frame, user::Access};
use io::{
    block::{self, Direction, Part, Parts, SECTOR},
    file::DirectIo,
    open::{APPEND, OpenFile},
};
use mem::{Charge, CopyFault, Room, Sink, Source, Unpinned};

/// Pages of one request; a longer transfer is several, one after the other.
const PAGES: usize = 256;
/// What a page of a request takes beside itself, in the kernel.
const EACH: usize = 2 * size_of::<Part>() + 256;

/// A transfer that a device carries out.
pub(crate) struct Flight {
    work: Option<block::Transfer>,
    charge: Option<Charge>,
}

impl Future for Flight {
    type Output = Result<usize, Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Ready(Err(Errno::EIO)) };
        let done = Pin::new(work).poll(context);
        if done.is_ready() {
            (self.work, self.charge) = (None, None);
        }
        done
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let charge = self.charge.take();
        let rest = async move {
            // Whom would it tell?
            let _ = work.await;
            drop(charge);
        };
        match exec::try_spawn(exec::Priority::new(8), "direct I/O", rest) {
            Ok(handle) => handle.detach(),
            // Without memory for a coroutine: better its pages are lost than that a device writes into another's.
            Err(rest) => core::mem::forget(rest),
        }
    }
}

/// Who asks, which way the bytes go, and where.
struct Transfer<'c, 't> {
    task: &'c Task<'t>,
    open: &'c OpenFile,
    direction: Direction,
}

/// A transfer of one piece at an offset. Each step but the last may fail, and answers in registers: beside an error what is large would be moved in
/// halves of a word.
pub(crate) struct Single<'c, 't> {
    transfer: Transfer<'c, 't>,
    direct: &'c dyn DirectIo,
    offset: u64,
    parts: Parts,
}

impl<'c, 't> Single<'c, 't> {
    #[inline(always)]
    pub(crate) fn new(
        task: &'c Task<'t>,
        (open, direct): (&'c OpenFile, &'c dyn DirectIo),
        direction: Direction,
        offset: u64,
    ) -> Self {
        Self { transfer: Transfer { task, open, direction }, direct, offset, parts: Parts::new() }
    }

    /// Pins the memory, in a registered buffer or not, if that is all that it takes. `false`: the call does the rest.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` for what is not aligned.
    #[inline(always)]
    pub(crate) fn prepare(&mut self, piece: Piece, buffer: Option<&Buffer>) -> Result<bool, Errno> {
        let Self { transfer, direct, offset, parts } = self;
        if piece.len == 0 || piece.len > (PAGES - 1) * PAGE_SIZE || transfer.is_behind(*direct, *offset) {
            return Ok(false);
        }
        transfer.check(*offset, &[piece])?;
        let most = piece.len.div_ceil(PAGE_SIZE) + 1;
        if most > parts.inline_size() {
            parts.make_exact_room(most)?;
        }
        Ok(transfer.pin(piece, buffer, parts).is_ok())
    }

    /// Pays for what is pinned.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[inline(always)]
    pub(crate) fn charge(&self) -> Result<Charge, Errno> {
        self.transfer.charge(&self.parts)
    }

    /// Behind both. Inlined, as what it answers is large.
    #[inline(always)]
    pub(crate) fn begin(self, charge: Charge) -> Flight {
        self.transfer.start(self.direct, self.offset, self.parts, charge)
    }
}

/// Moves a list of pieces; writes at the end where it is to append.
///
/// # Errors
/// `EBADF`, `ESPIPE`, `EINVAL` for what is not aligned, `EFAULT`, `ENOMEM`, the file's own.
pub(crate) async fn run(
    task: &Task<'_>,
    open: &OpenFile,
    direction: Direction,
    (at, append): (At, bool),
    list: &[Piece],
) -> Result<usize, Errno> {
    let transfer = Transfer { task, open, direction };
    let held = match at {
        At::Position => Some(open.hold().await),
        At::Offset(_) => None,
    };
    let offset = match (at, &held) {
        _ if append => APPEND,
        (At::Offset(offset), _) => offset,
        (_, held) => held.as_ref().map_or(0, |held| held.position()),
    };
    let done = transfer.run(offset, list).await?;
    if let Some(held) = held {
        let end = if append { open.file().size().unwrap_or(0) } else { offset + done as u64 };
        held.set_position(end);
    }
    Ok(done)
}

impl Transfer<'_, '_> {
    /// As on Linux, nothing is read behind the end, however it is asked for.
    fn is_behind(&self, direct: &dyn DirectIo, offset: u64) -> bool {
        self.direction == Direction::Read && offset >= direct.size()
    }

    /// # Errors
    /// `EBADF`; `EINVAL` unless memory, offset and lengths are whole sectors.
    fn check(&self, offset: u64, list: &[Piece]) -> Result<(), Errno> {
        let allowed = match self.direction {
            Direction::Read => self.open.readable(),
            Direction::Write => self.open.writable(),
        };
        if !allowed {
            return Err(Errno::EBADF);
        }
        let offset = if offset == APPEND { self.open.file().size().unwrap_or(0) as usize } else { offset as usize };
        let bits = list.iter().fold(offset, |bits, piece| bits | piece.addr | piece.len);
        if bits.is_multiple_of(SECTOR) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    async fn run(&self, offset: u64, list: &[Piece]) -> Result<usize, Errno> {
        let direct = self.open.file().direct().ok_or(Errno::EINVAL)?;
        let wanted = transfer::total(list);
        if wanted == 0 || offset != APPEND && self.is_behind(direct, offset) {
            return self.check(0, &[]).map(|()| 0);
        }
        self.check(offset, list)?;
        let mut done = 0;
        while done < wanted {
            let at = if offset == APPEND { APPEND } else { offset.saturating_add(done as u64) };
            let (len, moved) = match self.some(direct, at, list, done).await {
                Ok(some) => some,
                Err(errno) => return transfer::cut(done, errno),
            };
            done += moved;
            if moved < len || self.task.is_request() && self.task.interrupted() {
                break;
            }
        }
        Ok(done)
    }

    /// Moves what one request takes of the list behind the first `done` bytes: how much that is, and how much was moved.
    async fn some(
        &self,
        direct: &dyn DirectIo,
        offset: u64,
        list: &[Piece],
        done: usize,
    ) -> Result<(usize, usize), Errno> {
        let mut parts = Parts::new();
        let mut bounced = Vec::new();
        let mut len = 0;
        while let Some(rest) = transfer::rest(list, done + len).filter(|_| parts.len() < PAGES) {
            // Up to a page's end: a request may be that short, and a page of the kernel's serves for it.
            let piece = Piece { addr: rest.addr, len: rest.len.min(PAGE_SIZE - rest.addr % PAGE_SIZE) };
            while let Err(unpinned) = self.pin(piece, self.task.buffer(), &mut parts) {
                match unpinned {
                    Unpinned::Missing(fault) => self.task.resolve(fault).await?,
                    Unpinned::Object => {
                        let frame = Frame::zeroed().ok_or(Errno::ENOMEM)?;
                        parts.extend(block::sectors(frame.pin(), 0, piece.len));
                        match self.direction {
                            Direction::Read => bounced.push((len, piece, frame)),
                            Direction::Write => self.fill(&frame, piece).await?,
                        }
                        break;
                    }
                }
            }
            len += piece.len;
        }
        let charge = self.charge(&parts)?;
        let moved = self.start(direct, offset, parts, charge).await?;
        for (start, piece, frame) in bounced {
            let piece = Piece { len: piece.len.min(moved.saturating_sub(start)), ..piece };
            let mut sink = Sink::user(self.task.space(), piece.addr, piece.len);
            while let Err(fault) = sink.put_frame(&frame, 0, piece.len) {
                self.task.resolve(fault).await?;
            }
        }
        Ok((len, moved))
    }

    /// Copies a piece that cannot be pinned.
    async fn fill(&self, frame: &Frame, piece: Piece) -> Result<(), Errno> {
        let mut source = Source::user(self.task.space(), piece.addr, piece.len);
        while let Err(fault) = source.take_into_frame(frame, 0, piece.len) {
            self.task.resolve(fault).await?;
        }
        Ok(())
    }

    /// Adds the pages of a piece, which is aligned; all or nothing.
    fn pin(&self, piece: Piece, buffer: Option<&Buffer>, parts: &mut Parts) -> Result<(), Unpinned> {
        let add = |page, offset, len| {
            if let Some(part) = block::sectors(page, offset, len) {
                parts.push(part);
            }
        };
        let access = match self.direction {
            Direction::Read => Access::Write,
            Direction::Write => Access::Read,
        };
        match buffer {
            None => self.task.space().pin_now(piece.addr, piece.len, access, add),
            Some(buffer) => {
                let missing = |_| Unpinned::Missing(CopyFault { addr: mem::USER_END, access });
                buffer.pin_again(piece, add).map_err(missing)
            }
        }
    }

    fn charge(&self, parts: &[Part]) -> Result<Charge, Errno> {
        self.task.caller().account.charge(parts.len() * (PAGE_SIZE + EACH))
    }

    /// Inlined: what it answers is large to be moved.
    #[inline(always)]
    fn start(&self, direct: &dyn DirectIo, offset: u64, parts: Parts, charge: Charge) -> Flight {
        let work = match self.direction {
            Direction::Read => direct.read(offset, parts),
            Direction::Write => direct.write(self.task.caller(), offset, parts),
        };
        Flight { work: Some(work), charge: Some(charge) }
    }
}
