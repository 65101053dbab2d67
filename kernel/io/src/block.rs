//! Block devices: asynchronous transfers of whole pages.
//!
//! The unit is a page of 4 KiB, numbered from the start of the device. A request owns the frames it reads
//! into or writes from; a driver keeps them until the hardware has returned them, so dropping a request's future is
//! always safe. Requests of one caller may be in flight together and complete in any order; [`BlockDevice::flush`]
//! covers those that have completed.

use crate::file::BoxFuture;
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use hal::frame::Frame;

/// A device of pages.
pub trait BlockDevice: Send + Sync {
    /// Size in pages; a part of a page at the end is not reachable.
    fn pages(&self) -> u64;

    /// Whether writes fail with `EROFS`.
    fn read_only(&self) -> bool {
        false
    }

    /// Most pages of one request.
    fn max_pages(&self) -> usize {
        64
    }

    /// Fills `frames` from `page` on.
    ///
    /// # Errors
    /// `EIO`; `EINVAL` beyond the end. The frames then hold anything.
    fn read(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>>;

    /// Writes `frames` from `page` on.
    ///
    /// # Errors
    /// `EIO`, `EROFS`, `EINVAL`. Any of the pages may have been written.
    fn write(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>>;

    /// Makes completed writes durable.
    ///
    /// # Errors
    /// `EIO`.
    fn flush(&self) -> BoxFuture<'_, Result<(), Errno>>;
}

/// A run of pages of a device, as a device: a partition, or the device without its last odd page.
pub struct Slice {
    device: Arc<dyn BlockDevice>,
    first: u64,
    pages: u64,
}

impl Slice {
    /// Pages `first .. first + pages` of `device`; `None` if they are not all there.
    pub fn new(device: Arc<dyn BlockDevice>, first: u64, pages: u64) -> Option<Slice> {
        (first.checked_add(pages)? <= device.pages()).then_some(Slice { device, first, pages })
    }

    fn place(&self, page: u64, count: usize) -> Result<u64, Errno> {
        let end = page.checked_add(count as u64).ok_or(Errno::EINVAL)?;
        if end <= self.pages { Ok(self.first + page) } else { Err(Errno::EINVAL) }
    }
}

impl BlockDevice for Slice {
    fn pages(&self) -> u64 {
        self.pages
    }

    fn read_only(&self) -> bool {
        self.device.read_only()
    }

    fn max_pages(&self) -> usize {
        self.device.max_pages()
    }

    fn read(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>> {
        match self.place(page, frames.len()) {
            Ok(page) => self.device.read(page, frames),
            Err(errno) => Box::pin(core::future::ready(Err(errno))),
        }
    }

    fn write(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>> {
        match self.place(page, frames.len()) {
            Ok(page) => self.device.write(page, frames),
            Err(errno) => Box::pin(core::future::ready(Err(errno))),
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), Errno>> {
        self.device.flush()
    }
}
