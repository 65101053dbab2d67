//! Requests to a device, put together from parts whose places are found one after the other.

use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use futures_util::future::try_join_all;
use io::block::{Answer, BlockDevice, Direction, Part, SECTOR};

/// Requests that have not begun.
#[derive(Default)]
pub(crate) struct Batch {
    /// First sector, the one behind the last, and what lies there.
    requests: Vec<(u64, u64, Vec<Part>)>,
}

impl Batch {
    /// Adds a part at `sector`, to the last request if it follows that.
    pub fn add(&mut self, sector: u64, part: Part, most: usize) {
        let end = sector + (part.len() / SECTOR) as u64;
        match self.requests.last_mut() {
            Some((_, behind, parts)) if *behind == sector && parts.len() < most => {
                *behind = end;
                parts.push(part);
            }
            _ => self.requests.push((sector, end, alloc::vec![part])),
        }
    }

    /// Begins them all.
    pub fn submit(self, device: &Arc<dyn BlockDevice>, direction: Direction) -> Answer {
        let answers: Vec<_> =
            self.requests.into_iter().map(|(sector, _, parts)| device.submit(direction, sector, parts)).collect();
        Box::pin(async move { try_join_all(answers).await.map(drop) })
    }
}

/// How that ends which cannot begin.
pub(crate) fn failed(errno: Errno) -> Answer {
    Box::pin(core::future::ready(Err(errno)))
}
