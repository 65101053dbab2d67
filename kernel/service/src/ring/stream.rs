//! Reading what comes again and again, each time into a buffer that is chosen when there is something: the part that never waits. Who waits is a
//! [`retry`](super::retry), which stands in the file's queue while this looks: so that there is nothing any more has to be found out once.

use super::{
    Ring,
    operation::{Done, says_whether_more},
    request::CANCELLED,
};
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
    /// There is nothing, or nothing more, until the file changes.
    NotYet,
    /// There may be more, but others get their turn.
    More,
    /// Nothing was read: memory is missing.
    Faults(CopyFault),
    /// Nothing was read: others hold the last buffer.
    NoBuffer,
}

impl Stream {
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
                Ok(Some(0)) => return Looked::Done(Done::with(0).with_more(self.opcode, open)),
                Ok(Some(len)) => len,
                Ok(None) => return Looked::NotYet,
                Err(IoError::Fault(fault)) => return Looked::Faults(fault),
                Err(IoError::Errno(errno)) => return Looked::Done(Done::failed(errno)),
            };
            *moved += len;
            // Less than fits is all that there was, or a message, or memory was missing half-way.
            let was_all = (len < piece.len || says_whether_more(self.opcode)) && open.file().read_waits();
            let done = Done { result: len as i32, fails: false, flags: selected.keep(len) };
            let done = if was_all { done } else { done.with_more(self.opcode, open) };
            if !ring.post_more(Cqe { user_data, res: done.result, flags: done.flags | IORING_CQE_F_MORE }) {
                return Looked::Done(done);
            }
            if was_all {
                return Looked::NotYet;
            }
        }
        Looked::More
    }
}
