//! Writing dirty pages back.

use super::{PageState, Pages, Store};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use exec::sync::WaitQueue;
use hal::{PAGE_SIZE, frame::Frame};

/// Pages of one request.
const REQUEST: usize = 64;
/// Requests of one file in flight.
const DEPTH: usize = 32;

/// Writes all pages back that are dirty now, and waits until they are where they belong.
///
/// # Errors
/// That of an earlier write-back, which one caller is told, and of one that failed meanwhile, which all are who waited; the pages stay dirty.
pub async fn flush(store: &Arc<dyn Store>) -> Result<(), Errno> {
    let failures = store.pages().state.lock().failures;
    if store.backed() {
        write_all(store).await;
    }
    let mut state = store.pages().state.lock();
    let has_failed = state.failures != failures;
    match state.error.take() {
        Some(errno) => Err(errno),
        None if has_failed => Err(Errno::EIO),
        None => Ok(()),
    }
}

/// Writes dirty pages back; an error is kept for the next [`flush`].
pub async fn kick(store: &Arc<dyn Store>) {
    if store.backed() {
        write_all(store).await;
    }
}

struct Progress {
    running: AtomicUsize,
    ended: WaitQueue,
}

async fn write_all(store: &Arc<dyn Store>) {
    // A page that another flush had in its hands may have changed since that flush took it, and is dirty again now.
    if write_round(store).await {
        write_round(store).await;
    }
}

/// Writes the pages that are dirty and waits for those that others are writing; whether there were such.
async fn write_round(store: &Arc<dyn Store>) -> bool {
    let pages = store.pages();
    let progress = Arc::new(Progress { running: AtomicUsize::new(0), ended: WaitQueue::new() });
    let (begun, shared) = {
        let state = pages.state.lock();
        (state.begun, !state.under_way.is_empty())
    };
    // Pages that become dirty behind the hand are left to the next call, so this ends.
    let mut hand = 0;
    while let Some((number, first, frames)) = next_run(pages, hand) {
        hand = first + frames.len() as u64;
        let wait = || (progress.running.load(Ordering::Acquire) < DEPTH).then_some(());
        exec::sync::wait_until(&progress.ended, wait).await;
        progress.running.fetch_add(1, Ordering::Relaxed);
        let (owner, progress) = (store.clone(), progress.clone());
        store.start(Box::pin(async move {
            let result = owner.clone().store(first, frames.clone()).await;
            let left = finish(owner.pages(), number, (first, frames.len()), result);
            owner.unreserve(left);
            // Release pairs with the Acquire of the waiter: it sees the pages' new states.
            progress.running.fetch_sub(1, Ordering::Release);
            progress.ended.wake_all();
        }));
    }
    let done = || (progress.running.load(Ordering::Acquire) == 0).then_some(());
    exec::sync::wait_until(&progress.ended, done).await;
    // Pages that another flush had in its hands count as well; not those that came later, or others could keep this here for ever.
    let ended = || pages.state.lock().under_way.first().is_none_or(|first| *first >= begun).then_some(());
    exec::sync::wait_until(&pages.changed, ended).await;
    shared
}

/// The first run of dirty pages from `hand` on, and the number of the request that is to write them; they are `Writing` now.
fn next_run(pages: &Pages, hand: u64) -> Option<(u64, u64, Vec<Frame>)> {
    let mut state = pages.state.lock();
    let size = state.size;
    let state = &mut *state;
    let mut first = None;
    let mut frames = Vec::new();
    for index in state.dirty.range(hand..) {
        let Some(page) = state.pages.get_mut(*index) else { continue };
        let expected = *first.get_or_insert(*index) + frames.len() as u64;
        if *index != expected || frames.len() == REQUEST || page.state != PageState::Dirty {
            if frames.is_empty() {
                first = None;
                continue;
            }
            break;
        }
        page.state = PageState::Writing { again: false };
        // A mapping may have written behind the end; the medium need not see that. But what a writer has just copied
        // there becomes part of the file a moment later.
        let start = index * PAGE_SIZE as u64;
        if start + PAGE_SIZE as u64 > size && !state.claimed {
            let tail = size.saturating_sub(start) as usize;
            page.frame.fill(tail, PAGE_SIZE - tail, 0);
        }
        frames.push(page.frame.clone());
    }
    let first = first.filter(|_| !frames.is_empty())?;
    let number = state.begun;
    state.begun += 1;
    state.under_way.insert(number);
    Some((number, first, frames))
}

/// A request has ended: gives its pages their new state; answers the room that is set aside for them and no longer needed.
fn finish(pages: &Pages, number: u64, (first, count): (u64, usize), result: Result<(), Errno>) -> usize {
    let mut state = pages.state.lock();
    let mut left = 0;
    state.under_way.remove(&number);
    if let Err(errno) = result {
        state.error = Some(errno);
        state.failures += 1;
    }
    for index in first..first + count as u64 {
        let Some(page) = state.pages.get_mut(index) else { continue };
        let PageState::Writing { again } = page.state else { continue };
        if result.is_ok() {
            left += core::mem::take(&mut page.reserved);
        }
        if again || result.is_err() {
            page.state = PageState::Dirty;
        } else {
            page.state = PageState::Clean;
            state.dirty.remove(&index);
        }
    }
    state.reserved -= left;
    drop(state);
    pages.changed.wake_all();
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Page, write_now};
    use core::{
        pin::Pin,
        sync::atomic::AtomicBool,
        task::{Context, Poll, Waker},
    };
    use io::block::{Answer, Direction, Parts, Placed};
    use io::file::BoxFuture;
    use mem::Source;
    use std::sync::Mutex;

    /// The bytes of a write and the end of the file are another's to see in one step.
    fn append_beside_a_look(pages: u64) {
        let store: Arc<dyn Store> = Slow::of(Pages::new(0));
        let writer = store.clone();
        let writes = std::thread::spawn(move || {
            for index in 0..pages {
                let written = write_now(&writer, index * PAGE_SIZE as u64, &mut Source::kernel(&[1]), u64::MAX);
                assert_eq!(written, Ok(Some(1)));
            }
        });
        while !writes.is_finished() {
            let state = store.pages().state.lock();
            let end = state.dirty.last().map_or(0, |last| last + 1);
            assert!(end <= state.size.div_ceil(PAGE_SIZE as u64), "page {end} and {} bytes", state.size);
        }
        writes.join().unwrap();
    }

    /// A file with so many dirty pages.
    fn dirty(count: u64) -> Pages {
        let pages = Pages::new(count * PAGE_SIZE as u64);
        {
            let mut state = pages.state.lock();
            for index in 0..count {
                let frame = Frame::zeroed().unwrap();
                state.pages.insert(index, Page { frame, state: PageState::Dirty, hot: true, reserved: 0 });
                state.dirty.insert(index);
            }
        }
        pages
    }

    /// A file that has room for everything, and whose requests are carried out when the test says so.
    struct Slow {
        pages: Pages,
        jobs: Mutex<Vec<BoxFuture<'static, ()>>>,
        fails: AtomicBool,
    }

    impl Slow {
        fn of(pages: Pages) -> Arc<Self> {
            Arc::new(Self { pages, jobs: Mutex::new(Vec::new()), fails: AtomicBool::new(false) })
        }

        /// Carries out what was asked for, with this end.
        fn run(&self, fails: bool) {
            self.fails.store(fails, Ordering::Relaxed);
            let jobs = core::mem::take(&mut *self.jobs.lock().unwrap());
            assert!(!jobs.is_empty());
            jobs.into_iter().for_each(|mut job| assert!(poll(&mut job).is_ready()));
        }
    }

    impl Placed for Slow {
        fn leave(&self) {
            self.pages.leave_places();
        }
    }

    impl Store for Slow {
        fn pages(&self) -> &Pages {
            &self.pages
        }

        fn backed(&self) -> bool {
            true
        }

        fn fetch(self: Arc<Self>, _index: u64, _frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
            Box::pin(core::future::ready(Ok(())))
        }

        fn store(self: Arc<Self>, _index: u64, _frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
            let fails = self.fails.load(Ordering::Relaxed);
            Box::pin(core::future::ready(if fails { Err(Errno::ENOSPC) } else { Ok(()) }))
        }

        fn transfer(&self, _direction: Direction, _offset: u64, _parts: Parts) -> Answer {
            Box::pin(core::future::ready(Ok(())))
        }

        fn start(&self, job: BoxFuture<'static, ()>) {
            self.jobs.lock().unwrap().push(job);
        }

        fn dirtied(self: Arc<Self>) {}
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_fails_is_told_to_all_who_waited_for_it() {
        let slow = Slow::of(dirty(2));
        let store: Arc<dyn Store> = slow.clone();
        let (mut first, mut second) = (Box::pin(flush(&store)), Box::pin(flush(&store)));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        slow.run(true);
        assert_eq!(poll(&mut first), Poll::Ready(Err(Errno::ENOSPC)));
        // It writes once more what it had to wait for, and that is not what was asked of it.
        assert!(poll(&mut second).is_pending());
        slow.run(false);
        assert_eq!(poll(&mut second), Poll::Ready(Err(Errno::EIO)));
        assert_eq!(poll(&mut Box::pin(flush(&store))), Poll::Ready(Ok(())));
    }

    #[test]
    fn what_others_begin_later_is_not_waited_for() {
        let slow = Slow::of(dirty(2));
        let store: Arc<dyn Store> = slow.clone();
        let mut first = Box::pin(flush(&store));
        assert!(poll(&mut first).is_pending());
        slow.run(false);
        // Before it looks, a page is changed, and another has it in its hands.
        {
            let mut state = slow.pages.state.lock();
            state.pages.get_mut(0).unwrap().state = PageState::Dirty;
            state.dirty.insert(0);
        }
        let mut second = Box::pin(flush(&store));
        assert!(poll(&mut second).is_pending());
        assert_eq!(poll(&mut first), Poll::Ready(Ok(())));
        slow.run(false);
        assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
    }

    #[test]
    fn no_dirty_page_lies_behind_the_end() {
        (0..20).for_each(|_| append_beside_a_look(2000));
    }

    #[test]
    fn what_a_writer_copies_behind_the_end_stays() {
        let pages = Pages::new(100);
        let frame = Frame::zeroed().unwrap();
        let page = Page { frame: frame.clone(), state: PageState::Dirty, hot: true, reserved: 0 };
        {
            let mut state = pages.state.lock();
            state.pages.insert(0, page);
            state.dirty.insert(0);
        }
        // A writer appends: the bytes are in the page, the size is not yet theirs.
        let claim = pages.claim_now().unwrap();
        frame.write(100, b"appended");
        assert!(next_run(&pages, 0).is_some());
        pages.extend(&claim, 108);
        drop(claim);
        let mut bytes = [0; 8];
        frame.read(100, &mut bytes);
        assert_eq!(&bytes, b"appended");
    }
}
