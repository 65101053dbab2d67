//! The block device (virtio 1.2, section 5.2).

use crate::device::{config, negotiate};
use crate::request::{Completion, Order, Requests};
use crate::{Error, Transport};
use hal::part::{Part, Parts};

/// Bytes in a sector, the unit of addresses.
pub const SECTOR: usize = 512;
/// Most buffers of one request.
pub const MAX_BUFFERS: usize = 32;
/// Descriptors of the queue: 42 requests of one page each, or 3 of [`MAX_BUFFERS`].
const DESCRIPTORS: usize = 128;

const F_SEG_MAX: u64 = 1 << 2;
const F_READ_ONLY: u64 = 1 << 5;
const F_FLUSH: u64 = 1 << 9;

/// Offsets in the configuration space.
const CAPACITY: usize = 0;
const SEG_MAX: usize = 12;

/// Request types.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;

/// A disk. Requests of any number of callers are in flight together; those that find no room wait their turn.
/// Nothing orders two requests that are in flight at once.
pub struct Block<T> {
    requests: Requests<T, DESCRIPTORS>,
    sectors: u64,
    max_buffers: usize,
    read_only: bool,
    flush: bool,
}

impl<T: Transport> Block<T> {
    /// Sets the device up.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if it is no usable block device, [`Error::NoMemory`].
    pub fn new(mut transport: T) -> Result<Block<T>, Error> {
        let features = negotiate(&mut transport, F_SEG_MAX | F_READ_ONLY | F_FLUSH)?;
        let low: u32 = config(&transport, CAPACITY).ok_or(Error::Unsupported)?;
        let high: u32 = config(&transport, CAPACITY + 4).ok_or(Error::Unsupported)?;
        let mut max_buffers = MAX_BUFFERS;
        if features & F_SEG_MAX != 0 {
            let limit: u32 = config(&transport, SEG_MAX).ok_or(Error::Unsupported)?;
            max_buffers = max_buffers.min(limit as usize).max(1);
        }
        Ok(Block {
            requests: Requests::start_device(transport)?,
            sectors: u64::from(high) << 32 | u64::from(low),
            max_buffers,
            read_only: features & F_READ_ONLY != 0,
            flush: features & F_FLUSH != 0,
        })
    }

    /// Size in sectors of [`SECTOR`] bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether writing is refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Most buffers that one request may have.
    pub fn max_buffers(&self) -> usize {
        self.max_buffers
    }

    /// Tells the device of the requests that were started. One that it is not told of stays where it is: whoever starts some calls this behind
    /// them.
    pub fn announce(&self) {
        self.requests.announce();
    }

    /// Starts reading from `sector` on into the buffers, in order. Their lengths add up to whole sectors.
    ///
    /// # Errors
    ///
    /// Of the future: [`Error::Invalid`] if the request is empty, has too many buffers or parts of sectors, or
    /// goes beyond the end; [`Error::Failed`], [`Error::Broken`], [`Error::NoMemory`].
    pub fn read(&self, sector: u64, parts: Parts) -> Completion {
        match self.check(sector, &parts) {
            Ok(()) => self.start(IN, sector, parts),
            Err(error) => Completion::ended(Err(error)),
        }
    }

    /// Starts writing the buffers from `sector` on. Durable after the next [`Block::flush`] only.
    ///
    /// # Errors
    ///
    /// As [`Block::read`], and [`Error::ReadOnly`].
    pub fn write(&self, sector: u64, parts: Parts) -> Completion {
        if self.read_only {
            return Completion::ended(Err(Error::ReadOnly));
        }
        match self.check(sector, &parts) {
            Ok(()) => self.start(OUT, sector, parts),
            Err(error) => Completion::ended(Err(error)),
        }
    }

    /// Makes the writes durable that had completed when this was called.
    ///
    /// # Errors
    ///
    /// As [`Block::read`].
    pub fn flush(&self) -> Completion {
        if !self.flush {
            // Without the feature the device writes through: completed is durable.
            return Completion::ended(Ok(0));
        }
        self.start(FLUSH, 0, Parts::new())
    }

    fn check(&self, sector: u64, parts: &[Part]) -> Result<(), Error> {
        if parts.is_empty() || parts.len() > self.max_buffers {
            return Err(Error::Invalid);
        }
        // At most MAX_BUFFERS pages: no overflow.
        let bytes: usize = parts.iter().map(Part::len).sum();
        let end = sector.checked_add((bytes / SECTOR) as u64).ok_or(Error::Invalid)?;
        if !bytes.is_multiple_of(SECTOR) || end > self.sectors {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    fn start(&self, kind: u32, sector: u64, parts: Parts) -> Completion {
        let header = Some([kind, 0, sector as u32, (sector >> 32) as u32]);
        self.requests.start(Order { header, parts, device_writes: kind == IN })
    }

    #[cfg(test)]
    pub(crate) fn requests(&self) -> &Requests<T, DESCRIPTORS> {
        &self.requests
    }
}

impl<T: Transport + Send> hal::irq::Handler for Block<T> {
    fn interrupt(&self) {
        self.requests.interrupt();
    }
}
