//! ext4, by the library `rsext4`, behind one metadata coroutine (D18).
//!
//! ```text
//!   Node (inode) --closure--> queue --> metadata coroutine (a fiber: rsext4 --Device--> block layer)
//!   Node's Pages --fetch/store--> extents --> block layer                 (file data: never through rsext4)
//! ```
//!
//! * [`volume`] owns the library and the coroutine; a request is a closure that runs there, whole, in order.
//! * [`device`] is the block device that the library sees. It drops what the library would write into blocks of
//!   file data, whose only owner is the page cache.
//! * [`node`] is the inode: cached attributes, names, pages.
//! * [`data`] moves pages and finds their places.
//!
//! **Order of a write.** Room is reserved when a page becomes dirty (`ENOSPC` is told there). Write-back allocates
//! unwritten extents, writes the data, then marks the extents written: a crash in between shows zeros, never old content.

mod attributes;
mod data;
mod device;
mod node;
mod volume;

use crate::{cache, jobs::Jobs};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use exec::sync::{Mutex, WaitQueue};
use hal::sync::{SpinLock, rank};
use io::{
    block::BlockDevice,
    file::BoxFuture,
    inode::{Inode, Statistics},
};
use node::Node;
use volume::Queue;

/// Inodes that are kept although nobody uses them.
const RECENT: usize = 512;
/// The same while memory is scarce: with them goes what they remember.
const FEW: usize = 16;
/// Blocks that are never promised to file data, so that metadata can grow.
const METADATA_RESERVE: i64 = 64;

/// What all inodes of one mounted file system share.
pub(crate) struct Shared {
    dev: u64,
    device: Arc<dyn BlockDevice>,
    queue: Queue,
    jobs: Arc<Jobs>,
    nodes: SpinLock<BTreeMap<u32, Weak<Node>>>,
    recent: SpinLock<VecDeque<Arc<Node>>>,
    dirty: SpinLock<BTreeMap<u32, Arc<Node>>>,
    dirtied: WaitQueue,
    /// Blocks free on the medium, and promised to dirty pages.
    free: AtomicI64,
    reserved: AtomicI64,
    statistics: SpinLock<Statistics>,
    /// Inodes without a name whose room is not free yet.
    doomed: AtomicUsize,
    /// Held by who goes through the dirty files with a list of them.
    pass: Mutex<()>,
    closed: AtomicBool,
}

/// A mounted ext4 file system.
pub struct Ext4 {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

/// The coroutines that a mounted file system lives on: spawn them all before waiting for [`mount`]'s future.
pub struct Engine(pub Vec<BoxFuture<'static, ()>>);

/// Resolves when the file system is mounted, or cannot be.
pub type Mounting = BoxFuture<'static, Result<Arc<Ext4>, Errno>>;

/// Begins to mount the file system on `device`; the future completes while the engine runs.
///
/// # Errors
/// `ENOMEM` for the library's stack. The future: `EINVAL` if this is no ext4 or one that is not supported (block size other
/// than 4 KiB), `EUCLEAN` if it is damaged, `EIO`.
pub fn mount(device: Arc<dyn BlockDevice>) -> Result<(Engine, Mounting), Errno> {
    cache::offer();
    static NEXT_DEV: AtomicU64 = AtomicU64::new(0x800);
    let jobs = Jobs::new();
    let shared = Arc::new(Shared {
        dev: NEXT_DEV.fetch_add(1, Ordering::Relaxed),
        device,
        queue: Queue::new(),
        jobs: jobs.clone(),
        nodes: SpinLock::new(rank::FILE_SYSTEM, BTreeMap::new()),
        recent: SpinLock::new(rank::INODE, VecDeque::new()),
        dirty: SpinLock::new(rank::INODE + 1, BTreeMap::new()),
        dirtied: WaitQueue::new(),
        free: AtomicI64::new(0),
        reserved: AtomicI64::new(0),
        statistics: SpinLock::new(rank::FILE_SYSTEM + 1, Statistics::default()),
        doomed: AtomicUsize::new(0),
        pass: Mutex::new(()),
        closed: AtomicBool::new(false),
    });
    let metadata = volume::coroutine(&shared)?;
    let engine = Engine(alloc::vec![metadata, Box::pin(jobs.run()), Box::pin(write_back(shared.clone()))]);
    Ok((engine, Box::pin(open_root(shared))))
}

async fn open_root(shared: Arc<Shared>) -> Result<Arc<Ext4>, Errno> {
    let owner = shared.clone();
    let root = shared.queue.call(move |volume| owner.node_by_number(volume, volume::ROOT)).await?;
    Ok(Arc::new(Ext4 { shared, root }))
}

impl Ext4 {
    /// The root directory.
    pub fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    /// Writes everything to the medium.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`: what could not be written stays in memory.
    pub async fn sync(&self) -> Result<(), Errno> {
        self.shared.sync().await
    }

    /// Writes everything, marks the medium clean and stops the engine. Nothing works afterwards.
    ///
    /// # Errors
    /// As [`Ext4::sync`]; the file system is stopped all the same.
    pub async fn unmount(&self) -> Result<(), Errno> {
        let synced = self.shared.sync().await;
        self.shared.closed.store(true, Ordering::Release);
        self.shared.recent.lock().clear();
        let unmounted = self.shared.queue.call(|volume| volume.unmount()).await;
        self.shared.queue.close();
        let flushed = self.shared.device.flush().await;
        synced.and(unmounted).and(flushed)
    }
}

/// Writes dirty files back soon after they became dirty.
async fn write_back(shared: Arc<Shared>) {
    while !shared.closed.load(Ordering::Acquire) {
        let wake = || (shared.closed.load(Ordering::Acquire) || !shared.dirty.lock().is_empty()).then_some(());
        exec::sync::wait_until(&shared.dirtied, wake).await;
        crate::clock::pause(crate::clock::WRITE_BACK).await;
        let _pass = shared.pass.lock().await;
        shared.abandon_unlinked().await;
        for node in shared.dirty_nodes() {
            let store: Arc<dyn cache::Store> = node.clone();
            cache::kick(&store).await;
            // A time that did not get there now does with the next write-back, or with fsync, which tells of it.
            let _ = node.stamp().await;
            node.settle_dirty();
        }
    }
}

impl Shared {
    fn dirty_nodes(&self) -> Vec<Arc<Node>> {
        self.dirty.lock().values().cloned().collect()
    }

    /// Drops what was written to files that have neither name nor user: nobody can read it, and their room is wanted.
    async fn abandon_unlinked(&self) {
        for node in self.dirty_nodes() {
            node.abandon().await;
        }
    }

    /// Frees the room of files that have neither name nor user. Waits for those who only pass by: a write-back that has a
    /// list of files in hand, and transfers that were begun for somebody who is gone.
    async fn clear_remains(&self) -> Result<(), Errno> {
        // Acquire pairs with the Release in `volume::serve`: the caller looks at the room once more, and sees what was freed.
        if self.doomed.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let pass = self.pass.lock().await;
        self.jobs.settle().await;
        self.abandon_unlinked().await;
        drop(pass);
        // Inodes are reaped before any request, and the figures are published after each.
        self.queue.call(|_| Ok(())).await
    }

    async fn sync(self: &Arc<Self>) -> Result<(), Errno> {
        let _pass = self.pass.lock().await;
        let mut first = Ok(());
        self.abandon_unlinked().await;
        for node in self.dirty_nodes() {
            let store: Arc<dyn cache::Store> = node.clone();
            first = first.and(cache::flush(&store).await).and(node.stamp().await);
            node.settle_dirty();
        }
        first.and(self.queue.call(|volume| volume.sync()).await).and(self.device.flush().await)
    }

    /// Keeps `node` in memory for a while.
    fn touch(&self, node: &Arc<Node>) {
        let most = if hal::frame::is_scarce() { FEW } else { RECENT };
        let mut recent = self.recent.lock();
        // Two for one, until they are few.
        let dropped = [(); 2].map(|()| if recent.len() >= most { recent.pop_front() } else { None });
        recent.push_back(node.clone());
        drop(recent);
        drop(dropped);
    }

    /// Lets go of `node`, which has no name any more.
    fn forget(&self, number: u32) {
        let mut gone = Vec::new();
        let mut recent = self.recent.lock();
        let mut index = 0;
        while index < recent.len() {
            if recent[index].number() == number {
                gone.extend(recent.remove(index));
            } else {
                index += 1;
            }
        }
        drop(recent);
        drop(gone);
    }

    /// Promises `blocks` blocks to dirty pages, if there are so many.
    fn reserve(&self, blocks: usize) -> bool {
        let blocks = blocks as i64;
        let promised = self.reserved.fetch_add(blocks, Ordering::Relaxed) + blocks;
        let fits = !self.exceeds(promised);
        if !fits {
            self.reserved.fetch_sub(blocks, Ordering::Relaxed);
        }
        fits
    }

    /// Whether so many promised blocks are too many.
    fn exceeds(&self, promised: i64) -> bool {
        // Extent trees need about one block for 300 of data.
        promised + promised / 256 + METADATA_RESERVE > self.free.load(Ordering::Relaxed)
    }

    /// Whether not one block more can be promised.
    fn is_full(&self) -> bool {
        self.exceeds(self.reserved.load(Ordering::Relaxed) + 1)
    }

    /// Takes promises back. Pages that became dirty through a mapping were promised nothing, so it stops at zero.
    fn unreserve(&self, blocks: usize) {
        let less = |promised: i64| Some((promised - blocks as i64).max(0));
        let _ = self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests;
