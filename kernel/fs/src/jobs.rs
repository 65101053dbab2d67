//! Input and output that outlive who asked for them.
//!
//! A read-ahead or a page being filled must go on when the reader that started it is killed. So transfers are
//! handed to [`Jobs`], a set of futures that one coroutine per file system polls; the asker waits for the pages to
//! change state instead, or for the [`promise`] of the job.

use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};
use exec::sync::WaitQueue;
use futures_util::stream::{FuturesUnordered, Stream};
use hal::sync::{SpinLock, rank};
use io::file::BoxFuture;

/// Transfers in flight, and those on their way to the coroutine.
pub struct Jobs {
    fresh: SpinLock<Vec<BoxFuture<'static, ()>>>,
    arrived: WaitQueue,
}

impl Jobs {
    /// No transfers.
    pub fn new() -> Arc<Jobs> {
        Arc::new(Jobs { fresh: SpinLock::new(rank::FILE_SYSTEM, Vec::new()), arrived: WaitQueue::new() })
    }

    /// Starts `job` soon.
    pub fn start(&self, job: BoxFuture<'static, ()>) {
        self.fresh.lock().push(job);
        self.arrived.wake_all();
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
                    while let Poll::Ready(Some(())) = pin!(&mut running).poll_next(context) {}
                    Poll::Pending
                });
                step.await
            };
            running.extend(fresh);
        }
    }

    fn take(&self) -> Option<Vec<BoxFuture<'static, ()>>> {
        let mut fresh = self.fresh.lock();
        (!fresh.is_empty()).then(|| core::mem::take(&mut *fresh))
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
