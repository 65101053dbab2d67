//! What waits, as a call does.

use super::{
    super::{operation::Done, waits::boxed},
    Shape, Transfer,
};
use crate::{
    context::Task,
    files, messages,
    sockets::Socket,
    transfer::{self, At, How, Piece},
};
use abi::{
    errno::Errno,
    fs::{RWF_HIPRI, RWF_NOWAIT},
    net::{MSG_DONTWAIT, MSG_NOSIGNAL},
};
use alloc::sync::Arc;
use io::open::OpenFile;

impl Transfer {
    /// Checks the flags `RWF_*`; whether it fails rather than wait.
    fn check_flags(&self, open: &OpenFile) -> Result<bool, Errno> {
        if self.flags == 0 {
            return Ok(false);
        }
        let writes = matches!(self.shape, Shape::Write | Shape::WriteList);
        transfer::check_flags(open, writes, self.flags)?;
        match self.flags {
            // Only a ring that polls its devices asks for that, as on Linux.
            flags if flags & RWF_HIPRI != 0 => Err(Errno::EINVAL),
            // A call is told that the file cannot do it; an entry, as on Linux, that it would wait.
            flags if writes && transfer::is_cached_write_without_wait(open, flags) => Err(Errno::EAGAIN),
            flags => Ok(flags & RWF_NOWAIT != 0),
        }
    }

    pub(in super::super) async fn wait(&self, task: &Task<'_>, open: &Arc<OpenFile>) -> Done {
        let done = self.done as usize;
        let (at, how) = match self.check_flags(open).and_then(|gives_up| Ok((self.at(open)?, gives_up))) {
            Ok((at, gives_up)) => (at.plus(done), How { gives_up, quiet: done > 0, tried: false }),
            Err(errno) => return Done::failed(errno),
        };
        let piece = [self.piece().behind(done)];
        let moved = match self.shape {
            Shape::Read | Shape::Receive => transfer::read(task, open, at, &piece, how).await,
            Shape::Write if self.flags == 0 && !open.is_synced() => transfer::write(task, open, at, &piece, how).await,
            Shape::Write => return boxed(task, self.wait_out(task, open, at, piece, how)).await,
            Shape::Send | Shape::SendNow | Shape::SendAllNow => return boxed(task, self.wait_send(task, open)).await,
            Shape::ReadList | Shape::WriteList => return boxed(task, self.wait_list(task, open, at, how)).await,
        };
        match moved {
            Ok(more) => self.ended(open, done + more),
            Err(_) if done > 0 => self.moved(done),
            Err(errno) => Done::failed(errno),
        }
    }

    /// A write with flags, or one that ends on the medium.
    async fn wait_out(&self, task: &Task<'_>, open: &OpenFile, at: At, piece: [Piece; 1], how: How) -> Done {
        let moved = transfer::write_out(task, open, at, &piece, how, self.flags).await;
        moved.map_or_else(Done::failed, |len| self.moved(self.done as usize + len))
    }

    async fn wait_send(&self, task: &Task<'_>, open: &Arc<OpenFile>) -> Done {
        let flags = MSG_NOSIGNAL | if self.shape.gives_up() { MSG_DONTWAIT } else { 0 };
        let done = self.done as usize;
        match messages::send(task, &Socket(open.clone()), &[self.piece().behind(done)], None, flags, None).await {
            Ok(more) => self.moved(done + more),
            Err(_) if done > 0 => self.moved(done),
            Err(errno) => Done::failed(errno),
        }
    }

    async fn wait_list(&self, task: &Task<'_>, open: &Arc<OpenFile>, at: At, how: How) -> Done {
        let list = match transfer::pieces(task, self.addr, self.len as usize).await {
            Ok(list) => list,
            Err(errno) => return Done::failed(errno),
        };
        let moved = match self.shape {
            Shape::ReadList => files::read_list(task, open, at, &list, how).await,
            _ => files::write_list(task, open, at, &list, how, self.flags).await,
        };
        let wanted = transfer::total(&list);
        moved.map_or_else(Done::failed, |len| Done { result: len as i32, fails: len < wanted, flags: 0 })
    }
}
