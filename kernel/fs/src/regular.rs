//! Regular files over the page cache, for every file system that has one.

use crate::cache::{self, Store};
use abi::errno::Errno;
use alloc::{boxed::Box, string::String, sync::Arc};
use core::any::Any;
use hal::frame::Frame;
use io::{
    block::{Parts, Transfer},
    caller::Caller,
    file::{Attempt, BoxFuture, DirectIo, File, Want},
    inode::{Inode, InodeId},
};
use mem::{Backing, Sink, Source};

/// An open regular file: an inode, and the store behind it (the same object seen from its other side).
pub struct Regular {
    store: Arc<dyn Store>,
    inode: Arc<dyn Inode>,
    backed: bool,
}

impl Regular {
    /// Opens `object`.
    pub fn open<T: Store + Inode>(object: Arc<T>) -> Arc<dyn File> {
        let backed = object.backed();
        Arc::new(Regular { store: object.clone(), inode: object, backed })
    }
}

impl File for Regular {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        cache::read_now(self.store.pages(), self.backed, offset, dst)
    }

    fn write_now(&self, caller: &Caller, offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        cache::write_now(&self.store, offset, src, caller.file_limit)
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        cache::wait(&self.store, want, self.events())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn direct(&self) -> Option<&dyn DirectIo> {
        // A file that lives in its pages has no medium: `O_DIRECT` means nothing to it, as on Linux.
        if self.backed { Some(self) } else { None }
    }

    fn backing(&self, path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(Arc::new(Mapped { store: self.store.clone(), path: path.clone(), inode: self.inode.clone() }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DirectIo for Regular {
    fn size(&self) -> u64 {
        self.store.pages().size()
    }

    fn read(&self, offset: u64, parts: Parts) -> Transfer {
        cache::read_direct(&self.store, offset, parts)
    }

    fn write(&self, caller: &Caller, offset: u64, parts: Parts) -> Transfer {
        cache::write_direct(self.store.clone(), offset, parts, caller.file_limit)
    }
}

/// A file as the memory layer sees it.
struct Mapped {
    store: Arc<dyn Store>,
    path: Arc<[u8]>,
    inode: Arc<dyn Inode>,
}

impl Backing for Mapped {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        cache::frame_now(&self.store, index)
    }

    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(async move {
            loop {
                if let Some(frame) = self.frame_now(index)? {
                    return Ok(frame);
                }
                cache::wait_read(&self.store, index.saturating_mul(hal::PAGE_SIZE as u64), 1).await?;
            }
        })
    }

    fn mark_dirty(&self, index: u64) {
        if self.store.pages().mark_mapped(index) {
            self.store.clone().dirtied();
        }
    }

    fn len_pages(&self) -> u64 {
        self.store.pages().size().div_ceil(hal::PAGE_SIZE as u64)
    }

    fn id(&self) -> u64 {
        self.store.pages().id()
    }

    fn name(&self) -> Option<String> {
        let mut name = String::from_utf8_lossy(&self.path).into_owned();
        if self.inode.metadata_now().is_some_and(|metadata| metadata.links == 0) {
            name.push_str(" (deleted)");
        }
        Some(name)
    }

    fn file(&self) -> Option<(u64, u64)> {
        let InodeId { dev, ino } = self.inode.id();
        Some((dev, ino))
    }
}
