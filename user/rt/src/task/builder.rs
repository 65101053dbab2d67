//! What a task is to be, chosen at its start.

use super::{JoinHandle, Priority, green, pool};
use crate::sync::Mutex;
use crate::{io, thread};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::future::Future;
use task::Birth;

/// Names of tasks that run.
static NAMES: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// The name of a task, if it was given one and has begun.
#[must_use]
pub fn name(id: u64) -> Option<String> {
    NAMES.lock().get(&id).cloned()
}

/// A name in the table as long as this is there.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        let name = NAMES.lock().remove(&self.0);
        drop(name);
    }
}

/// What a task is to be: a coroutine ([`spawn`](Self::spawn)), a green thread on a stack of its own
/// ([`spawn_green`](Self::spawn_green)), or a thread of the kernel ([`spawn_thread`](Self::spawn_thread)).
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started yet"]
pub struct Builder {
    priority: Option<Priority>,
    policy: Option<(u32, u64)>,
    name: Option<String>,
}

impl Builder {
    /// Normal priority, in turn, no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The priority; of a coroutine or a green thread.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The number of a policy of [`super::policy`], and the key that the task goes by under it, for instance its deadline; of a
    /// coroutine or a green thread.
    pub fn policy(mut self, policy: u32, key: u64) -> Self {
        self.policy = Some((policy, key));
        self
    }

    /// A name; of a coroutine or a green thread.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Starts a coroutine.
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let birth = Birth::new(self.priority.unwrap_or(Priority::NORMAL));
        let birth = self.policy.map_or(birth, |(policy, key)| birth.under(policy, key));
        let Some(name) = self.name else { return pool().spawn_with(&birth, future) };
        pool().spawn_with(&birth, async move {
            let _named = task::current().await.map(|task| {
                NAMES.lock().insert(task.id(), name);
                Named(task.id())
            });
            future.await
        })
    }

    /// Starts a green thread.
    ///
    /// # Errors
    /// `ENOMEM` when there is no stack.
    pub fn spawn_green<T, F>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Ok(self.spawn(green::future(f)?))
    }

    /// Starts a thread of the kernel.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOMEM` when there can be no more.
    pub fn spawn_thread<T, F>(self, f: F) -> io::Result<thread::JoinHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        thread::spawn(f)
    }
}
