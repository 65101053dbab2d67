//! What can be moved at once.

use super::{
    super::{buffers::Buffer, operation::Done, submission::MOVED_AT_ONCE},
    Shape, Transfer, Tried,
};
use crate::{
    context::Task,
    transfer::{self, At, Moved},
};
use abi::{errno::Errno, fs::PIPE_BUF};
use alloc::sync::Arc;
use io::{file::IoError, open::OpenFile};

impl Transfer {
    /// Does what can be done at once.
    #[inline(always)]
    pub(in super::super) fn look(&self, task: &Task<'_>, open: &Arc<OpenFile>, buffer: Option<&Buffer>) -> Tried {
        let attempt = match buffer {
            None => self.attempt(task, open),
            Some(buffer) => self.attempt_in_buffer(task, open, buffer),
        };
        match attempt {
            Ok(Some(Moved { len, is_all: true })) => Tried::Done(self.ended(open, len)),
            Ok(Some(Moved { len, .. })) => Tried::Partly(len as u32),
            Ok(None) => Tried::NotYet,
            Err(IoError::Fault(fault)) => Tried::Faults(fault),
            Err(IoError::Errno(Errno::EINTR)) => Tried::Partly(0),
            Err(IoError::Errno(errno)) => {
                if self.shape == Shape::Write {
                    transfer::write_failed(task, open, errno);
                }
                Tried::Done(Done::failed(errno))
            }
        }
    }

    /// What can be moved at once; nothing where a part would be a problem, or flags (`RWF_*`) are to be looked at.
    #[inline(always)]
    fn attempt(&self, task: &Task<'_>, open: &OpenFile) -> Result<Option<Moved>, IoError> {
        let (at, piece) = (self.at(open)?, self.piece());
        match self.shape {
            _ if self.flags != 0 => Ok(None),
            Shape::Read | Shape::Receive => {
                transfer::at_once(open, at, piece, |at, piece| transfer::read_now(task, open, at, piece))
            }
            Shape::Write if !open.seekable() && piece.len > PIPE_BUF => Ok(None),
            Shape::SendNow | Shape::SendAllNow => self.send_now(task, open),
            Shape::Write | Shape::Send => {
                transfer::at_once(open, at, piece, |at, piece| transfer::write_now(task, open, at, piece))
            }
            _ => Ok(None),
        }
    }

    /// As much as there is room for, up to what goes in one poll. Where memory is missing the rest is another's, who finds out what it is.
    #[inline(never)]
    fn send_now(&self, task: &Task<'_>, open: &OpenFile) -> Result<Option<Moved>, IoError> {
        let (piece, mut len) = (self.piece(), 0);
        loop {
            match transfer::write_now(task, open, At::Position, piece.behind(len)) {
                Ok(Some(more)) if more > 0 && len + more < piece.len.min(MOVED_AT_ONCE) => len += more,
                Ok(Some(more)) => return Ok(Some(Moved { len: len + more, is_all: true })),
                Ok(None) if len > 0 => return Ok(Some(Moved { len, is_all: true })),
                Err(_) if len > 0 => return Ok(Some(Moved { len, is_all: false })),
                nothing => return nothing.map(|_| None),
            }
        }
    }

    #[inline(never)]
    fn attempt_in_buffer(&self, task: &Task<'_>, open: &OpenFile, buffer: &Buffer) -> Result<Option<Moved>, IoError> {
        let (at, piece) = (self.at(open)?, self.piece());
        match self.shape {
            _ if self.flags != 0 => Ok(None),
            Shape::Read => {
                let read = |at, piece| transfer::read_into(task, open, at, &mut buffer.sink(piece));
                transfer::at_once(open, at, piece, read)
            }
            Shape::Write if open.seekable() || piece.len <= PIPE_BUF => {
                let write = |at, piece| transfer::write_from(task, open, at, &mut buffer.source(piece));
                transfer::at_once(open, at, piece, write)
            }
            _ => Ok(None),
        }
    }
}
