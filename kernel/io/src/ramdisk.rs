//! A block device in memory, with faults to order: the fake beside the real drivers.
//!
//! Requests complete only when [`RamDisk::complete`] lets them, if it was made to hold them; so a test can see how many
//! are in flight and choose the order. It also counts, and fails the requests it is told to.

use crate::block::{Answer, BlockDevice, Direction, Part, Parts, SECTOR, SECTORS};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};
use exec::sync::WaitQueue;
use hal::{
    PAGE_SIZE,
    sync::{SpinLock, rank},
};

#[derive(Default)]
struct State {
    contents: BTreeMap<u64, Box<[u8]>>,
    /// Requests admitted to complete; `None`: all.
    budget: Option<usize>,
    in_flight: usize,
    deepest: usize,
    reads: u64,
    writes: u64,
    /// The request of this number, counted from 0, and all after it fail.
    fail_from: Option<u64>,
    fail_only: Option<u64>,
}

/// A disk in memory.
pub struct RamDisk {
    pages: u64,
    inner: Arc<Inner>,
}

struct Inner {
    sectors: u64,
    state: SpinLock<State>,
    released: WaitQueue,
}

/// One request in flight; leaves the count when it is dropped.
struct Flight<'a>(&'a Inner);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.state.lock().in_flight -= 1;
    }
}

impl RamDisk {
    /// A disk with these contents, which are padded to whole pages.
    pub fn new(image: &[u8]) -> RamDisk {
        let mut contents = BTreeMap::new();
        for (page, bytes) in image.chunks(PAGE_SIZE).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let mut whole = vec![0; PAGE_SIZE];
                whole[..bytes.len()].copy_from_slice(bytes);
                contents.insert(page as u64, whole.into());
            }
        }
        let state = State { contents, ..State::default() };
        let pages = image.len().div_ceil(PAGE_SIZE) as u64;
        let state = SpinLock::new(rank::DEVICE, state);
        RamDisk { pages, inner: Arc::new(Inner { sectors: pages * SECTORS, state, released: WaitQueue::new() }) }
    }

    /// The contents.
    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.pages as usize * PAGE_SIZE];
        for (page, bytes) in &self.inner.state.lock().contents {
            let at = *page as usize * PAGE_SIZE;
            image[at..at + PAGE_SIZE].copy_from_slice(bytes);
        }
        image
    }

    /// From now on requests wait for [`RamDisk::complete`].
    pub fn hold(&self) {
        self.inner.state.lock().budget = Some(0);
    }

    /// Lets `count` requests complete; `None`: this and all to come.
    pub fn complete(&self, count: Option<usize>) {
        let mut state = self.inner.state.lock();
        state.budget = match (count, state.budget) {
            (Some(count), Some(budget)) => Some(budget + count),
            _ => None,
        };
        drop(state);
        self.inner.released.wake_all();
    }

    /// Fails request number `from`, counted from now, and all after it; `None`: none any more.
    pub fn fail_from(&self, from: Option<u64>) {
        let mut state = self.inner.state.lock();
        let now = state.reads + state.writes;
        state.fail_from = from.map(|from| now + from);
    }

    /// Fails only request number `which`, counted from now.
    pub fn fail_only(&self, which: Option<u64>) {
        let mut state = self.inner.state.lock();
        let now = state.reads + state.writes;
        state.fail_only = which.map(|which| now + which);
    }

    /// Requests in flight now, and the most there ever were.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.inner.state.lock();
        (state.in_flight, state.deepest)
    }

    /// Reads and writes so far.
    pub fn requests(&self) -> (u64, u64) {
        let state = self.inner.state.lock();
        (state.reads, state.writes)
    }
}

impl Inner {
    /// Counts the request, waits for its turn and says how it ends.
    async fn turn(&self, direction: Direction, sector: u64, parts: &[Part]) -> Result<Flight<'_>, Errno> {
        let (flight, failed) = {
            let mut state = self.state.lock();
            let number = state.reads + state.writes;
            if direction == Direction::Write {
                state.writes += 1
            } else {
                state.reads += 1
            }
            state.in_flight += 1;
            state.deepest = state.deepest.max(state.in_flight);
            let failed = state.fail_from.is_some_and(|from| number >= from) || state.fail_only == Some(number);
            (Flight(self), failed)
        };
        exec::sync::wait_until(&self.released, || self.admit()).await;
        let count = parts.iter().map(Part::len).sum::<usize>() / SECTOR;
        let beyond = sector.checked_add(count as u64).is_none_or(|end| end > self.sectors);
        match (failed, beyond) {
            (true, _) => Err(Errno::EIO),
            (_, true) => Err(Errno::EINVAL),
            _ => Ok(flight),
        }
    }

    fn admit(&self) -> Option<()> {
        let mut state = self.state.lock();
        match &mut state.budget {
            None => Some(()),
            Some(0) => None,
            Some(budget) => {
                *budget -= 1;
                Some(())
            }
        }
    }

    fn carry_out(&self, direction: Direction, sector: u64, parts: &[Part]) {
        let mut at = sector as usize * SECTOR;
        for part in parts {
            let (frame, offset) = part.place();
            for done in (0..part.len()).step_by(SECTOR) {
                let (page, within) = ((at / PAGE_SIZE) as u64, at % PAGE_SIZE);
                let mut state = self.state.lock();
                match direction {
                    Direction::Write => {
                        let bytes = state.contents.entry(page).or_insert_with(|| vec![0; PAGE_SIZE].into());
                        frame.read(offset + done, &mut bytes[within..within + SECTOR]);
                    }
                    Direction::Read => match state.contents.get(&page) {
                        Some(bytes) => frame.write(offset + done, &bytes[within..within + SECTOR]),
                        None => frame.fill(offset + done, SECTOR, 0),
                    },
                }
                at += SECTOR;
            }
        }
    }
}

impl BlockDevice for RamDisk {
    fn sectors(&self) -> u64 {
        self.inner.sectors
    }

    fn submit(&self, direction: Direction, sector: u64, parts: Parts) -> Answer {
        let inner = self.inner.clone();
        Box::pin(async move {
            let _flight = inner.turn(direction, sector, &parts).await?;
            inner.carry_out(direction, sector, &parts);
            Ok(())
        })
    }

    fn flush(&self) -> Answer {
        Box::pin(core::future::ready(Ok(())))
    }
}
