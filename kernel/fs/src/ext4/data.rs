//! File data: pages to and from their places on the medium, many requests in flight.
//!
//! A node caches the map from its blocks to the medium ([`Places`]), whole, once it was asked for. Only the
//! write-back of new blocks and truncation change it.

use super::{node::Node, volume::Run};
use crate::batch::{self, Batch};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::Range;
use hal::{PAGE_SIZE, frame::Frame};
use io::{
    block::{Answer, Direction, Parts, Placed, SECTOR, SECTORS},
    file::BoxFuture,
};

/// Runs of a file from which on block 0 is one of them ([`Node::wants_first_place`]).
const MANY: usize = 64;
/// With fewer runs a tree has two levels at most: four blocks of 340 stand below an inode, and one that is split keeps half.
const SURELY_FLAT: usize = 600;

/// The places of a file's blocks.
#[derive(Default)]
pub(super) struct Places(BTreeMap<u64, Run>);

impl Places {
    pub(super) fn new(runs: Vec<Run>) -> Places {
        let mut places = Places::default();
        places.learn(&runs);
        places
    }

    /// Takes runs in; they replace what was known of their first blocks.
    fn learn(&mut self, runs: &[Run]) {
        for run in runs {
            self.cut_out(run.logical, run.logical + run.len);
            self.0.insert(run.logical, *run);
        }
    }

    fn cut_out(&mut self, from: u64, to: u64) {
        let touching: Vec<Run> =
            self.0.range(..to).rev().map(|(_, run)| *run).take_while(|run| run.logical + run.len > from).collect();
        for run in touching {
            self.0.remove(&run.logical);
            let end = run.logical + run.len;
            if run.logical < from {
                self.0.insert(run.logical, Run { len: from - run.logical, ..run });
            }
            if end > to {
                let skip = to - run.logical;
                self.0.insert(to, Run { logical: to, physical: run.physical + skip, len: end - to, ..run });
            }
        }
    }

    /// Forgets everything from block `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        self.cut_out(from, u64::MAX);
    }

    /// The run of block `at`, from there on.
    pub(super) fn at(&self, at: u64) -> Option<Run> {
        let (_, run) = self.0.range(..=at).next_back()?;
        let skip = at - run.logical;
        (skip < run.len).then(|| Run { logical: at, physical: run.physical + skip, len: run.len - skip, ..*run })
    }

    /// Whether these blocks have been written, all.
    fn are_written(&self, mut blocks: Range<u64>) -> bool {
        while !blocks.is_empty() {
            match self.at(blocks.start) {
                Some(run) if run.written => blocks.start += run.len,
                _ => return false,
            }
        }
        true
    }

    /// The sector of byte `at`, if it has been written, and how many bytes follow in the same way.
    fn sector(&self, at: u64) -> (Option<u64>, usize) {
        let (block, within) = (at / PAGE_SIZE as u64, at % PAGE_SIZE as u64);
        match self.at(block) {
            Some(run) => {
                let room = (run.len * PAGE_SIZE as u64 - within) as usize;
                (run.written.then_some(run.physical * SECTORS + within / SECTOR as u64), room)
            }
            None => (None, PAGE_SIZE - within as usize),
        }
    }

    /// Splits `count` blocks from `first` on into runs and holes (`Err`: length of the hole).
    fn pieces(&self, first: u64, count: u64) -> Vec<Result<Run, u64>> {
        let (mut at, end) = (first, first + count);
        let mut pieces = Vec::new();
        while at < end {
            match self.at(at) {
                Some(run) => {
                    let len = run.len.min(end - at);
                    pieces.push(Ok(Run { len, ..run }));
                    at += len;
                }
                None => {
                    let next = self.0.range(at..).next().map_or(end, |(start, _)| (*start).min(end));
                    pieces.push(Err(next - at));
                    at = next;
                }
            }
        }
        pieces
    }
}

impl Node {
    /// Makes sure that the map is in memory.
    pub(super) async fn load_places(self: &Arc<Self>) -> Result<(), Errno> {
        if self.places.lock().is_some() {
            return Ok(());
        }
        let node = self.clone();
        let work = move |volume: &mut super::volume::Volume<'_>| {
            // Stored on the coroutine, so that an older answer never follows a newer.
            let runs = volume.runs(node.number(), 0, u64::MAX)?;
            node.places.lock().get_or_insert_with(|| Places::new(runs));
            Ok(())
        };
        self.shared.queue.call(work).await
    }

    /// Whether a page has a place on the medium; `None`: the places are not loaded.
    fn is_housed(&self, index: u64) -> Option<bool> {
        self.places.lock().as_ref().map(|places| places.at(index).is_some())
    }

    fn pieces(&self, first: u64, count: u64) -> Vec<Result<Run, u64>> {
        self.places.lock().as_ref().map_or_else(Vec::new, |places| places.pieces(first, count))
    }

    /// Reads pages into `frames`; holes and unwritten blocks are zeros.
    pub(super) async fn read_pages(self: Arc<Self>, first: u64, frames: Vec<Frame>) -> Result<(), Errno> {
        self.load_places().await?;
        let mut requests: Vec<BoxFuture<'_, Result<(), Errno>>> = Vec::new();
        let mut at = 0;
        for piece in self.pieces(first, frames.len() as u64) {
            let len = piece.map_or_else(|hole| hole, |run| run.len) as usize;
            let part = &frames[at..at + len];
            at += len;
            match piece {
                Ok(run) if run.written => self.read_run(run.physical, part, &mut requests),
                _ => part.iter().for_each(|frame| frame.fill(0, PAGE_SIZE, 0)),
            }
        }
        batch::all(requests).await
    }

    fn read_run<'a>(&'a self, page: u64, frames: &[Frame], requests: &mut Vec<BoxFuture<'a, Result<(), Errno>>>) {
        let device = &self.shared.device;
        let most = device.max_parts().max(1);
        for (index, part) in frames.chunks(most).enumerate() {
            requests.push(device.read(page + (index * most) as u64, part.to_vec()));
        }
    }

    /// Writes pages to their places, which they get first if they have none.
    pub(super) async fn write_pages(self: Arc<Self>, first: u64, frames: Vec<Frame>) -> Result<(), Errno> {
        self.load_places().await?;
        let size = self.pages.size();
        // What lies behind the end is about to be dropped: a truncation waits for this, and has no places left for it.
        let count = size.div_ceil(PAGE_SIZE as u64).saturating_sub(first).min(frames.len() as u64);
        if self.pieces(first, count).iter().any(Result::is_err) {
            self.allocate(size, first, count).await?;
        } else if self.disk_size() < size {
            self.grow(size).await?;
        }
        let pieces = self.pieces(first, count);
        let mut requests: Vec<BoxFuture<'_, Result<(), Errno>>> = Vec::new();
        let mut at = 0;
        for piece in &pieces {
            // Truncation waits for pages in flight, so none of them can lose its place here.
            let Ok(run) = piece else { return Err(Errno::EIO) };
            let part = &frames[at..at + run.len as usize];
            at += run.len as usize;
            self.write_run(run.physical, part, &mut requests);
        }
        batch::all(requests).await?;
        if pieces.iter().any(|piece| piece.is_ok_and(|run| !run.written)) {
            self.convert(first, count).await?;
        }
        Ok(())
    }

    fn write_run<'a>(&'a self, page: u64, frames: &[Frame], requests: &mut Vec<BoxFuture<'a, Result<(), Errno>>>) {
        let device = &self.shared.device;
        let most = device.max_parts().max(1);
        for (index, part) in frames.chunks(most).enumerate() {
            requests.push(device.write(page + (index * most) as u64, part.to_vec()));
        }
    }

    async fn allocate(self: &Arc<Self>, size: u64, first: u64, count: u64) -> Result<(), Errno> {
        let node = self.clone();
        let work = move |volume: &mut super::volume::Volume<'_>| {
            if node.wants_first_place(first)? {
                let housed = node.house(volume, size, 0, 1);
                // Nobody has kept room for it: where there is none that is no error yet, and it is tried again.
                if node.runs() >= SURELY_FLAT / 2 {
                    housed?;
                }
            }
            node.house(volume, size, first, count)?;
            node.refresh_written(volume)
        };
        self.shared.queue.call(work).await
    }

    /// Gives blocks their places, on the coroutine.
    fn house(&self, volume: &mut super::volume::Volume<'_>, size: u64, first: u64, count: u64) -> Result<(), Errno> {
        let runs = volume.allocate(self.number(), size, first, count)?;
        if let Some(places) = &mut *self.places.lock() {
            places.learn(&runs);
        }
        self.shared.unreserve(self.pages.housed(first, count));
        Ok(())
    }

    fn runs(&self) -> usize {
        self.places.lock().as_ref().map_or(0, |Places(runs)| runs.len())
    }

    /// Whether block 0 needs a place before block `first` may get one.
    ///
    /// The library (0.9.2) damages a tree of three levels or more when it puts something in front of all that is there: it does not write the
    /// index in the middle whose first key that changes. Nothing comes in front of block 0, so a file gets that one long before its tree is so deep.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: another system made the file, without a block 0, and its tree may be so deep already.
    fn wants_first_place(&self, first: u64) -> Result<bool, Errno> {
        let places = self.places.lock();
        let Some(Places(runs)) = &*places else { return Ok(false) };
        match runs.first_key_value() {
            Some((lowest, _)) if *lowest > 0 && runs.len() >= SURELY_FLAT => {
                if first < *lowest {
                    Err(Errno::EOPNOTSUPP)
                } else {
                    Ok(false)
                }
            }
            Some((lowest, _)) => Ok(*lowest > 0 && first > 0 && runs.len() >= MANY),
            None => Ok(false),
        }
    }

    async fn grow(self: &Arc<Self>, size: u64) -> Result<(), Errno> {
        let node = self.clone();
        let work = move |volume: &mut super::volume::Volume<'_>| {
            volume.grow(node.number(), size)?;
            node.refresh_written(volume)
        };
        self.shared.queue.call(work).await
    }

    async fn convert(self: &Arc<Self>, first: u64, count: u64) -> Result<(), Errno> {
        let node = self.clone();
        let work = move |volume: &mut super::volume::Volume<'_>| {
            volume.convert(node.number(), first, count)?;
            let runs = volume.runs(node.number(), first, count)?;
            if let Some(places) = &mut *node.places.lock() {
                places.learn(&runs);
            }
            node.refresh_written(volume)
        };
        self.shared.queue.call(work).await
    }

    /// Sets the size, larger or smaller. Goes on without the caller, if that is killed: half of it done would leave pages, places and
    /// reserved room that do not belong together.
    pub(super) async fn set_size(self: Arc<Self>, size: u64) -> Result<(), Errno> {
        let node = self.clone();
        self.shared.jobs.call(async move { node.resize(size).await }).await
    }

    async fn resize(self: Arc<Self>, size: u64) -> Result<(), Errno> {
        let old = self.pages.size();
        let tail = size / PAGE_SIZE as u64 * PAGE_SIZE as u64;
        if size < old && tail != size {
            let store: Arc<dyn crate::cache::Store> = self.clone();
            crate::cache::wait_read(&store, tail, 1).await?;
        }
        let claim = self.pages.claim().await;
        if size == self.pages.size() {
            return Ok(());
        }
        self.touch();
        if size > self.pages.size() {
            self.pages.extend(&claim, size);
            self.grow(size).await?;
            return self.stamp().await;
        }
        let freed = self.pages.cut(&claim, size).await;
        self.shared.unreserve(freed);
        let node = self.clone();
        let work = move |volume: &mut super::volume::Volume<'_>| {
            volume.truncate(node.number(), size)?;
            if let Some(places) = &mut *node.places.lock() {
                places.truncate(size.div_ceil(PAGE_SIZE as u64));
            }
            node.refresh(volume)
        };
        let result = self.shared.queue.call(work).await;
        drop(claim);
        let store: Arc<dyn crate::cache::Store> = self.clone();
        if self.pages.count().1 > 0 {
            store.dirtied();
        }
        result?;
        self.stamp().await
    }
}

impl Placed for Node {
    fn leave(&self) {
        crate::cache::Store::pages(self).leave_places();
    }
}

impl crate::cache::Store for Node {
    fn pages(&self) -> &crate::cache::Pages {
        &self.pages
    }

    fn backed(&self) -> bool {
        true
    }

    fn fetch(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        Box::pin(self.read_pages(index, frames))
    }

    fn store(self: Arc<Self>, index: u64, frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        Box::pin(self.write_pages(index, frames))
    }

    fn reserve(&self, index: u64) -> Result<Option<usize>, Errno> {
        Ok(match self.is_housed(index) {
            None => None,
            Some(true) => Some(0),
            Some(false) => self.shared.reserve(1).then_some(1),
        })
    }

    fn unreserve(&self, units: usize) {
        self.shared.unreserve(units);
    }

    fn prepare(self: Arc<Self>, index: u64) -> BoxFuture<'static, Result<(), Errno>> {
        Box::pin(async move {
            self.load_places().await?;
            if self.is_housed(index) == Some(true) || !self.shared.is_full() {
                return Ok(());
            }
            self.shared.clear_remains().await?;
            if self.shared.is_full() { Err(Errno::ENOSPC) } else { Ok(()) }
        })
    }

    fn in_place(&self, offset: u64, len: usize) -> Option<bool> {
        let blocks = offset / PAGE_SIZE as u64..(offset + len as u64).div_ceil(PAGE_SIZE as u64);
        self.places.lock().as_ref().map(|places| places.are_written(blocks))
    }

    fn find_places(self: Arc<Self>) -> BoxFuture<'static, Result<(), Errno>> {
        Box::pin(async move { self.load_places().await })
    }

    fn transfer(&self, direction: Direction, offset: u64, parts: Parts) -> Answer {
        let device = &self.shared.device;
        let places = self.places.lock();
        let Some(places) = &*places else { return batch::failed(Errno::EIO) };
        if let [part] = &parts[..]
            && let (Some(sector), room) = places.sector(offset)
            && part.len() <= room
        {
            return device.submit(direction, sector, parts);
        }
        let (mut batch, mut at) = (Batch::default(), offset);
        for mut part in parts {
            loop {
                let (sector, room) = places.sector(at);
                let rest = part.len().saturating_sub(room);
                let piece = if rest > 0 { part.cut(room) } else { part.share() };
                at += piece.len() as u64;
                match (sector, direction) {
                    (Some(sector), _) => batch.add(sector, piece, device.max_parts()),
                    (None, Direction::Read) => piece.clear(),
                    // It had a place when it was looked for.
                    (None, Direction::Write) => return batch::failed(Errno::EIO),
                }
                if rest == 0 {
                    break;
                }
            }
        }
        batch.submit(device, direction)
    }

    fn start(&self, job: BoxFuture<'static, ()>) {
        self.shared.jobs.start(job);
    }

    fn dirtied(self: Arc<Self>) {
        self.note_dirty();
    }
}
