//! The metadata coroutine: it owns the library; requests are closures that run on its fiber, one after the other.

use super::{
    Shared,
    device::{Device, Shield},
};
use crate::jobs;
use abi::errno::Errno;
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use exec::sync::WaitQueue;
use fiber::{Fiber, Port};
use hal::PAGE_SIZE;
use hal::sync::{SpinLock, rank};
use io::{
    file::BoxFuture,
    inode::{Statistics, Timestamp},
};
use rsext4::{
    BlockIo, Clock, EntropySource, Ext4, Ext4Error, Ext4ErrorKind, Ext4Result, Ext4Timestamp, FileExtentState,
    FileExtentTarget, FileName, InodeNumber, MountOptions, MountServices, MountedServices, NoopObserver,
    PreallocationOptions, SectorId,
};

/// Number of the root directory.
pub(super) const ROOT: u32 = 2;
/// Stack of the library.
const STACK: usize = hal::stack::MAX_SIZE;
/// Requests that wait at most.
const QUEUE: usize = 64;
/// Blocks that one call of the library converts.
const CHUNK: u64 = 64;

type Request = Box<dyn for<'p> FnOnce(&mut Volume<'p>) + Send>;

struct Waiting {
    requests: VecDeque<Request>,
    /// Inodes to reap; not bounded by `QUEUE`, because a destructor cannot wait.
    reaps: Vec<u32>,
    /// Set when the coroutine is gone; all requests fail with it.
    closed: Option<Errno>,
}

/// Requests on their way to the coroutine.
pub(super) struct Queue {
    waiting: SpinLock<Waiting>,
    arrived: WaitQueue,
    left: WaitQueue,
}

enum Next {
    Call(Request),
    Reap(u32),
    Closed,
}

impl Queue {
    pub(super) fn new() -> Queue {
        let waiting = Waiting { requests: VecDeque::new(), reaps: Vec::new(), closed: None };
        Queue { waiting: SpinLock::new(rank::FILE_SYSTEM, waiting), arrived: WaitQueue::new(), left: WaitQueue::new() }
    }

    /// Runs `work` on the metadata coroutine. Once queued it runs to its end, whether or not the future is kept.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, Errno>
    where
        T: Send + 'static,
        F: for<'p> FnOnce(&mut Volume<'p>) -> Result<T, Errno> + Send + 'static,
    {
        let (promise, answer) = jobs::promise();
        let mut request: Option<Request> = Some(Box::new(move |volume: &mut Volume<'_>| {
            let value = work(volume);
            promise.keep(value);
        }));
        exec::sync::wait_until(&self.left, || self.push(&mut request)).await?;
        answer.await
    }

    fn push(&self, request: &mut Option<Request>) -> Option<Result<(), Errno>> {
        let mut waiting = self.waiting.lock();
        if let Some(errno) = waiting.closed {
            return Some(Err(errno));
        }
        if waiting.requests.len() >= QUEUE {
            return None;
        }
        waiting.requests.extend(request.take());
        drop(waiting);
        self.arrived.wake_all();
        Some(Ok(()))
    }

    /// Frees the inode `number`, which has no name and no user, some time soon.
    pub(super) fn reap(&self, number: u32) {
        let mut waiting = self.waiting.lock();
        if waiting.closed.is_none() {
            waiting.reaps.push(number);
        }
        drop(waiting);
        self.arrived.wake_all();
    }

    /// Ends the coroutine after what is queued.
    pub(super) fn close(&self) {
        self.shut(Errno::EIO);
    }

    fn shut(&self, errno: Errno) {
        let dropped = {
            let mut waiting = self.waiting.lock();
            waiting.closed = Some(errno);
            core::mem::take(&mut waiting.requests)
        };
        drop(dropped);
        self.arrived.wake_all();
        self.left.wake_all();
    }

    fn next(&self) -> Option<Next> {
        let mut waiting = self.waiting.lock();
        if let Some(number) = waiting.reaps.pop() {
            return Some(Next::Reap(number));
        }
        if let Some(request) = waiting.requests.pop_front() {
            drop(waiting);
            self.left.wake_all();
            return Some(Next::Call(request));
        }
        waiting.closed.map(|_| Next::Closed)
    }
}

/// The future that the metadata coroutine is.
pub(super) fn coroutine(shared: &Arc<Shared>) -> Result<BoxFuture<'static, ()>, Errno> {
    let shared = shared.clone();
    let fiber = Fiber::spawn(STACK, move |port| match Volume::mount(&shared, port) {
        Ok(volume) => serve(&shared, port, volume),
        Err(errno) => shared.queue.shut(errno),
    });
    Ok(Box::pin(fiber.map_err(|_| Errno::ENOMEM)?))
}

fn serve(shared: &Shared, port: &Port<'_>, mut volume: Volume<'_>) {
    let mut reaped = 0;
    loop {
        volume.publish(shared);
        // Not before the room is published: who finds none, and nothing doomed, gives up. Release pairs with the Acquire in
        // `clear_remains`.
        shared.doomed.fetch_sub(core::mem::take(&mut reaped), Ordering::Release);
        let next = port.wait(exec::sync::wait_until(&shared.queue.arrived, || shared.queue.next()));
        match next {
            Ok(Next::Call(request)) => request(&mut volume),
            Ok(Next::Reap(number)) => {
                volume.reap(number);
                reaped = 1;
            }
            Ok(Next::Closed) | Err(_) => break,
        }
    }
    shared.queue.shut(Errno::EIO);
}

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        let now = Timestamp::now();
        Ok(Ext4Timestamp::new(now.seconds, now.nanos))
    }
}

type Services = MountedServices<Entropy, NoopObserver, ()>;

/// The library wants random numbers for identifiers of no secret; time and address will do.
pub(super) struct Entropy(u64);

impl EntropySource for Entropy {
    fn fill_bytes(&mut self, output: &mut [u8]) -> Ext4Result<()> {
        for byte in output {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(hal::time::now() | 1);
            *byte = (self.0 >> 56) as u8;
        }
        Ok(())
    }
}

/// One run of file blocks on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) logical: u64,
    pub(super) physical: u64,
    pub(super) len: u64,
    pub(super) written: bool,
}

type Library<'p> = Ext4<Device<'p>, Services>;

/// The mounted library.
pub(super) struct Volume<'p> {
    pub(super) library: Library<'p>,
    shield: Shield,
    /// What a call writes that converts: kept, for when memory is short there may be no such piece of it.
    zeros: Box<[u8]>,
}

/// The errno that a library error becomes.
pub(super) fn errno_of(error: Ext4Error) -> Errno {
    use Ext4ErrorKind as Kind;
    match error.kind() {
        Kind::Corrupted | Kind::ChecksumMismatch => Errno::EUCLEAN,
        Kind::UnsupportedFeature | Kind::BadSuperblock | Kind::InvalidMagic | Kind::InvalidInput => Errno::EINVAL,
        Kind::UnsupportedCapability | Kind::Unsupported => Errno::EOPNOTSUPP,
        Kind::ReadOnly | Kind::JournalAborted => Errno::EROFS,
        Kind::NoSpace => Errno::ENOSPC,
        Kind::NoMemory => Errno::ENOMEM,
        Kind::QuotaExceeded => Errno::EDQUOT,
        Kind::TooManyLinks => Errno::EMLINK,
        Kind::PermissionDenied => Errno::EPERM,
        Kind::NotFound => Errno::ENOENT,
        Kind::AlreadyExists => Errno::EEXIST,
        Kind::NotDirectory => Errno::ENOTDIR,
        Kind::IsDirectory => Errno::EISDIR,
        Kind::NotEmpty => Errno::ENOTEMPTY,
        Kind::Busy => Errno::EBUSY,
        Kind::Overflow | Kind::FileTooLarge => Errno::EFBIG,
        _ => Errno::EIO,
    }
}

pub(super) fn number_of(raw: u32) -> Result<InodeNumber, Errno> {
    InodeNumber::new(raw).map_err(errno_of)
}

impl<'p> Volume<'p> {
    fn mount(shared: &Shared, port: &'p Port<'p>) -> Result<Volume<'p>, Errno> {
        let shield = Shield::default();
        let mut device = Device { port, device: shared.device.clone(), shield: shield.clone() };
        check_superblock(&mut device)?;
        let options = MountOptions { readonly: shared.device.read_only(), ..MountOptions::read_write() };
        let services = MountServices::new(WallClock, Entropy(hal::time::now()), NoopObserver);
        let library = Ext4::mount(device, services, options).map_err(errno_of)?;
        let mut zeros = mem::list(CHUNK as usize * PAGE_SIZE)?;
        zeros.resize(CHUNK as usize * PAGE_SIZE, 0);
        Ok(Volume { library, shield, zeros: zeros.into_boxed_slice() })
    }

    /// Tells the other side how much room there is.
    fn publish(&self, shared: &Shared) {
        let stats = self.library.statfs();
        shared.free.store(i64::try_from(stats.free_blocks).unwrap_or(i64::MAX), Ordering::Relaxed);
        *shared.statistics.lock() = Statistics {
            magic: abi::fs::EXT4_SUPER_MAGIC as u64,
            block_size: stats.block_size,
            blocks: stats.total_blocks,
            blocks_free: stats.free_blocks,
            files: u64::from(stats.total_inodes),
            files_free: u64::from(stats.free_inodes),
        };
    }

    pub(super) fn sync(&mut self) -> Result<(), Errno> {
        self.with_journal_room(Ext4::sync)
    }

    pub(super) fn unmount(&mut self) -> Result<(), Errno> {
        self.with_journal_room(Ext4::unmount)
    }

    /// Does what edits blocks outside the library's transactions. The first such edit of a new transaction, and one that the running transaction
    /// has no place for, want room in the journal while the edit is in hand; if there is none, the library would have to empty a part of the
    /// journal, refuses that because of that very edit, and has changed nothing (`Busy`, 0.9.2). It makes the room where a transaction begins, before any
    /// edit: so one begins, which changes nothing either, and the work is done once more.
    fn with_journal_room(&mut self, work: fn(&mut Library<'p>) -> Ext4Result<()>) -> Result<(), Errno> {
        match work(&mut self.library) {
            Err(error) if error.kind() == Ext4ErrorKind::Busy => {
                self.begin_transaction()?;
                work(&mut self.library).map_err(errno_of)
            }
            result => result.map_err(errno_of),
        }
    }

    /// Begins a transaction and abandons it: a hard link with the name `.` is refused, but within its transaction.
    fn begin_transaction(&mut self) -> Result<(), Errno> {
        let root = number_of(ROOT)?;
        let name = FileName::new(b".").map_err(errno_of)?;
        match self.library.hard_link(root, root, name).err() {
            Some(error) if error.kind() != Ext4ErrorKind::InvalidInput => Err(errno_of(error)),
            _ => Ok(()),
        }
    }

    fn reap(&mut self, number: u32) {
        // An inode that cannot be freed now stays on the orphan list, where the next mount finds it.
        if let Ok(number) = InodeNumber::new(number) {
            let _ = self.library.reap_unlinked_inode(number);
        }
    }

    /// The places of a range of blocks, as far as it lies within the size on the medium.
    pub(super) fn runs(&mut self, number: u32, first: u64, count: u64) -> Result<Vec<Run>, Errno> {
        let block = PAGE_SIZE as u64;
        let start = first.checked_mul(block).ok_or(Errno::EFBIG)?;
        let bytes = count.saturating_mul(block).clamp(1, u64::MAX / 2);
        let map = self
            .library
            .inode_extents(number_of(number)?, start, bytes, FileExtentTarget::Data, usize::MAX)
            .map_err(errno_of)?;
        let pages = self.pages();
        map.extents
            .iter()
            .map(|extent| {
                let written = match extent.state {
                    FileExtentState::Initialized => true,
                    FileExtentState::Unwritten => false,
                    FileExtentState::Inline => return Err(Errno::EOPNOTSUPP),
                };
                let (physical, len) = (extent.physical_start / block, extent.length / block);
                // What the medium says is not believed: the place must be on it.
                if physical == 0 || physical.checked_add(len).is_none_or(|end| end > pages) {
                    return Err(Errno::EUCLEAN);
                }
                Ok(Run { logical: extent.logical_start / block, physical, len, written })
            })
            .collect()
    }

    fn pages(&self) -> u64 {
        self.library.statfs().total_blocks
    }

    /// Gives all blocks of a range a place and sets the size; what is new is unwritten. Answers the places.
    pub(super) fn allocate(&mut self, number: u32, size: u64, first: u64, count: u64) -> Result<Vec<Run>, Errno> {
        self.grow(number, size)?;
        let inode = number_of(number)?;
        let block = PAGE_SIZE as u64;
        self.library
            .preallocate_inode(inode, first * block, count * block, PreallocationOptions::KEEP_SIZE)
            .map_err(errno_of)?;
        self.runs(number, first, count)
    }

    /// Sets a size that is larger than the one on the medium.
    pub(super) fn grow(&mut self, number: u32, size: u64) -> Result<(), Errno> {
        let inode = number_of(number)?;
        let old = self.library.inode(inode).map_err(errno_of)?.size;
        if old >= size {
            return Ok(());
        }
        self.resize(number, old, size)
    }

    /// Sets the size. The block that the end lies in is the page cache's: the library's zeroing is dropped.
    pub(super) fn truncate(&mut self, number: u32, size: u64) -> Result<(), Errno> {
        let old = self.library.inode(number_of(number)?).map_err(errno_of)?.size;
        self.resize(number, old.min(size), size)
    }

    fn resize(&mut self, number: u32, tail: u64, size: u64) -> Result<(), Errno> {
        if !tail.is_multiple_of(PAGE_SIZE as u64) {
            let block = tail / PAGE_SIZE as u64;
            for run in self.runs(number, block, 1)? {
                self.shield.add(run.physical..run.physical + run.len);
            }
        }
        let result = self.library.truncate_inode(number_of(number)?, size).map_err(errno_of);
        self.shield.clear();
        result
    }

    /// Marks a range written whose data is on the medium.
    pub(super) fn convert(&mut self, number: u32, first: u64, count: u64) -> Result<(), Errno> {
        let inode = number_of(number)?;
        let size = self.library.inode(inode).map_err(errno_of)?.size;
        let mut result = Ok(());
        for run in self.runs(number, first, count)?.iter().filter(|run| !run.written) {
            let mut from = run.logical.max(first);
            let end = (run.logical + run.len).min(first + count);
            while from < end && result.is_ok() {
                let blocks = (end - from).min(CHUNK);
                let place = run.physical + (from - run.logical);
                let at = from * PAGE_SIZE as u64;
                let len = (blocks * PAGE_SIZE as u64).min(size.saturating_sub(at)) as usize;
                self.shield.add(place..place + blocks);
                result = self.library.write_inode(inode, at, &self.zeros[..len]).map_err(errno_of);
                self.shield.clear();
                from += blocks;
            }
        }
        result
    }
}

/// Refuses what the library is known not to bear, before it sees it.
fn check_superblock(device: &mut Device<'_>) -> Result<(), Errno> {
    let mut page = alloc::vec![0; PAGE_SIZE];
    device.read(&mut page, SectorId::new(0), 1).map_err(errno_of)?;
    let field = |offset: usize, len: usize| {
        page[1024 + offset..1024 + offset + len].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let blocks = field(0x04, 4) | field(0x150, 4) << 32;
    let (magic, log_block, per_group, inodes_per_group) =
        (field(0x38, 2), field(0x18, 4), field(0x20, 4), field(0x28, 4));
    if magic != 0xef53 || log_block != 2 {
        return Err(Errno::EINVAL);
    }
    let sane = blocks > 0
        && blocks <= device.device.pages()
        && (1..=8 * PAGE_SIZE as u64).contains(&per_group)
        && (1..=8 * PAGE_SIZE as u64).contains(&inodes_per_group)
        && field(0x14, 4) == 0
        && field(0x00, 4) <= blocks.div_ceil(per_group) * inodes_per_group;
    if sane { Ok(()) } else { Err(Errno::EUCLEAN) }
}
