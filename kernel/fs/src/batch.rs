//! Requests to a device, put together from parts whose places are found one after the other.

use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::future::Future;
use futures_util::future::join_all;
use io::block::{Answer, BlockDevice, Direction, Part, Parts, SECTOR};

/// Requests that have not begun.
#[derive(Default)]
pub(crate) struct Batch {
    /// First sector, the one behind the last, and what lies there.
    requests: Vec<(u64, u64, Parts)>,
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
            _ => self.requests.push((sector, end, Parts::from_iter([part]))),
        }
    }

    /// Begins them all.
    pub fn submit(self, device: &Arc<dyn BlockDevice>, direction: Direction) -> Answer {
        let answers: Vec<_> =
            self.requests.into_iter().map(|(sector, _, parts)| device.submit(direction, sector, parts)).collect();
        Box::pin(all(answers))
    }
}

/// Waits for all of them, also behind a failure: whoever is told has memory and places for itself again. The first failure, if there is one.
pub(crate) async fn all<F: Future<Output = Result<(), Errno>>>(requests: Vec<F>) -> Result<(), Errno> {
    join_all(requests).await.into_iter().fold(Ok(()), Result::and)
}

/// How that ends which cannot begin.
pub(crate) fn failed(errno: Errno) -> Answer {
    Box::pin(core::future::ready(Err(errno)))
}
