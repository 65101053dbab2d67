//! The virtio disk as a device of pages.

use abi::errno::Errno;
use alloc::boxed::Box;
use alloc::vec::Vec;
use hal::frame::Frame;
use io::block::BlockDevice;
use io::file::BoxFuture;
use virtio::{Block, Buffer, Completion, Error, Transport};

/// Sectors of a page.
const SECTORS: u64 = (hal::PAGE_SIZE / virtio::SECTOR) as u64;

/// A disk that stays for as long as the machine runs.
pub struct Disk<T: Transport + 'static>(pub &'static Block<T>);

fn errno(error: Error) -> Errno {
    match error {
        Error::NoMemory => Errno::ENOMEM,
        Error::ReadOnly => Errno::EROFS,
        Error::Invalid => Errno::EINVAL,
        _ => Errno::EIO,
    }
}

fn run(start: impl FnOnce() -> Completion + Send + 'static) -> BoxFuture<'static, Result<(), Errno>> {
    Box::pin(async move { start().await.map(drop).map_err(errno) })
}

impl<T: Transport + Send + 'static> BlockDevice for Disk<T> {
    fn pages(&self) -> u64 {
        self.0.sectors() / SECTORS
    }

    fn read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn max_pages(&self) -> usize {
        self.0.max_buffers()
    }

    fn read(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>> {
        let disk = self.0;
        let Some(sector) = page.checked_mul(SECTORS) else { return Box::pin(core::future::ready(Err(Errno::EINVAL))) };
        run(move || disk.read(sector, frames.iter().map(Buffer::page).collect()))
    }

    fn write(&self, page: u64, frames: Vec<Frame>) -> BoxFuture<'_, Result<(), Errno>> {
        let disk = self.0;
        let Some(sector) = page.checked_mul(SECTORS) else { return Box::pin(core::future::ready(Err(Errno::EINVAL))) };
        run(move || disk.write(sector, frames.iter().map(Buffer::page).collect()))
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), Errno>> {
        let disk = self.0;
        run(move || disk.flush())
    }
}
