//! Named pipes: what opening an inode of kind [`Kind::Fifo`] gives.
//!
//! Whoever has the same inode open shares one pipe, which lives as long as somebody has. An end counts from the moment it
//! is opened; opening then waits for the other side to come ([`File::opened`]), unless it is for both directions or does
//! not block. Giving the wait up drops the end, and nothing is left of it.

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want},
    inode::{Inode, InodeId, Kind},
    pipe::{Pipe, ReadEnd, WriteEnd},
};
use abi::{
    errno::Errno,
    fs::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY},
    poll::{EPOLLIN, EPOLLOUT},
};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
};
use core::any::Any;
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{Sink, Source};

/// The pipes of the named pipes that are open.
static OPEN: SpinLock<BTreeMap<InodeId, Weak<Fifo>>> = SpinLock::new(rank::OPEN_FILE, BTreeMap::new());

/// What those who have one inode open share.
struct Fifo {
    id: InodeId,
    pipe: Pipe,
}

impl Fifo {
    fn of(id: InodeId, caller: &Caller) -> Arc<Fifo> {
        let fresh = Arc::new(Fifo { id, pipe: Pipe::new(&caller.account) });
        let mut open = OPEN.lock();
        if let Some(fifo) = open.get(&id).and_then(Weak::upgrade) {
            // The fresh one is dropped after the lock, and finds that the entry is not its own.
            drop(open);
            return fifo;
        }
        open.insert(id, Arc::downgrade(&fresh));
        fresh
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        // Somebody may have opened the inode again meanwhile: that entry is alive.
        if open.get(&self.id).is_some_and(|entry| entry.strong_count() == 0) {
            open.remove(&self.id);
        }
    }
}

/// A named pipe that is open, for one direction or both.
struct Ends {
    inode: Arc<dyn Inode>,
    read: Option<Arc<ReadEnd>>,
    write: Option<Arc<WriteEnd>>,
    /// Opening has to wait for the other side; for a writer, how many readers had come by then.
    waits: bool,
    readers_before: u64,
    /// Last: the ends leave the pipe before it may go.
    _fifo: Arc<Fifo>,
}

/// Opens a named pipe. `flags` are those of `openat`.
///
/// # Errors
/// `ENXIO` to write without blocking where nobody reads; `EINVAL` for an impossible access mode.
pub fn open(inode: &Arc<dyn Inode>, caller: &Caller, flags: u32) -> Result<Arc<dyn File>, Errno> {
    debug_assert_eq!(inode.kind(), Kind::Fifo);
    let fifo = Fifo::of(inode.id(), caller);
    let blocks = flags & O_NONBLOCK == 0;
    let (reads, writes) = match flags & O_ACCMODE {
        O_RDONLY => (true, false),
        O_WRONLY => (false, true),
        O_RDWR => (true, true),
        _ => return Err(Errno::EINVAL),
    };
    if writes && !reads && !blocks && !fifo.pipe.has_reader() {
        return Err(Errno::ENXIO);
    }
    let read = reads.then(|| fifo.pipe.reader());
    let write = writes.then(|| fifo.pipe.writer());
    let readers_before = write.as_ref().map_or(0, |end| end.readers_met());
    let waits = blocks && reads != writes;
    Ok(Arc::new(Ends { inode: inode.clone(), read, write, waits, readers_before, _fifo: fifo }))
}

/// The ends behind a file that is a named pipe.
pub(crate) fn ends(file: &dyn File) -> Option<(Option<&ReadEnd>, Option<&WriteEnd>)> {
    let ends: &Ends = file.as_any().downcast_ref()?;
    Some((ends.read.as_deref(), ends.write.as_deref()))
}

impl File for Ends {
    fn opened(&self) -> Option<BoxFuture<'_, ()>> {
        if !self.waits {
            return None;
        }
        Some(Box::pin(async move {
            match (&self.read, &self.write) {
                (Some(end), _) => end.met_writer().await,
                (None, Some(end)) => end.met_reader(self.readers_before).await,
                (None, None) => {}
            }
        }))
    }

    fn read_now(&self, caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        self.read.as_ref().ok_or(Errno::EBADF)?.read_now(caller, offset, dst)
    }

    fn write_now(&self, caller: &Caller, offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        self.write.as_ref().ok_or(Errno::EBADF)?.write_now(caller, offset, src)
    }

    fn queue(&self, want: Want) -> Option<&WaitQueue> {
        // Who waits for both directions of both ends would need two queues: see `wait`.
        let both = EPOLLIN | EPOLLOUT;
        match (want, &self.read, &self.write) {
            (Want::Events(events), Some(_), Some(_)) if events & both == both => None,
            (Want::Events(events), Some(_), Some(write)) if events & EPOLLOUT != 0 => write.queue(want),
            (Want::Write { .. }, _, Some(write)) | (_, None, Some(write)) => write.queue(want),
            (_, Some(read), _) => read.queue(want),
            (_, None, None) => None,
        }
    }

    fn read_queue(&self) -> Option<&WaitQueue> {
        self.read.as_ref()?.read_queue()
    }

    fn read_waits(&self) -> bool {
        self.read.as_ref().is_some_and(|end| end.read_waits())
    }

    fn wait<'a>(&'a self, caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        match (&self.read, &self.write) {
            (Some(read), Some(write)) => Box::pin(either(read.wait(caller, want), write.wait(caller, want))),
            (Some(read), None) => read.wait(caller, want),
            (None, Some(write)) => write.wait(caller, want),
            (None, None) => Box::pin(core::future::ready(Ok(()))),
        }
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn events(&self) -> u32 {
        self.read.as_ref().map_or(0, |end| end.events()) | self.write.as_ref().map_or(0, |end| end.events())
    }

    fn edges(&self) -> u64 {
        let edges = |end: Option<u64>| end.unwrap_or(0);
        edges(self.read.as_ref().map(|end| end.edges())).wrapping_add(edges(self.write.as_ref().map(|end| end.edges())))
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn ioctl<'a>(
        &'a self,
        caller: &'a Caller,
        space: &'a mem::AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        match &self.read {
            Some(end) => end.ioctl(caller, space, command, argument),
            None => Box::pin(core::future::ready(Err(Errno::ENOTTY))),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The first of two waits.
async fn either(
    mut first: BoxFuture<'_, Result<(), Errno>>,
    mut second: BoxFuture<'_, Result<(), Errno>>,
) -> Result<(), Errno> {
    core::future::poll_fn(|context| match first.as_mut().poll(context) {
        core::task::Poll::Pending => second.as_mut().poll(context),
        ready => ready,
    })
    .await
}

#[cfg(test)]
mod tests;
