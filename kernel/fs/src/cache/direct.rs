//! Transfers between a medium and memory that go past the cache, and how both stay one file.
//!
//! * Before a read what is dirty is written back. Before a write the pages that it is about are dropped, and once more behind it, since
//!   others may have fetched them meanwhile; one that cannot go (it is mapped, or was changed) gets the bytes too: they are written
//!   through the cache.
//! * Only what has a place is written there. The rest, beyond the end and in holes, is written through the cache, and waited for.
//! * Who transfers is counted ([`InUse`]), unless the file is claimed, and a cut waits, under its claim, until nobody is left: places never become
//!   another file's while a device works on them.

use super::{PageState, Pages, State, Store, flush, wait_write, write_now};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::ops::Range;
use hal::PAGE_SIZE;
use io::{
    block::{Begun, Direction, InUse, Part, Parts, SECTOR, Transfer},
    file::IoError,
    open::APPEND,
};
use mem::Source;

/// The right to transfer to and from the places of a file.
async fn use_places(store: &Arc<dyn Store>) -> InUse {
    exec::sync::wait_until(&store.pages().changed, || use_places_now(store)).await
}

fn use_places_now(store: &Arc<dyn Store>) -> Option<InUse> {
    store.pages().state.lock().enter().then(|| InUse::of(store.clone()))
}

/// The same, with the file's size, if nothing of these pages is to be written back first.
fn use_clean_places(store: &Arc<dyn Store>, pages: Range<u64>) -> Option<(InUse, u64)> {
    let mut state = store.pages().state.lock();
    let may_begin = !state.has_dirty(pages) && state.enter();
    may_begin.then(|| (InUse::of(store.clone()), state.size))
}

pub(crate) fn total(parts: &[Part]) -> usize {
    parts.iter().map(Part::len).sum()
}

fn pages_of(offset: u64, len: usize) -> Range<u64> {
    offset / PAGE_SIZE as u64..(offset + len as u64).div_ceil(PAGE_SIZE as u64)
}

/// Leaves out what lies behind the first `len` bytes.
pub(crate) fn clip(parts: &mut Parts, len: usize) {
    let mut left = len;
    parts.retain_mut(|part| {
        if left > 0 && left < part.len() {
            *part = part.cut(left);
        }
        let stays = left > 0;
        left -= part.len().min(left);
        stays
    });
}

/// Leaves out what lies behind the end of a file of `size` bytes; how many bytes are within. Up to the end of the last sector: what is behind the end there
/// is zeros, as the write-back left it.
fn clip_to_size(parts: &mut Parts, (offset, wanted): (u64, usize), size: u64) -> usize {
    let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(wanted);
    if there < wanted {
        clip(parts, there.next_multiple_of(SECTOR));
    }
    there
}

/// Reads what lies at `offset`, a sector's.
///
/// # Errors
/// `EIO`; of an earlier write-back, `ENOSPC`.
pub fn read_direct(store: &Arc<dyn Store>, offset: u64, mut parts: Parts) -> Transfer {
    let wanted = total(&parts);
    if let Some((places, size)) = use_clean_places(store, pages_of(offset, wanted))
        && size > offset
        && store.in_place(offset, wanted).is_some()
    {
        let there = clip_to_size(&mut parts, (offset, wanted), size);
        return Transfer::Begun(Begun::new(store.transfer(Direction::Read, offset, parts), there, places));
    }
    Transfer::Other(Box::pin(read_when_clean(store.clone(), offset, parts)))
}

async fn read_when_clean(store: Arc<dyn Store>, offset: u64, mut parts: Parts) -> Result<usize, Errno> {
    let wanted = total(&parts);
    // Before the write-back: what is appended behind that is not on the medium yet.
    let size = store.pages().size();
    if store.pages().has_dirty(&pages_of(offset, wanted)) {
        flush(&store).await?;
    }
    if store.in_place(offset, wanted).is_none() {
        store.clone().find_places().await?;
    }
    let places = use_places(&store).await;
    let there = clip_to_size(&mut parts, (offset, wanted), size.min(store.pages().size()));
    if there > 0 {
        store.transfer(Direction::Read, offset, parts).await?;
    }
    drop(places);
    Ok(there)
}

/// Writes at `offset`, a sector's ([`APPEND`]: at the end), up to byte `most` of the file.
///
/// # Errors
/// `EFBIG`, `ENOSPC`, `ENOMEM`, `EIO`.
pub fn write_direct(store: Arc<dyn Store>, offset: u64, parts: Parts, most: u64) -> Transfer {
    Transfer::Other(Box::pin(async move {
        let len = total(&parts);
        if offset != APPEND && write_in_place(&store, offset, &parts, len).await? {
            return Ok(len);
        }
        write_through(&store, offset, &parts, most).await
    }))
}

/// Writes over what is there; `false`: the cache has to have it.
async fn write_in_place(store: &Arc<dyn Store>, offset: u64, parts: &[Part], len: usize) -> Result<bool, Errno> {
    let (pages, range) = (store.pages(), pages_of(offset, len));
    if pages.has_dirty(&range) {
        flush(store).await?;
    }
    if store.in_place(offset, len).is_none() {
        store.clone().find_places().await?;
    }
    let places = use_places(store).await;
    let within = offset.checked_add(len as u64).is_some_and(|end| end <= pages.size());
    if !within || store.in_place(offset, len) != Some(true) || !pages.drop_clean(&range) {
        return Ok(false);
    }
    let again = parts.iter().map(Part::share).collect();
    store.transfer(Direction::Write, offset, again).await?;
    drop(places);
    store.clone().dirtied();
    Ok(pages.drop_clean(&range))
}

/// Writes through the cache, and waits until it is on the medium.
async fn write_through(store: &Arc<dyn Store>, offset: u64, parts: &[Part], most: u64) -> Result<usize, Errno> {
    let mut bytes = vec![0; PAGE_SIZE];
    let mut done = 0;
    for part in parts {
        let bytes = &mut bytes[..part.len()];
        let (frame, start) = part.place();
        frame.read(start, bytes);
        let at = if offset == APPEND { APPEND } else { offset + done as u64 };
        match write_all(store, at, bytes, most).await {
            Ok(len) => done += len,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    flush(store).await?;
    Ok(done)
}

async fn write_all(store: &Arc<dyn Store>, offset: u64, bytes: &[u8], most: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let at = if offset == APPEND { APPEND } else { offset + done as u64 };
        match write_now(store, at, &mut Source::kernel(&bytes[done..]), most) {
            Ok(Some(len)) => done += len,
            Ok(None) => wait_write(store, at, bytes.len() - done).await?,
            Err(IoError::Errno(errno)) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

impl State {
    fn has_dirty(&self, range: Range<u64>) -> bool {
        !self.dirty.is_empty() && self.dirty.range(range).next().is_some()
    }

    /// One more transfers, unless the file is claimed.
    fn enter(&mut self) -> bool {
        self.direct += usize::from(!self.claimed);
        !self.claimed
    }
}

impl Pages {
    /// A transfer to or from their places is over.
    pub(crate) fn leave_places(&self) {
        let mut state = self.state.lock();
        state.direct -= 1;
        // Only who cuts waits for this, and has claimed the file before.
        let waits = state.claimed;
        drop(state);
        if waits {
            self.changed.wake_all();
        }
    }

    /// Whether some of these pages are not yet where they belong.
    fn has_dirty(&self, range: &Range<u64>) -> bool {
        self.state.lock().has_dirty(range.clone())
    }

    /// Drops these pages; `false`: some are needed.
    pub(crate) fn drop_clean(&self, range: &Range<u64>) -> bool {
        let mut state = self.state.lock();
        if state.pages.len() == 0 {
            return true;
        }
        let mut all = true;
        let mut victims = Vec::new();
        for (index, page) in state.pages.range_mut(range.clone()) {
            let goes = match page.state {
                // Who fetches it finds it gone, and so do those who wait for it.
                PageState::Filling | PageState::Failed(_) => true,
                PageState::Clean => page.frame.shares() <= 1,
                PageState::Dirty | PageState::Writing { .. } => false,
            };
            all &= goes;
            if goes {
                victims.push(index);
            }
        }
        let gone: Vec<_> = victims.into_iter().filter_map(|index| state.pages.remove(index)).collect();
        drop(state);
        self.changed.wake_all();
        drop(gone);
        all
    }
}
