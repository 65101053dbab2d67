//! A set of tasks, joined in the order in which they end.

use super::{JoinError, JoinHandle, spawn};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};

/// Tasks that are aborted when the set is dropped.
#[derive(Debug)]
pub struct JoinSet<T> {
    handles: FuturesUnordered<JoinHandle<T>>,
}

impl<T: Send + 'static> JoinSet<T> {
    /// No task.
    #[must_use]
    pub fn new() -> Self {
        Self { handles: FuturesUnordered::new() }
    }

    /// Starts a task in the set.
    pub fn spawn<F: Future<Output = T> + Send + 'static>(&mut self, future: F) {
        self.insert(spawn(future));
    }

    /// Takes a task into the set.
    pub fn insert(&mut self, handle: JoinHandle<T>) {
        self.handles.push(handle);
    }

    /// How many tasks have not been joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether all have been joined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Waits for the next task to end; `None` when there is none. If this is dropped before, no result is lost.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.handles.next().await
    }

    /// Waits for all tasks; their outputs, in the order in which they end. Tasks that failed have none.
    pub async fn join_all(mut self) -> alloc::vec::Vec<T> {
        let mut outputs = alloc::vec::Vec::new();
        while let Some(result) = self.join_next().await {
            outputs.extend(result.ok());
        }
        outputs
    }

    /// Has all tasks dropped; they can still be joined.
    pub fn abort_all(&mut self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }

    /// Lets all tasks go their own way.
    pub fn detach_all(&mut self) {
        self.handles = FuturesUnordered::new();
    }

    /// Aborts all tasks and waits until they are gone.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }
}

/// The results, in the order in which the tasks end.
impl<T: Send + 'static> Stream for JoinSet<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.handles.poll_next_unpin(context)
    }
}

impl<T: Send + 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }
}
