//! A channel: many senders, one receiver, no limit.

use super::{Arc, Condvar, Mutex};
use alloc::collections::VecDeque;
use core::time::Duration;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
    receiver: bool,
}

/// The sending half; clones send to the same receiver.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving half.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// Every sender is gone and nothing is left to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

/// Makes a channel.
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), senders: 1, receiver: true };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends a value.
    ///
    /// # Errors
    /// Gives the value back when the receiver is gone.
    pub fn send(&self, value: T) -> Result<(), T> {
        let mut state = self.0.state.lock();
        if !state.receiver {
            return Err(value);
        }
        state.queue.push_back(value);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits for a value.
    ///
    /// # Errors
    /// [`Disconnected`] when none can come any more.
    pub fn recv(&self) -> Result<T, Disconnected> {
        let mut state = self.0.state.lock();
        loop {
            match state.queue.pop_front() {
                Some(value) => return Ok(value),
                None if state.senders == 0 => return Err(Disconnected),
                None => state = self.0.changed.wait(state),
            }
        }
    }

    /// Waits at most `timeout`; `None` when nothing came.
    ///
    /// # Errors
    /// [`Disconnected`] when none can come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>, Disconnected> {
        let end = crate::time::Instant::now() + timeout;
        let mut state = self.0.state.lock();
        loop {
            let left = end.saturating_duration_since(crate::time::Instant::now());
            match state.queue.pop_front() {
                Some(value) => return Ok(Some(value)),
                None if state.senders == 0 => return Err(Disconnected),
                None if left.is_zero() => return Ok(None),
                None => state = self.0.changed.wait_timeout(state, left).0,
            }
        }
    }

    /// A value if there is one.
    pub fn try_recv(&self) -> Option<T> {
        self.0.state.lock().queue.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state.lock().receiver = false;
    }
}
