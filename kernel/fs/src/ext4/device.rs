//! The block device that the library sees.
//!
//! It runs on the fiber's stack and waits through its port. The library's own cache is built write-through
//! (its feature `USE_MULTILEVEL_CACHE` is off), so what it writes arrives here within the call that wrote it; while a
//! call allocates or truncates file data, the blocks concerned are listed in [`Shield`] and writes to them are
//! dropped: their content belongs to the page cache.

use abi::errno::Errno;
use alloc::{collections::BTreeSet, rc::Rc, sync::Arc, vec::Vec};
use core::cell::RefCell;
use fiber::Port;
use hal::{PAGE_SIZE, frame::Frame};
use io::block::BlockDevice;
use rsext4::{BlockIo, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4ErrorKind, Ext4Result, SectorId, WriteFlags};

/// Pages of one transfer.
const PART: usize = 32;

/// Blocks whose content the library must not write.
#[derive(Clone, Default)]
pub(super) struct Shield(Rc<RefCell<BTreeSet<u64>>>);

impl Shield {
    /// Adds blocks.
    pub(super) fn add(&self, blocks: impl Iterator<Item = u64>) {
        self.0.borrow_mut().extend(blocks);
    }

    /// Lifts it.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    fn covers(&self, block: u64) -> bool {
        self.0.borrow().contains(&block)
    }
}

/// A block device driven from a fiber. Its sectors are pages.
pub(super) struct Device<'p> {
    pub(super) port: &'p Port<'p>,
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) shield: Shield,
}

fn failed(errno: Errno) -> Ext4Error {
    Ext4Error::new(match errno {
        Errno::ENOMEM => Ext4ErrorKind::NoMemory,
        Errno::EROFS => Ext4ErrorKind::ReadOnly,
        _ => Ext4ErrorKind::Io,
    })
}

impl Device<'_> {
    /// Pages for one transfer: of the kernel's reserve, too. The library gives up the journal where its blocks cannot be moved.
    fn frames(count: usize) -> Ext4Result<Vec<Frame>> {
        (0..count).map(|_| Frame::zeroed_for_kernel().ok_or_else(|| failed(Errno::ENOMEM))).collect()
    }

    fn wait<T: Send>(&self, work: impl Future<Output = Result<T, Errno>> + Send) -> Ext4Result<T> {
        self.port.wait(work).unwrap_or(Err(Errno::EIO)).map_err(failed)
    }

    /// Writes pages that are next to each other and not shielded.
    fn write_run(&self, page: u64, bytes: &[u8]) -> Ext4Result<()> {
        let frames = Self::frames(bytes.len() / PAGE_SIZE)?;
        for (frame, part) in frames.iter().zip(bytes.chunks(PAGE_SIZE)) {
            frame.write(0, part);
        }
        self.wait(self.device.write(page, frames))
    }
}

impl BlockIo for Device<'_> {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get(..count as usize * PAGE_SIZE).ok_or_else(|| failed(Errno::EINVAL))?;
        let mut index = 0;
        let pages = count as usize;
        while index < pages {
            if self.shield.covers(sector.raw() + index as u64) {
                index += 1;
                continue;
            }
            let run = (index..pages.min(index + PART)).take_while(|at| !self.shield.covers(sector.raw() + *at as u64));
            let end = index + run.count();
            self.write_run(sector.raw() + index as u64, &bytes[index * PAGE_SIZE..end * PAGE_SIZE])?;
            index = end;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get_mut(..count as usize * PAGE_SIZE).ok_or_else(|| failed(Errno::EINVAL))?;
        for (index, part) in bytes.chunks_mut(PART * PAGE_SIZE).enumerate() {
            let frames = Self::frames(part.len() / PAGE_SIZE)?;
            let page = sector.raw() + (index * PART) as u64;
            self.wait(self.device.read(page, frames.clone()))?;
            for (frame, bytes) in frames.iter().zip(part.chunks_mut(PAGE_SIZE)) {
                frame.read(0, bytes);
            }
        }
        Ok(())
    }

    fn write_with_flags(&mut self, buffer: &[u8], sector: SectorId, count: u32, flags: WriteFlags) -> Ext4Result<()> {
        if flags.contains(WriteFlags::FUA) {
            return Err(Ext4Error::unsupported());
        }
        self.write(buffer, sector, count)
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(PAGE_SIZE as u32, self.device.pages())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities { read_only: self.device.read_only(), flush: true, ..DeviceCapabilities::default() }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.wait(self.device.flush())
    }
}
