//! Waiting until a descriptor is ready: once, or at each change until the request is removed.

use super::{
    Ring,
    cancel::Cancel,
    operation::{Done, Step, Waits},
    request::Request,
};
use crate::context::{Task, fair};
use abi::{
    errno::Errno,
    io_uring::*,
    poll::{EPOLLERR, EPOLLHUP, EPOLLNVAL, EPOLLRDHUP},
};
use alloc::{sync::Arc, task::Wake};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    task::{Context, Poll, Waker},
};
use exec::sync::stay;
use io::{file::Want, open::OpenFile};

/// Events that are reported unasked.
const ALWAYS: u32 = EPOLLERR | EPOLLHUP | EPOLLNVAL | EPOLLRDHUP;
/// Bits that say how to wait, not for what.
const CONTROL: u32 = 0xf << 28;

/// `IORING_OP_POLL_ADD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    fixed: bool,
    fd: i32,
    events: u32,
    multishot: bool,
    /// The edges up to which everything was said.
    seen: Option<u64>,
}

impl Readiness {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let multishot = entry.len & IORING_POLL_ADD_MULTI != 0;
        let silent = entry.flags & IOSQE_CQE_SKIP_SUCCESS != 0;
        let fields = entry.buf_index == 0 && entry.off == 0 && entry.addr == 0;
        if !fields || entry.len & !IORING_POLL_ADD_MULTI != 0 || multishot && silent {
            return Err(Errno::EINVAL);
        }
        let (fixed, events) = (entry.flags & IOSQE_FIXED_FILE != 0, entry.op_flags & !CONTROL | ALWAYS);
        Ok(Self { fixed, fd: entry.fd, events, multishot, seen: None })
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Ring) -> Step {
        let open = match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let (edges, events) = open.file().look(task.caller());
        let found = events & self.events;
        match found != 0 && !self.repeats(&open) {
            true => Step::Done(Done::with(found as i32)),
            // From now on it counts what changes, not from when its coroutine comes to look.
            false => Step::Waits(Waits::Readiness(Self { seen: (found == 0).then_some(edges), ..self }, open)),
        }
    }

    /// Whether it may come again. A file that has no changes says what it is like, and that was all; and the completions of a ring are not to
    /// bring more of them about.
    fn repeats(&self, open: &OpenFile) -> bool {
        self.multishot && open.file().watched(self.events).is_some() && super::ring_of(open).is_err()
    }

    pub(super) async fn wait(&self, task: &Task<'_>, ring: &Ring, request: &Request, open: &Arc<OpenFile>) -> Done {
        if self.repeats(open) {
            return self.wait_repeatedly(task, ring, request, open).await;
        }
        loop {
            let found = open.file().look(task.caller()).1 & self.events;
            if found != 0 {
                return Done::with(found as i32);
            }
            let ready = open.file().wait(task.caller(), Want::Events(self.events));
            if let Err(errno) = task.wait_for(fair(ready), None).await {
                return Done::failed(errno);
            }
        }
    }

    /// A completion for what holds at first, and at each change, as long as the ring has room.
    async fn wait_repeatedly(&self, task: &Task<'_>, ring: &Ring, request: &Request, open: &Arc<OpenFile>) -> Done {
        let Some(queue) = open.file().watched(self.events) else { return Done::failed(Errno::EINVAL) };
        let mut place = pin!(stay(queue));
        let (mut bell, mut seen): (Option<Arc<Bell>>, _) = (None, self.seen);
        poll_fn(|context| {
            // The place in the queue is never left, so that the bell is entered before each look.
            let bell = bell.get_or_insert_with(|| Arc::new(Bell::new(context.waker().clone())));
            let waker = Waker::from(bell.clone());
            let _ = place.as_mut().poll(&mut Context::from_waker(&waker));
            if !bell.take() {
                return Poll::Pending;
            }
            let (edges, events) = open.file().look(task.caller());
            let found = events & self.events;
            // The bell of a change that was seen before it rang. A file without edges does not tell.
            let is_stale = edges != 0 && seen == Some(edges);
            if found == 0 || is_stale {
                return Poll::Pending;
            }
            seen = Some(edges);
            let (user_data, res) = (request.user_data(), found as i32);
            match ring.post_more(Cqe { user_data, res, flags: IORING_CQE_F_MORE }) {
                true => Poll::Pending,
                false => Poll::Ready(Done::with(res)),
            }
        })
        .await
    }
}

/// A waker that tells a change from other reasons to run.
struct Bell {
    has_rung: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// The first look needs no change.
    fn new(waker: Waker) -> Self {
        Self { has_rung: AtomicBool::new(true), waker }
    }

    fn take(&self) -> bool {
        // Acquire pairs with the Release in `wake_by_ref`: the change is seen by the look that follows.
        self.has_rung.swap(false, Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Release);
        self.waker.wake_by_ref();
    }
}

/// `IORING_OP_POLL_REMOVE`: ending such a request. Changing one is not there.
pub(super) fn prepare_removal(entry: &Sqe) -> Result<Cancel, Errno> {
    if entry.buf_index != 0 || entry.file_index != 0 || entry.len != 0 || entry.off != 0 || entry.op_flags != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Cancel::of_opcode(entry.addr, IORING_OP_POLL_ADD))
}
