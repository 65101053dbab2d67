//! What a task is to be, chosen at its start.

use super::names::named;
use super::preemption::{Preemption, limited};
use super::{JoinHandle, Priority, green, policy, pool};
use crate::{io, thread};
use alloc::alloc::handle_alloc_error;
use alloc::string::{String, ToString};
use core::alloc::Layout;
use core::future::Future;
use task::Birth;

/// What a task is to be: a coroutine ([`spawn`](Self::spawn)), a green thread on a stack of its own
/// ([`spawn_green`](Self::spawn_green)), or a thread of the kernel ([`spawn_thread`](Self::spawn_thread)).
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started yet"]
pub struct Builder {
    priority: Option<Priority>,
    policy: Option<(u32, u64)>,
    name: Option<String>,
    preemption: Option<Preemption>,
    is_ticked: bool,
}

impl Builder {
    /// Normal priority, in turn, preempted for its equals, no name.
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

    /// What it is preempted for in the middle of a poll; of a coroutine or a green thread. Without this, of one under
    /// [`policy::FIFO`], what is more urgent only, since under that nobody's turn ends but by itself.
    pub fn preemption(mut self, preemption: Preemption) -> Self {
        self.preemption = Some(preemption);
        self
    }

    /// Has a coroutine or a green thread interrupted by ticks of a timer of the thread that polls it, by hardware where there is such: when it has had a slice
    /// ([`green::set_slice`]) and its preemption says that it gives way to what is ready, it is left as if it had yielded, between any two instructions, and
    /// goes on at its next turn. Not while it has a guard of a blocking lock. A coroutine is polled on a stack of its own for that, as a green thread is: it takes as
    /// much memory, and aborted while it waits it leaves its stack and its future behind. See [`green`].
    pub fn ticked(mut self) -> Self {
        self.is_ticked = true;
        self
    }

    /// A name; of a coroutine or a green thread. Who looks from outside sees 32 bytes of it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Starts a coroutine. Where there is no memory for it, or for the stack of one that ticks interrupt, this ends in `handle_alloc_error`.
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if !self.is_ticked {
            return self.begin(future);
        }
        match green::ticked(|| green::block_on(future)) {
            Ok(green) => self.begin(green),
            Err(_) => handle_alloc_error(Layout::new::<[u8; green::STACK]>()),
        }
    }

    /// Starts what is polled as it is.
    fn begin<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let birth = Birth::new(self.priority.unwrap_or(Priority::NORMAL));
        let birth = self.policy.map_or(birth, |(policy, key)| birth.under(policy, key));
        let is_fifo = self.policy.is_some_and(|(policy, _)| policy == policy::FIFO);
        match self.preemption.unwrap_or(if is_fifo { Preemption::Urgent } else { Preemption::Equal }) {
            Preemption::Equal => start(&birth, self.name, future),
            fewer => start(&birth, self.name, limited(fewer, future)),
        }
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
        match self.is_ticked {
            true => Ok(self.begin(green::ticked(f)?)),
            false => Ok(self.begin(green::future(f)?)),
        }
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

/// Starts a coroutine, which says its name while it runs.
fn start<F>(birth: &Birth, name: Option<String>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match name {
        Some(name) => pool().spawn_with(birth, named(name, future)),
        None => pool().spawn_with(birth, future),
    }
}
