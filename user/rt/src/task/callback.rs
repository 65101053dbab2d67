//! Completion callbacks beside futures.

use super::{JoinError, JoinHandle, spawn};

/// What can be done with a handle besides awaiting it.
pub trait OnDone<T> {
    /// Calls `f` with the task's result when it has ended, in a task of its own.
    fn on_done(self, f: impl FnOnce(Result<T, JoinError>) + Send + 'static);
}

impl<T: Send + 'static> OnDone<T> for JoinHandle<T> {
    fn on_done(self, f: impl FnOnce(Result<T, JoinError>) + Send + 'static) {
        spawn(async move { f(self.await) }).detach();
    }
}
