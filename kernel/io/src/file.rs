//! What a descriptor refers to.
//!
//! Every operation that could wait comes as a pair. The `*_now` form never waits: it does what it can
//! at once, or answers `None`. Most kinds name the queue ([`File::queue`]) that is woken when another attempt may
//! succeed: the system-call layer enters it, tries once more, and sleeps in it, with no allocation. For the others
//! [`File::wait`] resolves when it is worth calling the `*_now` form again, and the layer loops
//! `now -> wait -> now`. A non-blocking descriptor stops at the first `None` with `EAGAIN`. So the common case
//! polls nothing, and blocking, non-blocking and multiplexed callers share one implementation.
//!
//! **Wake-up protocol.** Who waits first enters the object's wait queue, then looks (or tries), then sleeps; whoever
//! changes the condition does so before it wakes the queue. A wait may resolve spuriously; it must not miss a
//! change.

use crate::{
    block::{Parts, Transfer},
    caller::Caller,
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, future::Future, pin::Pin};
use exec::sync::{WaitQueue, wait_until};
use mem::{Backing, CopyFault, Sink, Source};

/// A boxed future, for operations that really wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why an immediate operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The caller gets this error number.
    Errno(Errno),
    /// A page of the caller's memory is not there yet: fault it in, then call again. Nothing was consumed.
    Fault(CopyFault),
}

impl From<Errno> for IoError {
    fn from(errno: Errno) -> Self {
        IoError::Errno(errno)
    }
}

impl From<CopyFault> for IoError {
    fn from(fault: CopyFault) -> Self {
        IoError::Fault(fault)
    }
}

/// Outcome of an immediate operation; `Ok(None)` means that it would have to wait.
pub type Attempt<T> = Result<Option<T>, IoError>;

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// `read_now` at this offset (ignored by streams) for up to this many bytes.
    Read {
        /// Byte offset in a seekable file.
        offset: u64,
        /// Bytes wanted.
        len: usize,
    },
    /// `write_now` at this offset for up to this many bytes.
    Write {
        /// Byte offset in a seekable file.
        offset: u64,
        /// Bytes to be written.
        len: usize,
    },
    /// One of these poll(2) events (`abi::poll::EPOLLIN` and so on, the same bits as `POLLIN`; errors and hang-up always count).
    Events(u32),
}

/// The poll events that `want` waits for; errors and hang-up always count.
#[must_use]
pub fn mask_of(want: Want) -> u32 {
    let events = match want {
        Want::Read { .. } => abi::poll::EPOLLIN,
        Want::Write { .. } => abi::poll::EPOLLOUT,
        Want::Events(events) => events,
    };
    events | abi::poll::EPOLLERR | abi::poll::EPOLLHUP
}

/// Transfers between a medium and memory without a copy in between (`O_DIRECT`). They go on until the medium is done, if their future is polled;
/// dropped before, what they were about may be another's while the device still works.
pub trait DirectIo: Send + Sync {
    /// Bytes of the object.
    fn size(&self) -> u64;

    /// Reads into the parts what lies at `offset`, a sector's; answers how much of it is there.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`.
    fn read(&self, offset: u64, parts: Parts) -> Transfer;

    /// Writes the parts at `offset`, a sector's ([`APPEND`](crate::open::APPEND): at the end).
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, `EFBIG`, `EPERM`, `ENOMEM`.
    fn write(&self, caller: &Caller, offset: u64, parts: Parts) -> Transfer;
}

/// Anything an open descriptor can refer to: a regular file, directory, pipe, terminal, socket, event.
///
/// Called from kernel coroutines only, never from interrupt handlers. Dropping the last reference
/// releases the object; dropping a future of `wait` cancels the wait.
pub trait File: Send + Sync + Any {
    /// Reads what is there at `offset` (streams ignore it) into `dst`; `Some(0)` is end of file.
    ///
    /// # Errors
    /// `EBADF`/`EINVAL` if the object cannot be read, or the object's own errors.
    fn read_now(&self, caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let _ = (caller, offset, dst);
        Err(Errno::EINVAL.into())
    }

    /// Writes as much of `src` as fits now.
    ///
    /// # Errors
    /// `EPIPE` (the system-call layer raises `SIGPIPE`), `ENOSPC`, `EFBIG`, ...
    fn write_now(&self, caller: &Caller, offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let _ = (caller, offset, src);
        Err(Errno::EINVAL.into())
    }

    /// The queue that is woken whenever the operation named by `want` may have become possible, or its events may hold
    /// that did not. `None`: the object never waits, or only its `wait` knows how to.
    fn queue(&self, want: Want) -> Option<&WaitQueue> {
        let _ = want;
        None
    }

    /// The queue of those who read, if it is the same as long as the object is there and reading is nothing but trying: what then waits in it needs
    /// nobody to wait for it.
    fn read_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// The queue that is woken whenever one of `events` may hold that did not, or the edges go on, once [`File::look`] has been called:
    /// for who watches the object as long as it likes. `None`: only `wait` and `wait_edge` know of changes.
    fn watched(&self, events: u32) -> Option<&WaitQueue> {
        self.queue(Want::Events(events))
    }

    /// The edges so far, and the events that hold for `caller`, found out in this order: what `poll`, epoll and rings go by.
    fn look(&self, caller: &Caller) -> (u64, u32) {
        let _ = caller;
        (self.edges(), self.events())
    }

    /// The events that held at times between two looks that found these edges, whether they hold still or not, as far as edges tell: for who is to hear of each change.
    fn passed(&self, since: u64, now: u64) -> u32 {
        let _ = (since, now);
        0
    }

    /// Whether a read would certainly have to wait: cheaper than an attempt. `false`: try.
    fn read_waits(&self) -> bool {
        false
    }

    /// When a wait for `want` that begins now ends for lack of patience (ns since boot): `SO_RCVTIMEO`, `SO_SNDTIMEO`.
    fn deadline(&self, want: Want) -> Option<u64> {
        let _ = want;
        None
    }

    /// Resolves when the operation named by `want` is worth trying again (see the module head).
    fn wait<'a>(&'a self, caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        let _ = caller;
        Box::pin(async move {
            if let Some(queue) = self.queue(want) {
                wait_until(queue, || (self.events() & mask_of(want) != 0).then_some(())).await;
            }
            Ok(())
        })
    }

    /// The poll(2) events that hold now. Files that never block are always readable and writable.
    fn events(&self) -> u32 {
        abi::poll::EPOLLIN | abi::poll::EPOLLOUT
    }

    /// Counts arrivals: of data, of room, of errors. Edge-triggered epoll reports once per change.
    fn edges(&self) -> u64 {
        0
    }

    /// Resolves when one of `events` holds and [`File::edges`] is no longer `since`: for objects that name no queue in
    /// [`File::watched`]. Unless they say otherwise, their edges are levels.
    fn wait_edge<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        let _ = since;
        self.wait(caller, Want::Events(events))
    }

    /// Resolves when it is worth looking for `events` again, after a look at the edges `since` that found none: for objects that name no
    /// queue. What held already, but not for who looked, need not wake it.
    fn wait_level<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        let _ = since;
        self.wait(caller, Want::Events(events))
    }

    /// Whether `O_ASYNC` is for it: it counts its edges, and can be watched.
    fn can_signal(&self) -> bool {
        false
    }

    /// Whether one write may come from several pieces of memory; else each is a write of its own.
    fn takes_pieces(&self) -> bool {
        false
    }

    /// A read that found too little, though there is something, waits no longer: whether the next one takes what there is.
    fn take_less(&self) -> bool {
        false
    }

    /// What opening this still has to wait for; `None` for nothing. Giving the wait up means to drop the file.
    fn opened(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    /// Whether offsets mean something (`lseek`, `pread`); streams answer `ESPIPE`. Always the same answer.
    fn seekable(&self) -> bool {
        false
    }

    /// The inode behind this file, if it has a name or attributes: `fstat`, `ftruncate`, `getdents64`, ...
    fn inode(&self) -> Option<Arc<dyn crate::inode::Inode>> {
        None
    }

    /// Bytes, if they are known: what `SEEK_END` counts from.
    fn size(&self) -> Option<u64> {
        Some(self.inode()?.metadata_now()?.size)
    }

    /// Writes what was written to the medium.
    ///
    /// # Errors
    /// `EINVAL` if it has none.
    fn sync(&self) -> BoxFuture<'_, Result<(), Errno>> {
        Box::pin(async { self.inode().ok_or(Errno::EINVAL)?.sync().await })
    }

    /// What `O_DIRECT` means for this, if anything.
    fn direct(&self) -> Option<&dyn DirectIo> {
        None
    }

    /// Device control.
    ///
    /// # Errors
    /// `ENOTTY` unless the object knows `command`.
    fn ioctl<'a>(
        &'a self,
        caller: &'a Caller,
        space: &'a mem::AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        let _ = (caller, space, command, argument);
        Box::pin(core::future::ready(Err(Errno::ENOTTY)))
    }

    /// Pages for `mmap`, if the object can be mapped; `path` is where it was opened.
    fn backing(&self, path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        let _ = path;
        None
    }

    /// The pages from an offset on, and where they begin in what has them.
    ///
    /// # Errors
    /// `ENODEV` if the object cannot be mapped, `EINVAL` if not from there on.
    fn backing_at(&self, path: &Arc<[u8]>, offset: u64) -> Result<(Arc<dyn Backing>, u64), Errno> {
        as_a_whole(self.backing(path), offset)
    }

    /// For callers that need the concrete type (sockets, epoll).
    fn as_any(&self) -> &dyn Any;
}

/// What is mapped from an offset on of an object that is mapped as a whole, if it is.
///
/// # Errors
/// `ENODEV`.
pub fn as_a_whole(backing: Option<Arc<dyn Backing>>, offset: u64) -> Result<(Arc<dyn Backing>, u64), Errno> {
    backing.ok_or(Errno::ENODEV).map(|backing| (backing, offset))
}
