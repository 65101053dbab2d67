//! Copies between the page cache and memory of the caller, without waiting.

use super::{Page, PageState, Pages, State, Store, wait_read};
use abi::errno::Errno;
use alloc::sync::Arc;
use hal::{PAGE_SIZE, frame::Frame};
use io::{file::Attempt, open::APPEND};
use mem::{Sink, Source};

/// Most bytes of one immediate call; the caller comes again for more, and others run in between.
const BURST: usize = 256 * 1024;
/// Dirty pages of one file: from here on its writers wait if memory is short, and in any case.
const DIRTY: (usize, usize) = (256, 4096);

/// What one look at the cache found for a read.
enum Found {
    End,
    Missing,
    /// A page without a frame in a file that has no store.
    Hole(u64),
    Here(Frame, u64),
}

/// Reads what is cached from `offset` on; `None` if the first page is missing.
///
/// # Errors
/// A fault of `dst` before the first byte.
pub fn read_now(pages: &Pages, backed: bool, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
    let limit = dst.remaining().min(BURST);
    let mut done = 0;
    while done < limit {
        let at = offset + done as u64;
        let within = (at % PAGE_SIZE as u64) as usize;
        let part = |size: u64| (size - at).min((PAGE_SIZE - within).min(limit - done) as u64) as usize;
        let (moved, len) = match look(pages, backed, at) {
            Found::End => break,
            Found::Missing if done == 0 => return Ok(None),
            Found::Missing => break,
            Found::Hole(size) => (dst.zero(part(size)), part(size)),
            Found::Here(frame, size) => (dst.put_frame(&frame, within, part(size)), part(size)),
        };
        match moved {
            Ok(()) => done += len,
            Err(fault) if done == 0 => return Err(fault.into()),
            Err(_) => break,
        }
    }
    Ok(Some(done))
}

fn look(pages: &Pages, backed: bool, at: u64) -> Found {
    let mut state = pages.state.lock();
    let size = state.size;
    if at >= size {
        return Found::End;
    }
    let index = at / PAGE_SIZE as u64;
    match state.pages.get_mut(index) {
        Some(page) if page.readable() => {
            page.hot = true;
            let frame = page.frame.clone();
            // Not for a page that is missing: that it is the one expected next is what read-ahead goes by.
            state.next = index + 1;
            Found::Here(frame, size)
        }
        None if !backed => Found::Hole(size),
        _ => Found::Missing,
    }
}

/// Writes from `src` at `offset` ([`APPEND`]: at the end), up to byte `most` of the file; `None` if the first page is
/// missing or the file is claimed.
///
/// # Errors
/// `EFBIG`, `ENOSPC`, `ENOMEM`; a fault of `src` before the first byte.
pub fn write_now(store: &Arc<dyn Store>, offset: u64, src: &mut Source<'_>, most: u64) -> Attempt<usize> {
    let pages = store.pages();
    if src.remaining() == 0 {
        return Ok(Some(0));
    }
    if store.backed() && congested(pages) {
        return Ok(None);
    }
    let Some(_claim) = pages.claim_now() else { return Ok(None) };
    let offset = if offset == APPEND { pages.size() } else { offset };
    let room = most.min(i64::MAX as u64).saturating_sub(offset);
    if room == 0 {
        return Err(Errno::EFBIG.into());
    }
    let limit = src.remaining().min(BURST).min(usize::try_from(room).unwrap_or(usize::MAX));
    let mut done = 0;
    while done < limit {
        match write_page(store, offset + done as u64, limit - done, src) {
            Ok(Some(len)) => done += len,
            Ok(None) if done == 0 => return Ok(None),
            Err(error) if done == 0 => return Err(error),
            _ => break,
        }
    }
    Ok(Some(done))
}

/// Writes within one page; answers how many bytes.
fn write_page(store: &Arc<dyn Store>, at: u64, left: usize, src: &mut Source<'_>) -> Attempt<usize> {
    let pages = store.pages();
    let index = at / PAGE_SIZE as u64;
    let within = (at % PAGE_SIZE as u64) as usize;
    let len = left.min(PAGE_SIZE - within);
    let (present, size) = {
        let mut state = pages.state.lock();
        let size = state.size;
        let page = state.pages.get_mut(index).map(|page| (page.readable(), page.frame.clone(), page.reserved));
        (page, size)
    };
    let inserted = match present {
        Some((false, ..)) => return Ok(None),
        Some((true, frame, reserved)) => {
            let Some(units) = reserve(store, index, reserved)? else { return Ok(None) };
            let copied = src.take_into_frame(&frame, within, len);
            settle(pages, index, units);
            copied?;
            None
        }
        // What is beyond the end, covered whole, or kept nowhere else need not be fetched.
        None if !store.backed() || len == PAGE_SIZE || index * PAGE_SIZE as u64 >= size => {
            let Some(units) = reserve(store, index, 0)? else { return Ok(None) };
            let frame = Frame::zeroed();
            let copied = match &frame {
                Some(frame) => src.take_into_frame(frame, within, len).map_err(Into::into),
                None => Err(Errno::ENOMEM.into()),
            };
            if let Err(error) = copied {
                store.unreserve(units);
                return Err(error);
            }
            let Some(frame) = frame else { return Err(Errno::ENOMEM.into()) };
            Some((frame, units))
        }
        None => return Ok(None),
    };
    let first = {
        let mut state = pages.state.lock();
        // With the page in one step: a dirty one behind the end has no place that it could be written back to.
        state.size = state.size.max(at + len as u64);
        match inserted {
            Some((frame, units)) => insert(&mut state, index, frame, units),
            None => {
                let first = state.dirty.is_empty();
                state.mark(index) && first
            }
        }
    };
    // Pages without a store stay dirty, so there each write is told of: it is a change of the file.
    if first || !store.backed() {
        store.clone().dirtied();
    }
    Ok(Some(len))
}

/// Whether this file has so many dirty pages that its writers have to wait for the medium.
fn congested(pages: &Pages) -> bool {
    let dirty = pages.state.lock().dirty.len();
    dirty >= DIRTY.1 || dirty >= DIRTY.0 && super::reclaim::pressed()
}

/// Writes the file back on behalf of its writer.
async fn relieve(store: &Arc<dyn Store>) -> Result<(), Errno> {
    super::kick(store).await;
    if super::reclaim::pressed() {
        super::shrink(DIRTY.0);
    }
    let pages = store.pages();
    // A medium that takes nothing must not keep the writer here for ever; `fsync` tells the error again.
    let error = pages.state.lock().error;
    match error {
        Some(errno) if congested(pages) => Err(errno),
        _ => Ok(()),
    }
}

/// Room for a page that holds `reserved` units already.
fn reserve(store: &Arc<dyn Store>, index: u64, reserved: usize) -> Result<Option<usize>, Errno> {
    if reserved > 0 { Ok(Some(0)) } else { store.reserve(index) }
}

fn settle(pages: &Pages, index: u64, units: usize) {
    if units == 0 {
        return;
    }
    let mut state = pages.state.lock();
    let state = &mut *state;
    if let Some(page) = state.pages.get_mut(index) {
        page.reserved += units;
        state.reserved += units;
    }
}

/// The claimant found no page here; a fetch may have put one meanwhile, which is older than what was written.
/// Answers whether it is the first dirty page.
fn insert(state: &mut State, index: u64, frame: Frame, reserved: usize) -> bool {
    let page = Page { frame, state: PageState::Dirty, hot: true, reserved };
    let first = state.dirty.is_empty();
    state.pages.insert(index, page);
    state.reserved += reserved;
    state.dirty.insert(index);
    first
}

/// Resolves when [`write_now`] at `offset` for `len` bytes is worth trying again.
///
/// # Errors
/// `EIO` if a page that is only partly overwritten cannot be read; `ENOMEM`, `ENOSPC`.
pub async fn wait_write(store: &Arc<dyn Store>, offset: u64, len: usize) -> Result<(), Errno> {
    let pages = store.pages();
    let offset = if offset == APPEND { pages.size() } else { offset };
    store.clone().prepare(offset / PAGE_SIZE as u64).await?;
    if store.backed() && congested(pages) {
        relieve(store).await?;
    }
    if store.backed() && len > 0 {
        let size = pages.size();
        let last = offset.saturating_add(len.min(BURST) as u64 - 1);
        for at in [offset, last] {
            let partial = at / PAGE_SIZE as u64 * PAGE_SIZE as u64;
            if partial < size {
                wait_read(store, partial, 1).await?;
            }
        }
    }
    exec::sync::wait_until(&pages.changed, || (!pages.state.lock().claimed).then_some(())).await;
    Ok(())
}

/// The frame of page `index` for a mapping; a hole of a file without a store becomes a page.
///
/// # Errors
/// `EFAULT` behind the end, `ENOMEM`, `ENOSPC`.
pub fn frame_now(store: &Arc<dyn Store>, index: u64) -> Result<Option<Frame>, Errno> {
    let pages = store.pages();
    if index >= pages.size().div_ceil(PAGE_SIZE as u64) {
        return Err(Errno::EFAULT);
    }
    if let Some(frame) = pages.frame(index) {
        return Ok(Some(frame));
    }
    if store.backed() {
        return Ok(None);
    }
    let Some(units) = store.reserve(index)? else { return Ok(None) };
    let Some(frame) = Frame::zeroed() else {
        store.unreserve(units);
        return Err(Errno::ENOMEM);
    };
    let mut state = pages.state.lock();
    if let Some(page) = state.pages.get(index) {
        let frame = page.frame.clone();
        drop(state);
        store.unreserve(units);
        return Ok(Some(frame));
    }
    insert(&mut state, index, frame.clone(), units);
    Ok(Some(frame))
}
