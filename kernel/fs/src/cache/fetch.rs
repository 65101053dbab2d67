//! Reading pages in, with read-ahead.
//!
//! The pages that a reader asks for and a window behind them are put into the cache as `Filling` at once and fetched by
//! requests of up to [`REQUEST`] pages, all in flight together. The window doubles while a reader goes on
//! where it stopped, and closes when it jumps.

use super::{Page, PageState, Pages, Store};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use hal::{PAGE_SIZE, frame::Frame};

/// Pages of one request.
const REQUEST: u64 = 16;
/// Pages that one call starts at most.
const MOST: u64 = 512;
/// Read-ahead window in pages, first and last.
const WINDOW: (u64, u64) = (8, 64);

/// Resolves when the first page of `offset .. offset + len` is there; starts reading all of them and those behind.
///
/// # Errors
/// `EIO` if that page could not be read, `ENOMEM`.
pub async fn wait_read(store: &Arc<dyn Store>, offset: u64, len: usize) -> Result<(), Errno> {
    if !store.backed() {
        return Ok(());
    }
    let index = offset / PAGE_SIZE as u64;
    let last = offset.saturating_add(len.max(1) as u64 - 1) / PAGE_SIZE as u64;
    if store.pages().frame(index).is_none() {
        if super::reclaim::pressed() {
            super::shrink(64);
        }
        let short = start(store, index, last);
        if short && !super::shrink(64) && store.pages().frame(index).is_none() {
            mem::reclaim::reclaim().await;
        }
        if short && start(store, index, index) && store.pages().frame(index).is_none() {
            return Err(Errno::ENOMEM);
        }
    }
    let pages = store.pages();
    exec::sync::wait_until(&pages.changed, || arrived(pages, index)).await
}

/// Whether page `index` has left the state `Filling`; a failure is told once, then the page is missing again.
fn arrived(pages: &Pages, index: u64) -> Option<Result<(), Errno>> {
    let mut state = pages.state.lock();
    match state.pages.get(index).map(|page| page.state) {
        Some(PageState::Filling) => None,
        Some(PageState::Failed(errno)) => {
            state.pages.remove(index);
            Some(Err(errno))
        }
        _ => Some(Ok(())),
    }
}

/// Starts reading the missing pages of `first..=last` and the window; `true` if frames ran out.
fn start(store: &Arc<dyn Store>, first: u64, last: u64) -> bool {
    let mut batches = Vec::new();
    let short = {
        let mut state = store.pages().state.lock();
        let end = state.size.div_ceil(PAGE_SIZE as u64);
        if first >= end {
            return false;
        }
        state.window = if first == state.next || first == 0 { (state.window * 2).clamp(WINDOW.0, WINDOW.1) } else { 0 };
        let last = last.saturating_add(state.window).min(end - 1).min(first + MOST - 1);
        let mut short = false;
        for index in first..=last {
            // What failed in an earlier read-ahead is tried anew for who really wants it.
            match state.pages.get(index).map(|page| page.state) {
                None | Some(PageState::Failed(_)) => {}
                Some(_) => continue,
            }
            let Some(frame) = Frame::zeroed() else {
                short = true;
                break;
            };
            let page = Page { frame: frame.clone(), state: PageState::Filling, hot: true, reserved: 0 };
            state.pages.insert(index, page);
            add(&mut batches, index, frame);
        }
        short
    };
    for (index, frames) in batches {
        let owner = store.clone();
        store.start(Box::pin(async move {
            let result = owner.clone().fetch(index, frames.clone()).await;
            finish(owner.pages(), index, &frames, result);
        }));
    }
    short
}

fn add(batches: &mut Vec<(u64, Vec<Frame>)>, index: u64, frame: Frame) {
    match batches.last_mut() {
        Some((first, frames)) if *first + frames.len() as u64 == index && (frames.len() as u64) < REQUEST => {
            frames.push(frame);
        }
        _ => batches.push((index, alloc::vec![frame])),
    }
}

/// Publishes pages that were read, unless they were dropped or replaced meanwhile.
fn finish(pages: &Pages, first: u64, frames: &[Frame], result: Result<(), Errno>) {
    let mut state = pages.state.lock();
    let size = state.size;
    for (index, frame) in (first..).zip(frames) {
        let Some(page) = state.pages.get_mut(index) else { continue };
        if page.frame.physical() != frame.physical() || page.state != PageState::Filling {
            continue;
        }
        page.state = match result {
            Ok(()) => PageState::Clean,
            Err(errno) => PageState::Failed(errno),
        };
        // What lies behind the end on the medium must not become visible when the file grows.
        let start = index * PAGE_SIZE as u64;
        if start + PAGE_SIZE as u64 > size {
            let tail = size.saturating_sub(start) as usize;
            frame.fill(tail, PAGE_SIZE - tail, 0);
        }
    }
    drop(state);
    pages.changed.wake_all();
}
