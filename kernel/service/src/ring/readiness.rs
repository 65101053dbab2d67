//! Waiting until a descriptor is ready: once, or at each change until the request is removed; and changing what is waited for.
//!
//! **What is told.** What holds at a look; beside that what held at times since the last look, where the file's edges tell (`File::passed`), and what held when the entry was taken: a change that is gone again by
//! then is told all the same, as on Linux, whose wakers say what they woke for. Changes between two looks are told as one.
//!
//! **Who looks.** One that stands alone is a record in the file's queue ([`retry`](super::retry)), looked at before whoever has woken that is back in its program ([`process::prompt`]). A coroutine does
//! for the others: in a chain, of another class, exclusive, of a set of events, whose look may be long, or of a file that has no queue to stay in.

use super::{
    Ring,
    cancel::Cancel,
    files::holds_others,
    operation::{Done, Operation, Step},
    request::Request,
    waits::Waits,
};
use crate::context::{Task, fair};
use abi::{
    errno::Errno,
    io_uring::*,
    poll::{EPOLLERR, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLNVAL, EPOLLOUT, EPOLLRDHUP},
};
use alloc::{boxed::Box, sync::Arc, task::Wake};
use core::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    task::{Context, Poll, Waker},
};
use exec::sync::{Contend, Contender, Seat, contend, seat, stay};
use hal::sync::{SpinLock, rank};
use io::{
    epoll::Epoll,
    file::{IoError, Want},
    open::OpenFile,
};

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
    /// Of several such that wait for the same one hears of a change (`EPOLLEXCLUSIVE`).
    is_exclusive: bool,
    news: News,
}

/// How far a wait has told what there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    /// The edges up to which it has.
    seen: Option<u64>,
    /// What held at those, and is yet to be told.
    held: u32,
    /// How often the ring's completions had raised a counter by then.
    raised: u32,
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
        let is_exclusive = entry.op_flags & EPOLLEXCLUSIVE != 0;
        Ok(Self { fixed, fd: entry.fd, events, multishot, is_exclusive, news: News::default() })
    }

    pub(super) fn run(self, task: &Task<'_>, ring: &Ring) -> Step {
        let open = match ring.file(task, self.fd, self.fixed) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let raised = ring.notify.raised();
        let (edges, events) = open.file().look(task.caller());
        let found = events & self.events;
        match found != 0 && !self.repeats(ring, &open, raised) {
            true => Step::Done(Done::with(found as i32)),
            // From now on it counts what changes, not from when its coroutine comes to look.
            false => {
                let news = News { seen: Some(edges), held: found, raised };
                let waits = Self { news, ..self };
                open.keep(Step::Waits(Waits::Readiness(waits, Arc::clone(&open))))
            }
        }
    }

    /// Whether it may come again. A file that has no changes says what it is like, and that was all; and the completions of a ring are not to
    /// bring more of them about: not by a set of events that the ring may be in, nor by the counter that they raise, if they have since they had `raised` one so often.
    fn repeats(&self, ring: &Ring, open: &OpenFile, raised: u32) -> bool {
        let is_watched = self.multishot && open.file().watched(self.events).is_some();
        is_watched && !(ring.notify.raised() != raised && ring.notify.raises(open)) && !holds_others(open)
    }

    /// The queue in which it can stay as a record, and be looked at where it is woken.
    pub(super) fn seat(&self, open: &Arc<OpenFile>) -> Option<Seat<OpenFile>> {
        let is_plain = !self.is_exclusive && !open.file().as_any().is::<Epoll>();
        is_plain.then(|| seat(open.clone(), |open| open.file().watched(self.events)))?
    }

    /// Says what is new, as a record that is in the file's queue; its last completion, if that is it.
    pub(super) fn tell(&mut self, task: &Task<'_>, ring: &Ring, open: &OpenFile, user_data: u64) -> Option<Done> {
        let (found, news) = self.find_new(task, ring, open, self.news)?;
        let last = self.say(ring, open, self.news.raised, (user_data, found));
        self.news = news;
        last
    }

    /// Says what was found, and that more comes; nothing is posted where it is the last completion.
    fn say(&self, ring: &Ring, open: &OpenFile, raised: u32, (user_data, found): (u64, u32)) -> Option<Done> {
        let more = Cqe { user_data, res: found as i32, flags: IORING_CQE_F_MORE };
        // Asked each time, since a counter may become the one that tells of completions: of this one too, without end.
        let goes_on = self.repeats(ring, open, raised) && ring.post_more(more);
        (!goes_on).then(|| Done::with(found as i32))
    }

    /// Waits for these from now on: what holds is told, whether it was told before or not.
    pub(super) fn change(&mut self, events: Option<u32>) {
        self.events = events.unwrap_or(self.events);
        self.news = News { raised: self.news.raised, ..News::default() };
    }

    pub(super) async fn wait(mut self, task: &Task<'_>, ring: &Ring, request: &Request, open: &Arc<OpenFile>) -> Done {
        let Some(watch) = request.watch.as_deref() else { return Done::failed(Errno::EINVAL) };
        loop {
            let version = watch.lock().begin(&mut self);
            let watched = Watched { watch, version };
            let ended = match open.file().watched(self.events).is_some() {
                true => self.wait_in_queue(task, ring, request, (open, &watched)).await,
                false => self.wait_once(task, open, &watched).await,
            };
            if let Some(done) = ended {
                return done;
            }
        }
    }

    /// Until one of the events holds of a file that has no queue to stay in; nothing: it was changed.
    async fn wait_once(&self, task: &Task<'_>, open: &Arc<OpenFile>, watched: &Watched<'_>) -> Option<Done> {
        loop {
            let found = open.file().look(task.caller()).1 & self.events;
            if found != 0 {
                return poll_fn(|_| watched.claim()).await.then(|| Done::with(found as i32));
            }
            let mut ready = pin!(task.wait_for(fair(open.file().wait(task.caller(), Want::Events(self.events))), None));
            let woken = poll_fn(|context| match watched.is_current() {
                true => ready.as_mut().poll(context).map(Some),
                false => Poll::Ready(None),
            });
            if let Err(errno) = woken.await? {
                return Some(Done::failed(errno));
            }
        }
    }

    /// A completion for what holds at first, and at each change if it repeats, as long as the ring has room; nothing: it was changed.
    async fn wait_in_queue(
        &self,
        task: &Task<'_>,
        ring: &Ring,
        request: &Request,
        (open, watched): (&Arc<OpenFile>, &Watched<'_>),
    ) -> Option<Done> {
        let Some(queue) = open.file().watched(self.events) else { return Some(Done::failed(Errno::EINVAL)) };
        // Goes behind the place in the queue.
        let mut turn = Turn(self.is_exclusive.then_some((open, self.events)));
        let mut stays = pin!((!self.is_exclusive).then(|| stay(queue)));
        let mut contends: Pin<&mut Option<Contend<'_>>> = pin!(None);
        let (mut bell, mut news): (Option<Arc<Bell>>, _) = (None, self.news);
        poll_fn(|context| {
            if !watched.is_current() {
                return Poll::Ready(None);
            }
            // The place in the queue is never left, so that the bell is entered before each look.
            let bell = bell.get_or_insert_with(|| Arc::new(Bell::new(context.waker().clone())));
            let waker = Waker::from(bell.clone());
            if self.is_exclusive && contends.is_none() {
                contends.set(Some(contend(queue, bell.clone(), self.events)));
            }
            let _ = stays.as_mut().as_pin_mut().map(|place| place.poll(&mut Context::from_waker(&waker)));
            let _ = contends.as_mut().as_pin_mut().map(|place| place.poll(&mut Context::from_waker(&waker)));
            if !bell.take() {
                return Poll::Pending;
            }
            let Some((found, told)) = self.find_new(task, ring, open, news) else { return Poll::Pending };
            match watched.claim() {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
            let raised = mem::replace(&mut news, told).raised;
            if let Some(last) = self.say(ring, open, raised, (request.user_data(), found)) {
                contends.set(None);
                turn.end(bell);
                return Poll::Ready(Some(last));
            }
            watched.watch.lock().is_owned = false;
            Poll::Pending
        })
        .await
    }

    /// What holds and was not told yet, or held meanwhile, and how far that goes once the caller has told it.
    fn find_new(&self, task: &Task<'_>, ring: &Ring, open: &OpenFile, news: News) -> Option<(u32, News)> {
        // Before the look, so that one that has raised what is looked at, and is not counted yet, is so at the next.
        let raised = ring.notify.raised();
        let (edges, events) = open.file().look(task.caller());
        // Of several of whom one is told of a change none says what another may have been told.
        let since = news.seen.filter(|_| !self.is_exclusive);
        let passed = since.map_or(0, |seen| open.file().passed(seen, edges));
        let found = (events | passed) & self.events | news.held;
        // The bell of a change that was told before it rang. A file without edges does not tell.
        let is_stale = self.multishot && edges != 0 && news.seen == Some(edges) && news.held == 0;
        let told = News { seen: Some(edges), held: 0, raised };
        (found != 0 && !is_stale).then_some((found, told))
    }
}

/// What a wait for events is like now.
///
/// **One owns it.** Who completes the request, or changes it, owns it meanwhile, and only then. A change that finds it owned is refused (`EALREADY`); who is to complete it waits
/// until it is changed, when it is woken (A10), and begins anew.
#[derive(Default)]
pub(super) struct Watch {
    is_owned: bool,
    /// What it was changed to.
    events: Option<u32>,
    /// How often it was changed.
    version: u32,
}

impl Watch {
    pub(super) fn boxed() -> Box<SpinLock<Self>> {
        Box::new(SpinLock::new(rank::PIPE, Self::default()))
    }

    /// The wait begins with what was changed; the version that it is of.
    fn begin(&self, readiness: &mut Readiness) -> u32 {
        if self.version != 0 {
            readiness.change(self.events);
        }
        self.version
    }
}

/// A wait of one version.
struct Watched<'a> {
    watch: &'a SpinLock<Watch>,
    version: u32,
}

impl Watched<'_> {
    fn is_current(&self) -> bool {
        self.watch.lock().version == self.version
    }

    /// To complete it; `false`: it was changed. Who changes it wakes when that is over.
    fn claim(&self) -> Poll<bool> {
        let mut watch = self.watch.lock();
        match () {
            () if watch.is_owned => Poll::Pending,
            () if watch.version != self.version => Poll::Ready(false),
            () => {
                watch.is_owned = true;
                Poll::Ready(true)
            }
        }
    }
}

/// The turn of one that contends, until it has said what it was told: who goes without passes it on, behind its place in the queue.
struct Turn<'a>(Option<(&'a Arc<OpenFile>, u32)>);

impl Turn<'_> {
    /// It says what it was told, and is in the queue no more; unless it was told of something since.
    fn end(&mut self, bell: &Bell) {
        if !bell.take() {
            self.0 = None;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some((open, events)) = self.0 else { return };
        if let Some(queue) = open.file().watched(events) {
            // Each kind for itself, as those who take one may not be there for the other.
            [EPOLLIN, EPOLLOUT].iter().filter(|&kind| events & kind != 0).for_each(|&kind| queue.wake(kind));
        }
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

impl Contender for Bell {
    fn tell(self: Arc<Self>) -> bool {
        self.wake_by_ref();
        true
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

/// `IORING_OP_POLL_REMOVE`, where it changes such a request. Whether that repeats is not changed, as on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Update {
    old: u64,
    events: Option<u32>,
    user_data: Option<u64>,
}

impl Update {
    pub(super) fn prepare(entry: &Sqe) -> Result<Operation, IoError> {
        const UPDATES: u32 = IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA;
        let (flags, old) = (entry.len, entry.addr);
        let events = (flags & IORING_POLL_UPDATE_EVENTS != 0).then_some(entry.op_flags & 0xffff | ALWAYS);
        let user_data = (flags & IORING_POLL_UPDATE_USER_DATA != 0).then_some(entry.off);
        if entry.buf_index != 0
            || entry.file_index != 0
            || flags & !(UPDATES | IORING_POLL_ADD_MULTI) != 0
            || flags == IORING_POLL_ADD_MULTI
            || (user_data.is_none() && entry.off != 0)
            || (events.is_none() && entry.op_flags != 0)
        {
            return Err(Errno::EINVAL.into());
        }
        Ok(match flags & UPDATES {
            0 => Operation::Cancel(Cancel::of_opcode(old, IORING_OP_POLL_ADD)),
            _ => Operation::Update(Self { old, events, user_data }),
        })
    }

    pub(super) fn run(self, ring: &Ring) -> Step {
        Step::Done(match self.change(ring) {
            Ok(()) => Done::with(0),
            Err(errno) => Done::failed(errno),
        })
    }

    fn change(self, ring: &Ring) -> Result<(), Errno> {
        let request = ring.requests.first(self.old, Request::is_poll).ok_or(Errno::ENOENT)?;
        let Some(watch) = request.watch.as_deref() else {
            return ring.later_than_call(|| request.change_poll(ring, self.events, self.user_data));
        };
        if mem::replace(&mut watch.lock().is_owned, true) {
            return Err(Errno::EALREADY);
        }
        let runs = self.user_data.is_none_or(|user_data| ring.requests.rename(&request, user_data));
        let mut watch = watch.lock();
        watch.events = self.events.or(watch.events);
        watch.version = watch.version.wrapping_add(1).max(1);
        watch.is_owned = false;
        drop(watch);
        request.rouse();
        if runs { Ok(()) } else { Err(Errno::ENOENT) }
    }
}
