//! Input and output that outlive who asked for them.
//!
//! A read-ahead or a page being filled must go on when the reader that started it is killed. So transfers are
//! handed to [`Jobs`], a set of futures that one coroutine per file system polls; the asker waits for the pages to
//! change state instead.

use alloc::{sync::Arc, vec::Vec};
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
