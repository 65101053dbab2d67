//! The open file description: what `dup` and `fork` share.
//!
//! It owns the position and the status flags; the object behind it is an `Arc<dyn File>`. A seekable
//! file's position is held by one reader or writer at a time for the length of one immediate call, as
//! in Linux: two processes that share a description never read the same bytes twice. Holding it is a
//! flag and not a spin lock, because a transfer may copy many pages.
//!
//! ```text
//! free --claim (read_now, write_now, seek)--> held --Drop of Held--> free, wakes who waits
//! ```

use crate::{
    caller::Caller,
    file::{Attempt, DirectIo, File, Want},
    lock::{self, Owner},
};
use abi::errno::Errno;
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{Account, Charge, Sink, Source, list};

/// Offset for [`File::write_now`] that means "at the end of the file, whatever it is then".
pub const APPEND: u64 = u64::MAX;

/// Status flags that `F_SETFL` can change.
const SETTABLE: u32 = abi::fs::O_APPEND | abi::fs::O_NONBLOCK | abi::fs::O_DIRECT;

/// Where `seek` counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    /// `SEEK_SET`.
    Start,
    /// `SEEK_CUR`.
    Current,
    /// `SEEK_END`.
    End,
}

/// An open file description.
pub struct OpenFile {
    file: Arc<dyn File>,
    /// What the object answered when it was opened: asked often, and never another.
    seekable: bool,
    flags: AtomicU32,
    position: AtomicU64,
    held: AtomicBool,
    released: WaitQueue,
    path: Arc<[u8]>,
    watchers: SpinLock<Watchers>,
    /// It has asked for locks, or somebody has by it.
    locks: AtomicBool,
    kept: SpinLock<Option<Arc<dyn Any + Send + Sync>>>,
    /// What pays for this and for the object.
    paid: Option<Charge>,
}

/// Bytes of an object that is made for one description. What is larger is charged where it is made.
const OBJECT: usize = 256;

/// A watcher, and what it costs.
type Watching = (Weak<dyn Watcher>, Charge);
/// Bytes of a watcher's place in the list, which may be a fourth full.
const PLACE: usize = 4 * size_of::<Watching>();

/// Those who watch a description, some of whom may be gone.
#[derive(Default)]
struct Watchers {
    list: Vec<Watching>,
    /// So many are about to be gone, or are.
    leaving: usize,
}

impl Watchers {
    /// Makes room for one more. Those who are gone leave when it is full: what that costs is paid by as many that came or went since.
    /// The old list, to be dropped without a lock.
    fn fit(&mut self) -> Result<Vec<Watching>, Errno> {
        if self.list.len() < self.list.capacity() { Ok(Vec::new()) } else { self.renew() }
    }

    /// Makes a list of those who are not gone, with room for one more at least. The old list, as above.
    fn renew(&mut self) -> Result<Vec<Watching>, Errno> {
        let alive = self.list.iter().filter(|(known, _)| known.strong_count() > 0).count();
        let mut list = list(2 * alive + 1)?;
        let mut old = core::mem::take(&mut self.list);
        // None comes to life again, so there are no more than were counted.
        list.extend(old.extract_if(.., |(known, _)| known.strong_count() > 0));
        (self.list, self.leaving) = (list, 0);
        Ok(old)
    }
}

/// Who wants to know that a description is closed: an epoll set that has it registered.
pub trait Watcher: Send + Sync {
    /// The last descriptor of the watched description is gone.
    fn closed(&self);
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if *self.locks.get_mut() {
            lock::release(self, Owner::description(self));
        }
        for (watcher, _charge) in core::mem::take(&mut self.watchers.get_mut().list) {
            if let Some(watcher) = watcher.upgrade() {
                watcher.closed();
            }
        }
    }
}

/// The position, claimed by one call.
#[must_use]
pub struct Held<'a>(&'a OpenFile);

impl Held<'_> {
    /// Where that is.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Moves it.
    pub fn set_position(&self, position: u64) {
        self.0.set_position(position);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of the next claim: it sees the position that was stored.
        self.0.held.store(false, Ordering::Release);
        self.0.released.wake_all();
    }
}

impl OpenFile {
    /// A description of `file`; `flags` are the `O_*` flags of `openat`, `path` what /proc shows.
    pub fn new(file: Arc<dyn File>, flags: u32, path: &[u8]) -> Arc<OpenFile> {
        let seekable = file.seekable();
        Arc::new(OpenFile {
            file,
            seekable,
            flags: AtomicU32::new(flags),
            position: AtomicU64::new(0),
            held: AtomicBool::new(false),
            released: WaitQueue::new(),
            path: path.into(),
            watchers: SpinLock::new(rank::OPEN_FILE, Watchers::default()),
            locks: AtomicBool::new(false),
            kept: SpinLock::new(rank::OPEN_FILE, None),
            paid: None,
        })
    }

    /// Has `account` pay for a description that nobody else has yet, its path and its object.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn pay_for(&mut self, account: &Arc<Account>) -> Result<(), Errno> {
        if self.paid.is_none() {
            self.paid = Some(account.charge(size_of::<Self>() + OBJECT + self.path.len())?);
        }
        Ok(())
    }

    /// The object behind it.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Whether offsets mean something; see [`File::seekable`].
    #[inline]
    pub fn seekable(&self) -> bool {
        self.seekable
    }

    /// Locks of its are to be looked for when it closes.
    pub(crate) fn has_locks(&self) {
        // Relaxed: read when nobody else is left.
        self.locks.store(true, Ordering::Relaxed);
    }

    /// Registers who is told when the description closes. It has so many bytes, which stay until its place here is given up: some time after its
    /// end. `caller` pays for both.
    ///
    /// # Errors
    /// `ENOSPC` if the caller cannot pay, `ENOMEM`.
    pub fn watch(&self, watcher: Weak<dyn Watcher>, bytes: usize, caller: &Caller) -> Result<(), Errno> {
        let charge = self.pay(caller, bytes + PLACE)?;
        let mut watchers = self.watchers.lock();
        let old = watchers.fit()?;
        watchers.list.push((watcher, charge));
        drop(watchers);
        drop(old);
        Ok(())
    }

    /// A watcher is about to be gone. Places of such, and with them what they cost, are given up when they are more than half.
    pub(crate) fn watcher_leaves(&self) {
        const FEW: usize = 2;
        let mut watchers = self.watchers.lock();
        watchers.leaving += 1;
        if 2 * watchers.leaving <= watchers.list.len() + FEW {
            return;
        }
        // Where there is no memory for that, the next tries again.
        let old = watchers.renew();
        drop(watchers);
        drop(old);
    }

    /// What a watcher costs, for `caller` to pay. If that is too much, places of those who are gone are given up first.
    ///
    /// # Errors
    /// `ENOSPC`: Linux's answer for the most that a user may watch.
    pub(crate) fn pay(&self, caller: &Caller, bytes: usize) -> Result<Charge, Errno> {
        if let Ok(charge) = caller.account.charge(bytes) {
            return Ok(charge);
        }
        // Where there is no memory for that, it is refused below.
        let old = self.watchers.lock().renew();
        drop(old);
        caller.account.charge(bytes).map_err(|_| Errno::ENOSPC)
    }

    /// Absolute path at the time of opening, or a label such as `pipe:[12]`.
    pub fn path(&self) -> &Arc<[u8]> {
        &self.path
    }

    /// Access mode and status flags, as `F_GETFL` answers.
    pub fn flags(&self) -> u32 {
        // Relaxed: the flags guard no other data.
        self.flags.load(Ordering::Relaxed)
    }

    /// `F_SETFL`: changes those flags that can change, ignores the others.
    pub fn set_flags(&self, flags: u32) {
        let keep = self.flags() & !SETTABLE;
        self.flags.store(keep | flags & SETTABLE, Ordering::Relaxed);
    }

    /// Notes whether it tells of what becomes possible by signals.
    pub fn set_async(&self, on: bool) {
        let others = self.flags() & !abi::fs::O_ASYNC;
        self.flags.store(others | if on { abi::fs::O_ASYNC } else { 0 }, Ordering::Relaxed);
    }

    /// What the layer above keeps with the description, if it does.
    pub fn kept<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.kept.lock().clone()?.downcast().ok()
    }

    /// Keeps something with the description, unless there is something of that kind already: what there is then.
    pub fn keep<T: Any + Send + Sync>(&self, new: T) -> Arc<T> {
        let new = Arc::new(new);
        let mut kept = self.kept.lock();
        let found = kept.clone().and_then(|kept| kept.downcast().ok());
        let old = if found.is_none() { kept.replace(new.clone()) } else { None };
        drop(kept);
        drop(old);
        found.unwrap_or(new)
    }

    /// Whether `O_NONBLOCK` is set.
    pub fn nonblocking(&self) -> bool {
        self.flags() & abi::fs::O_NONBLOCK != 0
    }

    /// Whether the access mode allows reading.
    pub fn readable(&self) -> bool {
        let flags = self.flags();
        flags & abi::fs::O_ACCMODE != abi::fs::O_WRONLY && flags & abi::fs::O_PATH == 0
    }

    /// Whether the access mode allows writing.
    pub fn writable(&self) -> bool {
        let flags = self.flags();
        flags & abi::fs::O_ACCMODE != abi::fs::O_RDONLY && flags & abi::fs::O_PATH == 0
    }

    /// `read`: at the position, which moves by what was read.
    ///
    /// # Errors
    /// `EBADF` unless opened for reading; the object's own.
    pub fn read_now(&self, caller: &Caller, dst: &mut Sink<'_>) -> Attempt<usize> {
        if !self.readable() {
            return Err(Errno::EBADF.into());
        }
        if !self.seekable {
            return self.file.read_now(caller, 0, dst);
        }
        let Some(_held) = self.claim() else { return Ok(None) };
        let position = self.position.load(Ordering::Relaxed);
        let done = self.file.read_now(caller, position, dst)?;
        self.position.store(position + done.unwrap_or(0) as u64, Ordering::Relaxed);
        Ok(done)
    }

    /// `write`: at the position, or at the end with `O_APPEND`; the position moves behind what was written.
    ///
    /// # Errors
    /// `EBADF` unless opened for writing; the object's own.
    pub fn write_now(&self, caller: &Caller, src: &mut Source<'_>) -> Attempt<usize> {
        self.write_now_as(caller, self.appends(), src)
    }

    /// The same, at the end or not as `append` says.
    ///
    /// # Errors
    /// As [`write_now`](Self::write_now).
    #[inline]
    pub fn write_now_as(&self, caller: &Caller, append: bool, src: &mut Source<'_>) -> Attempt<usize> {
        if !self.writable() {
            return Err(Errno::EBADF.into());
        }
        if !self.seekable {
            return self.file.write_now(caller, 0, src);
        }
        let Some(_held) = self.claim() else { return Ok(None) };
        let position = self.write_offset(append);
        let Some(done) = self.file.write_now(caller, position, src)? else { return Ok(None) };
        let end = match position {
            APPEND => self.file.size().unwrap_or(0),
            position => position + done as u64,
        };
        self.position.store(end, Ordering::Relaxed);
        Ok(Some(done))
    }

    /// Waits until `read_now` is worth trying again, for up to `len` bytes.
    ///
    /// # Errors
    /// The object's own.
    pub async fn wait_readable(&self, caller: &Caller, len: usize) -> Result<(), Errno> {
        self.wait_free().await;
        let offset = self.position.load(Ordering::Relaxed);
        self.file.wait(caller, Want::Read { offset, len }).await
    }

    /// Waits until `write_now_as` is worth trying again, for up to `len` bytes.
    ///
    /// # Errors
    /// The object's own.
    pub async fn wait_writable(&self, caller: &Caller, append: bool, len: usize) -> Result<(), Errno> {
        self.wait_free().await;
        self.file.wait(caller, Want::Write { offset: self.write_offset(append), len }).await
    }

    /// `lseek`; answers the new position.
    ///
    /// # Errors
    /// `ESPIPE` for streams, `EINVAL` for a position below zero, `EAGAIN` if the size is not in memory (call `metadata` first).
    pub fn seek_now(&self, from: SeekFrom, offset: i64) -> Attempt<u64> {
        if !self.seekable {
            return Err(Errno::ESPIPE.into());
        }
        let Some(_held) = self.claim() else { return Ok(None) };
        let base = match from {
            SeekFrom::Start => 0,
            SeekFrom::Current => self.position.load(Ordering::Relaxed),
            SeekFrom::End => self.file.size().ok_or(Errno::EAGAIN)?,
        };
        let target = base.checked_add_signed(offset).filter(|at| *at <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        self.position.store(target, Ordering::Relaxed);
        Ok(Some(target))
    }

    /// The position, for /proc and directory reading.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Sets the position: `getdents64` keeps its cookie there.
    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Resolves when nobody holds the position.
    pub async fn wait_free(&self) {
        exec::sync::wait_until(&self.released, || (!self.held.load(Ordering::Acquire)).then_some(())).await;
    }

    /// The position, for a transfer that waits for a device.
    pub async fn hold(&self) -> Held<'_> {
        exec::sync::wait_until(&self.released, || self.claim()).await
    }

    /// Whether what is read and written goes past the cache.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.direct().is_some()
    }

    /// What it reads and writes past the cache by, if it is to.
    #[inline]
    pub fn direct(&self) -> Option<&dyn DirectIo> {
        if self.flags() & abi::fs::O_DIRECT != 0 { self.file.direct() } else { None }
    }

    /// Whether `O_APPEND` is set.
    #[inline]
    pub fn appends(&self) -> bool {
        self.flags() & abi::fs::O_APPEND != 0
    }

    /// Whether it has a medium that a write reaches some time after it (`fsync`). It means nothing to streams and to what has no content of its own, as on Linux.
    pub fn is_kept(&self) -> bool {
        use crate::inode::Kind;
        self.seekable && self.file.inode().is_some_and(|inode| matches!(inode.kind(), Kind::Regular | Kind::Block))
    }

    /// Whether what is written is to be on the medium before the call ends: `O_DSYNC`, which is part of `O_SYNC` and does not change.
    #[inline]
    pub fn is_synced(&self) -> bool {
        self.flags() & abi::fs::O_DSYNC != 0 && self.is_kept()
    }

    /// Whether a write takes longer than a look: it goes past the cache, or [to the medium](Self::is_synced).
    #[inline]
    pub fn writes_late(&self) -> bool {
        self.flags() & (abi::fs::O_DIRECT | abi::fs::O_DSYNC) != 0 && (self.is_direct() || self.is_synced())
    }

    fn write_offset(&self, append: bool) -> u64 {
        if append { APPEND } else { self.position.load(Ordering::Relaxed) }
    }

    fn claim(&self) -> Option<Held<'_>> {
        // Acquire pairs with the Release in `Held::drop`.
        self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Held(self))
    }
}
