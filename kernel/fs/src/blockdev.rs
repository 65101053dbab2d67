//! A block device as a file (note 0007).
//!
//! It has a cache of its own, apart from those of the files on it: what a mounted file system has in memory is not seen here, and what was
//! fetched here stays as it was. The cache goes with the last descriptor, when what is dirty in it has been written. While the device is mounted
//! nobody else may write to it (`EBUSY`), as on a Linux that was built without `BLK_DEV_WRITE_MOUNTED`.

use crate::{
    batch::Batch,
    cache::{self, Pages, Store},
    jobs::Jobs,
};
use abi::{
    errno::Errno,
    fs::{O_ACCMODE, O_RDONLY},
    ioctl as i,
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering},
};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};
use io::{
    block::{Answer, BlockDevice, Direction, Part, Parts, Placed, SECTOR, Transfer},
    caller::Caller,
    file::{Attempt, BoxFuture, DirectIo, File, Want},
    open::APPEND,
};
use mem::{AddressSpace, Sink, Source};

/// A device that can be opened.
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    jobs: Arc<Jobs>,
    is_mounted: bool,
    medium: SpinLock<Weak<Medium>>,
}

impl Disk {
    /// The disk `device`, and the coroutine that carries out what its cache wants.
    pub fn new(device: Arc<dyn BlockDevice>, is_mounted: bool) -> (Disk, BoxFuture<'static, ()>) {
        let jobs = Jobs::new();
        let medium = SpinLock::new(rank::INODE + 1, Weak::new());
        (Disk { device, jobs: jobs.clone(), is_mounted, medium }, Box::pin(jobs.run()))
    }

    /// Opens it; the flags are those of `openat`.
    ///
    /// # Errors
    /// `EBUSY` for writing while it is mounted.
    pub fn open(&self, flags: u32) -> Result<Arc<dyn File>, Errno> {
        if self.is_mounted && flags & O_ACCMODE != O_RDONLY {
            return Err(Errno::EBUSY);
        }
        let mut medium = self.medium.lock();
        if let Some(medium) = medium.upgrade() {
            return Ok(Arc::new(Opened::new(medium)));
        }
        let size = self.device.sectors() * SECTOR as u64;
        let (device, jobs) = (self.device.clone(), self.jobs.clone());
        let new = Arc::new(Medium { device, jobs, pages: Pages::new(size), is_noted: AtomicBool::new(false) });
        *medium = Arc::downgrade(&new);
        drop(medium);
        cache::register(&(new.clone() as Arc<dyn Store>));
        Ok(Arc::new(Opened::new(new)))
    }
}

/// The device and its cache, as long as somebody has it open.
struct Medium {
    device: Arc<dyn BlockDevice>,
    jobs: Arc<Jobs>,
    pages: Pages,
    /// A write-back is on its way.
    is_noted: AtomicBool,
}

impl Medium {
    /// Moves whole pages; what lies behind the end of the device are zeros.
    fn pages(&self, direction: Direction, index: u64, frames: &[Frame]) -> Answer {
        let offset = index * PAGE_SIZE as u64;
        let mut parts: Parts = frames.iter().map(Part::page).collect();
        let there = self.pages.size().saturating_sub(offset);
        if there < (frames.len() * PAGE_SIZE) as u64 {
            parts.iter().for_each(Part::clear);
            cache::clip(&mut parts, there as usize);
        }
        self.transfer(direction, offset, parts)
    }
}

impl Placed for Medium {
    fn leave(&self) {
        Store::pages(self).leave_places();
    }
}

impl Store for Medium {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn backed(&self) -> bool {
        true
    }

    fn fetch(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        self.pages(Direction::Read, index, &frames)
    }

    fn store(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        self.pages(Direction::Write, index, &frames)
    }

    fn transfer(&self, direction: Direction, offset: u64, parts: Parts) -> Answer {
        let mut sector = offset / SECTOR as u64;
        if parts.len() <= self.device.max_parts() {
            return self.device.submit(direction, sector, parts);
        }
        let mut batch = Batch::default();
        for part in parts {
            let sectors = (part.len() / SECTOR) as u64;
            batch.add(sector, part, self.device.max_parts());
            sector += sectors;
        }
        batch.submit(&self.device, direction)
    }

    fn start(&self, job: BoxFuture<'static, ()>) {
        self.jobs.start(job);
    }

    fn dirtied(self: Arc<Self>) {
        // Relaxed: the exchange alone decides who starts it.
        if self.pages.count().1 == 0 || self.is_noted.swap(true, Ordering::Relaxed) {
            return;
        }
        let medium = self.clone();
        self.jobs.start(Box::pin(async move {
            crate::clock::pause(crate::clock::WRITE_BACK).await;
            // Before the look at what is dirty: what becomes so behind it is noted anew.
            medium.is_noted.store(false, Ordering::Relaxed);
            let store: Arc<dyn Store> = medium;
            cache::kick(&store).await;
        }));
    }
}

/// An open device.
struct Opened {
    medium: Arc<Medium>,
    store: Arc<dyn Store>,
}

impl Opened {
    fn new(medium: Arc<Medium>) -> Opened {
        Opened { store: medium.clone(), medium }
    }

    fn bytes(&self) -> u64 {
        self.medium.pages.size()
    }

    /// # Errors
    /// Of a write at `offset`: `EPERM` if nobody can write, `ENOSPC` behind the end.
    fn check_write(&self, offset: u64) -> Result<(), Errno> {
        match () {
            () if self.medium.device.read_only() => Err(Errno::EPERM),
            () if offset == APPEND || offset >= self.bytes() => Err(Errno::ENOSPC),
            () => Ok(()),
        }
    }
}

impl File for Opened {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        cache::read_now(&self.medium.pages, true, offset, dst)
    }

    fn write_now(&self, _caller: &Caller, offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        if src.remaining() > 0 {
            self.check_write(offset)?;
        }
        cache::write_now(&self.store, offset, src, self.bytes())
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        cache::wait(&self.store, want, self.events())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some(self.bytes())
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Errno>> {
        Box::pin(async {
            cache::flush(&self.store).await?;
            self.medium.device.flush().await
        })
    }

    fn direct(&self) -> Option<&dyn DirectIo> {
        Some(self)
    }

    fn ioctl<'a>(
        &'a self,
        caller: &'a Caller,
        space: &'a AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        Box::pin(async move {
            match command {
                i::BLKGETSIZE64 => space.put(argument, &self.bytes()).await?,
                i::BLKGETSIZE => space.put(argument, &(self.bytes() / SECTOR as u64)).await?,
                i::BLKSSZGET | i::BLKPBSZGET => space.put(argument, &(SECTOR as u32)).await?,
                i::BLKBSZGET => space.put(argument, &(PAGE_SIZE as u32)).await?,
                i::BLKROGET => space.put(argument, &u32::from(self.medium.device.read_only())).await?,
                i::BLKFLSBUF if caller.credentials.uid != 0 => return Err(Errno::EACCES),
                i::BLKFLSBUF => {
                    cache::flush(&self.store).await?;
                    self.medium.pages.drop_clean(&(0..u64::MAX));
                }
                _ => return Err(Errno::ENOTTY),
            }
            Ok(0)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DirectIo for Opened {
    fn size(&self) -> u64 {
        self.bytes()
    }

    fn read(&self, offset: u64, parts: Parts) -> Transfer {
        cache::read_direct(&self.store, offset, parts)
    }

    fn write(&self, _caller: &Caller, offset: u64, mut parts: Parts) -> Transfer {
        if let Err(errno) = self.check_write(offset) {
            return Transfer::Other(Box::pin(core::future::ready(Err(errno))));
        }
        let left = usize::try_from(self.bytes() - offset).unwrap_or(usize::MAX);
        let wanted = cache::total(&parts).min(left);
        cache::clip(&mut parts, wanted);
        cache::write_direct(self.store.clone(), offset, parts, self.bytes())
    }
}
