//! Reading what comes again and again, each time into a buffer that is chosen when there is something: the part that never waits. Who waits is a
//! [`retry`](super::retry).

use super::{Ring, operation::Done, request::CANCELLED};
use crate::{
    arguments::MOST,
    context::Task,
    transfer::{self, At, Piece},
};
use abi::io_uring::*;
use alloc::sync::Arc;
use io::{file::IoError, open::OpenFile};
use mem::CopyFault;

/// Reads in one poll.
const AT_ONCE: usize = 8;

/// Such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub opcode: u8,
    /// Of the buffers.
    pub group: u16,
}

/// What came of a look.
pub(super) enum Looked {
    /// That was all, and this is its last completion.
    Done(Done),
    /// There is nothing, until the file changes.
    NotYet,
    /// That was probably all: a message, or what there was. Or memory was missing half-way.
    Some,
    /// There may be more, but others get their turn.
    More,
    /// Nothing was read: memory is missing.
    Faults(CopyFault),
    /// Nothing was read: others hold the last buffer.
    NoBuffer,
}

impl Stream {
    /// So many bytes came.
    fn done(self, open: &OpenFile, len: usize, flags: u32) -> Done {
        Done { result: len as i32, fails: false, flags }.with_more(self.opcode, open)
    }

    /// Takes what is there, with a completion for each read but the last; adds to what was `moved`.
    pub(super) fn look(
        self,
        task: &Task<'_>,
        ring: &Ring,
        open: &Arc<OpenFile>,
        user_data: u64,
        moved: &mut usize,
    ) -> Looked {
        for _ in 0..AT_ONCE {
            if task.interrupted() {
                return Looked::Done(CANCELLED);
            }
            // Mostly there is something to put into one, as this was woken for it; if not, it goes back, and that there is none means nothing.
            let selected = match ring.groups.try_select(self.group) {
                Ok(Some(selected)) => selected,
                _ if open.file().read_waits() => return Looked::NotYet,
                Ok(None) => return Looked::NoBuffer,
                Err(errno) => return Looked::Done(Done::failed(errno)),
            };
            let given = selected.given;
            let piece = Piece { addr: given.addr as usize, len: (given.len as usize).min(MOST) };
            let len = match transfer::read_now(task, open, At::Position, piece) {
                Ok(Some(0)) => return Looked::Done(self.done(open, 0, 0)),
                Ok(Some(len)) => len,
                Ok(None) => return Looked::NotYet,
                Err(IoError::Fault(fault)) => return Looked::Faults(fault),
                Err(IoError::Errno(errno)) => return Looked::Done(Done::failed(errno)),
            };
            *moved += len;
            let done = self.done(open, len, selected.keep(len));
            if !ring.post_more(Cqe { user_data, res: done.result, flags: done.flags | IORING_CQE_F_MORE }) {
                return Looked::Done(done);
            }
            if len < piece.len {
                return Looked::Some;
            }
        }
        Looked::More
    }
}
