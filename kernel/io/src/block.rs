//! Block devices: asynchronous transfers between the medium and pinned pages.
//!
//! The medium is numbered in sectors of 512 bytes; most users go by pages of 4 KiB, from the start of the device. A request owns the
//! pages it reads into or writes from; a driver keeps them until the hardware has returned them, so dropping a request's future is
//! always safe. Requests of one caller may be in flight together and complete in any order; [`BlockDevice::flush`]
//! covers those that have completed.

use crate::file::BoxFuture;
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
pub use hal::part::{Part, Parts};
use hal::{
    PAGE_SIZE,
    frame::{self, Frame},
};

/// Bytes of a sector, the unit of addresses.
pub const SECTOR: usize = 512;
/// Sectors of a page.
pub const SECTORS: u64 = (PAGE_SIZE / SECTOR) as u64;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the medium.
    Read,
    /// To the medium.
    Write,
}

/// `len` bytes at `offset` of a page; `None` unless they are whole sectors, at least one, within it.
#[inline]
pub fn sectors(page: frame::Pin, offset: usize, len: usize) -> Option<Part> {
    if (offset | len).is_multiple_of(SECTOR) { Part::new(page, offset, len) } else { None }
}

/// How a request ends.
pub type Answer = BoxFuture<'static, Result<(), Errno>>;

/// What has places on a medium, which stay its own as long as a transfer is about them.
pub trait Placed: Send + Sync {
    /// One that was is over.
    fn leave(&self);
}

/// The right to transfer to and from such places.
#[must_use]
pub struct InUse(Arc<dyn Placed>);

impl InUse {
    /// Of one that the places were told of.
    pub fn of(places: Arc<dyn Placed>) -> InUse {
        InUse(places)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A transfer between a medium and parts of pages, as a future of how many bytes that were.
#[must_use]
pub enum Transfer {
    /// What the device has already, and is told of when it is polled: for this no memory is taken beside the answer's.
    Begun(Begun),
    /// Whatever takes more.
    Other(BoxFuture<'static, Result<usize, Errno>>),
}

/// A transfer of so many bytes that has begun.
pub struct Begun {
    answer: Answer,
    len: usize,
    _places: InUse,
}

impl Begun {
    /// The one that ends with this answer, which is about these places.
    pub fn new(answer: Answer, len: usize, places: InUse) -> Begun {
        Begun { answer, len, _places: places }
    }
}

impl Future for Transfer {
    type Output = Result<usize, Errno>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Transfer::Begun(begun) => begun.answer.as_mut().poll(context).map_ok(|()| begun.len),
            Transfer::Other(other) => other.as_mut().poll(context),
        }
    }
}

/// A device of sectors.
pub trait BlockDevice: Send + Sync {
    /// Size in sectors.
    fn sectors(&self) -> u64;

    /// Size in pages; a part of a page at the end does not count.
    fn pages(&self) -> u64 {
        self.sectors() / SECTORS
    }

    /// Whether writes fail with `EROFS`.
    fn read_only(&self) -> bool {
        false
    }

    /// Most parts of one request.
    fn max_parts(&self) -> usize {
        64
    }

    /// Begins a request for the sectors from `sector` on. The device may be told of it only when the answer is first polled; from then on it goes on
    /// by itself.
    ///
    /// # Errors
    /// `EIO`; `EROFS`; `EINVAL` beyond the end, or with too many parts. What was to be read then holds anything, and any of what was to be written may
    /// have been.
    fn submit(&self, direction: Direction, sector: u64, parts: Parts) -> Answer;

    /// Fills `frames` from `page` on.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    fn read(&self, page: u64, frames: Vec<Frame>) -> Answer {
        submit_pages(self, Direction::Read, page, &frames)
    }

    /// Writes `frames` from `page` on.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    fn write(&self, page: u64, frames: Vec<Frame>) -> Answer {
        submit_pages(self, Direction::Write, page, &frames)
    }

    /// Makes completed writes durable.
    ///
    /// # Errors
    /// `EIO`.
    fn flush(&self) -> Answer;
}

fn submit_pages<D: BlockDevice + ?Sized>(device: &D, direction: Direction, page: u64, frames: &[Frame]) -> Answer {
    match page.checked_mul(SECTORS) {
        Some(sector) => device.submit(direction, sector, frames.iter().map(Part::page).collect()),
        None => Box::pin(core::future::ready(Err(Errno::EINVAL))),
    }
}
