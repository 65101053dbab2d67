//! Channels (note 0010): memory that two parties share, and the waking of the one by the other.
//!
//! What is sent is in the memory, which the kernel does not read: who publishes something looks there whether the other waits, and only then comes here.
//!
//! **Wake-up protocol.** Who rings sets `rung` of the other side, then wakes its queue; who waits takes `rung` in the queue, then sleeps. An end that is
//! nobody's any more is `ended`, which is set before the other side is woken: so each wait ends by a ring, by the end of the
//! other side, by its limit or by a signal. A ring that comes too often makes a wait end for nothing, which the programs' protocol allows.

use crate::{Outcome, Restart, Thread, pages::Pages, uintr::Sender};
use abi::{
    channel::{END, ENDED, MOST_PAGES},
    errno::Errno,
    poll::{EPOLLHUP, EPOLLIN},
};
use alloc::sync::Arc;
use core::{
    any::Any,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    task::Poll,
};
use exec::sync::{WaitQueue, seat};
use hal::sync::{SpinLock, rank};
use io::{
    file::{File, Want},
    open::OpenFile,
};
use mem::{Account, Backing};

/// What a channel costs beside its pages.
const BYTES: usize = 1 << 10;

/// What is known of an end.
struct Side {
    /// It was rung since its last wait.
    rung: AtomicBool,
    /// Nobody has it any more.
    ended: AtomicBool,
    /// How often it was rung, or became readable otherwise.
    edges: AtomicU64,
    queue: WaitQueue,
    /// What is raised when it is rung, if [`bindings`](Self::bindings) says that it was ever bound.
    bound: SpinLock<Option<(Arc<Sender>, usize)>>,
    /// How often it was bound.
    bindings: AtomicUsize,
}

struct Channel {
    memory: Arc<Pages>,
    sides: [Side; 2],
}

/// An end, as a descriptor has it.
pub struct End {
    channel: Arc<Channel>,
    which: usize,
}

/// A channel of so many pages, paid for by `account`.
///
/// # Errors
/// `EINVAL`, `ENOMEM`.
pub fn pair(pages: usize, account: &Arc<Account>) -> Result<[Arc<End>; 2], Errno> {
    if !(1..=MOST_PAGES).contains(&pages) {
        return Err(Errno::EINVAL);
    }
    let memory = Pages::new("anon_inode:[channel]", pages, BYTES, account)?;
    let channel = Arc::new(Channel { memory, sides: [Side::new(), Side::new()] });
    Ok([0, 1].map(|which| Arc::new(End { channel: channel.clone(), which })))
}

impl Side {
    fn new() -> Self {
        Self {
            rung: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            edges: AtomicU64::new(0),
            queue: WaitQueue::new(),
            bound: SpinLock::new(rank::PIPE, None),
            bindings: AtomicUsize::new(0),
        }
    }

    /// Ends its wait, or makes its next one short.
    fn ring(&self) {
        // Release pairs with the Acquire in `take`: what was published before is visible to who was rung.
        self.rung.store(true, Ordering::Release);
        self.wake();
    }

    /// Has it look.
    fn wake(&self) {
        self.edges.fetch_add(1, Ordering::Relaxed);
        self.queue.wake_all();
        // Relaxed: behind the fence of `wake_all`, see `bind`.
        if self.bindings.load(Ordering::Relaxed) != 0 {
            self.raise();
        }
    }

    #[cold]
    #[inline(never)]
    fn raise(&self) {
        let bound = self.bound.lock().clone();
        if let Some((sender, vector)) = bound {
            // A receiver that has ended needs no telling.
            let _ = sender.raise(vector);
        }
    }
}

impl Channel {
    /// How a wait of a side ends, if it does now.
    #[inline]
    fn take(&self, which: usize) -> Option<Result<(), Errno>> {
        let (own, other) = (&self.sides[which], &self.sides[1 - which]);
        // Acquire pairs with `Side::ring`. A load first: who is about to wait was seldom rung.
        if own.rung.load(Ordering::Relaxed) && own.rung.swap(false, Ordering::Acquire) {
            return Some(Ok(()));
        }
        // Acquire pairs with the Release in `drop`: a ring from before the end is taken before the end is told.
        if other.ended.load(Ordering::Acquire) {
            return Some(if own.rung.swap(false, Ordering::Acquire) { Ok(()) } else { Err(Errno::EPIPE) });
        }
        None
    }
}

impl End {
    fn own(&self) -> &Side {
        &self.channel.sides[self.which]
    }

    fn other(&self) -> &Side {
        &self.channel.sides[1 - self.which]
    }

    /// Whether nobody has the other end any more.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        // Acquire pairs with the Release in `drop`: what was sent before the end is visible.
        self.other().ended.load(Ordering::Acquire)
    }

    /// Wakes the other end; `false`: nobody has it any more. One that ends meanwhile is not told, as one that ends behind it.
    pub fn ring(&self) -> bool {
        let is_somebodys = !self.is_alone();
        if is_somebodys {
            self.other().ring();
        }
        is_somebodys
    }

    /// How a wait ends, if it does now.
    #[must_use]
    pub fn take(&self) -> Option<Result<(), Errno>> {
        self.channel.take(self.which)
    }

    /// Waits, as a call of the thread's. `open` is this end's, which stays somebody's as long.
    pub fn wait<'a>(&self, open: Arc<OpenFile>, thread: &'a Thread) -> impl Future<Output = Outcome> + Send + use<'a> {
        let (channel, which) = (self.channel.clone(), self.which);
        async move {
            let Some(seat) = seat(channel, |channel| Some(&channel.sides[which].queue)) else {
                return Errno::EINVAL.into();
            };
            let mut seat = pin!(seat);
            let ended = poll_fn(|context| {
                if let Some(ended) = seat.owner().take(which) {
                    return Poll::Ready(Some(ended));
                }
                seat.as_mut().enter(|| context.waker().clone());
                match seat.owner().take(which) {
                    None if thread.interrupted() => Poll::Ready(None),
                    None => Poll::Pending,
                    ended => Poll::Ready(ended),
                }
            })
            .await;
            drop(open);
            // Who waits looks for itself before it waits again.
            ended.map_or(Outcome::Restart(Restart::Never), |ended| ended.map(|()| 0).into())
        }
    }

    /// Ringing it raises a vector from now on. How often it was bound, with this.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`: the sender may not raise it.
    pub fn bind(&self, sender: &Arc<Sender>, vector: usize) -> Result<usize, Errno> {
        sender.may_raise(vector)?;
        let mut bound = self.own().bound.lock();
        let before = bound.replace((sender.clone(), vector));
        // Under the lock: the highest count is that of what is bound.
        let bindings = self.own().bindings.fetch_add(1, Ordering::Relaxed) + 1;
        drop(bound);
        // Pairs with the fence in `wake_all`: who rings since it has seen what this side's program stored behind this call, raises.
        fence(Ordering::SeqCst);
        drop(before); // frees it: not under the lock
        Ok(bindings)
    }

    /// What the other end is bound to.
    #[must_use]
    pub fn peer(&self) -> Option<(Arc<Sender>, usize)> {
        self.other().bound.lock().clone()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let word = END[self.which] + ENDED;
        // Release pairs with the other program's Acquire: what this side published is visible to who sees its end.
        self.channel.memory.frames()[0].word(word).store(1, Ordering::Release);
        self.own().ended.store(true, Ordering::Release);
        // What would hold a receiver of a process that is gone.
        let bound = self.own().bound.lock().take();
        drop(bound);
        self.other().wake();
    }
}

impl File for End {
    fn events(&self) -> u32 {
        // Relaxed: a snapshot; who waits looks behind its entry into the queue.
        let rung = if self.own().rung.load(Ordering::Relaxed) { EPOLLIN } else { 0 };
        rung | if self.other().ended.load(Ordering::Relaxed) { EPOLLIN | EPOLLHUP } else { 0 }
    }

    fn edges(&self) -> u64 {
        self.own().edges.load(Ordering::Relaxed)
    }

    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.own().queue)
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.channel.memory.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
