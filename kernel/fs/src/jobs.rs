//! Input and output that outlive who asked for them.
//!
//! A read-ahead or a page being filled must go on when the reader that started it is killed. So transfers are
//! handed to [`Jobs`], a set of futures that one coroutine per file system polls; the asker waits for the pages to
//! change state instead, or for the [`promise`] of the job.

use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};
use exec::sync::WaitQueue;
use futures_util::stream::{FuturesUnordered, Stream};
use hal::sync::{SpinLock, rank};
use io::file::BoxFuture;

/// A job and its number, which is its answer.
struct Numbered {
    number: u64,
    job: BoxFuture<'static, ()>,
}

impl Future for Numbered {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let number = self.number;
        self.job.as_mut().poll(context).map(|()| number)
    }
}

struct State {
    fresh: Vec<Numbered>,
    /// The number of the next job.
    next: u64,
    /// Of those that have not ended.
    unfinished: BTreeSet<u64>,
}

/// Transfers in flight, and those on their way to the coroutine.
pub struct Jobs {
    state: SpinLock<State>,
    arrived: WaitQueue,
    ended: WaitQueue,
}

impl Jobs {
    /// No transfers.
    pub fn new() -> Arc<Jobs> {
        let state = State { fresh: Vec::new(), next: 0, unfinished: BTreeSet::new() };
        let state = SpinLock::new(rank::FILE_SYSTEM, state);
        Arc::new(Jobs { state, arrived: WaitQueue::new(), ended: WaitQueue::new() })
    }

    /// Starts `job` soon.
    pub fn start(&self, job: BoxFuture<'static, ()>) {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.unfinished.insert(number);
        state.fresh.push(Numbered { number, job });
        drop(state);
        self.arrived.wake_all();
    }

    /// Waits for the jobs that have been started so far; what they held they hold no more.
    pub async fn settle(&self) {
        let next = self.state.lock().next;
        let settled = || self.state.lock().unfinished.first().is_none_or(|first| *first >= next).then_some(());
        exec::sync::wait_until(&self.ended, settled).await;
    }

    /// Runs `job` to its end, whether or not somebody waits for its answer.
    ///
    /// # Errors
    /// The job's; `EIO` if the file system is gone before it ends.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, Errno>> + Send + 'static,
    ) -> Result<T, Errno> {
        let (promise, answer) = promise();
        self.start(Box::pin(async move { promise.keep(job.await) }));
        answer.await
    }

    /// The coroutine that carries all jobs out; runs for ever.
    pub async fn run(self: Arc<Self>) {
        let mut running = FuturesUnordered::new();
        loop {
            let fresh = {
                let arrival = exec::sync::wait_until(&self.arrived, || self.take());
                let mut arrival = pin!(arrival);
                let step = poll_fn(|context| {
                    if let Poll::Ready(fresh) = arrival.as_mut().poll(context) {
                        return Poll::Ready(fresh);
                    }
                    while let Poll::Ready(Some(number)) = pin!(&mut running).poll_next(context) {
                        self.end(number);
                    }
                    Poll::Pending
                });
                step.await
            };
            running.extend(fresh);
        }
    }

    fn take(&self) -> Option<Vec<Numbered>> {
        let fresh = &mut self.state.lock().fresh;
        (!fresh.is_empty()).then(|| core::mem::take(fresh))
    }

    fn end(&self, number: u64) {
        self.state.lock().unfinished.remove(&number);
        self.ended.wake_all();
    }
}

struct Answer<T> {
    value: SpinLock<Option<Result<T, Errno>>>,
    arrived: WaitQueue,
}

/// To answer somebody who may not wait any more. Answers `EIO` if it is dropped before it is kept.
pub(crate) struct Promise<T>(Arc<Answer<T>>);

impl<T> Promise<T> {
    pub fn keep(self, value: Result<T, Errno>) {
        *self.0.value.lock() = Some(value);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.value.lock().get_or_insert(Err(Errno::EIO));
        self.0.arrived.wake_all();
    }
}

/// A promise, and the wait for it.
pub(crate) fn promise<T>() -> (Promise<T>, impl Future<Output = Result<T, Errno>>) {
    let answer = Arc::new(Answer { value: SpinLock::new(rank::FILE_SYSTEM, None), arrived: WaitQueue::new() });
    let promise = Promise(answer.clone());
    let wait = async move { exec::sync::wait_until(&answer.arrived, || answer.value.lock().take()).await };
    (promise, wait)
}
