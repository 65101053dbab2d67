//! Something changed on a socket: the link from the protocol library's wakers to waiting coroutines.
//!
//! For datagrams the library keeps one waker a direction and forgets it when it fires. A waiter therefore registers
//! with the queue first, then arms the library again (under the stack's lock), then looks at the socket. Connections are told by the stack
//! (`connections.rs`), behind its lock, after each change and always.

use alloc::{sync::Arc, task::Wake};
use core::sync::atomic::{AtomicU64, Ordering};
use exec::sync::WaitQueue;
use io::file::{Want, mask_of};

/// A wait queue that the library can wake.
pub(crate) struct Signal {
    queue: WaitQueue,
    /// Changes so far, from 1. While the library is not armed it counts none: whoever reads this arms it first.
    changes: AtomicU64,
}

impl Signal {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { queue: WaitQueue::new(), changes: AtomicU64::new(1) })
    }

    /// Wakes everybody who waits for a change.
    pub fn notify(&self) {
        // Relaxed: the lock of the queue orders it for who waits, that of the socket for who looks.
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.queue.wake_all();
    }

    /// The same for a change that one of those who contend can see to: data (`EPOLLIN`), or room (`EPOLLOUT`).
    pub fn notify_of(&self, kind: u32) {
        // Relaxed: as above.
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.queue.wake(kind);
    }

    /// One or the other; `kind` 0: everybody.
    pub fn tell(&self, kind: u32) {
        match kind {
            0 => self.notify(),
            kind => self.notify_of(kind),
        }
    }

    /// The queue of those who wait.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Resolves when `ready` says so; it is asked again after each change and must arm the library.
    pub async fn until<T>(&self, ready: impl FnMut() -> Option<T> + Send) -> T {
        exec::sync::wait_until(&self.queue, ready).await
    }

    /// Resolves when one of the events that `want` waits for holds; as [`Signal::until`].
    pub async fn until_events(&self, want: Want, mut events: impl FnMut() -> u32 + Send) {
        self.until(|| (events() & mask_of(want) != 0).then_some(())).await;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
